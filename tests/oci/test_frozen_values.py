"""Frozen classes without the check at run time."""

import pytest

from facaded.oci.frozen_values import frozen


@frozen
class Pair:
    left: int
    right: str = ""


@frozen(eq=False)
class Unlike:
    left: int


def test_equality_and_hash_are_by_value() -> None:
    assert Pair(1, "a") == Pair(1, "a") != Pair(1)
    assert len({Pair(1, "a"), Pair(1, "a"), Pair(2)}) == 2


def test_without_equality_every_object_is_its_own() -> None:
    assert len({Unlike(1), Unlike(1)}) == 2


def test_attributes_are_in_slots() -> None:
    assert not hasattr(Pair(1), "__dict__")
    with pytest.raises(AttributeError):
        Pair(1).other = 2  # type: ignore[attr-defined]


def test_patterns_match() -> None:
    match Pair(1, "a"):
        case Pair(left, right):
            assert (left, right) == (1, "a")
