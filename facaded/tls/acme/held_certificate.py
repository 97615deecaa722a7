"""One certificate that the settings want, whether there is one already or not."""

from collections.abc import Sequence
from typing import TypeAlias

from attrs import define, field

from facaded.tls.acme import schedule
from facaded.tls.acme.documents import Suggestion
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.acme.schedule import OrderProgress
from facaded.tls.server_certificate import ServerCertificate

Names: TypeAlias = tuple[str, ...]
"""The names of one certificate, as the settings list them."""


@define
class HeldCertificate:
    """One certificate that is wanted: what there is of it, and when its CA is asked again about its renewal.

    `chance` is from 0 to 1 and spreads renewals. `stamp` is the store's of the file that was read. The certificate is
    `unsaved`, and so is its progress, until they are on the disk: it may be full. `trouble` keeps an order from
    beginning.
    """

    names: Names
    chance: float
    progress: OrderProgress
    certificate: ServerCertificate | None = field(default=None, init=False)
    stamp: object = field(default=None, init=False)
    suggestion: Suggestion | None = field(default=None, init=False)
    ask_at: float = field(default=0.0, init=False)
    trouble: str | None = field(default=None, init=False)
    unsaved_certificate: bool = field(default=False, init=False)
    unsaved_progress: bool = field(default=False, init=False)

    def __str__(self) -> str:
        return ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")

    def take(self, certificate: ServerCertificate, now: float) -> None:
        """Have another certificate, about whose renewal its CA is asked at once."""
        self.certificate, self.suggestion, self.ask_at = certificate, None, now

    def scheduled(self) -> float:
        """Return when it is to be renewed whoever made it; 0 if there is none."""
        if self.certificate is None:
            return 0.0
        window = self.suggestion.window if self.suggestion else None
        return schedule.renewal(self.certificate.life, window, self.chance, self.progress.obtained)

    def renew_at(self, cas: Sequence[str]) -> float:
        """Return when a certificate is wanted.

        That is at once if there is none, or one of a CA that is not wanted any more, as when the settings leave a
        staging CA.
        """
        if self.certificate is None or self.progress.ca not in (None, *cas):
            return 0.0
        return self.scheduled()

    def due_at(self, cas: Sequence[str], now: float) -> float:
        """Return when the next attempt begins."""
        return schedule.due(self.progress, self.renew_at(cas), cas, now)

    def renew_by_hand(self, cas: Sequence[str], now: float) -> str | None:
        """Note that an operator wants a renewal; a sentence if that would be too much for the CAs."""
        asked = schedule.asked_by_hand(self.progress, cas, now)
        if isinstance(asked, OrderProgress):
            self.progress = asked
            return None
        return f"{self}: {asked}"

    def status(self, cas: Sequence[str], now: float) -> OrderStatus:
        certificate, progress = self.certificate, self.progress
        return OrderStatus(
            names=self.names,
            issuer=certificate.issuer if certificate else None,
            not_after=certificate.life.ends if certificate else None,
            next_renewal=max(self.due_at(cas, now), now),
            suggested_because=self.suggestion.explanation if self.suggestion else None,
            error=self.trouble or progress.error,
            error_at=progress.error_at,
            attempts=progress.attempts,
            ca=progress.ca,
        )
