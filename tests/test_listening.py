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
