"""One CA as one account asks it: signed requests, and looks at what the CA is doing until it is done."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from facaded.net.client import Response
from facaded.tls.acme import documents
from facaded.tls.acme.documents import Document
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.wire import JSON, Signer, Wire

POLLS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Seconds between looks at what a CA is doing; the last one for all further. Most authorizations take a second."""

LONGEST_POLL = 60.0
"""Seconds between two looks that a CA's Retry-After may ask for: an order has five minutes in all."""

ILL_POLLS = 3
"""Looks in a row that may find a CA ill: an authorization under way is not given up for one of them."""

T = TypeVar("T")


class Session:
    """Asks a CA in the name of `signer`. All methods raise AcmeError."""

    def __init__(self, wire: Wire, signer: Signer, clock: IReactorTime) -> None:
        self.key = signer.key
        self._wire = wire
        self._signer = signer
        self._clock = clock

    async def post(self, url: str, document: Mapping[str, Any] | None, accept: str = JSON) -> Response:
        """Send a document, or without one a signed GET; see Wire."""
        return await self._wire.post(self._signer, url, document, accept)

    async def look(self, url: str, read: Callable[[Document], T]) -> T:
        """Return what stands at a URL now, as `read` understands it."""
        return read(documents.parse((await self.post(url, None)).body))

    async def poll(self, url: str, read: Callable[[Document], T], is_done: Callable[[T], bool]) -> T:
        """Look until it is done. The time is bounded by whoever runs the order."""
        looks = ill = 0
        while True:
            wait = POLLS[min(looks, len(POLLS) - 1)]
            try:
                answer = await self.post(url, None)
                found, ill, retry_after = read(documents.parse(answer.body)), 0, self._wire.retry_after(answer)
                if is_done(found):
                    return found
            except AcmeError as error:
                ill, retry_after = ill + 1, error.retry_after
                if not error.ill or ill > ILL_POLLS:
                    raise
            looks += 1
            await deferLater(self._clock, min(max(wait, retry_after), LONGEST_POLL))
