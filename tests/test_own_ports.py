"""Whether the own ports are reached by the public names, on loopback addresses: the answers are this process's own."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from OpenSSL import SSL
from twisted.internet import reactor as installed_reactor
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from facaded.config.listen_addresses import parse
from facaded.config.sections import Config, ListenSettings, TlsSettings
from facaded.own_answers import OwnAnswers
from facaded.own_ports import OwnPorts, PortReport
from facaded.tls import selfsigned
from facaded.tls.acme.settings import ChallengeKind

HTTP, ALPN = ChallengeKind.HTTP, ChallengeKind.TLS_ALPN
HOST = "127.8.0.1"
reactor: Any = installed_reactor


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@define
class OwnLab:
    """Listeners on free ports of HOST, which a CA is said to connect to."""

    ports: dict[ChallengeKind, int] = field(factory=lambda: {HTTP: unused_port(), ALPN: unused_port()})

    @property
    def config(self) -> Config:
        http, https = (parse(f"{HOST}:{self.ports[kind]}") for kind in (HTTP, ALPN))
        return Config(listen=ListenSettings(http=(http,), https=(https,)), tls=TlsSettings())

    async def reach(
        self, *names: str, answers: Any = None, kinds: tuple[ChallengeKind, ...] = (HTTP, ALPN), **options: Any
    ) -> tuple[PortReport, ...]:
        """Return the reports; the listeners are open meanwhile unless other `answers` are given."""
        opened = answers or OwnAnswers(reactor, self.config)
        try:
            return await OwnPorts(reactor, opened, self.ports, **options).reach(names, kinds)
        finally:
            await opened.close()


@define
class NoListeners:
    """Publishes nothing: something else listens on the ports, or nothing."""

    description: str = "nobody"

    def why_not(self, kind: ChallengeKind) -> str | None:
        return None

    async def publish(self, *_: object) -> None:
        pass

    async def withdraw(self) -> None:
        pass

    close = withdraw


@asynccontextmanager
async def listening(port: int, factory: Any) -> AsyncIterator[None]:
    listener = reactor.listenTCP(port, factory, interface=HOST)
    try:
        yield
    finally:
        await listener.stopListening()


class OtherServer(Resource):
    """A server that is not facaded."""

    isLeaf = True

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        Resource.__init__(self)
        self._status = status
        self._headers = headers

    def render_GET(self, request: Request) -> bytes:
        request.setResponseCode(self._status)
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return b"other"


class NoTls(Protocol):
    """A server that does not understand TLS."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[union-attr]  # it is connected


@pytest_twisted.ensureDeferred
async def test_both_ports_are_reached_by_an_address() -> None:
    lab = OwnLab()
    assert await lab.reach(HOST) == tuple(PortReport(HOST, HOST, lab.ports[kind]) for kind in (HTTP, ALPN))


@pytest_twisted.ensureDeferred
async def test_every_address_of_a_name_is_tried_apart() -> None:
    async def find(name: str) -> list[str]:
        return {"docker.lab.test": [HOST, "127.8.0.2", "::1"]}.get(name, [])

    lab = OwnLab()
    reports = await lab.reach("docker.lab.test", "unknown.lab.test", kinds=(ALPN,), resolve=find)
    assert [(report.address, report.problem is None) for report in reports] == [
        (HOST, True),
        ("127.8.0.2", False),
        ("::1", False),
    ]
    assert reports[1].problem == "connection refused"


@pytest.mark.parametrize(
    ("status", "headers", "problem"),
    [
        (404, {"Server": "nginx"}, "another server (nginx) answers, with status 404"),
        (200, {"Server": "x\x01" * 200}, "another server (x?x?"),
        (301, {"Location": "https://docker.lab.test/"}, "another server redirects to https://docker.lab.test/"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_another_web_server_is_named(status: int, headers: dict[str, str], problem: str) -> None:
    lab = OwnLab()
    async with listening(lab.ports[HTTP], Site(OtherServer(status, headers))):
        (report,) = await lab.reach(HOST, answers=NoListeners(), kinds=(HTTP,))
    assert str(report.problem).startswith(problem)
    assert str(report.problem).isprintable()
    assert len(str(report.problem)) < 300


@pytest_twisted.ensureDeferred
async def test_another_server_of_tls_is_noticed() -> None:
    lab, other = OwnLab(), OwnLab()
    own = OwnAnswers(reactor, other.config)
    await own.publish(ALPN, HOST, "token", "token.of-another-order")
    (report,) = await OwnPorts(reactor, NoListeners(), other.ports).reach([HOST], (ALPN,))
    assert report.problem == "another ACME client answers there"
    await own.close()
    async with listening(lab.ports[ALPN], Factory.forProtocol(NoTls)):
        (report,) = await lab.reach(HOST, answers=NoListeners(), kinds=(ALPN,))
    assert str(report.problem).startswith("TLS: ")


@implementer(IOpenSSLServerConnectionCreator)
class WithoutAlpn:
    """A server of TLS with a certificate of its own, which knows no ALPN."""

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        certificate = selfsigned.make((HOST,), time.time())
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(certificate.chain[0])
        context.use_privatekey(certificate.key)
        return SSL.Connection(context, None)


@pytest_twisted.ensureDeferred
async def test_a_proxy_that_ends_tls_is_noticed() -> None:
    lab = OwnLab()
    async with listening(
        lab.ports[ALPN], TLSMemoryBIOFactory(WithoutAlpn(), False, Factory.forProtocol(Protocol), reactor)
    ):
        (report,) = await lab.reach(HOST, answers=NoListeners(), kinds=(ALPN,))
    assert report.problem == "another server ends TLS there"


@pytest.mark.parametrize("kind", ChallengeKind)
@pytest_twisted.ensureDeferred
async def test_a_server_that_says_nothing_is_given_up(kind: ChallengeKind) -> None:
    lab = OwnLab()
    async with listening(lab.ports[kind], Factory.forProtocol(Protocol)):
        (report,) = await lab.reach(HOST, answers=NoListeners(), kinds=(kind,), time_limit=0.2)
    assert "no answer within" in str(report.problem) or "timeout" in str(report.problem)


@pytest_twisted.ensureDeferred
async def test_a_port_that_another_program_uses_cannot_be_answered_on() -> None:
    lab = OwnLab()
    async with listening(lab.ports[HTTP], Factory.forProtocol(Protocol)):
        answers = OwnAnswers(reactor, lab.config)
        reason = str(answers.why_not(HTTP))
        assert answers.why_not(ALPN) is None
        await answers.close()
    assert reason.startswith(f"listen.http: tcp:{lab.ports[HTTP]}:interface={HOST}: another program listens there")
