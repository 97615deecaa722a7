"""The certificate that a client gets, and the protocols that are spoken with it."""

import ssl
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tls.authority import Authority, handshake, rsa_key, trusting
from tests.tls.served import CertificatesHarness


def test_a_client_gets_the_certificate_for_its_name(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(
        authority.write(tmp_path / "a", "a.lab.test", "b.lab.test"),
        authority.write(tmp_path / "wild", "*.lab.test"),
        authority.write(tmp_path / "c", "c.lab.test", key=rsa_key()),
    )
    for name, expected in {
        "a.lab.test": "a.lab.test",
        "B.Lab.Test": "a.lab.test",
        "other.lab.test": "*.lab.test",
        "c.lab.test": "c.lab.test",
        "two.labels.lab.test": "a.lab.test",
        "lab.test": "a.lab.test",
        "unknown.test": "a.lab.test",
        "192.0.2.1": "a.lab.test",
        None: "a.lab.test",
    }.items():
        assert expected in harness.client(name).names, name


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_the_whole_chain_is_sent_and_verifies(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, kind: str
) -> None:
    harness = CertificatesHarness(
        authority.write(tmp_path, "docker.lab.test", key=rsa_key() if kind == "RSA" else None)
    )
    client = harness.client(context=trusting(authority, versions=(version, version)))
    assert client.tls.version() == version.name.replace("_", ".")
    cipher = client.tls.cipher()
    assert cipher is not None
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]


def test_the_cheapest_suite_of_tls_1_3_is_preferred(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test"))
    cipher = harness.client().tls.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_AES_128_GCM_SHA256"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test"))
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = version, version
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        harness.client(context=context)


def test_suites_without_forward_secrecy_are_refused(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test", key=rsa_key()))
    context = trusting(versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2))
    for suites in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
        context.set_ciphers(suites)
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
            harness.client(context=context)


@pytest.mark.parametrize(
    ("offered", "chosen"), [((), None), (("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "http/1.1")]
)
def test_only_http_1_1_is_spoken(
    authority: Authority, tmp_path: Path, offered: tuple[str, ...], chosen: str | None
) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test"))
    assert harness.client(context=trusting(protocols=offered)).tls.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("offered", ["h2", "acme-tls/1"])
def test_a_client_without_http_1_1_gets_an_alert(authority: Authority, tmp_path: Path, offered: str) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test"))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        harness.client(context=trusting(protocols=(offered,)))
    assert harness.client().names == {"docker.lab.test"}, "the next handshake works"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed(authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test"))
    context = trusting(versions=(version, version))
    first = harness.client(context=context)
    first.server.send(b"x")
    first.incoming.write(first.server.bio_read(1 << 16))
    assert first.tls.read(1) == b"x", "any TLS 1.3 tickets have been read before the data"
    server = harness.certificates.new_connection()
    second = handshake(server, context, "docker.lab.test", session=first.tls.session)
    assert not second.tls.session_reused


def test_200_pairs_of_files_load_quickly_and_each_name_gets_its_own(authority: Authority, tmp_path: Path) -> None:
    files = [authority.write(tmp_path / str(n), f"n{n}.lab.test", key=rsa_key()) for n in range(200)]
    start = time.process_time()
    harness = CertificatesHarness(*files)
    assert time.process_time() - start < 2
    for number in range(200):
        assert harness.client(f"n{number}.lab.test").names == {f"n{number}.lab.test"}


def test_a_handshake_with_200_certificates_costs_as_much_as_with_one(authority: Authority, tmp_path: Path) -> None:
    files = [authority.write(tmp_path / str(n), f"n{n}.lab.test") for n in range(200)]
    costs = []
    for harness in (CertificatesHarness(files[-1]), CertificatesHarness(*files)):
        harness.client("n199.lab.test")
        with CountedCalls() as calls:
            harness.client("n199.lab.test")
        costs.append(calls)
    assert costs[0] == costs[1]
    assert "open" not in costs[0]


class CountedCalls:
    """Counts the calls of facaded's functions and the files opened within its block."""

    def __enter__(self) -> dict[str, int]:
        self.calls: dict[str, int] = {}
        self.is_active = True
        sys.addaudithook(self._audit)
        sys.setprofile(self._called)
        return self.calls

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self.is_active = False

    def _called(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call" and "facaded" in frame.f_code.co_filename:
            self._count(frame.f_code.co_name)

    def _audit(self, event: str, _: object) -> None:
        if self.is_active and event in ("open", "os.listdir", "os.scandir"):
            self._count("open")

    def _count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1


IDENTIFIER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"), b"\x04\x20" + bytes(32))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("in_service", ["RSA", "ECDSA", "self-signed"])
def test_only_a_validator_gets_the_pending_challenge(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, in_service: str
) -> None:
    key = rsa_key() if in_service == "RSA" else ec.generate_private_key(ec.SECP256R1())
    files = [] if in_service == "self-signed" else [authority.write(tmp_path, "docker.lab.test", key=key)]
    harness = CertificatesHarness(*files)
    for challenge_key in (rsa_key(), ec.generate_private_key(ec.SECP256R1())):
        chain, _ = authority.issue("docker.lab.test", key=challenge_key, extension=IDENTIFIER)
        harness.challenges.add_alpn("docker.lab.test", chain, challenge_key)
    validator = trusting(protocols=("acme-tls/1",), versions=(version, version))
    client = harness.client(context=validator)
    assert client.tls.selected_alpn_protocol() == "acme-tls/1"
    assert client.certificate.extensions.get_extension_for_oid(IDENTIFIER.oid).critical
    ordinary = harness.client(context=trusting(protocols=("http/1.1",), versions=(version, version)))
    assert IDENTIFIER.oid not in [extension.oid for extension in ordinary.certificate.extensions]
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        harness.client("other.lab.test", context=validator)
    harness.challenges.remove_alpn("docker.lab.test")
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        harness.client(context=validator)
