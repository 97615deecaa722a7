"""Accepting pauses when it fails for lack of descriptors or memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from zope.interface import directlyProvides

from facaded.net.accept_pauses import PAUSE, AcceptPauses


class Port:
    """A port whose descriptor is -1 after it was closed."""

    descriptor = 7

    def fileno(self) -> int:
        return self.descriptor


class Reactor(Clock):
    """A clock with readers."""

    def __init__(self, *readers: object) -> None:
        super().__init__()
        self.readers = list(readers)

    def getReaders(self) -> list[object]:
        return [*self.readers]

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)


class Accepting:
    """A reactor with two ports and a connection, and a log that Twisted writes to."""

    def __init__(self) -> None:
        self.ports = [Port(), Port()]
        for port in self.ports:
            directlyProvides(port, IListeningPort)
        self.connection = object()
        reactor: Any = Reactor(*self.ports, self.connection)
        self.reactor: Any = reactor
        publisher = LogPublisher()
        self.log = Logger("twisted.internet.tcp.Port", observer=publisher)
        self.noted: list[str] = []
        self.pauses = AcceptPauses(self.reactor, publisher, self.noted.append)
        self.pauses.privilegedStartService()

    def fail(self, error: str) -> None:
        self.log.info("Could not accept new connection ({acceptError})", acceptError=error)


@pytest.fixture
def accepting() -> Iterator[Accepting]:
    accepting = Accepting()
    yield accepting
    accepting.pauses.stopService()
    assert accepting.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_all_ports_pause_for_a_moment_and_connections_do_not(accepting: Accepting, error: str) -> None:
    accepting.fail(error)
    assert accepting.noted == [error]
    assert accepting.reactor.readers == [accepting.connection]
    accepting.reactor.advance(PAUSE)
    assert accepting.reactor.readers == [accepting.connection, *accepting.ports]


def test_a_port_that_was_closed_meanwhile_stays_closed(accepting: Accepting) -> None:
    accepting.fail("EMFILE")
    accepting.ports[0].descriptor = -1
    accepting.reactor.advance(PAUSE)
    assert accepting.reactor.readers == [accepting.connection, accepting.ports[1]]


def test_other_events_are_ignored(accepting: Accepting) -> None:
    accepting.fail("ECONNABORTED")
    accepting.log.info("Port 80 starting")
    Logger("other", observer=accepting.log.observer).info("EMFILE encountered", acceptError="EMFILE")
    assert accepting.noted == []
    assert accepting.reactor.readers == [*accepting.ports, accepting.connection]


def test_connections_that_twisted_closes_itself_are_counted(accepting: Accepting) -> None:
    accepting.log.info("EMFILE encountered; releasing reserved file descriptor.")
    assert accepting.noted == ["EMFILE"]
    assert accepting.reactor.readers == [*accepting.ports, accepting.connection]


def test_a_stop_ends_a_pause(accepting: Accepting) -> None:
    accepting.fail("EMFILE")
    accepting.pauses.stopService()
    assert accepting.reactor.getDelayedCalls() == []
    accepting.pauses.privilegedStartService()
