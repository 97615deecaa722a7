"""Parity: whether the backends of a route have the same images. Tags, digests, platforms and referrers are compared.

HEADs are free where manifests are counted (Docker Hub), so a manifest's body is read only where its digest does not
say enough: an index's, once for each digest, from a backend that does not count if there is one.
"""

import json
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import NOT_THERE, FailingError, NoListError, NotThereError
from facaded.backends.manifests import EVERY_TYPE, Accept, Manifest
from facaded.backends.registry import Listing, Registry
from facaded.net.client import reason
from facaded.net.single_flight import SingleFlight
from facaded.oci import indexes
from facaded.oci.indexes import INDEX_TYPES, Entry
from facaded.oci.requests import Manifest as ManifestRead
from facaded.oci.requests import Referrers, Tags, is_digest, is_tag
from facaded.policy.answers import Rules
from facaded.policy.parity import ALL_TAGS, Held, Index, Outcome, Report, Row, Side, Wanted, copies, counted, difference
from facaded.policy.repositories import renamed

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)

AT_ONCE = 4
"""References that are compared at a time: each asks all backends, which shall take it for no more than a pull."""

ASK_TIME = 20.0
"""Seconds for one question to one backend, its token and its body included: each of its requests has 4."""

RUN_TIME = 1800.0
"""Seconds after which a backend is asked no more: 5000 references take a third of it where an answer takes 0.1 s."""

PATIENCE = 3
"""Failures in a row, each of the backend as a whole, after which it is asked no more: it would not get better."""

TAGS = 1000
"""Tags of one repository that are compared."""

REFERENCES = 5000
"""References that are compared in one run: more would take hours."""

PAGES = 100
"""Pages of one list: of 1000 tags, ten on each."""

CHILDREN = 100
"""Manifests of one index that are looked for: the largest in use have some twenty platforms, and as many
attestations."""

REFERRERS = 1000
"""Referrers of one manifest that are compared."""

PULLS_SPARED = 50
"""Manifests that a backend which counts them must have left for one to be read here: the others are for clients."""

COSIGN = (".sig", ".att", ".sbom")
"""What cosign puts after the tag that a digest makes: it kept signatures there before registries had referrers."""

ANY_TYPE = Accept("", frozenset())
INDEXES = Accept.read((indexes.INDEX,))


@frozen
class _Reference:
    """One reference to be compared; `known` are the sides that need no question."""

    name: str
    reference: str
    known: Mapping[str, Side]
    lately: bool = False


@frozen
class _Listed:
    """Tags of a repository at one backend, or as many of them as are compared."""

    tags: tuple[str, ...]
    complete: bool = True
    strange: int = 0
    words: str = ""


class Parity:
    """Compares what the `sources`, by backend, have. They must keep no manifests: each has to answer for itself."""

    def __init__(self, sources: Mapping[str, Registry], rules: Rules, clock: IReactorTime) -> None:
        self._peers = {name: _Peer(source, clock) for name, source in sources.items()}
        self._rules = rules
        self._notes: dict[str, None] = {}
        self._indexes: _Once[tuple[str, str, tuple[str, ...]], Index] = _Once()
        self._groups: _Once[tuple[str, str, tuple[str, ...]], dict[str, Side]] = _Once()

    async def compare(self, images: Sequence[Wanted], progress: Callable[[int, int], None]) -> Report:
        """Compare images. `progress` is called with how many references are done, and of how many."""
        rows: list[Row] = []
        references: dict[tuple[str, str], _Reference] = {}
        for image in dict.fromkeys(images):
            found, about_lists = await self._expand(image)
            rows += about_lists
            for reference in found:
                references.setdefault((reference.name, reference.reference), reference)
        if len(references) > REFERENCES:
            self._note(f"there are more than {REFERENCES} references: the first {REFERENCES} are compared")
        works = [partial(self._compared, reference) for reference in list(references.values())[:REFERENCES]]
        rows += [row for row in await _in_turn(works, progress) if row is not None]
        shown = {backend for row in rows for backend in row.sides}
        backends = tuple(backend for backend in self._peers if backend in shown or not shown)
        return Report(backends, tuple(rows), tuple(self._notes))

    async def _expand(self, image: Wanted) -> tuple[list[_Reference], list[Row]]:
        """The references that an image means, and rows about the lists of tags that could not be had."""
        backends = self._route(image.name)
        if len(backends) == 1:
            self._note(f"{image.name} is had from {backends[0]} alone: nothing to compare")
            return [], []
        known = {
            name: Side(Outcome.NOT_ASKED, "it has no such name there")
            for name in backends
            if renamed(self._rules.backends[name].renames, image.name) is None
        }
        if image.reference is not None:
            return [_Reference(image.name, image.reference, known, image.lately)], []
        asked = [name for name in backends if name not in known]
        lists = await self._each(asked, lambda peer: peer.tags(image.name))
        return self._tags(image.name, known, lists), _about_lists(image.name, known, lists)

    def _tags(self, name: str, known: Mapping[str, Side], lists: Mapping[str, _Listed | Side]) -> list[_Reference]:
        """Every tag that a backend lists. Those that another does not list are not asked there, if it lists all."""
        had = {backend: each for backend, each in lists.items() if isinstance(each, _Listed)}
        tags = dict.fromkeys(tag for each in had.values() for tag in each.tags)
        if len(tags) > TAGS or not all(each.complete for each in had.values()):
            self._note(f"{name} has more than {TAGS} tags: {min(len(tags), TAGS)} of them are compared")
        for backend, each in had.items():
            if each.strange:
                self._note(f"{backend} lists {each.strange} names in {name} that are no tags: they are not compared")
        whole = {backend: (set(each.tags), each.words) for backend, each in had.items() if each.complete}
        references = []
        for tag in list(tags)[:TAGS]:
            without = {
                backend: Side(Outcome.NOT_THERE, said) for backend, (theirs, said) in whole.items() if tag not in theirs
            }
            references.append(_Reference(name, tag, {**known, **without}))
        return references

    async def _compared(self, reference: _Reference) -> Row | None:
        name, order = reference.name, self._route(reference.name)
        asked = [backend for backend in order if backend not in reference.known]
        heads = await self._each(asked, lambda peer: peer.head(name, reference.reference))
        found = {backend: head for backend, head in heads.items() if isinstance(head, Manifest)}
        sides = {**reference.known, **{backend: head for backend, head in heads.items() if isinstance(head, Side)}}
        if found:
            sides |= await self._sides(name, found)
        row = Row(name, reference.reference, {backend: sides[backend] for backend in order})
        if reference.lately and row.verdict is Outcome.NOT_THERE:
            self._note("clients have also asked for images that no backend has: those are left out")
            return None
        return row

    async def _sides(self, name: str, found: Mapping[str, Manifest]) -> dict[str, Side]:
        """What those have of an image that have one of its name. The first of them is what others are held against."""
        standard = next(iter(found.values()))
        if len(found) == 1:
            return {backend: Side(Outcome.SAME, "", standard.digest) for backend in found}
        group = tuple(backend for backend, head in found.items() if head.digest == standard.digest)
        index = await self._index(name, standard, group)
        sides = dict(await self._groups.get((name, standard.digest, group), lambda: self._group(name, index, group)))
        for backend, head in found.items():
            if backend not in group:
                theirs = await self._index(name, head, (backend,))
                said = "; ".join([difference(index, theirs), *(side.words for side in theirs.failures.values())])
                sides[backend] = Side(Outcome.DIFFERS, said, head.digest, theirs.platforms)
            elif head.media_type != standard.media_type and sides[backend].outcome is Outcome.SAME:
                said = f"called {head.media_type}, not {standard.media_type}"
                sides[backend] = evolve(sides[backend], outcome=Outcome.DIFFERS, words=said)
        return sides

    async def _group(self, name: str, index: Index, group: tuple[str, ...]) -> dict[str, Side]:
        """What those have that say the same digest: a copy may lack platforms of its index, or its signatures."""
        if len(group) == 1:
            return {group[0]: Side(Outcome.SAME, "", index.digest, index.platforms), **index.failures}
        if len(index.entries or ()) > CHILDREN:
            self._note(f"an index in {name} names more than {CHILDREN} manifests: the first {CHILDREN} are looked for")
        held = await self._each(group, lambda peer: peer.holding(name, index))
        if any(isinstance(each, Held) and each.referrers is None for each in held.values()):
            self._spared()
        return copies(index, held) | dict(index.failures)

    async def _index(self, name: str, head: Manifest, holders: tuple[str, ...]) -> Index:
        """What a manifest is made of, as one of its `holders` has it."""
        if head.media_type not in INDEX_TYPES:
            return Index(head.digest)
        return await self._indexes.get((name, head.digest, holders), lambda: self._read(name, head.digest, holders))

    async def _read(self, name: str, digest: str, holders: tuple[str, ...]) -> Index:
        """Read an index: of those first that do not count, then of the least preferred, which clients need least."""
        failures: dict[str, Side] = {}
        for backend in sorted(holders, key=lambda each: (self._peers[each].counts, -holders.index(each))):
            body = await self._peers[backend].body(name, digest)
            if body is None:
                self._spared()
            elif isinstance(body, Side):
                failures[backend] = Side(Outcome.FAILING, f"its index: {body.words or 'not there'}", digest)
            else:
                return Index(digest, indexes.read(body), True, failures)
        return Index(digest, None, False, failures)

    async def _each(
        self, names: Iterable[str], ask: Callable[["_Peer"], Coroutine[Deferred[Any], Any, T]]
    ) -> dict[str, T]:
        """Ask backends at the same time."""
        order = list(names)
        found = await gatherResults([Deferred.fromCoroutine(ask(self._peers[name])) for name in order])
        return dict(zip(order, found, strict=True))

    def _route(self, name: str) -> tuple[str, ...]:
        return self._rules.routes[self._rules.route(name)].backends

    def _spared(self) -> None:
        self._note(f"a backend has fewer than {PULLS_SPARED} pulls left: not all indexes and referrers were compared")

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None


class _Peer:
    """One backend as it is asked here: each question bounded in time, its errors sides of the comparison."""

    def __init__(self, source: Registry, clock: IReactorTime) -> None:
        self._source = source
        self._clock = clock
        self._failures = 0
        self._last = ""
        self._until = clock.seconds() + RUN_TIME

    @property
    def counts(self) -> bool:
        """Whether this backend is known to count the manifests that it hands out."""
        return self._source.quota is not None

    async def head(self, name: str, reference: str) -> Manifest | Side:
        """What is known of a manifest without reading it."""
        return await self._sided(lambda: self._manifest(name, reference, with_body=False))

    async def body(self, name: str, digest: str) -> bytes | Side | None:
        """A manifest, checked against its digest. None if it is left to clients."""
        if self._spares:
            return None
        found = await self._sided(lambda: self._manifest(name, digest, with_body=True))
        return found if isinstance(found, Side) else found.body or b""

    async def tags(self, name: str) -> _Listed | Side:
        """The tags of a repository; none if it is not there."""
        answer = await self._sided(lambda: self._pages(Tags(name), "tags", ANY_TYPE, TAGS))
        if isinstance(answer, Side):
            return _Listed((), words=answer.words) if answer.outcome is Outcome.NOT_THERE else answer
        items, complete = answer
        tags = [tag for tag in items if isinstance(tag, str) and is_tag(tag)]
        return _Listed(tuple(dict.fromkeys(tags)), complete, len(items) - len(tags))

    async def holding(self, name: str, index: Index) -> Held | Side:
        """What there is of a manifest besides itself: its index's manifests, and what refers to it."""
        lacking: list[Entry] = []
        for entry in (index.entries or ())[:CHILDREN]:
            head = await self.head(name, entry.digest)
            if isinstance(head, Side) and head.outcome is Outcome.NOT_THERE:
                lacking.append(entry)
            elif isinstance(head, Side):
                return evolve(head, words=f"{entry.platform or 'an attestation'}: {head.words}")
        referrers = await self._sided(lambda: self._referrers(name, index.digest))
        if isinstance(referrers, Side):
            return evolve(referrers, outcome=Outcome.FAILING, words=f"referrers: {referrers.words or 'answered 404'}")
        return Held(tuple(lacking), referrers)

    async def _referrers(self, name: str, digest: str) -> frozenset[str] | None:
        """By the registry's own list, else by the tag that the digest makes (distribution-spec, "Referrers Tag
        Schema"); and what cosign has put beside it.
        """
        algorithm, _, encoded = digest.partition(":")
        tag = f"{algorithm}-{encoded[:64]}"
        digests = {head.digest for suffix in COSIGN if (head := await self._head_if_there(name, tag + suffix))}
        try:
            listed, complete = await self._pages(Referrers(name, digest), "manifests", INDEXES, REFERRERS)
            if not complete:
                raise FailingError(f"more than {REFERRERS} of them", whole=False)
            given = (each.get("digest") for each in listed if isinstance(each, dict))
            return frozenset(each for each in given if isinstance(each, str) and is_digest(each)) | digests
        except (NotThereError, NoListError):
            head = await self._head_if_there(name, tag)
        if head is None:
            return frozenset(digests)
        if self._spares:
            return None  # left to clients
        body = (await self._manifest(name, head.digest, with_body=True)).body
        return frozenset(entry.digest for entry in indexes.read(body or b"") or ()) | digests

    async def _head_if_there(self, name: str, reference: str) -> Manifest | None:
        try:
            return await self._manifest(name, reference, with_body=False)
        except NotThereError:
            return None

    async def _pages(self, first: Tags | Referrers, key: str, accept: Accept, limit: int) -> tuple[list[object], bool]:
        """The items of a list over its pages, up to `limit`, and whether these are all."""
        items: list[object] = []
        read = first
        seen = {first.query}
        for _ in range(PAGES):
            page = await self._asked(self._source.listing(read, accept))
            items += _items(page, key)
            if page.next_query is None or len(items) > limit:
                return items[:limit], len(items) <= limit
            if page.next_query in seen:
                raise FailingError("the pages of a list lead in a circle", whole=False)
            seen.add(page.next_query)
            read = evolve(first, query=page.next_query)
        raise FailingError(f"a list has no end after {PAGES} pages", whole=False)

    async def _manifest(self, name: str, reference: str, with_body: bool) -> Manifest:
        return await self._asked(self._source.manifest(ManifestRead(name, reference), EVERY_TYPE, with_body))

    async def _sided(self, ask: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T | Side:
        """Ask, and make a side of an answer that is none."""
        try:
            return await ask()
        except NotThereError as error:
            if error.status in NOT_THERE:
                return Side(Outcome.NOT_THERE, "" if str(error) == "answered 404" else str(error))
            return Side(Outcome.FAILING, str(error))
        except FailingError as error:
            return Side(Outcome.FAILING, str(error))

    async def _asked(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Put one question. Raises NotThereError, or FailingError, at once if the backend has failed too often."""
        if self._failures >= PATIENCE or self._clock.seconds() > self._until:
            work.close()
            raise FailingError(f"{self._last or 'too slow'}; asked no more", whole=False)
        try:
            found = await Deferred.fromCoroutine(work).addTimeout(ASK_TIME, self._clock)
        except NotThereError:
            self._failures = 0
            raise
        except TimeoutError:
            raise self._failed(FailingError("time-out", whole=True)) from None
        except FailingError as error:
            raise self._failed(error) from None
        except Exception as error:  # what a stranger says must not end the comparison
            raise FailingError(reason(error), whole=False) from None
        self._failures = 0
        return found

    def _failed(self, error: FailingError) -> FailingError:
        self._failures = self._failures + 1 if error.whole else 0
        self._last = str(error)
        return error

    @property
    def _spares(self) -> bool:
        quota = self._source.quota
        return quota is not None and quota.remaining < PULLS_SPARED


class _Once(Generic[Key, T]):
    """Work that is done once for each key."""

    def __init__(self) -> None:
        self._done: dict[Key, T] = {}
        self._under_way: SingleFlight[Key, T] = SingleFlight()

    async def get(self, key: Key, begin: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """The result of the work for `key`, which `begin` starts."""
        if key not in self._done:
            self._done[key] = await self._under_way.get(key, begin)
        return self._done[key]


async def _in_turn(
    works: Sequence[Callable[[], Coroutine[Deferred[Any], Any, T]]], progress: Callable[[int, int], None]
) -> list[T]:
    """Do all the work, some of it at a time; gives the results in the order of the work."""
    results: dict[int, T] = {}
    left = iter(enumerate(works))

    async def worker() -> None:
        for index, work in left:
            results[index] = await work()
            progress(len(results), len(works))

    await gatherResults([Deferred.fromCoroutine(worker()) for _ in range(AT_ONCE)])
    return [results[index] for index in sorted(results)]


def _items(page: Listing, key: str) -> list[object]:
    """The items on a page; docker-registry says null for none."""
    items = json.loads(page.body).get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise FailingError("lists in no JSON that can be read", whole=False)
    return items


def _about_lists(name: str, known: Mapping[str, Side], lists: Mapping[str, _Listed | Side]) -> list[Row]:
    """A row about the lists themselves, if one could not be had or all are empty."""
    any_tag = any(isinstance(each, _Listed) and each.tags for each in lists.values())
    if any_tag and all(isinstance(each, _Listed) for each in lists.values()):
        return []
    sides = {backend: each if isinstance(each, Side) else _about_list(each) for backend, each in lists.items()}
    return [Row(name, ALL_TAGS, {**known, **sides})]


def _about_list(listed: _Listed) -> Side:
    return (
        Side(Outcome.SAME, counted(len(listed.tags), "tag")) if listed.tags else Side(Outcome.NOT_THERE, listed.words)
    )
