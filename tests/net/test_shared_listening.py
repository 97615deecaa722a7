"""Sockets that several processes share: each accepts from its own, and from that of one that is not there."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from facaded.net.reactor import installed
from facaded.net.shared_listening import SharedListening


class AdoptingReactor(MemoryReactor):
    """Notes the sockets that are accepted from, as their inodes and whether they still are."""

    def __init__(self) -> None:
        MemoryReactor.__init__(self)
        self.accepted: list[int] = []

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> "AdoptedByReactor":
        inode = os.fstat(descriptor).st_ino
        self.accepted.append(inode)
        return AdoptedByReactor(self, inode)


class AdoptedByReactor:
    def __init__(self, reactor: AdoptingReactor, inode: int) -> None:
        self._reactor, self._inode = reactor, inode

    def stopListening(self) -> None:
        self._reactor.accepted.remove(self._inode)


class Processes:
    """Two processes that share sockets; the second one inherits those of the first."""

    def __init__(self, port: int = 0) -> None:
        self.reactors = AdoptingReactor(), AdoptingReactor()
        self.first = SharedListening(self.reactors[0], 0, 2)
        self.first.listenTCP(port, Factory(), 50, "127.0.0.1")
        inherited = {key: [os.dup(one) for one in numbers] for key, numbers in self.first.descriptors.items()}
        self.second = SharedListening(self.reactors[1], 1, 2, inherited)
        self.second.listenTCP(port, Factory(), 50, "127.0.0.1")

    @property
    def port(self) -> int:
        ((descriptor, _),) = self.first.descriptors.values()
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            port: int = listening.getsockname()[1]
            return port

    def close(self) -> None:
        self.first.close()
        self.second.close()


@pytest.fixture
def processes() -> Iterator[Processes]:
    with contextlib.closing(Processes()) as processes:
        yield processes


def test_each_process_accepts_from_a_socket_of_its_own_at_the_same_address(processes: Processes) -> None:
    (own,), (other,) = (reactor.accepted for reactor in processes.reactors)
    assert own != other
    for descriptor in next(iter(processes.first.descriptors.values())):
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            assert listening.getsockname() == ("127.0.0.1", processes.port)
            assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert not os.get_blocking(descriptor)


def test_a_process_stands_in_for_another_one_until_that_is_there(processes: Processes) -> None:
    (own,), (other,) = (list(reactor.accepted) for reactor in processes.reactors)
    processes.first.stand_in(1)
    processes.first.stand_in(1)
    assert processes.reactors[0].accepted == [own, other]
    processes.first.stand_down(1)
    processes.first.stand_down(1)
    assert processes.reactors[0].accepted == [own]


def test_nothing_is_accepted_for_others_after_the_end(processes: Processes) -> None:
    processes.first.stand_in(1)
    processes.first.close()
    assert len(processes.reactors[0].accepted) == 1, "its own port is closed by its listener"
    processes.first.stand_in(1)
    assert len(processes.reactors[0].accepted) == 1


def test_connections_wait_until_the_last_process_has_closed_the_socket(processes: Processes) -> None:
    address = "127.0.0.1", processes.port
    processes.first.close()
    socket.create_connection(address, 1).close()
    processes.second.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 1)


def test_an_address_of_another_program_is_refused_although_that_shares_it_too(processes: Processes) -> None:
    with pytest.raises(CannotListenError, match="Address already in use"):
        Processes(processes.port)


def test_two_listeners_on_one_wildcard_port_have_sockets_of_their_own() -> None:
    reactor = AdoptingReactor()
    shared = SharedListening(reactor, 0, 2)
    with contextlib.closing(shared):
        shared.listenTCP(0, Factory(), 50, "127.0.0.1")
        shared.listenTCP(0, Factory(), 50, "127.0.0.1")
        assert len(shared.descriptors) == 2
        assert len({os.fstat(one).st_ino for numbers in shared.descriptors.values() for one in numbers}) == 4


def test_a_unix_socket_that_is_tried_again_has_the_same_name_in_all_processes(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    lock = tmp_path / "http.sock.lock"
    lock.symlink_to(str(os.getpid()))
    with contextlib.closing(SharedListening(installed(), 0, 2)) as shared:
        with pytest.raises(CannotListenError, match="Cannot acquire lock"):
            shared.listenUNIX(path, Factory(), 50, 0o600, wantPID=True)
        lock.unlink()
        listening = shared.listenUNIX(path, Factory(), 50, 0o600, wantPID=True)
        listening.stopListening()
        assert list(shared.descriptors) == [f"unix|{path}|1"]
