"""Fetching that survives a failing backend: each request tries the backends of its route in turn, inside one budget
of time.

Source of the numbers: clients give a ping and a token 15 s each, and a pull is given up after that.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.backends.failures import NOT_THERE, FailingError, NoRedirectError, NotThereError
from facaded.backends.manifests import Accept, Manifest
from facaded.backends.registry import NOT_RANGED, Listing, Ranged, Registry
from facaded.net.client import StreamedResponse
from facaded.net.expiring import ExpiringMap
from facaded.net.single_flight import detached
from facaded.oci.requests import Blob, ManifestRead, Ping, Read, Referrers, Tags

BUDGET = 12.0
"""Seconds for one request over all backends: clients give up at 15."""

SUSPECT_TIME = 10.0
"""Seconds for which a backend that failed a request is tried after the others: until its probes have decided."""

NOT_THERE_TIME = 5.0
"""Seconds for which a backend is not asked again for what it did not have.

By the types accepted too: registries say 404 of a manifest whose type is not named, and one asker must not say so for
others.
"""

REMEMBERED = 10_000
"""Suspects, and things that are not there, that are remembered."""


@frozen
class ReadOptions:
    """How a client wants what it reads:

    the types it accepts, the body or only what is known of it, and which part of a blob.
    """

    accept: Accept
    with_body: bool = True
    ranged: Ranged = NOT_RANGED


@frozen
class BlobAt:
    """A blob is at this address."""

    location: str


@frozen
class BlobBytes:
    """A blob's bytes, or a part of them, that are to be relayed: status, headers, and a body that has not been read."""

    opened: StreamedResponse


@frozen
class BlobSize:
    """A blob is there, and has this many bytes."""

    size: int


@frozen
class Unauthorized:
    """The backend wants to know who asks; `challenge` is the WWW-Authenticate value that says how to tell it."""

    challenge: str


@frozen
class Welcome:
    """The backend has answered a ping with 200."""


Found: TypeAlias = Manifest | Listing | BlobAt | BlobBytes | BlobSize


@frozen
class Served:
    """What was found, at which backend, and how others failed before it."""

    backend: str
    found: Found
    failures: Mapping[str, str]


@frozen
class NotServed:
    """No backend had it.

    Those in `failures` failed, in the way that is said; the others, in `without`, do not have it.
    """

    failures: Mapping[str, str]
    without: tuple[str, ...]
    hands_out: str | None = None
    refused: bool = False


class Fetcher:
    """Asks the registries.

    `failed` is called with a backend's name when it failed a request in a way that says something of all of it.
    """

    _log = Logger()

    def __init__(self, registries: Mapping[str, Registry], clock: IReactorTime, failed: Callable[[str], None]) -> None:
        self._registries = registries
        self._clock = clock
        self._failed = failed
        self._suspects: ExpiringMap[tuple[str, str | None], bool] = ExpiringMap(REMEMBERED)
        self._missing: ExpiringMap[bytes, bool] = ExpiringMap(REMEMBERED)

    async def serve(self, read: Read, backends: Sequence[str], options: ReadOptions) -> Served | NotServed:
        """Ask `backends` in turn, suspects last, until one has it. Cancelling this cancels what is under way."""
        deadline = self._clock.seconds() + BUDGET
        failures: dict[str, str] = {}
        refused = False
        handing_out: dict[str, str | None] = {}
        order = sorted(backends, key=lambda name: self._is_suspect(name, read.name))
        for index, name in enumerate(order):
            if self._missing.get(_key(name, read, options.accept), self._clock.seconds()):
                continue
            share = (deadline - self._clock.seconds()) / (len(order) - index)
            try:
                found = await self._attempt(self._registries[name], read, options, max(share, 0.1))
                return Served(name, found, failures)
            except NotThereError as error:
                if error.status not in NOT_THERE:
                    refused = True
                    continue
                self._missing.put(_key(name, read, options.accept), True, self._clock.seconds() + NOT_THERE_TIME)
                if isinstance(read, Referrers):
                    break  # clients look for the tag that the digest makes: another's empty list would hide it
            except NoRedirectError as error:
                handing_out[name] = error.public_url
                failures[name] = str(error)
            except FailingError as error:
                failures[name] = str(error)
                self._suspect(name, None if error.backend_wide else read.name)
        for name, public_url in handing_out.items():
            if public_url is not None:
                return Served(name, BlobAt(public_url), failures)
        without = tuple(name for name in backends if name not in failures)
        return NotServed(failures, without, next(iter(handing_out), None), refused)

    async def forward(
        self, request: Ping | Read, name: str, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | Welcome:
        """Ask the backend `name` alone with the client's own Authorization. Nothing of the answer is kept or shared."""
        work = detached(self._forward(request, name, authorization, options))
        try:
            return await work.addTimeout(BUDGET, self._clock)
        except TimeoutError:
            return NotServed({name: "time-out"}, ())

    async def _forward(
        self, request: Ping | Read, name: str, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | Welcome:
        registry, repository = self._registries[name], None if isinstance(request, Ping) else request.name
        try:
            challenge = await registry.challenge(repository)
            if authorization is None and challenge is not None:
                return Unauthorized(challenge)
            try:
                return await self._ask_for(registry.on_behalf_of(authorization, self._clock), request, options)
            except NotThereError as error:
                if error.status != 401:
                    return NotServed({}, (name,), refused=error.status not in NOT_THERE)
                registry.learn(error.challenged)
            challenge = await registry.challenge(repository)
            return NotServed({}, (name,)) if challenge is None else Unauthorized(challenge)
        except FailingError as error:
            return NotServed({name: str(error)}, ())

    async def _ask_for(self, theirs: Registry, request: Ping | Read, options: ReadOptions) -> Served | Welcome:
        if isinstance(request, Ping):
            await theirs.ping()
            return Welcome()
        return Served(theirs.name, await self._find(theirs, request, options), {})

    def _attempt(self, registry: Registry, read: Read, options: ReadOptions, seconds: float) -> Deferred[Found]:
        """One backend's try, `seconds` at most."""

        def overdue(outcome: object, _: float) -> Found:
            raise FailingError("time-out", backend_wide=True)

        return detached(self._find(registry, read, options)).addTimeout(seconds, self._clock, overdue)

    async def _find(self, registry: Registry, read: Read, options: ReadOptions) -> Found:
        """One backend's try, in which an error of our own counts as the backend's: the next one may do better."""
        try:
            return await _ask(registry, read, options)
        except (NotThereError, FailingError, CancelledError):
            raise
        except Exception:
            self._log.failure("an error while {name} was asked", name=registry.name)
            raise FailingError("an error in facaded: its log says more", backend_wide=False) from None

    def _is_suspect(self, name: str, repository: str) -> bool:
        now = self._clock.seconds()
        return any(self._suspects.get((name, each), now) for each in (None, repository))

    def _suspect(self, name: str, repository: str | None) -> None:
        self._suspects.put((name, repository), True, self._clock.seconds() + SUSPECT_TIME)
        self._failed(name)


def _key(name: str, read: Read, accept: Accept) -> bytes:
    """What is remembered of a read, in a few bytes; the query of a manifest or a blob changes nothing."""
    bare = evolve(read, query="") if isinstance(read, ManifestRead | Blob) else read
    return hashlib.sha256(repr((name, bare)).encode() + accept.key).digest()


async def _ask(registry: Registry, read: Read, options: ReadOptions) -> Found:
    match read:
        case ManifestRead():
            return await registry.manifest(read, options.accept, options.with_body)
        case Tags() | Referrers():
            return await registry.listing(read, options.accept)
        case Blob():
            if not options.with_body:
                return BlobSize(await registry.blob_size(read))
            where = await registry.blob(read, options.ranged)
            return BlobAt(where) if isinstance(where, str) else BlobBytes(where)
