"""The command line: the parser, and `main`, which runs one command and returns its exit status.

Only the module of that command is imported, because the daemon needs none of the others.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from attrs import frozen

from facaded import __version__
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import ControlError
from facaded.cli import help_text, terminal
from facaded.cli.streams import open_missing_streams, replace_unencodable
from facaded.cli.terminal import ClosedPipeError, OutputError, complain, print_json, show
from facaded.config import paths, values
from facaded.config.settings_error import SettingsError
from facaded.exit_status import BAD_NEWS, CLOSED_PIPE, GOOD, USAGE
from facaded.listeners import StartError
from facaded.net import urls
from facaded.net.json_documents import Document
from facaded.oci.clients import USER_AGENTS
from facaded.policy import overrides

CLIENT_NAMES = ("docker", "containerd", "podman", "buildkit")
"""The clients of `client-config`."""

FILE_COMMANDS = ("example-config", "unit", "manual", "client-config")
"""The commands that print a file."""

EXAMPLE, UNIT = "facaded.toml", "facaded.service"
"""The files of conf/ and systemd/ that `example-config` and `unit` print."""

HELP = ("-h", "--help")
"""Options that stand in the place of a command, besides --version. Every other option belongs to `serve`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status when everything is printed."""
    open_missing_streams()
    replace_unencodable()
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
    elif words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
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
    if name in FILE_COMMANDS:
        from facaded.cli import file_commands

        return file_commands.BY_NAME[name]
    if name == "version":
        return _print_version
    from facaded.cli import daemon_commands

    return daemon_commands.BY_NAME[name]


def _fail(status: int, *sentences: str) -> int:
    for sentence in sentences:
        complain(sentence)
    return status


class _Parser(argparse.ArgumentParser):
    """Prints its help like any other answer: argparse would ignore that it cannot be written.

    The program's own help is not argparse's: `summaries` has a few words about each command, and is empty in theirs.
    """

    summaries: Mapping[str, str] = MappingProxyType({})

    def print_help(self, file: object = None) -> None:
        show(help_text.overview(self.summaries) if self.summaries else self.format_help().rstrip("\n"))


AddCommand: TypeAlias = Callable[..., _Parser]
"""Adds a command: its name, a few words about it, and parsers with its options."""


def _parser() -> _Parser:
    parser = _Parser(prog="facaded", usage=help_text.USAGE)
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog="facaded")
    summaries: dict[str, str] = {}

    def add(name: str, summary: str, *parents: _Parser) -> _Parser:
        summaries[name] = summary
        subparser = commands.add_parser(
            name,
            help=summary,
            description=help_text.describe_command(name, summary),
            epilog=help_text.show_examples(name),
            formatter_class=_formatter,
            parents=parents,
        )
        subparser.set_defaults(name=name)
        return subparser

    _add_daemon_commands(add, _settings_options(), _json_option())
    _add_override_commands(add, _settings_options(), _json_option())
    _add_file_commands(add, _settings_options())
    add("version", "print the version", _json_option())
    parser.summaries = summaries
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=help_text.WIDTH)


def _add_daemon_commands(add: AddCommand, settings: _Parser, json_option: _Parser) -> None:
    add("serve", "answer clients until stopped", settings)
    probe_help = "also probe every backend, reach the CAs, look up the facade's names, and try the ports"
    check_parser = add("check", "check the settings and print what they mean", settings, json_option)
    check_parser.add_argument("--probe", action="store_true", help=probe_help)
    dry_run_help = "as --probe, and order the certificates of [tls.acme] at a staging CA, without issuing any"
    check_parser.add_argument("--dry-run", action="store_true", help=dry_run_help)
    status = add("status", "show the daemon's backends, and which one is active and why", settings, json_option)
    status.add_argument("--watch", action="store_true", help="show it again every 2 s, until Ctrl-C")
    add("explain", "show how each request of a pull is answered, and why", settings, json_option, _pull_options())
    add("hosts", "list the hosts to allow in firewalls, for facaded and for clients", settings, json_option)
    add("history", "show what has happened to the backends, and why", settings, json_option, _days_option(7))
    stats = add("stats", "count pulls by image, client and day", settings, json_option, _days_option(30))
    stats.add_argument("--image", metavar="IMAGE", help="only org/app, by tag, or org/app:tag (default: all images)")
    add("parity", "compare images between the backends", settings, json_option, _images_option())
    add("renew", "renew the daemon's certificates now", settings, json_option, _renewal_options())
    add("reload", "make the daemon read its settings again", settings)


def _add_override_commands(add: AddCommand, settings: _Parser, json_option: _Parser) -> None:
    backend, override_options = _backend_option(), _override_options()
    add("pin", "make a backend active whatever its health", settings, json_option, backend, override_options)
    add("unpin", "let health decide again which backend is active", settings, json_option)
    add("drain", "stop using a backend", settings, json_option, backend, override_options)
    add("undrain", "use a drained backend again", settings, json_option, backend)
    add("failback", "return to a preferred backend that is up now, without the usual wait", settings, json_option)


def _add_file_commands(add: AddCommand, settings: _Parser) -> None:
    example = add("example-config", "print a settings file with all keys and their defaults")
    example.add_argument("file", nargs="?", metavar="FILE", default=EXAMPLE, help="another file of conf/")
    unit = add("unit", "print the systemd unit")
    unit.add_argument("file", nargs="?", metavar="FILE", default=UNIT, help="another unit or file of systemd/")
    client_config = add("client-config", "print a client's settings: facaded first, its backends next", settings)
    client_config.add_argument("client", metavar="CLIENT", choices=CLIENT_NAMES, help=", ".join(CLIENT_NAMES))
    url_help = "the facade's URL as clients see it (default: the first name in hosts)"
    client_config.add_argument("--url", type=_url, metavar="URL", help=url_help)
    manual = add("manual", "print a page of the manual, or the list of its topics")
    manual.add_argument("topic", nargs="?", metavar="TOPIC", help="the page, as in the list")


def _pull_options() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("image", metavar="IMAGE", help="the image, as in docker pull")
    clients = f"the client: {', '.join(USER_AGENTS)}, or a User-Agent (default: docker)"
    options.add_argument("--client", metavar="NAME", default="docker", help=clients)
    return options


def _renewal_options() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("names", nargs="*", metavar="NAME", help="a name of the certificate (default: all)")
    force = "also before facaded's own waits and limits have ended, but never against an authority's 429"
    options.add_argument("--force", action="store_true", help=force)
    return options


def _images_option() -> _Parser:
    options = _Parser(add_help=False)
    images = "org/app:tag, org/app@digest, or org/app for all its tags (default: the canary, and recent pulls)"
    options.add_argument("images", nargs="*", metavar="IMAGE", help=images)
    return options


def _days_option(default: int) -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("--days", metavar="N", help=f"the last N days (default: {default})")
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


def _override_options() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("--reason", metavar="TEXT", help="why, for the status, the log and notifications")
    options.add_argument("--for", dest="seconds", type=_time, metavar="TIME", help='end it after TIME, as in "2h"')
    return options


def _time(text: str) -> float:
    try:
        return values.duration(text, overrides.LONGEST)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _url(text: str) -> str:
    try:
        url = urls.check(text, secure=False)
    except urls.UrlError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if url.path.strip("/") or url.query:
        raise argparse.ArgumentTypeError("write scheme, host and port only, as in https://docker.example.com")
    return f"{url.scheme}://{url.netloc}"


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
