"""The names for which a certificate can be ordered."""

import pytest

from facaded.tls.acme.public_authorities import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from facaded.tls.acme.settings import CertificateAuthority, ChallengeKind, refusal


@pytest.mark.parametrize(
    "name", ["docker.example.com", "registry", "a-b.xn--bcher-kva.example", "1.example", "192.0.2.1", "2001:db8::1"]
)
def test_a_certificate_can_be_ordered_for_a_dns_name_or_an_address(name: str) -> None:
    assert refusal(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.example.com", "dns-01"),
        ("192.0.2.256", "not an IP address: write four numbers"),
        ("192.0.2", "not an IP address: write four numbers"),
        ("2001:db8:0:0::1", "neither"),
        ("fe80::1%eth0", "neither"),
        ("Docker.example.com", "lower-case"),
        ("a..b", "neither a lower-case DNS name nor an IP address"),
        ("a.b.", "neither a lower-case DNS name nor an IP address"),
        ("-a.b", "neither a lower-case DNS name nor an IP address"),
        ("bücher.example", "neither a lower-case DNS name nor an IP address"),
        ("a\nb", "neither a lower-case DNS name nor an IP address"),
        ("a.b\n", "neither a lower-case DNS name nor an IP address"),
        ("x" * 64, "neither a lower-case DNS name nor an IP address"),
        ("x." * 127 + "xx", "neither a lower-case DNS name nor an IP address"),
        ("", "neither a lower-case DNS name nor an IP address"),
    ],
)
def test_any_other_name_is_refused_with_the_reason(name: str, message: str) -> None:
    reason = refusal(name)
    assert reason is not None
    assert message in reason
    assert reason.isprintable()


def test_each_kind_of_challenge_has_a_port_and_an_alternative() -> None:
    assert [(kind.port, kind.other) for kind in ChallengeKind] == [
        (443, ChallengeKind.HTTP),
        (80, ChallengeKind.TLS_ALPN),
    ]


@pytest.mark.parametrize(
    ("directory", "names", "profile", "ordered"),
    [
        (LETS_ENCRYPT, ("a.example.com",), None, None),
        (LETS_ENCRYPT, ("a.example.com",), "tlsserver", "tlsserver"),
        (LETS_ENCRYPT, ("203.0.113.1",), None, "shortlived"),
        (LETS_ENCRYPT, ("a.example.com", "2001:db8::1"), "tlsserver", "shortlived"),
        (LETS_ENCRYPT_STAGING, ("203.0.113.1",), None, "shortlived"),
        ("https://ca.test/directory", ("203.0.113.1",), None, None),
        ("https://ca.test/directory", ("203.0.113.1",), "default", "default"),
    ],
)
def test_an_address_at_lets_encrypt_is_ordered_with_the_only_profile_that_has_them(
    directory: str, names: tuple[str, ...], profile: str | None, ordered: str | None
) -> None:
    assert CertificateAuthority(directory, profile=profile).profile_for(names) == ordered


@pytest.mark.parametrize(
    ("ca", "staging"),
    [
        (CertificateAuthority(), LETS_ENCRYPT_STAGING),
        (CertificateAuthority(LETS_ENCRYPT_STAGING), LETS_ENCRYPT_STAGING),
        (CertificateAuthority("https://ca.test/directory"), None),
        (CertificateAuthority("https://ca.test/directory", "https://ca.test/staging"), "https://ca.test/staging"),
        (CertificateAuthority(staging="https://proxy.test/directory"), "https://proxy.test/directory"),
    ],
)
def test_the_staging_directory_is_the_one_of_the_settings_or_a_known_one(
    ca: CertificateAuthority, staging: str | None
) -> None:
    assert ca.staging_directory == staging


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("docker.example.com", None),
        ("example.org", None),
        ("localhost.example.com", None),
        ("plan", "it is not a full domain name"),
        ("registry", "it is not a full domain name"),
        ("localhost", "localhost is not a public domain"),
        ("registry.lan", "lan is not a public domain"),
        ("registry.corp.internal", "internal is not a public domain"),
        ("nas.local", "local is not a public domain"),
        ("nas.home.arpa", "home.arpa is not a public domain"),
        ("a.test", "test is not a public domain"),
        ("docker.example", "example is not a public domain"),
        ("a.invalid", "invalid is not a public domain"),
        ("8.8.8.8", None),
        ("2606:4700:4700::1111", None),
        ("10.0.0.5", "it is not a public address"),
        ("127.0.0.1", "it is not a public address"),
        ("fd00::1", "it is not a public address"),
    ],
)
def test_public_cas_issue_for_public_names_only(name: str, reason: str | None) -> None:
    for directory in (LETS_ENCRYPT, "https://acme.zerossl.com/v2/DV90", "https://dv.acme-v02.api.pki.goog/directory"):
        assert CertificateAuthority(directory).why_unissuable(name) == reason
    for directory in ("https://ca.internal/acme/acme/directory", "https://notletsencrypt.org/directory"):
        assert CertificateAuthority(directory).why_unissuable(name) is None
