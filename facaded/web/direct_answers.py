"""Answers simple requests directly: one look at the head, one write, and no object of twisted.web's.

It parses and decides with the same functions as the ordinary path, which writes the same bytes. What is not simple, or
needs a backend that has to be waited for, takes the ordinary path through the Site and the Resource.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from facaded.web.admission import Admission
from facaded.web.answer_bytes import whole_answer
from facaded.web.answered_requests import AnsweredRequest, printable_path
from facaded.web.begun_answers import AnswersHeads, BegunAnswer
from facaded.web.client_address import client_address
from facaded.web.refusals import too_many_requests
from facaded.web.request_head import RequestHead
from facaded.web.simple_heads import SimpleHead, SimpleHeads


class DirectChannel(Protocol):
    """What direct answers need of a connection."""

    address: str
    is_secure: bool

    def answer_directly(self, answer: bytes, closes: bool) -> None:
        """Write a whole answer, and close the connection after it if it `closes`."""

    def refuse_directly(self, answer: bytes, closes: bool, address: str) -> None:
        """Do the same with the refusal of a request too many of a client at `address`, and read nothing for a while."""

    def pass_on(self, data: bytes, begun: BegunAnswer | None) -> None:
        """Let the ordinary path answer a request that has been admitted, with what has begun of its answer."""


class DirectAnswers:
    """Answers the simple requests of a site's connections from `resource`, and calls `tell` with each of them."""

    def __init__(
        self,
        resource: AnswersHeads,
        admission: Admission,
        clock: IReactorTime,
        tell: Callable[[AnsweredRequest], None],
    ) -> None:
        self._resource = resource
        self._admission = admission
        self._seconds = clock.seconds
        self._tell = tell
        self._heads = SimpleHeads()

    def answer(self, channel: DirectChannel, data: bytes) -> bool:
        """Answer the request that `data` consists of; return False if that is nothing simple."""
        head = self._heads.read(data)
        if head is None:
            return False
        address, fields = channel.address, head.fields
        if trusted := self._admission.settings.trusted_proxies:
            address = client_address(address, trusted, fields.x_forwarded_for, fields.forwarded)
        if not self._admission.admits_request(address):
            refusal = too_many_requests(head.method == b"HEAD", head.closes)
            channel.refuse_directly(refusal, head.closes, address)
            return True
        started = self._seconds()
        begun = self._resource.begin(RequestHead(head.method, head.target, fields, address, channel.is_secure))
        rendered = begun.rendered if begun is not None else None
        whole = whole_answer(rendered, head.method == b"HEAD", head.closes) if rendered is not None else None
        if begun is None or rendered is None or whole is None:
            channel.pass_on(data, begun)
            return True
        answer, size = whole
        channel.answer_directly(answer, head.closes)
        self._tell(self._as_answered(head, address, begun, rendered.status, size, started))
        return True

    def _as_answered(
        self, head: SimpleHead, address: str, begun: BegunAnswer, status: int, size: int, started: float
    ) -> AnsweredRequest:
        seconds, path = self._seconds() - started, printable_path(head.target)
        method = head.method.decode("ascii")
        return AnsweredRequest(address, method, path, begun.client, begun.decision, status, size, seconds)
