"""Any settings file at all gives settings or errors with a line, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor

from facaded.config.loading import load
from facaded.config.schema import SETTINGS
from facaded.config.settings_error import SettingsError
from facaded.config.tables import Table


def names(table: Table) -> Iterator[str]:
    yield from table.names
    for inner in table.tables:
        yield from names(inner.table)


KEYS = st.sampled_from(sorted({*names(SETTINGS), "bogus", "org/*", ""}))
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        [
            "10s",
            "64MiB",
            "org/**",
            "org/app:latest",
            "a.test",
            "https://a.test",
            "/x",
            ":8080",
            "unix:/x",
            "tcp:1:a=b",
            "client",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def toml(value: object) -> str:
    """Write a value as TOML."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(entry)}" for key, entry in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def problems(path: Path) -> tuple[str, ...]:
    """What is wrong with a file; nothing if it is read."""
    try:
        load(path, None, {}, reactor)
    except SettingsError as error:
        return error.problems or ("no problem",)
    return ()


@settings(max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_settings_are_read_or_refused_with_a_line(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "facaded.toml"
    path.write_text("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items()))
    for problem in problems(path):
        assert re.match(rf"{path}(:\d+)?: ", problem), problem
        assert problem.isprintable(), problem


@settings(max_examples=300)
@given(st.binary(max_size=300) | st.text(st.sampled_from("ab.=[]{}\"'\\#\n \t1,"), max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "facaded.toml"
    path.write_bytes(content)
    for problem in problems(path):
        assert problem.startswith(str(path))
        assert problem.isprintable()
