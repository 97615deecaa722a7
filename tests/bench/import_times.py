"""Which imports of facaded take how long at a start: `python -m tests.bench.peers --imports`."""

import re
from collections import Counter
from collections.abc import Iterable

from attrs import frozen

from tests.bench.ratios import align, shorten
from tests.bench.servers_under_load import Server

LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)
"""A line of Python's `-X importtime`: microseconds of the module itself, and with its imports, and its name."""

MOST = 15
"""Packages and modules that are shown, the slowest first."""


@frozen
class ImportTime:
    """The microseconds that a module takes by itself, without its imports."""

    module: str
    microseconds: int


def parse_import_times(output: str) -> list[ImportTime]:
    """Return the times that Python wrote with `-X importtime`; other lines are left out."""
    return [ImportTime(module, int(microseconds)) for microseconds, module in LINE.findall(output)]


def describe_import_times(times: Iterable[ImportTime]) -> list[str]:
    """Return a table of the slowest packages, one of the slowest modules, and the total."""
    packages, modules = Counter[str](), Counter[str]()
    for time in times:
        packages[time.module.partition(".")[0]] += time.microseconds
        modules[time.module] += time.microseconds
    total = f"{len(modules)} modules are imported in {shorten(modules.total() / 1000)} ms"
    return [total, "", *_slowest("package", packages), "", *_slowest("module", modules)]


def _slowest(heading: str, microseconds: Counter[str]) -> list[str]:
    rows = [[name, shorten(number / 1000)] for name, number in microseconds.most_common(MOST)]
    return align([[heading, "ms"], *rows])


def measure_imports(server: Server, core: int) -> list[str]:
    """Start a facaded that writes the times of its imports, and return tables of them."""
    python, *rest = server.command
    server.command = [python, "-X", "importtime", *rest]
    server.start(core)
    server.stop()
    return describe_import_times(parse_import_times((server.directory / "log").read_text()))
