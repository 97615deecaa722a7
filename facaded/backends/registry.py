"""What one backend has: manifests, lists and blobs, checked, and under the facade's names."""

import json
import re
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import FailingError, NoListError, NoRedirectError, NotThereError
from facaded.backends.manifests import MANIFEST_SIZE, Accept, Manifest, ManifestCache, digest_of
from facaded.backends.tokens import NO_HEADERS, AuthorizedClient, ClientAuthorization
from facaded.net.client import REDIRECTS, ResponseHead, StreamedResponse
from facaded.net.json_objects import read_object
from facaded.net.single_flight import SingleFlight
from facaded.net.text import printable, whole_number
from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags, is_digest, is_query
from facaded.policy.health import Quota
from facaded.policy.repositories import Rename, renamed

_LINK = re.compile(r"<([^<>]*)>((?:[^,\"<]|\"[^\"]*\")*)")
_NEXT = re.compile(r";\s*rel=\"?next\"?\s*(?:;|$)", re.IGNORECASE)

LIST_SIZE = 4 << 20
"""Bytes of a list of tags or referrers: as of a manifest, which the latter is."""

REDIRECT_SIZE = 64 << 10
"""Bytes of a redirect's body that are read, so that the connection can be used again."""

MEDIA_TYPE_LENGTH = 255
"""Characters of a media type that are kept: more than RFC 6838 §4.2 lets one have."""


@frozen
class Ranged:
    """The headers of a request for a part of a blob, as the client sent them; empty where there is none."""

    range: str = ""
    if_range: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {name: value for name, value in (("Range", self.range), ("If-Range", self.if_range)) if value}


NOT_RANGED = Ranged()


@frozen
class Listing:
    """A list of tags or referrers: its media type, its body, the query of the next page, and OCI-Filters-Applied."""

    media_type: str
    body: bytes
    next_query: str | None
    filters: str


class Registry:
    """One backend. Its methods raise NotThereError or FailingError.

    `name` is its name in the settings, `renames` say what it calls the facade's repositories. With `relay_blobs`, the
    bytes of a blob that it does not redirect are handed on.
    """

    def __init__(
        self,
        name: str,
        client: AuthorizedClient,
        renames: tuple[Rename, ...],
        cache: ManifestCache,
        relay_blobs: bool = False,
    ) -> None:
        self.name = name
        self._client = client
        self._renames = renames
        self._cache = cache
        self._relay_blobs = relay_blobs
        self._manifests: SingleFlight[object, Manifest] = SingleFlight()

    @property
    def quota(self) -> Quota | None:
        """How many pulls are left, as the backend said last; None if it does not count them."""
        return self._client.quota

    async def manifest(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        """A manifest, or with `with_body` false what is known of it."""
        digest: str | None = read.reference
        if not is_digest(read.reference):
            digest = self._cache.tag(self.name, self._their_name(read.name), read.reference, accept)
        if digest is not None and (kept := self._cache.manifest(read.name, digest, accept)):
            return kept
        key = (read.name, read.reference, accept.value, with_body)
        return await self._manifests.get(key, lambda: self._fetch_manifest(read, accept, with_body))

    async def listing(self, read: Tags | Referrers, accept: Accept) -> Listing:
        """A list of tags or referrers, under the facade's name."""
        name = self._their_name(read.name)
        path = _their_path(read, name)
        url = self._client.url(f"{path}?{read.query}" if read.query else path)
        response = await self._client.fetch("GET", url, name, _accepting(accept))
        if response.status != 200:
            response.abandon()
            raise NoListError(f"answered {response.status} to a list", backend_wide=False)
        body = await self._client.read(response, LIST_SIZE)
        listed = read_object(body)
        if listed is None:
            raise FailingError("lists in no JSON that can be read", backend_wide=False)
        if isinstance(read, Tags):
            body = json.dumps({**listed, "name": read.name}).encode()
        filters = printable(response.value("OCI-Filters-Applied"))
        kind = _media_type(response) or "application/json"
        return Listing(kind, body, _next_query(response.value("Link"), path), filters)

    async def blob(self, read: Blob, ranged: Ranged = NOT_RANGED) -> str | StreamedResponse:
        """The address that the backend redirects a blob to, or its bytes if it is to be relayed."""
        name = self._their_name(read.name)
        url = self._client.url(_their_path(read, name))
        for _ in range(2):
            response = await self._client.fetch("GET", url, name, ranged.headers)
            if response.status not in REDIRECTS:
                if self._relay_blobs:
                    return response
                response.abandon()
                public = await self._client.open_anonymously(url)
                raise NoRedirectError(url if public.status == 200 else None)
            await self._client.read(response, REDIRECT_SIZE)
            url, own = await self._client.follow(url, response.value("Location"))
            if not own:
                return url
        raise FailingError("redirects a blob to itself", backend_wide=False)

    async def blob_size(self, read: Blob) -> int:
        """A blob's size: from a manifest that is kept, else from the backend, else from its CDN."""
        kept = self._cache.blob_size(read.name, read.digest)
        if kept is not None:
            return kept
        name = self._their_name(read.name)
        head = await self._client.fetch("HEAD", self._client.url(_their_path(read, name)), name)
        size = whole_number(head.value("Content-Length")) if head.status == 200 else None
        if size is not None:
            return size
        where = await self.blob(read)
        if isinstance(where, str):
            return await self._size_at_cdn(where)
        where.abandon()
        raise FailingError("does not say how large a blob is", backend_wide=False)

    async def ping(self) -> None:
        """`GET /v2/`, with what the client has."""
        response = await self._client.fetch("GET", self._client.url("/v2/"), "")
        await self._client.read(response, REDIRECT_SIZE)

    async def challenge(self, name: str | None) -> str | None:
        """How the backend wants a pull of `name` authenticated; None if it does not."""
        return await self._client.challenge(name)

    def learn(self, challenged: tuple[str, ...]) -> None:
        """The backend has answered 401 with these WWW-Authenticate values."""
        self._client.learn(challenged)

    def on_behalf_of(self, authorization: str | None, clock: IReactorTime) -> "Registry":
        """The same backend for one request of a client that brings its own Authorization.

        Nothing is kept, nothing shared.
        """
        client = self._client.on_behalf_of(ClientAuthorization(authorization))
        return Registry(self.name, client, self._renames, ManifestCache(0, 0.0, clock.seconds), self._relay_blobs)

    async def _fetch_manifest(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        name = self._their_name(read.name)
        fetch = self._get if with_body else self._head
        if is_digest(read.reference):
            return await fetch(read, name, read.reference, accept)
        known = self._cache.tag(self.name, name, read.reference, accept)
        if known is None:
            head = await self._head(read, name, read.reference, accept)
            if not head.digest:
                manifest = await self._get(read, name, read.reference, accept)
                self._cache.keep_tag(self.name, name, read.reference, accept, manifest.digest)
                return manifest
            known = head.digest
            self._cache.keep_tag(self.name, name, read.reference, accept, known)
            if not with_body and head.length:
                return head
        if kept := self._cache.manifest(read.name, known, accept):
            return kept
        try:
            return await fetch(read, name, known, accept)
        except NotThereError:
            raise FailingError("has a tag but not its manifest", backend_wide=False) from None

    async def _head(self, read: ManifestRead, name: str, reference: str, accept: Accept) -> Manifest:
        url = self._client.url(ManifestRead(name, reference).path)
        head = await self._client.fetch("HEAD", url, name, _accepting(accept))
        if head.status != 200:
            raise FailingError(f"answered {head.status} to the HEAD of a manifest", backend_wide=False)
        digest, length = head.value("Docker-Content-Digest"), whole_number(head.value("Content-Length"))
        if is_digest(reference):
            if digest not in ("", reference):
                raise FailingError("names a manifest by another digest", backend_wide=False)
            digest = reference
        if is_digest(reference) and not length:
            return await self._get(read, name, reference, accept)
        known = digest if is_digest(digest) and _media_type(head) else ""
        return Manifest(_media_type(head), known, length or 0, None)

    async def _get(self, read: ManifestRead, name: str, reference: str, accept: Accept) -> Manifest:
        url = self._client.url(ManifestRead(name, reference).path)
        response = await self._client.fetch("GET", url, name, _accepting(accept))
        if response.status != 200:
            response.abandon()
            raise FailingError(f"answered {response.status} to the GET of a manifest", backend_wide=False)
        body = await self._client.read(response, MANIFEST_SIZE)
        said = response.value("Docker-Content-Digest")
        wanted = {each for each in (reference, said) if is_digest(each)} or {digest_of(body)}
        if any(digest_of(body, each.partition(":")[0]) != each for each in wanted):
            raise FailingError("serves a manifest with a wrong digest", backend_wide=False)
        digest = reference if is_digest(reference) else next(iter(wanted))
        manifest = Manifest(_media_type(response) or _own_media_type(body), digest, len(body), body)
        self._cache.keep(read.name, manifest)
        return manifest

    async def _size_at_cdn(self, url: str) -> int:
        response = await self._client.open_anonymously(url, {"Range": "bytes=0-0"})
        total = response.value("Content-Range").rpartition("/")[2]
        size = {200: response.length, 206: whole_number(total)}.get(response.status)
        if size is None:
            raise FailingError(f"its CDN answered {response.status} to a Range", backend_wide=False)
        return size

    def _their_name(self, name: str) -> str:
        theirs = renamed(self._renames, name) if self._renames else name
        if theirs is None:
            raise NotThereError("it has no such name there")
        return theirs


def _accepting(accept: Accept) -> dict[str, str]:
    return {"Accept": accept.value} if accept.value else dict(NO_HEADERS)


def _their_path(read: Read, name: str) -> str:
    return read.path.replace(f"/v2/{read.name}/", f"/v2/{name}/", 1)


def _media_type(head: ResponseHead) -> str:
    return printable(head.value("Content-Type"))[:MEDIA_TYPE_LENGTH]


def _own_media_type(body: bytes) -> str:
    kind = (read_object(body) or {}).get("mediaType")
    return printable(kind)[:MEDIA_TYPE_LENGTH] if isinstance(kind, str) else "application/octet-stream"


def _next_query(link: str, path: str) -> str | None:
    """The query of the first `<…>; rel="next"` in a Link that leads to the same list, or None (RFC 8288)."""
    for target, parameters in _LINK.findall(link):
        if not _NEXT.search(parameters):
            continue
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        return parts.query if parts.path == path and is_query(parts.query) else None
    return None
