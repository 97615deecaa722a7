"""What a backend was like in the last day."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from facaded.admin.day_strip import OFF, SPANS, UNKNOWN, ConditionSpan, sum_seconds, trace_day
from facaded.history.past import STARTED, STOPPED
from facaded.history.queries import CONDITIONS, PastCondition

BEGIN, NOW = 1000.0, 87_400.0


def trace(rows: list[tuple[float, str]], runs: list[tuple[float, str]], since: float, condition: str) -> list[object]:
    spans = trace_day(
        [PastCondition(*row) for row in rows],
        [PastCondition(*row) for row in runs],
        BEGIN,
        ConditionSpan(since, NOW, condition),
    )
    return [(span.since, span.until, span.condition) for span in spans]


def test_what_was_before_the_day_is_in_force_at_its_begin() -> None:
    assert trace([(10.0, "up")], [(5.0, STARTED)], 10.0, "up") == [(BEGIN, NOW, "up")]


def test_an_outage_is_a_span_of_its_own() -> None:
    rows = [(10.0, "up"), (5000.0, "down"), (6000.0, "up")]
    assert trace(rows, [], 6000.0, "up") == [(BEGIN, 5000.0, "up"), (5000.0, 6000.0, "down"), (6000.0, NOW, "up")]


def test_while_the_daemon_is_off_and_until_the_first_probe_nothing_is_known() -> None:
    rows = [(10.0, "up"), (3005.0, "up")]
    runs = [(2000.0, STOPPED), (3000.0, STARTED)]
    assert trace(rows, runs, 3005.0, "up") == [
        (BEGIN, 2000.0, "up"),
        (2000.0, 3000.0, OFF),
        (3000.0, 3005.0, UNKNOWN),
        (3005.0, NOW, "up"),
    ]


def test_a_backend_that_was_down_stays_down_over_a_restart() -> None:
    rows, runs = [(1500.0, "down")], [(2000.0, STOPPED), (3000.0, STARTED)]
    assert trace(rows, runs, 9000.0, "up") == [
        (BEGIN, 1500.0, UNKNOWN),
        (1500.0, 2000.0, "down"),
        (2000.0, 3000.0, OFF),
        (3000.0, 9000.0, "down"),
        (9000.0, NOW, "up"),
    ]


def test_what_is_not_yet_in_the_history_is_there_too() -> None:
    assert trace([(10.0, "up")], [], NOW - 2, "down") == [(BEGIN, NOW - 2, "up"), (NOW - 2, NOW, "down")]


TIMES = st.floats(0, NOW)
ROWS = st.lists(st.tuples(TIMES, st.sampled_from(CONDITIONS)), max_size=30)
RUNS = st.lists(st.tuples(TIMES, st.sampled_from([STARTED, STOPPED])), max_size=10)


@given(ROWS, RUNS, TIMES, st.sampled_from(CONDITIONS))
def test_spans_follow_each_other_without_gaps(
    rows: list[tuple[float, str]], runs: list[tuple[float, str]], since: float, condition: str
) -> None:
    conditions = [PastCondition(*row) for row in sorted(rows)]
    spans = trace_day(
        conditions, [PastCondition(*run) for run in sorted(runs)], BEGIN, ConditionSpan(since, NOW, condition)
    )
    assert (spans[0].since, spans[-1].until, spans[-1].condition) == (BEGIN, NOW, condition)
    for span, following in pairwise(spans):
        assert span.since < span.until == following.since
        assert span.condition != following.condition
    assert abs(sum(sum_seconds(spans).values()) - (NOW - BEGIN)) < 0.001


def test_a_backend_that_flaps_has_a_bounded_number_of_spans() -> None:
    rows = [PastCondition(BEGIN + number, "down" if number % 2 else "up") for number in range(1, 5000)]
    assert len(trace_day(rows, [], BEGIN, ConditionSpan(NOW - 1, NOW, "limited"))) == SPANS
