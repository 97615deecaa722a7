"""Checks of CDNs: before a blob's redirect is handed out, its CDN must have answered a request for one byte.

All requests share the checks of a CDN: one at a time, and one a second at most.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.backends.cdn_results import CdnKey, CdnResults
from facaded.backends.failures import RATE_LIMITED, FailingError, UnaskedError
from facaded.backends.registry import Registry
from facaded.net.expiring import ExpiringMap
from facaded.net.urls import origin
from facaded.oci.requests import Blob
from facaded.policy.cdns import Cdn, Standing
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step
from facaded.policy.sources import source_of

CONDEMNING = (403, 404, 410)
"""Statuses of a CDN that works and does not give this blob at this address."""

CONDEMNED_TIME = 60.0
"""Seconds for which such an address is not handed out if there is another one."""

DOUBT_TIME = 60.0
"""Seconds for which a client that asked for a blob again needs a check of its CDN that is newer than the doubt."""

LOGGED_TIME = 3600.0
"""Seconds for which a CDN that was logged is not logged again, unless it has worked meanwhile."""

MOST_LOGGED = 1000
"""CDNs and backends with a line in the log that are remembered; the least recently used are evicted first."""

MOST_ADDRESSES = 10_000
"""Condemned addresses that are remembered, and doubted blobs."""

MOST_CHECKS = 16
"""Checks in progress of the CDNs of one backend: only one that names a new host in each address needs so many."""

REACH_TIME = 60.0
"""Seconds for which an answer of another backend's CDN shows that this machine reaches CDNs at all."""

LOG_PAUSE = 60.0
"""Least seconds between two lines in the log on the CDNs of one backend."""

LOG = Logger()


@frozen
class Offer:
    """An address of a blob, which `registry` gave. `source` is the address of the client that asks for the blob."""

    registry: Registry
    read: Blob
    location: str
    source: str

    @property
    def cdn(self) -> CdnKey:
        """The CDN at which the address is."""
        return (self.registry.name, urlsplit(self.location).scheme, *origin(self.location))


@frozen
class CheckResult:
    """The result of a check: whether the CDN is alive, None if this machine could not ask; the status, and a reason."""

    alive: bool | None
    status: int = 0
    reason: str = ""

    @property
    def condemns(self) -> bool:
        """Whether the CDN works and does not give this blob at this address."""
        return self.status in CONDEMNING

    @property
    def limited(self) -> bool:
        """Whether the CDN limits the rate of this machine, which says little of its clients."""
        return self.status == RATE_LIMITED


class CdnChecks:
    """The checks of all CDNs, and what they have shown.

    A result counts for `trust` seconds; 0 switches checks off. `report` is called with each result: a missing blob says
    nothing of the others, so it is no sample. `note_failure` is called with the name of a backend whose CDN has failed.
    `results` are those of this process, and of others.
    """

    def __init__(
        self,
        clock: IReactorTime,
        trust: float,
        report: Callable[[Attempt], None],
        note_failure: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._trust = trust
        self._report = report
        self._note_failure = note_failure
        self.results = CdnResults(clock, self._follow_result)
        self._condemned: ExpiringMap[bytes, bool] = ExpiringMap(MOST_ADDRESSES)
        self._doubted: ExpiringMap[tuple[str, str, str], float] = ExpiringMap(MOST_ADDRESSES)
        self._logged: ExpiringMap[CdnKey | str, bool] = ExpiringMap(MOST_LOGGED)
        self._answered: dict[str, float] = {}
        self._running: Counter[str] = Counter()

    def judge(self, offer: Offer) -> Standing:
        """Return whether an address may be handed out, and begin a check of its CDN if one is due."""
        if self._trust <= 0:
            return Standing.ALIVE
        if self.is_condemned(offer.location):
            return Standing.DEAD
        cdn, now, doubted = self.results.look_up(offer.cdn), self._clock.seconds(), self._doubt_of(offer)
        if cdn.is_due(now, self._trust, doubted) and self._running[offer.registry.name] < MOST_CHECKS:
            self._begin(offer)
            if self.is_condemned(offer.location):
                return Standing.DEAD
        return self.results.look_up(offer.cdn).standing(self._clock.seconds(), self._trust, doubted)

    def has_worked(self, offer: Offer) -> bool:
        """Return whether the last check of an address's CDN that has ended was good, however long ago that is."""
        return self.results.look_up(offer.cdn).alive

    def patience(self, offer: Offer) -> float:
        """Return the seconds that a request may wait for the check of an address that is undecided."""
        return self.results.look_up(offer.cdn).patience(self._clock.seconds())

    def is_condemned(self, location: str) -> bool:
        """Return whether the CDN works but does not give the blob at this address."""
        return bool(len(self._condemned)) and self._condemned.get(_digest(location), self._clock.seconds()) is not None

    def doubt(self, repository: str, digest: str, source: str) -> None:
        """Require a new check before clients of this source are sent to an address of this blob again.

        They have asked for it again. Others do not wait for that, because the cause may be theirs alone.
        """
        now = self._clock.seconds()
        self._doubted.put((repository, digest, source), now, now + DOUBT_TIME)

    def describe(self, offer: Offer) -> str:
        """Return why an address is not handed out, as the reason of a failure."""
        if self.is_condemned(offer.location):
            return "its CDN does not have the blob"
        return f"its CDN: {self.results.look_up(offer.cdn).reason or 'no response yet'}"

    def note_unproven(self, offer: Offer) -> None:
        """Log, once for each CDN until it works again, that an address is handed out although its CDN has failed."""
        now, key = self._clock.seconds(), offer.cdn
        backend, scheme, host, port = key
        is_known = self._logged.get(key, now) or self._logged.get(backend, now)
        if (
            is_known
            or self.is_condemned(offer.location)
            or self.results.look_up(key).ended is None
            or self.results.look_up(key).alive
        ):
            return
        self._logged.put(key, True, now + LOGGED_TIME)
        self._logged.put(backend, True, now + LOG_PAUSE)
        LOG.warn(
            "{backend}: its CDN {scheme}://{host}:{port} does not answer this machine ({reason}), and no other backend "
            "has the blob at a CDN that does: clients are sent to it all the same. If they reach it, allow connections "
            'from this machine to it, or set health.trust = "0s" to switch these checks off',
            backend=backend,
            scheme=scheme,
            host=host,
            port=port,
            reason=self.results.look_up(key).reason,
        )

    def _doubt_of(self, offer: Offer) -> float | None:
        if not len(self._doubted):
            return None
        key = offer.read.name, offer.read.digest, source_of(offer.source)
        return self._doubted.get(key, self._clock.seconds())

    def _begin(self, offer: Offer) -> None:
        """Begin a check. It goes on if the client that needs it disconnects, because others need it too."""
        self.results.begin(offer.cdn)
        self._running[offer.registry.name] += 1
        work = Deferred.fromCoroutine(self._check(offer))
        work.addErrback(lambda failure: LOG.failure("internal error in a check of a CDN", failure))

    async def _check(self, offer: Offer) -> None:
        result = CheckResult(None)
        try:
            result = await _ask(offer)
        finally:
            self._running[offer.registry.name] -= 1
            self.results.end(offer.cdn, result.alive, result.reason)
            self._note(offer, result)
            self.results.wake()

    def _note(self, offer: Offer, result: CheckResult) -> None:
        """Report a result of this process, and remember what follows from it for addresses."""
        if result.alive is None:
            return
        name, read, now = offer.registry.name, offer.read, self._clock.seconds()
        if result.condemns:
            self._condemned.put(_digest(offer.location), True, now + CONDEMNED_TIME)
        good = result.alive and not result.condemns
        sample = good or (not (result.condemns or result.limited) and _reaches_others(name, self._answered, now))
        reason = "" if good else result.reason
        self._report(Attempt(name, Step.CDN, good, read.name, offer.source, reason, sample=sample))

    def _follow_result(self, key: CdnKey, cdn: Cdn) -> None:
        """Note what a result of any process says of a backend and its CDN."""
        name, host = key[0], key[2]
        if not cdn.alive:
            self._note_failure(name)
            return
        self._answered[name] = max(cdn.ended or 0.0, self._answered.get(name, 0.0))
        if self._logged.get(key, self._clock.seconds()):
            self._logged.discard(key)
            LOG.info("{backend}: its CDN {host} answers this machine again", backend=name, host=host)


async def _ask(offer: Offer) -> CheckResult:
    """Ask a CDN for the first byte of a blob."""
    try:
        status = await offer.registry.check_cdn(offer.location)
    except UnaskedError:
        return CheckResult(None)
    except FailingError as error:
        return CheckResult(False, reason=str(error))
    return CheckResult(status < 500 and status != RATE_LIMITED, status, f"answered {status}")


def _reaches_others(name: str, answered: Mapping[str, float], now: float) -> bool:
    """Return whether another backend's CDN answered this machine lately: else its own network may be the cause."""
    return any(now - at < REACH_TIME for other, at in answered.items() if other != name)


def _digest(location: str) -> bytes:
    return hashlib.sha256(location.encode()).digest()
