"""What a CA refused, issued and limited, and when it may be asked again: tables and arbitrary histories."""

from random import Random

import pytest
from attrs import evolve
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facaded.tls.acme import ledger, schedule
from facaded.tls.acme.ledger import EXTRAS_A_WEEK, CaLedger, NameHistory, OrderHistory, Pause, Request, Terms
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK, FailureCause, OrderFailure
from facaded.tls.window import Window
from tests.tls.acme.test_schedule import NOW, most_within

CA = "https://first.test/directory"
NAMES = ("a.test",)
LONG = Terms(7.5 * DAY)
"""The renewal of a certificate for 90 days is due."""


def fail(
    book: CaLedger, cause: FailureCause, now: float = NOW, retry_after: float = 0, limited: bool = False
) -> CaLedger:
    return ledger.fail(book, NAMES, OrderFailure(CA, "no", cause, retry_after, limited), now, 0)


def available(book: CaLedger, terms: Terms = LONG, now: float = NOW, names: tuple[str, ...] = NAMES) -> float:
    return ledger.available_at(book, names, terms, now)


EMPTY = CaLedger(ca=CA)


def test_each_cause_has_its_own_waits() -> None:
    book = fail(fail(fail(EMPTY, FailureCause.REFUSED), FailureCause.REFUSED), FailureCause.UNAVAILABLE)
    history = book.history(NAMES)
    assert (history.refused, history.unavailable, history.attempts) == (2, 1, 3)
    assert history.retry == Pause(NOW, NOW + MINUTE)


def test_a_success_ends_the_waits_and_keeps_what_counts_against_limits() -> None:
    book = fail(fail(EMPTY, FailureCause.UNVALIDATED), FailureCause.UNUSABLE)
    book = ledger.succeed(book, NAMES, NOW + 1, extra=False)
    history = book.history(NAMES)
    assert (history.attempts, history.error, history.retry, history.obtained) == (0, None, Pause(), NOW + 1)
    assert history.turn == 1, "the kind of challenge that worked"
    assert book.names == {"a.test": NameHistory((NOW,), (NOW,))}


def test_a_success_elsewhere_ends_the_waits_but_no_limit() -> None:
    book = fail(fail(EMPTY, FailureCause.UNVALIDATED), FailureCause.REFUSED, retry_after=HOUR, limited=True)
    forgiven = ledger.forgive(book, NAMES)
    assert (forgiven.history(NAMES).attempts, forgiven.history(NAMES).error) == (0, None)
    assert available(forgiven) == NOW + HOUR
    assert ledger.forgive(forgiven, NAMES) is forgiven


@pytest.mark.parametrize(
    ("longest", "retry_after", "wait"),
    [
        (7.5 * DAY, 10, 60),
        (7.5 * DAY, 3 * HOUR, 3 * HOUR),
        (7.5 * DAY, 99999999, 6 * HOUR),
        (2 * HOUR, 99999999, 2 * HOUR),
    ],
)
def test_the_retry_after_of_an_error_is_followed_within_a_quarter_of_the_life(
    longest: float, retry_after: float, wait: float
) -> None:
    assert available(fail(EMPTY, FailureCause.UNAVAILABLE, retry_after=retry_after), Terms(longest)) == NOW + wait


@pytest.mark.parametrize(("retry_after", "wait"), [(3 * HOUR, 3 * HOUR), (99999999, WEEK)])
def test_the_retry_after_of_a_rate_limit_is_obeyed_for_a_week(retry_after: float, wait: float) -> None:
    book = fail(EMPTY, FailureCause.REFUSED, retry_after=retry_after, limited=True)
    for request in Request:
        assert available(book, Terms(MINUTE, request=request)) == NOW + wait


def test_a_rate_limit_stops_other_names_within_a_quarter_of_their_life() -> None:
    book = fail(EMPTY, FailureCause.REFUSED, retry_after=3 * DAY, limited=True)
    assert available(book, Terms(2 * HOUR), names=("b.test",)) == NOW + 2 * HOUR
    assert available(book, LONG, names=("b.test",)) == NOW + 6 * HOUR


def test_our_own_wait_shrinks_with_the_life_that_is_left() -> None:
    book = EMPTY
    for _ in range(8):
        book = fail(book, FailureCause.REFUSED)
    assert available(book, LONG) == NOW + 6 * HOUR
    assert available(book, Terms(30 * MINUTE)) == NOW + 30 * MINUTE


def test_a_request_overrides_our_wait_and_a_forced_one_all_but_rate_limits() -> None:
    book = fail(EMPTY, FailureCause.UNVALIDATED)
    assert available(book) == NOW + 10 * MINUTE
    assert available(book, evolve(LONG, request=Request.RENEWAL)) <= NOW
    for count in range(3):
        book = fail(book, FailureCause.UNVALIDATED, NOW + count)
    assert available(book, evolve(LONG, request=Request.RENEWAL)) == NOW + HOUR + MINUTE
    assert available(book, evolve(LONG, request=Request.FORCED)) <= NOW
    busy = fail(EMPTY, FailureCause.UNAVAILABLE, retry_after=HOUR)
    assert available(busy, evolve(LONG, request=Request.RENEWAL)) == NOW + HOUR
    assert available(busy, evolve(LONG, request=Request.FORCED)) <= NOW


def test_the_limit_of_failed_authorizations_counts_a_name_whichever_certificate_has_it() -> None:
    book = EMPTY
    for count in range(4):
        book = book.with_failures(("a.test", "b.test"), NOW + count)
    assert available(book, names=("b.test", "c.test"), now=NOW + 5) == NOW + HOUR + MINUTE
    assert available(book, evolve(LONG, is_in_flight=True), names=("b.test",), now=NOW + 5) <= NOW


def test_certificates_outside_the_schedule_stop_requests_but_no_renewal_that_is_due() -> None:
    book = EMPTY
    for _ in range(EXTRAS_A_WEEK):
        book = ledger.succeed(book, NAMES, NOW, extra=True)
    requested = Terms(DAY, is_due=False, request=Request.RENEWAL)
    assert available(book, requested) == NOW + WEEK + MINUTE
    assert available(book, evolve(requested, is_due=True)) <= NOW
    assert available(book, evolve(requested, is_public=False)) <= NOW
    assert available(book, evolve(requested, request=Request.FORCED)) <= NOW
    assert ledger.refusal(book, NAMES, requested, NOW) == (
        "the CA's limits allow no attempt before 2027-01-22 08:01 UTC: wait, or renew with --force"
    )


def test_a_refusal_for_a_rate_limit_does_not_propose_force() -> None:
    book = fail(EMPTY, FailureCause.REFUSED, retry_after=HOUR, limited=True)
    requested = evolve(LONG, request=Request.RENEWAL)
    assert ledger.refusal(book, NAMES, requested, NOW) == ("the CA allows no attempt before 2027-01-15 09:00 UTC (429)")
    assert ledger.refusal(book, NAMES, requested, NOW + 2 * HOUR) is None


def test_a_failed_renewal_by_hand_delays_none_that_is_due() -> None:
    failure = OrderFailure(CA, "no", FailureCause.REFUSED)
    history = ledger.fail(EMPTY, NAMES, failure, NOW, 0, is_due=False).history(NAMES)
    assert (history.attempts, history.error) == (0, "no")


def test_an_attempt_that_did_not_finish_is_not_repeated_immediately() -> None:
    assert available(ledger.begin(EMPTY, NAMES, NOW)) == NOW + MINUTE / 2


def test_a_wait_that_a_wrong_clock_began_in_the_future_is_ignored() -> None:
    book = fail(EMPTY, FailureCause.REFUSED, NOW + 365 * DAY, retry_after=HOUR)
    assert available(book) == 0


def test_a_clock_that_is_ahead_for_a_while_does_not_drop_events() -> None:
    book = EMPTY
    for _ in range(4):
        book = fail(book, FailureCause.UNVALIDATED)
    book = fail(book, FailureCause.UNVALIDATED, NOW + 365 * DAY)
    assert available(book, now=NOW + MINUTE) == NOW + HOUR + MINUTE


def test_a_ledger_is_bounded_and_drops_what_left_the_settings_first() -> None:
    orders = {f"{number}.test": OrderHistory(wanted=NOW + number) for number in range(ledger.MAX_HISTORIES + 10)}
    names = {f"{number}.test": NameHistory((NOW + number,)) for number in range(ledger.MAX_NAMES + 10)}
    pruned = ledger.prune(CaLedger(ca=CA, orders=orders, names=names), ["0.test"])
    assert len(pruned.orders) == ledger.MAX_HISTORIES
    assert len(pruned.names) == ledger.MAX_NAMES
    assert {"0.test", "1009.test"} <= {*pruned.orders}
    assert "1.test" not in pruned.orders
    assert {"0.test", "10009.test"} <= {*pruned.names}
    assert "1.test" not in pruned.names
    assert ledger.prune(pruned, ["0.test"]) is pruned


@settings(max_examples=25)
@given(
    outcomes=st.lists(st.sampled_from([*FailureCause, None]), min_size=1, max_size=12),
    validity=st.sampled_from([160 * HOUR, 45 * DAY, 90 * DAY]),
    impatient=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_thirty_days_of_arbitrary_outcomes_stay_within_the_limits(
    outcomes: list[FailureCause | None], validity: float, impatient: bool, seed: int
) -> None:
    """The outcomes repeat; None is a success. An impatient operator requests a renewal every ten minutes.

    Certificates are counted beyond those that were due: a CA that issues only unusable ones is asked nevertheless.
    """
    # If no outcome counts against a limit, an impatient operator makes half a million attempts that test nothing.
    assume(not impatient or {FailureCause.UNVALIDATED, None} & {*outcomes})
    random = Random(seed)
    book, current = EMPTY, Window(NOW - validity, NOW + DAY)
    refused: list[float] = []
    extras: list[float] = []
    now, attempt = NOW, 0
    while now < NOW + 30 * DAY:
        renewal = schedule.renewal_time(current, None, random.random())
        terms = Terms(schedule.longest_wait(current, now), renewal <= now)
        requested = evolve(terms, request=Request.RENEWAL)
        by_hand = impatient and ledger.refusal(book, NAMES, requested, now) is None
        at = now if by_hand else max(renewal, available(book, terms, now))
        if at > now:
            now = min(at, now + 10 * MINUTE) if impatient else at
            continue
        outcome, attempt = outcomes[attempt % len(outcomes)], attempt + 1
        book = ledger.begin(book, NAMES, now)
        now += 5
        if outcome is None:
            extras += [now] * (not terms.is_due)
            book = ledger.succeed(book, NAMES, now, not terms.is_due)
            current = Window(now, now + validity)
            continue
        refused += [now] * (outcome is FailureCause.UNVALIDATED)
        extras += [now] * (outcome is FailureCause.UNUSABLE and not terms.is_due)
        failure = OrderFailure(CA, "no", outcome)
        book = ledger.fail(book, NAMES, failure, now, random.random(), terms.is_due)
    assert most_within(refused, HOUR) < 5
    assert most_within(extras, WEEK) < 5
