"""Writes answers: status, headers and body."""

from collections.abc import Mapping
from http import HTTPStatus

from twisted.web.http import NO_BODY_CODES, Request

from facaded.web import render
from facaded.web.answer_bytes import EVERY, WHOLE_SIZE
from facaded.web.channel import Channel
from facaded.web.server import BoundedRequest, address_of
from facaded.web.sliced_body import SLICE_SIZE, SlicedBody


def write_head(request: Request, status: int, headers: Mapping[str, str]) -> None:
    """Set an answer's status and headers, including those of every answer."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))  # Twisted has no phrase for 421
    for name, value in {**EVERY, **headers}.items():
        request.setHeader(name, value)
    channel = _channel(request)
    if channel is not None and channel.site.is_stopping:
        channel.persistent = False
        request.setHeader("Connection", "close")


def respond(request: Request, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
    """Write a whole answer. A HEAD gets the headers of a GET, including `Content-Length`, without the body.

    `length` is the length of the body that a GET would have, if `body` is not that body. A large body is written as the
    client reads it; if there is no memory for it, the answer is 503 instead. Its client may be disconnected later,
    to make room for others.
    """
    has_body = request.method != b"HEAD" and status not in NO_BODY_CODES
    channel = _channel(request) if has_body and len(body) > WHOLE_SIZE else None
    if channel is not None and channel.site.unsent is not None:
        release = channel.site.unsent.admit(body, SLICE_SIZE, address_of(request), channel.abort)
        if release is None:
            respond_unread(request)
            return
        request.notifyFinish().addBoth(lambda _: release())
        _write_head_with_length(request, status, headers, len(body))
        SlicedBody(request, channel, body, channel.site.reactor).start()
        return
    _write_head_with_length(request, status, headers, len(body) if length is None else length)
    request.write(body)
    request.finish()


def respond_unread(request: Request) -> None:
    """Write 503, because there is no memory for an answer that the client may read slowly."""
    refused = render.render_unread()
    respond(request, refused.status, refused.all_headers, refused.body)


def _channel(request: Request) -> Channel | None:
    """Return the connection of a request; None if it is not one of a BoundedSite, as in tests of resources."""
    return request.channel if isinstance(request, BoundedRequest) else None


def _write_head_with_length(request: Request, status: int, headers: Mapping[str, str], length: int) -> None:
    write_head(request, status, headers)
    if status not in NO_BODY_CODES:
        request.setHeader("Content-Length", str(length))
