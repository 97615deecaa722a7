"""The parts of the daemon as they follow from settings: for its start, for a reload, for commands without a daemon."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from twisted.logger import Logger

from facaded.admin.commands import Commands
from facaded.admin.reporter import Reporter
from facaded.admin.site import Admin
from facaded.admin.status import InForce
from facaded.backends.fetcher import Fetcher
from facaded.backends.ladder import Probe, prober_of
from facaded.backends.manifests import ManifestCache
from facaded.backends.registry import Registry
from facaded.backends.tokens import AuthorizedClient, Tokens
from facaded.backends.watch import Watch
from facaded.config.loading import Loaded
from facaded.config.paths import state_directory
from facaded.config.sections import Backend, Config
from facaded.config.settings_error import SettingsError
from facaded.net.connections import pooled_client
from facaded.net.reactor import IFacadedReactor
from facaded.policy.decision import Mode, RoutingState, Rules, ping_leads_to
from facaded.policy.health import Quota
from facaded.policy.plan import Plan, WatchedBackend
from facaded.reload import Prepare, Swap
from facaded.state import Identity, StateStore
from facaded.tls import plain
from facaded.tls.acme.store import StoreError
from facaded.tls.challenges import Challenges
from facaded.tls.plain import PlainPort
from facaded.tls.termination import Termination
from facaded.web.facade import Facade

_log = Logger()


def no_quota(backend: str, asker: str, quota: Quota) -> None:
    """Nobody wants to know how many pulls are left."""


def probe(reactor: IFacadedReactor, config: Config, backend: Backend) -> Probe:
    """What makes one probe of a backend. Raises as `connections.trust_policy` does."""
    timeout, has_account = config.health.timeout, backend.credentials is not None
    return prober_of(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)


def registries(
    reactor: IFacadedReactor,
    config: Config,
    cache: ManifestCache,
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
    cache = ManifestCache(config.cache.manifests, config.cache.tag_ttl, reactor.seconds)
    return Fetcher(registries(reactor, config, cache, watch.quotas.note), reactor, watch.probe_soon)


def plan(reactor: IFacadedReactor, config: Config, rules: Rules) -> Plan:
    """What to watch, and by which rules. Raises as `connections.trust_policy` does, or OSError."""
    routes = tuple(route.backends for route in rules.routes)
    used = {name for route in routes for name in route}
    watched: dict[str, WatchedBackend] = {
        each.name: _watched(reactor, config, each) for each in config.backends if each.name in used
    }

    def ping_target(redirecting: tuple[str, ...]) -> str:
        return ping_leads_to(rules, RoutingState(redirecting, redirecting))

    handover = config.health.handover if rules.mode is Mode.AUTO else 0.0  # the others answer all in one way
    return Plan(watched, routes, config.health, handover, ping_target)


def _watched(reactor: IFacadedReactor, config: Config, backend: Backend) -> WatchedBackend:
    roots = backend.ca_file.read_bytes() if backend.ca_file else b""
    manner = (hashlib.sha256(roots).digest(), config.health.timeout, backend.credentials is not None)
    canary = str(config.own_canary(backend) or "")
    return WatchedBackend((backend.url, config.canary(backend)), probe(reactor, config, backend), canary, manner)


def identities(config: Config) -> dict[str, Identity]:
    """What makes each backend the one that a state was kept of."""
    return {each.name: Identity(each.url, str(config.canary(each) or "")) for each in config.backends}


def plain_rules(config: Config) -> plain.PlainPortSettings:
    """What the plain port does."""
    if config.tls is None:
        return plain.PlainPortSettings()
    return plain.PlainPortSettings(
        config.tls.acme_webroot, config.tls.redirect_http, config.hosts, config.tls.public_port
    )


def in_force(loaded: Loaded) -> InForce:
    """What the status says of these settings."""
    return InForce(loaded.config.rules, loaded.source, loaded.warnings)


def termination(
    reactor: IFacadedReactor, config: Config, challenges: Challenges, directory: Path
) -> Termination | None:
    """What ends TLS, None if it is not spoken. What ACME obtains is kept below `directory`. Raises StoreError."""
    if config.tls is None:
        return None
    return Termination(reactor, challenges, config.tls.certificates, config.hosts, config.acme, directory / "acme")


# How each part is prepared for new settings: see `reload`.


def prepare_listeners(opened: Config) -> Prepare:
    """Listeners stay as they were `opened`: settings that cannot do with those are refused."""

    def prepare(loaded: Loaded) -> Swap:
        config = loaded.config
        if (config.tls is None) != (opened.tls is None):
            why = "tls: it has been added or taken out, and listeners change only at a restart: restart instead"
            raise SettingsError([f"{loaded.source}: {why}"])
        if config.rules.private and not config.redirects_http and config.listen.http != opened.listen.http:
            why = 'listen.http: it has changed, and auth = "client" forbids the listener that is open: restart instead'
            raise SettingsError([f"{loaded.source}: {why}"])
        changed = config.listen != opened.listen
        return _warn_of_listeners if changed else _nothing

    return prepare


def prepare_backends(
    reactor: IFacadedReactor, environ: Mapping[str, str], state: StateStore, watch: Watch, facade: Facade
) -> Prepare:
    """The backends are watched and asked by the new settings, and their state is kept."""

    def prepare(loaded: Loaded) -> Swap:
        config, rules = loaded.config, loaded.config.rules
        new_plan, new_fetcher = plan(reactor, config, rules), fetcher(reactor, config, watch)
        directory, known = state_directory(config, environ), identities(config)

        def swap() -> None:
            state.reconfigure(directory, known)
            facade.reconfigure(rules, new_fetcher)
            watch.reconfigure(new_plan)  # pushes which backend is active to the facade, and what to write to the state

        return swap

    return prepare


def prepare_edges(plain_port: PlainPort, admin: Admin, reporter: Reporter, commands: Commands) -> Prepare:
    """The plain port, the admin listener and the control socket answer by the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        rules, port, hosts = loaded.config.rules, plain_rules(loaded.config), loaded.config.listen.admin_hosts
        shown = in_force(loaded)

        def swap() -> None:
            plain_port.reconfigure(port)
            admin.reconfigure(hosts)
            reporter.reconfigure(shown)
            commands.reconfigure(rules)

        return swap

    return prepare


def prepare_tls(tls: Termination | None) -> Prepare:
    """Certificates are read and ordered by the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        config = loaded.config
        if tls is None or config.tls is None:
            return _nothing
        try:
            return tls.prepare(config.tls.certificates, config.hosts, config.acme)
        except StoreError as error:
            raise SettingsError([f"{loaded.source}: state.directory: {error}"]) from None

    return prepare


def _nothing() -> None:
    """Nothing to swap."""


def _warn_of_listeners() -> None:
    _log.warn("listen: changed in the settings; listeners change only at a restart")
