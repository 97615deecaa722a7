"""The settings: a TOML file as frozen classes, every problem in it reported at once with its key path and a remedy."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NewType
from urllib.parse import urlsplit

from attrs import field, fields, frozen
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override
from OpenSSL import crypto
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorCore

from facaded.backends.registry import printable, trust_policy
from facaded.oci.requests import Image, parse_image
from facaded.policy import health, repositories
from facaded.policy.answers import Rules, host_name, split_host
from facaded.policy.repositories import Pattern

DEFAULT_FILE = Path("/etc/facaded/facaded.toml")
SYSTEM_STATE = Path("/var/lib/facaded")
SYSTEM_RUNTIME = Path("/run/facaded")
CONTROL_SOCKET = "control.sock"

FILE_SIZE = 1 << 20
"""Bytes of a settings file: far more than anybody writes, so that a wrong path does not fill the memory."""

BACKENDS = 16
"""Registries behind one facade: each is probed, and a request that fails may try them all."""

LIST_LENGTH = 1000
"""Entries in any list of the settings."""

LONGEST = 86400.0
"""Seconds in the longest time that can be set: a day."""

SHORTEST = 0.05
"""Seconds in the shortest time that can be set: shorter ones would be a load on the backends and on this machine."""

ENDPOINTS = ("tcp", "tcp6", "unix", "systemd", "haproxy")
"""Kinds of Twisted endpoints that can be listened on and closed again."""

_TCP = re.compile(r"(?:haproxy:)?tcp6?:(?:port=)?(\d{0,9})")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)")
_BACKEND_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*|[0-9a-f:.]*:[0-9a-f:.]*")
_HUB_THAT_WAS = "registry.hub.docker.com"
_HUB = "registry-1.docker.io"

Structure = Callable[[Any, Any], Any]
"""What cattrs calls with a value and a type, and what gives the value as that type or raises ValueError."""

Seconds = NewType("Seconds", float)
Count = NewType("Count", int)
Url = NewType("Url", str)
BackendName = NewType("BackendName", str)
HostName = NewType("HostName", str)
Endpoint = NewType("Endpoint", str)
CaFile = NewType("CaFile", Path)


class SettingsError(Exception):
    """Settings that cannot be used.

    `problems` are sentences, each beginning with the key path it is about. `partial` is what the settings say apart
    from those, if anything: enough to find a daemon that runs with an older version of them.
    """

    def __init__(self, source: str, problems: tuple[str, ...], partial: "Config | None" = None) -> None:
        super().__init__(f"{source}: {'; '.join(problems)}")
        self.source = source
        self.problems = problems
        self.partial = partial


@frozen
class Backend:
    """[[backend]]: one registry. `url` is scheme, host and port, no path."""

    name: BackendName
    url: Url
    canary: Image | None = None
    ca_file: CaFile | None = None
    rename: dict[str, str] | None = None


@frozen
class Listen:
    """[listen]: Twisted endpoint strings, and the Host values that the admin listener answers besides loopback ones."""

    http: tuple[Endpoint, ...] = (Endpoint(r"tcp:8080:interface=\:\:"),)
    admin: tuple[Endpoint, ...] = (Endpoint("tcp:9180:interface=127.0.0.1"),)
    admin_hosts: tuple[HostName, ...] = ()
    control: Endpoint | None = None


@frozen
class Health:
    """[health]: times in seconds, counts in probe results."""

    interval: Seconds = Seconds(10.0)
    fast_interval: Seconds = Seconds(1.0)
    timeout: Seconds = Seconds(3.0)
    rise: Count = Count(2)
    fall: Count = Count(2)
    failback_after: Seconds = Seconds(60.0)
    canary: Image | None = None

    @property
    def machine(self) -> health.Settings:
        """What the health machine needs of this."""
        return health.Settings(
            interval=self.interval,
            fast_interval=self.fast_interval,
            timeout=self.timeout,
            fall=self.fall,
            rise=self.rise,
        )


@frozen
class State:
    """[state]: where the daemon keeps what must outlive it."""

    directory: Path | None = None


DOCKER_HUB = Backend(BackendName("docker-hub"), Url(f"https://{_HUB}"))
GHCR = Backend(BackendName("ghcr"), Url("https://ghcr.io"))


@frozen
class Config:
    """All settings. The defaults are those of a daemon without a file."""

    hosts: tuple[HostName, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    listen: Listen = field(factory=Listen)
    health: Health = field(factory=Health)
    state: State = field(factory=State)
    backends: tuple[Backend, ...] = (DOCKER_HUB, GHCR)

    @property
    def rules(self) -> Rules:
        """What decides answers."""
        return Rules(
            hosts=self.hosts,
            repositories=self.repositories,
            backends={backend.name: backend.url for backend in self.backends},
        )

    def canary(self, backend: Backend) -> Image | None:
        """The image that `backend` is asked for by probes."""
        return backend.canary or self.health.canary


@frozen
class Loaded:
    """Settings, where they came from, and what a person should know about them."""

    config: Config
    source: str
    warnings: tuple[str, ...] = ()


def load(path: Path | None, org: str | None, environ: Mapping[str, str], reactor: IReactorCore) -> Loaded:
    """Read the settings.

    `path` is the file to read; without one it is `DEFAULT_FILE` if that exists, else the built-in defaults, with
    `org` (of `--org`) or REGISTRY_HOST and REGISTRY_ORG from `environ`. `reactor` is only used to check endpoint
    strings.

    Raises SettingsError with every problem found.
    """
    if path is None and os.path.exists(DEFAULT_FILE):  # Path.exists() raises where one may not look
        path = DEFAULT_FILE
    if path is not None:
        if org is not None:
            raise SettingsError(str(path), ("--org: it is for running without a file; set `repositories` in the file",))
        return _loaded(_read(path), str(path), environ, reactor)
    raw, source, warnings = _without_file(org, environ)
    return _loaded(raw, source, environ, reactor, warnings)


def advice(config: Config) -> tuple[str, ...]:
    """What the settings allow but a person should know: sentences, each beginning with its key path."""
    if len(config.backends) == 1:
        return ("backend: there is only one, so there is no failover",)
    if not config.repositories:
        first, *others = (backend.name for backend in config.backends)
        return (
            f"repositories: empty, so there is no failover: everything is sent to {first} and nothing to "
            f"{', '.join(others)}, where the same name may belong to somebody else; name your own, as in "
            'repositories = ["org/**"] or --org org',
        )
    first_host = urlsplit(config.backends[0].url).hostname
    return tuple(
        f"backend[{index}].rename: {backend.name} is asked for the same names as {config.backends[0].name}, where "
        "they may belong to somebody else; rename = {} confirms that they are yours"
        for index, backend in enumerate(config.backends)
        if index and backend.rename is None and urlsplit(backend.url).hostname != first_host
    )


def state_directory(config: Config, environ: Mapping[str, str]) -> Path:
    """Where the state is kept.

    The setting, else systemd's directory, else the system's if it can be written, else the user's own.
    """
    if config.state.directory is not None:
        return config.state.directory
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    existing = SYSTEM_STATE if os.path.lexists(SYSTEM_STATE) else SYSTEM_STATE.parent
    if os.access(existing, os.W_OK | os.X_OK):
        return SYSTEM_STATE
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local/state")
    return Path(home) / "facaded"


def control_endpoint(config: Config, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint of the control socket, with a mode that keeps others out unless the setting gives one."""
    given = config.listen.control
    if given is not None:
        return given if re.search(r"(?<!\\):mode=", given) else Endpoint(f"{given}:mode=600")
    runtime = environ.get("RUNTIME_DIRECTORY")
    directory = Path(runtime.split(":")[0]) if runtime else state_directory(config, environ)
    return Endpoint(f"unix:{_quoted(str(directory / CONTROL_SOCKET))}:mode=600")


def control_path(endpoint: Endpoint) -> str:
    """The path of a `unix:` endpoint."""
    found = re.match(r"unix:(?:address=)?((?:[^:\\]|\\.)*)", endpoint)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def _loaded(
    raw: dict[str, Any], source: str, environ: Mapping[str, str], reactor: IReactorCore, warnings: tuple[str, ...] = ()
) -> Loaded:
    config, problems, places = _structure(raw)
    problems += [*_contradictions(config, places, problems), *_bad_endpoints(config, environ, reactor)]
    if problems:
        raise SettingsError(source, tuple(problems), config)
    return Loaded(config, source, (*warnings, *advice(config)))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE + 1)
        if len(data) > FILE_SIZE:
            raise SettingsError(str(path), (f"the file is larger than {FILE_SIZE} bytes: is it the right one?",))
        return tomllib.loads(data.decode())
    except OSError as error:
        raise SettingsError(str(path), (f"the file cannot be read: {error.strerror}",)) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError among them
        raise SettingsError(str(path), (f"the file is not TOML: {error}",)) from None


def _without_file(org: str | None, environ: Mapping[str, str]) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    raw: dict[str, Any] = {}
    if org is not None:
        return {"repositories": _of_organisation(org, "--org")}, f"built-in defaults with --org {org}", ()
    host, org = environ.get("REGISTRY_HOST"), environ.get("REGISTRY_ORG")
    if not host and not org:
        return raw, "built-in defaults", ()
    warnings: tuple[str, ...] = ()
    if org:
        raw["repositories"] = _of_organisation(org, "REGISTRY_ORG")
    if host:
        if host.lower() == _HUB_THAT_WAS:
            warnings = (f"REGISTRY_HOST: {_HUB_THAT_WAS} is read as {_HUB}, which has taken its place",)
            host = _HUB
        known = {urlsplit(backend.url).hostname: backend.name for backend in (DOCKER_HUB, GHCR)}
        raw["backend"] = [{"name": known.get(host, "registry"), "url": f"https://{host}"}]
    return raw, "REGISTRY_HOST and REGISTRY_ORG", warnings


def _of_organisation(org: str, where: str) -> list[str]:
    try:
        if "*" in org:
            raise ValueError("a name, not a pattern")
        return [repositories.parse(f"{parse_image(org).name}/**").text]
    except ValueError:
        raise SettingsError(
            where, (f"{where}: {org!r} is not the name of an organisation, as in docker pull HOST/NAME/img",)
        ) from None


# From TOML to classes


def _structure(raw: dict[str, Any]) -> tuple[Config, list[str], list[int]]:
    """Make the classes. What is at fault is taken out, so that the rest can still be checked as a whole.

    Gives the settings without the parts at fault, the problems, and the places in the file of the backends that are
    left.
    """
    problems: list[str] = []
    places = list(range(len(raw["backend"]))) if isinstance(raw.get("backend"), list) else list(range(BACKENDS))
    while True:
        try:
            return _CONVERTER.structure(raw, Config), problems, places
        except (ClassValidationError, IterableValidationError) as error:
            faults = list(_faults(error, ()))
        problems = problems or [f"{_written(path)}: {sentence}" for path, sentence in faults]
        for path in _to_take_out(raw, [path for path, _ in faults]):
            *parents, last = path
            holder = _at(raw, parents)
            del holder[last]
            if parents == ["backend"]:
                del places[int(last)]


KeyPath = tuple[str | int, ...]


def _faults(error: Exception, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    match error:
        case ClassValidationError():
            noted, bare = error.group_exceptions()
            for each, note in noted:
                yield from _faults(each, (*path, {"backends": "backend"}.get(note.name, note.name)))
            for each in bare:
                yield from _faults(each, path)
        case IterableValidationError():
            listed, bare = error.group_exceptions()
            for each, place in listed:
                yield from _faults(each, (*path, place.index))
            for each in bare:
                yield from _faults(each, path)
        case ForbiddenExtraKeysError():
            for key in sorted(error.extra_fields):
                yield (*path, key), _unknown(key, error.cl)
        case KeyError():
            yield path, "missing: every backend needs one"
        case _:
            yield path, str(error)


def _unknown(key: str, section: type) -> str:
    known = sorted({"backends": "backend"}.get(each.name, each.name) for each in fields(section))
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known here: {', '.join(known)}"


def _at(raw: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        raw = raw[part]
    return raw


def _to_take_out(raw: dict[str, Any], faulty: list[KeyPath]) -> list[KeyPath]:
    """What to take out so that nothing in `faulty` is left: where a key is missing, what should have had it.

    Nothing that is in something else that goes; later entries of a list first, so that the others stay in their places.
    """

    def is_there(path: KeyPath) -> bool:
        holder = _at(raw, path[:-1])
        return isinstance(holder, list) or path[-1] in holder

    paths = {path if is_there(path) else path[:-1] for path in faulty}
    outermost = [path for path in paths if not any(path[:length] in paths for length in range(1, len(path)))]
    return sorted(outermost, key=lambda path: [(-part, "") if isinstance(part, int) else (0, part) for part in path])


def _written(path: KeyPath) -> str:
    return printable("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix("."))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {_toml_type(value)}")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise ValueError("control characters are not allowed here")
    return value


def _seconds(value: object) -> float:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'{value!r} is not a time: write a number and a unit, as in "500ms", "10s", "10m" or "1h"')
    seconds = float(found[1]) * _UNITS[found[2]]
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f'{value!r} is out of range: from "{SHORTEST * 1000:.0f}ms" to "{LONGEST / 3600:.0f}h"')
    return seconds


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100:
        raise ValueError(f"{value!r} is not a count: write a whole number from 1 to 100")
    return value


def _url(value: object) -> str:
    text = _text(value)
    remedy = f'{text!r} is not a registry\'s address: write scheme and host, as in "https://ghcr.io"'
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(remedy) from None
    if parts.scheme not in ("http", "https") or not _HOST_NAME.fullmatch(host) or port == 0 or "@" in parts.netloc:
        raise ValueError(remedy)
    if ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address cannot be asked by itself: give it a host name")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError(f"{text!r} has more than scheme and host: leave out what comes after the host")
    if host == _HUB_THAT_WAS:
        raise ValueError(f"{_HUB_THAT_WAS} does not work any more: write https://{_HUB}")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}"


def _backend_name(value: object) -> str:
    if not _BACKEND_NAME.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is not a name: 1 to 63 lower-case letters, digits, and . _ - between them")
    return str(value)


def _host_name(value: object) -> str:
    text = host_name(_text(value))
    bare = text.removeprefix("[").removesuffix("]")
    if not _HOST_NAME.fullmatch(bare) or split_host(text)[0] != bare or split_host(text)[1]:
        raise ValueError(
            f'{value!r} is not a host name: write it without scheme, port and path, as in "docker.example.com"'
        )
    return bare


def _path(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise ValueError(f"{value!r} is not an absolute path: begin it with /")
    return path


def _ca_file(value: object) -> Path:
    path = _path(value)
    try:
        trust_policy(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except crypto.Error:
        raise ValueError(f"{path} has no certificate in PEM form that can be read") from None
    return path


def _list_of(read: Callable[[object], Any], single: bool = False) -> Structure:
    """Read a list; with `single`, one bare value is a list of one."""

    def structure(value: object, _: object) -> tuple[Any, ...]:
        values = [value] if single and isinstance(value, str) else value
        if not isinstance(values, list):
            raise ValueError(f"expected a list, got {_toml_type(value)}: put it in [ ]")
        if len(values) > LIST_LENGTH:
            raise ValueError(f"a list of more than {LIST_LENGTH} entries")
        found, wrong = [], []
        for index, each in enumerate(values):
            try:
                found.append(read(each))
            except ValueError as error:
                wrong.append(f"entry {index}: {error}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return tuple(found)

    return structure


def _tables(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"expected tables, got {_toml_type(value)}: write [[backend]]")
    if not 1 <= len(value) <= BACKENDS:
        raise ValueError(f'from 1 to {BACKENDS} are needed: [[backend]] with name = "…" and url = "https://…"')
    return value


def _renames(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, got {_toml_type(value)}: write rename = {{}}")
    if value:
        raise ValueError(
            "this version keeps names as they are: only rename = {} is known, which confirms that the names are equal"
        )
    return {}


def _toml_type(value: object) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def _single(read: Callable[[object], Any]) -> Structure:
    return lambda value, _: read(value)


def _register(converter: Converter, kind: Any, structure: Structure) -> None:
    converter.register_structure_hook_func(lambda other: bool(other == kind), structure)


def _section(converter: Converter, section: type, **names: Any) -> Structure:
    inner: Structure = make_dict_structure_fn(section, converter, _cattrs_forbid_extra_keys=True, **names)

    def structure(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"expected a table, got {_toml_type(value)}")
        return inner(value, kind)

    return structure


def _converter() -> Converter:
    converter = Converter(detailed_validation=True)
    readers: dict[Any, Callable[[object], Any]] = {
        Seconds: _seconds,
        Count: _count,
        Url: _url,
        BackendName: _backend_name,
        Image | None: lambda value: parse_image(_text(value)),
        Endpoint | None: _text,
        CaFile | None: _ca_file,
        Path | None: _path,
        dict[str, str] | None: _renames,
    }
    for kind, read in readers.items():
        _register(converter, kind, _single(read))
    _register(converter, tuple[HostName, ...], _list_of(_host_name))
    _register(converter, tuple[Pattern, ...], _list_of(lambda value: repositories.parse(_text(value))))
    _register(converter, tuple[Endpoint, ...], _list_of(_text, single=True))
    _register(
        converter, tuple[Backend, ...], lambda value, _: tuple(converter.structure(_tables(value), list[Backend]))
    )
    for section, names in (
        (Listen, {}),
        (Health, {}),
        (State, {}),
        (Backend, {}),
        (Config, {"backends": override(rename="backend")}),
    ):
        converter.register_structure_hook(section, _section(converter, section, **names))
    return converter


_CONVERTER = _converter()


# What single values cannot tell


def _contradictions(config: Config, places: list[int], problems: list[str]) -> Iterator[str]:
    """What is wrong between the settings. `places` are the backends' in the file; `problems` are those found before."""
    names = [backend.name for backend in config.backends]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"backend[{places[index]}].name: {name} is the name of an earlier backend as well: give each its own"
    timed = any(problem.startswith("health.interval:") for problem in problems)
    if config.health.fast_interval > config.health.interval and not timed:
        yield "health.fast_interval: longer than health.interval: make it shorter, or leave it out"
    for path, canary in _canaries(config, places):
        if not repositories.listed(config.repositories, canary.name):
            yield f"{path}: {canary.name} is not among the repositories: add it there, or choose another image"


def _canaries(config: Config, places: list[int]) -> Iterator[tuple[str, Image]]:
    if config.health.canary:
        yield "health.canary", config.health.canary
    for index, backend in enumerate(config.backends):
        if backend.canary:
            yield f"backend[{places[index]}].canary", backend.canary


def _bad_endpoints(config: Config, environ: Mapping[str, str], reactor: IReactorCore) -> Iterator[str]:
    listed = [("listen.http", each) for each in config.listen.http]
    listed += [("listen.admin", each) for each in config.listen.admin]
    listed += [("listen.control", control_endpoint(config, environ))]
    if not config.listen.http:
        yield "listen.http: empty, so nothing would be answered: leave it out for the default"
    for path, endpoint in listed:
        if path == "listen.control" and not endpoint.startswith("unix:"):
            yield f'{path}: {endpoint!r} is not a unix: endpoint, as in "unix:/run/facaded/control.sock"'
            continue
        port = _TCP.match(endpoint)
        if endpoint.partition(":")[0] not in ENDPOINTS or (port and not 0 <= int(port[1] or -1) <= 65535):
            known = ", ".join(ENDPOINTS)
            yield f'{path}: {endpoint!r}: write it as in "tcp:8080", with a port up to 65535; known: {known}'
            continue
        try:
            serverFromString(reactor, endpoint)
        except Exception as error:  # each kind of endpoint has its own way to say no
            yield f'{path}: {endpoint!r} is not a Twisted endpoint ({error}): write it as in "tcp:8080"'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
