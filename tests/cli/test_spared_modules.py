"""A worker keeps no source code of generated methods, and does not load `ssl` until it needs it."""

import importlib
import linecache
import sys

import pytest

from facaded.cli.spared_modules import FilesOnly, without_ssl


def test_lines_of_files_are_stored_and_those_of_generated_code_are_not() -> None:
    cache, lines = FilesOnly(), (1, None, ["a\n"], "name")
    for name in ("<attrs generated methods a.B>", "<cattrs generated structure a.B>", "a.py"):
        assert cache.setdefault(name, lines) is lines
    assert list(cache) == ["a.py"]
    assert linecache.getline(__file__, 1).startswith('"""A worker')


def test_a_module_that_is_spared_can_be_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ssl", raising=False)
    with without_ssl(), pytest.raises(ImportError):
        importlib.import_module("ssl")
    assert importlib.import_module("ssl").OPENSSL_VERSION


def test_a_module_that_is_there_already_stays() -> None:
    module = importlib.import_module("ssl")
    with without_ssl():
        assert importlib.import_module("ssl") is module
    assert importlib.import_module("ssl") is module
