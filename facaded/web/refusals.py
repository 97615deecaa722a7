"""The answer to a request too many: rendered once, because a flood must cost less than the requests of others."""

from functools import cache

from twisted.web.http import datetimeToString

from facaded.oci import errors
from facaded.oci.errors import Code
from facaded.web.render import JSON, REGISTRY

RETRY_AFTER = "1"
"""Seconds after which a client may send the next request: the rate is one a second at least."""

_MESSAGE = "too many requests from your address: try again in a second, or ask the operator of this registry"


def too_many_requests(is_head: bool, is_last: bool) -> bytes:
    """Return a whole answer 429 in bytes: without the body if the request is a HEAD, and closing if it `is_last`."""
    start, end = _parts(is_head, is_last)
    date: bytes = datetimeToString()
    return start + date + end


@cache
def _parts(is_head: bool, is_last: bool) -> tuple[bytes, bytes]:
    """Return what comes before and after the value of `Date`."""
    body = errors.document(Code.TOOMANYREQUESTS, _MESSAGE)
    headers = {**REGISTRY, **JSON, "Retry-After": RETRY_AFTER, "Content-Length": str(len(body))}
    headers |= {"Server": "facaded", "X-Content-Type-Options": "nosniff"}
    headers |= {"Connection": "close"} if is_last else {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    start = f"HTTP/1.1 429 Too Many Requests\r\n{lines}Date: "
    return start.encode("ascii"), b"\r\n\r\n" + (b"" if is_head else body)
