"""When to order a certificate, and from which CA. It is pure: callers pass the time in seconds since the epoch.

Two limits of Let's Encrypt shape it: five failed authorizations an hour for an account and a name, and five
certificates a week for the same set of names. Renewals need far fewer, but failures, and operators who renew by hand
again and again, must stay within the limits too. So what counts against a limit is stored, and survives a restart.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

from attrs import evolve, field, frozen

from facaded.tls.window import Window, format_time

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
WEEK = 7 * DAY

SLOW_RETRIES = tuple(minutes * MINUTE for minutes in (5, 15, 20, 30, 60, 120, 240, 360))
"""Seconds to wait after each failure in a row; the last one repeats. That makes four attempts in the first hour."""

EARLY_RETRIES = tuple(minutes * MINUTE for minutes in (1, 2, 2, 5, 10))
"""Seconds to wait after a CA was unavailable: such an attempt counts against no limit, so the retry comes sooner."""

INTERRUPTED_RETRY = MINUTE
"""Seconds to wait after an attempt that did not finish, so that a daemon that crashes during it does not flood a CA."""

JITTER = 0.1
"""Fraction of a wait that is added at random, so that the clients of a CA do not all return at once after an outage."""

FAILURES_AN_HOUR = 5
EXTRAS_A_WEEK = 3
"""Certificates from a CA outside the schedule: renewals by hand, and those that were issued but not received.

Scheduled renewals are at most two a week, even for certificates that are valid for six days; together that is five.
"""

MAX_EVENTS = 20
"""Events that are stored for a CA: several times the number that its limits allow."""

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

SHORTEST_INTERVAL, LONGEST_INTERVAL = HOUR, DAY
"""Bounds of that Retry-After, in seconds."""

LONGEST_WAIT = WEEK
"""Seconds: the longest Retry-After of a CA that is followed."""


class OrderStage(Enum):
    """The stage that an order has reached when it fails."""

    CONNECTING = "connecting"
    """Before any authorization: the CA could not be reached, or reported an error of its own."""
    REFUSED = "refused"
    """The CA refused the account or the order."""
    AUTHORIZING = "authorizing"
    """The CA could not validate a name, or stopped responding."""
    ISSUING = "issuing"
    """The CA refused to issue the certificate although all names were authorized."""
    ISSUED = "issued"
    """The CA has issued a certificate, or may have, but it was not received, or was not what was ordered."""

    @property
    def or_refused(self) -> "OrderStage":
        """The stage of a failure that the CA's availability did not cause."""
        return OrderStage.REFUSED if self is OrderStage.CONNECTING else self


@frozen
class OrderFailure:
    """A failed order at one CA. `retry_after` is in seconds, 0 if the CA did not send one."""

    ca: str
    reason: str
    stage: OrderStage
    retry_after: float = 0.0


@frozen
class OrderProgress:
    """The stored state of the attempts for one certificate.

    `slow` and `early` count failures in a row since the last success: `early` those with the CA unavailable before any
    authorization, `slow` all others. `authorized` counts failed authorizations; it alternates the kinds of challenge.
    `closed` has the end of each CA's Retry-After. `failed` and `extras` have the times of events that count against a
    CA's limits.
    """

    slow: int = 0
    early: int = 0
    authorized: int = 0
    not_before: float = 0.0
    error: str | None = None
    error_at: float | None = None
    obtained: float | None = None
    ca: str | None = None
    by_hand: bool = False
    closed: Mapping[str, float] = field(factory=dict)
    failed: Mapping[str, tuple[float, ...]] = field(factory=dict)
    extras: Mapping[str, tuple[float, ...]] = field(factory=dict)

    @property
    def attempts(self) -> int:
        """The number of failed attempts in a row."""
        return self.slow + self.early


def renewal_time(validity: Window, suggested: Window | None, chance: float, obtained: float | None = None) -> float:
    """Return when to renew a certificate: at random within the window that its CA suggests.

    Without a suggestion, that is within a short period that ends when a third of the validity is left. `chance` is from
    0 to 1, and drawn once for a certificate, so that the same window gives the same time (RFC 9773 §4.2). A suggestion
    is followed within bounds: not too soon after the last renewal, and not when the certificate has nearly expired.
    """
    if suggested is None:
        return validity.end - validity.length * (RENEWAL_FRACTION + SPREAD * (1 - chance))
    seconds, fraction = SHORTEST_USE
    earliest = (validity.start if obtained is None else obtained) + min(seconds, fraction * validity.length)
    latest = validity.end - validity.length * LATEST_FRACTION
    return min(max(suggested.start + chance * suggested.length, earliest), latest)


def due_time(progress: OrderProgress, renew_at: float, cas: Sequence[str], now: float) -> float:
    """Return when the next attempt starts: the renewal is due, the wait has ended, and a CA is available."""
    available = min((available_at(progress, ca, now) for ca in cas), default=now)
    wanted = 0.0 if progress.by_hand else renew_at
    return max(wanted, _plausible(progress.not_before, now, SLOW_RETRIES[-1]), available)


def available_at(progress: OrderProgress, ca: str, now: float) -> float:
    """Return when the Retry-After and the limits of a CA allow the next order; 0 if they allow it now."""
    failed = _recent(progress.failed.get(ca, ()), now, HOUR)
    extras = _recent(progress.extras.get(ca, ()), now, WEEK)
    return max(
        _plausible(progress.closed.get(ca, 0.0), now, LONGEST_WAIT),
        failed[-FAILURES_AN_HOUR] + HOUR if len(failed) >= FAILURES_AN_HOUR else 0.0,
        extras[-EXTRAS_A_WEEK] + WEEK if len(extras) >= EXTRAS_A_WEEK else 0.0,
    )


def information_interval(retry_after: float) -> float:
    """Return the seconds to the next request for renewal information; `retry_after` is the CA's, 0 if none."""
    return min(max(retry_after or INFORMATION_INTERVAL, SHORTEST_INTERVAL), LONGEST_INTERVAL)


def is_information_due(at: float, now: float) -> bool:
    """Return whether the request scheduled `at` is due. A time beyond the longest interval comes from a wrong clock."""
    return not now < at <= now + LONGEST_INTERVAL


def begin(progress: OrderProgress, now: float) -> OrderProgress:
    """Return the progress at the start of an attempt. It remains if the daemon ends before the attempt does."""
    return evolve(progress, not_before=now + INTERRUPTED_RETRY, by_hand=False)


def reach(progress: OrderProgress, ca: str, stage: OrderStage, now: float) -> OrderProgress:
    """Return the progress before a stage that counts against a CA's limit. It remains if the daemon ends during it."""
    return charge(begin(progress, now), OrderFailure(ca, "", stage), now)


def interrupt(progress: OrderProgress, failure: OrderFailure, now: float) -> OrderProgress:
    """Return the progress after a stop or a reload ended an attempt: no failure, but it counts against the limits.

    Repeated restarts must not flood a CA either.
    """
    charged = charge(progress, failure, now)
    return evolve(charged, not_before=max(charged.not_before, now + INTERRUPTED_RETRY))


def fail(progress: OrderProgress, failures: Sequence[OrderFailure], now: float, chance: float) -> OrderProgress:
    """Return the progress after an attempt has failed at each CA that was asked. `chance` is from 0 to 1."""
    slow = any(failure.stage is not OrderStage.CONNECTING for failure in failures)
    after = evolve(
        progress,
        slow=progress.slow + slow,
        early=progress.early + (not slow),
        authorized=progress.authorized + any(failure.stage is OrderStage.AUTHORIZING for failure in failures),
        error="; ".join(failure.reason for failure in failures),
        error_at=now,
        by_hand=False,
    )
    for failure in failures:
        after = charge(after, failure, now)
    wait = _wait(after, slow)
    return evolve(after, not_before=now + wait * (1 + JITTER * chance))


def charge(progress: OrderProgress, failure: OrderFailure, now: float) -> OrderProgress:
    """Return the progress with a failure counted against the limits of its CA, and nothing else changed."""
    if failure.retry_after > 0:
        until = now + min(failure.retry_after, LONGEST_WAIT)
        progress = evolve(progress, closed={**progress.closed, failure.ca: until})
    match failure.stage:
        case OrderStage.AUTHORIZING:
            return evolve(progress, failed=_with_event(progress.failed, failure.ca, now))
        case OrderStage.ISSUED:
            return evolve(progress, extras=_with_event(progress.extras, failure.ca, now))
    return progress


def share_failures(progress: OrderProgress, other: OrderProgress) -> OrderProgress:
    """Return the progress with the failures of another certificate that has a name in common."""
    both = {
        ca: tuple(sorted({*progress.failed.get(ca, ()), *other.failed.get(ca, ())}))
        for ca in {*progress.failed, *other.failed}
    }
    return evolve(progress, failed=both)


def succeed(progress: OrderProgress, ca: str, now: float, extra: bool) -> OrderProgress:
    """Return the progress after `ca` has issued the certificate.

    It is `extra` if the renewal was not due: an operator has requested it, or has changed the CA. The kind of challenge
    that worked comes first at the next renewal.
    """
    extras = _with_event(progress.extras, ca, now) if extra else progress.extras
    return OrderProgress(
        authorized=progress.authorized,
        obtained=now,
        ca=ca,
        closed=progress.closed,
        failed=progress.failed,
        extras=extras,
    )


def request_renewal(progress: OrderProgress, cas: Sequence[str], now: float) -> OrderProgress | str:
    """Return the progress after an operator has requested a renewal, or a message if no CA's limits allow it."""
    available = min(available_at(progress, ca, now) for ca in cas)
    if available > now:
        return f"the CA's limits allow no attempt before {format_time(available)}"
    return evolve(progress, not_before=now, by_hand=True)


def _wait(progress: OrderProgress, slow: bool) -> float:
    if slow:
        return SLOW_RETRIES[min(progress.slow, len(SLOW_RETRIES)) - 1]
    waits = EARLY_RETRIES + SLOW_RETRIES
    return waits[min(progress.early, len(waits)) - 1]


def _with_event(events: Mapping[str, tuple[float, ...]], ca: str, now: float) -> Mapping[str, tuple[float, ...]]:
    """Add an event. Old ones are dropped by number, not by age, because the clock may be ahead for a while."""
    return {**events, ca: (*events.get(ca, ()), now)[-MAX_EVENTS:]}


def _recent(events: Sequence[float], now: float, period: float) -> tuple[float, ...]:
    """Return the events of the last `period` seconds, in order; those in the future come from a wrong clock."""
    return tuple(sorted(at for at in events if now - period < at <= now))


def _plausible(until: float, now: float, longest: float) -> float:
    """Return the end of a wait; 0 if it is further away than any wait can be, because the clock was wrong."""
    return until if until <= now + longest * (1 + JITTER) else 0.0
