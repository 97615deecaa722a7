"""`facaded serve`: the daemon in the foreground, and its log."""

import argparse
import gc
import os
import sys

from twisted.logger import globalLogBeginner

from facaded.cli.log_output import LogOutput
from facaded.cli.options import load
from facaded.exit_status import GOOD
from facaded.net.reactor import installed
from facaded.service import makeService, prepare


def serve(options: argparse.Namespace) -> int:
    """Run the daemon until it is stopped. Raises SettingsError or StartError."""
    reactor = installed()
    prepare(reactor)
    log = LogOutput(sys.stderr, reactor)
    globalLogBeginner.beginLoggingTo([log.observer], redirectStandardIO=False)
    daemon = makeService(load(options), reactor, lambda: load(options), os.environ, log.add_line)
    daemon.privilegedStartService()
    daemon.startService()
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    gc.freeze()  # a full collection would look at all modules again, for 0.1 s in which nobody is answered
    reactor.run()
    log.flush()
    return GOOD
