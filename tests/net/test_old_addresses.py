"""A name whose lookup fails or is slow keeps its last known addresses for a time, and this is logged."""

import pytest
from twisted.logger import LogLevel

from facaded.net.resolver import CACHED_NAMES, LOOKUPS, PATIENCE, STALE_TIME
from tests.net.lookups import ONE, TWO, ScriptedResolver


class TestOldAddresses:
    @pytest.mark.parametrize("outcome", ["fails", "finds nothing"])
    def test_they_are_used_when_a_lookup(self, resolver: ScriptedResolver, outcome: str) -> None:
        resolver.learn("hub.test", ONE, TWO)
        receiver = resolver.ask("hub.test")
        if outcome == "fails":
            resolver.fail("hub.test")
        else:
            resolver.answer("hub.test")
        assert receiver.hosts == [ONE, TWO]

    def test_they_are_used_when_a_lookup_is_slow_until_it_ends(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test", ONE)
        receiver = resolver.ask("hub.test")
        resolver.clock.advance(PATIENCE - 0.01)
        assert receiver.hosts is None
        resolver.clock.advance(0.01)
        assert receiver.hosts == [ONE]
        resolver.answer("hub.test", TWO)
        later = resolver.ask("hub.test")
        resolver.fail("hub.test")
        assert later.hosts == [TWO]

    def test_a_caller_during_a_slow_lookup_gets_them_at_once(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test", ONE)
        resolver.ask("hub.test")
        resolver.clock.advance(PATIENCE)
        assert resolver.ask("hub.test").hosts == [ONE]
        assert resolver.lookups == ["hub.test"] * 2

    def test_a_queued_lookup_can_be_slow_too(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test", ONE)
        for number in range(LOOKUPS):
            resolver.ask(f"{number}.test")
        receiver = resolver.ask("hub.test")
        resolver.clock.advance(PATIENCE)
        assert receiver.hosts == [ONE]
        resolver.answer("0.test")
        resolver.answer("hub.test", TWO)
        later = resolver.ask("hub.test")
        resolver.clock.advance(PATIENCE)
        assert later.hosts == [TWO]

    def test_without_any_a_caller_waits_for_the_lookup(self, resolver: ScriptedResolver) -> None:
        receiver = resolver.ask("hub.test")
        resolver.clock.advance(60)
        assert receiver.hosts is None
        resolver.answer("hub.test", ONE)
        assert receiver.hosts == [ONE]

    @pytest.mark.parametrize(("age", "hosts"), [(STALE_TIME - 1, [ONE]), (STALE_TIME, [])])
    def test_they_expire_an_hour_after_their_lookup(
        self, resolver: ScriptedResolver, age: float, hosts: list[str]
    ) -> None:
        resolver.learn("hub.test", ONE)
        resolver.clock.advance(age / 2)
        resolver.ask("hub.test")
        resolver.fail("hub.test")
        resolver.clock.advance(age / 2)
        receiver = resolver.ask("hub.test")
        resolver.fail("hub.test")
        assert receiver.hosts == hosts

    def test_if_they_expire_during_a_lookup_the_caller_waits_for_it(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test", ONE)
        resolver.clock.advance(STALE_TIME - PATIENCE / 2)
        receiver = resolver.ask("hub.test")
        resolver.clock.advance(PATIENCE)
        late = resolver.ask("hub.test")
        assert (receiver.hosts, late.hosts) == (None, None)
        resolver.answer("hub.test", TWO)
        assert (receiver.hosts, late.hosts) == ([TWO], [TWO])

    def test_the_oldest_are_evicted_first(self, resolver: ScriptedResolver) -> None:
        resolver.learn("first.test")
        resolver.learn("second.test")
        resolver.learn("first.test")
        for number in range(CACHED_NAMES - 1):
            resolver.learn(f"{number}.test")
        receivers = {name: resolver.ask(name) for name in ("first.test", "second.test")}
        for name in receivers:
            resolver.fail(name)
        assert {name: receiver.hosts for name, receiver in receivers.items()} == {
            "first.test": [ONE],
            "second.test": [],
        }

    def test_no_timer_remains(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test")
        resolver.ask("hub.test")
        resolver.answer("hub.test", ONE)
        for number in range(LOOKUPS):
            resolver.ask(f"{number}.test")
        resolver.ask("hub.test").cancel()
        assert resolver.clock.getDelayedCalls() == []


class TestLog:
    def test_the_start_and_the_end_of_their_use_are_logged(
        self, resolver: ScriptedResolver, log: list[tuple[LogLevel, str]]
    ) -> None:
        resolver.learn("hub.test")
        resolver.clock.advance(5)
        for _ in range(3):
            resolver.ask("hub.test")
            resolver.fail("hub.test")
        assert log == [
            (
                LogLevel.warn,
                "hub.test does not resolve (Temporary failure in name resolution): "
                "using its last addresses for up to 60 min",
            )
        ]
        assert resolver.resolver.stale() == {"hub.test": 5}
        resolver.learn("hub.test")
        resolver.learn("hub.test")
        assert log[1:] == [(LogLevel.info, "hub.test resolves again")]
        assert resolver.resolver.stale() == {}

    def test_lookups_that_are_always_slow_are_logged_once(
        self, resolver: ScriptedResolver, log: list[tuple[LogLevel, str]]
    ) -> None:
        resolver.learn("hub.test")
        for _ in range(3):
            resolver.ask("hub.test")
            resolver.clock.advance(PATIENCE)
            resolver.answer("hub.test", ONE)
        assert [text for _, text in log] == [
            "hub.test does not resolve (the lookup takes over 1 s): using its last addresses for up to 60 min"
        ]
        assert resolver.resolver.stale() == {"hub.test": PATIENCE}

    def test_a_lookup_that_fails_without_callers_is_not_logged(
        self, resolver: ScriptedResolver, log: list[tuple[LogLevel, str]]
    ) -> None:
        resolver.learn("hub.test")
        resolver.ask("hub.test").cancel()
        resolver.fail("hub.test")
        assert log == []
        assert resolver.resolver.stale() == {}

    def test_names_without_usable_addresses_are_not_stale(self, resolver: ScriptedResolver) -> None:
        resolver.ask("new.test")
        resolver.fail("new.test")
        resolver.learn("hub.test")
        resolver.ask("hub.test")
        resolver.fail("hub.test")
        assert set(resolver.resolver.stale()) == {"hub.test"}
        resolver.clock.advance(STALE_TIME)
        assert resolver.resolver.stale() == {}
