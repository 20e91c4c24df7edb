"""Cohere's chat, version 2: what is sent and what is read, through the clients of its SDK and without it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import cohere
import jsonschema_rs
import pytest
from inline_snapshot import snapshot
from pydantic import BaseModel, Field

import polycall
from polycall._dialect_cohere import cohere_strict, count_fields
from polycall.formats.cohere import Cohere, base_url
from polycall.provider import Connection, Reply
from polycall.testing import ModelServer, Said, Turn
from support.loopback import Answer, Server
from support.ways import TESTS, of, wrong

SPEC = json.loads((TESTS / "spec" / "cohere_v2.json").read_bytes())
VALIDATOR = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/" + SPEC["x-roots"]["v2.chat"]})
RECORDED = of("cohere_v2")
STREAMS = [one for one in RECORDED if one.stream]


class Weather(BaseModel):
    """Get the weather."""

    location: str = Field(description="The city.", min_length=1)
    units: Literal["imperial", "metric"] = "metric"
    days: int | None = Field(None, ge=1)


class Search(BaseModel):
    query: str


class Open(BaseModel):
    labels: dict[str, int] = {}


Tools = Iterable[Weather | Search]
DONE = {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": [{"type": "text", "text": "ok"}]}}


def entry(name: str, arguments: Any, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def whole(*entries: Any, finish: str | None = "TOOL_CALL", **message: Any) -> bytes:
    message = {"role": "assistant", "tool_plan": "I will.", "tool_calls": list(entries), **message}
    return json.dumps({"id": "1", "finish_reason": finish, "message": message}).encode()


def sse(*events: Any) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def started(index: Any, name: str | None, call_id: str | None, arguments: Any = "") -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}}


def piece(index: Any, text: str) -> dict[str, Any]:
    calls = {"function": {"arguments": text}}
    return {"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": calls}}}


def end(reason: str, **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **more}}


START = {"id": "1", "type": "message-start", "delta": {"message": {"role": "assistant"}}}


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


WAYS = ("sdk", "sdk v1", "asyncio", "direct", "direct asyncio")


@dataclass
class Asker:
    """Asks by one of the ways, blocking or not, and gives the calls."""

    way: str
    origin: str

    def sdk(self) -> Any:
        """Return a client of the SDK, which is closed as a context manager."""
        kinds = {"sdk": cohere.ClientV2, "sdk v1": cohere.Client, "asyncio": cohere.AsyncClientV2}
        return kinds[self.way](api_key="k", base_url=self.origin)

    def direct(self) -> Any:
        given = {"api_key": "k", "base_url": self.origin, "retries": 0, "max_retries": 0}
        return polycall.from_provider("cohere/m", async_client="asyncio" in self.way, **given)

    def __call__(self, messages: Any = "?", **options: Any) -> polycall.Calls[Any]:
        options = options if {"tools", "response_model"} & options.keys() else {"response_model": Tools, **options}
        options = {"errors": "return", **options}
        if "asyncio" in self.way:
            return asyncio.run(self._ask(messages, options))
        with self.direct() if self.way == "direct" else self.sdk() as opened:
            client = opened if self.way == "direct" else polycall.from_cohere(opened, model="m", max_retries=0)
            got = client.create(messages, **options)
            return got.result() if options.get("stream") else got

    async def _ask(self, messages: Any, options: dict[str, Any]) -> polycall.Calls[Any]:
        async with self.direct() if self.way == "direct asyncio" else self.sdk() as opened:
            client = opened if self.way == "direct asyncio" else polycall.from_cohere(opened, model="m", max_retries=0)
            got = await client.create(messages, **options)
            return await got.result() if options.get("stream") else got


@pytest.fixture(params=WAYS)
def ask(request, server):
    server.answer = Answer(json.dumps(DONE).encode())
    server.requests.clear()
    return Asker(request.param, server.origin)


def checked(body: Any) -> Any:
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in VALIDATOR.iter_errors(body)]
    assert not problems
    return body


@dataclass(frozen=True, slots=True)
class InMemory(Cohere):
    """The format over chunks that are there already."""

    chunks: tuple[bytes, ...] = ()

    def send(self, client: Any, encoded: Any, *, stream: bool, timeout: float | None) -> Any:
        checked(encoded.body)

    def open(self, raw: Any) -> Reply:
        return Reply(iter(self.chunks), lambda: None, 200)

    def said(self, error: Exception) -> None:
        pass


def replay(*chunks: bytes, tools: Any = None, **options: Any) -> polycall.Calls[Any]:
    client = polycall.Client(Connection(InMemory(chunks=chunks), None, blocking=False), model="m", max_retries=0)
    options = {"errors": "return", "stream": True, "tools": tools or [Weather, Search], **options}
    got = client.create("?", **options)
    return got.result() if options["stream"] else got


def outcome(calls: polycall.Calls[Any]) -> Any:
    made = [(call.index, call.id, call.name, call.arguments, call.outcome) for call in calls.calls]
    errors = [(type(error).__name__, error.index) for error in calls.errors]
    return made, errors, calls.text, calls.usage, calls.finish_reason, calls.messages


# ------------------------------------------------------------------------------------------------------------------- sent


def test_body(ask, server):
    ask([{"role": "developer", "content": "Use tools."}, {"role": "user", "content": "?"}], temperature=0, tool_choice="required")
    assert server.requests[0].path == "/v2/chat"
    assert server.requests[0].headers["authorization"] == "Bearer k"
    assert checked(server.last) == snapshot(
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "?"}],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "Weather",
                        "description": "Get the weather.",
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "location": {"description": "The city.", "type": "string"},
                                "units": {"enum": ["imperial", "metric"], "type": "string"},
                                "days": {"type": "integer"},
                            },
                            "required": ["location"],
                        },
                    },
                },
                {
                    "type": "function",
                    "function": {
                        "name": "Search",
                        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
                    },
                },
            ],
            "strict_tools": True,
            "tool_choice": "REQUIRED",
            "stream": False,
            "temperature": 0,
        }
    )


@pytest.mark.parametrize(
    ("choice", "word", "names"),
    [
        ("auto", None, ["Weather", "Search"]),
        ("none", "NONE", ["Weather", "Search"]),
        (Search, "REQUIRED", ["Search"]),
        ([Search], None, ["Search"]),
    ],
)
def test_choice(choice, word, names, server):
    ask = Asker("sdk", server.origin)
    server.answer = Answer(json.dumps(DONE).encode())
    ask(tool_choice=choice, parallel=True)
    body = checked(server.last)
    assert body.get("tool_choice") == word
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert not [key for key in body if "parallel" in key]


def test_one_call_at_most_cannot_be_asked_for(ask, server):
    with pytest.raises(polycall.UsageError, match="no switch for parallel calls"):
        ask(parallel=False)
    assert not server.requests


def test_tools_are_sent_as_they_are_where_one_is_not_for_the_strict_dialect(ask, server):
    ask(tools=[Weather, Open])
    first, second = (tool["function"]["parameters"] for tool in checked(server.last)["tools"])
    assert "strict_tools" not in server.last
    assert first["properties"]["location"]["minLength"] == 1
    assert second["properties"]["labels"]["additionalProperties"] == {"type": "integer"}
    for options in {"schema_strict": False}, {"strict_tools": False}:
        ask(**options)
        assert not checked(server.last).get("strict_tools")
        assert server.last["tools"][0]["function"]["parameters"]["properties"]["location"]["minLength"] == 1


def test_strict_dialect():
    def strict(field: Any, *, required: bool = True, **more: Any) -> Any:
        properties = {"name": {"type": "string"}, "field": field}
        needed = ["name", "field"] if required else ["name"]
        schema = {"type": "object", "properties": properties, "required": needed, **more}
        return cohere_strict(schema)

    def made(field: Any, *, required: bool = True, **more: Any) -> Any:
        assert not strict(field, required=required, **more).refused
        return strict(field, required=required, **more).schema["properties"]["field"]

    nullable = {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}], "description": "d", "default": None}
    assert made(nullable, required=False) == {"type": "integer", "description": "d"}
    assert strict(nullable, required=False).dropped == ("field: minimum",)
    assert strict(nullable).refused == ("field is a union",)
    assert made({"type": ["string", "null"]}, required=False) == {"type": "string"}
    assert strict({"type": ["string", "null"]}).refused == ("field is of several types",)
    assert made({"type": "string", "pattern": "[a-z]+", "format": "date"}) == {
        "type": "string",
        "pattern": "[a-z]+",
        "format": "date",
    }
    assert made({"type": "string", "pattern": "^a$", "format": "ipv4"}) == {"type": "string"}
    assert made({"type": "array"}) == {"type": "array"}
    assert made({"type": "array", "items": {"const": 1}, "minItems": 2}) == {"type": "array", "items": {"const": 1}}
    level = {"Level": {"enum": ["a", "b"], "type": "string"}}
    assert made({"$ref": "#/$defs/Level", "default": "a"}, **{"$defs": level}) == level["Level"]
    node = {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}}
    assert "holds itself" in strict({"$ref": "#/$defs/Node"}, **{"$defs": node}).refused[0]
    assert "holds itself" in strict({"$ref": "#/$defs/Nothing"}).refused[0]
    assert strict({"type": ["string", "integer"], "anyOf": 3}, required=False).refused
    assert strict({"anyOf": [{"type": "string"}, {"type": "integer"}]}, required=False).refused
    many = {"type": "object", "properties": {f"f{n}": {"type": "string"} for n in range(2_100)}, "required": ["f0"]}
    assert "larger than" in cohere_strict(many).refused[0]
    for field, reason in (
        ({}, "allows any value"),
        (True, "allows any value"),
        ({"type": "object"}, "allows any key"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "has no field that is required"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}, "requires a key"),
        ({"allOf": [{"type": "string"}], "type": "string"}, "uses allOf"),
    ):
        assert reason in strict(field).refused[0]
    assert cohere_strict({"type": "object", "properties": {}}).schema == {"type": "object", "properties": {}}
    assert count_fields(strict({"type": "array", "items": node["Node"]}).schema) in {2, 3}


def test_strict_dialect_is_for_200_fields_of_all_tools(server):
    def tool(number: int, fields: int) -> polycall.Tool:
        properties = {f"f{place}": {"type": "string", "minLength": 1} for place in range(fields)}
        return polycall.Tool(f"t{number}", schema={"type": "object", "properties": properties, "required": ["f0"]})

    server.answer = Answer(json.dumps(DONE).encode())
    ask = Asker("sdk", server.origin)
    ask(tools=[tool(1, 150), tool(2, 50)])
    assert server.last["strict_tools"] is True
    ask(tools=[tool(1, 150), tool(2, 51)])
    assert "strict_tools" not in server.last
    assert server.last["tools"][0]["function"]["parameters"]["properties"]["f0"]["minLength"] == 1


CONVERSATION = [
    {"role": "developer", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        ],
        "name": "someone",
    },
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"index": 0, **entry("Weather", '{"location": "Oslo"}', "a")}, entry("odd name/with", "", "b")],
    },
    {"role": "tool", "tool_call_id": "a", "content": "4"},
    {"role": "tool", "tool_call_id": "b", "name": "odd name/with", "content": ""},
    {"role": "assistant", "content": "fine"},
    {"role": "user", "content": "go"},
]


def test_messages_of_openai(ask, server):
    ask(CONVERSATION)
    assert checked(server.last)["messages"] == snapshot(
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                ],
            },
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "Weather", "arguments": '{"location": "Oslo"}'}},
                    {"id": "b", "type": "function", "function": {"name": "odd_name_with", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            {"role": "tool", "tool_call_id": "b", "content": '""'},
            {"role": "assistant", "content": "fine"},
            {"role": "user", "content": "go"},
        ]
    )


def test_own_messages_and_those_of_the_sdk_stay_as_they_are(ask, server):
    document = [{"type": "document", "document": {"data": {"degrees": "4"}}}]
    answer = {"role": "assistant", "tool_plan": "I look.", "tool_calls": [entry("Weather", "{}", "a")]}
    said = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}],
        "citations": [{"start": 0, "end": 1, "text": "4", "sources": [], "type": "TEXT_CONTENT"}],
    }
    own = [{"role": "user", "content": "?"}, answer, {"role": "tool", "tool_call_id": "a", "content": document}, said]
    ask([*own, {"role": "user", "content": "?"}])
    assert checked(server.last)["messages"][:-1] == own
    objects = [
        cohere.UserChatMessageV2(content="?"),
        cohere.V2ChatResponse.construct(id="1", finish_reason="TOOL_CALL", message=answer).message,
        cohere.ToolChatMessageV2(tool_call_id="a", content="4"),
    ]
    ask([*objects, {"role": "user", "content": "!"}])
    assert checked(server.last)["messages"][1] == answer
    assert server.last["messages"][2] == {"role": "tool", "tool_call_id": "a", "content": "4"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}]}, "no audio"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, "no file"),
        (
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
            "text and documents",
        ),
        ({"role": "nobody", "content": "?"}, "has the role 'nobody'"),
    ],
)
def test_messages_that_cannot_be_sent(message, words, server):
    server.requests.clear()
    with pytest.raises(polycall.UsageError, match=words):
        Asker("sdk", server.origin)([message])
    assert not server.requests


def test_what_is_no_part_of_the_body(ask, server):
    ask(extra_headers={"x-team": "blue"}, extra_query={"v": "1"}, extra_body={"priority": 3})
    assert server.requests[0].headers["x-team"] == "blue"
    assert server.requests[0].path == "/v2/chat?v=1"
    assert checked(server.last)["priority"] == 3


def test_request_options_of_the_sdk(server):
    server.requests.clear()
    server.answer = Answer(json.dumps(DONE).encode())
    Asker("sdk", server.origin)(request_options={"additional_headers": {"x-team": "red"}})
    assert server.requests[0].headers["x-team"] == "red"
    assert "request_options" not in server.last


def test_the_same_request_has_the_same_body_and_nothing_is_changed():
    messages = json.loads(json.dumps(CONVERSATION))
    with Asker("direct", "http://127.0.0.1:9").direct() as client:
        bodies = [client.payload(messages, response_model=Tools) for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert messages == CONVERSATION


def test_address_and_key_of_the_environment(server, monkeypatch):
    server.answer = Answer(json.dumps(DONE).encode())
    server.requests.clear()
    monkeypatch.setenv("CO_API_URL", server.origin)
    monkeypatch.setenv("COHERE_API_KEY", "second")
    with polycall.from_provider("cohere/m") as client:
        client.create("?", response_model=Tools)
        monkeypatch.setenv("CO_API_KEY", "first")
    with polycall.from_provider("cohere", model="m") as client:
        client.create("?", response_model=Tools)
    assert [sent.headers["authorization"] for sent in server.requests] == ["Bearer second", "Bearer first"]
    assert base_url("https://api.cohere.com/v1") == base_url("https://api.cohere.com/") == "https://api.cohere.com"
    assert base_url("https://example.com/v1") == "https://example.com/v1"


# ------------------------------------------------------------------------------------------------------------------- read


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: one.id)
def test_recordings(one, ask, server):
    server.answer = Answer([one.body[at : at + 300] for at in range(0, len(one.body), 300)] if one.stream else one.body)
    calls = ask(tools=one.tools, stream=one.stream)
    assert not wrong(calls, one)
    assert calls.finish_reason == one.finish[-1]
    assert len(server.requests) == 1
    checked(server.last)


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: one.id)
def test_however_a_recording_is_split(one):
    expected = outcome(replay(one.body, tools=one.tools, stream=one.stream))
    single = tuple(one.body[at : at + 1] for at in range(len(one.body)))
    assert outcome(replay(*single, tools=one.tools, stream=one.stream)) == expected
    assert outcome(replay(one.body, tools=one.tools, stream=not one.stream)) == expected


@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.id)
def test_wherever_a_stream_is_cut(one):
    full = replay(one.body, tools=one.tools)
    for at in range(1, len(one.body), max(1, len(one.body) // 60)):
        try:
            calls = replay(one.body[:at], tools=one.tools)
        except polycall.TransportError:
            continue  # nothing of the answer had come
        for call, whole_call in zip(calls.calls, full.calls, strict=False):
            assert call.outcome in {"ok", "cut off", "unknown"}
            assert call.outcome != "ok" or call.arguments == whole_call.arguments
        if calls.finish_reason is None:
            assert any(
                isinstance(error, polycall.CutOffError) for error in [*calls.errors, *(call.error for call in calls.calls)]
            )


def test_recorded_requests_are_valid():
    for one in RECORDED:
        if one.request is not None:
            checked(one.request)


def test_what_is_kept_of_a_turn():
    one = next(one for one in RECORDED if one.id.endswith("sse-1c-5580f1c9"))
    calls = replay(one.body, tools=one.tools)
    turn = calls.messages[-1]
    assert turn["content"][0]["type"] == "thinking"
    assert len(turn["content"][0]["thinking"]) > 500
    assert turn["tool_calls"] == [entry("subtract", calls.calls[0].arguments, calls.calls[0].id)]
    assert calls.text == ""
    assert calls.usage == polycall.Usage(1501, 346, cached_tokens=1008, reasoning_tokens=304)
    plan = replay(whole(entry("Search", '{"query": "x"}', "a"), citations=[{"text": "x"}]), stream=False).messages[-1]
    assert plan["tool_plan"] == "I will."
    assert plan["citations"] == [{"text": "x"}]


def test_citations_of_a_stream_are_kept():
    events = [
        START,
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": "4 "}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "degrees"}}}},
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0, "end": 1, "text": "4"}}}},
        {"type": "citation-end", "index": 0},
        {"type": "content-end", "index": 0},
        {"type": "something-new", "delta": 7},
        end("COMPLETE", usage={"billed_units": {"input_tokens": 1.0, "output_tokens": 2.0}}),
    ]
    calls = replay(sse(*events))
    assert calls.text == "4 degrees"
    assert calls.usage == polycall.Usage(1, 2)
    assert calls.messages[-1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "4 degrees"}],
        "citations": [{"start": 0, "end": 1, "text": "4"}],
    }


def test_parts_of_the_content_that_are_yet_to_come():
    def content(part: Any, kind: str = "content-delta") -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": {"content": part}}}

    calls = replay(sse(START, content({"thinking": "h"}), content({"thinking": "m"}), content({"score": 3}), end("COMPLETE")))
    assert calls.messages[-1]["content"] == [{"type": "thinking", "thinking": "hm", "score": 3}]
    nothing = replay(sse(START, {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I"}}}, end("COMPLETE")))
    assert nothing.text == ""
    empty = whole(entry("Search", '{"query": "x"}', "a"), tool_plan="")
    assert "tool_plan" not in replay(empty, stream=False).messages[-1]


def test_object_of_the_sdk(server):
    events = [START, started(0, "Search", "a"), piece(0, '{"query": "x"}'), {"type": "tool-call-end", "index": 0}]
    content = {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": "t"}}}}
    plan = {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "p"}}}
    usage = {"tokens": {"input_tokens": 1.0, "output_tokens": 2.0}}
    server.answer = Answer(sse(*events, plan, content, end("TOOL_CALL", usage=usage)))
    streamed = Asker("sdk", server.origin)(stream=True).response
    assert isinstance(streamed, cohere.V2ChatResponse)
    assert streamed.message.tool_calls[0].function.arguments == '{"query": "x"}'
    assert (streamed.message.tool_plan, streamed.message.content[0].text, streamed.usage.tokens.input_tokens) == ("p", "t", 1.0)
    server.answer = Answer(sse(START, content, {"type": "message-end", "delta": {}}, end("COMPLETE")))
    words = Asker("sdk", server.origin)(stream=True).response
    assert (words.message.tool_calls, words.message.content[0].text, words.finish_reason) == (None, "t", "COMPLETE")
    server.answer = Answer(whole(entry("Search", '{"query": "x"}', "a")))
    assert isinstance(Asker("sdk", server.origin)().response, cohere.V2ChatResponse)
    assert Asker("direct", server.origin)().response["message"]["tool_plan"] == "I will."


@pytest.mark.parametrize(
    ("reason", "words"),
    [("MAX_TOKENS", "token limit"), ("ERROR", "server failed"), ("TIMEOUT", "too long"), ("ERROR_TOXIC", "filter")],
)
def test_cut_answers(reason, words):
    first = [START, started(0, "Search", "a"), piece(0, '{"query": "x"}'), {"type": "tool-call-end", "index": 0}]
    calls = replay(sse(*first, started(1, "Search", "b"), piece(1, '{"que'), end(reason)))
    assert [call.outcome for call in calls.calls] == ["ok", "cut off"]
    assert words in str(calls.calls[1].error)
    assert reason in str(calls.calls[1].error)
    between = replay(sse(*first, end(reason)))
    assert [type(error) for error in between.errors] == [polycall.CutOffError]
    cut = whole(entry("Search", '{"query": "x"}', "a"), entry("Search", '{"que', "b"), finish=reason)
    assert [call.outcome for call in replay(cut, stream=False).calls] == ["ok", "cut off"]
    ended = [piece(1, '{"que'), {"type": "tool-call-end", "index": 1}, end(reason)]
    assert [one.outcome for one in replay(sse(*first, started(1, "Search", "b"), *ended)).calls] == ["ok", "cut off"]
    bad = whole(entry("Search", '{"query', "a"), entry("Search", '{"query": "x"}', "b"), finish="TOOL_CALL")
    assert [call.outcome for call in replay(bad, stream=False).calls] == ["invalid", "ok"]


def test_a_call_that_the_service_could_not_read_is_asked_for_again(ask, server):
    """Recorded in ``cohere-v2-chat-sse-0c-dde335b5``."""
    failed = end(
        "ERROR", usage={}, error="your request resulted in an invalid tool generation", error_type="INVALID_TOOL_GENERATION"
    )
    again = [
        START,
        started(0, "Search", "a"),
        piece(0, '{"query": "x"}'),
        {"type": "tool-call-end", "index": 0},
        end("TOOL_CALL"),
    ]
    server.queue.extend([Answer(sse(START, failed)), Answer(sse(*again))])
    assert list(ask(stream=True, max_retries=1, errors="raise")) == [Search(query="x")]
    assert len(server.requests) == 2
    server.queue.append(Answer(sse(START, failed)))
    assert [type(error) for error in ask(stream=True).errors] == [polycall.NoCallsError]
    server.queue.append(Answer(sse(*again[:-1], failed)))
    calls = ask(stream=True)
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]


def test_odd_streams():
    good = '{"query": "x"}'

    def made(*events: Any) -> Any:
        return [(call.name, call.arguments, call.outcome) for call in replay(sse(START, *events, end("TOOL_CALL"))).calls]

    assert made(started(0, "Search", "a", good), started(0, "Search", "b", good)) == [("Search", good, "ok")] * 2
    assert (
        made(started(None, "Search", "a"), piece(None, good), started(None, "Search", "b"), piece(None, good))
        == [("Search", good, "ok")] * 2
    )
    interleaved = [started(0, "Search", "a"), started(1, "Search", "b"), piece(1, good), piece(0, good)]
    ended = [{"type": "tool-call-end", "index": index} for index in (1, 0, 7)]
    assert made(*interleaved, *ended) == [("Search", good, "ok")] * 2
    listed = started(0, "Search", "a")
    listed["delta"]["message"]["tool_calls"] = [entry("Search", good, "a"), entry("Search", {"query": "x"}, "b"), 7]
    assert [one[2] for one in made(listed)] == ["ok", "ok", "unknown"]
    assert made(started({"odd": 1}, "Search", "a", good)) == [("Search", good, "ok")]
    unclosed = [started(0, "Search", "a"), piece(0, '{"que'), {"type": "tool-call-end", "index": 0}]
    assert [one[2] for one in made(*unclosed, started(1, "Search", "b", good))] == ["invalid", "ok"]
    assert [one[2] for one in made(started(1, "Search", "b", good), *unclosed)] == ["ok", "invalid"]
    assert made({"type": "tool-call-start", "index": 0, "delta": {"message": {}}}, piece(0, good))[0][2] == "unknown"
    nothing = {"type": "tool-call-end", "index": 3}
    broken = [
        {"type": "tool-call-delta"},
        {"type": "content-delta", "delta": 3},
        nothing,
        {"type": "tool-plan-delta", "delta": {}},
    ]
    assert made(*broken, started(0, "Search", "a", good)) == [("Search", good, "ok")]
    assert made(started(0, "Nothing", "a", good))[0][2] == "unknown"
    assert [call.id for call in replay(sse(START, started(0, "Search", "", good), end("TOOL_CALL"))).calls] == [None]


def test_every_start_of_a_call_is_one():
    ended = {"type": "tool-call-end", "index": 0}
    one = (started(0, "Search", None), piece(0, '{"query": "x"}'), ended)
    calls = replay(sse(START, *one, *one, end("TOOL_CALL")))
    assert [call.outcome for call in calls.calls] == ["ok", "ok"]
    same = (started(0, "Search", "a"), piece(0, '{"query": "x"}'), ended)
    calls = replay(sse(START, *same, *same, piece(0, '{"query": "y"}'), end("TOOL_CALL")))
    assert [(call.id, call.value) for call in calls.calls] == [("a", Search(query="x"))] * 2
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.InvalidArgumentsError, 1)]


def test_no_message_is_empty():
    calls = replay(sse(START, end("COMPLETE")))
    assert calls.messages == [{"role": "user", "content": "?"}]
    content = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "h", "type": "text"}}}}
    assert replay(sse(START, content, end("COMPLETE"))).messages == calls.messages
    content["delta"]["message"]["content"] = {"type": "picture", "url": "u"}
    assert replay(sse(START, content, end("COMPLETE"))).messages[1]["content"] == [{"type": "picture", "url": "u"}]
    client = polycall.Client(Connection(InMemory(), None, blocking=False), model="m")
    empty = [{"role": "assistant", "content": None}, {"role": "assistant", "content": ""}]
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "ok"}]
    assert client.payload([*empty, *said], tools=[Search])["messages"] == said


def test_what_a_model_cannot_have_meant_is_sent_back_so_that_it_is_taken():
    odd = replay(whole(entry("Search", "{}", "a"), citations=[{"start": float("nan")}]), stream=False)
    assert odd.messages[-1]["citations"] == [{"start": None}]
    calls = replay(whole(entry("no tool/of ours", '{"a": "\\ud800"}', "a"), entry("Search", "nonsense", "a")), stream=False)
    first, second = calls.messages[-1]["tool_calls"]
    assert first["function"]["name"] == "no_tool_of_ours"
    assert first["id"] != second["id"]
    assert second["function"]["arguments"] == '{"invalid_arguments":"nonsense"}'
    json.dumps(calls.messages).encode()


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_are_none(stream):
    for body in ({"message": "invalid"}, {"error": {"type": "x"}}, {"error": "overloaded"}):
        with pytest.raises(polycall.TransportError, match="reported an error"):
            replay(json.dumps(body).encode(), stream=stream)
    for body in ({"id": "1"}, {"message": {}}):
        with pytest.raises(polycall.TransportError):
            replay(json.dumps(body).encode(), stream=False)
    only_text = replay(json.dumps({**DONE, "message": {"content": "words", "tool_calls": entry("Search", None, "a")}}).encode())
    assert only_text.text == "words"
    assert only_text.calls[0].arguments == ""


def test_errors_of_a_stream_cut_it():
    good = [START, started(0, "Search", "a"), piece(0, '{"query": "x"}')]
    calls = replay(sse(*good) + b'event: error\ndata: {"message": "overloaded"}\n\n')
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_beside_an_answer_cut_it(stream):
    body = json.loads(whole(entry("Search", '{"query": "x"}', "a")))
    events = [START, {**started(0, "Search", "a", '{"query": "x"}'), "error": "overloaded"}]
    calls = replay(sse(*events) if stream else json.dumps({**body, "error": {"type": "x"}}).encode(), stream=stream)
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert calls.finish_reason == (None if stream else "TOOL_CALL")
    for nothing in (None, {}, ""):
        calls = replay(json.dumps({**body, "error": nothing}).encode(), stream=stream)
        assert [call.outcome for call in calls.calls] == ["ok"]
        assert not calls.errors


@pytest.mark.parametrize("stream", [False, True])
def test_http_errors_are_those_of_the_sdk(ask, server, stream):
    server.answer = Answer(json.dumps({"message": "no such model"}).encode(), status=404)
    kind = polycall.TransportError if "direct" in ask.way else cohere.NotFoundError
    with pytest.raises(kind) as raised:
        ask(stream=stream)
    assert "no such model" in str(getattr(raised.value, "body", None))


# ------------------------------------------------------------------------------------------------------------------ turns

SCRIPT = [
    Turn(
        text="I will.",
        calls=[
            Said("Weather", {"location": "Oslo"}),
            Said("Weather", {"location": "Rome", "days": 2}, wrong='{"days": 0}'),
            Said("Search", {"query": "ü😀"}),
        ],
        pieces=3,
    ),
    Turn(calls=[Said("Search", {"query": "then"})]),
]


@pytest.mark.parametrize(("stream", "reask"), [(False, "end"), (True, "end"), (True, "early")])
@pytest.mark.parametrize("way", WAYS)
def test_two_turns_with_a_call_asked_again(way, stream, reask):
    with ModelServer(SCRIPT) as server:
        ask = Asker(way, server.origin)
        options = {"stream": stream, "errors": "raise", "max_retries": 1, **({"reask": reask} if stream else {})}
        calls = ask(**options)
        assert list(calls) == [Weather(location="Oslo"), Weather(location="Rome", days=2), Search(query="ü😀")]
        assert len(server.requests) == 2
        last = ask(calls.reply({0: "4 degrees", 1: "", 2: {"hits": [1]}}), **options)
        assert list(last) == [Search(query="then")]
        for sent in server.requests:
            checked(sent.body)
        turn = server.last["messages"][1]
        assert turn["tool_plan"] == "I will."
        assert turn["tool_calls"][0]["function"] == {"name": "Weather", "arguments": '{"location": "Oslo"}'}


def test_calls_come_while_the_stream_runs():
    turn = Turn(calls=[Said("Search", {"query": "a"}), Said("Search", {"query": "b"})], times=(0.0, 0.6), end=1.2, pieces=4)
    with ModelServer(turn) as server, Asker("sdk", server.origin).sdk() as sdk:
        client = polycall.from_cohere(sdk, model="m")
        began = time.monotonic()
        with client.stream("?", response_model=Iterable[Search]) as stream:
            assert next(iter(stream)) == Search(query="a")
            assert time.monotonic() - began < 0.5
        assert server.settle(0, 5.0)  # what was left unread is let go of


async def test_asyncio_streams_are_let_go_of():
    turn = Turn(calls=[Said("Search", {"query": "a"}), Said("Search", {"query": "b"})], times=(0.0, 3.0), end=4.0)
    with ModelServer(turn) as server:
        async with Asker("asyncio", server.origin).sdk() as sdk:
            client = polycall.from_cohere(sdk, model="m")
            async with client.stream("?", response_model=Iterable[Search]) as stream:
                async for value in stream:
                    assert value == Search(query="a")
                    break
            assert await asyncio.to_thread(server.settle, 0, 5.0)
            with pytest.raises(polycall.DeadlineError):
                await client.stream("?", response_model=Iterable[Search], timeout=0.5).result()
            assert await asyncio.to_thread(server.settle, 0, 5.0)
