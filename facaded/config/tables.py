"""The types of the schema: keys and tables of a TOML file as data."""

from collections.abc import Callable

from attrs import frozen

from facaded.config.values import ValueKind


@frozen
class Key:
    """One key. `shown` is its default in TOML, or an example if it has none (`is_example`).

    `purpose` says what it does, `change` when to change it. `needs` are other keys of its table that must be set too.
    """

    name: str
    kind: ValueKind[object]
    shown: str
    purpose: str
    change: str
    is_example: bool = False
    required: bool = False
    needs: tuple[str, ...] = ()


@frozen
class Table:
    """A table of the file, and the class that is made from its keys and the tables inside it.

    A key is called in the class as in the file.
    """

    make: Callable[..., object]
    keys: tuple[Key, ...] = ()
    tables: tuple["Inner", ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of all keys and tables in this table."""
        return sorted([*(key.name for key in self.keys), *(inner.name for inner in self.tables)])


@frozen
class Inner:
    """A table inside another. `most` is 1 for `[name]`, and the most entries of `[[name]]` else.

    `attribute` is its name in the class.
    """

    name: str
    attribute: str
    table: Table
    purpose: str
    most: int = 1
