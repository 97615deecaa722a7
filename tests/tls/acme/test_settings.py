"""The names for which a certificate can be ordered."""

import pytest

from facaded.tls.acme.settings import ChallengeKind, refusal


@pytest.mark.parametrize("name", ["docker.example.com", "registry", "a-b.xn--bcher-kva.example", "1.example"])
def test_a_certificate_can_be_ordered_for_a_dns_name(name: str) -> None:
    assert refusal(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.example.com", "dns-01"),
        ("192.0.2.1", "address"),
        ("2001:db8::1", "address"),
        ("Docker.example.com", "lower-case"),
        ("a..b", "not a lower-case DNS name"),
        ("a.b.", "not a lower-case DNS name"),
        ("-a.b", "not a lower-case DNS name"),
        ("bücher.example", "not a lower-case DNS name"),
        ("a\nb", "not a lower-case DNS name"),
        ("a.b\n", "not a lower-case DNS name"),
        ("x" * 64, "not a lower-case DNS name"),
        ("x." * 127 + "xx", "not a lower-case DNS name"),
        ("", "not a lower-case DNS name"),
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
