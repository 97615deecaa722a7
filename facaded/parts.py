"""Makes the parts of the daemon from settings: at the start, for a reload, and for commands without a daemon."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from twisted.logger import Logger

from facaded.admin.commands import Commands
from facaded.admin.metrics import Metrics
from facaded.admin.reporter import Reporter
from facaded.admin.site import Admin
from facaded.admin.status import InForce
from facaded.answering_parts import make_fetcher, make_identities, make_plain_port_settings
from facaded.backends.ladder import Probe, build_probe
from facaded.backends.seen_hosts import SeenHosts
from facaded.backends.shares import Shares
from facaded.backends.watch import Watch
from facaded.config.cores import count_workers, usable_cores
from facaded.config.loading import Loaded
from facaded.config.paths import acme_directory, search_path, state_directory
from facaded.config.sections import Backend, Config
from facaded.config.settings_error import SettingsError
from facaded.history.past import HistoryPlace
from facaded.history.recorder import Recorder
from facaded.listeners import Listeners, endpoints
from facaded.net.reactor import IFacadedReactor
from facaded.notifications import Notifications, NotificationTarget
from facaded.policy.network_hosts import NetworkHost, expected_hosts
from facaded.probing_parts import make_probing_plan
from facaded.state import StateStore
from facaded.swaps import Prepare, Swap
from facaded.systemd import Supervision
from facaded.tls.acme.private_files import StoreError
from facaded.tls.challenges import Challenges
from facaded.tls.plain import PlainPort
from facaded.tls.termination import AcmeFiles, Termination
from facaded.web.facade import Facade
from facaded.web.pulls import Pulls

_log = Logger()


def make_probe(reactor: IFacadedReactor, config: Config, backend: Backend) -> Probe:
    """Return the function that probes a backend once. Raises as `connections.trust_policy` does."""
    timeout, has_account = config.health.timeout, backend.credentials is not None
    return build_probe(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)


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
    """Return what ends TLS; None without [tls]. ACME stores its certificates in `directory`. Raises StoreError."""
    if config.tls is None:
        return None
    shared = config.state.acme_directory is not None
    files, hosts = config.tls.certificates, config.hosts
    return Termination(reactor, challenges, files, hosts, AcmeFiles(config.acme, directory, shared))


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


def changed_listeners(
    started: Config, opened: Sequence[tuple[str, str]], environ: Mapping[str, str]
) -> Callable[[Loaded], tuple[str, ...]]:
    """Return a function that returns a sentence for each difference that only a restart applies.

    These are differences from the endpoints that are `opened`, each after its key of [listen], from the number of
    processes that answer there by the settings `started`, and from where certificates are stored.
    """
    running = count_workers(started, usable_cores())

    def changed(loaded: Loaded) -> tuple[str, ...]:
        differences = {*opened} ^ {*endpoints(loaded.config, environ)}
        keys = sorted({key for key, _ in differences})
        sentences = [f"{key} changed: listeners change only at a restart; restart facaded" for key in keys]
        if started.tls is not None and acme_directory(loaded.config, environ) != acme_directory(started, environ):
            sentences.append("the directory of [tls.acme] changed: it changes only at a restart; restart facaded")
        workers = count_workers(loaded.config, usable_cores())
        if workers != running:
            sentences.append(
                f"workers changed from {running} to {workers}: their number changes only at a restart; restart facaded"
            )
        return tuple(sentences)

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
        new_plan = make_probing_plan(reactor, config, rules, seen_hosts.note)
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


def make_history_place(config: Config, environ: Mapping[str, str]) -> HistoryPlace:
    """Return where the history is, and its bounds."""
    return HistoryPlace(state_directory(config, environ), config.history.days, config.history.size)


def prepare_history(recorder: Recorder, pulls: Pulls, environ: Mapping[str, str]) -> Prepare:
    """Record the history within the bounds of the new settings, and in their state directory."""

    def prepare(loaded: Loaded) -> Swap:
        place = make_history_place(loaded.config, environ)

        def swap() -> None:
            pulls.is_counting = place.days > 0
            recorder.reconfigure(place)

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
