"""The standard streams: those that a process was started without, and those that cannot show every character."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path


def open_missing_streams() -> None:
    """Open /dev/null for standard output and standard error if the process was started without them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # open as long as the process


def replace_unencodable() -> None:
    """Print a question mark for what standard output's encoding does not have, instead of failing: ASCII has no `…`."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
