"""References: the lists of tags of several backends, turned into the references to compare. Pure."""

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from facaded.parity.differences import counted
from facaded.parity.findings import ALL_TAGS, Finding, Row, Side

TAGS = 1000
"""The most tags of one repository that are compared."""


@frozen
class Reference:
    """One reference to compare.

    `known` are the sides that need no request. `recent` is true if a client pulled it and no person named it.
    """

    name: str
    reference: str
    known: Mapping[str, Side] = field(factory=dict)
    recent: bool = False


@frozen
class TagList:
    """The tags of a repository at one backend.

    `complete` is false if there are too many to compare, and `tags` has only some of them. `invalid` counts the names
    that are not valid tags. `reason` is the backend's error if it denies that the repository is there.
    """

    tags: tuple[str, ...]
    complete: bool = True
    invalid: int = 0
    reason: str = ""


def list_tags(name: str, known: Mapping[str, Side], lists: Mapping[str, TagList | Side]) -> list[Reference]:
    """Return a reference for every tag that a backend lists, `TAGS` at most.

    A backend with a complete list is not asked for tags that are not on it.
    """
    tag_lists = _tag_lists(lists)
    complete = {
        backend: (set(tag_list.tags), tag_list.reason) for backend, tag_list in tag_lists.items() if tag_list.complete
    }
    references = []
    for tag in _all_tags(tag_lists)[:TAGS]:
        absent = {
            backend: Side(Finding.NOT_THERE, reason) for backend, (tags, reason) in complete.items() if tag not in tags
        }
        references.append(Reference(name, tag, {**known, **absent}))
    return references


def list_notes(name: str, lists: Mapping[str, TagList | Side]) -> Iterator[str]:
    """Yield sentences about tags that are not compared."""
    tag_lists = _tag_lists(lists)
    tags = len(_all_tags(tag_lists))
    if tags > TAGS or not all(tag_list.complete for tag_list in tag_lists.values()):
        yield f"{name} has more than {TAGS} tags: compared {min(tags, TAGS)} of them"
    for backend, tag_list in tag_lists.items():
        if tag_list.invalid:
            yield f"{backend} lists {counted(tag_list.invalid, 'invalid tag')} in {name}: not compared"


def list_rows(name: str, known: Mapping[str, Side], lists: Mapping[str, TagList | Side]) -> list[Row]:
    """Return a row about the lists themselves if one of them failed or all are empty."""
    tag_lists = _tag_lists(lists)
    if len(tag_lists) == len(lists) and any(tag_list.tags for tag_list in tag_lists.values()):
        return []
    sides = {backend: side if isinstance(side, Side) else _list_side(side) for backend, side in lists.items()}
    return [Row(name, ALL_TAGS, {**known, **sides})]


def _tag_lists(lists: Mapping[str, TagList | Side]) -> dict[str, TagList]:
    return {backend: tag_list for backend, tag_list in lists.items() if isinstance(tag_list, TagList)}


def _all_tags(lists: Mapping[str, TagList]) -> list[str]:
    return list(dict.fromkeys(tag for tag_list in lists.values() for tag in tag_list.tags))


def _list_side(tag_list: TagList) -> Side:
    if not tag_list.tags:
        return Side(Finding.NOT_THERE, tag_list.reason)
    return Side(Finding.SAME, counted(len(tag_list.tags), "tag"))
