"""Peers: the backends of a comparison, and the requests to each."""

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
from facaded.parity.differences import Contents, Index
from facaded.parity.findings import Finding, Side
from facaded.parity.references import TAGS, TagList
from facaded.parity.request_limits import RequestLimits

T = TypeVar("T")

PAGES = 100
"""The most pages of one list that are read: enough for 1000 tags at ten a page."""

CHILDREN = 100
"""The most manifests of one index that are checked: the largest in use have about twenty platforms, and as many
attestations."""

REFERRERS = 1000
"""The most referrers of one manifest that are compared."""

PULLS_SPARED = 50
"""Pulls that are left to clients: no manifest is read from a backend that has fewer left."""

COSIGN = (".sig", ".att", ".sbom")
"""The suffixes of cosign's tags `sha256-<hex>`: it stored signatures there before registries had a referrers API."""

ANY_TYPE = Accept("", frozenset())
INDEXES = Accept.read((indexes.INDEX,))


class Peer:
    """One backend of a comparison. Each request is limited, and an error becomes a side of the comparison."""

    def __init__(self, source: Registry, clock: IReactorTime) -> None:
        self._source = source
        self._limits = RequestLimits(clock)

    @property
    def limits_pulls(self) -> bool:
        """Whether this backend is known to limit the number of manifest pulls."""
        return self._source.quota is not None

    async def head(self, name: str, reference: str) -> Manifest | Side:
        """Send a HEAD request for a manifest."""
        return await _as_side(lambda: self._manifest(name, reference, with_body=False))

    async def body(self, name: str, digest: str) -> bytes | Side | None:
        """Return the bytes of a manifest, checked against its digest; None if the last pulls are left to clients."""
        if self._spares_pulls:
            return None
        manifest = await _as_side(lambda: self._manifest(name, digest, with_body=True))
        return manifest if isinstance(manifest, Side) else manifest.body or b""

    async def tags(self, name: str) -> TagList | Side:
        """Return the tags of a repository; an empty list if the repository is not there."""
        pages = await _as_side(lambda: self._pages(Tags(name), "tags", ANY_TYPE, TAGS))
        if isinstance(pages, Side):
            return TagList((), reason=pages.reason) if pages.finding is Finding.NOT_THERE else pages
        items, complete = pages
        tags = [tag for tag in items if isinstance(tag, str) and is_tag(tag)]
        return TagList(tuple(dict.fromkeys(tags)), complete, len(items) - len(tags))

    async def contents(self, name: str, index: Index) -> Contents | Side:
        """Return what this backend has along with a manifest: the manifests of its index, and its referrers."""
        missing: list[indexes.Entry] = []
        for entry in (index.entries or ())[:CHILDREN]:
            head = await self.head(name, entry.digest)
            if isinstance(head, Side) and head.finding is Finding.NOT_THERE:
                missing.append(entry)
            elif isinstance(head, Side):
                return evolve(head, reason=f"{entry.platform or 'an attestation'}: {head.reason}")
        referrers = await _as_side(lambda: self._referrers(name, index.digest))
        if isinstance(referrers, Side):
            return evolve(referrers, finding=Finding.FAILING, reason=f"referrers: {referrers.reason or 'answered 404'}")
        return Contents(tuple(missing), referrers)

    async def _referrers(self, name: str, digest: str) -> frozenset[str] | None:
        """Return the digests of the referrers; None if the last pulls are left to clients.

        They come from the referrers API, or else from the index with the tag `sha256-<hex>` (distribution-spec,
        "Referrers Tag Schema"). Images that cosign stores under tags of its own count too.
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
        if self._spares_pulls:
            return None
        body = (await self._manifest(name, head.digest, with_body=True)).body
        return frozenset(entry.digest for entry in indexes.read(body or b"") or ()) | digests

    async def _listed_referrers(self, name: str, digest: str) -> frozenset[str]:
        descriptors, complete = await self._pages(Referrers(name, digest), "manifests", INDEXES, REFERRERS)
        if not complete:
            raise FailingError(f"more than {REFERRERS}", backend_wide=False)
        digests = (descriptor.get("digest") for descriptor in descriptors if isinstance(descriptor, dict))
        return frozenset(digest for digest in digests if isinstance(digest, str) and is_digest(digest))

    async def _head_if_there(self, name: str, reference: str) -> Manifest | None:
        try:
            return await self._manifest(name, reference, with_body=False)
        except NotFoundError:
            return None

    async def _pages(self, first: Tags | Referrers, key: str, accept: Accept, limit: int) -> tuple[list[object], bool]:
        """Return the items of a list from all its pages, up to `limit`, and whether these are all items."""
        items: list[object] = []
        read = first
        seen = {first.query}
        for _ in range(PAGES):
            page = await self._limits.run(self._source.listing(read, accept))
            items += _items(page, key)
            if page.next_query is None or len(items) > limit:
                return items[:limit], len(items) <= limit
            if page.next_query in seen:
                raise FailingError("the pages of the list form a loop", backend_wide=False)
            seen.add(page.next_query)
            read = evolve(first, query=page.next_query)
        raise FailingError(f"the list has more than {PAGES} pages", backend_wide=False)

    async def _manifest(self, name: str, reference: str, with_body: bool) -> Manifest:
        read = requests.ManifestRead(name, reference)
        return await self._limits.run(self._source.manifest(read, EVERY_TYPE, with_body))

    @property
    def _spares_pulls(self) -> bool:
        """Whether the remaining pulls of this backend are left to clients."""
        quota = self._source.quota
        return quota is not None and quota.remaining < PULLS_SPARED


async def _as_side(send: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T | Side:
    """Send a request, and turn an error into a side of the comparison."""
    try:
        return await send()
    except NotFoundError as error:
        if error.status in NOT_FOUND_STATUSES:
            return Side(Finding.NOT_THERE, "" if str(error) == "answered 404" else str(error))
        return Side(Finding.FAILING, str(error))
    except FailingError as error:
        return Side(Finding.FAILING, str(error))


def _items(page: Listing, key: str) -> list[object]:
    """Return the items on a page; Docker's registry sends null for an empty list."""
    items = json.loads(page.body).get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise FailingError("list is not a JSON object", backend_wide=False)
    return items
