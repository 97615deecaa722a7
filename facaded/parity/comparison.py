"""The comparison: whether the backends of a route have the same images. It covers tags, digests, platforms, referrers.

HEADs are free where manifests are counted (Docker Hub), so a manifest's body is read only where its digest does not
say enough: an index's, once for each digest, from a backend that does not count if there is one.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from facaded.backends.manifests import Manifest
from facaded.backends.registry import Registry
from facaded.oci import indexes
from facaded.oci.indexes import INDEX_TYPES
from facaded.parity.differences import Holding, Index, copies, difference
from facaded.parity.findings import Finding, Report, Row, Side
from facaded.parity.peers import CHILDREN, PULLS_SPARED, Peer
from facaded.parity.references import Reference, TagList, list_notes, list_rows, list_tags
from facaded.parity.subjects import Subject
from facaded.parity.work import Once, in_turn
from facaded.policy.decision import Rules
from facaded.policy.repositories import renamed

T = TypeVar("T")

AT_ONCE = 4
"""References that are compared at a time: each asks all backends, which shall take it for no more than a pull."""

REFERENCES = 5000
"""References that are compared in one run: more would take hours."""


class Comparison:
    """Compares what the `sources`, by backend, have. They must keep no manifests: each has to answer for itself."""

    def __init__(self, sources: Mapping[str, Registry], rules: Rules, clock: IReactorTime) -> None:
        self._peers = {name: Peer(source, clock) for name, source in sources.items()}
        self._rules = rules
        self._notes: dict[str, None] = {}
        self._indexes: Once[tuple[str, str, tuple[str, ...]], Index] = Once()
        self._groups: Once[tuple[str, str, tuple[str, ...]], dict[str, Side]] = Once()

    async def compare(self, subjects: Sequence[Subject], progress: Callable[[int, int], None]) -> Report:
        """Compare images. `progress` is called with how many references are done, and of how many."""
        rows: list[Row] = []
        references: dict[tuple[str, str], Reference] = {}
        for subject in dict.fromkeys(subjects):
            found, about_lists = await self._expand(subject)
            rows += about_lists
            for reference in found:
                references.setdefault((reference.name, reference.reference), reference)
        if len(references) > REFERENCES:
            self._note(f"there are more than {REFERENCES} references: the first {REFERENCES} are compared")
        works = [partial(self._compare_one, reference) for reference in list(references.values())[:REFERENCES]]
        rows += [row for row in await in_turn(works, AT_ONCE, progress) if row is not None]
        shown = {backend for row in rows for backend in row.sides}
        backends = tuple(backend for backend in self._peers if backend in shown or not shown)
        return Report(backends, tuple(rows), tuple(self._notes))

    async def _expand(self, subject: Subject) -> tuple[list[Reference], list[Row]]:
        """Return the references that a subject means, and rows about the lists of tags that could not be read."""
        backends = self._route(subject.name)
        if len(backends) == 1:
            self._note(f"{subject.name} comes from {backends[0]} alone: nothing to compare")
            return [], []
        known = {
            name: Side(Finding.NOT_ASKED, "it has no such name there")
            for name in backends
            if renamed(self._rules.backends[name].renames, subject.name) is None
        }
        if subject.reference is not None:
            return [Reference(subject.name, subject.reference, known, subject.recent)], []
        asked = [name for name in backends if name not in known]
        lists: dict[str, TagList | Side] = await self._each(asked, lambda peer: peer.tags(subject.name))
        for note in list_notes(subject.name, lists):
            self._note(note)
        return list_tags(subject.name, known, lists), list_rows(subject.name, known, lists)

    async def _compare_one(self, reference: Reference) -> Row | None:
        """Return the row of one reference; None if only a client named it, and no backend has it."""
        name, order = reference.name, self._route(reference.name)
        asked = [backend for backend in order if backend not in reference.known]
        heads = await self._each(asked, lambda peer: peer.head(name, reference.reference))
        found = {backend: head for backend, head in heads.items() if isinstance(head, Manifest)}
        sides = {**reference.known, **{backend: head for backend, head in heads.items() if isinstance(head, Side)}}
        if found:
            sides |= await self._sides(name, found)
        row = Row(name, reference.reference, {backend: sides[backend] for backend in order})
        if reference.recent and row.verdict is Finding.NOT_THERE:
            self._note("clients have also asked for images that no backend has: those are left out")
            return None
        return row

    async def _sides(self, name: str, found: Mapping[str, Manifest]) -> dict[str, Side]:
        """Compare the manifests that backends have for one reference with that of the first of them."""
        standard = next(iter(found.values()))
        if len(found) == 1:
            return {backend: Side(Finding.SAME, "", standard.digest) for backend in found}
        group = tuple(backend for backend, head in found.items() if head.digest == standard.digest)
        index = await self._index(name, standard, group)
        sides = dict(await self._groups.get((name, standard.digest, group), lambda: self._group(name, index, group)))
        for backend, head in found.items():
            if backend not in group:
                theirs = await self._index(name, head, (backend,))
                said = "; ".join([difference(index, theirs), *(side.reason for side in theirs.failures.values())])
                sides[backend] = Side(Finding.DIFFERS, said, head.digest, theirs.platforms)
            elif head.media_type != standard.media_type and sides[backend].finding is Finding.SAME:
                said = f"called {head.media_type}, not {standard.media_type}"
                sides[backend] = evolve(sides[backend], finding=Finding.DIFFERS, reason=said)
        return sides

    async def _group(self, name: str, index: Index, group: tuple[str, ...]) -> dict[str, Side]:
        """Compare backends that have the same digest: a copy may lack platforms of its index, or its signatures."""
        if len(group) == 1:
            return {group[0]: Side(Finding.SAME, "", index.digest, index.platforms), **index.failures}
        if len(index.entries or ()) > CHILDREN:
            self._note(f"an index in {name} names more than {CHILDREN} manifests: the first {CHILDREN} are looked for")
        holdings = await self._each(group, lambda peer: peer.holding(name, index))
        if any(isinstance(each, Holding) and each.referrers is None for each in holdings.values()):
            self._note_spared()
        return copies(index, holdings) | dict(index.failures)

    async def _index(self, name: str, head: Manifest, holders: tuple[str, ...]) -> Index:
        """Return what a manifest is made of, as one of its `holders` has it."""
        if head.media_type not in INDEX_TYPES:
            return Index(head.digest)
        key = (name, head.digest, holders)
        return await self._indexes.get(key, lambda: self._read_index(name, head.digest, holders))

    async def _read_index(self, name: str, digest: str, holders: tuple[str, ...]) -> Index:
        """Read an index: from backends that do not count first, then from the least preferred, the one clients need
        least.
        """
        failures: dict[str, Side] = {}
        for backend in sorted(holders, key=lambda each: (self._peers[each].counts, -holders.index(each))):
            body = await self._peers[backend].body(name, digest)
            if body is None:
                self._note_spared()
            elif isinstance(body, Side):
                failures[backend] = Side(Finding.FAILING, f"its index: {body.reason or 'not there'}", digest)
            else:
                return Index(digest, indexes.read(body), True, failures)
        return Index(digest, None, False, failures)

    async def _each(
        self, names: Iterable[str], ask: Callable[[Peer], Coroutine[Deferred[Any], Any, T]]
    ) -> dict[str, T]:
        """Ask backends at the same time."""
        order = list(names)
        found = await gatherResults([Deferred.fromCoroutine(ask(self._peers[name])) for name in order])
        return dict(zip(order, found, strict=True))

    def _route(self, name: str) -> tuple[str, ...]:
        return self._rules.routes[self._rules.route_index(name)].backends

    def _note_spared(self) -> None:
        self._note(f"a backend has fewer than {PULLS_SPARED} pulls left: not all indexes and referrers were compared")

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None
