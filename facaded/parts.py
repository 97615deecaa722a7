"""Makes the parts of the daemon from settings: at the start, for a reload, and for commands without a daemon."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from facaded.admin.commands import Commands
from facaded.admin.metrics import Metrics
from facaded.admin.reporter import Reporter
from facaded.admin.site import Admin
from facaded.admin.status import InForce
from facaded.backends.authorized_client import AuthorizedClient
from facaded.backends.blob_offers import BlobSettings
from facaded.backends.check import check
from facaded.backends.fetcher import Fetcher
from facaded.backends.ladder import Probe, build_probe, probe
from facaded.backends.manifests import ManifestCache
from facaded.backends.measurements import Measurements
from facaded.backends.probe_target import build_target
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.registry import Registry
from facaded.backends.request_gate import RequestGate, TokenClient
from facaded.backends.seen_hosts import NoteHost, SeenHosts, ignore_host
from facaded.backends.shares import Shares
from facaded.backends.tokens import Tokens
from facaded.backends.watch import Watch
from facaded.config.loading import Loaded
from facaded.config.paths import search_path, state_directory
from facaded.config.sections import Backend, Config
from facaded.config.settings_error import SettingsError
from facaded.listeners import Listeners, endpoints
from facaded.net import descriptors
from facaded.net.connections import IDLE_CONNECTIONS, pooled_client
from facaded.net.descriptors import Division
from facaded.net.reactor import IFacadedReactor
from facaded.notifications import Notifications, NotificationTarget
from facaded.policy.decision import Mode, RoutingState, Rules, ping_leads_to
from facaded.policy.evidence import Attempt
from facaded.policy.health import ProbeDepth, Quota, Result, Step
from facaded.policy.network_hosts import HostPurpose, NetworkHost, expected_hosts
from facaded.policy.plan import Identity, Plan, WatchedBackend
from facaded.reload import Prepare, Swap
from facaded.state import StateStore
from facaded.systemd import Supervision
from facaded.tls import plain
from facaded.tls.acme.store import StoreError
from facaded.tls.challenges import Challenges
from facaded.tls.plain import PlainPort
from facaded.tls.termination import Termination
from facaded.web.accesslog import AccessLog, AccessLogSettings, AccessOutput
from facaded.web.admission import FOR_OPERATORS, Admission, AdmissionSettings
from facaded.web.facade import Facade
from facaded.web.unsent_bytes import UnsentBytes

_log = Logger()


def ignore_quota(backend: str, asker: str, quota: Quota) -> None:
    """Do nothing with the number of pulls that are left."""


def ignore_account(backend: str, repository: str, problem: str | None) -> None:
    """Do nothing with the news of an account."""


def ignore_local_error(backend: str, reason: str) -> None:
    """Do nothing with an error of this machine: the request that failed says so too."""


def make_probe(reactor: IFacadedReactor, config: Config, backend: Backend) -> Probe:
    """Return the function that probes a backend once. Raises as `connections.trust_policy` does."""
    timeout, has_account = config.health.timeout, backend.credentials is not None
    return build_probe(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)


def make_registries(
    reactor: IFacadedReactor,
    config: Config,
    cache: ManifestCache,
    note_quota: Callable[[str, str, Quota], None] = ignore_quota,
    note_account: Callable[[str, str, str | None], None] = ignore_account,
    note_local_error: Callable[[str, str], None] = ignore_local_error,
    note_host: NoteHost = ignore_host,
    measurements: Measurements | None = None,
) -> dict[str, Registry]:
    """Return the client of every backend by the backend's name.

    `note_quota` is called with that name and the arguments of `AuthorizedClient`, `note_account` with that name and
    those of `NoteAccount`, `note_local_error` with that name and a description; for `note_host` see `NoteHost`.
    `measurements` take what is measured. Raises as `connections.trust_policy` does.
    """
    measured = measurements or Measurements(reactor)

    def registry(backend: Backend) -> Registry:
        most, note_local = config.limits.backend_requests, partial(note_local_error, backend.name)
        client = pooled_client(reactor, backend.url, backend.ca_file, note_local, idle_connections=most)
        note, gate = partial(note_account, backend.name), RequestGate(most, measured.measured(backend.name))
        token_client = TokenClient(client, gate, partial(note_host, backend.url, HostPurpose.TOKENS))
        count = partial(measured.note_token, backend.name)
        tokens = Tokens(token_client, reactor.seconds, backend.credentials, backend.publish_private, note, count)
        authorized = AuthorizedClient(client, tokens, reactor, partial(note_quota, backend.name), gate)
        note_cdn = partial(note_host, backend.url, HostPurpose.CDN)
        return Registry(backend.name, authorized, backend.rename or (), cache, backend.relay_blobs, note_cdn)

    return {backend.name: registry(backend) for backend in config.backends}


def make_fetcher(
    reactor: IFacadedReactor, config: Config, watch: Watch, shares: Shares, note_host: NoteHost = ignore_host
) -> Fetcher:
    """Return what fetches from the backends to serve clients, with an empty cache."""
    settings, measurements = config.cache, watch.measurements
    uses = measurements.cache_uses
    cache = ManifestCache(settings.manifests, settings.tag_ttl, reactor.seconds, settings.stale_tags, uses)
    notes = watch.quotas.note, watch.refused_accounts.note, watch.reached_limits.note_local_error, note_host
    registries = make_registries(reactor, config, cache, *notes, measurements)
    urls = {backend.name: backend.url for backend in config.backends}
    blobs = BlobSettings(config.health.trust, settings.blob_addresses)

    def report(attempt: Attempt) -> None:
        watch.report(attempt, urls[attempt.backend])

    return Fetcher(registries, reactor, report, shares, blobs, cache=cache)


def make_plan(reactor: IFacadedReactor, config: Config, rules: Rules, note_host: NoteHost = ignore_host) -> Plan:
    """Return which backends to watch and how; for `note_host` see `NoteHost`.

    Raises as `connections.trust_policy` does, or OSError.
    """
    routes = tuple(route.backends for route in rules.routes)
    used = {name for route in routes for name in route}
    watched: dict[str, WatchedBackend] = {
        backend.name: _watch_entry(reactor, config, backend, note_host)
        for backend in config.backends
        if backend.name in used
    }

    def ping_target(redirecting: tuple[str, ...]) -> str:
        return ping_leads_to(rules, RoutingState(redirecting, redirecting))

    handover = config.health.handover if rules.mode is Mode.AUTO else 0.0  # other modes always answer in the same way
    trust = config.health.trust if rules.mode is Mode.AUTO else 0.0  # other modes never rely on a proof
    serves = rules.mode is not Mode.REDIRECT
    return Plan(watched, routes, config.health, handover, ping_target, trust, serves)


def _watch_entry(reactor: IFacadedReactor, config: Config, backend: Backend, note_host: NoteHost) -> WatchedBackend:
    roots = backend.ca_file.read_bytes() if backend.ca_file else b""
    manner = (hashlib.sha256(roots).digest(), config.health.timeout, backend.credentials is not None)
    canary = str(config.own_canary(backend) or "")
    timeout, has_account = config.health.timeout, backend.credentials is not None
    target = build_target(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)
    target = evolve(target, note_url=partial(_note_step, note_host, backend.url))

    def start_probe(depth: ProbeDepth) -> Deferred[Result]:
        return Deferred.fromCoroutine(probe(target, depth, reactor))

    def start_check(depth: ProbeDepth, changed: Callable[[], None]) -> Deferred[Result]:
        return Deferred.fromCoroutine(check(target, depth, reactor, changed))

    return WatchedBackend(_identity(config, backend), start_probe, canary, manner, start_check, target.proofs)


_PURPOSES = {Step.TOKEN: HostPurpose.TOKENS, Step.CDN: HostPurpose.CDN}


def _note_step(note_host: NoteHost, backend_url: str, step: Step, url: str) -> None:
    """Note the host that a step of a probe asks."""
    note_host(backend_url, _PURPOSES.get(step, HostPurpose.REGISTRY), url)


def make_identities(config: Config) -> dict[str, Identity]:
    """Return the identity of every backend that a route has, by which its state in the state file is recognised."""
    used = {name for route in config.rules.routes for name in route.backends}
    return {backend.name: _identity(config, backend) for backend in config.backends if backend.name in used}


def _identity(config: Config, backend: Backend) -> Identity:
    return Identity(backend.url, str(config.canary(backend) or ""))


def make_plain_port_settings(config: Config) -> plain.PlainPortSettings:
    """Return the settings of the plain port."""
    if config.tls is None:
        return plain.PlainPortSettings()
    return plain.PlainPortSettings(
        config.tls.acme_webroot, config.tls.redirect_http, config.hosts, config.tls.public_port
    )


def make_in_force(loaded: Loaded) -> InForce:
    """Return what the status document says about these settings."""
    return InForce(loaded.config.rules, loaded.source, loaded.warnings, list_expected_hosts(loaded.config))


def list_expected_hosts(config: Config) -> tuple[NetworkHost, ...]:
    """Return the hosts that these settings lead to."""
    return expected_hosts(config.rules, config.acme.directories if config.acme.domains else ())


def make_notification_target(config: Config, environ: Mapping[str, str]) -> NotificationTarget:
    """Return the command that gets notifications. Its environment has nothing of the daemon's that may be a secret."""
    language = {name: environ[name] for name in ("LANG", "LC_ALL") if name in environ}
    return NotificationTarget(config.notify.command, {"PATH": search_path(environ), **language}, config.hosts)


def make_termination(
    reactor: IFacadedReactor, config: Config, challenges: Challenges, directory: Path
) -> Termination | None:
    """Return what ends TLS; None without [tls]. ACME stores its certificates below `directory`. Raises StoreError."""
    if config.tls is None:
        return None
    return Termination(reactor, challenges, config.tls.certificates, config.hosts, config.acme, directory / "acme")


def make_admission_settings(config: Config) -> AdmissionSettings:
    """Return what the public listeners accept. Log a warning if there are too few descriptors for the settings."""
    allowed, wanted = _division(config).clients, config.limits.connections
    if wanted is not None and wanted > allowed:
        _log.warn(
            "limits.connections: {wanted} is lowered to {allowed}, because this process may open {descriptors} files: "
            "raise LimitNOFILE of the unit, or ulimit -n",
            wanted=wanted,
            allowed=allowed,
            descriptors=descriptors.available(),
        )
    connections = allowed if wanted is None else min(wanted, allowed)
    return AdmissionSettings(config.limits, connections, config.trusted_proxies)


def make_operator_admission(reactor: IFacadedReactor, config: Config, reached: ReachedLimits) -> Admission:
    """Return the limits of the admin listener or of the control socket, which clients cannot use up."""
    return Admission(reactor, reached, AdmissionSettings(FOR_OPERATORS, _division(config).operators))


def _division(config: Config) -> Division:
    """Divide the descriptors of this process by what the settings need for the backends."""
    per_backend = config.limits.backend_requests + IDLE_CONNECTIONS
    per_client = 2 if any(backend.relay_blobs for backend in config.backends) else 1
    return descriptors.divide(descriptors.available(), len(config.backends), per_backend, per_client)


# Preparation of each part for new settings: see `reload`


def prepare_listeners(opened: Config) -> Prepare:
    """Refuse settings that do not fit the listeners of `opened`, which stay open."""

    def prepare(loaded: Loaded) -> Swap:
        config = loaded.config
        if (config.tls is None) != (opened.tls is None):
            sentence = "tls: it was added or removed, and listeners change only at a restart: restart facaded"
            raise SettingsError([f"{loaded.source}: {sentence}"])
        if config.rules.private and not config.redirects_http and config.listen.http != opened.listen.http:
            sentence = 'listen.http: it changed, and auth = "client" forbids the open listener: restart facaded'
            raise SettingsError([f"{loaded.source}: {sentence}"])
        return _swap_nothing

    return prepare


def changed_listeners(opened: Config, environ: Mapping[str, str]) -> Callable[[Loaded], tuple[str, ...]]:
    """Return a function that returns a sentence for each key of [listen] with other endpoints than in `opened`."""

    def changed(loaded: Loaded) -> tuple[str, ...]:
        differences = {*endpoints(opened, environ)} ^ {*endpoints(loaded.config, environ)}
        keys = sorted({key for key, _ in differences})
        return tuple(f"{key} changed: listeners change only at a restart; restart facaded" for key in keys)

    return changed


def prepare_backends(
    reactor: IFacadedReactor,
    environ: Mapping[str, str],
    state: StateStore,
    watch: Watch,
    shares: Shares,
    facade: Facade,
    seen_hosts: SeenHosts,
) -> Prepare:
    """Watch the backends of the new settings and fetch from them; keep the state of those that stay."""

    def prepare(loaded: Loaded) -> Swap:
        config, rules = loaded.config, loaded.config.rules
        new_plan = make_plan(reactor, config, rules, seen_hosts.note)
        new_fetcher = make_fetcher(reactor, config, watch, shares, seen_hosts.note)
        directory, identities = state_directory(config, environ), make_identities(config)

        def swap() -> None:
            state.reconfigure(directory, identities)
            seen_hosts.retain({backend.url for backend in config.backends})
            facade.reconfigure(rules, new_fetcher)
            watch.measurements.cache = new_fetcher.cache
            watch.reconfigure(new_plan)  # pushes the active backend to the facade, and the state to the store

        return swap

    return prepare


def prepare_edges(plain_port: PlainPort, admin: Admin, reporter: Reporter, commands: Commands) -> Prepare:
    """Answer on the plain port, the admin listener and the control socket by the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        rules, port, hosts = (
            loaded.config.rules,
            make_plain_port_settings(loaded.config),
            loaded.config.listen.admin_hosts,
        )
        in_force = make_in_force(loaded)

        def swap() -> None:
            plain_port.reconfigure(port)
            admin.reconfigure(hosts)
            reporter.reconfigure(in_force)
            commands.reconfigure(rules)

        return swap

    return prepare


def prepare_metrics(metrics: Metrics) -> Prepare:
    """Name the backends and routes of the new settings in the metrics, and when these were applied."""
    return lambda loaded: partial(metrics.reconfigure, loaded.config.rules)


def prepare_log(output: AccessOutput, access_log: AccessLog, reached: ReachedLimits) -> Prepare:
    """Log in the form of the new settings, which answers they name, and with the addresses that they show."""

    def prepare(loaded: Loaded) -> Swap:
        config = loaded.config
        settings = AccessLogSettings(config.access_log, config.addresses, output.form_for(config.log))

        def swap() -> None:
            output.reconfigure(config.log)
            access_log.reconfigure(settings)
            reached.reconfigure(config.addresses)

        return swap

    return prepare


def prepare_stop(listeners: Listeners, supervision: Supervision) -> Prepare:
    """Stop with the delay of the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        delay = loaded.config.stop_delay

        def swap() -> None:
            listeners.reconfigure(delay)
            supervision.reconfigure(delay)

        return swap

    return prepare


def prepare_limits(admission: Admission, unsent: UnsentBytes, shares: Shares) -> Prepare:
    """Limit the connections, requests and unread answers of clients, and their shares, by the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        settings = make_admission_settings(loaded.config)

        def swap() -> None:
            admission.reconfigure(settings)
            unsent.reconfigure(loaded.config.limits)
            shares.reconfigure(loaded.config.limits)

        return swap

    return prepare


def prepare_notifications(notifications: Notifications, environ: Mapping[str, str]) -> Prepare:
    """Run the command of the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        return partial(notifications.reconfigure, make_notification_target(loaded.config, environ))

    return prepare


def prepare_tls(tls: Termination | None) -> Prepare:
    """Read and order certificates by the new settings."""

    def prepare(loaded: Loaded) -> Swap:
        config = loaded.config
        if tls is None or config.tls is None:
            return _swap_nothing
        try:
            return tls.prepare(config.tls.certificates, config.hosts, config.acme)
        except StoreError as error:
            raise SettingsError([f"{loaded.source}: state.directory: {error}"]) from None

    return prepare


def _swap_nothing() -> None:
    """Do nothing: nothing was prepared."""
