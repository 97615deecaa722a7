"""Sources: which addresses are one client, and which networks have an address."""

from ipaddress import ip_network

import pytest

from facaded.policy.sources import Addresses, is_in, show_address, source_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", True),
        ("2001:db8:1:2::", "2001:db8:1:3::", False),
        ("2001::4:5:6:7:8", "2001::9:5:6:7:8", False),
        ("::1", "::2", True),
        ("::1", "2001:db8::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "::1", False),
        ("-", "-", True),
        ("-", "::1", False),
        ("fe80::%eth0", "fe80::%eth0", True),
        (":::", ":::", True),
        ("", "-", False),
    ],
)
def test_one_source_has_all_addresses_of_an_ipv6_network(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("-", "-"),
    ],
)
def test_a_source_is_named_as_networks_are_written(address: str, source: str) -> None:
    assert source_of(address) == source


@pytest.mark.parametrize(
    ("address", "contained"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.200", True),
        ("192.0.3.7", False),
        ("2001:db8:1::5", True),
        ("2001:db8:2::5", False),
        ("-", False),
    ],
)
def test_an_address_is_in_a_network_of_its_own_family(address: str, contained: bool) -> None:
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48"))
    assert is_in(address, networks) is contained
    assert not is_in(address, ())


@pytest.mark.parametrize(
    ("text", "masked", "hidden"),
    [
        ("192.0.2.7", "192.0.2.0", "-"),
        ("::ffff:192.0.2.7", "192.0.2.0", "-"),
        ("2001:db8:1:2:3::4", "2001:db8:1::", "-"),
        ("2001:db8:1:2::/64", "2001:db8:1::", "-"),
        ("fe80::1%eth0", "fe80::", "-"),
        ("::1", "::", "-"),
        ("-", "-", "-"),
        ("main (no route to host)", "main (no route to host)", "main (no route to host)"),
    ],
)
def test_the_log_shows_as_much_of_an_address_as_the_settings_say(text: str, masked: str, hidden: str) -> None:
    assert [show_address(text, addresses) for addresses in Addresses] == [text, masked, hidden]
