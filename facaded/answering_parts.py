"""Makes the parts that answer clients, in every process, and what a probe and a check of the backends need."""

from collections.abc import Callable
from functools import partial
from math import ceil

from twisted.logger import Logger

from facaded.backends.authorized_client import AuthorizedClient
from facaded.backends.backend_watch import BackendWatch
from facaded.backends.blob_offers import BlobSettings
from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import ManifestCache
from facaded.backends.measurements import Measurements
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.registry import Registry
from facaded.backends.request_gate import RequestGate, TokenClient
from facaded.backends.seen_hosts import NoteHost, ignore_host
from facaded.backends.shares import Shares
from facaded.backends.tokens import Tokens
from facaded.config.loading import Loaded
from facaded.config.sections import Backend, Config
from facaded.listeners import addresses
from facaded.net import descriptors
from facaded.net.descriptors import Division
from facaded.net.late_client import IDLE_CONNECTIONS, late_client
from facaded.net.reactor import IFacadedReactor
from facaded.policy.decision import Mode, RoutingState, Rules, ping_leads_to
from facaded.policy.evidence import Attempt
from facaded.policy.health import Quota
from facaded.policy.network_hosts import HostPurpose
from facaded.policy.plan import Identity, Plan, WatchedBackend
from facaded.swaps import Prepare, Swap
from facaded.tls import plain
from facaded.tls.acme.challenge_files import ChallengeFiles
from facaded.tls.challenges import Challenges
from facaded.web.accesslog import AccessLog, AccessLogSettings, AccessOutput
from facaded.web.admission import FOR_OPERATORS, Admission, AdmissionSettings
from facaded.web.unsent_bytes import UnsentBytes

_log = Logger()


def ignore_quota(backend: str, asker: str, quota: Quota) -> None:
    """Do nothing with the number of pulls that are left."""


def ignore_account(backend: str, repository: str, problem: str | None) -> None:
    """Do nothing with the news of an account."""


def ignore_local_error(backend: str, reason: str) -> None:
    """Do nothing with an error of this machine: the request that failed says so too."""


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
        client = late_client(reactor, backend.url, backend.ca_file, note_local, idle_connections=most)
        note, gate = partial(note_account, backend.name), RequestGate(most, measured.measured(backend.name))
        token_client = TokenClient(client, gate, partial(note_host, backend.url, HostPurpose.TOKENS))
        count = partial(measured.note_token, backend.name)
        tokens = Tokens(token_client, reactor.seconds, backend.credentials, backend.publish_private, note, count)
        authorized = AuthorizedClient(client, tokens, reactor, partial(note_quota, backend.name), gate)
        note_cdn = partial(note_host, backend.url, HostPurpose.CDN)
        return Registry(backend.name, authorized, backend.rename or (), cache, backend.relay_blobs, note_cdn)

    return {backend.name: registry(backend) for backend in config.backends}


def make_fetcher(
    reactor: IFacadedReactor, config: Config, watch: BackendWatch, shares: Shares, note_host: NoteHost = ignore_host
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


def make_plan(config: Config, rules: Rules, watch: Callable[[Backend], WatchedBackend]) -> Plan:
    """Return which backends to watch; `watch` returns how one is probed. Raises what `watch` does."""
    routes = tuple(route.backends for route in rules.routes)
    used = {name for route in routes for name in route}
    watched = {backend.name: watch(backend) for backend in config.backends if backend.name in used}

    def ping_target(redirecting: tuple[str, ...]) -> str:
        return ping_leads_to(rules, RoutingState(redirecting, redirecting))

    handover = config.health.handover if rules.mode is Mode.AUTO else 0.0  # other modes always answer in the same way
    trust = config.health.trust if rules.mode is Mode.AUTO else 0.0  # other modes never rely on a proof
    serves = rules.mode is not Mode.REDIRECT
    return Plan(watched, routes, config.health, handover, ping_target, trust, serves)


def make_identities(config: Config) -> dict[str, Identity]:
    """Return the identity of every backend that a route has, by which its state in the state file is recognised."""
    used = {name for route in config.rules.routes for name in route.backends}
    return {backend.name: identity(config, backend) for backend in config.backends if backend.name in used}


def identity(config: Config, backend: Backend) -> Identity:
    """Return the identity of one backend."""
    return Identity(backend.url, str(config.canary(backend) or ""))


def make_plain_port_settings(config: Config) -> plain.PlainPortSettings:
    """Return the settings of the plain port."""
    if config.tls is None:
        return plain.PlainPortSettings()
    return plain.PlainPortSettings(
        config.tls.acme_webroot, config.tls.redirect_http, config.hosts, config.tls.public_port
    )


def make_admission_settings(config: Config) -> AdmissionSettings:
    """Return what the public listeners accept. Log a warning if there are too few descriptors for the settings."""
    allowed, limits = _division(config).clients, config.limits
    wanted = limits.connections
    if wanted is None:
        wanted = min(ceil(descriptors.CLIENT_CONNECTIONS / limits.processes), allowed)
    if wanted > allowed:
        _log.warn(
            "limits.connections: {wanted}{part} is lowered to {allowed}, because this process may open {descriptors} "
            "files: raise LimitNOFILE of the unit, or ulimit -n",
            wanted=wanted,
            part=f" for each of {limits.processes} processes" if limits.processes > 1 else "",
            allowed=allowed,
            descriptors=descriptors.available(),
        )
    return AdmissionSettings(limits, min(wanted, allowed), config.trusted_proxies)


def make_operator_admission(reactor: IFacadedReactor, config: Config, reached: ReachedLimits) -> Admission:
    """Return the limits of the admin listener or of the control socket, which clients cannot use up."""
    return Admission(reactor, reached, AdmissionSettings(FOR_OPERATORS, _division(config).operators))


def _division(config: Config) -> Division:
    """Divide the descriptors of this process by what the settings need for the backends."""
    per_backend = config.limits.backend_requests + IDLE_CONNECTIONS
    per_client = 2 if any(backend.relay_blobs for backend in config.backends) else 1
    available = max(descriptors.available() - _count_shared_sockets(config), 1)
    return descriptors.divide(available, len(config.backends), per_backend, per_client)


def _count_shared_sockets(config: Config) -> int:
    """Return how many listening sockets this process may keep open for the others.

    Each of them has one of every listener, or two: IPv4 and IPv6.
    """
    return 2 * len(tuple(addresses(config))) * (config.limits.processes - 1)


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


def share_challenges(config: Config, challenges: Challenges) -> None:
    """Answer the challenges of the daemons that share the directory of [tls.acme], if there are any."""
    directory = config.state.acme_directory
    challenges.other_daemons = None if directory is None else ChallengeFiles(directory)
