"""What belongs to a backend follows its URL through renames, swaps and removals at random, by reload and by restart."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from attrs import evolve, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from facaded import state
from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.failover import Place
from facaded.policy.health import Health, Purpose, Result, State, Step, Verdict, restore
from facaded.policy.overrides import ContradictionError, Override
from facaded.policy.plan import Identity, Plan
from facaded.policy.watch_state import WatchState
from facaded.state import Clocks
from tests.watching import ScriptedBackends

URLS = ("u0", "u1", "u2", "u3")
NAMES = ("a", "b", "c", "d")
CHECKED = 1.1
"""Seconds after which the clocks have been compared again."""


@frozen
class Layout:
    """The backends of some settings: the URL by name, and two routes."""

    urls: Mapping[str, str]
    routes: tuple[tuple[str, ...], ...]

    def by_url(self, route: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.urls[name] for name in route)

    def name(self, url: str) -> str | None:
        return next((name for name, other in self.urls.items() if other == url), None)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    urls = draw(st.permutations(URLS))
    other = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    return Layout(dict(zip(names, urls, strict=False)), (tuple(names), tuple(other)))


RESULTS = st.builds(Result, st.sampled_from(Verdict), st.sampled_from(Step), st.just("a reason"), st.just(0.1))
ENDS = st.none() | st.sampled_from([50.0, 500.0, 5000.0])


class RenamingMachine(RuleBasedStateMachine):
    """A watch with backends that change their names. `pins` and `drains` are the ends by URL, in wall time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.boot = 1_800_000_000.0
        self.pins: dict[str, float | None] = {}
        self.drains: dict[str, float | None] = {}
        self.news: list[str] = []

    def teardown(self) -> None:
        self.watch.stopService()
        assert self.clock.getDelayedCalls() == [], "no timer is left"
        self.directory.cleanup()

    @initialize(layout=layouts())
    def begin(self, layout: Layout) -> None:
        self.start(layout, None)

    def start(self, layout: Layout, saved: WatchState | None) -> None:
        self.layout, self.clock, self.backends = layout, Clock(), ScriptedBackends()
        self.watch = Watch(self.clock, lambda: self.wall, Random(1), self.plan(), saved)
        self.watch.subscribe(self.record)
        self.watch.startService()

    def record(self, change: Change) -> None:
        self.news.append(change.news)

    def plan(self) -> Plan:
        plan = self.backends.plan(*self.layout.urls, urls=self.layout.urls)
        return evolve(plan, routes=self.layout.routes)

    @property
    def wall(self) -> float:
        return self.boot + self.clock.seconds()

    @rule(url=st.sampled_from(URLS), result=RESULTS)
    def answer(self, url: str, result: Result) -> None:
        name = self.layout.name(url)
        if name in self.backends.waiting:
            self.backends.answer(name, result)

    @rule(seconds=st.sampled_from([0.5, 5.0, 70.0]))
    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)

    @rule(seconds=st.sampled_from([45.0, 4000.0]))
    def suspend(self, seconds: float) -> None:
        self.boot += seconds
        self.clock.advance(CHECKED)

    @rule(url=st.sampled_from(URLS), seconds=ENDS)
    def pin(self, url: str, seconds: float | None) -> None:
        try:
            self.watch.pin(self.layout.name(url) or "nowhere", seconds)
        except ContradictionError:
            return
        self.pins = {url: None if seconds is None else self.wall + seconds}

    @rule(url=st.sampled_from(URLS), seconds=ENDS)
    def drain(self, url: str, seconds: float | None) -> None:
        try:
            self.watch.drain(self.layout.name(url) or "nowhere", seconds)
        except ContradictionError:
            return
        self.drains[url] = None if seconds is None else self.wall + seconds

    @rule(layout=layouts())
    def reload(self, layout: Layout) -> None:
        old, before, self.layout = self.layout, self.watch.watch_state, layout
        self.news.clear()
        self.watch.reconfigure(self.plan())
        after = self.watch.watch_state
        for name, url in layout.urls.items():
            previous = old.name(url)
            expected = Health(State.UNKNOWN, self.clock.seconds()) if previous is None else before.healths[previous]
            assert after.healths[name] == expected
        self.forget()
        if set(old.urls.values()) == set(layout.urls.values()):
            assert not any("pinned" in news or "drained" in news for news in self.news), "a rename is not news"
        actives = active_urls(layout, after)
        for place, url in expected_active(old, before, layout).items():
            assert actives[place] == url

    @rule(layout=layouts(), away=st.sampled_from([0.1, 100.0, 4000.0]))
    def restart(self, layout: Layout, away: float) -> None:
        """Stop the watch, and start it again with other settings and a monotonic clock that begins at zero."""
        directory, old, before = Path(self.directory.name), self.layout, self.watch.watch_state
        state.write(directory, before, self.watch.snapshot().plan.identities, Clocks(self.wall, self.clock.seconds()))
        self.watch.stopService()
        self.boot = self.wall + away
        self.layout = layout
        saved = state.read(directory, self.plan_identities(layout), Clocks(self.boot, 0.0))
        assert saved.warning is None
        assert saved.watch_state is not None
        healths = {layout.urls[name]: saved_fields(health) for name, health in saved.watch_state.healths.items()}
        assert healths == {
            old.urls[name]: saved_fields(restore(health))
            for name, health in before.healths.items()
            if layout.name(old.urls[name])
        }
        actives = active_urls(layout, saved.watch_state)
        for place, url in expected_active(old, before, layout).items():
            if place in actives:
                assert actives[place] == url
        self.start(layout, saved.watch_state)
        self.forget()

    def plan_identities(self, layout: Layout) -> dict[str, Identity]:
        return ScriptedBackends().plan(*layout.urls, urls=layout.urls).identities

    def forget(self) -> None:
        """Forget the overrides of backends that the settings no longer have."""
        for ends in (self.pins, self.drains):
            for url in [*ends]:
                if self.layout.name(url) is None:
                    del ends[url]

    @invariant()
    def pins_and_drains_are_those_of_the_url_until_their_end(self) -> None:
        overrides = self.watch.watch_state.overrides
        for ends, actual in ((self.pins, overrides.pins), (self.drains, overrides.drains)):
            for url in [*ends]:
                if (end := ends[url]) is not None and end <= self.wall + 1e-3 and self.layout.name(url) not in actual:
                    del ends[url]
            assert {self.layout.urls[name]: self.end(override) for name, override in actual.items()} == {
                url: None if end is None else pytest.approx(end, abs=1e-2) for url, end in ends.items()
            }
            assert all(end is None or end > self.wall - 1e-3 for end in ends.values()), "one is over and in force"

    def end(self, override: Override) -> float | None:
        return None if override.until is None else self.wall + override.until - self.clock.seconds()


def active_urls(layout: Layout, watch_state: WatchState) -> dict[Place, str]:
    """Return the URL of the active backend of each place of the layout, by the URLs of its route."""
    return {
        (layout.by_url(route), purpose): layout.urls[watch_state.active[route, purpose].backend]
        for route in layout.routes
        for purpose in Purpose
        if (route, purpose) in watch_state.active
    }


def expected_active(old: Layout, before: WatchState, layout: Layout) -> dict[Place, str]:
    """Return the active URL of each new place, by URLs, where it follows from the only old route that it can come from.

    That is the old route with the same URLs, or the only one that has them after the removed ones are left out.
    """
    remaining, actives = set(layout.urls.values()), active_urls(old, before)
    expected = {}
    for route in map(layout.by_url, layout.routes):
        rests = {other: tuple(url for url in other if url in remaining) for other in map(old.by_url, old.routes)}
        possible = [other for other, rest in rests.items() if rest == route]
        origin = route if route in possible else possible[0] if len(possible) == 1 else None
        for purpose in Purpose:
            if origin is not None and actives[origin, purpose] in route:
                expected[route, purpose] = actives[origin, purpose]
    return expected


def saved_fields(health: Health) -> tuple[object, ...]:
    return health.state, health.damping.relapses, health.canary_seen, health.deepest_failed_step


TestRenaming = RenamingMachine.TestCase
TestRenaming.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
