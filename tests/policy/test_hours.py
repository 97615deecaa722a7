"""Simulated hours with a backend that fails now and then: how often the active backend changes. All runs are seeded."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from facaded.policy.failover import ActiveBackend, Selector
from facaded.policy.health import Health, Result, Settings, State, Step, Verdict
from facaded.policy.probe_schedule import probe_delay
from facaded.policy.transitions import observe

HOUR = 3600.0
LATENCY = 0.1
GOOD = Result(Verdict.GOOD, Step.MANIFEST, "manifest found", LATENCY, requests=3)
BAD = Result(Verdict.BAD, Step.MANIFEST, "answered 500", LATENCY, requests=3)

Fails = Callable[[float, int], bool]
"""Called with a probe's start time and number; returns whether the probe fails."""


def changes(hours: int, settings: Settings, fails: Fails, random: Random) -> Iterator[float]:
    """Yield the times at which the active backend changes, if the first of two fails so and the second never does."""
    selector = Selector(("main", "second"), settings.failback_after)
    up = Health(State.UP, -HOUR)
    healths, now, probes = {"main": up, "second": up}, 0.0, 0
    active = selector.choose(healths, None, now)

    def choose(moment: float) -> Iterator[float]:
        nonlocal active
        before: ActiveBackend = active
        active = selector.choose(healths, before, moment)
        if active != before:
            yield moment

    while now < hours * HOUR:
        result = BAD if fails(now, probes) else GOOD
        probes += 1
        now += LATENCY
        healths["main"] = observe(healths["main"], result, now, settings)
        yield from choose(now)
        next_probe = now + probe_delay(healths["main"], settings, random.random(), now)
        due = selector.failback_at(healths, active)
        if due is not None and due <= next_probe:
            yield from choose(max(due, now))
        now = next_probe


@pytest.mark.parametrize("seed", range(5))
def test_a_backend_that_goes_up_and_down_every_30_seconds_causes_4_changes_an_hour_at_most(seed: int) -> None:
    phase = Random(seed).random() * 60
    times = list(changes(10, Settings(), lambda now, _: (now + phase) % 60 < 30, Random(seed)))
    assert times, "there is a failover"
    for start in times:
        assert sum(1 for time in times if start <= time < start + HOUR) <= 4


@pytest.mark.parametrize("up_for", [70, 130, 300, 600])
def test_a_backend_that_goes_down_soon_after_each_failback_becomes_active_less_and_less_often(up_for: float) -> None:
    settings, random = Settings(), Random(4)
    times = list(changes(6, settings, lambda now, _: now % (up_for + 40) < 40, random))
    longest_failback = 1800
    for start in (time for time in times if time > 2 * HOUR):
        assert sum(1 for time in times if start <= time < start + HOUR) <= 4
    assert len(times) <= 2 * 6 * HOUR / (longest_failback + up_for) + 14
