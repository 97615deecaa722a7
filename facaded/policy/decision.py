"""Decide how to answer: one pure function of the request, the client, the rules and the active backends.

There are two ways to answer a read. A *redirect* sends the client to the active backend; this is safe only for clients
that authenticate at the host that a redirect leads to. To *serve* is to fetch from a backend and answer the client
from here; this is safe for every client.
"""

import re
from collections.abc import Mapping
from enum import Enum
from functools import cached_property, lru_cache
from typing import TypeAlias

from attrs import evolve, field

from facaded.net.addresses import canonical, is_address
from facaded.oci.clients import Client, Family
from facaded.oci.errors import Code, Refusal
from facaded.oci.frozen_values import frozen
from facaded.oci.referrers import is_referrers_tag
from facaded.oci.requests import (
    Home,
    ManifestRead,
    PageFile,
    Ping,
    Read,
    Referrers,
    Request,
    Tags,
    TokenRequest,
    is_digest,
)
from facaded.policy.health import Rank
from facaded.policy.proofs import Need, need_of
from facaded.policy.repositories import Pattern, Rename, matcher, renamed

HOSTS = 500
"""Host headers whose parts are remembered: nearly all requests have the same few."""

HOST_LENGTH = 300
"""Most characters of a Host header that names a host: a name has 254 at most, with a final dot (RFC 1035 §2.3.4)."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{0,5}))?")


class Mode(Enum):
    """The setting `answer`: which way to answer."""

    AUTO = "auto"
    REDIRECT = "redirect"
    SERVE = "serve"


@frozen
class BackendRules:
    """The settings of one backend that decide answers.

    `url` has no path. `private` is true if clients authenticate with their own credentials (`auth = "client"`).
    """

    url: str
    renames: tuple[Rename, ...] = ()
    private: bool = False


@frozen
class Route:
    """The backends of some repositories, preferred first. A route without patterns matches every repository."""

    backends: tuple[str, ...]
    repositories: tuple[Pattern, ...] = ()


@frozen(slots=False)  # with slots, cached properties would make all attributes slow
class Rules:
    """The settings that decide answers, built once per reload.

    `hosts` are the host names to answer for, normalised by `host_name`; if empty, any. `repositories` is the
    allow-list; if empty, all repositories are allowed. `named_routes` are the routes of the settings: the first one
    that matches a repository is its route. `merge_referrers` is whether lists of referrers unite those of all backends.
    """

    hosts: tuple[str, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    backends: Mapping[str, BackendRules] = field(factory=dict)
    named_routes: tuple[Route, ...] = ()
    mode: Mode = Mode.AUTO
    merge_referrers: bool = True

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """All routes. The last one takes every repository that no named route matches.

        The same name on two registries can belong to two people. So without an allow-list the last route has only the
        first backend: the others may answer only for repositories that the settings name.
        """
        names = tuple(self.backends)
        return *self.named_routes, Route(names if self.repositories else names[:1])

    def route_index(self, name: str) -> int:
        """Return the index in `routes` of the route of the repository `name`."""
        if not self.named_routes:
            return 0
        expressions = self._route_matchers
        return next(index for index, regex in enumerate(expressions) if regex is None or regex.fullmatch(name))

    def allows(self, name: str) -> bool:
        """Return whether the allow-list has the repository `name`."""
        return self._matcher is None or self._matcher.fullmatch(name) is not None

    @cached_property
    def _matcher(self) -> re.Pattern[str] | None:
        return matcher(self.repositories)

    @cached_property
    def _route_matchers(self) -> tuple[re.Pattern[str] | None, ...]:
        return tuple(matcher(route.repositories) for route in self.routes)

    @cached_property
    def private(self) -> str | None:
        """The backend with `auth = "client"`, or None. If there is one, it is the only backend."""
        return next((name for name, backend in self.backends.items() if backend.private), None)


@frozen
class RoutingState:
    """The state that routes requests.

    `redirecting` and `serving` are the active backend of each route, by the route's index. `handover` is true while a
    handover is in progress. `drained` are the drained backends, `pinned` is the pinned one. `ranks` is the rank of each
    backend that is not up, and `resting` are those whose Retry-After has not ended.
    """

    redirecting: tuple[str, ...]
    serving: tuple[str, ...]
    handover: bool = False
    drained: frozenset[str] = frozenset()
    pinned: str | None = None
    ranks: Mapping[str, Rank] = field(factory=dict)
    resting: frozenset[str] = frozenset()


@frozen
class Visit:
    """What else is known of a request when it is decided: of its client's earlier redirects, and of the backend.

    `has_token`: it carries the facade's own token. `asked_again`: its client was redirected and asked again.
    `unproven`: the active backend was asked, and has not proven that a redirect would work. `elsewhere`: not every
    backend may have what is read, because only some of them list it. `avoided`: the blob that this backend led to was
    asked for again and again, so others are tried first; empty if there is none.
    """

    has_token: bool = False
    asked_again: bool = False
    unproven: bool = False
    elsewhere: bool = False
    avoided: str = ""


@frozen
class Redirect:
    """A 307 to `location`, which is on `backend`. `need` is what must be proven before; None if nothing has to be."""

    backend: str
    location: str
    need: Need | None = field(default=None, eq=False)


@frozen
class Serve:
    """Try `backends` in order, and answer with the first good response.

    `preferred` is the first backend of the route. Those of `resting` are not asked, because their Retry-After has not
    ended. `failing` are those that are down, degraded or limited. `pinned` is whether the first one is pinned, and
    `earlier` are those that the route has before the first one. If it is `united`, all are asked, and the answer is the
    list of what they have together.
    """

    read: Read
    backends: tuple[str, ...]
    preferred: str
    resting: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    pinned: bool = False
    earlier: frozenset[str] = frozenset()
    united: bool = False


@frozen
class Forward:
    """Forward the request to this backend only, with the client's Authorization header if there is one."""

    request: Ping | Read
    backend: str


@frozen
class Pong:
    """A 200 with an empty JSON object, which tells the client that this is a registry."""


@frozen
class OwnChallenge:
    """A 401 with the facade's own challenge: a client that takes its token from the ping sends that token from then on.

    So a later redirect, to a host that it has no token for, does not strand it.
    """


@frozen
class OwnToken:
    """The facade's own token, the same for everybody. It grants nothing, and means "serve this pull"."""


@frozen
class Page:
    """The page for a person with a browser.

    `host` is the configured host name that the browser requested, with its port; the first one if it requested an
    address; empty if `hosts` is not set. `image` is the image whose path it requested; empty without one.
    """

    host: str
    image: str = ""


Answer: TypeAlias = Redirect | Serve | Forward | Pong | OwnChallenge | OwnToken | Page | PageFile | Refusal

UNREMARKABLE = Visit()


class Rule(Enum):
    """The reason why a request is redirected or served, in words for a person: 76 characters at most."""

    CLIENT_CREDENTIALS = 'auth = "client": requests are forwarded with the client\'s credentials'
    REDIRECT_ALL = 'answer = "redirect": every client is redirected'
    SERVE_ALL = 'answer = "serve": every client is served'
    REDIRECT_SAFE = "this client authenticates at the host that a redirect leads to"
    NOT_REDIRECT_SAFE = "this client cannot authenticate at the host that a redirect leads to"
    RENAMED = "the active backend has this repository under another name"
    PING_NOT_REDIRECTED = "this client needs one registry for GET /v2/ and all pulls, and there is none"
    HANDOVER = "GET /v2/ moved recently, so pulls in progress are served until they finish"
    REFERRERS = "the referrers of all backends are united"
    ELSEWHERE = "not every backend may have this referrer, so it is fetched from where it is"
    BEGUN_HERE = "this pull began with this facade's own token, so it is served to its end"
    ASKED_AGAIN = "this client was redirected and asked again, so it is served for a while"
    UNPROVEN = "the active backend did not prove just now that a redirect would work"

    @property
    def redirects(self) -> bool:
        return self in (Rule.REDIRECT_ALL, Rule.REDIRECT_SAFE)


def choose_rule(
    request: Ping | Read, client: Client, rules: Rules, routing: RoutingState, visit: Visit = UNREMARKABLE
) -> Rule:
    """Return the rule that decides whether to redirect or serve. The repository must be one that `rules` allow."""
    if rules.private:
        return Rule.CLIENT_CREDENTIALS
    if rules.mode is not Mode.AUTO:
        return Rule.REDIRECT_ALL if rules.mode is Mode.REDIRECT else Rule.SERVE_ALL
    if rules.merge_referrers and not isinstance(request, Ping):
        if isinstance(request, Referrers):
            return Rule.REFERRERS
        if _may_be_elsewhere(request, rules, visit):
            return Rule.ELSEWHERE
    rule = _choose_way(request, client, rules, routing)
    return _doubt(visit, request) or rule if rule is Rule.REDIRECT_SAFE else rule


def _may_be_elsewhere(read: Read, rules: Rules, visit: Visit) -> bool:
    """Return whether another backend of the route may have a referrer, or part of one, that the active one lacks."""
    is_listed = visit.elsewhere or (isinstance(read, ManifestRead) and is_referrers_tag(read.reference))
    return is_listed and len(rules.routes[rules.route_index(read.name)].backends) > 1


def _doubt(visit: Visit, request: Ping | Read) -> Rule | None:
    """Return the rule by which a request is served although its client is redirect-safe."""
    if visit.has_token and not isinstance(request, Ping):
        return Rule.BEGUN_HERE
    if visit.asked_again:
        return Rule.ASKED_AGAIN
    return Rule.UNPROVEN if visit.unproven else None


def _choose_way(request: Ping | Read, client: Client, rules: Rules, routing: RoutingState) -> Rule:
    """Return the rule of a client in the state of the backends, if nothing else is known of it."""
    if not client.redirect_safe:
        return Rule.NOT_REDIRECT_SAFE
    if not isinstance(request, Ping):
        renames = rules.backends[routing.redirecting[rules.route_index(request.name)]].renames
        if renames and renamed(renames, request.name) != request.name:
            return Rule.RENAMED
    if client.takes_token_from_ping and ping_backend(rules, routing) is None:
        return Rule.PING_NOT_REDIRECTED
    if client.takes_token_from_ping and routing.handover and not isinstance(request, Ping):
        return Rule.HANDOVER
    return Rule.REDIRECT_SAFE


def decide(
    request: Request | Refusal,
    host: str,
    client: Client,
    rules: Rules,
    routing: RoutingState,
    visit: Visit = UNREMARKABLE,
) -> Answer:
    """Return the answer to a request.

    `request` is the result of `oci.requests.parse`, `host` the value of the Host header.
    """
    name, port = split_host(host)
    if rules.hosts and name not in rules.hosts:
        if isinstance(request, Ping) and is_address(name):
            return Pong()
        if not (_is_for_person(request) and is_address(name)):
            return Refusal(
                421, Code.DENIED, "this registry has another host name: check the host in your image reference"
            )
    match request:
        case Refusal() | PageFile():
            return request
        case Home():
            return Page(_public_host(name, port, rules), request.image)
        case Ping():
            return _ping(request, client, rules, routing, visit)
        case TokenRequest():
            return _token(rules)
        case _ if rules.allows(request.name):
            return _read(request, client, rules, routing, visit)
        case _:
            return Refusal(
                403, Code.DENIED, f"{request.name} is not among the repositories of this registry: check the name"
            )


def lead_to(request: Ping | Read, url: str, backend: str, need: Need | None) -> Redirect:
    """Return the redirect of a request to a backend with this URL, under the same name."""
    query = f"?{request.query}" if request.query else ""
    return Redirect(backend, f"{url}{request.path}{query}", need)


def ping_backend(rules: Rules, routing: RoutingState) -> str | None:
    """Return the backend for clients whose only source of a token is the ping; None if they must be served.

    Ping and pull must land on the same backend, and the repository must have the same name there.
    """
    name = routing.redirecting[-1]
    backend = rules.backends[name]
    same_on_all_routes = all(active == name for active in routing.redirecting[:-1])
    return name if same_on_all_routes and not backend.renames and not backend.private else None


def ping_leads_to(rules: Rules, routing: RoutingState) -> str:
    """Return the URL that `GET /v2/` redirects Docker to, or "here" if the facade answers it.

    When this changes, pulls in progress still hold a token from the previous place.
    """
    answer = _ping(Ping(), Client(Family.DOCKER), rules, routing, UNREMARKABLE)
    return answer.location if isinstance(answer, Redirect) else "here"


def split_host(value: str) -> tuple[str, str]:
    """Split a Host header into a name and a port; the port may be empty.

    The name is in lower case, without final dot or brackets, and an IPv6 address is in its usual form. It is empty,
    which no setting allows, if the header is malformed or too long.
    """
    return _read_host(value) if len(value) <= HOST_LENGTH else ("", "")


@lru_cache(HOSTS)
def _read_host(value: str) -> tuple[str, str]:
    match = _HOST.fullmatch(value.strip())
    if not match:
        return "", ""
    name = host_name(match[1].strip("[]"))
    return canonical(name) if ":" in name else name, match[2] or ""


def host_name(value: str) -> str:
    """Return a host name in the form for comparison: lower case, no final dot."""
    return value.lower().removesuffix(".")


def _ping(ping: Ping, client: Client, rules: Rules, routing: RoutingState, visit: Visit) -> Answer:
    if rules.private:
        return Forward(ping, rules.private)
    if choose_rule(ping, client, rules, routing, visit).redirects:
        return _redirect(ping, rules.routes[-1], routing.redirecting[-1], rules, routing)
    needs_token = client.takes_token_from_ping and not visit.has_token  # `docker login` pings again with the token
    return OwnChallenge() if rules.mode is Mode.AUTO and needs_token else Pong()


def _token(rules: Rules) -> Answer:
    if rules.private or rules.mode is not Mode.AUTO:
        return Refusal(404, Code.UNSUPPORTED, "not found: this registry has no token server")
    return OwnToken()


def _read(read: Read, client: Client, rules: Rules, routing: RoutingState, visit: Visit) -> Answer:
    if rules.private:
        return Forward(read, rules.private)
    index = rules.route_index(read.name)
    route, active = rules.routes[index], routing.redirecting[index]
    if choose_rule(read, client, rules, routing, visit).redirects:
        return _redirect(read, route, active, rules, routing)
    avoided = active if visit.unproven else visit.avoided
    serve = _serve(read, route.backends, routing.serving[index], routing, avoided)
    return evolve(serve, united=isinstance(read, Referrers) and rules.merge_referrers)


def _serve(read: Read, route: tuple[str, ...], active: str, routing: RoutingState, avoided: str = "") -> Serve:
    """Return the backends to try, ranked by health; a pinned one comes first, and then the active one of its rank.

    The `avoided` one comes after those that work, except for what may differ elsewhere, such as the meaning of a tag:
    another backend may lag behind.
    """
    # The active backend is drained only if all backends of the route are: then all of them are tried.
    drained = routing.drained if active not in routing.drained else frozenset()
    postponed = "" if _is_mutable(read) else avoided

    def order(name: str) -> tuple[bool, Rank, bool]:
        rank = routing.ranks.get(name, Rank.UP)
        return name != routing.pinned, max(rank, Rank.UNKNOWN) if name == postponed else rank, name != active

    backends = sorted((name for name in route if name not in drained), key=order)
    failing = frozenset(
        name for name in backends if routing.ranks.get(name) in (Rank.DEGRADED, Rank.LIMITED, Rank.DOWN)
    )
    resting = routing.resting.intersection(backends)
    earlier = frozenset(route[: route.index(backends[0])])
    return Serve(read, tuple(backends), route[0], resting, failing, backends[0] == routing.pinned, earlier)


def _is_mutable(read: Read) -> bool:
    """Return whether the answer to a read may change, and be different at another registry."""
    is_tag = isinstance(read, ManifestRead) and not is_digest(read.reference)
    return is_tag or isinstance(read, Tags | Referrers)


def _redirect(request: Ping | Read, route: Route, backend: str, rules: Rules, routing: RoutingState) -> Redirect:
    need = need_of(request) if _can_be_proven(route, backend, rules, routing) else None
    return lead_to(request, rules.backends[backend].url, backend, need)


def _can_be_proven(route: Route, backend: str, rules: Rules, routing: RoutingState) -> bool:
    """Return whether a redirect depends on a proof: not by order of the operator, nor where there is nothing to ask."""
    by_order = rules.mode is Mode.REDIRECT or backend == routing.pinned
    if by_order or backend in routing.resting:
        return False
    return not routing.ranks or any(routing.ranks.get(name) is not Rank.DOWN for name in route.backends)


def _is_for_person(request: Request | Refusal) -> bool:
    """Return whether a request is one for the page, by a browser. It may be known by its address alone."""
    return isinstance(request, PageFile) or (isinstance(request, Home) and request.is_browser)


def _public_host(name: str, port: str, rules: Rules) -> str:
    """Return the host for the page: the requested one if the settings list it, so that no other is echoed."""
    if not rules.hosts:
        return ""
    name = name if name in rules.hosts else rules.hosts[0]
    shown = f"[{name}]" if ":" in name else name
    return f"{shown}:{port}" if port else shown
