"""What it means that backends have the same images."""

import pytest
from attrs import evolve

from facaded.oci.indexes import Entry
from facaded.oci.requests import parse_image
from facaded.policy.answers import Backend, Route, Rules
from facaded.policy.parity import (
    Held,
    Index,
    Outcome,
    Report,
    Row,
    Side,
    Wanted,
    copies,
    difference,
    incomparable,
    read,
    usual,
)
from facaded.policy.repositories import parse

SAME, DIFFERS, NOT_THERE, FAILING, NOT_ASKED = Outcome
BACKENDS = {"main": Backend("https://main.test"), "second": Backend("https://second.test")}
RULES = Rules(repositories=(parse("org/*"),), backends=BACKENDS)
DIGEST = "sha256:" + "0" * 64


def index(digest: str, *entries: tuple[str, str | None]) -> Index:
    return Index(digest, tuple(Entry(each, platform) for each, platform in entries))


AMD, ARM, OLD = ("a", "linux/amd64"), ("b", "linux/arm64"), ("c", "linux/arm/v7")


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ((SAME, SAME), SAME),
        ((SAME, DIFFERS), DIFFERS),
        ((DIFFERS, FAILING), DIFFERS),
        ((SAME, NOT_THERE), DIFFERS),
        ((SAME, NOT_THERE, FAILING), DIFFERS),
        ((NOT_THERE, NOT_THERE), NOT_THERE),
        ((NOT_THERE, FAILING), FAILING),
        ((SAME, FAILING), FAILING),
        ((SAME, NOT_ASKED), NOT_ASKED),
        ((NOT_THERE, NOT_ASKED), NOT_THERE),
        ((NOT_ASKED, NOT_ASKED), NOT_ASKED),
    ],
)
def test_the_outcomes_at_the_backends_make_one_verdict(outcomes: tuple[Outcome, ...], verdict: Outcome) -> None:
    row = Row("org/app", "latest", {str(number): Side(outcome) for number, outcome in enumerate(outcomes)})
    assert row.verdict is verdict
    report = Report(("main",), (row,))
    assert report.is_bad_news is (verdict not in (SAME, NOT_ASKED))
    assert report.with_verdict(verdict) == (row,)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (index("1", AMD), Index("2", known=False), "another digest"),
        (Index("1"), Index("2"), "another manifest"),
        (Index("1"), index("2", AMD, ARM), "an index: linux/amd64, linux/arm64"),
        (index("1", AMD), Index("2"), "another manifest, no index"),
        (index("1", AMD, ARM), Index("b"), "linux/arm64 alone"),
        (index("1", AMD, ("d", None)), Index("d"), "another manifest, no index"),
        (index("1", AMD, ARM), index("2", AMD), "lacks linux/arm64"),
        (index("1", AMD), index("2", AMD, ARM), "has also linux/arm64"),
        (index("1", AMD, ARM), index("2", AMD, ("z", "linux/arm64")), "another linux/arm64"),
        (index("1", AMD, OLD), index("2", ("z", "linux/amd64"), ARM), "lacks linux/arm/v7; has also linux/arm64; "),
        (index("1", AMD, ("d", None)), index("2", AMD), "the same platforms, other attestations"),
        (index("1", AMD, ARM), index("2", ARM, AMD), "another index of the same manifests"),
        (index("1", *((f"{n}", f"os/{n}") for n in range(7))), index("2"), "lacks os/0, os/1, os/2, os/3, os/4 and 2 "),
    ],
)
def test_a_difference_is_put_into_few_words(ours: Index, theirs: Index, words: str) -> None:
    assert difference(ours, theirs).startswith(words)


def test_copies_are_held_against_what_all_of_them_have() -> None:
    held: dict[str, Held | Side] = {
        "whole": Held((), frozenset({"x", "y"})),
        "less": Held((Entry("b", "linux/arm64"), Entry("d", None), Entry("e", None)), frozenset({"y"})),
        "unread": Held((), None),
        "failing": Side(FAILING, "answered 500"),
    }
    sides = copies(index("1", AMD, ARM), held)
    assert sides["whole"] == Side(SAME, "", "1", ("linux/amd64", "linux/arm64"), ("x", "y"))
    assert sides["less"].words == "lacks linux/arm64, 2 attestations, 1 of 2 referrers"
    assert sides["unread"].outcome is SAME
    assert sides["failing"] == Side(FAILING, "answered 500", "1", ("linux/amd64", "linux/arm64"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("org/app", Wanted("org/app", None)),
        ("org/app:1", Wanted("org/app", "1")),
        ("org/app:latest", Wanted("org/app", "latest")),
        (f"org/app@{DIGEST}", Wanted("org/app", DIGEST)),
    ],
)
def test_an_image_without_a_tag_means_all_tags(text: str, wanted: Wanted) -> None:
    assert read(text, RULES) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("evil/app", "evil/app is not among the `repositories` of the settings"),
        ("Org/app", "'Org/app' is not a repository name"),
        ("org/app:\x1b", "is not a tag"),
        ("org/app@sha256:1", "is not a digest"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("`", ".")):
        read(text, RULES)


def test_without_an_image_the_canary_and_what_was_pulled_lately_are_compared() -> None:
    lately = ["org/b:1", "evil/app:1", 5, "org/app:2"]
    wanted = [Wanted("org/app", "2"), Wanted("org/b", "1", lately=True), Wanted("org/app", "2", lately=True)]
    assert usual(parse_image("org/app:2"), lately, RULES) == wanted
    assert usual(None, lately, RULES) == wanted[1:]
    assert usual(None, {"not": "a list"}, RULES) == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (RULES, None),
        (Rules(backends={"main": Backend("https://main.test")}), "main is the only backend"),
        (Rules(backends={"main": Backend("https://main.test", private=True)}), "main alone is asked"),
        (Rules(backends=BACKENDS), "name your `repositories` in the settings"),
        (Rules(backends=BACKENDS, named_routes=(Route(("main", "second"), (parse("org/*"),)),)), None),
    ],
)
def test_where_one_backend_alone_is_asked_there_is_nothing_to_compare(rules: Rules, words: str | None) -> None:
    found = incomparable(rules)
    assert (found is None) if words is None else (found is not None and words in found)


def test_what_was_not_compared_is_not_called_equal() -> None:
    alone = Row("org/app", "latest", {"main": Side(Outcome.SAME), "second": Side(Outcome.NOT_ASKED)})
    both = evolve(alone, sides={"main": Side(Outcome.SAME), "second": Side(Outcome.SAME)})
    gone = evolve(both, sides={"main": Side(Outcome.SAME), "second": Side(Outcome.NOT_THERE)})
    reports = [Report(("main", "second"), rows) for rows in ((), (alone,), (alone, both), (both, gone))]
    assert [report.equal for report in reports] == [None, None, True, False]
    assert [report.is_bad_news for report in reports] == [False, False, False, True]
