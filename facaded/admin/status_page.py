"""The status page: an overview as HTML, complete without a script."""

from collections.abc import Iterator

from facaded.admin.backend_cards import backend_card
from facaded.admin.overview import Overview
from facaded.admin.page_pieces import (
    ABSENT,
    LEVEL_SIGNS,
    SEVERITY_SIGNS,
    UtcTimes,
    bullets,
    nothing,
    rate,
    section,
    sign,
    table,
    time_element,
    time_with_age,
)
from facaded.admin.status import CertificateStatus, OverrideStatus
from facaded.admin.status_text import route_notes
from facaded.admin.utc_times import age, iso, seconds_time, utc_date
from facaded.tls.certificates import SELF_SIGNED
from facaded.web.markup import Content, Html, element, write_page

STYLE, SCRIPT = "/status.css", "/status.js"

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

OTHER_NAMES = "(other names)"
"""What an empty name in the history stands for: names beyond its bound."""


def write_status_page(overview: Overview) -> bytes:
    """Return the page."""
    level, hosts = overview.headline.level, ", ".join(overview.status.hosts)
    title = f"{LEVEL_SIGNS.get(level, '')} {overview.headline.text}"
    return write_page(
        (
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"{title} · {hosts or 'facaded'}"),
            element("link", rel="icon", id="icon", href=f"/status-{level}.svg"),
            element("link", rel="stylesheet", href=STYLE),
            element("script", src=SCRIPT, defer=True),
        ),
        (_header(overview, hosts), element("main", _contents(overview), id="main"), _footer(overview)),
    )


def _contents(overview: Overview) -> Iterator[Html]:
    yield _headline(overview)
    yield _backends(overview)
    yield element("div", _changes(overview), _traffic(overview), class_="columns")
    yield element("div", _certificates(overview), _overrides(overview), _limits(overview), class_="columns three")
    if len(overview.status.workers) > 1:
        yield _workers(overview)
    notes = list(_notes(overview))
    if notes:
        yield section("Notes", bullets(notes))


def _header(overview: Overview, hosts: str) -> Html:
    return element(
        "header",
        element(
            "p", element("strong", "facaded"), element("span", hosts, class_="hosts") if hosts else "", class_="brand"
        ),
        element("p", "As of ", element("time", seconds_time(overview.at), datetime=iso(overview.at)), id="as-of"),
        element("p", id="connection", role="status"),
    )


def _headline(overview: Overview) -> Html:
    headline = overview.headline
    big = element("span", LEVEL_SIGNS.get(headline.level, ""), class_="level", aria_hidden="true")
    why = [_who_is_active(overview), *route_notes(overview.status)]
    return element(
        "section",
        element("div", big, element("h1", headline.text), id="headline", role="status"),
        bullets(headline.remarks, "remarks"),
        bullets(why, "why"),
        class_=f"headline {headline.level}",
        aria_label="Summary",
    )


def _who_is_active(overview: Overview) -> str:
    """Say which backend is active, and why, unless a remark says that already."""
    why = overview.status.why
    who, _, cause = why.partition(": ")
    return who if cause and any(remark.startswith(cause) for remark in overview.headline.remarks) else why


def _backends(overview: Overview) -> Html:
    measured = {backend.name: backend for backend in overview.backends}
    cards = [backend_card(one, measured.get(one.name), overview) for one in overview.status.backends]
    return section("Backends", element("div", cards, class_="cards"), _without_history(overview))


def _without_history(overview: Overview) -> Content:
    return nothing(f"The last 24 hours are not shown: {overview.history}.") if overview.history else ()


def _changes(overview: Overview) -> Html:
    rows = [
        (
            time_element(change.at, overview.at),
            (
                element("span", sign(SEVERITY_SIGNS.get(change.severity, "○")), class_=f"severity {change.severity}"),
                element("span", f" {change.severity}: ", class_="unseen"),
                change.text,
            ),
        )
        for change in overview.changes
    ]
    only = nothing(f"Those before the start are not shown: {overview.history}.") if overview.history else ()
    return section("Last changes", table("The latest first", ("Time", "What happened and why"), rows, "changes"), only)


def _traffic(overview: Overview) -> Html:
    return element("div", _requests(overview), _images(overview))


def _requests(overview: Overview) -> Html:
    requests = overview.requests
    if not requests.rates:
        return section("Requests", nothing("No requests in the last minute."))
    answers = list(dict.fromkeys(one.answer for one in requests.rates))
    families = list(dict.fromkeys(one.family for one in requests.rates))
    by_key = {(one.family, one.answer): one.per_second for one in requests.rates}
    rows = [
        (family, *(rate(by_key[family, answer]) if (family, answer) in by_key else ABSENT for answer in answers))
        for family in families
    ]
    columns = ("Client", *(f"{answer.replace('_', ' ')}#" for answer in answers))
    caption = f"A second, over the last {age(requests.window)}; {rate(requests.per_second)} in all"
    return section("Requests", table(caption, columns, rows))


def _images(overview: Overview) -> Html:
    pulls = overview.pulls
    title = "Images pulled most"
    if pulls is None:
        return section(title, nothing(f"Not known: {overview.history}."))
    if not pulls.total.pulls:
        return section(title, nothing(f"No pulls in the last {pulls.days} days."))
    rows = [
        (image.name or OTHER_NAMES, f"{image.pulls:,}", f"{image.checks:,}") for image in pulls.images if image.pulls
    ]
    caption = f"Last {pulls.days} days; {pulls.total.pulls:,} pulls in all"
    return section(title, table(caption, ("Image", "Pulls#", "Update checks#"), rows, "images"))


def _certificates(overview: Overview) -> Html:
    certificates = overview.status.certificates
    if not certificates:
        return section("Certificates", nothing("TLS is off."))
    rows = [
        (
            (", ".join(one.names) or "any name", _certificate_note(one)),
            ABSENT if one.until is None else element("time", utc_date(one.until), datetime=iso(one.until)),
            _life(one, overview.at),
        )
        for one in certificates
    ]
    return section("Certificates", table("Of clients' connections", ("Names", "Expires", "Left#"), rows))


def _life(certificate: CertificateStatus, now: float) -> Content:
    if certificate.source == SELF_SIGNED:
        return element("span", "temporary", class_="failed")
    if certificate.until is None:
        return element("span", "missing", class_="failed")
    if certificate.expired or certificate.until <= now:
        return element("span", "expired", class_="failed")
    life = age(certificate.until - now)
    return element("span", f"{life}, overdue", class_="failed") if certificate.expires_soon else life


def _certificate_note(certificate: CertificateStatus) -> Content:
    issuer = f", by {certificate.issuer}" if certificate.issuer else ""
    notes = [f"from {certificate.source}{issuer}", *([certificate.error] if certificate.error else [])]
    return [element("span", note, class_="under") for note in notes]


def _overrides(overview: Overview) -> Html:
    status = overview.status
    pins = [("pinned", name, pin) for name, pin in status.pins.items()]
    drains = [("drained", backend.name, backend.drained) for backend in status.backends if backend.drained]
    sentences = [_override(what, name, override, overview.at) for what, name, override in (*pins, *drains)]
    return section("Pins and drains", bullets(sentences) if sentences else nothing("None."))


def _override(what: str, name: str, override: OverrideStatus, now: float) -> Content:
    end = (" until ", time_element(override.until, now)) if override.until is not None else ()
    reason = f": {override.reason}" if override.reason else ""
    return element("strong", name), f" {what} since ", time_element(override.since, now), end, reason


def _limits(overview: Overview) -> Html:
    limits = overview.status.limits
    if not limits:
        return section("Limits reached", nothing("None since the start."))
    rows = [(one.name, f"{one.count:,}", time_with_age(one.last, overview.at)) for one in limits]
    return section("Limits reached", table("Since the start", ("Limit", "Times#", "Last"), rows))


def _workers(overview: Overview) -> Html:
    rows = [
        (
            f"{worker.number}",
            worker.state,
            age(max(overview.at - worker.since, 0.0)),
            f"{worker.connections:,}",
            f"{worker.requests:,}",
        )
        for worker in overview.status.workers
    ]
    columns = ("Process", "State", "Runs for", "Connections#", "Requests#")
    return section("Processes", table("All figures above are their sums", columns, rows, "processes"))


def _notes(overview: Overview) -> Iterator[Content]:
    status, times = overview.status, UtcTimes(overview.at)
    if status.handover_until is not None:
        yield f"Handover until {times.show(status.handover_until)}: manifests and blobs for Docker are served"
    for name, since in status.stale_names.items():
        yield f"{name} has not resolved since {times.show(since)}: its last known addresses are used"
    if status.asked_again.count:
        yield f"Clients that asked again after a redirect, and were served: {status.asked_again.count:,}"
    yield from (f"Settings: {warning}" for warning in status.warnings)


def _footer(overview: Overview) -> Html:
    links = [element("a", path, href=path) for path in ("/status.json", "/metrics", "/statusz", "/readyz")]
    return element(
        "footer",
        element("p", f"facaded {overview.status.version} · settings: {overview.status.settings}"),
        element("p", [(link, " ") for link in links]),
        element("noscript", element("p", "Without script, this page shows one moment: reload it.")),
    )
