"""The reporter: collects what the status document says from the parts of the daemon that know it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from facaded.admin.status import CertificateStatus, InForce, Status, document
from facaded.backends.watch import Watch
from facaded.net.json_documents import from_object
from facaded.state import Clocks
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.certificates import Certificates


class StaleNames(Protocol):
    """What knows which names do not resolve: the resolver."""

    def stale(self) -> Mapping[str, float]:
        """Return the names, and since when their last addresses are used, in monotonic seconds."""


class Reporter:
    """Reports the status of the daemon. `certificates` is None if it does not speak TLS.

    `clocks` gives the time by both clocks at each report.
    """

    def __init__(
        self,
        in_force: InForce,
        watch: Watch,
        names: StaleNames,
        certificates: Certificates | None,
        clocks: Callable[[], Clocks],
    ) -> None:
        self._in_force = in_force
        self._watch = watch
        self._names = names
        self._certificates = certificates
        self._clocks = clocks

    def reconfigure(self, in_force: InForce) -> None:
        """Report on these settings from now on."""
        self._in_force = in_force

    def report(self, orders: Sequence[OrderStatus] = ()) -> Status:
        """Return the status. `orders` say more of the certificates that ACME obtains, as `Acme.status` has it."""
        now = self._watch.snapshot()
        backends = self._in_force.rules.backends
        return document(
            self._in_force,
            now,
            {name: self._watch.quotas.of(name) for name in backends},
            self._names.stale(),
            self._certificate_statuses(orders),
            self._clocks().to_wall,
        )

    def _certificate_statuses(self, orders: Sequence[OrderStatus]) -> list[CertificateStatus]:
        if self._certificates is None:
            return []
        return [from_object(each, CertificateStatus) for each in self._certificates.document(orders)]
