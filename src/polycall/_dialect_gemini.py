"""The dialect of Gemini's ``parametersJsonSchema``.

Sources: Gemini's API reference, `FunctionDeclaration` and `GenerationConfig.responseJsonSchema`: any JSON Schema may be sent, and
not all of it is understood; beside ``$ref`` nothing else may stand, ``oneOf`` means ``anyOf``, and neither ``const`` nor the
exclusive bounds are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from polycall._dialects import Dialected
from polycall.types import JsonObject, is_array, is_mapping

__all__ = ["gemini_schema"]

_DROPPED: Final = frozenset({"$schema", "discriminator", "examples"})
_VALUES: Final = frozenset({"enum", "const", "default", "required"})
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_KINDS: Final = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (type(None), "null"))


def gemini_schema(schema: Mapping[str, Any]) -> Dialected:
    """Put a schema into the dialect; what it accepts the dialect accepts as well."""
    dropped: list[str] = []
    return Dialected(_write(schema, "", dropped), (), tuple(dropped))


def _write(schema: Any, place: str, dropped: list[str]) -> Any:
    if is_array(schema):
        return [_write(one, f"{place}[{number}]", dropped) for number, one in enumerate(schema)]
    if not is_mapping(schema):
        return schema
    made: JsonObject = {}
    for keyword, value in schema.items():
        where = f"{place}.{keyword}" if place else str(keyword)
        if keyword in _NAMED and is_mapping(value):
            made[keyword] = {name: _write(one, f"{where}.{name}", dropped) for name, one in value.items()}
        elif keyword in _VALUES:
            made[keyword] = value
        elif keyword in _DROPPED:
            if keyword == "discriminator":
                dropped.append(f"{place or 'the schema'}: {keyword}")
        else:
            made[keyword] = _write(value, where, dropped)
    _bounds(made, place, dropped)
    if "const" in made:
        _constant(made)
    if "oneOf" in made and "anyOf" not in made:
        made["anyOf"] = made.pop("oneOf")
    return _reference(made, place, dropped) if "$ref" in made else made


def _bounds(made: JsonObject, place: str, dropped: list[str]) -> None:
    """Say exclusive bounds as inclusive ones, which is the same for integers; a floating bound lets its own value through."""
    for keyword, inclusive, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        bound = made.pop(keyword, None)
        if type(bound) not in {int, float}:
            continue
        whole = made.get("type") == "integer" and bound == bound // 1
        if not whole:
            dropped.append(f"{place or 'the schema'}: {keyword}")
        bound = int(bound) + step if whole else bound
        known = made.get(inclusive)
        if isinstance(known, int | float):
            bound = max(known, bound) if step > 0 else min(known, bound)
        made[inclusive] = bound


def _constant(made: JsonObject) -> None:
    value = made.pop("const")
    made["enum"] = [value]
    kind = next((name for kind, name in _KINDS if isinstance(value, kind)), None)
    if kind is not None:
        made.setdefault("type", kind)


def _reference(made: JsonObject, place: str, dropped: list[str]) -> JsonObject:
    """Put what stands beside a reference around it; a default has no other place."""
    beside = {keyword: value for keyword, value in made.items() if not keyword.startswith("$")}
    if not beside:
        return made
    if beside.keys() & {"anyOf", "allOf"}:
        dropped.append(f"{place or 'the schema'}: $ref")
        return {keyword: value for keyword, value in made.items() if keyword != "$ref"}
    kept = {keyword: value for keyword, value in made.items() if keyword.startswith("$")}
    return {"anyOf": [kept], **beside}
