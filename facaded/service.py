"""The daemon: its parts as child services, started in order and stopped in reverse order."""

import gc
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from random import SystemRandom

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger, globalLogPublisher

from facaded import parts
from facaded.admin.commands import Commands
from facaded.admin.control import Control
from facaded.admin.metrics import Metrics
from facaded.admin.reporter import Reporter
from facaded.admin.site import Admin
from facaded.admin.status import InForce
from facaded.announcer import Announcer
from facaded.backends.seen_hosts import SeenHosts
from facaded.backends.shares import Shares
from facaded.backends.watch import Watch
from facaded.config.loading import Loaded
from facaded.config.paths import state_directory
from facaded.config.sections import Config
from facaded.listeners import Listener, Listeners, StartError, endpoints
from facaded.net import descriptors
from facaded.net.accept_pauses import AcceptPauses
from facaded.net.batched_reactor import batched
from facaded.net.passed_sockets import PassedSockets
from facaded.net.reactor import IFacadedReactor, use_monotonic_time
from facaded.net.resolver import install, resolver_of
from facaded.notifications import Notifications
from facaded.policy.asked_again import AskedAgain
from facaded.policy.limits import Limit
from facaded.reload import Hangup, Prepare, Reloader, Reread
from facaded.state import Clocks, StateError, StateStore
from facaded.systemd import Notifier, Supervision, Watchdog, watchdog_interval
from facaded.tls.acme.store import StoreError
from facaded.tls.challenges import Challenges
from facaded.tls.plain import PlainPort
from facaded.tls.termination import Termination
from facaded.web.accesslog import TWISTED, AccessLog, AccessOutput
from facaded.web.admission import Admission
from facaded.web.answered_requests import Subscriber
from facaded.web.facade import Facade
from facaded.web.pulls import Pulls
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import BoundedSite, SecureSite
from facaded.web.unsent_bytes import UnsentBytes

GARBAGE_THRESHOLDS = (2_000, 50, 40)
"""When Python looks for cyclic garbage: see `gc.set_threshold`.

With Python's own thresholds, (700, 10, 10), 5,000 requests that wait at once are answered in 0.38 to 0.48 s, with these
in 0.34 s: a full collection, in which nobody is answered, follows 2,000 * 50 * 40 new objects. The first threshold is
low because an answer from a backend leaves 80 to 900 objects, which are garbage until the next collection of new ones.
"""


def prepare(reactor: IFacadedReactor) -> None:
    """Give the reactor monotonic time and facaded's resolver, raise the limit of descriptors, and collect less often.

    Call it once, before anything is scheduled.
    """
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    descriptors.raise_limit()
    use_monotonic_time(reactor)
    install(reactor)


def makeService(
    loaded: Loaded, reactor: IFacadedReactor, reread: Reread, environ: Mapping[str, str], output: AccessOutput = TWISTED
) -> MultiService:
    """Assemble the daemon from its settings.

    `reread` reads the settings again, for a reload. `output` is where the access log goes. `privilegedStartService`
    opens the listeners. Both this function and that method raise StartError if the daemon cannot start.
    """
    config, core, clocks = loaded.config, _core(loaded.config, reactor, environ), partial(_read_clocks, reactor)
    watch, tls = core.watch, core.tls
    supervision = Supervision(Notifier(environ), watch, clocks, config.stop_delay)
    needs_restart = parts.changed_listeners(config, environ)
    reloader = Reloader(loaded, reread, supervision.reloading, supervision.reloaded, needs_restart)
    metrics = _make_metrics(core, config, reloader)
    admin = Admin(config.listen.admin_hosts, supervision.why_not_ready, watch, metrics)
    reporter = _make_reporter(core, parts.make_in_force(loaded), reactor, clocks)
    commands = _make_commands(core, config, reporter, reloader)
    reloader.add(parts.prepare_listeners(config))
    reloader.add(_prepare_backends(core, reactor, environ))
    reloader.add(parts.prepare_limits(core.admission, core.unsent, core.shares))
    reloader.add(parts.prepare_edges(core.plain, admin, reporter, commands))
    reloader.add(parts.prepare_tls(tls))
    notifications = _make_notifications(core, reactor, config, environ, reloader)
    subscribers = (_begin_log(output, watch, reloader), core.pulls.follow, metrics.requests.note)
    sites = _listeners(core, config, subscribers, admin, Control(commands.table), reactor)
    metrics.follow({key: listener.site for key, listener in sites.items()}, output)
    listeners = _make_listeners(sites, config, reactor, environ)
    reloader.add(parts.prepare_stop(listeners, supervision))
    return Daemon(
        _make_watchdog(reactor, environ),  # stopped last: a stop may hang too
        Announcer(reloader, watch, listeners),
        notifications,
        core.state,
        *([tls] if tls else []),
        watch,
        AcceptPauses(reactor, globalLogPublisher, partial(watch.reached_limits.note, Limit.DESCRIPTORS)),
        Hangup(reactor, reloader.reload),  # stopped after the listeners: without it, SIGHUP ends the process
        listeners,
        supervision,
    )


def _make_commands(core: "_Core", config: Config, reporter: Reporter, reloader: Reloader) -> Commands:
    renewer = core.tls.acme if core.tls else None
    return Commands(config.rules, core.watch, reporter, reloader, core.state, core.pulls.recent, renewer)


def _make_watchdog(reactor: IFacadedReactor, environ: Mapping[str, str]) -> Watchdog:
    return Watchdog(reactor, Notifier(environ), watchdog_interval(environ, os.getpid()))


def _make_metrics(core: "_Core", config: Config, reloader: Reloader) -> Metrics:
    metrics = Metrics(core.watch, config.rules, reloader, core.tls, time.time)
    reloader.add(parts.prepare_metrics(metrics))
    return metrics


def _make_listeners(
    sites: Mapping[str, Listener], config: Config, reactor: IFacadedReactor, environ: Mapping[str, str]
) -> Listeners:
    opened, passed = tuple(endpoints(config, environ)), PassedSockets.of_process(reactor, environ)
    return Listeners(batched(reactor), sites, opened, config.stop_delay, passed)


def _begin_log(output: AccessOutput, watch: Watch, reloader: Reloader) -> Subscriber:
    """Apply the settings of the log, now and after each reload; return what logs answered requests."""
    access_log = AccessLog(output.add_line)
    prepare_log = parts.prepare_log(output, access_log, watch.reached_limits)
    prepare_log(reloader.loaded)()
    reloader.add(prepare_log)
    return access_log.follow


def _make_reporter(
    core: "_Core", in_force: InForce, reactor: IFacadedReactor, clocks: Callable[[], Clocks]
) -> Reporter:
    certificates = core.tls.certificates if core.tls else None
    names, asked_again = resolver_of(reactor), core.asked_again
    return Reporter(in_force, core.watch, names, certificates, clocks, asked_again, core.seen_hosts)


def _make_notifications(
    core: "_Core", reactor: IFacadedReactor, config: Config, environ: Mapping[str, str], reloader: Reloader
) -> Notifications:
    target = parts.make_notification_target(config, environ)
    notifications = Notifications(reactor, time.time, core.watch, globalLogPublisher, target)
    reloader.add(parts.prepare_notifications(notifications, environ))
    return notifications


def _prepare_backends(core: "_Core", reactor: IFacadedReactor, environ: Mapping[str, str]) -> Prepare:
    return parts.prepare_backends(reactor, environ, core.state, core.watch, core.shares, core.facade, core.seen_hosts)


def _read_clocks(reactor: IFacadedReactor) -> Clocks:
    return Clocks(time.time(), reactor.seconds())


@frozen
class _Core:
    """The parts that answer clients, and the state and health that they depend on. `tls` is None without [tls]."""

    state: StateStore
    tls: Termination | None
    watch: Watch
    shares: Shares
    facade: Facade
    plain: PlainPort
    pulls: Pulls
    asked_again: AskedAgain
    seen_hosts: SeenHosts
    admission: Admission
    unsent: UnsentBytes


def _core(config: Config, reactor: IFacadedReactor, environ: Mapping[str, str]) -> _Core:
    """Assemble the parts that answer clients. Raises StartError if the state directory cannot be used."""
    rules, directory, challenges = config.rules, state_directory(config, environ), Challenges()
    state = StateStore(reactor, time.time, directory, parts.make_identities(config))
    try:
        watch_state = state.read()
        tls = parts.make_termination(reactor, config, challenges, directory)
    except (StateError, StoreError) as error:
        raise StartError(str(error)) from None
    seen_hosts = SeenHosts()
    plan = parts.make_plan(reactor, config, rules, seen_hosts.note)
    watch = Watch(reactor, time.time, SystemRandom(), plan, watch_state)
    state.follow(watch)
    shares = Shares(reactor, config.limits, watch.quotas, watch.reached_limits)
    returning = ReturningClients(reactor.seconds, watch.probe_soon)
    fetcher = parts.make_fetcher(reactor, config, watch, shares, seen_hosts.note)
    watch.measurements.cache = fetcher.cache
    facade = Facade(watch, rules, fetcher, returning)
    plain = PlainPort(challenges, parts.make_plain_port_settings(config), facade)
    admission = Admission(reactor, watch.reached_limits, parts.make_admission_settings(config))
    unsent = UnsentBytes(config.limits, watch.reached_limits)
    return _Core(state, tls, watch, shares, facade, plain, Pulls(), returning.table, seen_hosts, admission, unsent)


def _listeners(
    core: _Core,
    config: Config,
    subscribers: tuple[Subscriber, ...],
    admin: Admin,
    control: Control,
    reactor: IFacadedReactor,
) -> dict[str, Listener]:
    """Return the listener of each key of [listen]; `subscribers` are called with what clients were answered."""
    sites = {
        "listen.http": BoundedSite(core.plain, reactor, subscribers, core.admission, core.unsent),
    }
    for key, resource in (("listen.admin", admin), ("listen.control", control)):
        own_admission = parts.make_operator_admission(reactor, config, core.watch.reached_limits)
        sites[key] = BoundedSite(resource, reactor, admission=own_admission)
    listeners = {key: Listener(site, site) for key, site in sites.items()}
    if core.tls is not None:
        secure = SecureSite(core.facade, reactor, subscribers, core.admission, core.unsent)
        listeners["listen.https"] = Listener(secure, core.tls.secure_factory(secure))
    return listeners


class Daemon(MultiService):
    """All parts. Unlike its base class, it stops them one after the other, in reverse order."""

    _log = Logger()

    def __init__(self, *children: Service) -> None:
        MultiService.__init__(self)
        for child in children:
            child.setServiceParent(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            with self._log.failureHandler("a part of the daemon did not stop cleanly"):
                await maybeDeferred(child.stopService)
