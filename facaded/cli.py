"""The command line. Exit status: 0 good, 1 the answer is bad news, 2 usage or settings."""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlencode

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)

from facaded import __version__, config, surroundings
from facaded.admin import control, explanation, status
from facaded.admin import parity as shown
from facaded.admin.control import ControlError, NoDaemonError, RefusedError
from facaded.backends.manifests import Cache
from facaded.backends.parity import Parity
from facaded.config import Config, Loaded, SettingsError
from facaded.oci.clients import USER_AGENTS
from facaded.policy import overrides, parity
from facaded.policy.answers import Situation
from facaded.policy.health import Climb, Result, Verdict
from facaded.service import StartError, control_socket, makeService, prepare, prober, sources

GOOD, BAD_NEWS, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given = ["serve", *given]
    options = _parser().parse_args(given)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsError as error:
        for problem in error.problems:
            _complain(f"{error.source}: {problem}")
        return USAGE
    except StartError as error:
        _complain(str(error))
        return USAGE
    except RefusedError as error:
        for problem in error.problems:
            _complain(problem)
        return USAGE
    except ControlError as error:
        _complain(str(error))
        return BAD_NEWS
    except KeyboardInterrupt:  # while no reactor runs, which takes it otherwise
        _complain("interrupted")
        return BAD_NEWS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facaded",
        description="Answers for a container registry, and sends each pull on to the registry that holds the image.",
        epilog="Without a command: serve. Exit status: 0 good, 1 the answer is bad news, 2 usage or settings.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument(
        "--config", type=Path, metavar="F", help=f"the settings file (else {config.DEFAULT_FILE}, else defaults)"
    )
    settings.add_argument(
        "--org", metavar="NAME", help="without a file: the organisation whose repositories are answered for"
    )
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="JSON instead of text")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], words: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words, parents=parents)
        added.set_defaults(command=command, name=name)
        return added

    add("serve", _serve, "answer for the registry until stopped", settings)
    check = add("check", _check, "say whether the settings can be used, and what they mean", settings, machine)
    check.add_argument(
        "--probe", action="store_true", help="also ask every backend once, look up our names, try the ports"
    )
    add("status", _status, "show the running daemon's backends and who is in charge", settings, machine)
    lasting = argparse.ArgumentParser(add_help=False)
    lasting.add_argument("--for", dest="seconds", type=_lasting, metavar="TIME", help='ends by itself, as in "2h"')
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("backend", metavar="BACKEND", help="its name in the settings")
    add("pin", _override, "put a backend in charge, whatever its health", settings, machine, named, lasting)
    add("unpin", _override, "let health decide again who is in charge", settings, machine)
    add("drain", _override, "take a backend out", settings, machine, named, lasting)
    add("undrain", _override, "take a drained backend in again", settings, machine, named)
    asked = add("explain", _explain, "say what each request of a pull is answered, and why", settings, machine)
    asked.add_argument("image", metavar="IMAGE", help="as in docker pull")
    asked.add_argument("--client", metavar="NAME", default="docker", help=f"{', '.join(USER_AGENTS)}, or a User-Agent")
    compare = add("parity", _parity, "compare what the backends have of an image", settings, machine)
    words = "org/app:tag, org/app@digest, or org/app for all its tags (else the canary, and what was pulled lately)"
    compare.add_argument("images", nargs="*", metavar="IMAGE", help=words)
    add("renew", _renew, "have the running daemon renew its certificates now", settings, machine)
    add("reload", _reload, "have the running daemon read its settings again", settings)
    add("version", _version, "print the version", machine)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from twisted.internet import reactor

    _begin_logging(sys.stderr)
    prepare(reactor)
    daemon = makeService(_load(options), reactor, lambda: _load(options), os.environ)
    daemon.privilegedStartService()
    daemon.startService()
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    reactor.run()
    return GOOD


def _check(options: argparse.Namespace) -> int:
    loaded = _load(options)
    results: dict[str, Result] = {}
    warnings = [*loaded.warnings, *surroundings.unusable_certificates(loaded.config, time.time())]
    if options.probe:
        results, found = _run(lambda reactor: _try_all(loaded, reactor))
        warnings += found
    if options.json:
        probes = {name: status.result(each) for name, each in results.items()}
        _print_json({"settings": loaded.source, "warnings": warnings, "probes": probes})
    else:
        print(f"{loaded.source}: can be used")
        for warning in warnings:
            print(f"warning: {warning}")
        for name, each in results.items():
            print(f"{name}: {each.verdict.value}: {each.step.value}: {each.words} ({each.latency * 1000:.0f} ms)")
    return BAD_NEWS if any(each.verdict is not Verdict.GOOD for each in results.values()) else GOOD


async def _try_all(loaded: Loaded, reactor: Any) -> tuple[dict[str, Result], tuple[str, ...]]:
    """Ask every backend once, look up our names, and try the ports; gives the results, and what to warn of."""
    results = await _probe_all(loaded, reactor)
    names = await surroundings.unknown_names(loaded.config, reactor)
    socket = control_socket(loaded.config, os.environ)
    ports = await surroundings.unbindable_ports(loaded.config, socket if _may_exist(socket) else None, reactor)
    return results, (*names, *ports)


async def _probe_all(loaded: Loaded, reactor: Any) -> dict[str, Result]:
    backends = loaded.config.backends
    found = await gatherResults([prober(reactor, loaded.config, each)(Climb(deep=True)) for each in backends])
    return {backend.name: each for backend, each in zip(backends, found, strict=True)}


def _status(options: argparse.Namespace) -> int:
    document = _ask(options, "GET", "/status")
    if options.json:
        _print_json(document)
    else:
        print(status.table(document))
    return BAD_NEWS if status.is_bad_news(document) else GOOD


def _explain(options: argparse.Namespace) -> int:
    """Ask the daemon; without one, say it as if every backend were up."""
    try:
        query = _query(image=options.image, client=options.client)
        explained = _ask(options, "GET", f"/explain?{query}")
    except NoDaemonError:
        explained = _explained_alone(options)
    if options.json:
        _print_json(explained)
    else:
        print(explanation.text(explained))
    return BAD_NEWS if explained["refused"] else GOOD


def _explained_alone(options: argparse.Namespace) -> control.Document:
    rules = _load(options).config.rules
    first = tuple(route.backends[0] for route in rules.routes)

    def in_charge(*_: object) -> str:
        return "no daemon is running: this is as if every backend were up"

    try:
        return explanation.document(options.image, options.client, rules, Situation(first, first), in_charge)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _override(options: argparse.Namespace) -> int:
    query = _query(backend=getattr(options, "backend", None), seconds=getattr(options, "seconds", None))
    document = _ask(options, "POST", f"/{options.name}?{query}")
    if options.json:
        _print_json(document)
        return GOOD
    print(document["why"])
    for warning in document["warnings"]:
        print(f"warning: {warning}")
    return GOOD


def _query(**given: object) -> str:
    """A query of what is given; bytes on the command line that are not UTF-8 are handed on as they are."""
    return urlencode({key: value for key, value in given.items() if value is not None}, errors="surrogateescape")


def _lasting(text: str) -> float:
    try:
        return config.duration(text, overrides.LONGEST)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parity(options: argparse.Namespace) -> int:
    settings = _load(options).config
    try:
        images = [parity.read(text, settings.rules) for text in options.images]
    except ValueError as error:
        _complain(str(error))
        return USAGE
    progress = shown.Progress(sys.stderr)
    try:
        found: parity.Report | None = _run(lambda reactor: _compare(options, settings, images, progress, reactor))
    finally:
        progress.wipe()
    if found is None:
        _complain(
            "no image to compare: name one, as in facaded parity org/app:latest; without a name those are compared "
            "that were pulled lately through the running daemon, and health.canary"
        )
        return USAGE
    if options.json:
        _print_json(shown.document(found))
    else:
        print(shown.table(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    return BAD_NEWS if found.is_bad_news else GOOD


async def _compare(
    options: argparse.Namespace, settings: Config, images: list[parity.Wanted], progress: shown.Progress, reactor: Any
) -> parity.Report | None:
    """Compare the images, or without any the usual ones; None if there are none of those either."""
    rules = settings.rules
    if why := parity.incomparable(rules):
        return parity.Report(tuple(rules.backends), notes=(why,))
    notes: tuple[str, ...] = ()
    if not images:
        images = parity.usual(settings.health.canary, (), rules)
        try:
            document = await control.ask(reactor, _socket(options), "GET", "/lately")
            images = parity.usual(settings.health.canary, document.get("images", ()), rules)
        except ControlError as error:
            notes = (f"{error}: what was pulled lately is not known",)
    if not images:
        return None
    backends = sources(settings, Cache(0, 0.0, reactor.seconds), reactor)
    report = await Parity(backends, rules, reactor).compare(images, progress)
    return evolve(report, notes=(*notes, *report.notes))


def _renew(options: argparse.Namespace) -> int:
    document = _ask(options, "POST", "/renew")
    if options.json:
        _print_json(document)
        return GOOD
    for warning in document["warnings"]:
        print(f"warning: {warning}")
    print(f"renewal begun: {'; '.join(document['certificates'])}; `facaded status` shows what comes of it")
    return GOOD


def _reload(options: argparse.Namespace) -> int:
    _ask(options, "POST", "/reload")
    return GOOD


def _version(options: argparse.Namespace) -> int:
    if options.json:
        _print_json({"version": __version__})
    else:
        print(f"facaded {__version__}")
    return GOOD


def _load(options: argparse.Namespace) -> Loaded:
    from twisted.internet import reactor

    return config.load(options.config, options.org, os.environ, reactor)


def _ask(options: argparse.Namespace, method: str, resource: str) -> control.Document:
    """Ask the running daemon.

    Raises ControlError if none answers, and RefusedError if it does not do what it is asked.
    """
    path = _socket(options)
    document: control.Document = _run(lambda reactor: control.ask(reactor, path, method, resource))
    return document


def _socket(options: argparse.Namespace) -> Path:
    """The running daemon's socket: looked for where these settings have it, then where a service has it."""
    doubt = ""
    try:
        settings = _load(options).config
    except SettingsError as error:
        settings, doubt = error.partial or config.Config(), f"; and {error.source}: {error.problems[0]}"
    places = [control_socket(settings, os.environ)]
    if settings.listen.control is None:
        places += [config.SYSTEM_RUNTIME / config.CONTROL_SOCKET, config.SYSTEM_STATE / config.CONTROL_SOCKET]
    path = next((place for place in places if _may_exist(place)), None)
    if path is None:
        looked = ", ".join(dict.fromkeys(str(place) for place in places))
        raise NoDaemonError(f"no daemon is running: there is no socket at {looked}{doubt}")
    return path


def _may_exist(path: Path) -> bool:
    """Whether there is something at `path`, or somewhere that this user may not look."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _run(work: Callable[[Any], Coroutine[Deferred[Any], Any, Any]]) -> Any:
    """Run a coroutine on the reactor, and give its result or raise its error."""
    from twisted.internet import reactor

    outcome: list[Any] = []
    prepare(reactor)

    def begin() -> None:
        Deferred.fromCoroutine(work(reactor)).addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not outcome:
        raise ControlError("interrupted")
    if hasattr(outcome[0], "raiseException"):
        outcome[0].raiseException()
    return outcome[0]


def _begin_logging(stream: TextIO) -> None:
    """Log to `stream`.

    What facaded says from `info` on, what its libraries say from `warn` on. The journal has its own clock.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    levels.setLogLevelForNamespace("facaded", LogLevel.info)
    dated = "JOURNAL_STREAM" not in os.environ
    priorities = {LogLevel.critical: "<2>", LogLevel.error: "<3>", LogLevel.warn: "<4>", LogLevel.info: "<6>"}

    def formatted(event: LogEvent) -> str:
        text = eventAsText(event, includeTimestamp=dated, includeSystem=False)
        prefix = "" if dated else priorities.get(event.get("log_level", LogLevel.info), "<6>")
        return "".join(f"{prefix}{line}\n" for line in text.splitlines())

    observer = FilteringLogObserver(FileLogObserver(stream, formatted), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _complain(sentence: str) -> None:
    print(f"facaded: {sentence}", file=sys.stderr)


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2))
