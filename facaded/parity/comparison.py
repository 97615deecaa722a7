"""The comparison of the images that the backends of a route have: tags, digests, platforms and referrers.

Where manifest pulls are limited (Docker Hub), HEAD requests are free. So only the bodies of indexes are read, once for
each digest, and if possible from a backend without such a limit.
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
from facaded.parity.concurrency import Memo, run_concurrently
from facaded.parity.differences import Contents, Index, compare_contents, describe_difference
from facaded.parity.findings import Finding, Report, Row, Side
from facaded.parity.peers import CHILDREN, PULLS_SPARED, Peer
from facaded.parity.references import Reference, TagList, list_notes, list_rows, list_tags
from facaded.parity.subjects import Subject
from facaded.policy.decision import Rules
from facaded.policy.repositories import renamed

T = TypeVar("T")

CONCURRENCY = 4
"""References that are compared at a time: each goes to all backends, and should look to them like one pull."""

REFERENCES = 5000
"""The most references that are compared in one run: more would take hours."""


class Comparison:
    """Compares images over `sources`, the registries by backend name, which must not share a manifest cache."""

    def __init__(self, sources: Mapping[str, Registry], rules: Rules, clock: IReactorTime) -> None:
        self._peers = {name: Peer(source, clock) for name, source in sources.items()}
        self._rules = rules
        self._notes: dict[str, None] = {}
        self._indexes: Memo[tuple[str, str, tuple[str, ...]], Index] = Memo()
        self._groups: Memo[tuple[str, str, tuple[str, ...]], dict[str, Side]] = Memo()

    async def compare(self, subjects: Sequence[Subject], progress: Callable[[int, int], None]) -> Report:
        """Compare images. `progress` is called with the number of references done and the number of all."""
        rows: list[Row] = []
        references: dict[tuple[str, str], Reference] = {}
        for subject in dict.fromkeys(subjects):
            expanded, failed_lists = await self._expand(subject)
            rows += failed_lists
            for reference in expanded:
                references.setdefault((reference.name, reference.reference), reference)
        if len(references) > REFERENCES:
            self._note(f"there are more than {REFERENCES} references: compared the first {REFERENCES}")
        tasks = [partial(self._compare_one, reference) for reference in list(references.values())[:REFERENCES]]
        rows += [row for row in await run_concurrently(tasks, CONCURRENCY, progress) if row is not None]
        shown = {backend for row in rows for backend in row.sides}
        backends = tuple(backend for backend in self._peers if backend in shown or not shown)
        return Report(backends, tuple(rows), tuple(self._notes))

    async def _expand(self, subject: Subject) -> tuple[list[Reference], list[Row]]:
        """Return the references of a subject, and rows about lists of tags that could not be read."""
        backends = self._route(subject.name)
        if len(backends) == 1:
            self._note(f"{subject.name} comes from {backends[0]} only: nothing to compare")
            return [], []
        known = {
            name: Side(Finding.NOT_ASKED, "its name there would be invalid")
            for name in backends
            if renamed(self._rules.backends[name].renames, subject.name) is None
        }
        if subject.reference is not None:
            return [Reference(subject.name, subject.reference, known, subject.recent)], []
        unknown = [name for name in backends if name not in known]
        lists: dict[str, TagList | Side] = await self._ask_all(unknown, lambda peer: peer.tags(subject.name))
        for note in list_notes(subject.name, lists):
            self._note(note)
        return list_tags(subject.name, known, lists), list_rows(subject.name, known, lists)

    async def _compare_one(self, reference: Reference) -> Row | None:
        """Return the row of one reference; None if only a client named it and no backend has it."""
        name, route = reference.name, self._route(reference.name)
        unknown = [backend for backend in route if backend not in reference.known]
        heads = await self._ask_all(unknown, lambda peer: peer.head(name, reference.reference))
        manifests = {backend: head for backend, head in heads.items() if isinstance(head, Manifest)}
        sides = {**reference.known, **{backend: head for backend, head in heads.items() if isinstance(head, Side)}}
        if manifests:
            sides |= await self._sides(name, manifests)
        row = Row(name, reference.reference, {backend: sides[backend] for backend in route})
        if reference.recent and row.verdict is Finding.NOT_THERE:
            self._note("left out images that clients requested but no backend has")
            return None
        return row

    async def _sides(self, name: str, manifests: Mapping[str, Manifest]) -> dict[str, Side]:
        """Compare the manifests of one reference, by backend, with the first of them."""
        standard = next(iter(manifests.values()))
        if len(manifests) == 1:
            return {backend: Side(Finding.SAME, "", standard.digest) for backend in manifests}
        group = tuple(backend for backend, manifest in manifests.items() if manifest.digest == standard.digest)
        index = await self._index(name, standard, group)
        sides = dict(await self._groups.get((name, standard.digest, group), lambda: self._group(name, index, group)))
        for backend, manifest in manifests.items():
            if backend not in group:
                other = await self._index(name, manifest, (backend,))
                failures = (side.reason for side in other.failures.values())
                reason = "; ".join([describe_difference(index, other), *failures])
                sides[backend] = Side(Finding.DIFFERS, reason, manifest.digest, other.platforms)
            elif manifest.media_type != standard.media_type and sides[backend].finding is Finding.SAME:
                reason = f"its media type is {manifest.media_type}, not {standard.media_type}"
                sides[backend] = evolve(sides[backend], finding=Finding.DIFFERS, reason=reason)
        return sides

    async def _group(self, name: str, index: Index, group: tuple[str, ...]) -> dict[str, Side]:
        """Compare backends that have the same manifest: a copy may lack platforms of the index, or signatures."""
        if len(group) == 1:
            return {group[0]: Side(Finding.SAME, "", index.digest, index.platforms), **index.failures}
        if len(index.entries or ()) > CHILDREN:
            self._note(f"an index in {name} has more than {CHILDREN} manifests: compared the first {CHILDREN}")
        contents_by_backend = await self._ask_all(group, lambda peer: peer.contents(name, index))
        if any(isinstance(answer, Contents) and answer.referrers is None for answer in contents_by_backend.values()):
            self._note_spared()
        return compare_contents(index, contents_by_backend) | dict(index.failures)

    async def _index(self, name: str, manifest: Manifest, backends: tuple[str, ...]) -> Index:
        """Return the content of a manifest, read from one of the `backends` that have it if it is an index."""
        if manifest.media_type not in INDEX_TYPES:
            return Index(manifest.digest)
        key = (name, manifest.digest, backends)
        return await self._indexes.get(key, lambda: self._read_index(name, manifest.digest, backends))

    async def _read_index(self, name: str, digest: str, backends: tuple[str, ...]) -> Index:
        """Read an index: first from backends that do not limit pulls, then from the least preferred ones.

        Clients need the least preferred backends least.
        """
        failures: dict[str, Side] = {}
        order = sorted(backends, key=lambda backend: (self._peers[backend].limits_pulls, -backends.index(backend)))
        for backend in order:
            body = await self._peers[backend].body(name, digest)
            if body is None:
                self._note_spared()
            elif isinstance(body, Side):
                failures[backend] = Side(Finding.FAILING, f"its index: {body.reason or 'not there'}", digest)
            else:
                return Index(digest, indexes.read(body), True, failures)
        return Index(digest, None, False, failures)

    async def _ask_all(
        self, backends: Iterable[str], ask: Callable[[Peer], Coroutine[Deferred[Any], Any, T]]
    ) -> dict[str, T]:
        """Call `ask` for all `backends` at the same time, and return the results by backend."""
        names = list(backends)
        results = await gatherResults([Deferred.fromCoroutine(ask(self._peers[name])) for name in names])
        return dict(zip(names, results, strict=True))

    def _route(self, name: str) -> tuple[str, ...]:
        return self._rules.routes[self._rules.route_index(name)].backends

    def _note_spared(self) -> None:
        self._note(f"a backend has fewer than {PULLS_SPARED} pulls left: some indexes and referrers were not compared")

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None
