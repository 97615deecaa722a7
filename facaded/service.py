"""The daemon: all parts put together, started and stopped in order."""

import errno
import hashlib
import signal
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

from twisted.application import strports
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web import http
from twisted.web.resource import Resource

from facaded import __version__, state
from facaded.admin import explanation, status
from facaded.admin.control import Asked, Commands, Control, Document, RefusedError
from facaded.admin.site import Admin
from facaded.backends.manifests import Cache
from facaded.backends.probes import Probe, prober_of
from facaded.backends.serving import Serving
from facaded.backends.source import Source
from facaded.backends.tokens import Tokens
from facaded.backends.watch import Plan, Watch, Watched
from facaded.config import Backend, Config, Loaded, SettingsError, control_endpoint, control_path, state_directory
from facaded.net.connections import pooled_client
from facaded.net.resolver import Resolver
from facaded.policy import failover
from facaded.policy.answers import Mode, Situation, ping_leads_to
from facaded.policy.health import Purpose, Quota
from facaded.policy.overrides import ContradictionError
from facaded.state import Clocks
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.store import StoreError
from facaded.tls.acme.wire import CaNetwork, connect
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.listening import Secured
from facaded.tls.plain import Plain, PlainPortSettings
from facaded.web import accesslog
from facaded.web.answers import Facade
from facaded.web.site import BoundedSite, SecureSite

IN_FLIGHT = 5.0
"""Seconds that requests in flight are given at a stop."""


class StartError(Exception):
    """The daemon cannot start. The text is one sentence that says why and what to do."""


def prepare(reactor: Any) -> None:
    """Make a reactor fit for facaded. Call it once, before anything is scheduled or looked up."""
    use_monotonic_time(reactor)
    use_own_resolver(reactor)


def use_monotonic_time(reactor: Any) -> None:
    """Make every timer of this process immune to clock steps.

    Twisted's `reactor.seconds` is `time.time`, a plain attribute that `callLater` and the main loop both ask.
    """
    reactor.seconds = time.monotonic


def use_own_resolver(reactor: Any) -> None:
    """Have names looked up in threads of our own, so that none that hangs holds up another, or the end."""
    reactor.installNameResolver(Resolver(reactor, reactor.callFromThread))


def stale_names(reactor: Any) -> Mapping[str, float]:
    """The names that do not resolve, and since when their last addresses are used, in the reactor's seconds."""
    resolver = reactor.nameResolver
    return resolver.stale() if isinstance(resolver, Resolver) else {}


def makeService(loaded: Loaded, reactor: Any, reread: Callable[[], Loaded], environ: Mapping[str, str]) -> "Daemon":
    """Put the daemon together.

    `reread` reads the settings again, for a reload. Nothing is listened on before `privilegedStartService`, which
    raises StartError if it must; nor does this raise anything else than StartError, if there is no place for the
    state.
    """
    return Daemon(loaded, reactor, reread, environ)


def prober(reactor: Any, config: Config, backend: Backend) -> Probe:
    """What makes one probe of a backend of these settings. Raises as `trust_policy` does."""
    timeout, has_account = config.health.timeout, backend.credentials is not None
    return prober_of(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)


def sources(
    config: Config, cache: Cache, reactor: Any, note_quota: Callable[[str, str, Quota], None] = lambda *_: None
) -> dict[str, Source]:
    """Every backend of these settings as a source of what is served, by its name.

    `note_quota` is called with that name, and as `Source` has it. Raises as `trust_policy` does.
    """
    made: dict[str, Source] = {}
    for backend in config.backends:
        registry = pooled_client(reactor, backend.url, backend.ca_file)
        tokens = Tokens(registry, reactor.seconds, backend.credentials, backend.publish_private)
        made[backend.name] = Source(
            backend.name,
            registry,
            tokens,
            backend.rename or (),
            cache,
            reactor,
            backend.relay_blobs,
            partial(note_quota, backend.name),
        )
    return made


class Daemon(MultiService):
    """The whole of facaded as one service."""

    _log = Logger()

    def __init__(self, loaded: Loaded, reactor: Any, reread: Callable[[], Loaded], environ: Mapping[str, str]) -> None:
        MultiService.__init__(self)
        self.loaded = loaded
        self._reactor = reactor
        self._reread = reread
        self._environ = environ
        self._notify = Notifier(environ.get("NOTIFY_SOCKET"))
        self._state_lost = False
        self._state_kept = True
        self._stopping = False
        self._hangup: Any = signal.SIG_DFL
        kept = self._read_state()
        plan = self._plan(loaded.config)
        self.watch = Watch(reactor, time.time, SystemRandom(), plan, kept.standing, self._changed)
        self._serving = self._serve_by(loaded.config)
        self._facade = Facade(lambda: self.config.rules, self.watch, lambda: self._serving, reactor.seconds)
        self._challenges = Challenges()
        self._certificates = self._read_certificates(loaded.config)
        self._plain = Plain(self._challenges, self._plain_settings(), self._facade)
        self._sites = {
            "listen.http": self._site(self._plain, accesslog.write),
            "listen.admin": self._site(Admin(lambda: self.config.listen.admin_hosts, self._not_ready)),
            "listen.control": self._site(Control(self._commands())),
        }
        self._acme = self._order(loaded.config)
        self._factories = self._secured()
        self._open = self.config.listen.http
        self._listeners = [self._listener(key, endpoint) for key, endpoint in self._endpoints()]

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self.loaded.config

    def privilegedStartService(self) -> None:
        """Listen. Raises StartError if one listener cannot, with none left open."""
        self._hangup = signal.signal(signal.SIGHUP, self._on_hangup)
        for listener in self._listeners:
            try:
                listener.privilegedStartService()
            except (CannotListenError, OSError, OverflowError) as error:
                for opened in self._listeners[: self._listeners.index(listener)]:
                    opened.stopService()
                raise StartError(f"{listener.name}: {why_no_listener(error)}") from None

    def startService(self) -> None:
        Service.startService(self)
        for listener in self._listeners:
            listener.startService()
        self._log.info("facaded {version}, settings: {source}", version=__version__, source=self.loaded.source)
        self._warn()
        if self._certificates is not None:
            self._certificates.startService()
        if self._acme is not None:
            self._acme.startService()
        self.watch.startService()
        self.watch.when_settled().addCallback(self._settled)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def reload(self) -> tuple[str, ...]:
        """Read the settings again, and go by them if they are good.

        Gives the problems if they are not; then nothing has changed.
        """
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._adopt(self._reread())
        except SettingsError as error:
            for problem in error.problems:
                self._log.error("not reloaded: {source}: {problem}", source=error.source, problem=problem)
            return error.problems
        finally:
            if self.watch.settled:
                self._notify(f"READY=1\nSTATUS={self._summary()}")
        self._log.info("reloaded, settings: {source}", source=self.loaded.source)
        self._warn()
        return ()

    def status(self) -> dict[str, Any]:
        """The status document."""
        orders = self._acme.status() if self._acme is not None else ()
        certificates = self._certificates.document(orders) if self._certificates is not None else []
        return status.document(
            self.watch,
            self.config.rules,
            self.loaded.source,
            self.loaded.warnings,
            stale_names(self._reactor),
            self._clocks().to_wall,
            certificates,
        )

    # Putting together

    def _commands(self) -> Commands:
        """What the control socket does."""
        return {
            ("GET", "/status"): lambda _: self.status(),
            ("GET", "/lately"): lambda _: {"images": list(self._facade.lately.images())},
            ("GET", "/explain"): self._explain,
            ("POST", "/reload"): self._reload,
            ("POST", "/renew"): self._renew,
            ("POST", "/pin"): self._overriding(lambda asked: self.watch.pin(asked.backend, asked.seconds)),
            ("POST", "/unpin"): self._overriding(lambda _: self.watch.unpin()),
            ("POST", "/drain"): self._overriding(lambda asked: self.watch.drain(asked.backend, asked.seconds)),
            ("POST", "/undrain"): self._overriding(lambda asked: self.watch.undrain(asked.backend)),
        }

    def _explain(self, asked: Asked) -> Document:
        rules = self.config.rules
        situation = self.watch.situation()

        def in_charge(route: tuple[str, ...], purpose: Purpose) -> str:
            return self.watch.explain((route, purpose))

        try:
            return explanation.document(asked.image, asked.client, rules, situation, in_charge)
        except ValueError as error:
            raise RefusedError(str(error)) from None

    def _reload(self, _: Asked) -> Document:
        if problems := self.reload():
            raise RefusedError(*(f"not reloaded: {problem}" for problem in problems))
        return {}

    def _renew(self, _: Asked) -> Document:
        names = [", ".join(each.names) for each in self._acme.status()] if self._acme is not None else []
        if self._acme is None or not names:
            raise RefusedError("no certificate is got here: set [tls.acme], or renew those of [[tls.certificate]]")
        refusals = self._acme.renew()
        if len(refusals) == len(names):
            raise RefusedError(*refusals)
        return {"certificates": names, "warnings": list(refusals)}

    def _overriding(self, override: Callable[[Asked], None]) -> Callable[[Asked], Document]:
        """A command that changes what the operator says, and tells what has come of it."""

        def command(asked: Asked) -> Document:
            try:
                override(asked)
            except ContradictionError as error:
                raise RefusedError(str(error)) from None
            warnings = () if self._state_kept else ("the state cannot be written: this ends with a restart",)
            return {"why": self.watch.explain(), "warnings": list(warnings)}

        return command

    def _endpoints(self) -> list[tuple[str, str]]:
        listen = self.config.listen
        return [
            *(("listen.http", endpoint) for endpoint in listen.http),
            *(("listen.https", endpoint) for endpoint in listen.https if self.config.tls is not None),
            *(("listen.admin", endpoint) for endpoint in listen.admin),
            ("listen.control", control_endpoint(self.config, self._environ)),
        ]

    def _site(self, resource: Resource, answered: Callable[[http.Request], None] = lambda _: None) -> BoundedSite:
        return BoundedSite(resource, self._reactor, answered)

    def _secured(self) -> dict[str, IProtocolFactory]:
        """What listeners lead to, by key: the sites, over TLS where it is spoken."""
        factories: dict[str, IProtocolFactory] = {**self._sites}
        if self._certificates is not None:
            self._sites["listen.https"] = site = SecureSite(self._facade, self._reactor, accesslog.write)
            factories["listen.https"] = Secured(site, self._certificates, self._reactor)
        return factories

    def _listener(self, key: str, endpoint: str) -> Service:
        listener: Service = strports.service(endpoint, self._factories[key], self._reactor)
        listener.name = f"{key}: {endpoint}"
        return listener

    def _plain_settings(self) -> PlainPortSettings:
        """What the plain port does."""
        tls, hosts = self.config.tls, self.config.hosts
        if tls is None:
            return PlainPortSettings()
        return PlainPortSettings(tls.acme_webroot, tls.redirect_http, hosts, tls.public_port)

    def _read_certificates(self, config: Config) -> Certificates | None:
        if config.tls is None:
            return None
        pool = self._reactor.getThreadPool()
        in_thread = partial(deferToThreadPool, self._reactor, pool)
        return Certificates(self._challenges, self._reactor, time.time, in_thread, config.tls.files, config.hosts)

    def _order(self, config: Config) -> AcmeClient | None:
        """What gets certificates; what it has got already is in service from here on. Raises StartError."""
        if self._certificates is None or not config.orders:
            return None
        place, random = self._directory() / "acme", SystemRandom()
        network = CaNetwork(connect(self._reactor), self._reactor, time.time)
        try:
            acme = AcmeClient(network, random, config.acme, place, self._challenges, self._obtained)
        except StoreError as error:
            raise StartError(str(error)) from None
        self._take_over(acme)
        return acme

    def _obtained(self) -> None:
        if self._acme is not None:
            self._take_over(self._acme)

    def _take_over(self, acme: AcmeClient) -> None:
        """Have in service what was obtained."""
        assert self._certificates is not None
        for problem in self._certificates.replace_obtained(acme.current()):
            self._log.error("{problem}", problem=problem)

    def _plan(self, config: Config) -> Plan:
        timeout, rules = config.health.timeout, config.rules
        watched: dict[str, Watched] = {}
        routes = tuple(route.backends for route in rules.routes)
        for backend in config.backends:
            if any(backend.name in route for route in routes):
                canary = config.canary(backend)
                account, probe = backend.credentials is not None, prober(self._reactor, config, backend)
                roots = backend.ca_file.read_bytes() if backend.ca_file else b""
                manner = (hashlib.sha256(roots).digest(), timeout, account)
                own = str(config.own_canary(backend) or "")
                watched[backend.name] = Watched((backend.url, canary), probe, own, manner)

        def pinged(redirecting: tuple[str, ...]) -> str:
            return ping_leads_to(rules, Situation(redirecting, redirecting))

        handover = config.health.handover if rules.mode is Mode.AUTO else 0.0  # the others answer all in one way
        return Plan(watched, routes, config.health.machine, handover, pinged)

    def _serve_by(self, config: Config) -> Serving:
        """Sources and cache for these settings: after a reload nothing is known of what the old ones served."""
        cache = Cache(config.cache.manifests, config.cache.tag_ttl, self._reactor.seconds)
        found = sources(config, cache, self._reactor, self.watch.note_quota)
        return Serving(found, self._reactor, self.watch.probe_soon)

    def _adopt(self, loaded: Loaded) -> None:
        if (loaded.config.tls is None) != (self.config.tls is None):
            why = "tls: it has been added or taken out, and listeners change only at a restart: restart instead"
            raise SettingsError(loaded.source, (why,))
        redirects = loaded.config.redirects_http
        if loaded.config.rules.private and not redirects and loaded.config.listen.http != self._open:
            why = (
                'listen.http: it has changed, and with auth = "client" nobody may come by the old one: restart instead'
            )
            raise SettingsError(loaded.source, (why,))
        if loaded.config.listen != self.config.listen:
            self._log.warn("listen: changed in the settings; listeners change only at a restart")
        plan, serving = self._plan(loaded.config), self._serve_by(loaded.config)
        self._adopt_orders(loaded)
        self.loaded, self._serving = loaded, serving
        self.watch.replan(plan)
        self._plain.reconfigure(self._plain_settings())
        if self._certificates is not None and loaded.config.tls is not None:
            prepared = self._certificates.prepare(loaded.config.tls.files, loaded.config.hosts)
            self._certificates.reconfigure(prepared)
        self._write_state()

    def _adopt_orders(self, loaded: Loaded) -> None:
        try:
            if self._acme is not None:
                self._acme.reconfigure(self._acme.prepare(loaded.config.acme))
                self._take_over(self._acme)
            else:
                self._acme = self._order(loaded.config)
                if self._acme is not None and self.running:
                    self._acme.startService()
        except (StoreError, StartError) as error:
            raise SettingsError(loaded.source, (f"state.directory: {error}",)) from None

    # While it runs

    def _settled(self, _: None) -> None:
        if self._stopping:
            return
        self._log.info("{why}", why=self.watch.explain())
        self._write_state()
        self._notify(f"READY=1\nSTATUS={self._summary()}")

    def _changed(self, news: str) -> None:
        if news:
            self._log.info("{news}", news=news)
        self._notify(f"STATUS={self._summary()}")
        self._state_kept = self._write_state()

    def _not_ready(self) -> str | None:
        if self._stopping:
            return "stopping"
        return None if self.watch.settled else "waiting for the first answers of the backends"

    def _summary(self) -> str:
        clocks = self._clocks()

        def written(monotonic: float) -> str:
            return datetime.fromtimestamp(clocks.to_wall(monotonic)).astimezone().strftime("%H:%M")

        healths = self.watch.standing.healths
        return failover.summarise(tuple(healths), healths, self.watch.charge, self.watch.standing.overrides, written)

    def _warn(self) -> None:
        for warning in self.loaded.warnings:
            self._log.warn("{warning}", warning=warning)

    def _on_hangup(self, *_: object) -> None:
        self._reactor.callFromThread(self.reload)

    def _clocks(self) -> Clocks:
        return Clocks(time.time(), self._reactor.seconds())

    # State

    def _directory(self) -> Path:
        return state_directory(self.config, self._environ)

    def _known(self) -> dict[str, state.Known]:
        settings = self.config
        return {each.name: state.Known(each.url, str(settings.canary(each) or "")) for each in settings.backends}

    def _read_state(self) -> state.Kept:
        directory = self._directory()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"state.directory: {directory} cannot be made ({error.strerror}): name another") from None
        kept = state.read(directory, self._known(), self._clocks())
        if kept.warning:
            self._log.warn("{warning}", warning=kept.warning)
        self._state_lost = not kept.writable
        return kept

    def _write_state(self) -> bool:
        """Write the state; says whether it was."""
        if self._state_lost:
            return False
        try:
            state.write(self._directory(), self.watch.standing, self._known(), self._clocks())
        except OSError as error:
            self._log.warn("the state cannot be written ({why}); it is kept in memory", why=error.strerror)
            return False
        return True

    async def _stop(self) -> None:
        """Stop listening, end what is in flight, then the probes; the state is written last."""
        self._stopping = True
        self._notify("STOPPING=1")
        await DeferredList([listener.stopService() for listener in self._listeners])
        await DeferredList([site.drain(IN_FLIGHT) for site in self._sites.values()])
        if self._acme is not None:
            await self._acme.stopService()
        if self._certificates is not None:
            self._certificates.stopService()
        self.watch.stopService()
        self._write_state()
        signal.signal(signal.SIGHUP, self._hangup)
        self._log.info("stopped")


class Notifier:
    """Tells systemd, if it wants to know, by sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names."""

    _log = Logger()

    def __init__(self, address: str | None) -> None:
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address

    def __call__(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
                notify.sendto(message.encode(), self._address)
        except OSError as error:
            self._log.warn("systemd cannot be notified ({why})", why=error.strerror)


def control_socket(config: Config, environ: Mapping[str, str]) -> Path:
    """Where a daemon with these settings has its control socket."""
    return Path(control_path(control_endpoint(config, environ)))


_REMEDIES = {
    errno.EADDRINUSE: "something else listens there: stop it, or choose another address",
    errno.EACCES: "not permitted: choose a port from 1024 up or a directory of your own, or grant CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one that it has",
    errno.ENOENT: "the directory does not exist: make it, or choose another path",
}


def why_no_listener(error: CannotListenError | OSError | OverflowError) -> str:
    """Why a listener cannot be opened, and what to do."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    if isinstance(cause, OSError) and cause.errno is not None:
        return _REMEDIES.get(cause.errno, str(cause.strerror))
    return "another facaded is running there" if str(cause) == "Cannot acquire lock" else str(cause)
