"""What a worker goes without, so that it takes less memory. Use it before Twisted and attrs are imported."""

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GENERATED = ("<attrs ", "<cattrs ")
"""How the names of files begin that attrs and cattrs generate."""


class FilesOnly(dict[str, Any]):
    """A cache for `linecache` that stores the lines of files, but not those of generated code."""

    def setdefault(self, name: str, lines: Any = None) -> Any:
        """Store what there is of a file, unless its code was generated: attrs and cattrs put that in with this."""
        return lines if name.startswith(GENERATED) else dict.setdefault(self, name, lines)


def keep_no_generated_sources() -> None:
    """Keep no source of generated methods, which is for tracebacks through these alone: 0.9 MiB.

    What is freed later leaves holes.
    """
    linecache.cache = FilesOnly(linecache.cache)


@contextmanager
def without_ssl() -> Iterator[None]:
    """Let imports fail that ask for `ssl`, as in a Python without it: 0.9 MiB.

    Twisted imports asyncio and http.client, which go without it then. TLS is pyOpenSSL's here. Whoever needs the module
    later gets it. Nothing is done if it is there already, as with tools that the interpreter loads at its start.
    """
    if "ssl" in sys.modules:
        yield
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # import's way to be told that a module is missing
    try:
        yield
    finally:
        del sys.modules["ssl"]
