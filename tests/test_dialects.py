"""OpenAI's strict dialect: its rules hold, nothing is lost in silence, and whatever the sent schema accepts is accepted."""

import copy
import enum
import json
import string
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import count
from types import NoneType
from typing import Annotated, Any, Literal

import jsonschema_rs
import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from pydantic import BaseModel, ConfigDict, Field

from polycall import Tool
from polycall._dialect_openai import openai_strict
from polycall._dialects import Dialected
from support_tools import check, offer


class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


# ---------------------------------------------------------------------------------------------------------- the rules

FORBIDDEN = {
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "oneOf",
    "default",
    "prefixItems",
    "uniqueItems",
}


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    assert isinstance(schema, dict), "a schema of the dialect is an object"
    yield schema
    for keyword in ("properties", "$defs"):
        for one in schema.get(keyword, {}).values():
            yield from subschemas(one)
    for one in schema.get("anyOf", ()):
        yield from subschemas(one)
    if "items" in schema:
        yield from subschemas(schema["items"])


def depth(schema: Mapping[str, Any], level: int = 0) -> int:
    inside = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    beside = [*schema.get("anyOf", ()), *schema.get("$defs", {}).values()]
    return max([level, *(depth(one, level + 1) for one in inside), *(depth(one, level) for one in beside)])


def assert_strict(schema: Any) -> None:
    assert schema["type"] == "object"
    assert "anyOf" not in schema
    assert depth(schema) <= 10
    characters = 0
    for one in subschemas(schema):
        assert not FORBIDDEN & one.keys()
        assert one.keys() & {"type", "anyOf", "enum", "const", "$ref"}, "says nothing"
        kinds = one.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if "object" in kinds:
            assert one["additionalProperties"] is False
            assert one["required"] == list(one["properties"])
        else:
            assert not one.keys() & {"properties", "required", "additionalProperties"}
        if "array" in kinds:
            assert "items" in one
        if "$ref" in one:
            assert one.keys() == {"$ref"}
            if one["$ref"] != "#":
                assert one["$ref"].removeprefix("#/$defs/") in schema["$defs"]
        characters += sum(map(len, [*one.get("properties", {}), *map(str, one.get("enum", ()))]))
    assert characters <= 120_000
    jsonschema_rs.validator_for(schema)


# ------------------------------------------------------------------------------------------- models of every kind, drawn

NAMES = ["a", "b", "c", "kind", "properties", "required", "items", "type", "anyOf", "model_x", "x y"]
IDENTIFIERS = [name for name in NAMES if name.isidentifier()]


class Tree(BaseModel):
    value: int
    left: "Tree | None" = None
    others: list["Tree"] = []


class Flat(BaseModel):
    a: int = 1
    b: str = "b"


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: float
    level: Level = Level.LOW


DEFAULTS: dict[Any, Any] = {int: 7, str: "text", float: 1.5, bool: True, Flat: Flat()}
plain = st.sampled_from([
    int,
    float,
    str,
    bool,
    NoneType,
    Unit,
    Level,
    Literal["a", "b"],
    Literal[1],
    Literal["a", 1],
    Tree,
    Flat,
    Closed,
    Annotated[int, Field(ge=0, le=9)],
    Annotated[float, Field(gt=0, lt=9)],
    Annotated[int, Field(multiple_of=3)],
    Annotated[Flat, Field(description="beside a reference")],
])  # fmt: skip
refused = st.sampled_from([Any, dict[str, int], tuple[int, str], list[Any], object])
kinds = st.recursive(
    plain,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: Annotated[list[kind], Field(min_length=1, max_length=3)]),
        inner.map(lambda kind: kind | None),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
    ),
    max_leaves=3,
)


@st.composite
def models(draw: Any, fields: Any, level: int = 0) -> type[BaseModel]:
    """Draw a model, whose fields may be models."""
    definitions: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(IDENTIFIERS), max_size=3, unique=True)):
        inner = models(fields, level + 1)
        either = st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1])
        kind = draw(st.one_of(fields, fields, inner, either, either.map(lambda kind: list[kind])) if level < 1 else fields)
        alias = draw(st.sampled_from([None, None, None, "x y", "$ref"]))
        if alias in {one.validation_alias for _, one in definitions.values()}:
            alias = None
        options: dict[str, Any] = {"validation_alias": alias} if alias else {}
        if draw(st.booleans()):
            options |= {"default": DEFAULTS.get(kind), "description": draw(st.sampled_from([None, "d"]))}
        field = Field(**options)
        definitions[name] = (kind, field)
    return pydantic.create_model(draw(st.sampled_from(["M", "N", "O"])), **definitions)


def is_strict(model: type[BaseModel]) -> Dialected:
    dialected = openai_strict(offer(model).schema.schema)
    assume(not dialected.refused)
    return dialected


@settings(max_examples=50)
@given(models(st.one_of(kinds, refused)))
def test_a_strict_schema_obeys_the_rules(model):
    canonical = offer(model).schema.schema
    before = copy.deepcopy(canonical)
    dialected = openai_strict(canonical)
    assert canonical == before, "the canonical schema is shared and never changed"
    if dialected.refused:
        assert dialected.schema is canonical
        assert all(dialected.refused)
    else:
        assert_strict(dialected.schema)


def values(schema: Mapping[str, Any], root: Mapping[str, Any], level: int = 0) -> st.SearchStrategy[Any]:
    """Draw what a strict schema accepts; the deeper, the shorter."""
    if "$ref" in schema:
        return st.deferred(lambda: values(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, level + 1))
    if "anyOf" in schema:
        branches = sorted(schema["anyOf"], key=lambda one: one.get("type") != "null")
        return st.one_of([values(one, root, level + 1) for one in (branches if level < 8 else branches[:1])])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if schema["type"] == "object":
        return st.fixed_dictionaries({name: values(one, root, level) for name, one in schema["properties"].items()})
    if schema["type"] == "array":
        fewest = schema.get("minItems", 0)
        most = schema.get("maxItems", 3) if level < 8 else fewest
        return st.lists(values(schema["items"], root, level + 2), min_size=fewest, max_size=most)
    whole = st.integers(schema.get("minimum", 0), schema.get("maximum", 9)).map(lambda one: one * schema.get("multipleOf", 1))
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "integer": whole | whole.map(float),
        "number": st.sampled_from([1, 2.0, 2.5]),
        "string": st.text(string.printable + "é🌧", max_size=3),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return scalars[schema["type"]]


@settings(max_examples=50)
@given(st.data())
def test_what_the_sent_schema_accepts_is_accepted(data):
    model = data.draw(models(kinds))
    dialected = is_strict(model)
    arguments = data.draw(values(dialected.schema, dialected.schema))
    assert jsonschema_rs.is_valid(dialected.schema, arguments), "the value is drawn wrongly"
    call = check(model, arguments, sent_strict=True)
    assert call.error is None, (json.dumps(dialected.schema), call.error.problems)
    assert nothing_is_lost(call.value, arguments), (json.dumps(dialected.schema), call.value)


def nothing_is_lost(value: Any, given: Any) -> bool:
    """Whether every key that was given is a field of the value, and every value that was given is there, null for left out."""
    if isinstance(given, dict):
        if not isinstance(value, BaseModel):
            return False
        names = {field.validation_alias or name: name for name, field in type(value).model_fields.items()}
        return all(
            key in names and (one is None or nothing_is_lost(getattr(value, names[key]), one)) for key, one in given.items()
        )
    if isinstance(given, list):
        return isinstance(value, list) and all(map(nothing_is_lost, value, given)) and len(value) == len(given)
    return (value.value if isinstance(value, enum.Enum) else value) == given


@settings(max_examples=50)
@given(st.data())
def test_canonical_values_are_accepted_whatever_was_sent(data):
    """Models may leave fields out although the dialect requires them: then they take their defaults."""
    model = data.draw(models(kinds))
    dialected = is_strict(model)
    arguments = data.draw(values(dialected.schema, dialected.schema))
    for name, field in model.model_fields.items():
        alias = field.validation_alias or name
        if not field.is_required() and arguments[alias] is None:
            del arguments[alias]
    call = check(model, arguments, sent_strict=True)
    assert call.error is None, (json.dumps(dialected.schema), call.error.problems)


# ---------------------------------------------------------------------------------------------------------- one by one


class Place(BaseModel):
    """Somewhere."""

    city: str = Field(description="its name", max_length=20)


class Trip(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    to: Place = Field(description="where to")
    stops: list[Place] = []
    days: Annotated[int, Field(ge=1)] = 3
    unit: Unit | None = None
    note: str = Field("", description="anything", pattern="^(?=a).*$")
    code: str = Field("", pattern="^(?:a|b)$")


def test_a_whole_schema_in_the_dialect():
    dialected = openai_strict(offer(Trip).schema.schema)
    assert dialected.schema == snapshot(
        {
            "type": "object",
            "properties": {
                "to": {
                    "description": "where to",
                    "title": "Place",
                    "type": "object",
                    "properties": {"city": {"description": "its name", "type": "string"}},
                    "required": ["city"],
                    "additionalProperties": False,
                },
                "stops": {
                    "anyOf": [
                        {"items": {"$ref": "#/$defs/Place"}, "type": "array"},
                        {"type": "null"},
                    ]
                },
                "days": {"anyOf": [{"minimum": 1, "type": "integer"}, {"type": "null"}]},
                "unit": {"anyOf": [{"$ref": "#/$defs/Unit"}, {"type": "null"}]},
                "note": {
                    "anyOf": [{"type": "string"}, {"type": "null"}],
                    "description": "anything",
                },
                "code": {"anyOf": [{"pattern": "^(?:a|b)$", "type": "string"}, {"type": "null"}]},
            },
            "required": ["to", "stops", "days", "unit", "note", "code"],
            "additionalProperties": False,
            "$defs": {
                "Place": {
                    "description": "Somewhere.",
                    "title": "Place",
                    "type": "object",
                    "properties": {"city": {"description": "its name", "type": "string"}},
                    "required": ["city"],
                    "additionalProperties": False,
                },
                "Unit": {"enum": ["metric", "imperial"], "title": "Unit", "type": "string"},
            },
        }
    )
    assert dialected.refused == ()
    assert dialected.dropped == snapshot(("to.city: maxLength", "note: pattern", "$defs.Place.city: maxLength"))


def test_what_is_dropped_is_still_checked():
    full = {"to": {"city": "Oslo"}, "stops": None, "days": None, "unit": None, "note": None, "code": None}
    assert check(Trip, full, sent_strict=True).value == Trip(to=Place(city="Oslo"))
    assert check(Trip, {**full, "note": "b"}, sent_strict=True).error.problems[0].field == "note"
    assert check(Trip, {**full, "to": {"city": "x" * 21}}, sent_strict=True).error.problems[0].field == "to.city"


def test_a_recursive_type_beside_a_description():
    class Node(BaseModel):
        name: str
        next: "Node | None" = Field(None, description="the next one")
        same: "Node" = Field(None, description="again")  # a reference with a neighbour, inside itself

    dialected = openai_strict(offer(Node).schema.schema)
    assert_strict(dialected.schema)
    inner = {"name": "b", "next": None, "same": None}
    call = check(Node, {"name": "a", "next": inner, "same": inner}, sent_strict=True)
    assert call.value.next.name == call.value.same.name == "b"
    assert any("description" in one for one in dialected.dropped)


REFUSED = [
    (pydantic.create_model("M", v=(Any, ...)), "v allows any value"),
    (pydantic.create_model("M", v=(dict[str, int], ...)), "v allows any key"),
    (pydantic.create_model("M", v=(dict, ...)), "v allows any key"),
    (pydantic.create_model("M", v=(tuple[int, str], ...)), "v uses prefixItems"),
    (pydantic.create_model("M", v=(list[Any], ...)), "v[] allows any value"),
    (pydantic.create_model("M", v=(list[dict[str, int]], ...)), "v[] allows any key"),
    (pydantic.create_model("M", v=(dict[str, int] | int, ...)), "v|0 allows any key"),
    (pydantic.create_model("M", __config__=ConfigDict(extra="allow"), v=(int, ...)), "the schema allows any key"),
]


@pytest.mark.parametrize(("model", "reason"), REFUSED, ids=count())
def test_models_that_the_dialect_cannot_say(model, reason):
    schema = offer(model).schema.schema
    dialected = openai_strict(schema)
    assert reason in dialected.refused
    assert dialected.schema is schema


OBJECT = {"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]}
SAID = [
    {"v": {"type": ["object", "null"], "properties": {"k": {"type": "integer"}}}},
    {"v": {"properties": {"k": {"type": "integer"}}}},
    {"v": {"type": ["string", "null"]}},
    {"v": {"enum": [1, None]}},
    {"v": {"const": None}},
    {"v": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    {"v": {"type": ["array", "null"], "items": {"type": "string"}}},
    {"v": {"oneOf": [{"type": "integer"}, {"type": "string"}]}},
    {"v": {"anyOf": [OBJECT, {"type": "null"}], "description": "d"}},
    {"v": {"type": "string", "format": "date"}},
    {"v": {"type": "string", "format": "binary", "contentMediaType": "x", "examples": ["a"]}},
    {"v": {"type": "integer", "exclusiveMinimum": 0, "multipleOf": 2}},
    {"v": {"type": "object"}},
    {
        "pattern": {"type": "string"},
        "required": {"type": "string"},
        "$ref": {"type": "string"},
        "properties": {"type": "integer"},
    },
    {"v": {"type": "array", "items": {"$ref": "#"}}},
    {"v": {"$ref": "#"}},
]
UNSAID = [
    ({"v": True}, "v allows any value"),
    ({"v": {}}, "v allows any value"),
    ({"v": {"description": "d", "title": "t", "default": 1}}, "v allows any value"),
    ({"v": {"type": "array"}}, "v is an array of anything"),
    ({"v": {"type": ["array", "null"]}}, "v is an array of anything"),
    ({"v": {"type": "array", "items": True}}, "v[] allows any value"),
    ({"v": {"allOf": [{"type": "integer"}]}}, "v uses allOf"),
    ({"v": {"type": "integer", "not": {"const": 1}}}, "v uses not"),
    ({"v": {"type": "object", "additionalProperties": {"type": "integer"}}}, "v allows any key"),
    ({"v": {"type": "object", "patternProperties": {"^a": {}}}}, "v uses patternProperties"),
    ({"v": {"type": "object", "properties": {}, "required": ["k"]}}, "v requires a key that it does not describe"),
    ({"v": {"oneOf": [{"type": "integer"}], "anyOf": [{"type": "integer"}]}}, "v uses oneOf beside anyOf"),
    ({"a": {"type": "integer"}, "v": {"$ref": "#/properties/a"}}, "v refers to '#/properties/a'"),
    ({"v": {"type": "string", "enum": [f"{number:0100}" for number in range(251)]}}, "enum"),
    ({"v": {"enum": list(range(1001))}}, "larger than the strict dialect allows"),
    ({f"{number}": {"type": "integer"} for number in range(5001)}, "larger than the strict dialect allows"),
    ({"x" * 120_001: {"type": "integer"}}, "larger than the strict dialect allows"),
    ({"v": {"const": "x" * 120_000}}, "larger than the strict dialect allows"),
]


@pytest.mark.parametrize("properties", SAID, ids=count())
@pytest.mark.parametrize("required", [True, False])
def test_schemas_that_the_dialect_can_say(properties, required):
    schema = {"type": "object", "properties": properties, "required": list(properties) if required else []}
    before = copy.deepcopy(schema)
    dialected = openai_strict(offer(Tool("t", schema=schema)).schema.schema)
    assert dialected.refused == ()
    assert_strict(dialected.schema)
    assert schema == before
    arguments: dict[str, Any] = dict.fromkeys(properties)
    if not required:
        assert check(Tool("t", schema=schema), arguments, sent_strict=True).value.keys() <= set(properties)


@pytest.mark.parametrize(("properties", "reason"), UNSAID, ids=count())
def test_schemas_that_the_dialect_cannot_say(properties, reason):
    schema = offer(Tool("t", schema={"type": "object", "properties": properties})).schema.schema
    dialected = openai_strict(schema)
    assert reason in "; ".join(dialected.refused)
    assert dialected.schema is schema


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"anyOf": [OBJECT, OBJECT]}, "union at its top"),
        ({"oneOf": [OBJECT, OBJECT]}, "union at its top"),
        ({"properties": {"k": {"type": "integer"}}, "anyOf": [{"required": ["k"]}]}, "union at its top"),
        ({"additionalProperties": True}, "the schema allows any key"),
        ({"if": OBJECT, "then": OBJECT}, "the schema uses if"),
        ({"properties": {"v": {"$ref": "#a"}}, "$defs": {"X": {"$anchor": "a", "type": "integer"}}}, "v refers to '#a'"),
    ],
    ids=count(),
)
def test_whole_schemas_that_the_dialect_cannot_say(top, reason):
    dialected = openai_strict(offer(Tool("t", schema={"type": "object", **top})).schema.schema)
    assert reason in "; ".join(dialected.refused)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    return schema


def test_ten_levels_and_no_more():
    assert openai_strict(nested(10)).refused == ()
    assert "nested more than 10 levels deep" in "; ".join(openai_strict(nested(11)).refused)


def test_a_number_of_enum_values_at_the_limit():
    def at(values: int, length: int) -> Dialected:
        names = [f"{number:0{length}}" for number in range(values)]
        return openai_strict({"type": "object", "properties": {"v": {"type": "string", "enum": names}}})

    assert at(250, 100).refused == ()
    assert at(251, 59).refused == ()
    assert at(251, 60).refused
    assert at(1000, 4).refused == ()


def test_null_stays_null_where_a_literal_takes_it():
    class M(BaseModel):
        v: Literal["a"] | None = "a"
        x: Literal["a", None] = "a"  # noqa: PYI061
        w: int | None = 5

    call = check(M, {"v": None, "w": None, "x": None}, sent_strict=True)
    assert call.value == M(v=None, w=None, x=None)


def test_an_object_that_the_sent_schema_does_not_accept_is_left_as_it_is():
    class Either(BaseModel):
        v: Flat | Closed

    assert check(Either, {"v": {"a": 1, "other": None}}, sent_strict=True).value == Either(v=Flat(a=1))
    assert check(Either, {"v": {"other": None, "level": None}}, sent_strict=True).value == Either(v=Flat())
    assert check(Either, {"v": [None], "other": 1}, sent_strict=True).outcome == "invalid"


def test_a_whole_number_beside_a_bounded_float():
    class M(BaseModel):
        v: int | Annotated[float, Field(gt=0)]

    values = [check(M, {"v": given}, sent_strict=True).value.v for given in (0.0, 1.0, 0.5, -3)]
    assert values == [0, 1, 0.5, -3]


def test_a_decimal_may_be_a_number_or_a_text():
    class M(BaseModel):
        v: Decimal

    assert [check(M, {"v": value}, sent_strict=True).value.v for value in ("1.10", 1)] == [Decimal("1.10"), Decimal(1)]
