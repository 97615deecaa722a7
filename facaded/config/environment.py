"""Settings from the environment, for containers, and those that `--org` implies.

`FACADED_HOSTS`, `FACADED_REPOSITORIES`, `FACADED_CANARY` and `FACADED_ANSWER` stand for the keys of these names and
override the file; an empty variable counts as not set. `FACADED_<BACKEND>_USERNAME` and
`FACADED_<BACKEND>_PASSWORD_FILE` give a backend's account; the backend's name is in upper case, with _ for everything
that is not a letter or digit. A secret itself is never read from the environment, because other processes can see it
there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from facaded.config.sections import DOCKER_HUB, GHCR
from facaded.config.settings_error import KeyPath, SettingsError
from facaded.oci.requests import parse_image
from facaded.policy import repositories

Raw = dict[str, Any]
"""Settings as tomllib returns them."""

PREFIX = "FACADED_"

_LISTS = {"FACADED_HOSTS": "hosts", "FACADED_REPOSITORIES": "repositories"}
_ANSWER, _CANARY = "FACADED_ANSWER", "FACADED_CANARY"
_BACKEND_KEYS = ("username", "password_file")
_KUBERNETES = re.compile(r"FACADED_(?:SERVICE|PORT)(?:_|$)")
"""Variables that Kubernetes sets in every pod if there is a Service called `facaded`."""

_FORMER_HUB = "registry.hub.docker.com"


@frozen
class Environment:
    """Settings from the environment or the command line.

    `raw` is what tomllib would return for them, `origins` says for each key path which variable or option it is from.
    """

    raw: Raw = field(factory=dict)
    origins: Mapping[KeyPath, str] = field(factory=dict)
    warnings: tuple[str, ...] = ()


def without_file(org: str | None, environ: Mapping[str, str]) -> Environment:
    """Return the settings of a daemon without a file: `org` is the value of --org.

    REGISTRY_HOST and REGISTRY_ORG mean what they meant to the container that facaded replaces. Raises SettingsError.
    """
    if org is not None:
        return _of_organisation(org, "--org")
    host, org = environ.get("REGISTRY_HOST"), environ.get("REGISTRY_ORG")
    base = _of_organisation(org, "REGISTRY_ORG") if org else Environment()
    host = (host or "").removeprefix("https://").removesuffix("/")
    if not host:
        return base
    warnings: tuple[str, ...] = ()
    if host.lower() == _FORMER_HUB:
        hub = urlsplit(DOCKER_HUB.url).hostname
        warnings = (f"REGISTRY_HOST: {_FORMER_HUB} no longer works and is read as {hub}: write that instead",)
        host = str(hub)
    known = {urlsplit(backend.url).hostname: backend.name for backend in (DOCKER_HUB, GHCR)}
    backend = {"name": known.get(host, "registry"), "url": f"https://{host}"}
    return Environment({**base.raw, "backend": [backend]}, {**base.origins, ("backend",): "REGISTRY_HOST"}, warnings)


def overlay(base: Environment, environ: Mapping[str, str], *, has_file: bool) -> Environment:
    """Return the settings of `base`, with those that the environment overrides. Raises SettingsError."""
    raw, origins = dict(base.raw), dict(base.origins)
    for variable, key in _LISTS.items():
        if environ.get(variable):
            raw[key] = re.split(r"[,\s]+", environ[variable].strip(", \t\n"))
            origins[key,] = variable
    if environ.get(_ANSWER):
        raw["answer"], origins["answer",] = environ[_ANSWER], _ANSWER
    if environ.get(_CANARY) and isinstance(raw.setdefault("health", {}), dict):
        raw["health"] = {**raw["health"], "canary": environ[_CANARY]}
        origins["health", "canary"] = _CANARY
    if not has_file and environ.get("FACADED_REPOSITORIES") and "backend" not in raw:
        raw["backend"] = _both_yours()
    backends = raw.get("backend", _builtin())
    accounts = list(_accounts(backends, environ))
    if accounts:
        raw["backend"] = backends = [dict(backend) if isinstance(backend, dict) else backend for backend in backends]
    for (_, index, key), variable in accounts:
        backends[index][key] = environ[variable]
        origins["backend", index, key] = variable
    return Environment(raw, origins, (*base.warnings, *_unknown(environ, backends)))


def _of_organisation(org: str, origin: str) -> Environment:
    """Return settings for all repositories of an organisation, on Docker Hub and GHCR. Raises SettingsError."""
    try:
        if "*" in org:
            raise ValueError("a name, not a pattern")
        if "." in org.partition("/")[0] or ":" in org:
            raise ValueError("a registry's host or a tag")
        pattern = repositories.parse(f"{parse_image(org).name}/**").text
    except ValueError:
        sentence = (
            f"{origin}: {org!r} is not an organisation: write NAME of docker pull HOST/NAME/IMAGE, without the host"
        )
        raise SettingsError([sentence]) from None
    return Environment({"repositories": [pattern], "backend": _both_yours()}, {("repositories",): origin})


def _builtin() -> list[Raw]:
    return [{"name": backend.name, "url": backend.url} for backend in (DOCKER_HUB, GHCR)]


def _both_yours() -> list[Raw]:
    """Return the built-in backends with `rename = {}`, because whoever names repositories here owns the names."""
    first, second = _builtin()
    return [first, {**second, "rename": {}}]


def _accounts(backends: object, environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, int, str], str]]:
    """Yield the key path and the variable of each part of an account in the environment. Raises SettingsError."""
    for index, prefix in _backend_prefixes(backends):
        if f"{prefix}_PASSWORD" in environ:
            file = f"{prefix}_PASSWORD_FILE"
            sentence = (
                f"{prefix}_PASSWORD: other processes can see it there: write it to a file, and name that in {file}"
            )
            raise SettingsError([sentence])
        for key in _BACKEND_KEYS:
            variable = f"{prefix}_{key.upper()}"
            if environ.get(variable):
                yield ("backend", index, key), variable


def _backend_prefixes(backends: object) -> Iterator[tuple[int, str]]:
    for index, backend in enumerate(backends if isinstance(backends, list) else ()):
        if isinstance(backend, dict) and isinstance(backend.get("name"), str):
            yield index, PREFIX + re.sub(r"[^A-Z0-9]", "_", backend["name"].upper())


def _unknown(environ: Mapping[str, str], backends: object) -> Iterator[str]:
    """Yield a warning for each variable that looks misspelt."""
    accounts = (f"{prefix}_{key.upper()}" for _, prefix in _backend_prefixes(backends) for key in _BACKEND_KEYS)
    known = [*_LISTS, _ANSWER, _CANARY, *accounts]
    for variable in environ:
        if not variable.startswith(PREFIX) or variable in known or _KUBERNETES.match(variable):
            continue
        import difflib  # 0.2 MiB, for mistakes only

        if near := difflib.get_close_matches(variable, known, n=1, cutoff=0.8):
            yield f"{variable}: unknown variable, which has no effect; did you mean {near[0]}?"
