"""What the rest of the daemon learns of certificates that ACME manages: their status, and renewals by hand."""

from attrs import frozen


@frozen
class OrderStatus:
    """The status of one certificate; times are in seconds since the epoch, None if unknown.

    `names` are those in the settings. `due` is when its renewal is due, `next_renewal` when the next attempt starts.
    `overdue` is whether a third of the time from then to the expiry has passed. `suggested_from` and `suggested_until`
    are the window that the CA suggests for the renewal, `suggested_because` is the URL at which it explains why.
    `error` is the last failure, or the reason why no order can start; `attempts` counts failures in a row.
    """

    names: tuple[str, ...]
    issuer: str | None = None
    not_after: float | None = None
    due: float | None = None
    next_renewal: float | None = None
    overdue: bool = False
    suggested_from: float | None = None
    suggested_until: float | None = None
    suggested_because: str | None = None
    error: str | None = None
    error_at: float | None = None
    attempts: int = 0
    ca: str | None = None


@frozen
class Renewal:
    """What a request to renew has begun: the names of each certificate, and why some are not renewed now."""

    certificates: tuple[tuple[str, ...], ...]
    refusals: tuple[str, ...] = ()
