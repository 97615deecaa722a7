"""A worker keeps no source code of generated methods."""

import linecache

from facaded.cli.generated_sources import FilesOnly


def test_lines_of_files_are_stored_and_those_of_generated_code_are_not() -> None:
    cache, lines = FilesOnly(), (1, None, ["a\n"], "name")
    for name in ("<attrs generated methods a.B>", "<cattrs generated structure a.B>", "a.py"):
        assert cache.setdefault(name, lines) is lines
    assert list(cache) == ["a.py"]
    assert linecache.getline(__file__, 1).startswith('"""A worker')
