"""JSON documents of facaded's own: frozen attrs classes with a schema version, written and read by one rule.

A newer facaded may add keys to a document without a new schema version, so unknown keys are ignored. A reader that
meets a newer version than its own cannot rely on anything in the document.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from attrs import field, fields, frozen, has
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from facaded.net.json_objects import read_object
from facaded.net.text import printable

SCHEMA = 1
"""The version of the documents. It changes only if a key goes away or gets another meaning."""


class StrangeDocumentError(Exception):
    """A document cannot be read as what it should be. The text says why, in a few words."""


class NewerSchemaError(StrangeDocumentError):
    """A document has a newer schema version than this facaded knows."""


@frozen
class Document:
    """A JSON document with a version. One without the key "schema" was written before there was any version but 1."""

    schema: int = field(default=SCHEMA, kw_only=True)


D = TypeVar("D", bound=Document)
T = TypeVar("T")

_KEY, _OPTIONAL = "key", "optional"


def key(name: str) -> dict[str, Any]:
    """Return the metadata of a field whose JSON key is a word that Python reserves."""
    return {_KEY: name}


LEFT_OUT = {_OPTIONAL: True}
"""The metadata of a field whose JSON key is left out where the field has its default."""


def to_json(document: object) -> dict[str, Any]:
    """Turn a document, or a part of one, into what `json.dumps` takes."""
    written: dict[str, Any] = _CONVERTER.unstructure(document)
    return written


def from_json(body: bytes, kind: type[D]) -> D:
    """Read a document. Raises NewerSchemaError, or StrangeDocumentError for anything that is no such document."""
    found = read_object(body)
    if found is None:
        raise StrangeDocumentError("not a JSON object")
    schema = found.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(f"schema {schema}")
    return from_object(found, kind)


def from_object(found: object, kind: type[T]) -> T:
    """Read a document, or a part of one, that is parsed already. Raises StrangeDocumentError."""
    try:
        return _CONVERTER.structure(found, kind)
    except Exception as error:  # whatever cattrs makes of it
        raise StrangeDocumentError(_first(error)) from None


def _first(error: BaseException) -> str:
    """Return the first of the errors that cattrs collected, in a few words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"no {printable(str(error))}" if isinstance(error, KeyError) else printable(str(error))


def _overrides(kind: type) -> dict[str, Any]:
    return {
        each.name: override(rename=each.metadata.get(_KEY), omit_if_default=each.metadata.get(_OPTIONAL))
        for each in fields(kind)
    }


def _read_object(kind: type) -> Callable[[Any, Any], Any]:
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(kind, _CONVERTER, **_overrides(kind))
    return lambda value, expected: read(_strictly(value, dict), expected)


def _write_object(kind: type) -> Callable[[Any], dict[str, Any]]:
    return make_dict_unstructure_fn(kind, _CONVERTER, **_overrides(kind))


def _read_list(value: object, kind: Any) -> tuple[Any, ...]:
    (item, _) = get_args(kind)
    return tuple(_CONVERTER.structure(each, item) for each in _strictly(value, list))


def _read_map(value: object, kind: Any) -> dict[str, Any]:
    (_, item) = get_args(kind)
    return {name: _CONVERTER.structure(each, item) for name, each in _strictly(value, dict).items()}


def _origin(kind: Any) -> object:
    """Return `tuple` for `tuple[str, ...]`, and `Mapping` for `Mapping[str, float]`."""
    return get_origin(kind)


def _read_number(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _strictly(value: object, kind: type[T]) -> T:
    """Take a JSON value only as what it is: cattrs would make the text "None" of null."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


_CONVERTER = Converter()
for _kind in (str, int, bool):
    _CONVERTER.register_structure_hook(_kind, _strictly)
_CONVERTER.register_structure_hook(float, _read_number)
_CONVERTER.register_structure_hook_func(lambda kind: _origin(kind) is tuple, _read_list)
_CONVERTER.register_structure_hook_func(lambda kind: _origin(kind) is Mapping, _read_map)
_CONVERTER.register_structure_hook_factory(has, _read_object)
_CONVERTER.register_unstructure_hook_factory(has, _write_object)
