"""The manual's page of certificates: its settings load, its commands exist, its examples are what facaded prints."""

import re
import stat
from pathlib import Path

import pytest

from facaded.authorities import AuthorityReport
from facaded.cli import command_line
from facaded.cli.acme_check import NOT_ORDERED, AcmeReport
from facaded.cli.acme_text import acme_lines
from facaded.config.schema import SETTINGS
from facaded.own_ports import PortReport
from facaded.tls.acme.dry_runs import DryRun
from facaded.tls.acme.ledger import FAILURES_AN_HOUR
from facaded.tls.acme.public_authorities import ADDRESS_PROFILE, LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from facaded.tls.acme.schedule import RENEWAL_FRACTION
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.certificate_files import OTHERS, describe_open_key
from facaded.tls.certificates import POLL_INTERVAL
from tests.config.reading import TWO, read
from tests.test_security_manual import keys

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "facaded" / "manual" / "certificates.md").read_text()
SETTINGS_BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
TERMS = "https://letsencrypt.org/documents/LE-SA-v1.5-February-24-2025.pdf"
NAME, V4, V6 = "docker.example.com", "203.0.113.7", "2001:db8::7"


@pytest.mark.parametrize("block", SETTINGS_BLOCKS)
def test_the_settings_can_be_used_and_give_no_advice_about_tls(block: str, tmp_path: Path) -> None:
    public = block.replace(V4, "8.8.8.8").replace(V6, "2606:4700:4700::1111")  # those of the page are for documentation
    loaded = read(public + TWO, tmp_path)
    assert loaded.config.hosts
    assert [warning for warning in loaded.warnings if warning.startswith("tls")] == []


def test_the_ways_in_the_table_are_sections() -> None:
    links = re.findall(r"^\| \[.*?\]\(#(.*?)\)", PAGE, re.MULTILINE)
    sections = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)]
    assert len(links) == 5
    assert [section for section in sections if section in links] == links
    assert set(re.findall(r"\(#(.*?)\)", PAGE)) <= {*sections}


@pytest.mark.parametrize("command", sorted({*re.findall(r"(?:/bin/|`)facaded ([a-z]+(?: --[a-z-]+)?)", PAGE)}))
def test_every_command_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, _, option = command.partition(" ")
    assert command_line.main([name, "--help"]) == 0
    assert option in capsys.readouterr().out


@pytest.mark.parametrize("key", sorted({*re.findall(r"`((?:listen|state|tls)\.[a-z_]+)`", PAGE), "staging", "hosts"}))
def test_a_named_setting_exists(key: str) -> None:
    assert key in {*keys(SETTINGS)}


def test_the_example_of_a_dry_run_is_what_facaded_prints() -> None:
    report = AcmeReport(
        (AuthorityReport(LETS_ENCRYPT, TERMS),),
        (PortReport(NAME, V4, 443), PortReport(NAME, V6, 443, "connection refused"), PortReport(NAME, V4, 80)),
        (DryRun((NAME,), LETS_ENCRYPT_STAGING, "tls-alpn-01"),),
        "the running daemon",
        (NOT_ORDERED,),
    )
    assert "```text\n" + "\n".join(acme_lines(report)) + "\n```" in PAGE


def test_the_command_for_certbot_is_that_of_the_hook() -> None:
    hook = (ROOT / "conf" / "certbot-deploy-hook").read_text()
    (certonly,) = [command for command in COMMANDS if "certbot certonly" in command]
    assert certonly.removeprefix("sudo ") in hook


def test_the_figures_are_those_of_the_code() -> None:
    assert f"allows {FAILURES_AN_HOUR + 1} failed authorizations of a name in an hour" in PAGE
    assert f"within {2 * POLL_INTERVAL:.0f} s of a change" in PAGE
    assert RENEWAL_FRACTION == 1 / 3
    assert "when a third of its life is left" in PAGE
    assert f'its profile "{ADDRESS_PROFILE}" only' in PAGE
    for kind in ChallengeKind:
        assert f"| {kind.port} | `{kind.value}` |" in PAGE


def test_the_mode_of_a_secret_is_the_one_that_the_error_names() -> None:
    (mode,) = re.findall(r"defaultMode: (0\d+)", PAGE)
    assert f"defaultMode: {mode}" in describe_open_key(Path("/etc/facaded/tls/tls.key"))
    assert int(mode, 8) == int(re.findall(r"`defaultMode` is (\d+)", PAGE)[0]) == stat.S_IRUSR | stat.S_IRGRP
    assert not int(mode, 8) & OTHERS
