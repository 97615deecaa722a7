"""HTTPS from a daemon: what a client sees, also while certificates change."""

import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facaded.tls.certificate_files import CertificateFiles
from tests.process.daemon import Daemon, Registry, running, wait_until
from tests.process.handshakes import NAME, ask, connect, served_certificate
from tests.tls.authority import Authority, pem, put, trusting

SETTINGS = """
hosts = ["{name}"]
repositories = ["org/*"]
[tls]
acme_webroot = "{directory}/webroot"
public_port = 8443
[[tls.certificate]]
chain = "{directory}/live/fullchain.pem"
key = "{directory}/live/privkey.pem"
[[backend]]
name = "main"
url = "{main.url}"
"""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def main() -> Registry:
    return Registry("127.0.0.2").start()


@pytest.fixture
def daemon(tmp_path: Path, main: Registry) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, SETTINGS.format(name=NAME, directory=tmp_path, main=main))
    with running(daemon, main):
        yield daemon
        assert "Traceback" not in daemon.log
        assert "Unhandled" not in daemon.log


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> CertificateFiles:
    return authority.write(tmp_path / "live", NAME)


def test_https_answers_and_the_plain_port_redirects_to_it(
    daemon: Daemon, main: Registry, authority: Authority, files: CertificateFiles
) -> None:
    daemon.start()
    status, headers, _ = ask(daemon, "/v2/", trusting(authority, ("h2", "http/1.1")))
    assert (status, headers["Location"]) == (307, f"{main.url}/v2/")
    assert ask(daemon, "/v2/", trusting(authority), "other.test")[0] == 421
    status, headers, _ = daemon.get("/v2/org/app/tags/list?n=1", headers={"Host": NAME})
    assert (status, headers["Location"]) == (307, f"https://{NAME}:8443/v2/org/app/tags/list?n=1")
    challenges = daemon.directory / "webroot" / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "token").write_text("token.thumbprint")
    status, _, body = daemon.get("/.well-known/acme-challenge/token", headers={"Host": "any.test"})
    assert (status, body) == (200, b"token.thumbprint")
    assert daemon.stop() == 0


def test_it_starts_without_a_certificate_and_uses_the_one_that_appears(
    daemon: Daemon, authority: Authority, tmp_path: Path
) -> None:
    daemon.start()
    assert ask(daemon, "/v2/", trusting())[0] == 307
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(daemon, "/v2/", trusting(authority))
    document = daemon.status()["certificates"]
    assert [certificate["from"] for certificate in document] == [f"{tmp_path}/live/fullchain.pem", "self-signed"]
    assert "No such file" in document[0]["error"]
    files = authority.write(tmp_path / "live", NAME)
    took = daemon.wait_until(lambda: daemon.status()["certificates"][0]["error"] is None, "in service")
    assert took < 3.5, "one interval of looking, and a command or two"
    ask(daemon, "/v2/", trusting(authority))
    result = daemon.run("status")
    assert result.returncode == 0
    assert f"{NAME}: certificate expires " in result.stdout
    assert f"(by Lab CA, from {files.chain})" in result.stdout.replace("\n  ", " ")
    assert "self-signed" not in result.stdout


def test_a_key_that_others_can_read_is_refused(daemon: Daemon, files: CertificateFiles) -> None:
    files.key.chmod(0o644)
    daemon.spawn()
    assert daemon.process is not None
    assert daemon.process.wait(15) == 2
    daemon.process = None
    assert f"tls.certificate[0].key: {files.key} can be read by others: chmod o= {files.key}" in daemon.log


def test_a_reload_cannot_remove_tls(daemon: Daemon, authority: Authority, files: CertificateFiles) -> None:
    daemon.start()
    good = daemon.settings
    daemon.write_settings(good[: good.index("[tls]")] + good[good.index("[[backend]]") :])
    refused = daemon.run("reload")
    assert refused.returncode == 2
    assert "tls: it was added or removed, and listeners change only at a restart" in refused.stderr
    ask(daemon, "/v2/", trusting(authority))
    daemon.write_settings(good.replace("public_port = 8443", "redirect_http = false"))
    assert daemon.run("reload").returncode == 0
    assert daemon.get("/v2/", headers={"Host": NAME})[1]["X-Facaded-Backend"] == "main"


def test_curl_verifies_the_chain(
    needs: Callable[..., None], daemon: Daemon, authority: Authority, files: CertificateFiles, tmp_path: Path
) -> None:
    needs("curl")
    (tmp_path / "root.pem").write_bytes(pem(authority.root))
    daemon.start()
    place = ["--resolve", f"{NAME}:{daemon.https}:{daemon.host}", "--cacert", f"{tmp_path}/root.pem"]
    for version in ("--tls-max 1.2", "--tlsv1.3"):
        command = [
            "curl",
            "-si",
            *version.split(),
            *place,
            "-A",
            "containerd/2.1.9",
            f"https://{NAME}:{daemon.https}/v2/",
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert answer.startswith("HTTP/1.1 307 ")


def test_it_stops_although_a_client_does_not_read(daemon: Daemon, files: CertificateFiles) -> None:
    daemon.start()
    with connect(daemon, trusting()), socket.create_connection((daemon.host, daemon.https)):
        start = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - start < 8


def test_check_reads_the_certificates_and_tries_names_and_ports_with_probe(
    daemon: Daemon, authority: Authority, tmp_path: Path
) -> None:
    daemon.settings = daemon.settings.replace(f'"{NAME}"', '"localhost", "127.0.0.1"')
    daemon.write_settings()
    missing = f"warning: tls.certificate[0]: {tmp_path}/live/fullchain.pem cannot be read (No such file or directory)"
    assert missing in daemon.check()
    authority.write(tmp_path / "live", NAME)
    assert "warning: tls" not in daemon.check()
    with socket.create_server((daemon.host, daemon.https)):
        result = daemon.run("check", "--probe")
    assert result.returncode == 0
    warnings = [line for line in result.stdout.splitlines() if line.startswith("warning")]
    assert [warning.split(": ")[1] for warning in warnings] == ["backend", "listen.https"]
    assert "another program listens there" in " ".join(result.stdout.split())
    daemon.start()
    assert "warning: listen." not in daemon.check("--probe"), "its own ports are no reason to warn"


class Load:
    """About 50 new handshakes per second by several clients, each with one request."""

    RATE = 50
    CLIENTS = 5

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.answers: list[tuple[float, bytes]] = []
        self.failures: list[str] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send_requests) for _ in range(self.CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _send_requests(self) -> None:
        context = trusting()
        while not self._done.is_set():
            start = time.monotonic()
            try:
                with connect(self.daemon, context) as tls:
                    tls.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
                    assert tls.recv(100).startswith(b"HTTP/1.1 200 ")
                    self.answers.append((start, tls.getpeercert(binary_form=True) or b""))
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            self._done.wait(max(0.0, start + self.CLIENTS / self.RATE - time.monotonic()))


def rewrite(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    files.chain.write_bytes(pair[0])
    time.sleep(0.2)
    files.key.write_bytes(pair[1])


def swap(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    new = CertificateFiles(files.chain.with_name("2"), files.key.with_name("3"))
    put(new, *pair)
    new.key.replace(files.key)
    new.chain.replace(files.chain)


@pytest.mark.parametrize(("change", "trigger"), [(rewrite, "none"), (swap, "SIGHUP"), (swap, "reload")])
def test_under_load_no_handshake_fails_and_a_new_certificate_is_in_service_within_2_s(
    daemon: Daemon, authority: Authority, files: CertificateFiles, change: Callable[..., None], trigger: str
) -> None:
    daemon.start()
    old = served_certificate(daemon)
    with connect(daemon, trusting()) as connection, Load(daemon) as load:
        wait_until(lambda: len(load.answers) > 50, "a load")
        change(files, authority.issue(NAME))
        changed = time.monotonic()
        assert daemon.process is not None
        if trigger == "SIGHUP":
            daemon.process.send_signal(signal.SIGHUP)
        elif trigger == "reload":
            assert daemon.run("reload").returncode == 0
        time.sleep(3)
        connection.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 "), "an open connection continues"
    assert load.failures == []
    assert {certificate for start, certificate in load.answers if start < changed} == {old}
    late = [start - changed for start, certificate in load.answers if start > changed and certificate == old]
    assert max(late, default=0) < 2
    assert {certificate for start, certificate in load.answers if start > changed + 2} == {served_certificate(daemon)}
    assert served_certificate(daemon) != old
    print(json.dumps({"handshakes": len(load.answers), "old until": round(max(late, default=0), 2)}))


def test_a_client_that_connects_to_an_address_verifies_the_certificate_for_it(
    tmp_path: Path, main: Registry, authority: Authority
) -> None:
    addresses = ("127.0.0.21", "127.0.0.22")
    settings = f'hosts = ["{NAME}", "{addresses[0]}", "{addresses[1]}"]\nrepositories = ["org/*"]\n'
    for name in (NAME, *addresses):
        files = authority.write(tmp_path / name, name)
        settings += f'[[tls.certificate]]\nchain = "{files.chain}"\nkey = "{files.key}"\n'
    daemon = Daemon(tmp_path, f'{settings}[[backend]]\nname = "main"\nurl = "{main.url}"\n', "0.0.0.0")
    with running(daemon, main):
        daemon.start()
        for address in reversed(addresses):
            daemon.host = address
            assert ask(daemon, "/v2/", trusting(authority), address, address)[0] == 307
            assert daemon.get("/v2/", headers={"Host": address})[1]["Location"] == f"https://{address}/v2/"
        assert ask(daemon, "/v2/", trusting(authority))[0] == 307
        daemon.host = "127.0.0.23"
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            ask(daemon, "/v2/", trusting(authority), daemon.host, daemon.host)
