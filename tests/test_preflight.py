"""What `facaded check --probe` says about the names of the facade and its ports."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from facaded.config.listen_addresses import parse
from facaded.config.sections import AcmeTable, Config, ListenSettings, TlsSettings
from facaded.net.reactor import INetworkReactor
from facaded.net.resolver import Resolver
from facaded.preflight import LOOKUP_TIMEOUT, lost_certificates, unbindable_ports, unknown_names

HOSTS = ("known.test", "unknown.test", "192.0.2.1")


@implementer(INetworkReactor)
class Reactor(MemoryReactorClock):
    """A reactor whose resolver knows only known.test."""

    def __init__(self) -> None:
        super().__init__()
        self.installNameResolver(
            Resolver(self, lambda work, *arguments: work(*arguments), self._addresses, self._start)
        )

    def _addresses(self, name: str, *_: Any, **__: Any) -> list[Any]:
        if name != "known.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.9", 0))]

    def _start(self, work: Callable[[], None]) -> None:
        work()


@pytest_twisted.ensureDeferred
async def test_a_name_that_does_not_resolve_is_a_warning() -> None:
    (warning,) = await unknown_names(Config(hosts=HOSTS), Reactor())
    assert warning.startswith("hosts: unknown.test does not resolve on this machine: ")


@pytest_twisted.ensureDeferred
async def test_the_names_of_certificates_are_looked_up_too() -> None:
    settings = Config(hosts=HOSTS[:1], tls=TlsSettings(acme=AcmeTable(domains=(("other.test",),))))
    assert len(await unknown_names(settings, Reactor())) == 1
    assert await unknown_names(evolve(settings, tls=None), Reactor()) == ()


@pytest_twisted.ensureDeferred
async def test_a_resolver_that_hangs_is_given_up_after_the_timeout() -> None:
    reactor = Reactor()
    reactor.installNameResolver(Resolver(reactor, lambda work: work(), start=lambda _: None))
    waiting = Deferred.fromCoroutine(unknown_names(Config(hosts=HOSTS[:1]), reactor))
    reactor.advance(LOOKUP_TIMEOUT)
    assert len(await waiting) == 1


@pytest.mark.parametrize("address", ["systemd:http", "haproxy:systemd:http"])
@pytest_twisted.ensureDeferred
async def test_a_socket_of_systemd_is_not_opened(address: str) -> None:
    settings = Config(listen=ListenSettings(http=(parse(address),), admin=()))
    reactor: Any = Reactor()
    assert await unbindable_ports(settings, None, reactor) == ()


def test_certificates_that_a_restart_loses_are_warned_of(tmp_path: Path) -> None:
    settings = Config(hosts=("docker.example.com",), tls=TlsSettings(acme=AcmeTable()))
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 0:1 / / rw - overlay overlay rw\n2 1 8:1 / /data rw - ext4 /dev/sda1 rw\n")
    (warning,) = lost_certificates(settings, Path("/var/lib/facaded"), mounts)
    assert warning.startswith(
        "state.directory: /var/lib/facaded is in the container's own layer, which is removed with"
    )
    assert warning.endswith("mount a volume there, or set state.directory to a directory that stays")
    assert lost_certificates(settings, Path("/data/facaded"), mounts) == ()
    assert lost_certificates(evolve(settings, tls=TlsSettings()), Path("/var/lib/facaded"), mounts) == ()
    assert lost_certificates(settings, Path("/var/lib/facaded"), tmp_path / "missing") == ()
