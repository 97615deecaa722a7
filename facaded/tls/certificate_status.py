"""The status of a certificate, as the status document shows it."""

from typing import Any

from attrs import asdict, frozen

from facaded.tls import overdue
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.handshakes import ActiveCertificate


@frozen
class CertificateReport:
    """The status of a certificate that is in service, or that is missing: then it has no issuer and no `until`.

    `until` is when it expires, in seconds since the epoch, `remaining` the seconds until then; `source` is where it
    comes from. With `expires_soon`, it should have been renewed by now, and `is_urgent` if little life is left.
    `error` says why it is missing or has not been replaced. `order` is the status of its renewal if ACME manages it.
    """

    names: tuple[str, ...]
    source: str
    issuer: str | None = None
    until: float | None = None
    remaining: float | None = None
    expired: bool = False
    expires_soon: bool = False
    is_urgent: bool = False
    error: str | None = None
    order: OrderStatus | None = None

    def document(self) -> dict[str, Any]:
        """Return it as a JSON object; the fields of `order` are merged into it and take precedence."""
        document: dict[str, Any] = {
            "names": list(self.names),
            "issuer": self.issuer,
            "until": self.until,
            "remaining": self.remaining,
            "expired": self.expired,
            "expires_soon": self.expires_soon,
            "from": self.source,
            "next_renewal": None,
            "error": self.error,
        }
        if self.order is not None:
            document |= {**asdict(self.order), "names": list(self.names), "error": self.error}
        return document


def report(active: ActiveCertificate, now: float, order: OrderStatus | None = None) -> CertificateReport:
    """Return the status of a certificate in service; `now` is in seconds since the epoch."""
    certificate, validity = active.certificate, active.certificate.validity
    is_overdue = order.overdue if order else overdue.severity(validity, None, now) is not None
    return CertificateReport(
        names=certificate.names,
        source=active.source,
        issuer=certificate.issuer,
        until=validity.end,
        remaining=max(validity.end - now, 0.0),
        expired=active.has_expired(now),
        expires_soon=is_overdue,
        is_urgent=is_overdue and overdue.is_last_period(validity, now),
    )
