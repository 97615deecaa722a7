"""New settings for a running daemon: every part is prepared for them first, then every part is swapped.

A part takes part with one function, which is called with the new settings and returns the swap. Everything that can
fail happens before it returns; the swap itself cannot fail. So a bad file, or a part that cannot be prepared, changes
nothing.
"""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from facaded.admin.commands import ReloadResult
from facaded.config.loading import Loaded
from facaded.config.settings_error import SettingsError
from facaded.swaps import Prepare

Reread: TypeAlias = Callable[[], Loaded]
"""Reads the settings again. Raises SettingsError."""


class Reloader:
    """Reads the settings again with `reread`, and applies them to every part.

    `loaded` are the settings in force. `on_begin` and `on_end` are called before and after each reload, whatever its
    result. `needs_restart` returns a sentence for each difference from the settings at the start that only a restart
    applies. `succeeded` is whether the last reload did, and true before the first one.
    """

    _log = Logger()

    def __init__(
        self,
        loaded: Loaded,
        reread: Reread,
        on_begin: Callable[[], None],
        on_end: Callable[[], None],
        needs_restart: Callable[[Loaded], tuple[str, ...]],
    ) -> None:
        self.loaded = loaded
        self.succeeded = True
        self._reread = reread
        self._on_begin = on_begin
        self._on_end = on_end
        self._needs_restart = needs_restart
        self._parts: list[Prepare] = []

    def add(self, prepare: Prepare) -> None:
        """Add a part. Parts are swapped in the order in which they were added."""
        self._parts.append(prepare)

    def reload(self) -> ReloadResult:
        """Read the settings again, and apply them if they can be used; log the result, and return it."""
        self._on_begin()
        self.succeeded = False
        try:
            self._apply(self._reread())
            self.succeeded = True
        except SettingsError as error:
            for problem in error.problems:
                self._log.error("not reloaded: {problem}", problem=problem)
            return ReloadResult(error.problems)
        finally:
            self._on_end()
        self._log.info("reloaded, settings: {source}", source=self.loaded.source)
        warnings = self._needs_restart(self.loaded)
        self._log_warnings(*warnings, *self.loaded.warnings)
        return ReloadResult(warnings=warnings)

    def warn(self) -> None:
        """Log the warnings about the settings in force, and what of them is not, after a takeover."""
        self._log_warnings(*self._needs_restart(self.loaded), *self.loaded.warnings)

    def _log_warnings(self, *warnings: str) -> None:
        for warning in warnings:
            self._log.warn("{warning}", warning=warning)

    def _apply(self, loaded: Loaded) -> None:
        swaps = [prepare(loaded) for prepare in self._parts]
        self.loaded = loaded
        for swap in swaps:
            swap()


class Hangup(Service):
    """Calls `reload` at every SIGHUP while the service runs."""

    def __init__(self, reactor: IReactorFromThreads, reload: Callable[[], object]) -> None:
        self._reactor = reactor
        self._reload = reload
        self._previous_handler: Any = signal.SIG_DFL

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        self._previous_handler = signal.signal(signal.SIGHUP, self._handle_signal)

    def stopService(self) -> None:
        Service.stopService(self)
        signal.signal(signal.SIGHUP, self._previous_handler)

    def _handle_signal(self, _: int, __: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)
