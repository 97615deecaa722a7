"""Which names a certificate can be got for."""

import pytest

from facaded.tls.acme.settings import ChallengeKind, refusal


@pytest.mark.parametrize("name", ["docker.example.com", "registry", "a-b.xn--bcher-kva.example", "1.example"])
def test_a_certificate_can_be_got_for_a_dns_name(name: str) -> None:
    assert refusal(name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("*.example.com", "dns-01"),
        ("192.0.2.1", "address"),
        ("2001:db8::1", "address"),
        ("Docker.example.com", "lower case"),
        ("a..b", "no DNS name"),
        ("a.b.", "no DNS name"),
        ("-a.b", "no DNS name"),
        ("bücher.example", "no DNS name"),
        ("a\nb", "no DNS name"),
        ("a.b\n", "no DNS name"),
        ("x" * 64, "no DNS name"),
        ("x." * 127 + "xx", "no DNS name"),
        ("", "no DNS name"),
    ],
)
def test_what_no_certificate_can_be_got_for_is_refused_with_the_reason(name: str, said: str) -> None:
    reason = refusal(name)
    assert reason is not None
    assert said in reason
    assert reason.isprintable()


def test_each_kind_of_challenge_has_its_port_and_another_to_try() -> None:
    assert [(kind.port, kind.other) for kind in ChallengeKind] == [
        (443, ChallengeKind.HTTP),
        (80, ChallengeKind.TLS_ALPN),
    ]
