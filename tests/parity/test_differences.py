"""Differences between copies of an image, and their descriptions."""

import pytest

from facaded.oci.indexes import Entry
from facaded.parity.differences import Contents, Index, compare_contents, describe_difference
from facaded.parity.findings import Finding, Side

SAME, FAILING = Finding.SAME, Finding.FAILING


def index(digest: str, *entries: tuple[str, str | None]) -> Index:
    return Index(digest, tuple(Entry(entry_digest, platform) for entry_digest, platform in entries))


AMD, ARM, OLD = ("a", "linux/amd64"), ("b", "linux/arm64"), ("c", "linux/arm/v7")


@pytest.mark.parametrize(
    ("standard", "other", "description"),
    [
        (index("1", AMD), Index("2", known=False), "another digest"),
        (Index("1"), Index("2"), "another manifest"),
        (Index("1"), index("2", AMD, ARM), "an index: linux/amd64, linux/arm64"),
        (index("1", AMD), Index("2"), "another manifest, not an index"),
        (index("1", AMD, ARM), Index("b"), "only linux/arm64"),
        (index("1", AMD, ("d", None)), Index("d"), "another manifest, not an index"),
        (index("1", AMD, ARM), index("2", AMD), "lacks linux/arm64"),
        (index("1", AMD), index("2", AMD, ARM), "also has linux/arm64"),
        (index("1", AMD, ARM), index("2", AMD, ("z", "linux/arm64")), "another linux/arm64"),
        (index("1", AMD, OLD), index("2", ("z", "linux/amd64"), ARM), "lacks linux/arm/v7; also has linux/arm64; "),
        (index("1", AMD, ("d", None)), index("2", AMD), "the same platforms, other attestations"),
        (index("1", AMD, ARM), index("2", ARM, AMD), "another index of the same manifests"),
        (index("1", *((f"{n}", f"os/{n}") for n in range(7))), index("2"), "lacks os/0, os/1, os/2, os/3, os/4 and 2 "),
    ],
)
def test_a_difference_is_described_in_few_words(standard: Index, other: Index, description: str) -> None:
    assert describe_difference(standard, other).startswith(description)


def test_inventories_are_compared_with_all_of_them_together() -> None:
    contents_by_backend: dict[str, Contents | Side] = {
        "whole": Contents((), frozenset({"x", "y"})),
        "less": Contents((Entry("b", "linux/arm64"), Entry("d", None), Entry("e", None)), frozenset({"y"})),
        "unread": Contents((), None),
        "failing": Side(FAILING, "answered 500"),
    }
    sides = compare_contents(index("1", AMD, ARM), contents_by_backend)
    assert sides["whole"] == Side(SAME, "", "1", ("linux/amd64", "linux/arm64"), ("x", "y"))
    assert sides["less"].reason == "lacks linux/arm64, 2 attestations, 1 of 2 referrers"
    assert sides["unread"].finding is SAME
    assert sides["failing"] == Side(FAILING, "answered 500", "1", ("linux/amd64", "linux/arm64"))
