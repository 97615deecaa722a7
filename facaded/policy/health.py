"""The health of one backend: a state machine driven only by probe results and time.

`_TRANSITIONS` and `observe` hold everything that changes a state. Times are monotonic seconds, passed in. The terms are
HAProxy's: `fall` bad results in a row take a backend down, `rise` good ones bring it up.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum

from attrs import evolve, frozen

JITTER = 0.1
"""The fraction by which waits are shortened at random, so that many facades do not probe in step."""

LONGEST_RETRY_AFTER = 600.0
"""The longest Retry-After that is honoured, in seconds: a faulty backend must not stop its own health checks."""

USUAL_REQUESTS = 3
"""Requests of a normal probe: the ping, the token, the HEAD of the canary's manifest."""

RELAPSE_TIME = 600.0
"""Going down is a relapse if it happens within this many seconds after the backend could become active again."""

LONGEST_FAILBACK = 1800.0
"""The longest wait for a failback after relapses, in seconds."""

CONFIRMATIONS = 5
"""Requests that confirm a failed step, sent together on new connections: a brown-out lets some of them pass."""

CONFIRMATION_TIME = 1.0
"""Timeout of the confirming requests, in seconds."""

MOST_RELAPSES = 20
"""The most relapses that are counted: more do not lengthen any wait."""


class State(Enum):
    """The state of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    LIMITED = "limited"
    DOWN = "down"


class Purpose(Enum):
    """What a backend is active for: redirects of clients, or fetches by the facade itself."""

    REDIRECT = "redirect"
    SERVE = "serve"


class Step(Enum):
    """The steps of a probe, in order. A probe stops at the first step that fails."""

    PING = "GET /v2/"
    TOKEN = "token server"  # noqa: S105
    MANIFEST = "manifest"
    BODY = "GET of the manifest"
    BLOB = "blob"
    CDN = "CDN"


class Verdict(Enum):
    """The result of one probe: the backend works, limits the rate of this machine (429 or the like), or fails.

    LOCAL means that this machine could not ask (no descriptors, memory or route), which says nothing of the backend.
    """

    GOOD = "good"
    LIMITED = "limited"
    BAD = "bad"
    LOCAL = "local"


class Rank(IntEnum):
    """The order in which the backends of a route are tried for a served request; equal ones in order of preference."""

    UP = 0
    DEGRADED = 1
    LIMITED = 2
    UNKNOWN = 3
    DOWN = 4


@frozen
class Quota:
    """The pulls left at a registry: `remaining` of `limit` in `window` seconds; None and 0 if unknown."""

    remaining: int
    limit: int | None = None
    window: float = 0.0


@frozen
class Canary:
    """What a probe learned about the canary.

    `present` is whether its manifest is there, `digest` that manifest's digest or empty if the backend sent none.
    `drift` describes a fault of the canary that is not the backend's; empty if there is none.
    """

    present: bool
    digest: str = ""
    drift: str = ""


@frozen
class ProbeDepth:
    """How far a probe goes.

    `deep`: up to the canary's blob at the CDN. `body`: the canary's manifest is also fetched with GET. `canary_seen`:
    the backend has had the canary before, so a refusal of it is bad. `confirm`: a step that fails is sent
    `CONFIRMATIONS` times more, at the same time.
    """

    deep: bool = False
    canary_seen: bool = False
    body: bool = False
    confirm: bool = False


@frozen
class Confirmations:
    """The requests that confirm a failed step: how many were `sent`, and how many of them `failed`."""

    sent: int
    failed: int


@frozen
class Result:
    """The result of one probe.

    `step` is the step that failed, or else the last one; `reason` is what happened there. `latency` is that of the
    whole probe, in seconds; `retry_after` is the backend's Retry-After, in seconds; `requests` is how many requests the
    probe sent. `canary` is None if the probe did not reach it. `deep` is whether the probe was to include the blob.
    `passed` are the steps that were asked and passed; `confirmations` is None if none were sent.
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
    passed: tuple[Step, ...] = ()
    confirmations: Confirmations | None = None


@frozen
class Settings:
    """The settings in [health]. Times are in seconds; `fall` and `rise` count results."""

    interval: float = 10.0
    fast_interval: float = 1.0
    deep_interval: float = 60.0
    timeout: float = 3.0
    fall: int = 2
    rise: int = 2
    failback_after: float = 60.0


@frozen
class Health:
    """A backend's state, the time `since` it has that state, and the progress of a pending change.

    `streak` counts the latest results in a row that point to another state. `last` is the latest result, `failed` the
    latest one that was not good, and `failed_at` its time. `deepest_failed_step` is the furthest step that failed since
    the backend was last up: every probe goes that far until the backend is up again.

    `canary` is what the latest probe that reached the canary learned about it. `canary_seen` is whether the backend has
    ever had it. `deep_at` is when a probe last included the blob. `answering_since` is when the backend last left
    `down` or `unknown`. `back_at` is when it last recovered from being down, and `relapses` is how many times in a row
    it went down again soon after that.
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
        """Return whether the backend may be active.

        A limited backend may be for redirects, which spend the client's quota, but not for serving, which spends the
        facade's.
        """
        return self.state is not State.DOWN and (purpose is Purpose.REDIRECT or self.state is not State.LIMITED)

    def usable_since(self, purpose: Purpose) -> float:
        """Return when a usable backend became usable."""
        if purpose is Purpose.REDIRECT and self.answering_since is not None:
            return self.answering_since
        return self.since

    def failback_after(self, setting: float) -> float:
        """Return how many seconds the backend must be up before it becomes active again: each relapse doubles it."""
        return min(setting * 2.0**self.relapses, max(setting, LONGEST_FAILBACK))


_TRANSITIONS = {
    # (state, verdict): (the next state, how many such results in a row it takes)
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
    """Return the health after one more probe result."""
    noted = _note(health, result, now)
    if noted.relapses and health.state is State.UP and not _would_be_relapse(noted, now, settings):
        noted = evolve(noted, relapses=0)
    if (health.state, result.verdict) not in _TRANSITIONS:
        deepest = None if health.state is State.UP else noted.deepest_failed_step
        return evolve(noted, streak=0, deepest_failed_step=deepest)
    target, threshold = _TRANSITIONS[health.state, result.verdict]
    streak = health.streak + 1 if _same_direction(health.last, result) else 1
    needed = {"once": 1, "fall": settings.fall, "rise": settings.rise}[threshold]
    if streak < needed:
        return evolve(noted, streak=streak)
    return _enter(noted, target, now, settings)


def probe_depth(health: Health, now: float, settings: Settings) -> ProbeDepth:
    """Return how far the next probe goes: to the blob every `deep_interval`, and while the blob step is failing."""
    due = health.deep_at is None or now >= health.deep_at + settings.deep_interval
    known = health.state is not State.UNKNOWN  # requests wait for the first probe, so it is a short one
    return ProbeDepth(health.deepest_failed_step is Step.BLOB or (due and known), health.canary_seen)


def probe_delay(health: Health, settings: Settings, jitter: float) -> float:
    """Return the seconds from the end of a probe to the start of the next.

    `jitter` is a random number from 0 to 1. While a change is pending the delay is `fast_interval`, except for a change
    from limited to up, which may not last. A backend that is down or limited is not probed before its Retry-After ends,
    and gets no more requests a minute than one that is up.
    """
    shortened = 1 - JITTER * jitter
    if health.last is None or health.state not in (State.DOWN, State.LIMITED):
        return (settings.fast_interval if health.streak else settings.interval) * shortened
    recovering = health.state is State.DOWN and health.streak > 0
    failing = health.state is State.LIMITED and health.last.verdict is Verdict.BAD and health.streak > 0
    steady = settings.interval * max(1.0, health.last.requests / USUAL_REQUESTS)
    seconds = (settings.fast_interval if recovering or failing else steady) * shortened
    return max(seconds, min(health.last.retry_after, LONGEST_RETRY_AFTER))


def judge_refusal(step: Step, status: int, canary_seen: bool) -> Verdict:
    """Return the verdict on a registry or token server that refuses the canary at `step` although the token is fresh.

    `status` is a 4xx, or a status that no registry sends for a manifest. GOOD means drift: the settings may have a
    typo, or the canary was not pushed there yet. But a registry that has had the canary and refuses it now refuses
    every client, as Docker Hub did on 2025-09-24. A 404 for the tag is drift even then, because the image may have been
    deleted; a 404 from the token server, or for what the tag leads to, is not.
    """
    deleted = step is Step.MANIFEST and status == 404
    return Verdict.BAD if canary_seen and not deleted else Verdict.GOOD


def find_drifts(healths: Mapping[str, Health], canaries: Mapping[str, str]) -> dict[str, str]:
    """Return how the canary drifts, by backend: where it is faulty or differs from that of the first backend.

    `canaries` are the canary images by backend, with the facade's names, preferred backend first. Only backends with
    the same canary are compared.
    """
    drifts: dict[str, str] = {}
    references: dict[str, tuple[str, str]] = {}
    for name, image in canaries.items():
        canary = healths[name].canary
        if canary is None:
            continue
        reference, digest = references.setdefault(image, (name, canary.digest)) if canary.digest else (name, "")
        if canary.drift:
            drifts[name] = canary.drift
        elif digest != canary.digest:
            drifts[name] = f"its canary is {_short(canary.digest)}, but {reference} has {_short(digest)}"
    return drifts


def restore(health: Health) -> Health:
    """Return the health to start from after a restart, given the health before it.

    `down` stays: the backend needs `rise` good results again. Any other state becomes unknown until the first probe.
    Then one bad result is enough, so a backend that failed in the meantime does not get the first requests.
    """
    if health.state is State.DOWN:
        return health
    return evolve(health, state=State.UNKNOWN)


def _note(health: Health, result: Result, now: float) -> Health:
    """Return the health with everything but the state updated from a result."""
    noted = evolve(health, last=result)
    if result.deep:
        noted = evolve(noted, deep_at=now)
    if result.canary is not None:
        # Some registries seldom send the digest, so the last one stays known.
        known = health.canary.digest if health.canary and result.canary.present else ""
        canary = evolve(result.canary, digest=result.canary.digest or known)
        noted = evolve(noted, canary=canary, canary_seen=noted.canary_seen or canary.present)
    if result.verdict is Verdict.GOOD:
        return noted
    return evolve(
        noted, failed=result, failed_at=now, deepest_failed_step=_further(health.deepest_failed_step, result.step)
    )


def _enter(health: Health, state: State, now: float, settings: Settings) -> Health:
    """Return the health of a backend whose state changes to `state` now."""
    entered = evolve(health, state=state, since=now, streak=0)
    if state is State.DOWN:
        relapsed = _would_be_relapse(health, now, settings)
        return evolve(entered, relapses=min(health.relapses + 1, MOST_RELAPSES) if relapsed else 0)
    if health.state in (State.DOWN, State.UNKNOWN):
        entered = evolve(entered, answering_since=now)
    if health.state is State.DOWN:
        entered = evolve(entered, back_at=now)
    return evolve(entered, deepest_failed_step=None) if state is State.UP else entered


def _would_be_relapse(health: Health, now: float, settings: Settings) -> bool:
    """Return whether going down now would be a relapse."""
    window = health.failback_after(settings.failback_after) + RELAPSE_TIME
    return health.back_at is not None and now < health.back_at + window


def _further(deepest: Step | None, step: Step) -> Step:
    steps = list(Step)
    return step if deepest is None or steps.index(step) > steps.index(deepest) else deepest


def _short(digest: str) -> str:
    """Return the start of a digest, long enough to tell it from another."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:12]}"


def _same_direction(previous: Result | None, result: Result) -> bool:
    return previous is not None and (previous.verdict is Verdict.BAD) == (result.verdict is Verdict.BAD)
