"""A daemon that gets its certificates from a real CA by itself, from its first start on."""

import re
import signal
import socket
import ssl
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define
from cryptography import x509

from tests.process.daemon import Daemon, Registry, free_port, running
from tests.process.handshakes import NAME, ask, connect, served_certificate
from tests.system.pebble import EAB, Pebble
from tests.system.test_acme import STRICT
from tests.tls.authority import trusting

HOST, CA_HOST, MAIN_HOST = "127.4.0.1", "127.4.0.2", "127.4.0.3"

FIRST = 10.0
"""Seconds within which a fresh daemon has a verified certificate in service."""

SOON = 2.0
"""Seconds within which one that was kept, or is there already, is in service."""

SETTINGS = """
hosts = ["{name}"]
repositories = ["org/*"]
[tls.acme]
agree_to_terms = true
challenges = ["{challenge}"]
[[tls.acme.ca]]
directory = "{ca.directory}"
ca_file = "{ca.ca_file}"
eab_key_id = "{key_id}"
eab_hmac_key_file = "{secret}"
[[backend]]
name = "main"
url = "{main}"
"""

TLS_1_2 = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = limits
[limits]
MaxProtocol = TLSv1.2
"""
"""OpenSSL's settings for a daemon to which everybody is a client of TLS 1.2, a validator as well."""

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "facaded", "--config"]


def verifying(root: bytes, version: str = "") -> ssl.SSLContext:
    """A client's context that trusts this root alone, and speaks one version of TLS alone if it is told so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root.decode())
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def serial(daemon: Daemon) -> int:
    """That of the certificate in service."""
    return x509.load_der_x509_certificate(served_certificate(daemon)).serial_number


def secrets_of(daemon: Daemon) -> set[str]:
    """What must not be in a log: lines of keys, and the account's secret at the CA.

    Not the tokens of http-01: they are in the paths that the CA asks for, which the access log has.
    """
    texts = [path.read_text() for path in (daemon.directory / "state" / "acme").rglob("*.pem")]
    lines = {line for text in texts for line in text.partition("-----END PRIVATE")[0].splitlines()[1:]}
    return lines | set(EAB.values())


def open_to_others(directory: Path) -> list[str]:
    """Files that are not 0600 and directories that are not 0700."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.rglob("*")]}
    return [f"{path}: {mode:o}" for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)]


@define
class Lab:
    """A CA that wants an account to be bound, a registry, and a daemon that has nothing yet."""

    ca: Pebble
    main: Registry
    daemon: Daemon

    def write_settings(self, challenge: str = "tls-alpn-01") -> None:
        """To be called when the CA has its port."""
        (key_id, value), *_ = EAB.items()
        secret = self.daemon.directory / "eab"
        secret.touch(0o600)
        secret.write_text(value)
        self.daemon.write_settings(
            SETTINGS.format(
                name=NAME, challenge=challenge, ca=self.ca.ca, main=self.main.url, key_id=key_id, secret=secret
            )
        )

    def verifies(self, version: str = "") -> bool:
        """Whether a client that trusts the CA's root alone gets an answer."""
        try:
            return ask(self.daemon, "/v2/", verifying(self.ca.root(), version))[0] == 307
        except OSError:
            return False

    def starts(self) -> None:
        """Start a fresh daemon, and wait until it has a verified certificate."""
        self.ca.start()
        self.write_settings()
        self.daemon.start()
        self.daemon.wait_until(self.verifies, "verified", FIRST)

    def renews(self) -> float:
        """Ask for another certificate; gives the seconds until it is in service."""
        before, begun = serial(self.daemon), time.monotonic()
        assert self.daemon.run("renew").returncode == 0
        self.daemon.wait_until(lambda: serial(self.daemon) != before, "another is in service", FIRST)
        return time.monotonic() - begun

    def orders(self) -> int:
        return self.ca.log.count("Added order")


@pytest.fixture
def lab(needs: Callable[..., None], tmp_path: Path) -> Iterator[Lab]:
    """Only the registry is started. What holds of every daemon's log and files is looked at in the end."""
    needs("pebble", "pebble-challtestsrv")
    daemon = Daemon(tmp_path, "", HOST, port=free_port(HOST), https=free_port(HOST))
    ca = Pebble(tmp_path / "pebble", CA_HOST, daemon.port, daemon.https, HOST, dict(STRICT), account_required=True)
    made = Lab(ca, Registry(MAIN_HOST).start(), daemon)
    with running(made.daemon, made.main):
        try:
            yield made
            assert [secret for secret in secrets_of(daemon) if secret in daemon.log] == []
            assert "Traceback" not in daemon.log
            assert "Unhandled" not in daemon.log
            assert open_to_others(daemon.directory / "state" / "acme") == []
        finally:
            ca.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_a_fresh_daemon_has_a_verified_certificate_in_service_within_10_s(
    lab: Lab, tmp_path: Path, challenge: str, version: str
) -> None:
    lab.ca.start()
    lab.write_settings(challenge)
    if version == "1.2":
        (tmp_path / "openssl.cnf").write_text(TLS_1_2)
        lab.daemon.environ["OPENSSL_CONF"] = str(tmp_path / "openssl.cnf")
    begun = time.monotonic()
    lab.daemon.spawn()
    lab.daemon.wait_until(lambda: lab.verifies(version), "verified", FIRST)
    took = time.monotonic() - begun
    print(f"{challenge}, TLS {version}: {took:.2f} s")
    assert took <= FIRST
    assert lab.verifies("1.2")
    assert lab.verifies("1.3") == (version == "1.3"), "or the validator did not speak the version of this test"
    assert lab.orders() == 1
    (certificate,) = lab.daemon.status()["certificates"]
    assert certificate["names"] == [NAME]
    assert certificate["issuer"].startswith("Pebble")
    assert certificate["error"] is None
    assert time.time() < certificate["next_renewal"] < certificate["until"]
    said = lab.daemon.run("status").stdout
    assert re.search(rf"certificate for {NAME}: by Pebble .*, until .*, renewed on .*, from ACME", said), said
    assert lab.daemon.stop() == 0


def test_it_is_ready_and_answers_with_a_self_signed_certificate_while_the_ca_hangs(lab: Lab) -> None:
    lab.ca.start().stop_pebble()
    lab.write_settings()
    with socket.create_server((CA_HOST, lab.ca.port)):  # which accepts, and says nothing
        assert lab.daemon.spawn().wait_until(lambda: lab.daemon.ready, "ready") < FIRST
        assert ask(lab.daemon, "/v2/", trusting())[0] == 307
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            ask(lab.daemon, "/v2/", ssl.create_default_context())
        ordered, own = lab.daemon.status()["certificates"]
        assert (ordered["names"], ordered["from"], ordered["until"]) == ([NAME], "ACME", None)
        assert own["from"] == "self-signed"
        assert lab.daemon.run("status").returncode in (0, 1)
        begun = time.monotonic()
        assert lab.daemon.stop() == 0
        assert time.monotonic() - begun < SOON, "an order that hangs does not hold up the end"


def test_renew_brings_another_certificate_and_keeps_connections_and_a_killed_daemon_does_not_order_again(
    lab: Lab,
) -> None:
    lab.starts()
    first = serial(lab.daemon)
    with connect(lab.daemon, verifying(lab.ca.root())) as kept:
        took = lab.renews()
        kept.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert kept.recv(100).startswith(b"HTTP/1.1 ")
        assert x509.load_der_x509_certificate(kept.getpeercert(binary_form=True) or b"").serial_number == first
    print(f"renewed in {took:.2f} s")
    assert lab.verifies()
    renewed, orders = serial(lab.daemon), lab.orders()
    assert orders == 2
    assert [each["error"] for each in lab.daemon.status()["certificates"]] == [None]
    lab.daemon.kill()
    lab.daemon.start()
    assert serial(lab.daemon) == renewed, "at once"
    assert lab.verifies()
    time.sleep(0.5)  # an order would have begun by now
    assert lab.orders() == orders


def test_a_ca_that_is_down_is_told_of_and_asked_at_once_by_renew_when_it_is_up(lab: Lab) -> None:
    lab.ca.start()
    root = lab.ca.root()
    lab.ca.stop_pebble()
    lab.write_settings()
    lab.daemon.start()

    def told() -> str:
        return str(lab.daemon.status()["certificates"][0]["error"] or "")

    lab.daemon.wait_until(told, "status tells of it")
    assert "connection refused" in told()
    assert f"no certificate for {NAME} from ACME: " in lab.daemon.run("status").stdout
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(lab.daemon, "/v2/", verifying(root))
    assert ask(lab.daemon, "/v2/", trusting())[0] == 307
    lab.ca.start_pebble()
    asked = lab.daemon.run("renew")
    assert (asked.returncode, asked.stderr) == (0, "")
    lab.daemon.wait_until(lab.verifies, "verified", FIRST)
    assert [each["error"] for each in lab.daemon.status()["certificates"]] == [None]


def test_under_twistd_it_gets_one_as_well(lab: Lab) -> None:
    lab.daemon.arguments = TWISTD
    lab.starts()
    assert lab.orders() == 1
    assert lab.daemon.stop() in (0, -signal.SIGTERM), "twistd ends by the signal that it was sent"
