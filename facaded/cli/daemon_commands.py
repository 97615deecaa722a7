"""The commands that talk to the running daemon over its control socket."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from facaded.admin import control_client, status_text
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import NoDaemonError
from facaded.admin.history_commands import PastChanges, PullStatistics
from facaded.admin.protocol import FailedBack, HostList, Overridden, Reloaded, RenewalBegun
from facaded.admin.status import Status
from facaded.admin.status_text import Appearance
from facaded.cli import history_text, hosts_text, statistics_text
from facaded.cli.options import find_socket, load
from facaded.cli.status_watch import watch_status
from facaded.cli.terminal import complain, has_colours, print_json, print_warnings, run, show, show_foreign
from facaded.exit_status import BAD_NEWS, GOOD
from facaded.explain import explanation_text
from facaded.explain.explanation import Explanation, explain_pull
from facaded.net.json_documents import Document
from facaded.parts import list_expected_hosts
from facaded.policy.decision import RoutingState

D = TypeVar("D", bound=Document)


def show_status(options: argparse.Namespace) -> int:
    """Show the daemon's backends, and which one is active; with --watch, again and again."""
    if options.watch:
        return watch_status(find_socket(options), is_json=options.json)
    status = _ask(options, "GET", "/status", Status)
    if options.json:
        print_json(status)
    else:
        appearance = Appearance(time.time(), has_colours=has_colours(sys.stdout, os.environ))
        show(status_text.text(status, appearance))
    return BAD_NEWS if status.is_bad_news else GOOD


def explain(options: argparse.Namespace) -> int:
    """Explain a pull with the daemon's state; without a daemon, as if every backend were up."""
    try:
        query = _query(image=options.image, client=options.client)
        explanation = _ask(options, "GET", f"/explain?{query}", Explanation)
    except NoDaemonError:
        explanation = _explain_without_daemon(options)
    if options.json:
        print_json(explanation)
    else:
        show_foreign(explanation_text.text(explanation))
    return BAD_NEWS if explanation.refused else GOOD


def show_hosts(options: argparse.Namespace) -> int:
    """List the hosts that facaded and its clients connect to; without a daemon, those that the settings lead to."""
    try:
        hosts = _ask(options, "GET", "/hosts", HostList)
    except NoDaemonError:
        hosts = HostList(list_expected_hosts(load(options).config), daemon=False)
    if options.json:
        print_json(hosts)
    else:
        show(hosts_text.text(hosts))
    return GOOD


def show_history(options: argparse.Namespace) -> int:
    """Show what has happened to the backends."""
    changes = _ask(options, "GET", f"/history?{_query(days=options.days)}", PastChanges)
    if options.json:
        print_json(changes)
    else:
        show(history_text.text(changes))
    return GOOD


def show_statistics(options: argparse.Namespace) -> int:
    """Show how often images were pulled, by which clients, and when."""
    query = _query(days=options.days, image=options.image)
    statistics = _ask(options, "GET", f"/stats?{query}", PullStatistics)
    if options.json:
        print_json(statistics)
    else:
        show(statistics_text.text(statistics))
    return GOOD


def override(options: argparse.Namespace) -> int:
    """Pin, unpin, drain or undrain, whichever command was given."""
    parameters = {name: getattr(options, name, None) for name in ("backend", "seconds", "reason")}
    overridden = _ask(options, "POST", f"/{options.name}?{_query(**parameters)}", Overridden)
    if options.json:
        print_json(overridden)
        return GOOD
    show_foreign(overridden.why)
    print_warnings(*overridden.warnings)
    return GOOD


def fail_back(options: argparse.Namespace) -> int:
    """End the wait for failbacks."""
    result = _ask(options, "POST", "/failback", FailedBack)
    if options.json:
        print_json(result)
        return GOOD
    show_foreign("\n".join(result.moves or (result.why,)))
    print_warnings(*result.warnings)
    return GOOD


def renew(options: argparse.Namespace) -> int:
    """Start to renew the daemon's certificates, or those with the names of the command."""
    query = _query(names=options.names or None, force="true" if options.force else None)
    renewal = _ask(options, "POST", f"/renew?{query}", RenewalBegun)
    if options.json:
        print_json(renewal)
        return GOOD
    print_warnings(*renewal.warnings)
    show_foreign(f"renewal started: {'; '.join(renewal.certificates)}; see `facaded status` for the result")
    return GOOD


def reload(options: argparse.Namespace) -> int:
    """Make the daemon read its settings again."""
    reloaded = _ask(options, "POST", "/reload", Reloaded)
    for warning in reloaded.warnings:
        complain(warning)
    return BAD_NEWS if reloaded.warnings else GOOD


BY_NAME: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "status": show_status,
    "pin": override,
    "unpin": override,
    "drain": override,
    "undrain": override,
    "failback": fail_back,
    "explain": explain,
    "hosts": show_hosts,
    "history": show_history,
    "stats": show_statistics,
    "renew": renew,
    "reload": reload,
}
"""The function of each command that talks to the daemon."""


def _explain_without_daemon(options: argparse.Namespace) -> Explanation:
    rules = load(options).config.rules
    first = tuple(route.backends[0] for route in rules.routes)

    def explain_active(*_: object) -> str:
        return "no daemon is running: this assumes that every backend is up"

    try:
        return explain_pull(options.image, options.client, rules, RoutingState(first, first), explain_active)
    except ValueError as error:
        raise CommandRefusedError(str(error)) from None


def _ask(options: argparse.Namespace, method: str, resource: str, kind: type[D]) -> D:
    """Send a command to the running daemon, and return its answer. Raises ControlError or CommandRefusedError."""
    path = find_socket(options)
    return run(lambda reactor: control_client.ask(reactor, path, method, resource, kind))


def _query(**parameters: object) -> str:
    """Encode the parameters that are not None, a list as several.

    Bytes of the command line that are not UTF-8 are sent unchanged.
    """
    present = {key: value for key, value in parameters.items() if value is not None}
    return urlencode(present, doseq=True, errors="surrogateescape")
