"""`facaded serve`: the daemon in the foreground, and its log."""

import argparse
import gc
import os
import sys

from twisted.logger import globalLogBeginner

from facaded.cli.line_writer import LineWriter
from facaded.cli.log_forms import find_place
from facaded.cli.log_output import LogOutput
from facaded.cli.options import load
from facaded.exit_status import GOOD
from facaded.net.reactor import installed
from facaded.preparation import prepare
from facaded.service import makeService


def serve(options: argparse.Namespace) -> int:
    """Run the daemon until it is stopped. Raises SettingsError or StartError."""
    reactor = installed()
    prepare(reactor)
    loaded = load(options)
    descriptor = sys.stderr.fileno()
    log = LogOutput(LineWriter(descriptor), find_place(descriptor, os.environ), reactor)
    log.reconfigure(loaded.config.log)
    globalLogBeginner.beginLoggingTo([log.observer], redirectStandardIO=False)
    try:
        daemon = makeService(loaded, reactor, lambda: load(options), os.environ, log)
        daemon.privilegedStartService()
        daemon.startService()
        reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        gc.freeze()  # a full collection would look at all modules again, for 0.1 s in which nobody is answered
        reactor.run()
    finally:
        log.close()
    return GOOD
