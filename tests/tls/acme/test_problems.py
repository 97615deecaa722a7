"""The problems that a CA reports, as messages for an operator."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.tls.acme.problems import PREFIX, ProblemDocument, describe, parse, read
from facaded.tls.acme.settings import ChallengeKind

NAME = "docker.example.com"


@pytest.mark.parametrize(
    ("problem", "kind", "message"),
    [
        (
            ProblemDocument("connection"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA could not reach port 80: open it, or use tls-alpn-01",
        ),
        (
            ProblemDocument("connection", "refused"),
            ChallengeKind.TLS_ALPN,
            f"{NAME}: the CA could not reach port 443: open it, or use http-01 (the CA says: refused)",
        ),
        (
            ProblemDocument("unauthorized"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA did not get facaded's answer on port 80: route that port to facaded for every address of "
            "the name, or use tls-alpn-01",
        ),
        (
            ProblemDocument("tls"),
            ChallengeKind.TLS_ALPN,
            f"{NAME}: the CA reached port 443, but TLS failed: remove any proxy that ends TLS before facaded, or use "
            "http-01",
        ),
        (
            ProblemDocument("tls"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA was redirected to a port where TLS fails: route port 80 to facaded",
        ),
        (
            ProblemDocument("connection", "dial tcp: lookup docker.example.com on 127.0.0.1:53: no such host"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA found no address: publish an A or AAAA record that points to facaded, and check that the "
            "name servers answer (the CA says: dial tcp: lookup docker.example.com on 127.0.0.1:53: no such host)",
        ),
        (
            ProblemDocument("dns", "NXDOMAIN"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA found no address: publish an A or AAAA record that points to facaded, and check that the "
            "name servers answer (the CA says: NXDOMAIN)",
        ),
        (ProblemDocument("unauthorized"), None, f"{NAME}: the CA does not allow this to facaded's account: ask the CA"),
        (
            ProblemDocument("somethingNew", "hm"),
            None,
            f"{NAME}: the CA refuses the request (somethingNew) (the CA says: hm)",
        ),
        (ProblemDocument("", "hm"), None, f"{NAME}: the CA refuses the request (the CA says: hm)"),
        (
            ProblemDocument("userActionRequired", instance="https://ca.test/terms"),
            None,
            f"{NAME}: the CA requires an action by you first, usually to agree to new terms (https://ca.test/terms)",
        ),
        (
            ProblemDocument(
                "compound", subproblems=(ProblemDocument("connection", name="a.test"), ProblemDocument("connection"))
            ),
            ChallengeKind.HTTP,
            "a.test: the CA could not reach port 80: open it, or use tls-alpn-01; "
            f"{NAME}: the CA could not reach port 80: open it, or use tls-alpn-01",
        ),
    ],
)
def test_a_problem_becomes_a_message_with_a_remedy(
    problem: ProblemDocument, kind: ChallengeKind | None, message: str
) -> None:
    assert describe(problem, NAME, kind) == message


def test_a_document_is_read() -> None:
    subproblem = {"type": f"{PREFIX}caa", "detail": "d", "identifier": {"type": "dns", "value": "a.test"}}
    document = {"type": f"{PREFIX}compound", "detail": "several", "subproblems": [subproblem, "nothing", None]}
    problem = parse(json.dumps(document).encode(), 403)
    assert problem == ProblemDocument("compound", "several", None, (ProblemDocument("caa", "d", "a.test"),))


def test_the_link_that_ends_a_pause_of_the_account_is_complete() -> None:
    link = f"https://portal.letsencrypt.org/sfe/v1/unpause?jwt={'x' * 700}"
    document = {"type": f"{PREFIX}rateLimited", "detail": f"Your account is temporarily prevented, visit: {link}"}
    assert link in describe(parse(json.dumps(document).encode(), 429))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_without_a_problem_document_is_described_by_its_status(body: bytes) -> None:
    assert describe(parse(body, 502)) == ("the CA refuses the request (the CA says: HTTP status 502 without a reason)")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["type", "detail", "identifier", "subproblems", "instance", "value"])


@given(st.dictionaries(KEYS, JSON | st.lists(st.dictionaries(KEYS, JSON))), st.sampled_from([None, *ChallengeKind]))
def test_any_problem_becomes_one_line_of_bounded_length(document: object, kind: ChallengeKind | None) -> None:
    problem = read(document)
    assert problem is not None
    message = describe(problem, NAME, kind)
    assert message
    assert message.isprintable()
    assert len(message) < 12_000
