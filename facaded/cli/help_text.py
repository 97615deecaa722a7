"""What `facaded --help` says: the commands by purpose, with examples, in 80 columns."""

import textwrap
from collections.abc import Iterator, Mapping

WIDTH = 80

USAGE = "facaded [COMMAND] [OPTION...]"

DESCRIPTION = "A container registry facade: it leads every pull to a registry that works and has the image."

GROUPS = {
    "Run it": ("serve", "check", "reload", "renew"),
    "See what it does": ("status", "explain", "hosts", "parity", "history", "stats"),
    "Decide which backend is active": ("pin", "unpin", "drain", "undrain", "failback"),
    "Set it up": ("example-config", "unit", "client-config", "manual", "version"),
}
"""The commands by purpose."""

FIRST_STEPS = """\
  facaded --org example                  try it on port 8080, without a file
  facaded example-config > facaded.toml  write a settings file to begin with
  facaded check --probe                  are settings and backends all right?
  facaded status --watch                 which backend is active, and why?
  facaded COMMAND --help                 options and examples of a command"""

EPILOG = (
    "Without a command: serve. Exit status: 0 good, 1 the answer is bad news, 2 the command line or the settings "
    "cannot be used, 3 an address to listen on is in use."
)

EXAMPLES = {
    "serve": ("facaded serve --config /etc/facaded/facaded.toml", "facaded --org example"),
    "check": ("facaded check --probe", "facaded check --config new.toml --json"),
    "status": ("facaded status", "facaded status --watch", "facaded status --json | jq .active"),
    "pin": ("facaded pin ghcr --for 2h --reason 'Docker Hub is slow, ticket 4711'",),
    "unpin": ("facaded unpin",),
    "drain": ("facaded drain docker-hub --for 30m --reason 'maintenance'",),
    "undrain": ("facaded undrain docker-hub",),
    "failback": ("facaded failback",),
    "explain": ("facaded explain example/app:1.2 --client podman",),
    "hosts": ("facaded hosts --json",),
    "history": ("facaded history --days 30",),
    "stats": ("facaded stats --days 30 --image example/app",),
    "parity": ("facaded parity example/app", "facaded parity example/app:1.2 example/tool"),
    "renew": ("facaded renew && facaded status",),
    "example-config": ("facaded example-config > /etc/facaded/facaded.toml", "facaded example-config alerts.yml"),
    "unit": (
        "facaded unit > /etc/systemd/system/facaded.service",
        "facaded unit facaded-https.socket",
    ),
    "client-config": (
        "facaded client-config containerd > hosts.toml",
        "facaded client-config podman --url https://docker.example.com",
    ),
    "manual": ("facaded manual", "facaded manual certificates | less"),
}
"""Examples of each command."""


def describe_command(name: str, summary: str) -> str:
    """Return the description of a command."""
    return textwrap.fill(f"{summary[0].upper()}{summary[1:]}.", WIDTH)


def show_examples(name: str) -> str:
    """Return the examples of a command, a line each; empty if it has none."""
    return "\n".join(["examples:", *(f"  {example}" for example in EXAMPLES[name])]) if name in EXAMPLES else ""


def overview(summaries: Mapping[str, str]) -> str:
    """Return the help of the program. `summaries` has a few words about each command, by its name."""
    blocks = [f"usage: {USAGE}", textwrap.fill(DESCRIPTION, WIDTH)]
    grouped = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "More": tuple(name for name in summaries if name not in grouped)}
    for title, names in groups.items():
        lines = [line for name in names if name in summaries for line in _entry(name, summaries[name])]
        blocks += ["\n".join([f"{title}:", *lines])] if lines else []
    return "\n\n".join([*blocks, f"First steps:\n{FIRST_STEPS}", textwrap.fill(EPILOG, WIDTH)])


def _entry(name: str, summary: str) -> Iterator[str]:
    yield from textwrap.wrap(summary, WIDTH, initial_indent=f"  {name:16}", subsequent_indent=" " * 18)
