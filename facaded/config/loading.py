"""Loading: builds checked settings from a file, the environment and the command line."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, field, frozen
from twisted.internet.interfaces import IReactorCore

from facaded.config import checks, environment, file_checks, paths
from facaded.config.advice import advice
from facaded.config.checks import PlacedSettings
from facaded.config.cores import usable_cores
from facaded.config.environment import Environment, Raw
from facaded.config.file_checks import Note
from facaded.config.reading import Reader
from facaded.config.sections import PLAIN_PORT_BESIDE_TLS, Config
from facaded.config.settings_error import KeyPath, Problem, SettingsError, nearest, overlap, written
from facaded.config.toml_lines import TooDeepError, check_bounds, key_lines

FILE_SIZE = 512 << 10
"""Bytes of a settings file: far more than any has, so that a wrong path takes little memory and time."""

_SYNTAX = re.compile(r"(.*?) ?\(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_SYNTAX_REMEDIES = {
    "Cannot overwrite a value": "this key is set twice: keep one of them",
    "Cannot declare": "this section is there twice: put its keys into one",
    "Cannot mutate immutable namespace": "this table is already complete in { }: put all its keys there",
    "Invalid value": 'put text in double quotes, as in "10s", and write true and false in lower case',
    "Expected '=' after a key": "write each setting as key = value",
    "Expected newline or end of document": "write one setting on each line without , or ; at its end, and text in "
    "double quotes",
    "Unclosed array": "close the list with ], and put commas between its entries",
    "Unterminated string": "close the text with the quote that it begins with",
    "Illegal character '\\n'": "close the text with the quote that it begins with",
    "Exceeds the limit": "a number is too large: check that it is the right file",
    "Invalid statement": "write each setting as key = value, and each section as [name]",
}


@frozen
class SettingsText:
    """What settings are made of besides the environment: a file at `path` and its content, or the value of --org."""

    path: str | None = None
    content: str | None = None
    org: str | None = None


@frozen
class Loaded:
    """Settings, where they are from, and warnings.

    `source` is the file, or what there is instead. `origins` says for the keys that are set, as messages write them,
    where: a file with its line, a variable, or an option. `text` is what another process can load again.
    """

    config: Config
    source: str
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(factory=dict)
    text: SettingsText = field(default=SettingsText(), repr=False)


@frozen
class _Origins:
    """Where keys were set. `lines` are those of the file, `elsewhere` the variables and options."""

    source: str
    lines: Mapping[KeyPath, int]
    elsewhere: Mapping[KeyPath, str]

    def place(self, path: KeyPath) -> str:
        """Return where a problem at `path` is: `FILE:LINE`, or the name of a variable or option."""
        for origin, variable in self.elsewhere.items():
            if path[: len(origin)] == origin:
                return variable
        line = nearest(path, self.lines)
        return f"{self.source}:{line}" if line else self.source

    @property
    def of_keys(self) -> dict[str, str]:
        """The places of all keys that are set, by their key path as a person writes it, without tables and entries."""
        paths = dict.fromkeys([*self.lines, *self.elsewhere])
        tables = {path[:length] for path in paths for length, name in enumerate(path) if isinstance(name, str)}
        tables |= {table[:-1] for table in tables if table and isinstance(table[-1], int)}
        return {written(path): self.place(path) for path in paths if isinstance(path[-1], str) and path not in tables}


def load(path: Path | None, org: str | None, environ: Mapping[str, str], reactor: IReactorCore) -> Loaded:
    """Load the settings.

    `path` is the file to read; without one it is `paths.DEFAULT_FILE` if that exists, else the built-in defaults, with
    `org` (the value of --org) or REGISTRY_HOST and REGISTRY_ORG. FACADED_ variables override all of them: see
    `environment`. `reactor` is only used to check endpoint strings.

    Raises SettingsError with every problem.
    """
    if path is None and os.path.exists(paths.DEFAULT_FILE):  # Path.exists() raises where this user may not look
        path = paths.DEFAULT_FILE
    if path is None or org is not None:
        return _build(SettingsText(None if path is None else str(path), None, org), environ, reactor)
    return _build(SettingsText(str(path), _read(path)), environ, reactor)


def load_again(text: SettingsText, environ: Mapping[str, str], reactor: IReactorCore) -> Loaded:
    """Load settings that another process has loaded, with the same environment. Raises SettingsError."""
    return _build(text, environ, reactor)


def _build(text: SettingsText, environ: Mapping[str, str], reactor: IReactorCore) -> Loaded:
    path, org = None if text.path is None else Path(text.path), text.org
    lines: Mapping[KeyPath, int] = {}
    if path is None:
        base = environment.without_file(org, environ)
        source = " and ".join(["built-in defaults", *dict.fromkeys(base.origins.values())])
    elif org is not None:
        raise SettingsError([f"--org: it only works without a file: set `repositories` in {path} instead"])
    else:
        raw, lines = _parse(text.content or "", path)
        base, source = Environment(raw), str(path)
    settings = environment.overlay(base, environ, has_file=path is not None)
    checked = _checked(settings, _Origins(source, lines, settings.origins), environ, reactor)
    return evolve(checked, text=text)


def _checked(settings: Environment, origins: _Origins, environ: Mapping[str, str], reactor: IReactorCore) -> Loaded:
    reader = Reader()
    config = reader.read(settings.raw)
    listen = settings.raw.get("listen")
    if config.tls is not None and not (isinstance(listen, dict) and "http" in listen):
        config = evolve(config, listen=evolve(config.listen, http=(PLAIN_PORT_BESIDE_TLS,)))
    checked = PlacedSettings(config, reader.places)
    files = list(file_checks.check_files(checked, environ))
    contradictions = [
        *checks.contradictions(checked),
        *checks.listeners(config, paths.control_endpoint(config, environ), reactor),
        *(result for result in files if isinstance(result, Problem)),
    ]
    problems = [*reader.problems, *(problem for problem in contradictions if not _follows(problem, reader.problems))]
    if problems:
        problems.sort(key=lambda problem: nearest(problem.path, origins.lines) or 0)
        raise SettingsError.at(problems, origins.place, config)
    notes = [f"{written(result.path)}: {result.sentence}" for result in files if isinstance(result, Note)]
    if config.tls is None and isinstance(listen, dict) and "https" in listen:
        notes.append("listen.https: it has no effect without [tls]: configure certificates there, or leave it out")
    warnings = (*settings.warnings, *notes, *advice(config, usable_cores()))
    return Loaded(config, origins.source, warnings, origins.of_keys)


def _follows(problem: Problem, mistakes: list[Problem]) -> bool:
    """Whether a problem may be only a consequence of a mistake."""
    paths = (problem.path, *problem.about)
    return any(overlap(path, mistake.path) for mistake in mistakes for path in paths)


def _read(path: Path) -> str:
    """Read the text of a file. Raises SettingsError."""
    if path.is_fifo():
        raise SettingsError([f"{path}: it is a FIFO: name a regular file"])
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE + 1)
    except OSError as error:
        sentence = f"{path}: it cannot be read ({error.strerror}): check the path and its permissions"
        raise SettingsError([sentence]) from None
    if len(data) > FILE_SIZE:
        raise SettingsError([f"{path}: it is larger than {FILE_SIZE} bytes: check that it is the right file"])
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise SettingsError([f"{path}:1: it begins with a byte order mark: save it as UTF-8 without BOM"])
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{path}:{line}: it is not UTF-8: save it as UTF-8"]) from None


def _parse(text: str, path: Path) -> tuple[Raw, dict[KeyPath, int]]:
    """Parse the text of a file, and find the line of each key. Raises SettingsError."""
    try:
        check_bounds(text)
        return tomllib.loads(text), key_lines(text)
    except TooDeepError as error:
        raise SettingsError([f"{path}:{error.line}: {error}: check that it is the right file"]) from None
    except ValueError as error:  # TOMLDecodeError, and an integer with too many digits
        raise SettingsError([f"{path}:{_syntax_error(str(error), text)}"]) from None


def _syntax_error(message: str, text: str) -> str:
    """Return the line and a sentence for an error of tomllib, whose messages have no line at the end of the text."""
    match = _SYNTAX.fullmatch(message)
    reason = match[1] if match else message
    line = match[2] if match and match[2] else str(text.rstrip().count("\n") + 1)
    remedy = next(
        (remedy for start, remedy in _SYNTAX_REMEDIES.items() if reason.startswith(start)),
        "check the quotes, brackets and commas on this line",
    )
    return f"{line}: it is not valid TOML ({reason.partition(';')[0]}): {remedy}"
