"""A name whose look-up fails or is late keeps its last addresses, for a time, and that is logged."""

import pytest
from twisted.logger import LogLevel

from facaded.net.resolver import CACHED_NAMES, LOOKUPS, PATIENCE, STALE_TIME
from tests.net.lookups import ONE, TWO, System


class TestOldAddresses:
    @pytest.mark.parametrize("how", ["fails", "finds nothing"])
    def test_they_are_told_at_once_when_a_look_up(self, system: System, how: str) -> None:
        system.know("hub.test", ONE, TWO)
        asker = system.ask("hub.test")
        if how == "fails":
            system.fail("hub.test")
        else:
            system.answer("hub.test")
        assert asker.hosts == [ONE, TWO]

    def test_they_are_told_when_a_look_up_takes_long_and_what_it_finds_later_replaces_them(
        self, system: System
    ) -> None:
        system.know("hub.test", ONE)
        asker = system.ask("hub.test")
        system.clock.advance(PATIENCE - 0.01)
        assert asker.hosts is None
        system.clock.advance(0.01)
        assert asker.hosts == [ONE]
        system.answer("hub.test", TWO)
        later = system.ask("hub.test")
        system.fail("hub.test")
        assert later.hosts == [TWO]

    def test_who_asks_during_a_look_up_that_takes_long_is_told_them_at_once(self, system: System) -> None:
        system.know("hub.test", ONE)
        system.ask("hub.test")
        system.clock.advance(PATIENCE)
        assert system.ask("hub.test").hosts == [ONE]
        assert system.asked == ["hub.test"] * 2

    def test_a_look_up_that_waits_for_its_turn_takes_long_too(self, system: System) -> None:
        system.know("hub.test", ONE)
        for number in range(LOOKUPS):
            system.ask(f"{number}.test")
        asker = system.ask("hub.test")
        system.clock.advance(PATIENCE)
        assert asker.hosts == [ONE]
        system.answer("0.test")
        system.answer("hub.test", TWO)
        later = system.ask("hub.test")
        system.clock.advance(PATIENCE)
        assert later.hosts == [TWO]

    def test_without_any_an_asker_waits_for_the_end(self, system: System) -> None:
        asker = system.ask("hub.test")
        system.clock.advance(60)
        assert asker.hosts is None
        system.answer("hub.test", ONE)
        assert asker.hosts == [ONE]

    @pytest.mark.parametrize(("age", "hosts"), [(STALE_TIME - 1, [ONE]), (STALE_TIME, [])])
    def test_they_are_good_for_an_hour_from_when_they_were_got(
        self, system: System, age: float, hosts: list[str]
    ) -> None:
        system.know("hub.test", ONE)
        system.clock.advance(age / 2)
        system.ask("hub.test")
        system.fail("hub.test")
        system.clock.advance(age / 2)
        asker = system.ask("hub.test")
        system.fail("hub.test")
        assert asker.hosts == hosts

    def test_when_the_hour_ends_during_a_look_up_the_asker_waits_for_its_end(self, system: System) -> None:
        system.know("hub.test", ONE)
        system.clock.advance(STALE_TIME - PATIENCE / 2)
        asker = system.ask("hub.test")
        system.clock.advance(PATIENCE)
        late = system.ask("hub.test")
        assert (asker.hosts, late.hosts) == (None, None)
        system.answer("hub.test", TWO)
        assert (asker.hosts, late.hosts) == ([TWO], [TWO])

    def test_those_that_were_got_first_go_first(self, system: System) -> None:
        system.know("first.test")
        system.know("second.test")
        system.know("first.test")
        for number in range(CACHED_NAMES - 1):
            system.know(f"{number}.test")
        asked = {name: system.ask(name) for name in ("first.test", "second.test")}
        for name in asked:
            system.fail(name)
        assert {name: asker.hosts for name, asker in asked.items()} == {"first.test": [ONE], "second.test": []}

    def test_no_timer_is_left(self, system: System) -> None:
        system.know("hub.test")
        system.ask("hub.test")
        system.answer("hub.test", ONE)
        for number in range(LOOKUPS):
            system.ask(f"{number}.test")
        system.ask("hub.test").cancel()
        assert system.clock.getDelayedCalls() == []


class TestWhatIsSaid:
    def test_one_line_when_old_addresses_begin_to_be_used_and_one_when_they_end(
        self, system: System, log: list[tuple[LogLevel, str]]
    ) -> None:
        system.know("hub.test")
        system.clock.advance(5)
        for _ in range(3):
            system.ask("hub.test")
            system.fail("hub.test")
        assert log == [
            (
                LogLevel.warn,
                "hub.test does not resolve (Temporary failure in name resolution): "
                "using its last addresses for up to 60 min",
            )
        ]
        assert system.names.stale() == {"hub.test": 5}
        system.know("hub.test")
        system.know("hub.test")
        assert log[1:] == [(LogLevel.info, "hub.test resolves again")]
        assert system.names.stale() == {}

    def test_look_ups_that_are_late_each_time_are_not_said_each_time(
        self, system: System, log: list[tuple[LogLevel, str]]
    ) -> None:
        system.know("hub.test")
        for _ in range(3):
            system.ask("hub.test")
            system.clock.advance(PATIENCE)
            system.answer("hub.test", ONE)
        assert [text for _, text in log] == [
            "hub.test does not resolve (the lookup takes over 1 s): using its last addresses for up to 60 min"
        ]
        assert system.names.stale() == {"hub.test": PATIENCE}

    def test_a_look_up_that_fails_when_nobody_waits_any_more_says_nothing(
        self, system: System, log: list[tuple[LogLevel, str]]
    ) -> None:
        system.know("hub.test")
        system.ask("hub.test").cancel()
        system.fail("hub.test")
        assert log == []
        assert system.names.stale() == {}

    def test_a_name_without_addresses_that_may_be_used_is_not_among_those_with_old_ones(self, system: System) -> None:
        system.ask("new.test")
        system.fail("new.test")
        system.know("hub.test")
        system.ask("hub.test")
        system.fail("hub.test")
        assert set(system.names.stale()) == {"hub.test"}
        system.clock.advance(STALE_TIME)
        assert system.names.stale() == {}
