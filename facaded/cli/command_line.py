"""The command line: the parser, and `main`, which runs one command and returns its exit status.

Only the module of that command is imported, because the daemon needs none of the others.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from facaded import __version__
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import ControlError
from facaded.cli import terminal
from facaded.cli.terminal import ClosedPipeError, OutputError, complain, print_json, show
from facaded.config import paths, values
from facaded.config.settings_error import SettingsError
from facaded.exit_status import BAD_NEWS, CLOSED_PIPE, GOOD, USAGE
from facaded.listeners import StartError
from facaded.net.json_documents import Document
from facaded.oci.clients import USER_AGENTS
from facaded.policy import overrides

DESCRIPTION = "A container registry facade: it leads every pull to a registry that works and has the image."

EPILOG = (
    "Without a command: serve. Exit status: 0 good, 1 the answer is bad news, 2 the command line or the settings "
    "cannot be used, 3 an address to listen on is in use."
)

HELP = ("-h", "--help")
"""Options that stand in the place of a command, besides --version. Every other option belongs to `serve`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status when everything is printed."""
    terminal.open_missing_streams()
    try:
        status = _run(sys.argv[1:] if arguments is None else list(arguments))
    except ClosedPipeError:
        status = CLOSED_PIPE
    except OutputError as error:
        status = _fail(BAD_NEWS, str(error))
    terminal.flush_problems()
    return status


def _run(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        words = ["version", *words[1:]]
    elif not words or (words[0].startswith("-") and words[0] not in HELP):
        words = ["serve", *words]
    try:
        options = _parser().parse_args(words)
        return _find_command(options.name)(options)
    except SystemExit as ended:  # argparse printed the help, or what is wrong with the arguments
        return int(ended.code or GOOD)
    except SettingsError as error:
        return _fail(USAGE, *error.problems)
    except StartError as error:
        return _fail(error.exit_status, str(error))
    except CommandRefusedError as error:
        return _fail(USAGE, *error.problems)
    except ControlError as error:
        return _fail(BAD_NEWS, str(error))
    except KeyboardInterrupt:  # while no reactor runs: a running one handles the signal
        return _fail(BAD_NEWS, "interrupted")


def _find_command(name: str) -> Callable[[argparse.Namespace], int]:
    """Import the module of a command, and return the function that runs it."""
    if name == "serve":
        from facaded.cli.serve_command import serve

        return serve
    if name == "check":
        from facaded.cli.check_command import check

        return check
    if name == "parity":
        from facaded.cli.parity_command import compare

        return compare
    if name == "version":
        return _print_version
    from facaded.cli import daemon_commands

    return daemon_commands.BY_NAME[name]


def _fail(status: int, *sentences: str) -> int:
    for sentence in sentences:
        complain(sentence)
    return status


class _Parser(argparse.ArgumentParser):
    """Prints its help like any other answer: argparse would ignore that it cannot be written."""

    def print_help(self, file: object = None) -> None:
        show(self.format_help().rstrip("\n"))


def _parser() -> _Parser:
    parser = _Parser(prog="facaded", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version, like the command version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, summary: str, *parents: _Parser) -> _Parser:
        description = f"{summary[0].upper()}{summary[1:]}."
        subparser = commands.add_parser(name, help=summary, description=description, parents=parents)
        subparser.set_defaults(name=name)
        return subparser

    settings, json_option = _settings_options(), _json_option()
    add("serve", "answer clients until stopped", settings)
    probe_help = "also probe every backend, look up the facade's names, and try the ports"
    check_parser = add("check", "check the settings and print what they mean", settings, json_option)
    check_parser.add_argument("--probe", action="store_true", help=probe_help)
    add("status", "show the daemon's backends, and which one is active and why", settings, json_option)
    backend, duration = _backend_option(), _time_option()
    add("pin", "make a backend active whatever its health", settings, json_option, backend, duration)
    add("unpin", "let health decide again which backend is active", settings, json_option)
    add("drain", "stop using a backend", settings, json_option, backend, duration)
    add("undrain", "use a drained backend again", settings, json_option, backend)
    add("explain", "show how each request of a pull is answered, and why", settings, json_option, _pull_options())
    add("hosts", "list the hosts to allow in firewalls, for facaded and for clients", settings, json_option)
    add("parity", "compare images between the backends", settings, json_option, _images_option())
    add("renew", "renew the daemon's certificates now", settings, json_option)
    add("reload", "make the daemon read its settings again", settings)
    add("version", "print the version", json_option)
    return parser


def _pull_options() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("image", metavar="IMAGE", help="the image, as in docker pull")
    clients = f"the client: {', '.join(USER_AGENTS)}, or a User-Agent (default: docker)"
    options.add_argument("--client", metavar="NAME", default="docker", help=clients)
    return options


def _images_option() -> _Parser:
    options = _Parser(add_help=False)
    images = "org/app:tag, org/app@digest, or org/app for all its tags (default: the canary, and recent pulls)"
    options.add_argument("images", nargs="*", metavar="IMAGE", help=images)
    return options


def _settings_options() -> _Parser:
    options = _Parser(add_help=False)
    file_help = f"the settings file (default: {paths.DEFAULT_FILE} if it exists, else built-in defaults)"
    options.add_argument("--config", type=Path, metavar="FILE", help=file_help)
    options.add_argument("--org", metavar="NAME", help="without a file: answer for the repositories of NAME")
    return options


def _json_option() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("--json", action="store_true", help="print JSON instead of text")
    return options


def _backend_option() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("backend", metavar="BACKEND", help="the backend's name in the settings")
    return options


def _time_option() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("--for", dest="seconds", type=_time, metavar="TIME", help='end it after TIME, as in "2h"')
    return options


def _time(text: str) -> float:
    try:
        return values.duration(text, overrides.LONGEST)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@frozen
class Version(Document):
    """What `facaded version --json` prints."""

    version: str


def _print_version(options: argparse.Namespace) -> int:
    if options.json:
        print_json(Version(__version__))
    else:
        show(f"facaded {__version__}")
    return GOOD
