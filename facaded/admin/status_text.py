"""The status document as text for a terminal: what is active, the backends, their last failures, and warnings."""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from textwrap import TextWrapper
from typing import TypeAlias

from attrs import frozen

from facaded.admin.printed_times import PrintedTimes
from facaded.admin.processes import UP
from facaded.admin.status import (
    BackendStatus,
    CertificateStatus,
    FailureStatus,
    OverrideStatus,
    RouteStatus,
    Status,
    WorkerStatus,
)
from facaded.policy.health import Purpose, State, Verdict
from facaded.policy.reasons import spell
from facaded.tls.certificates import SELF_SIGNED

COLUMNS = ("NAME", "STATE", "SINCE", "AGE", "URL")

WIDTH = 80
"""Columns of a terminal. Only a single word that is longer, such as a URL, exceeds it."""

LEAST_WIDTH = 20
"""Columns below which lines are not wrapped any narrower."""

CELL_WIDTH = 24
"""Columns to which a long cell widens its column: a longer name shifts its own row only."""


class Tone(Enum):
    """How good a line is. The value is its colour on a terminal, as a parameter of SGR (ECMA-48 §8.3.117)."""

    PLAIN = ""
    GOOD = "32"
    WARNING = "33"
    BAD = "31"

    def paint(self, line: str) -> str:
        """Return the line in its colour."""
        return f"\x1b[{self.value}m{line}\x1b[0m" if self.value else line


TONES = {"green": Tone.GOOD, "amber": Tone.WARNING, "red": Tone.BAD}
"""The tones of the levels of a headline."""


@frozen
class Appearance:
    """What the text is for: the present time in seconds since the epoch, the columns, and whether it has colours.

    Without the time, no ages are shown.
    """

    now: float | None = None
    width: int = WIDTH
    has_colours: bool = False


Line: TypeAlias = tuple[str, Tone]
"""A line before it is wrapped, and its tone."""

DEFAULT_APPEARANCE = Appearance()


def text(status: Status, appearance: Appearance = DEFAULT_APPEARANCE) -> str:
    """Return the status as lines that fit the appearance's width, in printable characters and colours.

    The document may come from a daemon of another version, so any text and any number in it is possible.
    """
    times = PrintedTimes(appearance.now)
    sections = [
        [(status.why, _overall_tone(status)), *_plain(route_notes(status))],
        _table(status, times),
        [(_probe(backend, times), _tone(backend)) for backend in status.backends if backend.state is not None],
        [
            *((f"warning: {warning}", Tone.WARNING) for warning in status.warnings),
            *_plain(_notes(status, times)),
            *_certificates(status, times),
        ],
    ]
    return "\n\n".join("\n".join(_wrap(lines, appearance)) for lines in sections if lines)


def _wrap(lines: Iterable[Line], appearance: Appearance) -> Iterator[str]:
    wrapper = TextWrapper(
        max(appearance.width, LEAST_WIDTH), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    for line, tone in lines:
        for wrapped in wrapper.wrap("".join(map(_printable, line))):
            yield tone.paint(wrapped) if appearance.has_colours else wrapped


def _plain(lines: Iterable[str]) -> Iterator[Line]:
    return ((line, Tone.PLAIN) for line in lines)


def _overall_tone(status: Status) -> Tone:
    """Return the tone of the first line: that of the headline; an older daemon's status has none."""
    if status.headline is not None:
        return TONES.get(status.headline.level, Tone.PLAIN)
    in_use = [backend for backend in status.backends if backend.state is not None]
    if in_use and all(backend.state == State.DOWN.value for backend in in_use):
        return Tone.BAD
    return Tone.WARNING if status.is_bad_news else Tone.GOOD


def _tone(backend: BackendStatus) -> Tone:
    if backend.state == State.DOWN.value:
        return Tone.BAD
    is_well = backend.state == State.UP.value and not (backend.degraded_since or backend.drained or backend.drift)
    return Tone.GOOD if is_well else Tone.PLAIN if backend.state is None else Tone.WARNING


def _printable(character: str) -> str:
    """Replace what could move the cursor or colour the terminal."""
    if character.isprintable():
        return character
    return " " if character.isspace() else "?"


def route_notes(status: Status) -> Iterator[str]:
    """Say which backend is active where that differs from the first line."""
    for route in status.routes:
        repositories = ", ".join(route.repositories)
        if route.purpose == Purpose.SERVE.value and route.backend != _active_for_redirects(status, route):
            yield f"for serving{f' {repositories}' if repositories else ''}, {route.why}"
        elif route.purpose == Purpose.REDIRECT.value and repositories:
            yield f"for {repositories}, {route.why}"


def _active_for_redirects(status: Status, serving: RouteStatus) -> str | None:
    """Return the active backend for redirects of the same route; None if the document does not say."""
    for route in status.routes:
        if route.purpose == Purpose.REDIRECT.value and route.repositories == serving.repositories:
            return route.backend
    return None


def _table(status: Status, times: PrintedTimes) -> list[Line]:
    rows = [COLUMNS, *(_row(backend, backend.name in status.pins, times) for backend in status.backends)]
    *columns, urls = zip(*rows, strict=True)
    if times.now is None:
        del columns[COLUMNS.index("AGE")]
    widths = [max(min(len(cell), CELL_WIDTH) for cell in column) for column in columns]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), url])
        for *cells, url in zip(*columns, urls, strict=True)
    ]
    return list(zip(lines, [Tone.PLAIN, *map(_tone, status.backends)], strict=True))


def _row(backend: BackendStatus, pinned: bool, times: PrintedTimes) -> tuple[str, str, str, str, str]:
    if backend.state is None:
        return backend.name, "not used", "-", "-", backend.url
    marks = {
        "degraded": backend.degraded_since,
        "pinned": pinned,
        "drained": backend.drained,
        "drift": backend.drift,
    }
    state = ", ".join([backend.state, *(mark for mark, is_set in marks.items() if is_set)])
    if backend.since is None:
        return backend.name, state, "-", "-", backend.url
    return backend.name, state, times.date(backend.since), times.age(backend.since), backend.url


def _probe(backend: BackendStatus, times: PrintedTimes) -> str:
    """Return what the latest probe of a backend saw, and its last failure."""
    last, failure = backend.last, backend.failed
    if last is None or last.verdict is None:
        return f"{backend.name}: not probed yet"
    if last.verdict != Verdict.GOOD.value:
        verb = "limited" if last.verdict == Verdict.LIMITED.value else "failed"
        at = f" ({times.show_aside(failure.at)})" if failure and failure.at is not None else ""
        return f"{backend.name}: {verb} at {last.step}: {last.reason}{at}"
    passed = f"{backend.name}: OK, all steps passed"
    return f"{passed}; last failure{_failure(failure, times)}" if failure else passed


def _failure(failure: FailureStatus, times: PrintedTimes) -> str:
    at = f" {times.show(failure.at)}" if failure.at is not None else ""
    return f"{at} at {failure.step}: {failure.reason}"


def _notes(status: Status, times: PrintedTimes) -> Iterator[str]:
    """What an operator should know of the routing and the backends, a sentence each."""
    if len(status.workers) > 1:
        yield _workers(status.workers)
    if status.handover_until is not None:
        until = times.show(status.handover_until)
        yield f"handover until {until}: manifests and blobs for Docker are served, not redirected"
    for backend in status.backends:
        if backend.state is not None:
            yield from backend_notes(backend, status, times)
            yield from _pull_notes(backend, times)
    for name, since in status.stale_names.items():
        yield f"{name} has not resolved since {times.show(since)}: its last known addresses are used"
    if status.asked_again.count:
        count = _times(status.asked_again.count)
        yield f"clients were served because they asked again after a redirect: {count}"
    for one in status.asked_again.latest:
        yield f"{one.why}, until {times.show(one.until)}"
    for limit in status.limits:
        yield f"limit reached: {limit.name}, {_times(limit.count)}, last {times.show(limit.last)} by {limit.subject}"


def _workers(workers: Sequence[WorkerStatus]) -> str:
    """Return what all processes do together, and which of them do not answer clients."""
    up = sum(worker.state == UP for worker in workers)
    connections = sum(worker.connections for worker in workers)
    requests = sum(worker.requests for worker in workers)
    missing = "".join(f"; worker {worker.number} is {worker.state}" for worker in workers if worker.state != UP)
    return f"workers: {up} of {len(workers)} up, {connections} connections, {requests} requests{missing}"


def backend_notes(backend: BackendStatus, status: Status, times: PrintedTimes) -> Iterator[str]:
    """Return a sentence for each thing that an operator should know of a backend, the reason of its state first."""
    name, pin = backend.name, status.pins.get(backend.name)
    if backend.why:
        yield backend.why
    if pin:
        yield from _override(name, "pinned", pin, times)
    if backend.drained:
        yield from _override(name, "drained", backend.drained, times)
    if backend.drift:
        yield f"{name}: drift: {backend.drift}"
    if backend.relapses:
        yield f"{name}: relapsed {backend.relapses} times, fails back after {_duration(backend.failback_after)} up"
    if backend.account is not None:
        yield f"{name}: {backend.account.problem} (since {times.show_aside(backend.account.since)})"


def _pull_notes(backend: BackendStatus, times: PrintedTimes) -> Iterator[str]:
    name = backend.name
    if backend.limited_until is not None:
        yield f"{name}: limited until {times.show(backend.limited_until)} at the latest"
    for asker, quota in backend.pulls_left.items():
        limit = f" of {quota.limit} in {_duration(quota.window)}" if quota.limit is not None else ""
        yield f"{name}: {quota.remaining} pulls left{limit} for this machine's {asker}"


def _override(name: str, what: str, override: OverrideStatus, times: PrintedTimes) -> Iterator[str]:
    """Say when an override ends, and why it is there, as far as there is something to say."""
    end = "" if override.until is None else f" until {times.show(override.until)}"
    reason = f": {override.reason}" if override.reason else ""
    if end or reason:
        yield f"{name}: {what}{end}{reason}"


def _certificates(status: Status, times: PrintedTimes) -> Iterator[Line]:
    attempts = [
        certificate.next_renewal
        for certificate in status.certificates
        if certificate.until is None and certificate.next_renewal is not None
    ]
    attempt = _next_attempt(min(attempts, default=None), times)
    for certificate in status.certificates:
        if certificate.source == SELF_SIGNED:
            yield f"{_names(certificate)}: temporary self-signed certificate{attempt}", Tone.WARNING
        elif certificate.until is None:
            error = f": {certificate.error}{_attempts(certificate, times)}" if certificate.error else " yet"
            next_attempt = _next_attempt(certificate.next_renewal, times)
            yield f"{_names(certificate)}: no certificate from {certificate.source}{error}{next_attempt}", Tone.BAD
        else:
            tone = _certificate_tone(certificate)
            lines = _certificate(certificate, _names(certificate), times.show(certificate.until), times)
            yield from ((line, tone) for line in lines)


def _certificate_tone(certificate: CertificateStatus) -> Tone:
    if certificate.expired:
        return Tone.BAD
    return Tone.WARNING if certificate.error or certificate.expires_soon else Tone.PLAIN


def _certificate(certificate: CertificateStatus, names: str, end: str, times: PrintedTimes) -> Iterator[str]:
    """Say when a certificate in service expires and is renewed, and what is wrong with it."""
    renewal = f", renewal {times.show(certificate.next_renewal)}" if certificate.next_renewal is not None else ""
    expires = "EXPIRED" if certificate.expired else "expires"
    yield f"{names}: certificate {expires} {end}{renewal} (by {certificate.issuer}, from {certificate.source})"
    if certificate.suggested_from is not None and certificate.suggested_until is not None:
        window = f"{times.show(certificate.suggested_from)} to {times.show(certificate.suggested_until)}"
        reason = f" ({certificate.suggested_because})" if certificate.suggested_because else ""
        yield f"{names}: the authority suggests a renewal from {window}{reason}"
    if certificate.error:
        yield f"{names}: certificate not replaced: {certificate.error}{_attempts(certificate, times)}"
    if certificate.expired:
        yield f"{names}: clients refuse the expired certificate: renew it"
    elif certificate.expires_soon:
        yield f"{names}: certificate expires soon and should have been renewed by now: see the log"


def _attempts(certificate: CertificateStatus, times: PrintedTimes) -> str:
    """Say when the last attempt failed, and how many before it."""
    if certificate.error_at is None:
        return ""
    count = f", {certificate.attempts} failed attempts" if certificate.attempts and certificate.attempts > 1 else ""
    return f" (at {times.show_aside(certificate.error_at)}{count})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _names(certificate: CertificateStatus) -> str:
    return ", ".join(certificate.names) or "any name"


def _next_attempt(time: float | None, times: PrintedTimes) -> str:
    return f"; next attempt {times.show(time)}" if time is not None else ""


def _duration(seconds: float | None) -> str:
    try:
        return spell(seconds or 0.0)
    except (ValueError, OverflowError):
        return "(unknown duration)"
