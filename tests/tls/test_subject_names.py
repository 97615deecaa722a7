"""DNS names and IP addresses in certificates."""

from pathlib import Path

import pytest
from cryptography import x509

from facaded.tls import selfsigned
from facaded.tls.acme import issued_certificate, keys
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import OrderChallenges, challenge_certificate
from facaded.tls.subject_names import alternative_names, challenge_name, read_names
from tests.tls.acme.memory import RecordingResponder
from tests.tls.authority import Authority, trusting
from tests.tls.served import CertificatesHarness

V4, V6 = "192.0.2.1", "2001:db8::1"
V4_REVERSE = "1.2.0.192.in-addr.arpa"
V6_REVERSE = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def test_names_and_addresses_have_their_types_and_are_read_again() -> None:
    names = ("docker.lab.test", V4, V6)
    types = [type(name) for name in alternative_names(names)]
    assert types == [x509.DNSName, x509.IPAddress, x509.IPAddress]
    (certificate,) = selfsigned.make(names, 1_800_000_000.0).chain
    assert read_names(certificate) == names


@pytest.mark.parametrize(
    ("name", "asked"), [("docker.lab.test", "docker.lab.test"), (V4, V4_REVERSE), (V6, V6_REVERSE)]
)
def test_a_ca_asks_for_an_address_by_its_reverse_mapping(name: str, asked: str) -> None:
    responder = RecordingResponder()
    challenges = OrderChallenges(responder)
    challenges.publish(ChallengeKind.TLS_ALPN, name, "token", "token.thumbprint")
    assert list(responder.alpn) == [asked] == [challenge_name(name)]
    challenges.withdraw()
    assert responder.alpn == {}


@pytest.mark.parametrize("address", [V4, V6])
def test_a_challenge_certificate_is_for_the_address_itself(address: str) -> None:
    certificate = x509.load_pem_x509_certificate(challenge_certificate(address, "token.thumbprint", keys.new()))
    assert read_names(certificate) == (address,)
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert extension.get_values_for_type(x509.DNSName) == []


def test_a_request_names_addresses_as_such() -> None:
    request = x509.load_der_x509_csr(issued_certificate.make_request(("docker.lab.test", V4), keys.new()))
    extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert extension.get_values_for_type(x509.DNSName) == ["docker.lab.test"]
    assert [str(address) for address in extension.get_values_for_type(x509.IPAddress)] == [V4]


@pytest.fixture
def addressed(authority: Authority, tmp_path: Path) -> CertificatesHarness:
    """Certificates for a name, which comes first, and for three addresses."""
    names = ("docker.lab.test", V4, "192.0.2.2", V6)
    harness = CertificatesHarness(*(authority.write(tmp_path / name, name) for name in names), hosts=names)
    assert harness.certificates.has_addresses
    return harness


@pytest.mark.parametrize(
    ("local", "name"),
    [
        (V4, V4),
        ("192.0.2.2", "192.0.2.2"),
        ("::ffff:192.0.2.2", "192.0.2.2"),
        (V6, V6),
        ("10.0.0.5", V4),
        ("fd00::5", V6),
        ("", V4),
    ],
)
def test_a_client_without_a_name_gets_the_certificate_for_the_address_it_connected_to(
    addressed: CertificatesHarness, local: str, name: str
) -> None:
    client = addressed.client(None, context=trusting(), local_address=local)
    assert read_names(client.certificate) == (name,)


def test_a_client_with_a_name_gets_the_certificate_for_the_name(addressed: CertificatesHarness) -> None:
    assert addressed.client("docker.lab.test", local_address=V4).names == {"docker.lab.test"}
    assert addressed.client("unknown.lab.test", local_address=V4).names == {"docker.lab.test"}


def test_without_certificates_for_addresses_the_first_one_answers(authority: Authority, tmp_path: Path) -> None:
    harness = CertificatesHarness(authority.write(tmp_path, "docker.lab.test"), hosts=("docker.lab.test", V4))
    assert not harness.certificates.has_addresses
    assert harness.client(None, local_address=V4).names == {"docker.lab.test"}
    assert [report["from"] for report in harness.certificates.document()] == [str(tmp_path / "fullchain.pem")]
