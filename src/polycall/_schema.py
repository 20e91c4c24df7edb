"""JSON Schemas -> one canonical form, from which the dialects are written."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from polycall.errors import UsageError
from polycall.types import JsonObject, is_array, is_mapping, is_object, is_sequence

_BOUNDS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
    "multipleOf": lambda value, step: value % step == 0,
}
_EXACT: Final = 2.0**53  # from here on, a float is no certain integer
_NOTES: Final = frozenset({"title", "description", "default"})
_OLD_DEFINITIONS: Final = "#/definitions/"


class SchemaMismatch(Exception):  # noqa: N818  # not raised to users
    """Arguments do not fit a JSON Schema.

    Attributes:
        found: For each problem its path and its description.
    """

    def __init__(self, found: list[tuple[tuple[str | int, ...], str]]) -> None:
        """Hold the problems."""
        super().__init__()
        self.found = found


def canonical(schema: JsonObject, name: str) -> JsonObject:
    """Return an object schema without title and description at its top, definitions under ``$defs``, no reference at the top.

    Raises:
        UsageError: It is no schema of an object, or its top refers to nothing.
    """
    if "definitions" in schema:  # the older drafts' word
        schema = _renamed(schema)
        schema["$defs"] = {**schema.pop("definitions"), **schema.get("$defs", {})}
    top: JsonObject = schema
    followed: set[str] = set()
    while "$ref" in top:
        reference = str(top["$ref"])
        target: Any = _target(schema, reference)
        if not is_object(target) or reference in followed:
            message = f"the schema of {name} refers to {reference!r}, which it does not define"
            raise UsageError(message)
        followed.add(reference)
        top = {**target, **{keyword: value for keyword, value in top.items() if keyword != "$ref"}}
    made = {keyword: value for keyword, value in top.items() if keyword not in {"title", "description", "$schema", "$id"}}
    if "$defs" in schema:
        made["$defs"] = schema["$defs"]
    if made.setdefault("type", "object") != "object":
        message = f"{name} cannot be a tool: its schema is of type {made['type']!r}, and the arguments of a tool are an object"
        raise UsageError(message)
    made.setdefault("properties", {})
    return made


def names(schema: object) -> Iterator[str]:
    """Yield every name that a schema gives to a field or a definition."""
    if is_mapping(schema):
        for keyword, value in schema.items():
            if keyword in {"properties", "$defs"} and is_mapping(value):
                yield from value
            yield from names(value)
    elif is_sequence(schema):
        for one in schema:
            yield from names(one)


def leaves(schema: object) -> Iterator[object]:
    """Yield every text, number and truth value in a schema."""
    if is_mapping(schema):
        for value in schema.values():
            yield from leaves(value)
    elif is_sequence(schema):
        for one in schema:
            yield from leaves(one)
    else:
        yield schema


def with_integers(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return ``value`` with numbers like ``1.0`` written as integers where the schema asks for one, and for no other number.

    Raises:
        SchemaMismatch: A truth value stands where the schema asks for an integer constant: to Python, and so to pydantic, true
            equals 1.
    """
    return _with_integers(value, [schema], schema, ())


def _with_integers(value: Any, schemas: Iterable[Any], root: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
    """Do so where ``value`` may be described by any of several schemas."""
    known = alternatives(schemas, root)
    if is_object(value):
        known = [schema for schema in known if "properties" in schema and _could_be(value, schema)] or known
        fields = {key: [_field(schema, key) for schema in known] for key in value}
        return {key: _with_integers(one, fields[key], root, (*path, key)) for key, one in value.items()}
    if is_array(value):
        items = [[_item(schema, place) for schema in known] for place in range(len(value))]
        return [_with_integers(one, items[place], root, (*path, place)) for place, one in enumerate(value)]
    if isinstance(value, bool) and any(map(_has_integer_constant, known)) and not any(map(_takes_boolean, known)):
        raise SchemaMismatch([(path, "a truth value is no integer")])
    if not isinstance(value, float) or not value.is_integer() or abs(value) >= _EXACT:
        return value
    integer = any(map(_takes_integer, known)) and not any(_takes_number(schema, value) for schema in known)
    return int(value) if integer else value


def alternatives(schemas: Iterable[Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas, those that their references lead to, and the members of their unions, each once."""
    found: dict[int, Mapping[str, Any]] = {}
    waiting = list(schemas)[::-1]
    while waiting:
        schema = waiting.pop()
        if not is_mapping(schema) or id(schema) in found:
            continue
        found[id(schema)] = schema
        members = [one for keyword in ("anyOf", "oneOf", "allOf") for one in schema.get(keyword, ())]
        if isinstance(schema.get("$ref"), str):
            members.append(root if schema["$ref"] == "#" else _target(root, schema["$ref"]))
        waiting += members[::-1]
    return list(found.values())


def _could_be(value: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Whether the keys and constants of an object fit."""
    fields = schema.get("properties", {})
    if value.keys() - fields.keys() and schema.get("additionalProperties") is False:
        return False
    constants = {name: field["const"] for name, field in fields.items() if is_mapping(field) and "const" in field}
    fit = all(value.get(name, constant) == constant for name, constant in constants.items())
    return fit and all(name in value or _takes_null(fields.get(name)) for name in schema.get("required", ()))


def _takes_null(schema: object) -> bool:
    """Whether a field may be null; in a strict dialect that is how it is left out."""
    return is_mapping(schema) and any(is_mapping(one) and one.get("type") == "null" for one in schema.get("anyOf", ()))


def _field(schema: Mapping[str, Any], key: str) -> Any:
    return schema.get("properties", {}).get(key, schema.get("additionalProperties"))


def _item(schema: Mapping[str, Any], place: int) -> Any:
    first = schema.get("prefixItems", ())
    return first[place] if place < len(first) else schema.get("items")


def _takes_integer(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return kinds == "integer" or (is_sequence(kinds) and "integer" in kinds) or _has_integer_constant(schema)


def _has_integer_constant(schema: Mapping[str, Any]) -> bool:
    return any(map(is_integer, (schema.get("const"), *schema.get("enum", ()))))


def _takes_boolean(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    if kinds == "boolean" or (is_sequence(kinds) and "boolean" in kinds) or not schema.keys() - _NOTES:
        return True
    return any(isinstance(one, bool) for one in (schema.get("const"), *schema.get("enum", ())))


def _takes_number(schema: Mapping[str, Any], value: float) -> bool:
    kinds = schema.get("type")
    if kinds != "number" and not (is_sequence(kinds) and "number" in kinds):
        return not schema.keys() - _NOTES
    return all(fits(value, schema[keyword]) for keyword, fits in _BOUNDS.items() if keyword in schema)


def is_integer(value: object) -> bool:
    """Whether this is a number without a fraction, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def _target(schema: Any, reference: str) -> object:
    for part in reference.removeprefix("#/").split("/"):
        schema = schema.get(part.replace("~1", "/").replace("~0", "~")) if is_object(schema) else None
    return schema


def _renamed(schema: Any) -> Any:
    if is_object(schema):
        made = {keyword: _renamed(value) for keyword, value in schema.items()}
        if isinstance(made.get("$ref"), str) and made["$ref"].startswith(_OLD_DEFINITIONS):
            made["$ref"] = "#/$defs/" + made["$ref"].removeprefix(_OLD_DEFINITIONS)
        return made
    return [_renamed(one) for one in schema] if is_sequence(schema) else schema
