"""Checks across settings: contradictions that no single value shows."""

import itertools
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.interfaces import IReactorCore

from facaded.config.listen_addresses import ANY_IPV4, EXPECTED, Address
from facaded.config.sections import AcmeTable, Auth, Backend, Config, TlsSettings
from facaded.config.settings_error import KeyPath, Problem
from facaded.config.values import REGISTRY_HOSTS
from facaded.net.server_endpoints import server_endpoint
from facaded.oci.requests import Image
from facaded.policy import repositories
from facaded.policy.decision import Mode
from facaded.policy.repositories import Pattern
from facaded.tls.acme.settings import ChallengeKind

_INTERNALS = re.compile(r"^\S*\(\) (?:got an )?")
"""The name of a Twisted function at the start of a TypeError's message, which is removed."""

_LOOPBACK_URL = re.compile(r"http://(?:127\.[0-9.]+|localhost)(?::\d+)?$")

NAMESPACED = ("registry-1.docker.io", "index.docker.io", "ghcr.io", "quay.io")
"""Registries where every repository name has at least two components, because each repository has an owner."""


@frozen
class PlacedSettings:
    """Settings to check. `places` maps the entries of lists of tables to their indexes in the file: see `reading`."""

    config: Config
    places: Mapping[KeyPath, list[int]]

    @property
    def backends(self) -> Iterator[tuple[KeyPath, Backend]]:
        """Every backend with its key path."""
        places = self.places.get(("backend",), itertools.count())
        for place, backend in zip(places, self.config.backends, strict=False):
            yield ("backend", place), backend


def contradictions(settings: PlacedSettings) -> Iterator[Problem]:
    """Find contradictions between settings."""
    config = settings.config
    yield from _names(settings)
    if config.health.fast_interval > config.health.interval:
        sentence = "longer than health.interval: shorten it, or leave it out"
        yield Problem(("health", "fast_interval"), sentence, (("health", "interval"),))
    yield from _repositories(settings)
    yield from _routes(config)
    for path, backend in settings.backends:
        yield from _backend(config, path, backend)
        if backend.auth is Auth.CLIENT:
            yield from _private(config, path, backend)
    if config.tls is not None:
        yield from _tls(config, config.tls)
    for path, canary in _canaries(settings):
        if "/" not in canary.name and config.backends and _host(config.backends[0]) in NAMESPACED:
            sentence = (
                f'{_host(config.backends[0])} has no repository with so short a name: write "library/{canary.name}"'
            )
            yield Problem(path, f"{sentence} for an official image", (("backend",),))
        elif not repositories.listed(config.repositories, canary.name):
            sentence = f"{canary.name} is not in `repositories`: add it there, or choose another image"
            yield Problem(path, sentence, (("repositories",),))


def listeners(config: Config, control: str, reactor: IReactorCore) -> Iterator[Problem]:
    """Find mistakes in [listen]. `control` is the endpoint of the control socket."""
    listen = config.listen
    if not listen.http and config.tls is None:
        yield Problem(("listen", "http"), "empty, so nothing would be answered: leave it out for the default")
    https = listen.https if config.tls is not None else ()
    listed = [
        *((("listen", "http"), address) for address in listen.http),
        *((("listen", "https"), address) for address in https),
        *((("listen", "admin"), address) for address in listen.admin),
        (("listen", "control"), Address(control, endpoint=control)),
    ]
    for (first_path, first), (path, address) in itertools.combinations(listed, 2):
        if first.meets(address):
            both = {first.host, address.host} == {ANY_IPV4, "::"}
            remedy = f'write ":{address.port}" for both' if both else "choose another"
            sentence = f'"{address.text}" is the same address as "{first.text}" in {".".join(first_path)}: {remedy}'
            yield Problem(path, sentence, (first_path,))
    for path, address in listed:
        if address.passed_socket:  # systemd passes these sockets only to the unit
            continue
        try:
            server_endpoint(reactor, address.endpoint or "tcp:0")
        except Exception as error:  # each kind of endpoint has its own errors
            reason = _INTERNALS.sub("", str(error))
            yield Problem(path, f"{address.text!r} is not a Twisted endpoint ({reason}): {EXPECTED}")


def _host(backend: Backend) -> str:
    return urlsplit(backend.url).hostname or ""


def _port(backend: Backend) -> int:
    parts = urlsplit(backend.url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _own_ports(config: Config) -> set[int | None]:
    """Return the ports at which clients may reach facaded: its own, and the usual ones of a proxy in front."""
    return {80, 443, *(address.port for address in (*config.listen.http, *config.listen.https))}


def _names(settings: PlacedSettings) -> Iterator[Problem]:
    names: dict[str, KeyPath] = {}
    for path, backend in settings.backends:
        if backend.name in names:
            sentence = f"{backend.name} is the name of an earlier backend: give each its own name"
            yield Problem((*path, "name"), sentence)
        names.setdefault(backend.name, path)
    registries: dict[tuple[object, ...], str] = {}
    for path, backend in settings.backends:
        if _host(backend) in settings.config.hosts and _port(backend) in _own_ports(settings.config):
            yield Problem(
                (*path, "url"), "it is a name in `hosts`, so facaded would ask itself: write the registry's URL"
            )
        other = registries.setdefault((backend.url, backend.rename or ()), backend.name)
        if other != backend.name:
            sentence = f"{other} is the same registry with the same names: remove one of them, or set rename"
            yield Problem((*path, "url"), sentence)


def _repositories(settings: PlacedSettings) -> Iterator[Problem]:
    """Find patterns that match no repository that a client can pull."""
    config = settings.config
    hosts = {_host(backend) for backend in config.backends}
    first = _host(config.backends[0]) if config.backends else None
    for index, pattern in enumerate(config.repositories):
        component, slash, rest = pattern.text.partition("/")
        path: KeyPath = ("repositories", index)
        if slash and (component in REGISTRY_HOSTS or component in hosts or component in config.hosts):
            yield Problem(
                path, f'"{pattern.text}" begins with a registry\'s host: write "{rest}"', (("backend",), ("hosts",))
            )
        elif not slash and "*" not in component and first in NAMESPACED:
            sentence = f'"{pattern.text}" is one repository, and {first} has none with so short a name: write '
            yield Problem(path, f'{sentence}"{pattern.text}/**" for those of an organisation', (("backend",),))
    for path, pattern in _more_patterns(settings):
        if config.repositories and not any(pattern.may_overlap(listed) for listed in config.repositories):
            sentence = f'"{pattern.text}" matches nothing in `repositories`: correct it, or add it there'
            yield Problem(path, sentence, (("repositories",),))


def _more_patterns(settings: PlacedSettings) -> Iterator[tuple[KeyPath, Pattern]]:
    """Yield the patterns of routes and the left sides of renames, which must match listed repositories."""
    for index, route in enumerate(settings.config.routes):
        for place, pattern in enumerate(route.repositories):
            yield ("route", index, "repositories", place), pattern
    for path, backend in settings.backends:
        for rename in backend.rename or ():
            yield (*path, "rename", rename.facade.text), rename.facade


def _routes(config: Config) -> Iterator[Problem]:
    names = {backend.name for backend in config.backends}
    for index, route in enumerate(config.routes):
        path: KeyPath = ("route", index)
        if not route.repositories:
            yield Problem((*path, "repositories"), "empty: name the repositories of this route")
        if not route.backends or len(set(route.backends)) != len(route.backends):
            yield Problem((*path, "backends"), "name each backend once, and at least one")
        for place, name in enumerate(route.backends):
            if name not in names:
                sentence = f"there is no backend called {name}: choose from {', '.join(sorted(names))}"
                yield Problem((*path, "backends", place), sentence, (("backend",),))


def _backend(config: Config, path: KeyPath, backend: Backend) -> Iterator[Problem]:
    """Check the account and the names of one backend."""
    account = (*path, "username"), (*path, "password_file"), (*path, "password")
    plain = urlsplit(backend.url).scheme == "http" and not _LOOPBACK_URL.match(backend.url)
    if (backend.username is None) != (backend.password_file is None):
        present, missing = ("username", "password_file") if backend.username else ("password_file", "username")
        yield Problem((*path, present), f"set without {missing}: set both or none", account)
    if backend.credentials and not config.repositories:
        sentence = "with empty `repositories` anybody could use up the account: list your repositories"
        yield Problem((*path, "username"), sentence, (*account, ("repositories",)))
    if (backend.credentials or backend.auth is Auth.CLIENT) and plain:
        yield Problem((*path, "url"), "credentials would be sent over plain HTTP: write https://", account)
    for key, is_set in (("publish_private", backend.publish_private), ("realm", backend.realm)):
        if is_set and backend.username is None and backend.password_file is None:
            yield Problem((*path, key), "it concerns an account: set username and password_file as well", account)
    if backend.rename and config.answer is Mode.REDIRECT:
        sentence = 'a redirect keeps the name: set answer = "auto" or "serve"'
        yield Problem((*path, "rename"), sentence, (("answer",),))


def _private(config: Config, path: KeyPath, backend: Backend) -> Iterator[Problem]:
    """Check a backend with `auth = "client"`.

    Credentials of clients go to one backend only, and never over a network in plain HTTP.
    """
    where = (*path, "auth")
    if len(config.backends) > 1:
        yield Problem(where, '"client" allows no second backend, because credentials go to one only: remove the others')
    if backend.rename or backend.credentials:
        key = "rename" if backend.rename else "username"
        yield Problem(where, f'"client" excludes {key}, because names and accounts are the client\'s: remove {key}')
    if config.answer is Mode.REDIRECT:
        yield Problem(where, 'with "client" every client is served: set answer = "auto" or "serve"', (("answer",),))
    if not config.redirects_http and not all(address.is_loopback for address in config.listen.http):
        remedy = 'set listen.http = "127.0.0.1:8080", or [tls] with redirect_http = true'
        about = (("listen", "http"), ("tls",), ("hosts",))
        yield Problem(where, f'"client" over plain HTTP is refused except on loopback addresses: {remedy}', about)


def _tls(config: Config, tls: TlsSettings) -> Iterator[Problem]:
    nameless = tls.acme is not None and not config.certificate_names  # reported below
    if tls.redirect_http and config.listen.http and not config.hosts and not nameless:
        sentence = "with empty `hosts` there is no name to redirect to: list your names there, or set it to false"
        yield Problem(("tls", "redirect_http"), sentence, (("hosts",), ("listen", "http"), ("tls", "acme")))
    if tls.acme_webroot is not None and not config.listen.http:
        sentence = "it is answered on the plain port, and listen.http is empty: set listen.http, or remove this"
        yield Problem(("tls", "acme_webroot"), sentence, (("listen", "http"),))
    if not config.listen.https:
        yield Problem(("listen", "https"), "empty, so there would be no HTTPS: leave it out for the default")
    if tls.acme is not None:
        yield from _acme(config, tls.acme)


def _acme(config: Config, acme: AcmeTable) -> Iterator[Problem]:
    path: KeyPath = ("tls", "acme")
    if not acme.agree_to_terms:
        yield Problem(
            (*path, "agree_to_terms"),
            "the authority requires that you agree to its terms of service "
            "(Let's Encrypt's: https://letsencrypt.org/repository/): read them, and set it to true",
        )
    if not config.certificate_names:
        private = " but private addresses" if config.hosts else ""
        sentence = f"there is no name to obtain a certificate for{private}: list your names in `hosts`, or here"
        yield Problem((*path, "domains"), sentence, (("hosts",),))
    seen: set[str] = set()
    for index, names in enumerate(acme.domains):
        for name in sorted(seen & set(names)):
            sentence = f"{name} is in another entry too, and authorities count failures by name: keep one of them"
            yield Problem((*path, "domains", index), sentence)
        seen |= set(names)
    if not acme.challenges or len(set(acme.challenges)) != len(acme.challenges):
        yield Problem((*path, "challenges"), 'name each once, and at least one: "tls-alpn-01", "http-01"')
    elif acme.challenges == (ChallengeKind.HTTP,) and not config.listen.http:
        sentence = "http-01 is verified on the plain port: set listen.http, or add tls-alpn-01"
        yield Problem((*path, "challenges"), sentence, (("listen", "http"),))
    for index, ca in enumerate(acme.cas):
        if (ca.eab_key_id is None) != (ca.eab_hmac_key_file is None):
            key, other = ("eab_key_id", "eab_hmac_key_file")
            present, missing = (key, other) if ca.eab_key_id else (other, key)
            place: KeyPath = (*path, "ca", index)
            yield Problem((*place, present), f"set without {missing}: set both or none", ((*place, missing),))


def _canaries(settings: PlacedSettings) -> Iterator[tuple[KeyPath, Image]]:
    if settings.config.health.canary:
        yield ("health", "canary"), settings.config.health.canary
    for path, backend in settings.backends:
        if backend.canary:
            yield (*path, "canary"), backend.canary
