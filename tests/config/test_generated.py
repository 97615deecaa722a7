"""The generated files: equal to the code, and every key of conf/facaded.toml can be uncommented by itself."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from facaded.config.generated import FILES, LIVE
from facaded.config.schema import SETTINGS
from facaded.config.sections import Config
from facaded.config.tables import Key, Table
from facaded.policy.repositories import Pattern
from tests.config.reading import problems, read
from tests.tls.authority import Authority

ROOT = Path(__file__).parent.parent.parent
SHIPPED = (ROOT / "conf" / "facaded.toml").read_text()


def tables(table: Table, path: str = "") -> Iterator[tuple[str, Table]]:
    yield path, table
    for inner in table.tables:
        yield from tables(inner.table, f"{path}.{inner.name}".removeprefix("."))


KEYS = [(path, table, key) for path, table in tables(SETTINGS) for key in table.keys]


@pytest.mark.parametrize("path", FILES)
def test_a_generated_file_is_equal_to_the_code(path: str) -> None:
    assert (ROOT / path).read_text() == FILES[path](), "run: python -m facaded.config.generated"


def test_the_file_begins_with_six_live_lines_and_is_valid_without_a_warning(tmp_path: Path) -> None:
    assert SHIPPED.startswith(LIVE)
    assert len(LIVE.splitlines()) == 6
    loaded = read(SHIPPED, tmp_path)
    assert loaded.warnings == ()
    assert loaded.config.hosts == ("docker.example.com",)
    assert loaded.config.repositories == (Pattern("example/**"),)


def uncommented(name: str, text: str) -> str:
    """Remove the # before one key, and before the [[table]] that it belongs to with its required keys."""
    before, found, after = text.partition(f"\n#{name} = ")
    assert found, f"{name} is not there with a # before it"
    block = before.rpartition("\n\n")[2]
    header = re.search(r"^#(\[\[.*)$", block, re.MULTILINE)
    if header:
        rest, blank, others = after.partition("\n\n")
        block, rest = with_required(block.replace(header[0], header[1])), with_required(rest)
        before, after = before.rpartition("\n\n")[0] + "\n\n" + block, rest + blank + others
    return f"{before}\n{name} = {after}"


def with_required(lines: str) -> str:
    """Remove the # before required keys."""
    shown = [f"{key.name} = {key.shown}" for _, _, key in KEYS if key.required]
    return re.sub(r"^#(.*)$", lambda line: line[1] if line[1] in shown else line[0], lines, flags=re.MULTILINE)


def commented(path: str, key: Key) -> str:
    """What a key is called in the file: by its whole path, but in a [[table]]."""
    plain = not any(path.startswith(listed) for listed in ("backend", "route", "tls.certificate", "tls.acme.ca"))
    return f"{path}.{key.name}".removeprefix(".") if plain else key.name


@pytest.mark.parametrize(
    ("path", "table", "key"), KEYS, ids=lambda value: getattr(value, "name", None) or str(value)[:20]
)
def test_a_key_can_be_uncommented_by_itself(path: str, table: Table, key: Key, tmp_path: Path) -> None:
    text = with_files(SHIPPED, tmp_path)
    names = [commented(path, key), *(commented(path, other) for other in table.keys if other.name in key.needs)]
    if path == "tls.acme.ca":
        names.append("tls.acme.agree_to_terms")
    for name in names:
        if not re.search(rf"^{re.escape(name)} = ", text, re.MULTILINE):
            text = uncommented(name, text)
    read(text, tmp_path)


def with_files(text: str, tmp_path: Path) -> str:
    """Name files that exist instead of the examples."""
    roots, secret = tmp_path / "ca.pem", tmp_path / "secret"
    roots.write_bytes(Authority().issue("ca.test")[0])
    secret.write_text("secret")
    secret.chmod(0o600)
    text = text.replace('"/etc/facaded/ca.pem"', f'"{roots}"')
    return re.sub(r'"/run/credentials/[^"]*"', f'"{secret}"', text)


def test_every_default_that_is_shown_is_the_one_of_the_code(tmp_path: Path) -> None:
    """A file of all the defaults is the same as none, but for [tls], whose absence is a default of its own."""
    plain = [(path, key) for path, _, key in KEYS if not path.startswith(("tls", "backend", "route"))]
    lines = [f"{path}.{key.name} = {key.shown}".removeprefix(".") for path, key in plain if not key.is_example]
    assert read("\n".join(lines), tmp_path).config == Config()


@pytest.mark.parametrize(
    ("path", "table", "key"), KEYS, ids=lambda value: getattr(value, "name", None) or str(value)[:20]
)
def test_what_is_shown_of_a_key_can_be_read(path: str, table: Table, key: Key) -> None:
    value = tomllib.loads(f"x = {key.shown}")["x"]
    read_value = key.kind.read(value)
    Draft202012Validator(key.kind.schema).validate(value)
    if not key.is_example and not path.startswith(("backend", "route")):
        made = table.make(
            **{
                other.name: other.kind.read(tomllib.loads(f"x = {other.shown}")["x"])
                for other in table.keys
                if other.required
            }
        )
        assert getattr(made, key.name) == read_value


def test_the_json_schema_takes_what_the_reader_takes() -> None:
    schema = json.loads((ROOT / "conf" / "facaded.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(tomllib.loads(SHIPPED))
    mistakes: tuple[object, ...] = (
        {"bogus": 1},
        {"health": {"interval": 5}},
        {"backend": []},
        {"route": [{}]},
        {"answer": "proxy"},
    )
    for wrong in mistakes:
        assert not validator.is_valid(wrong), wrong


def test_a_mistake_in_the_shipped_file_is_found(tmp_path: Path) -> None:
    assert problems(SHIPPED.replace("#health.interval", "health.intervall"), tmp_path)
