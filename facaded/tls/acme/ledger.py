"""The ledger of one CA: what it refused, issued and limited, by name, and so when it may be asked again. Pure.

All times are in seconds since the epoch by the CA's clock, and passed by the caller. A ledger outlives a restart, and
the names that it lists may leave the settings and return.

Two limits of Let's Encrypt shape it: five failed authorizations an hour for an account and a name, and five
certificates a week for the same names. Our own limits stay below them. They stop operators and daemons that start
again and again, but never a renewal that is due: that is only spaced out. Private CAs have no such limits.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from attrs import evolve, field, frozen

from facaded.net.json_documents import Document
from facaded.tls.acme.schedule import (
    HOUR,
    INTERRUPTED_RETRY,
    MINUTE,
    SLOW_RETRIES,
    WEEK,
    FailureCause,
    OrderFailure,
    retry_wait,
)
from facaded.tls.window import format_time

FAILURES_AN_HOUR = 4
"""Failed authorizations of a name in an hour, after which the next one waits."""

EXTRAS_A_WEEK = 3
"""Certificates from a CA outside the schedule: renewals by hand, and those that were issued but not received.

Scheduled renewals are at most two a week, even for certificates that are valid for six days; together that is five.
"""

LIMIT_MARGIN = MINUTE
"""Seconds that an event counts longer than in a limit's period: the CA dates it by whole seconds."""

MAX_EVENTS = 20
"""Events that are stored for a name: several times the number that the limits allow."""

MAX_HISTORIES = 1000
"""Certificates whose history is stored for a CA: far more than one daemon has."""

MAX_NAMES = 10_000
"""Names whose events are stored for a CA."""

LONGEST_LIMIT = WEEK
"""Seconds: the longest Retry-After of a rate limit (429) that is obeyed."""

LONGEST_PAUSE = 6 * HOUR
"""Seconds: the longest Retry-After of an error of the CA (5xx) that is followed, and how long one certificate waits
because of the 429 for another at most."""

CLOCK_STEP = 5 * MINUTE
"""Seconds by which a clock may be set back without that waits which began before it are ignored."""


class Request(Enum):
    """What an operator wants of a certificate."""

    NONE = "none"
    RENEWAL = "renewal"
    """Renew it now, within the limits."""
    FORCED = "forced"
    """Renew it now, unless the CA has answered 429."""


@frozen
class Pause:
    """A wait, with its beginning: how long it may last can change while it lasts."""

    since: float = 0.0
    until: float = 0.0

    def end(self, now: float, longest: float) -> float:
        """Return when it ends, `longest` seconds after its beginning at most; 0 if it began in the future.

        Then the clock was wrong.
        """
        return 0.0 if self.since > now + CLOCK_STEP else min(self.until, self.since + longest)


@frozen
class NameHistory:
    """What counts against the CA's limits for one name: failed authorizations, and certificates outside the schedule.

    Both are the times of the events.
    """

    failed: tuple[float, ...] = ()
    extras: tuple[float, ...] = ()


@frozen
class OrderHistory:
    """The attempts for one certificate at one CA.

    `refused` and `unavailable` count failures in a row since the last success, `unavailable` those for which the CA was
    the reason. `turn` counts failed validations: it alternates the kinds of challenge. `retry` is our own wait,
    `limited` the Retry-After of a 429. `obtained` is when the CA issued the last certificate, `wanted` when the
    settings last had the certificate.
    """

    refused: int = 0
    unavailable: int = 0
    turn: int = 0
    retry: Pause = Pause()
    limited: Pause = Pause()
    error: str | None = None
    error_at: float | None = None
    obtained: float | None = None
    wanted: float = 0.0

    @property
    def attempts(self) -> int:
        """The number of failed attempts in a row."""
        return self.refused + self.unavailable


_NO_HISTORY = OrderHistory()


@frozen
class Terms:
    """What decides how long an attempt has to wait.

    `longest` is the longest wait in seconds, `is_due` whether the renewal is due, or there is no certificate.
    `is_in_flight` is whether the CA has an order already. `is_public` is whether the CA has the limits of public ones.
    """

    longest: float
    is_due: bool = True
    request: Request = Request.NONE
    is_in_flight: bool = False
    is_public: bool = True


@frozen
class CaLedger(Document):
    """The ledger of the CA with the directory URL `ca`.

    `busy` is the Retry-After of its latest error of its own, `limited` of its latest 429, for whichever certificate.
    `names` has the history of each name, `orders` that of each certificate, by `order_key`. `offset` is how many
    seconds its clock is ahead of this machine's.
    """

    ca: str
    busy: Pause = Pause()
    limited: Pause = Pause()
    names: Mapping[str, NameHistory] = field(factory=dict)
    orders: Mapping[str, OrderHistory] = field(factory=dict)
    offset: float = 0.0

    def history(self, names: Sequence[str]) -> OrderHistory:
        """Return the history of the certificate with these names."""
        return self.orders.get(order_key(names), _NO_HISTORY)

    def with_history(self, names: Sequence[str], history: OrderHistory) -> "CaLedger":
        return evolve(self, orders={**self.orders, order_key(names): history})

    def failed(self, names: Iterable[str], now: float) -> float:
        """Return when the limit of failed authorizations allows the next one; 0 if it does so now."""
        return max(_limit_end(self._of(name).failed, FAILURES_AN_HOUR, HOUR, now) for name in names)

    def extras(self, names: Iterable[str], now: float) -> float:
        """Return when the limit of certificates outside the schedule allows the next one; 0 if it does so now."""
        return max(_limit_end(self._of(name).extras, EXTRAS_A_WEEK, WEEK, now) for name in names)

    def with_failures(self, names: Iterable[str], now: float) -> "CaLedger":
        """Return the ledger with a failed authorization of each name."""
        changed = {name: evolve(self._of(name), failed=_with_event(self._of(name).failed, now)) for name in names}
        return evolve(self, names={**self.names, **changed})

    def with_extras(self, names: Iterable[str], now: float) -> "CaLedger":
        """Return the ledger with a certificate outside the schedule for each name."""
        changed = {name: evolve(self._of(name), extras=_with_event(self._of(name).extras, now)) for name in names}
        return evolve(self, names={**self.names, **changed})

    def _of(self, name: str) -> NameHistory:
        return self.names.get(name, NameHistory())


def order_key(names: Sequence[str]) -> str:
    """Return the key of a certificate: its names, in one order whatever that in the settings."""
    return names[0] if len(names) == 1 else " ".join(sorted(names))


def available_at(ledger: CaLedger, names: Sequence[str], terms: Terms, now: float) -> float:
    """Return when the CA may be asked for a certificate; 0, or a time in the past, if it may be now.

    A 429 for one certificate stops the others too, because the limit may be the account's; but if it is not, they must
    not lapse, so for them it is bounded as our own waits are.
    """
    history = ledger.history(names)
    limited = history.limited.end(now, LONGEST_LIMIT)
    if terms.request is Request.FORCED:
        return limited
    longest_pause = min(terms.longest, LONGEST_PAUSE)
    ends = [limited, ledger.busy.end(now, longest_pause)]
    if terms.request is Request.NONE:
        ends.append(history.retry.end(now, terms.longest))
    if not terms.is_in_flight:
        ends += [ledger.limited.end(now, longest_pause), validation_at(ledger, names, terms, now)]
        if terms.is_public and not terms.is_due:
            ends.append(ledger.extras(names, now))
    return max(ends)


def validation_at(ledger: CaLedger, names: Sequence[str], terms: Terms, now: float) -> float:
    """Return when the limit of failed authorizations allows to validate the names; 0 if it does so now.

    An operator's request is not delayed by the limit if the CA has none, or it is forced.
    """
    is_limited = terms.request is Request.NONE or (terms.is_public and terms.request is not Request.FORCED)
    return ledger.failed(names, now) if is_limited else 0.0


def begin(ledger: CaLedger, names: Sequence[str], now: float) -> CaLedger:
    """Return the ledger at the start of an attempt. It remains if the daemon ends before the attempt does."""
    history = evolve(ledger.history(names), retry=Pause(now, now + INTERRUPTED_RETRY), wanted=now)
    return ledger.with_history(names, history)


def charge(ledger: CaLedger, names: Sequence[str], failure: OrderFailure, now: float) -> CaLedger:
    """Return the ledger with what a failure counts against the limits of the CA, and with the CA's Retry-After."""
    history = ledger.history(names)
    if failure.is_rate_limit:
        limited = Pause(now, now + min(failure.retry_after or SLOW_RETRIES[0], LONGEST_LIMIT))
        return evolve(ledger.with_history(names, evolve(history, limited=limited)), limited=limited)
    if failure.retry_after > 0 and failure.cause is FailureCause.UNAVAILABLE:
        ledger = evolve(ledger, busy=Pause(now, now + min(failure.retry_after, LONGEST_PAUSE)))
    match failure.cause:
        case FailureCause.UNVALIDATED | FailureCause.UNDECIDED:
            return ledger.with_history(names, evolve(history, turn=history.turn + 1)).with_failures(names, now)
        case FailureCause.UNUSABLE:
            return ledger.with_extras(names, now)
    return ledger


def fail(
    ledger: CaLedger, names: Sequence[str], failure: OrderFailure, now: float, chance: float, is_due: bool = True
) -> CaLedger:
    """Return the ledger after an attempt has failed. `chance` is from 0 to 1.

    The failure of a renewal by hand that was not due delays none that is.
    """
    ledger = charge(ledger, names, failure, now)
    history = ledger.history(names)
    unavailable = failure.cause.is_transient
    counted = evolve(
        history,
        refused=history.refused + (is_due and not unavailable),
        unavailable=history.unavailable + (is_due and unavailable),
        error=failure.reason,
        error_at=now,
        wanted=now,
    )
    wait = retry_wait(failure.cause, counted.unavailable if unavailable else counted.refused, chance)
    return ledger.with_history(names, evolve(counted, retry=Pause(now, now + wait)))


def succeed(ledger: CaLedger, names: Sequence[str], now: float, extra: bool) -> CaLedger:
    """Return the ledger after the CA has issued the certificate.

    It is `extra` if the renewal was not due: an operator has requested it, or has changed the CA. The kind of challenge
    that worked comes first at the next renewal.
    """
    history = ledger.history(names)
    cleared = OrderHistory(turn=history.turn, limited=history.limited, obtained=now, wanted=now)
    ledger = ledger.with_history(names, cleared)
    return ledger.with_extras(names, now) if extra else ledger


def forgive(ledger: CaLedger, names: Sequence[str]) -> CaLedger:
    """Return the ledger after another CA has issued the certificate: the failures here are history."""
    history = ledger.history(names)
    if not history.attempts and history.error is None:
        return ledger
    return ledger.with_history(
        names, evolve(history, refused=0, unavailable=0, retry=Pause(), error=None, error_at=None)
    )


def want(ledger: CaLedger, names: Sequence[str], now: float) -> CaLedger:
    """Return the ledger with the certificate marked as one of the settings."""
    return ledger.with_history(names, evolve(ledger.history(names), wanted=now))


def prune(ledger: CaLedger, configured: Iterable[str]) -> CaLedger:
    """Return the ledger bounded in size: those certificates leave first that were wanted least recently.

    `configured` are the keys of the certificates in the settings, which stay.
    """
    if len(ledger.orders) <= MAX_HISTORIES and len(ledger.names) <= MAX_NAMES:
        return ledger
    configured = {*configured}
    orders = sorted(ledger.orders, key=lambda key: (key in configured, ledger.orders[key].wanted), reverse=True)
    wanted = {name for key in configured for name in key.split()}
    names = sorted(ledger.names, key=lambda name: (name in wanted, _last_event(ledger.names[name])), reverse=True)
    return evolve(
        ledger,
        orders={key: ledger.orders[key] for key in orders[: max(MAX_HISTORIES, len(configured))]},
        names={name: ledger.names[name] for name in names[: max(MAX_NAMES, len(wanted))]},
    )


def refusal(ledger: CaLedger, names: Sequence[str], terms: Terms, now: float) -> str | None:
    """Return why an operator's request cannot be met now, and what to do; None if it can."""
    until = available_at(ledger, names, terms, now)
    if until <= now:
        return None
    if ledger.history(names).limited.end(now, LONGEST_LIMIT) >= until:
        return f"the CA allows no attempt before {format_time(until - ledger.offset)} (429)"
    return f"the CA's limits allow no attempt before {format_time(until - ledger.offset)}: wait, or renew with --force"


def _limit_end(events: Sequence[float], most: int, period: float, now: float) -> float:
    """Return when fewer than `most` events are in the last `period` seconds; 0 if there are fewer now.

    Those in the future come from a wrong clock.
    """
    period += LIMIT_MARGIN
    recent = sorted(at for at in events if now - period < at <= now + CLOCK_STEP)
    return recent[-most] + period if len(recent) >= most else 0.0


def _last_event(history: NameHistory) -> float:
    return max((*history.failed, *history.extras), default=0.0)


def _with_event(events: tuple[float, ...], now: float) -> tuple[float, ...]:
    """Add an event. Old ones are dropped by number, not by age, because the clock may be ahead for a while."""
    return (*events, now)[-MAX_EVENTS:]
