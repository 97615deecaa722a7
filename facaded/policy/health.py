"""The health of one backend: a machine driven by probe results and time, and by nothing else.

Everything that changes a state is in `_TRANSITIONS` and `observe`. Times are monotonic seconds, handed in. The
terms are HAProxy's: `fall` bad results in a row make a backend down, `rise` good ones make it up.
"""

from collections.abc import Mapping
from enum import Enum

from attrs import evolve, frozen

JITTER = 0.1
"""Waits are shortened by up to this part, so that many facades do not ask in step."""

LONGEST_RETRY_AFTER = 600.0
"""Seconds of a Retry-After that are honoured: a lying backend must not switch off its own watch."""

USUAL_REQUESTS = 3
"""Requests of a usual probe: the ping, the token, the head of the canary's manifest."""

RELAPSE_TIME = 600.0
"""Seconds after a backend may be active again in which going down is a relapse."""

LONGEST_FAILBACK = 1800.0
"""Seconds to which relapses lengthen the wait for a failback."""

MOST_RELAPSES = 20
"""Relapses that are counted: more do not lengthen any wait."""


class State(Enum):
    """What is believed of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    LIMITED = "limited"
    DOWN = "down"


class Purpose(Enum):
    """What a backend is active for: to be redirected to, or to be asked by the facade itself."""

    REDIRECT = "redirect"
    SERVE = "serve"


class Step(Enum):
    """The steps of a probe, in the selector in which they are climbed."""

    PING = "GET /v2/"
    TOKEN = "token server"  # noqa: S105
    MANIFEST = "manifest"
    BLOB = "blob"


class Verdict(Enum):
    """What one probe says: the backend works, grants this machine no more pulls (429 or so), or does not work."""

    GOOD = "good"
    LIMITED = "limited"
    BAD = "bad"


@frozen
class Quota:
    """The pulls that a registry still grants: `remaining` of `limit` in `window` seconds; None and 0 if unsaid."""

    remaining: int
    limit: int | None = None
    window: float = 0.0


@frozen
class Canary:
    """What a probe saw of the canary: whether its manifest is there, with which digest (empty if that was not said).

    `drift` says how it is not as it should be without the backend being at fault; empty if it is well.
    """

    found: bool
    digest: str = ""
    drift: str = ""


@frozen
class ProbeDepth:
    """How a probe is to climb.

    `deep`: as far as the canary's blob. `canary_seen`: the backend has had the canary before, so refusing it is bad.
    """

    deep: bool = False
    canary_seen: bool = False


@frozen
class Result:
    """What one probe found.

    `step` is the step that failed, or the last one climbed; `reason` says what was seen there; `latency` is the
    whole probe's, in seconds; `retry_after` is the backend's wish, in seconds; `requests` is how many it took.
    `canary` is None if the probe did not get as far; `deep` says that it was to climb to the blob.
    """

    verdict: Verdict
    step: Step
    reason: str
    latency: float
    retry_after: float = 0.0
    requests: int = 1
    canary: Canary | None = None
    quota: Quota | None = None
    deep: bool = False


@frozen
class Settings:
    """[health] of the settings. Times in seconds, counts in results."""

    interval: float = 10.0
    fast_interval: float = 1.0
    deep_interval: float = 60.0
    timeout: float = 3.0
    fall: int = 2
    rise: int = 2
    failback_after: float = 60.0


@frozen
class Health:
    """A backend's state since a time, and how far a change of it has come.

    `streak` counts the latest results in a row that speak for leaving the state. `last` is the latest result,
    `failed` the latest one that was not good, at `failed_at`. `deepest_failed_step` is the furthest step that has
    failed since the backend was last up: every probe climbs that far until it is up again.

    `canary` is what was seen of it last, `canary_seen` says that the backend has had it once. `deep_at` is when a probe
    last climbed to the blob. `answering_since` is when it was last found to be neither down nor unknown; `back_at` is
    when it last came back from being down, and `relapses` how often in a row it went down again soon after.
    """

    state: State
    since: float
    streak: int = 0
    last: Result | None = None
    failed: Result | None = None
    failed_at: float | None = None
    deepest_failed_step: Step | None = None
    canary: Canary | None = None
    canary_seen: bool = False
    deep_at: float | None = None
    answering_since: float | None = None
    back_at: float | None = None
    relapses: int = 0

    def usable(self, purpose: Purpose) -> bool:
        """Whether the backend may be active.

        A redirect spends the client's quota, serving spends the facade's own.
        """
        return self.state is not State.DOWN and (purpose is Purpose.REDIRECT or self.state is not State.LIMITED)

    def usable_since(self, purpose: Purpose) -> float:
        """When a usable backend became so."""
        if purpose is Purpose.REDIRECT and self.answering_since is not None:
            return self.answering_since
        return self.since

    def failback_after(self, setting: float) -> float:
        """Seconds that the backend must have been up before it is active again: doubled by each relapse."""
        return min(setting * 2.0**self.relapses, max(setting, LONGEST_FAILBACK))


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
    seen = _noted(health, result, now)
    if seen.relapses and health.state is State.UP and not _is_soon(seen, now, settings):
        seen = evolve(seen, relapses=0)
    if (health.state, result.verdict) not in _TRANSITIONS:
        return evolve(
            seen, streak=0, deepest_failed_step=None if health.state is State.UP else seen.deepest_failed_step
        )
    target, threshold = _TRANSITIONS[health.state, result.verdict]
    streak = health.streak + 1 if _same_direction(health.last, result) else 1
    needed = {"once": 1, "fall": settings.fall, "rise": settings.rise}[threshold]
    if streak < needed:
        return evolve(seen, streak=streak)
    return _entered(seen, target, now, settings)


def climb(health: Health, now: float, settings: Settings) -> ProbeDepth:
    """How the next probe is to climb: to the blob every `deep_interval`, and for as long as the blob is not well."""
    due = health.deep_at is None or now >= health.deep_at + settings.deep_interval
    known = health.state is not State.UNKNOWN  # the first probe is one that requests wait for
    return ProbeDepth(health.deepest_failed_step is Step.BLOB or (due and known), health.canary_seen)


def wait(health: Health, settings: Settings, jitter: float) -> float:
    """Seconds from the end of a probe to the start of the next.

    `jitter` is a random number from 0 to 1. A change that is being decided is watched at `fast_interval`, but for one
    from limited to up, which may be for a moment only. One that is down or limited is not asked before the Retry-After
    that it has sent, nor for more requests a minute than a backend that is well.
    """
    shortened = 1 - JITTER * jitter
    if health.last is None or health.state not in (State.DOWN, State.LIMITED):
        return (settings.fast_interval if health.streak else settings.interval) * shortened
    recovering = health.state is State.DOWN and health.streak > 0
    failing = health.state is State.LIMITED and health.last.verdict is Verdict.BAD and health.streak > 0
    steady = settings.interval * max(1.0, health.last.requests / USUAL_REQUESTS)
    seconds = (settings.fast_interval if recovering or failing else steady) * shortened
    return max(seconds, min(health.last.retry_after, LONGEST_RETRY_AFTER))


def absent(status: int, canary_seen: bool) -> Verdict:
    """What it means that a registry with a fresh token answers `status` for the canary: 4xx, or what no registry says.

    GOOD is drift: the settings may have a typo in it, or it may not have been pushed there yet. But a registry that
    has had it and now refuses it is one that refuses everybody, as Docker Hub did on 2025-09-24; not to find it (404)
    is what happens to an image that was deleted.
    """
    return Verdict.BAD if canary_seen and status != 404 else Verdict.GOOD


def drifts(healths: Mapping[str, Health], canaries: Mapping[str, str]) -> dict[str, str]:
    """How the canary drifts, by backend: those that have it otherwise than the first one that has it.

    `canaries` are the images by the facade's name, of all backends that have one, preferred first; only backends with
    the same one are compared.
    """
    found: dict[str, str] = {}
    first: dict[str, tuple[str, str]] = {}
    for name, image in canaries.items():
        canary = healths[name].canary
        if canary is None:
            continue
        leader, digest = first.setdefault(image, (name, canary.digest)) if canary.digest else (name, "")
        if canary.drift:
            found[name] = canary.drift
        elif digest != canary.digest:
            found[name] = f"the canary is {_short(canary.digest)} there and {_short(digest)} at {leader}"
    return found


def remembered(health: Health) -> Health:
    """The health to start from, of a backend whose state was kept over a restart.

    Only `down` is believed: it needs `rise` good results again. Anything else is unknown until the first probe, so
    that one bad result is enough to keep the first answer away from a backend that went away in the meantime.
    """
    if health.state is State.DOWN:
        return health
    return evolve(health, state=State.UNKNOWN)


def _noted(health: Health, result: Result, now: float) -> Health:
    """What is known after a result, apart from the state."""
    seen = evolve(health, last=result)
    if result.deep:
        seen = evolve(seen, deep_at=now)
    if result.canary is not None:
        known = health.canary.digest if health.canary and result.canary.found else ""  # some registries seldom say it
        canary = evolve(result.canary, digest=result.canary.digest or known)
        seen = evolve(seen, canary=canary, canary_seen=seen.canary_seen or canary.found)
    if result.verdict is Verdict.GOOD:
        return seen
    return evolve(
        seen, failed=result, failed_at=now, deepest_failed_step=_further(health.deepest_failed_step, result.step)
    )


def _entered(health: Health, state: State, now: float, settings: Settings) -> Health:
    """The health of a backend whose state changes now."""
    entered = evolve(health, state=state, since=now, streak=0)
    if state is State.DOWN:
        relapsed = _is_soon(health, now, settings)
        return evolve(entered, relapses=min(health.relapses + 1, MOST_RELAPSES) if relapsed else 0)
    if health.state in (State.DOWN, State.UNKNOWN):
        entered = evolve(entered, answering_since=now)
    if health.state is State.DOWN:
        entered = evolve(entered, back_at=now)
    return evolve(entered, deepest_failed_step=None) if state is State.UP else entered


def _is_soon(health: Health, now: float, settings: Settings) -> bool:
    """Whether to go down now would be a relapse."""
    soon = health.failback_after(settings.failback_after) + RELAPSE_TIME
    return health.back_at is not None and now < health.back_at + soon


def _further(one: Step | None, other: Step) -> Step:
    steps = list(Step)
    return other if one is None or steps.index(other) > steps.index(one) else one


def _short(digest: str) -> str:
    """As much of a digest as tells it from another."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:12]}"


def _same_direction(before: Result | None, result: Result) -> bool:
    return before is not None and (before.verdict is Verdict.BAD) == (result.verdict is Verdict.BAD)
