"""Any type, any value, any splitting: what a model sends comes back as the value, and what is spoiled is an error and no exception."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from ipaddress import IPv4Address
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired

import openai
import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

import polycall
from polycall import InvalidArgumentsError
from polycall.testing import ModelServer, Said, Turn
from support import chat
from support.memory import replay


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type and its values.

    Attributes:
        certain: Whether JSON says which value is meant: of a union, pydantic may take another member for the same JSON.
    """

    type: Any
    values: st.SearchStrategy[Any]
    certain: bool = True
    hashable: bool = True


# ------------------------------------------------------------------------------------------------- types and their values


class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Leaf(pydantic.BaseModel):
    kind: Literal["leaf"] = "leaf"
    size: int


class Branch(pydantic.BaseModel):
    kind: Literal["branch"] = "branch"
    left: Node
    right: Node | None = None


Node = Annotated[Leaf | Branch, Field(discriminator="kind")]
Branch.model_rebuild()

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\{}[]:, \né😀'), max_size=5) | st.sampled_from(
    ['"}', '\\"}', '{"', '"', "\\", "}}", '"{']
)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
trees = st.recursive(
    st.builds(Leaf, size=st.integers(-9, 9)),
    lambda inner: st.builds(Branch, left=inner, right=st.none() | inner),
    max_leaves=4,
)
PLAIN = [
    Kind(int, st.integers(-(2**70), 2**70)),
    Kind(float, st.floats(allow_nan=False, allow_infinity=False)),
    Kind(str, texts),
    Kind(bool, st.booleans()),
    Kind(NoneType, st.none()),
    Kind(Literal["a", "b", 7], st.sampled_from(["a", "b", 7])),
    Kind(Unit, st.sampled_from(Unit)),
    Kind(Level, st.sampled_from(Level)),
    Kind(dt.date, st.dates()),
    Kind(dt.datetime, st.datetimes() | st.datetimes(timezones=zones)),
    Kind(dt.time, st.times()),
    Kind(dt.timedelta, st.timedeltas(-dt.timedelta(days=999), dt.timedelta(days=999))),
    Kind(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    Kind(uuid.UUID, st.uuids()),
    Kind(IPv4Address, st.ip_addresses(v=4)),
    Kind(Annotated[int, Field(ge=-3, lt=12, multiple_of=3)], st.sampled_from([-3, 0, 3, 6, 9])),
    Kind(Annotated[float, Field(gt=0, le=1)], st.floats(0, 1, exclude_min=True)),
    Kind(Annotated[str, Field(min_length=1, max_length=4, pattern="^[a-zé]+$")], st.text("abcé", min_size=1, max_size=4)),
    Kind(
        Annotated[Decimal, Field(max_digits=6, decimal_places=2)], st.decimals(-999, 999, places=2, allow_nan=False)
    ),
    Kind(Node, trees, hashable=False),
]  # fmt: skip
IDENTIFIERS = ["a", "b", "city", "items", "properties", "kind", "arguments", "x_1"]
ALIASES = ["x y", "from", "a.b", "é", "A", "required"]


@st.composite
def kinds(draw: Any, depth: int = 2) -> Kind:
    """Draw a type that may stand in a field."""
    plain = draw(st.sampled_from(PLAIN))
    if depth == 0:
        return plain
    inner = draw(kinds(depth - 1))
    made: list[Callable[[], Kind]] = [
        lambda: plain,
        lambda: Kind(list[inner.type], st.lists(inner.values, max_size=3), inner.certain, hashable=False),
        lambda: Kind(
            Annotated[list[inner.type], Field(min_length=1, max_length=2)],
            st.lists(inner.values, min_size=1, max_size=2), inner.certain, hashable=False,
        ),
        lambda: Kind(dict[str, inner.type], st.dictionaries(texts, inner.values, max_size=3), inner.certain, hashable=False),
        lambda: Kind(tuple[plain.type, inner.type], st.tuples(plain.values, inner.values), inner.certain, hashable=False),
        lambda: Kind(set[plain.type], st.sets(plain.values, max_size=3), hashable=False) if plain.hashable else plain,
        lambda: Kind(inner.type | None, st.none() | inner.values, inner.certain, inner.hashable),
        lambda: Kind(plain.type | inner.type, plain.values | inner.values, certain=False, hashable=False),
        lambda: draw(objects(f"Inner{draw(st.integers(0, 10**9))}", depth - 1)),
    ]  # fmt: skip
    return draw(st.sampled_from(made))()


@st.composite
def objects(draw: Any, name: str, depth: int = 2) -> Kind:
    """Draw a model, a dataclass or a TypedDict."""
    fields = {field: draw(kinds(depth)) for field in draw(st.lists(st.sampled_from(IDENTIFIERS), max_size=4, unique=True))}
    optional = {field for field in fields if draw(st.booleans())}
    certain = all(kind.certain for kind in fields.values())
    made = draw(st.sampled_from([model, dataclass, typed_dict]))(draw, name, fields, optional)
    required = {field: kind.values for field, kind in fields.items() if field not in optional}
    filled = st.fixed_dictionaries(required, optional={field: fields[field].values for field in optional})
    return Kind(made, filled.map(lambda given: made(**given)), certain, hashable=False)


def model(draw: Any, name: str, fields: dict[str, Kind], optional: set[str]) -> Any:
    definitions: dict[str, Any] = {}
    aliases = iter(draw(st.permutations(ALIASES)))
    for field, kind in fields.items():
        options: dict[str, Any] = {"alias": next(aliases)} if draw(st.booleans()) else {}
        if field in optional:
            value = draw(kind.values)
            options |= draw(st.sampled_from([{"default": value}, {"default_factory": lambda value=value: value}]))
        definitions[field] = (kind.type, Field(**options))
    config = ConfigDict(
        extra=draw(st.sampled_from(["ignore", "forbid"])), validate_by_name=True, validate_by_alias=True, protected_namespaces=()
    )
    return pydantic.create_model(name, __config__=config, **definitions)


def dataclass(draw: Any, name: str, fields: dict[str, Kind], optional: set[str]) -> Any:
    definitions = []
    for field, kind in fields.items():
        value = draw(kind.values)
        default = dataclasses.field(default_factory=lambda value=value: value) if field in optional else dataclasses.field()
        definitions.append((field, kind.type, default))
    return dataclasses.make_dataclass(name, definitions, kw_only=True, frozen=draw(st.booleans()))


def typed_dict(_: Any, name: str, fields: dict[str, Kind], optional: set[str]) -> Any:
    types = {field: NotRequired[kind.type] if field in optional else kind.type for field, kind in fields.items()}
    return TypedDict(name, types)  # type: ignore[operator]  # known only now


# --------------------------------------------------------------------------------------------------------- on the wire


@dataclasses.dataclass(frozen=True)
class Sent:
    """One call.

    Attributes:
        plain: The arguments as pydantic writes them.
        text: The arguments as the model writes them: it likes ``1.0`` for ``1``.
    """

    kind: Kind
    value: Any
    plain: str
    text: str

    @property
    def name(self) -> str:
        return self.kind.type.__name__

    @property
    def expected(self) -> Any:
        """What the arguments are for pydantic by itself."""
        return TypeAdapter(self.kind.type).validate_json(self.plain, strict=True)


def written(kind: Kind, value: Any, **options: Any) -> str:
    text = TypeAdapter(kind.type).dump_json(value, by_alias=True, warnings=False)
    return json.dumps(json.loads(text), **options)


def as_floats(value: Any) -> Any:
    """Write every whole number with a fraction."""
    if isinstance(value, dict):
        return {key: as_floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_floats(one) for one in value]
    return float(value) if type(value) is int and abs(value) <= 2**53 else value


@st.composite
def calls(draw: Any) -> list[Sent]:
    """Draw some calls of one to three tools."""
    tools = [draw(objects(f"Tool{number}")) for number in range(draw(st.integers(1, 3)))]
    sent = []
    for kind in draw(st.lists(st.sampled_from(tools), min_size=1, max_size=4)):
        value = draw(kind.values)
        layout = {
            "indent": draw(st.sampled_from([None, 1])),
            "ensure_ascii": draw(st.booleans()),
            "sort_keys": draw(st.booleans()),
        }
        plain = written(kind, value, **layout)
        text = json.dumps(as_floats(json.loads(plain))) if kind.certain and draw(st.booleans()) else plain
        sent.append(Sent(kind, value, plain, text))
    return sent


def cut(draw: Any, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
    return [text[start:end] for start, end in itertools.pairwise([0, *places, len(text)])]


@st.composite
def streams(draw: Any, sent: list[Sent]) -> list[bytes]:
    """Write calls as a stream: each cut into deltas anywhere, the deltas of several mixed, and the bytes cut anywhere.

    Where they have no number of their own, they come one after the other and have ids.
    """
    index = draw(st.sampled_from(["own", "own", "zero", "none"]))
    waiting: list[list[dict[str, Any]]] = []
    for number, one in enumerate(sent):
        place = {"own": number, "zero": 0, "none": None}[index]
        first, *rest = cut(draw, one.text)
        head = chat.entry(one.name, first, id=f"call_{number}" if index != "own" or draw(st.booleans()) else None, index=place)
        waiting.append([head, *(chat.entry(arguments=piece, index=place) for piece in rest)])
    deltas: list[dict[str, Any]] = []
    begun = 0
    while any(waiting):
        may = [number for number in range(min(begun + 1, len(waiting))) if waiting[number]]
        number = draw(st.sampled_from(may)) if index == "own" else may[0]
        begun = max(begun, number + 1)
        deltas.append(waiting[number].pop(0))
    chunks = []
    while deltas:
        size = draw(st.integers(1, 3))
        together, deltas = deltas[:size], deltas[size:]
        chunks.append(chat.chunk(*together))
    body = b"".join(chat.stream(*chunks)).replace(b"\n", draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    body = body.replace(b"data: {", draw(st.sampled_from([b"data: {", b"data:{", b": ping\n\ndata: {"])))
    return chat.cut_up(body, draw(st.lists(st.integers(0, len(body)), max_size=8)))


def tools_of(sent: list[Sent]) -> list[Any]:
    return list(dict.fromkeys(one.kind.type for one in sent))


def assert_same(value: Any, one: Sent) -> None:
    """Whether a value is what pydantic makes of the text, and where JSON can say so what was written."""
    assert type(value) is type(one.expected)
    assert value == one.expected
    assert written(one.kind, value) == written(one.kind, one.expected)
    if one.kind.certain:
        assert value == one.value


@settings(max_examples=160)
@given(st.data(), calls(), st.booleans())
def test_every_value_comes_back_however_the_stream_is_cut(data, sent, schema_strict):
    answer = replay(data.draw(streams(sent)), tools_of(sent), schema_strict=schema_strict)
    assert not answer.errors
    assert [(call.index, call.name, call.arguments) for call in answer.calls] == [
        (index, one.name, one.text) for index, one in enumerate(sent)
    ]
    for value, one in zip(answer, sent, strict=True):
        assert_same(value, one)


@settings(max_examples=60)
@given(calls(), st.booleans(), st.booleans())
def test_every_value_comes_back_in_a_whole_body(sent, schema_strict, as_objects):
    entries = [
        chat.entry(one.name, json.loads(one.text) if as_objects else one.text, id=f"call_{index}")
        for index, one in enumerate(sent)
    ]
    answer = replay([chat.body(chat.whole(*entries))], tools_of(sent), schema_strict=schema_strict, stream=False)
    assert not answer.errors
    for value, one in zip(answer, sent, strict=True):
        assert_same(value, one)


# ----------------------------------------------------------------------------------------------------------- spoiled


@st.composite
def spoiled(draw: Any, text: str) -> str:
    """Change a text in one to three places."""
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        end = min(end, start + 4)
        here = text[start:end]
        marks = st.sampled_from(
            ['"', "\\", "{", "}", "[", "]", ",", ":", "0", "-", "e9", "null", "1.0", "true", " ", "\n", "é", "\x00"]
        )
        text = text[:start] + draw(
            st.one_of(
                st.just(""),
                marks,
                marks.map(lambda mark, here=here: mark + here),
                st.just(here[::-1]),
                st.just(here * 2),
                st.just("".join(chr(ord(character) ^ 1) for character in here)),
            )
        ) + (text[end:] if draw(st.integers(0, 9)) else "")  # fmt: skip
    return text


@settings(max_examples=250)
@given(st.data(), objects("Tool"), st.booleans(), st.booleans())
def test_spoiled_arguments_are_a_value_or_an_error(data, kind, schema_strict, strict):
    text = data.draw(spoiled(written(kind, data.draw(kind.values))))
    assume(text.strip())
    sent, other = Sent(kind, None, text, text), Sent(kind, None, "null", "null")
    answer = replay(data.draw(streams([sent, other])), [kind.type], schema_strict=schema_strict, strict=strict)
    call = answer.calls[0]
    assert [call.name for call in answer.calls] == ["Tool", "Tool"]
    if call.error is not None:
        assert isinstance(call.error, InvalidArgumentsError)
        assert call.error.problems
        assert repr(call.error)
        return
    again = written(kind, call.value)
    value = TypeAdapter(kind.type).validate_json(again, strict=strict)
    if kind.certain:
        assert value == call.value


# ----------------------------------------------------------------------------------------- over a socket, with the SDK


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer([]) as listening:
        yield listening


@pytest.mark.parametrize("direct", [True, False])
@settings(max_examples=6)
@given(sent=calls(), pieces=st.none() | st.integers(1, 9), stream=st.booleans())
def test_every_value_comes_back_over_a_socket(server, direct, sent, pieces, stream):
    server.script = [Turn(calls=[Said(one.name, one.text) for one in sent], pieces=pieces)]
    with openai.OpenAI(base_url=server.url, api_key="any") as sdk:
        if direct:
            client = polycall.from_provider("openai/m", base_url=server.url, api_key="any")
        else:
            client = polycall.from_openai(sdk, model="m")
        with client:
            answer = client.create("?", tools=tools_of(sent), errors="return", stream=stream)
            answer = answer.result() if stream else answer
    assert not answer.errors
    for value, one in zip(answer, sent, strict=True):
        assert_same(value, one)
