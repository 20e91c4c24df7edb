"""The tools whose arguments are fuzzed: every kind of tool, and every kind of field."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from polycall import Tool


class Weather(BaseModel):
    """The weather in one place."""

    location: str
    units: Literal["imperial", "metric"] = "metric"


class GoogleSearch(BaseModel):
    """A search."""

    query: str


class Unit(enum.Enum):
    """A text for each member."""

    METRIC = "metric"
    IMPERIAL = "imperial"


class Level(enum.IntEnum):
    """A number for each member."""

    LOW = 1
    HIGH = 2


class Stop(BaseModel):
    """A part of `Trip`."""

    model_config = ConfigDict(extra="forbid")
    city: Annotated[str, Field(min_length=1, max_length=20, pattern="^[A-Za-zÀ-ÿ ]+$")]
    nights: Annotated[int, Field(ge=1, le=30)] = 1
    cost: Annotated[Decimal, Field(max_digits=8, decimal_places=2)] | None = None


class Trip(BaseModel):
    """Formats, constraints and an alias."""

    start: dt.date
    at: dt.datetime | None = None
    stops: Annotated[list[Stop], Field(max_length=4)] = []
    unit: Unit = Unit.METRIC
    level: Level | Literal[7] | None = None
    price: Decimal | None = None
    notes: dict[str, int | bool] = {}
    from_: str | None = Field(None, alias="from")


class Leaf(BaseModel):
    """One end of a tree."""

    kind: Literal["leaf"]
    value: int | float | str | bool | None


class Branch(BaseModel):
    """A type that holds itself."""

    kind: Literal["branch"]
    left: Node
    right: Node | None = None


Node = Annotated[Leaf | Branch, Field(discriminator="kind")]


class Tree(BaseModel):
    """A union with a discriminator, in itself."""

    root: Node


class Circle(BaseModel):
    """A member of a union that only its fields tell."""

    radius: float
    filled: bool = False


class Square(BaseModel):
    """Another one."""

    model_config = ConfigDict(extra="forbid")
    side: int
    filled: bool | None = None


class Drawing(BaseModel):
    """Unions without a discriminator: numbers, constants, objects and lists of them. JSON Schema says all there is to say."""

    shape: Circle | Square
    more: list[Circle | Square | int] = []
    count: Annotated[int, Field(ge=0, multiple_of=3)] = 0
    scale: int | Annotated[float, Field(gt=0, lt=9)] = 1
    mode: bool | Literal["a", 1, 2] | None = None
    level: Level = Level.LOW
    within: Drawing | None = None


@dataclasses.dataclass
class Booking:
    """A dataclass."""

    id: uuid.UUID
    time: dt.time
    length: dt.timedelta = dt.timedelta(hours=1)
    seats: tuple[int, str] | None = None
    tags: set[str] = dataclasses.field(default_factory=set)
    weather: Weather | None = None


class Filter(TypedDict):
    """A TypedDict."""

    field: str
    limits: NotRequired[list[float]]
    inner: NotRequired[Filter | None]


class Free(BaseModel):
    """Any other key is allowed, with any value."""

    model_config = ConfigDict(extra="allow")
    name: str
    anything: Any = None


class Lax(BaseModel):
    """A field that converts where the others do not."""

    n: int = Field(0, strict=False)
    m: int = 0
    when: dt.date | None = Field(None, strict=False)


def forecast(city: str, days: int = 3, *, when: dt.date | None = None, exact: bool = False) -> str:
    """Get a forecast.

    Args:
        city: The town.
        days: How many.
        when: From which day.
        exact: Whether to be exact.
    """
    return f"{city} {days} {when} {exact}"


RULES: Final = Tool(
    "rules",
    schema={
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
            "n": {"oneOf": [{"type": "integer", "minimum": 0}, {"const": "all"}, {"enum": [1.5, None, True]}]},
            "next": {"$ref": "#"},
            "list": {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "uniqueItems": True},
            "day": {"type": "string", "format": "date"},
        },
        "patternProperties": {"^x_": {"type": "integer"}},
        "additionalProperties": {"$ref": "#/$defs/part"},
        "$defs": {"part": {"type": ["object", "null"], "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
        "required": ["name"],
        "dependentRequired": {"n": ["day"]},
    },
)

PLAIN: Final = Tool(
    "plain",
    schema={
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": ["string", "null"]},
            "c": {"type": "array", "items": {"$ref": "#/$defs/part"}},
            "d": {"anyOf": [{"$ref": "#/$defs/part"}, {"type": "integer"}, {"type": "null"}]},
        },
        "$defs": {
            "part": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "integer"}},
                "required": ["x"],
                "additionalProperties": False,
            }
        },
        "required": ["a"],
    },
)

TOOLS: Final[list[Any]] = [Trip, Tree, Drawing, Booking, Filter, Free, Lax, forecast, RULES, PLAIN, Weather]
EXACT: Final[list[Any]] = [Tree, Drawing, Filter, RULES, PLAIN, Weather]
"""Those whose schema says all that is checked."""

ANSWER_TOOLS: Final[list[Any]] = [Weather, GoogleSearch, Tool("f"), Tool("g"), forecast]
