"""Generated files: the manual's table of settings, conf/facaded.toml and its JSON Schema, from the data in `schema`.

`python -m facaded.config.generated` writes them in a checkout; a test keeps them equal to the code.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from facaded.config.schema import SETTINGS
from facaded.config.tables import Inner, Key, Table

WIDTH = 120
"""Columns of conf/facaded.toml."""

LIVE = """\
hosts = ["docker.example.com"]
repositories = ["example/**"]
answer = "auto"
health.canary = "example/image:latest"
health.failback_after = "60s"
listen.admin = "127.0.0.1:9180"
"""
"""The first lines of conf/facaded.toml: the settings that most users change."""

_INTRODUCTION = """\
The lines above are facaded's settings to begin with: put your own names there. The backends are at the end. All other
keys follow with their default, or with an example where there is none; remove the # before a key to set it. Times are
strings with a unit: "500ms", "10s", "10m", "1h". `facaded check` says whether the file can be used and what it means;
`facaded reload` has the running daemon read it again (all of it except `listen`). Editors complete and check
the keys with facaded.schema.json.
"""

_MANUAL = """\
# Settings

The file is TOML: `/etc/facaded/facaded.toml`, or the one that `--config` names. `facaded check` says whether it can be
used, what it means, and where each setting is from. A file with a mistake is never used: each mistake is reported with
its line, its key and a remedy.

Times are strings with a unit (`"500ms"`, `"10s"`, `"10m"`, `"1h"`), from 50 ms to 24 h. Sizes are numbers of bytes, or
strings with a unit (`"64MiB"`). An address to listen on is a port (`8080` or `":8080"`: IPv6 and IPv4, or IPv4 only on
a machine without IPv6), `"127.0.0.1:8080"`, `"[::1]:8080"`, `"unix:/path"`, or one of Twisted's endpoint strings, such
as `"haproxy:tcp:443"`. A pattern is a repository name in which `*` stands for one component or a part of one, and `**`
for any number of components.

Editors complete and check the keys with [facaded.schema.json](../../conf/facaded.schema.json); for Even Better TOML,
write `#:schema` and its path on the first line.

## The environment

| variable | instead of |
|---|---|
| `FACADED_HOSTS`, `FACADED_REPOSITORIES` | `hosts`, `repositories`: names separated by commas or spaces |
| `FACADED_ANSWER` | `answer` |
| `FACADED_CANARY` | `health.canary` |
| `FACADED_DOCKER_HUB_USERNAME`, `FACADED_DOCKER_HUB_PASSWORD_FILE` | the same keys of that backend |

These override the file; an empty variable counts as not set. Without a file, `FACADED_REPOSITORIES` and `--org NAME`
(the same as `NAME/**`) also say that the names are yours on Docker Hub and on GHCR (`rename = {}`), and `REGISTRY_HOST`
and `REGISTRY_ORG` name one registry and one organisation. Secrets are only read from files.
"""

_EXAMPLES = {"backend": ({"name": '"docker-hub"'}, {"name": '"ghcr"', "url": '"https://ghcr.io"', "rename": "{}"})}
"""The live entries of lists of tables: keys that differ from what the schema shows. The last one has all comments."""


def toml() -> str:
    """Return conf/facaded.toml: all keys of plain tables as dotted keys, then the lists of tables."""
    text = f"{LIVE}\n{_comment(_INTRODUCTION)}"
    live = {line.partition(" = ")[0] for line in LIVE.splitlines()}
    sections = list(_sections(SETTINGS))
    for prefix, section, table in sections:
        text += f"\n{_comment(f'{prefix[:-1]}: {section.purpose}')}" if section else ""
        for key in table.keys:
            text += f"\n{_explained(key)}"
            name = f"{prefix}{key.name}"
            text += f"# Set above; the default is {key.shown}.\n" if name in live else f"#{name} = {key.shown}\n"
    for prefix, _, table in sections:
        for inner in table.tables:
            if inner.most > 1:
                text += f"\n{_comment(inner.purpose)}{_entries(f'{prefix}{inner.name}', inner)}"
    return text


def manual() -> str:
    """Return the manual's page of settings."""
    return _MANUAL + "".join(_manual_section(name, inner, table) for name, inner, table in _all_tables(SETTINGS))


def _manual_section(name: str, inner: Inner | None, table: Table) -> str:
    heading = "Top level" if inner is None else f"`[[{name}]]`" if inner.most > 1 else f"`[{name}]`"
    purpose = inner.purpose if inner else "These keys stand above the first section."
    text = f"\n## {heading}\n\n{purpose}\n\n"
    text += "| key | default | value | what it does | when to change it |\n|---|---|---|---|---|\n"
    for key in table.keys:
        default = "required" if key.required else "none" if key.is_example else f"`{key.shown}`"
        needs = f" It needs {' and '.join(f'`{needed}`' for needed in key.needs)}." if key.needs else ""
        cells = (f"`{key.name}`", default, key.kind.name, _escaped(key.purpose), _escaped(key.change) + needs)
        text += f"| {' | '.join(cells)} |\n"
    return text


def _escaped(text: str) -> str:
    """Escape asterisks, which mean emphasis in Markdown."""
    return text.replace("*", r"\*")


def json_schema() -> str:
    """Return the JSON Schema of the file, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of facaded",
        **_table_schema(SETTINGS),
    }
    return json.dumps(schema, indent=2) + "\n"


FILES = {"conf/facaded.toml": toml, "conf/facaded.schema.json": json_schema, "facaded/manual/settings.md": manual}
"""The generated files, by their path in a checkout."""


def _sections(table: Table, prefix: str = "", inner: Inner | None = None) -> Iterator[tuple[str, Inner | None, Table]]:
    """Yield every plain table with the prefix of its keys."""
    yield prefix, inner, table
    for part in table.tables:
        if part.most == 1:
            yield from _sections(part.table, f"{prefix}{part.name}.", part)


def _all_tables(table: Table, name: str = "", inner: Inner | None = None) -> Iterator[tuple[str, Inner | None, Table]]:
    """Yield every table with its name, including lists of tables."""
    yield name, inner, table
    for part in table.tables:
        yield from _all_tables(part.table, f"{name}.{part.name}".removeprefix("."), part)


def _comment(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"


def _explained(key: Key) -> str:
    sentences = [key.purpose, key.change]
    if key.needs:
        sentences.append(f"It needs {' and '.join(key.needs)}.")
    if key.is_example and not key.required:
        sentences.append("Not set by default.")
    return _comment(" ".join(sentences))


def _entries(name: str, inner: Inner) -> str:
    """Write the entries of a list of tables: those of `_EXAMPLES`, or one that is commented out."""
    examples = _EXAMPLES.get(name)
    if examples is None:
        return "".join(
            [f"#[[{name}]]\n", *(f"{_explained(key)}#{key.name} = {key.shown}\n" for key in inner.table.keys)]
        )
    text = ""
    for example in examples:
        text += f"\n[[{name}]]\n"
        for key in inner.table.keys:
            if key.required or key.name in example:
                comment = _explained(key) if example is examples[-1] else ""
                text += f"{comment}{key.name} = {example.get(key.name, key.shown)}\n"
    last = examples[-1]
    others = (key for key in inner.table.keys if not key.required and key.name not in last)
    return text + "".join(f"{_explained(key)}#{key.name} = {key.shown}\n" for key in others)


def _table_schema(table: Table) -> dict[str, object]:
    properties: dict[str, object] = {
        key.name: {"description": f"{key.purpose} {key.change}", **key.kind.schema} for key in table.keys
    }
    for inner in table.tables:
        schema = _table_schema(inner.table)
        if inner.most > 1:
            schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": inner.most}
        properties[inner.name] = {"description": inner.purpose, **schema}
    required = [key.name for key in table.keys if key.required]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _write() -> None:
    for path, content in FILES.items():
        Path(path).write_text(content())


if __name__ == "__main__":
    _write()
