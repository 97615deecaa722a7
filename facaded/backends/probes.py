"""Probes: one climb up the ladder of what a pull needs from a registry, and what it found.

The steps, and what is good at each:
1. `GET /v2/`: 200, or 401 with a challenge.
2. a fresh token from the challenge's realm, for the canary if there is one. A registry without a token server has
no such step.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.backends.registry import Answer, Registry, probed_registry, words
from facaded.backends.tokens import RealmError, read_token, token_url
from facaded.oci import challenge
from facaded.oci.challenge import Challenge
from facaded.oci.requests import Image
from facaded.policy.health import Result, Step, Verdict

BODY_SIZE = 64 << 10
"""Bytes read of an answer to a probe: error documents and tokens have a few kilobytes."""

AFTER_ERROR = 10.0
"""Seconds to the next probe after an error in this program."""

WORKING = (200, 401)

HASTE = 1.0
"""Seconds since the last probe before another may be hastened: failing requests must not turn into a load of probes."""

_log = Logger()


class StepFailed(Exception):  # noqa: N818
    """A step of the ladder was not good."""

    def __init__(self, verdict: Verdict, words: str, retry_after: float = 0.0) -> None:
        super().__init__(words)
        self.verdict = verdict
        self.words = words
        self.retry_after = retry_after


def prober_of(
    reactor: Any, url: str, ca_file: Path | None, canary: Image | None, timeout: float
) -> Callable[[], Deferred[Result]]:
    """A function that makes one probe of the registry at `url`.

    Raises as `registry.trust_policy` does.
    """
    registry = probed_registry(reactor, url, ca_file, timeout)
    return lambda: Deferred.fromCoroutine(probe(registry, canary, timeout, reactor))


async def probe(registry: Registry, canary: Image | None, timeout: float, clock: IReactorTime) -> Result:
    """Climb the ladder once, for `timeout` seconds at most, and say what was found.

    Does not raise; what a probe that was cancelled from outside returns means nothing.
    """
    ladder = _Ladder(registry, canary)
    begun = clock.seconds()
    verdict, retry_after = Verdict.GOOD, 0.0
    try:
        found = await Deferred.fromCoroutine(ladder.climb()).addTimeout(timeout, clock)
    except StepFailed as failed:
        verdict, found, retry_after = failed.verdict, failed.words, failed.retry_after
    except Exception as error:
        verdict, found = Verdict.BAD, words(error)
    return Result(verdict, ladder.step, found, clock.seconds() - begun, retry_after)


@define
class _Ladder:
    """One climb; `step` is where it has got to."""

    registry: Registry
    canary: Image | None
    step: Step = Step.PING

    async def climb(self) -> str:
        answer = await self._ask(f"{self.registry.url}/v2/", accept=lambda status: status in WORKING)
        if answer.status == 200:
            return "answers without a token"
        challenges = [each for value in answer.values("WWW-Authenticate") for each in challenge.parse(value)]
        if not challenges:
            raise StepFailed(Verdict.BAD, "401 without a challenge")
        bearer = next((each for each in challenges if each.scheme == "bearer"), None)
        if bearer is None:
            return f"wants {challenges[0].scheme} authentication"
        self.step = Step.TOKEN
        return await self._token(bearer)

    async def _token(self, bearer: Challenge) -> str:
        scope = f"repository:{self.canary.name}:pull" if self.canary else None
        try:
            url = token_url(bearer, self.registry.url, scope)
        except RealmError as error:
            raise StepFailed(Verdict.BAD, str(error)) from None
        answer = await self._ask(url, accept=lambda status: status < 500)
        if answer.status != 200:
            return f"token server answers {answer.status}"
        if read_token(answer) is None:
            raise StepFailed(Verdict.BAD, "200 without a token")
        return "token granted"

    async def _ask(self, url: str, accept: Callable[[int], bool]) -> Answer:
        answer = await self.registry.ask("GET", url, headers={"Accept": "application/json"}, limit=BODY_SIZE)
        if answer.status == 429:
            raise StepFailed(Verdict.LIMITED, "429, asks for patience", answer.retry_after())
        if not accept(answer.status):
            raise StepFailed(Verdict.BAD, f"answered {answer.status}", answer.retry_after())
        return answer


class Prober:
    """Probes one backend again and again.

    `probe` makes one probe; `heard` is called with each result and says how many seconds to wait before the next.
    """

    def __init__(
        self, clock: IReactorTime, probe: Callable[[], Deferred[Result]], heard: Callable[[Result], float]
    ) -> None:
        self._clock = clock
        self._probe = probe
        self._heard = heard
        self._stopped = False
        self._pause: Deferred[None] | None = None
        self._heard_at = 0.0
        self._loop: Deferred[None] | None = None

    def start(self) -> None:
        """Make the first probe now."""
        self._loop = Deferred.fromCoroutine(self._run())
        self._loop.addErrback(lambda failure: failure.trap(CancelledError))
        self._loop.addErrback(lambda failure: _log.failure("the probes of a backend ended in an error", failure))

    def stop(self) -> None:
        """Make no more probes, and close the connection of one under way."""
        self._stopped = True
        if self._loop is not None:
            self._loop.cancel()

    def hasten(self) -> None:
        """End the wait for the next probe.

        One that is under way is left alone, and so is a backend that was probed just now.
        """
        if self._pause is not None and self._clock.seconds() - self._heard_at >= HASTE:
            self._pause.callback(None)

    async def _run(self) -> None:
        while not self._stopped:
            result = await self._probe()
            if not self._stopped:
                self._heard_at = self._clock.seconds()
                await self._wait(self._pause_after(result))

    async def _wait(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        self._pause = pause
        call = self._clock.callLater(seconds, pause.callback, None)
        try:
            await pause
        finally:
            self._pause = None
            if call.active():
                call.cancel()

    def _pause_after(self, result: Result) -> float:
        """What the listener says; an error of its own must not end the watch over a backend."""
        try:
            return self._heard(result)
        except Exception:
            _log.failure("a probe's result was not understood")
            return AFTER_ERROR
