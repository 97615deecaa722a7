"""Pins and drains: what the operator may say, and what contradicts it."""

import pytest

from facaded.policy.overrides import LONGEST, ContradictionError, Override, Overrides

KNOWN = ("hub", "ghcr")
NOW = Override(100)
SOON = Override(100, until=160)


def test_a_pin_takes_the_place_of_another() -> None:
    assert Overrides().pin("hub", NOW, KNOWN).pin("ghcr", SOON, KNOWN) == Overrides({"ghcr": SOON})


def test_a_drain_stands_beside_others_and_is_renewed() -> None:
    drained = Overrides().drain("hub", NOW, KNOWN).drain("ghcr", NOW, KNOWN).drain("hub", SOON, KNOWN)
    assert drained == Overrides(drains={"hub": SOON, "ghcr": NOW})
    assert drained.undrain("hub", KNOWN) == Overrides(drains={"ghcr": NOW})


@pytest.mark.parametrize(
    ("contradict", "sentence"),
    [
        (lambda said: said.pin("ghcr", NOW, KNOWN), "ghcr is drained: undrain it first, or pin another backend"),
        (lambda said: said.drain("hub", NOW, KNOWN), "hub is pinned: unpin it first, or drain another backend"),
        (lambda said: said.pin("quay", NOW, KNOWN), "no route has a backend called quay: hub, ghcr"),
        (lambda said: said.drain("quay", NOW, KNOWN), "no route has a backend called quay: hub, ghcr"),
        (lambda said: said.undrain("quay", KNOWN), "no route has a backend called quay: hub, ghcr"),
    ],
)
def test_a_contradiction_is_refused_with_a_sentence(contradict: object, sentence: str) -> None:
    said = Overrides({"hub": NOW}, {"ghcr": NOW})
    with pytest.raises(ContradictionError) as refused:
        contradict(said)  # type: ignore[operator]
    assert str(refused.value) == sentence


def test_nothing_to_undo_is_success() -> None:
    overrides = Overrides({}, {"ghcr": NOW})
    assert overrides.unpin() == overrides
    assert overrides.undrain("hub", KNOWN) == overrides


def test_overrides_end_by_themselves_and_with_their_backend() -> None:
    said = Overrides({"hub": SOON}, {"ghcr": NOW})
    assert said.next_end == 160
    assert said.left(KNOWN, 159.9) == said
    assert said.left(KNOWN, 160) == Overrides({}, {"ghcr": NOW})
    assert said.left(["hub"], 100) == Overrides({"hub": SOON})
    assert Overrides({"hub": NOW}).next_end is None


def test_what_has_changed_is_said() -> None:
    before, after = Overrides({"hub": NOW}, {"ghcr": NOW}), Overrides({"quay": NOW}, {"hub": NOW})
    assert after.news(before) == ["quay pinned", "hub no longer pinned", "hub drained", "ghcr no longer drained"]
    assert before.news(before) == []


def test_an_override_lasts_as_long_as_it_is_said_and_not_longer_than_the_settings_should_say() -> None:
    assert Override.lasting(None, 100) == NOW
    assert Override.lasting(60, 100) == SOON
    assert Override.lasting(10 * LONGEST, 100) == Override(100, until=100 + LONGEST)
