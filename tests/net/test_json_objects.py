"""JSON from strangers: what is an object, and what is too complex to parse."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.net.json_objects import LONGEST_INTEGER, MOST_VALUES, is_json, is_too_complex, read_object


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a": [1, 2.5, null, {}]}', {"a": [1, 2.5, None, {}]}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": 1}'.encode("utf-16"), {"a": 1}),
        (b"[]", None),
        (b"", None),
        (b"{", None),
        (b'{"a": NaN}', None),
        (b'{"a": Infinity}', None),
        (b'{"a": "\xff"}', None),
        (b'{"a":' + b"[" * 40_000, None),
        (b'{"a": ' + b"9" * LONGEST_INTEGER + b"}", {"a": int("9" * LONGEST_INTEGER)}),
        (b'{"a": ' + b"9" * (LONGEST_INTEGER + 1) + b"}", None),
    ],
)
def test_only_an_object_is_read(body: bytes | str, document: object) -> None:
    assert read_object(body) == document


WORST = {
    "empty lists": (b"[]", b","),
    "deep lists": (b"[" * 450 + b"]" * 450, b","),
    "objects": (b'{"":0}', b","),
    "small numbers": (b"1", b","),
    "floats": (b"1.1", b","),
}


@pytest.mark.parametrize("shape", WORST)
def test_a_document_that_would_block_everything_is_not_parsed(shape: str) -> None:
    """Each would take 0.2 to 1.2 s."""
    unit, separator = WORST[shape]
    body = b'{"a":[' + separator.join([unit] * ((4 << 20) // (len(unit) + 1))) + b"]}"
    assert is_too_complex(body)
    assert read_object(body) is None
    assert not is_json(body)


def test_a_large_document_with_few_values_is_parsed() -> None:
    document = {"annotations": {"text": "x" * (4 << 20)}}
    assert read_object(json.dumps(document)) == document


def test_the_bound_is_the_caller_s_choice() -> None:
    body = json.dumps({"tags": ["v"] * MOST_VALUES * 2})
    assert read_object(body) is None
    assert read_object(body, MOST_VALUES * 3) is not None


@given(st.binary() | st.text())
def test_anything_is_an_object_or_none(body: bytes | str) -> None:
    assert isinstance(read_object(body), dict | None)
    if isinstance(body, bytes):
        assert isinstance(is_json(body), bool)
