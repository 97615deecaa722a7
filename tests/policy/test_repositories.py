"""Patterns of repository names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.repositories import listed, parse

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
def test_what_is_no_pattern_raises_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|wildcards|\*\*"):
        parse(text)


@given(st.text())
def test_an_empty_list_has_every_name_on_it(name: str) -> None:
    assert listed((), name)
    assert not listed((parse("only/this"),), name) or name == "only/this"
