"""The prober of one backend: it probes the backend periodically, and earlier after a failed request."""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.policy.health import Result, Verdict

AFTER_ERROR = 10.0
"""Seconds until the next probe after an internal error."""

EARLY_PAUSE = 1.0
"""Minimum seconds from the end of a probe to the start of an early one."""

EARLY_BURST = 10
"""Early probes in a row: enough to find that some of the requests fail, and how many."""

EARLY_INTERVAL = 30.0
"""Seconds after which one more early probe is allowed, if the earlier ones found the backend up.

This limits the load of probes that a client can cause by requesting a damaged image again and again.
"""

_log = Logger()


class Prober:
    """Probes one backend periodically.

    `probe` makes one probe; `handle_result` is called with each result and returns the seconds until the next probe.
    `delay` is the pause before the first one, in seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        probe: Callable[[], Awaitable[Result]],
        handle_result: Callable[[Result], float],
        delay: float = 0.0,
    ) -> None:
        self._clock = clock
        self._probe = probe
        self._handle_result = handle_result
        self._delay = delay
        self._stopped = False
        self._pause: IDelayedCall | None = None
        self._last_end = 0.0
        self._early_probes: list[float] = []
        self._loop: Deferred[None] | None = None

    @property
    def next_at(self) -> float | None:
        """When the next probe starts; None while one is in progress, and after the last one."""
        return None if self._pause is None else self._pause.getTime()

    def start(self) -> None:
        """Make the first probe after the delay."""
        self._loop = Deferred.fromCoroutine(self._run())
        self._loop.addErrback(lambda failure: failure.trap(CancelledError))
        self._loop.addErrback(lambda failure: _log.failure("a prober stopped after an internal error", failure))

    def stop(self) -> None:
        """Stop probing, and cancel a probe in progress."""
        self._stopped = True
        if self._loop is not None:
            self._loop.cancel()

    def probe_early(self) -> bool:
        """Start the next probe now, or one second after the end of the last one.

        Returns whether the next probe was moved. It is not if a probe is in progress, or if there were too many early
        probes.
        """
        now = self._clock.seconds()
        self._early_probes = [start for start in self._early_probes if start > now - EARLY_INTERVAL * EARLY_BURST]
        if len(self._early_probes) >= EARLY_BURST or not self._shorten_pause(
            max(self._last_end + EARLY_PAUSE - now, 0)
        ):
            return False
        self._early_probes.append(now)
        return True

    def probe_now(self) -> None:
        """Start the next probe now, without a limit, because the clock jumped or another backend changes its state."""
        self._shorten_pause(0)

    def probe_within(self, seconds: float) -> None:
        """Start the next probe in `seconds` at the latest, without a limit, because a check has failed."""
        self._shorten_pause(seconds)

    def postpone(self, seconds: float) -> None:
        """Start the next probe in `seconds` at the earliest, because the backend sent a Retry-After."""
        if self._pause is not None and self._pause.getTime() < self._clock.seconds() + seconds:
            self._pause.reset(seconds)

    def _shorten_pause(self, seconds: float) -> bool:
        """Shorten the pause before the next probe to `seconds`; return False if it is not longer than that."""
        if self._pause is None or self._pause.getTime() <= self._clock.seconds() + seconds:
            return False
        self._pause.reset(seconds)
        return True

    async def _run(self) -> None:
        if self._delay:
            await self._wait(self._delay)
        while not self._stopped:
            pause = await self._probe_once()
            if not self._stopped:
                await self._wait(pause)

    async def _probe_once(self) -> float:
        """Make one probe, and return the pause after it in seconds. An internal error must not stop the probes."""
        try:
            result = await self._probe()
        except CancelledError:
            raise
        except Exception:
            _log.failure("internal error in a probe")
            return AFTER_ERROR
        if self._stopped:
            return 0.0
        self._last_end = self._clock.seconds()
        if result.verdict is Verdict.BAD:
            self._early_probes.clear()
        return self._report(result)

    async def _wait(self, seconds: float) -> None:
        done: Deferred[None] = Deferred()
        self._pause = self._clock.callLater(seconds, done.callback, None)
        try:
            await done
        finally:
            if self._pause.active():
                self._pause.cancel()
            self._pause = None

    def _report(self, result: Result) -> float:
        """Report a result and return the pause in seconds. An error in the callback must not stop the probes."""
        try:
            return self._handle_result(result)
        except Exception:
            _log.failure("internal error while handling a probe's result")
            return AFTER_ERROR
