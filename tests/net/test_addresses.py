"""Which addresses are public, also those that contain other addresses."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.net.addresses import canonical, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("2001:4860:4860::8888%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("2001:db8::1", False),
        ("4000::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("::ffff:224.0.0.1", False),
        ("::10.0.0.1", False),
        ("::8.8.8.8", True),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b:1:a00:0:100::", False),
        ("64:ff9b:1:a00:0:100:808:808", False),
        ("64:ff9b:1::8.8.8.8", False),
        ("2002:a00:1::1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::1", True),
        ("2002:808:808::5efe:10.0.0.1", False),
        ("2001:0:a00:1:0:0:f7f7:f7f7", False),
        ("2001:0:808:808:0:0:f5ff:fffe", False),
        ("2001:0:808:808:0:0:f7f7:f7f7", True),
        ("2a00:1450::5efe:10.0.0.1", False),
        ("2a00:1450::200:5efe:10.0.0.1", False),
        ("2a00:1450::200:5efe:8.8.8.8", True),
        ("fe80::5efe:8.8.8.8", False),
        ("", False),
        ("8.8.8.8 ", False),
        ("[2001:4860:4860::8888]", False),
        ("name.test", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


FORMS: dict[str, Callable[[int, int], int]] = {
    "mapped": lambda number, _: 0xFFFF << 32 | number,
    "NAT64": lambda number, _: 0x64FF9B << 96 | number,
    "6to4": lambda number, rest: 0x2002 << 112 | number << 80 | rest,
    "Teredo server": lambda number, rest: 0x20010000 << 96 | number << 64 | rest & (1 << 64) - 1,
    "Teredo client": lambda number, rest: 0x20010000 << 96 | rest & (1 << 64) - 1 << 32 | number ^ (1 << 32) - 1,
    "ISATAP": lambda number, rest: 0x2A00 << 112 | rest & (1 << 48) - 1 << 64 | 0x5EFE << 32 | number,
}


@given(
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4"]),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 80) - 1),
)
def test_no_form_hides_a_private_ipv4_address(form: str, network: str, number: int, rest: int) -> None:
    base, _, bits = network.partition("/")
    mask = (1 << 32 - int(bits)) - 1
    private = int(IPv4Address(base)) | number & mask
    assert not is_public(str(IPv6Address(FORMS[form](private, rest))))


@given(st.integers(0, (1 << 128) - 1).map(IPv6Address) | st.integers(0, (1 << 32) - 1).map(IPv4Address) | st.text())
def test_any_address_or_text_has_an_answer(value: object) -> None:
    assert isinstance(is_public(str(value)), bool)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("192.0.2.256", "192.0.2.256"),
        ("Docker.example.com", "Docker.example.com"),
        ("", ""),
    ],
)
def test_an_address_has_one_form_and_other_text_stays(text: str, form: str) -> None:
    assert canonical(text) == form
