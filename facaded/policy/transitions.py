"""The state machine of one backend, driven only by the results of probes, served requests, and time.

`observe` and `observe_attempt` make every change. Times are monotonic seconds.
"""

from attrs import evolve

from facaded.policy.evidence import Attempt
from facaded.policy.health import (
    LONGEST_RETRY_AFTER,
    NO_SAMPLES,
    Canary,
    Degradation,
    Health,
    Result,
    Settings,
    State,
    Step,
    Verdict,
)
from facaded.policy.samples import LONG_WINDOW, Samples

_STEPS = {step: number for number, step in enumerate(Step)}


def observe(health: Health, result: Result, now: float, settings: Settings) -> Health:
    """Return the health after one more probe result. `_next_state` has everything that changes a state."""
    known = health.state is not State.UNKNOWN
    if result.verdict is Verdict.LOCAL:
        return evolve(health, last=result)
    noted = _age(_time_recovery(_count(_note(health, result, now), result, settings), now), now, settings)
    state = _next_state(noted, result, settings)
    if state is not health.state:
        noted = _enter(noted, state, now, settings)
    elif state is State.UP and result.verdict is not Verdict.BAD and noted.degraded is None:
        noted = evolve(noted, deepest_failed_step=None)
    return _judge_samples(noted, now, settings) if known else noted


def observe_attempt(health: Health, attempt: Attempt, now: float, settings: Settings) -> Health:
    """Return the health after a served request: it can degrade the backend, and nothing else but its Retry-After."""
    if attempt.retry_after:
        health = _rest(health, attempt.retry_after, now)
    if not attempt.sample or health.state not in (State.UP, State.LIMITED):
        return health
    sampled = evolve(health, samples=health.samples.add(attempt.step, now, 1, 0 if attempt.good else 1))
    return sampled if attempt.good else _judge_samples(sampled, now, settings)


def _next_state(health: Health, result: Result, settings: Settings) -> State:
    """Return the state that follows from the results counted in `health`, of which `result` is the latest.

    A rate limit between two bad results does not part them: a backend that answers 429 and 500 in turn is down.
    """
    match health.state:
        case State.UNKNOWN:
            return {Verdict.GOOD: State.UP, Verdict.LIMITED: State.LIMITED}.get(result.verdict, State.DOWN)
        case State.DOWN if health.goods >= settings.rise:
            return State.UP if result.verdict is Verdict.GOOD else State.LIMITED
        case State.UP | State.LIMITED if health.bads >= settings.fall:
            return State.DOWN
        case State.UP if result.verdict is Verdict.LIMITED:
            return State.LIMITED
        case State.LIMITED if health.goods >= settings.rise:
            return State.UP
    return health.state


def _count(health: Health, result: Result, settings: Settings) -> Health:
    """Return the health with the result counted."""
    match result.verdict:
        case Verdict.GOOD if health.state is State.DOWN and not _proves(health, result):
            return evolve(health, goods=0)
        case Verdict.GOOD:
            return evolve(health, bads=0, goods=health.goods + 1 if health.state in (State.LIMITED, State.DOWN) else 0)
        case Verdict.LIMITED:
            recovers = health.state is State.DOWN and _reaches_failed_step(health, result)
            return evolve(health, goods=health.goods + 1 if recovers else 0)
    if health.state not in (State.UP, State.LIMITED):
        return evolve(health, goods=0)
    bads = health.bads + 1
    if result.retry_after and result.confirmations is not None:
        bads = settings.fall  # the backend itself has announced that it fails, and must not be probed until later
    if bads >= settings.fall and result.confirmations is not None and not result.confirmations.all_failed:
        bads = settings.fall - 1
    return evolve(health, bads=bads, goods=0)


def _time_recovery(health: Health, now: float) -> Health:
    """Return the health with the beginning of a recovery from `down`, or without it if the last result was bad."""
    if health.state is not State.DOWN:
        return health
    first = now if health.recovering_since is None else health.recovering_since
    return evolve(health, recovering_since=first if health.goods else None)


def _proves(health: Health, result: Result) -> bool:
    """Return whether a good result reached the step that has failed: drift can end a probe before it."""
    return not (result.canary and result.canary.drift) or _reaches_failed_step(health, result)


def _reaches_failed_step(health: Health, result: Result) -> bool:
    failed = health.deepest_failed_step
    return failed is None or _STEPS[result.step] >= _STEPS[failed]


def _note(health: Health, result: Result, now: float) -> Health:
    """Return the health with everything updated from a result but the state and the progress towards another."""
    noted = evolve(health, last=result, samples=_add_samples(health, result, now))
    if result.retry_after and _is_meant_for_all(result):
        noted = _rest(noted, result.retry_after, now)
    if result.deep:
        noted = evolve(noted, deep_at=now)
    if Step.BODY in (result.step, *result.passed):
        noted = evolve(noted, body_at=now)
    if result.canary is not None:
        canary = _note_canary(health.canary, result)
        noted = evolve(noted, canary=canary, canary_seen=noted.canary_seen or canary.present)
    if result.verdict is Verdict.GOOD:
        return noted
    deepest = max(result.step, health.deepest_failed_step or result.step, key=_STEPS.__getitem__)
    return evolve(noted, failed=result, failed_at=now, deepest_failed_step=deepest)


def _is_meant_for_all(result: Result) -> bool:
    """Return whether a Retry-After is the backend's for all requests: not the CDN's, nor that of a chance failure."""
    confirmed = result.confirmations is None or result.confirmations.all_failed
    return result.step is not Step.CDN and (result.verdict is not Verdict.BAD or confirmed)


def _note_canary(before: Canary | None, result: Result) -> Canary:
    """Return what is known about the canary after a result that reached it.

    Some registries seldom send the digest, so the last one stays known. A drift that only a deep probe can find stays
    until the next deep probe.
    """
    canary = result.canary
    assert canary is not None
    digest = canary.digest or (before.digest if before and canary.present else "")
    deep = canary.present and bool(canary.drift) and _STEPS[result.step] > _STEPS[Step.MANIFEST]
    canary = evolve(canary, digest=digest, drifted_deep=deep)
    if before and before.drifted_deep and canary.present and not canary.drift and not result.deep:
        return evolve(canary, drift=before.drift, drifted_deep=True)
    return canary


def _add_samples(health: Health, result: Result, now: float) -> Samples[Step]:
    """Return the samples with those of a probe.

    If all confirming requests failed too, they count as one with the probe's: that is an outage, for `fall` to judge.
    """
    samples = health.samples
    if health.state not in (State.UP, State.LIMITED):
        return samples
    for step in result.passed:
        samples = samples.add(step, now)
    if result.verdict is not Verdict.BAD:
        return samples
    confirmations = result.confirmations
    if confirmations is None or confirmations.all_failed:
        return samples.add(result.step, now, 1, 1)
    return samples.add(result.step, now, 1 + confirmations.sent, 1 + confirmations.failed)


def _judge_samples(health: Health, now: float, settings: Settings) -> Health:
    """Return the health with the beginning or the end of a brown-out."""
    if health.degraded is not None:
        if now < health.degraded.since + LONG_WINDOW or not health.samples.is_calm(health.degraded.step, now):
            return health
        damping = health.damping.recover(now)
        return evolve(health, degraded=None, deepest_failed_step=None, sound_since=now, damping=damping)
    failing = health.samples.find_failing(now) if health.state in (State.UP, State.LIMITED) else None
    if failing is None:
        return health
    damping = health.damping.fall(now, settings.failback_after)
    return evolve(health, degraded=Degradation(now, *failing), damping=damping)


def _age(health: Health, now: float, settings: Settings) -> Health:
    if health.state is not State.UP or health.degraded is not None:
        return health
    damping = health.damping.age(now, settings.failback_after)
    return evolve(health, damping=damping, limit_damping=health.limit_damping.age(now, settings.failback_after))


def _rest(health: Health, retry_after: float, now: float) -> Health:
    return evolve(health, retry_at=max(health.retry_at or now, now + min(retry_after, LONGEST_RETRY_AFTER)))


def _enter(health: Health, state: State, now: float, settings: Settings) -> Health:
    """Return the health of a backend whose state changes to `state` now."""
    bads = health.bads if state is State.LIMITED and health.state is State.UP else 0
    entered = evolve(health, state=state, since=now, bads=bads, goods=0)
    if state is State.DOWN:
        damping = health.damping if health.degraded else health.damping.fall(now, settings.failback_after)
        return evolve(entered, damping=damping, degraded=None, samples=NO_SAMPLES, recovering_since=None)
    if health.state in (State.DOWN, State.UNKNOWN):
        entered = evolve(entered, answering_since=now)
    if health.state is State.DOWN:
        entered = evolve(entered, damping=health.damping.recover(now))
    if health.state is State.UP:  # so it becomes limited
        return evolve(entered, limit_damping=health.limit_damping.fall(now, settings.failback_after))
    if health.state is State.LIMITED:
        entered = evolve(entered, limit_damping=health.limit_damping.recover(now))
    return evolve(entered, deepest_failed_step=None) if state is State.UP else entered
