"""Manifests and tags through the cache: what is asked for, how often, and by which request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from facaded.backends.fetcher import NotServed, ReadOptions
from facaded.backends.manifests import Accept, Manifest, ManifestCache, digest_of
from facaded.oci.requests import ManifestRead
from tests.backends.fetching import LATEST, NARROW, WIDE, ask, backend, manifest, network
from tests.backends.memory import BLOB, INDEX, MANIFEST, Fake, Network


def test_a_tag_is_asked_by_head_and_the_manifest_by_its_digest() -> None:
    made = network()
    found = manifest(ask(made, made.serving()))
    assert found.media_type == INDEX
    assert found.body is not None
    assert found.digest == digest_of(found.body)
    hub = made.fakes["hub"]
    assert (hub.count("HEAD", "/latest"), hub.count("GET", "/latest"), hub.count("GET", "sha256:")) == (1, 0, 1)
    assert made.fakes["ghcr"].asked == []


@pytest.mark.parametrize("together", [True, False])
def test_a_tag_asked_a_hundred_times_costs_one_head_and_one_get(together: bool) -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    works = []
    for _ in range(100):
        works.append(Deferred.fromCoroutine(serving.serve(LATEST, ("hub", "ghcr"), ReadOptions(WIDE))))
        if not together:
            made.finish(works.pop())
    for work in works:
        assert manifest(made.finish(work)).body
    assert (hub.count("HEAD", "manifests"), hub.count("GET", "manifests"), hub.tokens) == (1, 1, 1)


def test_a_head_costs_no_get() -> None:
    made = network()
    found = manifest(ask(made, made.serving(), body=False))
    assert found.body is None
    assert found.length > 0
    assert found.digest.startswith("sha256:")
    assert made.fakes["hub"].count("GET", "manifests") == 0


def test_a_digest_in_the_cache_costs_nothing_until_it_is_too_old() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    by_digest = ManifestRead("org/app", manifest(ask(made, serving)).digest)
    asked = len(hub.asked)
    hub.fault = "500"
    assert backend(ask(made, serving, by_digest)) == "hub"
    assert len(hub.asked) == asked
    made.clock.advance(3600)
    assert backend(ask(made, serving, by_digest)) == "ghcr"


def test_a_tag_is_asked_again_after_its_time() -> None:
    made = network()
    serving = made.serving()
    first = manifest(ask(made, serving)).digest
    made.fakes["hub"].put("org/app", "latest", body=b'{"new": 1}')
    assert manifest(ask(made, serving)).digest == first
    made.clock.advance(10)
    assert manifest(ask(made, serving)).digest != first


def test_a_manifest_is_not_given_to_another_repository_s_askers() -> None:
    made = network()
    serving = made.serving()
    digest = manifest(ask(made, serving)).digest
    assert ask(made, serving, ManifestRead("org/other", digest)) == NotServed({}, ("hub", "ghcr"))


def test_a_narrow_asker_does_not_choose_for_a_wide_one() -> None:
    """docker-registry gives the amd64 manifest of a tag to who does not accept an index."""
    made = Network(Fake("hub"))
    hub, serving = made.fakes["hub"], made.serving()
    amd64 = hub.put("org/app", "latest", MANIFEST)
    assert manifest(ask(made, serving, accept=NARROW)).digest == amd64
    index = hub.put("org/app", "latest", INDEX)
    assert manifest(ask(made, serving, accept=WIDE)).digest == index
    hub.put("org/app", "latest", MANIFEST)
    assert manifest(ask(made, serving, accept=NARROW)).digest == amd64
    assert manifest(ask(made, serving, accept=WIDE)).digest == index


def test_what_one_asker_cannot_accept_is_still_there_for_another() -> None:
    made = network()
    serving = made.serving()
    assert isinstance(ask(made, serving, accept=NARROW), NotServed)
    assert manifest(ask(made, serving, accept=WIDE)).media_type == INDEX
    digest = manifest(ask(made, serving)).digest
    assert isinstance(ask(made, serving, ManifestRead("org/app", digest), NARROW), NotServed)


def test_a_backend_whose_head_has_no_digest_is_asked_by_get() -> None:
    made = network("no digest")
    found = manifest(ask(made, made.serving(), body=False))
    assert found.digest.startswith("sha256:")
    assert made.fakes["hub"].count("GET", "/latest") == 1


def test_the_cache_is_bounded_in_bytes() -> None:
    cache = ManifestCache(5000, 10, lambda: 0.0)
    manifests = [Manifest(INDEX, digest_of(bytes([n])), 1000, b"x" * 1000) for n in range(10)]
    for each in manifests:
        cache.store("org/app", each)
    kept = [each for each in manifests if cache.manifest("org/app", each.digest, WIDE)]
    assert kept == manifests[-3:]
    cache.store("org/app", Manifest(INDEX, digest_of(b"large"), 6000, b"x" * 6000))
    assert cache.manifest("org/app", digest_of(b"large"), WIDE) is None
    nothing = ManifestCache(0, 10, lambda: 0.0)
    nothing.store("org/app", manifests[0])
    nothing.store_tag("hub", "org/app", "latest", WIDE, manifests[0].digest)
    assert nothing.manifest("org/app", manifests[0].digest, WIDE) is None
    assert nothing.tag("hub", "org/app", "latest", WIDE) is None


@given(st.lists(st.text()))
def test_any_accept_header_is_read(lines: list[str]) -> None:
    assert "" not in Accept.read(tuple(lines)).types


def test_a_tag_asked_by_head_again_and_again_costs_no_get() -> None:
    made = network()
    serving = made.serving()
    for _ in range(5):
        assert manifest(ask(made, serving, body=False)).length > 0
    assert made.fakes["hub"].count("GET", "manifests") == 0


def test_a_backend_without_digests_is_asked_once_as_well() -> None:
    made = network("no digest")
    serving, hub = made.serving(), made.fakes["hub"]
    for _ in range(5):
        assert backend(ask(made, serving)) == "hub"
    assert (hub.count("HEAD", "manifests"), hub.count("GET", "manifests")) == (1, 1)


def test_a_tag_whose_manifest_is_missing_is_a_failure() -> None:
    made = Network(Fake("hub"))
    hub = made.fakes["hub"]
    digest = hub.put("org/app", "latest")
    del hub.manifests["org/app", digest]
    assert ask(made, made.serving()) == NotServed({"hub": "has the tag but not its manifest"}, ())


@pytest.mark.parametrize("size", [True, -1, 10**15, 1.5, "7", None])
def test_a_size_that_no_blob_has_is_not_believed(size: object) -> None:
    cache = ManifestCache(1 << 20, 10, lambda: 0.0)
    body = json.dumps({"layers": [{"digest": BLOB, "size": size}]}).encode()
    cache.store("org/app", Manifest(MANIFEST, digest_of(body), len(body), body))
    assert cache.blob_size("org/app", BLOB) is None


def test_what_clients_send_is_remembered_in_a_few_bytes() -> None:
    long = Accept.read((", ".join(f"application/x-{number}" for number in range(1000)),))
    assert len(long.key) == 32
    assert long.key == Accept.read(tuple(reversed(long.value.split(", ")))).key
