"""The schedule of probes: when the next probe of a backend is due, and how far it goes."""

from facaded.policy.health import Health, ProbeDepth, Result, Settings, State, Step, Verdict
from facaded.policy.samples import CALM_SAMPLES, LONG_WINDOW, SHORT_WINDOW

JITTER = 0.1
"""The fraction by which waits are shortened at random, so that many facades do not probe in step."""

USUAL_REQUESTS = 3
"""Requests of a normal probe: the ping, the token, the HEAD of the canary's manifest."""

BODY_INTERVAL = 3600.0
"""Seconds between probes that fetch the canary's manifest: Docker Hub allows 100 such requests in 6 hours."""

DEGRADED_BODY_INTERVAL = LONG_WINDOW / (2 * CALM_SAMPLES)
"""The same in seconds while these requests fail too often: often enough to find that they no longer do."""

SAME_FAILURE = 0.8
"""The part of `fast_interval` from the start of one bad probe to the end of another within which both are one failure.

Less than the jitter leaves of it.
"""

_BLOB_STEPS = (Step.BLOB, Step.CDN)


def probe_depth(health: Health, now: float, settings: Settings) -> ProbeDepth:
    """Return how far the next probe goes.

    It goes to the blob every `deep_interval`, and while requests for blobs fail. The first probe is a short one,
    because requests wait for it. A failed step is confirmed unless the backend is down anyway.
    """
    known, doubted = health.state is not State.UNKNOWN, _doubted_steps(health, now)
    deep = (known and _is_due(health.deep_at, settings.deep_interval, now)) or bool(doubted.intersection(_BLOB_STEPS))
    body_interval = settings.deep_interval if Step.BODY in doubted else BODY_INTERVAL
    if health.degraded is not None and health.degraded.step is Step.BODY:
        body_interval = min(body_interval, DEGRADED_BODY_INTERVAL)
    body = known and health.canary_seen and _is_due(health.body_at, body_interval, now)
    failed = health.deepest_failed_step is Step.BODY
    confirm = health.state in (State.UP, State.LIMITED)
    return ProbeDepth(deep, health.canary_seen, body or failed, confirm)


def probe_delay(health: Health, settings: Settings, jitter: float, now: float) -> float:
    """Return the seconds from the end of a probe to the start of the next.

    `jitter` is a random number from 0 to 1. While a change is pending the delay is `fast_interval`, except for a change
    from limited to up, which may not last, while rate limits follow a failure, and while the backend is degraded. A
    backend that is down or limited gets no more requests a minute than one that is up. No backend is probed before its
    Retry-After ends.
    """
    shortened = 1 - JITTER * jitter
    limited = health.last is not None and health.last.verdict is Verdict.LIMITED
    failing = health.is_failing and health.degraded is None and not limited
    if failing or health.is_recovering:
        confirmations = health.last.confirmations if health.last else None
        seconds = settings.fast_interval * shortened - (confirmations.seconds if confirmations else 0.0)
    elif health.last is not None and health.state in (State.DOWN, State.LIMITED):
        seconds = settings.interval * max(1.0, health.last.requests / USUAL_REQUESTS) * shortened
    else:
        seconds = settings.interval * shortened
    return max(seconds, 0.0, (health.retry_at or now) - now)


def is_same_failure(health: Health, result: Result, now: float, settings: Settings) -> bool:
    """Return whether a bad result is of the same moment as the last one, so that it does not count as another in a row.

    A request that fails starts a probe while a check is in progress; together they have not seen an outage last.
    """
    failed, failed_at, confirmations = health.failed, health.failed_at, result.confirmations
    is_outage = confirmations is None or confirmations.all_failed
    if result.verdict is not Verdict.BAD or result.retry_after or not is_outage or not health.is_failing:
        return False
    if failed is None or failed_at is None or failed.verdict is not Verdict.BAD:
        return False
    begun = failed_at - failed.latency - (failed.confirmations.seconds if failed.confirmations else 0.0)
    return now - begun < settings.fast_interval * SAME_FAILURE


def _doubted_steps(health: Health, now: float) -> set[Step]:
    """Return the steps of which a request failed lately, or failed too often."""
    recent = {step for step, count in health.samples.counts(now, SHORT_WINDOW).items() if count.failed}
    steps = (health.deepest_failed_step, health.degraded.step if health.degraded else None)
    return {*recent, *(step for step in steps if step is not None)}


def _is_due(last: float | None, interval: float, now: float) -> bool:
    return last is None or now >= last + interval
