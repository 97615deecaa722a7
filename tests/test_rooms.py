"""The rooms of the house: who may import whom, and who does no I/O."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "facaded"
FLOORS = ["net", "oci", "policy", "backends", "parity", "explain", "web", "tls", "admin", "top"]
"""Imports point to the left, or stay on the floor. `admin` stands on `web`: both answer over HTTP."""

PURE = ("oci", "policy", "explain")
PURE_MODULES = {
    "findings.py",
    "subjects.py",
    "differences.py",
    "references.py",
    "report_document.py",
    "report_table.py",
}
"""Of parity: what is compared, what is found, and how it is shown."""

IMPURE = {"twisted", "treq", "OpenSSL", "time", "datetime", "os", "socket", "random", "secrets", "threading", "asyncio"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_dropin" not in path.parts)


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "top"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    allowed = FLOORS[: FLOORS.index(room(path)) + 1]
    for name in imports(path):
        match name.split("."):
            case ["facaded", inner, *_] if inner in FLOORS:
                assert inner in allowed, f"{path} imports {name}"


def is_pure(path: Path) -> bool:
    return room(path) in PURE or (room(path) == "parity" and path.name in PURE_MODULES)


@pytest.mark.parametrize("path", [path for path in MODULES if is_pure(path)], ids=lambda path: path.name)
def test_the_pure_rooms_do_no_io_and_keep_no_clock(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & IMPURE == set()


def test_the_reactor_is_never_imported_at_module_level() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                assert "reactor" not in {alias.name for alias in node.names}, path


def test_no_module_of_a_feature_shares_its_name_with_another() -> None:
    names = [path.name for path in MODULES if path.name != "__init__.py"]
    shared = {path for path in MODULES if room(path) in ("parity", "explain") and names.count(path.name) > 1}
    assert shared == set()
