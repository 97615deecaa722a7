"""Keeps no source code of the methods that attrs and cattrs generate: 0.9 MiB, for tracebacks through these alone."""

import linecache
from typing import Any

GENERATED = ("<attrs ", "<cattrs ")
"""How the names of such files begin."""


class FilesOnly(dict[str, Any]):
    """A cache for `linecache` that stores the lines of files, but not those of generated code."""

    def setdefault(self, name: str, lines: Any = None) -> Any:
        """Store what there is of a file, unless its code was generated: attrs and cattrs put that in with this."""
        return lines if name.startswith(GENERATED) else dict.setdefault(self, name, lines)


def keep_no_generated_sources() -> None:
    """Call it before attrs is imported: what is freed later leaves holes."""
    linecache.cache = FilesOnly(linecache.cache)
