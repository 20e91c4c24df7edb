"""What `grammar_schema` keeps is in force while the real model writes; what it cannot say it names."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import warnings
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import BaseModel, Field, TypeAdapter

from polycall._dialect_llamacpp import grammar_schema
from polycall._dialect_llamacpp_pattern import grammar_pattern

LURE = "Call f once, with the value ZZZZZZZZZZZZ and the number 900."


def forced(whole, value, definitions=None, lure=LURE):
    """Return the value the model gives when it must call a tool whose one parameter has this schema."""
    schema = {"type": "object", "properties": {"value": value}, "required": ["value"], "$defs": definitions or {}}
    parameters, _ = grammar_schema(schema)
    tool = {"type": "function", "function": {"name": "f", "description": "Do it.", "parameters": parameters}}
    body = {"messages": [{"role": "user", "content": lure}], "tools": [tool], "tool_choice": "required", "max_tokens": 150}
    document = whole(json.dumps(body).encode())
    return json.loads(document["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])["value"]


def test_the_lure_works_where_nothing_is_in_force(whole):
    assert forced(whole, {"type": "string"}) == "ZZZZZZZZZZZZ"
    assert forced(whole, {"type": "integer"}) == 900


BRANCH = {"type": "object", "properties": {"leaf": {"const": 1}, "next": {"$ref": "#/$defs/Branch"}}, "required": ["leaf"]}
IN_FORCE = [
    {"enum": ["blue", "red"]},
    {"enum": [7, None]},
    {"const": {"a": [1, None]}},
    {"type": "boolean"},
    {"type": "null"},
    {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    {"oneOf": [{"const": "k"}, {"type": "integer", "maximum": 5}]},
    {"type": ["boolean", "null"]},
    {"type": ["string", "null"], "maxLength": 2},
    {"type": "integer", "minimum": 5000},
    {"type": "integer", "maximum": 7},
    {"type": "integer", "exclusiveMinimum": 5000},
    {"type": "integer", "exclusiveMaximum": -3.5},
    {"type": "integer", "minimum": -20, "maximum": -10},
    {"type": "string", "minLength": 20, "maxLength": 22},
    {"type": "string", "maxLength": 3},
    {"type": "string", "pattern": "^[A-Y]{3}-[0-9]{2}$"},
    {"type": "string", "pattern": r"^\d{2}\.\w+$"},
    {"type": "string", "pattern": "^[^Y]{3,9}$"},
    {"type": "string", "pattern": r'^a"b\\c\n$'},
    {"type": "string", "pattern": "^20"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "email", "maxLength": 4, "pattern": "^a@b$"},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    {"type": "array", "items": {"const": 3}, "maxItems": 2},
    {"type": "array", "prefixItems": [{"const": 1}, {"const": "k"}], "minItems": 2, "maxItems": 2},
    {"type": "array", "prefixItems": [{"const": 1}], "items": False},
    {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False},
    {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False},
    {"type": "object", "properties": {'größe "x"\n': {"const": 1}}, "required": ['größe "x"\n']},
    {"type": "object", "properties": {}, "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "boolean"}},
    {"allOf": [{"type": "integer"}, {"minimum": 5000}]},
    {"allOf": [{"$ref": "#/$defs/Colour"}], "description": "A colour."},
    {"$ref": "#/$defs/Colour"},
    {"$ref": "#/$defs/a~1b%20c"},
    {"$ref": "#/$defs/Branch"},
    {"type": "array", "items": {"$ref": "#/$defs/Colour"}, "minItems": 1, "maxItems": 2},
    {"properties": {"a": {"const": 1}}, "required": ["a"]},
]  # fmt: skip


@pytest.mark.parametrize("schema", IN_FORCE, ids=json.dumps)
def test_what_is_kept_is_in_force(whole, schema):
    definitions = {"Colour": {"enum": ["red", "green"]}, "Branch": BRANCH, "a/b c": {"const": "yes"}}
    value = forced(whole, schema, definitions)
    assert jsonschema_rs.is_valid(schema | {"$defs": definitions}, value), value


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Stop(BaseModel):
    city: str = Field(max_length=4)
    nights: int = Field(ge=2, le=3)


class Trip(BaseModel):
    stops: list[Stop] = Field(min_length=2, max_length=2)
    colour: Colour
    payment: Literal["card", "cash"] | None = None
    pair: tuple[int, Literal["k"]]
    code: Annotated[str, Field(pattern="^[A-C]{2}$")]
    day: date


def test_a_pydantic_model_all_at_once(whole):
    value = forced(whole, Trip.model_json_schema() | {"$defs": None}, Trip.model_json_schema()["$defs"])
    Trip.model_validate_json(json.dumps(value))


@pytest.mark.parametrize("kind", [date, datetime, time, UUID, Decimal, Colour, int | None, dict[str, int], set[int], float])
def test_types_of_pydantic_are_sent_without_loss_or_the_loss_is_named(kind):
    sent, dropped = grammar_schema(TypeAdapter(kind).json_schema())
    assert sent
    known = {set[int]: ("#/uniqueItems",)}
    if "(?!" in json.dumps(TypeAdapter(kind).json_schema()):  # pydantic before 2.14 has a pattern for Decimal that looks ahead
        known[Decimal] = ("#/anyOf/1/pattern",)
    assert dropped == known.get(kind, ())


@pytest.mark.parametrize(
    ("schema", "sent", "dropped"),
    [
        ({"type": "number", "minimum": 3, "multipleOf": 2}, {"type": "number"}, ["#/minimum", "#/multipleOf"]),
        ({"type": "string", "format": "uri"}, {"type": "string", "maxLength": 1000}, ["#/format"]),
        ({"type": "string", "pattern": "^(?!x)"}, {"type": "string", "maxLength": 1000}, ["#/pattern"]),
        ({"type": "string", "pattern": "^a$", "maxLength": 9}, {"type": "string", "pattern": "^a$"}, ["#/maxLength"]),
        ({"type": "integer", "not": {"const": 3}, "if": {}, "then": {}}, {"type": "integer"}, ["#/not", "#/if", "#/then"]),
        ({"type": "array", "contains": {}, "maxItems": 2}, {"type": "array", "maxItems": 2}, ["#/contains"]),
        ({"type": "object", "patternProperties": {"^a": {}}}, {"type": "object"}, ["#/patternProperties"]),
        ({"type": "integer", "minimum": 5, "maximum": 3}, {"type": "integer"}, ["#/minimum", "#/maximum"]),
        ({"type": "string", "minLength": 5, "maxLength": 3}, {"type": "string", "maxLength": 1000}, ["#/minLength"]),
        ({"type": "array", "items": True}, {"type": "array", "maxItems": 64}, []),
        ({"type": "foo", "enum": []}, {}, ["#/type", "#/enum"]),
        ({"$ref": "https://example.com/x.json"}, {}, ["#/$ref"]),
        ({"$ref": "#/$defs/Missing", "$defs": {}}, {}, ["#/$ref"]),
        ({"anyOf": [{"type": "integer"}, False], "maximum": 3}, {"anyOf": [{"type": "integer"}, {}]}, ["#/anyOf/1", "#/maximum"]),
        ({"properties": {"a/b": {"not": {}}}}, {"type": "object", "properties": {"a/b": {}}}, ["#/properties/a~1b/not"]),
        ({"allOf": [{"type": "integer"}, {"type": "string"}]}, {"type": "integer"}, ["#/allOf/1/type"]),
        ({"type": "integer", "x-guidance": {}, "$comment": "c", "title": "T"}, {"title": "T", "type": "integer"}, []),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_named(schema, sent, dropped):
    assert grammar_schema(schema) == (sent, tuple(dropped))


def test_references_are_gathered_under_plain_names_and_circles_are_cut():
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/definitions/x y"}, "c": {"$ref": "#/$defs/Loop"}},
        "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}, "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}]}},
        "definitions": {"x y": {"type": "boolean"}},
    }
    sent, dropped = grammar_schema(schema)
    assert sent["$defs"] == {
        "A": {"type": "array", "maxItems": 64, "items": {"$ref": "#/$defs/A"}},
        "__definitions_x_y": {"type": "boolean"},
    }
    assert dropped == ("#/properties/c/$ref",)


def test_a_reference_to_a_reference_is_gathered_too():
    chain = {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"items": {"$ref": "#/$defs/C"}}, "C": {"type": "null"}}
    sent, dropped = grammar_schema({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": chain})
    assert (list(sent["$defs"]), sent["$defs"]["C"], dropped) == (["A", "B", "C"], {"type": "null"}, ())


def test_definitions_that_differ_only_in_what_a_grammar_cannot_name_stay_apart():
    properties = {"a": {"$ref": "#/$defs/a-b"}, "b": {"$ref": "#/$defs/a b"}}
    schema = {"type": "object", "properties": properties, "$defs": {"a-b": {"const": 1}, "a b": {"const": 2}}}
    sent, _ = grammar_schema(schema)
    assert sent["$defs"] == {"a_b": {"const": 1}, "a_b_2": {"const": 2}}


CIRCLES = [
    ({"A": {"$ref": "#/$defs/A"}}, {}, None, ["#/properties/a/$ref"]),
    ({"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"anyOf": [{"$ref": "#/$defs/A"}]}}, {}, None, ["#/properties/a/$ref"]),
    (
        {"A": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]}, "B": {"anyOf": [{"$ref": "#/$defs/B"}]}},
        {"$ref": "#/$defs/A"},
        {"A": {"anyOf": [{}, {"type": "null"}]}},
        ["#/$defs/A/anyOf/0/$ref"],
    ),
    (
        {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"type": "null"}},
        {"$ref": "#/$defs/A"},
        {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"type": "null"}},
        [],
    ),
]


@pytest.mark.parametrize(("definitions", "sent", "gathered", "dropped"), CIRCLES)
def test_only_references_that_lead_to_themselves_are_cut(definitions, sent, gathered, dropped):
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": definitions}
    expected = {"type": "object", "properties": {"a": sent}} | ({"$defs": gathered} if gathered else {})
    assert grammar_schema(schema) == (expected, tuple(dropped))


def test_a_reference_that_leads_on_and_on_is_cut():
    chain = {str(number): {"$ref": f"#/$defs/{number + 1}"} for number in range(9)} | {"9": {"type": "null"}}
    sent, dropped = grammar_schema({"type": "object", "properties": {"a": {"$ref": "#/$defs/0"}}, "$defs": chain})
    assert (sent, dropped) == ({"type": "object", "properties": {"a": {}}}, ("#/properties/a/$ref",))


def test_a_recursive_model_has_its_properties_at_the_top():
    class Node(BaseModel):
        value: int
        following: Node | None = None

    sent, dropped = grammar_schema(Node.model_json_schema())
    assert (list(sent["properties"]), list(sent["$defs"]), dropped) == (["value", "following"], ["Node"], ())


def test_the_input_is_not_changed():
    schema = Trip.model_json_schema() | {"allOf": [{"properties": {"more": {"type": "integer"}}, "required": ["more"]}]}
    before = copy.deepcopy(schema)
    grammar_schema(schema)
    assert schema == before


@pytest.mark.parametrize(
    ("pattern", "rewritten"),
    [
        (r"^\d+(?:\.\d{2})?$", r"^[0-9]+(?:\.[0-9]{2})?$"),
        (r"^[\w.-]+@\S+$", r'^[0-9A-Z_a-z.\-]+@[^ "\\\x00-\x1F\x7F]+$'),
        ("^a+?b$", "^a+b$"),
        ("^b|c", r'^(?:b|c)[^"\\\x00-\x1F\x7F]{0,1000}$'),
        (r"^.x\$$", r'^[^"\\\x00-\x1F\x7F]x\$$'),
        (r'^[^a]"$', r'^[^a"\\\x00-\x1F\x7F]\\"$'),
        ("^[ -~]$", r"^[ -!#-\[\]-~]$"),
        (r"^[\^]$", r"^\^$"),
        (r"^\/\-\#$", "^/-#$"),
        *(
            (pattern, None)
            for pattern in ("x", r"^\bx", r'^["\n]$', "(?i)x", r"^(a)\1$", "(?<=a)b", "^a$|^b$", r"^[\S]$", "[", "^(?P<n>a)$")
        ),
    ],
)
def test_patterns(pattern, rewritten):
    assert grammar_pattern(pattern) == rewritten


pieces = some.sampled_from([*'ab^$.*+?|()[]{}/"- é', r"\d", r"\w", r"\s", "[a-c]", r"[^\d]", "(?:", "{2}", "{1,3}", r"\.", r"\\"])


@settings(max_examples=1000)
@given(pattern=some.lists(pieces, max_size=8).map(lambda parts: "^" + "".join(parts)), text=some.text('ab1./" \n\\', max_size=5))
def test_json_text_that_a_rewritten_pattern_takes_is_a_string_that_the_pattern_takes(pattern, text):
    rewritten = grammar_pattern(pattern)
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(re.error):
        matched = re.compile(pattern).search(text)
        assert matched or not (rewritten and re.fullmatch(rewritten[1:-1], json.dumps(text)[1:-1]))


def test_names_that_become_alike_stay_apart():
    names = ["a b", "a_b_2", "a-b", "a_b"]
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"$ref": f"#/$defs/{name}"} for n, name in enumerate(names)},
        "$defs": {name: {"type": "string", "maxLength": n + 1} for n, name in enumerate(names)},
    }
    sent, _ = grammar_schema(schema)
    lengths = [sent["$defs"][field["$ref"].rpartition("/")[2]]["maxLength"] for field in sent["properties"].values()]
    assert lengths == [1, 2, 3, 4]
