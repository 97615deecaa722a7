"""What answering needs of the watch: the first process has the watch itself, a worker what it hears from that."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from facaded.backends.demand_checks import Checks
from facaded.backends.measurements import Measurements
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.refused_accounts import RefusedAccounts
from facaded.policy.evidence import Attempt
from facaded.policy.snapshot import RoutingView


class Viewed(Protocol):
    """The state of the backends at one moment."""

    @property
    def view(self) -> RoutingView:
        """What answers depend on."""


class BackendWatch(Protocol):
    """Knows the state of the backends, and takes what requests show of it. See `Watch`."""

    @property
    def quotas(self) -> Quotas:
        """The pulls that are left."""

    @property
    def refused_accounts(self) -> RefusedAccounts:
        """What is wrong with facaded's own accounts."""

    @property
    def reached_limits(self) -> ReachedLimits:
        """How often limits were reached."""

    @property
    def measurements(self) -> Measurements:
        """What was measured of requests to the backends."""

    @property
    def checks(self) -> Checks:
        """Whether a redirect to a backend would work."""

    def snapshot(self) -> Viewed:
        """Return the current state."""

    def subscribe(self, subscriber: Callable[[Viewed], None]) -> None:
        """Call `subscriber` with every change from now on."""

    def when_settled(self) -> Deferred[None]:
        """Return a Deferred that fires when the first round of probes is over. It may be cancelled."""

    def probe_soon(self, name: str) -> None:
        """Check a backend soon, because a pull may have failed there."""

    def report(self, attempt: Attempt, url: str | None = None) -> None:
        """Take what a served request found at the backend with this URL as evidence."""
