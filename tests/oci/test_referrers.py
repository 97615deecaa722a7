"""Lists of referrers: what of them is read, and how several are united, filtered and written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.indexes import INDEX
from facaded.oci.referrers import (
    LARGEST_SIZE,
    MOST_REFERRERS,
    UNITED_SIZE,
    Referrer,
    artifact_types,
    is_referrers_tag,
    read_referrers,
    referrers_tag,
    render_index,
    select,
    unite,
)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SIGNATURE = "application/vnd.example.signature"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def descriptor(number: int = 1, **fields: Any) -> dict[str, object]:
    return {"mediaType": MANIFEST, "digest": digest(number), "size": 7, **fields}


def listed(*descriptors: object) -> tuple[Referrer, ...]:
    return read_referrers({"manifests": list(descriptors)})


def rendered(referrers: tuple[Referrer, ...]) -> list[dict[str, Any]]:
    document = json.loads(render_index(referrers))
    assert (document["schemaVersion"], document["mediaType"]) == (2, INDEX)
    assert set(document) == {"schemaVersion", "mediaType", "manifests"}
    entries: list[dict[str, Any]] = document["manifests"]
    return entries


def test_only_the_keys_of_a_list_of_referrers_are_kept() -> None:
    whole = descriptor(artifactType=SIGNATURE, annotations={"a": "b"})
    extra = {"data": "e30=", "urls": ["https://elsewhere.test/"], "platform": {"os": "linux"}, "unknown": 1}
    assert rendered(listed({**whole, **extra})) == [whole]


@pytest.mark.parametrize(
    "invalid",
    [
        None,
        [],
        "sha256:1",
        {},
        descriptor(mediaType=None),
        descriptor(mediaType="text"),
        descriptor(mediaType="a/" + "b" * 300),
        descriptor(digest="sha256:1"),
        descriptor(digest=1),
        descriptor(size=-1),
        descriptor(size=True),
        descriptor(size=1.5),
        descriptor(size="7"),
        descriptor(size=LARGEST_SIZE + 1),
    ],
)
def test_what_is_no_descriptor_is_left_out(invalid: object) -> None:
    assert rendered(listed(invalid, descriptor(2))) == [descriptor(2)]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"artifactType": 1}, {}),
        ({"artifactType": "no type"}, {}),
        ({"artifactType": ""}, {}),
        ({"annotations": []}, {}),
        ({"annotations": {}}, {}),
        ({"annotations": {"a": "b", "c": 1, "d": None}}, {"annotations": {"a": "b"}}),
        ({"size": LARGEST_SIZE}, {"size": LARGEST_SIZE}),
    ],
)
def test_a_field_that_clients_could_not_read_is_left_out(fields: dict[str, Any], kept: dict[str, Any]) -> None:
    assert rendered(listed(descriptor(**fields))) == [descriptor(**kept)]


@pytest.mark.parametrize("manifests", [None, {}, "x", 1])
def test_a_document_without_a_list_has_no_referrers(manifests: object) -> None:
    assert read_referrers({"manifests": manifests}) == read_referrers({}) == ()


def test_the_lists_are_united_in_order_with_one_entry_for_each_digest() -> None:
    first, second = listed(descriptor(3), descriptor(1)), listed(descriptor(2), descriptor(1, size=8))
    assert rendered(unite([first, second])) == [descriptor(3), descriptor(1), descriptor(2)]


def test_an_entry_without_an_artifact_type_gets_the_next_one_s_and_nothing_else() -> None:
    """Clients refuse a manifest of another size than its entry says, so another registry could hide it."""
    typed = descriptor(1, artifactType=SIGNATURE, size=8, annotations={"a": "b"})
    other = descriptor(1, artifactType="application/other")
    united = unite([listed(descriptor(1), descriptor(2)), listed(typed), listed(other)])
    assert rendered(united) == [descriptor(1, artifactType=SIGNATURE), descriptor(2)]
    assert rendered(select(united, frozenset({SIGNATURE}))) == [descriptor(1, artifactType=SIGNATURE)]


def test_a_filter_keeps_the_referrers_of_any_of_its_types_and_none_without_a_type() -> None:
    one, two, none = descriptor(1, artifactType="a/b"), descriptor(2, artifactType="c/d+json"), descriptor(3)
    referrers = listed(one, two, none)
    assert rendered(select(referrers, frozenset({"a/b"}))) == [one]
    assert rendered(select(referrers, frozenset({"a/b", "c/d+json"}))) == [one, two]
    assert rendered(select(referrers, frozenset())) == [one, two, none]
    assert select(referrers, frozenset({"e/f"})) == ()


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("", set()),
        ("n=1", set()),
        ("artifactType=", set()),
        ("artifactType=a%2Fb", {"a/b"}),
        ("artifactType=a/b+json", {"a/b+json"}),
        ("artifactType=a%2Fb%2Bjson&n=1&artifactType=c/d", {"a/b+json", "c/d"}),
        ("artifacttype=a/b", set()),
    ],
)
def test_the_artifact_types_are_those_of_the_query(query: str, types: set[str]) -> None:
    assert artifact_types(query) == types


def test_a_list_has_a_bounded_number_of_entries_and_bytes() -> None:
    many = listed(*(descriptor(number) for number in range(MOST_REFERRERS + 5)))
    assert len(many) == MOST_REFERRERS
    more = listed(*(descriptor(number) for number in range(5000, 5010)))
    assert len(rendered(unite([many, more]))) == MOST_REFERRERS
    large = listed(*(descriptor(number, annotations={"a": "b" * 1_500_000}) for number in range(3)), descriptor(4))
    assert [entry["digest"] for entry in rendered(large)] == [digest(0), digest(1), digest(4)]
    assert len(render_index(large)) <= UNITED_SIZE


def test_the_fallback_tag_of_a_digest_is_shortened_as_the_spec_says() -> None:
    assert referrers_tag(digest(1)) == "sha256-" + "0" * 63 + "1"
    assert referrers_tag("sha512:" + "ab" * 64) == "sha512-" + "ab" * 32
    assert is_referrers_tag(referrers_tag("sha512:" + "ab" * 64))


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_the_tags_of_signatures_are_known(suffix: str) -> None:
    assert is_referrers_tag(referrers_tag(digest(1)) + suffix)


@pytest.mark.parametrize("tag", ["latest", "sha256-1", referrers_tag(digest(1)) + ".txt", digest(1), "sha256-.sig"])
def test_other_references_are_no_tags_of_signatures(tag: str) -> None:
    assert not is_referrers_tag(tag)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

DESCRIPTORS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from([MANIFEST, INDEX, "x"]) | JSON,
        "digest": st.integers(0, 3).map(digest) | JSON,
        "size": st.integers() | JSON,
        "artifactType": st.sampled_from(["a/b", "c/d", ""]) | JSON,
        "annotations": st.dictionaries(st.text(), st.text() | st.integers(), max_size=2) | JSON,
        "data": JSON,
        "urls": JSON,
    },
)


@given(st.lists(st.lists(DESCRIPTORS | JSON, max_size=5), max_size=3), st.sets(st.sampled_from(["a/b", "c/d"])))
def test_any_lists_are_united_to_an_index_that_clients_can_read(lists: list[list[Any]], types: set[str]) -> None:
    united = unite(read_referrers({"manifests": entries}) for entries in lists)
    entries = rendered(select(united, frozenset(types)))
    digests = [entry["digest"] for entry in entries]
    assert len(digests) == len(set(digests))
    sent = [entry.get("digest") for entries in lists for entry in entries if isinstance(entry, dict)]
    for entry in entries:
        assert set(entry) <= {"mediaType", "digest", "size", "artifactType", "annotations"}
        assert entry["digest"] in sent
        assert 0 <= entry["size"] <= LARGEST_SIZE
        assert not types or entry["artifactType"] in types
        assert all(isinstance(text, str) for text in entry.get("annotations", {}).values())
