"""Pins and drains: which overrides are possible, and how they expire."""

from collections.abc import Callable

import pytest

from facaded.policy.overrides import LONGEST, ContradictionError, Override, Overrides

KNOWN = ("hub", "ghcr")
NOW = Override(100)
SOON = Override(100, until=160)


def test_a_pin_replaces_another() -> None:
    assert Overrides().pin("hub", NOW, KNOWN).pin("ghcr", SOON, KNOWN) == Overrides({"ghcr": SOON})


def test_a_drain_is_added_to_others_and_can_be_renewed() -> None:
    drained = Overrides().drain("hub", NOW, KNOWN).drain("ghcr", NOW, KNOWN).drain("hub", SOON, KNOWN)
    assert drained == Overrides(drains={"hub": SOON, "ghcr": NOW})
    assert drained.undrain("hub", KNOWN) == Overrides(drains={"ghcr": NOW})


UNKNOWN_BACKEND = "no route has a backend called 'quay': choose from hub, ghcr"


@pytest.mark.parametrize(
    ("contradict", "sentence"),
    [
        (lambda before: before.pin("ghcr", NOW, KNOWN), "ghcr is drained: undrain it first, or pin another backend"),
        (lambda before: before.drain("hub", NOW, KNOWN), "hub is pinned: unpin it first, or drain another backend"),
        (lambda before: before.pin("quay", NOW, KNOWN), UNKNOWN_BACKEND),
        (lambda before: before.drain("quay", NOW, KNOWN), UNKNOWN_BACKEND),
        (lambda before: before.undrain("quay", KNOWN), UNKNOWN_BACKEND),
    ],
)
def test_a_contradiction_is_refused_with_a_sentence(
    contradict: Callable[[Overrides], Overrides], sentence: str
) -> None:
    with pytest.raises(ContradictionError) as error:
        contradict(Overrides({"hub": NOW}, {"ghcr": NOW}))
    assert str(error.value) == sentence


def test_an_override_ends_when_it_expires_or_its_backend_is_removed() -> None:
    overrides = Overrides({"hub": SOON}, {"ghcr": NOW})
    assert overrides.next_expiry == 160
    assert overrides.in_force(KNOWN, 159.9) == overrides
    assert overrides.in_force(KNOWN, 160) == Overrides({}, {"ghcr": NOW})
    assert overrides.in_force(["hub"], 100) == Overrides({"hub": SOON})
    assert Overrides({"hub": NOW}).next_expiry is None


def test_changes_are_described() -> None:
    before, after = Overrides({"hub": NOW}, {"ghcr": NOW}), Overrides({"quay": NOW}, {"hub": NOW})
    changes = ["quay is pinned", "hub is no longer pinned", "hub is drained", "ghcr is no longer drained"]
    assert after.changes_since(before) == changes
    assert before.changes_since(before) == []


def test_an_override_lasts_for_the_seconds_set_but_not_longer_than_the_longest() -> None:
    assert Override.lasting(None, 100) == NOW
    assert Override.lasting(60, 100) == SOON
    assert Override.lasting(10 * LONGEST, 100) == Override(100, until=100 + LONGEST)


def test_overrides_follow_a_rename() -> None:
    before = Overrides({"hub": SOON}, {"ghcr": NOW, "quay": SOON})
    assert before.renamed({"hub": "ghcr", "ghcr": "hub"}) == Overrides({"ghcr": SOON}, {"quay": SOON, "hub": NOW})
    assert before.renamed({"ghcr": "quay"}) == Overrides({"hub": SOON}, {"quay": NOW}), "the name quay is taken"
    assert before.renamed({"quay": "hub"}) == Overrides({}, {"ghcr": NOW, "hub": SOON}), "the name hub is taken"
    assert before.only({"quay"}) == Overrides(drains={"quay": SOON})


def test_time_that_only_the_wall_clock_has_counted_brings_the_end_nearer() -> None:
    before = Overrides({"hub": SOON}, {"ghcr": NOW})
    assert before.advanced(30, 110) == Overrides({"hub": Override(70, until=130)}, {"ghcr": Override(70)})
    over = before.advanced(3600, 110)
    assert over.pins == {"hub": Override(-3500, until=110)}
    assert over.in_force(KNOWN, 110) == Overrides({}, {"ghcr": Override(-3500)})


def test_a_reason_is_told_with_the_change_and_lasts_as_long_as_the_override() -> None:
    because = Override.lasting(60, 100, "ticket 4711")
    before = Overrides({"hub": SOON}, {"ghcr": NOW})
    after = Overrides({"hub": because}, {"ghcr": Override(100, reason="maintenance")})
    assert after.changes_since(before) == ["hub is pinned (ticket 4711)", "ghcr is drained (maintenance)"]
    assert after.changes_since(after) == []
    assert after.advanced(30, 110).pins["hub"] == Override(70, until=130, reason="ticket 4711")
