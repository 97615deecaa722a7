"""The health of one backend: a machine driven by probe results and time, and by nothing else.

Everything that changes a state is in `_TRANSITIONS` and `observe`. Times are monotonic seconds, handed in. The
terms are HAProxy's: `fall` bad results in a row make a backend down, `rise` good ones make it up.
"""

from enum import Enum

from attrs import evolve, frozen

JITTER = 0.1
"""Waits are shortened by up to this part, so that many facades do not ask in step."""

LONGEST_RETRY_AFTER = 600.0
"""Seconds of a Retry-After that are honoured: a lying backend must not switch off its own watch."""


class State(Enum):
    """What is believed of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    LIMITED = "limited"
    DOWN = "down"


class Purpose(Enum):
    """What a backend is in charge for: to be redirected to, or to be asked by the facade itself."""

    REDIRECT = "redirect"
    SERVE = "serve"


class Step(Enum):
    """The steps of a probe, in the order in which they are climbed."""

    PING = "GET /v2/"
    TOKEN = "token server"  # noqa: S105


class Verdict(Enum):
    """What one probe says: the backend works, asks for patience (429), or does not work."""

    GOOD = "good"
    LIMITED = "limited"
    BAD = "bad"


@frozen
class Result:
    """What one probe found.

    `step` is the step that failed, or the last one climbed; `words` says what was seen there; `latency` is the
    whole probe's, in seconds; `retry_after` is the backend's wish, in seconds.
    """

    verdict: Verdict
    step: Step
    words: str
    latency: float
    retry_after: float = 0.0


@frozen
class Settings:
    """[health] of the settings. Times in seconds, counts in results."""

    interval: float = 10.0
    fast_interval: float = 1.0
    timeout: float = 3.0
    fall: int = 2
    rise: int = 2


@frozen
class Health:
    """A backend's state since a time, and how far a change of it has come.

    `streak` counts the latest results in a row that speak for leaving the state. `last` is the latest result,
    `failed` the latest one that was not good, at `failed_at`.
    """

    state: State
    since: float
    streak: int = 0
    last: Result | None = None
    failed: Result | None = None
    failed_at: float | None = None

    def usable(self, purpose: Purpose) -> bool:
        """Whether the backend may be in charge.

        A redirect spends the client's quota, serving spends the facade's own.
        """
        return self.state is not State.DOWN and (purpose is Purpose.REDIRECT or self.state is not State.LIMITED)


_TRANSITIONS = {
    # (state, verdict): (the state it speaks for, the setting that says how often in a row)
    (State.UNKNOWN, Verdict.GOOD): (State.UP, "once"),
    (State.UNKNOWN, Verdict.LIMITED): (State.LIMITED, "once"),
    (State.UNKNOWN, Verdict.BAD): (State.DOWN, "once"),
    (State.UP, Verdict.LIMITED): (State.LIMITED, "once"),
    (State.UP, Verdict.BAD): (State.DOWN, "fall"),
    (State.LIMITED, Verdict.GOOD): (State.UP, "rise"),
    (State.LIMITED, Verdict.BAD): (State.DOWN, "fall"),
    (State.DOWN, Verdict.GOOD): (State.UP, "rise"),
    (State.DOWN, Verdict.LIMITED): (State.LIMITED, "rise"),
}


def observe(health: Health, result: Result, now: float, settings: Settings) -> Health:
    """The health after one more probe result."""
    seen = evolve(health, last=result)
    if result.verdict is not Verdict.GOOD:
        seen = evolve(seen, failed=result, failed_at=now)
    if (health.state, result.verdict) not in _TRANSITIONS:
        return evolve(seen, streak=0)
    target, threshold = _TRANSITIONS[health.state, result.verdict]
    streak = health.streak + 1 if _same_direction(health.last, result) else 1
    needed = {"once": 1, "fall": settings.fall, "rise": settings.rise}[threshold]
    if streak < needed:
        return evolve(seen, streak=streak)
    return evolve(seen, state=target, since=now, streak=0)


def wait(health: Health, settings: Settings, jitter: float) -> float:
    """Seconds from the end of a probe to the start of the next.

    `jitter` is a random number from 0 to 1. A change that is being decided is watched at `fast_interval`; one
    that is down or limited is not asked before the Retry-After that it has sent.
    """
    shortened = 1 - JITTER * jitter
    if health.streak:
        return settings.fast_interval * shortened
    asked = health.last.retry_after if health.last and health.state in (State.DOWN, State.LIMITED) else 0.0
    return max(settings.interval * shortened, min(asked, LONGEST_RETRY_AFTER))


def remembered(health: Health) -> Health:
    """The health to start from, of a backend whose state was kept over a restart.

    Only `down` is believed: it needs `rise` good results again. Anything else is unknown until the first probe, so
    that one bad result is enough to keep the first answer away from a backend that went away in the meantime.
    """
    if health.state is State.DOWN:
        return health
    return evolve(health, state=State.UNKNOWN)


def _same_direction(before: Result | None, result: Result) -> bool:
    return before is not None and (before.verdict is Verdict.BAD) == (result.verdict is Verdict.BAD)
