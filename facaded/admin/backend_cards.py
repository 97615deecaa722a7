"""The part of the status page about one backend: state, last day, steps of its probes, and what to know of it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from facaded.admin.day_strip import ConditionSpan, sum_seconds
from facaded.admin.overview import BackendOverview, Overview
from facaded.admin.page_pieces import (
    ABSENT,
    UtcTimes,
    bullets,
    definitions,
    milliseconds,
    state_badge,
    table,
    time_element,
    time_with_age,
)
from facaded.admin.status import BackendStatus, Status
from facaded.admin.status_text import backend_notes
from facaded.admin.utc_times import DAY, age
from facaded.policy.events import EventKind
from facaded.policy.health import Purpose, Verdict
from facaded.policy.reasons import DEGRADED
from facaded.web.markup import Content, Html, element

CELLS = 144
"""Parts of the strip of a day: 10 minutes each, which have the worst condition in them, so that none is too small."""

WORST_FIRST = (EventKind.DOWN.value, DEGRADED, EventKind.LIMITED.value, EventKind.UP.value)
"""The conditions of a part of the strip: the first one counts. After them come those without a probe."""

HEIGHTS = {EventKind.DOWN.value: 24, DEGRADED: 18, EventKind.LIMITED.value: 18, EventKind.UP.value: 8}
"""The heights of the bars in the strip, of 24: what is worse is higher, so that no colour is needed. Others have 2."""

LOWEST = 2

PURPOSES = {Purpose.REDIRECT.value: "redirects", Purpose.SERVE.value: "serving"}

UNUSED = "No route uses this backend."


def backend_card(backend: BackendStatus, measured: BackendOverview | None, overview: Overview) -> Html:
    """Return the card of a backend; `measured` is None if no route uses it."""
    if measured is None or backend.state is None or backend.since is None:
        return _card(backend, state_badge("not used"), element("p", UNUSED, class_="nothing"))
    now = overview.at
    state = DEGRADED if backend.degraded_since and backend.state == EventKind.UP.value else backend.state
    since = backend.degraded_since if state == DEGRADED and backend.degraded_since else backend.since
    return _card(
        backend,
        state_badge(state),
        element("p", _activity(overview.status, backend.name), _overrides(backend, overview.status)),
        element("p", f"{state.capitalize()} since ", time_with_age(since, now), class_="since"),
        _strip(measured.day),
        _steps(measured, now),
        definitions(_facts(backend, measured, now)),
        bullets(_notes(backend, overview)),
    )


def _card(backend: BackendStatus, badge: Html, *contents: Content) -> Html:
    name = element("h3", element("span", backend.name), badge)
    return element("article", name, element("p", backend.url, class_="url"), *contents, class_="backend")


def _activity(status: Status, name: str) -> Html:
    """Say what the backend is active for."""
    places: dict[str, list[str]] = {}
    for route in status.routes:
        if route.backend == name:
            places.setdefault(", ".join(route.repositories), []).append(PURPOSES.get(route.purpose, route.purpose))
    if not places:
        return element("span", "Not active")
    several = len({route.repositories for route in status.routes}) > 1
    sentences = [
        " and ".join(purposes) + (f" of {repositories or 'all others'}" if several else "")
        for repositories, purposes in places.items()
    ]
    return element("strong", f"Active for {'; '.join(sentences)}", class_="active")


def _overrides(backend: BackendStatus, status: Status) -> str:
    return (", pinned" if backend.name in status.pins else "") + (", drained" if backend.drained else "")


def _facts(backend: BackendStatus, measured: BackendOverview, now: float) -> Iterator[tuple[str, Content]]:
    next_probe = "now" if measured.next_probe is None else f"in {age(max(measured.next_probe - now, 0.0))}"
    yield "Next probe", next_probe
    minutes = f"{measured.window / 60:.0f} min"
    if measured.sent:
        share = 100 * measured.failed / measured.sent
        yield f"Failed in {minutes}", f"{share:.3g} % ({measured.failed} of {measured.sent})"
    for asker, quota in backend.pulls_left.items():
        limit = "" if quota.limit is None else f" of {quota.limit}"
        yield f"Pulls left, {asker}", f"{quota.remaining}{limit}"
    if backend.limited_until is not None:
        yield "Limited until", time_element(backend.limited_until, now)


def _steps(measured: BackendOverview, now: float) -> Content:
    if not measured.steps:
        return element("p", "Not probed yet.", class_="nothing")
    rows = [
        (
            (step.step, element("span", " failed", class_="failed") if step.failed else ""),
            ABSENT if step.latency is None else milliseconds(step.latency),
            "never" if step.last_success is None else f"{age(max(now - step.last_success, 0.0))} ago",
        )
        for step in measured.steps
    ]
    return table("Probes", ("Step", "Latency#", "Last success#"), rows, "steps")


def _notes(backend: BackendStatus, overview: Overview) -> Iterator[str]:
    """Say what `facaded status` says, and what failed last."""
    times = UtcTimes(overview.at)
    prefix = f"{backend.name}: "
    is_failing = backend.last is not None and backend.last.verdict != Verdict.GOOD.value  # which its state explains
    if backend.failed is not None and backend.failed.at is not None and not is_failing:
        at = times.show(backend.failed.at)
        yield f"last failure {at}, at {backend.failed.step}: {backend.failed.reason}"
    yield from (note.removeprefix(prefix) for note in backend_notes(backend, overview.status, times))


def _strip(day: Sequence[ConditionSpan]) -> Content:
    """Return the last 24 hours as a picture, and in words."""
    if not day:
        return ()
    end = day[-1].until
    conditions = [_worst(day, end - DAY + DAY * cell / CELLS, DAY / CELLS) for cell in range(CELLS)]
    bars: list[Html] = []
    x = 0
    for condition, group in groupby(conditions):
        width = len(list(group))
        height = HEIGHTS.get(condition, LOWEST)
        class_ = condition if condition in HEIGHTS else "unknown"
        bars.append(element("rect", x=x, y=24 - height, width=width, height=height, class_=class_))
        x += width
    words = _summarise(day)
    picture = element("svg", bars, viewBox=f"0 0 {CELLS} 24", preserveAspectRatio="none", aria_hidden="true")
    return element("figure", picture, element("figcaption", f"Last 24 h: {words}"))


def _worst(day: Iterable[ConditionSpan], begin: float, seconds: float) -> str:
    conditions = {span.condition for span in day if span.since < begin + seconds and span.until > begin}
    return next((condition for condition in WORST_FIRST if condition in conditions), "")


def _summarise(day: Sequence[ConditionSpan]) -> str:
    """Say for how long the backend was in each condition: up in percent, if most of the day is known."""
    seconds = sum_seconds(day)
    probed = {condition: seconds[condition] for condition in WORST_FIRST if condition in seconds}
    whole = sum(probed.values())
    up = probed.pop(EventKind.UP.value, 0.0)
    first = f"up {_percent(up / whole)} %" if whole > DAY / 2 else f"up {age(up)}"
    unknown = DAY - whole
    others = [*probed.items(), *([("not known", unknown)] if unknown > 60 else [])]
    return ", ".join([first, *(f"{condition} {age(length)}" for condition, length in others)])


def _percent(part: float) -> str:
    """Return a part in percent, which is 100 only if it is all."""
    return "100" if part == 1 else f"{min(100 * part, 99.99):.2f}".rstrip("0").rstrip(".")
