"""JSON Schemas as Ollama's own API takes them.

Sources: `Tool`, `ToolProperty` in Ollama's ``api/types.go``: of a field it reads type, anyOf, items, description, enum and
properties, and no reference; `Tool` in the ollama SDK, which keeps less: of a field type, items, description and enum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

from polycall._dialect_optional import without_null
from polycall._dialects import Dialected
from polycall.types import JsonObject, is_array, is_mapping, is_sequence

__all__ = ["flat_schema", "plain_schema"]

_DEFINITION: Final = "#/$defs/"
_SILENT: Final = frozenset({"title", "default", "discriminator"})
_OF_TOP: Final = frozenset({"type", "properties", "required", "items", "$defs"})
_OF_FIELD: Final = frozenset({"type", "items", "description", "enum"})
_READ: Final = _OF_FIELD | {"anyOf", "properties", "required"}
_MOST_SCHEMAS: Final = 2_000
_LONGEST_NOTE: Final = 2_000


def plain_schema(schema: Mapping[str, Any]) -> Dialected:
    """Put every definition in the place of its references, and write what the server does not read in words that it does.

    A type that holds itself stays a reference within itself. What the server does not read is sent all the same: other versions
    may, and services that speak its API.
    """
    writer = _Plain(schema)
    made = writer.write(schema)
    if writer.recursive:
        made["$defs"] = schema["$defs"]
    else:
        made.pop("$defs", None)
    return Dialected(made, dropped=tuple(_unread(made, _OF_TOP)))


def flat_schema(made: Mapping[str, Any]) -> Dialected:
    """Say of each field what the SDK lets through; the schema of a field that it would cut stands in the field's description.

    Args:
        made: What `plain_schema` made.
    """
    dropped = [keyword for keyword in made if keyword not in _OF_TOP | _SILENT and not _is_closed(keyword, made[keyword])]
    fields: JsonObject = {}
    for name, field in made.get("properties", {}).items():
        fields[name], lost = _flat(field)
        dropped += [f"{name}: {keyword}" for keyword in lost]
    kept = {keyword: made[keyword] for keyword in ("type", "$defs", "required") if keyword in made}
    return Dialected({**kept, "properties": fields}, dropped=tuple(dropped))


def _unread(schema: Mapping[str, Any], known: frozenset[str], place: str = "") -> Iterator[str]:
    """Name the keywords that the server does not read; what is in ``items`` it hands on to the model's template as it is."""
    yield from (f"{place}{keyword}" for keyword in schema if keyword not in known and not _is_closed(keyword, schema[keyword]))
    fields: Any = schema.get("properties")
    inner = list(fields.items()) if is_mapping(fields) else []
    branches: Any = schema.get("anyOf")
    if known is _READ and is_sequence(branches):
        inner += [("anyOf", branch) for branch in branches]
    for name, field in inner:
        if is_mapping(field):
            yield from _unread(field, _READ, f"{place}{name}: ")


def _is_closed(keyword: str, value: object) -> bool:
    """Whether a keyword says only that there are no other fields."""
    return keyword == "additionalProperties" and value is False


class _Plain:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.recursive = False
        self._inlining: list[str] = []
        self._written = 0

    def write(self, schema: Any) -> Any:
        self._written += 1
        if not is_mapping(schema):
            return {} if schema is True else {"not": {}} if schema is False else schema
        if "$ref" in schema:
            return self._reference(schema)
        made: JsonObject = {}
        for keyword, value in schema.items():
            match keyword:
                case "properties" if is_mapping(value):
                    needed = schema.get("required", ())
                    made[keyword] = {name: self._field(field, required=name in needed) for name, field in value.items()}
                case "items" | "additionalProperties" if is_mapping(value):
                    made[keyword] = self.write(value)
                case "anyOf" | "oneOf" if is_sequence(value):
                    made["anyOf"] = [*made.get("anyOf", ()), *map(self.write, value)]
                case "const":
                    made["enum"] = [value]
                case _ if keyword not in _SILENT:
                    made[keyword] = value
                case _:
                    pass
        return made

    def _field(self, schema: Any, *, required: bool) -> Any:
        return self.write(schema if required or not is_mapping(schema) else without_null(schema))

    def _reference(self, schema: Mapping[str, Any]) -> Any:
        reference = str(schema["$ref"])
        target = self.root if reference == "#" else self.root.get("$defs", {}).get(reference.removeprefix(_DEFINITION))
        if not is_mapping(target) or reference in self._inlining or reference == "#" or self._written > _MOST_SCHEMAS:
            self.recursive = self.recursive or "$defs" in self.root
            return {**schema}
        self._inlining.append(reference)
        made = self.write({**target, **{keyword: value for keyword, value in schema.items() if keyword != "$ref"}})
        self._inlining.pop()
        return made


def _flat(field: Mapping[str, Any]) -> tuple[JsonObject, list[str]]:
    """Return a field as the SDK lets it through, and the keywords that are lost on it."""
    branches = field.get("anyOf")
    if is_array(branches) and all(is_mapping(one) and not one.keys() - {"type", "enum", "description"} for one in branches):
        field = _united(field, branches)
    lost = [keyword for keyword in field if keyword not in _OF_FIELD and not _is_closed(keyword, field[keyword])]
    made = {keyword: value for keyword, value in field.items() if keyword in _OF_FIELD}
    if lost:
        made.setdefault("type", _kinds(field))
        note = to_json({keyword: value for keyword, value in field.items() if keyword != "description"}).decode()
        if len(note) <= _LONGEST_NOTE:
            made["description"] = f"{field.get('description', '')} JSON Schema: {note}".strip()
    return {keyword: value for keyword, value in made.items() if value is not None}, lost


def _united(field: Mapping[str, Any], branches: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a union of plain types as one field with several types."""
    kinds = _kinds(field)
    rest = {keyword: value for keyword, value in field.items() if keyword != "anyOf"}
    values = [value for one in branches for value in one.get("enum", (None,) if one.get("type") == "null" else ())]
    limited = all("enum" in one or one.get("type") == "null" for one in branches)
    return {**rest, **({} if kinds is None else {"type": kinds}), **({"enum": values} if limited and values else {})}


def _kinds(field: Mapping[str, Any]) -> Any:
    """Return the types of a field: one, several, or None where it does not say."""
    if "type" in field or not is_array(field.get("anyOf")):
        return field.get("type")
    kinds = list(dict.fromkeys(kind for one in field["anyOf"] if is_mapping(one) for kind in _listed(one.get("type"))))
    return None if not kinds else kinds[0] if len(kinds) == 1 else kinds


def _listed(kind: Any) -> list[Any]:
    return list(kind) if is_sequence(kind) else [] if kind is None else [kind]
