"""The status document as text for a terminal: what is active, the backends, their last failures, and warnings."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from textwrap import TextWrapper

from facaded.admin.status import BackendStatus, CertificateStatus, FailureStatus, RouteStatus, Status
from facaded.policy.health import Purpose, Verdict
from facaded.policy.reasons import spell
from facaded.tls.certificates import SELF_SIGNED

COLUMNS = ("NAME", "STATE", "SINCE", "URL")

WIDTH = 80
"""Columns of a terminal. Only a single word that is longer, such as a URL, exceeds it."""

CELL_WIDTH = 24
"""Columns to which a long cell widens its column: a longer name shifts its own row only."""

_WRAPPER = TextWrapper(WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def text(status: Status) -> str:
    """Return the status as lines of `WIDTH` columns at most, in printable characters.

    The document may come from a daemon of another version, so any text and any number in it is possible.
    """
    sections = [
        [status.why, *_routes(status)],
        _table(status),
        [_probe(backend) for backend in status.backends if backend.state is not None],
        [*(f"warning: {warning}" for warning in status.warnings), *_notes(status), *_certificates(status)],
    ]
    return "\n\n".join("\n".join(_wrap(lines)) for lines in sections if lines)


def _wrap(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from _WRAPPER.wrap("".join(map(_printable, line)))


def _printable(character: str) -> str:
    """Replace what could move the cursor or colour the terminal."""
    if character.isprintable():
        return character
    return " " if character.isspace() else "?"


def _routes(status: Status) -> Iterator[str]:
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


def _table(status: Status) -> list[str]:
    rows = [COLUMNS, *(_row(backend, backend.name in status.pins) for backend in status.backends)]
    *columns, _ = zip(*rows, strict=True)
    widths = [max(min(len(cell), CELL_WIDTH) for cell in column) for column in columns]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), url])
        for *cells, url in rows
    ]


def _row(backend: BackendStatus, pinned: bool) -> tuple[str, str, str, str]:
    if backend.state is None:
        return backend.name, "not used", "-", backend.url
    marks = {
        "degraded": backend.degraded_since,
        "pinned": pinned,
        "drained": backend.drained,
        "drift": backend.drift,
    }
    state = ", ".join([backend.state, *(mark for mark, is_set in marks.items() if is_set)])
    return backend.name, state, "-" if backend.since is None else _time(backend.since), backend.url


def _probe(backend: BackendStatus) -> str:
    """Return what the latest probe of a backend saw, and its last failure."""
    last, failure = backend.last, backend.failed
    if last is None or last.verdict is None:
        return f"{backend.name}: not probed yet"
    if last.verdict != Verdict.GOOD.value:
        verb = "limited" if last.verdict == Verdict.LIMITED.value else "failed"
        at = f" ({_time(failure.at)})" if failure and failure.at is not None else ""
        return f"{backend.name}: {verb} at {last.step}: {last.reason}{at}"
    passed = f"{backend.name}: OK, all steps passed"
    return f"{passed}; last failure{_failure(failure)}" if failure else passed


def _failure(failure: FailureStatus) -> str:
    at = f" {_time(failure.at)}" if failure.at is not None else ""
    return f"{at} at {failure.step}: {failure.reason}"


def _notes(status: Status) -> Iterator[str]:
    """What an operator should know of the routing and the backends, a sentence each."""
    if status.handover_until is not None:
        until = _time(status.handover_until)
        yield f"handover until {until}: manifests and blobs for Docker are served, not redirected"
    for backend in status.backends:
        if backend.state is not None:
            yield from _backend_notes(backend, status)
    for name, since in status.stale_names.items():
        yield f"{name} has not resolved since {_time(since)}: its last known addresses are used"
    if status.asked_again.count:
        times = _times(status.asked_again.count)
        yield f"clients were served because they asked again after a redirect: {times}"
    for one in status.asked_again.latest:
        yield f"{one.why}, until {_time(one.until)}"
    for limit in status.limits:
        yield f"limit reached: {limit.name}, {_times(limit.count)}, last {_time(limit.last)} by {limit.subject}"


def _backend_notes(backend: BackendStatus, status: Status) -> Iterator[str]:
    name, pin = backend.name, status.pins.get(backend.name)
    if backend.why:
        yield backend.why
    if pin and pin.until is not None:
        yield f"{name}: pinned until {_time(pin.until)}"
    if backend.drained and backend.drained.until is not None:
        yield f"{name}: drained until {_time(backend.drained.until)}"
    if backend.drift:
        yield f"{name}: drift: {backend.drift}"
    if backend.limited_until is not None:
        yield f"{name}: limited until {_time(backend.limited_until)} at the latest"
    if backend.relapses:
        yield f"{name}: relapsed {backend.relapses} times, fails back after {_duration(backend.failback_after)} up"
    if backend.account is not None:
        yield f"{name}: {backend.account.problem} (since {_time(backend.account.since)})"
    for asker, quota in backend.pulls_left.items():
        limit = f" of {quota.limit} in {_duration(quota.window)}" if quota.limit is not None else ""
        yield f"{name}: {quota.remaining} pulls left{limit} for this machine's {asker}"


def _certificates(status: Status) -> Iterator[str]:
    attempts = [
        certificate.next_renewal
        for certificate in status.certificates
        if certificate.until is None and certificate.next_renewal is not None
    ]
    for certificate in status.certificates:
        if certificate.source == SELF_SIGNED:
            attempt = _next_attempt(min(attempts, default=None))
            yield f"{_names(certificate)}: temporary self-signed certificate{attempt}"
        elif certificate.until is None:
            error = f": {certificate.error}" if certificate.error else " yet"
            attempt = _next_attempt(certificate.next_renewal)
            yield f"{_names(certificate)}: no certificate from {certificate.source}{error}{attempt}"
        else:
            yield from _certificate(certificate, _names(certificate), _time(certificate.until))


def _certificate(certificate: CertificateStatus, names: str, end: str) -> Iterator[str]:
    """Say when a certificate in service expires, and what is wrong with it."""
    renewal = f", renewal {_time(certificate.next_renewal)}" if certificate.next_renewal is not None else ""
    expires = "EXPIRED" if certificate.expired else "expires"
    yield f"{names}: certificate {expires} {end}{renewal} (by {certificate.issuer}, from {certificate.source})"
    if certificate.error:
        yield f"{names}: certificate not replaced: {certificate.error}"
    elif certificate.expired:
        yield f"{names}: clients refuse the expired certificate: renew it"
    elif certificate.expires_soon:
        yield f"{names}: certificate expires soon and should have been renewed by now: see the log"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _names(certificate: CertificateStatus) -> str:
    return ", ".join(certificate.names) or "any name"


def _next_attempt(time: float | None) -> str:
    return f"; next attempt {_time(time)}" if time is not None else ""


def _time(seconds: float) -> str:
    """Return a time in seconds since the epoch as the local time, with its zone."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except (ValueError, OverflowError, OSError):
        return "(unknown time)"


def _duration(seconds: float | None) -> str:
    try:
        return spell(seconds or 0.0)
    except (ValueError, OverflowError):
        return "(unknown duration)"
