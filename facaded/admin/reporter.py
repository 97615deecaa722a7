"""The reporter: collects the status document from the parts of the daemon."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from attrs import evolve

from facaded.admin.headline import find_headline
from facaded.admin.protocol import HostList
from facaded.admin.status import (
    AskedAgainStatus,
    CertificateStatus,
    InForce,
    LimitStatus,
    ReturnStatus,
    Status,
    WorkerStatus,
    document,
)
from facaded.backends.seen_hosts import SeenHosts
from facaded.backends.watch import Watch
from facaded.net.json_documents import from_object
from facaded.oci.clients import Client
from facaded.policy.asked_again import AskedAgain
from facaded.policy.network_hosts import mark_seen
from facaded.state import Clocks
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.certificates import Certificates


class StaleNames(Protocol):
    """The resolver, which knows the names that do not resolve."""

    def stale(self) -> Mapping[str, float]:
        """Return since when the last known addresses of each name are used, in monotonic seconds."""


class Reporter:
    """Reports the status of the daemon.

    `certificates` is None without TLS; `clocks` returns the present time of the wall clock and the monotonic clock.
    `asked_again` knows the clients that came back after a redirect, `seen_hosts` the hosts that backends lead to.
    """

    def __init__(
        self,
        in_force: InForce,
        watch: Watch,
        names: StaleNames,
        certificates: Certificates | None,
        clocks: Callable[[], Clocks],
        asked_again: AskedAgain,
        seen_hosts: SeenHosts,
    ) -> None:
        self._in_force = in_force
        self._watch = watch
        self._names = names
        self._certificates = certificates
        self._clocks = clocks
        self._asked_again = asked_again
        self._seen_hosts = seen_hosts
        self._workers: Callable[[], tuple[WorkerStatus, ...]] = lambda: ()

    def follow(self, workers: Callable[[], tuple[WorkerStatus, ...]]) -> None:
        """Report the processes that answer clients, as `workers` returns them."""
        self._workers = workers

    def reconfigure(self, in_force: InForce) -> None:
        """Report on these settings from now on."""
        self._in_force = in_force

    def report(self, orders: Sequence[OrderStatus] = ()) -> Status:
        """Return the status document; `orders`, from `Acme.status`, adds the renewals of managed certificates."""
        backends, snapshot, to_wall = self._in_force.rules.backends, self._watch.snapshot(), self._clocks().to_wall
        status = document(
            self._in_force,
            snapshot,
            {name: self._watch.quotas.of(name) for name in backends},
            {name: self._watch.refused_accounts.of(name) for name in backends},
            self._names.stale(),
            self._certificate_statuses(orders),
            to_wall,
        )
        limits, asked_again = tuple(self._limit_statuses()), self._asked_again_status()
        status = evolve(status, limits=limits, asked_again=asked_again, workers=self._workers())
        return evolve(status, headline=find_headline(status, snapshot, to_wall))

    def list_hosts(self) -> HostList:
        """Return the hosts that are expected, and those that were seen."""
        rules = self._in_force.rules
        seen = self._seen_hosts.named({name: backend.url for name, backend in rules.backends.items()})
        return HostList(mark_seen(self._in_force.hosts, seen, rules))

    def explain_returns(self, repository: str, client: Client) -> tuple[str, ...]:
        """Return a sentence for each client of the same family that is served because it asked again."""
        returns = self._asked_again.served(repository, client, self._clocks().monotonic)
        return tuple(one.describe() for one in returns)

    def _asked_again_status(self) -> AskedAgainStatus:
        returns, to_wall = self._asked_again.returns(), self._clocks().to_wall
        return AskedAgainStatus(
            returns.count,
            tuple(ReturnStatus(to_wall(one.since), to_wall(one.until), one.describe()) for one in returns.latest),
        )

    def _limit_statuses(self) -> Iterator[LimitStatus]:
        to_wall = self._clocks().to_wall
        for limit, reached in self._watch.reached_limits.all().items():
            yield LimitStatus(limit.value, reached.count, to_wall(reached.last), reached.subject)

    def _certificate_statuses(self, orders: Sequence[OrderStatus]) -> list[CertificateStatus]:
        if self._certificates is None:
            return []
        return [from_object(report, CertificateStatus) for report in self._certificates.document(orders)]
