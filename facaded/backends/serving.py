"""Serving that survives a failing backend: each request tries the backends of its route in turn, inside one budget
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

from facaded.backends.manifests import Accept, Manifest
from facaded.backends.source import NOT_RANGED, FailingError, Listing, NoRedirectError, NotThereError, Ranged, Source
from facaded.net.client import StreamedResponse
from facaded.net.expiring import ExpiringMap
from facaded.net.single_flight import detached
from facaded.oci.requests import Blob, Ping, Read, Referrers, Tags
from facaded.oci.requests import Manifest as ManifestRead

BUDGET = 12.0
"""Seconds for one request over all backends: clients give up at 15."""

SUSPECT_TIME = 10.0
"""Seconds for which a backend that failed a request is tried after the others: until its probes have decided."""

NOT_THERE_TIME = 5.0
"""Seconds for which a backend is not asked again for what it did not have.

By the types accepted too: registries say 404 of a manifest whose type is not named, and one asker must not say so for
others.
"""

NOT_THERE = (401, 403, 404)
"""What a registry answers for what it does not have, or not for this asker."""

REMEMBERED = 10_000
"""Suspects, and things that are not there, that are remembered."""


@frozen
class Wanted:
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


class Serving:
    """Asks the sources.

    `failed` is called with a backend's name when it failed a request in a way that says something of all of it.
    """

    _log = Logger()

    def __init__(self, sources: Mapping[str, Source], clock: IReactorTime, failed: Callable[[str], None]) -> None:
        self._sources = sources
        self._clock = clock
        self._failed = failed
        self._suspects: ExpiringMap[tuple[str, str | None], bool] = ExpiringMap(REMEMBERED)
        self._missing: ExpiringMap[bytes, bool] = ExpiringMap(REMEMBERED)

    async def serve(self, read: Read, backends: Sequence[str], wanted: Wanted) -> Served | NotServed:
        """Ask `backends` in turn, suspects last, until one has it. Cancelling this cancels what is under way."""
        deadline = self._clock.seconds() + BUDGET
        failures: dict[str, str] = {}
        refused = False
        handing_out: dict[str, str | None] = {}
        order = sorted(backends, key=lambda name: self._is_suspect(name, read.name))
        for index, name in enumerate(order):
            if self._missing.get(_key(name, read, wanted.accept), self._clock.seconds()):
                continue
            share = (deadline - self._clock.seconds()) / (len(order) - index)
            try:
                found = await self._attempt(self._sources[name], read, wanted, max(share, 0.1))
                return Served(name, found, failures)
            except NotThereError as error:
                if error.status not in NOT_THERE:
                    refused = True
                    continue
                self._missing.put(_key(name, read, wanted.accept), True, self._clock.seconds() + NOT_THERE_TIME)
                if isinstance(read, Referrers):
                    break  # clients look for the tag that the digest makes: another's empty list would hide it
            except NoRedirectError as error:
                handing_out[name] = error.public_url
                failures[name] = str(error)
            except FailingError as error:
                failures[name] = str(error)
                self._suspect(name, None if error.whole else read.name)
        for name, public_url in handing_out.items():
            if public_url is not None:
                return Served(name, BlobAt(public_url), failures)
        without = tuple(name for name in backends if name not in failures)
        return NotServed(failures, without, next(iter(handing_out), None), refused)

    async def forward(
        self, request: Ping | Read, name: str, authorization: str | None, wanted: Wanted
    ) -> Served | NotServed | Unauthorized | Welcome:
        """Ask the backend `name` alone with the client's own Authorization. Nothing of the answer is kept or shared."""
        work = detached(self._forward(request, name, authorization, wanted))
        try:
            return await work.addTimeout(BUDGET, self._clock)
        except TimeoutError:
            return NotServed({name: "time-out"}, ())

    async def _forward(
        self, request: Ping | Read, name: str, authorization: str | None, wanted: Wanted
    ) -> Served | NotServed | Unauthorized | Welcome:
        source, repository = self._sources[name], None if isinstance(request, Ping) else request.name
        try:
            challenge = await source.challenge(repository)
            if authorization is None and challenge is not None:
                return Unauthorized(challenge)
            try:
                return await self._ask_for(source.on_behalf_of(authorization), request, wanted)
            except NotThereError as error:
                if error.status != 401:
                    return NotServed({}, (name,), refused=error.status not in NOT_THERE)
                source.learn(error.challenged)
            challenge = await source.challenge(repository)
            return NotServed({}, (name,)) if challenge is None else Unauthorized(challenge)
        except FailingError as error:
            return NotServed({name: str(error)}, ())

    async def _ask_for(self, theirs: Source, request: Ping | Read, wanted: Wanted) -> Served | Welcome:
        if isinstance(request, Ping):
            await theirs.ping()
            return Welcome()
        return Served(theirs.name, await self._find(theirs, request, wanted), {})

    def _attempt(self, source: Source, read: Read, wanted: Wanted, seconds: float) -> Deferred[Found]:
        """One backend's try, `seconds` at most."""

        def overdue(outcome: object, _: float) -> Found:
            raise FailingError("time-out", whole=True)

        return detached(self._find(source, read, wanted)).addTimeout(seconds, self._clock, overdue)

    async def _find(self, source: Source, read: Read, wanted: Wanted) -> Found:
        """One backend's try, in which an error of our own counts as the backend's: the next one may do better."""
        try:
            return await _find(source, read, wanted)
        except (NotThereError, FailingError, CancelledError):
            raise
        except Exception:
            self._log.failure("an error while {name} was asked", name=source.name)
            raise FailingError("an error in facaded: its log says more", whole=False) from None

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


async def _find(source: Source, read: Read, wanted: Wanted) -> Found:
    match read:
        case ManifestRead():
            return await source.manifest(read, wanted.accept, wanted.with_body)
        case Tags() | Referrers():
            return await source.listing(read, wanted.accept)
        case Blob():
            if not wanted.with_body:
                return BlobSize(await source.blob_size(read))
            where = await source.blob(read, wanted.ranged)
            return BlobAt(where) if isinstance(where, str) else BlobBytes(where)
