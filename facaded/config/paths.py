"""Paths with defaults: the settings file, the state directory, the control socket."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from facaded.config.listen_addresses import Address
from facaded.config.sections import Config

DEFAULT_FILE = Path("/etc/facaded/facaded.toml")
SYSTEM_STATE = Path("/var/lib/facaded")
SYSTEM_RUNTIME = Path("/run/facaded")
CONTROL_SOCKET = "control.sock"

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for without PATH: systemd's default."""

_MODE = re.compile(r"(?<!\\):mode=")


def state_directory(config: Config, environ: Mapping[str, str]) -> Path:
    """Return the directory of the state.

    The setting, else systemd's directory, else the system's if it can be written, else the user's own.
    """
    if config.state.directory is not None:
        return config.state.directory
    if directories := environ.get("STATE_DIRECTORY"):
        return Path(directories.split(":")[0])
    existing = SYSTEM_STATE if os.path.lexists(SYSTEM_STATE) else SYSTEM_STATE.parent
    if os.access(existing, os.W_OK | os.X_OK):
        return SYSTEM_STATE
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local/state")
    return Path(home) / "facaded"


def acme_directory(config: Config, environ: Mapping[str, str]) -> Path:
    """Return the directory of the accounts and certificates of ACME: the setting, else one in that of the state."""
    return config.state.acme_directory or state_directory(config, environ) / "acme"


def control_endpoint(config: Config, environ: Mapping[str, str]) -> str:
    """Return the Twisted endpoint string of the control socket.

    Its mode keeps other users out unless the setting says otherwise.
    """
    if config.listen.control is not None:
        endpoint = config.listen.control.endpoint
        return endpoint if _MODE.search(endpoint) else f"{endpoint}:mode=600"
    runtime = environ.get("RUNTIME_DIRECTORY")
    directory = Path(runtime.split(":")[0]) if runtime else state_directory(config, environ)
    return f"unix:{_quoted(str(directory / CONTROL_SOCKET))}:mode=600"


def control_socket(config: Config, environ: Mapping[str, str]) -> Path:
    """Return the path of the control socket."""
    endpoint = control_endpoint(config, environ)
    return Path(Address(endpoint, endpoint=endpoint).unix_path)


def search_path(environ: Mapping[str, str]) -> str:
    """Return the directories in which programs are looked for, separated by colons."""
    return environ.get("PATH") or SEARCH_PATH


def _quoted(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
