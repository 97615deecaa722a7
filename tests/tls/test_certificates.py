"""Certificates from ACME, the self-signed certificate, and the status of all certificates."""

from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.logger import LogEvent

from facaded.tls import selfsigned
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.server_certificate import UnusableError, parse
from tests.tls.authority import NOW, Authority, rsa_key, trusting
from tests.tls.served import HOSTS, ORDER, CertificatesHarness


def test_the_self_signed_certificate_answers_until_there_is_another(authority: Authority) -> None:
    harness = CertificatesHarness()
    client = harness.client()
    assert client.certificate.issuer.rfc4514_string().endswith(selfsigned.NAME.replace(",", "\\,"))
    extension = client.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in extension] == list(HOSTS)
    assert [report["from"] for report in harness.certificates.document()] == ["self-signed"]
    assert harness.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")}) == ()
    harness.client(context=trusting(authority))
    assert [report["from"] for report in harness.certificates.document()] == ["ACME"]
    assert harness.client(None).names == {"docker.lab.test"}


def test_a_host_without_a_certificate_gets_the_self_signed_one(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "a.lab.test"), hosts=("a.lab.test", "b.lab.test"))
    assert harness.client("a.lab.test").names == {"a.lab.test"}
    assert harness.client("b.lab.test").names == {"a.lab.test", "b.lab.test"}
    assert harness.client("c.lab.test").names == {"a.lab.test"}


def test_a_valid_wildcard_answers_before_a_self_signed_or_expired_certificate_for_the_name(
    authority: Authority, tmp_path: Path
) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "*.lab.test"), hosts=("docker.lab.test", "other.test"))
    assert harness.client("docker.lab.test").names == {"*.lab.test"}
    assert harness.client("other.test").names == {"docker.lab.test", "other.test"}
    expired = authority.certificate("docker.lab.test", ends=NOW - timedelta(days=1))
    harness.certificates.replace_obtained({ORDER: expired})
    assert harness.client("docker.lab.test").names == {"*.lab.test"}
    harness.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    assert harness.client("docker.lab.test").names == {"docker.lab.test"}, "a valid one for the very name comes first"


def test_the_self_signed_certificate_also_answers_without_hosts() -> None:
    assert (
        CertificatesHarness(hosts=()).client().certificate.issuer
        == CertificatesHarness(hosts=()).client().certificate.subject
    )


def test_certificates_from_files_take_precedence_over_obtained_ones(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "a.lab.test"))
    names = ("a.lab.test", "b.lab.test")
    first = authority.certificate(*names)
    harness.certificates.replace_obtained({names: first})
    context = harness.certificates.choose("b.lab.test").context
    assert harness.client("a.lab.test").names == {"a.lab.test"}
    assert harness.client("b.lab.test").names == {"a.lab.test", "b.lab.test"}
    harness.certificates.replace_obtained({names: first, ("c.lab.test",): authority.certificate("c.lab.test")})
    assert harness.certificates.choose("b.lab.test").context is context
    assert harness.client("c.lab.test").names == {"c.lab.test"}


def test_an_unusable_certificate_from_acme_leaves_the_previous_one_in_service(authority: Authority) -> None:
    harness = CertificatesHarness()
    harness.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    before = harness.served()
    bad = evolve(authority.certificate("docker.lab.test"), key=authority.certificate("docker.lab.test").key)
    other = authority.certificate("c.lab.test")
    messages = harness.certificates.replace_obtained({ORDER: bad, ("c.lab.test",): other})
    assert len(messages) == 1
    assert messages[0].startswith("docker.lab.test: OpenSSL rejects the certificate (key values mismatch)")
    assert harness.served() == before
    assert harness.client("c.lab.test").names == {"c.lab.test"}


def test_the_document_merges_orders_with_their_certificates(authority: Authority) -> None:
    harness = CertificatesHarness()
    harness.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    orders = OrderStatus(ORDER, next_renewal=5.0), OrderStatus(("new.lab.test",), error="the CA is down")
    first, second = harness.certificates.document(orders)[:2]
    assert (first["names"], first["next_renewal"], first["error"]) == (["docker.lab.test"], 5.0, None)
    assert (second["names"], second["until"], second["error"]) == (["new.lab.test"], None, "the CA is down")


def test_a_chain_that_openssl_would_reject_in_a_handshake_is_rejected_before(authority: Authority) -> None:
    """The leaf is valid; OpenSSL checks the rest of a chain only when it sends it."""
    harness = CertificatesHarness()
    harness.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    before = harness.client().certificate
    leaf, key = authority.issue("docker.lab.test")
    weak, _ = Authority().issue("weak.lab.test", key=rsa_key(1024))
    first_block = leaf.partition(b"-----END CERTIFICATE-----\n")
    messages = harness.certificates.replace_obtained({ORDER: parse(b"".join(first_block[:2]) + weak, key)})
    assert len(messages) == 1
    assert "OpenSSL rejects the certificate" in messages[0]
    assert harness.client().certificate == before
    report = next(report for report in harness.certificates.document() if report["names"] == list(ORDER))
    assert "OpenSSL rejects" in report["error"]


def test_a_key_that_many_clients_cannot_use_is_refused(authority: Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnusableError, match="use an ECDSA or RSA key"):
        parse(authority.issue("docker.lab.test")[0], key_pem)


def test_another_certificate_for_the_name_replaces_an_expired_one(
    authority: Authority, no_errors_are_logged: list[LogEvent]
) -> None:
    harness = CertificatesHarness()
    short = authority.certificate("docker.lab.test", ends=NOW + timedelta(seconds=5))
    names = ("docker.lab.test", "b.lab.test")
    harness.certificates.replace_obtained({ORDER: short, names: authority.certificate(*names)})
    assert harness.client().names == {"docker.lab.test"}
    harness.pass_time(8)
    assert harness.client().names == {"docker.lab.test", "b.lab.test"}
    assert len(no_errors_are_logged) == 1, "it has expired"
    no_errors_are_logged.clear()


def test_the_document_has_more_fields_for_certificates_from_acme(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "a.lab.test"), hosts=("b.lab.test",))
    certificate = authority.certificate("docker.lab.test")
    harness.certificates.replace_obtained({ORDER: certificate})
    order = OrderStatus(
        ORDER, "Lab CA", 1.0, 0.5, 2.0, True, 5.0, 6.0, "https://ca.test/why", "no", 3.0, 4, "https://ca.test/directory"
    )
    from_files, obtained, self_signed = harness.certificates.document([order])
    fields = ["names", "issuer", "until", "remaining", "expired", "expires_soon", "from", "next_renewal", "error"]
    assert list(from_files) == list(self_signed) == fields
    assert (from_files["names"], from_files["from"]) == (["a.lab.test"], str(tmp_path / "fullchain.pem"))
    assert obtained == {
        "names": ["docker.lab.test"],
        "issuer": "Lab CA",
        "until": certificate.validity.end,
        "remaining": from_files["remaining"],
        "expired": False,
        "expires_soon": True,
        "from": "ACME",
        "next_renewal": 2.0,
        "error": "no",
        "not_after": 1.0,
        "due": 0.5,
        "overdue": True,
        "suggested_from": 5.0,
        "suggested_until": 6.0,
        "suggested_because": "https://ca.test/why",
        "error_at": 3.0,
        "attempts": 4,
        "ca": "https://ca.test/directory",
    }
