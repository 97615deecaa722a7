"""The settings: a TOML file as frozen classes, every problem in it reported at once with its key path and a remedy."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, NewType
from urllib.parse import urlsplit

from attrs import evolve, field, fields, frozen
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override
from OpenSSL import crypto
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorCore

from facaded.backends.tokens import Credentials
from facaded.net.addresses import is_address
from facaded.net.connections import trust_policy
from facaded.net.text import printable
from facaded.oci.requests import Image, parse_image
from facaded.policy import decision, health, repositories
from facaded.policy.decision import Mode, Rules, host_name, split_host
from facaded.policy.repositories import Pattern, Rename
from facaded.tls.acme.settings import (
    LETS_ENCRYPT,
    MOST_NAMES,
    AcmeSettings,
    CertificateAuthority,
    ChallengeKind,
    refusal,
)
from facaded.tls.certificate_files import OTHERS, CertificateFiles

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

AUTHORITIES = 8
"""Certificate authorities that are tried in turn."""

"""Names in one certificate that is ordered: Let's Encrypt allows no more."""

LONGEST = 86400.0
"""Seconds in the longest time that can be set: a day."""

SHORTEST = 0.05
"""Seconds in the shortest time that can be set: shorter ones would be a load on the backends and on this machine."""

LARGEST = 16 << 30
"""Bytes in the largest size that can be set."""

_SIZES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,12})(|B|KiB|MiB|GiB)")
ENDPOINTS = ("tcp", "tcp6", "unix", "systemd", "haproxy")
"""Kinds of Twisted endpoints that can be listened on and closed again."""

_LOOPBACK = re.compile(r"^unix:|:interface=(?:127\.[0-9.]+|\\:\\:1)(?::|$)")
_LOOPBACK_URL = re.compile(r"http://(?:127\.[0-9.]+|localhost)(?::\d+)?$")
_EMAIL = re.compile(r"[^\s@<>,:]+@[^\s@<>,:]+")
_KEY_ID = re.compile(r"[\x21-\x7e]{1,200}")
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
PasswordFile = NewType("PasswordFile", Path)
Realm = NewType("Realm", str)
KeyFile = NewType("KeyFile", Path)
HmacKeyFile = NewType("HmacKeyFile", Path)
Email = NewType("Email", str)
DirectoryUrl = NewType("DirectoryUrl", str)
KeyId = NewType("KeyId", str)
Port = NewType("Port", int)
Bytes = NewType("Bytes", int)


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


class Auth(Enum):
    """Who authenticates at a backend: the facade, if it must, or the client with credentials of its own."""

    ANONYMOUS = "anonymous"
    CLIENT = "client"


@frozen
class Backend:
    """[[backend]]: one registry. `url` is scheme, host and port, no path."""

    name: BackendName
    url: Url
    canary: Image | None = None
    ca_file: CaFile | None = None
    rename: tuple[Rename, ...] | None = None
    auth: Auth = Auth.ANONYMOUS
    username: str | None = None
    password_file: PasswordFile | None = None
    publish_private: bool = False
    relay_blobs: bool = False
    realm: Realm | None = None

    @property
    def credentials(self) -> Credentials | None:
        """The facade's own account there."""
        if self.username is None or self.password_file is None:
            return None
        return Credentials(self.username, self.password_file, self.realm)


@frozen
class Route:
    """[[route]]: the backends of some repositories, preferred first."""

    repositories: tuple[Pattern, ...]
    backends: tuple[BackendName, ...]


@frozen
class Cache:
    """[cache]: the size of the manifests that are kept in bytes, and how long a tag's digest is believed in seconds."""

    manifests: Bytes = Bytes(64 << 20)
    tag_ttl: Seconds = Seconds(10.0)


@frozen
class Listen:
    """[listen]: Twisted endpoint strings, and the Host values that the admin listener answers besides loopback ones.

    `https` is listened on if there is [tls]; then the default of `http` is `PLAIN_BESIDE_TLS`.
    """

    http: tuple[Endpoint, ...] = (Endpoint(r"tcp:8080:interface=\:\:"),)
    https: tuple[Endpoint, ...] = (Endpoint(r"tcp:443:interface=\:\:"),)
    admin: tuple[Endpoint, ...] = (Endpoint("tcp:9180:interface=127.0.0.1"),)
    admin_hosts: tuple[HostName, ...] = ()
    control: Endpoint | None = None


@frozen
class Health:
    """[health]: times in seconds, counts in probe results."""

    interval: Seconds = Seconds(10.0)
    fast_interval: Seconds = Seconds(1.0)
    deep_interval: Seconds = Seconds(60.0)
    timeout: Seconds = Seconds(3.0)
    rise: Count = Count(2)
    fall: Count = Count(2)
    failback_after: Seconds = Seconds(60.0)
    handover: Seconds = Seconds(3600.0)
    canary: Image | None = None

    @property
    def machine(self) -> health.Settings:
        """What the health machine needs of this."""
        return health.Settings(
            interval=self.interval,
            fast_interval=self.fast_interval,
            deep_interval=self.deep_interval,
            timeout=self.timeout,
            fall=self.fall,
            rise=self.rise,
            failback_after=self.failback_after,
        )


@frozen
class State:
    """[state]: where the daemon keeps what must outlive it."""

    directory: Path | None = None


PLAIN_BESIDE_TLS = (Endpoint(r"tcp:80:interface=\:\:"),)
"""Where certificate authorities and people look for the plain port of a name."""


@frozen
class Certificate:
    """[[tls.certificate]]: the files of a chain and its key. They need not be there yet."""

    chain: Path
    key: KeyFile


@frozen
class Ca:
    """[[tls.acme.ca]]: a certificate authority that speaks ACME."""

    directory: DirectoryUrl = DirectoryUrl(LETS_ENCRYPT)
    profile: KeyId | None = None
    eab_key_id: KeyId | None = None
    eab_hmac_key_file: HmacKeyFile | None = None
    ca_file: CaFile | None = None


@frozen
class Acme:
    """[tls.acme]: certificates that the daemon gets by itself. Each entry of `domains` is one, with these names."""

    agree_to_terms: bool = False
    email: Email | None = None
    domains: tuple[tuple[HostName, ...], ...] = ()
    challenges: tuple[ChallengeKind, ...] = (ChallengeKind.TLS_ALPN, ChallengeKind.HTTP)
    cas: tuple[Ca, ...] = (Ca(),)


@frozen
class Tls:
    """[tls]: HTTPS, and what the plain port beside it does."""

    acme_webroot: Path | None = None
    redirect_http: bool = True
    public_port: Port = Port(443)
    certificates: tuple[Certificate, ...] = ()
    acme: Acme | None = None

    @property
    def files(self) -> tuple[CertificateFiles, ...]:
        """The pairs of files."""
        return tuple(CertificateFiles(each.chain, each.key) for each in self.certificates)


DOCKER_HUB = Backend(BackendName("docker-hub"), Url(f"https://{_HUB}"))
GHCR = Backend(BackendName("ghcr"), Url("https://ghcr.io"))


@frozen
class Config:
    """All settings. The defaults are those of a daemon without a file."""

    hosts: tuple[HostName, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    answer: Mode = Mode.AUTO
    listen: Listen = field(factory=Listen)
    health: Health = field(factory=Health)
    cache: Cache = field(factory=Cache)
    state: State = field(factory=State)
    tls: Tls | None = None
    backends: tuple[Backend, ...] = (DOCKER_HUB, GHCR)
    routes: tuple[Route, ...] = ()

    @cached_property
    def rules(self) -> Rules:
        """What decides answers, made once."""
        return Rules(
            hosts=self.hosts,
            repositories=self.repositories,
            backends={
                backend.name: decision.BackendRules(backend.url, backend.rename or (), backend.auth is Auth.CLIENT)
                for backend in self.backends
            },
            named_routes=tuple(decision.Route(route.backends, route.repositories) for route in self.routes),
            mode=self.answer,
        )

    @property
    def orders(self) -> tuple[tuple[HostName, ...], ...]:
        """The certificates that are to be got by ACME: those of the settings, or one for each of the hosts."""
        if self.tls is None or self.tls.acme is None:
            return ()
        return self.tls.acme.domains or tuple((host,) for host in self.hosts if not is_address(host))

    @property
    def acme(self) -> AcmeSettings:
        """The same, and of whom they are got."""
        acme = (self.tls.acme if self.tls else None) or Acme()
        cas = tuple(
            CertificateAuthority(each.directory, each.profile, each.eab_key_id, each.eab_hmac_key_file, each.ca_file)
            for each in acme.cas
        )
        return AcmeSettings(self.orders, acme.challenges, acme.email, cas)

    @property
    def redirects_http(self) -> bool:
        """Whether the plain port sends everything to https."""
        return self.tls is not None and self.tls.redirect_http

    def own_canary(self, backend: Backend) -> Image | None:
        """The image that `backend` is asked for by probes, by the facade's name of it."""
        return backend.canary or self.health.canary

    def canary(self, backend: Backend) -> Image | None:
        """The same by the backend's name of it; None if it has none."""
        canary = self.own_canary(backend)
        theirs = repositories.renamed(backend.rename or (), canary.name) if canary else None
        return evolve(canary, name=theirs) if canary and theirs else None


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
    return (*_about_tls(config), *_about_backends(config))


def _about_tls(config: Config) -> Iterator[str]:
    if config.tls is not None and not config.tls.certificates and config.tls.acme is None:
        remedy = "name one in [[tls.certificate]], or set agree_to_terms = true in [tls.acme]"
        yield f"tls: there is no certificate but a self-signed one, which no client trusts: {remedy}"
    for name in dict.fromkeys(name for names in config.orders for name in names):
        if config.hosts and name not in config.hosts:
            yield f"tls.acme.domains: {name} is not among the hosts, so it is answered 421: add it there as well"


def _about_backends(config: Config) -> tuple[str, ...]:
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
    strangers = tuple(
        f"backend[{index}].rename: {backend.name} is asked for the same names as {config.backends[0].name}, where "
        "they may belong to somebody else; rename = {} confirms that they are yours"
        for index, backend in enumerate(config.backends)
        if index and backend.rename is None and urlsplit(backend.url).hostname != first_host
    )
    blind = [backend.name for backend in config.backends if config.canary(backend) is None]
    unseen = (
        f"health.canary: there is none for {', '.join(blind)}, so that it is not noticed when manifests or blobs alone "
        "fail there; name a small public image that every backend has",
    )
    return (*strangers, *(unseen if blind else ()))


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
    listen = raw.get("listen")
    listened = frozenset(listen) if isinstance(listen, dict) else frozenset()
    config, problems, places = _structure(raw)
    if config.tls is None:
        if "https" in listened and "tls" not in raw and not problems:
            problems.append(
                "listen.https: there is no [tls], which says with what certificate: add it, or leave this out"
            )
    elif "http" not in listened:
        config = evolve(config, listen=evolve(config.listen, http=PLAIN_BESIDE_TLS))
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
            config = _CONVERTER.structure(raw, Config)
            left = len(config.backends)
            return config, problems, places if len(places) == left else list(range(left))  # else the defaults are
        except (ClassValidationError, IterableValidationError) as error:
            faults = list(_faults(error, ()))
        problems = problems or [f"{_written(path)}: {sentence}" for path, sentence in faults]
        for path in _to_take_out(raw, [path for path, _ in faults]):
            *parents, last = path
            holder = _at(raw, parents)
            del holder[last]
            if parents == ["backend"]:
                del places[int(last)]


_KEYS: dict[tuple[type, str], str] = {
    (Config, "backends"): "backend",
    (Config, "routes"): "route",
    (Tls, "certificates"): "certificate",
    (Acme, "cas"): "ca",
}
"""Where a key of the file is called otherwise than the attribute."""

KeyPath = tuple[str | int, ...]


def _faults(error: Exception, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    match error:
        case ClassValidationError():
            noted, bare = error.group_exceptions()
            for each, note in noted:
                yield from _faults(each, (*path, _KEYS.get((error.cl, note.name), note.name)))
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
            yield path, "missing: it is needed here"
        case _:
            yield path, str(error)


def _unknown(key: str, section: type) -> str:
    names: list[str] = [each.name for each in fields(section)]
    known = sorted(_KEYS.get((section, name), name) for name in names)
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


def duration(value: object, longest: float = LONGEST) -> float:
    """A time as people write it, in seconds. Raises ValueError."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'{value!r} is not a time: write a number and a unit, as in "500ms", "10s", "10m" or "1h"')
    seconds = float(found[1]) * _UNITS[found[2]]
    if not SHORTEST <= seconds <= longest:
        raise ValueError(f'{value!r} is out of range: from "{SHORTEST * 1000:.0f}ms" to "{longest / 3600:.0f}h"')
    return seconds


def _bytes(value: object) -> int:
    found = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    size = int(found[1]) * _SIZES[found[2]] if found else -1
    if not 0 <= size <= LARGEST:
        raise ValueError(f'{value!r} is not a size: write a number and a unit, as in "64MiB", up to "16GiB"; 0 is none')
    return size


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {_toml_type(value)}")
    return value


def _mode(value: object) -> Mode:
    try:
        return Mode(value)
    except ValueError:
        raise ValueError(f'{value!r} is no way to answer: write "auto", "redirect" or "serve"') from None


def _auth(value: object) -> Auth:
    try:
        return Auth(value)
    except ValueError:
        raise ValueError(f'{value!r} is not known: write "anonymous" or "client"') from None


def _username(value: object) -> str:
    text = _text(value)
    if not text or ":" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a user name that Basic authentication can carry: ASCII without a colon")
    return text


def _realm(value: object) -> str:
    text = _text(value)
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or "?" in text or "#" in text or "@" in parts.netloc:
        raise ValueError(
            f'{text!r} is not a realm: write the token server\'s address, as in "https://auth.example.com/token"'
        )
    return text


def _secret_file(content: str) -> Callable[[object], Path]:
    """Read the path of a file that holds a secret, called `content`."""

    def read(value: object) -> Path:
        path = _path(value)
        try:
            mode = path.stat().st_mode
            with path.open("rb") as file:
                secret = file.read(4096).strip()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        if mode & OTHERS:  # the group's bits are an access list's mask where systemd hands over a credential
            raise ValueError(f"{path} can be read by others: chmod o= {path}")
        if not secret:
            raise ValueError(f"{path} is empty: write {content} there")
        return path

    return read


def _key_file(value: object) -> Path:
    """A key that is not there yet, or that this user may not see, is the daemon's to speak of when it looks."""
    path = _path(value)
    try:
        mode = path.stat().st_mode
    except OSError:
        return path
    if mode & OTHERS:
        raise ValueError(f"{path} can be read by others: chmod o= {path}, or defaultMode: 0640 in Kubernetes")
    return path


def _email(value: object) -> str:
    if not _EMAIL.fullmatch(_text(value)):
        raise ValueError(f'{value!r} is not an address: write it as in "ops@example.com"')
    return str(value)


def _directory_url(value: object) -> str:
    text = _text(value)
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or "#" in text or "@" in parts.netloc:
        raise ValueError(f'{text!r} is not an ACME directory: write its address, as in "{LETS_ENCRYPT}"')
    return text


def _key_id(value: object) -> str:
    if not _KEY_ID.fullmatch(_text(value)):
        raise ValueError(f"{value!r}: write it as the authority gives it: up to 200 characters of ASCII without spaces")
    return str(value)


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError(f"{value!r} is not a port: write a whole number from 1 to 65535")
    return value


def _challenge(value: object) -> ChallengeKind:
    try:
        return ChallengeKind(value)
    except ValueError:
        raise ValueError(f'{value!r} is not known: write "tls-alpn-01" or "http-01"') from None


def _domain(value: object) -> str:
    text = host_name(_text(value))
    if why := refusal(text):
        raise ValueError(why)
    return text


def _domains(value: object) -> tuple[str, ...]:
    """One certificate: a name, or a list of them."""
    if not isinstance(value, list):
        return (_domain(value),)
    if not 1 <= len(value) <= MOST_NAMES:
        raise ValueError(f"one certificate has from 1 to {MOST_NAMES} names")
    return tuple(dict.fromkeys(_domain(each) for each in value))


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


def _tables(value: object, most: int = LIST_LENGTH, example: str = "[[backend]]") -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"expected tables, got {_toml_type(value)}: write it in double brackets, as in {example}")
    if not 1 <= len(value) <= most:
        raise ValueError(f"from 1 to {most} are needed; each begins with its name in double brackets, as in {example}")
    return value


def _renames(value: object) -> tuple[Rename, ...]:
    if not isinstance(value, dict):
        raise ValueError(f'expected a table, got {_toml_type(value)}: write {{ "org/*" = "other/*" }}')
    if len(value) > LIST_LENGTH:
        raise ValueError(f"a table of more than {LIST_LENGTH} entries")
    return tuple(repositories.parse_rename(_text(ours), _text(theirs)) for ours, theirs in value.items())


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
    if isinstance(kind, type):  # a function would not be asked about bool
        converter.register_structure_hook(kind, structure)
    else:
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
        Seconds: duration,
        Count: _count,
        Url: _url,
        BackendName: _backend_name,
        Image | None: lambda value: parse_image(_text(value)),
        Endpoint | None: _text,
        CaFile | None: _ca_file,
        Path | None: _path,
        tuple[Rename, ...] | None: _renames,
        PasswordFile | None: _secret_file("the password or access token"),
        KeyFile: _key_file,
        HmacKeyFile | None: _secret_file("the key that the authority has given"),
        Email | None: _email,
        DirectoryUrl: _directory_url,
        KeyId | None: _key_id,
        Port: _port,
        Path: _path,
        Realm | None: _realm,
        Bytes: _bytes,
        bool: _boolean,
        Mode: _mode,
        Auth: _auth,
        str | None: _username,
    }
    for kind, read in readers.items():
        _register(converter, kind, _single(read))
    _register(converter, tuple[HostName, ...], _list_of(_host_name))
    _register(converter, tuple[Pattern, ...], _list_of(lambda value: repositories.parse(_text(value))))
    _register(converter, tuple[Endpoint, ...], _list_of(_text, single=True))
    _register(
        converter,
        tuple[Backend, ...],
        lambda value, _: tuple(converter.structure(_tables(value, BACKENDS), list[Backend])),
    )
    _register(converter, tuple[Route, ...], lambda value, _: tuple(converter.structure(_tables(value), list[Route])))
    _register(converter, tuple[BackendName, ...], _list_of(_backend_name))
    _register(converter, tuple[tuple[HostName, ...], ...], _list_of(_domains))
    _register(converter, tuple[ChallengeKind, ...], _list_of(_challenge))
    _register(
        converter,
        tuple[Certificate, ...],
        lambda value, _: tuple(converter.structure(_tables(value, example="[[tls.certificate]]"), list[Certificate])),
    )
    _register(
        converter,
        tuple[Ca, ...],
        lambda value, _: tuple(converter.structure(_tables(value, AUTHORITIES, "[[tls.acme.ca]]"), list[Ca])),
    )
    _register(converter, Tls | None, lambda value, _: converter.structure(value, Tls))
    _register(converter, Acme | None, lambda value, _: converter.structure(value, Acme))
    for section, names in (
        (Listen, {}),
        (Health, {}),
        (Cache, {}),
        (State, {}),
        (Backend, {}),
        (Route, {}),
        (Certificate, {}),
        (Ca, {}),
        (Acme, {"cas": override(rename="ca")}),
        (Tls, {"certificates": override(rename="certificate")}),
        (Config, {"backends": override(rename="backend"), "routes": override(rename="route")}),
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
    yield from _bad_routes(config)
    yield from _bad_auth(config, places)
    if config.tls is not None:
        yield from _bad_tls(config, config.tls)
    for index, backend in enumerate(config.backends):
        if (backend.username is None) != (backend.password_file is None):
            yield f"backend[{places[index]}].username: it goes with password_file, and that with it: set both or none"
        if backend.credentials and not config.repositories:
            yield f"backend[{places[index]}].username: with empty `repositories` anybody could spend it: list your own"
        if backend.rename and config.answer is Mode.REDIRECT:
            yield f'backend[{places[index]}].rename: a redirect keeps the name: set answer = "auto" or "serve"'
    for path, canary in _canaries(config, places):
        if not repositories.listed(config.repositories, canary.name):
            yield f"{path}: {canary.name} is not among the repositories: add it there, or choose another image"


def _bad_routes(config: Config) -> Iterator[str]:
    names = {backend.name for backend in config.backends}
    for index, route in enumerate(config.routes):
        if not route.repositories:
            yield f"route[{index}].repositories: empty: name the repositories that go another way"
        if not route.backends or len(set(route.backends)) != len(route.backends):
            yield f"route[{index}].backends: name each backend once, and at least one"
        for name in route.backends:
            if name not in names:
                yield f"route[{index}].backends: there is no backend called {name}: {', '.join(sorted(names))}"


def _bad_auth(config: Config, places: list[int]) -> Iterator[str]:
    """Clients' credentials go to one backend alone; nobody's go over plain HTTP but on this machine."""
    for index, backend in enumerate(config.backends):
        where, plain = f"backend[{places[index]}]", urlsplit(backend.url).scheme == "http"
        if (backend.credentials or backend.auth is Auth.CLIENT) and plain and not _LOOPBACK_URL.match(backend.url):
            yield f"{where}.url: credentials would go over plain HTTP: write https://"
        if (backend.publish_private or backend.realm) and not backend.credentials:
            yield f"{where}.username: publish_private and realm say what an account is used for: set username as well"
    private = [index for index, backend in enumerate(config.backends) if backend.auth is Auth.CLIENT]
    for index in private:
        where, backend = f"backend[{places[index]}].auth", config.backends[index]
        if len(config.backends) > 1:
            yield f'{where}: "client" leaves no room for another backend: credentials go to one alone'
        if backend.rename or backend.credentials:
            yield f'{where}: "client" goes with neither rename nor username: the client brings name and account'
        if config.answer is Mode.REDIRECT:
            yield f'{where}: with "client" everybody is served: set answer = "auto" or "serve"'
        if not config.redirects_http and not all(_LOOPBACK.search(endpoint) for endpoint in config.listen.http):
            remedy = 'listen.http = "tcp:8080:interface=127.0.0.1", or [tls] with redirect_http = true'
            yield f'{where}: "client" over plain HTTP is for loopback addresses alone: {remedy}'


def _bad_tls(config: Config, tls: Tls) -> Iterator[str]:
    if tls.redirect_http and config.listen.http and not config.hosts:
        yield (
            "tls.redirect_http: with empty `hosts` there is no name to send anybody to: list yours there, or set "
            "redirect_http = false to have the plain port answer by itself"
        )
    if not config.listen.https:
        yield "listen.https: empty, so nothing would speak TLS: leave it out for the default, or leave out [tls]"
    if tls.acme is not None:
        yield from _bad_acme(config, tls.acme)


def _bad_acme(config: Config, acme: Acme) -> Iterator[str]:
    if not acme.agree_to_terms:
        yield (
            "tls.acme.agree_to_terms: the authority wants you to agree to its terms of service "
            "(Let's Encrypt's: https://letsencrypt.org/repository/): read them, and set it to true"
        )
    if not config.orders:
        yield "tls.acme.domains: there is no name to get a certificate for: list your names in `hosts`, or here"
    named: set[str] = set()
    for index, names in enumerate(acme.domains):
        for name in sorted(named & set(names)):
            yield (
                f"tls.acme.domains: entry {index}: {name} is in another entry too, and authorities count failures by "
                "name: have each name in one entry alone"
            )
        named |= set(names)
    if not acme.challenges or len(set(acme.challenges)) != len(acme.challenges):
        yield 'tls.acme.challenges: name each once, and at least one: "tls-alpn-01", "http-01"'
    elif acme.challenges == (ChallengeKind.HTTP,) and not config.listen.http:
        yield "tls.acme.challenges: http-01 is asked for on the plain port: set listen.http, or add tls-alpn-01"
    for index, ca in enumerate(acme.cas):
        if (ca.eab_key_id is None) != (ca.eab_hmac_key_file is None):
            yield f"tls.acme.ca[{index}].eab_key_id: it goes with eab_hmac_key_file: set both or none"


def _canaries(config: Config, places: list[int]) -> Iterator[tuple[str, Image]]:
    if config.health.canary:
        yield "health.canary", config.health.canary
    for index, backend in enumerate(config.backends):
        if backend.canary:
            yield f"backend[{places[index]}].canary", backend.canary


def _bad_endpoints(config: Config, environ: Mapping[str, str], reactor: IReactorCore) -> Iterator[str]:
    listed = [("listen.http", each) for each in config.listen.http]
    if config.tls is not None:
        listed += [("listen.https", each) for each in config.listen.https]
    listed += [("listen.admin", each) for each in config.listen.admin]
    listed += [("listen.control", control_endpoint(config, environ))]
    if not config.listen.http and config.tls is None:
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
