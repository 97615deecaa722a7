"""What one client may ask of the backends: its requests a second, its requests in progress, and the last pulls."""

from contextlib import AbstractContextManager, nullcontext
from math import ceil

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import OverRateError, ReservedError
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.net.rate_limiter import RateLimiter
from facaded.policy.limits import BURST, Limit, Limits
from facaded.policy.sources import NO_ADDRESS, is_in, source_of


@frozen
class OverLimit:
    """A limit that the client's source has reached.

    `message` says so to a person, and `retry_after` is the number of seconds after which it may ask again.
    """

    message: str
    retry_after: int


class Asker:
    """Who asks a backend. This class is facaded itself, without limits; `source` is empty, and else a client's."""

    source = ""

    def count(self) -> None:
        """Count a request to a backend. Raises OverRateError if the source has sent too many."""

    def pull(self, backend: str, owner: str) -> AbstractContextManager[None]:
        """Count a pull of `owner` (see `Quotas`) until its response has arrived. Raises ReservedError."""
        return nullcontext()

    def is_scarce(self, backend: str, owner: str) -> bool:
        """Return whether so few pulls are left to `owner` that what is cached is believed for longer."""
        return False

    def note_wait(self, gate: object) -> None:
        """Note that a request has to wait for a place at a gate."""

    def has_waited(self, gate: object) -> bool:
        """Return whether a request had to wait for a place at a gate, so that it may have had too little time after."""
        return False


FACADED = Asker()


class Shares:
    """Admits the requests of clients to the backends by [limits]. It outlives the settings.

    What a source has used so far stays when they change, except its requests a second if these are limited anew.
    """

    def __init__(self, clock: IReactorTime, limits: Limits, quotas: Quotas, reached: ReachedLimits) -> None:
        self._clock = clock
        self._quotas = quotas
        self._reached = reached
        self._limits = limits
        self._rates = _rates(limits)

    def reconfigure(self, limits: Limits) -> None:
        """Apply new settings."""
        if limits.backend_requests_per_source != self._limits.backend_requests_per_source:
            self._rates = _rates(limits)
        self._limits = limits

    def asker(self, address: str, spends_pulls: bool = True) -> Asker:
        """Return who sends one request from a client's address. Without `spends_pulls`, it uses its own quota.

        Clients without an address, those of a Unix socket, are not limited: they may be anybody behind a proxy.
        """
        limited = address != NO_ADDRESS and not is_in(address, self._limits.exempt)
        return ClientAsker(self, source_of(address), limited, spends_pulls)

    def count(self, source: str) -> None:
        """Count a request of a source that needs a backend. Raises OverRateError."""
        if wait := self._rates.delay(source, self._clock.seconds()):
            self._reached.note(Limit.BACKEND_REQUESTS_PER_SOURCE, source)
            rate = self._limits.backend_requests_per_source
            reason = f"your address sends more than {rate} requests a second that need a registry"
            raise OverRateError(reason, wait)

    def pull(self, backend: str, owner: str, source: str, limited: bool) -> AbstractContextManager[None]:
        """Count a pull; see `Asker.pull`."""
        return self._quotas.pull(backend, owner, source, self._limits.quota_reserve if limited else 0)

    def is_scarce(self, backend: str, owner: str) -> bool:
        """Return whether only the reserve is left."""
        return self._quotas.is_low(backend, owner, self._limits.quota_reserve)

    def note_reserved(self, error: ReservedError) -> None:
        """Note that a source got none of the reserve."""
        self._reached.note(Limit.QUOTA_RESERVE, error.source)

    def note_crowded(self, backend: str, source: str) -> None:
        """Note that a request got no place at a backend; `source` is the one with too many of its own, else empty."""
        self._reached.note(Limit.BACKEND_REQUESTS, f"{backend}, {source}" if source else backend)


class ClientAsker(Asker):
    """One request of a client. Its requests to backends count as one, however many it takes."""

    def __init__(self, shares: Shares, source: str, limited: bool, spends_pulls: bool) -> None:
        self.source = source if limited else ""
        self._shares = shares
        self._pulling_source = source
        self._limited = limited
        self._spends_pulls = spends_pulls
        self._counted = not limited
        self._waited: set[object] = set()

    def count(self) -> None:
        if not self._counted:
            self._counted = True
            self._shares.count(self.source)

    def pull(self, backend: str, owner: str) -> AbstractContextManager[None]:
        if not self._spends_pulls:
            return nullcontext()
        return self._shares.pull(backend, owner, self._pulling_source, self._limited)

    def is_scarce(self, backend: str, owner: str) -> bool:
        return self._spends_pulls and self._shares.is_scarce(backend, owner)

    def note_wait(self, gate: object) -> None:
        self._waited.add(gate)

    def has_waited(self, gate: object) -> bool:
        return gate in self._waited


def over_rate(error: OverRateError) -> OverLimit:
    """Return what a client reads that sends too many requests."""
    seconds = _whole_seconds(error.retry_after)
    return OverLimit(f"{error}: try again in {seconds} s, or send fewer at once", seconds)


def reserved(errors: tuple[ReservedError, ...]) -> OverLimit:
    """Return what a client reads if the backends keep their last pulls from it."""
    seconds = _whole_seconds(min(error.retry_after for error in errors))
    sentences = "; ".join(str(error) for error in errors)
    return OverLimit(f"{sentences}: try again in {seconds} s, or pull from there directly", seconds)


def _whole_seconds(seconds: float) -> int:
    return max(ceil(seconds), 1)


def _rates(limits: Limits) -> RateLimiter[str]:
    rate = limits.backend_requests_per_source
    return RateLimiter(rate, rate * BURST)
