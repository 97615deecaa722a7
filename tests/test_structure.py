"""The structure of the code: directions of imports, modules without I/O, sizes, names, tests that start processes."""

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
"""What may break a rule, and why. An exception that is no longer needed fails the test, so the table only shrinks."""

FLOORS = [
    "net",
    "oci",
    "policy",
    "backends",
    "parity",
    "explain",
    "web",
    "tls",
    "history",
    "admin",
    "config",
    "workers",
    "top",
    "cli",
]
"""A package may import from those on its left. `admin` imports from `web`, because both answer over HTTP."""

PURE = ("oci", "policy", "explain")
PURE_MODULES = {
    "findings.py",
    "subjects.py",
    "differences.py",
    "references.py",
    "report_document.py",
    "report_table.py",
}
"""The modules of `parity` without I/O: what is compared, the findings, and the reports."""

IMPURE = {"twisted", "treq", "OpenSSL", "time", "datetime", "os", "socket", "random", "secrets", "threading", "asyncio"}

PROGRAMS = ("bench",)
"""Folders of programs for use by hand, which start processes and have no tests: those are in a marked folder."""

STARTING_FOLDERS = (*MARKED_FOLDERS, *PROGRAMS)

STARTS_PROCESSES = ("subprocess", "multiprocessing", "pty", *(f"tests.{folder}" for folder in STARTING_FOLDERS))
"""Modules that start processes, and packages of tests that import them."""

STARTS_A_PROCESS = {"spawnProcess", "getProcessOutput", "getProcessOutputAndValue", "getProcessValue"}
OS_STARTS_A_PROCESS = ("os.exec", "os.fork", "os.popen", "os.posix_spawn", "os.spawn", "os.system")
"""Prefixes of the functions of `os` that start a process."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_dropin" not in path.parts)
TEST_FILES = sorted(TESTS.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    parent = ".".join(path.relative_to(TESTS.parent).parent.parts)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), parent)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    """Return the package of a module: `top` for those in none, and `cli` for __main__.py, which only calls it."""
    parts = path.relative_to(PACKAGE).parts
    if parts == ("__main__.py",):
        return "cli"
    return parts[0] if len(parts) > 1 else "top"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    allowed = FLOORS[: FLOORS.index(package_of(path)) + 1]
    for name in imports(path):
        match name.split("."):
            case ["facaded", inner, *_] if inner in FLOORS:
                assert inner in allowed, f"{path} imports {name}"


def is_pure(path: Path) -> bool:
    return package_of(path) in PURE or (package_of(path) == "parity" and path.name in PURE_MODULES)


@pytest.mark.parametrize("path", [path for path in MODULES if is_pure(path)], ids=lambda path: path.name)
def test_pure_packages_do_no_io_and_read_no_clock(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & IMPURE == set()


def test_the_reactor_is_never_imported_at_module_level() -> None:
    for path in MODULES:
        for node in parsed(path).body:
            if isinstance(node, ast.ImportFrom):
                assert "reactor" not in {alias.name for alias in node.names}, path


# Sizes and names: each rule yields what breaks it


def module_path(path: Path) -> str:
    """Return the path of a module within the package."""
    return path.relative_to(PACKAGE).as_posix()


def count_lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def long_files(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.read_text().count("\n") > FILE_LINES)


def functions() -> Iterator[tuple[str, Function]]:
    """Yield all functions and methods, each after the path of its module."""
    for path in MODULES:
        yield from ((module_path(path), node) for node in ast.walk(parsed(path)) if isinstance(node, Function))


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield all classes, each after the path of its module."""
    for path in MODULES:
        yield from ((module_path(path), node) for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef))


def methods(class_: ast.ClassDef) -> list[Function]:
    return [node for node in class_.body if isinstance(node, Function)]


def count_constructor_arguments(class_: ast.ClassDef) -> int:
    """Return the number of arguments of __init__, or of fields of an attrs class."""
    decorators = " ".join(ast.unparse(decorator) for decorator in class_.decorator_list)
    if "frozen" in decorators:
        return 0
    if "define" in decorators:
        fields = [ast.unparse(node) for node in class_.body if isinstance(node, ast.AnnAssign)]
        return sum(1 for field in fields if "init=False" not in field and "ClassVar" not in field)
    signatures = [method.args for method in methods(class_) if method.name == "__init__"]
    return sum(len(args.posonlyargs) + len(args.args) + len(args.kwonlyargs) - 1 for args in signatures)


def shared_names(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield names that several modules have, with all of these modules: an exception names them all."""
    places: dict[str, set[str]] = {}
    for path, name in named:
        places.setdefault(name, set()).add(path)
    return (f"{name}: {', '.join(sorted(paths))}" for name, paths in places.items() if len(paths) > 1)


def aliases() -> Iterator[str]:
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                own = [alias for alias in node.names if alias.name.split(".")[0] == "facaded"]
            elif isinstance(node, ast.ImportFrom):
                own = node.names if node.level or (node.module or "").split(".")[0] == "facaded" else []
            else:
                continue
            yield from (f"{module_path(path)}: {alias.name} as {alias.asname}" for alias in own if alias.asname)


def namesakes() -> Iterator[str]:
    names: dict[str, set[str]] = {}
    for path, function in functions():
        if not function.name.startswith("__"):
            names.setdefault(f"{path}: {function.name.lstrip('_')}", set()).add(function.name)
    return (place for place, variants in names.items() if len(variants) > 1)


VAGUE = {"each", "found", "held", "said", "given", "made", "asked", "told", "kept"}
"""Names that say nothing about what they stand for."""


def vague_names() -> Iterator[str]:
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                    if name.strip("_") in VAGUE:
                        yield f"{module_path(path)}: {name}"


RULES: dict[str, Callable[[], Iterator[str]]] = {
    "files are short": lambda: map(module_path, long_files(MODULES)),
    "test files are short": lambda: (path.relative_to(TESTS).as_posix() for path in long_files(TEST_FILES)),
    "functions are short": lambda: (
        f"{path}: {function.name}" for path, function in functions() if count_lines(function) > FUNCTION_LINES
    ),
    "classes have few methods": lambda: (
        f"{path}: {class_.name}" for path, class_ in classes() if len(methods(class_)) > CLASS_METHODS
    ),
    "constructors have few arguments": lambda: (
        f"{path}: {class_.name}"
        for path, class_ in classes()
        if count_constructor_arguments(class_) > CONSTRUCTOR_ARGUMENTS
    ),
    "a file name stands for one module": lambda: shared_names(
        (module_path(path), path.name) for path in MODULES if path.name not in ("__init__.py", "__main__.py")
    ),
    "a class name stands for one class": lambda: shared_names((path, class_.name) for path, class_ in classes()),
    "imports need no alias": aliases,
    "a function has no private namesake in its file": namesakes,
    "names are specific": vague_names,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_holds_except_for_its_exceptions(rule: str) -> None:
    broken, excepted = set(RULES[rule]()), set(EXCEPTIONS.get(rule, {}))
    assert sorted(broken - excepted) == [], f"{rule}: these break it"
    assert sorted(excepted - broken) == [], f"{rule}: these follow it, so remove them from EXCEPTIONS"


def test_every_exception_belongs_to_a_rule() -> None:
    assert EXCEPTIONS.keys() - RULES.keys() == set()


# Tests that start processes


def may_start_processes(path: Path) -> bool:
    return path.relative_to(TESTS).parts[0] in STARTING_FOLDERS


@pytest.mark.parametrize(
    "path",
    [path for path in TEST_FILES if not may_start_processes(path)],
    ids=lambda path: str(path.relative_to(TESTS)),
)
def test_only_tests_in_a_marked_folder_start_processes(path: Path) -> None:
    for name in imports(path):
        assert not any(f"{name}.".startswith(f"{module}.") for module in STARTS_PROCESSES), f"{path} imports {name}"
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in STARTS_A_PROCESS, f"{path}: {ast.unparse(node)}"
            assert not ast.unparse(node).startswith(OS_STARTS_A_PROCESS), f"{path}: {ast.unparse(node)}"


def test_a_folder_of_programs_has_no_tests() -> None:
    assert [path for folder in PROGRAMS for path in (TESTS / folder).rglob("test_*.py")] == []


def test_only_the_tests_in_a_marked_folder_carry_its_marker(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        folder = item.path.relative_to(TESTS).parts[0]
        marked = {mark.name for mark in item.iter_markers()} & {*MARKED_FOLDERS}
        assert marked == {folder} & {*MARKED_FOLDERS}, item.nodeid
