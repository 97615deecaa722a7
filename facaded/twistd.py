"""The twistd plugin: `twistd -n --pidfile= facaded --config FILE` does the same as `facaded serve --config FILE`."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import MultiService
from twisted.python import usage

from facaded import service
from facaded.config.loading import Loaded, load
from facaded.config.settings_error import SettingsError
from facaded.exit_status import USAGE
from facaded.listeners import StartError
from facaded.net.reactor import installed
from facaded.preparation import prepare


class Options(usage.Options):
    """The options after `facaded` on twistd's command line."""

    synopsis = "[options]"
    longdesc = "A container registry facade: it leads every pull to a registry that works and has the image."
    optParameters = [  # noqa: RUF012
        ["config", None, None, "The settings file."],
        ["org", None, None, "Without a file: answer for the repositories of this organisation."],
    ]


def makeService(options: usage.Options) -> MultiService:
    """Return the daemon for twistd.

    Settings that cannot be used end the process with exit status 2 and a line for each problem.
    """
    reactor = installed()

    def reread() -> Loaded:
        values: dict[str, Any] = options
        path = Path(values["config"]) if values["config"] else None
        return load(path, values["org"], os.environ, reactor)

    prepare(reactor)
    try:
        daemon = service.makeService(reread(), reactor, reread, os.environ)
    except SettingsError as error:
        _end(USAGE, *error.problems)
    except StartError as error:
        _end(error.exit_status, str(error))
    return _UnderTwistd(daemon)


class _UnderTwistd(MultiService):
    """Ends twistd with a sentence and an exit status if the daemon cannot start: twistd would print a traceback."""

    def __init__(self, daemon: MultiService) -> None:
        MultiService.__init__(self)
        MultiService.addService(self, daemon)

    def privilegedStartService(self) -> None:
        try:
            MultiService.privilegedStartService(self)
        except StartError as error:
            _end(error.exit_status, str(error))

    def startService(self) -> None:
        try:
            MultiService.startService(self)
        except StartError as error:
            _end(error.exit_status, str(error))


def _end(exit_status: int, *sentences: str) -> NoReturn:
    for sentence in sentences:
        sys.stderr.write(f"facaded: {sentence}\n")
    sys.exit(exit_status)
