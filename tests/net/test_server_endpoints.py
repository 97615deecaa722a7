"""Endpoints from Twisted's strings: TCP ports are parsed here, as Twisted does it."""

from typing import Any

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from facaded.net.server_endpoints import server_endpoint


class Listening:
    """A reactor that notes how it is told to listen."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> str:
        self.calls.append({"port": port, "factory": factory, "backlog": backlog, "interface": interface})
        return "listening"


@pytest.mark.parametrize(
    "text",
    [
        "tcp:8080",
        r"tcp:8080:interface=\:\:",
        r"tcp:443:interface=2001\:db8\:\:1:backlog=65535",
        "tcp:0:interface=127.0.0.1",
        "tcp:8080:backlog=5",
        "tcp:99999:interface=127.0.0.1:backlog=65535",
    ],
)
def test_a_tcp_endpoint_listens_as_twisted_s_does(text: str) -> None:
    own, twisted, factory = Listening(), Listening(), Factory()
    results = list[object]()
    reactor: Any
    for reactor, parse in ((own, server_endpoint), (twisted, serverFromString)):
        parse(reactor, text).listen(factory).addCallback(results.append)
    assert own.calls == twisted.calls != []
    assert results == ["listening"] * 2


@pytest.mark.parametrize("text", ["tcp:8080:interface=localhost", "unix:/run/x.sock", "tcp:port=80"])
def test_other_endpoints_are_twisted_s(text: str) -> None:
    reactor: Any = Listening()
    assert type(server_endpoint(reactor, text)) is type(serverFromString(reactor, text))


def test_an_unknown_kind_is_an_error_as_in_twisted() -> None:
    reactor: Any = Listening()
    with pytest.raises(ValueError, match="Unknown endpoint type"):
        server_endpoint(reactor, "nothing:80")
