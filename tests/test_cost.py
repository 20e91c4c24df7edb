"""Inputs that could cost time or text without bound: they are counted, not timed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Union

import pytest
from pydantic import BaseModel, Field

import polycall
from polycall import _schema
from polycall._dialect_openai import openai_strict
from polycall._tools import toolset
from support_tools import check


class And(BaseModel):
    left: Expression
    right: Expression


class Or(BaseModel):
    left: Expression
    right: Expression


class Number(BaseModel):
    value: int


Expression = Annotated[Union[And, Or, Number], Field(union_mode="left_to_right")]  # noqa: UP007  # made before its members
And.model_rebuild()
Or.model_rebuild()


class Root(BaseModel):
    expression: Expression


def nested(depth: int) -> dict:
    deep: dict = {"value": 1.0}
    for _ in range(depth):
        deep = {"left": deep, "right": {"value": 2}}
    return {"expression": deep}


def calls_made(function, *names: str) -> int:
    """Count the calls of functions by name while `function` runs."""
    made = 0

    def profile(frame, event, _):
        nonlocal made
        made += event == "call" and frame.f_code.co_name in names

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return made


def test_unions_of_look_alikes_are_walked_once_a_value():
    schema = toolset(Iterable[Root]).schemas[0].schema
    counts = [
        calls_made(lambda depth=depth: _schema.with_integers(nested(depth), schema), "_with_integers", "_could_be")
        for depth in (10, 20, 40)
    ]
    assert counts[2] - counts[1] <= 2.2 * (counts[1] - counts[0])
    settled = _schema.with_integers(nested(3), schema)
    assert json.dumps(settled) == json.dumps(nested(3)).replace("1.0", "1")


def test_a_schema_that_unfolds_without_end_is_refused_by_the_strict_dialect():
    levels = 12
    definitions = {
        f"L{level}": {
            "type": "object",
            "properties": {
                f"p{n}": {"$ref": f"#/$defs/L{level + 1}", "description": f"number {n}"} if level < levels else {"type": "string"}
                for n in range(8)
            },
            "required": [f"p{n}" for n in range(8)],
        }
        for level in range(levels + 1)
    }
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/L0"}}, "required": ["a"], "$defs": definitions}
    dialected = openai_strict(schema)
    assert dialected.refused
    assert len(dialected.refused) <= 100
    assert dialected.schema is schema


def test_definitions_that_lead_to_each_other_twice_are_followed_once():
    definitions: dict = {f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"$ref": f"#/$defs/D{n + 1}"}]} for n in range(30)}
    definitions["D30"] = {"type": "integer"}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/D0"}}, "required": ["a"], "$defs": definitions}
    call = check(polycall.Tool("t", schema=schema), {"a": 1.0})
    assert call.value == {"a": 1}
    assert len(_schema.alternatives([schema["properties"]["a"]], schema)) == 92


class Many(BaseModel):
    numbers: list[int]


@pytest.mark.parametrize(("count", "told"), [(9, 9), (100, 10), (5_000, 1)])
def test_texts_of_errors_are_short_however_much_is_wrong(count, told):
    error = check(Many, {"numbers": ["x"] * count}).error
    assert isinstance(error, polycall.InvalidArgumentsError)
    assert len(str(error)) < 1_000
    assert str(error).count("valid integer") == (told if count < 1_000 else 0)
    assert str(count) in str(error) or f"{count - told} more" in str(error) or count == told
    assert len(error.problems) == (count if count < 1_000 else 1)


def test_an_integer_that_a_float_cannot_hold_is_not_guessed():
    class Big(BaseModel):
        n: int

    assert check(Big, '{"n": 9007199254740991.0}').value.n == 2**53 - 1
    assert check(Big, '{"n": 9007199254740992.0}').outcome == "invalid"  # or was it ...993.0?
    assert check(Big, '{"n": 1e23}').outcome == "invalid"
