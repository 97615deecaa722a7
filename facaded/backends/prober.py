"""The prober of one backend: probes it again and again, and sooner when there is reason to."""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.policy.health import Result, Verdict

AFTER_ERROR = 10.0
"""Seconds to the next probe after an error in this program."""

HASTE = 1.0
"""Seconds from the end of a probe to the start of one that is hastened."""

HASTENED_BURST = 2
"""Probes that may be hastened in a row: one that finds an outage, and one that finds it over or another begun."""

HASTENED_EVERY = 180.0
"""Seconds after which one more may be, if those before found the backend well: a client that asks for a damaged image
again and again, or a hostile one, must not turn into a load of probes."""

_log = Logger()


class Prober:
    """Probes one backend again and again.

    `probe` makes one probe; `heard` is called with each result and says how many seconds to wait before the next.
    """

    def __init__(
        self, clock: IReactorTime, probe: Callable[[], Awaitable[Result]], heard: Callable[[Result], float]
    ) -> None:
        self._clock = clock
        self._probe = probe
        self._heard = heard
        self._stopped = False
        self._pausing: IDelayedCall | None = None
        self._heard_at = 0.0
        self._hastened: list[float] = []
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

    def hasten(self) -> bool:
        """Make the next probe now, or a second after the last one; says whether it was brought forward.

        One that is under way is left alone. Only so many are hastened: then the next comes when it comes.
        """
        now = self._clock.seconds()
        self._hastened = [each for each in self._hastened if each > now - HASTENED_EVERY * HASTENED_BURST]
        if len(self._hastened) >= HASTENED_BURST or not self._bring_forward(max(self._heard_at + HASTE - now, 0)):
            return False
        self._hastened.append(now)
        return True

    def probe_now(self) -> None:
        """Make the next probe now, whatever there was before: time itself has jumped."""
        self._bring_forward(0)

    def _bring_forward(self, seconds: float) -> bool:
        """Shorten the wait for the next probe to so many seconds."""
        if self._pausing is None or self._pausing.getTime() <= self._clock.seconds() + seconds:
            return False
        self._pausing.reset(seconds)
        return True

    async def _run(self) -> None:
        while not self._stopped:
            result = await self._probe()
            if not self._stopped:
                self._heard_at = self._clock.seconds()
                if result.verdict is not Verdict.GOOD:
                    self._hastened.clear()
                await self._wait(self._pause_after(result))

    async def _wait(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        self._pausing = self._clock.callLater(seconds, pause.callback, None)
        try:
            await pause
        finally:
            if self._pausing.active():
                self._pausing.cancel()
            self._pausing = None

    def _pause_after(self, result: Result) -> float:
        """What the listener says; an error of its own must not end the watch over a backend."""
        try:
            return self._heard(result)
        except Exception:
            _log.failure("a probe's result was not understood")
            return AFTER_ERROR
