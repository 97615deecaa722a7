"""The commands that print files: an example of the settings, the systemd unit, the manual, and those for clients."""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from facaded.admin.control import CommandRefusedError
from facaded.cli import client_files
from facaded.cli.client_files import NoConfigurationError
from facaded.cli.options import load
from facaded.cli.packaged_files import find_directory, list_topics, read_packaged, read_topic
from facaded.cli.terminal import complain, show
from facaded.exit_status import GOOD

INSTALLED = "/opt/facaded"
"""The virtual environment in which the unit expects the program."""

HIDDEN = ("/home", "/root", "/run/user")
"""What the unit's ProtectHome= hides."""


SPECIAL = re.compile(r"[^\w./+-]")
"""What means something else in a unit than in a path, such as a space or a percent sign."""


def print_example(options: argparse.Namespace) -> int:
    """Print a file of conf/, by default the settings with all keys and their defaults."""
    show(read_packaged(find_directory("conf"), options.file).rstrip("\n"))
    return GOOD


def print_unit(options: argparse.Namespace) -> int:
    """Print a file of systemd/, by default the service, which runs this program."""
    unit = read_packaged(find_directory("systemd"), options.file)
    environment = find_environment(sys.prefix, sys.base_prefix)
    if environment.startswith(HIDDEN) or SPECIAL.search(environment):
        complain(f"the unit cannot run a program under {environment}: install it in {INSTALLED}, as the unit says")
        environment = INSTALLED
    show(unit.replace(INSTALLED, environment).rstrip("\n"))
    return GOOD


def find_environment(prefix: str, base_prefix: str) -> str:
    """Return the virtual environment that has the program; INSTALLED if it runs in none."""
    is_installed = prefix != base_prefix and (Path(prefix) / "bin" / "facaded").exists()
    return prefix if is_installed else INSTALLED


def print_manual(options: argparse.Namespace) -> int:
    """Print a page of the manual; without a topic, the list of topics."""
    if options.topic is not None:
        show(read_topic(options.topic).rstrip("\n"))
        return GOOD
    topics = list_topics()
    width = max(map(len, topics))
    show("\n".join(f"{topic:{width}}  {title}" for topic, title in topics.items()))
    return GOOD


def print_client_file(options: argparse.Namespace) -> int:
    """Print the configuration of a client."""
    try:
        file = client_files.render(options.client, load(options).config, options.url)
    except NoConfigurationError as error:
        raise CommandRefusedError(str(error)) from None
    show(file.content)
    for note in file.notes:
        complain(note)
    return GOOD


BY_NAME: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "example-config": print_example,
    "unit": print_unit,
    "manual": print_manual,
    "client-config": print_client_file,
}
"""The function of each command that prints a file."""
