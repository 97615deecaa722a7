"""Whether a CA issued what was ordered."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from facaded.tls.acme import issued_certificate, keys
from facaded.tls.acme.schedule import HOUR

NOW = 1_800_000_000.0
KEY, ISSUER, TOP = keys.new(), keys.new(), keys.new()
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
    subject: str = "",
    issuer: str = "root",
) -> bytes:
    now = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject or ("root" if ca else "leaf")))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=hours))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(authority, None, None), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


ROOT = certificate(key=ISSUER, names=(), ca=True)


def test_an_expired_certificate_above_the_issuer_is_left_out() -> None:
    top = certificate(key=TOP, signer=TOP, names=(), ca=True, subject="top", issuer="top")
    middle = certificate(key=ISSUER, signer=TOP, names=(), ca=True, hours=3, issuer="top")
    issued = issued_certificate.read(certificate(hours=2) + middle + top, keys.pem(KEY))
    assert issued_certificate.check(issued, NAMES, NOW) == (issued, ())
    usable, warnings = issued_certificate.check(issued, NAMES, NOW + 1.5 * HOUR)
    assert (usable.chain, usable.names) == (issued.chain[:2], NAMES)
    assert warnings == ("the CA's chain for a.test, b.test ends with an expired certificate, which is left out",)


def test_a_chain_with_an_expired_issuer_is_rejected() -> None:
    issued = issued_certificate.read(certificate(hours=2) + ROOT, keys.pem(KEY))
    with pytest.raises(ValueError, match="a chain whose intermediate certificate is not valid now"):
        issued_certificate.check(issued, NAMES, NOW + 1.5 * HOUR)


def test_a_certificate_valid_for_less_than_an_hour_is_rejected() -> None:
    with pytest.raises(ValueError, match="valid for less than an hour"):
        issued_certificate.check(issued_certificate.read(certificate(hours=0.9), keys.pem(KEY)), NAMES, NOW)


def test_a_chain_is_read() -> None:
    issued = issued_certificate.read(certificate() + ROOT, keys.pem(KEY))
    assert (issued.names, issued.issuer) == (NAMES, "root")
    assert (issued.validity.start, issued.validity.end) == (NOW, NOW + HOUR)
    assert issued.chain_pem.count(b"BEGIN") == 2
    issued_certificate.check(issued, NAMES, NOW)


def test_text_around_the_certificates_is_dropped() -> None:
    issued = issued_certificate.read(b"evil\n" + certificate() + b"\x00\x1b", keys.pem(KEY))
    assert issued.chain_pem == normalized(issued.chain_pem)


def normalized(chain: bytes) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in x509.load_pem_x509_certificates(chain))


def test_the_renewal_identifier_matches_the_example_of_rfc_9773() -> None:
    """The example in §4.1: a serial number whose first bit is set has a zero byte before it."""
    assert issued_certificate.read(certificate(), keys.pem(KEY)).identifier == "aYhba4dGhkfhheR6wKHxobXdis4.AIdlQyE"
    assert (
        issued_certificate.read(certificate(serial=0x7F), keys.pem(KEY)).identifier == "aYhba4dGhkfhheR6wKHxobXdis4.fw"
    )


def test_without_an_authority_key_identifier_there_is_no_renewal_identifier() -> None:
    assert issued_certificate.read(certificate(authority=None), keys.pem(KEY)).identifier is None


def test_a_certificate_without_names_has_none() -> None:
    assert issued_certificate.read(certificate(names=()), keys.pem(KEY)).names == ()


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (certificate(key=keys.new()), "another key"),
        (certificate(signer=keys.new()) + ROOT, "not signed by the next one"),
        (ROOT + certificate(), "another key"),
        (b"", "no certificate chain"),
        (certificate() * 11, "no certificate chain"),
        (
            certificate(names=(x509.DNSName("a.test"), x509.UniformResourceIdentifier("https://x"))),
            "more than DNS names",
        ),
    ],
)
def test_certificates_that_do_not_belong_together_are_rejected(chain: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        issued_certificate.read(chain, keys.pem(KEY))


@pytest.mark.parametrize(
    ("names", "now", "message"),
    [
        (("a.test",), NOW, "other names: a.test, b.test"),
        (("a.test", "c.test"), NOW, "other names"),
        (NAMES, NOW + HOUR, "not valid now"),
        (NAMES, NOW - 24 * HOUR - 1, "not valid now"),
    ],
)
def test_a_certificate_that_was_not_ordered_is_rejected(names: tuple[str, ...], now: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        issued_certificate.check(issued_certificate.read(certificate(), keys.pem(KEY)), names, now)


def test_a_clock_that_is_less_than_a_day_behind_is_tolerated_with_a_warning() -> None:
    issued = issued_certificate.read(certificate(), keys.pem(KEY))
    _, (warning,) = issued_certificate.check(issued, NAMES, NOW - 2 * HOUR)
    assert warning == (
        "the certificate for a.test, b.test is valid in 120 minutes only by this machine's clock, which is probably "
        "slow: correct it (see `timedatectl`)"
    )


def test_a_request_contains_only_the_names() -> None:
    request = x509.load_der_x509_csr(issued_certificate.make_request(NAMES, KEY))
    assert list(request.subject) == []
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    assert request.is_signature_valid


def test_repr_contains_neither_key_nor_chain() -> None:
    assert "BEGIN" not in repr(issued_certificate.read(certificate(), keys.pem(KEY)))
