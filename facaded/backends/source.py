"""One backend as a source of what is served:

its answers, checked, and sorted into what it has, what it does not have, and failures.
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends.manifests import MANIFEST_SIZE, Accept, Cache, Manifest, digest_of
from facaded.backends.quotas import read_quota
from facaded.backends.tokens import Authorization, Given, RealmError, TokenError, TokenRefusedError
from facaded.net.client import REDIRECTS, BoundedClient, LocationError, StreamedResponse, TooLargeError, reason
from facaded.net.json_objects import read_object
from facaded.net.single_flight import SingleFlight
from facaded.net.text import printable, whole_number
from facaded.oci.requests import Blob, Referrers, Tags, is_digest, is_query
from facaded.oci.requests import Manifest as ManifestRead
from facaded.policy.health import Quota
from facaded.policy.repositories import Rename, renamed

T = TypeVar("T")

_LINK = re.compile(r"<([^<>]*)>((?:[^,\"<]|\"[^\"]*\")*)")
_NEXT = re.compile(r";\s*rel=\"?next\"?\s*(?:;|$)", re.IGNORECASE)

ANSWER_TIME = 4.0
"""Seconds from the beginning of a request to the head of its answer, the connection's making included."""

LIST_SIZE = 4 << 20
"""Bytes of a list of tags or referrers: as of a manifest, which the latter is."""

REDIRECT_SIZE = 64 << 10
"""Bytes of a redirect's body that are read, so that the connection can be used again."""

MEDIA_TYPE_LENGTH = 255


class Authorizer(Protocol):
    """What says which Authorization a request has: `tokens.Tokens`, or `tokens.Given`."""

    async def authorize(self, name: str) -> Authorization:
        """See `Tokens.authorize`."""

    def drop(self, name: str, challenged: tuple[str, ...]) -> None:
        """See `Tokens.drop`."""

    async def challenge(self, name: str | None) -> str | None:
        """See `Tokens.challenge`."""

    def is_anonymous(self, name: str) -> bool:
        """See `Tokens.is_anonymous`."""

    def is_public(self, name: str) -> None:
        """See `Tokens.is_public`."""


class NotThereError(Exception):
    """The backend works, and does not have what was asked, or not for this asker, or refuses the request as it is.

    `status` is its answer's, `challenged` its WWW-Authenticate values.
    """

    def __init__(self, said: str, status: int = 404, challenged: tuple[str, ...] = ()) -> None:
        super().__init__(said)
        self.status = status
        self.challenged = challenged


class FailingError(Exception):
    """The backend does not do its work. `whole` if this says something of all of it, and not only of one repository."""

    def __init__(self, said: str, whole: bool) -> None:
        super().__init__(said)
        self.whole = whole


class NoRedirectError(FailingError):
    """The backend hands out a blob's bytes itself. `public_url` is where it gives them to anybody, if it does."""

    def __init__(self, public_url: str | None) -> None:
        super().__init__("hands out blobs itself", whole=False)
        self.public_url = public_url


class NoListError(FailingError):
    """The backend answers a list with a redirect to a page for people: it has no such list.

    GHCR does so for referrers (artifacthub/hub issue 4785).
    """


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


class Source:
    """One backend.

    `name` is its name in the settings, `renames` say what it calls the facade's repositories. `quota` is how many pulls
    are left, as it said last; None if it does not count them. `note_quota` is called with that and with whose they are,
    "address" or "account".
    """

    def __init__(
        self,
        name: str,
        registry: BoundedClient,
        tokens: Authorizer,
        renames: tuple[Rename, ...],
        cache: Cache,
        clock: IReactorTime,
        relay_blobs: bool = False,
        note_quota: Callable[[str, Quota], None] = lambda *_: None,
    ) -> None:
        self.name = name
        self._registry = registry
        self._tokens = tokens
        self._renames = renames
        self._cache = cache
        self._clock = clock
        self._relay_blobs = relay_blobs
        self._note_quota = note_quota
        self.quota: Quota | None = None
        self._manifests: SingleFlight[object, Manifest] = SingleFlight()

    async def manifest(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        """A manifest, or with `with_body` false what is known of it. Raises NotThereError or FailingError."""
        digest = read.reference if is_digest(read.reference) else None
        if digest is None:
            name = self._their_name(read.name)
            digest = self._cache.tag(self.name, name, read.reference, accept)
        if digest is not None and (kept := self._cache.manifest(read.name, digest, accept)):
            return kept
        key = (read.name, read.reference, accept.value, with_body)
        return await self._manifests.get(key, lambda: self._manifest(read, accept, with_body))

    async def listing(self, read: Tags | Referrers, accept: Accept) -> Listing:
        """A list of tags or referrers, under the facade's name. Raises NotThereError or FailingError."""
        name = self._their_name(read.name)
        path = _their_path(read, name)
        opened = await self._fetch("GET", f"{path}?{read.query}" if read.query else path, name, accept)
        if opened.status != 200:
            opened.abandon()
            raise NoListError(f"answered {opened.status} to a list", whole=False)
        body = await self._read(opened, LIST_SIZE)
        listed = read_object(body)
        if listed is None:
            raise FailingError("lists in no JSON that can be read", whole=False)
        if isinstance(read, Tags):
            body = json.dumps({**listed, "name": read.name}).encode()
        filters = printable(opened.value("OCI-Filters-Applied"))
        kind = _media_type(opened) or "application/json"
        return Listing(kind, body, _next_query(opened.value("Link"), path), filters)

    async def blob(self, read: Blob, ranged: Ranged = NOT_RANGED) -> str | StreamedResponse:
        """The address that the backend redirects a blob to, or its bytes if it is to be relayed.

        Raises NotThereError or FailingError.
        """
        name = self._their_name(read.name)
        url = f"{self._registry.url}{_their_path(read, name)}"
        for _ in range(2):
            opened = await self._fetch("GET", url, name, Accept("", frozenset()), ranged)
            if opened.status not in REDIRECTS:
                if self._relay_blobs:
                    return opened
                opened.abandon()
                raise NoRedirectError(await self._public(url))
            await self._read(opened, REDIRECT_SIZE)
            url = self._location(url, opened.value("Location"))
            if not self._registry.is_own(url):
                await self._guarded(self._registry.check_name(urlsplit(url).hostname or ""))
                return url
        raise FailingError("redirects a blob to itself", whole=False)

    async def blob_size(self, read: Blob) -> int:
        """A blob's size: from a manifest that is kept, else from the backend, else from its CDN."""
        kept = self._cache.blob_size(read.name, read.digest)
        if kept is not None:
            return kept
        name = self._their_name(read.name)
        head = await self._fetch("HEAD", _their_path(read, name), name, Accept("", frozenset()))
        size = whole_number(head.value("Content-Length")) if head.status == 200 else None
        if size is not None:
            return size
        where = await self.blob(read)
        if isinstance(where, str):
            return await self._size_at_cdn(where)
        where.abandon()
        raise FailingError("does not say how large a blob is", whole=False)

    def on_behalf_of(self, authorization: str | None) -> "Source":
        """The same backend for one request of a client that brings its own Authorization.

        Nothing is kept, nothing shared.
        """
        nothing = Cache(0, 0.0, self._clock.seconds)
        return Source(
            self.name, self._registry, Given(authorization), self._renames, nothing, self._clock, self._relay_blobs
        )

    def learn(self, challenged: tuple[str, ...]) -> None:
        """The backend has answered 401 with these WWW-Authenticate values."""
        self._tokens.drop("", challenged)

    async def challenge(self, name: str | None) -> str | None:
        """How the backend wants a pull of `name` authenticated. Raises NotThereError or FailingError."""
        return await self._guarded(self._tokens.challenge(name))

    async def ping(self) -> None:
        """`GET /v2/`, with what the asker has. Raises NotThereError or FailingError."""
        await self._read(await self._fetch("GET", "/v2/", "", Accept("", frozenset())), REDIRECT_SIZE)

    async def _manifest(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        name = self._their_name(read.name)
        if is_digest(read.reference):
            return await (self._get if with_body else self._head)(read, name, read.reference, accept)
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
            return await (self._get if with_body else self._head)(read, name, known, accept)
        except NotThereError:
            raise FailingError("has a tag but not its manifest", whole=False) from None

    async def _head(self, read: ManifestRead, name: str, reference: str, accept: Accept) -> Manifest:
        head = await self._fetch("HEAD", _their_path(ManifestRead(name, reference), name), name, accept)
        if head.status != 200:
            raise FailingError(f"answered {head.status} to the HEAD of a manifest", whole=False)
        digest, length = head.value("Docker-Content-Digest"), whole_number(head.value("Content-Length"))
        if is_digest(reference):
            if digest not in ("", reference):
                raise FailingError("names a manifest by another digest", whole=False)
            digest = reference
        if is_digest(reference) and not length:
            return await self._get(read, name, reference, accept)
        known = digest if is_digest(digest) and _media_type(head) else ""
        return Manifest(_media_type(head), known, length or 0, None)

    async def _get(self, read: ManifestRead, name: str, reference: str, accept: Accept) -> Manifest:
        opened = await self._fetch("GET", _their_path(ManifestRead(name, reference), name), name, accept)
        if opened.status != 200:
            opened.abandon()
            raise FailingError(f"answered {opened.status} to the GET of a manifest", whole=False)
        body = await self._read(opened, MANIFEST_SIZE)
        said = opened.value("Docker-Content-Digest")
        wanted = {each for each in (reference, said) if is_digest(each)} or {digest_of(body)}
        if any(digest_of(body, each.partition(":")[0]) != each for each in wanted):
            raise FailingError("serves a manifest with a wrong digest", whole=False)
        digest = reference if is_digest(reference) else next(iter(wanted))
        manifest = Manifest(_media_type(opened) or _own_media_type(body), digest, len(body), body)
        self._cache.keep(read.name, manifest)
        return manifest

    async def _public(self, url: str) -> str | None:
        """The address of a blob, if it is given to anybody without a token."""
        opened = await self._guarded(self._registry.open("GET", url, {}))
        opened.abandon()
        return url if opened.status == 200 else None

    async def _fetch(
        self, method: str, target: str, name: str, accept: Accept, ranged: Ranged = NOT_RANGED
    ) -> StreamedResponse:
        """Ask with a token, and once more with a new one if it is refused. Gives 200, 206 or a redirect."""
        url = target if target.startswith("http") else f"{self._registry.url}{target}"
        headers = ranged.headers | ({"Accept": accept.value} if accept.value else {})
        for _ in range(2):
            anonymous = self._tokens.is_anonymous(name)
            authorization = await self._guarded(self._tokens.authorize(name))
            sent = {**headers, "Authorization": authorization.value} if authorization.value else headers
            opened = await self._guarded(self._registry.open(method, url, sent))
            if opened.status == 200 and anonymous:
                self._tokens.is_public(name)
            if (quota := read_quota(opened)) is not None:
                self.quota = quota
                self._note_quota("address" if anonymous else "account", quota)
            if opened.status == 200 or opened.status in REDIRECTS or (ranged.range and opened.status in (206, 416)):
                return opened
            opened.abandon()
            if opened.status != 401 or authorization.fresh:
                raise _problem(opened)
            self._tokens.drop(name, opened.values("WWW-Authenticate"))
        raise _problem(opened)

    async def _guarded(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Bound the time of some work, and sort what can go wrong with it."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(ANSWER_TIME, self._clock)
        except TokenRefusedError as error:
            raise NotThereError(str(error)) from None
        except (TokenError, RealmError) as error:
            raise FailingError(str(error), whole=True) from None
        except Exception as error:
            raise FailingError(reason(error), whole=True) from None

    async def _read(self, opened: StreamedResponse, limit: int) -> bytes:
        try:
            return await Deferred.fromCoroutine(opened.read(limit)).addTimeout(ANSWER_TIME, self._clock)
        except TooLargeError as error:
            raise FailingError(str(error), whole=False) from None
        except Exception as error:
            raise FailingError(reason(error), whole=True) from None

    async def _size_at_cdn(self, url: str) -> int:
        opened = await self._guarded(self._registry.open("GET", url, {"Range": "bytes=0-0"}))
        opened.abandon()
        total = opened.value("Content-Range").rpartition("/")[2]
        size = {200: opened.length, 206: whole_number(total)}.get(opened.status)
        if size is None:
            raise FailingError(f"its CDN answered {opened.status} to a Range", whole=False)
        return size

    def _location(self, base: str, location: str) -> str:
        try:
            return self._registry.location(base, location)
        except LocationError as error:
            raise FailingError(str(error), whole=False) from None

    def _their_name(self, name: str) -> str:
        theirs = renamed(self._renames, name)
        if theirs is None:
            raise NotThereError("it has no such name there")
        return theirs


def _problem(head: StreamedResponse) -> NotThereError | FailingError:
    if 400 <= head.status < 500 and head.status not in (408, 429):
        return NotThereError(f"answered {head.status}", head.status, head.values("WWW-Authenticate"))
    return FailingError(f"answered {head.status}", whole=head.status == 429)


def _their_path(read: ManifestRead | Blob | Tags | Referrers, name: str) -> str:
    return read.path.replace(f"/v2/{read.name}/", f"/v2/{name}/", 1)


def _media_type(head: StreamedResponse) -> str:
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
