"""The error document."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.errors import Code, document, reason_of


@given(st.sampled_from(Code), st.text())
def test_the_document_has_the_form_of_the_spec(code: Code, message: str) -> None:
    body = document(code, message)
    assert body.isascii()
    assert json.loads(body) == {"errors": [{"code": code.value, "message": message}]}


@given(st.sampled_from(Code), st.text())
def test_the_reason_for_the_log_is_what_the_client_is_told(code: Code, message: str) -> None:
    assert reason_of(document(code, message)) == f"{code.value}: {message}"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[]", b"{}", b'{"errors": []}', b'{"errors": [1]}', b'{"errors": 1}']
)
def test_a_body_without_an_error_has_no_reason(body: bytes) -> None:
    assert reason_of(body) == ""
