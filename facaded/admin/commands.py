"""The commands of the control socket: a method for each, which returns a document or refuses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from attrs import frozen

from facaded.admin.control import CommandRefusedError, CommandTable, Parameters
from facaded.admin.protocol import HostList, Overridden, RecentImages, Reloaded, RenewalBegun
from facaded.admin.status import Status
from facaded.backends.watch import Watch
from facaded.explain.explanation import Explanation, explain_pull
from facaded.net.text import printable
from facaded.oci.clients import Client
from facaded.policy.decision import Rules
from facaded.policy.health import Purpose
from facaded.policy.overrides import ContradictionError
from facaded.policy.reasons import explain_health
from facaded.policy.recent_pulls import RecentPulls
from facaded.tls.acme.order_status import OrderStatus, Renewal

NOT_SAVED = "the state cannot be written, so a restart undoes this: see the log"
"""Warns that a pin or a drain is in force, but not in the state file."""

NO_RENEWAL = "facaded manages no certificates: configure [tls.acme], or renew the files in [[tls.certificate]]"


class Reports(Protocol):
    """Reports the status of the daemon."""

    def report(self, orders: Sequence[OrderStatus]) -> Status:
        """Return the status document; `orders` adds the renewals of the certificates that ACME manages."""

    def explain_returns(self, repository: str, client: Client) -> tuple[str, ...]:
        """Return a sentence for each client of the same family that is served because it asked again."""

    def list_hosts(self) -> HostList:
        """Return the hosts that are expected, and those that were seen."""


@frozen
class ReloadResult:
    """What a reload did: with `problems` it changed nothing; `warnings` name settings that only a restart applies."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Reloads(Protocol):
    """Reads the settings again."""

    def reload(self) -> ReloadResult:
        """Apply the new settings, or nothing if they cannot be used."""


class Renews(Protocol):
    """Renews the certificates that ACME manages."""

    def status(self) -> Sequence[OrderStatus]:
        """Return the status of each certificate's order."""

    def renew(self, names: Sequence[str] = (), force: bool = False) -> Renewal:
        """Start to renew those with these names, or all; `force` overrides facaded's own waits and limits."""


class KeepsState(Protocol):
    """Writes the state file, which outlives a restart."""

    @property
    def saved(self) -> bool:
        """Whether the latest state has been written."""


class Commands:
    """The commands of the control socket.

    `recent` lists recently pulled images; `renewer` is None if ACME manages no certificates.
    """

    def __init__(
        self,
        rules: Rules,
        watch: Watch,
        reporter: Reports,
        reloader: Reloads,
        state: KeepsState,
        recent: RecentPulls,
        renewer: Renews | None = None,
    ) -> None:
        self._rules = rules
        self._watch = watch
        self._reporter = reporter
        self._reloader = reloader
        self._state = state
        self._recent = recent
        self._renewer = renewer

    def reconfigure(self, rules: Rules) -> None:
        """Explain pulls by these rules from now on."""
        self._rules = rules

    @property
    def table(self) -> CommandTable:
        """The commands by method and path."""
        return {
            ("GET", "/status"): self.status,
            ("GET", "/recent-pulls"): self.list_recent_pulls,
            ("GET", "/explain"): self.explain,
            ("GET", "/hosts"): self.list_hosts,
            ("POST", "/reload"): self.reload,
            ("POST", "/renew"): self.renew,
            ("POST", "/pin"): self.pin,
            ("POST", "/unpin"): self.unpin,
            ("POST", "/drain"): self.drain,
            ("POST", "/undrain"): self.undrain,
        }

    def status(self, _: Parameters) -> Status:
        """Return the status document."""
        return self._reporter.report(self._renewer.status() if self._renewer else ())

    def list_recent_pulls(self, _: Parameters) -> RecentImages:
        """Return the recently pulled images, the latest first."""
        return RecentImages(self._recent.images())

    def list_hosts(self, _: Parameters) -> HostList:
        """Return the hosts that facaded and its clients connect to."""
        return self._reporter.list_hosts()

    def explain(self, parameters: Parameters) -> Explanation:
        """Return how a pull of the image would be answered now. Refused if the image or the client is unknown."""
        snapshot = self._watch.snapshot()

        def explain_active(route: tuple[str, ...], purpose: Purpose) -> str:
            return snapshot.explain((route, purpose))

        def explain_backend(name: str) -> str:
            return explain_health(name, snapshot.watch_state.healths[name], snapshot.at)

        image, client, routing = parameters.image, parameters.client, snapshot.routing
        try:
            explain_returns = self._reporter.explain_returns
            return explain_pull(image, client, self._rules, routing, explain_active, explain_backend, explain_returns)
        except ValueError as error:
            raise CommandRefusedError(str(error)) from None

    def reload(self, _: Parameters) -> Reloaded:
        """Read the settings again."""
        result = self._reloader.reload()
        if result.problems:
            raise CommandRefusedError(*(f"not reloaded: {problem}" for problem in result.problems))
        return Reloaded(result.warnings)

    def renew(self, parameters: Parameters) -> RenewalBegun:
        """Start to renew certificates. Refused if a name is unknown, or if none can be renewed."""
        managed = [order.names for order in self._renewer.status()] if self._renewer else []
        if self._renewer is None or not managed:
            raise CommandRefusedError(NO_RENEWAL)
        known = {name for names in managed for name in names}
        if unknown := [name for name in parameters.names if name not in known]:
            raise CommandRefusedError(
                f"{', '.join(map(printable, unknown))}: no certificate with this name is managed: "
                f"expected one of {', '.join(sorted(known))}"
            )
        renewal = self._renewer.renew(parameters.names, parameters.force)
        if len(renewal.refusals) == len(renewal.certificates):
            raise CommandRefusedError(*renewal.refusals)
        return RenewalBegun(tuple(map(", ".join, renewal.certificates)), renewal.refusals)

    def pin(self, parameters: Parameters) -> Overridden:
        """Make a backend the active one, whatever its health."""
        with _refusing_contradictions():
            self._watch.pin(parameters.backend, parameters.seconds, parameters.reason)
        return self._overridden()

    def unpin(self, _: Parameters) -> Overridden:
        """Let health decide again which backend is active. Warns if none was pinned."""
        was_pinned = self._watch.watch_state.overrides.pinned is not None
        self._watch.unpin()
        return self._overridden(*(() if was_pinned else ("no backend was pinned",)))

    def drain(self, parameters: Parameters) -> Overridden:
        """Send no requests to a backend."""
        with _refusing_contradictions():
            self._watch.drain(parameters.backend, parameters.seconds, parameters.reason)
        return self._overridden()

    def undrain(self, parameters: Parameters) -> Overridden:
        """Send requests to a backend again. Warns if it was not drained."""
        was_drained = parameters.backend in self._watch.watch_state.overrides.drains
        with _refusing_contradictions():
            self._watch.undrain(parameters.backend)
        return self._overridden(*(() if was_drained else (f"{parameters.backend} was not drained",)))

    def _overridden(self, *warnings: str) -> Overridden:
        if not self._state.saved:
            warnings = (*warnings, NOT_SAVED)
        return Overridden(self._watch.snapshot().explain(), warnings)


@contextmanager
def _refusing_contradictions() -> Iterator[None]:
    """Turn a ContradictionError into the refusal of the command."""
    try:
        yield
    except ContradictionError as error:
        raise CommandRefusedError(str(error)) from None
