"""`facaded worker`: one of several processes that answer clients. Only facaded itself runs it: see `launch`."""

import gc
import os
import signal
import sys

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

from facaded.cli.line_writer import LineWriter
from facaded.cli.log_forms import find_place
from facaded.cli.log_output import LogOutput
from facaded.cli.streams import open_missing_streams
from facaded.exit_status import GOOD, USAGE
from facaded.net.reactor import installed
from facaded.preparation import prepare
from facaded.worker_process import WorkerProcess
from facaded.workers.codec import MalformedError
from facaded.workers.launch import Launch

TOLD_BY_FIRST = (
    "facaded.answering_parts",
    "facaded.listeners",
    "facaded.tls.certificates",
    "facaded.tls.watched_files",
)
"""Modules whose messages are about settings and files: the first process logs the same."""


@implementer(ILogObserver)
class OwnNews:
    """Passes on to `log` what a worker logs: internal errors always."""

    def __init__(self, log: ILogObserver) -> None:
        self._log = log

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event or not str(event.get("log_namespace")).startswith(TOLD_BY_FIRST):
            self._log(event)


def work() -> int:
    """Answer clients until the first process says that it is over, or SIGTERM."""
    open_missing_streams()
    try:
        launch = Launch.of_process(os.environ)
    except MalformedError:
        launch = None
    if launch is None:
        sys.stderr.write("facaded: facaded starts its workers itself: set `workers` in the settings\n")
        return USAGE
    reactor = installed()
    prepare(reactor)
    descriptor = sys.stderr.fileno()
    log = LogOutput(LineWriter(descriptor), find_place(descriptor, os.environ), reactor)
    globalLogBeginner.beginLoggingTo([OwnNews(log.observer)], redirectStandardIO=False)
    for ignored in (signal.SIGINT, signal.SIGHUP):  # they reach the whole group; the first process decides
        signal.signal(ignored, signal.SIG_IGN)

    def end() -> None:
        if reactor.running:
            reactor.callWhenRunning(reactor.stop)

    worker = WorkerProcess(reactor, launch, os.environ, log, end)
    try:
        reactor.callWhenRunning(worker.startService)
        reactor.addSystemEventTrigger("before", "shutdown", worker.stopService)
        gc.freeze()
        reactor.run()
    finally:
        log.close()
    return GOOD
