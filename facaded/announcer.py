"""The daemon's own log lines: its start, changes of the backends' state, and its end."""

from twisted.application.service import Service
from twisted.logger import Logger, LogLevel

from facaded import __version__
from facaded.backends.watch import Watch
from facaded.listeners import Listeners
from facaded.listening import describe_listeners
from facaded.policy.changes import Change
from facaded.policy.events import Severity
from facaded.policy.outages import explain_outages, find_outages
from facaded.reload import Reloader

LEVELS = {
    Severity.ERROR: LogLevel.error,
    Severity.WARNING: LogLevel.warn,
    Severity.NOTICE: LogLevel.info,
    Severity.INFO: LogLevel.info,
}
"""The level of each severity: Twisted has no notice."""


class Announcer(Service):
    """Logs the start with the settings in force and the addresses, every change that is news, and the end.

    The addresses are those of `listeners`, which are open when it starts.
    """

    _log = Logger()

    def __init__(self, reloader: Reloader, watch: Watch, listeners: Listeners) -> None:
        self._reloader = reloader
        self._watch = watch
        self._listeners = listeners
        self._has_told = False
        watch.subscribe(self._log_change)

    def startService(self) -> None:
        Service.startService(self)
        loaded = self._reloader.loaded
        self._log.info("facaded {version}, settings: {source}", version=__version__, source=loaded.source)
        config, listeners = loaded.config, self._listeners
        public_port = config.tls.public_port if config.tls else 443
        addresses = describe_listeners(listeners.opened(), config.hosts, listeners.proxied(), public_port)
        self._log.info("{addresses}", addresses=addresses)
        self._reloader.warn()
        self._watch.when_settled().addCallback(self._log_active)

    def stopService(self) -> None:
        Service.stopService(self)
        self._log.info("stopped")

    def _log_active(self, _: None) -> None:
        if not self.running:
            return
        snapshot = self._watch.snapshot()
        outage = explain_outages(find_outages(snapshot))
        if outage and not self._has_told:  # a restart keeps the state, so nothing has changed
            self._log.error("{outage}", outage=outage)
        self._log.info("{why}", why=snapshot.explain())

    def _log_change(self, change: Change) -> None:
        self._has_told = self._has_told or change.severity is Severity.ERROR
        if change.news:
            level, severity, events = LEVELS[change.severity], change.severity, change.events
            self._log.emit(level, "{news}", news=change.news, severity=severity, change_events=events)
