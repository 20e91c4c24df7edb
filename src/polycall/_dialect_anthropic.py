"""The strict dialect of Anthropic: what a tool's schema may say there, and how much of it a request may hold.

Sources: Anthropic's guide "Structured outputs", "JSON Schema limitations"; its SDK's `transform_schema`; its answers to requests
beyond the limits, recorded in ``tests/wire/anthropic`` (``http_400``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic_core import to_json

from polycall._dialects import Dialected
from polycall.types import JsonObject, is_mapping, is_sequence

__all__ = ["anthropic_open", "anthropic_strict", "within_limits"]

_KEPT: Final = frozenset({"type", "const", "title"})
_SEEN_TO: Final = frozenset({"properties", "required", "additionalProperties", "$defs", "discriminator", "description"})
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_TOLD: Final = frozenset({
    "default", "examples", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
})  # fmt: skip
"""Keywords that the dialect does not have: the model reads them in the description instead."""
_UNSAYABLE: Final = frozenset({
    "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "propertyNames",
    "prefixItems", "unevaluatedProperties", "unevaluatedItems", "contains",
})  # fmt: skip
_NOTES: Final = frozenset({"default", "examples"})
_UNIONS: Final = ("anyOf", "oneOf", "allOf")
_DEFINITION: Final = "#/$defs/"
_MANY_REASONS: Final = 100
_MOST_SCHEMAS: Final = 5_000

_MOST_TOOLS: Final = 20
_MOST_OPTIONAL: Final = 24
_MOST_UNIONS: Final = 16
_MOST_UNIONS_IN_ONE: Final = 8
"""Not a documented limit: 16 in one tool are "too complex for compilation" (``anthropic-messages-json-0c-32be3378``), one in each
of 16 tools are not (``anthropic-messages-json-1c-400508b7``)."""


def anthropic_strict(schema: Mapping[str, Any]) -> Dialected:
    """Put an object schema into the strict dialect.

    Every object is closed there, and nothing refers to itself. A field that may be left out stays out of ``required``; one that
    is null when it is left out is not nullable any more, because every union costs. What the dialect has no keyword for is told
    to the model in the description.
    """
    writer = _Strict(schema)
    made = writer.write(schema, "")
    if "anyOf" in made:
        writer.refuse("", "is a union at its top")
    if writer.definitions:
        made["$defs"] = writer.definitions
    if writer.refused:
        return Dialected(schema, tuple(writer.refused))
    return Dialected(made, (), tuple(writer.dropped))


def within_limits(tools: Sequence[Dialected], schemas: Sequence[Mapping[str, Any]]) -> list[Dialected]:
    """Let as many tools of a request be strict as its limits allow, the first ones first.

    Args:
        tools: What `anthropic_strict` made of each tool.
        schemas: What it was made of.
    """
    left = [_MOST_TOOLS, _MOST_OPTIONAL, _MOST_UNIONS]
    kept: list[Dialected] = []
    for tool, schema in zip(tools, schemas, strict=True):
        if tool.refused:
            kept.append(tool)
            continue
        optional, unions = _Cost(tool.schema).of(tool.schema)
        needed = (1, optional, unions)
        if unions <= _MOST_UNIONS_IN_ONE and all(one <= room for one, room in zip(needed, left, strict=True)):
            left = [room - one for one, room in zip(needed, left, strict=True)]
            kept.append(tool)
        else:
            kept.append(Dialected(schema, (f"its {optional} optional and {unions} union-typed fields are beyond the limits",)))
    return kept


def anthropic_open(tool: Dialected) -> Dialected:
    """Return a tool that is not strict without a union at the top of its schema, which the service does not take.

    The fields of the members are shown; which of them go together is left to the check.
    """
    if not any(keyword in tool.schema for keyword in _UNIONS):
        return tool
    made = {keyword: value for keyword, value in tool.schema.items() if keyword not in _UNIONS}
    members = [one for keyword in _UNIONS for one in tool.schema.get(keyword, ())]
    fields: JsonObject = dict(made.get("properties", {}))
    for member in members:
        target = _target(tool.schema, member["$ref"]) if is_mapping(member) and "$ref" in member else member
        inner: Mapping[str, Any] = target.get("properties", {}) if is_mapping(target) else {}
        for name, field in inner.items():
            fields.setdefault(name, field)
    made["properties"] = fields
    return replace(tool, schema=made, dropped=(*tool.dropped, *(one for one in _UNIONS if one in tool.schema)))


class _Strict:
    """Writes one schema.

    Attributes:
        definitions: The definitions that it refers to.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.refused: list[str] = []
        self.dropped: list[str] = []
        self.definitions: JsonObject = {}
        self._root = root
        self._within: set[str] = set()
        self._written = 0

    def write(self, schema: Any, place: str) -> JsonObject:
        self._written += 1
        if self._written > _MOST_SCHEMAS:
            return self.refuse("", "is larger than the strict dialect allows")
        if not is_mapping(schema):
            return self.refuse(place, "allows any value")
        if "$ref" in schema:
            return self._reference(schema, place)
        made: JsonObject = {}
        told: list[str] = []
        for keyword, value in schema.items():
            self._keyword(made, told, keyword, value, place)
        kinds = _kinds(made if "type" in made or "properties" not in schema else {"type": "object"})
        if "object" in kinds:
            made.setdefault("type", "object")
            self._close(made, schema, place)
        self._judge(made, schema, kinds, place)
        words = [schema["description"]] if schema.get("description") else []
        if told:
            words.append(f"({', '.join(told)})")
        if words:
            made["description"] = " ".join(map(str, words))
        return made

    def _keyword(self, made: JsonObject, told: list[str], keyword: str, value: Any, place: str) -> None:
        match keyword:
            case "items":
                made[keyword] = self.write(value, f"{place}[]")
            case "anyOf" | "oneOf":
                made["anyOf"] = [self.write(one, f"{place}|{number}") for number, one in enumerate(value)]
            case "enum":
                made[keyword] = value
                if any(is_mapping(one) or is_sequence(one) for one in value):
                    self.refuse(place, "has an enum of more than plain values")
            case _ if keyword in _UNSAYABLE:
                self.refuse(place, f"uses {keyword}")
            case _ if _is_kept(keyword, value):
                made[keyword] = value
            case _ if keyword not in _SEEN_TO:
                if keyword in _TOLD:
                    told.append(f"{keyword}: {_json(value)}")
                if keyword not in _NOTES:
                    self.dropped.append(f"{place}: {keyword}" if place else keyword)
            case _:
                pass

    def _judge(self, made: JsonObject, schema: Mapping[str, Any], kinds: Sequence[Any], place: str) -> None:
        """Refuse what no keyword by itself is wrong with."""
        if "array" in kinds and "items" not in made:
            self.refuse(place, "is an array of anything")
        if is_mapping(made.get("const")) or is_sequence(made.get("const")):
            self.refuse(place, "is a constant that is no plain value")
        if not made.keys() & {"type", "anyOf", "enum", "const"}:
            self.refuse(place, "allows any value")
        if "anyOf" in made and ("properties" in made or ("anyOf" in schema and "oneOf" in schema)):
            self.refuse(place, "is a union beside other conditions")

    def _close(self, made: JsonObject, schema: Mapping[str, Any], place: str) -> None:
        bare = place and not schema.keys() & {"properties", "additionalProperties"}  # at the top, it is a tool without arguments
        if bare or schema.get("additionalProperties", False) is not False:
            self.refuse(place, "allows any key")
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        if set(required) - set(properties):
            self.refuse(place, "requires a key that it does not describe")
        made["properties"] = {
            name: self.write(value if name in required else _without_null(value), f"{place}.{name}" if place else name)
            for name, value in properties.items()
        }
        made["required"] = [name for name in properties if name in required]
        made["additionalProperties"] = False

    def _reference(self, schema: Mapping[str, Any], place: str) -> JsonObject:
        """Keep a reference, or put the definition in its place where it has neighbours."""
        reference = str(schema["$ref"])
        name = reference.removeprefix(_DEFINITION)
        target = _target(self._root, reference)
        if not is_mapping(target):
            return self.refuse(place, "refers to itself" if reference == "#" else f"refers to {reference!r}")
        if name in self._within:
            return self.refuse(place, "refers to itself")
        neighbours = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        if not neighbours and name in self.definitions:
            return {"$ref": reference}
        self._within.add(name)
        made = self.write({**target, **neighbours}, place if neighbours else f"$defs.{name}")
        self._within.discard(name)
        if neighbours:
            return made
        self.definitions[name] = made
        return {"$ref": reference}

    def refuse(self, place: str, reason: str) -> JsonObject:
        if len(self.refused) < _MANY_REASONS:
            self.refused.append(f"{place or 'the schema'} {reason}")
        return {"type": "null"}


class _Cost:
    """Counts the optional fields and the unions of a strict schema, those of a definition wherever it is referred to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, schema: Mapping[str, Any]) -> tuple[int, int]:
        if "$ref" in schema:
            reference = str(schema["$ref"])
            if reference not in self._known:
                self._known[reference] = self.of(_target(self._root, reference))
            return self._known[reference]
        fields: Mapping[str, Any] = schema.get("properties", {})
        inner = [*fields.values(), *schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]
        optional = len(fields) - len(schema.get("required", ()))
        unions = int("anyOf" in schema or is_sequence(schema.get("type")))
        counts = [self.of(one) for one in inner]
        return optional + sum(one for one, _ in counts), unions + sum(one for _, one in counts)


def _target(root: Mapping[str, Any], reference: object) -> Any:
    name = str(reference)
    return root.get("$defs", {}).get(name.removeprefix(_DEFINITION)) if name.startswith(_DEFINITION) else None


def _is_kept(keyword: str, value: object) -> bool:
    if keyword == "format":
        return value in _FORMATS
    return value in {0, 1} if keyword == "minItems" else keyword in _KEPT


def _kinds(schema: Mapping[str, Any]) -> Sequence[Any]:
    kinds = schema.get("type")
    return kinds if is_sequence(kinds) else (kinds,)


def _without_null(schema: Any) -> Any:
    """Return a field that is null when it is left out as one that can only be left out."""
    if not is_mapping(schema) or "default" not in schema or schema["default"] is not None:
        return schema
    made = {keyword: value for keyword, value in schema.items() if keyword != "default"}
    kinds = made.get("type")
    if is_sequence(kinds) and "enum" not in made:
        left = [kind for kind in kinds if kind != "null"]
        made["type"] = left[0] if len(left) == 1 else left or kinds
    members = [one for one in made.get("anyOf", ()) if not (is_mapping(one) and one.get("type") == "null")]
    if members and made.keys() <= {"anyOf", "description", "title"}:
        del made["anyOf"]
        return {**members[0], **made} if len(members) == 1 and is_mapping(members[0]) else {"anyOf": members, **made}
    return made


def _json(value: object) -> str:
    return to_json(value, fallback=str).decode()
