"""A daemon that renews its certificate again and again, and clients that shake hands with it all the time."""

import os
import ssl
import threading
import time
from pathlib import Path

from attrs import define, field
from cryptography import x509

from facaded.tls.acme.settings import CertificateAuthority
from tests.process.daemon import Daemon, Registry
from tests.process.handshakes import NAME, connect, served_certificate

SETTINGS = """
hosts = ["{name}"]
repositories = ["org/*"]
[tls.acme]
agree_to_terms = true
challenges = ["{challenge}"]
[[tls.acme.ca]]
directory = "{ca.directory}"
ca_file = "{ca.ca_file}"
[[backend]]
name = "main"
url = "{main}"
"""

RENEWED_WITHIN = 60.0
"""Limit in seconds for an order: a CA that validates after up to 15 seconds, and refuses nonces."""


def write_settings(daemon: Daemon, ca: CertificateAuthority, main: Registry, challenge: str = "tls-alpn-01") -> None:
    daemon.write_settings(SETTINGS.format(name=NAME, challenge=challenge, ca=ca, main=main.url))


def serial_number(daemon: Daemon) -> int:
    """Return the serial number of the certificate that the daemon serves."""
    return x509.load_der_x509_certificate(served_certificate(daemon)).serial_number


def start_verified(daemon: Daemon, root: bytes) -> None:
    """Start a daemon, and wait until it serves a certificate that leads to this root, in PEM."""
    context = verifying(root)

    def is_verified() -> bool:
        try:
            connect(daemon, context).close()
        except OSError:
            return False
        return True

    daemon.start()
    daemon.wait_until(is_verified, "a verified certificate", RENEWED_WITHIN)


def verifying(root: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root.decode())
    return context


def renew(daemon: Daemon) -> int:
    """Renew the certificate, and return the serial number of the new one when it is served."""
    before = serial_number(daemon)
    renewal = daemon.run("renew")
    assert renewal.returncode == 0, renewal.stderr
    daemon.wait_until(lambda: serial_number(daemon) != before, "the new certificate", RENEWED_WITHIN)
    return serial_number(daemon)


@define
class Handshakes(threading.Thread):
    """Shakes hands with a daemon all the time, and verifies its certificate against a root."""

    daemon_process: Daemon
    root: bytes
    count: int = 0
    failures: list[str] = field(factory=list)
    end: bool = False

    def __attrs_pre_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        context = verifying(self.root)
        while not self.end:
            try:
                connect(self.daemon_process, context).close()
                self.count += 1
            except OSError as error:
                self.failures.append(str(error))
            time.sleep(0.01)

    def finish(self) -> None:
        self.end = True
        self.join()


class KeyWatcher(threading.Thread):
    """Checks every file under a directory continuously, and records those that others could open."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self.directory = directory
        self.names: set[str] = set()
        self.readable: set[str] = set()
        self.end = False

    def run(self) -> None:
        while not self.end:
            for parent, directories, files in os.walk(self.directory):
                for name in (*directories, *files):
                    try:
                        mode = os.lstat(os.path.join(parent, name)).st_mode
                    except OSError:
                        continue
                    self.names.add(name)
                    if mode & 0o077:
                        self.readable.add(name)
            time.sleep(0.001)

    def finish(self) -> None:
        self.end = True
        self.join()
