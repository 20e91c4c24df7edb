"""`Client` and `AsyncClient`: what is sent, where options go, and what is refused before anything is sent."""

import asyncio
import copy
import inspect
import json
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from dirty_equals import IsPartialDict, IsStr
from pydantic import BaseModel, ValidationInfo, field_validator

import polycall
from polycall import AsyncClient, AsyncStream, CallErrors, Client, NoCallsError, Stream, Tool, UsageError
from support import chat
from support.loopback import Answer, Sent, Server


class Weather(BaseModel):
    """Get the weather."""

    city: str
    days: int = 1


class Search(BaseModel):
    query: str


def add(a: int, b: int = 1) -> int:
    return a + b


TOOLS = Iterable[Weather | Search]
OSLO = chat.entry("Weather", '{"city": "Oslo", "days": null}', id="c1")
QUERY = chat.entry("Search", '{"query": "cup"}', id="c2")
BAD = chat.entry("Search", '{"query": 1}', id="c3")


def whole(*entries: dict[str, Any], **options: Any) -> Answer:
    return Answer(chat.body(chat.whole(*entries, **options)))


def streamed(*entries: dict[str, Any]) -> Answer:
    return Answer(chat.streamed(entries, size=4), content_type="text/event-stream")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        server.answer = whole(OSLO, QUERY)
        yield server


@pytest.fixture
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def async_sdk(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def client(sdk: openai.OpenAI) -> Client:
    return polycall.from_openai(sdk, model="m")


@pytest.fixture
def async_client(async_sdk: openai.AsyncOpenAI) -> AsyncClient:
    return polycall.from_openai(async_sdk, model="m")


# ----------------------------------------------------------------------------------------------------------- what is sent


def test_what_is_sent(client, server):
    calls = client.create("Weather in Oslo?", response_model=TOOLS)
    assert list(calls) == [Weather(city="Oslo"), Search(query="cup")]
    assert server.last == {
        "model": "m",
        "messages": [{"role": "user", "content": "Weather in Oslo?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "Weather",
                    "description": "Get the weather.",
                    "strict": True,
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string"},
                            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                        },
                        "required": ["city", "days"],
                        "additionalProperties": False,
                    },
                },
            },
            {
                "type": "function",
                "function": {
                    "name": "Search",
                    "strict": True,
                    "parameters": {
                        "type": "object",
                        "properties": {"query": {"type": "string"}},
                        "required": ["query"],
                        "additionalProperties": False,
                    },
                },
            },
        ],
    }


MESSAGES = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": [{"type": "text", "text": "?"}]}]


@pytest.mark.parametrize(
    ("messages", "sent"),
    [("?", [{"role": "user", "content": "?"}]), (MESSAGES, MESSAGES), (tuple(MESSAGES), MESSAGES), (iter(MESSAGES), MESSAGES)],
    ids=["text", "list", "tuple", "iterator"],
)
def test_messages_in_every_form(client, server, messages, sent):
    client.create(messages, response_model=TOOLS)
    assert server.last["messages"] == sent


def test_messages_may_be_the_sdks_own_objects(client, server):
    message = openai.types.chat.ChatCompletionMessage(role="assistant", content="hello")
    client.create([message, {"role": "user", "content": "?"}], response_model=TOOLS)
    assert server.last["messages"][0] == IsPartialDict(role="assistant", content="hello")


@pytest.mark.parametrize("messages", [[], (), {"role": "user", "content": "?"}, None, 5, ["?"]])
def test_messages_that_are_not_understood(client, server, messages):
    with pytest.raises(UsageError, match="messages"):
        client.create(messages, response_model=TOOLS)
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"temperature": 0.5, "seed": 7}, {"temperature": 0.5, "seed": 7}),
        ({"parallel": False}, {"parallel_tool_calls": False}),
        ({"parallel": True}, {"parallel_tool_calls": True}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"tool_choice": Weather}, {"tool_choice": {"type": "function", "function": {"name": "Weather"}}}),
        (
            {"tool_choice": [Search]},
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "Search"}}]},
                }
            },
        ),
        ({"extra_body": {"provider": {"only": ["a"]}}}, {"provider": {"only": ["a"]}}),
        ({"max_tokens": 5, "model": "other"}, {"max_tokens": 5, "model": "other"}),
        ({"user": openai.omit}, {}),
        ({"tool_choice": None, "parallel": None, "timeout": None}, {}),
        ({"tool_choice": "auto", "strict": False, "context": 1, "max_retries": 0, "errors": "return"}, {}),
    ],
)
def test_options_reach_the_body(client, server, options, sent):
    plain = client.payload("?", response_model=TOOLS)
    client.create("?", response_model=TOOLS, **{"errors": "return", "max_retries": 0, **options})
    assert server.last == {**plain, **sent}


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"extra_body": {"x": 1}}, {"tool_choice": [Search]}, {"parallel": False}, {"user": openai.omit}],
)
@pytest.mark.parametrize("stream", [False, True])
def test_payload_is_what_is_sent(client, server, options, stream):
    server.answer = streamed(OSLO, QUERY) if stream else server.answer
    payload = client.payload("?", response_model=TOOLS, stream=stream, **options)
    assert server.requests == []
    answer = client.create("?", response_model=TOOLS, errors="return", stream=stream, max_retries=0, **options)
    assert len(answer.result() if stream else answer) == 2
    assert server.last == payload
    assert json.loads(json.dumps(payload)) == payload


def test_a_payload_is_the_callers_own(client):
    before = client.payload("?", response_model=TOOLS)
    kept = copy.deepcopy(before)
    before["tools"][0]["function"]["parameters"].clear()
    before["tools"].clear()
    assert client.payload("?", response_model=TOOLS) == kept


def test_what_is_no_part_of_the_body(client, server, sdk):
    client.create("?", response_model=TOOLS, extra_headers={"x-mine": "1"}, extra_query={"q": "2"})
    (sent,) = server.requests
    assert sent.headers["x-mine"] == "1"
    assert sent.path == "/v1/chat/completions?q=2"
    assert "extra_headers" not in sent.body
    assert sent.headers["authorization"] == "Bearer k"


def test_a_timeout_bounds_the_call_and_is_not_sent(client, server):
    client.create("?", response_model=TOOLS, timeout=30.0)
    assert "timeout" not in server.last


def test_schema_strict_off_sends_schemas_as_they_are(client, server):
    server.answer = whole(chat.entry("Weather", '{"city": "Oslo"}', id="c"))
    assert list(client.create("?", response_model=Iterable[Weather], schema_strict=False)) == [Weather(city="Oslo")]
    function = server.last["tools"][0]["function"]
    assert "strict" not in function
    assert function["parameters"] == {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
        "required": ["city"],
    }


def test_null_is_no_way_to_leave_out_what_was_not_sent_so(client, server):
    server.answer = whole(OSLO)
    with pytest.raises(CallErrors) as caught:
        client.create("?", response_model=Iterable[Weather], schema_strict=False, max_retries=0)
    assert "days: Input should be a valid integer" in str(caught.value)


def test_a_tool_that_the_dialect_cannot_say_goes_beside_those_that_it_can(client, server):
    class Table(BaseModel):
        rows: dict[str, int]

    server.answer = whole(chat.entry("Table", '{"rows": {"a": 1}}', id="c"), QUERY)
    assert len(client.create("?", response_model=Iterable[Table | Search])) == 2
    assert [tool["function"].get("strict") for tool in server.last["tools"]] == [None, True]


def test_functions_and_raw_schemas_as_tools(client, server):
    server.answer = whole(chat.entry("add", '{"a": 1, "b": 2}', id="1"), chat.entry("my_tool", '{"x": 1}', id="2"))
    calls = client.create("?", tools=[add, Tool("my tool", "Mine.", {"properties": {"x": {"type": "integer"}}})])
    assert (calls[0](), calls[1]) == (3, {"x": 1})
    assert [call.name for call in calls.calls] == ["add", "my tool"]
    assert [tool["function"]["name"] for tool in server.last["tools"]] == ["add", "my_tool"]
    assert server.last["tools"][1]["function"]["description"] == "Mine."


# ---------------------------------------------------------------------------------------------------------- the model


def test_the_model_of_the_client_or_of_the_call(sdk, server):
    polycall.from_openai(sdk, model="one").create("?", response_model=TOOLS)
    polycall.from_openai(sdk, model="one").create("?", response_model=TOOLS, model="two")
    polycall.from_openai(sdk).create("?", response_model=TOOLS, model="three")
    polycall.from_openai(sdk, model="one").create("?", response_model=TOOLS, model=None)
    assert [sent.body["model"] for sent in server.requests] == ["one", "two", "three", "one"]


def test_no_model(sdk, server):
    with pytest.raises(UsageError, match="no model: say which one"):
        polycall.from_openai(sdk).create("?", response_model=TOOLS)
    assert server.requests == []


def test_defaults_hold_for_every_call(sdk, server):
    client = polycall.from_openai(sdk, model="m", temperature=0.1, seed=1)
    client.create("?", response_model=TOOLS, temperature=0.9)
    client.create("?", response_model=TOOLS)
    assert [(sent.body["temperature"], sent.body["seed"]) for sent in server.requests] == [(0.9, 1), (0.1, 1)]


def test_polycalls_own_options_may_be_defaults(sdk, server):
    server.answer = whole(chat.entry("Weather", '{"city": "Oslo", "days": "3"}', id="c"), BAD)
    client = polycall.from_openai(
        sdk, model="m", strict=False, errors="return", max_retries=0, parallel=False, tool_choice="required", timeout=30
    )
    calls = client.create("?", response_model=TOOLS)
    assert [call.outcome for call in calls.calls] == ["ok", "invalid"]
    assert server.last == IsPartialDict(parallel_tool_calls=False, tool_choice="required")
    assert not {"strict", "errors", "max_retries", "timeout"} & server.last.keys()
    with pytest.raises(CallErrors):
        client.create("?", response_model=TOOLS, errors="raise")


# --------------------------------------------------------------------------------- refused before anything is sent


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "say which tools"),
        ({"response_model": Weather}, "response_model=Iterable[Weather]"),
        ({"response_model": TOOLS, "tools": [add]}, "say which tools"),
        ({"tools": []}, "tools is empty"),
        ({"response_model": TOOLS, "errors": "ignore"}, 'errors="raise" or errors="return"'),
        ({"response_model": TOOLS, "reask": "late"}, 'reask="early" or reask="end"'),
        ({"response_model": TOOLS, "max_tokens_total": -1}, "max_tokens_total is the number"),
        ({"response_model": TOOLS, "repair": "yes"}, "repair='yes' is not understood"),
        ({"response_model": TOOLS, "max_retries": -1}, "max_retries"),
        ({"response_model": TOOLS, "max_retries": 1.5}, "max_retries"),
        ({"response_model": TOOLS, "max_retries": None}, "max_retries"),
        ({"response_model": TOOLS, "tool_choice": add}, "tool_choice"),
        ({"response_model": TOOLS, "timeout": "5"}, "timeout"),
        ({"response_model": TOOLS, "timeout": -1}, "timeout"),
        ({"response_model": TOOLS, "timeout": True}, "timeout"),
        ({"response_model": TOOLS, "timeout": float("inf")}, "timeout"),
        ({"response_model": TOOLS, "parallel": "yes"}, "parallel='yes' is not understood: write True or False or None"),
        ({"response_model": TOOLS, "strict": None}, "strict=None is not understood: write True or False"),
        ({"response_model": TOOLS, "schema_strict": 0}, "schema_strict=0"),
        ({"response_model": Iterable[Weather] | None}, "write response_model=Iterable[Weather]"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "polycall.Tool(name="),
    ],
)
def test_refused_before_anything_is_sent(client, server, options, text):
    ask: list[Any] = [client.create, client.payload, client.create_with_completion, client.stream]
    for method in ask:
        with pytest.raises(UsageError) as caught:
            method("?", **options)
        assert text in str(caught.value)
    assert server.requests == []


def test_the_sdks_marks_for_nothing_are_nothing(client, server):
    nothing: Any = {"tool_choice": openai.NOT_GIVEN, "parallel": openai.omit, "timeout": openai.NOT_GIVEN, "strict": openai.omit}
    client.create("?", response_model=TOOLS, **nothing)
    assert not nothing.keys() & server.last.keys()


async def test_refused_before_anything_is_sent_async(async_client, server):
    with pytest.raises(UsageError, match="Iterable"):
        await async_client.create("?", response_model=Weather)
    with pytest.raises(UsageError, match="Iterable"):
        await async_client.create_with_completion("?", response_model=Weather)
    with pytest.raises(UsageError, match="Iterable"):
        async_client.stream("?", response_model=Weather)
    assert server.requests == []


# ------------------------------------------------------------------------------------------------------------- checking


class Known(BaseModel):
    city: str

    @field_validator("city")
    @classmethod
    def known(cls, city: str, info: ValidationInfo) -> str:
        if info.context is None or city not in info.context:
            raise ValueError(city)
        return city


def test_context_reaches_the_validators(client, server):
    server.answer = whole(chat.entry("Known", '{"city": "Oslo"}', id="c"))
    assert client.create("?", response_model=Iterable[Known], context={"Oslo"})[0].city == "Oslo"
    with pytest.raises(CallErrors):
        client.create("?", response_model=Iterable[Known], context={"Rome"}, max_retries=0)


def test_strict_and_lax(client, server):
    server.answer = whole(chat.entry("Weather", '{"city": "Oslo", "days": "3"}', id="c"))
    with pytest.raises(CallErrors) as caught:
        client.create("?", response_model=Iterable[Weather], max_retries=0)
    assert "days: Input should be a valid integer" in str(caught.value)
    assert client.create("?", response_model=Iterable[Weather], strict=False)[0].days == 3


def test_a_call_was_required(client, server):
    server.answer = whole(content="No.", finish="stop")
    assert client.create("?", response_model=TOOLS).text == "No."
    with pytest.raises(CallErrors) as caught:
        client.create("?", response_model=TOOLS, tool_choice="required", max_retries=0)
    assert caught.group_contains(NoCallsError)
    calls = client.create("?", response_model=TOOLS, tool_choice=Weather, errors="return", max_retries=0)
    assert (list(calls), [type(error) for error in calls.errors], calls.text) == ([], [NoCallsError], "No.")


def test_a_tool_that_was_not_allowed_is_unknown(client, server):
    calls = client.create("?", response_model=TOOLS, tool_choice=[Search], errors="return", max_retries=0)
    assert [call.outcome for call in calls.calls] == ["unknown", "ok"]


# ---------------------------------------------------------------------------------------------- the ways of asking


def test_create_with_completion(client):
    calls, completion = client.create_with_completion("?", response_model=TOOLS)
    assert type(completion) is openai.types.chat.ChatCompletion
    assert completion is calls.response
    assert calls.of(Search) == [Search(query="cup")]


async def test_create_with_completion_async(async_client):
    calls, completion = await async_client.create_with_completion("?", response_model=TOOLS)
    assert type(completion) is openai.types.chat.ChatCompletion
    assert completion is calls.response


def test_a_stream(client, server):
    server.answer = streamed(OSLO, QUERY)
    for make in (
        lambda: client.stream("?", response_model=TOOLS),
        lambda: client.create("?", response_model=TOOLS, stream=True),
    ):
        with make() as stream:
            assert type(stream) is Stream
            assert list(stream) == [Weather(city="Oslo"), Search(query="cup")]
        assert server.last == IsPartialDict(stream=True, stream_options={"include_usage": True})
        assert len(stream.result()) == 2


async def test_a_stream_async(async_client, server):
    server.answer = streamed(OSLO, QUERY)
    for stream in (
        async_client.stream("?", response_model=TOOLS),
        await async_client.create("?", response_model=TOOLS, stream=True),
    ):
        assert type(stream) is AsyncStream
        async with stream:
            assert [value async for value in stream] == [Weather(city="Oslo"), Search(query="cup")]
        assert server.last == IsPartialDict(stream=True)
        assert len(await stream.result()) == 2


def test_nothing_is_sent_before_a_stream_is_read(client, server):
    server.answer = streamed(OSLO)
    stream = client.stream("?", response_model=TOOLS)
    assert server.requests == []
    assert len(stream.result()) == 1
    assert len(server.requests) == 1


async def test_create_async(async_client, server):
    calls = await async_client.create("?", response_model=TOOLS)
    assert list(calls) == [Weather(city="Oslo"), Search(query="cup")]
    assert server.last == async_client.payload("?", response_model=TOOLS)
    assert type(calls.response) is openai.types.chat.ChatCompletion


async def test_many_questions_at_once(async_client, server):
    def echo(sent: Sent) -> Answer:
        city = sent.body["messages"][0]["content"]
        return whole(chat.entry("Weather", json.dumps({"city": city, "days": 1}), id="c"))

    server.queue.extend([echo] * 20)
    asked = [async_client.create(f"city {number}", response_model=TOOLS) for number in range(20)]
    answers = await asyncio.gather(*asked)
    assert [calls[0].city for calls in answers] == [f"city {number}" for number in range(20)]


def test_one_client_in_many_threads(client, server):
    def echo(sent: Sent) -> Answer:
        city = sent.body["messages"][0]["content"]
        return whole(chat.entry("Weather", json.dumps({"city": city, "days": 1}), id="c"))

    def ask(number: int) -> str:
        class Mine(Weather):
            pass

        forms: list[Any] = [TOOLS, Iterable[Weather], Iterable[Mine | Weather]]
        city: str = client.create(f"city {number}", response_model=forms[number % 3]).of(Weather)[0].city
        return city

    server.queue.extend([echo] * 48)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(48))) == [f"city {number}" for number in range(48)]


async def test_a_blocking_client_inside_a_running_loop(client):
    assert len(client.create("?", response_model=TOOLS)) == 2
    assert len(await asyncio.to_thread(client.create, "?", response_model=TOOLS)) == 2


def test_one_async_client_per_loop_after_another(server):
    async def ask() -> int:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
            return len(await polycall.from_openai(sdk, model="m").create("?", response_model=TOOLS))

    assert [asyncio.run(ask()), asyncio.run(ask())] == [2, 2]


def test_the_methods_of_both_clients_are_the_same():
    def public(kind: type) -> dict[str, list[str]]:
        members = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
        return {name: list(inspect.signature(one).parameters) for name, one in members.items() if inspect.isfunction(one)}

    assert public(Client) == public(AsyncClient)
    assert {"create", "stream", "payload", "create_with_completion", "close"} <= public(Client).keys()


# -------------------------------------------------------------------------------------------------------------- closing


def test_a_client_that_was_handed_in_stays_open(sdk, server):
    with polycall.from_openai(sdk, model="m") as client:
        assert type(client) is Client
        client.create("?", response_model=TOOLS)
    client.close()
    assert not sdk.is_closed()
    assert len(client.create("?", response_model=TOOLS)) == 2


async def test_an_async_client_that_was_handed_in_stays_open(async_sdk):
    async with polycall.from_openai(async_sdk, model="m") as client:
        assert type(client) is AsyncClient
    await client.close()
    assert not async_sdk.is_closed()
    assert len(await client.create("?", response_model=TOOLS)) == 2


def test_what_polycall_opened_is_closed(sdk):
    from polycall.provider import Connection
    from polycall.providers.openai import OpenAIChat

    with Client(Connection(OpenAIChat(), sdk, blocking=False, close=sdk.close), model="m") as client:
        assert len(client.create("?", response_model=TOOLS)) == 2
        assert not sdk.is_closed()
    assert sdk.is_closed()


async def test_what_polycall_opened_is_closed_async(sdk):
    from polycall.provider import Connection
    from polycall.providers.openai import OpenAIChat

    async with AsyncClient(Connection(OpenAIChat(), sdk, blocking=True, close=sdk.close), model="m") as client:
        assert len(await client.create("?", response_model=TOOLS)) == 2
    assert sdk.is_closed()


def test_the_sdks_own_errors_pass_through(client, server):
    server.answer = Answer(b'{"error": {"message": "no", "type": "invalid_request_error"}}', status=400)
    with pytest.raises(openai.BadRequestError) as caught:
        client.create("?", response_model=TOOLS)
    assert caught.value.status_code == 400
    assert len(server.requests) == 1


def test_the_sdks_own_retries_go_on_to_hold(server):
    with openai.OpenAI(api_key="k", base_url=server.url, max_retries=1) as sdk:
        server.queue.append(Answer(b"{}", status=500))
        assert len(polycall.from_openai(sdk, model="m").create("?", response_model=TOOLS)) == 2
    assert len(server.requests) == 2
    assert server.requests[1].headers["x-stainless-retry-count"] == "1"


def test_no_warning_is_given_for_plain_use(client):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.create("?", response_model=TOOLS)
    assert caught == []


def test_an_id_of_ones_own_reaches_the_call(client):
    assert [call.id for call in client.create("?", response_model=TOOLS).calls] == [IsStr(regex="c1"), IsStr(regex="c2")]
