"""What can be seen of a call while its arguments arrive, for every kind of tool."""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar, Generic, NotRequired, Required, TypeVar

import pydantic
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import TypedDict

import future_tools
from polycall import BoundCall, DeltaEvent, Tool
from support_tools import offer

T = TypeVar("T")


class Place(BaseModel):
    city: str
    zip: int | None = None


class Trip(BaseModel):
    to: str = Field(min_length=2)
    days: int = 3
    stops: list[Place] = []
    home: Place | None = None
    short: bool = Field(False, alias="isShort")


@dataclasses.dataclass
class Point:
    x: int
    name: str = "p"
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    name: str = "p"


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T


@pydantic.dataclasses.dataclass
class Checked:
    x: int
    name: str = "p"


class Row(TypedDict, total=False):
    x: Required[Annotated[int, Field(ge=0)]]
    name: str


class Cell(TypedDict, Generic[T]):
    x: T
    name: NotRequired[str]


class Box(BaseModel, Generic[T]):
    x: T
    name: str


def function(x: int, name: str = "p", *, place: Place | None = None) -> str:
    return f"{x}{name}{place}"


def partial_of(source: Any, text: str) -> Any:
    """What an event shows that comes with the last of three pieces, while a fourth is on its way already."""
    pieces = [text[:2], text[2:5], text[5:], '"later"}']
    event = DeltaEvent(0, pieces[2], pieces, 3, offer(source).arguments.partial)
    assert event.arguments == text
    return event.partial


def test_a_model_fills_up():
    text = '{"to": "Oslo", "days": 2, "stops": [{"city": "Bergen"}, {"city": "Ro"}], "home": {"city": "Ri'
    seen = [partial_of(Trip, text[: end + 1]) for end in range(len(text))]
    assert seen[0] == Trip.model_construct(to=None, days=None, stops=None, home=None, short=None)
    assert all(type(trip) is Trip for trip in seen)
    assert sorted({trip.to for trip in seen if trip.to}, key=len) == ["Os", "Osl", "Oslo"]
    assert [place.city for place in seen[-1].stops] == ["Bergen", "Ro"]
    assert seen[-1].days == 2
    assert seen[-1].model_fields_set <= {"to", "days", "stops", "home"}
    assert {"to", "days", "stops"} <= seen[-1].model_fields_set


def test_fields_that_have_not_arrived_are_none():
    trip = partial_of(Trip, '{"to": "Oslo"')
    assert (trip.to, trip.days, trip.stops, trip.home, trip.short) == ("Oslo", None, None, None, None)


def test_an_alias_is_read_as_its_field():
    assert partial_of(Trip, '{"isShort": true, ').short is True


def test_a_value_that_is_wrong_is_not_shown():
    trip = partial_of(Trip, '{"days": "no", "to": "Oslo", ')
    assert trip is None or (trip.days is None and trip.to == "Oslo")


@pytest.mark.parametrize("text", ["", " ", "[", '"x"', "nul", "3", "}"])
@pytest.mark.parametrize("source", [Trip, Point, Row, function, Tool("t")])
def test_nothing_can_be_read_of_what_is_no_object(source, text):
    assert partial_of(source, text) is None


@pytest.mark.parametrize("kind", [Point, Frozen, Checked])
def test_a_dataclass_fills_up(kind):
    value = partial_of(kind, '{"x": 1, "na')
    assert type(value) is kind
    assert (value.x, value.name) == (1, None)
    assert partial_of(kind, '{"x": 1, "name": "ab').name == "ab"


def test_a_generic_dataclass_fills_up():
    value = partial_of(Pair[int], '{"left": 1, ')
    assert type(value) is Pair
    assert (value.left, value.right) == (1, None)


def test_a_generic_model_fills_up():
    value = partial_of(Box[int], '{"x": 1, "name": "a')
    assert type(value) is Box[int]
    assert (value.x, value.name) == (1, "a")


@pytest.mark.parametrize("kind", [Row, Cell[int], Annotated[Row, Field(description="d")], Tool("t")])
def test_a_dict_fills_up(kind):
    assert partial_of(kind, '{"x": 1, ') == {"x": 1}
    assert partial_of(kind, '{"x": 1, "name": "a') == {"x": 1, "name": "a"}


def test_a_function_shows_the_arguments_so_far():
    call = partial_of(function, '{"x": 1, "place": {"city": "Os')
    assert isinstance(call, BoundCall)
    assert call.function is function
    assert call.arguments["x"] == 1
    assert "name" not in call.arguments


def test_a_partial_function_and_a_method_show_the_arguments_so_far():
    class Service:
        def find(self, what: str, limit: int = 1) -> None: ...

    assert partial_of(Service().find, '{"what": "a", ').arguments == {"what": "a"}
    assert partial_of(functools.partial(function, place=None), '{"x": 1, ').arguments == {"x": 1}


def test_types_from_a_module_with_annotations_as_text_fill_up():
    trip = partial_of(future_tools.Trip, '{"name": "a", "stops": [{"location": "Oslo", "units": "metric"}, ')
    assert (trip.name, trip.stops) == ("a", [future_tools.Weather(location="Oslo", units="metric")])
    assert partial_of(future_tools.Row, '{"x": 1, "no') == {"x": 1}
    assert partial_of(future_tools.travel, '{"to": "Os').arguments == {"to": "Os"}


class Node(BaseModel):
    name: str
    nodes: list["Node"] = []


def test_a_recursive_model_fills_up():
    node = partial_of(Node, '{"name": "a", "nodes": [{"name": "b", "nodes": [{"name": "c"}, ')
    assert node.nodes[0].nodes[0].name == "c"


def test_keys_that_the_type_does_not_know_do_not_disturb():
    assert partial_of(Trip, '{"to": "Oslo", "other": [1, ').to == "Oslo"
    assert partial_of(Point, '{"x": 1, "other": [1, ').x == 1


def test_a_model_that_keeps_unknown_keys():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        x: int

    assert partial_of(Open, '{"x": 1, "other": 2, ').x == 1


def test_a_field_of_several_names_fills_up():
    class Choosy(BaseModel):
        size: int = Field(validation_alias=AliasChoices("size", "length"))

    assert partial_of(Choosy, '{"size": 1, ').size == 1


def test_validators_of_the_whole_do_not_run_on_the_beginning():
    class Whole(BaseModel):
        x: int
        y: str

        @model_validator(mode="after")
        def check(self) -> "Whole":
            raise ValueError

        @field_validator("y")
        @classmethod
        def check_y(cls, y: str) -> str:
            raise ValueError

    assert partial_of(Whole, '{"x": 1, ').x == 1


def test_post_init_does_not_run_on_the_beginning():
    @dataclasses.dataclass
    class Picky:
        x: int
        twice: int = dataclasses.field(init=False, default=0)
        extra: dataclasses.InitVar[int] = 0

        def __post_init__(self, extra: int) -> None:
            raise ValueError

    assert partial_of(Picky, '{"x": 1, ').x == 1


def test_what_a_dataclass_has_beside_its_fields_is_no_field():
    @dataclasses.dataclass
    class Beside:
        shared: ClassVar[int] = 3
        x: int
        made: int = dataclasses.field(init=False, default=7)

    value = partial_of(Beside, '{"x": 1, ')
    assert (value.x, value.shared) == (1, 3)


def test_a_type_whose_half_is_no_type_shows_nothing():
    class Local(BaseModel):
        city: str

    @pydantic.dataclasses.dataclass
    class Holder:
        local: "Local"

    pydantic.dataclasses.rebuild_dataclass(Holder, _types_namespace={"Local": Local})
    assert partial_of(Holder, '{"local": {"city": "a"}') is None


def test_an_event_is_shown_without_its_text():
    event = DeltaEvent(0, "secret", ["secret"], 1, offer(Trip).arguments.partial)
    assert "secret" not in repr(event)
    assert (event.type, event.text) == ("delta", "secret")
