"""Why an endpoint cannot be opened: the sentence, and whether it may work later; and the order of a stop."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.web.resource import Resource

from facaded.exit_status import ADDRESS_UNAVAILABLE, USAGE
from facaded.listeners import IN_FLIGHT, IN_TRANSIT, Listener, ListenError, Listeners, ListenFailure, StartError
from facaded.net.passed_sockets import PassedSocket, PassedSockets
from facaded.net.reactor import installed
from facaded.web.server import BoundedSite
from tests.web.raw import Connection


def refused(number: int, port: int | bytes = 8080) -> CannotListenError:
    return CannotListenError("", port, OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    ("error", "sentence", "is_temporary"),
    [
        (refused(errno.EADDRINUSE), "another program listens there: stop it, or choose another address", True),
        (refused(errno.EADDRNOTAVAIL), "this machine has no such address: choose one that it has", True),
        (OSError(errno.ENOENT, ""), "the directory does not exist: create it, or choose another path", False),
        (refused(errno.EAFNOSUPPORT), "Address family not supported by protocol", False),
        (OverflowError("port must be 0-65535."), "port must be 0-65535.", False),
        (
            CannotListenError(None, b"/run/x.sock", "Cannot acquire lock"),
            "another facaded uses this socket: stop it, or choose another path",
            True,
        ),
    ],
)
def test_it_is_explained_with_a_remedy(error: ListenError, sentence: str, is_temporary: bool) -> None:
    assert ListenFailure.of(error) == ListenFailure(sentence, is_temporary)


def test_a_file_in_the_place_of_a_socket_does_not_go_away(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.mkdir()
    failure = ListenFailure.of(refused(errno.EADDRINUSE, bytes(path)))
    assert failure == ListenFailure(f"{path} exists and is not a socket: remove it, or choose another path")


def test_a_socket_of_another_program_may_go_away(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "control.sock"))
        assert ListenFailure.of(refused(errno.EADDRINUSE, bytes(tmp_path / "control.sock"))).is_temporary


class Page(Resource):
    """A page that says `here`."""

    isLeaf = True

    def render_GET(self, _: object) -> bytes:
        return b"here"


class Daemon:
    """A listener for clients and one for the operator, in memory. `closed` has the ports that were closed.

    The port in `taken` is that of another program.
    """

    def __init__(self, stop_delay: float, taken: int | None = None) -> None:
        reactor: Any = MemoryReactorClock()
        reactor.listenTCP = self.listen
        self.clock: MemoryReactorClock = reactor
        self.sites = {key: BoundedSite(Page(), reactor) for key in ("listen.http", "listen.admin")}
        self.closed: list[int] = []
        self.taken = taken
        endpoints = [("listen.http", "tcp:1"), ("listen.admin", "tcp:2")]
        listeners = {key: Listener(site, site) for key, site in self.sites.items()}
        self.listeners = Listeners(reactor, listeners, endpoints, stop_delay)

    def start(self) -> "Daemon":
        self.listeners.privilegedStartService()
        self.listeners.startService()
        return self

    def listen(self, port: int, *_: object, **__: object) -> Any:
        daemon = self
        if port == self.taken:
            raise refused(errno.EADDRINUSE, port)

        class Port:
            def stopListening(self) -> Deferred[None] | None:
                daemon.closed.append(port)
                return None

        return Port()


def test_if_one_cannot_be_opened_the_others_are_closed() -> None:
    daemon = Daemon(0, taken=2)
    with pytest.raises(StartError, match=r"listen\.admin: tcp:2.*: another program listens there") as failed:
        daemon.start()
    assert failed.value.exit_status == ADDRESS_UNAVAILABLE
    assert daemon.closed == [1]


def test_without_a_delay_the_listeners_are_closed_at_once() -> None:
    daemon = Daemon(0).start()
    assert daemon.listeners.stopService().called
    assert daemon.closed == [1, 2]
    assert daemon.clock.getDelayedCalls() == []


def test_during_the_delay_answers_to_clients_are_the_last_of_their_connections() -> None:
    daemon = Daemon(0).start()
    daemon.listeners.reconfigure(5)
    stopped = daemon.listeners.stopService()
    assert [site.is_stopping for site in daemon.sites.values()] == [True, False]
    daemon.clock.advance(4)
    assert daemon.closed == []
    daemon.clock.advance(1)
    assert daemon.closed == [1, 2]
    assert stopped.called


def test_the_operators_listener_is_closed_after_the_last_answer() -> None:
    daemon = Daemon(0).start()
    busy = Connection(daemon.sites["listen.http"])
    busy.channel.requests.append(None)  # one is in progress
    stopped = daemon.listeners.stopService()
    assert daemon.closed == [1]
    daemon.clock.advance(IN_TRANSIT)
    daemon.clock.advance(IN_FLIGHT)
    assert busy.transport.disconnected
    busy.channel.requests.clear()
    busy.lose()
    assert daemon.closed == [1, 2]
    assert stopped.called


def test_a_request_that_is_on_its_way_at_the_stop_is_answered() -> None:
    daemon = Daemon(0).start()
    client, silent = Connection(daemon.sites["listen.http"]), Connection(daemon.sites["listen.http"])
    stopped = daemon.listeners.stopService()
    assert daemon.closed == [1]
    daemon.clock.advance(IN_TRANSIT / 2)
    assert client.send(b"GET / HTTP/1.1\r\nHost: h.test\r\n\r\n").endswith(b"\r\n\r\nhere")
    assert not silent.transport.disconnecting
    daemon.clock.advance(IN_TRANSIT / 2)
    assert silent.transport.disconnecting
    client.lose()
    silent.lose()
    assert stopped.called


def with_sockets(text: str, *sockets: PassedSocket) -> Listeners:
    reactor: Any = MemoryReactorClock()
    site = BoundedSite(Resource(), reactor)
    listeners = {"listen.http": Listener(site, site)}
    return Listeners(reactor, listeners, [("listen.http", text)], passed=PassedSockets(sockets))


@pytest.mark.parametrize("text", ["systemd:http", "haproxy:systemd:http"])
def test_a_socket_that_systemd_did_not_pass_is_an_error_of_the_settings(text: str) -> None:
    with pytest.raises(
        StartError, match=rf"^listen\.http: {text}: systemd passed no such socket \(passed: https\)"
    ) as failed:
        with_sockets(text, PassedSocket(3, "https", socket.AF_INET))
    assert failed.value.exit_status == USAGE


def test_a_socket_that_no_listener_uses_is_closed_with_a_warning() -> None:
    one, other = socket.socketpair()
    with other, capturedLogs() as events:
        listeners = with_sockets("tcp:1", PassedSocket(one.detach(), "admin", 0))
        listeners.privilegedStartService()
        assert other.recv(1) == b""
    (warning,) = (formatEvent(event) for event in events if event["log_level"] is LogLevel.warn)
    assert warning.startswith('the socket "admin" of systemd is not answered, because no listener uses it: ')


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_socket_whose_lock_names_a_living_process_is_replaced_only_if_nobody_listens(
    tmp_path: Path, is_alive: bool
) -> None:
    """In a container, the lock that a killed facaded has left names the process 1, which the next one is too."""
    path = tmp_path / "http.sock"
    (tmp_path / "http.sock.lock").symlink_to(str(os.getpid()))
    site = BoundedSite(Page(), installed())
    listeners = Listeners(installed(), {"listen.http": Listener(site, site)}, [("listen.http", f"unix:{path}")])
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        if is_alive:
            other.listen()
            with pytest.raises(StartError, match="another facaded uses this socket"):
                listeners.privilegedStartService()
            return
        listeners.privilegedStartService()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        listeners.stopService()
