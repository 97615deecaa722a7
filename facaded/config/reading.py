"""Reading: converts what tomllib returns to the classes of `sections`, by the data in `schema`.

Every mistake is noted with its key path. What is wrong is left out, so that the rest can still be checked as a whole.
"""

from collections.abc import Iterator, Mapping

from facaded.config.schema import SETTINGS
from facaded.config.sections import Config
from facaded.config.settings_error import KeyPath, Problem
from facaded.config.tables import Inner, Key, Table
from facaded.config.values import EntriesError, type_name


class Reader:
    """Reads the settings of one file.

    `problems` are the mistakes in what was read. `places` says for each list of tables, by its key path, which entries
    of the file are in the settings: those with a mistake are not.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.places: dict[KeyPath, list[int]] = {}

    def read(self, raw: Mapping[str, object]) -> Config:
        """Read a whole file."""
        config = self._table(raw, SETTINGS, ())
        assert isinstance(config, Config)  # the top level has no required keys
        return config

    def _table(self, raw: Mapping[str, object], table: Table, path: KeyPath) -> object | None:
        """Read one table; None if a required key of it is missing or wrong."""
        keys = {key.name: key for key in table.keys}
        inner_tables = {inner.name: inner for inner in table.tables}
        arguments: dict[str, object] = {}
        for name, value in raw.items():
            if name in keys:
                self._key(value, keys[name], (*path, name), arguments)
            elif name in inner_tables:
                self._inner(value, inner_tables[name], (*path, name), arguments)
            else:
                self.problems.append(Problem((*path, name), unknown(name, table)))
        required = [key.name for key in table.keys if key.required]
        self.problems += _missing([name for name in required if name not in raw], raw, table, path)
        return table.make(**arguments) if all(name in arguments for name in required) else None

    def _key(self, value: object, key: Key, path: KeyPath, arguments: dict[str, object]) -> None:
        try:
            arguments[key.name] = key.kind.read(value)
        except EntriesError as error:
            self.problems += [Problem((*path, place), str(entry)) for place, entry in error.errors.items()]
        except ValueError as error:
            self.problems.append(Problem(path, str(error)))

    def _inner(self, value: object, inner: Inner, path: KeyPath, arguments: dict[str, object]) -> None:
        name = ".".join(str(part) for part in path if isinstance(part, str))
        if inner.most > 1:
            if entries := self._entries(value, inner, path, name):
                arguments[inner.attribute] = entries
        elif isinstance(value, dict):
            read = self._table(value, inner.table, path)
            if read is not None:
                arguments[inner.attribute] = read
        else:
            double = isinstance(value, list) and value and isinstance(value[0], dict)
            got = f"[[{name}]]: write it in single brackets" if double else f"{type_name(value)}: write [{name}]"
            self.problems.append(Problem(path, f"expected a table, got {got}"))

    def _entries(self, value: object, inner: Inner, path: KeyPath, name: str) -> tuple[object, ...]:
        """Read a list of tables; returns the entries without a mistake."""
        if not isinstance(value, list):
            got = f"[{name}]" if isinstance(value, dict) else type_name(value)
            self.problems.append(Problem(path, f"expected a list of tables, got {got}: write [[{name}]]"))
            return ()
        if not 1 <= len(value) <= inner.most:
            sentence = f"{len(value)} entries: from 1 to {inner.most} are possible; write each as [[{name}]]"
            self.problems.append(Problem(path, sentence))
            return ()
        entries = list(self._read_entries(value, inner, path, name))
        self.places[path] = [index for index, _ in entries]
        return tuple(entry for _, entry in entries)

    def _read_entries(
        self, value: list[object], inner: Inner, path: KeyPath, name: str
    ) -> Iterator[tuple[int, object]]:
        for index, raw in enumerate(value):
            if not isinstance(raw, dict):
                sentence = f"expected a table, got {type_name(raw)}: write each entry as [[{name}]]"
                self.problems.append(Problem((*path, index), sentence))
                continue
            entry = self._table(raw, inner.table, (*path, index))
            if entry is not None:
                yield index, entry


def unknown(name: str, table: Table) -> str:
    """Return the remedy for a key that `table` does not have."""
    if table is not SETTINGS and name in SETTINGS.names:
        return "it is not a key of this section: move it above the first [section]"
    if called := next(
        (section for section, _ in _sections(SETTINGS) if section.strip("[]").endswith(f".{name}")), None
    ):
        return f"unknown section: write [{called}]"
    if near := _nearest(name, table):
        return f"unknown key; did you mean {near[0]}?"
    if section := next((section for section, inner in _sections(SETTINGS) if name in inner.names), None):
        return f"unknown key here; it belongs in [{section}]"
    return f"unknown key; known here: {', '.join(table.names)}"


def _missing(names: list[str], raw: Mapping[str, object], table: Table, path: KeyPath) -> Iterator[Problem]:
    """Report required keys that are missing, but not one that is only misspelt."""
    misspelt = {near for name in raw if name not in table.names for near in _nearest(name, table)}
    names = [name for name in names if name not in misspelt]
    if len(names) == 1:
        yield Problem((*path, names[0]), "missing: it is required here, so add it")
    elif names:
        yield Problem(path, f"{' and '.join(names)} are missing: they are required here, so add them")


def _nearest(name: str, table: Table) -> list[str]:
    import difflib  # 0.2 MiB, for mistakes only

    return difflib.get_close_matches(name, table.names, n=1)


def _sections(table: Table, prefix: str = "") -> Iterator[tuple[str, Table]]:
    for inner in table.tables:
        section = f"{prefix}{inner.name}"
        yield f"[{section}]" if inner.most > 1 else section, inner.table
        yield from _sections(inner.table, f"{section}.")
