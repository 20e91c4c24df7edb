"""JSON Schema as the grammar of llama.cpp's tool calls takes it.

llama.cpp makes a grammar of a tool's schema with a converter of its own (not with llguidance, which its Python package uses
for response formats only). What the converter does not know it skips in silence; it refuses a boolean schema, an empty enum and
a reference it cannot follow; and it misreads `allOf`. So what is sent is what has been seen to be enforced, and polycall's own
check of the arguments sees to the rest.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from polycall import _dialect_llamacpp_values as values

__all__ = ["grammar_schema"]

_ANNOTATIONS = frozenset({"title", "description", "default", "examples"})
_UNNOTED = frozenset(
    {"$defs", "definitions", "$schema", "$id", "$anchor", "$comment", "deprecated", "readOnly", "writeOnly"}
    | {"discriminator", "x-guidance"}
)
_UNIONS = ("anyOf", "oneOf")
_DEEPEST_REFERENCE = 8
_DEEPEST_MERGE = 4


def grammar_schema(schema: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Rewrite a tool's parameter schema to what llama.cpp enforces while the model writes.

    Strings and arrays without an upper bound get one, exclusive bounds of integers become inclusive ones, ``allOf`` is merged,
    and what is referred to is gathered under ``$defs`` with plain names.

    Returns:
        The schema to send, and the JSON pointers of the constraints that it lacks.
    """
    rewriter = _Rewriter(schema)
    sent = rewriter.rewrite(rewriter.resolved(schema) or schema, "#")
    definitions = rewriter.definitions()
    return sent | ({"$defs": definitions} if definitions else {}), tuple(dict.fromkeys(rewriter.dropped))


class _Rewriter:
    """One run over one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.dropped: list[str] = []
        self._document = document
        self._names: dict[str, str] = {}

    def definitions(self) -> dict[str, Any]:
        """Rewrite every schema that was referred to, and what those refer to in turn."""
        found: dict[str, Any] = {}
        while len(found) < len(self._names):
            for pointer, name in list(self._names.items()):
                if name not in found:
                    found[name] = self.rewrite(_target(self._document, pointer), pointer)
        return found

    def rewrite(self, schema: object, path: str) -> dict[str, Any]:
        """Return what can be sent of the schema at `path`."""
        given = values.mapping(schema)
        if given is None:
            self.dropped += [] if schema is True else [path]
            return {}
        given = self._merged(given, path)
        kept = self._reference(given) or self._union(given, path) or _exact(given) or self._typed(given, path)
        for key in given:
            if key not in _ANNOTATIONS | _UNNOTED and not _is_said(key, given, kept):
                self.dropped.append(f"{path}/{_escaped(key)}")
        return {key: given[key] for key in given if key in _ANNOTATIONS} | kept

    def resolved(self, schema: object) -> dict[str, Any] | None:
        """Follow a schema that is only a reference to what it stands for; None where that leads nowhere."""
        for _ in range(_DEEPEST_REFERENCE):
            found = values.mapping(schema)
            if found is None or "$ref" not in found:
                return found
            schema = _target(self._document, found["$ref"])
        return None

    def _merged(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        """Fold the members of ``allOf`` into the schema; where two disagree the first one stays."""
        members = values.items(schema.get("allOf"))
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        if len(members) == 1 and (only := values.mapping(members[0])) is not None and "$ref" in only:
            return only | merged
        for index, member in enumerate(members):
            here = f"{path}/allOf/{index}"
            # A member may lead back to itself.
            flat = self.resolved(member) if here.count("/allOf/") <= _DEEPEST_MERGE else None
            if flat is None:
                self.dropped.append(here)
                continue
            for key, value in self._merged(flat, here).items():
                if not _fold(merged, key, value):
                    self.dropped.append(f"{here}/{_escaped(key)}")
        return merged

    def _reference(self, schema: dict[str, Any]) -> dict[str, Any]:
        pointer = schema.get("$ref")
        if not isinstance(pointer, str) or self.resolved(schema) is None:
            return {}
        if _comes_back(self._document, _target(self._document, pointer), pointer):
            return {}
        if pointer not in self._names:
            plain = re.sub(r"\W", "_", pointer.removeprefix("#/$defs/"), flags=re.ASCII)
            name, number = plain, 2
            while name in self._names.values():
                name, number = f"{plain}_{number}", number + 1
            self._names[pointer] = name
        return {"$ref": f"#/$defs/{self._names[pointer]}"}

    def _union(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        for key in _UNIONS:
            if members := values.items(schema.get(key)):
                return {key: [self.rewrite(member, f"{path}/{key}/{index}") for index, member in enumerate(members)]}
        return {}

    def _typed(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        allowed = values.types(schema)
        kept: dict[str, Any] = {"type": allowed[0] if len(allowed) == 1 else allowed} if allowed else {}
        if "string" in allowed:
            kept |= values.string(schema)
        if "integer" in allowed and "number" not in allowed:
            kept |= values.integer(schema)
        if "array" in allowed:
            kept |= self._array(schema, path)
        if "object" in allowed:
            kept |= self._object(schema, path)
        return kept

    def _array(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        kept = values.array_bounds(schema)
        first = values.items(schema.get("prefixItems")) or values.items(schema.get("items"))
        if first and kept["maxItems"] >= len(first):
            members = [self.rewrite(member, f"{path}/prefixItems/{index}") for index, member in enumerate(first)]
            return {"prefixItems": members, "minItems": len(members), "maxItems": len(members)}
        if values.mapping(schema.get("items")) is not None:
            kept["items"] = self.rewrite(schema["items"], f"{path}/items")
        return kept

    def _object(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        properties = values.mapping(schema.get("properties"))
        if properties is not None:
            kept["properties"] = {
                name: self.rewrite(value, f"{path}/properties/{_escaped(name)}") for name, value in properties.items()
            }
            required = [name for name in values.items(schema.get("required")) if isinstance(name, str) and name in properties]
            kept |= {"required": required} if required else {}
        others = schema.get("additionalProperties")
        if isinstance(others, bool):
            kept["additionalProperties"] = others
        elif values.mapping(others) is not None:
            kept["additionalProperties"] = self.rewrite(others, f"{path}/additionalProperties")
        return kept


def _exact(schema: dict[str, Any]) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": schema["type"]} if values.types(schema) == [schema.get("type")] else {}
    if "const" in schema:
        return kind | {"const": schema["const"]}
    choices = values.items(schema.get("enum"))
    return kind | {"enum": choices} if choices else {}


def _is_said(key: str, schema: dict[str, Any], kept: dict[str, Any]) -> bool:
    """Whether what is sent says what `key` says, in the same words or in others."""
    if key == "type":
        return len(kept) > 0
    if key == "items" and "prefixItems" in kept:
        return schema[key] is False or isinstance(schema[key], list)
    if key in {"items", "additionalProperties"} and schema[key] is True:
        return True
    if key == "required":
        return "properties" in kept
    word = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}.get(key, key)
    return word in kept


def _fold(schema: dict[str, Any], key: str, value: object) -> bool:
    """Take a keyword of an ``allOf`` member into `schema`; False where it already says something else."""
    mine = schema.setdefault(key, value)
    if key == "properties":
        schema[key] = (values.mapping(value) or {}) | (values.mapping(mine) or {})
    elif key == "required":
        names = [name for name in (*values.items(mine), *values.items(value)) if isinstance(name, str)]
        schema[key] = list(dict.fromkeys(names))
    return key in {"properties", "required"} or key in _ANNOTATIONS or mine == value


def _target(document: object, pointer: object) -> object:
    """Return what a reference names, None where there is no such thing in this document."""
    if not isinstance(pointer, str) or not re.match(r"#(/|$)", pointer):
        return None
    found = document
    for step in pointer.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        listed = values.items(found)
        is_index = name.isdecimal() and int(name) < len(listed)
        found = listed[int(name)] if is_index else (values.mapping(found) or {}).get(name)
    return found


def _comes_back(document: object, schema: object, pointer: str) -> bool:
    """Whether a schema leads to `pointer` without a property or an item between, which no grammar can say."""
    seen: set[str] = set()
    waiting = [schema]
    while waiting:
        here = values.mapping(waiting.pop()) or {}
        waiting += [member for key in (*_UNIONS, "allOf") for member in values.items(here.get(key))]
        following = here.get("$ref")
        if following == pointer:
            return True
        if isinstance(following, str) and following not in seen:
            seen.add(following)
            waiting.append(_target(document, following))
    return False


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
