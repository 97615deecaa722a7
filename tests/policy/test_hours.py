"""Hours of a backend that fails now and then, simulated: how often the active one changes. Every run is seeded."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from facaded.policy.failover import Active, Selector
from facaded.policy.health import Health, Result, Settings, State, Step, Verdict, observe, wait

HOUR = 3600.0
LATENCY = 0.1
GOOD = Result(Verdict.GOOD, Step.MANIFEST, "manifest found", LATENCY, requests=3)
BAD = Result(Verdict.BAD, Step.MANIFEST, "answered 500", LATENCY, requests=3)

Fails = Callable[[float, int], bool]
"""Whether the probe that begins at a time, the so-many-th, fails."""


def changes(hours: int, settings: Settings, fails: Fails, random: Random) -> Iterator[float]:
    """When the active backend changes, where the first of two fails so and the second never does."""
    selector = Selector(("main", "second"), settings.failback_after)
    well = Health(State.UP, -HOUR)
    healths, now, probes = {"main": Health(State.UP, -HOUR), "second": well}, 0.0, 0
    active = selector.choose(healths, None, now)

    def choose(moment: float) -> Iterator[float]:
        nonlocal active
        before: Active = active
        active = selector.choose(healths, before, moment)
        if active != before:
            yield moment

    while now < hours * HOUR:
        result = BAD if fails(now, probes) else GOOD
        probes += 1
        now += LATENCY
        healths["main"] = observe(healths["main"], result, now, settings)
        yield from choose(now)
        next_probe = now + wait(healths["main"], settings, random.random())
        due = selector.failback_at(healths, active)
        if due is not None and due <= next_probe:
            yield from choose(max(due, now))
        now = next_probe


def test_a_backend_that_fails_every_tenth_probe_causes_no_change() -> None:
    assert list(changes(24, Settings(), lambda _, probe: probe % 10 == 9, Random(1))) == []


def test_one_probe_in_ten_failing_at_random_causes_none_in_95_of_100_hours_with_a_fall_of_4() -> None:
    random = Random(2)
    disturbed = {
        int(moment // HOUR) for moment in changes(1000, Settings(fall=4), lambda *_: random.random() < 0.1, random)
    }
    assert len(disturbed) <= 50


def test_and_8_an_hour_at_most_with_a_fall_of_2() -> None:
    random = Random(3)
    seen = list(changes(200, Settings(fall=2), lambda *_: random.random() < 0.1, random))
    assert 0 < len(seen) / 200 <= 8


@pytest.mark.parametrize("seed", range(5))
def test_a_backend_that_is_up_and_down_every_30_seconds_causes_4_an_hour_at_most(seed: int) -> None:
    phase = Random(seed).random() * 60
    seen = list(changes(10, Settings(), lambda now, _: (now + phase) % 60 < 30, Random(seed)))
    assert seen, "it is left"
    for begun in seen:
        assert sum(1 for moment in seen if begun <= moment < begun + HOUR) <= 4


@pytest.mark.parametrize("up_for", [70, 130, 300, 600])
def test_one_that_goes_down_soon_after_each_failback_is_tried_ever_more_seldom(up_for: float) -> None:
    settings, random = Settings(), Random(4)
    seen = list(changes(6, settings, lambda now, _: now % (up_for + 40) < 40, random))
    longest_failback = 1800
    assert all(sum(1 for moment in seen if begun <= moment < begun + HOUR) <= 4 for begun in seen if begun > 2 * HOUR)
    assert len(seen) <= 2 * 6 * HOUR / (longest_failback + up_for) + 14
