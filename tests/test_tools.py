"""Which types and functions become which tools, and what is told about those that cannot."""

import collections.abc
import dataclasses
import functools
import gc
import subprocess
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import count
from typing import Annotated, Any, Generic, List, Literal, NamedTuple, Never, Optional, Tuple, TypeVar, Union  # noqa: UP035

import pydantic
import pytest
from pydantic import BaseModel, Field, RootModel, computed_field
from typing_extensions import TypeAliasType, TypedDict

import future_tools
from polycall import Tool, UsageError
from polycall._tools import toolset
from polycall.types import ToolChoice
from support_tools import check, check_named, offer

T = TypeVar("T")


class A(BaseModel):
    x: int


class B(BaseModel):
    y: str


@dataclasses.dataclass
class D:
    x: int


@pydantic.dataclasses.dataclass
class P:
    x: int


class Row(TypedDict):
    x: int


class Box(BaseModel, Generic[T]):
    item: T


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T


class Cell(TypedDict, Generic[T]):
    item: T


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Numbers(RootModel[list[int]]):
    pass


class Entry(NamedTuple):
    x: int


class Plain(typing.TypedDict):
    x: int


Many = TypeAliasType("Many", Iterable[A | B])
Either = TypeAliasType("Either", A | B)
One = TypeAliasType("One", A)
Boxes = TypeAliasType("Boxes", Iterable[Box[T]], type_params=(T,))
Pairs = TypeAliasType("Pairs", Iterable[Pair[T]], type_params=(T,))


def f(a: int, b: str = "x") -> str:
    """Do it."""
    return f"{a}{b}"


def g(q: str) -> str:
    return q


class Service:
    """Finds things."""

    def find(self, what: str) -> str:
        """Find one thing."""
        return f"{self}{what}"

    @classmethod
    def make(cls, size: int) -> int:
        return size

    @staticmethod
    def twice(number: int) -> int:
        return number * 2

    def __call__(self, z: int) -> int:
        """Call it."""
        return z


class Bare:
    def __call__(self, z: int) -> int:
        """Call it."""
        return z


def names(response_model: object = None, tools: object = None) -> list[str]:
    return [tool.name for tool in toolset(response_model, tools).schemas]


def refusal(response_model: object = None, tools: object = None) -> str:
    with pytest.raises(UsageError) as caught:
        toolset(response_model, tools)
    return str(caught.value)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Iterable[A], "A"),
        (typing.Iterable[A], "A"),
        (list[A], "A"),
        (List[A | B], "A B"),  # noqa: UP006
        (Sequence[A], "A"),
        (typing.Sequence[A | B], "A B"),
        (collections.abc.Sequence[A], "A"),
        (tuple[A, ...], "A"),
        (tuple[A], "A"),
        (Tuple[B | A, ...], "B A"),  # noqa: UP006
        (Iterable[Union[A, B]], "A B"),  # noqa: UP007
        (Iterable[Union[A, Union[B, D]]], "A B D"),  # noqa: UP007
        (Iterable[A | A], "A"),  # noqa: PYI016
        (Iterable[D | P | Row], "D P Row"),
        (Iterable[Box[int]], "Box[int]"),
        (Iterable[Box[int] | Box[str]], "Box[int] Box[str]"),
        (Iterable[Box[list[int]]], "Box[list[int]]"),
        (Iterable[Pair[int] | Pair[str]], "Pair[int] Pair[str]"),
        (Iterable[Cell[int]], "Cell[int]"),
        (Iterable[Pair], "Pair"),
        (Annotated[Iterable[A | B], "both"], "A B"),
        (Iterable[Annotated[A, Field(description="an A")]], "A"),
        (Iterable[Annotated[A, "one"] | Annotated[B, "other"]], "A B"),
        (Iterable[Annotated[Cat | Dog, Field(discriminator="kind")]], "Cat Dog"),
        (Iterable[Annotated[Either, "note"] | D], "A B D"),
        (Many, "A B"),
        (Iterable[Either], "A B"),
        (Iterable[Either | D], "A B D"),
        (Iterable[One], "A"),
        (Iterable[Annotated[One, "note"]], "A"),
        (Annotated[Many, "note"], "A B"),
        (Pairs[int], "Pair[int]"),
        (future_tools.Both, "Weather GoogleSearch"),
        (Iterable[future_tools.Trip | future_tools.Row], "Trip Row"),
    ],
    ids=count(),
)
def test_response_model_forms(form, expected):
    assert " ".join(names(form)) == expected


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([A, B], "A B"),
        ((A,), "A"),
        ([A | B, D], "A B D"),
        ([Either], "A B"),
        ([A, f, Tool("t")], "A f t"),
        ([Box[int], Box], "Box[int] Box"),
        ([Service().find], "find"),
        ([Service.make], "make"),
        ([Service.twice], "twice"),
        ([Service()], "Service"),
        ([functools.partial(f, b="y")], "f"),
        ([functools.partial(functools.partial(f, b="y"))], "f"),
        ([functools.lru_cache(f)], "f"),
        ([lambda x: x], "<lambda>"),
        ([A, A, f, f], "A f"),
        ([Annotated[A, {"unhashable": []}]], "A"),
        ([future_tools.travel], "travel"),
    ],
    ids=count(),
)
def test_tools_forms(tools, expected):
    assert " ".join(names(tools=tools)) == expected


def test_two_partials_are_two_tools():
    assert names(tools=[functools.partial(f, b="y"), functools.partial(g)]) == ["f", "g"]


NOT_UNDERSTOOD = [
    (A, ["response_model=A asks for one value", "response_model=Iterable[A]"]),
    (Row, ["response_model=Iterable[Row]"]),
    (A | B, ["response_model=A | B asks for one value", "response_model=Iterable[A | B]"]),
    (Optional[A], ["response_model=Iterable[A]"]),  # noqa: UP045
    (Either, ["response_model=Iterable[A | B]"]),
    (Box[int], ["response_model=Iterable[Box[int]]"]),
    (Annotated[A, "note"], ["response_model=Iterable[A]"]),
    (int, ["response_model=int is not understood", "Iterable[A | B]"]),
    (dict[str, A], ["Iterable[A]"]),
    (set[A], ["response_model=set[A] is not understood", "Iterable[A]"]),
    (Iterator[A], ["Iterable[A]"]),
    (collections.abc.AsyncIterable[A], ["Iterable[A]"]),
    (tuple[A, B], ["Iterable[A | B]"]),
    (Iterable, ["Iterable[A | B]"]),
    (list, ["Iterable[A | B]"]),
    (Any, ["Iterable[A | B]"]),
    (5, ["response_model=5 is not understood", "Iterable[A | B]"]),
    ([A, B], ["tools=[...]"]),
    (f, ["tools=[f]"]),
    (Boxes[int], ["the type alias Boxes[int] cannot be looked into"]),
    ("A", ["'A' is the name of a type", "without quotes"]),
    (Iterable["A"], ["'A' is the name of a type", "without quotes"]),
    (TypeAliasType("Late", "Iterable[A]"), ["'Iterable[A]' is the name of a type"]),
]


@pytest.mark.parametrize(("form", "texts"), NOT_UNDERSTOOD, ids=count())
def test_a_response_model_that_is_not_understood(form, texts):
    message = refusal(form)
    assert [text for text in texts if text not in message] == [], message


def test_the_advice_for_an_optional_union_can_be_followed():
    assert "NoneType" not in refusal(Iterable[A | None])
    assert "empty list" in refusal(Iterable[A | None])


def no_args(*values: int) -> None: ...


def no_kwargs(**values: int) -> None: ...


def positional(a: int, /) -> None: ...


def unknown_annotation(a: "Nowhere") -> None: ...  # noqa: F821


def odd_annotation(a: object()) -> None: ...


def no_schema(a: type) -> None: ...


def takes_callable(a: Callable[[], int]) -> None: ...


class Lost(BaseModel):
    x: "Nowhere"  # noqa: F821


@dataclasses.dataclass
class LostData:
    x: "Nowhere"  # noqa: F821


class LostRow(TypedDict):
    x: "Nowhere"  # noqa: F821


class Text(BaseModel):
    x: int

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string"}


NO_TOOLS = [
    (int, ["int cannot be a tool", "class IntCall(BaseModel): value: int"]),
    (Entry, ["Entry cannot be a tool", "class EntryCall(BaseModel): value: Entry"]),
    (Enum, ["Enum cannot be a tool"]),
    (dict, ["dict cannot be a tool", "model"]),
    (dict[str, int], ["dict[str, int] cannot be a tool"]),
    (Numbers, ["Numbers cannot be a tool", "object with fields"]),
    (BaseModel, ["BaseModel cannot be a tool"]),
    (None, ["None cannot be a tool", "empty list"]),
    (Literal[1], ["Literal[1] cannot be a tool"]),
    (Any, ["Any cannot be a tool"]),
    (T, ["T cannot be a tool"]),
    (Never, ["Never cannot be a tool"]),
    (5, ["5 cannot be a tool"]),
    (D(1), ["cannot be a tool"]),
    (A(x=1), ["cannot be a tool"]),
    (Iterable[A], ["Iterable[A] cannot be a tool"]),
    (type[A], ["type[A] cannot be a tool"]),
    ("A", ["'A' is the name of a type"]),
    (Lost, ["Lost cannot be a tool", "'Nowhere'", "Lost.model_rebuild()"]),
    (LostData, ["LostData cannot be a tool", "'Nowhere'"]),
    (LostRow, ["LostRow cannot be a tool", "'Nowhere'"]),
    (Text, ["Text cannot be a tool", "'string'", "object"]),
    (no_args, ["no_args cannot be a tool", "*values"]),
    (no_kwargs, ["no_kwargs cannot be a tool", "**values"]),
    (positional, ["positional cannot be a tool", "'a"]),
    (unknown_annotation, ["unknown_annotation cannot be a tool", "Nowhere"]),
    (odd_annotation, ["odd_annotation cannot be a tool"]),
    (no_schema, ["no_schema cannot be a tool"]),
    (takes_callable, ["takes_callable cannot be a tool"]),
    (print, ["print cannot be a tool", "*args"]),
    (Tool(""), ["polycall.Tool takes a name"]),
    (Tool(5), ["polycall.Tool takes a name"]),
    (Tool("t", schema=True), ["JSON Schema as a dict"]),
    (Tool("t", schema={"type": "string"}), ["'string'", "object"]),
    (Tool("t", schema={"type": "nope"}), ["the schema of tool 't' is no valid JSON Schema"]),
    (Tool("t", schema={"properties": []}), ["the schema of tool 't' is no valid JSON Schema"]),
    (Tool("t", schema={"$ref": "#/$defs/no"}), ["/$defs/no"]),
    (Tool("t", schema={"$ref": "#"}), ["the schema of t refers to '#'"]),
]


@pytest.mark.parametrize(("source", "texts"), NO_TOOLS, ids=count())
def test_what_cannot_be_a_tool(source, texts):
    message = refusal(tools=[source])
    assert [text for text in texts if text not in message] == [], message


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes both from 3.12 on")
def test_the_typed_dict_of_typing_says_which_one_to_import():
    assert "typing_extensions.TypedDict" in refusal(Iterable[Plain])


@pytest.mark.parametrize(
    ("tools", "text"),
    [
        (A, "tools takes a list of types, functions and polycall.Tool objects, not A"),
        ("A", "not 'A'"),
        ({A: f}, "tools takes a list"),
        (5, "not 5"),
        ([], "tools is empty"),
        ([Tool("t"), Tool("t")], "two tools are named 't'"),
        ([lambda x: x, lambda y: y], "two tools are named '<lambda>'"),
        ([A, Tool("A")], "two tools are named 'A'"),
    ],
    ids=count(),
)
def test_a_list_of_tools_that_is_not_understood(tools, text):
    assert text in refusal(tools=tools)


def test_either_types_or_tools():
    assert (
        refusal()
        == refusal(Iterable[A], [A])
        == "say which tools the model may call: response_model=Iterable[A | B], or tools=[A, B]"
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/schema.json", "file:///schema.json"])
def test_a_schema_elsewhere_is_never_fetched(url):
    message = refusal(tools=[Tool("t", schema={"$ref": url})])
    assert "nothing is fetched" in message
    assert "$defs" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
    ],
    ids=count(),
)
def test_references_in_a_circle_end(schema):
    code = f"""
import polycall, polycall._tools as tools
try: tools.toolset(None, [polycall.Tool("t", schema={schema!r})])
except polycall.UsageError as error: print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert "the schema of t" in run.stdout, run.stderr


# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("get_weather", "get_weather"),
        ("get-weather", "get-weather"),
        ("_x", "_x"),
        ("a" * 64, "a" * 64),
        ("a" * 100, "a" * 64),
        ("Box[int]", "Box_int"),
        ("files.read", "files_read"),
        ("read a file", "read_a_file"),
        ("größe", "gr_e"),
        ("天気", "tool"),
        ("1st", "_1st"),
        ("-x", "_-x"),
        ("<lambda>", "lambda"),
        ("a\n", "a"),
    ],
    ids=count(),
)
def test_a_name_that_providers_refuse_is_mangled(name, sent):
    assert offer(Tool(name)).schema.wire_name == sent


def test_mangled_names_never_collide():
    named = ["a b", "a.b", "a_b", "a b ", "天気", "日本", "tool", "x" * 100, "x" * 101, "x" * 64]
    tools = toolset(None, [Tool(name) for name in named])
    sent = {tool.name: tool.wire_name for tool in tools.schemas}
    assert len(set(sent.values())) == len(named)
    assert (sent["a_b"], sent["tool"], sent["x" * 64]) == ("a_b", "tool", "x" * 64), "a good name is sent as it is"
    assert all(len(name) <= 64 for name in sent.values())


def test_a_mangled_name_is_mapped_back_and_nothing_else_is():
    tools = toolset(Iterable[Box[int] | Box[str]])
    call = check_named(tools, "Box_str", {"item": "a"})
    assert (call.name, call.value) == ("Box[str]", Box[str](item="a"))
    assert check_named(tools, "Box[str]", {"item": "a"}).outcome == "unknown"
    assert check_named(tools, "box_str", {"item": "a"}).outcome == "unknown"


# -------------------------------------------------------------------------------------------------------------- caching


def test_the_same_types_give_the_same_objects():
    assert toolset(Iterable[A | B]) is toolset(list[A | B]) is toolset(None, [A, B])
    assert toolset(Iterable[A | B]) is not toolset(Iterable[B | A])


def test_types_with_metadata_that_cannot_be_hashed_work_each_time():
    form = Iterable[Annotated[A, {"a": []}]]
    assert [toolset(form).offered[0].schema.name for _ in range(2)] == ["A", "A"]


def test_methods_of_two_objects_are_not_mixed_up():
    one, two = Service(), Service()
    first, second = check(one.find, {"what": "x"}).value, check(two.find, {"what": "x"}).value
    assert (first.function.__self__, second.function.__self__) == (one, two)


def test_many_types_do_not_stay_in_memory_forever():
    import weakref

    def use() -> "weakref.ref[type]":
        class Passing(BaseModel):
            x: int

        toolset(Iterable[Passing])
        return weakref.ref(Passing)

    first = use()
    for _ in range(300):
        use()
    gc.collect()
    assert first() is None


# --------------------------------------------------------------------------------------------------------------- choice


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("required", ToolChoice("required")),
        ("none", ToolChoice("none")),
        (A, ToolChoice("required", ("A",))),
        ("A", ToolChoice("required", ("A",))),
        (Box[int], ToolChoice("required", ("Box_int",))),
        ("Box[int]", ToolChoice("required", ("Box_int",))),
        ([A], ToolChoice("auto", ("A",))),
        ((f, A), ToolChoice("auto", ("A", "f"))),
    ],
    ids=count(),
)
def test_tool_choice(wanted, expected):
    assert toolset(None, [A, Box[int], f]).choice(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (B, "tool_choice: 'B' is not"),
        ("a", "tool_choice: 'a' is not"),
        ([A, B], "tool_choice: 'B' is not"),
        ([], '"none"'),
        (True, "True"),
        ({"type": "function", "function": {"name": "A"}}, "is not"),
    ],
    ids=count(),
)
def test_a_tool_choice_that_is_not_understood(wanted, text):
    with pytest.raises(UsageError) as caught:
        toolset(None, [A, f]).choice(wanted)
    assert text in str(caught.value)
    if wanted != []:
        assert '"auto", "required", "none"' in str(caught.value)
        assert "(A, f)" in str(caught.value)


def test_a_bound_method_can_be_chosen():
    service = Service()
    assert toolset(None, [service.find, f]).choice(service.find) == ToolChoice("required", ("find",))


@pytest.mark.parametrize("wanted", [Annotated[Row, "note"], Row], ids=count())
def test_an_annotated_type_can_be_chosen_by_itself(wanted):
    assert toolset(Iterable[Annotated[Row, "note"] | A]).choice(wanted) == ToolChoice("required", ("Row",))


def test_choosing_a_tool_is_forcing_a_call():
    tools = toolset(None, [A])
    assert [tools.choice(wanted).forced for wanted in (None, "none", "required", A, [A])] == [False, False, True, True, False]


# -------------------------------------------------------------------------------------------------------- descriptions


class Told(BaseModel):
    """Say it."""

    x: int

    @computed_field
    def twice(self) -> int:
        return self.x * 2


class Heir(Told):
    pass


class ToldBox(BaseModel, Generic[T]):
    """A box."""

    item: T


@dataclasses.dataclass
class ToldData:
    """Some data."""

    x: int


class ToldRow(TypedDict):
    """A row."""

    x: int


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Told, "Say it."),
        (Heir, None),
        (A, None),
        (ToldBox[int], "A box."),
        (ToldData, "Some data."),
        (D, None),
        (ToldRow, "A row."),
        (Row, None),
        (Annotated[Told, "note"], "Say it."),
        (f, "Do it."),
        (g, None),
        (functools.partial(f, b="y"), "Do it."),
        (Service().find, "Find one thing."),
        (Service(), "Finds things."),
        (Bare(), "Call it."),
        (Tool("t", "Given."), "Given."),
        (Tool("t"), None),
    ],
    ids=count(),
)
def test_descriptions_are_those_that_were_written(source, expected):
    assert offer(source).schema.description == expected
