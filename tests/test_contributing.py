"""CONTRIBUTING.md: what it names exists, and its map has every module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_structure import FLOORS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PATH = r"`((?:facaded|tests|conf|systemd|\.ci)/[^` ]*)`"
TOP = "the top"
"""What the map calls the modules that are in no package."""

MOST_LINES = 200


def places() -> list[str]:
    return sorted(set(re.findall(PATH, PAGE)))


def names() -> list[tuple[str, str]]:
    """What the page says is in a file: `name` (`path`)."""
    return sorted(set(re.findall(rf"`([A-Za-z_]+)`\s\({PATH}\)", PAGE)))


def mapped() -> Iterator[tuple[str, set[str]]]:
    """The packages of the map with their modules."""
    for package, modules in re.findall(r"^- (?:`([a-z/]+)/`|the top), ((?:.+\n)(?:  .+\n)*)", PAGE, re.MULTILINE):
        yield package or TOP, set(re.findall(r"`([a-z_]+)`", modules))


@pytest.mark.parametrize("path", places())
def test_a_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("name", "path"), names())
def test_a_name_is_defined_in_its_file(name: str, path: str) -> None:
    defined = {getattr(node, "name", None) for node in ast.parse((ROOT / path).read_text()).body}
    assert name in defined


def test_the_map_has_every_module() -> None:
    modules: dict[str, set[str]] = {}
    for path in (ROOT / "facaded").rglob("*.py"):
        package = path.parent.relative_to(ROOT / "facaded").as_posix()
        if not path.name.startswith("__") and package != "_dropin":
            modules.setdefault(TOP if package == "." else package, set()).add(path.stem)
    assert dict(mapped()) == modules


def test_the_map_is_in_the_order_of_imports() -> None:
    packages = ["top" if package == TOP else package.partition("/")[0] for package, _ in mapped()]
    assert list(dict.fromkeys(packages)) == FLOORS


def test_the_page_is_short() -> None:
    assert PAGE.count("\n") <= MOST_LINES
