"""What a backend was like in the last day, as spans of time, from the changes in the history."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from facaded.history.past import STARTED, STOPPED
from facaded.history.queries import PastCondition
from facaded.policy.events import EventKind

OFF = "off"
"""facaded did not run."""

UNKNOWN = EventKind.UNKNOWN.value

SPANS = 200
"""Most spans of a backend: the latest ones."""


@frozen
class ConditionSpan:
    """What a backend was like from a time until another: up, degraded, limited, down, unknown, or off."""

    since: float
    until: float
    condition: str


def trace_day(
    rows: Sequence[PastCondition], runs: Sequence[PastCondition], begin: float, current: ConditionSpan
) -> tuple[ConditionSpan, ...]:
    """Return the spans from `begin` to the end of `current`, which is what the backend is like now.

    `rows` are its conditions and `runs` the starts and stops of the daemon, each in their order; both may begin before.
    """
    return tuple(_merge_equal(_spans(_conditions(rows, runs), begin, current)))[-SPANS:]


def sum_seconds(spans: Iterable[ConditionSpan]) -> Mapping[str, float]:
    """Return the seconds of each condition."""
    seconds: dict[str, float] = {}
    for span in spans:
        seconds[span.condition] = seconds.get(span.condition, 0.0) + span.until - span.since
    return seconds


def _conditions(rows: Sequence[PastCondition], runs: Sequence[PastCondition]) -> Iterator[PastCondition]:
    """Yield what the backend was like from when on.

    After a start nothing is known, until a probe; but a backend that was down stays so, without another event.
    """
    last = UNKNOWN
    for row in sorted((*runs, *rows), key=lambda row: row.at):
        if row.kind == STARTED:
            yield PastCondition(row.at, EventKind.DOWN.value if last == EventKind.DOWN.value else UNKNOWN)
        elif row.kind == STOPPED:
            yield PastCondition(row.at, OFF)
        else:
            last = row.kind
            yield row


def _spans(conditions: Iterable[PastCondition], begin: float, current: ConditionSpan) -> Iterator[ConditionSpan]:
    at, kind = begin, UNKNOWN
    for condition in conditions:
        if at < condition.at <= current.since:
            yield ConditionSpan(at, condition.at, kind)
            at = condition.at
        if condition.at <= current.since:
            kind = condition.kind
    if at < current.since:
        yield ConditionSpan(at, current.since, kind)
    yield evolve(current, since=max(current.since, begin))


def _merge_equal(spans: Iterable[ConditionSpan]) -> Iterator[ConditionSpan]:
    last: ConditionSpan | None = None
    for span in spans:
        if last is not None and last.condition == span.condition:
            last = evolve(last, until=span.until)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
