"""`facaded serve`: the daemon in the foreground, and its log."""

import argparse
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
from facaded.cli.terminal import GOOD
from facaded.net.reactor import installed
from facaded.service import makeService, prepare

_PRIORITIES = {LogLevel.critical: "<2>", LogLevel.error: "<3>", LogLevel.warn: "<4>", LogLevel.info: "<6>"}
"""What journald takes for a line's priority: sd-daemon(3)."""


def serve(options: argparse.Namespace) -> int:
    """Answer for the registry until stopped."""
    reactor = installed()
    _begin_logging(sys.stderr)
    prepare(reactor)
    daemon = makeService(load(options), reactor, lambda: load(options), os.environ)
    daemon.privilegedStartService()
    daemon.startService()
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    reactor.run()
    return GOOD


def _begin_logging(stream: TextIO) -> None:
    """Log to `stream`.

    What facaded says from `info` on, what its libraries say from `warn` on. The journal has its own clock.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    levels.setLogLevelForNamespace("facaded", LogLevel.info)
    dated = "JOURNAL_STREAM" not in os.environ

    def formatted(event: LogEvent) -> str:
        text = eventAsText(event, includeTimestamp=dated, includeSystem=False)
        prefix = "" if dated else _PRIORITIES.get(event.get("log_level", LogLevel.info), "<6>")
        return "".join(f"{prefix}{line}\n" for line in text.splitlines())

    observer = FilteringLogObserver(FileLogObserver(stream, formatted), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
