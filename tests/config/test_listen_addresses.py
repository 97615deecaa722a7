"""Addresses as people write them, and the endpoints that they amount to."""

import pytest

from facaded.config.listen_addresses import BACKLOG, Families, families, parse, with_backlog

V6 = r"tcp:8080:interface=\:\:"


@pytest.mark.parametrize(
    ("value", "endpoint"),
    [
        ("127.0.0.1:8080", "tcp:8080:interface=127.0.0.1"),
        ("0.0.0.0:8080", "tcp:8080:interface=0.0.0.0"),
        ("[::]:8080", V6),
        ("[::1]:8080", r"tcp:8080:interface=\:\:1"),
        ("[0:0:0:0:0:0:0:1]:8080", r"tcp:8080:interface=\:\:1"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("tcp:8080", "tcp:8080"),
        ("tcp:port=8080:interface=127.0.0.1", "tcp:port=8080:interface=127.0.0.1"),
        ("haproxy:tcp:443", "haproxy:tcp:443"),
        ("systemd:https", "systemd:https"),
        ("systemd:domain=INET6:name=https", "systemd:https"),
        ("systemd:domain=INET:index=1", "systemd:index=1"),
        ("haproxy:systemd:my-web.socket", "haproxy:systemd:my-web.socket"),
        ("haproxy:systemd:domain=INET6:name=https", "haproxy:systemd:https"),
    ],
)
def test_an_address_is_one_endpoint(value: str, endpoint: str) -> None:
    assert [parse(value).endpoints(each) for each in Families] == [(endpoint,)] * 3
    assert parse(value).text == value


@pytest.mark.parametrize("value", [8080, ":8080", "8080", "*:8080"])
def test_a_port_alone_is_both_families_or_ipv4_alone_without_ipv6(value: int | str) -> None:
    address = parse(value)
    assert address.endpoints(Families.SHARED) == (V6,)
    assert address.endpoints(Families.SEPARATE) == ("tcp:8080", V6)
    assert address.endpoints(Families.IPV4) == ("tcp:8080",)


@pytest.mark.parametrize(
    ("endpoint", "has_backlog"),
    [
        ("tcp:8080", False),
        (V6, False),
        ("tcp:port=8080:interface=127.0.0.1", False),
        ("tcp6:8080", False),
        ("haproxy:tcp:443", False),
        ("unix:/run/x.sock:mode=600", False),
        (r"unix:/run/x\:backlog=1", False),
        ("tcp:8080:backlog=5", True),
        ("haproxy:tcp:443:backlog=5", True),
        ("tcp:8080:127.0.0.1:5", True),
        ("unix:/run/x.sock:600:5", True),
        ("unix:/run/x.sock:backlog=5:mode=600", True),
        ("systemd:domain=INET6:index=0", True),
        ("haproxy:systemd:domain=INET6:index=0", True),
    ],
)
def test_a_socket_has_the_largest_backlog_unless_it_has_one_already(endpoint: str, has_backlog: bool) -> None:
    assert with_backlog(endpoint) == (endpoint if has_backlog else f"{endpoint}:backlog={BACKLOG}")


def test_this_machine_has_ipv4_at_least() -> None:
    assert families() in Families


@pytest.mark.parametrize(
    "value", [True, 1.5, None, [], "", "x", "localhost:80", "1.2.3:80", "[::1]", "[::g]:80", ":", "-1"]
)
def test_what_is_no_address_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse(value)


@pytest.mark.parametrize(
    "value",
    [
        "systemd:",
        "systemd:a=b",
        "systemd:http:index=0",
        "systemd:domain=UNIX:name=http",
        "systemd:domain=INET:index=-1",
        "haproxy:systemd:",
        "systemd:a b",
    ],
)
def test_a_socket_of_systemd_without_a_name_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match='write "systemd:NAME" with the FileDescriptorName= of its'):
        parse(value)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (":80", "127.0.0.1:80", True),
        (":80", "[::1]:80", True),
        (":80", ":81", False),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("[::]:80", "127.0.0.1:80", True),
        ("tcp:80", "haproxy:tcp:80", True),
        ("tcp6:80", ":80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("tcp:0", "tcp:0", False),
        ("unix:/a", "unix:address=/a:mode=660", True),
        ("unix:/a", "unix:/b", False),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=1", False),
        ("systemd:domain=INET:name=http", "haproxy:systemd:http", True),
        ("systemd:http", ":80", False),
        ("systemd:http", "unix:/http", False),
    ],
)
def test_two_addresses_meet_if_one_takes_the_other_s_connections(one: str, other: str, meet: bool) -> None:
    assert (parse(one).meets(parse(other)), parse(other).meets(parse(one))) == (meet, meet)


@pytest.mark.parametrize(
    ("value", "is_loopback"),
    [
        ("127.0.0.9:80", True),
        ("[::1]:80", True),
        ("unix:/run/x", True),
        (r"tcp:80:interface=\:\:1", True),
        ("tcp:80:interface=127.0.0.1:backlog=5", True),
        (":80", False),
        ("tcp:80", False),
        ("systemd:domain=INET:index=0", False),
    ],
)
def test_a_loopback_address_is_one_that_only_this_machine_reaches(value: str, is_loopback: bool) -> None:
    assert parse(value).is_loopback == is_loopback
