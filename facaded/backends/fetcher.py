"""The fetcher: tries the backends of a route in turn until one has the content, within a time limit.

Source of the numbers: clients give up a ping or a token request after 15 s, and then abort the pull.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import TypeAlias

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.backends.failures import NOT_FOUND_STATUSES, FailingError, NoRedirectError, NotFoundError
from facaded.backends.manifests import Accept, Manifest
from facaded.backends.registry import NO_RANGE, Listing, RangeHeaders, Registry
from facaded.net.client import StreamedResponse
from facaded.net.expiring import ExpiringMap
from facaded.net.single_flight import run_detached
from facaded.oci.requests import Blob, ManifestRead, Ping, Read, Referrers, Tags
from facaded.policy.decision import Serve
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step

BUDGET = 12.0
"""Seconds for one request to all backends together: clients give up after 15."""

SUSPECT_TIME = 10.0
"""Seconds for which a backend that failed a request is tried after the others, until probes decide its state."""

NOT_FOUND_TIME = 5.0
"""Seconds for which a "not found" response is cached.

The cache key includes the accepted media types, because registries answer 404 for a manifest whose type is not in the
Accept header, and other clients may accept that type.
"""

CACHE_ENTRIES = 10_000
"""Entries in the cache of suspects, and in that of "not found" responses."""


@frozen
class ReadOptions:
    """What the client's request says about the response.

    `accept` are the media types; `with_body` is False for HEAD; `range` is the requested part of a blob. `source` is
    the client's address, "-" if it has none.
    """

    accept: Accept
    with_body: bool = True
    range: RangeHeaders = NO_RANGE
    source: str = "-"


@frozen
class BlobRedirect:
    """A blob that the client is redirected to at `location`."""

    location: str


@frozen
class BlobBytes:
    """A blob's bytes, or a part of them, for relaying: the backend's response with an unread body."""

    opened: StreamedResponse


@frozen
class BlobSize:
    """The size of a blob in bytes."""

    size: int


@frozen
class Unauthorized:
    """The backend requires authentication; `challenge` is the WWW-Authenticate value to pass to the client."""

    challenge: str


@frozen
class PingAccepted:
    """The backend answered a ping with 200."""


Content: TypeAlias = Manifest | Listing | BlobRedirect | BlobBytes | BlobSize


@frozen
class Served:
    """Content from `backend`. `failures` maps the backends that failed before it to the reasons."""

    backend: str
    content: Content
    failures: Mapping[str, str]


@frozen
class NotServed:
    """No backend served the content.

    `failures` maps the backends that failed to the reasons; the backends in `not_found` do not have the content.
    `blob_source` is a backend that would only serve the blob itself, without a redirect; `refused` is True if a backend
    refused the request as invalid.
    """

    failures: Mapping[str, str]
    not_found: tuple[str, ...]
    blob_source: str | None = None
    refused: bool = False


class Fetcher:
    """Fetches content from the registries.

    `report` is called with each request to a backend for a client that says something of the backend's health.
    """

    _log = Logger()

    def __init__(
        self, registries: Mapping[str, Registry], clock: IReactorTime, report: Callable[[Attempt], None]
    ) -> None:
        self._registries = registries
        self._clock = clock
        self._report = report
        self._suspects: ExpiringMap[tuple[str, str | None], bool] = ExpiringMap(CACHE_ENTRIES)
        self._not_found: ExpiringMap[bytes, bool] = ExpiringMap(CACHE_ENTRIES)

    async def serve(self, serve: Serve, options: ReadOptions) -> Served | NotServed:
        """Try the backends in turn, suspects last, until one has the content. This can be cancelled at any time."""
        read, backends = serve.read, serve.backends
        deadline = self._clock.seconds() + BUDGET
        failures: dict[str, str] = {}
        refused = False
        public_urls: dict[str, str | None] = {}
        order = sorted(backends, key=lambda name: self._is_suspect(name, read.name))
        for index, name in enumerate(order):
            if self._not_found.get(_cache_key(name, read, options.accept), self._clock.seconds()):
                continue
            share = (deadline - self._clock.seconds()) / (len(order) - index)
            try:
                content = await self._try(self._registries[name], read, options, max(share, 0.1))
                return Served(name, content, failures)
            except NotFoundError as error:
                if error.status not in NOT_FOUND_STATUSES:
                    refused = True
                    continue
                self._not_found.put(
                    _cache_key(name, read, options.accept), True, self._clock.seconds() + NOT_FOUND_TIME
                )
                if isinstance(read, Referrers):
                    break  # clients then try the fallback tag, which an empty list of another backend would hide
            except NoRedirectError as error:
                public_urls[name] = error.public_url
                failures[name] = str(error)
            except FailingError as error:
                failures[name] = str(error)
                self._add_suspect(name, None if error.backend_wide else read.name)
                self._report(Attempt(name, Step.MANIFEST, good=False, repository=read.name, source=options.source))
        for name, public_url in public_urls.items():
            if public_url is not None:
                return Served(name, BlobRedirect(public_url), failures)
        not_found = tuple(name for name in backends if name not in failures)
        return NotServed(failures, not_found, next(iter(public_urls), None), refused)

    async def forward(
        self, request: Ping | Read, name: str, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | PingAccepted:
        """Forward a request to the backend `name` with the client's own Authorization. The response is not cached."""
        work = run_detached(self._forward_within_time(request, name, authorization, options))
        try:
            return await work.addTimeout(BUDGET, self._clock)
        except TimeoutError:
            return NotServed({name: "timeout"}, ())

    async def _forward_within_time(
        self, request: Ping | Read, name: str, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | PingAccepted:
        registry, repository = self._registries[name], None if isinstance(request, Ping) else request.name
        try:
            challenge = await registry.challenge(repository)
            if authorization is None and challenge is not None:
                return Unauthorized(challenge)
            try:
                return await self._forward_to(registry.on_behalf_of(authorization, self._clock), request, options)
            except NotFoundError as error:
                if error.status != 401:
                    return NotServed({}, (name,), refused=error.status not in NOT_FOUND_STATUSES)
                registry.learn_challenge(error.challenges)
            challenge = await registry.challenge(repository)
            return NotServed({}, (name,)) if challenge is None else Unauthorized(challenge)
        except FailingError as error:
            return NotServed({name: str(error)}, ())

    async def _forward_to(
        self, registry: Registry, request: Ping | Read, options: ReadOptions
    ) -> Served | PingAccepted:
        if isinstance(request, Ping):
            await registry.ping()
            return PingAccepted()
        return Served(registry.name, await self._fetch(registry, request, options), {})

    def _try(self, registry: Registry, read: Read, options: ReadOptions, seconds: float) -> Deferred[Content]:
        """Fetch content from one backend within `seconds`. A timeout is a FailingError."""

        def time_out(outcome: object, _: float) -> Content:
            raise FailingError("timeout", backend_wide=True)

        return run_detached(self._fetch(registry, read, options)).addTimeout(seconds, self._clock, time_out)

    async def _fetch(self, registry: Registry, read: Read, options: ReadOptions) -> Content:
        """Fetch content from one backend. A bug in facaded counts as its failure, because the next one may work."""
        try:
            return await _fetch_content(registry, read, options)
        except (NotFoundError, FailingError, CancelledError):
            raise
        except Exception:
            self._log.failure("internal error in a request to {name}", name=registry.name)
            raise FailingError("internal error, see facaded's log", backend_wide=False) from None

    def _is_suspect(self, name: str, repository: str) -> bool:
        now = self._clock.seconds()
        return any(self._suspects.get((name, scope), now) for scope in (None, repository))

    def _add_suspect(self, name: str, repository: str | None) -> None:
        self._suspects.put((name, repository), True, self._clock.seconds() + SUSPECT_TIME)


def _cache_key(name: str, read: Read, accept: Accept) -> bytes:
    """Return a short key for a read. It ignores the query of a manifest or a blob, which has no effect."""
    without_query = evolve(read, query="") if isinstance(read, ManifestRead | Blob) else read
    return hashlib.sha256(repr((name, without_query)).encode() + accept.key).digest()


async def _fetch_content(registry: Registry, read: Read, options: ReadOptions) -> Content:
    match read:
        case ManifestRead():
            return await registry.manifest(read, options.accept, options.with_body)
        case Tags() | Referrers():
            return await registry.listing(read, options.accept)
        case Blob():
            if not options.with_body:
                return BlobSize(await registry.blob_size(read))
            source = await registry.blob(read, options.range)
            return BlobRedirect(source) if isinstance(source, str) else BlobBytes(source)
