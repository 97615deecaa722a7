"""Names are looked up once for all who ask, without end for nobody, and a failing look-up has the last addresses."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyObject

from facaded.net.private_addresses import lookup
from facaded.net.resolver import (
    ASKERS,
    KEPT_ADDRESSES,
    KEPT_NAMES,
    KEPT_TIME,
    LOOKUPS,
    PATIENCE,
    QUEUE,
    Resolver,
    SocketAddress,
)
from tests.daemon import WAIT, Daemon, Registry, running

ONE, TWO, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"

Found = tuple[int, int, int, str, SocketAddress]


def found(address: str, scope: int = 0) -> Found:
    """An address as getaddrinfo gives it."""
    place: SocketAddress = (address, 0, 0, scope) if ":" in address else (address, 0)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place


@implementer(IResolutionReceiver)
@define(eq=False)
class Asker:
    """Keeps all that it is told, in order."""

    on: dict[str, Callable[[], object]] = field(factory=dict)
    told: list[object] = field(factory=list)
    resolution: IHostResolution | None = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        assert self.resolution is None
        assert self.told == []
        self.resolution = resolutionInProgress
        self._do("began")

    def addressResolved(self, address: IAddress) -> None:
        self.told.append(address)
        self._do("address")

    def resolutionComplete(self) -> None:
        self.told.append("complete")
        self._do("complete")

    def cancel(self) -> None:
        assert self.resolution is not None
        self.resolution.cancel()

    def _do(self, what: str) -> None:
        self.on.get(what, lambda: None)()

    @property
    def complete(self) -> bool:
        """Whether it was told the end: then once, and last."""
        assert "complete" not in self.told[:-1]
        return self.told[-1:] == ["complete"]

    @property
    def hosts(self) -> list[str] | None:
        """The addresses that it was told, None before the end."""
        return [getattr(each, "host", "") for each in self.told[:-1]] if self.complete else None


class System:
    """A resolver whose look-ups are answered by hand, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting: dict[str, Callable[[], None]] = {}
        self.asked: list[str] = []
        self.threads = True
        self.most = 0
        self._answer: Sequence[Found] | Exception = ()
        self._later: list[Callable[[], object]] = []
        self.names = Resolver(self.clock, self._from_thread, self._getaddrinfo, self._start)

    def ask(self, name: str, asker: Asker | None = None, **more: object) -> Asker:
        asker = Asker() if asker is None else asker
        given = self.names.resolveHostName(asker, name, **more)  # type: ignore[arg-type]  # whatever a test asks
        assert given is asker.resolution
        self._catch_up()
        return asker

    def answer(self, name: str, *addresses: str | Found) -> None:
        """End a look-up with these addresses."""
        self._end(name, [found(each) if isinstance(each, str) else each for each in addresses])

    def fail(self, name: str, error: Exception | None = None) -> None:
        """End a look-up with an error."""
        self._end(name, error or socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))

    def know(self, name: str, *addresses: str) -> None:
        self.ask(name)
        self.answer(name, *(addresses or (ONE,)))

    def _end(self, name: str, answer: Sequence[Found] | Exception) -> None:
        self._answer = answer
        self.waiting.pop(name)()
        self._catch_up()

    def _getaddrinfo(self, name: str, port: int, family: int, kind: int) -> Sequence[Found]:
        assert (port, family, kind) == (0, socket.AF_UNSPEC, socket.SOCK_STREAM)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _start(self, work: Callable[[], None]) -> None:
        if not self.threads:
            raise RuntimeError("can't start new thread")
        assert isinstance(work, partial)
        name: str = work.args[0].name
        assert name not in self.waiting, "two look-ups of one name"
        self.waiting[name] = work
        self.asked.append(name)
        self.most = max(self.most, len(self.waiting))

    def _from_thread(self, call: Callable[..., object], *arguments: object) -> None:
        self._later.append(partial(call, *arguments))

    def _catch_up(self) -> None:
        while self._later:
            self._later.pop(0)()


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def log() -> Iterator[list[tuple[LogLevel, str]]]:
    """What was logged."""
    lines: list[tuple[LogLevel, str]] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_it_is_a_resolver_as_twisted_wants_one(system: System) -> None:
    verifyObject(IHostnameResolver, system.names)
    verifyObject(IHostResolution, system.ask("hub.test").resolution)


class TestAnAnswer:
    def test_it_is_told_in_the_order_of_the_interface_with_port_and_transport(self, system: System) -> None:
        asker = system.ask("hub.test", portNumber=443, transportSemantics="UDP")
        assert asker.told == []
        assert asker.resolution is not None
        assert asker.resolution.name == "hub.test"
        system.answer("hub.test", found("fe80::1", 3), ONE)
        assert asker.told == [
            IPv6Address("UDP", "fe80::1", 443, 0, 3),
            IPv4Address("UDP", ONE, 443),
            "complete",
        ]

    def test_an_address_is_told_once_in_the_systems_order(self, system: System) -> None:
        asker = system.ask("hub.test")
        system.answer("hub.test", TWO, SIX, TWO, ONE, SIX)
        assert asker.hosts == [TWO, SIX, ONE]

    def test_not_more_than_a_few_addresses_are_told(self, system: System) -> None:
        asker = system.ask("hub.test")
        system.answer("hub.test", *(f"192.0.2.{number}" for number in range(200)))
        assert asker.hosts == [f"192.0.2.{number}" for number in range(KEPT_ADDRESSES)]

    def test_an_address_of_another_family_is_passed_over(self, system: System) -> None:
        asker = system.ask("hub.test")
        system.answer("hub.test", (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", (1, b"")), ONE)
        assert asker.hosts == [ONE]

    @pytest.mark.parametrize(
        ("kinds", "hosts"),
        [
            (None, [SIX, ONE]),
            ([IPv4Address], [ONE]),
            ([IPv6Address], [SIX]),
            ([IPv4Address, IPv6Address], [SIX, ONE]),
            ([], []),
        ],
    )
    def test_one_look_up_serves_askers_of_every_family(
        self, system: System, kinds: list[type[IAddress]] | None, hosts: list[str]
    ) -> None:
        both, asker = system.ask("hub.test"), system.ask("hub.test", addressTypes=kinds)
        system.answer("hub.test", SIX, ONE)
        assert both.hosts == [SIX, ONE]
        assert asker.hosts == hosts

    @pytest.mark.parametrize(
        "error", [None, OSError(5, "Input/output error"), UnicodeError("label too long"), ValueError(), MemoryError()]
    )
    def test_a_look_up_that_fails_is_a_name_that_does_not_resolve(
        self, system: System, error: Exception | None
    ) -> None:
        asker = system.ask("hub.test")
        system.fail("hub.test", error)
        assert asker.hosts == []

    def test_a_thread_that_cannot_be_started_is_a_look_up_that_fails(self, system: System) -> None:
        system.know("hub.test")
        system.threads = False
        assert system.ask("hub.test").hosts == [ONE]
        assert system.ask("cdn.test").hosts == []
        system.threads = True
        assert system.ask("cdn.test").hosts is None


class TestSharing:
    def test_all_who_ask_meanwhile_share_one_look_up(self, system: System) -> None:
        askers = [system.ask("hub.test") for _ in range(3)]
        system.answer("hub.test", ONE)
        assert [asker.hosts for asker in askers] == [[ONE]] * 3
        assert system.asked == ["hub.test"]

    def test_who_asks_afterwards_has_a_look_up_of_its_own(self, system: System) -> None:
        system.know("hub.test", ONE)
        asker = system.ask("hub.test")
        assert asker.hosts is None
        system.answer("hub.test", TWO)
        assert asker.hosts == [TWO]

    def test_a_name_is_the_same_in_capital_letters(self, system: System) -> None:
        system.ask("Hub.Test")
        system.ask("hub.test")
        assert system.asked == ["hub.test"]

    def test_one_that_asks_again_when_it_is_told_begins_a_new_look_up(self, system: System) -> None:
        again = Asker()
        system.ask("hub.test", Asker({"complete": lambda: system.ask("hub.test", again)}))
        system.answer("hub.test", ONE)
        assert again.hosts is None
        system.answer("hub.test", TWO)
        assert again.hosts == [TWO]

    def test_one_that_fails_when_it_is_told_leaves_the_others_alone(
        self, system: System, no_errors_are_logged: list[LogEvent]
    ) -> None:
        def fail() -> None:
            raise KeyError("its own fault")

        system.ask("hub.test", Asker({"complete": fail}))
        asker = system.ask("hub.test")
        system.answer("hub.test", ONE)
        assert asker.hosts == [ONE]
        assert len(no_errors_are_logged) == 1
        no_errors_are_logged.clear()


class TestCancelling:
    def test_who_cancels_is_told_nothing_more_and_the_others_are(self, system: System) -> None:
        gone, asker = system.ask("hub.test"), system.ask("hub.test")
        gone.cancel()
        gone.cancel()
        system.answer("hub.test", ONE)
        assert gone.told == []
        assert asker.hosts == [ONE]

    @pytest.mark.parametrize("name", ["hub.test", ONE, "..."])
    def test_it_may_be_done_when_the_look_up_begins(self, system: System, name: str) -> None:
        asker = Asker()
        asker.on["began"] = asker.cancel
        system.ask(name, asker)
        assert asker.told == []
        assert system.asked == []

    def test_it_may_be_done_between_two_addresses(self, system: System) -> None:
        asker = Asker()
        asker.on["address"] = asker.cancel
        system.ask("hub.test", asker)
        system.answer("hub.test", ONE, TWO)
        assert asker.told == [IPv4Address("TCP", ONE, 0)]

    def test_it_may_be_done_by_another_who_is_told(self, system: System) -> None:
        gone = Asker()
        system.ask("hub.test", Asker({"complete": gone.cancel}))
        system.ask("hub.test", gone)
        system.answer("hub.test", ONE)
        assert gone.told == []

    def test_after_the_end_it_does_nothing(self, system: System) -> None:
        asker = system.ask("hub.test")
        system.answer("hub.test", ONE)
        other = system.ask("hub.test")
        asker.cancel()
        system.answer("hub.test", TWO)
        assert (asker.hosts, other.hosts) == ([ONE], [TWO])

    def test_what_a_look_up_finds_for_nobody_is_kept(self, system: System) -> None:
        system.ask("hub.test").cancel()
        system.answer("hub.test", ONE)
        asker = system.ask("hub.test")
        system.fail("hub.test")
        assert asker.hosts == [ONE]

    def test_a_name_that_nobody_waits_for_any_more_is_not_looked_up(self, system: System) -> None:
        for number in range(LOOKUPS):
            system.ask(f"{number}.test")
        system.ask("hub.test").cancel()
        system.answer("0.test", ONE)
        assert "hub.test" not in system.asked
        system.ask("hub.test")
        assert "hub.test" in system.asked


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

    @pytest.mark.parametrize(("age", "hosts"), [(KEPT_TIME - 1, [ONE]), (KEPT_TIME, [])])
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
        system.clock.advance(KEPT_TIME - PATIENCE / 2)
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
        for number in range(KEPT_NAMES - 1):
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
                "its last addresses are used, for 60 min at most",
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
            "hub.test does not resolve (the look-up takes over 1 s): its last addresses are used, for 60 min at most"
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
        system.clock.advance(KEPT_TIME)
        assert system.names.stale() == {}


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
        assert [text.partition(" ")[::2] for _, text in log] == [
            (
                "new.test",
                "is not looked up: too many wait for the system's name servers already; see whether they answer",
            ),
            (
                "hub.test",
                "does not resolve (too many wait for name servers): its last addresses are used, for 60 min at most",
            ),
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
        for _ in range(ASKERS):
            system.ask("hub.test")
        assert [system.ask("hub.test").hosts, system.ask("hub.test").hosts] == [[], []]
        system.know("cdn.test")
        assert system.ask("hub.test").hosts == []
        assert len(log) == 1


class TestNames:
    @pytest.mark.parametrize(
        ("literal", "address"),
        [
            (ONE, IPv4Address("TCP", ONE, 443)),
            ("127.0.0.1", IPv4Address("TCP", "127.0.0.1", 443)),
            ("2001:DB8:0::1", IPv6Address("TCP", SIX, 443)),
            ("::1", IPv6Address("TCP", "::1", 443)),
            ("fe80::1%lo", IPv6Address("TCP", "fe80::1", 443, 0, socket.if_nametoindex("lo"))),
        ],
    )
    def test_an_address_needs_no_look_up(self, system: System, literal: str, address: object) -> None:
        assert system.ask(literal, portNumber=443).told == [address, "complete"]
        assert system.asked == []

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "a..test",
            ".test",
            "localhost\0.test",
            "a\ntest",
            "a b.test",
            "\x7f.test",
            "x" * 64 + ".test",
            "x." * 127 + "x",
            "x" * 100_000,
            "ü" * 100_000,
            "ü" * 60 + ".test",
            "\ud800.test",
            "\u2488com.test",
            "fe80::1%nosuch",
            "fe80::1%lo\0",
        ],
    )
    def test_what_is_no_name_does_not_resolve(self, system: System, name: str) -> None:
        assert system.ask(name).hosts == []
        assert system.asked == []

    @pytest.mark.parametrize(
        ("name", "asked"),
        [
            ("bücher.test", "xn--bcher-kva.test"),
            ("straße.test", "xn--strae-oqa.test"),
            ("Under_score.test.", "under_score.test."),
            ("x" * 63 + ".test", "x" * 63 + ".test"),
            ("127.1", "127.1"),
        ],
    )
    def test_a_name_is_asked_for_in_ascii(self, system: System, name: str, asked: str) -> None:
        asker = system.ask(name)
        assert system.asked == [asked]
        system.answer(asked, ONE)
        assert asker.hosts == [ONE]

    @given(st.text() | st.text("ab.-\0ß。\u0661 1:%"))
    def test_any_text_ends_well(self, name: str) -> None:
        system = System()
        asker = system.ask(name)
        for asked in list(system.waiting):
            asked.encode("idna")
            system.fail(asked)
        assert asker.complete


def test_the_check_of_inward_addresses_asks_the_resolver_that_is_installed(system: System) -> None:
    reactor = MemoryReactorClock()
    reactor.installNameResolver(system.names)
    addresses: list[object] = []
    asked = lookup(reactor)("cdn.test")
    asked.addCallback(addresses.append)  # type: ignore[attr-defined]  # a Deferred
    system.answer("cdn.test", ONE, SIX)
    assert addresses == [[ONE, SIX]]


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

    @rule(seconds=st.sampled_from([0.3, PATIENCE, 60.0, KEPT_TIME / 2]))
    def wait(self, seconds: float) -> None:
        self.system.clock.advance(seconds)

    @invariant()
    def nobody_is_told_what_is_older_than_an_hour(self) -> None:
        assert all(age < KEPT_TIME for age in self.ages)

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


SYSTEM = """
import os, socket, time

system = socket.getaddrinfo

def getaddrinfo(host, *rest, **more):
    if host == "main.test":
        how = os.path.exists({how!r}) and open({how!r}).read()
        if how == "hang":
            open({how!r} + ".hangs", "w").close()
            time.sleep(600)
        if how == "fail":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = "127.0.0.2"
    return system(host, *rest, **more)

socket.getaddrinfo = getaddrinfo
"""
"""What a daemon's Python runs first: a system that knows main.test, and whose name servers can be told to fail."""

SETTINGS = """
repositories = ["org/*"]
[health]
interval = "1s"
fast_interval = "500ms"
timeout = "2s"
[[backend]]
name = "main"
url = "http://main.test:{port}"
[[backend]]
name = "second"
url = "{second.url}"
rename = {{}}
"""

TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "facaded", "--config"]


class TestDaemon:
    """A real process."""

    @pytest.fixture
    def main(self) -> Registry:
        return Registry("127.0.0.2").start()

    @pytest.fixture
    def daemon(self, tmp_path: Path, main: Registry) -> Iterator[Daemon]:
        second = Registry("127.0.0.3").start()
        (tmp_path / "sitecustomize.py").write_text(SYSTEM.format(how=str(tmp_path / "how")))
        daemon = Daemon(tmp_path, SETTINGS.format(port=main.port, second=second))
        daemon.environ["PYTHONPATH"] = str(tmp_path)
        with running(daemon, main, second):
            yield daemon
            assert "Traceback" not in daemon.log
            assert "Unhandled" not in daemon.log

    @pytest.mark.parametrize("how", ["hang", "fail"])
    def test_a_backend_stays_in_charge_when_its_name_servers(self, daemon: Daemon, main: Registry, how: str) -> None:
        daemon.start()
        (daemon.directory / "how").write_text(how)
        asked = len(main.asked)
        daemon.wait_until(lambda: len(main.asked) >= asked + 6, "three more probes of two requests each")
        assert daemon.backend == "main"
        assert daemon.log.count("main.test does not resolve") == 1
        assert "main.test does not resolve since" in daemon.run("status").stdout
        (daemon.directory / "how").unlink()
        if how == "fail":
            daemon.wait_until(lambda: "main.test resolves again" in daemon.log, "it resolves again")

    @pytest.mark.parametrize("arguments", [None, TWISTD], ids=["serve", "twistd"])
    def test_a_look_up_that_hangs_does_not_hold_up_its_end(self, daemon: Daemon, arguments: list[str] | None) -> None:
        daemon.arguments = arguments or daemon.arguments
        (daemon.directory / "how").write_text("hang")
        daemon.start()
        daemon.wait_until((daemon.directory / "how.hangs").exists, "a look-up hangs")
        begun = time.monotonic()
        assert daemon.stop() in (0, -signal.SIGTERM), "twistd ends by the signal that it was sent"
        assert time.monotonic() - begun < 2

    def test_a_look_up_that_hangs_does_not_hold_up_the_end_of_a_check(self, daemon: Daemon) -> None:
        (daemon.directory / "how").write_text("hang")
        daemon.write_settings()
        begun = time.monotonic()
        checked = subprocess.run(
            [sys.executable, "-m", "facaded", "check", "--probe", "--config", str(daemon.config)],
            env=os.environ | daemon.environ,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        assert "main: bad: GET /v2/: the name does not resolve" in checked.stdout
        assert time.monotonic() - begun < 5, "the probe's time-out of 2 s, and the start of Python"
