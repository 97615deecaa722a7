"""The referrers that one backend lists: by its referrers API, and by the fallback tag that clients use without one."""

from collections.abc import Callable, Coroutine
from copy import copy
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred

from facaded.backends.authorized_client import AuthorizedClient
from facaded.backends.failures import FailingError, NotFoundError, ReservedError
from facaded.backends.joined_requests import JoinedRequests
from facaded.backends.list_pages import LIST_SIZE, MOST_VALUES_OF_LIST, NO_REFERRERS, next_query
from facaded.backends.manifest_reader import backend_name
from facaded.backends.manifests import digest_of
from facaded.backends.media_types import essence, sent_type
from facaded.backends.referrers_cache import Entries, KnownList, PartialList, ReferrersCache
from facaded.backends.shares import FACADED, Asker
from facaded.net.client import StreamedResponse
from facaded.net.json_objects import read_object
from facaded.net.single_flight import together
from facaded.oci.indexes import INDEX
from facaded.oci.referrers import MOST_REFERRERS, read_referrers, referrers_tag, unite
from facaded.oci.requests import ManifestRead, Referrers, is_digest
from facaded.policy.repositories import Rename

MOST_PAGES = 100
"""Pages of a list that are read: a registry that sends ten entries a page needs as many."""

ACCEPT_INDEX = {"Accept": INDEX}

LIST_TYPES = (INDEX, "application/json")
"""Media types of a list. Anything else is a page for people."""

Work: TypeAlias = Coroutine[Deferred[Any], Any, PartialList]


@frozen
class AnsweredList:
    """What a backend answered: its entries, and why some of them may be missing; None if it answered in full."""

    entries: Entries
    failure: FailingError | None = None


class ReferrersReader:
    """Reads the lists of referrers of the backend `name` through `client`."""

    def __init__(self, name: str, client: AuthorizedClient, renames: tuple[Rename, ...], cache: ReferrersCache) -> None:
        self._name = name
        self._client = client
        self._renames = renames
        self._cache = cache
        self._works: JoinedRequests[PartialList] = JoinedRequests(client.gate)
        self._asker: Asker = FACADED

    def asked_by(self, asker: Asker) -> "ReferrersReader":
        """Return this reader for the requests of `asker`, with the same cache and requests in progress."""
        reader = copy(self)
        reader._asker = asker
        return reader

    def fresh(self, read: Referrers) -> Entries | None:
        """Return what the backend listed a moment ago, else None."""
        known = self._cache.fresh(self._name, read)
        return known.entries if known is not None else None

    def last(self, read: Referrers) -> Entries | None:
        """Return what the backend listed last, else None."""
        known = self._cache.last(self._name, read)
        return known.entries if known is not None else None

    async def read(self, read: Referrers) -> AnsweredList:
        """Ask the backend for all its entries, whatever the query of `read`: the API and the tag at the same time.

        A refusal (401, 403) means that it has none, but it may be a mistake: then the last list is believed. Raises
        OverRateError.
        """
        known = self._cache.last(self._name, read)
        parts = [self._begin(read, self._read_pages, known), self._begin(read, self._read_tagged, known)]
        listed, tagged = await together(parts)
        errors = [part for part in (listed, tagged) if isinstance(part, Exception)]
        entries = unite(part.entries for part in (listed, tagged) if isinstance(part, PartialList))
        for error in errors:
            if isinstance(error, FailingError):
                return AnsweredList(entries, error)
        if errors and known is not None:
            return AnsweredList(known.entries)
        self._cache.store(self._name, read, entries, tagged if isinstance(tagged, PartialList) else PartialList())
        return AnsweredList(entries)

    def _begin(
        self, read: Referrers, ask: Callable[[Referrers, KnownList | None], Work], known: KnownList | None
    ) -> Deferred[PartialList | NotFoundError | FailingError]:
        """Begin a request, or join the one in progress."""
        key = (ask.__name__, read.name, read.digest)
        return Deferred.fromCoroutine(_settle(self._join(key, partial(ask, read, known))))

    async def _join(self, key: tuple[str, str, str], work: Callable[[], Work]) -> PartialList:
        while True:
            try:
                return await self._works.get(key, self._asker, None, work, lambda: None)
            except ReservedError as error:
                if error.source in ("", self._asker.source):
                    raise  # else it joined the request of a source that was refused, which says nothing of its own

    async def _read_pages(self, read: Referrers, _: KnownList | None) -> PartialList:
        """Return the entries of all pages of the referrers API; none if the registry has no such API."""
        name = backend_name(self._renames, read.name)
        path = Referrers(name, read.digest).path
        entries: Entries = ()
        room, query, seen = LIST_SIZE, "", {""}
        for _page in range(MOST_PAGES):
            response = await self._ask_for_page(path, query, name)
            if response is None:
                break
            body = await self._client.read(response, room)
            room -= len(body)
            entries = (*entries, *_read_index(response, body))[:MOST_REFERRERS]
            following = next_query(response.value("Link"), path)
            if following is None or following in seen or len(entries) == MOST_REFERRERS:
                break
            query = following
            seen.add(query)
        return PartialList(entries)

    async def _ask_for_page(self, path: str, query: str, name: str) -> StreamedResponse | None:
        """Return the response to a request for a page; None without the referrers API, as from GHCR, which redirects.

        Some registries answer what they do not know with a page for people. Raises FailingError if a page is missing
        that the one before it names: a list without its end must not count as complete.
        """
        url = self._client.url(f"{path}?{query}" if query else path)
        try:
            response = await self._client.fetch("GET", url, name, ACCEPT_INDEX)
        except (NotFoundError, FailingError) as error:
            if query and isinstance(error, NotFoundError):
                raise FailingError(f"{error} to the request for a further page of a list", backend_wide=False) from None
            if not query and error.status in NO_REFERRERS:
                return None
            raise
        if response.status == 200 and essence(sent_type(response)) in LIST_TYPES:
            return response
        response.abandon()
        if query:
            raise FailingError("answered the request for a further page with no list", backend_wide=False)
        return None

    async def _read_tagged(self, read: Referrers, known: KnownList | None) -> PartialList:
        """Return the entries of the index with the fallback tag. It is fetched only if its digest has changed.

        What is fetched may be older than that digest, if the registry has several servers: then it is fetched again.
        """
        name = backend_name(self._renames, read.name)
        url = self._client.url(ManifestRead(name, referrers_tag(read.digest)).path)
        head = await self._client.fetch("HEAD", url, name, ACCEPT_INDEX)
        digest = head.value("Docker-Content-Digest")
        if head.status != 200 or essence(sent_type(head)) not in (INDEX, ""):
            return PartialList()
        if known is not None and known.tagged.digest == digest != "":
            return known.tagged
        with self._asker.pull(self._name, self._client.owner(name)):
            response = await self._client.fetch("GET", url, name, ACCEPT_INDEX)
        if response.status != 200 or essence(sent_type(response)) != INDEX:
            response.abandon()
            return PartialList()
        body = await self._client.read(response, LIST_SIZE)
        is_same = is_digest(digest) and digest_of(body, digest.partition(":")[0]) == digest
        return PartialList(_read_index(response, body), digest if is_same else "")


async def _settle(work: Work) -> PartialList | NotFoundError | FailingError:
    """Return the result of a request: nothing if the registry has no such list, an error if it failed or refused."""
    try:
        return await work
    except NotFoundError as error:
        return error if error.status in (401, 403) else PartialList()
    except FailingError as error:
        return error


def _read_index(response: StreamedResponse, body: bytes) -> Entries:
    """Return the entries of an index. Raises FailingError if the body is none."""
    document = read_object(body, MOST_VALUES_OF_LIST)
    if document is None:
        raise FailingError("list is not a JSON object, or has too many values", backend_wide=False)
    is_index = essence(sent_type(response)) == INDEX or isinstance(document.get("manifests"), list)
    return read_referrers(document) if is_index else ()
