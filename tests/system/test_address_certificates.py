"""A daemon without a name obtains a certificate for its address, and clients verify it (RFC 8738)."""

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from tests.process.daemon import Daemon, free_port, running
from tests.process.handshakes import ask
from tests.system.images import RandomImage
from tests.system.pebble import Pebble
from tests.system.registries import DockerRegistry
from tests.system.test_acme import PEBBLE_ENVIRON
from tests.system.test_daemon_acme import FIRST_CERTIFICATE, verifying_context

ADDRESSES = {"IPv4": "127.4.2.1", "IPv6": "::1"}
CA_HOST = "127.4.2.2"

SETTINGS = """
hosts = ["{address}"]
repositories = ["org/*"]
[tls]
public_port = {https}
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

TIME_LIMIT = 30.0
"""Seconds for a client."""


@define
class AddressLab:
    """A CA, a registry, and a daemon that has no name."""

    pebble: Pebble
    main: DockerRegistry
    daemon: Daemon

    def start(self, challenge: str) -> None:
        """Start the daemon, and wait until a client that trusts only the CA's root verifies its address."""
        self.pebble.start()
        settings = SETTINGS.format(
            address=self.daemon.host,
            https=self.daemon.https,
            challenge=challenge,
            ca=self.pebble.authority,
            main=self.main.url,
        )
        self.daemon.settings = settings
        self.daemon.start()
        self.daemon.wait_until(self.is_verified, "verified", FIRST_CERTIFICATE)

    @property
    def url_host(self) -> str:
        return f"[{self.daemon.host}]" if ":" in self.daemon.host else self.daemon.host

    def is_verified(self) -> bool:
        """Return whether a client gets a response; it sends no name (SNI), because it connects to an address."""
        context = verifying_context(self.pebble.fetch_root())
        try:
            return ask(self.daemon, "/v2/", context, self.url_host, self.daemon.host)[0] == 307
        except ssl.SSLError:
            return False


@pytest.fixture(params=ADDRESSES)
def lab(request: pytest.FixtureRequest, needs: Callable[..., None], tmp_path: Path) -> Iterator[AddressLab]:
    needs("pebble", "pebble-challtestsrv", "docker-registry")
    ports = [free_port() for _ in range(2)]
    daemon = Daemon(tmp_path, "", ADDRESSES[request.param], port=ports[0], https=ports[1])
    pebble = Pebble(tmp_path / "pebble", CA_HOST, daemon.port, daemon.https, daemon.host, dict(PEBBLE_ENVIRON))
    main = DockerRegistry("main", tmp_path / "main", ("127.4.2.3", "127.4.2.4", "127.4.2.5"))
    try:
        with running(daemon):
            yield AddressLab(pebble, main.start(), daemon)
            assert "Traceback" not in daemon.log
    finally:
        pebble.stop()
        main.stop()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_an_address_gets_a_certificate_that_curl_verifies(
    lab: AddressLab, needs: Callable[..., None], challenge: str, tmp_path: Path
) -> None:
    needs("curl")
    lab.start(challenge)
    root = tmp_path / "root.pem"
    root.write_bytes(lab.pebble.fetch_root())
    curl = ("curl", "-sS", "--max-time", "10", "--cacert", str(root), "-A", "containerd/2.1.9", "-D", "-")
    answer = run(*curl, f"https://{lab.url_host}:{lab.daemon.https}/v2/")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("HTTP/1.1 307 ")
    redirect = run(*curl, f"http://{lab.url_host}:{lab.daemon.port}/v2/org/app/tags/list")
    assert f"Location: https://{lab.url_host}:{lab.daemon.https}/v2/org/app/tags/list\n" in redirect.stdout
    (certificate,) = lab.daemon.status()["certificates"]
    assert certificate["names"] == [lab.daemon.host]
    assert lab.daemon.host in lab.daemon.run("status").stdout


@pytest.mark.parametrize("lab", ["IPv4"], indirect=True)  # skopeo of Debian 12 reads no reference with an IPv6 address
def test_skopeo_pulls_by_the_address_and_verifies(lab: AddressLab, needs: Callable[..., None], tmp_path: Path) -> None:
    needs("skopeo")
    image = RandomImage.create()
    lab.main.publish(image, "org/app", "latest")
    lab.start("tls-alpn-01")
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    name = f"docker://{lab.url_host}:{lab.daemon.https}/org/app:latest"
    command = ("skopeo", "copy", "--all", "--src-cert-dir", str(trusted), name, f"dir:{tmp_path}/pulled")
    assert "certificate signed by unknown authority" in run(*command).stderr
    (trusted / "ca.crt").write_bytes(lab.pebble.fetch_root())
    pulled = run(*command)
    assert pulled.returncode == 0, f"{pulled.stderr}\n{lab.daemon.log}"
    assert json.loads((tmp_path / "pulled" / "manifest.json").read_text())["schemaVersion"] == 2
