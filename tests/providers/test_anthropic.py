"""Anthropic's Messages: the bodies that are sent, what is read, and the SDK's own objects."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, Literal

import anthropic
import jsonschema_rs
import pytest
from dirty_equals import IsPartialDict
from inline_snapshot import snapshot
from pydantic import BaseModel, Field

import polycall
from polycall._dialect_anthropic import anthropic_strict
from support import messages
from support.loopback import Answer, Drop, Server, Until
from support.messages import call, text, thinking
from support.ways import MESSAGES, TESTS, of

SPEC = json.loads((TESTS / "spec" / "anthropic_beta.json").read_bytes())
VALIDATORS = {
    stream: jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/" + SPEC["x-roots"][root]})
    for stream, root in ((False, "messages.json"), (True, "messages.stream"))
}
SSE = "text/event-stream; charset=utf-8"


def check_body(body):
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in VALIDATORS["stream" in body].iter_errors(body)]
    assert not problems
    json.dumps(body, allow_nan=False)
    check_turns(body["messages"])


def check_turns(turns):
    """Users and the assistant in turns, nothing empty, every call answered by what comes first in the next message."""
    assert [turn["role"] for turn in turns] == [("user", "assistant")[place % 2] for place in range(len(turns))]
    for place, turn in enumerate(turns):
        assert turn["content"], turns
        blocks = turn["content"] if isinstance(turn["content"], list) else []
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if asked and place + 1 < len(turns):
            answers = [block.get("tool_use_id") for block in turns[place + 1]["content"][: len(asked)]]
            assert answers == asked
        kinds = [block["type"] == "tool_result" for block in blocks]
        assert kinds == sorted(kinds, reverse=True)


class Weather(BaseModel):
    """Get the weather."""

    location: str = Field(description="The city.")
    units: Literal["imperial", "metric"] = "metric"


class Search(BaseModel):
    query: str
    limit: int | None = None


class Node(BaseModel):
    children: list[Node] = []


def ping() -> None:
    pass


RAW = polycall.Tool("raw tool", "Anything.", {"type": "object", "properties": {"a": {}}, "minProperties": 1})
TOOLS = [Weather, Search, Node, ping, RAW]
PAIR = Iterable[Weather | Search]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    with anthropic.Anthropic(base_url=server.origin, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def client(sdk):
    return polycall.from_anthropic(sdk, model="claude-x", max_retries=0)


@pytest.fixture
async def async_client(server):
    async with anthropic.AsyncAnthropic(base_url=server.origin, api_key="k", max_retries=0) as sdk:
        yield polycall.from_anthropic(sdk, model="claude-x", max_retries=0)


@pytest.fixture
def direct(server):
    with polycall.from_provider("anthropic/claude-x", base_url=server.origin, api_key="k", retries=0, max_retries=0) as direct:
        yield direct


@pytest.fixture(autouse=True)
def fresh(server):
    server.requests.clear()
    server.queue.clear()
    server.answer = Answer(messages.body(messages.whole(text("ok"), stop="end_turn")))


@pytest.fixture
def read(server, client):
    """Return a function that gives what is read of an answer: blocks, or the pieces of a stream."""

    def read(*answer, response_model=None, tools=(Weather, Search, ping), via=client, **options):
        streamed = isinstance(answer[0], bytes)
        plain = b"" if streamed else messages.body(messages.whole(*answer))
        server.answer = Answer(list(answer), content_type=SSE) if streamed else Answer(plain)
        kind = {"response_model": response_model} if response_model else {"tools": list(tools)}
        calls = via.create("?", errors="return", stream=streamed, **kind, **options)
        return calls.result() if streamed else calls

    return read


@pytest.fixture
def sent(server, client):
    """Return a function that asks and gives the body that arrived at the server."""

    def sent(question: Any = "?", *, via=client, **options):
        options = options if {"tools", "response_model"} & options.keys() else {"tools": TOOLS, **options}
        stream = options.get("stream")
        server.answer = Answer(messages.stream(text("ok"), stop="end_turn"), content_type=SSE) if stream else server.answer
        answer = via.create(question, errors="return", **options)
        if stream:
            answer.result()
        check_body(server.last)
        return server.last

    return sent


# ------------------------------------------------------------------------------------------------------------------ bodies


def test_whole_body(sent):
    question = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather in Oslo?"}]
    assert sent(question, response_model=PAIR, parallel=True) == snapshot(
        {
            "max_tokens": 4096,
            "messages": [{"role": "user", "content": "Weather in Oslo?"}],
            "model": "claude-x",
            "system": "Use tools.",
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
            "tools": [
                {
                    "name": "Weather",
                    "description": "Get the weather.",
                    "input_schema": {
                        "type": "object",
                        "properties": {
                            "location": {"type": "string", "description": "The city."},
                            "units": {
                                "enum": ["imperial", "metric"],
                                "type": "string",
                                "description": '(default: "metric")',
                            },
                        },
                        "required": ["location"],
                        "additionalProperties": False,
                    },
                    "strict": True,
                },
                {
                    "name": "Search",
                    "input_schema": {
                        "type": "object",
                        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
                        "required": ["query"],
                        "additionalProperties": False,
                    },
                    "strict": True,
                },
            ],
        }
    )


def test_direct_body_is_that_of_the_sdk(sent, direct, server):
    options = {"tool_choice": "required", "stream": True, "temperature": 0, "extra_body": {"x": 1}}
    assert sent(via=direct, **options) == sent(**options)
    by_sdk, by_us = server.requests[1].headers, server.requests[0].headers
    newest = "authorization" in by_sdk  # anthropic 1 showed the key by another header, and an older version
    for name in ("authorization", "anthropic-version", "content-type") if newest else ("content-type",):
        assert by_us[name] == by_sdk[name]
    assert [one.path for one in server.requests] == ["/v1/messages"] * 2


WEATHER = ["Weather"]
THINKING = {"thinking": {"type": "adaptive"}}
OFF = {"disable_parallel_tool_use": True}
CHOICES = {
    "auto": ({"tool_choice": "auto"}, None, None),
    "required": ({"tool_choice": "required"}, {"type": "any"}, None),
    "none": ({"tool_choice": "none"}, {"type": "none"}, None),
    "none alone": ({"tool_choice": "none", "parallel": False}, {"type": "none"}, None),
    "tool": ({"tool_choice": Weather}, {"type": "tool", "name": "Weather"}, None),
    "mangled": ({"tool_choice": RAW}, {"type": "tool", "name": "raw_tool"}, None),
    "allowed": ({"tool_choice": [Weather, ping]}, None, ["Weather", "ping"]),
    "allowed one": ({"tool_choice": [Weather]}, None, WEATHER),
    "not parallel": ({"parallel": False}, {"type": "auto", **OFF}, None),
    "one exactly": ({"parallel": False, "tool_choice": "required"}, {"type": "any", **OFF}, None),
    "that one exactly": ({"parallel": False, "tool_choice": Weather}, {"type": "tool", "name": "Weather", **OFF}, None),
    "thinking": (THINKING, None, None),
    "thinking, required": ({**THINKING, "tool_choice": "required"}, None, None),
    "thinking, tool": ({**THINKING, "tool_choice": Weather}, None, WEATHER),
    "thinking, one": ({**THINKING, "tool_choice": "required", "parallel": False}, {"type": "auto", **OFF}, None),
    "thinking, none": ({**THINKING, "tool_choice": "none"}, {"type": "none"}, None),
    "thinking in extra_body": ({"extra_body": THINKING, "tool_choice": Weather}, None, WEATHER),
    "no thinking": ({"thinking": {"type": "disabled"}, "tool_choice": "required"}, {"type": "any"}, None),
}


@pytest.mark.parametrize(("options", "choice", "offered"), CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("stream", [False, True])
def test_choice(options, choice, offered, stream, sent):
    body = sent(stream=stream, **options)
    assert body.get("tool_choice") == choice
    assert [tool["name"] for tool in body["tools"]] == (offered or ["Weather", "Search", "Node", "ping", "raw_tool"])


@pytest.mark.parametrize("given", ["required", Weather])
def test_answer_without_a_call_is_an_error_where_the_choice_could_not_be_sent(given, server, client):
    server.queue += [Answer(messages.body(messages.whole(thinking("hm", "sig"), text("no"), stop="end_turn")))]
    server.answer = Answer(messages.body(messages.whole(call("Weather", {"location": "Oslo"}, "t1"))))
    calls = client.create("?", tools=[Weather, Search], tool_choice=given, max_retries=1, **THINKING)
    assert list(calls) == [Weather(location="Oslo")]
    again = server.last
    check_body(again)
    assert again["messages"][1]["content"] == [thinking("hm", "sig"), text("no")]
    assert "tool_choice" not in again
    server.answer = Answer(messages.body(messages.whole(text("no"), stop="end_turn")))
    with pytest.raises(polycall.CallErrors) as raised:
        client.create("?", tools=[Weather, Search], tool_choice=given, **THINKING)
    assert [type(error) for error in raised.value.exceptions] == [polycall.NoCallsError]


def test_options(sent, server):
    body = sent(max_tokens=9, temperature=0.5, system=[text("S", cache_control={"type": "ephemeral"})], stop_sequences=["x"])
    assert body == IsPartialDict(max_tokens=9, temperature=0.5, stop_sequences=["x"])
    assert body["system"] == [text("S", cache_control={"type": "ephemeral"})]
    body = sent(extra_headers={"x-own": "1"}, extra_query={"q": "2"}, extra_body={"mcp_servers": []}, betas=["a", "b"])
    assert server.requests[-1].headers == IsPartialDict({"x-own": "1", "anthropic-beta": "a,b"})
    assert server.requests[-1].path == "/v1/messages?q=2"
    assert body["mcp_servers"] == []
    assert not body.keys() & {"betas", "extra_headers", "extra_query", "extra_body", "eager_input_streaming"}
    assert sent(max_tokens=None)["max_tokens"] == 4096


def test_options_of_the_transport_are_the_same_without_the_sdk(sent, server, direct):
    sent(via=direct, betas="a", user_profile_id="u", workspace_id="w", extra_headers={"anthropic-beta": "own"})
    headers = {"anthropic-beta": "own", "anthropic-user-profile-id": "u", "anthropic-workspace-id": "w"}
    assert server.requests[-1].headers == IsPartialDict(headers)
    sent(betas="a", user_profile_id="u", workspace_id="w", extra_headers={"anthropic-beta": "own"})
    assert server.requests[-1].headers == IsPartialDict(headers)


def test_eager_input_streaming_is_for_every_tool(sent, client):
    assert [tool["eager_input_streaming"] for tool in sent(eager_input_streaming=True)["tools"]] == [True] * len(TOOLS)
    assert [tool["eager_input_streaming"] for tool in sent(eager_input_streaming=False)["tools"]] == [False] * len(TOOLS)
    assert not any("eager_input_streaming" in tool for tool in sent()["tools"])
    with pytest.raises(polycall.UsageError, match="eager_input_streaming is True or False"):
        client.payload("?", tools=TOOLS, eager_input_streaming=[1])


def test_long_answers_are_the_business_of_the_sdk(client, direct, sent):
    with pytest.raises(ValueError, match="Streaming is required"):
        client.create("?", tools=TOOLS, max_tokens=64_000)
    assert sent(max_tokens=64_000, stream=True)["max_tokens"] == 64_000
    assert sent(via=direct, max_tokens=64_000)["max_tokens"] == 64_000


@pytest.mark.parametrize("stream", [False, True])
def test_same_request_same_bytes(stream, server, sent, client):
    options = {"tools": TOOLS, "tool_choice": [Weather, Search], "parallel": True, "stream": stream, "top_k": 1}
    for _ in range(3):
        body = sent("?", **options)
        assert client.payload("?", **options) == body
    assert len({one.raw for one in server.requests}) == 1


# -------------------------------------------------------------------------------------------------------------- conversation

PICTURE = "data:image/png;base64,AAAA"
PDF = "data:application/pdf;base64,AAAA"
NOTE = f"data:text/plain;base64,{base64.b64encode('å'.encode()).decode()}"
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


def turns(sent, *given, **options):
    return sent([{"role": "user", "content": "?"}, *given], **options)["messages"][1:]


def test_openai_shaped_conversation(sent):
    asked = [
        {"id": "functions.f:0", "type": "function", "function": {"name": "f.g", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{bad"}},
        {"id": "c3", "type": "function", "function": {"name": "g", "arguments": "[1e999]"}},
    ]
    parts = [{"type": "text", "text": "r2"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    given = [
        {"role": "assistant", "content": "", "tool_calls": asked},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "r1"},
        {"role": "tool", "tool_call_id": "c2", "content": parts},
        {"role": "user", "content": "go on"},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
    ]
    assert turns(sent, *given) == [
        {
            "role": "assistant",
            "content": [
                call("f_g", {"a": 1}, "functions_f_0_d3166884"),
                call("g", {"invalid_arguments": "{bad"}, "c2"),
                call("g", {"invalid_arguments": "[1e999]"}, "c3"),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "functions_f_0_d3166884", "content": "r1"},
                {"type": "tool_result", "tool_use_id": "c2", "content": [text("r2"), PNG]},
                {"type": "tool_result", "tool_use_id": "c3", "content": ""},
                text("go on"),
            ],
        },
    ]


def test_system_messages_are_merged_behind_the_option(sent):
    given = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "?"},
        {"role": "developer", "content": "two"},
    ]
    assert sent(given)["system"] == "one\n\ntwo"
    assert sent(given, system="zero")["system"] == "zero\n\none\n\ntwo"
    cached = text("one", cache_control={"type": "ephemeral"})
    given[0] = {"role": "system", "content": [cached]}
    assert sent(given, system=["zero"])["system"] == [text("zero"), cached, text("two")]
    assert "system" not in sent([{"role": "system", "content": ""}, given[1]])


def test_native_conversation_stays_as_it_is(sent):
    native = [
        {
            "role": "assistant",
            "content": [thinking("t", "s"), {"type": "redacted_thinking", "data": "x"}, call("f", {}, "t1")],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [PNG],
                    "is_error": True,
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ]
    before = json.dumps(native)
    assert turns(sent, *native) == native
    assert json.dumps(native) == before


def test_objects_of_the_sdk_are_messages(sent, sdk, server, direct):
    remote = {"type": "mcp_tool_use", "id": "m1", "name": "x", "server_name": "y", "input": {}}  # unknown to the SDK here
    blocks = [thinking("t", "s"), text("words"), remote, call("f", {"a": 1}, "t1")]
    server.answer = Answer(messages.body(messages.whole(*blocks)))
    message = sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}])
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "r"}]}
    expected = [{"role": "assistant", "content": blocks}, result]
    server.answer = Answer(messages.body(messages.whole(text("ok"), stop="end_turn")))
    for given in (message, {"role": "assistant", "content": message.content}, {"role": "assistant", "content": [*blocks]}):
        assert turns(sent, given, result) == expected
        assert turns(sent, given, result, via=direct) == expected


def test_speakers_take_turns(sent):
    given = [
        {"role": "user", "content": "and"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [thinking("t", "s"), text("b")]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "last"},
    ]
    assert sent([{"role": "user", "content": "?"}, *given])["messages"] == [
        {"role": "user", "content": [text("?"), text("and")]},
        {"role": "assistant", "content": [text("a"), thinking("t", "s"), text("b")]},
        {"role": "user", "content": "last"},
    ]


def test_pictures_and_files(sent):
    parts = [
        {"type": "image_url", "image_url": PICTURE},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_image", "file_id": "f1"},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": NOTE, "filename": "a.txt"}},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "file", "file": {"file_id": "f2"}},
        {"type": "text", "text": "?"},
    ]
    (turn,) = sent([{"role": "user", "content": parts}])["messages"]
    assert [(block["type"], block.get("source")) for block in turn["content"]] == [
        ("image", PNG["source"]),
        ("image", {"type": "url", "url": "https://example.com/a.png"}),
        ("image", {"type": "file", "file_id": "f1"}),
        ("document", {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}),
        ("document", {"type": "text", "media_type": "text/plain", "data": "å"}),
        ("document", {"type": "url", "url": "https://example.com/a.pdf"}),
        ("document", {"type": "file", "file_id": "f2"}),
        ("text", None),
    ]
    assert [block.get("title") for block in turn["content"]][3:5] == ["a.pdf", "a.txt"]


REFUSED = {
    "sound": ({"type": "input_audio", "input_audio": {"data": "A", "format": "mp3"}}, "no sound"),
    "film": ({"type": "file", "file": {"file_data": "data:video/mp4;base64,AAAA"}}, "PDF and text files, not video/mp4"),
    "no text": ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "no base 64 of UTF-8"),
    "no address": ({"type": "image_url", "image_url": {"url": "gs://a/b"}}, "https address"),
}


@pytest.mark.parametrize(("part", "match"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_is_an_error_that_says_so(part, match, client):
    with pytest.raises(polycall.UsageError, match=match):
        client.payload([{"role": "user", "content": [part]}], tools=TOOLS)
    with pytest.raises(polycall.UsageError, match="system is a text"):
        client.payload("?", tools=TOOLS, system=1)


# ------------------------------------------------------------------------------------------------------------ strict dialect


def tool(name: str, **properties) -> polycall.Tool:
    return polycall.Tool(name, None, {"type": "object", "properties": properties})


def required(name: str, **properties) -> polycall.Tool:
    return polycall.Tool(name, None, {"type": "object", "properties": properties, "required": list(properties)})


def strict(body):
    return [tool["name"] for tool in body["tools"] if tool.get("strict")]


TEXT = {"type": "string"}
UNION = {"anyOf": [{"type": "string"}, {"type": "integer"}]}


def test_limits_of_a_request(sent, caplog):
    tools = [required(f"t{number}", a=TEXT) for number in range(22)]
    assert strict(sent(tools=tools)) == [f"t{number}" for number in range(20)]
    optional = [tool(name, **{f"f{number}": TEXT for number in range(count)}) for name, count in (("a", 20), ("b", 5), ("c", 4))]
    with caplog.at_level(logging.DEBUG, "polycall"):
        assert strict(sent(tools=optional)) == ["a", "c"]
    assert (
        "tool b is sent without the strict dialect: its 5 optional and 0 union-typed fields are beyond the limits" in caplog.text
    )
    unions = [
        required(name, **{f"f{number}": UNION for number in range(count)})
        for name, count in (("a", 8), ("b", 9), ("c", 7), ("d", 1), ("e", 1))
    ]
    assert strict(sent(tools=unions)) == ["a", "c", "d"]
    assert strict(sent(tools=unions, schema_strict=False)) == []


def test_costs_of_a_definition_count_wherever_it_is_used(sent):
    inner = {"type": "object", "properties": {f"f{number}": TEXT for number in range(5)}}
    schema = {
        "type": "object",
        "properties": {f"p{number}": {"$ref": "#/$defs/A"} for number in range(5)},
        "required": [f"p{number}" for number in range(5)],
        "$defs": {"A": inner},
    }
    assert strict(sent(tools=[polycall.Tool("t", None, schema)])) == []
    schema["required"].pop()
    del schema["properties"]["p4"]
    assert strict(sent(tools=[polycall.Tool("t", None, schema)])) == ["t"]


@pytest.mark.parametrize(
    ("model", "takes"),
    {
        "claude-3-7-sonnet-20250219": False,
        "anthropic.claude-3-5-sonnet-20241022-v2:0": False,
        "claude-sonnet-4-20250514": False,
        "claude-opus-4-0": False,
        "claude-sonnet-4@20250514": False,
        "claude-instant-1.2": False,
        "anthropic.claude-v2:1": False,
        "claude-sonnet-4-5-20250929": True,
        "claude-opus-4-1-20250805": True,
        "claude-haiku-4-5": True,
        "us.anthropic.claude-opus-4-6-v1": True,
        "claude-sonnet-5": True,
        "claude-fable-5-2": True,
    }.items(),
)
def test_models_before_the_strict_dialect_are_not_asked_for_it(model, takes, client):
    assert bool(strict(client.payload("?", model=model, tools=[ping]))) is takes


SCHEMAS = {
    "open object": ({"a": {"type": "object", "additionalProperties": TEXT}}, "a allows any key"),
    "anything": ({"a": {}}, "a allows any value"),
    "true": ({"a": True}, "a allows any value"),
    "array of anything": ({"a": {"type": "array"}}, "a is an array of anything"),
    "allOf": ({"a": {"allOf": [TEXT]}}, "a uses allOf"),
    "enum of objects": ({"a": {"enum": [{}]}}, "a has an enum of more than plain values"),
    "recursion": ({"a": {"$ref": "#"}}, "a refers to itself"),
    "no definition": ({"a": {"$ref": "#/$defs/B"}}, "a refers to '#/$defs/B'"),
    "recursive definition": ({"a": {"$ref": "#/$defs/R"}}, "$defs.R.r refers to itself"),
    "recursive definition inside": ({"a": {"$ref": "#/$defs/R", "description": "d"}}, "a.r refers to itself"),
    "required but not described": ({"a": {"type": "object", "required": ["x"]}}, "a requires a key that it does not describe"),
    "too many": (
        {f"p{number}": {"type": "string"} for number in range(5_200)},
        "the schema is larger than the strict dialect allows",
    ),
    "two unions": ({"a": {"anyOf": [{"type": "string"}], "oneOf": [{"type": "null"}]}}, "a is a union beside other conditions"),
    "union beside": ({"a": {"type": "object", "properties": {}, "anyOf": [TEXT]}}, "a is a union beside other conditions"),
}


@pytest.mark.parametrize(("properties", "reason"), SCHEMAS.values(), ids=SCHEMAS)
def test_what_the_strict_dialect_cannot_say(properties, reason):
    defs = {"R": {"type": "object", "properties": {"r": {"$ref": "#/$defs/R"}}}}
    schema = {"type": "object", "properties": properties, "$defs": defs}
    made = anthropic_strict(schema)
    assert reason in made.refused
    assert made.schema is schema


def test_strict_schema_takes_what_the_type_takes():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "default": None},
            "b": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}], "default": None, "description": "B"},
            "c": {"oneOf": [TEXT, {"type": "integer", "minimum": 1}], "discriminator": {}},
            "d": {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 1, "maxItems": 3},
            "e": {"type": "string", "format": "binary", "pattern": "a+", "title": "E"},
            "f": {"type": ["string", "integer", "null"], "default": None, "x-own": 1},
            "g": {"anyOf": [TEXT, {"type": "integer"}, {"type": "null"}], "default": None},
            "h": {"enum": ["x", None], "default": None},
        },
        "required": ["d"],
        "$defs": {"B": {"type": "object", "properties": {"x": {"const": 1}}}, "unused": {"$ref": "#"}},
    }
    before = json.dumps(schema)
    made = anthropic_strict(schema)
    assert not made.refused
    assert made.schema == {
        "type": "object",
        "properties": {
            "a": TEXT,
            "b": {
                "type": "object",
                "properties": {"x": {"const": 1}},
                "required": [],
                "additionalProperties": False,
                "description": "B",
            },
            "c": {"anyOf": [TEXT, {"type": "integer", "description": "(minimum: 1)"}]},
            "d": {
                "type": "array",
                "items": {"type": ["string", "null"]},
                "minItems": 1,
                "description": "(maxItems: 3)",
            },
            "e": {"type": "string", "title": "E", "description": '(format: "binary", pattern: "a+")'},
            "f": {"type": ["string", "integer"]},
            "g": {"anyOf": [TEXT, {"type": "integer"}]},
            "h": {"enum": ["x", None]},
        },
        "required": ["d"],
        "additionalProperties": False,
    }
    assert made.dropped == ("c|1: minimum", "d: maxItems", "e: format", "e: pattern", "f: x-own")
    assert json.dumps(schema) == before


def test_union_at_the_top_is_opened(sent):
    """Recorded: "input_schema.type: Field required" for one; the service takes none at the top of any tool."""
    schema = {
        "anyOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}],
        "$defs": {"A": {"properties": {"a": TEXT}, "required": ["a"]}},
    }
    (made,) = sent(tools=[polycall.Tool("t", None, schema)])["tools"]
    assert made["input_schema"]["properties"] == {"a": TEXT, "b": {"type": "integer"}}
    assert not made["input_schema"].keys() & {"anyOf", "oneOf", "allOf"}
    assert "strict" not in made


# --------------------------------------------------------------------------------------------------------------------- read


def outcomes(calls):
    return [(one.id, one.name, one.outcome) for one in calls.calls]


OSLO = {"location": "Oslo"}
BLOCKS = [
    thinking("Let me think.", "sig=="),
    text("I look.", citations=[{"type": "char_location", "cited_text": "x"}]),
    call("Weather", OSLO, "t1", caller={"type": "direct"}),
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result", "url": "u"}]},
    {"type": "mcp_tool_use", "id": "m1", "name": "x", "server_name": "y", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "m1", "content": [], "is_error": False},
    {"type": "redacted_thinking", "data": "zzz"},
    {"type": "something_new", "data": [1]},
    call("ping", {}, "t2"),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_stream_is_read_and_sent_back_as_the_whole_message_is(size, read, server, client):
    plain = read(*BLOCKS)
    streamed = read(*messages.stream(*BLOCKS, size=size))
    assert outcomes(plain) == outcomes(streamed) == [("t1", "Weather", "ok"), ("t2", "ping", "ok")]
    assert plain.text == streamed.text == "I look."
    assert plain.usage == polycall.Usage(17, 1, 3)
    assert streamed.usage == polycall.Usage(17, 20, 3)
    assert plain.messages[1] == streamed.messages[1] == {"role": "assistant", "content": BLOCKS}
    assert streamed.response.model_dump(exclude_unset=True, warnings=False)["content"] == BLOCKS
    assert streamed.response.stop_reason == "tool_use"
    for calls in (plain, streamed):
        client.create(calls.reply({0: {"c": 3}, 1: "pong"}), tools=[Weather], errors="return")
        check_turns(server.last["messages"])
        assert server.last["messages"][1:] == [
            {"role": "assistant", "content": BLOCKS},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": '{"c":3}'},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "pong"},
                ],
            },
        ]


def test_response_is_the_object_of_the_sdk(server, sdk, client):
    server.answer = Answer(messages.body(messages.whole(*BLOCKS)), headers={"request-id": "req_1"})
    own = sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}])
    ours = client.create("?", tools=[Weather], errors="return").response
    assert type(ours) is type(own)
    assert ours.model_dump(warnings=False) == own.model_dump(warnings=False)
    assert [type(block) for block in ours.content] == [type(block) for block in own.content]
    assert ours._request_id == own._request_id == "req_1"


async def test_asyncio_is_the_same(server, async_client):
    server.answer = Answer(messages.body(messages.whole(*BLOCKS)), headers={"request-id": "req_1"})
    plain = await async_client.create("?", tools=[Weather, ping])
    assert plain.response._request_id == "req_1"
    server.answer = Answer(messages.stream(*BLOCKS), content_type=SSE)
    streamed = await async_client.stream("?", tools=[Weather, ping]).result()
    assert outcomes(plain) == outcomes(streamed)
    assert plain.messages == streamed.messages


def test_call_is_handed_over_when_its_block_stops(server, client):
    held = threading.Event()
    first, second = messages.block(0, call("Weather", OSLO, "t1")), messages.block(1, call("ping", "", "t2"))
    pieces = [messages.started(), first, Until(held), second, messages.stopped()]
    server.answer = Answer(pieces, content_type=SSE)
    with client.stream("?", tools=[Weather, ping]) as stream:
        assert next(iter(stream)) == Weather(location="Oslo")
        held.set()
        assert len(stream.result()) == 2


def test_bad_calls_do_not_touch_the_others(read):
    bad = [call("Weather", '{"location": ', "t1"), call("Weather", "nonsense", "t2"), call("nope", {}, "t3")]
    calls = read(*messages.stream(*bad, call("Weather", OSLO, "t4"), call("Weather", "[1]", "t5"), call("ping", "", "t6")))
    assert [one.outcome for one in calls.calls] == ["invalid", "invalid", "unknown", "ok", "invalid", "ok"]
    calls = read(
        *bad[1:], call("Weather", OSLO, "t4"), call("Weather", [1], "t5"), {"type": "tool_use"}, call("ping", None, "t6")
    )
    assert [one.outcome for one in calls.calls] == ["invalid", "unknown", "ok", "invalid", "unknown", "ok"]


CUTS = {"max_tokens": "token limit", "model_context_window_exceeded": "context window", "pause_turn": "paused"}


@pytest.mark.parametrize(("reason", "words"), CUTS.items())
def test_cut_inside_a_call(reason, words, read):
    """Whether its block is stopped or not, and however much of it came: no half a call is a call."""
    good = messages.started() + messages.block(0, call("ping", {}, "t1"))
    for arguments in ("", "{", '{"query": "a"', '{"query": "a", "limit"'):
        for ended in (True, False):
            cut = messages.block(1, call("Search", arguments, "t2"))
            calls = read(good, cut if ended else cut.removesuffix(messages.end(1)), messages.stopped(reason))
            assert [one.outcome for one in calls.calls] == ["ok", "cut off"]
            assert words in str(calls.calls[1].error)
    whole = read(good, messages.block(1, call("Search", '{"query": "a"}', "t2")), messages.stopped(reason))
    assert [one.outcome for one in whole.calls] == ["ok", "ok"]
    assert [(type(error), error.index) for error in whole.errors] == [(polycall.CutOffError, 2)]


def test_cut_inside_the_last_call_of_a_whole_message(server, client):
    blocks = [call("ping", {}, "t1"), call("ping", {}, "t2")]
    server.answer = Answer(messages.body(messages.whole(*blocks, stop="max_tokens")))
    assert [one.outcome for one in client.create("?", tools=[ping], errors="return").calls] == ["ok", "cut off"]
    server.answer = Answer(messages.body(messages.whole(*blocks, text("and"), stop="max_tokens")))
    calls = client.create("?", tools=[ping], errors="return")
    assert ([one.outcome for one in calls.calls], len(calls.errors)) == (["ok", "ok"], 1)


def test_broken_stream_keeps_what_is_complete(read):
    begun = [messages.started(), messages.block(0, call("Weather", OSLO, "t1")), messages.block(1, call("ping", "", "t2"))]
    for pieces in (begun, [*begun, Drop()]):
        calls = read(*pieces)
        assert [one.outcome for one in calls.calls] == ["ok", "cut off"]  # nobody knows whether that is all of the second one


def test_error_within_a_stream(read, server, client):
    overloaded = messages.data({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    calls = read(messages.started(), messages.block(0, call("Weather", OSLO, "t1")), overloaded)
    assert [one.outcome for one in calls.calls] == ["ok"]
    assert "overloaded_error" in str(calls.errors[0])
    with pytest.raises(polycall.TransportError, match="overloaded_error"):
        read(overloaded)
    server.answer = Answer(json.dumps({"type": "error", "error": {"type": "api_error", "message": "x"}}).encode())
    with pytest.raises(polycall.TransportError, match="api_error"):
        client.create("?", tools=[Weather])


def test_refusal(server, client, read):
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    calls = read(messages.started(), messages.stopped("refusal", stop_details=details))
    assert (calls.text, [type(error) for error in calls.errors]) == ("No.", [polycall.RefusalError])
    server.answer = Answer(messages.body(messages.whole(stop="refusal", stop_details=None)))
    calls = client.create("?", tools=[Weather], errors="return")
    assert ([type(error) for error in calls.errors], calls.messages[1:]) == ([polycall.RefusalError], [])
    begun = messages.block(0, call("Search", '{"query": "a"', "t1"))
    for cut in (begun, begun.removesuffix(messages.end(0))):
        calls = read(messages.started(), cut, messages.stopped("refusal", stop_details=details))
        assert [one.outcome for one in calls.calls] == ["cut off"]


def test_odd_events_are_read(read):
    """Blocks side by side, without a start, an index or a stop; input at the start; unknown events and deltas."""
    interleaved = [
        messages.begin(0, call("Weather", {}, "t1")),
        messages.begin(1, call("Search", {}, "t2")),
        messages.delta(1, "input_json_delta", partial_json='{"query":'),
        messages.delta(0, "input_json_delta", partial_json='{"location": "Oslo"}'),
        messages.end(0),
        messages.delta(1, "input_json_delta", partial_json='"a"}'),
        messages.end(1),
        messages.end(1),
        messages.end(7),
    ]
    calls = read(messages.started(), *interleaved, messages.stopped())
    assert list(calls) == [Weather(location="Oslo"), Search(query="a")]
    at_start = messages.begin(0, call("Weather", OSLO, "t1")) + messages.end(0)
    assert list(read(messages.started(), at_start, messages.stopped())) == [Weather(location="Oslo")]
    unstopped = messages.begin(0, call("Weather", OSLO, "t1")) + messages.stopped() + messages.end(0)
    assert list(read(messages.started(), unstopped)) == [Weather(location="Oslo")]
    late = messages.block(0, call("Weather", OSLO, "t1")).removesuffix(messages.end(0)) + messages.stopped() + messages.end(0)
    assert list(read(messages.started(), late)) == [Weather(location="Oslo")]
    new = messages.data({"type": "new_event", "index": 0}) + messages.delta(
        0, "new_delta", data="x", list=[1], number=1, none=None
    )
    assert list(read(messages.started(), at_start, new, messages.stopped())) == [Weather(location="Oslo")]
    lost = messages.delta(0, "input_json_delta", partial_json='{"location": "Oslo"}') + messages.end(0)
    assert [one.outcome for one in read(lost, messages.stopped()).calls] == ["unknown"]
    begun = {"type": "content_block_start", "content_block": call("Weather", {}, "t1")}
    piece = {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": json.dumps(OSLO)}}
    bare = messages.data(begun) + messages.data(piece) + messages.data({"type": "content_block_stop"})
    assert list(read(bare, messages.stopped())) == [Weather(location="Oslo")]
    parsed = {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": OSLO}}
    assert list(read(messages.data(begun), messages.data(parsed), messages.stopped())) == [Weather(location="Oslo")]
    for junk in (
        {"type": "message_start"},
        {"type": "content_block_start", "index": [1]},
        {"type": "content_block_start", "index": 8, "content_block": {"type": "text", "text": "words", "citations": None}},
        {"type": "content_block_stop", "index": [1]},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "new", "data": "x", "list": [1], "none": None}},
        {"type": "message_delta"},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": "many"}},
        {"type": 1},
    ):
        assert list(read(messages.data({**junk, "type": str(junk["type"])}), bare, messages.stopped())) == [
            Weather(location="Oslo")
        ]


def test_what_the_service_would_refuse_is_not_sent_back(read, server, client):
    blocks = [text(" \n"), call("get weather!", {"a": "\ud800"}, "t.1"), text("")]
    calls = read(*blocks)
    (turn,) = calls.messages[1:]
    (back,) = turn["content"]
    assert (back["id"], back["name"], list(back["input"])) == ("t_1_612b0863", "get_weather", ["invalid_arguments"])
    client.create(calls.reply({}), tools=[Weather], errors="return")
    check_body(server.last)
    assert server.last["messages"][2]["content"][0] == IsPartialDict(tool_use_id="t_1_612b0863", is_error=True)
    unfinished = messages.begin(0, {"type": "thinking", "thinking": "", "signature": ""}) + messages.delta(
        0, "thinking_delta", thinking="hm"
    )
    assert read(messages.started(), unfinished).messages[1:] == []
    server_call = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    paused = read(*messages.stream(text("I look."), server_call, stop="pause_turn"))
    assert paused.messages[1:] == [{"role": "assistant", "content": [text("I look.")]}]


def test_unknown_deltas_are_folded(read):
    pieces = messages.begin(9, {"type": "new", "data": [1]}) + messages.delta(9, "new", data=[2], words="x", one={"a": 1})
    folded = read(messages.started(), pieces + messages.end(9), messages.stopped("end_turn"))
    assert folded.messages[1]["content"] == [{"type": "new", "data": [1, 2], "words": "x", "one": {"a": 1}}]


def test_half_a_turn_is_that_of_the_calls_that_are_complete():
    """Blocks side by side: the second call is complete before the first."""
    from polycall.formats.anthropic import FORMAT
    from polycall.types import ToolCall

    decoder = FORMAT.decoder()
    for index, one in enumerate((call("ping", {}, "t1"), call("ping", {}, "t2"), text("more"))):
        list(decoder.feed({"type": "content_block_start", "index": index, "content_block": one}, whole=False))
    assert decoder.turn([ToolCall(1, "t2", "ping", "")]) == [{"role": "assistant", "content": [call("ping", {}, "t2")]}]
    assert decoder.body([])["content"][0] == call("ping", {}, "t1")


def test_no_tools_no_choice():
    from polycall.formats.anthropic import FORMAT
    from polycall.types import Request, ToolChoice

    request = Request(model="m", messages=[{"role": "user", "content": "?"}], tools=(), tool_choice=ToolChoice("none"))
    encoded = FORMAT.encode(request, stream=False)
    assert not encoded.body.keys() & {"tools", "tool_choice"}
    assert encoded.tools_json == b""
    assert "authorization" not in FORMAT.headers(None)


def test_what_comes_behind_the_end_is_no_part_of_the_answer(read):
    more = messages.block(1, call("ping", {}, "t2"), 100)
    failed = messages.data({"type": "error", "error": {"type": "api_error", "message": "x"}})
    ended = [messages.started(), messages.block(0, call("ping", {}, "t1")), messages.stopped()]
    calls = read(*ended, more, failed)
    assert outcomes(calls) == [("t1", "ping", "ok")]
    assert not calls.errors
    first = messages.data({"type": "message_stop"})
    assert outcomes(read(first, *ended)) == [("t1", "ping", "ok")]


def test_odd_blocks_do_not_spoil_the_next_request(read, sent):
    """What a mutated stream has shown: types that are none, half a pair of surrogates, numbers that JSON cannot say."""
    odd = [
        {"type": {"a": 1}, "data": 1},
        {"type": "file", "id": "f"},
        {"type": "new", "data": float("nan"), "words": "\ud800", "list": ["\ud83d\ude00"]},
    ]
    for calls in (read(*odd, call("ping", {}, "t1")), read(*messages.stream(*odd, call("ping", {}, "t1")))):
        (turn,) = calls.messages[1:]
        kept = {"type": "new", "data": None, "words": "\ufffd", "list": ["\U0001f600"]}
        assert turn["content"] == [kept, call("ping", {}, "t1")]
        assert calls.reply(["r"])[1] == turn
    searched = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": '{"query": "\ud800"}'}
    calls = read(*messages.stream(searched, call("ping", {}, "t1"), size=100))
    assert calls.messages[1]["content"][0]["input"] == {}
    lost = messages.delta(0, "input_json_delta", partial_json="") + messages.block(1, call("ping", {}, "t1"))
    calls = read(messages.started(), lost, messages.stopped())
    assert [one.outcome for one in calls.calls] == ["unknown", "ok"]
    assert [block["name"] for block in calls.messages[1]["content"]] == ["tool", "ping"]


def test_message_without_a_reason_to_stop(server, client):
    server.answer = Answer(messages.body(messages.whole({"type": "text"}, "odd", call("ping", {}, "t1"), stop=None)))
    calls = client.create("?", tools=[ping], errors="return")
    assert (outcomes(calls), calls.text, calls.finish_reason) == ([("t1", "ping", "ok")], "", None)
    assert calls.messages[1:] == [{"role": "assistant", "content": [call("ping", {}, "t1")]}]


def test_not_an_answer(server, client):
    for body in (b'{"type": "message"}', b"{}", b""):
        server.answer = Answer(body)
        with pytest.raises(polycall.TransportError):
            client.create("?", tools=[Weather])


# ----------------------------------------------------------------------------------------------------------------- re-asking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("face", ["sdk", "direct"])
def test_bad_call_is_asked_again_with_its_thinking(stream, face, server, client, direct):
    bad = [thinking("t", "s"), call("Weather", OSLO, "t1"), call("Search", {"limit": 3}, "t2"), call("ping", {}, "t3")]
    good = [thinking("again", "s2"), call("Search", {"query": "q"}, "t4")]
    for blocks in (bad, good):
        given = messages.stream(*blocks) if stream else messages.body(messages.whole(*blocks))
        server.queue.append(Answer(given, content_type=SSE if stream else "application/json"))
    asked = {"sdk": client, "direct": direct}[face]
    calls = asked.create("?", tools=[Weather, Search, ping], max_retries=1, stream=stream, reask="end", **THINKING)
    calls = calls.result() if stream else calls
    assert list(calls)[:2] == [Weather(location="Oslo"), Search(query="q")]
    again = server.last
    check_body(again)
    assert again["messages"][1] == {"role": "assistant", "content": bad}
    answers = again["messages"][2]["content"]
    assert [(block["tool_use_id"], block.get("is_error", False)) for block in answers] == [
        ("t1", False),
        ("t2", True),
        ("t3", False),
    ]
    asked.create(calls.reply(["a", "b", "c"]), tools=[Weather], errors="return")
    check_body(server.last)


def test_bad_call_is_asked_again_while_the_stream_runs(server, client):
    answered = threading.Event()
    begun = [
        messages.started(),
        messages.block(0, thinking("t", "s")),
        messages.block(1, text("words")),
        messages.block(2, call("Search", {"limit": 3}, "t1")),
        messages.begin(3, {"type": "thinking", "thinking": "", "signature": ""}),
        messages.delta(3, "thinking_delta", thinking="more"),
    ]
    rest = [messages.end(3), messages.block(4, call("Weather", OSLO, "t2")), messages.stopped()]

    def again(request):
        check_body(request.body)
        answered.set()
        return Answer(messages.stream(thinking("u", "s2"), call("Search", {"query": "q"}, "t1")), content_type=SSE)

    server.queue += [Answer([*begun, Until(answered), *rest], content_type=SSE), again]
    calls = client.stream("?", tools=[Weather, Search], max_retries=1, **THINKING).result()
    assert list(calls) == [Search(query="q"), Weather(location="Oslo")]
    half = server.requests[1].body["messages"][1]["content"]
    assert half == [thinking("t", "s"), text("words"), call("Search", {"limit": 3}, "t1")]
    client.create(calls.reply(["a", "b"]), tools=[Weather], errors="return")
    check_body(server.last)


def test_two_turns_of_a_program(server, client):
    server.queue += [
        Answer(messages.body(messages.whole(text("I look."), call("Weather", OSLO, "t1"), call("Weather", OSLO, "t1")))),
        Answer(messages.body(messages.whole(text("Sunny."), stop="end_turn"))),
    ]
    first = client.create("?", tools=[Weather])
    second = client.create([*first.reply(["1", "2"]), {"role": "user", "content": "and?"}], tools=[Weather])
    check_body(server.last)
    assert second.text == "Sunny."
    ids = [block["id"] for block in server.last["messages"][1]["content"][1:]]
    assert len(set(ids)) == 2
    assert server.last["messages"][2]["content"][-1] == text("and?")


# ------------------------------------------------------------------------------------------------------------- recorded ones

FRAMED = f"{MESSAGES}_in_aws_eventstream"
RECORDED = [*of(MESSAGES), *of(FRAMED)]
ANSWERED = [pytest.param(one, id=one.id) for one in of(MESSAGES) if one.status < 400]
REFUSALS = [pytest.param(one, id=one.id) for one in of(MESSAGES) if one.status >= 400]
FRAMES = [pytest.param(one, id=one.id) for one in of(FRAMED) if one.status < 400]
SHORT = [one for one in ANSWERED if one.values[0].stream and len(one.values[0].body) < 6_000]


def split(one, size):
    return [one.body[start : start + size] for start in range(0, len(one.body), size)]


def check_recorded(calls, one):
    """The calls are exactly those of the recording."""
    assert [(call.index, call.id, call.name) for call in calls.calls] == [
        (place, expected["id"], expected["name"]) for place, expected in enumerate(one.calls)
    ]
    for got, expected in zip(calls.calls, one.calls, strict=True):
        if expected["state"] == "invalid":
            assert (got.outcome, got.arguments) == ("cut off", expected["arguments_text"])
        else:
            assert (got.outcome, got.value) == ("ok", expected["arguments"])
    assert calls.finish_reason == one.finish[-1]


def ask(client, one):
    calls = client.create("?", model="m", tools=one.tools, errors="return", stream=one.stream, max_retries=0)
    return calls.result() if one.stream else calls


@pytest.mark.parametrize("one", ANSWERED)
def test_recorded_exchange_goes_on(one, server, client, direct):
    """Its calls are read, by the SDK and without it, and the next request is one that the service's own schema allows."""
    server.answer = Answer(split(one, 400) if one.stream else one.body, one.status, one.content_type)
    for asked in (client, direct):
        calls = ask(asked, one)
        check_recorded(calls, one)
        check_body({**server.last, "messages": [*calls.reply(["r"] * len(calls)), {"role": "user", "content": "?"}][:1]})
        body = asked.payload([*calls.reply({call.index: "r" for call in calls.calls}), text_message("?")], tools=one.tools)
        check_body(body)


def text_message(words):
    return {"role": "user", "content": words}


@pytest.mark.parametrize("one", SHORT)
def test_recorded_stream_byte_by_byte(one, server, client):
    server.answer = Answer(split(one, 1), one.status, one.content_type)
    check_recorded(ask(client, one), one)


@pytest.mark.parametrize("one", SHORT[::3])
def test_recorded_stream_cut_anywhere_keeps_what_is_complete(one, server, client):
    for end in range(200, len(one.body), 331):
        server.answer = Answer([one.body[:end]], one.status, one.content_type)
        try:
            calls = ask(client, one)
        except polycall.TransportError:
            continue
        good = [(call.id, call.value) for call in calls.calls if call.outcome == "ok"]
        assert good == [(call["id"], call["arguments"]) for call in one.calls[: len(good)]]
        assert all(call.outcome == "cut off" for call in calls.calls[len(good) :])
        assert calls.finish_reason or calls.errors or len(good) < len(calls.calls)


@pytest.mark.parametrize("one", REFUSALS)
@pytest.mark.parametrize("stream", [False, True])
def test_refused_requests_raise_what_the_sdk_raises(one, stream, server, sdk, client, direct):
    server.answer = Answer(one.body, one.status, one.content_type)
    with pytest.raises(anthropic.BadRequestError) as plain:
        sdk.messages.create(model="m", max_tokens=9, messages=[text_message("?")])
    with pytest.raises(anthropic.BadRequestError) as raised:
        client.create("?", tools=[ping], stream=stream).result()
    assert raised.value.body == plain.value.body
    with pytest.raises(polycall.TransportError, match="invalid_request_error") as reported:
        direct.create("?", tools=[ping], stream=stream).result()
    assert reported.value.status == one.status


@pytest.fixture(scope="module")
def bedrock(server):
    keys = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}
    with anthropic.AnthropicBedrock(base_url=server.origin, max_retries=0, **keys) as sdk:
        yield polycall.from_anthropic(sdk, max_retries=0)


@pytest.fixture
async def async_bedrock(server):
    keys = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}
    async with anthropic.AsyncAnthropicBedrock(base_url=server.origin, max_retries=0, **keys) as sdk:
        yield polycall.from_anthropic(sdk, max_retries=0)


@pytest.mark.parametrize("one", FRAMES)
async def test_bedrock(one, server, bedrock, async_bedrock):
    server.answer = Answer(split(one, 100) if one.stream else one.body, one.status, one.content_type)
    calls = ask(bedrock, one)
    check_recorded(calls, one)
    assert type(calls.response) is anthropic.types.Message
    assert server.requests[-1].path == f"/model/m/invoke{'-with-response-stream' if one.stream else ''}"
    assert server.last["anthropic_version"]
    again = async_bedrock.create("?", model="m", tools=one.tools, errors="return", stream=one.stream)
    awaited = await again
    same = await awaited.result() if one.stream else awaited
    check_recorded(same, one)
    assert same.messages == calls.messages


async def test_bedrock_that_fails_within_a_stream(server, bedrock, async_bedrock):
    one = next(one for one in of(FRAMED) if one.stream and len(one.calls) == 2)
    error = frame({":message-type": "exception", ":exception-type": "throttlingException"}, b'{"message": "slow down"}')
    begun = one.body[: whole_frames(one.body[: len(one.body) // 2])]
    server.answer = Answer([begun, error], content_type=one.content_type)
    options = {"model": "m", "tools": one.tools, "errors": "return", "max_retries": 0}
    for calls in (bedrock.stream("?", **options).result(), await async_bedrock.stream("?", **options).result()):
        told = [*calls.errors, *(call.error for call in calls.calls if call.error)]
        assert any("throttlingException" in str(error) for error in told)


def frame(headers, payload):
    """Write one frame of AWS's event streams."""
    import struct
    from binascii import crc32

    written = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(written) + len(payload), len(written))
    checked = prelude + struct.pack(">I", crc32(prelude)) + written + payload
    return checked + struct.pack(">I", crc32(checked))


def whole_frames(body):
    end = 0
    while end + 4 <= len(body) and end + int.from_bytes(body[end : end + 4], "big") <= len(body):
        end += int.from_bytes(body[end : end + 4], "big")
    return end


VERTEX = {"project_id": "p", "region": "us-east5", "access_token": "t", "max_retries": 0}


def test_other_clients_of_the_sdk(server):
    one = next(one for one in of(MESSAGES) if one.provider == "vertex" and one.calls)
    server.answer = Answer(one.body, one.status, one.content_type)
    others = {
        "/projects/p/locations/us-east5/publishers/anthropic/models/m:": anthropic.AnthropicVertex(
            base_url=server.origin, **VERTEX
        ),
        "/v1/messages": anthropic.AnthropicFoundry(base_url=server.origin, api_key="k", max_retries=0),
    }
    for path, sdk in others.items():
        with sdk:
            check_recorded(ask(polycall.from_anthropic(sdk), one), one)
        assert server.requests[-1].path.startswith(path)

    class Ours(anthropic.Anthropic):
        """A client of somebody's own."""

    with Ours(base_url=server.origin, api_key="k", max_retries=0) as sdk:
        check_recorded(ask(polycall.from_anthropic(sdk), one), one)


async def test_vertex_on_asyncio(server):
    one = next(one for one in of(MESSAGES) if one.provider == "vertex" and one.stream)
    server.answer = Answer(one.body, one.status, one.content_type)
    async with anthropic.AsyncAnthropicVertex(base_url=server.origin, **VERTEX) as sdk:
        client = polycall.from_anthropic(sdk)
        check_recorded(await client.stream("?", model="m", tools=one.tools, errors="return").result(), one)


def test_recordings_are_the_interesting_ones():
    assert len(RECORDED) >= 30
    tags = {tag for one in RECORDED for tag in one.tags}
    assert tags >= {
        "thinking_signature",
        "programmatic_caller",
        "empty_args_stream",
        "args_invalid_json",
        "finish_refusal",
        "http_400",
    }
    assert {one.api for one in RECORDED} == {"anthropic.messages", "vertex.anthropic_messages", "bedrock.invoke_anthropic"}


def test_time_grows_with_the_bytes_only():
    from polycall.formats.anthropic import FORMAT

    def seconds(count):
        decoder = FORMAT.decoder()
        began = time.perf_counter()
        for number in range(20):
            block = {"type": "tool_use", "id": f"t{number}", "name": "f", "input": {}}
            list(decoder.feed({"type": "content_block_start", "index": number, "content_block": block}, whole=False))
            for _ in range(count):
                delta = {"type": "input_json_delta", "partial_json": '{"a": "b'}
                list(decoder.feed({"type": "content_block_delta", "index": number, "delta": delta}, whole=False))
        decoder.body([])
        return time.perf_counter() - began

    seconds(100)
    assert seconds(4_000) < 40 * max(seconds(400), 0.001)
