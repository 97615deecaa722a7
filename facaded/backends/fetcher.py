"""The fetcher: tries the backends of a route in turn until one has the content, within a time limit.

Source of the numbers: clients give up a ping or a token request after 15 s, and then abort the pull.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NoReturn

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.backends.blob_addresses import BlobAddresses
from facaded.backends.blob_offers import UNCHECKED, BlobOffers, BlobSettings, Learned
from facaded.backends.cdn_checks import CdnChecks, Offer
from facaded.backends.failures import (
    NOT_FOUND_STATUSES,
    RESTING,
    CircuitOpenError,
    CrowdedError,
    FailingError,
    NoListError,
    NoRedirectError,
    NotFoundError,
    OverRateError,
    ReservedError,
    UnaskedError,
)
from facaded.backends.manifests import Manifest, ManifestCache, find_digests
from facaded.backends.recent_answers import RecentAnswers
from facaded.backends.registry import Listing, Registry
from facaded.backends.served_content import (
    BlobBytes,
    BlobRedirect,
    BlobSize,
    Content,
    NotServed,
    PingAccepted,
    ReadOptions,
    Served,
    Unauthorized,
)
from facaded.backends.shares import Asker, OverLimit, Shares, over_rate, reserved
from facaded.backends.tags import LastDigest
from facaded.backends.united_referrers import LONGEST_OF_FAILING, ReferrersSearch
from facaded.net.single_flight import run_detached
from facaded.oci.indexes import INDEX
from facaded.oci.referrers import is_referrers_tag, render_index
from facaded.oci.requests import Blob, ManifestRead, Ping, Read, Referrers, Tags, is_digest
from facaded.policy.decision import Serve
from facaded.policy.elsewhere import Elsewhere
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step

BUDGET = 12.0
"""Seconds for one request to all backends together: clients give up after 15."""

LOG = Logger()

LEAST_SHARE = 0.1
"""Seconds that each backend gets at least, even if those before it took all the time."""


class Fetcher:
    """Fetches content from the registries.

    `report` is called with each request to a backend for a client that says something of the backend's health.
    `shares` limits what one client may ask of them. `wall` returns seconds since the epoch. `cache` is that of the
    registries, if they have one, `recent` what backends answered recently, `cdn_results` what checks of CDNs have
    shown, and `elsewhere` what some of them lack.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        clock: IReactorTime,
        report: Callable[[Attempt], None],
        shares: Shares,
        blobs: BlobSettings = UNCHECKED,
        wall: Callable[[], float] = time.time,
        cache: ManifestCache | None = None,
    ) -> None:
        self.cache = cache or ManifestCache(0, 0.0, clock.seconds)
        self._registries = registries
        self._clock = clock
        self._report = report
        self._shares = shares
        addresses = BlobAddresses(blobs.addresses, clock.seconds, wall)
        cdns = CdnChecks(clock, blobs.trust, report, addresses.doubt)
        self.recent, self.cdn_results = RecentAnswers(clock.seconds), cdns.results
        self._learned = Learned(self.recent, addresses, cdns)
        self.elsewhere = Elsewhere()

    def must_serve(self, read: Read) -> bool:
        """Return whether not every backend may have what a client reads, because only some of them list it."""
        return self.elsewhere.has(read, self._clock.seconds())

    def find_cached(self, serve: Serve, options: ReadOptions) -> Served | None:
        """Return a manifest by its digest from the cache, if `serve` would return that too without asking a backend."""
        read, name, recent = serve.read, serve.backends[0], self.recent
        if not isinstance(read, ManifestRead) or not is_digest(read.reference) or self.must_serve(read):
            return None
        if recent.is_suspect(name, read) or recent.lacks(name, read, options.accept):
            return None
        cached = self._registries[name].manifests.cached(read, options.accept)
        if cached is None:
            return None
        self.cache.uses.hits += 1
        return Served(name, cached, {})

    async def serve(self, serve: Serve, options: ReadOptions) -> Served | NotServed:
        """Try the backends in turn, suspects last, until one has the content. This can be cancelled at any time."""
        search = Search(self._registries, self._clock, self._report, self._learned, self._shares, serve, options)
        try:
            if serve.united:
                return await run_detached(self._unite(serve, options))
            served = await search.run()
        except OverRateError as error:
            return NotServed({}, (), over_limit=over_rate(error))
        manifest = served.content if isinstance(served, Served) and isinstance(served.content, Manifest) else None
        if isinstance(serve.read, ManifestRead):
            self.cache.uses.note(manifest)
        if manifest is not None and self.must_serve(serve.read):
            self._note_parts(serve.read, manifest)
        return served

    def _note_parts(self, read: Read, manifest: Manifest) -> None:
        """Remember what a referrer consists of.

        Its own digest is noted where it is listed, or by its tag, but not by each request for it: that would never end.
        """
        assert isinstance(read, ManifestRead)
        own = () if is_digest(read.reference) else (manifest.digest,)
        self.elsewhere.note(read.name, (*own, *find_digests(manifest.body or b"")), self._clock.seconds())

    async def _unite(self, serve: Serve, options: ReadOptions) -> Served | NotServed:
        """Return the referrers that all backends list. Raises OverRateError."""
        parts = self._registries, self._clock, self._report, self._learned.recent, self._shares
        united = await ReferrersSearch(*parts, serve, options.source).run()
        self.elsewhere.note(serve.read.name, united.elsewhere, self._clock.seconds())
        if united.failures and not united.referrers:
            return NotServed(united.failures, united.answered)
        filters = "artifactType" if united.filtered else ""
        incomplete = tuple(united.failures)
        listing = Listing(INDEX, render_index(united.referrers), None, filters, incomplete)
        return Served(next(iter(united.answered), serve.backends[0]), listing, {})

    def doubt_blob(self, repository: str, digest: str, source: str) -> None:
        """Ask again for the address of a blob, because clients of a source have come back for it.

        They are sent there only after a new check of its CDN.
        """
        for name in self._registries:
            self._learned.addresses.drop(name, Blob(repository, digest))
        self._learned.cdns.doubt(repository, digest, source)

    async def forward(
        self, request: Ping | Read, name: str, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | PingAccepted:
        """Forward a request to the backend `name` with the client's own Authorization. The response is not cached."""
        asker = self._shares.asker(options.source, spends_pulls=False)  # the client's own account does
        registry = self._registries[name].asked_by(asker)
        work = run_detached(self._forward_patiently(request, registry, authorization, options))
        try:
            return await work.addTimeout(BUDGET, self._clock)
        except TimeoutError:
            return NotServed({name: "timeout"}, ())
        except OverRateError as error:
            return NotServed({}, (), over_limit=over_rate(error))
        except FailingError as error:
            if isinstance(error, CrowdedError):
                self._shares.note_crowded(name, error.source)
            return NotServed({name: str(error)}, ())

    async def _forward_patiently(
        self, request: Ping | Read, registry: Registry, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | PingAccepted:
        """Forward a request, and wait for its turn if there is a circuit breaker: there is no other backend."""
        while True:
            try:
                return await self._forward_once(request, registry, authorization, options)
            except CircuitOpenError as error:
                await registry.gate.turn(error.open_step, registry.asker.source)

    async def _forward_once(
        self, request: Ping | Read, registry: Registry, authorization: str | None, options: ReadOptions
    ) -> Served | NotServed | Unauthorized | PingAccepted:
        repository = None if isinstance(request, Ping) else request.name
        challenge = await registry.challenge(repository)
        if authorization is None and challenge is not None:
            return Unauthorized(challenge)
        try:
            return await self._forward_to(registry.on_behalf_of(authorization, self._clock), request, options)
        except NotFoundError as error:
            if error.status != 401:
                return NotServed({}, (registry.name,), refused=error.status not in NOT_FOUND_STATUSES)
            refusal = error.challenges
        if authorization is None:
            registry.learn_challenge(refusal)
            refusal = ()
        challenge = await registry.challenge(repository, refusal)
        return NotServed({}, (registry.name,)) if challenge is None else Unauthorized(challenge)

    async def _forward_to(
        self, registry: Registry, request: Ping | Read, options: ReadOptions
    ) -> Served | PingAccepted:
        if isinstance(request, Ping):
            await registry.ping()
            return PingAccepted()
        return Served(registry.name, await _fetch(registry, request, options), {})


class Search:
    """One request that is served: it asks the backends in turn, within BUDGET.

    `learned` is what earlier requests have shown. For the other arguments see `Fetcher`. A request that needs a backend
    counts against the limits of its source just before the first one is asked.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        clock: IReactorTime,
        report: Callable[[Attempt], None],
        learned: Learned,
        shares: Shares,
        serve: Serve,
        options: ReadOptions,
    ) -> None:
        self._asker: Asker = shares.asker(options.source)
        self._shares = shares
        self._registries = registries
        self._clock = clock
        self._report = report
        self._learned, self._recent = learned, learned.recent
        self._serve = serve
        self._options = options
        self._deadline = clock.seconds() + BUDGET
        self._failures: dict[str, str] = {}
        self._offers = BlobOffers(learned, serve, clock, options.source, self._failures)
        self._reserved: dict[str, ReservedError] = {}
        self._public_urls: dict[str, str | None] = {}
        self._refused = False
        self._denied: set[str] = set()
        self._lacks_list = False

    async def run(self) -> Served | NotServed:
        """Return what the backends answered. Can be cancelled at any time. Raises OverRateError."""
        read, backends = self._serve.read, self._serve.backends
        last = self._last_digest(read)
        if last is not None and not self._serve.pinned and self._is_in_doubt(last.backend, read):
            if served := await self._find_last(read, last):
                return served
            last = None
        if last is not None and (served := self._spare_pull(read, last)):
            return served
        if served := await self._ask_in_turn(read, backends, last):
            return served
        if served := _redirect(await self._offers.settle(), self._failures):
            return served
        for name, public_url in self._public_urls.items():
            if public_url is not None:
                return Served(name, BlobRedirect(public_url), self._failures)
        if self._failures and self._is_unsigned(read):
            return NotServed({}, backends[:1])
        not_found = tuple(name for name in backends if name not in self._failures)
        blob_source = next(iter(self._public_urls), None)
        return NotServed(self._failures, not_found, blob_source, self._refused, self._over_limit())

    def _is_unsigned(self, read: Read) -> bool:
        """Return whether the first backend works and does not have the tag of a signature.

        That is final while others fail, because Podman takes any error but "not found" as one of the image.
        """
        first = self._serve.backends[0]
        works = first not in (*self._failures, *self._denied, *self._serve.failing) and not self._refused
        return works and isinstance(read, ManifestRead) and is_referrers_tag(read.reference)

    def _over_limit(self) -> OverLimit | None:
        """Return the limit of the source if nothing else kept the backends from answering."""
        errors = tuple(error for name, error in self._reserved.items() if self._failures.get(name) == str(error))
        return reserved(errors) if errors and len(errors) == len(self._failures) else None

    def _last_digest(self, read: Read) -> LastDigest | None:
        """Return the last known digest of a tag, if its backend may be asked."""
        if not isinstance(read, ManifestRead):
            return None
        last = self._registries[self._serve.preferred].manifests.last_digest(read, self._options.accept)
        return last if last is not None and last.backend in self._serve.backends else None

    def _is_in_doubt(self, name: str, read: Read) -> bool:
        """Return whether a tag's backend fails, or recently did: then its last known digest is believed.

        A backend that the route has before the first one to ask waits for its failback.
        """
        failing = name in self._serve.failing or self._is_resting(name)
        return failing or name in self._serve.earlier or self._recent.is_suspect(name, read)

    def _spare_pull(self, read: Read, last: LastDigest) -> Served | None:
        """Return the cached manifest with a tag's last known digest while few pulls are left.

        A tag that has moved would cost one.
        """
        assert isinstance(read, ManifestRead)
        manifests = self._registries[last.backend].asked_by(self._asker).manifests
        if self._serve.pinned or not manifests.is_scarce(read):
            return None
        cached = manifests.cached(evolve(read, reference=last.digest), self._options.accept)
        return Served(last.backend, cached, self._failures) if cached is not None else None

    async def _find_last(self, read: Read, last: LastDigest) -> Served | None:
        """Return the manifest with a tag's last known digest from the cache, else from any backend that has it."""
        assert isinstance(read, ManifestRead)
        by_digest = evolve(read, reference=last.digest)
        if cached := self._registries[last.backend].manifests.cached(by_digest, self._options.accept):
            return Served(last.backend, cached, self._failures)
        rest = tuple(name for name in self._serve.backends if name not in self._failures)
        return await self._ask_in_turn(by_digest, rest)

    async def _ask_in_turn(
        self, read: Read, backends: tuple[str, ...], last: LastDigest | None = None
    ) -> Served | None:
        """Ask the backends in turn; if the one that `last` was learned from fails, find that digest.

        A backend whose circuit breaker is open is asked last, when its turn comes.
        """
        order = deque(self._recent.order(backends, read))
        waits: dict[str, Step] = {}
        while order:
            name = order.popleft()
            share = max((self._deadline - self._clock.seconds()) / (len(order) + 1), LEAST_SHARE)
            if name in self._serve.failing and self._is_unsigned(read):
                share = min(share, LONGEST_OF_FAILING)
            try:
                if name in waits:
                    turn = self._registries[name].gate.turn(waits[name], self._asker.source)
                    await turn.addTimeout(share, self._clock)
                if served := await self._ask(name, read, share):
                    return served
            except CircuitOpenError as error:
                self._failures[name] = str(error)
                if self._clock.seconds() < self._deadline:
                    waits[name] = error.open_step
                    order.append(name)
            except (TimeoutError, UnaskedError):
                continue  # its turn did not come
            if self._lacks_list:
                break  # clients then try the fallback tag, which an empty list of another backend would hide
            if last is not None and last.backend == name and (name in self._failures or name in self._denied):
                served, last = await self._find_last(read, last), None
                if served is not None:
                    return served
        return None

    async def _ask(self, name: str, read: Read, seconds: float) -> Served | None:
        """Ask one backend, within `seconds`. Raises CircuitOpenError, and OverRateError."""
        registry, accept = self._registries[name].asked_by(self._asker), self._options.accept
        if self._is_resting(name):
            cached = registry.manifests.cached(read, accept) if isinstance(read, ManifestRead) else None
            if cached is None:
                self._failures[name] = RESTING
            return Served(name, cached, self._failures) if cached is not None else None
        if self._recent.lacks(name, read, accept):
            return None
        self._failures.pop(name, None)
        if isinstance(read, Blob) and self._options.with_body and (location := self._offers.cached(name, read)):
            offer = await self._offers.add(registry, read, location)
            if offer is not None or not self._offers.drop_condemned(name, read, location):
                return _redirect(offer, self._failures)
        try:
            content = await self._try(registry, read, seconds)
        except NotFoundError as error:
            self._note_not_found(name, read, error)
        except CircuitOpenError:
            raise
        except NoRedirectError as error:
            self._public_urls[name] = error.public_url
            self._failures[name] = str(error)
        except FailingError as error:
            self._note_failure(name, read, error)
        else:
            if (step := _good_step(content)) is not None:
                self._report(Attempt(name, step, good=True, repository=read.name, source=self._options.source))
            if isinstance(read, Blob) and isinstance(content, BlobRedirect):
                self._learned.addresses.store(name, read, content.location)
                return _redirect(await self._offers.add(registry, read, content.location), self._failures)
            return Served(name, content, self._failures)
        return None

    def _try(self, registry: Registry, read: Read, seconds: float) -> Deferred[Content]:
        """Fetch content from one backend within `seconds`. A timeout is a FailingError."""

        def time_out(outcome: object, _: float) -> NoReturn:
            gate = registry.gate
            if self._asker.has_waited(gate):
                cause = "" if gate.is_crowded() else self._asker.source
                raise CrowdedError("too many requests to it are in progress", cause)
            step = _step_of(read, self._options)
            if not isinstance(read, Tags | Referrers):
                registry.gate.note_timeout(step, read.path)
            raise FailingError("timeout", backend_wide=True, step=step)

        return run_detached(_fetch(registry, read, self._options)).addTimeout(seconds, self._clock, time_out)

    def _note_not_found(self, name: str, read: Read, error: NotFoundError) -> None:
        if error.status not in NOT_FOUND_STATUSES:
            self._refused = True
            return
        if error.status != 404:
            self._denied.add(name)  # perhaps by mistake, as Docker Hub denied every public image on 2025-09-24
        self._recent.note_not_found(name, read, self._options.accept)
        self._lacks_list = isinstance(read, Referrers)

    def _note_failure(self, name: str, read: Read, error: FailingError) -> None:
        self._failures[name] = str(error)
        if isinstance(error, UnaskedError):
            self._note_unasked(name, error)
        if isinstance(error, UnaskedError | NoListError):
            return
        self._recent.note_failure(name, read, error)
        is_list = isinstance(read, Tags | Referrers)
        if not is_list:
            self._learned.addresses.doubt(name)
        step = Step.MANIFEST if is_list else error.step or _step_of(read, self._options)
        is_content = error.status == 0 and not error.backend_wide  # a damaged image says nothing of the others
        sample = not (is_list or is_content or error.limited)
        retry_after = error.retry_after if error.limited else 0.0
        self._report(Attempt(name, step, False, read.name, self._options.source, str(error), retry_after, sample))

    def _note_unasked(self, name: str, error: UnaskedError) -> None:
        """Note a limit that was reached."""
        if isinstance(error, ReservedError):
            self._reserved[name] = error
            self._shares.note_reserved(error)
        elif isinstance(error, CrowdedError):
            self._shares.note_crowded(name, error.source)

    def _is_resting(self, name: str) -> bool:
        return name in self._serve.resting or self._recent.is_resting(name)


def _step_of(read: Read, options: ReadOptions) -> Step:
    """Return the step of a pull that a read takes: a tag is resolved by HEAD first."""
    if isinstance(read, Blob):
        return Step.BLOB
    by_digest = isinstance(read, ManifestRead) and is_digest(read.reference)
    return Step.BODY if by_digest and options.with_body else Step.MANIFEST


def _redirect(offer: Offer | None, failures: Mapping[str, str]) -> Served | None:
    return None if offer is None else Served(offer.registry.name, BlobRedirect(offer.location), failures)


def _good_step(content: Content) -> Step | None:
    """Return the step of a pull that worked; None if the content says nothing of it, as from the cache."""
    match content:
        case Manifest():
            return content.step
        case BlobRedirect() | BlobBytes():
            return Step.BLOB
        case _:
            return None


async def _fetch(registry: Registry, read: Read, options: ReadOptions) -> Content:
    """Fetch content from one backend. A bug in facaded counts as its failure, because the next one may work."""
    try:
        return await _fetch_content(registry, read, options)
    except (NotFoundError, FailingError, OverRateError, CancelledError):
        raise
    except Exception:
        LOG.failure("internal error in a request to {name}", name=registry.name)
        raise FailingError("internal error, see facaded's log", backend_wide=False) from None


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
