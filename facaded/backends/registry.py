"""One backend's content: manifests, lists and blobs, verified and under the facade's repository names."""

import json
import re
from collections.abc import Callable
from copy import copy
from functools import partial

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.authorized_client import AuthorizedClient, ClientAuthorization
from facaded.backends.failures import FailingError, NoListError, NoRedirectError, NotFoundError
from facaded.backends.joined_requests import JoinedRequests
from facaded.backends.list_pages import LIST_SIZE, MOST_VALUES_OF_LIST, NO_REFERRERS, next_query
from facaded.backends.manifest_reader import ManifestReader, accept_headers, backend_name
from facaded.backends.manifests import Accept, Manifest, ManifestCache
from facaded.backends.media_types import list_type
from facaded.backends.referrers_reader import ReferrersReader
from facaded.backends.shares import FACADED, Asker
from facaded.net.client import ONE_BYTE, REDIRECTS, StreamedResponse
from facaded.net.json_objects import is_too_complex, read_object
from facaded.net.text import printable, whole_number
from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags
from facaded.policy.health import Quota, Step
from facaded.policy.repositories import Rename

_BYTES = re.compile(r"bytes=(?:[0-9]{1,15}-[0-9]{0,15}|-[0-9]{1,15})")

VALIDATOR_LENGTH = 200
"""Longest If-Range in characters: an entity tag or a date."""

REDIRECT_SIZE = 64 << 10
"""Bytes of a redirect's body that are read, so that the connection can be reused."""


@frozen
class RangeHeaders:
    """The Range and If-Range headers to send to the backend; empty if there are none."""

    range: str = ""
    if_range: str = ""

    @classmethod
    def read(cls, range_header: str, if_range: str) -> "RangeHeaders":
        """Return the headers that a client sent, if they ask for one range of bytes, as clients do to go on.

        Anything else is ignored, as RFC 9110 §14.2 allows: a registry that fails with it would count as failing.
        """
        is_usable = _BYTES.fullmatch(range_header) and len(if_range) <= VALIDATOR_LENGTH
        return cls(range_header, if_range) if is_usable and printable(if_range) == if_range else cls()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that are not empty."""
        return {name: value for name, value in (("Range", self.range), ("If-Range", self.if_range)) if value}


NO_RANGE = RangeHeaders()


@frozen
class Listing:
    """A page of tags or referrers.

    `next_query` is the query of the next page, None for the last one; `filters` is OCI-Filters-Applied. `incomplete`
    are the backends that failed, if it unites the lists of several.
    """

    media_type: str
    body: bytes
    next_query: str | None
    filters: str
    incomplete: tuple[str, ...] = ()


class Registry:
    """One backend. Its methods raise NotFoundError or FailingError.

    `name` is its name in the settings, `gate` bounds the requests to it, `manifests` reads its manifests, and
    `referrers` its lists of referrers. `renames` map the facade's repository names to the backend's. With `relay_blobs`
    set, a blob that the backend serves itself is relayed. `note_cdn` is called with each URL that the backend redirects
    a blob to. `asker` is whose requests they are; see `asked_by`.
    """

    def __init__(
        self,
        name: str,
        client: AuthorizedClient,
        renames: tuple[Rename, ...],
        cache: ManifestCache,
        relay_blobs: bool = False,
        note_cdn: Callable[[str], None] = lambda url: None,
    ) -> None:
        self.name = name
        self._client = client
        self._renames = renames
        self._cache = cache
        self._relay_blobs = relay_blobs
        self._note_cdn = note_cdn
        self._lists: JoinedRequests[Listing] = JoinedRequests(client.gate)
        self._locations: JoinedRequests[str | StreamedResponse] = JoinedRequests(client.gate)
        self.gate = client.gate
        self.manifests = ManifestReader(name, client, renames, cache)
        self.referrers = ReferrersReader(name, client, renames, cache.referrers)
        self.asker: Asker = FACADED

    def asked_by(self, asker: Asker) -> "Registry":
        """Return this backend for the requests of `asker`, with the same cache, gate and requests in progress."""
        registry = copy(self)
        registry.manifests, registry.referrers = self.manifests.asked_by(asker), self.referrers.asked_by(asker)
        registry.asker = asker
        return registry

    @property
    def quota(self) -> Quota | None:
        """The pulls that are left, from the last response; None if the backend does not count pulls."""
        return self._client.quota

    async def manifest(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        """Return a manifest; its body is None if `with_body` is False."""
        return await self.manifests.read(read, accept, with_body)

    async def listing(self, read: Tags | Referrers, accept: Accept) -> Listing:
        """Return a list of tags or referrers under the facade's repository name.

        Raises NotFoundError also if the registry has no referrers API, as GHCR, which redirects to a web page.
        """
        work = partial(self._list, read, accept)
        return await self._lists.get((read, accept.value), self.asker, None, work, lambda: None)

    async def _list(self, read: Tags | Referrers, accept: Accept) -> Listing:
        name = backend_name(self._renames, read.name)
        path = _rename_path(read, name)
        url = self._client.url(f"{path}?{read.query}" if read.query else path)
        try:
            response = await self._client.fetch("GET", url, name, accept_headers(accept))
        except (NotFoundError, FailingError) as error:
            if isinstance(read, Referrers) and error.status in NO_REFERRERS:
                raise NotFoundError(f"answered {error.status}: no referrers API") from None
            raise
        if response.status != 200:
            response.abandon()
            if isinstance(read, Referrers):
                raise NotFoundError(f"answered {response.status}: no referrers API")
            raise NoListError(f"answered {response.status} to a list request", backend_wide=False)
        body = _name_list(read, await self._client.read(response, LIST_SIZE))
        filters = printable(response.value("OCI-Filters-Applied"))
        return Listing(list_type(response), body, next_query(response.value("Link"), path), filters)

    async def blob(self, read: Blob, range_headers: RangeHeaders = NO_RANGE) -> str | StreamedResponse:
        """Return the URL that the backend redirects a blob to, or with `relay_blobs` the backend's own response.

        The URL is the same for all ranges, so requests for the same blob are one, without a range.
        """
        if self._relay_blobs:
            return await self.gate.run(Step.BLOB, read.path, lambda: self._locate(read, range_headers), self.asker)
        work = partial(self.gate.take, Step.BLOB, read.path, partial(self._locate, read))
        return await self._locations.get((read.name, read.digest), self.asker, Step.BLOB, work, lambda: None)

    async def check_cdn(self, url: str) -> int:
        """Ask for the first byte of a blob at its CDN, on a new connection and without a token; return the status.

        Raises FailingError if there is no response, UnaskedError if this machine could not ask.
        """
        with self.gate.measured(Step.CDN):
            response = await self._client.open_anonymously(url, ONE_BYTE, on_new_connection=True)
        return response.status

    async def _locate(self, read: Blob, range_headers: RangeHeaders = NO_RANGE) -> str | StreamedResponse:
        name = backend_name(self._renames, read.name)
        url = self._client.url(_rename_path(read, name))
        for _ in range(2):
            response = await self._client.fetch("GET", url, name, range_headers.headers)
            if response.status not in REDIRECTS:
                if self._relay_blobs:
                    return response
                response.abandon()
                public = await self._client.open_anonymously(url)
                raise NoRedirectError(url if public.status == 200 else None)
            await self._client.read(response, REDIRECT_SIZE)
            url, own = await self._client.follow(url, response.value("Location"))
            if not own:
                self._note_cdn(url)
                return url
        raise FailingError("redirects a blob to its own host twice", backend_wide=False)

    async def blob_size(self, read: Blob) -> int:
        """Return a blob's size in bytes: from a cached manifest, else from the backend, else from its CDN."""
        cached = self._cache.blob_size(read.name, read.digest)
        if cached is not None:
            return cached
        return await self.gate.run(Step.BLOB, read.path, lambda: self._measure(read), self.asker)

    async def _measure(self, read: Blob) -> int:
        name = backend_name(self._renames, read.name)
        head = await self._client.fetch("HEAD", self._client.url(_rename_path(read, name)), name)
        size = whole_number(head.value("Content-Length")) if head.status == 200 else None
        if size is not None:
            return size
        source = await self._locate(read)
        if isinstance(source, str):
            return await _fetch_size(self._client, source)
        source.abandon()
        raise FailingError("no Content-Length for a blob", backend_wide=False)

    async def ping(self) -> None:
        """Send `GET /v2/` with the client's Authorization."""

        async def send() -> None:
            response = await self._client.fetch("GET", self._client.url("/v2/"), "")
            await self._client.read(response, REDIRECT_SIZE)

        await self.gate.run(None, "/v2/", send, self.asker)

    async def challenge(self, name: str | None, refusal: tuple[str, ...] = ()) -> str | None:
        """Return the WWW-Authenticate value for a pull of `name`; None if the backend requires no authentication.

        `refusal` are the values of a 401 response to the client's own Authorization; see `Tokens.challenge`.
        """
        return await self._client.challenge(name, refusal)

    def learn_challenge(self, challenges: tuple[str, ...]) -> None:
        """Store the WWW-Authenticate values of a 401 response to a request without an Authorization."""
        self._client.learn_challenge(challenges)

    def on_behalf_of(self, authorization: str | None, clock: IReactorTime) -> "Registry":
        """Return the same backend for one request with the client's own Authorization.

        Its responses are neither cached nor shared.
        """
        client = self._client.on_behalf_of(ClientAuthorization(authorization))
        cache = ManifestCache(0, 0.0, clock.seconds)
        registry = Registry(self.name, client, self._renames, cache, self._relay_blobs, self._note_cdn)
        return registry.asked_by(self.asker)


async def _fetch_size(client: AuthorizedClient, url: str) -> int:
    """Return the size of a blob from its CDN, with a request for one byte."""
    response = await client.open_anonymously(url, ONE_BYTE)
    total = response.value("Content-Range").rpartition("/")[2]
    size = {200: response.length, 206: whole_number(total)}.get(response.status)
    if size is None:
        raise FailingError(f"the CDN answered {response.status} to a range request", backend_wide=False)
    return size


def _name_list(read: Tags | Referrers, body: bytes) -> bytes:
    """Return the body of a list with the facade's name. Raises FailingError if it is no list, or is too complex.

    Only the keys of the distribution-spec are kept if the name is another one: others may contain it too.
    """
    document = read_object(body, MOST_VALUES_OF_LIST)
    if document is None:
        too_complex = is_too_complex(body, MOST_VALUES_OF_LIST)
        reason = f"list has over {MOST_VALUES_OF_LIST} values" if too_complex else "list is not a JSON object"
        raise FailingError(reason, backend_wide=False)
    if isinstance(read, Referrers) or document.get("name") == read.name:
        return body
    tags = document.get("tags")
    if isinstance(tags, list):
        tags = [tag for tag in tags if isinstance(tag, str)]
    elif tags is not None:
        raise FailingError("list is not a JSON object", backend_wide=False)
    return json.dumps({"name": read.name, "tags": tags}).encode()


def _rename_path(read: Read, name: str) -> str:
    return read.path.replace(f"/v2/{read.name}/", f"/v2/{name}/", 1)
