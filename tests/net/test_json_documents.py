"""Documents with a version: writing them as JSON, and reading them."""

import json
from collections.abc import Mapping

import pytest
from attrs import field, frozen

from facaded.net.json_documents import (
    LEFT_OUT,
    SCHEMA,
    Document,
    InvalidDocumentError,
    NewerSchemaError,
    from_json,
    key,
    to_json,
)


@frozen
class Section:
    purpose: str = field(metadata=key("for"))
    seconds: float | None
    reason: str | None = field(default=None, metadata=LEFT_OUT)


@frozen
class Whole(Document):
    names: tuple[str, ...]
    parts: Mapping[str, Section]
    count: int
    done: bool = False


WHOLE = Whole(("a", "b"), {"x": Section("serve", 1.5), "y": Section("redirect", None, "so")}, 2)
JSON = {
    "schema": 1,
    "names": ["a", "b"],
    "parts": {"x": {"for": "serve", "seconds": 1.5}, "y": {"for": "redirect", "seconds": None, "reason": "so"}},
    "count": 2,
    "done": False,
}


def test_a_document_is_written_with_its_version() -> None:
    assert json.loads(json.dumps(to_json(WHOLE))) == JSON


@pytest.mark.parametrize("more", [{}, {"new": 5}, {"schema": SCHEMA}])
def test_a_document_is_read_back_and_unknown_keys_are_ignored(more: dict[str, object]) -> None:
    assert from_json(json.dumps(JSON | more).encode(), Whole) == WHOLE


def test_a_document_without_a_version_has_version_1() -> None:
    old = {key: value for key, value in JSON.items() if key != "schema"}
    assert from_json(json.dumps(old).encode(), Whole).schema == 1


def test_a_whole_number_is_read_as_a_float() -> None:
    read = from_json(json.dumps(JSON | {"parts": {"x": {"for": "serve", "seconds": 2}}}).encode(), Whole)
    assert read.parts["x"].seconds == 2.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": "ab"}, "'ab' is not a list"),
        ({"names": ["a", None]}, "None is not a string"),
        ({"names": [["a"]]}, "is not a string"),
        ({"parts": []}, "is not an object"),
        ({"parts": {"x": 5}}, "5 is not an object"),
        ({"parts": {"x": {"seconds": 1}}}, "key 'for' is missing"),
        ({"parts": {"x": {"for": "serve", "seconds": "soon"}}}, "'soon' is not a number"),
        ({"parts": {"x": {"for": "serve", "seconds": True}}}, "True is not a number"),
        ({"count": True}, "True is not a whole number"),
        ({"count": 2.5}, "2.5 is not a whole number"),
        ({"done": 0}, "0 is not true or false"),
        ({"schema": None}, "None is not a whole number"),
        ({"schema": "2"}, "'2' is not a whole number"),
    ],
)
def test_an_invalid_document_is_refused_with_the_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidDocumentError, match=reason):
        from_json(json.dumps(JSON | change).encode(), Whole)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b"{" * 100_000, b'{"schema": NaN}'])
def test_anything_but_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidDocumentError, match="not a JSON object"):
        from_json(body, Whole)


@pytest.mark.parametrize("rest", [{}, JSON])
def test_a_newer_version_is_refused_whatever_its_keys(rest: dict[str, object]) -> None:
    with pytest.raises(NewerSchemaError, match="schema 2"):
        from_json(json.dumps({**rest, "schema": SCHEMA + 1}).encode(), Whole)


def test_the_reason_is_safe_for_a_terminal() -> None:
    with pytest.raises(InvalidDocumentError) as raised:
        from_json(json.dumps(JSON | {"count": "\x1b[2J" + "x" * 1000}).encode(), Whole)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) <= 200
