"""Checks of the files in the settings: trust roots must be readable, and secrets must not be readable by others."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen
from OpenSSL import crypto

from facaded.config.checks import PlacedSettings
from facaded.config.paths import search_path
from facaded.config.settings_error import KeyPath, Problem
from facaded.tls.certificate_files import OTHERS, describe_open_key

CREDENTIALS = Path("/run/credentials")
"""Where systemd puts credentials (LoadCredential=), only for the unit: systemd.exec(5)."""

SECRET_SIZE = 4096
"""Bytes that a secret may have."""


@frozen
class Note:
    """A file that could not be checked, or a program that is missing: this does not keep the daemon from running."""

    path: KeyPath
    sentence: str


def check_files(settings: PlacedSettings, environ: Mapping[str, str]) -> Iterator[Problem | Note]:
    """Check every file that the settings name."""
    in_unit = "CREDENTIALS_DIRECTORY" in environ or "NOTIFY_SOCKET" in environ
    for path, file, problem in _files(settings):
        if problem is not _roots_problem and not in_unit and file.is_relative_to(CREDENTIALS):
            yield Note(path, f"{file} exists only for the systemd unit, so it was not checked")
        elif sentence := problem(file):
            yield Problem(path, sentence)
    if sentence := program_problem(settings.config.notify.command, environ):
        yield Note(("notify", "command"), sentence)


def program_problem(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return why a command cannot be run on this machine now; empty if it can, or if there is none."""
    if not command or shutil.which(command[0], path=search_path(environ)):
        return ""
    program = command[0]
    if "/" in program and os.path.exists(program):
        return f"{program} is not an executable file: chmod +x {program}, or name another"
    return f"there is no program {program} on this machine: install it, or correct the path"


def _files(settings: PlacedSettings) -> Iterator[tuple[KeyPath, Path, Callable[[Path], str]]]:
    """Yield every file with its key path and the function that checks it."""
    for path, backend in settings.backends:
        if backend.ca_file:
            yield (*path, "ca_file"), backend.ca_file, _roots_problem
        if backend.password_file and backend.username:
            yield (*path, "password_file"), backend.password_file, _secret_problem
    if settings.config.state.directory:
        yield ("state", "directory"), settings.config.state.directory, _directory_problem
    if settings.config.state.acme_directory:
        yield ("state", "acme_directory"), settings.config.state.acme_directory, _directory_problem
    tls = settings.config.tls
    for index, files in enumerate(tls.certificates if tls else ()):
        yield ("tls", "certificate", index, "key"), files.key, _key_problem
    for index, ca in enumerate(tls.acme.cas if tls and tls.acme else ()):
        if ca.ca_file:
            yield ("tls", "acme", "ca", index, "ca_file"), ca.ca_file, _roots_problem
        if ca.eab_hmac_key_file and ca.eab_key_id:
            yield ("tls", "acme", "ca", index, "eab_hmac_key_file"), ca.eab_hmac_key_file, _secret_problem


def _roots_problem(path: Path) -> str:
    if _is_special(path):
        return f"{path} is not a regular file: name a file"
    from facaded.net.connections import trust_policy  # not before it is needed: see `late_client`

    try:
        trust_policy(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}): check the path and its permissions"
    except crypto.Error:
        return f"{path} has no readable certificate: write it in PEM format"
    return ""


def _secret_problem(path: Path) -> str:
    if _is_special(path):
        return f"{path} is not a regular file: name a file"
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            content = file.read(SECRET_SIZE + 1)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}): check the path and its permissions"
    if (
        mode & OTHERS
    ):  # not the group bits: systemd sets an access list on credentials, and these bits are then its mask
        return f"{path} can be read by others: chmod o= {path}"
    return _content_problem(path, content)


def _content_problem(path: Path, content: bytes) -> str:
    secret = content.strip()
    if not secret:
        return f"{path} is empty: write the secret into it"
    if len(content) > SECRET_SIZE:
        return f"{path} is longer than {SECRET_SIZE} bytes: check that it is the right file"
    if any(byte < 0x20 or byte == 0x7F for byte in secret) or secret.startswith(b"\xef\xbb\xbf"):
        return f"{path} has several lines or control characters: write only the secret, as text, on one line"
    return ""


def _is_special(path: Path) -> bool:
    """Whether this is a FIFO or a device, which could block or never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _directory_problem(path: Path) -> str:
    return f"{path} is not a directory: name another, or remove it" if path.exists() and not path.is_dir() else ""


def _key_problem(path: Path) -> str:
    """Check the mode of a key. One that is missing or out of reach is reported by the daemon when it reads it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if mode & OTHERS:
        return describe_open_key(path)
    return ""
