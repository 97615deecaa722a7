"""Whether what came is what was asked for."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from facaded.tls.acme import issued, keys
from facaded.tls.acme.schedule import HOUR

NOW = 1_800_000_000.0
KEY, ISSUER = keys.new(), keys.new()
NAMES = ("a.test", "b.test")


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    key: ec.EllipticCurvePrivateKey = KEY,
    signer: ec.EllipticCurvePrivateKey = ISSUER,
    names: tuple[x509.GeneralName, ...] = tuple(map(x509.DNSName, NAMES)),
    serial: int = 0x87654321,
    authority: bytes | None = bytes.fromhex("69885B6B87468647E185E47AC0A1F1A1B5DD8ACE"),
    ca: bool = False,
    hours: float = 1,
) -> bytes:
    at = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name("root" if ca else "leaf"))
        .issuer_name(name("root"))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(at)
        .not_valid_after(at + timedelta(hours=hours))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(authority, None, None), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


ROOT = certificate(key=ISSUER, names=(), ca=True)


def test_a_chain_is_not_taken_when_one_of_its_certificates_has_ended() -> None:
    found = issued.read(certificate(hours=2) + ROOT, keys.pem(KEY))
    issued.check(found, NAMES, NOW)
    with pytest.raises(ValueError, match="a chain with a certificate that is not valid now"):
        issued.check(found, NAMES, NOW + 1.5 * HOUR)


def test_a_certificate_for_less_than_an_hour_is_not_taken() -> None:
    with pytest.raises(ValueError, match="for less than an hour"):
        issued.check(issued.read(certificate(hours=0.9), keys.pem(KEY)), NAMES, NOW)


def test_a_chain_is_read() -> None:
    found = issued.read(certificate() + ROOT, keys.pem(KEY))
    assert (found.names, found.issuer) == (NAMES, "root")
    assert (found.life.begins, found.life.ends) == (NOW, NOW + HOUR)
    assert found.chain_pem.count(b"BEGIN") == 2
    issued.check(found, NAMES, NOW)


def test_only_certificates_are_kept_of_what_came() -> None:
    found = issued.read(b"evil\n" + certificate() + b"\x00\x1b", keys.pem(KEY))
    assert found.chain_pem == certificate_of(found.chain_pem)


def certificate_of(chain: bytes) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in x509.load_pem_x509_certificates(chain))


def test_the_identifier_for_renewals_is_as_rfc_9773_prints_it() -> None:
    """§4.1's own example: a serial number whose first bit is set has a zero byte before it."""
    assert issued.read(certificate(), keys.pem(KEY)).identifier == "aYhba4dGhkfhheR6wKHxobXdis4.AIdlQyE"
    assert issued.read(certificate(serial=0x7F), keys.pem(KEY)).identifier == "aYhba4dGhkfhheR6wKHxobXdis4.fw"


def test_without_its_issuer_s_identifier_a_certificate_has_none() -> None:
    assert issued.read(certificate(authority=None), keys.pem(KEY)).identifier is None


def test_a_certificate_without_names_is_for_none() -> None:
    assert issued.read(certificate(names=()), keys.pem(KEY)).names == ()


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        (certificate(key=keys.new()), "another key"),
        (certificate(signer=keys.new()) + ROOT, "did not sign each other"),
        (ROOT + certificate(), "another key"),
        (b"", "no chain"),
        (certificate() * 11, "no chain"),
        (certificate(names=(x509.DNSName("a.test"), x509.UniformResourceIdentifier("https://x"))), "more than names"),
    ],
)
def test_what_does_not_belong_together_is_refused(chain: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        issued.read(chain, keys.pem(KEY))


@pytest.mark.parametrize(
    ("names", "now", "said"),
    [
        (("a.test",), NOW, "other names: a.test, b.test"),
        (("a.test", "c.test"), NOW, "other names"),
        (NAMES, NOW + HOUR, "not valid now"),
        (NAMES, NOW - HOUR - 1, "not valid now"),
    ],
)
def test_what_was_not_asked_for_is_refused(names: tuple[str, ...], now: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        issued.check(issued.read(certificate(), keys.pem(KEY)), names, now)


def test_a_clock_that_is_a_little_slow_does_no_harm() -> None:
    issued.check(issued.read(certificate(), keys.pem(KEY)), NAMES, NOW - 60)


def test_a_request_is_for_the_names_alone() -> None:
    request = x509.load_der_x509_csr(issued.request(NAMES, KEY))
    assert list(request.subject) == []
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    assert request.is_signature_valid


def test_neither_key_nor_chain_is_shown() -> None:
    assert "BEGIN" not in repr(issued.read(certificate(), keys.pem(KEY)))
