"""Whole answers as bytes, as twisted.web writes them: the status line, the header, and the body."""

from functools import cache, lru_cache
from http import HTTPStatus

from twisted.web.http import NO_BODY_CODES, datetimeToString
from twisted.web.http_headers import Headers

from facaded.oci.frozen_values import frozen
from facaded.web.render import REGISTRY, Rendered

WHOLE_SIZE = 16 << 10
"""Bytes of the largest body that is written at once: no more than a transport buffers for each client anyway."""

CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox"
"""Of answers that are not for browsers, some of which have content that strangers chose: it may run nothing."""

EVERY = {
    "Server": "facaded",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}
"""Header fields of every answer."""

BACKENDS = 200
"""Beginnings of headers that are kept, one for each backend and status."""

OWN = frozenset(
    [
        "Location",
        "Content-Type",
        "Content-Range",
        "Docker-Content-Digest",
        "ETag",
        "Link",
        "OCI-Filters-Applied",
        "WWW-Authenticate",
        "Allow",
        "Retry-After",
        "Warning",
    ]
)
"""Header fields of some answers, which are none of those of every answer."""


@frozen
class WholeAnswer:
    """An answer in bytes, but for its date and its id. `size` is that of its body, which a HEAD does not get."""

    start: bytes
    end: bytes
    size: int

    def complete(self, wall: float, request_id: str) -> bytes:
        """Return all bytes of the answer to the request with this id, at a time in seconds since the epoch."""
        return b"".join((self.start, _date(int(wall)), request_id.encode(), self.end))


def render_whole(rendered: Rendered, is_head: bool, closes: bool) -> WholeAnswer | None:
    """Return an answer in bytes; None if it is not written at once. The last one of a connection `closes` it."""
    body, status, own = rendered.body, rendered.status, rendered.headers
    if rendered.streamed is not None or len(body) > WHOLE_SIZE:
        return None
    if rendered.always is not REGISTRY:
        return None
    lines = ""
    for name, value in own.items():
        if name not in OWN or not value.isascii() or not value.isprintable() or value.strip() != value:
            return None
        lines += f"{_canonical(name)}: {value}\r\n"
    if status in NO_BODY_CODES:
        body = b""
    else:
        lines += f"Content-Length: {len(body) if rendered.length is None else rendered.length}\r\n"
        body = b"" if is_head else body
    start, constant = _constant_parts(status, rendered.backend, closes)
    return WholeAnswer(start, b"%b%b\r\n%b" % (constant, lines.encode("ascii"), body), len(body))


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """Return what comes from the value of the Date header up to the request's id, for a whole second."""
    date: bytes = datetimeToString(second)
    return date + b"\r\nX-Request-Id: "


@lru_cache(BACKENDS)
def _constant_parts(status: int, backend: str | None, closes: bool) -> tuple[bytes, bytes]:
    """Return what comes before the date and after the id in all answers with this status of a backend, or of none."""
    start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" + ("Connection: close\r\n" if closes else "")
    fields = {**EVERY, **REGISTRY, **({} if backend is None else {"X-Facaded-Backend": backend})}
    lines = "".join(f"{_canonical(name)}: {value}\r\n" for name, value in fields.items())
    return f"{start}Date: ".encode("ascii"), f"\r\n{lines}".encode("ascii")


@cache
def _canonical(name: str) -> str:
    """Return the name of one of facaded's header fields with the capitals that twisted.web gives it."""
    ((canonical, _),) = Headers({name: [""]}).getAllRawHeaders()
    return canonical.decode("ascii")
