"""Reasons: why a backend is in its state, in words, with the numbers behind it."""

from facaded.policy.health import Health, State
from facaded.policy.samples import LONG_WINDOW


def describe(name: str, health: Health) -> str:
    """Return a backend's state and its cause.

    For example `docker-hub is down (manifest: answered 500; 5 of 5 confirming requests failed)`.
    """
    return f"{name} is {condition(health)}{cause(health)}"


def explain_health(name: str, health: Health, now: float) -> str:
    """Return one sentence: a backend's state, since when, its cause, and how many requests failed lately.

    For example `ghcr has been up for 2 h: none of 187 requests failed in 10 min`.
    """
    since = health.degraded.since if condition(health) == DEGRADED and health.degraded else health.since
    numbers = _numbers(health, now)
    return f"{name} has been {condition(health)} for {spell(now - since)}{cause(health)}{numbers and f': {numbers}'}"


def condition(health: Health) -> str:
    """Return a backend's state as a word: `degraded` if it is up but some of its requests fail."""
    return DEGRADED if health.state is State.UP and health.degraded else health.state.value


def cause(health: Health) -> str:
    """Return what failed in parentheses, after a space; empty if the backend is up."""
    if condition(health) == DEGRADED and health.degraded:
        count = health.degraded.count
        failed = f"{count.failed} of {count.sent} requests failed in {spell(count.window)}"
        return f" ({health.degraded.step.value}: {failed})"
    if health.state not in (State.DOWN, State.LIMITED) or health.failed is None:
        return ""
    confirmations = health.failed.confirmations
    confirmed = f"; {confirmations.failed} of {confirmations.sent} confirming requests failed" if confirmations else ""
    return f" ({health.failed.step.value}: {health.failed.reason}{confirmed})"


def spell(seconds: float) -> str:
    """Format a duration for a person: `40 s`, `5 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{max(seconds, 0.0):.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)


DEGRADED = "degraded"


def _numbers(health: Health, now: float) -> str:
    """Return how many requests failed in the long window, by step; empty if there were none."""
    counts = health.samples.counts(now, LONG_WINDOW)
    total, failed = sum(count.sent for count in counts.values()), sum(count.failed for count in counts.values())
    if not total:
        return ""
    if not failed:
        return f"none of {total} requests failed in {spell(LONG_WINDOW)}"
    steps = [f"{count.failed} of {count.sent} at {step.value}" for step, count in counts.items() if count.failed]
    return f"{', '.join(steps)} failed in {spell(LONG_WINDOW)}"
