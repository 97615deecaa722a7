"""The resolver: shared lookups, cancelling, and names that are not valid."""

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
from tests.net.lookups import ONE, SIX, TWO, RecordingReceiver, ScriptedResolver, address_info


def test_it_implements_twisted_s_interfaces(resolver: ScriptedResolver) -> None:
    verifyObject(IHostnameResolver, resolver.resolver)
    verifyObject(IHostResolution, resolver.ask("hub.test").resolution)


class TestResult:
    def test_addresses_have_the_port_and_transport_of_the_request(self, resolver: ScriptedResolver) -> None:
        receiver = resolver.ask("hub.test", portNumber=443, transportSemantics="UDP")
        assert receiver.events == []
        assert receiver.resolution is not None
        assert receiver.resolution.name == "hub.test"
        resolver.answer("hub.test", address_info("fe80::1", 3), ONE)
        assert receiver.events == [
            IPv6Address("UDP", "fe80::1", 443, 0, 3),
            IPv4Address("UDP", ONE, 443),
            "complete",
        ]

    def test_addresses_are_unique_and_in_the_system_s_order(self, resolver: ScriptedResolver) -> None:
        receiver = resolver.ask("hub.test")
        resolver.answer("hub.test", TWO, SIX, TWO, ONE, SIX)
        assert receiver.hosts == [TWO, SIX, ONE]

    def test_the_number_of_addresses_is_limited(self, resolver: ScriptedResolver) -> None:
        receiver = resolver.ask("hub.test")
        resolver.answer("hub.test", *(f"192.0.2.{number}" for number in range(200)))
        assert receiver.hosts == [f"192.0.2.{number}" for number in range(ADDRESSES)]

    def test_an_address_of_another_family_is_ignored(self, resolver: ScriptedResolver) -> None:
        receiver = resolver.ask("hub.test")
        resolver.answer("hub.test", (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", (1, b"")), ONE)
        assert receiver.hosts == [ONE]

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
    def test_one_lookup_serves_callers_of_every_family(
        self, resolver: ScriptedResolver, kinds: list[type[IAddress]] | None, hosts: list[str]
    ) -> None:
        both, receiver = resolver.ask("hub.test"), resolver.ask("hub.test", addressTypes=kinds)
        resolver.answer("hub.test", SIX, ONE)
        assert both.hosts == [SIX, ONE]
        assert receiver.hosts == hosts

    @pytest.mark.parametrize(
        "error", [None, OSError(5, "Input/output error"), UnicodeError("label too long"), ValueError(), MemoryError()]
    )
    def test_a_failed_lookup_has_no_addresses(self, resolver: ScriptedResolver, error: Exception | None) -> None:
        receiver = resolver.ask("hub.test")
        resolver.fail("hub.test", error)
        assert receiver.hosts == []

    def test_a_thread_that_cannot_be_started_is_a_failed_lookup(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test")
        resolver.threads = False
        assert resolver.ask("hub.test").hosts == [ONE]
        assert resolver.ask("cdn.test").hosts == []
        resolver.threads = True
        assert resolver.ask("cdn.test").hosts is None


class TestSharing:
    def test_concurrent_callers_share_one_lookup(self, resolver: ScriptedResolver) -> None:
        receivers = [resolver.ask("hub.test") for _ in range(3)]
        resolver.answer("hub.test", ONE)
        assert [receiver.hosts for receiver in receivers] == [[ONE]] * 3
        assert resolver.lookups == ["hub.test"]

    def test_a_later_caller_starts_a_new_lookup(self, resolver: ScriptedResolver) -> None:
        resolver.learn("hub.test", ONE)
        receiver = resolver.ask("hub.test")
        assert receiver.hosts is None
        resolver.answer("hub.test", TWO)
        assert receiver.hosts == [TWO]

    def test_names_are_compared_without_case(self, resolver: ScriptedResolver) -> None:
        resolver.ask("Hub.Test")
        resolver.ask("hub.test")
        assert resolver.lookups == ["hub.test"]

    def test_a_caller_may_start_a_new_lookup_when_one_completes(self, resolver: ScriptedResolver) -> None:
        again = RecordingReceiver()
        resolver.ask("hub.test", RecordingReceiver({"complete": lambda: resolver.ask("hub.test", again)}))
        resolver.answer("hub.test", ONE)
        assert again.hosts is None
        resolver.answer("hub.test", TWO)
        assert again.hosts == [TWO]

    def test_an_error_in_a_receiver_does_not_affect_the_others(
        self, resolver: ScriptedResolver, no_errors_are_logged: list[LogEvent]
    ) -> None:
        def fail() -> None:
            raise KeyError("a bug")

        resolver.ask("hub.test", RecordingReceiver({"complete": fail}))
        receiver = resolver.ask("hub.test")
        resolver.answer("hub.test", ONE)
        assert receiver.hosts == [ONE]
        assert len(no_errors_are_logged) == 1
        no_errors_are_logged.clear()


class TestCancelling:
    def test_a_cancelled_caller_gets_nothing_and_the_others_do(self, resolver: ScriptedResolver) -> None:
        cancelled, receiver = resolver.ask("hub.test"), resolver.ask("hub.test")
        cancelled.cancel()
        cancelled.cancel()
        resolver.answer("hub.test", ONE)
        assert cancelled.events == []
        assert receiver.hosts == [ONE]

    @pytest.mark.parametrize("name", ["hub.test", ONE, "..."])
    def test_at_the_start_of_the_lookup(self, resolver: ScriptedResolver, name: str) -> None:
        receiver = RecordingReceiver()
        receiver.on["began"] = receiver.cancel
        resolver.ask(name, receiver)
        assert receiver.events == []
        assert resolver.lookups == []

    def test_between_two_addresses(self, resolver: ScriptedResolver) -> None:
        receiver = RecordingReceiver()
        receiver.on["address"] = receiver.cancel
        resolver.ask("hub.test", receiver)
        resolver.answer("hub.test", ONE, TWO)
        assert receiver.events == [IPv4Address("TCP", ONE, 0)]

    def test_by_another_receiver(self, resolver: ScriptedResolver) -> None:
        cancelled = RecordingReceiver()
        resolver.ask("hub.test", RecordingReceiver({"complete": cancelled.cancel}))
        resolver.ask("hub.test", cancelled)
        resolver.answer("hub.test", ONE)
        assert cancelled.events == []

    def test_after_the_end_has_no_effect(self, resolver: ScriptedResolver) -> None:
        receiver = resolver.ask("hub.test")
        resolver.answer("hub.test", ONE)
        other = resolver.ask("hub.test")
        receiver.cancel()
        resolver.answer("hub.test", TWO)
        assert (receiver.hosts, other.hosts) == ([ONE], [TWO])

    def test_the_result_of_a_lookup_without_callers_is_cached(self, resolver: ScriptedResolver) -> None:
        resolver.ask("hub.test").cancel()
        resolver.answer("hub.test", ONE)
        receiver = resolver.ask("hub.test")
        resolver.fail("hub.test")
        assert receiver.hosts == [ONE]

    def test_a_queued_lookup_without_callers_is_dropped(self, resolver: ScriptedResolver) -> None:
        for number in range(LOOKUPS):
            resolver.ask(f"{number}.test")
        resolver.ask("hub.test").cancel()
        resolver.answer("0.test", ONE)
        assert "hub.test" not in resolver.lookups
        resolver.ask("hub.test")
        assert "hub.test" in resolver.lookups


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
    def test_an_address_needs_no_lookup(self, resolver: ScriptedResolver, literal: str, address: object) -> None:
        assert resolver.ask(literal, portNumber=443).events == [address, "complete"]
        assert resolver.lookups == []

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
    def test_an_invalid_name_does_not_resolve(self, resolver: ScriptedResolver, name: str) -> None:
        assert resolver.ask(name).hosts == []
        assert resolver.lookups == []

    @pytest.mark.parametrize(
        ("name", "encoded"),
        [
            ("bücher.test", "xn--bcher-kva.test"),
            ("straße.test", "xn--strae-oqa.test"),
            ("Under_score.test.", "under_score.test."),
            ("x" * 63 + ".test", "x" * 63 + ".test"),
            ("127.1", "127.1"),
        ],
    )
    def test_a_name_is_looked_up_in_ascii(self, resolver: ScriptedResolver, name: str, encoded: str) -> None:
        receiver = resolver.ask(name)
        assert resolver.lookups == [encoded]
        resolver.answer(encoded, ONE)
        assert receiver.hosts == [ONE]

    @given(st.text() | st.text("ab.-\0ß。\u0661 1:%"))
    def test_any_text_ends(self, name: str) -> None:
        resolver = ScriptedResolver()
        receiver = resolver.ask(name)
        for encoded in list(resolver.waiting):
            encoded.encode("idna")
            resolver.fail(encoded)
        assert receiver.complete


def test_the_check_of_private_addresses_uses_the_installed_resolver(resolver: ScriptedResolver) -> None:
    reactor = MemoryReactorClock()
    reactor.installNameResolver(resolver.resolver)
    addresses: list[object] = []
    encoded = lookup(reactor)("cdn.test")
    encoded.addCallback(addresses.append)  # type: ignore[attr-defined]  # a Deferred
    resolver.answer("cdn.test", ONE, SIX)
    assert addresses == [[ONE, SIX]]
