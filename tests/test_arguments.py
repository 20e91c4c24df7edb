"""How the arguments of each kind of tool are described to a model, and what values calls become."""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import ipaddress
import uuid
from typing import Annotated, Any, ClassVar, Generic, Literal, NotRequired, Required, TypeVar

import pydantic
import pytest
from dirty_equals import IsPartialDict
from inline_snapshot import snapshot
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    SecretStr,
    ValidationInfo,
    computed_field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from typing_extensions import ReadOnly, TypedDict

import future_tools
from polycall import Tool
from support_tools import check, offer, schema_of

T = TypeVar("T")


def value_of(source: Any, arguments: Any, **how: Any) -> Any:
    return check(source, arguments, **how).value


def given(function: Any, arguments: Any, **how: Any) -> dict[str, Any]:
    return value_of(function, arguments, **how).arguments


# ---------------------------------------------------------------------------------------------------------------- types


class Node(BaseModel):
    """A node."""

    name: str
    children: list["Node"] = []


class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(BaseModel):
    city: str = Field(description="its name", min_length=1)


class Forecast(BaseModel):
    """Ask for a forecast.

    Args:
        place: where
        days: how many, and
            how long
        unknown: no such field
    """

    place: Place
    days: Annotated[int, Field(ge=1, le=14)] = 3
    unit: Unit = Unit.METRIC
    near: Place = Field(Place(city="x"), description="beside a reference")
    since: dt.date | None = None


def test_the_schema_of_a_model():
    assert schema_of(Forecast) == snapshot(
        {
            "$defs": {
                "Place": {
                    "properties": {"city": {"description": "its name", "minLength": 1, "type": "string"}},
                    "required": ["city"],
                    "title": "Place",
                    "type": "object",
                },
                "Unit": {"enum": ["metric", "imperial"], "title": "Unit", "type": "string"},
            },
            "properties": {
                "place": {"$ref": "#/$defs/Place", "description": "where"},
                "days": {
                    "default": 3,
                    "maximum": 14,
                    "minimum": 1,
                    "type": "integer",
                    "description": """\
how many, and
how long\
""",
                },
                "unit": {"$ref": "#/$defs/Unit", "default": "metric"},
                "near": {
                    "$ref": "#/$defs/Place",
                    "default": {"city": "x"},
                    "description": "beside a reference",
                },
                "since": {
                    "anyOf": [{"format": "date", "type": "string"}, {"type": "null"}],
                    "default": None,
                },
            },
            "required": ["place"],
            "type": "object",
        }
    )
    assert offer(Forecast).schema.description == "Ask for a forecast."


def test_a_recursive_model_is_an_object_at_its_top():
    schema = schema_of(Node)
    assert schema == IsPartialDict(type="object", required=["name"])
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert schema["$defs"]["Node"]["properties"] == schema["properties"]
    tree = value_of(Node, {"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]})
    assert tree.children[0].children[0] == Node(name="c")


def test_a_title_is_there_only_where_someone_wrote_it():
    class Titled(BaseModel):
        x: int = Field(title="An X")
        some_name: int

    assert schema_of(Titled)["properties"] == {"x": {"title": "An X", "type": "integer"}, "some_name": {"type": "integer"}}


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T | None = None


@pydantic.dataclasses.dataclass
class Checked:
    x: int = Field(gt=0)


class Box(BaseModel, Generic[T]):
    item: T


class Cell(TypedDict, Generic[T]):
    item: T


class Row(TypedDict, total=False):
    x: Required[int]
    y: str


class Line(TypedDict):
    x: Required[int]
    y: NotRequired[str]


@pytest.mark.parametrize(
    ("kind", "arguments", "value"),
    [
        (Pair[int], {"left": 1}, Pair(1)),
        (Pair[str], {"left": "a", "right": "b"}, Pair("a", "b")),
        (Checked, {"x": 1}, Checked(1)),
        (Box[int], {"item": 1}, Box[int](item=1)),
        (Box[list[int]], {"item": [1]}, Box[list[int]](item=[1])),
        (Cell[int], {"item": 1}, {"item": 1}),
        (Row, {"x": 1}, {"x": 1}),
        (Row, {"x": 1, "y": "a"}, {"x": 1, "y": "a"}),
        (Line, {"x": 1}, {"x": 1}),
        (Annotated[Row, Field(description="d")], {"x": 1}, {"x": 1}),
        (
            future_tools.Trip,
            {"stops": [{"location": "Oslo", "units": "metric"}]},
            future_tools.Trip([future_tools.Weather(location="Oslo", units="metric")]),
        ),
        (future_tools.Row, {"x": 1, "note": "a"}, {"x": 1, "note": "a"}),
    ],
)
def test_values_of_every_kind_of_type(kind, arguments, value):
    call = check(kind, arguments)
    assert call.value == value
    assert type(call.value) is type(value)


@pytest.mark.parametrize(
    ("kind", "arguments", "field"),
    [
        (Pair[int], {"left": "a"}, "left"),
        (Checked, {"x": 0}, "x"),
        (Box[int], {"item": "a"}, "item"),
        (Cell[int], {"item": "a"}, "item"),
        (Row, {"y": "a"}, "x"),
        (Line, {"x": 1, "y": 2}, "y"),
        (Forecast, {"place": {"city": "Oslo"}, "days": 15}, "days"),
        (Forecast, {"place": {"city": ""}}, "place.city"),
        (Forecast, {"place": {"city": "Oslo"}, "unit": "kelvin"}, "unit"),
    ],
)
def test_each_kind_of_type_names_the_bad_field(kind, arguments, field):
    assert [problem.field for problem in check(kind, arguments).error.problems] == [field]


@dataclasses.dataclass
class Special:
    shared: ClassVar[int] = 3
    x: int
    given: dataclasses.InitVar[int]
    made: int = dataclasses.field(init=False, default=0)
    named: int = dataclasses.field(kw_only=True)

    def __post_init__(self, given: int) -> None:
        self.made = given * 2


def test_special_fields_of_a_dataclass():
    assert list(schema_of(Special)["properties"]) == ["x", "given", "named"]
    value = value_of(Special, {"x": 1, "given": 2, "named": 3})
    assert (value.x, value.made, value.named) == (1, 4, 3)


def test_aliases_are_what_the_model_sees():
    class Aliased(BaseModel):
        model_config = ConfigDict(alias_generator=AliasGenerator(validation_alias=to_camel))
        first_name: str
        other: int = Field(validation_alias="theOther")

    assert list(schema_of(Aliased)["properties"]) == ["firstName", "theOther"]
    assert value_of(Aliased, {"firstName": "a", "theOther": 1}).first_name == "a"
    assert check(Aliased, {"first_name": "a", "theOther": 1}).outcome == "invalid"


def test_alias_choices_take_each_name():
    class Choosy(BaseModel):
        size: int = Field(validation_alias=AliasChoices("size", "length"))

    assert [value_of(Choosy, {name: 1}).size for name in schema_of(Choosy)["properties"]] == [1]
    assert value_of(Choosy, {"length": 1}).size == 1


@pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning")
def test_read_only_says_nothing_about_the_arguments():
    class Fixed(TypedDict):
        x: ReadOnly[int]

    assert value_of(Fixed, {"x": 1}) == {"x": 1}


def test_extra_keys():
    class Ignoring(BaseModel):
        x: int

    class Allowing(BaseModel):
        model_config = ConfigDict(extra="allow")
        x: int

    class Forbidding(BaseModel):
        model_config = ConfigDict(extra="forbid")
        x: int

    assert value_of(Ignoring, {"x": 1, "more": 2}) == Ignoring(x=1)
    assert value_of(Allowing, {"x": 1, "more": 2}).more == 2
    assert check(Forbidding, {"x": 1, "more": 2}).outcome == "invalid"


def test_computed_fields_are_not_asked_for():
    class Computing(BaseModel):
        x: int

        @computed_field
        def double(self) -> int:
            return self.x * 2

    assert list(schema_of(Computing)["properties"]) == ["x"]
    assert value_of(Computing, {"x": 2}).double == 4


class Validated(BaseModel):
    x: int
    y: Annotated[str, AfterValidator(str.upper)] = "y"
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def rename(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {("x" if key == "ex" else key): value for key, value in data.items()}

    @model_validator(mode="wrap")
    @classmethod
    def note_it(cls, data: Any, handler: Any) -> "Validated":
        made = handler(data)
        made.note += "wrapped "
        return made

    @model_validator(mode="after")
    def add(self) -> "Validated":
        self.note += "after "
        return self


def test_model_validators_of_every_mode_run():
    value = value_of(Validated, {"ex": 1, "y": "a"})
    assert (value.x, value.y, value.note) == (1, "A", "wrapped after ")


class Known(BaseModel):
    city: str

    @field_validator("city")
    @classmethod
    def is_known(cls, city: str, info: ValidationInfo) -> str:
        if city not in info.context["cities"]:
            raise ValueError(city)
        return city


def test_validators_see_the_context():
    cities = {"cities": {"Oslo"}}
    assert value_of(Known, {"city": "Oslo"}, context=cities).city == "Oslo"
    assert check(Known, {"city": "Rome"}, context=cities).outcome == "invalid"
    assert check(Known, {"city": "Oslo"}, context={"cities": ()}, strict=False).outcome == "invalid"


class Stay(BaseModel):
    """Stay somewhere.

    Parameters
    ----------
    city
        where to
    nights : int
        how long
    """

    city: str
    nights: int = Field(1, description="written at the field")


def test_the_docstring_of_a_model_describes_fields_that_have_no_description():
    properties = schema_of(Stay)["properties"]
    assert (properties["city"]["description"], properties["nights"]["description"]) == ("where to", "written at the field")
    assert offer(Stay).schema.description == "Stay somewhere."


# ------------------------------------------------------------------------------------------------------ values in JSON

WORDS = {
    "date": (dt.date, '"2026-01-31"', dt.date(2026, 1, 31)),
    "time": (dt.time, '"10:30"', dt.time(10, 30)),
    "datetime": (dt.datetime, '"2026-01-31T10:30:00Z"', dt.datetime(2026, 1, 31, 10, 30, tzinfo=dt.UTC)),
    "duration": (dt.timedelta, '"PT5M"', dt.timedelta(minutes=5)),
    "decimal text": (decimal.Decimal, '"1.10"', decimal.Decimal("1.10")),
    "decimal number": (decimal.Decimal, "1.5", decimal.Decimal("1.5")),
    "uuid": (uuid.UUID, '"12345678-1234-5678-1234-567812345678"', uuid.UUID("12345678-1234-5678-1234-567812345678")),
    "enum": (Unit, '"metric"', Unit.METRIC),
    "int enum": (Level, "2", Level.HIGH),
    "int enum as a float": (Level, "2.0", Level.HIGH),
    "literal": (Literal["a", 1], "1", 1),
    "literal as a float": (Literal["a", 1], "1.0", 1),
    "tuple": (tuple[int, str], '[1, "a"]', (1, "a")),
    "tuple with a float": (tuple[int, str], '[1.0, "a"]', (1, "a")),
    "set": (set[int], "[1, 2]", {1, 2}),
    "frozenset": (frozenset[str], '["a"]', frozenset("a")),
    "dict": (dict[str, int], '{"a": 1}', {"a": 1}),
    "dict with a float": (dict[str, int], '{"a": 1.0}', {"a": 1}),
    "dict with other keys": (dict[int, dt.date], '{"1": "2026-01-31"}', {1: dt.date(2026, 1, 31)}),
    "address": (ipaddress.IPv4Address, '"127.0.0.1"', ipaddress.IPv4Address("127.0.0.1")),
    "bytes": (bytes, '"x"', b"x"),
    "json": (Json[list[int]], '"[1]"', [1]),
    "secret": (SecretStr, '"x"', SecretStr("x")),
    "null": (None, "null", None),
    "optional": (int | None, "null", None),
    "float": (float, "1.5", 1.5),
    "whole float": (float, "1.0", 1.0),
    "int for float": (float, "1", 1.0),
    "int": (int, "1", 1),
    "int as a float": (int, "1.0", 1),
    "int as 1e2": (int, "1e2", 100),
    "big int": (int, str(10**40), 10**40),
    "list": (list[int], "[1.0, 2]", [1, 2]),
    "nested list": (list[list[int]], "[[1.0]]", [[1]]),
    "int or str": (int | str, "1.0", 1),
    "int or float": (int | float, "1.0", 1.0),
    "list of union": (list[int | str], '[1.0, "a"]', [1, "a"]),
    "any": (Any, "1.0", 1.0),
    "bool": (bool, "true", True),
    "bool beside a literal 1": (Literal[1] | bool, "false", False),
    "bool beside a literal text": (Literal["a"] | bool, "true", True),
    "literal true": (Literal[True, "a"], "true", True),
    "literal 1 beside a bool": (Literal[1] | bool, "1", 1),
    "literal text": (Literal["True", 1], '"True"', "True"),
}


@pytest.mark.parametrize(("kind", "text", "expected"), WORDS.values(), ids=WORDS)
def test_values_that_strict_checking_takes(kind, text, expected):
    model = pydantic.create_model("M", v=(kind, ...))
    value = value_of(model, f'{{"v": {text}}}').v
    assert value == expected
    assert type(value) is type(expected)


NOT_STRICT = {
    "true is no int": (int, "true"),
    "false is no float": (float, "false"),
    "text is no int": (int, '"3"'),
    "text is no float": (float, '"3"'),
    "1 is no bool": (bool, "1"),
    "1.0 is no bool": (bool, "1.0"),
    '"true" is no bool': (bool, '"true"'),
    "a number is no text": (str, "3"),
    "a number is no date": (dt.date, "0"),
    "a number is no datetime": (dt.datetime, "1.0"),
    "a number is no duration": (dt.timedelta, "5"),
    "1.5 is no int": (int, "1.5"),
    "true in a list": (list[int], "[true]"),
    "true in a union": (int | str, "true"),
    "null": (int, "null"),
    "true is no enum's 1": (Level, "true"),
    "true is no literal 1": (Literal[1], "true"),
    "true is no literal 1 beside a text": (Literal[1] | str, "true"),
    "true is no literal 1 in a list": (list[Literal[1, 2]], "[2, true]"),
    "false is no int beside a literal": (int | Literal["a"], "false"),
}


@pytest.mark.parametrize(("kind", "text"), NOT_STRICT.values(), ids=NOT_STRICT)
def test_values_that_strict_checking_refuses(kind, text):
    model = pydantic.create_model("M", v=(kind, ...))
    call = check(model, f'{{"v": {text}}}')
    assert call.outcome == "invalid"
    assert call.error.problems[0].field.split(".")[0] == "v"


LAX = {
    "text": (int, '"3"', 3),
    "a number for a text": (dt.date, "0", dt.date(1970, 1, 1)),
    "1": (bool, "1", True),
    "1.0": (int, "1.0", 1),
    "text in a list": (list[int], '["3"]', [3]),
}


@pytest.mark.parametrize(("kind", "text", "expected"), LAX.values(), ids=LAX)
def test_lax_checking_converts(kind, text, expected):
    model = pydantic.create_model("M", v=(kind, ...))
    assert value_of(model, f'{{"v": {text}}}', strict=False).v == expected


def test_admitting_a_whole_number_changes_no_other_value():
    class Mixed(BaseModel):
        count: int
        price: float
        anything: Any
        either: int | float
        amount: decimal.Decimal
        nested: list[dict[str, float]]

    text = '{"count": 2.0, "price": 1.0, "anything": [3.0], "either": 4.0, "amount": "1.10", "nested": [{"a": 5.0}]}'
    value = value_of(Mixed, text)
    floats = [value.price, value.anything[0], value.either, value.nested[0]["a"]]
    assert (value.count, floats, value.amount) == (2, [1.0, 3.0, 4.0, 5.0], decimal.Decimal("1.10"))
    assert [type(number) for number in floats] == [float] * 4


# --------------------------------------------------------------------------------------------- where a type says "lax"


class LaxInside(BaseModel):
    model_config = ConfigDict(strict=False)
    n: int


class Partly(BaseModel):
    strict: int = 0
    lax: int = Field(0, strict=False)
    inside: LaxInside | None = None
    several: list[LaxInside] = []


@dataclasses.dataclass
class PartlyData:
    strict: int = 0
    lax: Annotated[int, Field(strict=False)] = 0


class PartlyRow(TypedDict, total=False):
    strict: int
    lax: Annotated[int, Field(strict=False)]


def partly(strict: int = 0, lax: Annotated[int, Field(strict=False)] = 0) -> None: ...


class PartlyNode(BaseModel):
    strict: int = 0
    lax: Annotated[int, Field(strict=False)] = 0
    nodes: list["PartlyNode"] = []


@pytest.mark.parametrize("kind", [Partly, PartlyData, PartlyRow, partly, PartlyNode])
def test_a_field_may_say_that_it_converts(kind):
    assert check(kind, {"lax": "3"}).outcome == "ok"
    assert check(kind, {"lax": "3", "strict": 1.0}).outcome == "ok"
    assert [problem.field for problem in check(kind, {"lax": "3", "strict": "3"}).error.problems] == ["strict"]
    assert check(kind, {"lax": "3", "strict": "3"}, strict=False).outcome == "ok"


def test_a_nested_model_may_say_that_it_converts():
    value = value_of(Partly, {"inside": {"n": "3"}, "several": [{"n": "4"}]})
    assert (value.inside.n, value.several[0].n) == (3, 4)
    assert check(Partly, {"inside": {"n": "3"}, "strict": "3"}).outcome == "invalid"
    assert check(PartlyNode, {"nodes": [{"lax": "1"}]}).outcome == "ok"
    assert check(PartlyNode, {"nodes": [{"strict": "1"}]}).outcome == "invalid"


def test_a_model_may_say_that_it_converts():
    assert value_of(LaxInside, {"n": "3"}).n == 3

    class Outer(BaseModel):
        inner: LaxInside
        n: int

    assert check(Outer, {"inner": {"n": "3"}, "n": 1}).outcome == "ok"
    assert check(Outer, {"inner": {"n": "3"}, "n": "1"}).outcome == "invalid"


def test_a_type_that_says_strict_can_still_be_checked_lax():
    class Firm(BaseModel):
        model_config = ConfigDict(strict=True)
        n: int

    assert check(Firm, {"n": "3"}).outcome == "invalid"
    assert value_of(Firm, {"n": "3"}, strict=False).n == 3


# ------------------------------------------------------------------------------------------------------------ functions


def google(city: str, days: int = 3) -> None:
    """Get the weather.

    It is always good.

    Args:
        city: where
        days (int): how long

    Returns:
        Nothing.
    """


def numpy(city: str, days: int = 3) -> None:
    """Get the weather.

    It is always good.

    Parameters
    ----------
    city : str
        where
    days : int, optional
        how long

    Returns
    -------
    None
        Nothing.
    """


def sphinx(city: str, days: int = 3) -> None:
    """Get the weather.

    It is always good.

    :param city: where
    :param int days: how long
    :returns: Nothing.
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstrings_of_every_style_describe_parameters(function):
    assert offer(function).schema.description == "Get the weather.\n\nIt is always good."
    assert schema_of(function) == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where"},
            "days": {"type": "integer", "description": "how long", "default": 3},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_a_docstring_without_parameters_is_told_as_it_is():
    def plain(city: str) -> None:
        """Get the weather.

        Note: it is always good.
        """

    def broken(city: str) -> None:
        """Get the weather.

        Args:
        """

    assert offer(plain).schema.description == "Get the weather.\n\nNote: it is always good."
    assert offer(broken).schema.description.startswith("Get the weather.")


def test_parameters_only_described_still_leave_the_tool_without_text():
    def described(city: str) -> None:
        """:param city: where"""

    def only(city: str, to: str) -> None:
        """
        :param city: where
        :param to: whereto
        """

    assert offer(only).schema.description is None
    assert schema_of(only)["properties"]["to"]["description"] == "whereto"
    assert offer(described).schema.description == ":param city: where"


def test_an_annotation_describes_and_constrains_a_parameter():
    def f(a: Annotated[int, Field(description="an a", ge=1)], b: Annotated[int, Field(description="a b")] = 1) -> None:
        """Do.

        Args:
            b: the docstring's b
        """

    properties = schema_of(f)["properties"]
    assert properties["a"] == {"type": "integer", "description": "an a", "minimum": 1}
    assert properties["b"]["default"] == 1
    assert check(f, {"a": 0}).error.problems[0].field == "a"


def test_a_function_from_a_module_with_annotations_as_text():
    assert list(schema_of(future_tools.travel)["properties"]) == ["to", "how", "days"]
    call = check(future_tools.travel, {"to": "Oslo", "days": 2})
    assert call.value() == "Oslo for 2"
    assert check(future_tools.travel, {"to": "Oslo", "how": {"stops": []}}).value.arguments["how"] == future_tools.Trip([])


def test_left_out_parameters_take_their_defaults_when_the_function_runs():
    made: list[int] = []

    def f(a: int, b: str = "b", *, c: float | None = None, d: list[int] = made) -> tuple[Any, ...]:
        return a, b, c, d

    assert given(f, {"a": 1}) == {"a": 1}
    assert value_of(f, {"a": 1})() == (1, "b", None, made)
    assert value_of(f, {"a": 1})()[3] is made
    assert value_of(f, {"a": 1, "c": 2.5, "d": [1]})() == (1, "b", 2.5, [1])
    assert schema_of(f)["required"] == ["a"]


def test_default_values_of_every_kind():
    @dataclasses.dataclass
    class Point:
        x: int

    def f(
        when: dt.date = dt.date(2026, 1, 31),
        unit: Unit = Unit.METRIC,
        point: Point = Point(1),  # noqa: B008
        many: list[int] = [1, 2],  # noqa: B006
        any: Any = object(),  # noqa: B008
        none: int | None = None,
    ) -> None: ...

    properties = schema_of(f)["properties"]
    shown = {name: properties[name].get("default", "nothing") for name in properties}
    assert shown == {
        "when": "2026-01-31",
        "unit": "metric",
        "point": {"x": 1},
        "many": [1, 2],
        "any": "nothing",
        "none": "nothing",
    }
    assert given(f, {}) == {}


def test_defaults_that_are_descriptions_of_fields():
    def f(a: int = Field(description="an a"), b: int = Field(10, le=20), c: list[int] = Field(default_factory=list)) -> Any:  # noqa: B008
        return a, b, c

    assert schema_of(f)["required"] == ["a"]
    assert schema_of(f)["properties"]["a"] == {"type": "integer", "description": "an a"}
    assert schema_of(f)["properties"]["b"] == {"type": "integer", "default": 10, "maximum": 20}
    assert check(f, {"a": 1, "b": 21}).outcome == "invalid"
    assert value_of(f, {"a": 1})() == (1, 10, [])
    one, other = value_of(f, {"a": 1}), value_of(f, {"a": 1})
    assert one()[2] is not other()[2]


def test_functions_take_no_unknown_arguments():
    def f(a: int = 1) -> None: ...

    assert schema_of(f)["additionalProperties"] is False
    assert check(f, {"b": 1}).outcome == "invalid"


def test_parameters_without_annotations_take_anything():
    def f(a, b=3): ...

    assert schema_of(f)["properties"] == {"a": {}, "b": {"default": 3}}
    assert given(f, {"a": [1.0, {"x": None}]}) == {"a": [1.0, {"x": None}]}


def test_parameters_may_have_any_name():
    def f(self: int, model_config: int, model_dump: int, copy: int, schema: int) -> int:
        return self + model_config + model_dump + copy + schema

    def g(*, cls: int, json: int, function: int, _x: int, __y: int) -> int:
        return cls + json + function + _x + __y

    for function in f, g:
        names = list(schema_of(function)["properties"])
        assert names == list(inspect.signature(function).parameters)
        assert value_of(function, dict.fromkeys(names, 1))() == 5


class Service:
    factor = 3

    def find(self, what: str, limit: int = 1) -> list[str]:
        return [what] * limit * self.factor

    @classmethod
    def make(cls, size: int) -> int:
        return size * cls.factor

    @staticmethod
    def twice(number: int) -> int:
        return number * 2

    def __call__(self, z: int) -> int:
        return z * self.factor


def test_calls_of_methods_and_callable_objects_run():
    service = Service()
    assert value_of(service.find, {"what": "a"})() == ["a"] * 3
    assert value_of(Service.make, {"size": 2})() == 6
    assert value_of(Service.twice, {"number": 2})() == 4
    assert value_of(service, {"z": 2})() == 6
    assert value_of(lambda x: x, {"x": 1})() == 1
    assert schema_of(service)["properties"] == {"z": {"type": "integer"}}


def test_what_partial_has_given_is_a_default_or_gone():
    def f(a: int, b: str = "b", *, c: float = 1.5) -> tuple[Any, ...]:
        return a, b, c

    assert schema_of(functools.partial(f, 1))["properties"] == {
        "b": {"type": "string", "default": "b"},
        "c": {"type": "number", "default": 1.5},
    }
    assert value_of(functools.partial(f, 1), {"c": 2.5})() == (1, "b", 2.5)
    assert schema_of(functools.partial(f, c=2.5))["properties"]["c"] == {"type": "number", "default": 2.5}
    assert value_of(functools.partial(f, c=2.5), {"a": 1})() == (1, "b", 2.5)
    assert check(functools.partial(f, c=2.5), {"a": "1"}).outcome == "invalid"
    assert value_of(functools.partial(Service(), z=2), {})() == 6


def test_decorated_functions_keep_their_signature():
    def logged(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return ["logged", function(*args, **kwargs)]

        return inner

    @logged
    def f(a: int) -> int:
        """Do it."""
        return a

    assert schema_of(f)["properties"] == {"a": {"type": "integer"}}
    assert value_of(f, {"a": 1})() == ["logged", 1]


async def test_async_functions_give_their_coroutine():
    async def f(a: int) -> int:
        return a + 1

    assert await value_of(f, {"a": 1})() == 2


# -------------------------------------------------------------------------------------------------------- JSON Schemas

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Made up",
    "description": "of the schema",
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "many": {"type": "array", "items": {"type": "string"}}},
    "required": ["n"],
}


def test_values_of_a_tool_by_schema_are_dicts():
    assert value_of(Tool("t", schema=SCHEMA), '{"n": 1, "many": ["a"], "more": 1.50}') == {"n": 1, "many": ["a"], "more": 1.5}
    assert value_of(Tool("t", schema=SCHEMA), {"n": 1.0}) == {"n": 1}
    assert value_of(Tool("t"), {"anything": [None]}) == {"anything": [None]}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({}, ""), ({"n": 0}, "n"), ({"n": True}, "n"), ({"n": "1"}, "n"), ({"n": 1, "many": ["a", 2]}, "many.1")],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_has_one_strictness(arguments, field, strict):
    error = check(Tool("t", schema=SCHEMA), arguments, strict=strict).error
    assert [problem.field for problem in error.problems] == [field]


def test_the_schema_that_was_given_is_not_changed():
    before = str(SCHEMA)
    offered = offer(Tool("t", schema=SCHEMA))
    offered.schema.schema["properties"]["n"]["description"] = "changed"
    assert str(SCHEMA) == before
    assert offered.schema.description is None


def test_a_schema_that_is_a_reference_is_put_in_place():
    pointed = {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"properties": {"x": {"$ref": "#/$defs/C"}}}, "C": {"type": "integer"}}}
    schema = schema_of(Tool("t", schema=pointed))
    assert schema["type"] == "object"
    assert schema["properties"] == {"x": {"$ref": "#/$defs/C"}}
    assert schema["$defs"]["C"] == {"type": "integer"}
    assert check(Tool("t", schema=pointed), {"x": "a"}).outcome == "invalid"


@pytest.mark.parametrize("top", [True, False])
def test_definitions_of_older_drafts_stay_reachable(top):
    item = {"type": "object", "properties": {"k": {"type": "integer"}, "next": {"$ref": "#/definitions/Item"}}}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"Item": item}}
    old |= {"$ref": "#/definitions/Item"} if top else {"type": "object", "properties": {"next": {"$ref": "#/definitions/Item"}}}
    schema = schema_of(Tool("t", schema=old))
    reference = schema["properties"]["next"]["$ref"].removeprefix("#/").split("/")
    found: Any = schema
    for part in reference:
        found = found[part]
    assert found["properties"]["k"] == {"type": "integer"}
    assert check(Tool("t", schema=old), {"next": {"k": 1}}).outcome == "ok"
    assert check(Tool("t", schema=old), {"next": {"k": "a"}}).outcome == "invalid"
