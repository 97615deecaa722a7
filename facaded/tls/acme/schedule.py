"""When to renew a certificate, and how long to wait after a failure. Pure: callers pass the time.

Times are in seconds since the epoch, by the clock of the CA that they concern (see `ca_clocks`).

Our own waits exist to spare a CA, and must never make a certificate lapse: each is at most a quarter of the life that
the certificate has left, so that at least three attempts fit into any period of a tenth of its validity.
"""

from enum import Enum

from attrs import frozen

from facaded.tls.window import Window

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
WEEK = 7 * DAY

SLOW_RETRIES = tuple(minutes * MINUTE for minutes in (10, 20, 30, 30, 60, 120, 240, 360))
"""Seconds to wait after each refusal or failed validation in a row; the last one repeats.

With the two validations of the first attempt, that makes four in the first hour.
"""

EARLY_RETRIES = tuple(minutes * MINUTE for minutes in (1, 2, 2, 5, 10, 15, 30, 60))
"""Seconds to wait after a CA was unavailable: such an attempt counts against no limit, so the retry comes sooner."""

UNUSABLE_RETRIES = (HOUR, DAY, 2 * DAY, 3 * DAY)
"""Seconds to wait after a CA has issued an unusable certificate. That makes five certificates in the first week."""

INTERRUPTED_RETRY = 30.0
"""Seconds to wait after an attempt that did not finish, so that a daemon that crashes during it does not flood a CA."""

JITTER = 0.1
"""Fraction of a wait that is added at random, so that the clients of a CA do not all return at once after an outage."""

WAIT_FRACTION = 1 / 4
"""Fraction of the remaining life of a certificate that a wait may take."""

WAIT_FRACTION_EXPIRED = 1 / 48
"""Fraction of the validity of an expired certificate that a wait may take: what it was at a twelfth of its life."""

LONGEST_WAIT = WEEK
"""Seconds that a wait for the first certificate may take."""

RENEWAL_FRACTION = 1 / 3
"""Fraction of a certificate's validity that is left when its renewal starts."""

SPREAD = 1 / 50
"""Fraction of the validity, before that time, over which renewals are spread: 43 hours for 90 days."""

LATEST_FRACTION = 1 / 6
"""Fraction of the validity that is left when a certificate is renewed whatever its CA suggests."""

SHORTEST_USE = 1.5 * DAY, 1 / 2
"""Seconds, or fraction of the validity if that is less, before a suggestion to renew now is followed again.

It bounds a CA that always suggests to renew now. A certificate that is older when its CA revokes it is renewed at once.
"""

INFORMATION_INTERVAL = 6 * HOUR
"""Seconds between requests for renewal information, if the CA sends no Retry-After (RFC 9773 §4.3)."""

INFORMATION_FRACTION = 1 / 24
"""Fraction of the validity that this interval may take: such a request also shows that this machine's clock is off."""

SHORTEST_INTERVAL, LONGEST_INTERVAL = HOUR, DAY
"""Bounds of that Retry-After, in seconds."""

LONGEST_CHECK = DAY
"""Seconds for which an order that the CA does not finish is tried, before a new one is placed. While the CA is
unavailable, it is not given up earlier."""

SHORTEST_CHECK = 10 * MINUTE
"""The least of that time in seconds, however little life the certificate has left."""

FIRST_CHECK = HOUR
"""That time for the first certificate."""


class FailureCause(Enum):
    """Why an order failed; it decides what the failure counts for, and when the next attempt starts."""

    UNAVAILABLE = "unavailable"
    """The CA could not be reached, or reported an error of its own. It counts for nothing."""
    UNFINISHED = "unfinished"
    """The CA answers, but has not finished the order in time. It counts for nothing either."""
    REFUSED = "refused"
    """The CA refused the account, the order or the request for a certificate."""
    UNVALIDATED = "unvalidated"
    """The CA could not validate a name."""
    UNDECIDED = "undecided"
    """The CA has not said for minutes whether it can validate a name."""
    UNUSABLE = "unusable"
    """The CA has issued a certificate, or may have, that is not what was ordered or was not received."""

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed soon."""
        return self in (FailureCause.UNAVAILABLE, FailureCause.UNFINISHED)


@frozen
class OrderFailure:
    """A failed order at one CA. `retry_after` is in seconds, 0 if the CA did not send one.

    `is_rate_limit` is true if the CA says that it was asked too often (429). `is_final` is true if nothing comes of the
    order any more, which is still stored.
    """

    ca: str
    reason: str
    cause: FailureCause
    retry_after: float = 0.0
    is_rate_limit: bool = False
    is_final: bool = False


def renewal_time(validity: Window, suggested: Window | None, chance: float, obtained: float | None = None) -> float:
    """Return when to renew a certificate: at random within the window that its CA suggests.

    Without a suggestion, that is within a short period that ends when a third of the validity is left. `chance` is from
    0 to 1, and drawn once for a certificate, so that the same window gives the same time (RFC 9773 §4.2). A suggestion
    is followed within bounds: not too soon after the last renewal, and not when the certificate has nearly expired.
    A certificate that was old when it was `obtained` is used for half of the rest.
    """
    if obtained is None or not validity.start <= obtained < validity.end:
        obtained = validity.start
    if suggested is None:
        regular = validity.end - validity.length * (RENEWAL_FRACTION + SPREAD * (1 - chance))
        return max(regular, (obtained + validity.end) / 2)
    seconds, fraction = SHORTEST_USE
    earliest = obtained + min(seconds, fraction * (validity.end - obtained))
    latest = max(validity.end - validity.length * LATEST_FRACTION, earliest)
    return min(max(suggested.start + chance * suggested.length, earliest), latest)


def retry_wait(cause: FailureCause, count: int, chance: float) -> float:
    """Return the seconds to wait after the failure number `count`, from 1, in a row. `chance` is from 0 to 1."""
    waits = SLOW_RETRIES
    if cause.is_transient:
        waits = EARLY_RETRIES
    elif cause is FailureCause.UNUSABLE:
        waits = UNUSABLE_RETRIES
    return waits[min(max(count, 1), len(waits)) - 1] * (1 + JITTER * chance)


def longest_wait(validity: Window | None, now: float) -> float:
    """Return the most seconds that a wait of our own may take for a certificate; `validity` is None without one."""
    if validity is None:
        return LONGEST_WAIT
    remaining = validity.end - now
    if remaining <= 0:
        return max(validity.length * WAIT_FRACTION_EXPIRED, MINUTE)
    return max(remaining * WAIT_FRACTION, MINUTE)


def patience(validity: Window | None, now: float) -> float:
    """Return the seconds for which an order that its CA does not finish is tried, before a new one is placed."""
    if validity is None:
        return FIRST_CHECK
    return min(max(longest_wait(validity, now), SHORTEST_CHECK), LONGEST_CHECK)


def information_interval(retry_after: float, length: float) -> float:
    """Return the seconds to the next request for renewal information.

    `retry_after` is the CA's, 0 if none; `length` is the validity of the certificate in seconds.
    """
    if retry_after > 0:
        return min(max(retry_after, SHORTEST_INTERVAL), LONGEST_INTERVAL)
    return min(INFORMATION_INTERVAL, max(length * INFORMATION_FRACTION, MINUTE))


def is_information_due(at: float, now: float) -> bool:
    """Return whether the request scheduled `at` is due. A time beyond the longest interval comes from a wrong clock."""
    return not now < at <= now + LONGEST_INTERVAL
