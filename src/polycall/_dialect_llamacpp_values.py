"""The keywords of one JSON Schema that llama.cpp's grammar enforces, apart from what contains other schemas."""

from __future__ import annotations

import math
from typing import Any, cast

from polycall._dialect_llamacpp_pattern import grammar_pattern

__all__ = ["MAXIMUM_ITEMS", "MAXIMUM_LENGTH", "array_bounds", "integer", "items", "mapping", "string", "types"]

MAXIMUM_LENGTH = 1000
"""Characters a string may have where the schema does not say: small models repeat themselves without end."""
MAXIMUM_ITEMS = 64
"""Items an array may have where the schema does not say."""

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_FORMATS = frozenset({"date", "date-time", "time", "uuid", "uuid1", "uuid2", "uuid3", "uuid4", "uuid5"})
_IMPLIED = {"properties": "object", "additionalProperties": "object", "items": "array", "prefixItems": "array"}
_LARGEST = 2**53
_LARGEST_COUNT = 100_000


def mapping(value: object) -> dict[str, Any] | None:
    """Return `value` if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def items(value: object) -> list[Any]:
    """Return `value` if it is a JSON array, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def types(schema: dict[str, Any]) -> list[str]:
    """Return the types a schema allows, as it says or as its keywords imply; empty for any."""
    declared = schema.get("type")
    if declared is None:
        return list(dict.fromkeys(_IMPLIED[key] for key in schema if key in _IMPLIED))
    return [name for name in (items(declared) or [declared]) if isinstance(name, str) and name in _TYPES]


def string(schema: dict[str, Any]) -> dict[str, Any]:
    """Constrain a string: llama.cpp heeds a pattern, or else a format, or else the lengths, never two of them."""
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and (readable := grammar_pattern(pattern)) is not None:
        return {"pattern": readable}
    if str(schema.get("format")) in _FORMATS:
        return {"format": schema["format"]}
    return _bounds(schema, "minLength", "maxLength", MAXIMUM_LENGTH)


def array_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Bound the number of items of an array."""
    return _bounds(schema, "minItems", "maxItems", MAXIMUM_ITEMS)


def integer(schema: dict[str, Any]) -> dict[str, Any]:
    """Bound an integer, inclusively. llama.cpp cannot bound a number with a fraction."""
    low = [math.ceil(value) for value in _number(schema, "minimum")]
    low += [math.floor(value) + 1 for value in _number(schema, "exclusiveMinimum")]
    high = [math.floor(value) for value in _number(schema, "maximum")]
    high += [math.ceil(value) - 1 for value in _number(schema, "exclusiveMaximum")]
    if low and high and max(low) > min(high):
        return {}
    return ({"minimum": max(low)} if low else {}) | ({"maximum": min(high)} if high else {})


def _bounds(schema: dict[str, Any], lower: str, upper: str, limit: int) -> dict[str, Any]:
    """Keep the bounds, with `limit` for an upper one where there is none; a contradiction keeps `limit` alone."""
    least = next(iter(_count(schema, lower)), 0)
    most = next(iter(_count(schema, upper)), max(least, limit))
    if least > most or least > _LARGEST_COUNT:
        return {upper: limit}
    return ({lower: least} if least else {}) | {upper: min(most, _LARGEST_COUNT)}


def _count(schema: dict[str, Any], key: str) -> list[int]:
    return [int(value) for value in _number(schema, key) if value >= 0]


def _number(schema: dict[str, Any], key: str) -> list[int | float]:
    value = schema.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return [value]
    return []
