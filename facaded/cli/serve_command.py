"""`facaded serve`: the daemon in the foreground, and its log."""

import argparse
import gc
import os
import sys
from typing import TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)

from facaded.cli.options import load
from facaded.exit_status import GOOD
from facaded.net.reactor import installed
from facaded.service import makeService, prepare

_PRIORITIES = {LogLevel.critical: "<2>", LogLevel.error: "<3>", LogLevel.warn: "<4>", LogLevel.info: "<6>"}
"""The prefix by which the journal recognises a line's priority: sd-daemon(3)."""


def serve(options: argparse.Namespace) -> int:
    """Run the daemon until it is stopped. Raises SettingsError or StartError."""
    reactor = installed()
    _begin_logging(sys.stderr)
    prepare(reactor)
    daemon = makeService(load(options), reactor, lambda: load(options), os.environ)
    daemon.privilegedStartService()
    daemon.startService()
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    gc.freeze()  # a full collection would look at all modules again, for 0.1 s in which nobody is answered
    reactor.run()
    return GOOD


def _begin_logging(stream: TextIO) -> None:
    """Log to `stream`: facaded's own messages from `info` on, those of its libraries from `warn` on.

    Lines for the journal have a priority instead of a time: the journal adds the time.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    levels.setLogLevelForNamespace("facaded", LogLevel.info)
    to_journal = "JOURNAL_STREAM" in os.environ

    def format_event(event: LogEvent) -> str:
        text = eventAsText(event, includeTimestamp=not to_journal, includeSystem=False)
        prefix = _PRIORITIES.get(event.get("log_level", LogLevel.info), "<6>") if to_journal else ""
        return "".join(f"{prefix}{line}\n" for line in text.splitlines())

    observer = FilteringLogObserver(FileLogObserver(stream, format_event), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
