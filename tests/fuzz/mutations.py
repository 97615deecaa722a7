"""Mutations of real input: a few edits of a seed reach deeper than random bytes do."""

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

from attrs import frozen
from hypothesis import strategies as st

LONGEST_SPAN = 64
"""Bytes that one edit removes, repeats or moves: as long as the longest part of a seed, a digest."""

MOST_REPEATS = 400
"""Times that a span is repeated at most, so that limits on sizes are reached."""

MOST_EDITS = 6

LARGEST_POSITION = 1 << 16
"""Positions are drawn from here and taken modulo the length, so that they do not depend on the seed."""


class Kind(Enum):
    """What an edit does with a span of the input."""

    REMOVE = "remove"
    REPEAT = "repeat"
    MOVE = "move"
    INSERT = "insert"
    REPLACE = "replace"
    CUT = "cut off the rest"


@frozen
class Edit:
    """One edit: at `position` modulo the input's length, of `span` bytes. `payload` is what is inserted."""

    kind: Kind
    position: int
    span: int
    payload: bytes
    repeats: int

    def apply(self, data: bytes) -> bytes:
        start = self.position % (len(data) + 1)
        head, part, tail = data[:start], data[start : start + self.span], data[start + self.span :]
        match self.kind:
            case Kind.REMOVE:
                return head + tail
            case Kind.REPEAT:
                return head + part * self.repeats + tail
            case Kind.MOVE:
                return part + head + tail
            case Kind.INSERT:
                return head + self.payload + part + tail
            case Kind.REPLACE:
                return head + self.payload + tail
            case _:
                return head


def edits(vocabulary: Sequence[bytes]) -> st.SearchStrategy[Edit]:
    """Edits whose payloads are words of `vocabulary` or short random bytes."""
    return st.builds(
        Edit,
        st.sampled_from(Kind),
        st.integers(0, LARGEST_POSITION),
        st.integers(1, LONGEST_SPAN),
        st.sampled_from(vocabulary) | st.binary(min_size=1, max_size=4),
        st.sampled_from([2, 3, 40, MOST_REPEATS]),
    )


def mutate(seed: bytes, changes: Sequence[Edit]) -> bytes:
    for change in changes:
        seed = change.apply(seed)
    return seed


def mutated(
    seeds: Sequence[bytes], vocabulary: Sequence[bytes], most_edits: int = MOST_EDITS
) -> st.SearchStrategy[bytes]:
    """Seeds with up to `most_edits` edits; some remain as they are."""
    return st.builds(mutate, st.sampled_from(seeds), st.lists(edits(vocabulary), max_size=most_edits))


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return `data` in pieces, cut at these positions modulo its length."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, LARGEST_POSITION), max_size=4)
"""Where input is split."""
