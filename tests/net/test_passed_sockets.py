"""Which of systemd's sockets a listener uses. tests/process has a daemon that gets them."""

import os
import socket
from types import SimpleNamespace

import pytest
from twisted.internet import endpoints

from facaded.net.passed_sockets import PassedSocket, PassedSocketError, PassedSockets
from facaded.net.reactor import installed

SOCKETS = (
    PassedSocket(3, "http", socket.AF_INET6),
    PassedSocket(4, "https", socket.AF_INET6),
    PassedSocket(5, "http", socket.AF_INET),
    PassedSocket(6, "fifo", 0),
)


@pytest.mark.parametrize(
    ("reference", "taken"),
    [("http", (SOCKETS[0], SOCKETS[2])), ("https", (SOCKETS[1],)), ("index=2", (SOCKETS[2],))],
)
def test_a_name_stands_for_all_sockets_that_have_it(reference: str, taken: tuple[PassedSocket, ...]) -> None:
    assert PassedSockets(SOCKETS).take(reference) == taken


@pytest.mark.parametrize(
    ("sockets", "reference", "reason"),
    [
        (SOCKETS, "admin", r"no such socket \(passed: http, https, fifo\): start the .socket unit"),
        (SOCKETS, "index=4", r"no such socket"),
        (SOCKETS, "fifo", "it is no TCP socket: write ListenStream= with a port"),
        ((), "http", r"no such socket \(passed: none\)"),
    ],
)
def test_a_socket_that_cannot_be_used_is_refused_with_a_remedy(
    sockets: tuple[PassedSocket, ...], reference: str, reason: str
) -> None:
    with pytest.raises(PassedSocketError, match=reason):
        PassedSockets(sockets).take(reference)


def test_a_socket_is_taken_once() -> None:
    passed = PassedSockets(SOCKETS)
    passed.take("index=0")
    with pytest.raises(PassedSocketError, match="another listener uses this socket"):
        passed.take("http")


def test_what_no_listener_took_is_closed() -> None:
    one, other = socket.socketpair()
    with other:
        passed = PassedSockets((SOCKETS[0], PassedSocket(one.detach(), "admin", 0)))
        passed.take("http")
        assert passed.close_unused() == ("admin",)
        assert other.recv(1) == b""
        assert passed.close_unused() == ()


def test_a_socket_without_a_name_is_known_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        descriptors = [one.fileno(), other.fileno()]

        def endpoint(_: object, description: str) -> SimpleNamespace:
            return SimpleNamespace(fileno=descriptors[int(description.rpartition("=")[2])])

        monkeypatch.setattr(endpoints, "serverFromString", endpoint)
        passed = PassedSockets.of_process(installed(), {"LISTEN_FDNAMES": "http"})
        assert passed.take("http") == (PassedSocket(descriptors[0], "http", socket.AF_INET),)
        assert passed.take("index=1") == (PassedSocket(descriptors[1], "unknown", socket.AF_INET),)


def test_sockets_for_another_process_are_none() -> None:
    environ = {"LISTEN_FDNAMES": "http:https", "LISTEN_FDS": "2", "LISTEN_PID": str(os.getppid())}
    assert PassedSockets.of_process(installed(), environ).close_unused() == ()
