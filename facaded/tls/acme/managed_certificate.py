"""One certificate that the settings ask for, obtained already or not."""

from collections.abc import Sequence
from typing import TypeAlias

from attrs import define, field

from facaded.tls.acme import schedule
from facaded.tls.acme.documents import Suggestion
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.acme.schedule import OrderProgress
from facaded.tls.server_certificate import ServerCertificate

Names: TypeAlias = tuple[str, ...]
"""The names of one certificate, in the order of the settings."""


@define
class ManagedCertificate:
    """One certificate of the settings: its current version, its progress, and when renewal information is due.

    `chance` is from 0 to 1 and spreads renewals. `stamp` identifies the file that was read, as in AcmeStore. The
    certificate and the progress are `unsaved` until they are on the disk, which may be full. `blocked_by` is the
    reason why no order can start.
    """

    names: Names
    chance: float
    progress: OrderProgress
    certificate: ServerCertificate | None = field(default=None, init=False)
    stamp: object = field(default=None, init=False)
    suggestion: Suggestion | None = field(default=None, init=False)
    information_at: float = field(default=0.0, init=False)
    blocked_by: str | None = field(default=None, init=False)
    unsaved_certificate: bool = field(default=False, init=False)
    unsaved_progress: bool = field(default=False, init=False)

    def __str__(self) -> str:
        return ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")

    def replace(self, certificate: ServerCertificate, now: float) -> None:
        """Set a new certificate; renewal information for it is due at once."""
        self.certificate, self.suggestion, self.information_at = certificate, None, now

    def scheduled(self) -> float:
        """Return when to renew the certificate, whichever CA issued it; 0 if there is none."""
        if self.certificate is None:
            return 0.0
        window = self.suggestion.window if self.suggestion else None
        return schedule.renewal_time(self.certificate.validity, window, self.chance, self.progress.obtained)

    def renew_at(self, cas: Sequence[str]) -> float:
        """Return when to order a certificate.

        That is at once (0) if there is none, or if it comes from a CA that is not in `cas`, for example after the
        settings have changed from a staging CA.
        """
        if self.certificate is None or self.progress.ca not in (None, *cas):
            return 0.0
        return self.scheduled()

    def due_at(self, cas: Sequence[str], now: float) -> float:
        """Return when the next attempt starts."""
        return schedule.due_time(self.progress, self.renew_at(cas), cas, now)

    def request_renewal(self, cas: Sequence[str], now: float) -> str | None:
        """Record that an operator wants a renewal now. Return a message if the limits of the CAs do not allow it."""
        outcome = schedule.request_renewal(self.progress, cas, now)
        if isinstance(outcome, OrderProgress):
            self.progress = outcome
            return None
        return f"{self}: {outcome}"

    def status(self, cas: Sequence[str], now: float) -> OrderStatus:
        certificate, progress = self.certificate, self.progress
        return OrderStatus(
            names=self.names,
            issuer=certificate.issuer if certificate else None,
            not_after=certificate.validity.end if certificate else None,
            next_renewal=max(self.due_at(cas, now), now),
            suggested_because=self.suggestion.explanation if self.suggestion else None,
            error=self.blocked_by or progress.error,
            error_at=progress.error_at,
            attempts=progress.attempts,
            ca=progress.ca,
        )
