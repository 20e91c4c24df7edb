"""The calls of a response as a sequence of values, with errors in place, answers to them, and copies."""

import copy
import dataclasses
import pickle
import traceback
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import openai
import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import polycall
from polycall import BoundCall, Call, CallErrors, Calls, InvalidArgumentsError, Tool, UnknownToolError, Usage, UsageError
from support import chat
from support.loopback import Answer, Server

T = TypeVar("T")


class Weather(BaseModel):
    city: str


class Storm(Weather):
    pass


class Search(BaseModel):
    query: str


@dataclasses.dataclass
class Point:
    x: int


class Row(TypedDict):
    x: int


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


class Service:
    def find(self, what: str) -> str:
        return what


SERVICE = Service()
RAW = Tool("raw", schema={"type": "object", "properties": {"x": {"type": "integer"}}})
EVERY = [Weather, Storm, Search, Point, Annotated[Row, Field(description="a row")], Pair[int], add, SERVICE.find, RAW]

OSLO = chat.entry("Weather", '{"city": "Oslo"}', id="c1")
QUERY = chat.entry("Search", '{"query": "cup"}', id="c2")
ROME = chat.entry("Weather", '{"city": "Rome"}', id="c3")
BAD = chat.entry("Weather", '{"city": 1}', id="c4")
UNKNOWN = chat.entry("Nope", "{}", id="c5")


def answered(*entries: dict[str, Any], tools: Any = None, errors: str = "return", **message: Any) -> Calls[Any]:
    """Ask a server that answers with these calls."""
    with Server() as server, openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        server.answer = Answer(chat.body(chat.whole(*entries, **message)))
        client = polycall.from_openai(sdk, model="m")
        return client.create("?", tools=tools or [Weather, Search], errors=errors, max_retries=0)


@pytest.fixture(scope="module")
def calls() -> Calls[Any]:
    return answered(OSLO, QUERY, ROME)


@pytest.fixture(scope="module")
def mixed() -> Calls[Any]:
    return answered(OSLO, BAD, UNKNOWN, ROME, content="here")


# ------------------------------------------------------------------------------------------------------------- sequence


def test_a_sequence_of_values_in_the_models_order(calls):
    values = [Weather(city="Oslo"), Search(query="cup"), Weather(city="Rome")]
    assert list(calls) == list(calls) == values
    assert [calls[0], calls[1], calls[-1]] == values
    assert len(calls) == 3
    assert isinstance(calls, Sequence)
    assert list(reversed(calls)) == values[::-1]
    assert values[1] in calls
    assert Weather(city="Bergen") not in calls
    assert (calls.index(values[2]), calls.count(values[0])) == (2, 1)
    assert calls


@pytest.mark.parametrize("part", [slice(1, None), slice(None, None, -1), slice(0, 99), slice(2, 1), slice(-2, None)])
def test_slices(calls, part):
    assert calls[part] == tuple(list(calls)[part])


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_beyond_the_end(calls, index):
    with pytest.raises(IndexError):
        calls[index]


def test_calls_stand_beside_their_values(calls):
    assert [(call.index, call.id, call.name, call.outcome) for call in calls.calls] == [
        (0, "c1", "Weather", "ok"),
        (1, "c2", "Search", "ok"),
        (2, "c3", "Weather", "ok"),
    ]
    assert calls.calls[0].arguments == '{"city": "Oslo"}'
    assert all(call.value is value for call, value in zip(calls.calls, calls, strict=True))
    assert calls.errors == ()


def test_an_answer_without_calls_is_empty():
    calls = answered(content="no need", finish="stop")
    assert not calls
    assert (list(calls), calls.text, calls.finish_reason, calls.errors) == ([], "no need", "stop", ())
    assert calls.of(Weather) == []
    assert repr(calls) == "Calls([])"


def test_what_else_came(calls):
    assert (calls.text, calls.finish_reason) == ("", "tool_calls")
    assert calls.usage is None
    (attempt,) = calls.attempts
    assert (attempt.model, attempt.finish_reason, attempt.usage, attempt.errors) == ("m-1", "tool_calls", None, ())


def test_usage_over_all_attempts():
    with Server() as server, openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        server.answer = Answer(chat.body({**chat.whole(OSLO), "usage": usage}))
        calls = polycall.from_openai(sdk, model="m").create("?", response_model=Iterable[Weather])
    assert calls.usage == Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=2)
    assert calls.attempts[0].usage == calls.usage


def test_shown_short(calls):
    assert repr(calls) == "Calls([Weather(city='Oslo'), Search(query='cup'), Weather(city='Rome')])"
    assert repr(calls.calls[0]) == "Call(index=0, id='c1', name='Weather', value=Weather(city='Oslo'))"


# --------------------------------------------------------------------------------------------------------------- errors


def test_errors_stand_in_their_places(mixed):
    assert [type(value) for value in mixed] == [Weather, InvalidArgumentsError, UnknownToolError, Weather]
    assert [call.outcome for call in mixed.calls] == ["ok", "invalid", "unknown", "ok"]
    assert mixed.errors == (mixed[1], mixed[2])
    assert mixed.errors == tuple(call.error for call in mixed.calls if call.error)
    assert [error.index for error in mixed.errors] == [1, 2]
    assert mixed.text == "here"
    assert mixed[1:3] == (mixed[1], mixed[2])


def test_the_value_of_a_bad_call_raises_its_error(mixed):
    with pytest.raises(InvalidArgumentsError) as caught:
        _ = mixed.calls[1].value
    assert caught.value is mixed.calls[1].error
    assert repr(mixed.calls[1]) == "Call(index=1, id='c4', name='Weather', outcome='invalid')"
    assert mixed.calls[1].arguments == '{"city": 1}'


def test_bad_calls_raise_together_and_lose_nothing():
    with pytest.raises(CallErrors) as caught:
        answered(OSLO, BAD, UNKNOWN, ROME, errors="raise")
    error = caught.value
    assert str(error).startswith("2 of 4 calls cannot be used: call 1 (Weather): city: ")
    assert [type(one) for one in error.exceptions] == [InvalidArgumentsError, UnknownToolError]
    assert error.calls is not None
    assert error.calls.of(Weather) == [Weather(city="Oslo"), Weather(city="Rome")]
    assert error.exceptions == error.calls.errors


# ------------------------------------------------------------------------------------------------------------------- of


def test_of_gives_the_good_values_of_one_type(mixed):
    assert mixed.of(Weather) == [Weather(city="Oslo"), Weather(city="Rome")]
    assert mixed.of(Search) == []
    assert mixed.of(BaseModel) == mixed.of(Weather)
    assert mixed.of(InvalidArgumentsError) == []


def test_of_every_kind_of_tool():
    calls = answered(
        chat.entry("Storm", '{"city": "Oslo"}', id="1"),
        chat.entry("Weather", '{"city": "Rome"}', id="2"),
        chat.entry("Point", '{"x": 1}', id="3"),
        chat.entry("Row", '{"x": 2}', id="4"),
        chat.entry("Pair_int", '{"left": 3}', id="5"),
        chat.entry("add", '{"a": 4}', id="6"),
        chat.entry("find", '{"what": "w"}', id="7"),
        chat.entry("raw", '{"x": 8}', id="8"),
        tools=EVERY,
    )
    assert calls.of(Weather) == [Storm(city="Oslo"), Weather(city="Rome")], "a subclass counts"
    assert calls.of(Storm) == [Storm(city="Oslo")]
    assert calls.of(Point) == [Point(1)]
    assert calls.of(Row) == calls.of(EVERY[4]) == [{"x": 2}]
    assert calls.of(Pair[int]) == calls.of(Pair) == [Pair(3)]
    assert [call() for call in calls.of(add)] == [5]
    assert [call() for call in calls.of(SERVICE.find)] == ["w"]
    assert calls.of(RAW) == [{"x": 8}]
    assert calls.of(dict) == [{"x": 2}, {"x": 8}]
    assert [call.function for call in calls.of(BoundCall)] == [add, SERVICE.find]


def test_is_of(mixed):
    assert [call.is_of(Weather) for call in mixed.calls] == [True, True, False, True], "a bad call is still of its tool"
    assert [call.is_of(BaseModel) for call in mixed.calls] == [True, False, False, True]
    assert not mixed.calls[0].is_of(Row)
    assert not mixed.calls[0].is_of("Weather")


# ---------------------------------------------------------------------------------------------------------------- reply


def test_messages_end_with_the_models_turn(calls):
    question, turn = calls.messages
    assert question == {"role": "user", "content": "?"}
    assert turn == {"role": "assistant", "content": None, "tool_calls": [OSLO, QUERY, ROME]}
    assert calls.messages is not calls.messages


def told(messages: list[Any]) -> list[tuple[str, str]]:
    assert all(message["role"] == "tool" for message in messages)
    return [(message["tool_call_id"], message["content"]) for message in messages]


def test_reply_takes_results_by_position_by_id_by_call_and_in_order(calls):
    expected = [("c1", "rain"), ("c2", "Norway"), ("c3", "sun")]
    values = ["rain", "Norway", "sun"]
    ways: list[Any] = [
        values,
        tuple(values),
        iter(values),
        dict(enumerate(values)),
        dict(zip(["c3", "c1", "c2"], ["sun", "rain", "Norway"], strict=True)),
        dict(zip(calls.calls, values, strict=True)),
        {0: "rain", "c2": "Norway", calls.calls[2]: "sun"},
    ]
    for results in ways:
        messages = calls.reply(results)
        assert messages[:2] == calls.messages
        assert told(messages[2:]) == expected


def test_results_that_are_no_text_are_sent_as_json(calls):
    results = [{"temperature": 3, "when": None}, Weather(city="Ås"), [Point(1), 2.5, True]]
    assert [content for _, content in told(calls.reply(results)[2:])] == [
        '{"temperature":3,"when":null}',
        '{"city":"Ås"}',
        '[{"x":1},2.5,true]',
    ]


def test_bad_calls_are_answered_with_the_reason(mixed):
    contents = told(mixed.reply({0: "rain", 3: "sun"})[2:])
    assert contents == [
        ("c1", "rain"),
        ("c4", "city: Input should be a valid string"),
        ("c5", "no such tool was offered; offered were: Weather, Search"),
        ("c3", "sun"),
    ]


def test_a_result_for_a_bad_call_is_taken(mixed):
    assert told(mixed.reply({0: "a", 1: "b", 3: "c"})[2:])[1] == ("c4", "b")
    assert [content for _, content in told(mixed.reply(["a", "b", "c", "d"])[2:])] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ({0: "a", 1: "b"}, "no result for call 2 (Weather)"),
        ({}, "no result for call 0 (Weather)"),
        (["a", "b"], "2 results for 3 calls"),
        ({0: "a", 1: "b", 2: "c", 3: "d"}, "3, which is no call of this response: use positions 0 to 2"),
        ({-1: "a"}, "-1, which is no call"),
        ({"c9": "a"}, "'c9', which is no call"),
        ({1.5: "a"}, "1.5, which is no call"),
        ({(): "a"}, "(), which is no call"),
    ],
)
def test_results_that_do_not_fit(calls, results, text):
    with pytest.raises(UsageError) as caught:
        calls.reply(results)
    assert text in str(caught.value)


@pytest.mark.parametrize("results", ["abc", b"de", 5, None])
def test_results_that_are_no_collection(calls, results):
    with pytest.raises(UsageError):
        calls.reply(results)


def test_a_result_that_is_no_json_says_so(calls):
    with pytest.raises(UsageError, match="result"):
        calls.reply([object(), "b", "c"])


def test_a_call_of_another_response_is_no_key(calls, mixed):
    with pytest.raises(UsageError, match="no call of this response"):
        calls.reply({mixed.calls[0]: "a", 1: "b", 2: "c"})


def test_ids_that_repeat_or_are_missing_are_made_unique_in_the_reply():
    one, same, none = (chat.entry("Weather", '{"city": "a"}', id=given) for given in ("c", "c", None))
    calls = answered(one, same, none)
    assert [call.id for call in calls.calls] == ["c", "c", None]
    messages = calls.reply(["x", "y", "z"])
    ids = [message["tool_call_id"] for message in messages[2:]]
    assert [entry["id"] for entry in messages[1]["tool_calls"]] == ids
    assert len(set(ids)) == 3
    assert ids[0] == "c"


def test_the_reply_to_an_answer_without_calls():
    calls = answered(content="hello", finish="stop")
    assert calls.reply({}) == calls.reply([]) == [{"role": "user", "content": "?"}, {"role": "assistant", "content": "hello"}]


def test_the_reply_is_what_the_server_gets():
    with Server() as server, openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        server.queue.append(Answer(chat.body(chat.whole(OSLO))))
        server.answer = Answer(chat.body(chat.whole(content="It rains.", finish="stop")))
        client = polycall.from_openai(sdk, model="m")
        first = client.create("?", response_model=Iterable[Weather])
        second = client.create(first.reply(["rain"]), response_model=Iterable[Weather])
    assert second.text == "It rains."
    assert server.last["messages"] == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [OSLO]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]


# ----------------------------------------------------------------------------------------------------------- the response


def test_the_response_is_the_sdks_own_object_and_made_once(calls):
    assert type(calls.response) is openai.types.chat.ChatCompletion
    assert calls.response is calls.response
    assert calls.response.choices[0].message.tool_calls[1].function.name == "Search"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda calls: pickle.loads(pickle.dumps(calls))])
def test_calls_can_be_copied_and_sent_away(mixed, copied):
    again = copied(mixed)
    assert type(again) is Calls
    assert again.of(Weather) == mixed.of(Weather)
    assert [str(error) for error in again.errors] == [str(error) for error in mixed.errors]
    assert [(call.index, call.id, call.name, call.arguments, call.outcome) for call in again.calls] == [
        (call.index, call.id, call.name, call.arguments, call.outcome) for call in mixed.calls
    ]
    assert (again.text, again.finish_reason, again.usage) == (mixed.text, mixed.finish_reason, mixed.usage)
    assert [attempt.model for attempt in again.attempts] == ["m-1"]
    assert again.messages == mixed.messages
    assert again.reply({0: "a", 3: "b"}) == mixed.reply({0: "a", 3: "b"})


def test_the_response_of_a_copy_from_elsewhere_is_the_body(calls):
    assert pickle.loads(pickle.dumps(calls)).response == chat.whole(OSLO, QUERY, ROME)


def test_bound_calls_travel_when_their_function_can():
    calls = answered(chat.entry("add", '{"a": 4}', id="6"), tools=[add])
    again = pickle.loads(pickle.dumps(calls))
    assert again[0]() == 5
    assert again.of(add) == calls.of(add)
    assert isinstance(again.calls[0], Call)


def test_calls_hold_nothing_of_the_client():
    calls = answered(OSLO)
    calls.reply(["a"])
    text = pickle.dumps(calls)
    assert b"api_key" not in text
    assert b"openai.resources" not in text
    assert b"openai._" not in text


def test_of_takes_unions_apart(mixed):
    assert mixed.of(Weather | Search) == [value for value in mixed if isinstance(value, Weather | Search)]


def test_reading_a_bad_value_again_and_again_keeps_its_traceback_short(mixed):
    bad = next(call for call in mixed.calls if call.error is not None)
    depths = set()
    for _ in range(5):
        with pytest.raises(polycall.CallError) as caught:
            _ = bad.value
        depths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(depths) == 1


def test_a_copy_keeps_the_response_and_the_arguments(mixed):
    for again in copy.copy(mixed), copy.deepcopy(mixed):
        assert again.response is mixed.response
        assert [error.arguments for error in again.errors] == [error.arguments for error in mixed.errors]
    assert copy.deepcopy(mixed).of(Weather)[0] is not mixed.of(Weather)[0]
