"""Image indexes: their entries and platforms."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.indexes import Entry, read

DIGEST = "sha256:" + "a" * 64


def index(*platforms: Any) -> bytes:
    return json.dumps({"manifests": [{"digest": DIGEST, "platform": platform} for platform in platforms]}).encode()


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"os": "linux", "architecture": "amd64", "variant": ""}, "linux/amd64"),
        ({"os": "windows", "architecture": "amd64", "os.version": "10.0"}, "windows/amd64"),
        ({"os": "unknown", "architecture": "unknown"}, None),
        ({"os": 1, "architecture": ["amd64"]}, None),
        ({"os": "li\x1b[2Jnux", "architecture": "a" * 90}, "li??2Jnux/" + "a" * 32),
        ("linux/amd64", None),
        (None, None),
    ],
)
def test_a_platform_is_written_as_a_path_of_expected_characters(platform: Any, expected: str | None) -> None:
    assert read(index(platform)) == (Entry(DIGEST, expected),)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"manifests": {}}', b"[" * 100_000, b'{"manifests": 1' + b"0" * 9]
)
def test_a_body_that_is_no_index_has_no_entries(body: bytes) -> None:
    assert read(body) is None


@pytest.mark.parametrize("entry", [1, {}, {"digest": 1}, {"digest": "sha256:../../x"}, {"digest": "md5:" + "a" * 32}])
def test_an_entry_without_a_valid_digest_is_left_out(entry: Any) -> None:
    assert read(json.dumps({"manifests": [entry]}).encode()) == ()


@given(st.binary())
def test_read_never_raises(body: bytes) -> None:
    read(body)
