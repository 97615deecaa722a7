"""The error document."""

import json

from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.errors import Code, document


@given(st.sampled_from(Code), st.text())
def test_the_document_has_the_form_of_the_spec(code: Code, message: str) -> None:
    body = document(code, message)
    assert body.isascii()
    assert json.loads(body) == {"errors": [{"code": code.value, "message": message}]}
