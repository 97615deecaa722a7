"""The commands that ask the running daemon, and how their answers are printed."""

import argparse
from typing import TypeVar
from urllib.parse import urlencode

from facaded.admin import control_client, status_text
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import NoDaemonError
from facaded.admin.protocol import Overridden, Reloaded, RenewalBegun
from facaded.admin.status import Status
from facaded.cli.options import find_socket, load
from facaded.cli.terminal import BAD_NEWS, GOOD, print_json, print_warnings, run
from facaded.explain import explanation_text
from facaded.explain.explanation import Explanation, explain_pull
from facaded.net.json_documents import Document
from facaded.policy.decision import RoutingState

D = TypeVar("D", bound=Document)


def show_status(options: argparse.Namespace) -> int:
    """Show the daemon's backends and which backend is active."""
    found = _ask(options, "GET", "/status", Status)
    if options.json:
        print_json(found)
    else:
        print(status_text.text(found))
    return BAD_NEWS if found.is_bad_news else GOOD


def explain(options: argparse.Namespace) -> int:
    """Explain a pull: ask the daemon, or without one explain it as if every backend were up."""
    try:
        query = _query(image=options.image, client=options.client)
        found = _ask(options, "GET", f"/explain?{query}", Explanation)
    except NoDaemonError:
        found = _explain_alone(options)
    if options.json:
        print_json(found)
    else:
        print(explanation_text.text(found))
    return BAD_NEWS if found.refused else GOOD


def override(options: argparse.Namespace) -> int:
    """Pin, unpin, drain or undrain, as the command's name says."""
    query = _query(backend=getattr(options, "backend", None), seconds=getattr(options, "seconds", None))
    done = _ask(options, "POST", f"/{options.name}?{query}", Overridden)
    if options.json:
        print_json(done)
        return GOOD
    print(done.why)
    print_warnings(*done.warnings)
    return GOOD


def renew(options: argparse.Namespace) -> int:
    """Begin to renew the daemon's certificates."""
    begun = _ask(options, "POST", "/renew", RenewalBegun)
    if options.json:
        print_json(begun)
        return GOOD
    print_warnings(*begun.warnings)
    print(f"renewal begun: {'; '.join(begun.certificates)}; `facaded status` shows what comes of it")
    return GOOD


def reload(options: argparse.Namespace) -> int:
    """Make the daemon read its settings again."""
    _ask(options, "POST", "/reload", Reloaded)
    return GOOD


def _explain_alone(options: argparse.Namespace) -> Explanation:
    rules = load(options).config.rules
    first = tuple(route.backends[0] for route in rules.routes)

    def explain_active(*_: object) -> str:
        return "no daemon is running: this is as if every backend were up"

    try:
        return explain_pull(options.image, options.client, rules, RoutingState(first, first), explain_active)
    except ValueError as error:
        raise CommandRefusedError(str(error)) from None


def _ask(options: argparse.Namespace, method: str, resource: str, kind: type[D]) -> D:
    """Ask the running daemon. Raises ControlError if none answers, and CommandRefusedError if it refuses."""
    path = find_socket(options)
    return run(lambda reactor: control_client.ask(reactor, path, method, resource, kind))


def _query(**given: object) -> str:
    """Write a query of what is given; bytes on the command line that are not UTF-8 are sent as they are."""
    return urlencode({key: value for key, value in given.items() if value is not None}, errors="surrogateescape")
