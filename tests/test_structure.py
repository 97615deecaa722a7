"""The structure of the code: who may import whom, who does no I/O, how large things get, and what starts processes."""

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

from tests.conftest import MARKED_FOLDERS

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "facaded"

FILE_LINES = 500
FUNCTION_LINES = 40
CLASS_METHODS = 15
"""Methods of a class, private ones and properties included."""
CONSTRUCTOR_ARGUMENTS = 7
"""Of a class that is not a frozen attrs class: those are plain data."""

EXCEPTIONS: dict[str, dict[str, str]] = {}
"""What breaks a rule today, and why it may. One that is no longer needed fails the test too: the table only shrinks."""

FLOORS = ["net", "oci", "policy", "backends", "parity", "explain", "web", "tls", "admin", "config", "top", "cli"]
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

STARTS_PROCESSES = ("subprocess", "multiprocessing", "pty", *(f"tests.{folder}" for folder in MARKED_FOLDERS))
"""Modules that start processes, and packages of tests that do."""

STARTS_A_PROCESS = {"spawnProcess", "getProcessOutput", "getProcessOutputAndValue", "getProcessValue"}
OS_STARTS_A_PROCESS = ("os.exec", "os.fork", "os.popen", "os.posix_spawn", "os.spawn", "os.system")
"""How the functions of `os` begin that start one."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_dropin" not in path.parts)
TEST_FILES = sorted(TESTS.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    package = ".".join(path.relative_to(TESTS.parent).parent.parts)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """Return the package of a module: `top` for those in none, and `cli` for __main__.py, which only calls it."""
    parts = path.relative_to(PACKAGE).parts
    if parts == ("__main__.py",):
        return "cli"
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
        for node in parsed(path).body:
            if isinstance(node, ast.ImportFrom):
                assert "reactor" not in {alias.name for alias in node.names}, path


# Sizes and names: each rule gives what breaks it


def within(path: Path) -> str:
    """The path of a module in the package."""
    return path.relative_to(PACKAGE).as_posix()


def lines(found: Function) -> int:
    return (found.end_lineno or found.lineno) - found.lineno + 1


def long(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.read_text().count("\n") > FILE_LINES)


def functions() -> Iterator[tuple[str, Function]]:
    """All functions and methods, each with the path of its module."""
    for path in MODULES:
        yield from ((within(path), node) for node in ast.walk(parsed(path)) if isinstance(node, Function))


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """All classes, likewise."""
    for path in MODULES:
        yield from ((within(path), node) for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef))


def methods(found: ast.ClassDef) -> list[Function]:
    return [node for node in found.body if isinstance(node, Function)]


def constructor_arguments(found: ast.ClassDef) -> int:
    """How many arguments the class is made with: those of __init__, or the fields of an attrs class."""
    decorators = " ".join(ast.unparse(each) for each in found.decorator_list)
    if "frozen" in decorators:
        return 0
    if "define" in decorators:
        fields = [ast.unparse(node) for node in found.body if isinstance(node, ast.AnnAssign)]
        return sum(1 for each in fields if "init=False" not in each and "ClassVar" not in each)
    made = [method.args for method in methods(found) if method.name == "__init__"]
    return sum(len(each.posonlyargs) + len(each.args) + len(each.kwonlyargs) - 1 for each in made)


def shared(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names that stand in several modules, with all of these: what may be shared by two may not be by a third."""
    places: dict[str, set[str]] = {}
    for path, name in named:
        places.setdefault(name, set()).add(path)
    return (f"{name}: {', '.join(sorted(paths))}" for name, paths in places.items() if len(paths) > 1)


def aliases() -> Iterator[str]:
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                ours = [alias for alias in node.names if alias.name.split(".")[0] == "facaded"]
            elif isinstance(node, ast.ImportFrom):
                ours = node.names if node.level or (node.module or "").split(".")[0] == "facaded" else []
            else:
                continue
            yield from (f"{within(path)}: {alias.name} as {alias.asname}" for alias in ours if alias.asname)


RULES: dict[str, Callable[[], Iterator[str]]] = {
    "files are short": lambda: map(within, long(MODULES)),
    "test files are short": lambda: (path.relative_to(TESTS).as_posix() for path in long(TEST_FILES)),
    "functions are short": lambda: (
        f"{path}: {each.name}" for path, each in functions() if lines(each) > FUNCTION_LINES
    ),
    "classes have few methods": lambda: (
        f"{path}: {each.name}" for path, each in classes() if len(methods(each)) > CLASS_METHODS
    ),
    "constructors have few arguments": lambda: (
        f"{path}: {each.name}" for path, each in classes() if constructor_arguments(each) > CONSTRUCTOR_ARGUMENTS
    ),
    "a file name stands for one module": lambda: shared(
        (within(path), path.name) for path in MODULES if path.name not in ("__init__.py", "__main__.py")
    ),
    "a class name stands for one class": lambda: shared((path, each.name) for path, each in classes()),
    "imports need no alias": aliases,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_holds_but_for_its_exceptions(rule: str) -> None:
    broken, excepted = set(RULES[rule]()), set(EXCEPTIONS.get(rule, {}))
    assert sorted(broken - excepted) == [], f"{rule}: these are not"
    assert sorted(excepted - broken) == [], f"{rule}: these are, so take them out of EXCEPTIONS"


def test_every_exception_is_from_a_rule() -> None:
    assert EXCEPTIONS.keys() - RULES.keys() == set()


# Tests that start processes


def is_marked(path: Path) -> bool:
    return path.relative_to(TESTS).parts[0] in MARKED_FOLDERS


@pytest.mark.parametrize(
    "path", [path for path in TEST_FILES if not is_marked(path)], ids=lambda path: str(path.relative_to(TESTS))
)
def test_only_tests_in_a_marked_folder_start_processes(path: Path) -> None:
    for name in imports(path):
        assert not any(f"{name}.".startswith(f"{each}.") for each in STARTS_PROCESSES), f"{path} imports {name}"
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in STARTS_A_PROCESS, f"{path}: {ast.unparse(node)}"
            assert not ast.unparse(node).startswith(OS_STARTS_A_PROCESS), f"{path}: {ast.unparse(node)}"


def test_the_tests_in_a_marked_folder_carry_its_marker_and_no_others_do(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        folder = item.path.relative_to(TESTS).parts[0]
        marked = {mark.name for mark in item.iter_markers()} & {*MARKED_FOLDERS}
        assert marked == {folder} & {*MARKED_FOLDERS}, item.nodeid
