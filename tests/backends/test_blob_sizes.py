"""The sizes of blobs, which come from the manifests that were stored."""

import json
from typing import Any

import pytest

from facaded.backends.manifests import MANIFEST_LIFE, MOST_BLOBS, Manifest, ManifestCache, digest_of
from facaded.backends.served_content import BlobSize, Served
from facaded.oci.requests import Blob, ManifestRead
from tests.backends.fetching import ask, two_registries
from tests.backends.memory import BLOB, MANIFEST


def store(cache: ManifestCache, document: dict[str, Any], repository: str = "org/app") -> None:
    body = json.dumps(document).encode()
    cache.store(repository, Manifest(MANIFEST, digest_of(body), len(body), body), document)


def blob(number: int) -> str:
    return digest_of(str(number).encode())


@pytest.mark.parametrize("size", [True, -1, 10**15, 1.5, "7", None])
def test_an_implausible_blob_size_is_ignored(size: object) -> None:
    cache = ManifestCache(1 << 20, 10, lambda: 0.0)
    store(cache, {"layers": [{"digest": BLOB, "size": size}]})
    assert cache.blob_size("org/app", BLOB) is None


def test_the_sizes_of_config_and_layers_are_known_in_their_own_repository() -> None:
    cache = ManifestCache(1 << 20, 10, lambda: 0.0)
    store(cache, {"config": {"digest": blob(1), "size": 1}, "layers": [{"digest": blob(2), "size": 2}]})
    assert [cache.blob_size("org/app", blob(number)) for number in (1, 2, 3)] == [1, 2, None]
    assert cache.blob_size("org/other", blob(1)) is None


def test_a_size_is_known_as_long_as_its_manifest() -> None:
    now = 0.0
    cache = ManifestCache(1 << 20, 10, lambda: now)
    store(cache, {"layers": [{"digest": BLOB, "size": 6}]})
    now = MANIFEST_LIFE - 1
    assert cache.blob_size("org/app", BLOB) == 6
    now = MANIFEST_LIFE
    assert cache.blob_size("org/app", BLOB) is None


def test_one_manifest_cannot_displace_the_sizes_of_all_others() -> None:
    cache = ManifestCache(1 << 20, 10, lambda: 0.0)
    store(cache, {"layers": [{"digest": blob(number), "size": number} for number in range(MOST_BLOBS + 10)]})
    known = [number for number in range(MOST_BLOBS + 10) if cache.blob_size("org/app", blob(number)) is not None]
    assert known == list(range(MOST_BLOBS))


def test_without_a_cache_no_size_is_kept() -> None:
    cache = ManifestCache(0, 10, lambda: 0.0)
    store(cache, {"layers": [{"digest": BLOB, "size": 6}]})
    assert cache.blob_size("org/app", BLOB) is None


def test_the_body_of_a_stored_manifest_is_not_read_again() -> None:
    """To search and parse 17 manifests of 3.9 MB for the size of one blob took 8 s, in which nothing else ran."""
    cache = ManifestCache(1 << 20, 10, lambda: 0.0)
    body = json.dumps({"layers": [{"digest": BLOB, "size": 6}]}).encode()
    cache.store("org/app", Manifest(MANIFEST, digest_of(body), len(body), body), {})
    assert cache.blob_size("org/app", BLOB) is None


def test_a_manifest_that_is_too_complex_to_parse_is_served_without_the_sizes_of_its_blobs() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(size=1 << 23), network.fakes["hub"]
    filler = ",".join(["[]"] * 1_300_000)
    body = f'{{"layers": [{{"digest": "{BLOB}", "size": 66}}], "filler": [{filler}]}}'.encode()
    hub.put("org/app", "complex", MANIFEST, body)
    for _ in range(2):
        served = ask(network, fetcher, ManifestRead("org/app", "complex"))
        assert isinstance(served, Served)
        assert isinstance(served.content, Manifest)
        assert (served.backend, served.content.body == body) == ("hub", True)
    assert ask(network, fetcher, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(6), {}), "from the CDN"


@pytest.mark.parametrize("start", ["[", "<"])
def test_something_complex_that_is_no_object_is_no_manifest(start: str) -> None:
    network = two_registries()
    network.fakes["hub"].put("org/app", "complex", MANIFEST, f"{start}{'[],' * 100_000}".encode())
    served = ask(network, network.fetcher(), ManifestRead("org/app", "complex"))
    assert served.failures == {"hub": f"answered with something that is no manifest ({MANIFEST})"}
