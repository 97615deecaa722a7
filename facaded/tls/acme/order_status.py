"""The status of one certificate that ACME manages, as the status document shows it."""

from attrs import frozen


@frozen
class OrderStatus:
    """The status of one certificate; times are in seconds since the epoch, None if unknown.

    `names` are those in the settings. `error` is the last failure, or the reason why no order can start; `attempts`
    counts failures in a row. `suggested_because` is the URL at which the CA explains the suggested renewal time.
    """

    names: tuple[str, ...]
    issuer: str | None = None
    not_after: float | None = None
    next_renewal: float | None = None
    suggested_because: str | None = None
    error: str | None = None
    error_at: float | None = None
    attempts: int = 0
    ca: str | None = None
