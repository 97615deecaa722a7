"""What the options that most commands take lead to: the settings, and the running daemon's socket."""

import argparse
import os
from pathlib import Path

from facaded.admin.control_client import NoDaemonError
from facaded.config import loading, paths
from facaded.config.loading import Loaded
from facaded.config.paths import control_socket
from facaded.config.sections import Config
from facaded.config.settings_error import SettingsError
from facaded.net.reactor import installed


def load(options: argparse.Namespace) -> Loaded:
    """Load the settings. Raises SettingsError."""
    return loading.load(options.config, options.org, os.environ, installed())


def find_socket(options: argparse.Namespace) -> Path:
    """Find the running daemon's socket: where these settings have it, else where a service has it.

    Raises NoDaemonError if there is none.
    """
    doubt = ""
    try:
        settings = load(options).config
    except SettingsError as error:
        settings, doubt = error.partial or Config(), f"; and {error.problems[0]}"
    places = [control_socket(settings, os.environ)]
    if settings.listen.control is None:
        places += [paths.SYSTEM_RUNTIME / paths.CONTROL_SOCKET, paths.SYSTEM_STATE / paths.CONTROL_SOCKET]
    path = next((place for place in places if may_exist(place)), None)
    if path is None:
        looked = ", ".join(dict.fromkeys(str(place) for place in places))
        raise NoDaemonError(f"no daemon is running: there is no socket at {looked}{doubt}")
    return path


def may_exist(path: Path) -> bool:
    """Whether there is something at `path`, or in a place where this user may not look."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True
