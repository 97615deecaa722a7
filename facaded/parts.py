"""The parts of the daemon as they follow from settings, for its start, for a reload, and for commands without a daemon."""

import hashlib
from collections.abc import Callable
from functools import partial

from facaded.backends.fetcher import Fetcher
from facaded.backends.ladder import prober_of
from facaded.backends.manifests import Cache
from facaded.backends.registry import Registry
from facaded.backends.tokens import AuthorizedClient, Tokens
from facaded.backends.watch import Watch
from facaded.config import Backend, Config
from facaded.net.connections import pooled_client
from facaded.net.reactor import IFacadedReactor
from facaded.policy.answers import Mode, Rules, Situation, ping_leads_to
from facaded.policy.health import Quota
from facaded.policy.plan import Plan, Probe, Watched
from facaded.state import Identity
from facaded.tls import plain


def no_quota(backend: str, asker: str, quota: Quota) -> None:
    """Nobody wants to know how many pulls are left."""


def probe(reactor: IFacadedReactor, config: Config, backend: Backend) -> Probe:
    """What makes one probe of a backend. Raises as `connections.trust_policy` does."""
    timeout, has_account = config.health.timeout, backend.credentials is not None
    return prober_of(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)


def registries(
    reactor: IFacadedReactor,
    config: Config,
    cache: Cache,
    note_quota: Callable[[str, str, Quota], None] = no_quota,
) -> dict[str, Registry]:
    """Every backend, by its name, as it is asked for what is served.

    `note_quota` is called with that name, and as `AuthorizedClient` has it. Raises as `connections.trust_policy` does.
    """

    def registry(backend: Backend) -> Registry:
        client = pooled_client(reactor, backend.url, backend.ca_file)
        tokens = Tokens(client, reactor.seconds, backend.credentials, backend.publish_private)
        authorized = AuthorizedClient(client, tokens, reactor, partial(note_quota, backend.name))
        return Registry(backend.name, authorized, backend.rename or (), cache, backend.relay_blobs)

    return {backend.name: registry(backend) for backend in config.backends}


def fetcher(reactor: IFacadedReactor, config: Config, watch: Watch) -> Fetcher:
    """What asks the backends for what is served. It knows nothing of what one before it served."""
    cache = Cache(config.cache.manifests, config.cache.tag_ttl, reactor.seconds)
    return Fetcher(registries(reactor, config, cache, watch.quotas.note), reactor, watch.probe_soon)


def plan(reactor: IFacadedReactor, config: Config, rules: Rules) -> Plan:
    """What to watch, and by which rules. Raises as `connections.trust_policy` does, or OSError."""
    routes = tuple(route.backends for route in rules.routes)
    used = {name for route in routes for name in route}
    watched = {each.name: _watched(reactor, config, each) for each in config.backends if each.name in used}

    def pinged(redirecting: tuple[str, ...]) -> str:
        return ping_leads_to(rules, Situation(redirecting, redirecting))

    handover = config.health.handover if rules.mode is Mode.AUTO else 0.0  # the others answer all in one way
    return Plan(watched, routes, config.health.machine, handover, pinged)


def _watched(reactor: IFacadedReactor, config: Config, backend: Backend) -> Watched:
    roots = backend.ca_file.read_bytes() if backend.ca_file else b""
    manner = (hashlib.sha256(roots).digest(), config.health.timeout, backend.credentials is not None)
    canary = str(config.own_canary(backend) or "")
    return Watched((backend.url, config.canary(backend)), probe(reactor, config, backend), canary, manner)


def identities(config: Config) -> dict[str, Identity]:
    """What makes each backend the one that a state was kept of."""
    return {each.name: Identity(each.url, str(config.canary(each) or "")) for each in config.backends}


def plain_rules(config: Config) -> plain.Rules:
    """What the plain port does."""
    if config.tls is None:
        return plain.Rules()
    return plain.Rules(config.tls.acme_webroot, config.tls.redirect_http, config.hosts, config.tls.public_port)
