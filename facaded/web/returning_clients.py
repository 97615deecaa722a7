"""Clients that come back after a redirect: what is noted of the answers, and what follows for the next request."""

from collections.abc import Callable

from attrs import evolve

from facaded.oci import requests
from facaded.oci.errors import Refusal
from facaded.policy.asked_again import NOTHING, AskedAgain, Asking
from facaded.policy.decision import Answer, Forward, Redirect, Serve, Visit
from facaded.web.answered_requests import parse_first_byte
from facaded.web.render import Rendered
from facaded.web.request_head import RequestHead

REDIRECT_STATUS = 307
"""The status of a redirect: to a backend, or to where a backend redirects requests for a blob."""

NEEDS_NO_BACKEND = (Refusal, requests.Home, requests.PageFile, requests.TokenRequest)

FROM_A_BACKEND = (Serve, Forward)


def ignore_doubt(repository: str, digest: str, source: str) -> None:
    """Do nothing with a blob whose address is in doubt: no address is remembered."""


class ReturningClients:
    """Recognises clients that come back after a redirect.

    `seconds` returns monotonic time. `hint` is called with the name of a backend that may fail.
    """

    def __init__(self, seconds: Callable[[], float], hint: Callable[[str], None]) -> None:
        self.table = AskedAgain()
        self._seconds = seconds
        self._hint = hint
        self._doubt_blob: Callable[[str, str, str], None] = ignore_doubt

    def report_doubts(self, doubt_blob: Callable[[str, str, str], None]) -> None:
        """Call this from now on with the repository and digest of a blob, and the source that doubts its address."""
        self._doubt_blob = doubt_blob

    def recognise(self, asking: Asking, serves: bool, visit: Visit) -> Visit:
        """Add to `visit` what a request shows of earlier ones. With `serves`, clients that asked again are served."""
        judgement = self.table.judge(asking, serves, self._seconds())
        if judgement is NOTHING:
            return visit
        if judgement.hint:
            self._hint(judgement.hint)
        if judgement.doubted and isinstance(asking.target, requests.Blob):
            self._doubt_blob(asking.target.name, asking.target.digest, asking.key[0])
        if not (judgement.asked_again or judgement.avoided):
            return visit
        return evolve(visit, asked_again=judgement.asked_again, avoided=judgement.avoided)

    def note(self, asking: Asking, answer: Answer, rendered: Rendered) -> None:
        """Note an answer: a redirect, or a manifest or a blob's redirect that was served."""
        if rendered.backend is None:
            return
        redirected = isinstance(answer, Redirect)
        if redirected or (isinstance(answer, FROM_A_BACKEND) and _is_content(asking, rendered.status)):
            self.table.note(asking, rendered.backend, redirected, self._seconds())


def asking_of(head: RequestHead, address: str) -> Asking | None:
    """Return a request of a client at `address` as it is judged; None if it needs no backend."""
    if head.asking is not None and head.asking[0] == address:
        return head.asking[1]
    target, fields = head.parsed, head.fields
    if isinstance(target, NEEDS_NO_BACKEND):
        return None
    first_byte = parse_first_byte(fields.range) if isinstance(target, requests.Blob) else None
    asking = Asking.of(address, fields.user_agent, fields.client, head.verb, target, first_byte)
    head.asking = address, asking
    return asking


def _is_content(asking: Asking, status: int) -> bool:
    match asking.target:
        case requests.ManifestRead():
            return status in (200, 304)
        case requests.Blob():
            return status == REDIRECT_STATUS
        case _:
            return False
