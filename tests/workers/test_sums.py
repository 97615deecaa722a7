"""Whatever several processes count, in whatever order they report it: the sums are those of one that counts it all."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from facaded.backends.measurements import TokenResult
from facaded.oci.requests import ManifestRead
from facaded.policy.health import Step
from facaded.policy.limits import Limit
from facaded.policy.network_hosts import HostPurpose
from facaded.web.answered_requests import Decision, Kind, Outcome
from tests.workers.counting import First, Worker

Event = Callable[[Worker], None]

NAMES = st.sampled_from(["main", "second"])
DURATIONS = st.sampled_from([0.0, 0.0078125, 0.5, 64.0])
"""Sums of these are exact, in any order."""


def answer(decision: Decision, status: int, seconds: float) -> Event:
    return lambda worker: worker.answer(decision, status, seconds)


def ask_backend(name: str, step: Step, seconds: float) -> Event:
    def ask(worker: Worker) -> None:
        with worker.work.measurements.measured(name)(step):
            worker.clock.advance(seconds)

    return ask


def ask_again(tag: str) -> Event:
    def ask(worker: Worker) -> None:
        worker.clock.advance(4096)
        for _ in range(2):
            worker.clock.advance(4)
            worker.front.ask(worker.clock.seconds(), "HEAD", ManifestRead("org/app", tag))

    return ask


def note_host(url: str, host: str) -> Event:
    return lambda worker: worker.work.hosts.note(url, HostPurpose.CDN, f"https://{host}.test/")


def use_cache(use: str) -> Event:
    def count(worker: Worker) -> None:
        uses = worker.work.measurements.cache_uses
        setattr(uses, use, getattr(uses, use) + 1)

    return count


def lose_line(worker: Worker) -> None:
    worker.output.lost_lines += 1


def relay(worker: Worker) -> None:
    worker.sites["listen.https"].relayed_bytes += 1000


DECISIONS = st.builds(
    Decision,
    st.sampled_from(Kind),
    st.sampled_from(Outcome),
    st.none() | NAMES | st.just("gone"),
    st.just("org/app"),
    st.sampled_from(["v1", "v2", "sha256:" + "a" * 64]),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(answer, DECISIONS, st.sampled_from([200, 307, 404, 599]), DURATIONS),
    st.builds(ask_backend, NAMES, st.sampled_from(Step), DURATIONS),
    st.builds(
        lambda name, result: lambda worker: worker.work.measurements.note_token(name, result),
        NAMES,
        st.sampled_from(TokenResult),
    ),
    st.builds(lambda limit: lambda worker: worker.work.limits.note(limit, "192.0.2.7"), st.sampled_from(Limit)),
    st.builds(use_cache, st.sampled_from(["hits", "confirmed", "misses"])),
    st.builds(
        note_host,
        st.sampled_from(["https://main.test", "https://second.test", "https://gone.test"]),
        st.sampled_from("abc"),
    ),
    st.builds(ask_again, st.sampled_from(["v1", "v2"])),
    st.sampled_from([lose_line, relay]),
)


def facts(first: First) -> dict[str, Any]:
    """Return everything that the first process has learned, but for what depends on the order or the clock."""
    limits = first.measured.watching.watch.reached_limits.all()
    return {
        "numbers": first.numbers(),
        "limits": {limit: reached.count for limit, reached in limits.items()},
        "hosts": list(
            first.hosts.named({name: backend.url for name, backend in first.measured.rules.backends.items()})
        ),
        "asked again": first.asked_again.returns().count,
        "pulls": {*first.pulls.recent.images()},
    }


@given(st.lists(st.tuples(st.integers(0, 2), EVENTS, st.booleans()), max_size=60))
def test_the_sums_over_workers_are_those_of_one_that_counts_everything(
    events: list[tuple[int, Event, bool]],
) -> None:
    several, alone = First(), First()
    workers, only = [Worker(), Worker(), Worker()], Worker()
    for number, event, reports in events:
        event(workers[number])
        event(only)
        if reports and (body := workers[number].collect()):
            several.reports.add(number + 1, body)
    several.add(*workers)
    alone.add(only)
    try:
        assert facts(several) == facts(alone)
    finally:
        several.stop()
        alone.stop()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["main", "CDN", "manifest"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A report with something else in one place."""
    worker = Worker()
    worker.answer()
    for event in draw(st.lists(EVENTS, max_size=5)):
        event(worker)
    worker.work.accounts.note("main", "", "its account was refused")
    body: Any = worker.collect()
    place, path = body, draw(st.integers(0, 3))
    for _ in range(path):
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [name for name in names if isinstance(place[name], dict | list) and place[name]]
        if not inner:
            break
        place = place[draw(st.sampled_from(inner))]
    place[draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))] = draw(JSON)
    report: dict[str, Any] = body
    return report


@given(damaged() | st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_no_report_is_an_error_and_metrics_can_be_written_after_any(body: dict[str, Any]) -> None:
    first = First()
    try:
        first.reports.add(1, body)
        assert all(isinstance(value, tuple | int | float) for value in first.numbers().values())
        first.measured.metrics.worker_statuses()
        for limit in first.measured.watching.watch.reached_limits.all().values():
            assert limit.subject.isprintable()
    finally:
        first.stop()
