"""The list of hosts as text: one line for each, for a person or for `grep`."""

import textwrap

from facaded.admin.protocol import HostList
from facaded.net.text import printable
from facaded.policy.network_hosts import NetworkHost

COLUMNS = ("BACKEND", "PURPOSE", "CONNECT FROM", "KNOWN", "HOST")

WIDTH = 80
"""Columns of a terminal, for sentences. A line of the table may be longer, because it is never broken."""

WITHOUT_DAEMON = (
    "No daemon is running: these are the hosts that the settings lead to. A registry may lead to others; a running "
    "daemon lists those that it has seen."
)


def text(hosts: HostList) -> str:
    """Return a table with the host, which may be long, at the end of each line; below it, what is missing."""
    rows = [COLUMNS, *(tuple(map(printable, _row(host))) for host in hosts.hosts)]
    *columns, _ = zip(*rows, strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last])
        for *cells, last in rows
    ]
    return "\n".join([*lines, *(["", *textwrap.wrap(WITHOUT_DAEMON, WIDTH)] if not hosts.daemon else [])])


def _row(host: NetworkHost) -> tuple[str, ...]:
    """Return the cells of a host."""
    sides = (("facaded", host.for_facaded), ("clients", host.for_clients))
    knowledge = (("expected", host.expected), ("seen", host.seen))
    name = f"[{host.host}]" if ":" in host.host else host.host
    return host.backend or "-", host.purpose, _marks(sides), _marks(knowledge), f"{name}:{host.port}"


def _marks(marks: tuple[tuple[str, bool], ...]) -> str:
    return ", ".join(mark for mark, is_set in marks if is_set) or "-"
