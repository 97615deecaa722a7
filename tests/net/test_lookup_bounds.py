"""The number of lookups is limited, in any order of events and even if lookups hang."""

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
from tests.net.lookups import ONE, TWO, AddressInfo, RecordingReceiver, ScriptedResolver, address_info

WAIT = 15.0
"""Seconds after which a test gives up waiting for a thread."""


class TestBounds:
    def test_running_lookups_are_limited_and_the_others_wait_in_order(self, resolver: ScriptedResolver) -> None:
        for number in range(LOOKUPS + 2):
            resolver.ask(f"{number}.test")
        assert len(resolver.waiting) == LOOKUPS
        resolver.answer("5.test", ONE)
        resolver.fail("3.test")
        assert resolver.lookups[LOOKUPS:] == [f"{LOOKUPS}.test", f"{LOOKUPS + 1}.test"]

    def test_a_full_queue_uses_last_known_addresses_and_logs_it_once(
        self, resolver: ScriptedResolver, log: list[tuple[LogLevel, str]]
    ) -> None:
        resolver.learn("hub.test", ONE)
        for number in range(LOOKUPS + QUEUE):
            assert resolver.ask(f"{number}.test").hosts is None
        assert resolver.ask("new.test").hosts == []
        assert resolver.ask("hub.test").hosts == [ONE]
        assert [text for _, text in log] == [
            "cannot look up new.test: too many lookups are waiting; check the system's name servers",
            "hub.test does not resolve (too many lookups are waiting): using its last addresses for up to 60 min",
        ]
        while resolver.waiting:
            resolver.answer(next(iter(resolver.waiting)), TWO)
        assert resolver.most_running == LOOKUPS
        receiver = resolver.ask("new.test")
        resolver.answer("new.test", TWO)
        assert receiver.hosts == [TWO]

    def test_a_queue_that_is_full_again_is_logged_again(
        self, resolver: ScriptedResolver, log: list[tuple[LogLevel, str]]
    ) -> None:
        for warnings in (1, 2):
            for number in range(LOOKUPS + QUEUE + 2):
                resolver.ask(f"{number}.test")
            assert len(log) == warnings
            while resolver.waiting:
                resolver.fail(next(iter(resolver.waiting)))

    def test_the_number_of_callers_that_wait_for_one_name_is_limited(
        self, resolver: ScriptedResolver, log: list[tuple[LogLevel, str]]
    ) -> None:
        for _ in range(WAITERS):
            resolver.ask("hub.test")
        assert [resolver.ask("hub.test").hosts, resolver.ask("hub.test").hosts] == [[], []]
        resolver.learn("cdn.test")
        assert resolver.ask("hub.test").hosts == []
        assert len(log) == 1


class Interleaved(RuleBasedStateMachine):
    """Resolutions of more names than lookups can run, which succeed, fail and are cancelled in any order."""

    names = st.integers(0, LOOKUPS + 3).map("{}.test".format)

    def __init__(self) -> None:
        super().__init__()
        self.resolver = ScriptedResolver()
        self.resolutions: list[tuple[str, RecordingReceiver]] = []
        self.cancelled: dict[RecordingReceiver, int] = {}
        self.resolved_at: dict[tuple[str, str], float] = {}
        self.ages: list[float] = []

    def check_age(self, name: str, receiver: RecordingReceiver) -> None:
        now = self.resolver.clock.seconds()
        self.ages += [now - self.resolved_at[name, host] for host in receiver.hosts or ()]

    @rule(name=names)
    def ask(self, name: str) -> None:
        receiver = RecordingReceiver()
        receiver.on["complete"] = lambda: self.check_age(name, receiver)
        self.resolutions.append((name, self.resolver.ask(name, receiver)))

    @rule()
    def ask_for_all(self) -> None:
        for number in range(LOOKUPS + 4):
            self.ask(f"{number}.test")

    @precondition(lambda self: self.resolver.waiting)
    @rule(data=st.data(), number=st.integers(1, 250))
    def answer(self, data: st.DataObject, number: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.resolver.waiting)))
        self.resolved_at[name, f"192.0.2.{number}"] = self.resolver.clock.seconds()
        self.resolver.answer(name, f"192.0.2.{number}")

    @precondition(lambda self: self.resolver.waiting)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.resolver.fail(data.draw(st.sampled_from(sorted(self.resolver.waiting))))

    @precondition(lambda self: self.resolutions)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        _, receiver = data.draw(st.sampled_from(self.resolutions))
        receiver.cancel()
        self.cancelled.setdefault(receiver, len(receiver.events))

    @rule(seconds=st.sampled_from([0.3, PATIENCE, 60.0, STALE_TIME / 2]))
    def wait(self, seconds: float) -> None:
        self.resolver.clock.advance(seconds)

    @invariant()
    def no_address_is_older_than_an_hour(self) -> None:
        assert all(age < STALE_TIME for age in self.ages)

    @invariant()
    def lookups_wait_only_if_the_maximum_is_running(self) -> None:
        waiting = {
            name for name, receiver in self.resolutions if not receiver.complete and receiver not in self.cancelled
        }
        assert len(self.resolver.waiting) <= LOOKUPS
        assert waiting <= set(self.resolver.waiting) or len(self.resolver.waiting) == LOOKUPS

    def teardown(self) -> None:
        """Check that each receiver got one end, and nothing after it cancelled."""
        while self.resolver.waiting:
            self.resolver.fail(next(iter(self.resolver.waiting)))
        for _, receiver in self.resolutions:
            if receiver in self.cancelled:
                assert len(receiver.events) == self.cancelled[receiver]
            else:
                assert receiver.complete
        assert self.resolver.clock.getDelayedCalls() == []


TestInterleaved = Interleaved.TestCase

TestInterleaved.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_lookups_that_hang_in_real_threads_do_not_delay_another_one() -> None:
    end, calls = Event(), SimpleQueue[Callable[[], object]]()

    def getaddrinfo(name: str, *_: int) -> Sequence[AddressInfo]:
        if name.startswith("dead"):
            end.wait(WAIT)
        return [address_info(ONE)]

    resolver = Resolver(Clock(), lambda call, *arguments: calls.put(partial(call, *arguments)), getaddrinfo)
    dead, good = [RecordingReceiver() for _ in range(LOOKUPS - 1)], RecordingReceiver()
    for number, receiver in enumerate(dead):
        resolver.resolveHostName(receiver, f"dead{number}.test")
    resolver.resolveHostName(good, "good.test")
    calls.get(timeout=WAIT)()
    assert good.hosts == [ONE]
    assert not any(receiver.complete for receiver in dead)
    end.set()
    for _ in dead:
        calls.get(timeout=WAIT)()
    assert all(receiver.complete for receiver in dead)
