"""The facade's own token: the challenge that names it, the answer of `/token`, and the pulls that it marks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci import www_authenticate
from facaded.web.own_token import DOCUMENT, TOKEN, is_own, own_challenge


@pytest.mark.parametrize(
    ("secure", "host", "forwarded_proto", "forwarded", "realm"),
    [
        (True, "docker.example.com", "", "", "https://docker.example.com/token"),
        (False, "docker.example.com:8080", "", "", "http://docker.example.com:8080/token"),
        (False, "[2001:db8::1]:80", "", "", "http://[2001:db8::1]:80/token"),
        (False, "a.test", "https", "", "https://a.test/token"),
        (False, "a.test", "HTTPS, http", "", "https://a.test/token"),
        (False, "a.test", "", 'for=192.0.2.1;proto="https"', "https://a.test/token"),
        (True, "a.test", "http", "", "https://a.test/token"),
        (False, "a.test", "javascript", "", "http://a.test/token"),
    ],
)
def test_the_realm_is_where_the_client_has_sent_its_request(
    secure: bool, host: str, forwarded_proto: str, forwarded: str, realm: str
) -> None:
    (challenge,) = www_authenticate.parse(own_challenge(host, secure, forwarded_proto, forwarded))
    assert (challenge.scheme, challenge.parameters["realm"]) == ("bearer", realm)
    assert challenge.parameters["service"] == host


@given(*[st.text(st.characters(codec="latin-1"), max_size=30)] * 3)
def test_no_header_breaks_out_of_the_challenge(host: str, forwarded_proto: str, forwarded: str) -> None:
    (challenge,) = www_authenticate.parse(own_challenge(host, False, forwarded_proto, forwarded))
    assert set(challenge.parameters) == {"realm", "service"}
    assert challenge.parameters["realm"].endswith(f"://{challenge.parameters['service']}/token")


def test_everybody_gets_the_same_token_and_docker_finds_it() -> None:
    """Docker reads `token`, and `expires_in` in seconds; other clients read OAuth 2's `access_token`."""
    document = json.loads(DOCUMENT)
    assert document["token"] == document["access_token"] == TOKEN
    assert document["expires_in"] >= 3600


@pytest.mark.parametrize(
    ("authorization", "own"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN}", True),
        (f"Basic {TOKEN}", False),
        ("Bearer another", False),
        (TOKEN, False),
        ("", False),
    ],
)
def test_only_the_own_token_marks_a_pull(authorization: str, own: bool) -> None:
    assert is_own(authorization) is own
