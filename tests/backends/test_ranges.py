"""Ranges of blobs: which of them are sent to registries."""

import pytest

from facaded.backends.registry import RangeHeaders


@pytest.mark.parametrize(
    ("range_header", "if_range", "sent"),
    [
        ("bytes=0-", "", {"Range": "bytes=0-"}),
        ("bytes=5-10", '"tag"', {"Range": "bytes=5-10", "If-Range": '"tag"'}),
        ("bytes=-500", "", {"Range": "bytes=-500"}),
        ("", "", {}),
        ("", '"tag"', {}),
        ("bytes=0-0,5-6", "", {}),
        ("bytes=0-" + "9" * 16, "", {}),
        ("bytes=-", "", {}),
        ("bytes=a-b", "", {}),
        ("bytes=٣-", "", {}),
        ("lines=1-2", "", {}),
        ("bytes=0-\x80", "", {}),
        ("bytes=0-", '"\x01"', {}),
        ("bytes=0-", "x" * 201, {}),
    ],
)
def test_only_one_well_formed_range_of_bytes_is_sent(range_header: str, if_range: str, sent: dict[str, str]) -> None:
    """A registry may answer another one with 400 or 500, which would count as its failure."""
    assert RangeHeaders.read(range_header, if_range).headers == sent
