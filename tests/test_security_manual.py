"""The manual's page of security: every test, setting and limit that it names exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from facaded.config.limits_schema import LIMITS
from facaded.config.schema import SETTINGS
from facaded.config.tables import Table

ROOT = Path(__file__).parent.parent

PAGE = (ROOT / "facaded" / "manual" / "security.md").read_text()

TESTS = sorted(set(re.findall(r"`(tests/[^`:]+\.py)::([^`]+)`", PAGE)))

CODE = sorted(set(re.findall(r"`([^`]+)`", PAGE)))

OTHER_CODE = {"nosniff", "facaded status", "facaded version"}
"""What is neither a test nor a setting."""


def keys(table: Table, prefix: str = "") -> Iterator[str]:
    """All keys, alone and with the names of the tables around them."""
    for name in table.names:
        yield name
        yield f"{prefix}{name}"
    for inner in table.tables:
        yield f"[{inner.name}]"
        yield from keys(inner.table, f"{prefix}{inner.name}.")


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_a_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    functions = {getattr(node, "name", None) for node in ast.walk(tree)}
    assert name in functions


@pytest.mark.parametrize("code", [code for code in CODE if not code.startswith("tests/")])
def test_a_named_setting_exists(code: str) -> None:
    assert code in OTHER_CODE or code.partition(" = ")[0] in {*keys(SETTINGS)}


@pytest.mark.parametrize("name", LIMITS.names)
def test_every_limit_is_on_the_page(name: str) -> None:
    assert f"`limits.{name}`" in PAGE


def test_the_page_names_tests() -> None:
    assert len(TESTS) > 20
