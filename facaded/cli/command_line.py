"""The command line. Exit status: 0 good, 1 the answer is bad news, 2 usage or settings."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from facaded import __version__
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import ControlError
from facaded.cli import daemon_commands
from facaded.cli.check_command import check
from facaded.cli.parity_command import compare
from facaded.cli.serve_command import serve
from facaded.cli.terminal import BAD_NEWS, GOOD, USAGE, complain, print_json
from facaded.config import paths, values
from facaded.config.settings_error import SettingsError
from facaded.listeners import StartError
from facaded.net.json_documents import Document
from facaded.oci.clients import USER_AGENTS
from facaded.policy import overrides


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given = ["serve", *given]
    options = _parser().parse_args(given)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsError as error:
        return _fail(USAGE, *error.problems)
    except StartError as error:
        return _fail(USAGE, str(error))
    except CommandRefusedError as error:
        return _fail(USAGE, *error.problems)
    except ControlError as error:
        return _fail(BAD_NEWS, str(error))
    except KeyboardInterrupt:  # while no reactor runs, which takes it otherwise
        return _fail(BAD_NEWS, "interrupted")


def _fail(status: int, *sentences: str) -> int:
    for sentence in sentences:
        complain(sentence)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facaded",
        description="Answers for a container registry, and sends each pull on to the registry that holds the image.",
        epilog="Without a command: serve. Exit status: 0 good, 1 the answer is bad news, 2 usage or settings.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, command: Callable[[argparse.Namespace], int], summary: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, parents=parents)
        added.set_defaults(command=command, name=name)
        return added

    settings, machine, named, lasting = _settings_options(), _machine_options(), _backend_option(), _time_option()
    ask = daemon_commands
    add("serve", serve, "answer for the registry until stopped", settings)
    checked = add("check", check, "say whether the settings can be used, and what they mean", settings, machine)
    checked.add_argument(
        "--probe", action="store_true", help="also ask every backend once, look up our names, try the ports"
    )
    add("status", ask.show_status, "show the running daemon's backends and which backend is active", settings, machine)
    add("pin", ask.override, "make a backend the active one, whatever its health", settings, machine, named, lasting)
    add("unpin", ask.override, "let health decide again which backend is active", settings, machine)
    add("drain", ask.override, "take a backend out", settings, machine, named, lasting)
    add("undrain", ask.override, "take a drained backend in again", settings, machine, named)
    explained = add("explain", ask.explain, "say what each request of a pull is answered, and why", settings, machine)
    explained.add_argument("image", metavar="IMAGE", help="as in docker pull")
    clients = f"{', '.join(USER_AGENTS)}, or a User-Agent"
    explained.add_argument("--client", metavar="NAME", default="docker", help=clients)
    compared = add("parity", compare, "compare what the backends have of an image", settings, machine)
    images = "org/app:tag, org/app@digest, or org/app for all its tags (else the canary, and what was pulled recently)"
    compared.add_argument("images", nargs="*", metavar="IMAGE", help=images)
    add("renew", ask.renew, "have the running daemon renew its certificates now", settings, machine)
    add("reload", ask.reload, "have the running daemon read its settings again", settings)
    add("version", _print_version, "print the version", machine)
    return parser


def _settings_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--config", type=Path, metavar="F", help=f"the settings file (else {paths.DEFAULT_FILE}, else defaults)"
    )
    options.add_argument(
        "--org", metavar="NAME", help="without a file: the organisation whose repositories are answered for"
    )
    return options


def _machine_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--json", action="store_true", help="JSON instead of text")
    return options


def _backend_option() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("backend", metavar="BACKEND", help="its name in the settings")
    return options


def _time_option() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--for", dest="seconds", type=_time, metavar="TIME", help='ends by itself, as in "2h"')
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
        print(f"facaded {__version__}")
    return GOOD
