"""What settings mean, as a person reads it on a terminal of 80 columns."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from facaded.cli.settings_summary import (
    BackendSummary,
    CertificateSummary,
    ClientsSummary,
    ListenersSummary,
    RouteSummary,
    SettingsSummary,
)

WIDTH = 80
"""Columns of a line: what a terminal has that nobody has resized."""

_LABEL_WIDTH = 14


def settings_text(summary: SettingsSummary, origins: Mapping[str, str]) -> str:
    """Write a summary as a table: a label on the left, its facts in lines on the right.

    `origins` says where each key is set: `FILE:LINE`, or a variable or option.
    """
    rows: dict[str, Iterable[str]] = {
        "Hosts": [f"{', '.join(summary.hosts)} (others get 421)" if summary.hosts else "any"],
        "Repositories": [_repositories(summary)],
        "Backends": map(_backend, summary.backends),
        "Order": [_route(route, is_only=len(summary.routes) == 1) for route in summary.routes],
        "Clients": _clients(summary.clients, renames=any(backend.renames for backend in summary.backends)),
        "Listeners": _listeners(summary.listeners),
        "Workers": [_workers(summary.workers, summary.cores)],
        "Control": _paths(summary.paths.control, summary.service_paths.control),
        "State": _paths(summary.paths.state, summary.service_paths.state),
        "Certificates": _certificates(summary),
        "Set by": _origins(origins),
    }
    return "\n".join(line for label, facts in rows.items() for line in _row(label, facts))


def warning_text(warning: str) -> str:
    """Write a warning, in as many lines as it needs."""
    return _wrap(f"warning: {warning}", "", "  ")


def wrapped(line: str) -> str:
    """Write a line in as many lines as it needs."""
    return _wrap(line, "", "  ")


def _repositories(summary: SettingsSummary) -> str:
    if summary.repositories:
        return f"{', '.join(summary.repositories)} (others get 403)"
    return f"all of {summary.routes[-1].backends[0]}"


def _backend(backend: BackendSummary) -> str:
    facts = [f"{backend.name} at {backend.url}"]
    facts += [f"{facade_name} is {backend_name} there" for facade_name, backend_name in backend.renames.items()]
    if backend.canary:
        facts.append(f"canary {backend.canary}")
    if backend.account:
        facts.append(f"account {backend.account}")
    return ", ".join(facts)


def _route(route: RouteSummary, *, is_only: bool) -> str:
    backends = ", then ".join(route.backends) if len(route.backends) > 1 else f"{route.backends[0]} only"
    if is_only:
        return backends
    return f"{', '.join(route.repositories) or 'all others'}: {backends}"


def _clients(clients: ClientsSummary, *, renames: bool) -> Iterator[str]:
    if clients.credentials_for is not None:
        yield f"all are served, with their own credentials for {clients.credentials_for}"
    elif not clients.served:
        yield "all are redirected"
    elif not clients.redirected:
        yield "all are served"
    else:
        yield f"redirected: {_names(clients.redirected)}"
        yield f"served: {_names(clients.served)}"
        if renames:
            yield "Repositories with another name on the active backend are served to all."


def _names(clients: tuple[str, ...]) -> str:
    names = ", ".join(name for name in clients if name != "other")
    return f"{names}, and all others" if "other" in clients else names


def _listeners(listeners: ListenersSummary) -> Iterator[str]:
    redirects = ", redirects to https" if listeners.http and listeners.http_redirects else ""
    yield f"http: {', '.join(listeners.http) or 'off'}{redirects}"
    if listeners.https:
        yield f"https: {', '.join(listeners.https)}"
    yield f"admin: {', '.join(listeners.admin) or 'off'}"


def _workers(workers: int, cores: int) -> str:
    processes = "1 process" if workers == 1 else f"{workers} processes"
    return f"{processes} on {'1 core' if cores == 1 else f'{cores} cores'}"


def _paths(path: str, service_path: str) -> Iterator[str]:
    yield path
    if path != service_path:
        yield f"{service_path} as a systemd service"


def _certificates(summary: SettingsSummary) -> Iterator[str]:
    if not summary.tls:
        yield "none: clients are answered over plain HTTP"
    elif not summary.certificates:
        yield "self-signed only"
    yield from map(_certificate, summary.certificates)


def _certificate(certificate: CertificateSummary) -> str:
    if certificate.chain is not None:
        return f"from the file {certificate.chain}"
    return f"{', '.join(certificate.names)} from {', else '.join(certificate.authorities)}"


def _origins(origins: Mapping[str, str]) -> Iterator[str]:
    keys: dict[str, list[str]] = {}
    for key, origin in origins.items():
        place, _, line = origin.rpartition(":")
        is_line = bool(place) and line.isdigit()
        keys.setdefault(place if is_line else origin, []).append(f"{key} ({line})" if is_line else key)
    for place, names in keys.items():
        lines = " (line)" if any(name.endswith(")") for name in names) else ""
        yield f"{place}{lines}: {', '.join(names)}"
    if not keys:
        yield "defaults"


def _row(label: str, facts: Iterable[str]) -> Iterator[str]:
    margin = " " * _LABEL_WIDTH
    for index, fact in enumerate(facts):
        yield _wrap(fact, margin if index else label.ljust(_LABEL_WIDTH), f"{margin}  ")


def _wrap(text: str, first: str, rest: str) -> str:
    """Wrap a text at spaces only: a path or a name that is longer than a line stays whole."""
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
