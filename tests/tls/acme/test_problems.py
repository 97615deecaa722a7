"""What a CA says is wrong, as an operator reads it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.tls.acme.problems import PREFIX, ProblemDocument, parse, read, sentence
from facaded.tls.acme.settings import ChallengeKind

NAME = "docker.example.com"


@pytest.mark.parametrize(
    ("problem", "kind", "said"),
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
            f"{NAME}: the CA did not get facaded's answer on port 80: let that port of every address of the name lead "
            "to facaded, or use tls-alpn-01",
        ),
        (
            ProblemDocument("tls"),
            ChallengeKind.TLS_ALPN,
            f"{NAME}: the CA reached port 443, but TLS failed: let no proxy end TLS before facaded, or use http-01",
        ),
        (
            ProblemDocument("tls"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA was sent on to a port where TLS fails: let port 80 lead to facaded itself",
        ),
        (
            ProblemDocument("dns", "NXDOMAIN"),
            ChallengeKind.HTTP,
            f"{NAME}: the CA finds no address: publish an A or AAAA record that leads here, and see that its name "
            "servers answer (the CA says: NXDOMAIN)",
        ),
        (ProblemDocument("unauthorized"), None, f"{NAME}: the CA does not allow it to facaded's account"),
        (ProblemDocument("somethingNew", "hm"), None, f"{NAME}: the CA refuses (somethingNew) (the CA says: hm)"),
        (ProblemDocument("", "hm"), None, f"{NAME}: the CA refuses (the CA says: hm)"),
        (
            ProblemDocument("userActionRequired", instance="https://ca.test/terms"),
            None,
            f"{NAME}: the CA wants something done by hand first, mostly that its new terms are agreed to "
            "(https://ca.test/terms)",
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
def test_a_problem_is_a_sentence_with_a_remedy(problem: ProblemDocument, kind: ChallengeKind | None, said: str) -> None:
    assert sentence(problem, NAME, kind) == said


def test_a_document_is_read() -> None:
    part = {"type": f"{PREFIX}caa", "detail": "d", "identifier": {"type": "dns", "value": "a.test"}}
    document = {"type": f"{PREFIX}compound", "detail": "several", "subproblems": [part, "nothing", None]}
    found = parse(json.dumps(document).encode(), 403)
    assert found == ProblemDocument("compound", "several", None, (ProblemDocument("caa", "d", "a.test"),))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_problem_document_says_its_status(body: bytes) -> None:
    assert sentence(parse(body, 502)) == "the CA refuses (the CA says: it answered 502 without a reason)"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["type", "detail", "identifier", "subproblems", "instance", "value"])


@given(st.dictionaries(KEYS, JSON | st.lists(st.dictionaries(KEYS, JSON))), st.sampled_from([None, *ChallengeKind]))
def test_whatever_a_ca_sends_makes_one_line_of_bounded_length(document: object, kind: ChallengeKind | None) -> None:
    problem = read(document)
    assert problem is not None
    said = sentence(problem, NAME, kind)
    assert said
    assert said.isprintable()
    assert len(said) < 12_000
