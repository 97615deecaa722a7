"""Several daemons with one directory: one of them orders, all of them answer challenges and serve the certificate."""

import hashlib
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from facaded.tls.acme import keys
from facaded.tls.acme.challenge_files import LEFT_OVER, ChallengeFiles
from facaded.tls.acme.schedule import MINUTE
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import IDENTIFIER, Challenges, OrderChallenges, rsa_key
from tests.tls.acme.memory import NAME, AcmeHarness, CreateHarness
from tests.tls.acme.test_restarts import kill
from tests.tls.authority import Authority, trusting
from tests.tls.served import CertificatesHarness

ANSWER = f"token.{'x' * 43}"


def share(create: CreateHarness) -> AcmeHarness:
    harness = create()
    harness.shared = True
    harness.restart()
    return harness


def test_a_certificate_is_served_by_the_other_daemon_within_five_seconds(create: CreateHarness) -> None:
    harness = share(create)
    other = harness.acme
    harness.restart()
    harness.acme.startService()
    harness.network.pass_time(60)
    first = harness.certificate
    assert first is not None
    other.startService()
    harness.network.pass_time(1)
    harness.acme.renew()
    harness.network.pass_time(5)
    assert harness.certificate != first
    assert other.current()[NAME,] == harness.certificate
    assert len(harness.ca.issued) == 2
    other.stopService()


def test_another_daemon_takes_over_within_a_minute_and_finishes_the_order(create: CreateHarness) -> None:
    harness = share(create)
    harness.ca.slow_issuance = 50
    harness.start(20)
    assert harness.ca.requests.count("order") == 1
    kill(harness)
    harness.start(MINUTE)
    assert harness.certificate is not None
    assert (harness.ca.requests.count("order"), len(harness.ca.issued)) == (1, 1)


def test_no_daemon_undoes_what_another_has_recorded(create: CreateHarness) -> None:
    harness = share(create)
    other = harness.acme
    harness.restart()
    harness.acme.startService()
    other.startService()
    harness.network.pass_time(60)
    harness.acme.renew()
    harness.network.pass_time(60)
    harness.network.sleep(5 * 86400)
    (path,) = harness.directory.rglob("ledger.json")
    assert path.read_text().count(str(int(harness.ca.issued[1]))) >= 1
    assert harness.acme.status()[0].due == pytest.approx(other.status()[0].due, abs=2 * 86400)
    other.stopService()


def test_answers_are_in_the_directory_while_they_are_pending(tmp_path: Path) -> None:
    files, reader = ChallengeFiles(tmp_path / "acme"), ChallengeFiles(tmp_path / "acme")
    orders = OrderChallenges(Challenges(), files)
    orders.publish(ChallengeKind.HTTP, NAME, "token", ANSWER)
    orders.publish(ChallengeKind.TLS_ALPN, NAME, "token", ANSWER)
    assert reader.find(ChallengeKind.HTTP, "token") == ANSWER
    assert reader.find(ChallengeKind.TLS_ALPN, NAME) == f"{ANSWER} {NAME}"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o600}
    orders.withdraw()
    assert reader.find(ChallengeKind.HTTP, "token") is None
    assert reader.find(ChallengeKind.TLS_ALPN, NAME) is None


@pytest.mark.parametrize("subject", ["", ".", "..", "../http-01/token", "a/b", "x" * 300, "\x00", "é"])
def test_no_subject_leads_to_another_file(tmp_path: Path, subject: str) -> None:
    files = ChallengeFiles(tmp_path / "acme")
    files.publish(ChallengeKind.HTTP, "token", ANSWER)
    assert files.find(ChallengeKind.HTTP, subject) is None


def test_what_is_no_answer_is_not_sent(tmp_path: Path) -> None:
    files = ChallengeFiles(tmp_path / "acme")
    files.publish(ChallengeKind.HTTP, "token", "<script>")
    assert files.find(ChallengeKind.HTTP, "token") is None


def test_what_a_killed_daemon_has_left_is_removed(tmp_path: Path) -> None:
    files = ChallengeFiles(tmp_path / "acme")
    for token in ("old", "new"):
        files.publish(ChallengeKind.HTTP, token, ANSWER)
    old = tmp_path / "acme" / "challenges" / "http-01" / "old"
    os.utime(old, (old.stat().st_mtime - LEFT_OVER - 1,) * 2)
    files.tidy()
    assert files.find(ChallengeKind.HTTP, "old") is None
    assert files.find(ChallengeKind.HTTP, "new") == ANSWER


def test_an_unknown_token_is_looked_up_in_the_directory(tmp_path: Path) -> None:
    files, challenges = ChallengeFiles(tmp_path / "acme"), Challenges()
    files.publish(ChallengeKind.HTTP, "token", ANSWER)
    assert challenges.answer("token") is None
    challenges.other_daemons = files
    assert challenges.answer("token") == ANSWER.encode()
    assert challenges.answer("other") is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("in_service", ["RSA", "ECDSA"])
def test_a_handshake_for_a_challenge_of_another_daemon_is_answered(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, in_service: str
) -> None:
    key = rsa_key() if in_service == "RSA" else keys.new()
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test", key=key))
    harness.challenges.other_daemons = files = ChallengeFiles(tmp_path / "acme")
    validator = trusting(protocols=("acme-tls/1",), versions=(version, version))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        harness.client(context=validator)
    files.publish(ChallengeKind.TLS_ALPN, "docker.lab.test", ANSWER)
    client = harness.client(context=validator)
    assert client.tls.selected_alpn_protocol() == "acme-tls/1"
    proof = client.certificate.extensions.get_extension_for_oid(IDENTIFIER).value
    assert isinstance(proof, x509.UnrecognizedExtension)
    assert proof.value == b"\x04\x20" + hashlib.sha256(ANSWER.encode()).digest()
