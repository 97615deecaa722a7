"""The requests of one probe, the steps that they passed, and the requests that confirm a failure.

A probe keeps its connections open for its own later requests. Each confirmation has a new connection.
"""

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

from attrs import define, field, frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from facaded.backends.failures import describe_status
from facaded.backends.media_types import essence
from facaded.net.client import BoundedClient, Response, ResponseHead, is_local_error
from facaded.net.connections import ClientSession
from facaded.net.text import printable
from facaded.oci.requests import Blob, ManifestRead
from facaded.policy.health import CONFIRMATION_TIME, CONFIRMATIONS, Confirmations, Step, Verdict

T = TypeVar("T")


class StepFailedError(Exception):
    """A step of the ladder failed. `retry_after` is in seconds, 0 without a Retry-After."""

    def __init__(self, verdict: Verdict, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.retry_after = retry_after


class DriftError(Exception):
    """The canary is not as expected, although the backend works. The text says why; `status` is 0 without one."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@frozen
class Question(Generic[T]):
    """One request of a probe, and how its response is judged.

    `judge` returns what the probe needs of the response; it raises StepFailedError or DriftError. `limit` is the
    largest body in bytes; without one the body is not read.
    """

    method: str
    url: str
    headers: dict[str, str]
    judge: Callable[[Response], T]
    limit: int | None = None


@define
class ProbeRequests:
    """The requests of one probe of the registry at `url`, or of one branch of a check.

    `timeout` is that of each request, in seconds. `note_pass` is called with each step that ended well, and with those
    that it stands for, `note_url` with the step and the URL of each request. `step` is the step in progress, `passed`
    are those that ended well, `sent` counts the requests,
    `status` is that of the last response, and `authorization` is the token for the registry once there is one.
    `durations` are the seconds that the requests of each step took, until they were answered or failed.
    """

    url: str
    open_session: Callable[[], ClientSession]
    session: ClientSession
    clock: IReactorTime
    timeout: float
    note_pass: Callable[..., None]
    note_url: Callable[[Step, str], None] = lambda step, url: None
    step: Step = field(default=Step.PING, init=False)
    passed: list[Step] = field(factory=list, init=False)
    sent: int = field(default=0, init=False)
    status: int = field(default=0, init=False)
    authorization: str = field(default="", init=False)
    durations: dict[Step, float] = field(factory=dict, init=False)
    _pending: Question[Any] | None = field(default=None, init=False)

    def begin(self, step: Step) -> None:
        """Begin a step. One that has passed counts again only after its new end."""
        self.step = step
        if step in self.passed:
            self.passed.remove(step)

    def end(self, *stands_for: Step) -> None:
        """Note that the step in progress has passed. It stands for others that cannot be asked by themselves."""
        self.passed.append(self.step)
        self.note_pass(self.step, *stands_for)

    async def ask(self, question: Question[T]) -> T:
        """Send a request and return its judgement. Raises as that and `BoundedClient.ask` do, and TimeoutError."""
        self._pending = question
        self.sent += 1
        self.note_url(self.step, question.url)
        start = self.clock.seconds()
        work = Deferred.fromCoroutine(_send(self.session.client, question))
        try:
            response = await work.addTimeout(self.timeout, self.clock, onTimeoutCancel=_raise_timeout)
        finally:
            self.durations[self.step] = self.durations.get(self.step, 0.0) + self.clock.seconds() - start
        self.status = response.status
        answer = question.judge(response)
        self._pending = None
        return answer

    def authorized(self, headers: dict[str, str]) -> dict[str, str]:
        """Return headers with the token, which only the registry's own host may receive."""
        return {**headers, "Authorization": self.authorization} if self.authorization else headers

    def locate(self, read: ManifestRead | Blob) -> str:
        """Return the registry's URL of a manifest or blob."""
        return f"{self.url}{read.path}"

    async def confirm(self) -> Confirmations | None:
        """Send the request that failed again, `CONFIRMATIONS` times at once, each on a new connection.

        What has no answer within `CONFIRMATION_TIME` has failed. Returns None if no request failed.
        """
        question = self._pending
        if question is None:
            return None
        self.sent += CONFIRMATIONS
        start = self.clock.seconds()
        repetitions = [
            Deferred.fromCoroutine(_fails_again(self.open_session(), question)).addTimeout(
                CONFIRMATION_TIME, self.clock
            )
            for _ in range(CONFIRMATIONS)
        ]
        failed = sum(await gatherResults(repetitions))
        return Confirmations(CONFIRMATIONS, failed, self.clock.seconds() - start)


def _raise_timeout(outcome: object, seconds: float) -> NoReturn:
    """Raise the same error at every stage of a request, so that a timeout is not mistaken for the caller's cancel.

    A look-up that hangs keeps its own error, which says more.
    """
    if isinstance(outcome, Failure) and outcome.check(DNSLookupError):
        outcome.raiseException()
    raise defer.TimeoutError(seconds, "probe")


async def _send(client: BoundedClient, question: Question[T]) -> Response:
    opened = await client.open(question.method, question.url, question.headers)
    if question.limit is None:
        opened.abandon()
        return Response(opened.status, opened.headers, b"")
    return Response(opened.status, opened.headers, await opened.read(question.limit))


async def _fails_again(session: ClientSession, question: Question[T]) -> bool:
    """Send a request once more. A 429 or a timeout is a failure, an error of this machine is not."""
    try:
        question.judge(await _send(session.client, question))
    except DriftError:
        return False
    except Exception as error:
        return not is_local_error(error)
    finally:
        await session.close()
    return False


def failed_step(head: ResponseHead) -> StepFailedError:
    """Return the error for a response with a status that fails its step."""
    verdict = Verdict.LIMITED if head.status == 429 else Verdict.BAD
    return StepFailedError(verdict, describe_status(head), head.retry_after())


def unexpected_content(head: ResponseHead, expected: str) -> StepFailedError:
    """Return the error for a response with status 200 that is something else, such as a maintenance page."""
    kind = printable(media_type(head))
    detail = f" ({kind})" if kind else ""
    return StepFailedError(Verdict.BAD, f"answered with something that is no {expected}{detail}")


def media_type(head: ResponseHead) -> str:
    """Return the media type of a response in lower case and without parameters; empty if there is none."""
    return essence(head.value("Content-Type"))
