"""What is known of one certificate, as the status document shows it."""

from typing import Any

from attrs import asdict, frozen

from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.handshakes import ActiveCertificate

SOON = 7 * 86400.0
"""Seconds before its end from which a certificate is warned of; for one that lives shortly, a quarter of its life. All
that renew certificates have done it by then.
"""


@frozen
class CertificateReport:
    """A certificate that is in service, or should be: then it has no issuer and no end.

    `until` is in seconds since the epoch; `source` is where the certificate is from. `error` says why it is not
    replaced, or not there. `order` is what is known of its renewal if ACME orders it.
    """

    names: tuple[str, ...]
    source: str
    issuer: str | None = None
    until: float | None = None
    expired: bool = False
    expires_soon: bool = False
    error: str | None = None
    order: OrderStatus | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it. What is known of the order stands beside the rest, and goes before it."""
        shown: dict[str, Any] = {
            "names": list(self.names),
            "issuer": self.issuer,
            "until": self.until,
            "expired": self.expired,
            "expires_soon": self.expires_soon,
            "from": self.source,
            "next_renewal": None,
            "error": self.error,
        }
        if self.order is not None:
            shown |= {**asdict(self.order), "names": list(self.names), "error": self.error}
        return shown


def of(active: ActiveCertificate, now: float) -> CertificateReport:
    """Return the status of a certificate in service at a time, in seconds since the epoch."""
    certificate, left = active.certificate, active.certificate.life.ends - now
    return CertificateReport(
        names=certificate.names,
        source=active.source,
        issuer=certificate.issuer,
        until=certificate.life.ends,
        expired=active.has_expired(now),
        expires_soon=left <= min(SOON, certificate.life.length / 4),
    )
