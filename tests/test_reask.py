"""Whatever is bad and whatever the model does when it is asked again: nothing is lost, nothing moves, and it ends."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict
from pydantic_core import to_json

import polycall
from polycall._reask import ACCEPTED, beside, plainly, tell
from polycall.call import Call
from polycall.errors import ArgumentProblem, CutOffError, InvalidArgumentsError, NoCallsError, UnknownToolError
from polycall.provider import Connection
from polycall.providers.openai import OpenAIChat
from polycall.types import ToolCall
from support import chat
from support.memory import InMemory, Script


class Weather(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str


class Alarm(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid")
    hour: int
    note: str = ""


class Stop(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid")


TOOLS = [Weather, Alarm, Stop]
VALUES = [Weather(city="Rome"), Weather(city="Oslo"), Alarm(hour=7), Alarm(hour=8, note="tea"), Stop()]
ASKED = 40
"""So many requests are more than any question here may take."""


# ------------------------------------------------------------------------------------------------------ what the model says


@dataclasses.dataclass(frozen=True)
class Said:
    """A call as the model writes it."""

    name: str
    text: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer of the model.

    Attributes:
        end: How it ends: ``"ok"``, ``"length"`` (cut by the token limit), ``"broken"`` (the connection breaks), or ``"silent"`` (the
            stream just ends).
    """

    said: tuple[Said, ...]
    text: str = ""
    end: str = "ok"

    def chunks(self, number: int, *, stream: bool, ids: str) -> list[bytes | Exception]:
        entries = [
            chat.entry(one.name, one.text, id={"own": f"call_{number}_{place}", "same": "call", "none": None}[ids])
            for place, one in enumerate(self.said)
        ]
        finish = "length" if self.end == "length" else "tool_calls" if entries else "stop"
        if not stream:
            return [chat.body(chat.whole(*entries, finish=finish, content=self.text or None))]
        whole = self.end in {"ok", "length"}
        text = [chat.data(chat.chunk(content=self.text))] if self.text else []
        events = chat.streamed(entries, size=5, finish=finish if whole else None, done=whole)
        begin = [chat.data(chat.chunk(role="assistant"))]
        return [*begin, *text, *events, *([ConnectionError("gone")] if self.end == "broken" else [])]


def right(value: pydantic.BaseModel) -> Said:
    return Said(type(value).__name__, value.model_dump_json())


SPOILERS: dict[str, Callable[[Said], Said]] = {
    "nothing": lambda one: Said(one.name, "{"),
    "list": lambda one: Said(one.name, "[]"),
    "no JSON": lambda one: Said(one.name, "oh"),
    "not closed": lambda one: Said(one.name, one.text[:-1]),
    "another field": lambda one: Said(one.name, '{"x":null}'),
    "wrong type": lambda one: Said(one.name, one.text.replace(":", ":[").replace(",", "],").replace("}", "]}") if ":" in one.text else "[{}]"),
    "text": lambda one: Said(one.name, to_json(one.text).decode()),
    "surrogate": lambda one: Said(one.name, '{"\\ud800":null}'),
    "unknown": lambda one: Said(f"{one.name}s", one.text),
    "unknown and empty": lambda one: Said("Tool", "{}"),
    "long": lambda one: Said(one.name, '{"' + "y" * 2500 + '":null}'),
    "many": lambda one: Said(one.name, "{" + ",".join(f'"z{number}":null' for number in range(99)) + "}"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Question:
    """What the model wants to call, and how it says it first.

    Attributes:
        spoiled: How each call is spoiled, None for a good one.
    """

    wanted: tuple[pydantic.BaseModel, ...]
    spoiled: tuple[str | None, ...]
    end: str = "ok"
    text: str = ""

    @property
    def said(self) -> tuple[Said, ...]:
        pairs = zip(self.wanted, self.spoiled, strict=True)
        said = [right(value) if how is None else SPOILERS[how](right(value)) for value, how in pairs]
        if self.end == "inside" and said:
            said[-1] = Said(said[-1].name, said[-1].text[: len(said[-1].text) // 2])
        return tuple(said)

    @property
    def first(self) -> Answer:
        return Answer(self.said, self.text, "length" if self.end == "inside" else self.end)

    @property
    def good(self) -> list[int]:
        last = len(self.wanted) - 1
        return [place for place, how in enumerate(self.spoiled) if how is None and not (self.end == "inside" and place == last)]


class Model:
    """Stands where the SDK's client stands and answers each request; keeps what was sent and said."""

    def __init__(self, first: Answer, again: Callable[[int, Any], Answer | Exception], *, stream: bool, ids: str, bytewise: bool):
        self.first, self.again = first, again
        self.stream, self.ids, self.bytewise = stream, ids, bytewise
        self.bodies: list[Any] = []
        self.answers: list[Answer | Exception] = []
        self.closed = 0

    def answer(self, body: Any) -> Script:
        number = len(self.bodies)
        self.bodies.append(copy.deepcopy(body))
        given = self.again(number, body) if number else self.first
        if number >= ASKED:
            given = ConnectionError("asked for ever")
        self.answers.append(given)
        if isinstance(given, Exception):
            raise given
        chunks = given.chunks(number, stream=self.stream, ids=self.ids)
        return Script(one_by_one(chunks) if self.bytewise else chunks)


def one_by_one(chunks):
    """Cut chunks into bytes; long ones, of which the beginning and the end matter, into pieces that are a bit larger."""
    for chunk in chunks:
        size = 1 if isinstance(chunk, Exception) else 1 + len(chunk) // 500
        yield from [chunk] if isinstance(chunk, Exception) else (chunk[at : at + size] for at in range(0, len(chunk), size))


@dataclasses.dataclass(frozen=True, slots=True)
class Talking(InMemory):
    """`InMemory`, with a `Model` that answers one request after the other."""

    def send(self, client, encoded, *, stream, timeout):
        return client.answer(encoded.body)


PUMPS = ["blocking", "asyncio", "asyncio over a blocking client"]


def ask(model: Model, pump: str, **options: Any) -> polycall.Calls[Any]:
    options = {"tools": TOOLS, "errors": "return", "stream": model.stream, **options}
    blocking = pump == "asyncio over a blocking client"
    connection = Connection(Talking(asynchronous=pump == "asyncio"), model, blocking=blocking)
    if pump == "blocking":
        answer = polycall.Client(connection, model="m").create("?", **options)
        return answer.result() if model.stream else answer
    return asyncio.run(ask_async(polycall.AsyncClient(connection, model="m"), options))


async def ask_async(client: polycall.AsyncClient, options: dict[str, Any]) -> polycall.Calls[Any]:
    answer = await client.create("?", **options)
    return await answer.result() if options["stream"] else answer


# --------------------------------------------------------------------------------------------------------- what always holds


def assert_valid(messages: list[Any], *, open_end: bool = False) -> None:
    """Whether every call of each turn is answered exactly once, in order, right behind it."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert waiting
            assert message["tool_call_id"] == waiting.pop(0)
            assert isinstance(message["content"], str)
            assert message["content"]
            continue
        assert not waiting
        if message["role"] == "assistant":
            waiting = [call["id"] for call in message.get("tool_calls", [])]
            assert len(set(waiting)) == len(waiting)
            assert waiting or isinstance(message["content"], str)
    assert not waiting or open_end


def assert_short(model: Model) -> None:
    """Whether no request is longer than the first, the model's turns, and 128 bytes a call and 4 KB for each of them."""
    first = len(to_json(model.bodies[0]))
    for body in model.bodies[1:]:
        turns = [message for message in body["messages"] if message["role"] == "assistant"]
        allowed = sum(len(to_json(turn)) + 128 * len(turn.get("tool_calls", [])) for turn in turns)
        assert len(to_json(body)) <= first + allowed + 4096 * max(1, len(turns))


def assert_nothing_lost(question: Question, model: Model, calls: polycall.Calls[Any]) -> None:
    count = len(question.wanted)
    assert len(calls) >= count
    assert [call.index for call in calls.calls] == list(range(len(calls)))
    for place in question.good:
        assert calls.calls[place] is calls.attempts[0].calls[place]
        assert calls[place] == question.wanted[place]
    for place, call in enumerate(calls.calls):
        if call.error is None:
            assert type(call.value) in TOOLS
            assert call.name == type(call.value).__name__
        else:
            assert call.error.index == place
    assert list(calls.errors[: len(bad := [call.error for call in calls.calls if call.error])]) == bad
    answered = [[(one.name, one.text) for one in answer.said] for answer in model.answers if isinstance(answer, Answer)]
    attempts = [[(call.name, call.arguments) for call in attempt.calls] for attempt in calls.attempts]
    assert Counter(map(repr, attempts)) == Counter(map(repr, answered))
    assert attempts[0] == answered[0]


def assert_told(model: Model, calls: polycall.Calls[Any]) -> None:
    """Whether all that was sent, and the conversation of the outcome, is what a service takes."""
    for body in model.bodies:
        assert_valid(body["messages"])
    assert_short(model)
    assert_valid(calls.messages, open_end=True)
    results = [f"result {place}." for place in range(len(calls))]
    replied = calls.reply(results)
    assert_valid(replied)
    contents = Counter(message["content"] for message in replied if message["role"] == "tool")
    assert [contents[result] for result in results] == [1] * len(calls)
    assert_valid(calls.reply({place: "." for place, call in enumerate(calls.calls) if call.error is None}))


def assert_copies(calls: polycall.Calls[Any]) -> None:
    for made in (pickle.loads(pickle.dumps(calls)), copy.deepcopy(calls), copy.copy(calls)):
        assert len(made) == len(calls)
        assert [type(one) for one in made] == [type(one) for one in calls]
        assert [one for one in made if isinstance(one, pydantic.BaseModel)] == [
            one for one in calls if isinstance(one, pydantic.BaseModel)
        ]
        assert made.messages == calls.messages
        assert len(made.attempts) == len(calls.attempts)
        assert [str(error) for error in made.errors] == [str(error) for error in calls.errors]
        assert made.reply(["."] * len(made)) == calls.reply(["."] * len(calls))


# ------------------------------------------------------------------------------------------------ any behaviour of the model


@st.composite
def questions(
    draw: Any, ends: tuple[str, ...] = ("ok",), least: int = 0, spoilers: tuple[str, ...] = tuple(SPOILERS)
) -> Question:
    count = draw(st.integers(least, 12))
    wanted = draw(st.lists(st.sampled_from(VALUES), min_size=count, max_size=count))
    spoiled = draw(st.lists(st.none() | st.sampled_from(spoilers), min_size=count, max_size=count))
    return Question(tuple(wanted), tuple(spoiled), draw(st.sampled_from(ends)), draw(st.sampled_from(["", "hello"])))


@st.composite
def behaviours(draw: Any, question: Question, stream: bool) -> Callable[[int, Any], Answer | Exception]:
    """Draw what the model says each time that it is asked again."""
    answers: list[Answer | Exception] = []
    places = range(len(question.wanted))
    one = st.builds(
        lambda value, spoiler: right(value) if spoiler is None else SPOILERS[spoiler](right(value)),
        st.sampled_from(VALUES),
        st.none() | st.sampled_from(sorted(SPOILERS)),
    )
    if places:
        one |= st.sampled_from(places).map(lambda place: right(question.wanted[place]))
        one |= st.sampled_from(places).map(lambda place: question.said[place])
        one |= st.sampled_from(places).map(lambda place: Said(right(question.wanted[place]).name, right(VALUES[place % 5]).text))
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["any", "any", "bad", "all", "error"]))
        said = {
            "bad": [right(question.wanted[place]) for place in places if place not in question.good],
            "all": [right(value) for value in question.wanted],
        }.get(how, [])
        if how == "any":
            said = draw(st.lists(one, max_size=6))
        end = draw(st.sampled_from(["ok", "ok", "length", *(["broken", "silent"] if stream else [])]))
        text = draw(st.sampled_from(["", "", "sorry"]))
        answers.append(ConnectionError("refused") if how == "error" else Answer(tuple(said), text, end))
    return lambda number, _: answers[(number - 1) % len(answers)]


@settings(max_examples=90)
@given(st.data(), st.sampled_from(PUMPS), st.integers(0, 3), st.sampled_from(["own", "same", "none"]))
def test_whatever_the_model_does_nothing_is_lost(data, pump, max_retries, ids):
    stream = data.draw(st.booleans())
    ends = ("ok", "ok", "length", "inside", *(("broken", "silent") if stream else ()))
    question = data.draw(questions(ends))
    again = data.draw(behaviours(question, stream))
    bytewise = pump != PUMPS[2] and data.draw(st.integers(0, 4)) == 0  # there each read is a thread's
    model = Model(question.first, again, stream=stream, ids=ids, bytewise=bytewise)
    calls = ask(model, pump, max_retries=max_retries, reask="end")
    assert len(model.bodies) <= 1 + max_retries
    assert_nothing_lost(question, model, calls)
    assert_told(model, calls)
    assert_copies(calls)


@settings(max_examples=100)
@given(st.data(), st.sampled_from(PUMPS), st.integers(0, 2), st.sampled_from(["own", "same", "none"]))
def test_whatever_the_model_does_while_the_stream_runs(data, pump, max_retries, ids):
    question = data.draw(questions(("ok", "ok", "length", "inside", "broken", "silent")))
    again = data.draw(behaviours(question, stream=True))
    model = Model(question.first, again, stream=True, ids=ids, bytewise=False)
    calls = ask(model, pump, max_retries=max_retries)
    assert len(model.bodies) < ASKED
    assert_nothing_lost(question, model, calls)
    assert_told(model, calls)
    assert_copies(calls)


# --------------------------------------------------------------------------------------------------- a model that does right


HONEST = ("nothing", "list", "not closed", "wrong type", "text", "unknown", "unknown and empty")
"""What says nothing of what was wanted, or nothing but that."""


class Corrects:
    """A model that does as it is told: it sends the bad calls again, or all, in the old order. Its ids have to be its own."""

    def __init__(self, question: Question, how: str) -> None:
        self.question, self.how = question, how
        self.meant = {f"call_0_{place}": place for place in range(len(question.wanted))}

    def __call__(self, number: int, body: Any) -> Answer:
        said: dict[int, Said] = {}
        bad: dict[int, bool] = {}
        for message in body["messages"]:
            for call in message.get("tool_calls", ()):
                said[self.meant[call["id"]]] = Said(call["function"]["name"], call["function"]["arguments"])
            if message["role"] == "tool":
                bad[self.meant[message["tool_call_id"]]] = not message["content"].startswith(ACCEPTED)
        places = [place for place in sorted(bad) if bad[place] or self.how == "all"]
        self.meant |= {f"call_{number}_{position}": place for position, place in enumerate(places)}
        return Answer(tuple(right(self.question.wanted[place]) if bad[place] else said[place] for place in places))


@settings(max_examples=250)
@given(questions(least=1, spoilers=HONEST), st.sampled_from(["bad", "all"]), st.booleans(), st.sampled_from(PUMPS[:2]))
def test_every_correction_finds_its_place(question, how, stream, pump):
    model = Model(question.first, Corrects(question, how), stream=stream, ids="own", bytewise=False)
    calls = ask(model, pump, reask="end")
    assert not calls.errors
    assert list(calls) == list(question.wanted)
    assert len(model.bodies) == 1 + (len(question.good) < len(question.wanted))


@pytest.mark.parametrize("how", ["bad", pytest.param("all")])
@settings(max_examples=100)
@given(question=questions(least=1, spoilers=HONEST), pump=st.sampled_from(PUMPS[:2]))
def test_every_correction_finds_its_place_while_the_stream_runs(how, question, pump):
    model = Model(question.first, Corrects(question, how), stream=True, ids="own", bytewise=False)
    calls = ask(model, pump)
    assert not calls.errors
    assert list(calls) == list(question.wanted)


def test_what_comes_behind_a_call_is_told_of_where_that_call_stands():
    """The first answer's and the second's: their positions are those of the outcome."""
    events = {
        0: [("Weather", '{"city":"Rome"} and more'), ("Weather", "{")],
        1: [("Weather", '{"city":"Oslo"}{')],
    }

    class Talks(Model):
        def answer(self, body):
            self.bodies.append(body)
            said = events[len(self.bodies) - 1]
            return Script(chat.streamed([chat.entry(*one, id=f"c{at}") for at, one in enumerate(said)], size=15))

    model = Talks(Answer(()), lambda _, __: Answer(()), stream=True, ids="own", bytewise=False)
    calls = ask(model, "blocking", reask="end")
    assert list(calls) == VALUES[:2]
    assert [error.index for error in calls.errors] == [0, 1]


class Particular(Talking):
    """A service that takes back arguments only where they are a JSON object."""

    raw_arguments = False


def test_arguments_go_back_as_objects_where_the_service_wants_that():
    question = Question((VALUES[0], VALUES[2], VALUES[4]), ("no JSON", None, "list"))
    model = Model(question.first, Corrects(question, "bad"), stream=False, ids="own", bytewise=False)
    calls = polycall.Client(Connection(Particular(), model, blocking=False), model="m").create("?", tools=TOOLS)
    assert list(calls) == list(question.wanted)
    for messages in (model.bodies[1]["messages"], calls.messages):
        sent = [json.loads(call["function"]["arguments"]) for call in messages[1]["tool_calls"]]
        assert sent == [{"invalid_arguments": "oh"}, {"hour": 7, "note": ""}, {"invalid_arguments": "[]"}]


# ---------------------------------------------------------------------------------------------------- what the model is told


def results_of(answers):
    return OpenAIChat().results(answers)


def told(call: int, *texts: str, for_model: bool = True) -> InvalidArgumentsError:
    problems = [ArgumentProblem("city", "refused", text, for_model=for_model) for text in texts]
    return InvalidArgumentsError("bad", index=call, tool="Weather", problems=problems)


words = st.text(max_size=20) | st.sampled_from(
    ["x" * 3000, '"' * 1500, "\n" * 700, "\ud800", "é" * 1900, "\x00" * 500, "\U0001f600" * 999]
)
reasons = (
    st.lists(words, min_size=1, max_size=5).map(lambda texts: told(0, *texts))
    | st.sampled_from(["no such tool", "x" * 5000]).map(lambda text: UnknownToolError(text, index=0, tool="Tool"))
    | st.just(CutOffError("the answer was cut inside this call", index=0, tool="Weather"))
)


@given(
    st.integers(0, 40), st.dictionaries(st.integers(0, 39), reasons), st.lists(reasons, max_size=6), st.booleans(), st.booleans()
)
def test_what_is_told_keeps_to_its_size(count, bad, absent, cut, none):
    calls = [ToolCall(place, f"call_{place:04}", "Weather", "{}") for place in range(count)]
    bad = {place: error for place, error in bad.items() if place < count}
    gaps = [CutOffError("cut", index=0)] * cut + [NoCallsError("none", index=0)] * none
    note = beside([Call(9, None, "Weather" * 99, "{", "invalid", error) for error in absent], gaps)
    assert len(to_json(note)) <= 2048
    answers = tell(calls, bad, note, results_of)
    assert [answer.call for answer in answers] == calls
    assert len(to_json(results_of(answers))) <= 128 * count + 4096
    for answer in answers:
        content = answer.content.removesuffix(f" {note}") if note and answer is answers[-1] else answer.content
        assert answer.failed == (answer.call.index in bad)
        if not answer.failed:
            assert content == ACCEPTED
            continue
        assert len(content) <= 2000
        said = json.loads(content)
        assert said["error"] in {"invalid arguments", "unknown tool", "cut off"}
        assert len(said.get("problems", [])) + said.get("more", 0) <= 5


@pytest.mark.parametrize("count", [1, 2, 30, 1000])
@pytest.mark.parametrize("length", [1, 100, 5000])
def test_many_bad_calls_share_the_room(count, length):
    calls = [ToolCall(place, f"call_{place:04}", "Weather", "{}") for place in range(count)]
    answers = tell(calls, {place: told(place, "x" * length, "y") for place in range(count)}, "", results_of)
    assert len(to_json(results_of(answers))) <= 128 * count + 4096
    assert {json.loads(answer.content)["error"] for answer in answers} == {"invalid arguments"}
    if count <= 2:
        said = json.loads(answers[0].content)
        assert said["problems"][0].startswith("x" * min(length, 1700))
        assert len(said["problems"]) + said.get("more", 0) == 2


def test_what_is_not_meant_for_the_model_is_not_told():
    calls = [ToolCall(0, "c", "Weather", "{}")]
    [answer] = tell(calls, {0: told(0, "/home/me", for_model=False)}, "", results_of)
    assert json.loads(answer.content)["problems"] == ["city: refused"]


def test_nothing_is_said_beside_where_there_is_nothing():
    assert beside([], []) == ""
    assert tell([], {}, "note", results_of) == []


@given(st.text() | st.sampled_from(["", "null", "[1]", '"{}"', "7", "{", '{"a": 1}', " {} ", "\ud800", "{}{}", "NaN"]))
def test_arguments_are_sent_back_as_an_object(text):
    call = ToolCall(0, "c", "Weather", text)
    made = plainly(call)
    if made is call:
        assert not text or isinstance(json.loads(text), dict)
    else:
        assert list(json.loads(made.arguments)) == ["invalid_arguments"]
        assert (made.id, made.name) == (call.id, call.name)
    assert plainly(made) is made
