"""What the log says about the addresses that are listened on, and the URL to try."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from facaded.listening import describe_listeners

HTTP = ("listen.http", IPv6Address("TCP", "::", 8080))
PORT_80 = ("listen.http", IPv4Address("TCP", "0.0.0.0", 80))
HTTPS = ("listen.https", IPv6Address("TCP", "::", 443))
LOOPBACK = ("listen.http", IPv6Address("TCP", "::1", 8080))
ADMIN = ("listen.admin", IPv4Address("TCP", "127.0.0.1", 9180))
CONTROL = ("listen.control", UNIXAddress("/run/facaded/control.sock"))
UNNAMED = ("listen.http", UNIXAddress(None))


@pytest.mark.parametrize(
    ("opened", "hosts", "sentence"),
    [
        (
            [HTTP, ADMIN, CONTROL],
            (),
            "listening on http://[::]:8080; admin on http://127.0.0.1:9180; control on unix:/run/facaded/control.sock; "
            "try http://localhost:8080/v2/",
        ),
        ([HTTP], ("docker.test",), "listening on http://[::]:8080; try http://127.0.0.1:8080/v2/"),
        (
            [PORT_80, HTTPS],
            ("docker.test", "other.test"),
            "listening on http://0.0.0.0:80, https://[::]:443; try https://docker.test/v2/",
        ),
        ([PORT_80, HTTPS], (), "listening on http://0.0.0.0:80, https://[::]:443; try https://localhost/v2/"),
        ([HTTPS], ("::1",), "listening on https://[::]:443; try https://[::1]/v2/"),
        ([LOOPBACK, PORT_80], (), "listening on http://[::1]:8080, http://0.0.0.0:80; try http://[::1]:8080/v2/"),
        ([UNNAMED], (), "listening on a Unix socket"),
        ([CONTROL], (), "control on unix:/run/facaded/control.sock"),
    ],
)
def test_the_start_names_what_is_listened_on(
    opened: list[tuple[str, IAddress]], hosts: tuple[str, ...], sentence: str
) -> None:
    assert describe_listeners(opened, hosts) == sentence


def test_no_url_is_named_that_only_a_proxy_can_use() -> None:
    assert describe_listeners([HTTP], (), [HTTP[1]]) == "listening on http://[::]:8080"


def test_the_url_of_a_name_has_the_port_that_clients_use() -> None:
    https = ("listen.https", IPv6Address("TCP", "::", 8443))
    assert (
        describe_listeners([https], ("docker.test",)) == "listening on https://[::]:8443; try https://docker.test/v2/"
    )
    assert describe_listeners([https], ("docker.test",), public_port=444).endswith("try https://docker.test:444/v2/")
