"""facaded's own JSON documents: frozen attrs classes with a schema version, and their conversion from and to JSON.

A newer facaded may add keys to a document without a new schema version, so unknown keys are ignored. A document with a
newer schema version is refused, because any of its keys may have another meaning.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from attrs import field, fields, frozen, has
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from facaded.net.json_objects import read_object
from facaded.net.text import printable

SCHEMA = 1
"""The version of the documents. It changes only if a key is removed or gets another meaning."""


class InvalidDocumentError(Exception):
    """A document does not match its class. The text says why, in a few words."""


class NewerSchemaError(InvalidDocumentError):
    """A document has a newer schema version than this facaded supports."""


@frozen
class Document:
    """A JSON document with a version. One without the key "schema" has version 1."""

    schema: int = field(default=SCHEMA, kw_only=True)


D = TypeVar("D", bound=Document)
T = TypeVar("T")

_KEY, _OPTIONAL = "key", "optional"


def key(name: str) -> dict[str, Any]:
    """Return the metadata of a field whose JSON key is a reserved word in Python."""
    return {_KEY: name}


LEFT_OUT = {_OPTIONAL: True}
"""The metadata of a field whose JSON key is omitted if the field has its default value."""


def to_json(document: object) -> dict[str, Any]:
    """Return a document, or a part of one, as a dict for `json.dumps`."""
    converted: dict[str, Any] = _CONVERTER.unstructure(document)
    return converted


def from_json(body: bytes, kind: type[D]) -> D:
    """Read a document. Raises NewerSchemaError, or InvalidDocumentError if `body` does not match `kind`."""
    document = read_object(body)
    if document is None:
        raise InvalidDocumentError("not a JSON object")
    schema = document.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(f"schema {schema}")
    return from_object(document, kind)


def from_object(value: object, kind: type[T]) -> T:
    """Read a document, or a part of one, from parsed JSON. Raises InvalidDocumentError."""
    try:
        return _CONVERTER.structure(value, kind)
    except Exception as error:  # cattrs raises many types
        raise InvalidDocumentError(_describe(error)) from None


def _describe(error: Exception) -> str:
    """Describe the first error: cattrs could collect all, with 0.4 MiB more for the code that it generates."""
    return f"key {printable(str(error))} is missing" if isinstance(error, KeyError) else printable(str(error))


def _overrides(kind: type) -> dict[str, Any]:
    return {
        attribute.name: override(rename=attribute.metadata.get(_KEY), omit_if_default=attribute.metadata.get(_OPTIONAL))
        for attribute in fields(kind)
    }


def _read_object(kind: type) -> Callable[[Any, Any], Any]:
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        kind, _CONVERTER, _cattrs_detailed_validation=False, _cattrs_use_linecache=False, **_overrides(kind)
    )
    return lambda value, expected: read(_require(value, dict), expected)


def _write_object(kind: type) -> Callable[[Any], dict[str, Any]]:
    return make_dict_unstructure_fn(kind, _CONVERTER, _cattrs_use_linecache=False, **_overrides(kind))


def _read_list(value: object, kind: Any) -> tuple[Any, ...]:
    (item_kind, _) = get_args(kind)
    return tuple(_CONVERTER.structure(item, item_kind) for item in _require(value, list))


def _read_map(value: object, kind: Any) -> dict[str, Any]:
    (_, item_kind) = get_args(kind)
    return {name: _CONVERTER.structure(item, item_kind) for name, item in _require(value, dict).items()}


def _origin(kind: Any) -> object:
    """Return `tuple` for `tuple[str, ...]`, and `Mapping` for `Mapping[str, float]`."""
    return get_origin(kind)


def _read_number(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _require(value: object, kind: type[T]) -> T:
    """Return `value` if it has the type `kind`, without a conversion: cattrs would turn null into the text "None"."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{value!r} is not {_JSON_NAMES[kind]}")
    return value


_JSON_NAMES: Mapping[type, str] = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}

_CONVERTER = Converter()
for _kind in (str, int, bool):
    _CONVERTER.register_structure_hook(_kind, _require)
_CONVERTER.register_structure_hook(float, _read_number)
_CONVERTER.register_structure_hook_func(lambda kind: _origin(kind) is tuple, _read_list)
_CONVERTER.register_structure_hook_func(lambda kind: _origin(kind) is Mapping, _read_map)
_CONVERTER.register_structure_hook_factory(has, _read_object)
_CONVERTER.register_unstructure_hook_factory(has, _write_object)
