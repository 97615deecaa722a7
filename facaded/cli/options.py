"""The settings and the control socket that the options --config and --org lead to."""

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from facaded.admin.control_client import NoDaemonError
from facaded.config import loading
from facaded.config.loading import Loaded
from facaded.config.paths import CONTROL_SOCKET, SYSTEM_RUNTIME, SYSTEM_STATE, control_socket
from facaded.config.sections import Config
from facaded.config.settings_error import SettingsError
from facaded.net.reactor import installed


def load(options: argparse.Namespace) -> Loaded:
    """Load the settings. Raises SettingsError."""
    return loading.load(options.config, options.org, os.environ, installed())


def find_socket(options: argparse.Namespace) -> Path:
    """Return the control socket of the running daemon: the one of these settings, else the one of a service.

    Raises NoDaemonError if there is none.
    """
    note = ""
    try:
        settings = load(options).config
    except SettingsError as error:
        settings = error.partial or Config()
        note = f"; the settings may name another one, but cannot be used: {error.problems[0]}"
    paths = [control_socket(settings, os.environ)]
    if settings.listen.control is None:
        paths += [directory / CONTROL_SOCKET for directory in (SYSTEM_RUNTIME, SYSTEM_STATE)]
    path = choose_socket(paths)
    if path is None:
        searched = ", ".join(dict.fromkeys(str(path) for path in paths))
        raise NoDaemonError(f"not running: there is no control socket at {searched}{note}")
    return path


def choose_socket(paths: Sequence[Path]) -> Path | None:
    """Return the first socket that a process listens on, else the first that exists, else None."""
    existing = [path for path in paths if may_exist(path)]
    return next((path for path in existing if not _is_left_over(path)), existing[0] if existing else None)


def may_exist(path: Path) -> bool:
    """Whether there is something at `path`, or in a directory that this user may not search."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _is_left_over(path: Path) -> bool:
    """Whether no process listens on a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a daemon whose backlog is full is running too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
