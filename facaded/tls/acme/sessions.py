"""A session at one CA with one account: signed requests, and polling until the CA has finished."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from facaded.net.client import Response
from facaded.tls.acme import documents
from facaded.tls.acme.documents import Document
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.wire import JSON, Signer, Wire

POLL_INTERVALS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Seconds between polls; the last one repeats. Most authorizations take a second."""

LONGEST_POLL_INTERVAL = 60.0
"""Seconds: the longest Retry-After between polls that is followed, because an order has only five minutes."""

MAX_FAILED_POLLS = 3
"""Polls in a row that may find the CA unavailable: one such poll does not end an authorization in progress."""

T = TypeVar("T")


class Session:
    """Sends requests to a CA, signed by `signer`. All methods raise AcmeError."""

    def __init__(self, wire: Wire, signer: Signer, clock: IReactorTime) -> None:
        self.key = signer.key
        self._wire = wire
        self._signer = signer
        self._clock = clock

    async def post(self, url: str, document: Mapping[str, Any] | None, accept: str = JSON) -> Response:
        """Send a document, or a signed GET without one; see Wire."""
        return await self._wire.post(self._signer, url, document, accept)

    async def fetch(self, url: str, read: Callable[[Document], T]) -> T:
        """Return the document at a URL, as `read` parses it."""
        return read(documents.parse((await self.post(url, None)).body))

    async def poll(self, url: str, read: Callable[[Document], T], is_done: Callable[[T], bool]) -> T:
        """Fetch a document until `is_done` returns true for it, and return it. The caller sets the timeout."""
        polls = failed = 0
        while True:
            interval = POLL_INTERVALS[min(polls, len(POLL_INTERVALS) - 1)]
            try:
                response = await self.post(url, None)
                document = read(documents.parse(response.body))
                failed, retry_after = 0, self._wire.retry_after(response)
                if is_done(document):
                    return document
            except AcmeError as error:
                failed, retry_after = failed + 1, error.retry_after
                if not error.ca_unavailable or failed > MAX_FAILED_POLLS:
                    raise
            polls += 1
            await self.pause(min(max(interval, retry_after), LONGEST_POLL_INTERVAL))

    async def pause(self, seconds: float) -> None:
        """Wait before the next request."""
        await deferLater(self._clock, seconds)
