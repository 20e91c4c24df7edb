"""The strict dialect of OpenAI, which others take as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from polycall._dialects import Dialected
from polycall._schema import alternatives
from polycall.types import JsonObject, is_array, is_mapping, is_object, is_sequence

__all__ = ["openai_strict", "take_out_nulls"]


_KEPT: Final = frozenset({
    "type", "enum", "const", "title", "description", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minItems", "maxItems",
})  # fmt: skip
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_UNSAYABLE: Final = frozenset({
    "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "propertyNames",
    "prefixItems", "unevaluatedProperties", "unevaluatedItems", "contains",
})  # fmt: skip
_MOST_PROPERTIES: Final = 5_000
_MANY_REASONS: Final = 100
_MOST_SCHEMAS: Final = 20_000
_MOST_LEVELS: Final = 10
_MOST_VALUES: Final = 1_000
_MOST_CHARACTERS: Final = 120_000
_MANY_VALUES: Final = 250
_MOST_IN_ONE_ENUM: Final = 15_000
_DEFINITION: Final = "#/$defs/"


def openai_strict(schema: Mapping[str, Any]) -> Dialected:
    """Put an object schema into the strict dialect of OpenAI.

    Every property is required there and every object closed; a property that may be left out becomes nullable instead.

    Source: OpenAI's guide to structured outputs, "Supported schemas"; the SDK's own `pydantic_function_tool` leaves defaults and
    open objects in, which the service refuses.
    """
    writer = _Strict(schema)
    made = writer.write(schema, "", level=0)
    if "$defs" in schema:
        made["$defs"] = {name: writer.write(value, f"$defs.{name}", level=0) for name, value in schema["$defs"].items()}
    writer.limits(made)
    if writer.refused:
        return Dialected(schema, tuple(writer.refused))
    return Dialected(made, (), tuple(writer.dropped))


class _Nullable(dict[str, Any]):
    """The schema of a field that may be left out, made nullable because the dialect requires every field.

    Attributes:
        default: What the field is when it is left out, None where the schema does not show it.
    """

    __slots__ = ("default",)

    def __init__(self, schema: Mapping[str, Any], default: object) -> None:
        super().__init__(schema)
        self.default = default


def take_out_nulls(value: Any, schema: Mapping[str, Any]) -> bool:
    """Take the fields out of ``value`` whose null means "left out"; return whether there were any.

    Args:
        value: What the model sent.
        schema: What `openai_strict` made of the tool's schema.
    """
    return _take_out(value, [schema], schema)


def _take_out(value: Any, schemas: Iterable[Mapping[str, Any]], root: Mapping[str, Any]) -> bool:
    """Do so where ``value`` may be described by any of several schemas."""
    branches = alternatives(schemas, root)
    if is_array(value):
        items = [branch["items"] for branch in branches if "items" in branch]
        changed = [_take_out(one, items, root) for one in value]
        return any(changed)
    if not is_object(value):
        return False
    objects = [branch["properties"] for branch in branches if "properties" in branch]
    fields = min((one for one in objects if _fits(value, one, root)), key=len, default=None)
    if fields is None:
        return False
    left_out = [name for name in value if value[name] is None and isinstance(fields[name], _Nullable)]
    for name in left_out:
        if len(objects) > 1 and fields[name].default is not None:
            value[name] = fields[name].default  # the fields say which member of the union this is, so it has to stay
        else:
            del value[name]
    changed = [_take_out(one, [fields[name]], root) for name, one in value.items() if name not in left_out]
    return bool(left_out) or any(changed)


def _fits(value: Mapping[str, Any], fields: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether an object is one with these fields: strict objects are closed, so their names tell, and constants and nulls do."""
    for name, one in value.items():
        schema = fields.get(name)
        if schema is None or (one is None and not _takes_null(schema, root)):
            return False
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        if allowed is not None and one not in allowed:
            return False
    return True


class _Strict:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.refused: list[str] = []
        self.dropped: list[str] = []
        self._inlining: set[str] = set()
        self._written = 0

    def write(self, schema: Any, place: str, *, level: int) -> JsonObject:
        self._written += 1
        if self._written > _MOST_SCHEMAS:
            return self._refuse("", "is larger than the strict dialect allows")
        if is_mapping(schema) and "$ref" in schema:
            return self._reference(schema, place, level)
        if not is_mapping(schema) or level > _MOST_LEVELS:
            return self._refuse(
                place, f"is nested more than {_MOST_LEVELS} levels deep" if is_mapping(schema) else "allows any value"
            )
        made: JsonObject = {}
        for keyword, value in schema.items():
            self._keyword(made, keyword, value, place, level)
        kinds = made.get("type", "object" if "properties" in schema else None)
        if "object" in (kinds if is_sequence(kinds) else (kinds,)):
            made.setdefault("type", "object")
            self._close(made, schema, place, level)
        self._judge(made, schema, place)
        return made

    def _judge(self, made: JsonObject, schema: Mapping[str, Any], place: str) -> None:
        """Refuse what no keyword by itself is wrong with."""
        kinds = made.get("type")
        if "array" in (kinds if is_sequence(kinds) else (kinds,)) and "items" not in made:
            self._refuse(place, "is an array of anything")
        if not made.keys() & {"type", "anyOf", "enum", "const"}:
            self._refuse(place, "allows any value")
        if not place and "anyOf" in made:
            self._refuse(place, "is a union at its top")
        if "oneOf" in schema and "anyOf" in schema:
            self._refuse(place, "uses oneOf beside anyOf")
        members = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
        objects = [one for one in alternatives(members, self.root) if "properties" in one]
        if len(objects) > 1 and not all(map(_shows_defaults, objects)):
            self._refuse(place, "is a union, and one of its members leaves fields out whose default the schema does not show")

    def _keyword(self, made: JsonObject, keyword: str, value: Any, place: str, level: int) -> None:
        match keyword:
            case "items":
                made[keyword] = self.write(value, f"{place}[]", level=level + 1)
            case "anyOf" | "oneOf":
                made["anyOf"] = [self.write(one, f"{place}|{number}", level=level) for number, one in enumerate(value)]
            case "properties" | "required" | "additionalProperties" | "$defs" | "discriminator" | "default":
                pass  # `_close` sees to them; a discriminator and a default say nothing that must be checked
            case "pattern" if "(?" not in value.replace("(?:", ""):
                made[keyword] = value
            case "format" if value in _FORMATS:
                made[keyword] = value
            case _ if keyword in _KEPT:
                made[keyword] = value
            case _ if keyword in _UNSAYABLE:
                self._refuse(place, f"uses {keyword}")
            case _:
                self.dropped.append(f"{place}: {keyword}" if place else keyword)

    def _close(self, made: JsonObject, schema: Mapping[str, Any], place: str, level: int) -> None:
        if schema.get("additionalProperties", False) is not False:
            self._refuse(place, "allows any key")
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        if set(required) - set(properties):
            self._refuse(place, "requires a key that it does not describe")
        made["properties"] = {
            name: self._property(value, f"{place}.{name}" if place else name, level, required=name in required)
            for name, value in properties.items()
        }
        made["required"] = list(properties)
        made["additionalProperties"] = False

    def _property(self, schema: Any, place: str, level: int, *, required: bool) -> JsonObject:
        made = self.write(schema, place, level=level + 1)
        if required or _takes_null(made, self.root):
            return made
        note = {"description": made.pop("description")} if "description" in made else {}
        branches = made["anyOf"] if made.keys() == {"anyOf"} else [made]
        return _Nullable({"anyOf": [*branches, {"type": "null"}], **note}, schema.get("default"))

    def _reference(self, schema: Mapping[str, Any], place: str, level: int) -> JsonObject:
        """Keep a reference, or put the definition in its place where it has neighbours, which the dialect does not take."""
        reference = schema["$ref"]
        target = self.root.get("$defs", {}).get(reference.removeprefix(_DEFINITION))
        if reference != "#" and (not reference.startswith(_DEFINITION) or target is None):
            return self._refuse(place, f"refers to {reference!r}")
        neighbours = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        if not neighbours.keys() - {"default"}:
            return {"$ref": reference}
        if reference == "#" or reference in self._inlining:  # a type that holds itself: the neighbours have to go
            self.dropped += [f"{place}: {keyword}" for keyword in neighbours]
            return {"$ref": reference}
        self._inlining.add(reference)
        made = self.write({**target, **neighbours}, place, level=level)
        self._inlining.discard(reference)
        return made

    def limits(self, schema: JsonObject) -> None:
        properties = values = characters = 0
        for one in _subschemas(schema):
            if len(one.get("enum", ())) > _MANY_VALUES and sum(len(str(value)) for value in one["enum"]) > _MOST_IN_ONE_ENUM:
                self._refuse("", "has an enum that is larger than the strict dialect allows")
            names = [*one.get("properties", {}), *one.get("$defs", {})]
            texts = [str(value) for value in (*one.get("enum", ()), one.get("const", ""))]
            properties += len(one.get("properties", {}))
            values += len(one.get("enum", ()))
            characters += sum(map(len, names)) + sum(map(len, texts))
        if properties > _MOST_PROPERTIES or values > _MOST_VALUES or characters > _MOST_CHARACTERS:
            self._refuse("", "is larger than the strict dialect allows")

    def _refuse(self, place: str, reason: str) -> JsonObject:
        if len(self.refused) < _MANY_REASONS:
            self.refused.append(f"{place or 'the schema'} {reason}")
        return {"type": "null"}


def _shows_defaults(schema: Mapping[str, Any]) -> bool:
    """Whether every field that may be left out could be written instead: its null, taken out, would lose the union's member."""
    optional = (field for name, field in schema["properties"].items() if name not in schema.get("required", ()))
    return all(field.get("default") is not None or _takes_null(field, {}) for field in optional)


def _takes_null(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether null is a value of a field itself."""
    for one in alternatives([schema], root):
        kinds = one.get("type")
        if kinds == "null" or (is_sequence(kinds) and "null" in kinds):
            return True
        if None in one.get("enum", (one.get("const", ""),)):
            return True
    return False


def _subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    if is_mapping(schema):
        yield schema
        for keyword, value in schema.items():
            if keyword in {"properties", "$defs"}:
                for one in value.values():
                    yield from _subschemas(one)
            elif keyword not in {"enum", "const"}:
                yield from _subschemas(value)
    elif is_array(schema):
        for one in schema:
            yield from _subschemas(one)
