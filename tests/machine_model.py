"""What the machine of test_machine.py expects: each backend's samples, rests and overrides, counted by the test itself.

Everything is known by the backend's URL. The numbers are not imported, so that a change of them is noticed.
"""

from collections.abc import Callable

from attrs import define, field
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from facaded.policy.evidence import Attempt
from facaded.policy.health import Canary, Confirmations, Health, ProbeDepth, Result, State, Step, Verdict
from tests.watching import ScriptedBackends

WORKING = (State.UP, State.LIMITED)
SHORT, LONG = 60, 600
BUCKET = 10
MOMENT = 1e-3
"""Seconds within which two times are the same after a conversion to wall time and back."""

DIGESTS = [f"sha256:{letter * 64}" for letter in "ab"]
RESULTS = st.builds(
    Result,
    st.sampled_from([*Verdict, Verdict.GOOD, Verdict.BAD]),
    st.sampled_from(Step),
    st.just("a reason"),
    st.just(0.1),
    st.sampled_from([0.0, 0.0, 5.0, 40.0, 4000.0]),
    st.integers(1, 6),
    st.none() | st.builds(Canary, st.booleans(), st.sampled_from(["", *DIGESTS]), st.sampled_from(["", "drifts"])),
    deep=st.booleans(),
    passed=st.lists(st.sampled_from(Step), unique=True, max_size=3).map(tuple),
    confirmations=st.none() | st.builds(Confirmations, st.just(5), st.integers(0, 5)),
)
PERFECT = Result(Verdict.GOOD, Step.CDN, "answered 206", 0.1, passed=tuple(Step), deep=True)


@define
class BackendModel:
    """What is expected of one backend. Times are monotonic seconds.

    `samples` are (time, step, sent, failed); `admitted` is when a sample of a step, repository and source last counted.
    `broken` is when a repository first failed at a step, and how many times it did. `degraded` is the step of the
    brown-out in progress, `degraded_at` its time, and `rest_until` the end of the last Retry-After.
    """

    samples: list[tuple[float, Step, int, int]] = field(factory=list)
    admitted: dict[tuple[Step, str, str], float] = field(factory=dict)
    broken: dict[tuple[Step, str], tuple[float, int]] = field(factory=dict)
    degraded: Step | None = None
    degraded_at: float = 0.0
    rest_until: float = float("-inf")

    def report(self, attempt: Attempt, health: Health, now: float) -> None:
        """Count a served request. `health` is that of the backend afterwards."""
        if attempt.retry_after:
            self.rest(attempt.retry_after, now)
        key = attempt.step, attempt.repository, attempt.source
        if not attempt.sample or now < self.admitted.get(key, -BUCKET) + BUCKET:
            return
        broken = self.broken.get(key[:2])
        if broken is not None and now < broken[0] + LONG:
            if broken[1] >= 3:
                return
        else:
            broken = None
        self.admitted[key] = now
        if not attempt.good:
            self.broken[key[:2]] = (broken[0], broken[1] + 1) if broken else (now, 1)
        if health.state in WORKING:
            self.samples.append((now, attempt.step, 1, 0 if attempt.good else 1))
            if not attempt.good:
                self.judge(health, now)

    def observe(self, result: Result, before: State, health: Health, now: float) -> None:
        """Count a probe's result. `health` is that of the backend afterwards."""
        if result.verdict is Verdict.LOCAL:
            return
        if before in WORKING:
            self.samples += [(now, step, 1, 0) for step in result.passed]
            if result.verdict is Verdict.BAD:
                more = result.confirmations
                sent, failed = (1 + more.sent, 1 + more.failed) if more and more.failed < 5 else (1, 1)
                self.samples.append((now, result.step, sent, failed))
        if health.state is State.DOWN:
            self.forget()
        elif before is not State.UNKNOWN:
            self.judge(health, now)

    def rest(self, seconds: float, now: float) -> None:
        self.rest_until = max(self.rest_until, now + min(seconds, 600.0))

    def is_resting(self, now: float) -> bool | None:
        """Return whether its Retry-After has not ended; None if it ends at this moment."""
        return None if abs(now - self.rest_until) < MOMENT else now < self.rest_until

    def forget(self) -> None:
        """Forget the samples, because the backend is down."""
        self.samples.clear()
        self.degraded = None

    def restart(self, shift: float) -> None:
        """Continue after a restart, with times that are `shift` less. Only what the state file has is still known."""
        self.samples.clear()
        self.admitted.clear()
        self.broken.clear()
        self.degraded_at -= shift
        self.rest_until = min(self.rest_until - shift, 600.0)

    def judge(self, health: Health, now: float) -> None:
        """Begin or end a brown-out. Of several steps that fail, the backend may choose one."""
        if self.degraded is not None:
            if now >= self.degraded_at + LONG and self.is_calm(now):
                self.degraded = None
        elif failing := [step for step in Step for window in (SHORT, LONG) if self.is_failing(step, now, window)]:
            actual = health.degraded.step if health.degraded else None
            self.degraded, self.degraded_at = actual if actual in failing else failing[0], now

    def count(self, step: Step, now: float, window: int) -> tuple[int, int]:
        oldest = (now - window) // BUCKET
        counted = [sample for sample in self.samples if sample[1] is step and sample[0] // BUCKET > oldest]
        return sum(sent for _, _, sent, _ in counted), sum(failed for _, _, _, failed in counted)

    def is_failing(self, step: Step, now: float, window: int) -> bool:
        sent, failed = self.count(step, now, window)
        return failed > 5 + 0.1 * sent

    def is_calm(self, now: float) -> bool:
        assert self.degraded is not None
        counts = [self.count(step, now, LONG) for step in Step]
        sent = self.count(self.degraded, now, LONG)[0] or max(sent for sent, _ in counts)
        return sent >= 10 and all(failed <= 1 + 0.02 * sent for sent, failed in counts)

    def check(self, health: Health, now: float) -> None:
        """Assert that the health has this backend's samples and no others, and is degraded if they say so."""
        assert (health.degraded is not None) == (self.degraded is not None), "an ejection without its samples"
        self.samples = [sample for sample in self.samples if sample[0] > now - LONG - BUCKET]
        for window in (SHORT, LONG):
            actual = {step: (count.sent, count.failed) for step, count in health.samples.counts(now, window).items()}
            expected = {step: self.count(step, now, window) for step in {sample[1] for sample in self.samples}}
            assert actual == {step: count for step, count in expected.items() if count[0]}


@define
class Term:
    """A pin or a drain, in wall time; `end` is None if it has none."""

    since: float
    end: float | None

    def shift(self, seconds: float) -> None:
        """Move it by what the wall clock has jumped back: that does not lengthen it."""
        self.since, self.end = self.since + seconds, None if self.end is None else self.end + seconds

    def restart(self, now: float) -> None:
        """Continue after a restart at the wall time `now`, which may be wrong: it does not become longer."""
        if self.end is not None:
            self.end = min(self.end, now + self.end - self.since)
        self.since = min(self.since, now)


Terms = dict[str, Term]


@define
class RecordingBackends(ScriptedBackends):
    """Backends that call `started` when a probe starts, and no longer wait for one that was cancelled."""

    started: Callable[[str], None] = field(kw_only=True)

    def _probe(self, name: str, depth: ProbeDepth) -> Deferred[Result]:
        self.started(name)
        self.depths.setdefault(name, []).append(depth)
        self.waiting[name] = probe = Deferred[Result](lambda cancelled: self._cancel(name, cancelled))
        return probe

    def _cancel(self, name: str, probe: Deferred[Result]) -> None:
        if self.waiting.get(name) is probe:
            del self.waiting[name]
