"""The daemon: its parts as child services of one, started in order and stopped in the reverse order."""

import time
from collections.abc import Callable, Mapping
from random import SystemRandom

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from facaded import __version__, parts
from facaded.admin.commands import Commands
from facaded.admin.control import Control
from facaded.admin.reporter import Reporter
from facaded.admin.site import Admin
from facaded.backends.watch import Watch
from facaded.config import Loaded, state_directory
from facaded.listeners import Listener, Listeners, StartError, endpoints
from facaded.net.reactor import IFacadedReactor, use_monotonic_time
from facaded.net.resolver import install, resolver_of
from facaded.policy.changes import Change
from facaded.reload import Hangup, Reloader
from facaded.state import Clocks, StateError, StateStore
from facaded.systemd import Notifier, Supervision
from facaded.tls.acme.store import StoreError
from facaded.tls.challenges import Challenges
from facaded.tls.plain import Plain
from facaded.web import accesslog
from facaded.web.facade import Facade
from facaded.web.pulls import Pulls
from facaded.web.server import BoundedSite, SecureSite


def prepare(reactor: IFacadedReactor) -> None:
    """Make a reactor fit for facaded. Call it once, before anything is scheduled or looked up."""
    use_monotonic_time(reactor)
    install(reactor)


def makeService(
    loaded: Loaded, reactor: IFacadedReactor, reread: Callable[[], Loaded], environ: Mapping[str, str]
) -> MultiService:
    """Put the daemon together from its settings.

    `reread` reads them again, for a reload. Nothing is listened on before `privilegedStartService`, which raises
    StartError if it must. This raises StartError too, if there is no place for what must outlive the daemon.
    """
    config, rules = loaded.config, loaded.config.rules
    directory = state_directory(config, environ)
    state = StateStore(reactor, time.time, directory, parts.identities(config))
    challenges = Challenges()
    try:
        kept = state.read()
        tls = parts.termination(reactor, config, challenges, directory)
    except (StateError, StoreError) as error:
        raise StartError(str(error)) from None
    watch = Watch(reactor, time.time, SystemRandom(), parts.plan(reactor, config, rules), kept)
    state.follow(watch)

    def clocks() -> Clocks:
        return Clocks(time.time(), reactor.seconds())

    supervision = Supervision(Notifier(environ), watch, clocks)
    reloader = Reloader(loaded, reread, supervision.reloading, supervision.reloaded)
    facade = Facade(watch, rules, parts.fetcher(reactor, config, watch))
    pulls = Pulls(reactor.seconds, watch.probe_soon)
    plain = Plain(challenges, parts.plain_rules(config), facade)
    admin = Admin(config.listen.admin_hosts, supervision.why_not_ready)
    reporter = Reporter(parts.in_force(loaded), watch, resolver_of(reactor), tls.certificates if tls else None, clocks)
    commands = Commands(rules, watch, reporter, reloader, state, pulls.recent, tls.acme if tls else None)
    subscribers = (accesslog.write, pulls.follow)
    sites = {
        "listen.http": BoundedSite(plain, reactor, subscribers),
        "listen.admin": BoundedSite(admin, reactor),
        "listen.control": BoundedSite(Control(commands.table), reactor),
    }
    listeners = {key: Listener(site, site) for key, site in sites.items()}
    if tls is not None:
        secure = SecureSite(facade, reactor, subscribers)
        listeners["listen.https"] = Listener(secure, tls.secured(secure))

    for prepare in (
        parts.prepare_listeners(config),
        parts.prepare_backends(reactor, environ, state, watch, facade),
        parts.prepare_edges(plain, admin, reporter, commands),
        parts.prepare_tls(tls),
    ):
        reloader.add(prepare)
    daemon = Daemon()
    for child in (
        Announcer(reloader, watch),
        state,
        *([tls] if tls is not None else []),
        watch,
        Listeners(reactor, listeners, tuple(endpoints(config, environ))),
        Hangup(reactor, reloader.reload),
        supervision,
    ):
        child.setServiceParent(daemon)
    return daemon


class Daemon(MultiService):
    """All parts. Unlike its base class it stops them one after the other, the last one that was started first."""

    def __init__(self) -> None:
        MultiService.__init__(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            await maybeDeferred(child.stopService)


class Announcer(Service):
    """Logs how the daemon starts, what changes while it runs, and that it has stopped."""

    _log = Logger()

    def __init__(self, reloader: Reloader, watch: Watch) -> None:
        self._reloader = reloader
        self._watch = watch
        watch.subscribe(self._changed)

    def startService(self) -> None:
        Service.startService(self)
        source = self._reloader.loaded.source
        self._log.info("facaded {version}, settings: {source}", version=__version__, source=source)
        self._reloader.warn()
        self._watch.when_settled().addCallback(self._settled)

    def stopService(self) -> None:
        Service.stopService(self)
        self._log.info("stopped")

    def _settled(self, _: None) -> None:
        if self.running:
            self._log.info("{why}", why=self._watch.snapshot().explain())

    def _changed(self, change: Change) -> None:
        if change.news:
            self._log.info("{news}", news=change.news)
