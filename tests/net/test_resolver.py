"""Names are looked up once for all who ask, without end for nobody, and a failing look-up has the last addresses."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from zope.interface.verify import verifyObject

from facaded.net.private_addresses import lookup
from facaded.net.resolver import ADDRESSES, LOOKUPS
from tests.net.lookups import ONE, SIX, TWO, Asker, System, found


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
        assert asker.hosts == [f"192.0.2.{number}" for number in range(ADDRESSES)]

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
