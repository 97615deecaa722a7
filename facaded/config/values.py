"""The kinds of values in settings: for each its parser, its name in the manual, and its JSON Schema.

A reader takes a value as tomllib gives it. It raises ValueError with a sentence that ends with the remedy, and
EntriesError for the entries of a list or table.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import ip_network
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from attrs import frozen

from facaded.config import listen_addresses
from facaded.config.cores import MOST_WORKERS
from facaded.config.listen_addresses import Address
from facaded.config.sections import Auth
from facaded.net.addresses import canonical, is_address
from facaded.oci.requests import Image, is_name, parse_image
from facaded.policy import repositories
from facaded.policy.decision import Mode, host_name, split_host
from facaded.policy.limits import Network
from facaded.policy.repositories import Pattern, Rename
from facaded.policy.sources import Addresses
from facaded.tls.acme.public_authorities import LETS_ENCRYPT
from facaded.tls.acme.settings import MOST_NAMES, ChallengeKind, refusal
from facaded.web.accesslog import LoggedAnswers, LogStyle

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=Enum)

LIST_LENGTH = 1000
"""Entries in any list of the settings."""

LONGEST = 86400.0
"""Seconds in the longest time that can be set: a day."""

SHORTEST = 0.05
"""Seconds in the shortest time that can be set: shorter ones would overload the backends and this machine."""

MOST = 1_000_000
"""The largest number that can be set for a limit."""

LARGEST = 16 << 30
"""Bytes in the largest size that can be set."""

SMALLEST_HISTORY = 16 << 20
"""Bytes in the smallest history: its log takes 6 MiB, and a day with the most different names 4 MiB."""

MOST_ARGUMENTS, LONGEST_ARGUMENT = 100, 4096
"""Words of a command, and characters of each."""

QUOTED = 100
"""Characters of a value that a message quotes."""

DOCKER_HUB_URL = "https://registry-1.docker.io"

REGISTRY_HOSTS = {
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.gitlab.com",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
}
"""Registry hosts that people write before a repository name by mistake."""

WEBSITES = {
    "registry.hub.docker.com": f"no longer works as a registry: write {DOCKER_HUB_URL}",
    "hub.docker.com": f"is Docker Hub's website, not its registry: write {DOCKER_HUB_URL}",
    "docker.io": f"is Docker Hub's website, not its registry: write {DOCKER_HUB_URL}",
    "docker.com": f"is Docker's website, not a registry: write {DOCKER_HUB_URL}",
    "auth.docker.io": f"is Docker Hub's token server, not its registry: write {DOCKER_HUB_URL}",
    "gitlab.com": "is a website, not a registry: write https://registry.gitlab.com",
    "github.com": "is a website, not a registry: write https://ghcr.io",
}
"""Websites that people mistake for registries, and what to write instead."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)")
_SIZES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,12})(|B|KiB|MiB|GiB)")
_BACKEND_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*|[0-9a-f:.]*:[0-9a-f:.]*")
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_EMAIL = re.compile(r"[^\s@<>,:]+@[^\s@<>,:]+")
_KEY_ID = re.compile(r"[\x21-\x7e]{1,200}")

Schema = Mapping[str, object]


@frozen
class ValueKind(Generic[T_co]):
    """One kind of value. `name` is what the manual calls it, with its unit."""

    name: str
    read: Callable[[object], T_co]
    schema: Schema


class EntriesError(ValueError):
    """Mistakes in entries of a list, by index, or of a table, by key."""

    def __init__(self, errors: Mapping[int | str, ValueError]) -> None:
        super().__init__("; ".join(f"{place}: {error}" for place, error in errors.items()))
        self.errors = errors


def type_name(value: object) -> str:
    """Return the name of a TOML value's type, for a message."""
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a float", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def quoted(value: object) -> str:
    """Return a value as a message quotes it, shortened if it is long."""
    representation = repr(value)
    return representation if len(representation) <= QUOTED else f"{representation[:QUOTED]}..."


def text(value: object) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {type_name(value)}: put it in double quotes")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise ValueError("control characters are not allowed here: remove them")
    return value


def duration(value: object, longest: float = LONGEST) -> float:
    """Read a time as people write it; returns seconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(
            f'{quoted(value)} is not a time: write a number and a unit, as in "500ms", "10s", "10m" or "1h"'
        )
    seconds = float(match[1]) * _UNITS[match[2]]
    if not SHORTEST <= seconds <= longest:
        raise ValueError(f'{quoted(value)} is out of range: from "{SHORTEST * 1000:.0f}ms" to "{longest / 3600:.0f}h"')
    return seconds


def _duration_or_off(value: object) -> float:
    """Read a time, or `"0s"` for something that is switched off."""
    return 0.0 if value == "0s" else duration(value)


def _size(value: object) -> int:
    match = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    size = int(match[1]) * _SIZES[match[2]] if match else -1
    if not 0 <= size <= LARGEST:
        raise ValueError(f'{quoted(value)} is not a size: write a number and a unit, as in "64MiB", up to "16GiB"')
    return size


def _history_size(value: object) -> int:
    size = _size(value)
    if size < SMALLEST_HISTORY:
        raise ValueError(f'{quoted(value)} is too small: write at least "{SMALLEST_HISTORY >> 20}MiB"')
    return size


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {type_name(value)}: write it in lower case, without quotes")
    return value


def _integer(what: str, least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{quoted(value)} is not a {what}: write an integer from {least} to {most}")
        return value

    return read


def _one_of(choices: type[E]) -> ValueKind[E]:
    names = [str(choice.value) for choice in choices]
    *others, last = (f'"{name}"' for name in names)

    def read(value: object) -> E:
        try:
            return choices(value)
        except ValueError:
            raise ValueError(f"{quoted(value)}: expected {', '.join(others)} or {last}") from None

    return ValueKind(" or ".join([", ".join(others), last]), read, {"enum": names})


def _username(value: object) -> str:
    name = text(value)
    if not name or ":" in name or not name.isascii():
        raise ValueError(f"{quoted(name)} is not a user name for Basic authentication: write ASCII without a colon")
    return name


def _https_url(what: str, example: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        url = text(value)
        remedy = f'{quoted(url)} is not {what}: write its URL, as in "{example}"'
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(remedy) from None
        if parts.scheme != "https" or not host or "?" in url or "#" in url or "@" in parts.netloc:
            raise ValueError(remedy)
        return url

    return read


def _email(value: object) -> str:
    if not _EMAIL.fullmatch(text(value)):
        raise ValueError(f'{quoted(value)} is not an email address: write it as in "ops@example.com"')
    return str(value)


def _key_id(value: object) -> str:
    if not _KEY_ID.fullmatch(text(value)):
        raise ValueError(
            f"{quoted(value)}: expected up to 200 ASCII characters without spaces: copy it from the authority"
        )
    return str(value)


def _domain(value: object) -> str:
    name = host_name(text(value))
    name = canonical(name.removeprefix("[").removesuffix("]"))
    if reason := refusal(name):
        raise ValueError(reason)
    return name


def _domains(value: object) -> tuple[str, ...]:
    """Read the names of one certificate: one name, or a list."""
    if not isinstance(value, list):
        return (_domain(value),)
    if not 1 <= len(value) <= MOST_NAMES:
        raise ValueError(f"one certificate has from 1 to {MOST_NAMES} names: split the list")
    return tuple(dict.fromkeys(_domain(name) for name in value))


def backend_url(value: object) -> str:
    """Read a registry's URL; returns it without a path and a final slash."""
    url = text(value)
    remedy = f'{quoted(url)} is not a registry\'s URL: write scheme and host, as in "https://ghcr.io"'
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(remedy) from None
    if parts.scheme not in ("http", "https") or not _HOST_NAME.fullmatch(host) or port == 0 or "@" in parts.netloc:
        raise ValueError(remedy)
    if ":" in host:
        raise ValueError(f"{quoted(url)}: IPv6 addresses are not supported here: give the registry a host name")
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise ValueError(f"{quoted(url)} has more than scheme and host: leave out everything after the host")
    if why := WEBSITES.get(host.removeprefix("www.")):
        raise ValueError(f"{host} {why}")
    if _LOOKS_LIKE_IPV4.fullmatch(host) and not is_address(host):
        raise ValueError(f"{quoted(url)}: {host} is not a valid IP address: correct it")
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}{f':{port}' if port and port != default else ''}"


def _backend_name(value: object) -> str:
    if not _BACKEND_NAME.fullmatch(text(value)):
        raise ValueError(
            f"{quoted(value)} is not a name: write 1 to 63 lower-case letters, digits, and . _ - between them"
        )
    return str(value)


def _host(value: object) -> str:
    written = host_name(text(value))
    if "*" in written:
        raise ValueError(f"{quoted(value)}: wildcards are not supported here: list each host name")
    bare = written.removeprefix("[").removesuffix("]")
    if is_address(bare) and _HOST_NAME.fullmatch(bare):
        return canonical(bare)
    if not _HOST_NAME.fullmatch(bare) or split_host(written) != (bare, ""):
        raise ValueError(
            f'{quoted(value)} is not a host name: write it without scheme, port and path, as in "docker.example.com"'
        )
    return bare


def _pattern(value: object) -> Pattern:
    written = text(value)
    if written != written.lower():
        raise ValueError(f"{quoted(written)}: repository names have no upper case: write {quoted(written.lower())}")
    pattern = repositories.parse(written)
    if not is_name(pattern.example):
        raise ValueError(f"{quoted(written)} matches no valid repository name: check dots, dashes and slashes")
    return pattern


def _image(value: object) -> Image:
    """Read an image by the facade's name: people often write the registry before it."""
    written = text(value)
    host, slash, name = written.rpartition("://")[2].partition("/")
    if "://" in written or (slash and (":" in host or host in REGISTRY_HOSTS)):
        raise ValueError(f"{quoted(written)}: leave out the registry's host: write {quoted(name)}")
    if "@" in written and ":" in written.partition("@")[0]:
        raise ValueError(f"{quoted(written)} has a tag and a digest: write only one of them")
    return parse_image(written)


def _path(value: object) -> Path:
    path = Path(text(value))
    if not path.is_absolute():
        raise ValueError(f"{quoted(value)} is not an absolute path: begin it with /")
    return path


def _secret_path(value: object) -> Path:
    """Read the path of a file with a secret. A value that is no path may be the secret itself, so it is not quoted."""
    path = Path(text(value))
    if not path.is_absolute():
        raise ValueError("it is not an absolute path: write the secret to a file, and its path, beginning with /, here")
    return path


def _argument(value: object) -> str:
    """Read a word of a command."""
    word = text(value)
    if len(word) > LONGEST_ARGUMENT:
        raise ValueError(f"longer than {LONGEST_ARGUMENT} characters: put it into a script")
    return word


def _command(value: object) -> tuple[str, ...]:
    """Read a program with its arguments; an empty list is none."""
    if isinstance(value, str):
        raise ValueError(f'{quoted(value)}: no shell runs it: write a list of words, as in ["/usr/bin/logger", "-t"]')
    words = _list(ValueKind("word", _argument, _STRING)).read(value)
    if len(words) > MOST_ARGUMENTS:
        raise ValueError(f"more than {MOST_ARGUMENTS} words: put them into a script")
    if words and (not words[0] or ("/" in words[0] and not words[0].startswith("/"))):
        raise ValueError(f"{quoted(words[0])} is not a program: write its absolute path, or a name that is in PATH")
    return words


def _control(value: object) -> Address:
    written = f"unix:{value}" if isinstance(value, str) and value.startswith("/") else text(value)
    if not written.startswith("unix:"):
        raise ValueError(f'{quoted(value)} is not a unix socket: write "unix:/run/facaded/control.sock"')
    return listen_addresses.parse(written)


def _number_or_auto(most: int) -> ValueKind[int | None]:
    """A number up to `most`, or "auto", which is read as None, for one that follows from what the machine has."""
    read_number = _integer("number", 1, most)

    def read(value: object) -> int | None:
        if isinstance(value, str) and value != "auto":
            raise ValueError(f'{quoted(value)}: expected a number or "auto"')
        return None if value == "auto" else read_number(value)

    number: Schema = {"type": "integer", "minimum": 1, "maximum": most}
    return ValueKind("number", read, {"anyOf": [number, {"enum": ["auto"]}]})


def _network(value: object) -> Network:
    written = text(value)
    try:
        return ip_network(written)
    except ValueError:
        raise ValueError(
            f'{quoted(written)} is not a network: write it as in "192.0.2.0/24", "2001:db8::/32" or "192.0.2.7"'
        ) from None


def _renames(value: object) -> tuple[Rename, ...]:
    if not isinstance(value, dict):
        raise ValueError(f'expected a table, got {type_name(value)}: write {{ "org/*" = "other/*" }}')
    if len(value) > LIST_LENGTH:
        raise ValueError(f"a table of more than {LIST_LENGTH} entries: shorten it")
    return tuple(_read_entries(value, lambda name: repositories.parse_rename(name, text(value[name]))))


def _list(kind: ValueKind[T], *, name: str = "", single: bool = False) -> ValueKind[tuple[T, ...]]:
    """A list of values of `kind`; with `single`, one bare value is a list of one."""

    def read(value: object) -> tuple[T, ...]:
        if single and not isinstance(value, list):
            return (kind.read(value),)
        if not isinstance(value, list):
            raise ValueError(f"expected a list, got {type_name(value)}: put it in [ ]")
        if len(value) > LIST_LENGTH:
            raise ValueError(f"a list of more than {LIST_LENGTH} entries: shorten it")
        return tuple(_read_entries(range(len(value)), lambda index: kind.read(value[index])))

    schema: Schema = {"type": "array", "items": kind.schema, "maxItems": LIST_LENGTH}
    return ValueKind(name or f"list of {kind.name}s", read, {"anyOf": [kind.schema, schema]} if single else schema)


P = TypeVar("P", int, str)


def _read_entries(places: "Mapping[P, object] | range", read: Callable[[P], T]) -> list[T]:
    """Read the entry at each place. Raises EntriesError with all mistakes."""
    values: list[T] = []
    errors: dict[int | str, ValueError] = {}
    for place in places:
        try:
            values.append(read(place))  # type: ignore[arg-type]
        except ValueError as error:
            errors[place] = error
    if errors:
        raise EntriesError(errors)
    return values


_STRING: Schema = {"type": "string"}

DURATION = ValueKind("time", duration, {"type": "string", "pattern": f"^{_DURATION.pattern}$"})
DURATION_OR_OFF = ValueKind("time", _duration_or_off, DURATION.schema)
SIZE = ValueKind("size", _size, {"anyOf": [{"type": "string", "pattern": f"^{_SIZE.pattern}$"}, {"type": "integer"}]})
HISTORY_SIZE = ValueKind("size", _history_size, SIZE.schema)
DAYS = ValueKind(
    "number of days", _integer("number of days", 0, 3650), {"type": "integer", "minimum": 0, "maximum": 3650}
)
BOOLEAN = ValueKind("true or false", _boolean, {"type": "boolean"})
COUNT = ValueKind("number of results", _integer("count", 1, 100), {"type": "integer", "minimum": 1, "maximum": 100})
NUMBER = ValueKind("number", _integer("number", 1, MOST), {"type": "integer", "minimum": 1, "maximum": MOST})
CONNECTIONS = _number_or_auto(MOST)
WORKERS = _number_or_auto(MOST_WORKERS)
PERCENTAGE = ValueKind("percentage", _integer("percentage", 0, 90), {"type": "integer", "minimum": 0, "maximum": 90})
PORT = ValueKind("port", _integer("port", 1, 65535), {"type": "integer", "minimum": 1, "maximum": 65535})
PATH = ValueKind("absolute path", _path, {"type": "string", "pattern": "^/"})
SECRET_PATH = ValueKind("absolute path", _secret_path, PATH.schema)
IMAGE = ValueKind("image", _image, _STRING)
MODE = _one_of(Mode)
AUTH = _one_of(Auth)
LOG_STYLE = _one_of(LogStyle)
LOGGED_ANSWERS = _one_of(LoggedAnswers)
ADDRESS_DETAIL = _one_of(Addresses)
HOSTS = _list(ValueKind("host name", _host, _STRING))
PATTERNS = _list(ValueKind("pattern", _pattern, {"type": "string", "pattern": r"^[a-z0-9._*/-]+$"}))
BACKEND_NAME = ValueKind("name", _backend_name, {"type": "string", "pattern": f"^{_BACKEND_NAME.pattern}$"})
BACKEND_NAMES = _list(BACKEND_NAME)
BACKEND_URL = ValueKind("URL", backend_url, {"type": "string", "pattern": "^https?://"})
RENAMES = ValueKind("table of patterns", _renames, {"type": "object", "additionalProperties": _STRING})
USERNAME = ValueKind("user name", _username, _STRING)
REALM = ValueKind(
    "URL", _https_url("a realm", "https://auth.example.com/token"), {"type": "string", "pattern": "^https://"}
)
EMAIL = ValueKind("email address", _email, _STRING)
DIRECTORY_URL = ValueKind(
    "URL", _https_url("an ACME directory", LETS_ENCRYPT), {"type": "string", "pattern": "^https://"}
)
KEY_ID = ValueKind("identifier", _key_id, _STRING)
CHALLENGES = _list(_one_of(ChallengeKind), name="list of challenges")
DOMAINS = _list(
    ValueKind("host name", _domains, {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}),
    name="list of host names, or of lists of them",
)
ADDRESSES = _list(
    ValueKind("address", listen_addresses.parse, {"anyOf": [_STRING, {"type": "integer"}]}),
    name="address, or list of addresses",
    single=True,
)
NETWORKS = _list(ValueKind("network", _network, _STRING))
COMMAND = ValueKind(
    "list of words", _command, {"type": "array", "items": {"type": "string"}, "maxItems": MOST_ARGUMENTS}
)
CONTROL = ValueKind("unix socket", _control, {"type": "string", "pattern": "^(unix:|/)"})
