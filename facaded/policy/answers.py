"""What to answer: one pure function of the request, its client, the rules, and who is in charge.

There are two ways to answer a read. A *redirect* leads the client to the backend in charge; it is safe only for
clients that are proven to authenticate where a redirect leads. To *serve* is to ask a backend and answer oneself,
and is safe for every client.
"""

import ipaddress
import re
from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from facaded.oci.clients import Client
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Home, Ping, Read, Request
from facaded.policy.repositories import Pattern, Rename, listed, renamed

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{0,5}))?")


class Mode(Enum):
    """`answer` of the settings: which way to answer."""

    AUTO = "auto"
    REDIRECT = "redirect"
    SERVE = "serve"


@frozen
class Backend:
    """What decides about one backend.

    Its URL, which has no path, its renames, and whether clients bring their own credentials.
    """

    url: str
    renames: tuple[Rename, ...] = ()
    private: bool = False


@frozen
class Route:
    """The backends of some repositories, preferred first. With no patterns it is the route of every repository."""

    backends: tuple[str, ...]
    repositories: tuple[Pattern, ...] = ()


@frozen
class Rules:
    """The settings that decide answers.

    `hosts` are the names answered for, normalised by `host_name`; empty: any. `repositories` are the listed ones;
    empty: all. `named_routes` are those of the settings; the first that matches a repository is its route.
    """

    hosts: tuple[str, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    backends: Mapping[str, Backend] = field(factory=dict)
    named_routes: tuple[Route, ...] = ()
    mode: Mode = Mode.AUTO

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes; the last one is that of every repository which no other names.

        The same name on two registries can belong to two people, so only repositories that are named may be had from
        another backend than the first: with an empty list the last route has but one.
        """
        names = tuple(self.backends)
        return *self.named_routes, Route(names if self.repositories else names[:1])

    def route(self, name: str) -> int:
        """The index of the route of a repository."""
        return next(index for index, route in enumerate(self.routes) if listed(route.repositories, name))

    @property
    def private(self) -> str | None:
        """The backend whose clients bring their own credentials; then every route has it alone."""
        return next((name for name, backend in self.backends.items() if backend.private), None)


@frozen
class Situation:
    """Who is in charge of each route, by its index, for redirects and for serving; and whether a handover is under
    way.
    """

    redirecting: tuple[str, ...]
    serving: tuple[str, ...]
    handover: bool = False


@frozen
class Redirect:
    """307 to `location` on the named backend."""

    backend: str
    location: str


@frozen
class Serve:
    """Ask these backends in turn, and answer with what the first good one says.

    `preferred` is the first of the route.
    """

    read: Read
    backends: tuple[str, ...]
    preferred: str


@frozen
class Forward:
    """Ask this backend alone, with the client's own Authorization if there is one."""

    request: Ping | Read
    backend: str


@frozen
class Pong:
    """200 and an empty JSON object: there is a registry here."""


@frozen
class Page:
    """The page for a person.

    `host` is one of the names answered for, with the port asked; empty if there is none to name.
    """

    host: str


Answer: TypeAlias = Redirect | Serve | Forward | Pong | Page | Refusal


def decide(request: Request | Refusal, host: str, client: Client, rules: Rules, situation: Situation) -> Answer:
    """Say how to answer.

    `request` is what `oci.requests.parse` made of the bytes, `host` the Host header's value.
    """
    name, port = split_host(host)
    if rules.hosts and name not in rules.hosts:
        if isinstance(request, Ping) and is_address(name):
            return Pong()
        return Refusal(
            421, Code.DENIED, "this registry does not answer for that host name: check the name in your image reference"
        )
    match request:
        case Refusal():
            return request
        case Home():
            return Page(_public_host(name, port, rules))
        case Ping():
            return _ping(request, client, rules, situation)
        case _ if listed(rules.repositories, request.name):
            return _read(request, client, rules, situation)
        case _:
            return Refusal(
                403, Code.DENIED, f"{request.name} is not among the repositories that this registry answers for"
            )


def pinged(rules: Rules, situation: Situation) -> str | None:
    """The backend that a client which learns its token from the ping alone is redirected to, or None if it must be
    served.

    Ping and pull must land on the same backend, which must know the repository by the name that the client uses.
    """
    first = situation.redirecting[-1]
    backend = rules.backends[first]
    agreed = set(situation.redirecting) == {first}
    return first if agreed and not backend.renames and not backend.private else None


def split_host(value: str) -> tuple[str, str]:
    """A Host header's name as hosts are compared (without case, final dot or brackets), and its port, which may be
    empty.

    What is not a host and a port has an empty name, which no setting can hold.
    """
    found = _HOST.fullmatch(value.strip())
    if not found:
        return "", ""
    return host_name(found[1].strip("[]")), found[2] or ""


def host_name(value: str) -> str:
    """A host name as it is compared: lower case, no final dot."""
    return value.lower().removesuffix(".")


def _ping(ping: Ping, client: Client, rules: Rules, situation: Situation) -> Answer:
    if rules.private:
        return Forward(ping, rules.private)
    safe = client.proven and not (client.pings and pinged(rules, situation) is None)
    if rules.mode is Mode.REDIRECT or (rules.mode is Mode.AUTO and safe):
        return _redirect(ping, situation.redirecting[-1], rules)
    return Pong()


def _read(read: Read, client: Client, rules: Rules, situation: Situation) -> Answer:
    if rules.private:
        return Forward(read, rules.private)
    index = rules.route(read.name)
    backend = situation.redirecting[index]
    same_name = renamed(rules.backends[backend].renames, read.name) == read.name
    if rules.mode is Mode.REDIRECT or (rules.mode is Mode.AUTO and same_name and _is_safe(client, rules, situation)):
        return _redirect(read, backend, rules)
    route, first = rules.routes[index].backends, situation.serving[index]
    return Serve(read, (first, *(name for name in route if name != first)), route[0])


def _is_safe(client: Client, rules: Rules, situation: Situation) -> bool:
    """Whether this client can be redirected to a repository that has the same name on the backend in charge.

    One that pings may have pinged before the backend in charge changed: until the handover is over it is served.
    """
    if client.pings:
        return client.proven and pinged(rules, situation) is not None and not situation.handover
    return client.proven


def _redirect(request: Ping | Read, backend: str, rules: Rules) -> Redirect:
    query = f"?{request.query}" if request.query else ""
    return Redirect(backend, f"{rules.backends[backend].url}{request.path}{query}")


def _public_host(name: str, port: str, rules: Rules) -> str:
    """A name for the page: never the asker's own words unless the settings hold the same."""
    if not rules.hosts:
        return ""
    shown = f"[{name}]" if ":" in name else name
    return f"{shown}:{port}" if port else shown


def is_address(name: str) -> bool:
    """Whether a host is an IP address, without brackets."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
