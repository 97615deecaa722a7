"""The gate for requests to one backend: how many are in progress, and one at a time for a step that fails.

Of the places and of the queue, one source gets a part, so that it leaves room for others. Source of the terms: Envoy's
"Circuit breaking", which limits requests in progress and those that wait, per upstream.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed

from facaded.backends.failures import (
    RATE_LIMITED,
    CircuitOpenError,
    CrowdedError,
    FailingError,
    NoRedirectError,
    NotFoundError,
    TokenError,
    UnaskedError,
    describe_status,
    is_cancelled,
)
from facaded.backends.shares import FACADED, Asker
from facaded.net.client import BoundedClient, StreamedResponse, describe_error, is_local_error
from facaded.policy.health import Step

MOST_REQUESTS = 64
"""The most requests to one backend in progress by default: at 0.1 s per response, 640 a second."""

MOST_WAITING = 2000
"""The most requests that wait for a place, or for their turn: the next one fails at once, or makes another one fail.

At 640 a second these are 3 s of work, and a part of them is what one source may send at once by default.
"""

PARTS = 4
"""Parts of the places and of the queue. A source has one, and further places only while one part of them is free.

So a single source may use three quarters of the places, and three sources together still leave room for a fourth.
"""

BREAKER_FAILURES = 5
"""Failures of a step in a row after which it gets one request at a time."""

T = TypeVar("T")


class Queue:
    """Waits, at most MOST_WAITING. Cancelling a wait gives up its place.

    Sources take turns (round-robin), and the waits of each are in order. A source has one part of the queue at most. In
    a full queue, the last wait of the largest source makes room for a smaller one, because a stranger can have several
    addresses. The empty source, which stands for facaded and for exempt clients, has no limit of its own.
    """

    def __init__(self) -> None:
        self._waits: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()
        self._count = 0
        self._called: str | None = None

    def holds(self, source: str) -> bool:
        """Return whether a request of a source waits, and no other one of it is being called."""
        return source in self._waits and source != self._called

    def join(self, source: str = "") -> Deferred[None]:
        """Return a Deferred that fires when its turn has come. Raises CrowdedError if there is no room."""
        if source and len(self._waits.get(source, ())) >= MOST_WAITING // PARTS:
            raise _too_many_of(source)
        largest = self._largest_beyond(source) if self._count >= MOST_WAITING else ""
        if self._count >= MOST_WAITING and not largest:
            raise CrowdedError("too many requests wait for it")
        wait: Deferred[None] = Deferred(lambda cancelled: self._remove(source, cancelled))
        self._waits.setdefault(source, deque()).append(wait)
        self._count += 1
        if largest:
            last = self._waits[largest][-1]
            self._remove(largest, last)
            last.errback(_too_many_of(largest))
        return wait

    def call_while(self, allowed: Callable[[str], bool]) -> None:
        """Let requests go on while this is allowed for a source: for none if not for the empty one.

        One that ends at once does not nest the call for the next one.
        """
        if self._called is not None:
            return
        while allowed("") and (source := next(filter(allowed, self._waits), None)) is not None:
            self._waits.move_to_end(source)
            wait = self._waits[source][0]
            self._remove(source, wait)
            self._called = source
            wait.callback(None)
            self._called = None

    def _largest_beyond(self, source: str) -> str:
        """Return the source with the most waits if it has more than `source` would have, else an empty one."""
        counts = {other: len(waits) for other, waits in self._waits.items() if other}
        largest = max(counts, key=counts.__getitem__, default="")
        return largest if counts.get(largest, 0) > counts.get(source, 0) + 1 else ""

    def _remove(self, source: str, wait: Deferred[None]) -> None:
        waits = self._waits[source]
        waits.remove(wait)
        self._count -= 1
        if not waits:
            del self._waits[source]


def _too_many_of(source: str) -> CrowdedError:
    return CrowdedError("too many requests of this client wait for it", source)


@define
class Breaker:
    """The circuit breaker of one step.

    `failures` are those in a row, and `subjects` some of the images or scopes that were asked for: one image that
    cannot be had does not open it. `tried` is whether a request is finding out now whether the step still fails.
    """

    failures: int = 0
    subjects: set[str] = field(factory=set)
    tried: bool = False
    queue: Queue = field(factory=Queue)

    @property
    def open(self) -> bool:
        return self.failures >= BREAKER_FAILURES and len(self.subjects) > 1

    @property
    def blocks(self) -> bool:
        """Whether a request must wait for its turn."""
        return self.open and self.tried

    def count_failure(self, subject: str) -> None:
        """Count a failure of a request for `subject`."""
        self.failures += 1
        if len(self.subjects) < BREAKER_FAILURES:
            self.subjects.add(subject)

    async def run(
        self,
        subject: str,
        work: Callable[[], Coroutine[Deferred[Any], Any, T]],
        judge: Callable[[T | BaseException], bool | None],
    ) -> T:
        """Run a request for `subject`. `judge` returns whether its outcome is good; None if it says nothing."""
        trial = self.open
        self.tried = self.tried or trial
        outcome: T | BaseException = CancelledError()
        try:
            outcome = await work()
            return outcome
        except BaseException as error:
            outcome = error
            raise
        finally:
            if good := judge(outcome):
                self.failures = 0
                self.subjects.clear()
            elif good is not None:
                self.count_failure(subject)
            self.tried = self.tried and not trial
            self.queue.call_while(lambda _: not self.blocks)


class RequestGate:
    """Bounds the requests to one backend: `most_requests` in progress.

    `token_step` and `token_subject` are those of its last request for a token.
    """

    def __init__(self, most_requests: int = MOST_REQUESTS) -> None:
        self.token_step, self.token_subject = Step.TOKEN, ""
        self._most = most_requests
        self._in_progress = 0
        self._of_source: Counter[str] = Counter()
        self._places = Queue()
        self._breakers: Mapping[Step, Breaker] = {step: Breaker() for step in Step}

    def is_crowded(self, source: str = "") -> bool:
        """Return whether a source gets no place at once: all are taken, or it has its part and the last one is left."""
        part = self._most // PARTS
        most = self._most - part if source and self._of_source[source] >= max(part, 1) else self._most
        return self._in_progress >= most

    def must_wait(self, source: str) -> bool:
        """Return whether the next request of a source has to wait for a place."""
        return self.is_crowded(source) or self._places.holds(source)

    async def run(
        self,
        step: Step | None,
        subject: str,
        work: Callable[[], Coroutine[Deferred[Any], Any, T]],
        asker: Asker = FACADED,
    ) -> T:
        """Run requests for `subject` that take `step`, within the bounds; None has no circuit breaker.

        Raises as `hold` and `take` do.
        """
        return await self.hold(step, work if step is None else partial(self.take, step, subject, work), asker)

    async def hold(
        self, step: Step | None, work: Callable[[], Coroutine[Deferred[Any], Any, T]], asker: Asker = FACADED
    ) -> T:
        """Run requests in turn, of which `step` is the first, in one place. For what this raises, see `wait`."""
        await self.wait(step, asker)
        source = asker.source
        self._in_progress += 1
        self._of_source[source] += 1
        try:
            return await work()
        finally:
            self._in_progress -= 1
            self._leave(source)

    async def wait(self, step: Step | None, asker: Asker) -> None:
        """Wait for a place, which the caller has to take at once.

        Raises UnaskedError if the requests must not be sent: CircuitOpenError if that is because of the circuit breaker
        of `step`, CrowdedError if the queue is full. Raises OverRateError if `asker` may ask no backend.
        """
        asker.count()
        if step is not None:
            self._breaker(step)
        if self.must_wait(asker.source):
            asker.note_wait(self)
            await self._places.join(asker.source)

    async def take(self, step: Step, subject: str, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """Run a request for `subject` that takes `step`, in a place that its caller has.

        Raises CircuitOpenError if the circuit breaker blocks it. Sets the step of a FailingError that has none.
        """
        return await self._breaker(step).run(subject, work, lambda outcome: _judge(outcome, step))

    async def run_token_request(
        self, step: Step, subject: str, work: Callable[[], Coroutine[Deferred[Any], Any, StreamedResponse]]
    ) -> StreamedResponse:
        """Run a request for a token. It needs no place, because it is part of a request that has one."""
        breaker = self._breaker(step)
        self.token_step, self.token_subject = step, subject
        return await breaker.run(subject, work, _judge_token_response)

    def note_timeout(self, step: Step, subject: str) -> None:
        """Count a failure of a request for `subject` that was cancelled because it took too long."""
        self._breakers[step].count_failure(subject)

    def turn(self, step: Step, source: str = "") -> Deferred[None]:
        """Return a Deferred that fires when a request of a source may take `step`.

        Raises CrowdedError if too many wait.
        """
        breaker = self._breakers[step]
        return breaker.queue.join(source) if breaker.blocks else succeed(None)

    def _leave(self, source: str) -> None:
        """Give the place of a request to those that wait."""
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]
        self._places.call_while(lambda waiting: not self.is_crowded(waiting))

    def _breaker(self, step: Step) -> Breaker:
        """Return the circuit breaker of a step. Raises CircuitOpenError if it blocks."""
        breaker = self._breakers[step]
        if breaker.blocks:
            raise CircuitOpenError(step)
        return breaker


def _judge(outcome: object, step: Step) -> bool | None:
    if isinstance(outcome, NoRedirectError):
        return True  # it has the blob, and answered
    if isinstance(outcome, FailingError):
        outcome.step = outcome.step or step
        counts = outcome.step is step and not isinstance(outcome, UnaskedError) and not outcome.limited
        return False if counts else None
    return None if isinstance(outcome, BaseException) and not isinstance(outcome, NotFoundError) else True


def _judge_token_response(outcome: StreamedResponse | BaseException) -> bool | None:
    if isinstance(outcome, TokenError):
        return None if outcome.status == RATE_LIMITED else False
    return None if isinstance(outcome, BaseException) else True


class TokenClient(BoundedClient):
    """Sends the requests for tokens through `client`, one at a time while their server fails.

    It raises TokenError for a request that failed, so that the failure has its step and its Retry-After. `note_url` is
    called with the URL of each request to a token server.
    """

    def __init__(
        self, client: BoundedClient, gate: RequestGate, note_url: Callable[[str], None] = lambda url: None
    ) -> None:
        self.url = client.url
        self._client = client
        self._gate = gate
        self._note_url = note_url

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> StreamedResponse:
        step = Step.PING if url == f"{self.url}/v2/" else Step.TOKEN
        if step is Step.TOKEN:
            self._note_url(url)
        return await self._gate.run_token_request(step, url, lambda: self._send(step, method, url, headers, body))

    async def check_target(self, url: str) -> None:
        await self._client.check_target(url)

    async def _send(
        self, step: Step, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> StreamedResponse:
        try:
            response = await self._client.open(method, url, headers, body)
        except Exception as error:
            if is_cancelled(error) or is_local_error(error):
                raise
            raise TokenError(describe_error(error), step) from None
        is_ping = step is Step.PING
        if response.status in (200, 401) or not (is_ping or response.status >= 500 or response.status == RATE_LIMITED):
            return response
        response.abandon()
        reason = f"{'GET /v2/' if is_ping else 'token server'}: {describe_status(response)}"
        raise TokenError(reason, step, response.status, response.retry_after())
