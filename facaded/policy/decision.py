"""What to answer: one pure function of the request, its client, the rules, and which backend is active.

There are two ways to answer a read. A *redirect* leads the client to the active backend; it is safe only for
clients that are proven to authenticate where a redirect leads. To *serve* is to ask a backend and answer oneself,
and is safe for every client.
"""

import re
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import TypeAlias

from attrs import field, frozen

from facaded.net.addresses import is_address
from facaded.oci.clients import Client, Family
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Home, Ping, Read, Request
from facaded.policy.repositories import Pattern, Rename, matcher, renamed

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{0,5}))?")


class Mode(Enum):
    """`answer` of the settings: which way to answer."""

    AUTO = "auto"
    REDIRECT = "redirect"
    SERVE = "serve"


@frozen
class BackendRules:
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
    """The settings that decide answers, made once for each reload; what follows from them is computed once.

    `hosts` are the names answered for, normalised by `host_name`; empty: any. `repositories` are the listed ones;
    empty: all. `named_routes` are those of the settings; the first that matches a repository is its route.
    """

    hosts: tuple[str, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    backends: Mapping[str, BackendRules] = field(factory=dict)
    named_routes: tuple[Route, ...] = ()
    mode: Mode = Mode.AUTO

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """All routes; the last one is that of every repository which no other names.

        The same name on two registries can belong to two people, so only repositories that are named may be had from
        another backend than the first: with an empty list the last route has but one.
        """
        names = tuple(self.backends)
        return *self.named_routes, Route(names if self.repositories else names[:1])

    def route(self, name: str) -> int:
        """The index of the route of a repository."""
        matchers = self._route_matchers
        return next(index for index, each in enumerate(matchers) if each is None or each.fullmatch(name))

    def lists(self, name: str) -> bool:
        """Whether the repository `name` is answered for."""
        return self._matcher is None or self._matcher.fullmatch(name) is not None

    @cached_property
    def _matcher(self) -> re.Pattern[str] | None:
        return matcher(self.repositories)

    @cached_property
    def _route_matchers(self) -> tuple[re.Pattern[str] | None, ...]:
        return tuple(matcher(route.repositories) for route in self.routes)

    @cached_property
    def private(self) -> str | None:
        """The backend whose clients bring their own credentials; then every route has it alone."""
        return next((name for name, backend in self.backends.items() if backend.private), None)


@frozen
class RoutingState:
    """What requests are routed by: the active backend of each route, by the route's index, for redirects and for
    serving; whether a handover is in progress; and which backends are drained.
    """

    redirecting: tuple[str, ...]
    serving: tuple[str, ...]
    handover: bool = False
    drained: frozenset[str] = frozenset()


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


class Rule(Enum):
    """Why a request is redirected or served, as a person reads it."""

    CLIENT_S_OWN = 'auth = "client": everybody is served with the credentials that the client brings'
    REDIRECT_ALL = 'answer = "redirect": everybody is redirected'
    SERVE_ALL = 'answer = "serve": everybody is served'
    REDIRECT_SAFE = "this client authenticates where a redirect leads"
    NOT_REDIRECT_SAFE = "this client does not authenticate where a redirect leads"
    RENAMED = "the active backend has another name for the repository"
    ANOTHER_PING = "this client has its token from where GET /v2/ leads, and not every pull can be made there"
    HANDOVER = "GET /v2/ led elsewhere a short time ago, and a pull that began before must end well"

    @property
    def redirects(self) -> bool:
        return self in (Rule.REDIRECT_ALL, Rule.REDIRECT_SAFE)


def rule(request: Ping | Read, client: Client, rules: Rules, routing: RoutingState) -> Rule:
    """Say why a request of a repository that is answered for is redirected or served."""
    if rules.private:
        return Rule.CLIENT_S_OWN
    if rules.mode is not Mode.AUTO:
        return Rule.REDIRECT_ALL if rules.mode is Mode.REDIRECT else Rule.SERVE_ALL
    if not client.redirect_safe:
        return Rule.NOT_REDIRECT_SAFE
    if not isinstance(request, Ping):
        renames = rules.backends[routing.redirecting[rules.route(request.name)]].renames
        if renames and renamed(renames, request.name) != request.name:
            return Rule.RENAMED
    if client.pings and ping_backend(rules, routing) is None:
        return Rule.ANOTHER_PING
    if client.pings and routing.handover and not isinstance(request, Ping):
        return Rule.HANDOVER
    return Rule.REDIRECT_SAFE


def decide(request: Request | Refusal, host: str, client: Client, rules: Rules, routing: RoutingState) -> Answer:
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
            return _ping(request, client, rules, routing)
        case _ if rules.lists(request.name):
            return _read(request, client, rules, routing)
        case _:
            return Refusal(
                403, Code.DENIED, f"{request.name} is not among the repositories that this registry answers for"
            )


def ping_backend(rules: Rules, routing: RoutingState) -> str | None:
    """The backend that a client which learns its token from the ping alone is redirected to, or None if it must be
    served.

    Ping and pull must land on the same backend, which must know the repository by the name that the client uses.
    """
    first = routing.redirecting[-1]
    backend = rules.backends[first]
    agreed = set(routing.redirecting) == {first}
    return first if agreed and not backend.renames and not backend.private else None


def ping_leads_to(rules: Rules, routing: RoutingState) -> str:
    """Where `GET /v2/` leads a client that pings: a backend's URL, or "here" if it is served.

    Whenever this changes, a pull that is under way has its token from where it led before.
    """
    answer = _ping(Ping(), Client(Family.DOCKER), rules, routing)
    return answer.location if isinstance(answer, Redirect) else "here"


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


def _ping(ping: Ping, client: Client, rules: Rules, routing: RoutingState) -> Answer:
    if rules.private:
        return Forward(ping, rules.private)
    redirects = rule(ping, client, rules, routing).redirects
    return _redirect(ping, routing.redirecting[-1], rules) if redirects else Pong()


def _read(read: Read, client: Client, rules: Rules, routing: RoutingState) -> Answer:
    if rules.private:
        return Forward(read, rules.private)
    index = rules.route(read.name)
    if rule(read, client, rules, routing).redirects:
        return _redirect(read, routing.redirecting[index], rules)
    route, first = rules.routes[index].backends, routing.serving[index]
    drained = routing.drained if first not in routing.drained else frozenset()  # all of them are
    return Serve(read, (first, *(name for name in route if name != first and name not in drained)), route[0])


def _redirect(request: Ping | Read, backend: str, rules: Rules) -> Redirect:
    query = f"?{request.query}" if request.query else ""
    return Redirect(backend, f"{rules.backends[backend].url}{request.path}{query}")


def _public_host(name: str, port: str, rules: Rules) -> str:
    """A name for the page: never the asker's own words unless the settings hold the same."""
    if not rules.hosts:
        return ""
    shown = f"[{name}]" if ":" in name else name
    return f"{shown}:{port}" if port else shown
