"""Answers simple requests directly: one look at the head, one write, and no object of twisted.web's.

It parses and decides with the same functions as the ordinary path, which writes the same bytes. What is not simple, or
needs a backend that has to be waited for, takes the ordinary path through the Site and the Resource.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from facaded.web.admission import Admission
from facaded.web.answer_bytes import render_whole
from facaded.web.answered_requests import AnsweredRequest
from facaded.web.begun_answers import AnswersHeads, BegunAnswer
from facaded.web.client_address import client_address
from facaded.web.refusals import too_many_requests
from facaded.web.request_head import Origin
from facaded.web.simple_heads import SimpleHeads


class DirectChannel(Protocol):
    """What direct answers need of a connection."""

    @property
    def origin(self) -> Origin:
        """Where requests come from, unless a trusted proxy says something else."""

    def answer_directly(self, answer: bytes, closes: bool) -> None:
        """Write a whole answer, and close the connection after it if it `closes`."""

    def refuse_directly(self, answer: bytes, closes: bool, address: str) -> None:
        """Do the same with the refusal of a request too many of a client at `address`, and read nothing for a while."""

    def pass_on(self, data: bytes, begun: BegunAnswer | None) -> None:
        """Let the ordinary path answer a request that has been admitted, with what has begun of its answer."""


class DirectAnswers:
    """Answers the simple requests of a site's connections from `resource`, and calls `tell` with each of them.

    `request_ids` are those of the site's requests. `wall` returns seconds since the epoch.
    """

    def __init__(
        self,
        resource: AnswersHeads,
        admission: Admission,
        clock: IReactorTime,
        tell: Callable[[AnsweredRequest], None],
        request_ids: Iterator[str],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._resource = resource
        self._admission = admission
        self._seconds = clock.seconds
        self._tell = tell
        self._request_ids = request_ids
        self._wall = wall
        self._heads = SimpleHeads()

    def answer(self, channel: DirectChannel, data: bytes) -> bool:
        """Answer the request that `data` consists of; return False if that is nothing simple."""
        head = self._heads.read(data)
        if head is None:
            return False
        origin, fields = channel.origin, head.fields
        if trusted := self._admission.settings.trusted_proxies:
            address = client_address(origin.address, trusted, fields.x_forwarded_for, fields.forwarded)
            origin = Origin(address, origin.is_secure)
        address = origin.address
        if not self._admission.admits_request(address):
            refusal = too_many_requests(head.method == b"HEAD", head.closes)
            channel.refuse_directly(refusal, head.closes, address)
            return True
        started = self._seconds()
        begun = self._resource.begin(head, origin)
        whole = None if begun is None else begun.whole
        if whole is None and begun is not None and begun.rendered is not None:
            whole = begun.whole = render_whole(begun.rendered, head.method == b"HEAD", head.closes)
        if begun is None or begun.rendered is None or whole is None:
            channel.pass_on(data, begun)
            return True
        wall, request_id = self._wall(), next(self._request_ids)
        channel.answer_directly(whole.complete(wall, request_id), head.closes)
        self._tell(
            AnsweredRequest(
                address,
                head.verb,
                head.path,
                fields.client,
                begun.decision,
                begun.rendered.status,
                whole.size,
                self._seconds() - started,
                wall,
                request_id,
                fields.logged,
            )
        )
        return True
