"""The addresses of one blob that the backends offer for one request, and which of them is handed out."""

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.blob_addresses import BlobAddresses
from facaded.backends.cdn_checks import CdnChecks, Offer
from facaded.backends.recent_answers import RecentAnswers
from facaded.backends.registry import Registry
from facaded.oci.requests import Blob
from facaded.policy.cdns import Standing
from facaded.policy.decision import Serve
from facaded.policy.proofs import LONGEST_WAIT

FIRST_PATIENCE = 0.5
"""Seconds of `LONGEST_WAIT` after which the next backend is asked too, while the check of the first CDN goes on."""

SHORTEST_WAIT = 0.001
"""Seconds: a shorter wait is over."""


@frozen
class BlobSettings:
    """Seconds for which a check of a CDN counts, and for which an address is handed out again; 0 switches it off."""

    trust: float = 0.0
    addresses: float = 0.0


UNCHECKED = BlobSettings()


@frozen
class Learned:
    """What earlier requests have shown: failures, the addresses of blobs, and whether their CDNs work."""

    recent: RecentAnswers
    addresses: BlobAddresses
    cdns: CdnChecks


class BlobOffers:
    """The addresses of a blob that were offered for one request, in the order of the backends.

    Their checks go on side by side. All waits for them together take `LONGEST_WAIT` at most. `failures` are the
    request's, by backend: those of CDNs are added.
    """

    def __init__(
        self, learned: Learned, serve: Serve, clock: IReactorTime, source: str, failures: dict[str, str]
    ) -> None:
        self._learned = learned
        self._serve = serve
        self._clock = clock
        self._source = source
        self._failures = failures
        self._offers: list[Offer] = []
        self._left = LONGEST_WAIT

    def cached(self, backend: str, read: Blob) -> str | None:
        """Return the cached address of a blob. If its backend is in doubt, all of its addresses are dropped."""
        if backend in self._serve.failing or self._learned.recent.is_suspect(backend, read):
            self._learned.addresses.doubt(backend)
        return self._learned.addresses.get(backend, read)

    def drop_condemned(self, backend: str, read: Blob, location: str) -> bool:
        """Drop a cached address if its CDN does not have the blob there, and return whether that is so."""
        is_condemned = self._learned.cdns.is_condemned(location)
        if is_condemned:
            self._learned.addresses.drop(backend, read)
        return is_condemned

    async def add(self, registry: Registry, read: Blob, location: str) -> Offer | None:
        """Add the address that a backend gave. Return the first one whose CDN has proven that it works, if any."""
        added = Offer(registry, read, location, self._source)
        self._offers.append(added)
        chosen = await self._choose(FIRST_PATIENCE)
        if chosen is not added:
            self._failures[registry.name] = self._learned.cdns.describe(added)
        return chosen

    async def settle(self) -> Offer | None:
        """Return the address to hand out when no backend is left to ask; None if there was no address.

        Without a proof it is the first one whose CDN worked when it last answered, else the first of all, because
        perhaps only this machine does not reach the CDN.
        """
        chosen = await self._choose(self._left)
        if chosen is not None or not self._offers:
            return chosen
        cdns = self._learned.cdns
        usable = [offer for offer in self._offers if not cdns.is_condemned(offer.location)]
        first = next(filter(cdns.has_worked, usable), (*usable, *self._offers)[0])
        cdns.note_unproven(first)
        self._failures.pop(first.registry.name, None)
        return first

    def _is_failing(self, offer: Offer) -> bool:
        return offer.registry.name in self._serve.failing

    async def _choose(self, seconds: float) -> Offer | None:
        """Return the first address whose CDN is alive, within `seconds`.

        That of a failing backend has to wait for the others: its CDN may answer some requests by chance.
        """
        cdns, deadline = self._learned.cdns, self._clock.seconds() + min(seconds, self._left)
        while True:
            standings = [(offer, cdns.judge(offer)) for offer in self._offers]
            undecided = [offer for offer, standing in standings if standing is Standing.UNDECIDED]
            begun = self._clock.seconds()
            wait = min(max(map(cdns.patience, undecided), default=0.0), deadline - begun)
            must_wait = wait > SHORTEST_WAIT and not all(map(self._is_failing, undecided))
            for offer, standing in standings:
                if standing is Standing.ALIVE and not (must_wait and self._is_failing(offer)):
                    return offer
            if wait <= SHORTEST_WAIT:
                return None
            await cdns.results.when_changed(wait)
            self._left -= self._clock.seconds() - begun
