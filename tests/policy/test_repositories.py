"""Patterns of repository names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.repositories import listed, parse, parse_rename, renamed

TABLE = [
    ("org/*", "org/app", True),
    ("org/*", "org/team/app", False),
    ("org/*", "org", False),
    ("org/**", "org/app", True),
    ("org/**", "org/team/app", True),
    ("org/**", "org", False),
    ("org/**", "organisation/app", False),
    ("org/next-*", "org/next-app", True),
    ("org/next-*", "org/next-", False),
    ("org/next-*", "org/app", False),
    ("**", "org/app", True),
    ("*", "app", True),
    ("*", "org/app", False),
    ("**/app", "a/b/app", True),
    ("**/app", "app", False),
    ("org/a.b", "org/a.b", True),
    ("org/a.b", "org/axb", False),
    ("org/app", "org/app/evil", False),
]


@pytest.mark.parametrize(("pattern", "name", "matches"), TABLE)
def test_the_table_of_patterns(pattern: str, name: str, matches: bool) -> None:
    assert parse(pattern).matches(name) == matches


@pytest.mark.parametrize(
    "text",
    ["", "/", "org/", "Org/*", "org/***", "org/a**", "org/[a]", "../x y", "*" * 9, "a" * 256, "*-*-*-*-*-*-*-*-*"],
)
def test_an_invalid_pattern_raises_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|wildcards|\*\*"):
        parse(text)


@given(st.text())
def test_an_empty_list_has_every_name(name: str) -> None:
    assert listed((), name)
    assert not listed((parse("only/this"),), name) or name == "only/this"


@pytest.mark.parametrize(
    ("renames", "name", "backend_name"),
    [
        ({"*": "library/*"}, "app", "library/app"),
        ({"*": "library/*"}, "org/app", "org/app"),
        ({"org/*": "other/*"}, "org/app", "other/app"),
        ({"org/**": "other/**"}, "org/team/app", "other/team/app"),
        ({"org/next-*": "next/*"}, "org/next-app", "next/app"),
        ({"app": "org/app"}, "app", "org/app"),
        ({"org/a": "one", "org/*": "two/*"}, "org/a", "one"),
        ({"org/a": "one", "org/*": "two/*"}, "org/b", "two/b"),
        ({"*": f"{'l' * 200}/*"}, "a" * 100, None),
        ({"a*": "b/-*"}, "ax", None),
        ({}, "org/app", "org/app"),
    ],
)
def test_the_first_rename_that_matches_applies(renames: dict[str, str], name: str, backend_name: str | None) -> None:
    entries = tuple(parse_rename(facade, backend) for facade, backend in renames.items())
    assert renamed(entries, name) == backend_name


@pytest.mark.parametrize(
    ("facade", "backend"),
    [("*", "app"), ("app", "*"), ("*", "**"), ("*/*", "*/*"), ("**/a", "*/a"), ("Org/*", "org/*"), ("a", "B")],
)
def test_a_rename_has_one_wildcard_the_same_on_both_sides_or_none(facade: str, backend: str) -> None:
    with pytest.raises(ValueError, match=r"wildcard|pattern"):
        parse_rename(facade, backend)


def test_a_name_that_does_not_match_has_no_parts() -> None:
    assert parse("org/*").parts("other/app") == ()


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("org/**", "org/next-*", True),
        ("org/*", "*/app", True),
        ("**", "org/app", True),
        ("org/*", "other/*", False),
        ("org/app", "org/app", True),
        ("org/app", "org/tool", False),
        ("org/*-app", "org/*-tool", False),
    ],
)
def test_patterns_may_overlap_if_a_name_can_match_both(one: str, other: str, overlaps: bool) -> None:
    assert parse(one).may_overlap(parse(other)) == overlaps
    assert parse(other).may_overlap(parse(one)) == overlaps


SHAPES = st.sampled_from(["*", "**", "org/*", "org/**", "*/app", "org/a*", "**/app"])
NAMES = st.from_regex(r"(org|team)/[ab]{1,3}(/app)?", fullmatch=True)


@given(NAMES, SHAPES, SHAPES)
def test_patterns_that_match_one_name_may_overlap(name: str, first: str, second: str) -> None:
    one, other = parse(first), parse(second)
    if one.matches(name) and other.matches(name):
        assert one.may_overlap(other)


@pytest.mark.parametrize("pattern", ["org/*", "org/**", "**", "*-x/app", "org/app"])
def test_a_pattern_matches_its_example(pattern: str) -> None:
    assert parse(pattern).matches(parse(pattern).example)
