"""What the control socket does: the commands, each as a method that returns a document or refuses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from attrs import frozen

from facaded.admin.control import CommandRefusedError, CommandTable, Parameters
from facaded.admin.protocol import Overridden, RecentImages, Reloaded, RenewalBegun
from facaded.admin.status import Status
from facaded.backends.watch import Watch
from facaded.explain.explanation import Explanation, explain_pull
from facaded.policy.decision import Rules
from facaded.policy.health import Purpose
from facaded.policy.overrides import ContradictionError
from facaded.policy.recent_pulls import RecentPulls
from facaded.tls.acme.order_status import OrderStatus

NOT_KEPT = "the state cannot be written: this ends with a restart"

NO_RENEWAL = "facaded manages no certificates: configure [tls.acme], or renew the files in [[tls.certificate]]"


class Reports(Protocol):
    """What knows the status of the daemon."""

    def report(self, orders: Sequence[OrderStatus]) -> Status:
        """Return the status. `orders` say more of the certificates that are renewed here."""


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
    """What renews certificates."""

    def status(self) -> Sequence[OrderStatus]:
        """Return what there is to know of each certificate, its `names` among it."""

    def renew(self) -> Sequence[str]:
        """Begin to renew them all; return a sentence for each that is not renewed."""


class KeepsState(Protocol):
    """What writes the state that outlives a restart."""

    @property
    def kept(self) -> bool:
        """Whether the latest state was written."""


class Commands:
    """The commands of the control socket. `recent` has the images that were pulled recently."""

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
        """Explain by these rules from now on."""
        self._rules = rules

    @property
    def table(self) -> CommandTable:
        """Every command, by its method and path."""
        return {
            ("GET", "/status"): self.status,
            ("GET", "/recent-pulls"): self.list_recent_pulls,
            ("GET", "/explain"): self.explain,
            ("POST", "/reload"): self.reload,
            ("POST", "/renew"): self.renew,
            ("POST", "/pin"): self.pin,
            ("POST", "/unpin"): self.unpin,
            ("POST", "/drain"): self.drain,
            ("POST", "/undrain"): self.undrain,
        }

    def status(self, _: Parameters) -> Status:
        """Return the status of the daemon."""
        return self._reporter.report(self._renewer.status() if self._renewer else ())

    def list_recent_pulls(self, _: Parameters) -> RecentImages:
        """Return the images that were pulled recently."""
        return RecentImages(self._recent.images())

    def explain(self, given: Parameters) -> Explanation:
        """Explain what a pull of the image is answered now."""
        now = self._watch.snapshot()

        def explain_active(route: tuple[str, ...], purpose: Purpose) -> str:
            return now.explain((route, purpose))

        try:
            return explain_pull(given.image, given.client, self._rules, now.routing, explain_active)
        except ValueError as error:
            raise CommandRefusedError(str(error)) from None

    def reload(self, _: Parameters) -> Reloaded:
        """Read the settings again."""
        result = self._reloader.reload()
        if result.problems:
            raise CommandRefusedError(*(f"not reloaded: {problem}" for problem in result.problems))
        return Reloaded(result.warnings)

    def renew(self, _: Parameters) -> RenewalBegun:
        """Begin to renew every certificate. It is refused only if none can be renewed."""
        names = [", ".join(each.names) for each in self._renewer.status()] if self._renewer else []
        if self._renewer is None or not names:
            raise CommandRefusedError(NO_RENEWAL)
        refusals = self._renewer.renew()
        if len(refusals) == len(names):
            raise CommandRefusedError(*refusals)
        return RenewalBegun(tuple(names), tuple(refusals))

    def pin(self, given: Parameters) -> Overridden:
        """Make a backend the active one."""
        with _refusing():
            self._watch.pin(given.backend, given.seconds)
        return self._overridden()

    def unpin(self, _: Parameters) -> Overridden:
        """Let health decide again which backend is active."""
        with _refusing():
            self._watch.unpin()
        return self._overridden()

    def drain(self, given: Parameters) -> Overridden:
        """Take a backend out."""
        with _refusing():
            self._watch.drain(given.backend, given.seconds)
        return self._overridden()

    def undrain(self, given: Parameters) -> Overridden:
        """Take a drained backend in again."""
        with _refusing():
            self._watch.undrain(given.backend)
        return self._overridden()

    def _overridden(self) -> Overridden:
        return Overridden(self._watch.snapshot().explain(), () if self._state.kept else (NOT_KEPT,))


@contextmanager
def _refusing() -> Iterator[None]:
    """Refuse the command if it contradicts the overrides in force."""
    try:
        yield
    except ContradictionError as error:
        raise CommandRefusedError(str(error)) from None
