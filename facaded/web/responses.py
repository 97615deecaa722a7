"""Writes answers: status, headers and body."""

from collections.abc import Mapping
from http import HTTPStatus

from twisted.web import http
from twisted.web.server import Request

CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox"
"""Of answers that are not for browsers, some of which have content that strangers chose: it may run nothing."""


def write_head(request: Request, status: int, headers: Mapping[str, str]) -> None:
    """Set an answer's status and headers, including those of every answer."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))  # Twisted has no phrase for 421
    request.setHeader("Server", "facaded")
    request.setHeader("X-Content-Type-Options", "nosniff")
    request.setHeader("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    for name, value in headers.items():
        request.setHeader(name, value)


def respond(request: Request, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
    """Write a whole answer. A HEAD gets the headers of a GET, including `Content-Length`, without the body.

    `length` is the length of the body that a GET would have, if `body` is not that body.
    """
    write_head(request, status, headers)
    if status not in http.NO_BODY_CODES:
        request.setHeader("Content-Length", str(len(body) if length is None else length))
    request.write(body)
    request.finish()
