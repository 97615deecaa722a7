"""Peers: the backends of a comparison, and what each is asked."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import NOT_FOUND_STATUSES, FailingError, NoListError, NotFoundError
from facaded.backends.manifests import EVERY_TYPE, Accept, Manifest
from facaded.backends.registry import Listing, Registry
from facaded.oci import indexes, requests
from facaded.oci.requests import Referrers, Tags, is_digest, is_tag
from facaded.parity.differences import Holding, Index
from facaded.parity.findings import Finding, Side
from facaded.parity.patience import Patience
from facaded.parity.references import TAGS, TagList

T = TypeVar("T")

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


class Peer:
    """One backend as a comparison asks it: each question is bounded, and an error becomes a side of the comparison."""

    def __init__(self, source: Registry, clock: IReactorTime) -> None:
        self._source = source
        self._patience = Patience(clock)

    @property
    def counts(self) -> bool:
        """Whether this backend is known to count the manifests that it hands out."""
        return self._source.quota is not None

    async def head(self, name: str, reference: str) -> Manifest | Side:
        """Return what is known of a manifest without reading it."""
        return await _sided(lambda: self._manifest(name, reference, with_body=False))

    async def body(self, name: str, digest: str) -> bytes | Side | None:
        """Return a manifest, checked against its digest; None if the last pulls are left to clients."""
        if self._spares:
            return None
        found = await _sided(lambda: self._manifest(name, digest, with_body=True))
        return found if isinstance(found, Side) else found.body or b""

    async def tags(self, name: str) -> TagList | Side:
        """Return the tags of a repository; none if the repository is not there."""
        answer = await _sided(lambda: self._pages(Tags(name), "tags", ANY_TYPE, TAGS))
        if isinstance(answer, Side):
            return TagList((), reason=answer.reason) if answer.finding is Finding.NOT_THERE else answer
        items, complete = answer
        tags = [tag for tag in items if isinstance(tag, str) and is_tag(tag)]
        return TagList(tuple(dict.fromkeys(tags)), complete, len(items) - len(tags))

    async def holding(self, name: str, index: Index) -> Holding | Side:
        """Return what there is of a manifest besides itself: its index's manifests, and what refers to it."""
        lacking: list[indexes.Entry] = []
        for entry in (index.entries or ())[:CHILDREN]:
            head = await self.head(name, entry.digest)
            if isinstance(head, Side) and head.finding is Finding.NOT_THERE:
                lacking.append(entry)
            elif isinstance(head, Side):
                return evolve(head, reason=f"{entry.platform or 'an attestation'}: {head.reason}")
        referrers = await _sided(lambda: self._referrers(name, index.digest))
        if isinstance(referrers, Side):
            return evolve(referrers, finding=Finding.FAILING, reason=f"referrers: {referrers.reason or 'answered 404'}")
        return Holding(tuple(lacking), referrers)

    async def _referrers(self, name: str, digest: str) -> frozenset[str] | None:
        """Return the digests of the referrers; None if the last pulls are left to clients.

        They are in the registry's own list, else in the index that the digest's tag names (distribution-spec,
        "Referrers Tag Schema"). What cosign stores beside the image counts too.
        """
        algorithm, _, encoded = digest.partition(":")
        tag = f"{algorithm}-{encoded[:64]}"
        digests = {head.digest for suffix in COSIGN if (head := await self._head_if_there(name, tag + suffix))}
        try:
            return await self._listed_referrers(name, digest) | digests
        except (NotFoundError, NoListError):
            head = await self._head_if_there(name, tag)
        if head is None:
            return frozenset(digests)
        if self._spares:
            return None
        body = (await self._manifest(name, head.digest, with_body=True)).body
        return frozenset(entry.digest for entry in indexes.read(body or b"") or ()) | digests

    async def _listed_referrers(self, name: str, digest: str) -> frozenset[str]:
        listed, complete = await self._pages(Referrers(name, digest), "manifests", INDEXES, REFERRERS)
        if not complete:
            raise FailingError(f"more than {REFERRERS} of them", backend_wide=False)
        given = (each.get("digest") for each in listed if isinstance(each, dict))
        return frozenset(each for each in given if isinstance(each, str) and is_digest(each))

    async def _head_if_there(self, name: str, reference: str) -> Manifest | None:
        try:
            return await self._manifest(name, reference, with_body=False)
        except NotFoundError:
            return None

    async def _pages(self, first: Tags | Referrers, key: str, accept: Accept, limit: int) -> tuple[list[object], bool]:
        """Return the items of a list over its pages, up to `limit`, and whether these are all."""
        items: list[object] = []
        read = first
        seen = {first.query}
        for _ in range(PAGES):
            page = await self._patience.ask(self._source.listing(read, accept))
            items += _items(page, key)
            if page.next_query is None or len(items) > limit:
                return items[:limit], len(items) <= limit
            if page.next_query in seen:
                raise FailingError("the pages of a list lead in a circle", backend_wide=False)
            seen.add(page.next_query)
            read = evolve(first, query=page.next_query)
        raise FailingError(f"a list has no end after {PAGES} pages", backend_wide=False)

    async def _manifest(self, name: str, reference: str, with_body: bool) -> Manifest:
        read = requests.ManifestRead(name, reference)
        return await self._patience.ask(self._source.manifest(read, EVERY_TYPE, with_body))

    @property
    def _spares(self) -> bool:
        """Whether the pulls that are left here are left to clients."""
        quota = self._source.quota
        return quota is not None and quota.remaining < PULLS_SPARED


async def _sided(ask: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T | Side:
    """Ask, and turn an error into a side of the comparison."""
    try:
        return await ask()
    except NotFoundError as error:
        if error.status in NOT_FOUND_STATUSES:
            return Side(Finding.NOT_THERE, "" if str(error) == "answered 404" else str(error))
        return Side(Finding.FAILING, str(error))
    except FailingError as error:
        return Side(Finding.FAILING, str(error))


def _items(page: Listing, key: str) -> list[object]:
    """Return the items on a page; docker-registry says null for none."""
    items = json.loads(page.body).get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise FailingError("list is not a JSON object", backend_wide=False)
    return items
