"""Certificates in service, in memory."""

import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import LOOK_INTERVAL, Certificates
from facaded.tls.challenges import Challenges
from tests.tls.authority import NOW, Client, handshake, trusting

ORDER = ("docker.lab.test",)
HOSTS = ("docker.lab.test", "192.0.2.1")


class Service:
    """Certificates with a clock that is moved by hand, and threads that are none."""

    def __init__(self, *files: CertificateFiles, hosts: tuple[str, ...] = HOSTS) -> None:
        self.clock = Clock()
        self.challenges = Challenges()
        self.certificates = Certificates(self.challenges, self.clock, self.now, at_once, files, hosts)
        self.certificates.startService()

    def reconfigure(self, *files: CertificateFiles, hosts: tuple[str, ...] = HOSTS) -> None:
        self.certificates.reconfigure(self.certificates.prepare(files, hosts))

    def now(self) -> float:
        return NOW.timestamp() + self.clock.seconds()

    def pass_time(self, looks: int = 1) -> None:
        for _ in range(looks):
            self.clock.advance(LOOK_INTERVAL)

    def client(self, name: str | None = "docker.lab.test", context: ssl.SSLContext | None = None) -> Client:
        return handshake(self.certificates.serverConnectionForTLS(None), context or trusting(), name)

    def shown(self, name: str | None = "docker.lab.test") -> bytes:
        return self.client(name).certificate.tbs_certificate_bytes

    @property
    def errors(self) -> list[str | None]:
        return [each["error"] for each in self.certificates.document()]


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return succeed(work())
