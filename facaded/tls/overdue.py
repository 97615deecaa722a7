"""Renewals that are overdue, and how bad that is. Pure: callers pass the time in seconds since the epoch.

CAs send no mail any more when a certificate expires, so facaded has to say it loudly, and early enough to act.
"""

from facaded.policy.events import Severity
from facaded.tls.window import Window

OVERDUE_FRACTION = 1 / 3
"""Fraction of the time from the due renewal to the expiry after which failures are no longer a passing trouble."""

UNMANAGED_FRACTION = 1 / 4
UNMANAGED_WARNING = 7 * 86400.0
"""Fraction of the validity, or seconds if that is less, before the expiry of a certificate from files, after which it
is overdue. All certificate managers renew earlier than that."""

LAST_FRACTION = 1 / 4
LAST_PERIOD = 2 * 86400.0
"""Fraction of the validity, or seconds if that is less, before the expiry, in which an overdue renewal is an error."""


def overdue_time(validity: Window, due: float | None) -> float:
    """Return when a renewal becomes overdue. `due` is when it is due, None if another program decides that."""
    if due is None:
        return validity.end - min(UNMANAGED_WARNING, validity.length * UNMANAGED_FRACTION)
    return due + max(validity.end - due, 0.0) * OVERDUE_FRACTION


def severity(validity: Window, due: float | None, now: float) -> Severity | None:
    """Return how bad it is that a certificate has not been renewed; None if it is not overdue."""
    if now < overdue_time(validity, due):
        return None
    return Severity.ERROR if is_last_period(validity, now) else Severity.WARNING


def is_last_period(validity: Window, now: float) -> bool:
    """Return whether so little life is left that it is an error if the certificate has not been renewed."""
    return validity.end - now <= min(LAST_PERIOD, validity.length * LAST_FRACTION)
