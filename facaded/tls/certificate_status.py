"""The status of a certificate, as the status document shows it."""

from typing import Any

from attrs import asdict, frozen

from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.handshakes import ActiveCertificate

EXPIRY_WARNING = 7 * 86400.0
"""Seconds before a certificate expires from which the status warns; for a short validity, a quarter of it.

All certificate managers renew earlier than that.
"""


@frozen
class CertificateReport:
    """The status of a certificate that is in service, or that is missing: then it has no issuer and no `until`.

    `until` is when it expires, in seconds since the epoch; `source` is where it comes from. `error` says why it is
    missing or has not been replaced. `order` is the status of its renewal if ACME manages it.
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
        """Return it as a JSON object; the fields of `order` are merged into it and take precedence."""
        document: dict[str, Any] = {
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
            document |= {**asdict(self.order), "names": list(self.names), "error": self.error}
        return document


def expires_soon(active: ActiveCertificate, now: float) -> bool:
    """Return whether a certificate should have been renewed by now; `now` is in seconds since the epoch."""
    validity = active.certificate.validity
    return validity.end - now <= min(EXPIRY_WARNING, validity.length / 4)


def report(active: ActiveCertificate, now: float) -> CertificateReport:
    """Return the status of a certificate in service; `now` is in seconds since the epoch."""
    certificate, validity = active.certificate, active.certificate.validity
    return CertificateReport(
        names=certificate.names,
        source=active.source,
        issuer=certificate.issuer,
        until=validity.end,
        expired=active.has_expired(now),
        expires_soon=expires_soon(active, now),
    )
