"""The address of a client behind a proxy."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from facaded.policy.sources import NO_ADDRESS, parse_address
from facaded.web.client_address import HOPS, client_address, host_of

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48"))
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:DB8::7]:4711", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.9,192.0.2.7,10.0.0.3 , 10.0.0.2", "192.0.2.7"),
        ("192.0.2.7, 2001:db8:ffff::2", "192.0.2.7"),
        ("192.0.2.7, , ", "192.0.2.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("192.0.2.7, junk, 10.0.0.2", "10.0.0.2"),
        ("192.0.2.7, unknown", PROXY),
        ("192.0.2.7, 1.2.3", PROXY),
        ("192.0.2.7, [1.2.3.4", PROXY),
        ("192.0.2.7, " + ", ".join(["10.0.0.2"] * HOPS), "10.0.0.2"),
        ("", PROXY),
        (" , ", PROXY),
    ],
)
def test_the_rightmost_address_that_is_not_trusted_is_the_client_s(header: str, address: str) -> None:
    assert client_address(PROXY, TRUSTED, [header], []) == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("for=192.0.2.7", "192.0.2.7"),
        ("For=192.0.2.7;proto=https;by=10.0.0.1", "192.0.2.7"),
        ("proto=http; for=192.0.2.7:80", "192.0.2.7"),
        ('for="192.0.2.7:4711"', "192.0.2.7"),
        ('for="[2001:db8::7]:4711"', "2001:db8::7"),
        ('for="[2001:db8::7]"', "2001:db8::7"),
        ("for=203.0.113.9, for=192.0.2.7, for=10.0.0.2", "192.0.2.7"),
        ("for=192.0.2.7, for=_hidden", PROXY),
        ("for=192.0.2.7, for=unknown, for=10.0.0.2", "10.0.0.2"),
        ('for=203.0.113.9, for="192.0.2.7:_port"', "192.0.2.7"),
        ('for="203.0.113.9, for=192.0.2.7', "192.0.2.7"),
        ("for=192.0.2.7, proto=https", PROXY),
        ('for="', PROXY),
        ("for=", PROXY),
        ("192.0.2.7", PROXY),
    ],
)
def test_forwarded_says_the_same_in_its_own_syntax(header: str, address: str) -> None:
    assert client_address(PROXY, TRUSTED, [], [header]) == address


def test_several_lines_of_a_header_are_one_list() -> None:
    assert client_address(PROXY, TRUSTED, ["203.0.113.9", "192.0.2.7, 10.0.0.2"], []) == "192.0.2.7"


def test_x_forwarded_for_counts_if_both_headers_are_there() -> None:
    assert client_address(PROXY, TRUSTED, ["192.0.2.7"], ["for=203.0.113.9"]) == "192.0.2.7"


def test_what_a_peer_says_that_is_not_trusted_is_ignored() -> None:
    assert client_address("192.0.2.1", TRUSTED, ["192.0.2.7"], ["for=192.0.2.7"]) == "192.0.2.1"
    assert client_address(PROXY, (), ["192.0.2.7"], ["for=192.0.2.7"]) == PROXY


def test_the_peer_on_a_unix_socket_is_trusted_if_the_loopback_address_is() -> None:
    assert client_address(NO_ADDRESS, TRUSTED, ["192.0.2.7"], []) == NO_ADDRESS
    assert client_address(NO_ADDRESS, (ip_network("127.0.0.1/32"),), ["192.0.2.7"], []) == "192.0.2.7"


@given(st.lists(st.text() | st.text('0123456789abcdef.:[]",;=for _%', max_size=80)), st.booleans())
def test_any_header_leads_to_an_address(lines: list[str], is_forwarded: bool) -> None:
    address = client_address(PROXY, TRUSTED, *(([], lines) if is_forwarded else (lines, [])))
    assert str(parse_address(address)) == address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:0:192.0.2.7", "::ffff:0:192.0.2.7"),
        ("::ffff:c000:207", "::ffff:c000:207"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("fe80::1%\x1b[31m", "-"),
        ("evil\x1b[31m", "-"),
        ("", "-"),
    ],
)
def test_the_address_of_a_peer_is_one_even_if_the_proxy_protocol_says_another_text(host: str, expected: str) -> None:
    assert host_of(IPv4Address("TCP", host, 40000)) == expected
