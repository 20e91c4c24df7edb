"""JSON Schemas -> one canonical form, from which the dialects are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from polycall.errors import UsageError
from polycall.types import JsonObject, is_mapping, is_object, is_sequence

_OLD_DEFINITIONS: Final = "#/definitions/"


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
