"""The check that decides which untrusted URLs are used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent
from twisted.web.resource import Resource

from facaded.net.client import BoundedClient, LocationError
from facaded.net.urls import URL_LENGTH, UrlError, check, origin, resolve

REFUSED = [
    ("", "an invalid URL"),
    ("/path", "an invalid URL"),
    ("//host/path", "an invalid URL"),
    ("ftp://host/", "an invalid URL"),
    ("javascript:alert(1)", "an invalid URL"),
    ("https://", "an invalid URL"),
    ("https://user@host/", "an invalid URL"),
    ("https://user:password@host/", "an invalid URL"),
    ("https://host:0/", "an invalid URL"),
    ("https://host:99999/", "an invalid URL"),
    ("https://host:port/", "an invalid URL"),
    ("https://[::1/", "an invalid URL"),
    ("https://[::1]x/", "an invalid URL"),
    ("https://[v1.x]/", "an invalid URL"),
    ("https://[fe80::1%25eth0]/", "an invalid URL"),
    ("https://[1.2.3.4]/", "an invalid URL"),
    ("https://[]/", "an invalid URL"),
    ("https://[", "an invalid URL"),
    ("https://host:/", "an invalid URL"),
    ("https://host:99999999/", "an invalid URL"),
    ("https://host:+1/", "an invalid URL"),
    ("https://a\\b/", "an invalid URL"),
    ("https://%5b/", "an invalid URL"),
    ("https://*/", "an invalid URL"),
    ("http://\u2100", "an invalid URL"),
    ("https://host/a b", "an invalid URL"),
    ("https://host/a\r\nSet-Cookie: x", "an invalid URL"),
    ("https://host/\x00", "an invalid URL"),
    ("https://hóst/", "an invalid URL"),
    ("https://host/" + "a" * URL_LENGTH, "an invalid URL"),
    ("http://host/", "plain http"),
]


JUNK = [
    *(
        "",
        "http://cdn/",
        "javascript:x",
        "https://[x",
        "http://[::1",
        "//[::1",
        "//[",
        "https://[::1]x/",
        "https://cdn:/",
    ),
    *("http://a:99999999", "//a:99999999", "http://\u2100", "//\u2100", "https://a\\b"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_an_unsafe_url_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(UrlError, match=f"^{reason}$"):
        check(url, secure=True)


@pytest.mark.parametrize("url", ["https://host", "https://host:8443/a?b=c#d", "https://[::1]:5000/", "HTTPS://Host/"])
def test_a_safe_url_is_accepted(url: str) -> None:
    assert check(url, secure=True).scheme == "https"


def test_plain_http_may_be_allowed() -> None:
    assert check("http://host/", secure=False).hostname == "host"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b?c", "https://host/b?c"),
        ("b", "https://host/a/b"),
        ("//cdn/b", "https://cdn/b"),
        ("https://cdn/b?sig=%2F+", "https://cdn/b?sig=%2F+"),
    ],
)
def test_a_location_is_made_absolute_and_otherwise_unchanged(location: str, url: str) -> None:
    assert resolve("https://host/a/", location, secure=True) == url


@pytest.mark.parametrize("location", JUNK)
def test_an_unsafe_location_is_refused(location: str) -> None:
    with pytest.raises(UrlError):
        resolve("https://host/a/", location, secure=True)


@given(st.text())
def test_any_text_is_accepted_or_raises_url_error(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            parts = check(url, secure=True)
        except UrlError:
            continue
        assert parts.hostname
        assert url.isascii()
        assert url.isprintable()


@pytest.mark.parametrize("url", [url for url, _ in REFUSED] + JUNK)
def test_nothing_that_is_no_url_is_on_a_server_s_own_host(url: str) -> None:
    assert not BoundedClient("https://hub.test", RequestTraversalAgent(Resource())).is_own(url)


@pytest.mark.parametrize("location", JUNK)
def test_a_junk_location_raises_nothing_else(location: str) -> None:
    with pytest.raises(LocationError):
        BoundedClient("https://hub.test", RequestTraversalAgent(Resource())).location("https://hub.test/v2/", location)


def test_an_origin_is_host_and_port() -> None:
    assert origin("https://Host/a") == ("host", 443)
    assert origin("http://host:5000/") == ("host", 5000)
