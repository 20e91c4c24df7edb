"""The schemas that Vertex AI takes as ``parameters``."""

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue
from tests.support.recorded import TESTS

from polycall._dialect_vertexai import vertexai_schema
from polycall._schema import canonical

SPEC = json.loads((TESTS / "spec" / "vertex_aiplatform_v1beta1.json").read_bytes())
VALIDATOR = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/GoogleCloudAiplatformV1beta1Schema"})
ANYTHING = {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}, {"type": "BOOLEAN"}, {"type": "OBJECT"}]}


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Leaf(BaseModel):
    kind: Literal["leaf"]
    node: Node | None = None


class Branch(BaseModel):
    kind: Literal["branch"]
    leaves: list[Leaf]


def field(annotation, **more):
    """Return what becomes of one field, and what was dropped of it."""
    schema = type("Model", (BaseModel,), {"__annotations__": {"f": Annotated[annotation, Field(**more)]}}).model_json_schema()
    made = vertexai_schema(canonical(schema, "Model"))
    check(made.schema)
    return made.schema["properties"]["f"], made.dropped


def check(schema):
    """Assert what the service asks for, in every part of a schema."""
    assert not [error.message for error in VALIDATOR.iter_errors(schema)]
    if "anyOf" in schema:
        assert list(schema) == ["anyOf"]
        assert len(schema["anyOf"]) > 1
        assert not any("anyOf" in member for member in schema["anyOf"])
    else:
        assert schema["type"] in {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}
        assert (schema["type"] == "ARRAY") == ("items" in schema)
    assert "enum" not in schema or (schema["type"] == "STRING" and schema["enum"] and all(schema["enum"]))
    assert set(schema.get("required", ())) <= set(schema.get("properties", ()))
    for inner in (
        *schema.get("anyOf", ()),
        *schema.get("properties", {}).values(),
        *([schema["items"]] if "items" in schema else ()),
    ):
        check(inner)


@pytest.mark.parametrize(
    ("annotation", "expected", "dropped"),
    [
        (str, {"type": "STRING"}, ()),
        (Literal["a", "b"], {"type": "STRING", "enum": ["a", "b"]}, ()),
        (Literal["a"], {"type": "STRING", "enum": ["a"]}, ()),
        (Literal["", "a"], {"type": "STRING", "description": '(one of: "", "a")'}, ("f: enum",)),
        (Literal["a"] | None, {"type": "STRING", "enum": ["a"], "nullable": True}, ()),
        (Literal[1, 2], {"type": "INTEGER", "description": "(one of: 1, 2)"}, ("f: enum",)),
        (Level, {"type": "INTEGER", "description": "(one of: 1, 2)"}, ("f: enum",)),
        (Literal[True], {"type": "BOOLEAN", "description": "(one of: true)"}, ("f: enum",)),
        (str | None, {"type": "STRING", "nullable": True}, ()),
        (None, {"type": "STRING", "nullable": True}, ()),
        (int | str, {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]}, ()),
        (int | str | None, {"anyOf": [{"type": "INTEGER", "nullable": True}, {"type": "STRING"}]}, ()),
        (Annotated[int, Field(gt=0, lt=9)], {"type": "INTEGER", "minimum": 1, "maximum": 8}, ()),
        (Annotated[float, Field(gt=0)], {"type": "NUMBER", "minimum": 0}, ("f: exclusiveMinimum",)),
        (Annotated[int, Field(multiple_of=2)], {"type": "INTEGER"}, ("f: multipleOf",)),
        (Annotated[str, Field(min_length=1, pattern="^a")], {"type": "STRING", "minLength": 1, "pattern": "^a"}, ()),
        (dt.datetime, {"type": "STRING", "format": "date-time"}, ()),
        (dt.date, {"type": "STRING", "description": "(format: date)"}, ("f: format",)),
        (Annotated[list[int], Field(max_length=3)], {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": 3}, ()),
        (dict[str, int], {"type": "OBJECT"}, ("f: additionalProperties",)),
        (Any, ANYTHING, ("f: arrays",)),
        (JsonValue, ANYTHING, ("f: arrays",)),
        (
            tuple[int, int],
            {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": 2, "maxItems": 2},
            ("f: prefixItems",),
        ),
    ],
    ids=str,
)
def test_kinds(annotation, expected, dropped):
    assert field(annotation) == (expected, dropped)


def test_descriptions_beside_a_union():
    made, _ = field(int | Leaf, description="Which one.")
    assert made["anyOf"][0] == {"type": "INTEGER", "description": "Which one."}
    assert field(str | None, description="Who.")[0] == {"type": "STRING", "nullable": True, "description": "Who."}


def test_references_are_put_in_their_places():
    made, dropped = field(Leaf | Branch, discriminator="kind")
    kinds = [member["properties"]["kind"]["enum"] for member in made["anyOf"]]
    assert kinds == [["leaf"], ["branch"]]
    leaf = made["anyOf"][1]["properties"]["leaves"]["items"]
    assert leaf == made["anyOf"][0]
    node = {"name": {"type": "STRING"}, "children": {"type": "ARRAY", "items": {"type": "OBJECT"}}}
    assert leaf["properties"]["node"]["properties"] == node
    assert leaf["properties"]["node"]["nullable"] is True
    assert all("children[]" in one for one in dropped)
    assert len(dropped) == 2


def test_recursive_tool():
    made = vertexai_schema(canonical(Node.model_json_schema(), "Node"))
    check(made.schema)
    again = made.schema["properties"]["children"]["items"]
    assert again["properties"]["children"]["items"] == {"type": "OBJECT"}
    root = vertexai_schema({"type": "object", "properties": {"me": {"$ref": "#"}, "n": {"type": "integer"}}})
    assert root.schema["properties"]["me"] == {"type": "OBJECT"}


def test_what_only_hand_written_schemas_have():
    schema = {
        "type": "object",
        "required": ["a", "unknown"],
        "properties": {
            "a": {"type": ["string", "integer", "null"], "enum": ["x", 1, None], "description": "A."},
            "b": {"allOf": [{"$ref": "#/$defs/B"}, {"properties": {"q": {"type": "number"}}, "required": ["q"]}]},
            "c": {"oneOf": [{"const": 1}, {"const": "one"}]},
            "d": {"enum": ["x", 2]},
            "e": {"not": {"type": "string"}},
            "f": {"$ref": "#/$defs/Missing"},
            "g": True,
            "h": {"type": "array"},
            "i": {"type": "string", "pattern": "(?=a)"},
        },
        "$defs": {"B": {"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"]}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    before = json.dumps(schema)
    made = vertexai_schema(schema)
    check(made.schema)
    assert json.dumps(schema) == before
    fields = made.schema["properties"]
    assert fields["a"]["anyOf"][0] == {"type": "STRING", "enum": ["x"], "nullable": True, "description": "A."}
    assert fields["b"]["required"] == ["q", "p"] or fields["b"]["required"] == ["p", "q"]
    assert set(fields["b"]["properties"]) == {"p", "q"}
    assert [member["type"] for member in fields["c"]["anyOf"]] == ["INTEGER", "STRING"]
    assert [member["type"] for member in fields["d"]["anyOf"]] == ["STRING", "INTEGER"]
    assert fields["e"] == fields["f"] == fields["g"] == ANYTHING
    assert made.schema["required"] == ["a"]
    assert {"anyOf", "e: not", "f: $ref #/$defs/Missing", "i: pattern"} <= set(made.dropped)


def test_definitions_that_go_on_for_ever():
    defs = {
        "List": {"type": "array", "items": {"$ref": "#/$defs/List"}},
        "Any": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Any"}]},
        "All": {"allOf": [{"type": "object"}, {"$ref": "#/$defs/All"}]},
    }
    made = vertexai_schema({"type": "object", "properties": {name: {"$ref": f"#/$defs/{name}"} for name in defs}, "$defs": defs})
    check(made.schema)
    fields = made.schema["properties"]
    assert fields["List"]["items"] == {"type": "ARRAY", "items": {"type": "OBJECT"}}
    assert fields["Any"]["anyOf"][0] == {"type": "STRING"}
    assert fields["All"] == ANYTHING
    assert made.dropped == ("List[]: what is inside", "Any|1: what is inside", "All: what is inside")


@pytest.mark.parametrize("values", [[], [None, None]])
def test_enum_of_nothing(values):
    made = vertexai_schema({"type": "object", "properties": {"a": {"type": "string", "enum": values}}})
    check(made.schema)


def test_size_is_bounded():
    inner = {f"D{i}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/D{i + 1}"} for k in "abc"}} for i in range(60)}
    made = vertexai_schema(
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": {**inner, "D60": {"type": "string"}}}
    )
    assert len(json.dumps(made.schema)) < 200_000
    deep = {"type": "string"}
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    made = vertexai_schema({"type": "object", "properties": {"a": deep}})
    check(made.schema)


KEYWORDS = st.sampled_from(["a", "b", "$x", "type", "items"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2) | st.floats(-2, 2)
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "number", "integer", "boolean", "null", "array", "object", ["string", "null"]]),
            "enum": st.lists(SCALARS, max_size=3),
            "const": SCALARS,
            "$ref": st.sampled_from(["#", "#/$defs/A", "#/$defs/B", "#/$defs/Missing"]),
            "description": st.just("d"),
            "format": st.sampled_from(["date", "date-time", "int32"]),
            "minimum": st.integers(0, 3),
            "exclusiveMaximum": st.floats(0, 3),
            "pattern": st.just("a"),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["array", "object", ["array", "null"]]),
            "properties": st.dictionaries(KEYWORDS, inner, max_size=3),
            "required": st.lists(KEYWORDS, max_size=2),
            "items": inner,
            "prefixItems": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "additionalProperties": inner,
        },
    ),
    max_leaves=8,
)


@given(st.dictionaries(KEYWORDS, SCHEMAS, max_size=3), SCHEMAS, SCHEMAS)
def test_any_schema(properties, one, other):
    schema = {"type": "object", "properties": properties, "$defs": {"A": one, "B": other}}
    before = json.dumps(schema)
    made = vertexai_schema(schema)
    check(made.schema)
    assert made.schema["type"] == "OBJECT"
    assert json.dumps(schema) == before
    assert vertexai_schema(schema).schema == made.schema


def test_list_of_types_without_values():
    made = vertexai_schema({"type": "object", "properties": {"a": {"type": ["string", "integer", "null"]}}})
    assert made.schema["properties"]["a"] == {"anyOf": [{"type": "STRING", "nullable": True}, {"type": "INTEGER"}]}
    assert made.dropped == ()
