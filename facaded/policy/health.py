"""The health of one backend: its states, the results of its probes, and what is known of it.

`transitions` has what changes it. Times are monotonic seconds, passed in. The terms are HAProxy's: `fall` bad results
in a row take a backend down, `rise` good ones bring it up.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum

from attrs import evolve, field, frozen

from facaded.policy.samples import Count, Samples

LONGEST_RETRY_AFTER = 600.0
"""The longest Retry-After that is honoured, in seconds: a faulty backend must not stop its own health checks."""

RELAPSE_TIME = 600.0
"""A failure is a relapse if it begins within this many seconds after the backend could become active again."""

LONGEST_FAILBACK = 1800.0
"""The longest wait for a failback after relapses, in seconds."""

CONFIRMATIONS = 5
"""Requests that confirm a failed step, sent together on new connections: a brown-out lets some of them pass."""

LONGEST_HOLD = 10.0
"""The longest that a recovery waits for a probe of the active backend, in seconds: it may be impossible to send one."""

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
    TOKEN = "token server"  # noqa: S105  # nosec B105  # a name
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
    `drift` describes a fault of the canary that is not the backend's; empty if there is none. `drifted_deep` is whether
    only a deep probe can find it.
    """

    present: bool
    digest: str = ""
    drift: str = ""
    drifted_deep: bool = False


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
    """The requests that confirm a failed step: how many were `sent`, how many `failed`, and the `seconds` they took."""

    sent: int
    failed: int
    seconds: float = field(default=0.0, eq=False)

    @property
    def all_failed(self) -> bool:
        return self.failed >= self.sent


@frozen
class Result:
    """The result of one probe.

    `step` is the step that failed, or else the last one; `reason` is what happened there. `latency` is that of the
    whole probe, in seconds; `retry_after` is the backend's Retry-After, in seconds; `requests` is how many requests the
    probe sent. `canary` is None if the probe did not reach it. `deep` is whether the probe was to include the blob.
    `passed` are the steps that were asked and passed; `confirmations` is None if none were sent. `durations` are the
    seconds that the requests of each step took, those of a failed one too, without confirmations.
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
    durations: Mapping[Step, float] = field(factory=dict, eq=False)


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


NO_SAMPLES: Samples[Step] = Samples()


@frozen
class Degradation:
    """A brown-out: requests of `step` fail too often, by `count`; it began at `since`."""

    since: float
    step: Step
    count: Count


@frozen
class Damping:
    """What keeps a backend that fails again and again from becoming active each time that it recovers.

    `back_at` is when it last recovered, and `relapses` is how many times in a row it failed again soon after that.
    """

    back_at: float | None = None
    relapses: int = 0

    def wait(self, setting: float) -> float:
        """Return the seconds that the backend must work before it becomes active again: each relapse doubles them."""
        return min(setting * 2.0**self.relapses, max(setting, LONGEST_FAILBACK))

    def fall(self, now: float, setting: float) -> "Damping":
        """Return the damping after a failure that begins now."""
        return evolve(self, relapses=min(self.relapses + 1, MOST_RELAPSES) if self._is_relapse(now, setting) else 0)

    def recover(self, now: float) -> "Damping":
        """Return the damping after a recovery."""
        return evolve(self, back_at=now)

    def age(self, now: float, setting: float) -> "Damping":
        """Return the damping without relapses if a failure now would be none."""
        return evolve(self, relapses=0) if self.relapses and not self._is_relapse(now, setting) else self

    def _is_relapse(self, now: float, setting: float) -> bool:
        return self.back_at is not None and now < self.back_at + self.wait(setting) + RELAPSE_TIME


@frozen
class Health:
    """A backend's state, the time `since` it has that state, and the progress of a pending change.

    `bads` counts the bad results since the last good one, `goods` the latest results in a row that point to a recovery.
    `last` is the latest result, `failed` the latest one that was not good, and `failed_at` its time.
    `deepest_failed_step` is the furthest step that failed since the backend was last up: every probe goes that far
    until the backend is up again.

    `canary` is what the latest probe that reached the canary learned about it. `canary_seen` is whether the backend has
    ever had it. `deep_at` is when a probe last included the blob, `body_at` when one last fetched the manifest.
    `answering_since` is when the backend last left `down` or `unknown`. `damping` is that of `down` and of brown-outs,
    `limit_damping` that of `limited`.

    `samples` are those of probes and of served requests. `degraded` is the brown-out in progress, `sound_since` the end
    of the last one. `retry_at` is when the last Retry-After ends. `recovering_since` is the time of the first of the
    good results that ended `down`, or are about to.
    """

    state: State
    since: float
    bads: int = 0
    goods: int = 0
    last: Result | None = None
    failed: Result | None = None
    failed_at: float | None = None
    deepest_failed_step: Step | None = None
    canary: Canary | None = None
    canary_seen: bool = False
    deep_at: float | None = None
    body_at: float | None = None
    answering_since: float | None = None
    damping: Damping = Damping()
    limit_damping: Damping = Damping()
    samples: Samples[Step] = NO_SAMPLES
    degraded: Degradation | None = None
    sound_since: float | None = None
    retry_at: float | None = None
    recovering_since: float | None = None

    def usable(self, purpose: Purpose) -> bool:
        """Return whether the backend may be active.

        A limited backend may be for redirects, which spend the client's quota, but not for serving, which spends the
        facade's. A degraded one may be only if all are degraded or worse, which `failover` decides.
        """
        return self.state is not State.DOWN and (purpose is Purpose.REDIRECT or self.state is not State.LIMITED)

    def usable_since(self, purpose: Purpose) -> float:
        """Return when a usable backend became usable."""
        redirectable = purpose is Purpose.REDIRECT and self.answering_since is not None
        since = self.answering_since if redirectable and self.answering_since is not None else self.since
        return since if self.sound_since is None else max(since, self.sound_since)

    def failback_after(self, setting: float, purpose: Purpose = Purpose.REDIRECT) -> float:
        """Return how many seconds the backend must be usable before it becomes active again; relapses lengthen it."""
        wait = self.damping.wait(setting)
        return wait if purpose is Purpose.REDIRECT else max(wait, self.limit_damping.wait(setting))

    @property
    def rank(self) -> Rank:
        """The rank of the backend among those that are tried for a served request."""
        if self.state is State.UP and self.degraded is not None:
            return Rank.DEGRADED
        return {State.UP: Rank.UP, State.LIMITED: Rank.LIMITED, State.DOWN: Rank.DOWN}.get(self.state, Rank.UNKNOWN)

    @property
    def is_failing(self) -> bool:
        """Whether the last results were bad, but not enough of them to be down."""
        return self.state is not State.DOWN and self.bads > 0

    @property
    def is_sound(self) -> bool:
        """Whether the backend is known to work, and nothing points to the contrary."""
        return self.state in (State.UP, State.LIMITED) and self.degraded is None and not self.is_failing

    @property
    def is_recovering(self) -> bool:
        """Whether the backend is down and the last results were not bad."""
        return self.state is State.DOWN and self.goods > 0

    def is_resting(self, now: float) -> bool:
        """Return whether the backend has asked for no request until later."""
        return self.retry_at is not None and now < self.retry_at

    def may_recover_with(self, other: "Health", now: float) -> bool:
        """Return whether the backend is down, but has not been asked since `other` began to recover.

        Its last probe began earlier; the next one may find that it has recovered too.
        """
        if self.state is not State.DOWN or self.failed is None or self.failed_at is None or self.is_resting(now):
            return False
        since = other.recovering_since
        return since is not None and self.failed_at - self.failed.latency < since and now < since + LONGEST_HOLD


def restore(health: Health) -> Health:
    """Return the health to start from after a restart, given the health before it.

    `down` stays: the backend needs `rise` good results again. Any other state becomes unknown until the first probe.
    Then one bad result is enough, so a backend that failed in the meantime does not get the first requests.
    """
    if health.state is State.DOWN:
        return health
    return evolve(health, state=State.UNKNOWN)


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


def _short(digest: str) -> str:
    """Return the start of a digest, long enough to tell it from another."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:12]}"
