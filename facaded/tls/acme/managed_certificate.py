"""One certificate that the settings ask for, obtained already or not."""

from typing import TypeAlias

from attrs import define, field

from facaded.tls.acme import schedule
from facaded.tls.acme.documents import Suggestion
from facaded.tls.acme.ledger import Request
from facaded.tls.server_certificate import ServerCertificate

Names: TypeAlias = tuple[str, ...]
"""The names of one certificate, in the order of the settings."""


@define
class ManagedCertificate:
    """One certificate of the settings: its current version, and when renewal information is due.

    `chance` is from 0 to 1 and spreads renewals. `stamp` identifies the file that was read, as in AcmeStore. The
    certificate is `unsaved` until it is on the disk, which may be full. `in_flight` are the CAs that have an order for
    it. `request` is what an operator wants. `blocked_by` is the reason why no order can start.
    """

    names: Names
    chance: float
    certificate: ServerCertificate | None = field(default=None, init=False)
    stamp: object = field(default=None, init=False)
    suggestion: Suggestion | None = field(default=None, init=False)
    information_at: float = field(default=0.0, init=False)
    in_flight: frozenset[str] = field(default=frozenset(), init=False)
    request: Request = field(default=Request.NONE, init=False)
    blocked_by: str | None = field(default=None, init=False)
    unsaved: bool = field(default=False, init=False)

    def __str__(self) -> str:
        return ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")

    def replace(self, certificate: ServerCertificate, now: float) -> None:
        """Set a new certificate; renewal information for it is due at once."""
        self.certificate, self.suggestion, self.information_at = certificate, None, now

    def scheduled(self, obtained: float | None) -> float:
        """Return when to renew the certificate, by the clock of the CA that issued it; 0 if there is none.

        `obtained` is when the CA issued it, None if that is unknown.
        """
        if self.certificate is None:
            return 0.0
        window = self.suggestion.window if self.suggestion else None
        return schedule.renewal_time(self.certificate.validity, window, self.chance, obtained)
