"""Manifests and tags through the cache: which requests are sent, and how many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from facaded.backends.manifests import Accept, Manifest, ManifestCache, digest_of
from facaded.backends.media_types import SIGNED_SCHEMA_1
from facaded.backends.served_content import NotServed, ReadOptions
from facaded.oci.requests import ManifestRead
from facaded.policy.decision import Serve
from tests.backends.fetching import LATEST, NARROW, WIDE, ask, backend, manifest, two_registries
from tests.backends.memory import INDEX, MANIFEST, Fake, Network


def test_a_tag_is_resolved_by_head_and_its_manifest_fetched_by_digest() -> None:
    network = two_registries()
    response = manifest(ask(network, network.fetcher()))
    assert response.media_type == INDEX
    assert response.body is not None
    assert response.digest == digest_of(response.body)
    hub = network.fakes["hub"]
    assert (hub.count("HEAD", "/latest"), hub.count("GET", "/latest"), hub.count("GET", "sha256:")) == (1, 0, 1)
    assert network.fakes["ghcr"].requests == []


@pytest.mark.parametrize("together", [True, False])
def test_a_hundred_reads_of_a_tag_send_one_head_and_one_get(together: bool) -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    works = []
    for _ in range(100):
        works.append(Deferred.fromCoroutine(fetcher.serve(Serve(LATEST, ("hub", "ghcr"), "hub"), ReadOptions(WIDE))))
        if not together:
            network.run(works.pop())
    for work in works:
        assert manifest(network.run(work)).body
    assert (hub.count("HEAD", "manifests"), hub.count("GET", "manifests"), hub.tokens) == (1, 1, 1)


def test_a_head_sends_no_get() -> None:
    network = two_registries()
    response = manifest(ask(network, network.fetcher(), body=False))
    assert response.body is None
    assert response.length > 0
    assert response.digest.startswith("sha256:")
    assert network.fakes["hub"].count("GET", "manifests") == 0


def test_a_cached_manifest_needs_no_request_until_it_expires() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    by_digest = ManifestRead("org/app", manifest(ask(network, fetcher)).digest)
    before = len(hub.requests)
    hub.fault = "500"
    assert backend(ask(network, fetcher, by_digest)) == "hub"
    assert len(hub.requests) == before
    network.clock.advance(3600)
    assert backend(ask(network, fetcher, by_digest)) == "ghcr"


def test_a_tag_is_resolved_again_after_its_ttl() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    first = manifest(ask(network, fetcher)).digest
    network.fakes["hub"].put("org/app", "latest", body=b'{"new": 1}')
    assert manifest(ask(network, fetcher)).digest == first
    network.clock.advance(10)
    assert manifest(ask(network, fetcher)).digest != first


def test_a_cached_manifest_is_served_only_for_its_repository() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    digest = manifest(ask(network, fetcher)).digest
    assert ask(network, fetcher, ManifestRead("org/other", digest)) == NotServed({}, ("hub", "ghcr"))


def test_a_client_that_accepts_no_index_does_not_affect_others() -> None:
    """docker-registry serves a tag's amd64 manifest to clients that do not accept an index."""
    network = Network(Fake("hub"))
    hub, fetcher = network.fakes["hub"], network.fetcher()
    amd64 = hub.put("org/app", "latest", MANIFEST)
    assert manifest(ask(network, fetcher, accept=NARROW)).digest == amd64
    index = hub.put("org/app", "latest", INDEX)
    assert manifest(ask(network, fetcher, accept=WIDE)).digest == index
    hub.put("org/app", "latest", MANIFEST)
    assert manifest(ask(network, fetcher, accept=NARROW)).digest == amd64
    assert manifest(ask(network, fetcher, accept=WIDE)).digest == index


def test_a_manifest_that_one_client_does_not_accept_is_served_to_another() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    assert isinstance(ask(network, fetcher, accept=NARROW), NotServed)
    assert manifest(ask(network, fetcher, accept=WIDE)).media_type == INDEX
    digest = manifest(ask(network, fetcher)).digest
    assert isinstance(ask(network, fetcher, ManifestRead("org/app", digest), NARROW), NotServed)


def test_a_head_without_a_digest_is_followed_by_a_get() -> None:
    network = two_registries("no digest")
    response = manifest(ask(network, network.fetcher(), body=False))
    assert response.digest.startswith("sha256:")
    assert network.fakes["hub"].count("GET", "/latest") == 1


def test_the_cache_is_bounded_in_bytes() -> None:
    cache = ManifestCache(5000, 10, lambda: 0.0)
    manifests = [Manifest(INDEX, digest_of(bytes([n])), 1000, b"x" * 1000) for n in range(10)]
    for stored in manifests:
        cache.store("org/app", stored, {})
    cached = [stored for stored in manifests if cache.manifest("org/app", stored.digest, WIDE)]
    assert cached == manifests[-3:]
    cache.store("org/app", Manifest(INDEX, digest_of(b"large"), 6000, b"x" * 6000), {})
    assert cache.manifest("org/app", digest_of(b"large"), WIDE) is None
    disabled = ManifestCache(0, 10, lambda: 0.0)
    disabled.store("org/app", manifests[0], {})
    disabled.tags.store("hub", WIDE.of_tag(LATEST), manifests[0].digest)
    assert disabled.manifest("org/app", manifests[0].digest, WIDE) is None
    assert disabled.tags.fresh("hub", WIDE.of_tag(LATEST)) is None


@given(st.lists(st.text()))
def test_any_accept_header_is_read(lines: list[str]) -> None:
    assert "" not in Accept.read(tuple(lines)).types


def test_repeated_heads_of_a_tag_send_no_get() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    for _ in range(5):
        assert manifest(ask(network, fetcher, body=False)).length > 0
    assert network.fakes["hub"].count("GET", "manifests") == 0


def test_a_digest_that_facaded_computed_is_cached_too() -> None:
    network = two_registries("no digest")
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    for _ in range(5):
        assert backend(ask(network, fetcher)) == "hub"
    assert (hub.count("HEAD", "manifests"), hub.count("GET", "manifests")) == (1, 1)


def test_a_tag_whose_manifest_is_missing_is_a_failure() -> None:
    network = Network(Fake("hub"))
    hub = network.fakes["hub"]
    digest = hub.put("org/app", "latest")
    del hub.manifests["org/app", digest]
    assert ask(network, network.fetcher()) == NotServed({"hub": "has the tag but not its manifest"}, ())


def test_the_cache_key_of_an_accept_header_is_short() -> None:
    long = Accept.read((", ".join(f"application/x-{number}" for number in range(1000)),))
    assert len(long.key) == 32
    assert long.key == Accept.read(tuple(reversed(long.value.split(", ")))).key


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ((INDEX, f"{MANIFEST}, */*"), f"{INDEX}, {MANIFEST}, */*"),
        ((f"{INDEX};q=0.9 , {INDEX.upper()}",), INDEX),
        (("",), ""),
        (("nonsense, a b/c, /, a/, /b, a/b/c, a/é, a/\x7f, x/y",), "x/y"),
        (("a/" + "b" * 119, "x/y"), "x/y"),
        (("a/" + "b" * 16_000,), ""),
        (("," * 16_000, "x/y"), ""),
    ],
)
def test_registries_get_an_accept_header_of_well_formed_media_types(lines: tuple[str, ...], value: str) -> None:
    assert Accept.read(lines).value == value


def test_an_accept_header_for_registries_is_short_whatever_clients_send() -> None:
    accept = Accept.read((", ".join(f"a/{number:0118}" for number in range(1000)),))
    assert len(accept.types) == 50
    assert len(accept.value) < 8000


def test_an_accept_header_that_registries_would_refuse_makes_none_suspect() -> None:
    network = two_registries("8 kB headers")
    fetcher = network.fetcher()
    accept = Accept.read((INDEX, ", ".join(f"application/x-{number}" for number in range(1000))))
    assert backend(ask(network, fetcher, accept=accept)) == "hub"
    assert network.failed == []


@pytest.mark.parametrize("sent", ["sha256", "", "nonsense", "sha512:1"])
@pytest.mark.parametrize("body", [True, False])
def test_a_digest_that_cannot_be_compared_is_computed(sent: str, body: bool) -> None:
    """go-containerregistry's registry answers with a sha256 digest to a HEAD by another one."""
    network = two_registries()
    hub = network.fakes["hub"]
    kind, content = hub.manifests["org/app", "latest"]
    digest = digest_of(content, "sha512")
    hub.manifests["org/app", digest] = kind, content
    if sent != "sha256":
        hub.headers["Docker-Content-Digest"] = sent
    served = ask(network, network.fetcher(), ManifestRead("org/app", digest), body=body)
    assert (backend(served), manifest(served).digest, manifest(served).length) == ("hub", digest, len(content))
    assert network.failed == []


def test_another_digest_of_the_same_algorithm_is_a_failure() -> None:
    network = two_registries()
    hub = network.fakes["hub"]
    hub.headers["Docker-Content-Digest"] = "sha256:" + "0" * 64
    digest = digest_of(hub.manifests["org/app", "latest"][1])
    assert backend(ask(network, network.fetcher(), ManifestRead("org/app", digest), body=False)) == "ghcr"
    assert network.failed == ["hub"]


SIGNED = SIGNED_SCHEMA_1, b'{"schemaVersion": 1, "signatures": [{"signature": "c2ln"}]}'
"""A manifest as Distribution 2.8 makes it of a Docker image for a client that names no type."""

OF_CONTENT = digest_of(b'{"schemaVersion": 1}')
"""Its digest, which does not cover the signatures."""

ANYTHING = Accept.read(("*/*",))


@pytest.mark.parametrize("sent", [OF_CONTENT, "", "nonsense"])
def test_a_manifest_that_a_registry_converts_for_a_client_is_passed_on(sent: str) -> None:
    network = two_registries()
    hub, fetcher = network.fakes["hub"], network.fetcher()
    hub.manifests["org/app", "latest"] = SIGNED
    hub.headers["Docker-Content-Digest"] = sent
    for _ in range(2):
        served = ask(network, fetcher, accept=ANYTHING)
        digest = OF_CONTENT if sent == OF_CONTENT else digest_of(SIGNED[1])
        assert (backend(served), manifest(served).digest) == ("hub", digest)
        assert (manifest(served).media_type, manifest(served).body) == SIGNED
    assert network.failed == []
    hub.fault = "500"
    network.clock.advance(60)
    for _ in range(2):
        assert backend(ask(network, fetcher, accept=ANYTHING)) == "ghcr"
    requests = [path for fake in network.fakes.values() for _, path in fake.requests]
    assert not any(path.endswith(digest) for path in requests), "a registry may not know that digest"


def test_a_head_of_a_manifest_that_a_registry_converts_sends_no_get() -> None:
    network = two_registries()
    hub, fetcher = network.fakes["hub"], network.fetcher()
    hub.manifests["org/app", "latest"] = SIGNED
    hub.headers["Docker-Content-Digest"] = OF_CONTENT
    for _ in range(2):
        head = manifest(ask(network, fetcher, accept=ANYTHING, body=False))
        assert (head.media_type, head.digest, head.length) == (SIGNED_SCHEMA_1, OF_CONTENT, len(SIGNED[1]))
    assert hub.count("GET", "manifests") == 0


@pytest.mark.parametrize("body", [True, False])
def test_no_older_digest_is_believed_after_a_manifest_that_was_converted(body: bool) -> None:
    network = two_registries("500")
    hub, fetcher = network.fakes["hub"], network.fetcher()
    assert backend(ask(network, fetcher, accept=ANYTHING)) == "ghcr", "the last digest is that of ghcr"
    hub.fault = ""
    old = network.fakes["ghcr"].manifests["org/app", "latest"]
    hub.manifests["org/app", digest_of(old[1])] = old
    hub.manifests["org/app", "latest"] = SIGNED
    hub.headers["Docker-Content-Digest"] = OF_CONTENT
    network.clock.advance(60)
    assert manifest(ask(network, fetcher, accept=ANYTHING, body=body)).digest == OF_CONTENT
    network.fakes["ghcr"].fault = "500"
    network.fakes["ghcr"].put("org/app", "next")
    ask(network, fetcher, ManifestRead("org/app", "next"), accept=ANYTHING)
    del hub.headers["Docker-Content-Digest"]
    assert manifest(ask(network, fetcher, accept=ANYTHING)).media_type == SIGNED_SCHEMA_1


def test_a_signed_manifest_that_is_asked_for_by_digest_has_to_match_it() -> None:
    """Else a registry could send anything as one, in place of what the digest names."""
    network = two_registries()
    hub, read = network.fakes["hub"], ManifestRead("org/app", OF_CONTENT)
    hub.manifests["org/app", OF_CONTENT] = SIGNED
    hub.headers["Docker-Content-Digest"] = OF_CONTENT
    served = ask(network, network.fetcher(), read, Accept.read((INDEX, SIGNED_SCHEMA_1)))
    assert served == NotServed({"hub": "manifest does not match its digest"}, ("ghcr",))
