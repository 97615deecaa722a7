"""References: what the lists of tags of several backends mean together. Pure."""

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from facaded.parity.differences import counted
from facaded.parity.findings import ALL_TAGS, Finding, Row, Side

TAGS = 1000
"""Tags of one repository that are compared."""


@frozen
class Reference:
    """One reference to compare. `known` are the sides that are known without a question."""

    name: str
    reference: str
    known: Mapping[str, Side] = field(factory=dict)
    recent: bool = False


@frozen
class TagList:
    """Tags of a repository at one backend.

    If they are too many to compare, it has only some of them and is not `complete`. `strange` counts the names that
    are no tags; `reason` say why it is empty, if the backend said so.
    """

    tags: tuple[str, ...]
    complete: bool = True
    strange: int = 0
    reason: str = ""


def list_tags(name: str, known: Mapping[str, Side], lists: Mapping[str, TagList | Side]) -> list[Reference]:
    """Return every tag that a backend lists. A backend that lists all its tags is not asked for the others."""
    given = _given(lists)
    whole = {backend: (set(each.tags), each.reason) for backend, each in given.items() if each.complete}
    references = []
    for tag in _all_tags(given)[:TAGS]:
        without = {
            backend: Side(Finding.NOT_THERE, said) for backend, (theirs, said) in whole.items() if tag not in theirs
        }
        references.append(Reference(name, tag, {**known, **without}))
    return references


def list_notes(name: str, lists: Mapping[str, TagList | Side]) -> Iterator[str]:
    """Say what of the lists is not compared, a sentence each."""
    given = _given(lists)
    tags = len(_all_tags(given))
    if tags > TAGS or not all(each.complete for each in given.values()):
        yield f"{name} has more than {TAGS} tags: {min(tags, TAGS)} of them are compared"
    for backend, each in given.items():
        if each.strange:
            yield f"{backend} lists {each.strange} names in {name} that are no tags: they are not compared"


def list_rows(name: str, known: Mapping[str, Side], lists: Mapping[str, TagList | Side]) -> list[Row]:
    """Return a row about the lists themselves, if one could not be read or all are empty."""
    given = _given(lists)
    if len(given) == len(lists) and any(each.tags for each in given.values()):
        return []
    sides = {backend: each if isinstance(each, Side) else _list_side(each) for backend, each in lists.items()}
    return [Row(name, ALL_TAGS, {**known, **sides})]


def _given(lists: Mapping[str, TagList | Side]) -> dict[str, TagList]:
    return {backend: each for backend, each in lists.items() if isinstance(each, TagList)}


def _all_tags(lists: Mapping[str, TagList]) -> list[str]:
    return list(dict.fromkeys(tag for each in lists.values() for tag in each.tags))


def _list_side(tags: TagList) -> Side:
    return Side(Finding.SAME, counted(len(tags.tags), "tag")) if tags.tags else Side(Finding.NOT_THERE, tags.reason)
