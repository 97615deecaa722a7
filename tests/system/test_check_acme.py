"""`facaded check --dry-run` with pebble, on ports 80 and 443 of loopback addresses."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from tests.process.daemon import Daemon, Registry, running
from tests.system.pebble import Pebble
from tests.system.test_acme import PEBBLE_ENVIRON

HOST, CA_HOST, MAIN_HOST = "127.4.3.1", "127.4.3.2", "127.4.3.3"

SETTINGS = """
hosts = ["{host}"]
repositories = ["org/*"]
[tls.acme]
agree_to_terms = true
{challenges}
[[tls.acme.ca]]
directory = "{ca.directory}"
ca_file = "{ca.ca_file}"
{staging}
[[backend]]
name = "main"
url = "{main}"
"""


@define
class CheckLab:
    """A CA, a registry, and the settings of a daemon whose name is its address."""

    pebble: Pebble
    main: Registry
    daemon: Daemon

    def write_settings(self, *, has_staging: bool = True, challenges: str = "") -> None:
        ca = self.pebble.authority
        staging = f'staging = "{ca.directory}"' if has_staging else ""
        parts = {"host": HOST, "challenges": challenges, "ca": ca, "staging": staging, "main": self.main.url}
        self.daemon.write_settings(SETTINGS.format(**parts))

    def check(self, option: str = "--dry-run") -> tuple[int, dict[str, Any]]:
        """Run the command; return its exit status and what it says about ACME."""
        completed = self.daemon.run("check", option, "--json")
        assert completed.stderr == ""
        acme: dict[str, Any] = json.loads(completed.stdout)["acme"]
        return completed.returncode, acme

    def is_finalized(self) -> bool:
        return "/finalize-order/" in self.pebble.log


@pytest.fixture
def lab(needs: Callable[..., None], tmp_path: Path) -> Iterator[CheckLab]:
    needs("pebble", "pebble-challtestsrv", root=True)
    daemon = Daemon(tmp_path, "", HOST, port=80, https=443)
    pebble = Pebble(tmp_path / "pebble", CA_HOST, 80, 443, HOST, dict(PEBBLE_ENVIRON))
    lab = CheckLab(pebble, Registry(MAIN_HOST).start(), daemon)
    with running(daemon, lab.main):
        try:
            pebble.start()
            yield lab
            assert "Traceback" not in daemon.log
        finally:
            pebble.stop()


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_without_a_daemon_the_command_answers_and_no_certificate_is_issued(lab: CheckLab, challenge: str) -> None:
    lab.write_settings(challenges=f'challenges = ["{challenge}"]')
    status, acme = lab.check()
    assert status == 0
    port = {"tls-alpn-01": 443, "http-01": 80}[challenge]
    assert [(one["address"], one["port"], one["problem"]) for one in acme["ports"]] == [(HOST, port, None)]
    assert [(run["authorized_by"], run["failures"]) for run in acme["dry_runs"]] == [(challenge, [])]
    assert acme["answered_by"] == "this command, because no daemon runs"
    assert not lab.is_finalized()
    assert not (lab.daemon.directory / "state" / "acme").exists(), "the daemon's files are untouched"
    text = lab.daemon.check("--dry-run")
    assert f"dry run for {HOST}: OK, authorized by {challenge} at {lab.pebble.authority.directory}" in text
    with socket.create_server((HOST, port)):
        pass  # the port is closed again


def test_a_running_daemon_answers_and_its_own_certificate_stays(lab: CheckLab) -> None:
    lab.write_settings()
    lab.daemon.start()
    lab.daemon.wait_until(lambda: lab.daemon.status()["certificates"][0]["issuer"], "the certificate")
    before = lab.daemon.status()["certificates"]
    finalized = lab.pebble.log.count("/finalize-order/")
    status, acme = lab.check()
    assert status == 0
    assert [(one["port"], one["problem"]) for one in acme["ports"]] == [(443, None), (80, None)]
    assert [run["authorized_by"] for run in acme["dry_runs"]] == ["tls-alpn-01"]
    assert acme["answered_by"] == "the running daemon"
    assert lab.pebble.log.count("/finalize-order/") == finalized
    after = lab.daemon.status()["certificates"]
    assert [one["not_after"] for one in after] == [one["not_after"] for one in before]
    assert [one["error"] for one in after] == [None]


def test_a_port_that_another_program_has_is_said_and_the_other_kind_is_tested(lab: CheckLab) -> None:
    lab.write_settings()
    with socket.create_server((HOST, 443)):
        status, acme = lab.check()
    assert status == 0
    assert acme["untested"][0].startswith("tls-alpn-01: listen.https: ")
    assert [run["authorized_by"] for run in acme["dry_runs"]] == ["http-01"]
    lab.pebble.stop_pebble()
    status, acme = lab.check("--probe")
    assert status == 1
    assert "connection refused" in acme["authorities"][0]["problem"]
    assert [one["problem"] for one in acme["ports"]] == [None, None]


def test_without_any_port_a_dry_run_is_bad_news(lab: CheckLab) -> None:
    lab.write_settings()
    with socket.create_server((HOST, 443)), socket.create_server((HOST, 80)):
        status, acme = lab.check()
        assert (status, acme["dry_runs"], len(acme["untested"])) == (1, [], 2)
        assert lab.check("--probe")[0] == 0


def test_each_address_of_a_name_is_told_apart(lab: CheckLab) -> None:
    """The CA's DNS server leads every name to the daemon, this machine's resolver leads localhost elsewhere."""
    lab.write_settings()
    lab.daemon.write_settings(lab.daemon.settings.replace(f'hosts = ["{HOST}"]', 'hosts = ["localhost"]'))
    status, acme = lab.check()
    refused = {(one["address"], one["port"]) for one in acme["ports"] if one["problem"] == "connection refused"}
    assert {("127.0.0.1", 80), ("127.0.0.1", 443)} <= refused
    assert [run["authorized_by"] for run in acme["dry_runs"]] == ["tls-alpn-01"]
    assert status == 0, "the CA's view counts"


def test_a_ca_without_a_known_staging_directory_gets_no_order(lab: CheckLab) -> None:
    lab.write_settings(has_staging=False)
    status, acme = lab.check()
    assert (status, acme["dry_runs"]) == (0, [])
    assert acme["untested"] == [
        f"no order at {lab.pebble.authority.directory}: it has no known staging directory; if it has one, set `staging`"
    ]
    assert "Added order" not in lab.pebble.log
