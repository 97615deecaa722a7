"""Untrusted URLs: the check that decides which of them facaded connects to or passes on."""

import re
from urllib.parse import SplitResult, urljoin, urlsplit

URL_LENGTH = 8192
"""Longest URL in characters: presigned URLs have about 2000."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class UrlError(ValueError):
    """A URL that facaded neither connects to nor passes on. The text says what it is: "plain http"."""


def check(url: str, *, secure: bool, longest: int = URL_LENGTH) -> SplitResult:
    """Return the parts of an absolute URL that is safe to use.

    It must be http or https (only https with `secure`), have a host name or an IP address, no user-info and no port 0,
    and be printable ASCII without spaces, at most `longest` characters long (RFC 3986 §3). Raises UrlError.
    """
    if len(url) > longest or not url.isascii() or not url.isprintable() or " " in url:
        raise UrlError("an invalid URL")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in DEFAULT_PORTS and _AUTHORITY.fullmatch(parts.netloc) is not None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UrlError("an invalid URL")
    if secure and parts.scheme != "https":
        raise UrlError("plain http")
    return parts


def resolve(base: str, location: str, *, secure: bool) -> str:
    """Return a Location (RFC 9110 §10.2.2) made absolute with `base` and otherwise unchanged. Raises UrlError."""
    try:
        url = urljoin(base, location) if location else ""
    except ValueError:
        raise UrlError("an invalid URL") from None
    check(url, secure=secure)
    return url


def origin(url: str) -> tuple[str, int]:
    """Return the host and port that a connection to `url` uses; an empty host if it is no URL."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", 0
