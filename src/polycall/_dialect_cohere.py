"""JSON Schemas as Cohere's ``strict_tools`` takes them.

Source: Cohere's guide to structured outputs, "Specifying a schema": no unions, no ranges, no lengths, four formats, every object
with a field that is required, 200 fields in all tools together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from polycall._dialect_optional import without_null
from polycall._dialects import Dialected
from polycall.types import JsonObject, is_mapping, is_sequence

__all__ = ["MOST_FIELDS", "cohere_strict", "count_fields"]

MOST_FIELDS: Final = 200
"""Fields that all tools of a request may have together."""

_KEPT: Final = frozenset({"type", "enum", "const", "title", "description"})
_SILENT: Final = frozenset(
    {"properties", "required", "items", "$ref", "$defs", "default", "discriminator", "additionalProperties"}
)
_UNSAYABLE: Final = frozenset({
    "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "propertyNames",
    "prefixItems", "unevaluatedProperties", "unevaluatedItems", "contains",
})  # fmt: skip
_FORMATS: Final = frozenset({"date-time", "uuid", "date", "time"})
_DEFINITION: Final = "#/$defs/"
_MOST_SCHEMAS: Final = 2_000
_MANY_REASONS: Final = 100


def cohere_strict(schema: Mapping[str, Any]) -> Dialected:
    """Put an object schema into the dialect: references are put in place, and a field that may be left out is not nullable."""
    writer = _Strict(schema)
    made = writer.write(schema, "", required=True)
    return Dialected(schema, tuple(writer.refused)) if writer.refused else Dialected(made, (), tuple(writer.dropped))


def count_fields(schema: Any) -> int:
    """Return how many fields a schema has, those of objects within it too."""
    if is_sequence(schema):
        return sum(map(count_fields, schema))
    if not is_mapping(schema):
        return 0
    own = schema.get("properties")
    fields = len(own) + sum(map(count_fields, own.values())) if is_mapping(own) else 0
    return fields + sum(
        count_fields(value) for keyword, value in schema.items() if keyword not in {"properties", "enum", "const"}
    )


class _Strict:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.refused: list[str] = []
        self.dropped: list[str] = []
        self._inlining: list[str] = []
        self._written = 0

    def write(self, given: Any, place: str, *, required: bool) -> JsonObject:
        self._written += 1
        if self._written > _MOST_SCHEMAS:
            return self._refuse("", "is larger than the strict dialect allows")
        if not is_mapping(given):
            return self._refuse(place, "allows any value")
        if "$ref" in given:
            return self._reference(given, place, required=required)
        schema = given if required else without_null(given)
        made: JsonObject = {}
        for keyword, value in schema.items():
            self._keyword(made, keyword, value, place)
        kind = made.get("type", "object" if "properties" in schema else None)
        if kind == "object":
            made["type"] = kind
            self._object(made, schema, place)
        elif kind == "array" and "items" in schema:
            made["items"] = self.write(schema["items"], f"{place}[]", required=True)
        elif is_sequence(kind):
            self._refuse(place, "is of several types")
        elif kind is None and not made.keys() & {"enum", "const"} and not {"anyOf", "oneOf"} & schema.keys():
            self._refuse(place, "allows any value")
        return made

    def _keyword(self, made: JsonObject, keyword: str, value: Any, place: str) -> None:
        if keyword in _KEPT or (keyword == "format" and value in _FORMATS) or (keyword == "pattern" and _is_sayable(value)):
            made[keyword] = value
        elif keyword in {"anyOf", "oneOf"}:
            self._refuse(place, "is a union")
        elif keyword in _UNSAYABLE:
            self._refuse(place, f"uses {keyword}")
        elif keyword not in _SILENT:
            self.dropped.append(f"{place}: {keyword}" if place else keyword)

    def _object(self, made: JsonObject, schema: Mapping[str, Any], place: str) -> None:
        properties = schema.get("properties", {})
        required = [name for name in schema.get("required", ()) if name in properties]
        if schema.get("additionalProperties", False) is not False or (place and not properties):
            self._refuse(place, "allows any key")
        elif len(required) < len(schema.get("required", ())):
            self._refuse(place, "requires a key that it does not describe")
        elif properties and not required:
            self._refuse(place, "has no field that is required")
        made["properties"] = {
            name: self.write(value, f"{place}.{name}" if place else name, required=name in required)
            for name, value in properties.items()
        }
        if required:
            made["required"] = required

    def _reference(self, schema: Mapping[str, Any], place: str, *, required: bool) -> JsonObject:
        reference = str(schema["$ref"])
        target = self.root.get("$defs", {}).get(reference.removeprefix(_DEFINITION))
        if not is_mapping(target) or reference in self._inlining:
            return self._refuse(place, f"refers to {reference!r}, which is not there or holds itself")
        self._inlining.append(reference)
        made = self.write({**target, **{key: one for key, one in schema.items() if key != "$ref"}}, place, required=required)
        self._inlining.pop()
        return made

    def _refuse(self, place: str, reason: str) -> JsonObject:
        if len(self.refused) < _MANY_REASONS:
            self.refused.append(f"{place or 'the schema'} {reason}")
        return {}


def _is_sayable(pattern: object) -> bool:
    """Whether the dialect takes a pattern: one without anchors and without looking around."""
    return isinstance(pattern, str) and not any(sign in pattern for sign in ("^", "$", "(?"))
