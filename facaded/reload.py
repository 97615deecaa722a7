"""New settings for a running daemon: every part is prepared from them first, then every part is swapped.

A part joins with one function, which is given the new settings and returns the swap. All that can fail happens before
it returns; the swap itself does not fail. So a bad file, or a part that cannot be prepared, changes nothing.
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

Swap: TypeAlias = Callable[[], None]
"""Has a part go by the settings that it was prepared for. Does not raise."""

Prepare: TypeAlias = Callable[[Loaded], Swap]
"""Prepares a part for new settings. Raises SettingsError; then nothing has changed."""


class Reloader:
    """Reads the settings again with `reread`, and has every part go by them.

    `loaded` are the settings in force. `begun` and `ended` are called before and after each reload, whatever its
    result. `needs_restart` returns a sentence for each difference from the settings at the start that only a restart
    applies.
    """

    _log = Logger()

    def __init__(
        self,
        loaded: Loaded,
        reread: Callable[[], Loaded],
        begun: Callable[[], None],
        ended: Callable[[], None],
        needs_restart: Callable[[Loaded], tuple[str, ...]],
    ) -> None:
        self.loaded = loaded
        self._reread = reread
        self._begun = begun
        self._ended = ended
        self._needs_restart = needs_restart
        self._parts: list[Prepare] = []

    def add(self, prepare: Prepare) -> None:
        """Have one more part go by new settings. Parts are swapped in the order in which they are added."""
        self._parts.append(prepare)

    def reload(self) -> ReloadResult:
        """Read the settings again, and apply them if they can be used; log the result, and return it."""
        self._begun()
        try:
            self._adopt(self._reread())
        except SettingsError as error:
            for problem in error.problems:
                self._log.error("not reloaded: {problem}", problem=problem)
            return ReloadResult(error.problems)
        finally:
            self._ended()
        self._log.info("reloaded, settings: {source}", source=self.loaded.source)
        warnings = self._needs_restart(self.loaded)
        self._warn(*warnings, *self.loaded.warnings)
        return ReloadResult(warnings=warnings)

    def warn(self) -> None:
        """Log the warnings about the settings in force."""
        self._warn(*self.loaded.warnings)

    def _warn(self, *warnings: str) -> None:
        for warning in warnings:
            self._log.warn("{warning}", warning=warning)

    def _adopt(self, loaded: Loaded) -> None:
        swaps = [prepare(loaded) for prepare in self._parts]
        self.loaded = loaded
        for swap in swaps:
            swap()


class Hangup(Service):
    """Has SIGHUP call `reload` while it runs."""

    def __init__(self, reactor: IReactorFromThreads, reload: Callable[[], object]) -> None:
        self._reactor = reactor
        self._reload = reload
        self._before: Any = signal.SIG_DFL

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        self._before = signal.signal(signal.SIGHUP, self._hung_up)

    def stopService(self) -> None:
        Service.stopService(self)
        signal.signal(signal.SIGHUP, self._before)

    def _hung_up(self, _: int, __: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)
