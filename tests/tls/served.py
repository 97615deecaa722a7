"""The certificates in service, with a clock in memory."""

import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import POLL_INTERVAL, Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.server_connection import ServerConnection
from tests.tls.authority import NOW, HandshakeClient, handshake, trusting

ORDER = ("docker.lab.test",)
HOSTS = ("docker.lab.test", "192.0.2.1")


class CertificatesHarness:
    """The certificates with a clock that only the test advances, and without threads."""

    def __init__(self, *files: CertificateFiles, hosts: tuple[str, ...] = HOSTS) -> None:
        self.clock = Clock()
        self.challenges = Challenges()
        self.certificates = Certificates(self.challenges, self.clock, self.now, call_now, files, hosts)
        self.certificates.startService()

    def reconfigure(self, *files: CertificateFiles, hosts: tuple[str, ...] = HOSTS) -> None:
        self.certificates.reconfigure(self.certificates.prepare(files, hosts))

    def now(self) -> float:
        return NOW.timestamp() + self.clock.seconds()

    def pass_time(self, checks: int = 1) -> None:
        for _ in range(checks):
            self.clock.advance(POLL_INTERVAL)

    def client(
        self, name: str | None = "docker.lab.test", context: ssl.SSLContext | None = None, local_address: str = ""
    ) -> HandshakeClient:
        connection = self.certificates.new_connection()
        ServerConnection(connection).note_local_address(local_address)
        return handshake(connection, context or trusting(), name)

    def served(self, name: str | None = "docker.lab.test") -> bytes:
        return self.client(name).certificate.tbs_certificate_bytes

    @property
    def errors(self) -> list[str | None]:
        return [report["error"] for report in self.certificates.document()]


def call_now(work: Callable[[], Any]) -> Deferred[Any]:
    """Call a function in this thread instead of another one."""
    return succeed(work())
