"""Three daemons with one directory for ACME, behind a proxy that passes each connection to the next one."""

import contextlib
import itertools
import selectors
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, field

from facaded.tls.acme.store import AcmeStore
from tests.process.daemon import Daemon, Registry, free_port, running, wait_until
from tests.process.handshakes import connect
from tests.system.pebble import Pebble
from tests.system.renewing import RENEWED_WITHIN, serial_number, verifying, write_settings

HOSTS = ("127.8.2.1", "127.8.2.2", "127.8.2.3")
CA_HOST, MAIN_HOST, PROXY_HOST = "127.8.2.4", "127.8.2.5", "127.8.2.6"

SERVED_WITHIN = 5.0
"""Limit in seconds for all daemons to serve a certificate that one of them has stored."""

TAKEN_OVER_WITHIN = 60.0


class RoundRobin:
    """A TCP proxy: each connection goes to the next of the daemons that accept it."""

    def __init__(self, host: str, targets: list[tuple[str, int]]) -> None:
        self.port = free_port(host)
        self.served: dict[str, int] = {}
        self._targets = targets
        self._turns = itertools.count()
        self._listener = socket.create_server((host, self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            turn = next(self._turns) % len(self._targets)  # connections at once take each its own way through them all
            for target in (*self._targets[turn:], *self._targets[:turn]):
                with contextlib.suppress(OSError), socket.create_connection(target, 5) as server:
                    self.served[target[0]] = self.served.get(target[0], 0) + 1
                    _pass_on(client, server)
                    return


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        while events := selector.select(10):
            for key, _ in events:
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                if not data:
                    return
                key.data.sendall(data)


@define
class Replicas:
    """Three daemons with their own state and one directory for ACME, and pebble, which validates through a proxy."""

    daemons: list[Daemon]
    pebble: Pebble
    proxies: list[RoundRobin]
    shared: Path
    main: Registry = field(factory=lambda: Registry(MAIN_HOST).start())

    @classmethod
    def create(cls, directory: Path) -> "Replicas":
        daemons = [
            Daemon(directory / str(number), "", host, port=free_port(host), https=free_port(host))
            for number, host in enumerate(HOSTS)
        ]
        plain = RoundRobin(PROXY_HOST, [(daemon.host, daemon.port) for daemon in daemons])
        secure = RoundRobin(PROXY_HOST, [(daemon.host, daemon.https) for daemon in daemons])
        environ = {"PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "10", "PEBBLE_VA_NOSLEEP": "1"}
        pebble = Pebble(directory / "pebble", CA_HOST, plain.port, secure.port, PROXY_HOST, environ)
        return cls(daemons, pebble, [plain, secure], directory / "shared")

    def start(self, challenge: str) -> None:
        """Start all, and wait until each is ready."""
        self.pebble.start()
        for daemon in self.daemons:
            daemon.directory.mkdir()
            daemon.state = f'acme_directory = "{self.shared}"'
            write_settings(daemon, self.pebble.authority, self.main, challenge)
            daemon.spawn()
        for daemon in self.daemons:
            daemon.wait_for_start()

    def wait_for_one_certificate(self, before: int | None = None, seconds: float = RENEWED_WITHIN) -> int:
        """Wait until all running daemons serve the same verified certificate, another one than before."""
        context = verifying(self.pebble.fetch_root())
        running_daemons = [daemon for daemon in self.daemons if daemon.process is not None]

        def serials() -> set[int]:
            return {serial_number(daemon) for daemon in running_daemons}

        def is_verified(daemon: Daemon) -> bool:
            try:
                connect(daemon, context).close()
            except OSError:
                return False
            return True

        def is_renewed() -> bool:
            return any(serial_number(daemon) != before and is_verified(daemon) for daemon in running_daemons)

        try:
            wait_until(is_renewed, "renewed", seconds)
        except AssertionError as error:
            logs = "\n".join([*(daemon.log for daemon in self.daemons), self.pebble.log])
            raise AssertionError(f"{error}\n{logs}") from None
        wait_until(lambda: len(serials()) == 1 and all(map(is_verified, running_daemons)), "the same", SERVED_WITHIN)
        return serials().pop()


@pytest.fixture
def replicas(needs: Callable[..., None]) -> Iterator[Replicas]:
    needs("pebble", "pebble-challtestsrv")
    with tempfile.TemporaryDirectory() as directory:
        replicas = Replicas.create(Path(directory))
        with running(*replicas.daemons, replicas.main):
            try:
                yield replicas
            finally:
                replicas.pebble.stop()
                for proxy in replicas.proxies:
                    proxy.stop()


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_one_of_three_daemons_orders_and_all_answer_and_serve(replicas: Replicas, challenge: str) -> None:
    replicas.start(challenge)
    first = replicas.wait_for_one_certificate()
    assert replicas.pebble.log.count("Added order") == 1
    for count, daemon in enumerate(replicas.daemons):
        assert daemon.run("renew").returncode == 0
        second = replicas.wait_for_one_certificate(first)
        assert second != first
        assert replicas.pebble.log.count("Added order") == 2 + count
        first = second
    proxy = replicas.proxies[challenge == "tls-alpn-01"]
    assert {*proxy.served} == {*HOSTS}, "the CA has asked all of them"
    assert "INVALID" not in replicas.pebble.log


def test_another_daemon_takes_over_within_a_minute_if_the_one_that_orders_is_killed(replicas: Replicas) -> None:
    replicas.pebble.environ |= {"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "5"}
    with AcmeStore(replicas.shared, print).locked() as has_lock:
        assert has_lock
        replicas.start("http-01")  # while none may order: the challenge is for whichever daemon the CA asks
    wait_until(lambda: list(replicas.shared.rglob("order_*.json")), "an order")
    (holder,) = [daemon for daemon in replicas.daemons if _has_lock(daemon, replicas.shared)]
    holder.kill()
    replicas.wait_for_one_certificate(seconds=TAKEN_OVER_WITHIN)
    assert replicas.pebble.log.count("Added order") == 1, "the order is finished by another daemon"


def _has_lock(daemon: Daemon, shared: Path) -> bool:
    """Return whether a daemon has the file of the lock open."""
    assert daemon.process is not None
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    return any(one.exists() and one.resolve() == (shared / "lock").resolve() for one in descriptors.iterdir())
