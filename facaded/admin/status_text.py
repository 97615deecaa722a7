"""How a person reads the status document."""

from collections.abc import Iterator
from datetime import datetime

from facaded.admin.status import BackendStatus, CertificateStatus, RouteStatus, Status
from facaded.policy.failover import spell
from facaded.policy.health import Purpose

COLUMNS = ("BACKEND", "STATE", "SINCE", "LAST FAILED STEP", "URL")


def text(status: Status) -> str:
    """Write the status for a terminal: a table of the backends, which one is active and why, and warnings."""
    rows = [COLUMNS, *(_row(backend) for backend in status.backends)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join([*lines, "", *_sentences(status), *(f"warning: {warning}" for warning in status.warnings)])


def _row(backend: BackendStatus) -> tuple[str, ...]:
    if backend.state is None:
        return backend.name, "not used", "-", "-", backend.url
    failed = backend.failed
    said = f"{failed.step}: {failed.reason} ({_written(failed.at)})" if failed else "-"
    marks = [mark for mark, there in (("drained", backend.drained), ("drift", backend.drift)) if there]
    return backend.name, ", ".join([backend.state, *marks]), _written(backend.since), said, backend.url


def _sentences(status: Status) -> Iterator[str]:
    """What there is to know besides the table, a line each."""
    yield status.why
    for route in status.routes:
        what = f"for {', '.join(route.repositories)}: " if route.repositories else ""
        if route.purpose == Purpose.SERVE.value and route.backend != _redirecting(status, route):
            yield f"{what}for serving, {route.why}"
        elif route.purpose == Purpose.REDIRECT.value and what:
            yield f"{what}{route.why}"
    if status.handover_until is not None:
        yield f"handover until {_written(status.handover_until)}: Docker's manifests and blobs are served"
    for backend in status.backends:
        if backend.state is not None:
            yield from _particulars(backend)
    for name, since in status.stale_names.items():
        yield f"{name} does not resolve since {_written(since)}: its last addresses are used"
    for certificate in status.certificates:
        yield from _certificate(certificate)


def _particulars(backend: BackendStatus) -> Iterator[str]:
    name = backend.name
    if backend.drift:
        yield f"{name} drifts: {backend.drift}"
    if backend.drained and backend.drained.until is not None:
        yield f"{name} is drained until {_written(backend.drained.until)}"
    if backend.limited_until is not None:
        yield f"{name} is limited until {_written(backend.limited_until)} at the latest"
    if backend.relapses:
        after = spell(backend.failback_after or 0.0)
        yield f"{name} has relapsed {backend.relapses} times: it takes over again after it has been up for {after}"
    for asker, left in backend.pulls_left.items():
        of = f" of {left.limit} in {spell(left.window)}" if left.limit is not None else ""
        yield f"{name} grants this machine's {asker} {left.remaining} more pulls{of}"


def _certificate(certificate: CertificateStatus) -> Iterator[str]:
    named = ", ".join(certificate.names)
    if certificate.until is None:
        yield f"no certificate{f' for {named}' if named else ''} from {certificate.source}: {certificate.error}"
        return
    what, until = f"certificate for {named or 'no name'}", _written(certificate.until)
    renewal = f", renewed on {_written(certificate.next_renewal)}" if certificate.next_renewal else ""
    yield f"{what}: by {certificate.issuer}, until {until}{renewal}, from {certificate.source}"
    if certificate.expired:
        yield f"the {what} HAS EXPIRED: renew it"
    elif certificate.expires_soon:
        yield f"the {what} expires soon, on {until}: it should have been renewed by now"
    if certificate.error:
        yield f"the {what} is not replaced: {certificate.error}"


def _redirecting(status: Status, serving: RouteStatus) -> str | None:
    """The active backend for redirects of the route that `serving` is of; None if the document does not say."""
    return next(
        (
            each.backend
            for each in status.routes
            if each.purpose == Purpose.REDIRECT.value and each.repositories == serving.repositories
        ),
        None,
    )


def _written(wall: float | None) -> str:
    """Write a time in seconds since the epoch as the terminal's user has it."""
    if wall is None:
        return "-"
    try:
        return datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a daemon may say any number
        return "at no known time"
