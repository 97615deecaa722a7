"""Blobs: their redirects and sizes, and which redirects are not passed on."""

import json

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.fetcher import BUDGET
from facaded.backends.registry import RangeHeaders
from facaded.backends.served_content import BlobRedirect, BlobSize, ReadOptions, Served
from facaded.oci.requests import Blob, ManifestRead
from tests.backends.fetching import WIDE, ask, backend, serve_from, two_registries
from tests.backends.memory import BLOB, MANIFEST


def test_a_blob_is_redirected_to_the_backend_s_location() -> None:
    network = two_registries()
    served = ask(network, network.fetcher(), Blob("org/app", BLOB))
    assert served == Served("hub", BlobRedirect("https://cdn.hub.test/a?sig=1"), {})


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", "redirects a blob to an invalid URL"),
        ("ftp://cdn.test/a", "redirects a blob to an invalid URL"),
        ("javascript:alert(1)", "redirects a blob to an invalid URL"),
        ("https://u:p@cdn.test/a", "redirects a blob to an invalid URL"),
        ("https://cdn.test/" + "a" * 9000, "redirects a blob to an invalid URL"),
        ("https://cdn.test/a b", "redirects a blob to an invalid URL"),
        ("http://cdn.test/a", "redirects a blob to plain http"),
        ("http://[::1", "redirects a blob to an invalid URL"),
        ("https://[::1]x/", "redirects a blob to an invalid URL"),
        ("https://cdn.test:/a", "redirects a blob to an invalid URL"),
        ("//a:99999999", "redirects a blob to an invalid URL"),
        ("/elsewhere", None),
    ],
)
def test_an_unsafe_location_is_not_passed_on(location: str, reason: str | None) -> None:
    network = two_registries()
    network.fakes["hub"].headers["Location"] = location
    served = ask(network, network.fetcher(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.content == BlobRedirect("https://cdn.ghcr.test/a?sig=1")
    assert served.failures == ({"hub": reason} if reason else {})


def test_a_location_on_the_backend_s_own_host_is_followed_with_the_token() -> None:
    network = two_registries()
    network.fakes["hub"].headers["Location"] = f"/v2/org/app/blobs/{BLOB}"
    served = ask(network, network.fetcher(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.failures == {"hub": "redirects a blob to its own host twice"}
    assert network.fakes["hub"].count("GET", "/blobs/") == 2


def test_concurrent_requests_for_a_blob_are_one_request_to_the_backend() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    ask(network, fetcher, Blob("org/app", BLOB))
    hub.fault, before = "hang", hub.count("GET", "/blobs/")
    options = ReadOptions(WIDE, range=RangeHeaders.read("bytes=5-", ""))
    serve = serve_from(network, Blob("org/app", BLOB))
    works = [Deferred.fromCoroutine(fetcher.serve(serve, options)) for _ in range(3)]
    assert hub.count("GET", "/blobs/") == before + 1
    assert [backend(network.run(work, BUDGET)) for work in works] == ["ghcr"] * 3


def test_a_backend_that_serves_blobs_itself_is_skipped() -> None:
    network = two_registries("bytes")
    served = ask(network, network.fetcher(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.backend == "ghcr"
    assert served.failures == {"hub": "serves blobs itself instead of redirecting"}


def test_a_blob_s_size_comes_from_a_manifest_else_from_the_cdn() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    assert ask(network, fetcher, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(6), {})
    assert [host for host, _ in hub.authorizations if host.startswith("cdn")] == ["cdn.hub.test"]
    assert all(value == "" for host, value in hub.authorizations if host.startswith("cdn")), "no token for the CDN"
    body = json.dumps({"layers": [{"digest": BLOB, "size": 66}]}).encode()
    hub.put("org/app", "described", MANIFEST, body)
    ask(network, fetcher, ManifestRead("org/app", "described"))
    before = len(hub.requests)
    assert ask(network, fetcher, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(66), {})
    assert len(hub.requests) == before


def test_a_malformed_location_does_not_make_a_backend_suspect_of_more_than_its_repository() -> None:
    """The size of a blob is asked for at its location, which failed as if the backend did not answer."""
    network = two_registries()
    network.fakes["hub"].headers["Location"] = "https://[::1]x/"
    fetcher = network.fetcher()
    ask(network, fetcher, Blob("org/app", BLOB), body=False)
    assert [attempt.sample for attempt in network.attempts if not attempt.good] == [False]
    for fake in network.fakes.values():
        fake.put("org/other", "latest")
    network.fakes["hub"].headers.clear()
    assert backend(ask(network, fetcher, ManifestRead("org/other", "latest"))) == "hub"


@pytest.mark.parametrize("location", ["https://hub.test:443/x", "https://HUB.test/x"])
def test_the_backend_s_own_host_is_compared_without_case_and_default_port(location: str) -> None:
    network = two_registries()
    network.fakes["hub"].headers["Location"] = location
    served = ask(network, network.fetcher(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.content == BlobRedirect("https://cdn.ghcr.test/a?sig=1")
