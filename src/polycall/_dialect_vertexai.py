"""One canonical JSON Schema -> the closed `Schema` of a function declaration's ``parameters`` on Vertex AI.

It knows no references and no open objects, wants a type everywhere and nothing beside ``anyOf``, and enums of texts alone.
Whatever is dropped is still checked by polycall when the call comes back.

Sources: the service's discovery document, `GoogleCloudAiplatformV1beta1Schema`; the words with which it refuses the rest:
"schema specified other fields alongside any_of" (googleapis/python-genai#625), "schema didn't specify the schema type field"
(ivnvxd/mcp-server-odoo#27), "enum: only allowed for STRING type", "enum[0]: cannot be empty" (pixellab-code/pixellab-mcp#2),
"required fields [...] are not defined in the schema properties" (genkit-ai/genkit#5656).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from polycall._dialects import Dialected
from polycall.types import JsonObject, is_array, is_mapping, is_sequence

__all__ = ["vertexai_schema"]

_KINDS: Final = {kind.lower(): kind for kind in ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")}
_KEPT: Final[Mapping[str, frozenset[str]]] = {
    "STRING": frozenset({"minLength", "maxLength"}),
    "NUMBER": frozenset({"minimum", "maximum"}),
    "INTEGER": frozenset({"minimum", "maximum"}),
    "ARRAY": frozenset({"minItems", "maxItems"}),
    "OBJECT": frozenset({"minProperties", "maxProperties"}),
}
_FORMATS: Final = frozenset({
    ("STRING", "date-time"), ("NUMBER", "float"), ("NUMBER", "double"), ("INTEGER", "int32"), ("INTEGER", "int64"),
})  # fmt: skip
_SEEN_TO: Final = frozenset({
    "type", "title", "description", "default", "discriminator", "nullable", "enum", "const", "properties", "required", "items",
    "prefixItems", "allOf", "anyOf", "oneOf", "$ref", "$defs",
})  # fmt: skip
_NULL: Final[JsonObject] = {"type": "STRING", "nullable": True}
_MOST_SCHEMAS: Final = 1_000
_MOST_LEVELS: Final = 24
_DEFINITION: Final = "#/$defs/"


def vertexai_schema(schema: Mapping[str, Any]) -> Dialected:
    """Put an object schema into the words of Vertex AI, as JSON of the wire.

    References are put in their places. A type that holds itself is cut where it comes again: an object without properties there.
    """
    writer = _Writer(schema)
    return Dialected(writer.write(schema, ""), dropped=tuple(dict.fromkeys(writer.dropped)))


class _Writer:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.dropped: list[str] = []
        self._root = root
        self._inside: list[str] = []
        self._written = 0
        self._level = 0

    def write(self, schema: Any, place: str) -> JsonObject:
        """Write one schema; the references that it follows are closed to what is inside of it."""
        count = len(self._inside)
        self._written += 1
        self._level += 1
        try:
            whole = self._followed(schema, place)
            if whole is None or self._written > _MOST_SCHEMAS or self._level > _MOST_LEVELS:
                self._drop(place, "what is inside")
                return self._cut(schema)
            return self._any(whole, place)
        finally:
            self._level -= 1
            del self._inside[count:]

    def _followed(self, schema: Any, place: str) -> Mapping[str, Any] | None:
        """Return a schema with its references and ``allOf`` put in their places; None where one leads back into itself."""
        made: JsonObject = dict(schema) if is_mapping(schema) else {}
        while "$ref" in made:
            reference = str(made.pop("$ref"))
            if reference in self._inside or reference == "#":
                return None
            self._inside.append(reference)
            target = self._target(reference)
            if target is None:
                self._drop(place, f"$ref {reference}")
            made = {**(target or {}), **made}
        for part in made.pop("allOf", ()):
            followed = self._followed(part, place)
            if followed is None:
                return None
            _add(made, followed)
        return made

    def _target(self, reference: str) -> Mapping[str, Any] | None:
        target: Any = self._root if reference == "#" else self._root.get("$defs", {}).get(reference.removeprefix(_DEFINITION))
        return target if is_mapping(target) else None

    def _cut(self, schema: Any) -> JsonObject:
        """Return what is left of a schema that goes on for ever, or for too long."""
        known: Mapping[str, Any] = schema if is_mapping(schema) else {}
        if "$ref" in known:
            known = self._target(str(known["$ref"])) or {}
        kind = _KINDS.get(str(known.get("type")))
        if kind is None:
            return _anything()
        return {"type": kind, "items": {"type": "OBJECT"}} if kind == "ARRAY" else {"type": kind}

    def _any(self, schema: Mapping[str, Any], place: str) -> JsonObject:
        members = list(_members(schema))
        if "properties" in schema and {"anyOf", "oneOf"} & schema.keys():
            self._drop(place, "anyOf")
        if len(members) == 1 and members[0] is schema:
            return self._one(schema, place)
        if {"anyOf", "oneOf"} & schema.keys():  # what is said beside them is said of no member
            self._drop(place, *(keyword for keyword in schema if keyword not in _SEEN_TO))
        note: Any = schema.get("description")
        made: list[JsonObject] = []
        for number, member in enumerate(members):
            written = self.write(member, f"{place}|{number}" if len(members) > 1 else place)
            made += [one for one in written.get("anyOf", [written]) if one not in made]
        return _union(made, note if isinstance(note, str) else "")

    def _one(self, schema: Mapping[str, Any], place: str) -> JsonObject:
        if _is_null(schema):
            return _NULL
        kind = _kind(schema)
        if kind is None:
            self._drop(place, "arrays", *(keyword for keyword in schema if keyword not in _SEEN_TO))
            return _described(_anything(), schema.get("description"))
        made: JsonObject = {"type": kind, "nullable": True} if schema.get("nullable") is True else {"type": kind}
        notes = [schema["description"]] if isinstance(schema.get("description"), str) else []
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if is_array(values):
            self._values(made, values, notes, place)
        for keyword, value in schema.items():
            self._keyword(made, keyword, value, notes, place)
        if kind == "OBJECT":
            self._object(made, schema, place)
        elif kind == "ARRAY":
            self._array(made, schema, place)
        if notes:
            made["description"] = " ".join(notes)
        return made

    def _keyword(self, made: JsonObject, keyword: str, value: Any, notes: list[str], place: str) -> None:
        kind = made["type"]
        match keyword:
            case _ if keyword in _SEEN_TO or (keyword == "additionalProperties" and value is False):
                pass
            case "format" if (kind, value) in _FORMATS:
                made[keyword] = value
            case "format":
                notes.append(f"(format: {value})")
                self._drop(place, keyword)
            case "pattern" if kind == "STRING" and "(?" not in str(value).replace("(?:", ""):
                made[keyword] = value
            case "exclusiveMinimum" | "exclusiveMaximum" if kind in {"INTEGER", "NUMBER"} and _type_of(value) in {
                "integer",
                "number",
            }:
                inner = keyword.removeprefix("exclusive").lower()
                whole = kind == "INTEGER" and isinstance(value, int)
                made.setdefault(inner, value + (1 if inner == "minimum" else -1) if whole else value)
                if not whole:
                    self._drop(place, keyword)
            case _ if keyword in _KEPT.get(kind, ()):
                made[keyword] = value
            case _:
                self._drop(place, keyword)

    def _values(self, made: JsonObject, values: Sequence[Any], notes: list[str], place: str) -> None:
        """Write an enum, or tell of it in the description: the service takes texts alone, and no empty one."""
        if None in values:
            made["nullable"] = True
        some = [value for value in values if value is not None]
        if some and made["type"] == "STRING" and all(isinstance(value, str) and value for value in some):
            made["enum"] = some
        elif some:
            notes.append(f"(one of: {', '.join(to_json(value).decode() for value in some)})")
            self._drop(place, "enum")

    def _object(self, made: JsonObject, schema: Mapping[str, Any], place: str) -> None:
        properties: Any = schema.get("properties")
        if not is_mapping(properties) or not properties:
            return
        made["properties"] = {name: self.write(one, f"{place}.{name}" if place else name) for name, one in properties.items()}
        made["propertyOrdering"] = list(properties)
        required: Any = schema.get("required")
        known = [name for name in (required if is_sequence(required) else ()) if name in properties]
        if known:
            made["required"] = known

    def _array(self, made: JsonObject, schema: Mapping[str, Any], place: str) -> None:
        firsts: Any = schema.get("prefixItems")
        if not is_sequence(firsts) or not firsts:
            made["items"] = self.write(schema.get("items"), f"{place}[]")
            return
        self._drop(place, "prefixItems")
        rest = [schema["items"]] if is_mapping(schema.get("items")) else []
        made["items"] = self.write({"anyOf": [*firsts, *rest]}, f"{place}[]")

    def _drop(self, place: str, *keywords: str) -> None:
        self.dropped += [f"{place}: {keyword}" if place else keyword for keyword in keywords]


def _members(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what a schema is any of: the schema itself where it is no union."""
    union: Any = schema.get("anyOf", schema.get("oneOf"))
    kinds: Any = schema.get("type")
    values: Any = schema.get("enum")
    if is_sequence(union) and union and "properties" not in schema:
        yield from (member if is_mapping(member) else {} for member in union)
    elif is_sequence(kinds):
        yield from ({**_for_kind(schema, str(kind)), "type": kind} for kind in kinds)
    elif "type" not in schema and is_array(values) and len(groups := _by_kind(values)) > 1:
        yield from ({**schema, "type": kind, "enum": some} for kind, some in groups.items())
    else:
        yield schema


def _for_kind(schema: Mapping[str, Any], kind: str) -> JsonObject:
    """Return a schema of several types for one of them: its values, and no description, which is the union's."""
    made = {key: value for key, value in schema.items() if key != "description"}
    if is_array(schema.get("enum")):
        fitting = {kind, "integer"} if kind == "number" else {kind}
        made["enum"] = [value for value in schema["enum"] if _type_of(value) in fitting]
    return made


def _union(made: Sequence[JsonObject], description: str) -> JsonObject:
    """Return any of these, described; that they may be null is said of the first."""
    some = [one for one in made if one is not _NULL] or [_NULL]
    first = {**some[0], "nullable": True} if len(some) < len(made) else some[0]
    whole = first if len(some) == 1 else {"anyOf": [first, *some[1:]]}
    return _described(whole, description)


def _described(schema: JsonObject, description: object) -> JsonObject:
    """Describe a schema; nothing may stand beside ``anyOf``, so there its first member says it."""
    if not isinstance(description, str) or not description:
        return schema
    if "anyOf" in schema:
        first, *rest = schema["anyOf"]
        return {"anyOf": [_described(first, description), *rest]}
    own = schema.get("description", "")
    return {**schema, "description": f"{description} {own}".strip() if own != description else own}


def _anything() -> JsonObject:
    """Return the widest schema there is; an array would have to say of what."""
    return {"anyOf": [{"type": kind} for kind in ("STRING", "NUMBER", "BOOLEAN", "OBJECT")]}


def _add(made: JsonObject, part: Mapping[str, Any]) -> None:
    """Add one part of an ``allOf`` to what the others said."""
    for keyword, value in part.items():
        if keyword == "properties":
            made[keyword] = {**value, **made.get(keyword, {})}
        elif keyword == "required":
            made[keyword] = [*made.get(keyword, ()), *value]
        else:
            made.setdefault(keyword, value)


def _kind(schema: Mapping[str, Any]) -> str | None:
    """Return the type in the service's word; None where it may be anything."""
    if "type" in schema:
        return _KINDS.get(str(schema["type"]))
    values: Any = [schema["const"]] if "const" in schema else schema.get("enum")
    if is_array(values) and len(groups := _by_kind(values)) == 1:
        return _KINDS.get(next(iter(groups)))
    for keyword, kind in (("properties", "OBJECT"), ("items", "ARRAY"), ("prefixItems", "ARRAY"), ("pattern", "STRING")):
        if keyword in schema:
            return kind
    return None


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null" or ("const" in schema and schema["const"] is None) or schema.get("enum") == [None]


def _by_kind(values: Iterable[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for value in values:
        groups.setdefault(_type_of(value), []).append(value)
    return groups


def _type_of(value: object) -> str:
    kinds: Mapping[type, str] = {
        type(None): "null",
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
    }
    return kinds.get(type(value), "object")
