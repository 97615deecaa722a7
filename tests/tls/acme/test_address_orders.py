"""Certificates for IP addresses, ordered from a CA in memory (RFC 8738)."""

import pytest

from facaded.tls.acme import documents
from facaded.tls.acme.documents import DocumentError
from facaded.tls.acme.settings import ChallengeKind
from tests.tls.acme.memory import CreateHarness
from tests.tls.acme.test_documents import AUTHORIZATION

V4, V6 = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize("kind", ChallengeKind)
def test_a_certificate_for_addresses_and_a_name_is_obtained(create: CreateHarness, kind: ChallengeKind) -> None:
    names = ("docker.example.com", V4, V6)
    harness = create(domains=(names,), challenges=(kind,)).start()
    assert [identifier["type"] for identifier in harness.ca.last("order")["identifiers"]] == ["dns", "ip", "ip"]
    certificate = harness.acme.current()[names]
    assert certificate.names == names
    assert harness.responder.history == [kind.value] * 3


def test_a_certificate_for_an_address_is_renewed_and_read_again_after_a_restart(create: CreateHarness) -> None:
    harness = create(domains=((V6,),)).start()
    first = harness.acme.current()[V6,]
    harness.acme.stopService()
    harness.restart()
    assert harness.acme.current()[V6,] == first
    harness.start()
    harness.network.sleep(62 * 86400)
    assert harness.acme.current()[V6,] != first


def test_the_address_in_an_authorization_may_have_another_form() -> None:
    identifier = {"type": "ip", "value": "2001:DB8:0:0::1"}
    assert documents.read_authorization({**AUTHORIZATION, "identifier": identifier}).name == V6


@pytest.mark.parametrize(
    "identifier",
    [
        {"type": "dns", "value": V4},
        {"type": "ip", "value": "docker.example.com"},
        {"type": "ip", "value": "192.0.2.256"},
        {"type": "email", "value": "a.test"},
        {"value": "a.test"},
    ],
)
def test_an_authorization_for_anything_else_is_rejected(identifier: dict[str, str]) -> None:
    with pytest.raises(DocumentError, match="neither a DNS name nor an IP address"):
        documents.read_authorization({**AUTHORIZATION, "identifier": identifier})
