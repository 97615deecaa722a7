"""Blobs: where they are and how large, and which locations are never passed on."""

import json

import pytest

from facaded.backends.fetcher import BlobRedirect, BlobSize, Served
from facaded.oci.requests import Blob, ManifestRead
from tests.backends.fetching import ask, network
from tests.backends.memory import BLOB, MANIFEST


def test_a_blob_is_where_the_backend_says() -> None:
    made = network()
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert served == Served("hub", BlobRedirect("https://cdn.hub.test/a?sig=1"), {})


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("", "redirects a blob to an invalid URL"),
        ("ftp://cdn.test/a", "redirects a blob to an invalid URL"),
        ("javascript:alert(1)", "redirects a blob to an invalid URL"),
        ("https://u:p@cdn.test/a", "redirects a blob to an invalid URL"),
        ("https://cdn.test/" + "a" * 9000, "redirects a blob to an invalid URL"),
        ("https://cdn.test/a b", "redirects a blob to an invalid URL"),
        ("http://cdn.test/a", "redirects a blob to plain http"),
        ("/elsewhere", None),
    ],
)
def test_a_location_that_a_client_should_not_follow_is_never_passed_on(location: str, said: str | None) -> None:
    made = network()
    made.fakes["hub"].headers["Location"] = location
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.content == BlobRedirect("https://cdn.ghcr.test/a?sig=1")
    assert served.failures == ({"hub": said} if said else {})


def test_a_location_on_the_backend_s_own_host_is_followed_with_the_token() -> None:
    made = network()
    made.fakes["hub"].headers["Location"] = f"/v2/org/app/blobs/{BLOB}"
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.failures == {"hub": "redirects a blob to its own host twice"}
    assert made.fakes["hub"].count("GET", "/blobs/") == 2


def test_bytes_of_a_blob_are_never_read() -> None:
    made = network("bytes")
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.backend == "ghcr"
    assert served.failures == {"hub": "serves blobs itself instead of redirecting"}


def test_a_blob_s_size_comes_from_a_manifest_else_from_the_cdn() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    assert ask(made, serving, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(6), {})
    assert [host for host, _ in hub.authorizations if host.startswith("cdn")] == ["cdn.hub.test"]
    assert all(given == "" for host, given in hub.authorizations if host.startswith("cdn")), "no token for the CDN"
    body = json.dumps({"layers": [{"digest": BLOB, "size": 66}]}).encode()
    hub.put("org/app", "described", MANIFEST, body)
    ask(made, serving, ManifestRead("org/app", "described"))
    asked = len(hub.asked)
    assert ask(made, serving, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(66), {})
    assert len(hub.asked) == asked


@pytest.mark.parametrize("location", ["https://hub.test:443/x", "https://HUB.test/x"])
def test_the_backend_s_own_host_is_known_however_it_is_written(location: str) -> None:
    made = network()
    made.fakes["hub"].headers["Location"] = location
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.content == BlobRedirect("https://cdn.ghcr.test/a?sig=1")
