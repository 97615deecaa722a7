"""Look-ups are bounded in number, whatever the order of events and however long one hangs."""

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Event

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from facaded.net.resolver import LOOKUPS, PATIENCE, QUEUE, STALE_TIME, WAITERS, Resolver
from tests.net.lookups import ONE, TWO, Asker, Found, System, found

WAIT = 15.0
"""Seconds after which a test gives up waiting for a thread."""


class TestBounds:
    def test_so_many_look_ups_run_at_once_and_the_others_wait_in_order(self, system: System) -> None:
        for number in range(LOOKUPS + 2):
            system.ask(f"{number}.test")
        assert len(system.waiting) == LOOKUPS
        system.answer("5.test", ONE)
        system.fail("3.test")
        assert system.asked[LOOKUPS:] == [f"{LOOKUPS}.test", f"{LOOKUPS + 1}.test"]

    def test_when_the_queue_is_full_a_name_has_its_old_addresses_or_none_and_that_is_said_once(
        self, system: System, log: list[tuple[LogLevel, str]]
    ) -> None:
        system.know("hub.test", ONE)
        for number in range(LOOKUPS + QUEUE):
            assert system.ask(f"{number}.test").hosts is None
        assert system.ask("new.test").hosts == []
        assert system.ask("hub.test").hosts == [ONE]
        assert [text for _, text in log] == [
            "cannot look up new.test: too many lookups are waiting; check the system's name servers",
            "hub.test does not resolve (too many lookups are waiting): using its last addresses for up to 60 min",
        ]
        while system.waiting:
            system.answer(next(iter(system.waiting)), TWO)
        assert system.most == LOOKUPS
        asker = system.ask("new.test")
        system.answer("new.test", TWO)
        assert asker.hosts == [TWO]

    def test_when_there_is_no_room_again_that_is_said_again(
        self, system: System, log: list[tuple[LogLevel, str]]
    ) -> None:
        for crowds in (1, 2):
            for number in range(LOOKUPS + QUEUE + 2):
                system.ask(f"{number}.test")
            assert len(log) == crowds
            while system.waiting:
                system.fail(next(iter(system.waiting)))

    def test_of_too_many_who_wait_for_one_name_the_last_are_told_that_it_does_not_resolve(
        self, system: System, log: list[tuple[LogLevel, str]]
    ) -> None:
        for _ in range(WAITERS):
            system.ask("hub.test")
        assert [system.ask("hub.test").hosts, system.ask("hub.test").hosts] == [[], []]
        system.know("cdn.test")
        assert system.ask("hub.test").hosts == []
        assert len(log) == 1


class Interleaved(RuleBasedStateMachine):
    """A few more names than there are slots, asked, answered, failed and left in any order."""

    names = st.integers(0, LOOKUPS + 3).map("{}.test".format)

    def __init__(self) -> None:
        super().__init__()
        self.system = System()
        self.asked: list[tuple[str, Asker]] = []
        self.cancelled: dict[Asker, int] = {}
        self.got: dict[tuple[str, str], float] = {}
        self.ages: list[float] = []

    def told(self, name: str, asker: Asker) -> None:
        now = self.system.clock.seconds()
        self.ages += [now - self.got[name, host] for host in asker.hosts or ()]

    @rule(name=names)
    def ask(self, name: str) -> None:
        asker = Asker()
        asker.on["complete"] = lambda: self.told(name, asker)
        self.asked.append((name, self.system.ask(name, asker)))

    @rule()
    def ask_for_all(self) -> None:
        for number in range(LOOKUPS + 4):
            self.ask(f"{number}.test")

    @precondition(lambda self: self.system.waiting)
    @rule(data=st.data(), number=st.integers(1, 250))
    def answer(self, data: st.DataObject, number: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.system.waiting)))
        self.got[name, f"192.0.2.{number}"] = self.system.clock.seconds()
        self.system.answer(name, f"192.0.2.{number}")

    @precondition(lambda self: self.system.waiting)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.system.fail(data.draw(st.sampled_from(sorted(self.system.waiting))))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        _, asker = data.draw(st.sampled_from(self.asked))
        asker.cancel()
        self.cancelled.setdefault(asker, len(asker.told))

    @rule(seconds=st.sampled_from([0.3, PATIENCE, 60.0, STALE_TIME / 2]))
    def wait(self, seconds: float) -> None:
        self.system.clock.advance(seconds)

    @invariant()
    def nobody_is_told_what_is_older_than_an_hour(self) -> None:
        assert all(age < STALE_TIME for age in self.ages)

    @invariant()
    def not_too_many_run_and_nobody_waits_while_there_is_room(self) -> None:
        waiting = {name for name, asker in self.asked if not asker.complete and asker not in self.cancelled}
        assert len(self.system.waiting) <= LOOKUPS
        assert waiting <= set(self.system.waiting) or len(self.system.waiting) == LOOKUPS

    def teardown(self) -> None:
        """In the end each has been told once, and who has cancelled nothing after that."""
        while self.system.waiting:
            self.system.fail(next(iter(self.system.waiting)))
        for _, asker in self.asked:
            if asker in self.cancelled:
                assert len(asker.told) == self.cancelled[asker]
            else:
                assert asker.complete
        assert self.system.clock.getDelayedCalls() == []


TestInterleaved = Interleaved.TestCase

TestInterleaved.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_in_real_threads_names_that_hang_leave_room_for_one_that_does_not() -> None:
    end, calls = Event(), SimpleQueue[Callable[[], object]]()

    def getaddrinfo(name: str, *_: int) -> Sequence[Found]:
        if name.startswith("dead"):
            end.wait(WAIT)
        return [found(ONE)]

    made = Resolver(Clock(), lambda call, *arguments: calls.put(partial(call, *arguments)), getaddrinfo)
    dead, good = [Asker() for _ in range(LOOKUPS - 1)], Asker()
    for number, asker in enumerate(dead):
        made.resolveHostName(asker, f"dead{number}.test")
    made.resolveHostName(good, "good.test")
    calls.get(timeout=WAIT)()
    assert good.hosts == [ONE]
    assert not any(asker.complete for asker in dead)
    end.set()
    for _ in dead:
        calls.get(timeout=WAIT)()
    assert all(asker.complete for asker in dead)
