"""Subjects: which images are compared."""

import pytest

from facaded.oci.requests import parse_image
from facaded.parity.subjects import Subject, incomparable, read, usual
from facaded.policy.decision import BackendRules, Route, Rules
from facaded.policy.repositories import parse

BACKENDS = {"main": BackendRules("https://main.test"), "second": BackendRules("https://second.test")}
RULES = Rules(repositories=(parse("org/*"),), backends=BACKENDS)
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("org/app", Subject("org/app", None)),
        ("org/app:1", Subject("org/app", "1")),
        ("org/app:latest", Subject("org/app", "latest")),
        (f"org/app@{DIGEST}", Subject("org/app", DIGEST)),
    ],
)
def test_an_image_without_a_tag_means_all_tags(text: str, subject: Subject) -> None:
    assert read(text, RULES) == subject


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("evil/app", "evil/app is not in `repositories`: add it there"),
        ("Org/app", "'Org/app' is not a repository name"),
        ("org/app:\x1b", "is not a tag"),
        ("org/app@sha256:1", "is not a digest"),
    ],
)
def test_an_image_that_cannot_be_compared_is_refused_with_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("`", ".")):
        read(text, RULES)


def test_without_an_image_the_canary_and_recent_pulls_are_compared() -> None:
    recent = ["org/b:1", "evil/app:1", 5, "org/app:2"]
    subjects = [Subject("org/app", "2"), Subject("org/b", "1", recent=True), Subject("org/app", "2", recent=True)]
    assert usual(parse_image("org/app:2"), recent, RULES) == subjects
    assert usual(None, recent, RULES) == subjects[1:]
    assert usual(None, {"not": "a list"}, RULES) == []


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (RULES, None),
        (Rules(backends={"main": BackendRules("https://main.test")}), "main is the only backend"),
        (Rules(backends={"main": BackendRules("https://main.test", private=True)}), "main is the only backend"),
        (Rules(backends=BACKENDS), ": set `repositories` so that others may serve them too"),
        (Rules(backends=BACKENDS, named_routes=(Route(("main", "second"), (parse("org/*"),)),)), None),
    ],
)
def test_with_only_one_backend_there_is_nothing_to_compare(rules: Rules, reason: str | None) -> None:
    sentence = incomparable(rules)
    assert (sentence is None) if reason is None else (sentence is not None and reason in sentence)
