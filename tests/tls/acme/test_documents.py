"""The documents of a CA are accepted only in the specified form."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.tls.acme import documents
from facaded.tls.acme.documents import Directory, DocumentError, Suggestion
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.window import Window
from tests.tls.acme.test_problems import JSON

BASE = "https://ca.test"
DIRECTORY = {"newNonce": f"{BASE}/n", "newAccount": f"{BASE}/a", "newOrder": f"{BASE}/o"}
ORDER = {"status": "valid", "authorizations": [f"{BASE}/z/1"], "finalize": f"{BASE}/f", "certificate": f"{BASE}/c"}
CHALLENGE = {"type": "http-01", "url": f"{BASE}/h", "token": "abc", "status": "pending"}
AUTHORIZATION = {"status": "pending", "identifier": {"type": "dns", "value": "A.test"}, "challenges": [CHALLENGE]}
SUGGESTION = {"suggestedWindow": {"start": "2027-01-15T08:00:00Z", "end": "2027-01-16T08:00:00.123456789Z"}}

READERS: list[tuple[Callable[[Any], object], dict[str, Any]]] = [
    (documents.read_directory, DIRECTORY),
    (documents.read_order, ORDER),
    (documents.read_authorization, AUTHORIZATION),
    (documents.read_suggestion, SUGGESTION),
]


def test_a_directory_is_read_with_its_metadata() -> None:
    meta = {"profiles": {"classic": "x", "shortlived": "y"}, "externalAccountRequired": True}
    directory = documents.read_directory({**DIRECTORY, "renewalInfo": f"{BASE}/i", "meta": meta})
    assert directory == Directory(
        f"{BASE}/n", f"{BASE}/a", f"{BASE}/o", f"{BASE}/i", ("classic", "shortlived"), account_required=True
    )


def test_an_authorization_is_read_with_the_challenges_that_can_be_answered() -> None:
    other = {"type": "dns-01", "url": f"{BASE}/d", "token": "abc", "status": "pending"}
    authorization = documents.read_authorization({**AUTHORIZATION, "challenges": [other, "x", CHALLENGE]})
    assert (authorization.name, authorization.status) == ("a.test", "pending")
    assert [(challenge.kind, challenge.token) for challenge in authorization.challenges] == [
        (ChallengeKind.HTTP, "abc")
    ]


def test_a_window_is_read_from_rfc_3339_times() -> None:
    assert documents.read_suggestion(SUGGESTION) == Suggestion(Window(1_800_000_000, 1_800_086_400))


def test_an_explanation_is_kept_only_if_it_is_safe_to_show() -> None:
    good = documents.read_suggestion({**SUGGESTION, "explanationURL": "https://ca.test/why"})
    assert good.explanation == "https://ca.test/why"
    for bad in ("javascript:alert(1)", "http://ca.test/", "https://ca.test/\x1b[2J", 7):
        assert documents.read_suggestion({**SUGGESTION, "explanationURL": bad}).explanation is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2027-01-16T08:00:00Z", "2027-01-15T08:00:00Z"),
        ("2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z"),
        ("never", "2027-01-15T08:00:00Z"),
        (None, "2027-01-15T08:00:00Z"),
        ("2027-01-15T08:00:00Z", "99999-01-15T08:00:00Z"),
    ],
)
def test_an_invalid_window_is_rejected(start: object, end: object) -> None:
    with pytest.raises(DocumentError):
        documents.read_suggestion({"suggestedWindow": {"start": start, "end": end}})


@pytest.mark.parametrize(
    "url",
    ["https://ca.test", "https://ca.test:14000/dir?x=y", "https://[2001:db8::1]/a"],
)
def test_an_https_url_is_accepted(url: str) -> None:
    assert documents.is_usable_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("http://ca.test/", "https://", "https:///x", "//ca.test/", "ca.test", "", "https://a@ca.test/"),
        *("https://ca.test/a b", "https://ca.test/\n", "https://ca.test/ä", "https://ca.test:0/", "https://ca.test:x/"),
        *("https://[ca/", "https://ca.test/" + "x" * 2048, None, 7, ["https://ca.test/"]),
    ],
)
def test_any_other_url_is_rejected(url: object) -> None:
    assert not documents.is_usable_url(url)


@given(st.integers(0, 3), st.data())
def test_a_document_in_any_other_form_is_a_printable_error(index: int, data: st.DataObject) -> None:
    reader, good = READERS[index]
    key = data.draw(st.sampled_from(sorted(good)))
    document = {**good, key: data.draw(JSON)}
    message = ""
    try:
        reader(document)
    except DocumentError as error:
        message = str(error)
    assert message.isprintable()


@given(st.binary())
def test_a_body_is_a_document_or_an_error(body: bytes) -> None:
    with contextlib.suppress(DocumentError):
        assert documents.parse(body) == json.loads(body)
