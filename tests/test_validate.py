"""What makes a call bad, what is said about it, and that nothing of the arguments is in what is said."""

import copy
import enum
import pickle
import traceback
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from polycall import Tool
from polycall._dialect_openai import openai_strict
from polycall._tools import toolset
from polycall._validate import Checking, validate
from polycall.errors import CutOffError, InvalidArgumentsError, UnknownToolError
from polycall.types import ToolCall
from support_tools import check, check_named


class Weather(BaseModel):
    city: str
    days: int = 1


class Search(BaseModel):
    query: str


class Empty(BaseModel):
    pass


# ---------------------------------------------------------------------------------------------------------- strict JSON


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"city": "Oslo"', "not valid JSON"),
        ("{'city': 'Oslo'}", "not valid JSON"),
        ('{"city": "Oslo",}', "not valid JSON"),
        ('{"city": "Oslo"} {"city": "Rome"}', "not valid JSON"),
        ('{"city": "Oslo"} // done', "not valid JSON"),
        ('{"city": "Os\nlo"}', "not valid JSON"),
        ('```json\n{"city": "Oslo"}\n```', "not valid JSON"),
        ('{"city": "Oslo", "days": NaN}', "not valid JSON"),
        ('{"city": "Oslo", "days": Infinity}', "not valid JSON"),
        ('{"city": "Oslo", "days": -Infinity}', "not valid JSON"),
        ('{"city": "Oslo", "days": 01}', "not valid JSON"),
        ('{"city": "\\ud800"}', "not valid JSON"),
        ('{"city": "\ud800"}', "a lone surrogate"),
        ('{"city": "a", "city": "b"}', "'city' is there twice"),
        ('{"city": "a", "other": 1, "other": 2}', "a key is there twice"),
        ('{"city": "a", "other": {"city": 1, "city": 2}}', "is there twice"),
        ('{"city": "a", "days": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[]", "a JSON array, not an object"),
        ('"Oslo"', "a JSON string, not an object"),
        ("3", "a JSON number, not an object"),
        ("3.5", "a JSON number, not an object"),
        ("true", "a JSON boolean, not an object"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("tool", [Weather, Tool("Weather")])
def test_arguments_that_are_no_json_object(text, reason, strict, tool):
    error = check(tool, text, strict=strict).error
    assert isinstance(error, InvalidArgumentsError)
    assert len(error.problems) == 1
    assert error.problems[0].field == ""
    assert "arguments are" in error.reason
    if not (tool is not Weather and "'city'" in reason):
        assert reason in error.reason
    assert error.arguments == text


@pytest.mark.parametrize("text", ["", "  ", "null", " null\n", "{}", " {} "])
def test_ways_to_write_no_arguments(text):
    assert check(Empty, text).value == Empty()
    assert check(Tool("t"), text).value == {}
    assert check(Weather, text).error.problems[0].field == "city"


def test_white_space_around_is_no_fault():
    assert check(Weather, '\n {"city": "Oslo"}\t').value == Weather(city="Oslo")


def test_escapes_are_read():
    assert check(Weather, '{"city": "\\u00d8stg\\u00e5rd \\ud83c\\udf27"}').value.city == "Østgård 🌧"


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
@pytest.mark.parametrize("kind", [float, Any])
def test_a_number_that_is_too_big_is_no_infinity(number, kind):
    model = pydantic.create_model("M", v=(kind, ...), n=(int, 1))
    assert check(model, f'{{"v": {number}}}').outcome == "invalid"
    assert check(model, f'{{"v": {number}, "n": 1.0}}').outcome == "invalid"


# -------------------------------------------------------------------------------------------------- tools and positions


def test_a_tool_that_was_not_offered():
    tools = toolset(Iterable[Weather | Search])
    call = check_named(tools, "weather", {"city": "Oslo"})
    assert (call.name, call.outcome) == ("weather", "unknown")
    assert isinstance(call.error, UnknownToolError)
    assert str(call.error) == "call 0 (weather): no such tool was offered; offered were: Weather, Search"


def test_a_call_that_names_no_tool():
    call = check_named(toolset(Iterable[Weather]), "", {})
    assert (call.outcome, call.error.reason) == ("unknown", "the call names no tool; offered were: Weather")


def test_a_tool_that_was_not_allowed_this_time():
    tools = toolset(Iterable[Weather | Search])
    call = check_named(tools, "Weather", {"city": "Oslo"}, allowed=frozenset({"Search"}))
    assert (call.outcome, call.error.reason) == ("unknown", "no such tool was offered; offered were: Search")
    assert check_named(tools, "Search", {"query": "x"}, allowed=frozenset({"Search"})).outcome == "ok"


def test_a_cut_call_keeps_what_arrived():
    tools = toolset(Iterable[Weather])
    call = validate(ToolCall(3, "id", "Weather", '{"city": "Os', "the token limit was reached"), Checking(tools))
    assert isinstance(call.error, CutOffError)
    assert (call.outcome, call.index, call.arguments, call.error.index) == ("cut off", 3, '{"city": "Os', 3)
    assert "the token limit was reached" in call.error.reason


def test_a_cut_call_of_an_unknown_tool_is_unknown():
    call = validate(ToolCall(0, None, "nope", "{", "cut"), Checking(toolset(Iterable[Weather])))
    assert call.outcome == "unknown"


def test_names_are_told_safely():
    call = check_named(toolset(Iterable[Weather]), "evil\nname" + "x" * 100, {})
    assert "\n" not in str(call.error)
    assert len(str(call.error)) < 200
    assert call.name.startswith("evil\nname")


# ------------------------------------------------------------------------------------------------------------- problems


class Stop(BaseModel):
    city: str
    nights: int


class Trip(BaseModel):
    stops: list[Stop]
    price: float
    by: dict[str, int] = {}


def test_every_bad_place_is_a_problem():
    error = check(Trip, {"stops": [{"city": "a", "nights": 1}, {"city": 2, "nights": "x"}], "price": "1"}).error
    assert [str(problem) for problem in error.problems] == [
        "stops.1.city: Input should be a valid string",
        "stops.1.nights: Input should be a valid integer",
        "price: Input should be a valid number",
    ]
    assert error.reason == "; ".join(str(problem) for problem in error.problems)
    assert str(error) == f"call 0 (Trip): {error.reason}"


def test_only_what_is_bad_is_a_problem():
    error = check(
        Trip, {"stops": [{"city": "a", "nights": 1.0}, {"city": "b", "nights": 1.5}], "price": 1, "by": {"x": 2.0}}
    ).error
    assert [problem.field for problem in error.problems] == ["stops.1.nights"]


def test_a_field_left_out_by_null_is_no_problem():
    error = check(Weather, {"city": 1, "days": None}, sent_strict=True).error
    assert [problem.field for problem in error.problems] == ["city"]


def test_the_cause_is_pydantics_error_without_the_arguments():
    error = check(Trip, {"stops": [], "price": "canary"}).error
    cause = error.__cause__
    assert isinstance(cause, ValidationError)
    assert [(line["loc"], line["type"], line["input"]) for line in cause.errors()] == [(("price",), "float_type", None)]
    assert cause.title == "Trip"
    assert "canary" not in f"{cause}{cause!r}{cause.json()}"


# ----------------------------------------------------------------------- nothing of the arguments in what is said about

CANARY = "canary7391"


class Colour(enum.Enum):
    RED = "{red}"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: str


def tag_of(value: Any) -> Any:
    return value.get("tag") if isinstance(value, dict) else None


class Tagged(BaseModel):
    tag: str


def refuse(error: Exception) -> Any:
    def validator(value: Any) -> Any:
        raise error

    return pydantic.BeforeValidator(validator)


def quote(kind: type[Exception]) -> Any:
    def validator(value: Any) -> Any:
        raise kind(f"never {value}")

    return pydantic.AfterValidator(validator)


def custom(value: Any) -> Any:
    raise PydanticCustomError("my_type", "never {value}", {"value": value})


def disguised(value: Any) -> Any:
    raise PydanticCustomError("int_type", "never {value}", {"value": value})


KINDS = {
    "int": (int, CANARY),
    "str": (str, [CANARY]),
    "bool": (bool, CANARY),
    "float": (float, CANARY),
    "date": ("datetime.date", CANARY),
    "datetime": ("datetime.datetime", f"2026-{CANARY}"),
    "time": ("datetime.time", CANARY),
    "timedelta": ("datetime.timedelta", CANARY),
    "aware": (AwareDatetime, CANARY),
    "uuid": ("uuid.UUID", CANARY),
    "decimal": ("decimal.Decimal", CANARY),
    "url": (AnyUrl, CANARY),
    "url scheme": (pydantic.HttpUrl, f"{CANARY}://x"),
    "url host": (pydantic.HttpUrl, f"http://[{CANARY}]"),
    "email-like pattern": (Annotated[str, Field(pattern="^a+$")], CANARY),
    "length": (Annotated[str, Field(max_length=3)], CANARY),
    "min length": (Annotated[str, Field(min_length=300)], CANARY),
    "list": (list[int], CANARY),
    "list item": (list[int], [1, CANARY]),
    "too many": (Annotated[list[str], Field(max_length=1)], [CANARY, CANARY]),
    "tuple": (tuple[int, int], [CANARY]),
    "set": (set[int], [CANARY]),
    "dict": (dict[str, int], CANARY),
    "dict value": (dict[str, int], {"a": CANARY}),
    "dict key": (dict[int, int], {CANARY: 1}),
    "value under a free key": (dict[str, int], {CANARY: "x"}),
    "value under a free key, nested": (dict[str, list[Stop]], {CANARY: [{"city": 1, "nights": 1}]}),
    "literal": (Literal["a", "b"], CANARY),
    "enum": (Colour, CANARY),
    "union": (int | bool, CANARY),
    "discriminated union": (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": CANARY}),
    "discriminated union without tag": (Annotated[Cat | Dog, Field(discriminator="kind")], {CANARY: 1}),
    "inside a discriminated union": (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cat", "lives": CANARY}),
    "callable discriminator": (
        Annotated[Annotated[Tagged, Tag("a")] | Annotated[Cat, Tag("b")], Discriminator(tag_of)],
        {"tag": CANARY},
    ),
    "model": (Weather, CANARY),
    "json": (Json[int], CANARY),
    "json value": (Json[int], f'"{CANARY}"'),
    "json text": (Json[Any], f'{{"{CANARY}'),
    "base64": (Base64Bytes, f"!{CANARY}"),
    "none": (None, CANARY),
    "multiple": (Annotated[int, Field(multiple_of=7391)], 739_173_917_391_1),
    "pattern": ("re.Pattern", f"({CANARY}"),
    "address": ("ipaddress.IPv4Address", CANARY),
    "complex": (complex, CANARY),
    "path": ("pathlib.Path", 7391),
    "value error": (Annotated[str, quote(ValueError)], CANARY),
    "assertion": (Annotated[str, quote(AssertionError)], CANARY),
    "key error": (Annotated[str, quote(KeyError)], CANARY),
    "type error": (Annotated[str, quote(TypeError)], CANARY),
    "recursion error": (Annotated[str, quote(RecursionError)], CANARY),
    "stop iteration": (Annotated[str, quote(StopIteration)], CANARY),
    "exception group": (Annotated[str, refuse(ExceptionGroup(CANARY, [ValueError(CANARY)]))], CANARY),
    "custom": (Annotated[str, pydantic.AfterValidator(custom)], CANARY),
    "custom in disguise": (Annotated[str, pydantic.AfterValidator(disguised)], CANARY),
}


def resolved(kind: Any) -> Any:
    return pydantic.ImportString._import(kind) if False else _imported(kind) if isinstance(kind, str) else kind


def _imported(name: str) -> Any:
    import importlib

    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def everything_said(error: InvalidArgumentsError) -> str:
    """All texts that may come into a log: not `arguments` and `detail`, which are data."""
    said = [str(error), repr(error), error.reason, repr(error.problems), *map(str, error.problems)]
    said += [problem.reason for problem in error.problems] + [problem.field for problem in error.problems]
    said += traceback.format_exception(error)
    said.append(pickle.dumps(error).decode("latin-1"))
    said.append(pickle.dumps(error.problems).decode("latin-1"))
    if error.__cause__ is not None:
        cause: Any = error.__cause__
        said += [str(cause), repr(cause), cause.json(), repr(cause.errors())]
    return "\n".join(said)


@pytest.mark.parametrize("case", KINDS)
def test_nothing_of_the_arguments_is_said(case):
    kind, value = KINDS[case]
    model = pydantic.create_model("M", v=(resolved(kind), ...))
    error = check(model, {"v": value}).error
    assert isinstance(error, InvalidArgumentsError), "the case does not fail"
    said = everything_said(error)
    assert CANARY not in said
    assert "7391" not in said.replace("multiple of 7391", "")
    assert error.problems
    assert all(problem.reason for problem in error.problems)
    assert str(value if isinstance(value, int) else CANARY) in error.arguments


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int


class Whole(BaseModel):
    x: str

    @model_validator(mode="before")
    @classmethod
    def before(cls, data: Any) -> Any:
        raise ValueError(str(data))


class After(BaseModel):
    x: str

    @model_validator(mode="after")
    def after(self) -> "After":
        raise ValueError(repr(self))


class ByField(BaseModel):
    x: str

    @field_validator("x")
    @classmethod
    def no(cls, x: str) -> str:
        raise ValueError(x)


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        (Closed, {"x": 1, CANARY: 1}),
        (Whole, {"x": CANARY}),
        (After, {"x": CANARY}),
        (ByField, {"x": CANARY}),
        (Weather, f'{{"{CANARY}": 1, "{CANARY}": 2}}'),
        (Weather, f'{{"city": {CANARY}}}'),
        (Weather, f"{CANARY}"),
        (Weather, f'"{CANARY}"'),
    ],
)
def test_nothing_of_the_arguments_is_said_about_a_whole(source, arguments):
    assert CANARY not in everything_said(check(source, arguments).error)


SCHEMAS = {
    "type": ({"type": "integer"}, CANARY),
    "enum": ({"enum": ["a"]}, CANARY),
    "const": ({"const": "a"}, CANARY),
    "pattern": ({"pattern": "^a"}, CANARY),
    "length": ({"maxLength": 2}, CANARY),
    "format": ({"type": "integer", "format": "date"}, CANARY),
    "any of": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, CANARY),
    "one of": ({"oneOf": [{"type": "string"}, {"minLength": 1}]}, CANARY),
    "all of": ({"allOf": [{"type": "integer"}]}, CANARY),
    "not": ({"not": {"type": "string"}}, CANARY),
    "more keys": ({"type": "object", "additionalProperties": False}, {CANARY: 1}),
    "more keys, unevaluated": ({"type": "object", "unevaluatedProperties": False}, {CANARY: 1}),
    "key names": ({"propertyNames": {"pattern": "^a"}}, {CANARY: 1}),
    "a value under a free key": ({"additionalProperties": {"type": "integer"}}, {CANARY: "x"}),
    "unique": ({"uniqueItems": True}, [CANARY, CANARY]),
    "contains": ({"contains": {"type": "integer"}}, [CANARY]),
    "items": ({"items": {"type": "integer"}}, [CANARY]),
    "tuple": ({"prefixItems": [{"type": "integer"}], "items": False}, [CANARY, CANARY]),
    "required": ({"required": ["a"]}, {CANARY: 1}),
    "depends": ({"dependentRequired": {CANARY: ["b"]}} if False else {"minProperties": 2}, {CANARY: 1}),
    "false": (False, CANARY),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_nothing_of_the_arguments_is_said_about_a_schema(case):
    schema, value = SCHEMAS[case]
    error = check(Tool("t", schema={"type": "object", "properties": {"v": schema}}), {"v": value}).error
    assert isinstance(error, InvalidArgumentsError), "the case does not fail"
    assert CANARY not in everything_said(error)
    assert error.problems[0].field.startswith("v")
    assert error.problems[0].reason


def test_what_the_checker_said_is_kept_as_data():
    error = check(ByField, {"x": CANARY}).error
    assert CANARY in error.problems[0].detail
    assert CANARY not in pickle.loads(pickle.dumps(error)).problems[0].detail


def test_names_with_braces_are_told_as_they_are():
    class M(BaseModel):
        v: Colour

    assert "{red}" in check(M, {"v": 1}).error.reason


def test_a_discriminator_says_what_it_takes():
    class M(BaseModel):
        v: Annotated[Cat | Dog, Field(discriminator="kind")]

    assert check(M, {"v": {"kind": "cow"}}).error.reason == "v: its 'kind' is none of 'cat', 'dog'"


def test_bad_embedded_json_says_so():
    class M(BaseModel):
        v: Json[int]

    assert "JSON" in check(M, {"v": "{"}).error.reason


@pytest.mark.parametrize("kind", [KeyError, TypeError, AttributeError, ZeroDivisionError, RecursionError, StopIteration, OSError])
def test_a_check_that_fails_in_an_odd_way_is_an_invalid_call(kind):
    class M(BaseModel):
        v: Annotated[str, quote(kind)]

    error = check(M, {"v": "x"}).error
    assert isinstance(error, InvalidArgumentsError)
    assert error.reason == f"the tool's own check failed with {kind.__name__}"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_not_held_up(kind):
    class M(BaseModel):
        v: Annotated[str, quote(kind)]

    with pytest.raises(kind):
        check(M, {"v": "x"})


def test_a_wrap_validator_may_return_anything():
    class M(BaseModel):
        x: int

        @model_validator(mode="wrap")
        @classmethod
        def other(cls, data: Any, handler: Any) -> Any:
            return "something"

    assert check(M, {"x": 1}).value == "something"


def test_validators_run_once():
    seen: list[Any] = []

    class M(BaseModel):
        x: int
        y: str

        @field_validator("y")
        @classmethod
        def see(cls, y: str) -> str:
            seen.append(y)
            return y

    check(M, {"x": 1, "y": "a"})
    assert seen == ["a"]
    check(M, {"x": "1", "y": "a"})
    assert len(seen) == 2, "nothing can be admitted: one validation"
    check(M, {"x": 1.0, "y": "a"})
    assert len(seen) == 3, "a whole number is written as an integer before"


# --------------------------------------------------------------------------------------------------- null means left out


class Part(BaseModel):
    a: int = 1


class OtherPart(BaseModel):
    b: str = "b"


class Assembly(BaseModel):
    part: Part | OtherPart
    parts: list[Part | OtherPart] = []
    name: str | None = "default"


def test_null_leaves_a_field_out():
    assert check(Weather, {"city": "Oslo", "days": None}, sent_strict=True).value == Weather(city="Oslo")
    assert check(Weather, {"city": None, "days": None}, sent_strict=True).outcome == "invalid"
    assert check(Weather, {"city": "Oslo", "days": None}).outcome == "invalid", "the schema that was sent does not take null"


def test_null_stays_null_where_the_type_takes_it():
    assert check(Assembly, {"part": {"a": 1}, "parts": None, "name": None}, sent_strict=True).value.name is None


def test_null_leaves_a_field_out_inside_lists_and_unions():
    call = check(Assembly, {"part": {"a": None}, "parts": [{"b": "c"}, {"a": None}, {"a": 2}], "name": "n"}, sent_strict=True)
    assert call.value == Assembly(part=Part(), parts=[OtherPart(b="c"), Part(), Part(a=2)], name="n")


def test_all_fields_left_out_of_a_later_branch_of_a_union():
    call = check(Assembly, {"part": {"b": None}, "parts": None, "name": None}, sent_strict=True)
    assert call.value.part == OtherPart()


class Long(BaseModel):
    a: int = 1
    c: int


class Short(BaseModel):
    c: int
    b: str = "b"


class Measure(BaseModel):
    of: Long | Short


class Lives(BaseModel):
    kind: Literal["lives"]
    n: int = 9


class Perhaps(BaseModel):
    kind: Literal["perhaps"]
    n: int | None


class Pet(BaseModel):
    pet: Lives | Perhaps
    many: list[Short] | list[Lives] = []


def test_branches_with_the_same_keys_are_told_apart():
    lives, perhaps = {"kind": "lives", "n": None}, {"kind": "perhaps", "n": None}
    assert check(Pet, {"pet": lives, "many": None}, sent_strict=True).value == Pet(pet=Lives(kind="lives"))
    assert check(Pet, {"pet": perhaps, "many": None}, sent_strict=True).value == Pet(pet=Perhaps(kind="perhaps", n=None))


class Must(BaseModel):
    a: str


class May(BaseModel):
    a: int = 1


class MustOrMay(BaseModel):
    v: Must | May


def test_a_null_tells_branches_with_the_same_keys_apart():
    assert check(MustOrMay, {"v": {"a": None}}, sent_strict=True).value == MustOrMay(v=May())
    assert check(MustOrMay, {"v": {"a": "x"}}, sent_strict=True).value == MustOrMay(v=Must(a="x"))
    assert check(MustOrMay, {"v": {"a": 1.0}}, sent_strict=True).value == MustOrMay(v=May(a=1))


class Made(BaseModel):
    a: list[int] = Field(default_factory=list)


class MadeToo(BaseModel):
    b: list[int] = Field(default_factory=list)


class MadeEither(BaseModel):
    v: Made | MadeToo


def test_a_default_that_is_made_keeps_a_union_out_of_the_strict_dialect():
    """Its null, taken out, would leave nothing that tells the members apart."""
    assert "union" in openai_strict(toolset(Iterable[MadeEither]).schemas[0].schema).refused[0]
    assert check(MadeEither, {"v": {"b": [1]}}).value == MadeEither(v=MadeToo(b=[1]))


def test_lists_of_different_things_are_told_apart():
    short, lives = {"c": 1, "b": None}, {"kind": "lives", "n": None}
    pet = Lives(kind="lives", n=1)
    for many, value in ([short], [Short(c=1)]), ([lives], [Lives(kind="lives")]), ([], []):
        call = check(Pet, {"pet": {"kind": "lives", "n": 1}, "many": many}, sent_strict=True)
        assert call.value == Pet(pet=pet, many=value)


def test_the_keys_say_which_branch_of_a_union_is_meant():
    assert check(Measure, {"of": {"a": None, "c": 3}}, sent_strict=True).value == Measure(of=Long(c=3))
    assert check(Measure, {"of": {"b": None, "c": 3}}, sent_strict=True).value == Measure(of=Short(c=3))


PARTS = Tool(
    "parts",
    schema={
        "type": "object",
        "properties": {
            "u": {
                "anyOf": [
                    {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer"}}, "required": ["n"]},
                    {"type": "integer"},
                ]
            },
            "many": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        },
        "$defs": {"part": {"type": "object", "properties": {"k": {"type": "string"}}}},
    },
)


def test_null_leaves_a_field_of_a_schema_out():
    assert check(PARTS, {"u": None, "many": None}, sent_strict=True).value == {}
    assert check(PARTS, {"u": 1, "many": [{"k": None}, {"k": "a"}]}, sent_strict=True).value == {"u": 1, "many": [{}, {"k": "a"}]}
    assert check(PARTS, {"u": {"k": None, "n": 1}, "many": None}, sent_strict=True).value == {"u": {"n": 1}}


class Counted(BaseModel):
    n: int


class Noted(BaseModel):
    b: str = "b"


class CountedOrNoted(BaseModel):
    v: Counted | Noted
    w: float = 0


@pytest.mark.parametrize("sent_strict", [True, False])
def test_a_whole_number_does_not_decide_a_union(sent_strict):
    call = check(CountedOrNoted, {"v": {"n": 1.0}, "w": 2.0}, sent_strict=sent_strict)
    assert call.value == CountedOrNoted(v=Counted(n=1), w=2.0)
    assert type(call.value.w) is float


class ClosedCount(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int


class Amount(BaseModel):
    n: float
    unit: str


class CountOrAmount(BaseModel):
    v: ClosedCount | Amount


def test_a_whole_number_stays_a_float_where_only_a_float_can_be_meant():
    amount = check(CountOrAmount, {"v": {"n": 1.0, "unit": "m"}}).value.v
    assert (type(amount), type(amount.n)) == (Amount, float)
    assert check(CountOrAmount, {"v": {"n": 1.0}}).value.v == ClosedCount(n=1)


class Named(BaseModel):
    """Its class has the name of a field."""

    size: float
    count: int


Named.__name__ = Named.__qualname__ = "size"


def test_a_step_of_a_path_that_is_no_key_is_passed_over():
    class M(BaseModel):
        v: Named | int

    call = check(M, {"v": {"size": 1.0, "count": 2.0}})
    assert (type(call.value.v.size), call.value.v.count) == (float, 2)


def test_a_checked_call_can_be_copied():
    call = check(Weather, {"city": "Oslo"})
    assert copy.deepcopy(call).value == call.value
    assert pickle.loads(pickle.dumps(call)).value == call.value


@pytest.mark.parametrize("space", ["\u00a0", "\f", "\v", "\u2003", "\ufeff", "\x00"])
def test_what_is_no_white_space_for_json_is_refused(space):
    class Plain(pydantic.BaseModel):
        x: int = 0

    assert check(Plain, ' \t\n\r{"x": 1}\r\n\t ').value.x == 1
    for text in f'{space}{{"x": 1}}', f'{{"x": 1}}{space}', f'{{"x":{space}1}}', space:
        assert check(Plain, text).outcome == "invalid"


def test_a_thousand_problems_are_counted_and_no_more():
    model = pydantic.create_model("M", v=(list[int], ...))
    few, many = check(model, {"v": ["secret"] * 1000}).error, check(model, {"v": ["secret"] * 1001}).error
    assert len(few.problems) == 1000
    assert [problem.reason for problem in many.problems] == ["the arguments do not fit in 1001 places"]
    assert "secret" not in f"{few}{many}"
