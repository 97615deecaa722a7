"""What is known of one certificate that ACME orders, as the status document shows it."""

from attrs import frozen


@frozen
class OrderStatus:
    """Times are in seconds since the epoch; None where there is nothing.

    `names` are those of the settings. `error` is what went wrong last, or what keeps an order from beginning;
    `attempts` counts the failed ones in a row. `suggested_because` is where the CA says why it suggests this time.
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
