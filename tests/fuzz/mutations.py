"""Mutations of real input: a few edits of a seed reach deeper than random bytes do."""

import json
from collections.abc import Sequence
from copy import deepcopy
from enum import Enum
from itertools import pairwise
from typing import Any

from attrs import frozen
from hypothesis import strategies as st

LONGEST_SPAN = 64
"""Bytes that one edit removes, repeats or moves: as long as the longest part of a seed, a digest."""

MOST_REPEATS = 400
"""Times that a span is repeated at most, so that limits on sizes are reached."""

MOST_EDITS = 6

MOST_RANDOM = 80
"""Bytes of an input that is not made from a seed: longer ones reach no deeper."""

LARGEST_POSITION = 1 << 16
"""Positions are drawn from here and taken modulo the length, so that they do not depend on the seed."""


class Kind(Enum):
    """What an edit does with a span of the input."""

    REMOVE = "remove"
    REPEAT = "repeat"
    MOVE = "move"
    INSERT = "insert"
    REPLACE = "replace"
    OVERWRITE = "replace by as many bytes"
    INSERT_LINE = "insert before a line"
    REPLACE_LINE = "replace a line"
    REPLACE_VALUE = "replace what follows a colon in a line"
    CUT = "cut off the rest"


LINE_KINDS = (Kind.INSERT_LINE, Kind.REPLACE_LINE, Kind.REPLACE_VALUE)


@frozen
class Edit:
    """One edit: at `position` modulo the input's length, of `span` bytes. `payload` is what is inserted."""

    kind: Kind
    position: int
    span: int
    payload: bytes
    repeats: int

    def apply(self, data: bytes) -> bytes:
        if self.kind in LINE_KINDS:
            return self._apply_to_line(data)
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
            case Kind.OVERWRITE:
                return head + self.payload + data[start + len(self.payload) :]
            case _:
                return head

    def _apply_to_line(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True) or [b""]
        index = self.position % len(lines)
        name, _, value = lines[index].partition(b": ")
        match self.kind:
            case Kind.INSERT_LINE:
                lines.insert(index, self.payload)
            case Kind.REPLACE_LINE:
                lines[index] = self.payload
            case _:
                end = value[len(value.rstrip(b"\r\n")) :]
                lines[index] = name + b": " + (self.payload.partition(b": ")[2].rstrip() or self.payload) + end
        return b"".join(lines)


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


def mostly_mutated(
    seeds: Sequence[bytes], vocabulary: Sequence[bytes], most_edits: int = MOST_EDITS
) -> st.SearchStrategy[bytes]:
    """Three quarters mutated seeds, and one quarter random bytes."""
    return st.one_of(*(mutated(seeds, vocabulary, most_edits) for _ in range(3)), st.binary(max_size=MOST_RANDOM))


JSON_VALUES = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 1.5, 1e300, 10**30, "", "x", "\x00", "\ud800", [], {}, [None], {"": None}, float("nan")]
    ),
    st.integers(),
    st.text(max_size=8),
)
"""What takes the place of a value."""


def change_value(document: object, position: int, value: object) -> object:
    """Replace the value at `position` modulo the number of all values in a JSON document, counted from outside."""
    places: list[tuple[Any, Any]] = []

    def visit(parent: Any) -> None:
        entries = parent.items() if isinstance(parent, dict) else enumerate(parent) if isinstance(parent, list) else ()
        for key, inner in entries:
            places.append((parent, key))
            visit(inner)

    visit(document)
    if not places:
        return value
    parent, key = places[position % len(places)]
    parent[key] = deepcopy(value)  # it may be a list, which the next change adds to
    return document


def mutated_json(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """JSON documents in which one or two values have another type or content."""

    def change(seed: bytes, changes: Sequence[tuple[int, object]]) -> bytes:
        document = json.loads(seed)
        for position, value in changes:
            document = change_value(document, position, value)
        return json.dumps(document).encode()

    changes = st.lists(st.tuples(st.integers(0, LARGEST_POSITION), JSON_VALUES), min_size=1, max_size=2)
    return st.builds(change, st.sampled_from(seeds), changes)


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return `data` in pieces, cut at these positions modulo its length."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, LARGEST_POSITION), max_size=4)
"""Where input is split."""
