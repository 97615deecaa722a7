"""When to ask for a certificate, and which CA: pure, with wall-clock time in seconds since the epoch handed in.

Two limits of Let's Encrypt shape it: five failed authorizations an hour for an account and a name, and five
certificates a week for the same names. What a renewal needs is far below; what goes wrong, and an operator who
asks again and again, must stay below too. What counts against a limit is therefore kept, and outlives a restart.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

from attrs import evolve, field, frozen

from facaded.tls.window import Window

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
WEEK = 7 * DAY

AFTER_AUTHORIZATION = tuple(minutes * MINUTE for minutes in (5, 15, 20, 30, 60, 120, 240, 360))
"""Seconds to wait after each failure in a row; the last one for all further. Four attempts in the first hour."""

BEFORE_AUTHORIZATION = tuple(minutes * MINUTE for minutes in (1, 2, 2, 5, 10))
"""Seconds to wait after a CA could not be reached or was ill: that costs nothing, so it is tried again sooner."""

INTERRUPTED = MINUTE
"""Seconds to wait after an attempt that was never finished: a daemon that dies of it must not hammer a CA."""

JITTER = 0.1
"""Share of a wait that is added at random, so that all who saw one outage do not come back at once."""

FAILURES_AN_HOUR = 5
EXTRAS_A_WEEK = 3
"""Certificates of a CA that the schedule did not ask for: renewals by hand, and those that were made but never came.

With the renewals themselves, two a week even for certificates of six days, that is five.
"""

MOST_NOTED = 20
"""Events that are kept for a CA: several times what its limits count."""

LIFE_LEFT = 1 / 3
"""Share of a certificate's life that is left when its renewal begins."""

SPREAD = 1 / 50
"""Share of a life over which renewals are spread, up to then: 43 hours for one of 90 days."""

LATEST_LEFT = 1 / 6
"""Share of a life that is left when a certificate is renewed whatever its CA suggests."""

SHORTEST_USE = 1.5 * DAY, 1 / 2
"""A CA that always suggests to renew now is believed once in so many seconds, or this share of a life if it is less.

When it has revoked a certificate that is older, that is at once.
"""

ASKED_AGAIN = 6 * HOUR
"""Seconds after which a CA is asked again when it wants a certificate renewed, if it does not say (RFC 9773 §4.3)."""

LEAST_ASKED, MOST_ASKED = HOUR, DAY
"""Bounds of what it may say, in seconds."""

LONGEST_WAIT = WEEK
"""Seconds of the longest wait that a CA's Retry-After is believed for."""


class Stage(Enum):
    """How far an attempt came before it failed."""

    REACHING = "reaching"
    """The CA could not be reached, or said that it was ill, before any authorization."""
    REFUSED = "refused"
    """The CA would not have the account or the order."""
    AUTHORIZING = "authorizing"
    """The CA could not see that a name leads here, or was not heard of again."""
    ISSUING = "issuing"
    """The CA would not make a certificate although all names were authorized."""
    MADE = "made"
    """A certificate was made, or may have been, and did not come, or was not what was asked for."""

    @property
    def or_refused(self) -> "Stage":
        """The same, where it was not the CA's illness that ended the attempt."""
        return Stage.REFUSED if self is Stage.REACHING else self


@frozen
class Failure:
    """What came of asking one CA. `words` is a sentence; `retry_after` is in seconds, 0 if the CA did not say."""

    ca: str
    words: str
    stage: Stage
    retry_after: float = 0.0


@frozen
class OrderProgress:
    """What is kept of the attempts for one certificate.

    `slow` and `early` count failures in a row since the last success: those after and before an authorization;
    `authorized` counts those in an authorization, by which the kinds of challenge alternate. `closed` is until when
    a CA wants no more. `failed`, `extras` hold when what counts against a CA's limits happened.
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
        """Failed attempts in a row."""
        return self.slow + self.early


def renewal(life: Window, suggested: Window | None, chance: float, obtained: float | None = None) -> float:
    """When to renew a certificate: at random within what its CA suggests, or else within a short time that ends when
    a third of its life is left.

    `chance` is from 0 to 1, drawn once for a certificate, so that a window that stays gives a time that stays (RFC
    9773 §4.2). A suggestion is followed within bounds: not again and again, and not until the certificate has ended.
    """
    if suggested is None:
        return life.ends - life.length * (LIFE_LEFT + SPREAD * (1 - chance))
    seconds, share = SHORTEST_USE
    earliest = (life.begins if obtained is None else obtained) + min(seconds, share * life.length)
    latest = life.ends - life.length * LATEST_LEFT
    return min(max(suggested.begins + chance * suggested.length, earliest), latest)


def due(progress: OrderProgress, renew_at: float, cas: Sequence[str], now: float) -> float:
    """When the next attempt begins: when the certificate wants renewal, no wait is left, and a CA may be asked."""
    opens = min((opens_at(progress, ca, now) for ca in cas), default=now)
    wanted = 0.0 if progress.by_hand else renew_at
    return max(wanted, _believed(progress.not_before, now, AFTER_AUTHORIZATION[-1]), opens)


def opens_at(progress: OrderProgress, ca: str, now: float) -> float:
    """From when on a CA may be asked: 0 if at once. Its Retry-After and its limits are kept."""
    failed = _within(progress.failed.get(ca, ()), now, HOUR)
    extras = _within(progress.extras.get(ca, ()), now, WEEK)
    return max(
        _believed(progress.closed.get(ca, 0.0), now, LONGEST_WAIT),
        failed[-FAILURES_AN_HOUR] + HOUR if len(failed) >= FAILURES_AN_HOUR else 0.0,
        extras[-EXTRAS_A_WEEK] + WEEK if len(extras) >= EXTRAS_A_WEEK else 0.0,
    )


def asked_again(retry_after: float) -> float:
    """In how many seconds a CA is asked again when it wants a certificate renewed."""
    return min(max(retry_after or ASKED_AGAIN, LEAST_ASKED), MOST_ASKED)


def may_ask(ask_at: float, now: float) -> bool:
    """Whether it is time to ask a CA again. A time further off than any was set by a clock that was wrong."""
    return not now < ask_at <= now + MOST_ASKED


def begun(progress: OrderProgress, now: float) -> OrderProgress:
    """An attempt begins; this is what is known if nothing is heard of it again."""
    return evolve(progress, not_before=now + INTERRUPTED, by_hand=False)


def reached(progress: OrderProgress, ca: str, stage: Stage, now: float) -> OrderProgress:
    """An attempt is about to cost something at a CA; this is what is known if nothing is heard of it again."""
    return counted(begun(progress, now), Failure(ca, "", stage), now)


def interrupted(progress: OrderProgress, failure: Failure, now: float) -> OrderProgress:
    """An attempt was given up at will: no failure, but what it has cost at the CA is not forgotten.

    Whoever restarts a daemon again and again must not hammer a CA either.
    """
    counts = counted(progress, failure, now)
    return evolve(counts, not_before=max(counts.not_before, now + INTERRUPTED))


def failed(progress: OrderProgress, failures: Sequence[Failure], now: float, chance: float) -> OrderProgress:
    """An attempt has failed at each CA that was asked. `chance` is from 0 to 1."""
    slow = any(failure.stage is not Stage.REACHING for failure in failures)
    after = evolve(
        progress,
        slow=progress.slow + slow,
        early=progress.early + (not slow),
        authorized=progress.authorized + any(failure.stage is Stage.AUTHORIZING for failure in failures),
        error="; ".join(failure.words for failure in failures),
        error_at=now,
        by_hand=False,
    )
    for failure in failures:
        after = counted(after, failure, now)
    wait = _wait(after, slow)
    return evolve(after, not_before=now + wait * (1 + JITTER * chance))


def counted(progress: OrderProgress, failure: Failure, now: float) -> OrderProgress:
    """Take down what a failure means for the limits of its CA, and nothing else."""
    if failure.retry_after > 0:
        until = now + min(failure.retry_after, LONGEST_WAIT)
        progress = evolve(progress, closed={**progress.closed, failure.ca: until})
    match failure.stage:
        case Stage.AUTHORIZING:
            return evolve(progress, failed=_noted(progress.failed, failure.ca, now))
        case Stage.MADE:
            return evolve(progress, extras=_noted(progress.extras, failure.ca, now))
    return progress


def shared(progress: OrderProgress, other: OrderProgress) -> OrderProgress:
    """Take over the failures of another certificate that has a name in common."""
    both = {
        ca: tuple(sorted({*progress.failed.get(ca, ()), *other.failed.get(ca, ())}))
        for ca in {*progress.failed, *other.failed}
    }
    return evolve(progress, failed=both)


def succeeded(progress: OrderProgress, ca: str, now: float, extra: bool) -> OrderProgress:
    """The certificate has come from `ca`; `extra` if the one before was still good: an operator has asked for it, or
    has changed the CA.

    The kind of challenge that has worked is the first to be tried the next time.
    """
    extras = _noted(progress.extras, ca, now) if extra else progress.extras
    return OrderProgress(
        authorized=progress.authorized,
        obtained=now,
        ca=ca,
        closed=progress.closed,
        failed=progress.failed,
        extras=extras,
    )


def asked_by_hand(progress: OrderProgress, cas: Sequence[str], now: float) -> OrderProgress | str:
    """An operator asks to renew now. Gives a sentence if that would break the limits of every CA."""
    opens = min(opens_at(progress, ca, now) for ca in cas)
    if opens > now:
        return f"the CA's limits allow no attempt before {moment(opens)}"
    return evolve(progress, not_before=now, by_hand=True)


def moment(at: float) -> str:
    """A time as it is said in a sentence."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _wait(progress: OrderProgress, slow: bool) -> float:
    if slow:
        return AFTER_AUTHORIZATION[min(progress.slow, len(AFTER_AUTHORIZATION)) - 1]
    waits = BEFORE_AUTHORIZATION + AFTER_AUTHORIZATION
    return waits[min(progress.early, len(waits)) - 1]


def _noted(events: Mapping[str, tuple[float, ...]], ca: str, now: float) -> Mapping[str, tuple[float, ...]]:
    """With one more event. Old ones go by their number alone: by time, a clock that is ahead would forget them."""
    return {**events, ca: (*events.get(ca, ()), now)[-MOST_NOTED:]}


def _within(events: Sequence[float], now: float, period: float) -> tuple[float, ...]:
    """What happened in the last `period` seconds, in order; what lies in the future was noted by a wrong clock."""
    return tuple(sorted(at for at in events if now - period < at <= now))


def _believed(until: float, now: float, longest: float) -> float:
    """The end of a wait, unless a clock that was wrong has put it further than any wait can be."""
    return until if until <= now + longest * (1 + JITTER) else 0.0
