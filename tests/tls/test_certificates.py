"""Certificates that ACME obtains, the self-signed one, and what is shown of them all."""

from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from facaded.tls import selfsigned
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.server_certificate import UnusableError, parse
from tests.tls.authority import NOW, Authority, rsa_key, trusting
from tests.tls.served import HOSTS, ORDER, Service


def test_a_self_signed_one_answers_until_there_is_another(authority: Authority) -> None:
    service = Service()
    client = service.client()
    assert client.certificate.issuer.rfc4514_string().endswith(selfsigned.NAME.replace(",", "\\,"))
    shown = client.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in shown] == list(HOSTS)
    assert [each["from"] for each in service.certificates.document()] == ["self-signed"]
    assert service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")}) == ()
    service.client(context=trusting(authority))
    assert [each["from"] for each in service.certificates.document()] == ["ACME"]
    assert service.client(None).names == {"docker.lab.test"}


def test_a_host_without_a_certificate_of_its_own_has_the_self_signed_one(authority: Authority, tmp_path: Path) -> None:
    service = Service(authority.write(tmp_path, "a.lab.test"), hosts=("a.lab.test", "b.lab.test"))
    assert service.client("a.lab.test").names == {"a.lab.test"}
    assert service.client("b.lab.test").names == {"a.lab.test", "b.lab.test"}
    assert service.client("c.lab.test").names == {"a.lab.test"}


def test_without_hosts_the_self_signed_one_answers_too() -> None:
    assert Service(hosts=()).client().certificate.issuer == Service(hosts=()).client().certificate.subject


def test_obtained_ones_stand_beside_those_from_files_which_go_first(authority: Authority, tmp_path: Path) -> None:
    service = Service(authority.write(tmp_path, "a.lab.test"))
    names = ("a.lab.test", "b.lab.test")
    first = authority.certificate(*names)
    service.certificates.replace_obtained({names: first})
    context = service.certificates.chosen("b.lab.test").context
    assert service.client("a.lab.test").names == {"a.lab.test"}
    assert service.client("b.lab.test").names == {"a.lab.test", "b.lab.test"}
    service.certificates.replace_obtained({names: first, ("c.lab.test",): authority.certificate("c.lab.test")})
    assert service.certificates.chosen("b.lab.test").context is context
    assert service.client("c.lab.test").names == {"c.lab.test"}


def test_an_obtained_one_that_cannot_be_used_leaves_the_one_before(authority: Authority) -> None:
    service = Service()
    service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    before = service.shown()
    bad = evolve(authority.certificate("docker.lab.test"), key=authority.certificate("docker.lab.test").key)
    other = authority.certificate("c.lab.test")
    said = service.certificates.replace_obtained({ORDER: bad, ("c.lab.test",): other})
    assert len(said) == 1
    assert said[0].startswith("docker.lab.test: OpenSSL does not accept the certificate (key values mismatch)")
    assert service.shown() == before
    assert service.client("c.lab.test").names == {"c.lab.test"}


def test_what_is_known_of_orders_is_shown_with_what_they_got(authority: Authority) -> None:
    service = Service()
    service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    more = OrderStatus(ORDER, next_renewal=5.0), OrderStatus(("new.lab.test",), error="the CA is down")
    first, second = service.certificates.document(more)[:2]
    assert (first["names"], first["next_renewal"], first["error"]) == (["docker.lab.test"], 5.0, None)
    assert (second["names"], second["until"], second["error"]) == (["new.lab.test"], None, "the CA is down")


def test_a_chain_that_openssl_would_refuse_in_a_handshake_is_not_taken(authority: Authority) -> None:
    """The certificate itself is good; OpenSSL looks at the others of a chain only when it sends them."""
    service = Service()
    service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    before = service.client().certificate
    leaf, key = authority.issue("docker.lab.test")
    weak, _ = Authority().issue("weak.lab.test", key=rsa_key(1024))
    first = leaf.partition(b"-----END CERTIFICATE-----\n")
    said = service.certificates.replace_obtained({ORDER: parse(b"".join(first[:2]) + weak, key)})
    assert len(said) == 1
    assert "OpenSSL does not accept the certificate" in said[0]
    assert service.client().certificate == before
    shown = next(each for each in service.certificates.document() if each["names"] == list(ORDER))
    assert "OpenSSL does not accept" in shown["error"]


def test_a_key_that_many_clients_cannot_use_is_refused(authority: Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnusableError, match="make an ECDSA or an RSA key"):
        parse(authority.issue("docker.lab.test")[0], key_pem)


def test_an_obtained_certificate_that_expires_gives_way_to_another_for_its_name(authority: Authority) -> None:
    service = Service()
    short = authority.certificate("docker.lab.test", ends=NOW + timedelta(seconds=5))
    names = ("docker.lab.test", "b.lab.test")
    service.certificates.replace_obtained({ORDER: short, names: authority.certificate(*names)})
    assert service.client().names == {"docker.lab.test"}
    service.pass_time(8)
    assert service.client().names == {"docker.lab.test", "b.lab.test"}


def test_the_status_document_says_more_of_a_certificate_that_acme_orders(authority: Authority, tmp_path: Path) -> None:
    service = Service(authority.write(tmp_path, "a.lab.test"), hosts=("b.lab.test",))
    certificate = authority.certificate("docker.lab.test")
    service.certificates.replace_obtained({ORDER: certificate})
    order = OrderStatus(ORDER, "Lab CA", 1.0, 2.0, "https://ca.test/why", "no", 3.0, 4, "https://ca.test/directory")
    from_files, obtained, self_signed = service.certificates.document([order])
    every = ["names", "issuer", "until", "expired", "expires_soon", "from", "next_renewal", "error"]
    assert list(from_files) == list(self_signed) == every
    assert (from_files["names"], from_files["from"]) == (["a.lab.test"], str(tmp_path / "fullchain.pem"))
    assert obtained == {
        "names": ["docker.lab.test"],
        "issuer": "Lab CA",
        "until": certificate.life.ends,
        "expired": False,
        "expires_soon": False,
        "from": "ACME",
        "next_renewal": 2.0,
        "error": "no",
        "not_after": 1.0,
        "suggested_because": "https://ca.test/why",
        "error_at": 3.0,
        "attempts": 4,
        "ca": "https://ca.test/directory",
    }
