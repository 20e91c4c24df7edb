"""OpenAI's Responses format: the bodies that are sent, odd answers, and programs of several requests."""

from __future__ import annotations

import copy
import itertools
import json
import random
import threading
import time
from typing import Literal

import openai
import pytest
from dirty_equals import IsPartialDict, IsStr
from inline_snapshot import snapshot
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel, Field
from tests.support import responses
from tests.support.loopback import Answer, Server, Until
from tests.support.responses import (
    asked,
    begun,
    body,
    call,
    check_body,
    data,
    ended,
    events_of,
    message,
    outcome,
    reasoning,
    replay,
    streamed,
    whole,
)

import polycall
from polycall._services import LLAMACPP, OPENAI, service_named
from polycall.formats.responses import Responses
from polycall.provider import Connection
from polycall.types import Request


class Weather(BaseModel):
    """Get the weather."""

    location: str = Field(description="The city.")
    units: Literal["imperial", "metric"] = "metric"


class Loose(BaseModel):
    labels: dict[str, int] = {}


F, G, H = polycall.Tool("f"), polycall.Tool("g"), polycall.Tool("h")
OK = whole(call("Weather", '{"location": "Oslo", "units": "metric"}'))


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def sent(server, sdk):
    """Return a function that gives the body the SDK has sent."""

    def sent(messages="Weather?", client=None, **options):
        server.answer = Answer(responses.body(OK))
        server.requests.clear()
        client = client or polycall.from_openai(sdk, api="responses", model="m", max_retries=0)
        client.create(messages, **{"tools": [Weather, Loose], "errors": "return", **options})
        check_body(server.last)
        return server.last

    return sent


def seen(calls):
    return [(one.id, one.name, one.arguments, one.outcome) for one in calls.calls]


# ---------------------------------------------------------------------------------------------------------------- what is sent


def test_body(sent, server):
    assert sent() == snapshot(
        {
            "input": [{"role": "user", "content": "Weather?"}],
            "model": "m",
            "tools": [
                {
                    "type": "function",
                    "strict": True,
                    "name": "Weather",
                    "description": "Get the weather.",
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "location": {"description": "The city.", "type": "string"},
                            "units": {"anyOf": [{"enum": ["imperial", "metric"], "type": "string"}, {"type": "null"}]},
                        },
                        "required": ["location", "units"],
                        "additionalProperties": False,
                    },
                },
                {
                    "type": "function",
                    "strict": False,
                    "name": "Loose",
                    "parameters": {
                        "properties": {"labels": {"additionalProperties": {"type": "integer"}, "default": {}, "type": "object"}},
                        "type": "object",
                    },
                },
            ],
        }
    )
    assert server.requests[0].path == "/v1/responses"


def test_strict_is_always_said(sent):
    assert [tool["strict"] for tool in sent(schema_strict=False)["tools"]] == [False, False]


CHOICES = {
    "auto": None,
    "required": "required",
    "none": "none",
    "one": {"type": "function", "name": "Weather"},
    "several": {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "Weather"}, {"type": "function", "name": "Loose"}],
    },
}


@pytest.mark.parametrize("name", CHOICES)
def test_tool_choice(name, sent):
    given = {"one": Weather, "several": [Weather, Loose]}.get(name, name)
    written = sent(tool_choice=given).get("tool_choice")
    if name == "several":
        assert written["mode"] in {"auto", "required"}
        assert written["tools"] == CHOICES[name]["tools"]
        assert written["type"] == "allowed_tools"
    else:
        assert written == CHOICES[name]


def test_services_that_cannot_choose_are_offered_only_what_is_allowed():
    def choose(service, choice):
        client = polycall.Client(Connection(responses.InMemory(service), responses.Script([]), blocking=False), model="m")
        return client.payload("?", tools=[F, G], tool_choice=choice)

    for service in (service_named("xai"), LLAMACPP):
        payload = choose(service, [F])
        assert [tool["name"] for tool in payload["tools"]] == ["f"]
        assert payload.get("tool_choice") in (None, "required", {"type": "function", "name": "f"})
    assert choose(LLAMACPP, "auto")["parallel_tool_calls"] is True


def test_options_go_to_the_sdk(sent, server):
    given = {
        "instructions": "Be brief.",
        "previous_response_id": "resp_0",
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
    }
    told = sent(parallel=False, max_tokens=99, extra_headers={"x-team": "blue"}, **given)
    assert told == IsPartialDict({**given, "parallel_tool_calls": False, "max_output_tokens": 99})
    assert "max_tokens" not in told
    assert server.requests[0].headers["x-team"] == "blue"
    assert sent(max_output_tokens=98, max_tokens=None)["max_output_tokens"] == 98
    assert sent(max_completion_tokens=97)["max_output_tokens"] == 97
    assert not {"include", "store", "parallel_tool_calls", "stream_options"} & sent(store=openai.Omit()).keys()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"input": "?"}, "messages="),
        ({"background": True}, "background=True"),
        ({"max_tokens": 1, "max_output_tokens": 1}, "max_output_tokens alone"),
        ({"messages": [{"role": "robot", "content": "?"}]}, "role 'robot'"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "text"),
    ],
)
def test_what_cannot_be_done_is_said(options, told, sent):
    with pytest.raises(polycall.UsageError, match=told):
        sent(**options)


PNG = "data:image/png;base64,iVBORw0KGgo="
CHAT = [
    {"role": "system", "content": "Use tools."},
    {"role": "developer", "content": "Now."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is"},
            {"type": "text", "text": "this?"},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
            {"type": "file", "file": {"file_id": "file-1"}},
        ],
    },
    {
        "role": "assistant",
        "content": "I look.",
        "refusal": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "Weather", "arguments": '{"location": "Rome"}'}},
            {"id": "c2", "type": "function", "function": {"name": "Loose", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "user", "content": "And?", "name": "ann"},
]


def test_chat_messages_become_items(sent):
    before = copy.deepcopy(CHAT)
    assert sent(CHAT)["input"] == snapshot(
        [
            {"role": "system", "content": "Use tools."},
            {"role": "developer", "content": "Now."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is"},
                    {"type": "input_text", "text": "this?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                    {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"},
                    {"type": "input_file", "file_id": "file-1"},
                ],
            },
            {"role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "Weather", "arguments": '{"location": "Rome"}'},
            {"type": "function_call", "call_id": "c2", "name": "Loose", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
            },
            {"role": "user", "content": "And?"},
        ]
    )
    assert before == CHAT


def test_sound_is_written():
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
    _, told = asked([body(OK)], [F], messages=[{"role": "user", "content": [sound]}], stream=False)
    assert told["input"] == [{"role": "user", "content": [sound]}]
    sound["input_audio"]["format"] = "wav"
    _, told = asked([body(OK)], [F], messages=[{"role": "user", "content": [sound, {"type": "text", "text": "?"}]}], stream=False)
    assert told["input"][0]["content"] == [sound, {"type": "input_text", "text": "?"}]


def test_items_stay_as_they_are(sent):
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "?"}]},
        {"role": "assistant", "content": "hm", "phase": "commentary"},
        reasoning(encrypted_content="x"),
        call("f", "{}", namespace="n"),
        {"type": "function_call_output", "call_id": "call_1", "output": "done", "status": "completed"},
        {"type": "item_reference", "id": "msg_9"},
    ]
    assert sent([*items, {"id": "msg_8"}])["input"] == [*items, {"id": "msg_8"}]
    typed = ResponseFunctionToolCall(type="function_call", call_id="a", name="f", arguments="{}")
    assert sent([{"role": "user", "content": "?"}, typed])["input"][1] == {
        "type": "function_call", "call_id": "a", "name": "f", "arguments": "{}",
    }  # fmt: skip


def test_objects_that_the_sdk_has_parsed_go_back_without_what_it_made_of_them(server, sdk):
    class Out(BaseModel):
        x: int

    server.answer = Answer(body(whole(message('{"x": 1}'), call("f", '{"a": 1}'))))
    tools = [{"type": "function", "name": "f", "strict": True, "parameters": {}}]
    parsed = sdk.responses.parse(model="m", input="?", tools=tools, text_format=Out).output
    assert parsed[1].parsed_arguments == {"a": 1}
    polycall.from_openai(sdk, api="responses", model="m").create(parsed, tools=[F])
    assert server.last["input"] == [message('{"x": 1}'), call("f", '{"a": 1}')]


def test_same_request_same_body_and_nothing_changed():
    request = Request(model="m", messages=tuple(CHAT), tools=(), options={"max_tokens": 3, "extra_query": {"a": 1}})
    first, second = (Responses().encode(request, stream=True) for _ in range(2))
    assert first == second
    assert first.body["stream"] is True
    assert first.transport == {"extra_query": {"a": 1}}
    assert json.loads(first.tools_json) == first.body["tools"]
    assert request.options == {"max_tokens": 3, "extra_query": {"a": 1}}


def test_conversation_of_the_service_gets_only_what_it_has_not():
    calls = replay(streamed(call("f"), call("g", id="call_2", item="fc_2")), [F, G], conversation="conv_1")
    _, told = asked([body(OK)], [F], messages=calls.reply(["a", "b"]), stream=False, conversation="conv_1")
    assert [item["type"] for item in told["input"]] == ["function_call_output"] * 2
    _, told = asked([body(OK)], [F], messages=CHAT, stream=False, conversation="conv_1")
    assert len(told["input"]) == 9


# ------------------------------------------------------------------------------------------------------------------ where it goes


async def test_azure_through_the_sdk(server):
    server.answer = Answer(body(OK))
    server.requests.clear()
    given = {"azure_endpoint": server.origin, "api_version": "2025-04-01-preview", "api_key": "k", "max_retries": 0}
    with openai.AzureOpenAI(**given) as azure:
        polycall.from_openai(azure, api="responses", model="mine").create("?", tools=[Weather])
    async with openai.AsyncAzureOpenAI(**given) as azure:
        await polycall.from_openai(azure, api="responses", model="mine").create("?", tools=[Weather])
    for request in server.requests:
        assert request.path == "/openai/responses?api-version=2025-04-01-preview"
        assert request.headers["api-key"] == "k"
        assert request.body["model"] == "mine"


@pytest.mark.parametrize("version", [None, "2025-04-01-preview"])
def test_azure_without_the_sdk(version, server):
    server.answer = Answer(body(OK))
    server.requests.clear()
    given = {"base_url": server.origin, "api_key": "k", "api_version": version}
    with polycall.from_provider("azure/mine", api="responses", **given) as client:
        assert client.create("?", tools=[Weather])[0].location == "Oslo"
    path = "/openai/v1/responses" if version is None else f"/openai/responses?api-version={version}"
    assert server.requests[0].path == path
    assert server.requests[0].headers["api-key"] == "k"
    with polycall.from_provider("azure/mine", api="chat", **given) as client:
        server.answer = Answer(b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}')
        client.create("?", tools=[Weather])
    assert "chat/completions" in server.requests[1].path


@pytest.mark.parametrize("name", ["openai", "xai", "openrouter", "lmstudio"])
def test_services_without_the_sdk(name, server):
    server.answer = Answer(body(OK))
    server.requests.clear()
    with polycall.from_provider(f"{name}/m", api="responses", base_url=server.url, api_key="k") as client:
        assert client.create("?", tools=[Weather])[0].location == "Oslo"
    assert server.requests[0].path == "/v1/responses"
    assert server.requests[0].headers["authorization"] == "Bearer k"


# ------------------------------------------------------------------------------------------------------------------- what is read

ITEMS = (
    reasoning(encrypted_content="x"),
    message("Let me see."),
    call("f", '{"a": [1, 2]}', id="call_a", item="fc_a"),
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    call("g", "{}", id="call_b", item="fc_b", namespace="n", caller={"type": "direct"}),
    {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_c", "name": "f", "input": "free", "status": "completed"},
    {"id": "mcp_1", "type": "mcp_call", "name": "f", "arguments": "{}", "server_label": "s", "status": "completed"},
    call("f", '{"a": 2}', id="call_d", item="fc_d", status="in_progress"),
)
MADE = [
    ("call_a", "f", '{"a": [1, 2]}', "ok"),
    ("call_b", "g", "{}", "ok"),
    ("call_d", "f", '{"a": 2}', "ok"),
]


@pytest.mark.parametrize("size", [None, 1, 3])
def test_whole_and_streamed_are_the_same(size):
    plain = replay([body(whole(*ITEMS))], [F, G], stream=False)
    assert seen(plain) == MADE
    assert plain.text == "Let me see."
    assert plain.finish_reason == "completed"
    assert not plain.errors
    assert plain.usage == polycall.Usage(30, 12, 20, 5)
    given = replay(streamed(*ITEMS, size=size), [F, G])
    assert outcome(given) == outcome(plain)
    assert given.response == plain.response == whole(*ITEMS)
    assert plain.messages == [{"role": "user", "content": "?"}, *ITEMS]
    answers = plain.reply(["1", "2", "3"])[1 + len(ITEMS) :]
    assert answers == [
        {"type": "function_call_output", "call_id": "call_a", "output": "1"},
        {"type": "function_call_output", "call_id": "call_b", "output": "2", "caller": {"type": "direct"}},
        {"type": "function_call_output", "call_id": "call_d", "output": "3"},
    ]


def test_calls_are_given_when_their_item_is_done():
    stream = streamed(*ITEMS, size=2)
    fed: list[str] = []

    def chunks():
        for chunk in stream:
            fed.append(next(responses.sse_events(chunk))["type"])
            yield chunk

    client = polycall.Client(Connection(responses.InMemory(), responses.Script(chunks()), blocking=False), model="m")
    at = [(len(fed), fed[-1]) for _ in client.stream("?", tools=[F, G])]
    assert [kind for _, kind in at] == ["response.output_item.done"] * 3
    assert len({number for number, _ in at}) == 3


def shuffled(items, seed, size=3):
    """Interleave the events of items, each in its own order, all begun in the model's order."""
    queues = [events_of(item, index, size=size) for index, item in enumerate(items)]
    events = [queue.pop(0) for queue in queues]
    pick = random.Random(seed)
    while queues := [queue for queue in queues if queue]:
        events.append(pick.choice(queues).pop(0))
    return [data(event) for event in [*begun(), *events, ended(*items)]]


@pytest.mark.parametrize("seed", range(20))
def test_items_that_arrive_side_by_side(seed):
    assert outcome(replay(shuffled(ITEMS, seed), [F, G])) == outcome(replay([body(whole(*ITEMS))], [F, G], stream=False))


PAIR = (call("f", '{"a": 1}', id="A", item="fc_a"), call("g", '{"b": 2}', id="B", item="fc_b"))
BOTH = [("A", "f", '{"a": 1}', "ok"), ("B", "g", '{"b": 2}', "ok")]


def rewritten(events, rewrite):
    return [data(rewrite(copy.deepcopy(event))) for event in events]


def plain_events(items=PAIR, size=3, last=None):
    events = [event for index, item in enumerate(items) for event in events_of(item, index, size=size)]
    return [*begun(), *events, last or ended(*items)]


def all_at_zero(event):
    if "output_index" in event:
        event["output_index"] = 0
    return event


def no_index(event):
    event.pop("output_index", None)
    return event


def no_item_id(event):
    event.pop("item_id", None)
    event.get("item", {}).pop("id", None)
    return event


COUNT = itertools.count()


def other_ids(event):
    """As GitHub Copilot: the same item has another id in each event."""
    if "item_id" in event:
        event["item_id"] = f"x{next(COUNT)}"
    if "item" in event:
        event["item"]["id"] = f"x{next(COUNT)}"
    return event


def same_ids(event):
    if "item_id" in event:
        event["item_id"] = "fc_0"
    if "item" in event:
        event["item"]["id"] = "fc_0"
    return event


def from_five(event):
    if "output_index" in event:
        event["output_index"] += 5
    return event


def backwards(event):
    if "output_index" in event:
        event["output_index"] = 1 - event["output_index"]
    return event


REWRITES = {
    "all at index 0": all_at_zero,
    "no index": no_index,
    "no item ids": no_item_id,
    "other ids in each event": other_ids,
    "the same item id": same_ids,
    "from index 5": from_five,
    "backwards": backwards,
    "neither index nor item id": lambda event: no_index(no_item_id(event)),
    "one index, no item ids": lambda event: all_at_zero(no_item_id(event)),
    "one index, other ids": lambda event: all_at_zero(other_ids(event)),
    "one index, same ids": lambda event: all_at_zero(same_ids(event)),
    "no index, same ids": lambda event: no_index(same_ids(event)),
}


@pytest.mark.parametrize("last", [True, False], ids=["listed at the end", "nothing at the end"])
@pytest.mark.parametrize("name", REWRITES)
def test_items_however_they_are_numbered(name, last):
    events = plain_events(last=None if last else ended())
    assert seen(replay(rewritten(events, REWRITES[name]), [F, G])) == BOTH


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", ["from index 5", "other ids in each event", "no item ids", "the same item id"])
@pytest.mark.parametrize("seed", range(5))
def test_side_by_side_however_they_are_numbered(name, last, seed):
    events = [next(responses.sse_events(chunk)) for chunk in shuffled(PAIR, seed)]
    if not last:
        events[-1]["response"]["output"] = []
    assert seen(replay(rewritten(events, REWRITES[name]), [F, G])) == BOTH


WORDS = "response.function_call_arguments"
LEFT_OUT = {
    "deltas": {f"{WORDS}.delta"},
    "all of the arguments": {f"{WORDS}.done"},
    "arguments events": {f"{WORDS}.delta", f"{WORDS}.done"},
    "added": {"response.output_item.added"},
    "done": {"response.output_item.done"},
    "item events": {"response.output_item.added", "response.output_item.done"},
    "all but done": {"response.output_item.added", f"{WORDS}.delta", f"{WORDS}.done", "response.created", "response.in_progress"},
    "all but the end": {
        "response.output_item.added", "response.output_item.done", f"{WORDS}.delta", f"{WORDS}.done", "response.created",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_events_that_servers_leave_out(name):
    events = [event for event in plain_events() if event["type"] not in LEFT_OUT[name]]
    assert seen(replay(rewritten(events, lambda event: event), [F, G])) == BOTH


@pytest.mark.parametrize("name", ["deltas", "all of the arguments", "arguments events", "added"])
def test_events_that_servers_leave_out_without_a_list_at_the_end(name):
    events = [event for event in plain_events(last=ended()) if event["type"] not in LEFT_OUT[name]]
    assert seen(replay(rewritten(events, lambda event: event), [F, G])) == BOTH


def test_done_is_not_told_without_a_list_at_the_end():
    events = [event for event in plain_events(last=ended()) if event["type"] != "response.output_item.done"]
    assert seen(replay(rewritten(events, lambda event: event), [F, G])) == BOTH


@pytest.mark.parametrize("ids", [("same", "same"), (None, None), ("", ""), (7, 8)])
@pytest.mark.parametrize("way", ["whole", "streamed", "at once"])
def test_call_ids_that_are_none(ids, way):
    items = [call("f", '{"a": 1}', id=ids[0], item=None), call("f", '{"a": 2}', id=ids[1], item=None)]
    if way == "streamed":
        calls = replay(streamed(*items), [F])
    else:
        chunks = [body(whole(*items))] if way == "whole" else [data(ended(*items))]
        calls = replay(chunks, [F], stream=way != "whole")
    assert [value["a"] for value in calls] == [1, 2]
    made = [item["call_id"] for item in calls.messages[1:]]
    assert len(set(made)) == 2
    _, told = asked([body(OK)], [F], messages=calls.reply(["x", "y"]), stream=False)
    check_body(told)
    assert [item["call_id"] for item in told["input"][3:]] == made


def test_events_that_are_told_twice():
    twice = [event for event in plain_events() for event in (event, event) if not event["type"].endswith(".delta")]
    assert seen(replay(rewritten(twice, lambda event: event), [F, G])) == BOTH


def test_arguments_in_the_first_event():
    def rewrite(event):
        if event["type"] == "response.output_item.added":
            event["item"]["arguments"] = '{"a": 1}' if event["item"]["name"] == "f" else '{"b": 2}'
        return event

    assert seen(replay(rewritten(plain_events(), rewrite), [F, G])) == BOTH
    events = [
        event for event in plain_events(last=ended()) if event["type"] in {"response.output_item.added", "response.completed"}
    ]
    assert seen(replay(rewritten(events, rewrite), [F, G])) == BOTH


@pytest.mark.parametrize(
    ("given", "state"), [({"a": 1}, "ok"), ({}, "ok"), (None, "ok"), ("", "ok"), ([1], "invalid"), (3, "invalid")]
)
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_arguments_that_are_no_text(given, state, way):
    items = [call("f", given), PAIR[1]]
    if given is None:
        items[0]["arguments"] = None
    calls = replay(streamed(*items) if way == "streamed" else [body(whole(*items))], [F, G], stream=way == "streamed")
    assert [one.outcome for one in calls.calls] == [state, "ok"]


BAD = {"no json": "{'x'", "array": "[1]", "twice": '{"x": 1}{"x": 2}', "nan": '{"x": NaN}', "surrogate": '{"x": "\\ud83d"}'}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_bad_arguments_beside_good_calls(name, way):
    items = [PAIR[0], call("f", BAD[name], id="bad", item="fc_x"), PAIR[1]]
    calls = replay(streamed(*items) if way == "streamed" else [body(whole(*items))], [F, G], stream=way == "streamed")
    assert seen(calls) == [BOTH[0], ("bad", "f", BAD[name], "invalid"), BOTH[1]]
    _, told = asked([body(OK)], [F], messages=calls.messages, stream=False)
    json.dumps(told).encode()


def test_names_that_no_tool_has():
    calls = replay([body(whole(call("f g!"), call(None, id="b", item="fc_2"), PAIR[1]))], [F, G], stream=False)
    assert [one.outcome for one in calls.calls] == ["unknown", "unknown", "ok"]
    _, told = asked([body(OK)], [F], messages=calls.reply(["x", "y", "z"]), stream=False)
    check_body(told)


def test_lone_surrogates_are_not_sent_back():
    items = [call("f", '{"a": "\ud83d"}', id="\ud83d"), reasoning(encrypted_content="x"), message("\ude00")]
    calls = replay([json.dumps(whole(*items)).encode()], [F], stream=False)
    _, told = asked([body(OK)], [F], messages=calls.messages, stream=False)
    json.dumps(told, ensure_ascii=False).encode()


# ---------------------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("max_output_tokens", "the token limit was reached"),
        ("content_filter", "the content filter stepped in"),
        ("steered", "the answer is incomplete"),
        (None, "the answer is incomplete"),
    ],
)
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_incomplete(reason, told, way):
    details = {"status": "incomplete", "incomplete_details": {"reason": reason} if reason else None}
    items = (reasoning(encrypted_content="x"), PAIR[0], call("g", '{"b": ', id="B", item="fc_b", status="incomplete"))
    calls = replay(
        streamed(*items, **details) if way == "streamed" else [body(whole(*items, **details))], [F, G], stream=way == "streamed"
    )
    assert seen(calls) == [BOTH[0], ("B", "g", '{"b": ', "cut off")]
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]
    assert told in str(calls.errors[0])
    assert calls.finish_reason == (reason or "incomplete")
    back = calls.messages[1:]
    assert [item["type"] for item in back] == ["reasoning", "function_call", "function_call"]
    assert "status" not in back[2]
    between = replay([body(whole(*items[:2], **details))], [F, G], stream=False)
    assert [(type(error), error.index) for error in between.errors] == [(polycall.CutOffError, 1)]


def test_incomplete_call_in_a_complete_answer_is_cut():
    calls = replay([body(whole(call("f", '{"a": 1}', status="incomplete"), PAIR[1]))], [F, G], stream=False)
    assert [one.outcome for one in calls.calls] == ["cut off", "ok"]


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_refusal(way):
    item = message("I will not.", kind="refusal")
    calls = replay(streamed(item) if way == "streamed" else [body(whole(item))], [F], stream=way == "streamed")
    assert [type(error) for error in calls.errors] == [polycall.RefusalError]
    assert calls.text == "I will not."
    assert calls.messages[1:] == [item]


def test_text_alone():
    calls = replay(streamed(message("Hello")), [F], tool_choice="required")
    assert [type(error) for error in calls.errors] == [polycall.NoCallsError]
    assert calls.text == "Hello"
    events = [event for event in plain_events((message("Hello"),)) if not event["type"].endswith(".delta")]
    assert replay(rewritten(events, lambda event: event), [F]).text == "Hello"
    for content in ("Hello", [7, {"type": "text"}, {"type": "output_text", "text": "Hello"}]):
        assert replay([body(whole({**message(""), "content": content}))], [F], stream=False).text == "Hello"


FAILED = {"code": "server_error", "message": "it broke"}
FAILURES = {
    "failed": [ended(status="failed", error=FAILED)],
    "error": [{"type": "error", "sequence_number": 3, **FAILED, "param": None}],
    "nested error": [{"type": "error", "error": {"type": "server_error", **FAILED}}],
    "without a type": [{"error": FAILED}],
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_of_the_server(name):
    (last,) = FAILURES[name]
    with pytest.raises(polycall.TransportError, match="server_error") as raised:
        replay([data(last)], [F])
    assert raised.value.transient
    assert "it broke" in (raised.value.body or "")
    events = [*begun(), *events_of(PAIR[0], 0), events_of(PAIR[1], 1)[0], last]
    calls = replay([data(event) for event in events], [F, G])
    assert [one.outcome for one in calls.calls] == ["ok", "cut off"]
    assert "server_error" in str(calls.errors[0])


def test_failures_in_a_whole_body():
    with pytest.raises(polycall.TransportError, match="server_error"):
        replay([body(whole(status="failed", error=FAILED))], [F], stream=False)
    kept = replay([body(whole(PAIR[0], status="failed", error=FAILED))], [F], stream=False)
    assert seen(kept) == BOTH[:1]
    assert isinstance(kept.errors[0], polycall.CutOffError)
    for code in ("invalid_prompt", "invalid_image_url"):
        with pytest.raises(polycall.TransportError, match=code) as raised:
            replay([body(whole(status="failed", error={"code": code, "message": ""}))], [F], stream=False)
        assert not raised.value.transient
    with pytest.raises(polycall.TransportError, match="in the background"):
        replay([body(whole(status="queued"))], [F], stream=False)
    with pytest.raises(polycall.TransportError, match="no output"):
        replay([b'{"choices": [{"message": {"content": "hi"}}]}'], [F], stream=False)
    cut = replay([body(whole(PAIR[0], status="cancelled"))], [F], stream=False)
    assert "was cancelled" in str(cut.errors[0])


def test_nothing_behind_the_end_counts():
    late = [*plain_events(), *events_of(call("f", "{}", id="late", item="late"), 2), ended(status="failed", error=FAILED)]
    calls = replay([data(event) for event in late], [F, G])
    assert seen(calls) == BOTH
    assert not calls.errors


def test_pieces_for_what_is_no_call_are_left_alone():
    words = "response.function_call_arguments"
    stray = [{"type": f"{words}.{kind}", "output_index": 0, "delta": "{", "arguments": "{}"} for kind in ("delta", "done")]
    stray += [{"type": f"{words}.delta", "output_index": 1, "delta": nothing} for nothing in ("", None)]
    events = [*begun(), *events_of(message("Hi"), 0), *stray, *events_of(PAIR[0], 1), ended(message("Hi"), PAIR[0], None, 7)]
    calls = replay([data(event) for event in events], [F])
    assert seen(calls) == BOTH[:1]
    assert calls.text == "Hi"


def test_done_items_at_one_index_are_told_apart_by_what_they_say():
    items = [call("f", '{"a": 1}', id=None, item=None), call("f", '{"a": 2}', id=None, item=None)]
    events = [{"type": "response.output_item.done", "output_index": 0, "item": item} for item in items]
    calls = replay([data(event) for event in [events[0], *events, ended()]], [F])
    assert [value["a"] for value in calls] == [1, 2]


def test_pieces_with_no_head_are_a_call():
    words = "response.function_call_arguments.delta"
    events = [{"type": words, "item_id": "x", "delta": piece} for piece in ('{"a"', ": 1}")]
    calls = replay([data(event) for event in [*events, ended()]], [F])
    assert [(one.arguments, one.outcome) for one in calls.calls] == [('{"a": 1}', "unknown")]


def test_item_whose_type_comes_late():
    events = [event for event in plain_events() if event["type"] != "response.output_item.done"]
    for event in events:
        if event["type"] == "response.output_item.added":
            event["item"]["type"] = "odd" if event["output_index"] else None
    assert sorted(seen(replay(rewritten(events, lambda event: event), [F, G]))) == BOTH


JUNK = [None, 7, "x", [], {}, [1], {"a": 1}, True, 1.5, "\ud83d"]
KEYS = [
    "type",
    "output_index",
    "item_id",
    "item",
    "delta",
    "response",
    "arguments",
    "error",
    "call_id",
    "name",
    "id",
    "status",
    "output",
]


@pytest.mark.parametrize("seed", range(60))
def test_junk_never_crashes(seed):
    """Values of events replaced by others: an answer, or an error of the transport, and the next request can be written."""
    pick = random.Random(seed)
    events = copy.deepcopy(plain_events(ITEMS))
    for event in pick.sample(events, 6):
        holders = [event, *(value for value in event.values() if isinstance(value, dict))]
        holder = pick.choice(holders)
        holder[pick.choice(KEYS)] = pick.choice(JUNK)
    for chunks, stream in (([data(event) for event in events], True), ([body(events[-1].get("response") or {})], False)):
        try:
            calls = replay(chunks, [F, G], stream=stream)
        except polycall.TransportError:
            continue
        _, told = asked([body(OK)], [F], messages=calls.reply(["x"] * len(calls)), stream=False)
        json.dumps(told, ensure_ascii=False).encode()


def test_cost_is_linear():
    def seconds(count):
        text = json.dumps({"a": "x" * 40 * count})
        items = [call("f", "{}", id=f"c{number}", item=f"fc{number}") for number in range(count // 20)]
        stream = b"".join([*streamed(call("f", text, size=4)), data(ended())][:1]) + b"".join(
            streamed(call("f", text), *items, size=20)
        )
        start = time.process_time()
        calls = replay([stream], [F], limits=polycall.Limits(calls=10**6))
        assert len(calls) == 1 + len(items)
        outcome(calls)
        return time.process_time() - start

    seconds(500)
    assert min(seconds(8000) for _ in range(2)) < 10 * min(seconds(2000) for _ in range(3)) + 0.2


# -------------------------------------------------------------------------------------------------------- programs of several requests

WRONG = '{"location": 3, "units": "metric"}'
RIGHT = '{"location": "Rome", "units": "metric"}'
FIRST = (
    reasoning(encrypted_content="x"),
    call("Weather", WRONG, id="A", item="fc_a"),
    call("Weather", '{"location": "Oslo", "units": "metric"}', id="B", item="fc_b"),
)


def server_answers(server, *answers, stream):
    server.requests.clear()
    server.queue.clear()
    kind = "text/event-stream" if stream else "application/json"
    server.queue.extend(Answer(streamed(*items) if stream else body(whole(*items)), content_type=kind) for items in answers)


@pytest.fixture(params=["sdk", "direct"])
def client(request, server, sdk):
    if request.param == "sdk":
        yield polycall.from_openai(sdk, api="responses", model="m")
    else:
        with polycall.from_provider("openai/m", api="responses", base_url=server.url, api_key="k", retries=0) as client:
            yield client


@pytest.mark.parametrize("stream", [False, True])
def test_two_turns(stream, client, server):
    server_answers(server, FIRST[::2], (message("Cold."),), stream=stream)
    calls = client.create("Oslo?", tools=[Weather], stream=stream)
    calls = calls.result() if stream else calls
    last = client.create([*calls.reply({0: "-3"}), {"role": "user", "content": "So?"}], tools=[Weather], stream=stream)
    assert (last.result() if stream else last).text == "Cold."
    check_body(server.last)
    assert server.last["input"] == [
        {"role": "user", "content": "Oslo?"},
        *FIRST[::2],
        {"type": "function_call_output", "call_id": "B", "output": "-3"},
        {"role": "user", "content": "So?"},
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_bad_call_is_asked_again_at_the_end(stream, client, server):
    server_answers(server, FIRST, (call("Weather", RIGHT, id="C"),), stream=stream)
    calls = client.create("Rome and Oslo?", tools=[Weather], stream=stream, reask="end", previous_response_id="resp_0")
    calls = calls.result() if stream else calls
    assert [value.location for value in calls] == ["Rome", "Oslo"]
    again = server.requests[1].body
    check_body(again)
    assert again["previous_response_id"] == "resp_0"
    assert again["input"][:4] == [{"role": "user", "content": "Rome and Oslo?"}, *FIRST]
    assert again["input"][4:] == [
        {"type": "function_call_output", "call_id": "A", "output": IsStr(regex='.*"invalid arguments".*')},
        {"type": "function_call_output", "call_id": "B", "output": "Accepted, do not repeat"},
    ]
    assert {**again, "input": None} == {**server.requests[0].body, "input": None}
    _, told = asked([body(OK)], [F], messages=calls.reply(["a", "b"]), stream=False)
    check_body(told)


def mid_stream(server, items):
    """Play a stream that goes on behind its second item only when the model was asked again."""
    asked_again = threading.Event()
    events = [*begun(), *itertools.chain(*(events_of(item, index) for index, item in enumerate(items)))]
    split = next(number for number, event in enumerate(events) if event.get("output_index") == 2)
    first = [data(event) for event in events[:split]]
    rest = [data(event) for event in [*events[split:], ended(*items)]]
    server.requests.clear()
    server.queue.clear()

    def again(sent):
        asked_again.set()
        return Answer(streamed(call("Weather", RIGHT, id="C", item="fc_c")), content_type="text/event-stream")

    server.queue.extend([Answer([*first, Until(asked_again), *rest], content_type="text/event-stream"), again])


THOUGHTS = {
    "encrypted": (reasoning(encrypted_content="x"), True),
    "open": (reasoning(content=[{"type": "reasoning_text", "text": "hm"}]), True),
    "kept by the service": (reasoning(), False),
}


def check_half(half, thought, *, found):
    check_body(half)
    turn = [thought, FIRST[1]] if found else [{key: value for key, value in FIRST[1].items() if key != "id"}]
    assert half["input"][:-1] == [{"role": "user", "content": "?"}, *turn]
    assert half["input"][-1] == IsPartialDict(type="function_call_output", call_id="A")


@pytest.mark.parametrize("name", THOUGHTS)
def test_bad_call_is_asked_again_while_the_stream_runs(name, client, server):
    thought, found = THOUGHTS[name]
    mid_stream(server, (thought, *FIRST[1:]))
    with client.stream("?", tools=[Weather]) as stream:
        values = [value.location for value in stream]
    assert sorted(values) == ["Oslo", "Rome"]
    assert [value.location for value in stream.result()] == ["Rome", "Oslo"]
    assert len(server.requests) == 2
    check_half(server.requests[1].body, thought, found=found)
    messages = stream.result().reply(["a", "b"])
    _, told = asked([body(OK)], [F], messages=messages, stream=False)
    check_body(told)


async def test_bad_call_is_asked_again_while_the_stream_runs_on_asyncio(server):
    mid_stream(server, FIRST)
    async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        stream = polycall.from_openai(sdk, api="responses", model="m").stream("?", tools=[Weather])
        assert sorted([value.location async for value in stream]) == ["Oslo", "Rome"]
    check_half(server.requests[1].body, FIRST[0], found=True)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_that_were_not_kept_do_not_go_back(stream):
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    items = (reasoning(), message("Hm.", phase="commentary"), search, call("f"), reasoning("rs_2"))
    chunks = streamed(*items, store=False) if stream else [body(whole(*items, store=False))]
    calls = replay(chunks, [F], stream=stream, store=False)
    assert calls.messages[1:] == [
        {"role": "assistant", "content": "Hm.", "phase": "commentary"},
        search,
        {key: value for key, value in items[3].items() if key != "id"},
    ]
    kept = replay(streamed(*items) if stream else [body(whole(*items))], [F], stream=stream)
    assert kept.messages[1:] == list(items[:4])


@pytest.mark.parametrize("stream", [False, True])
def test_objects_of_the_sdk(stream, server, sdk):
    server_answers(server, ITEMS, stream=stream)
    calls = polycall.from_openai(sdk, api="responses", model="m").create("?", tools=[F, G], stream=stream)
    response = (calls.result() if stream else calls).response
    assert type(response) is Response
    assert response.id == "resp_1"
    assert response.output_text == "Let me see."
    assert [item.type for item in response.output] == [item["type"] for item in ITEMS]
    assert response.output[2].call_id == "call_a"
    assert response.usage.output_tokens == 12


def test_half_a_stream_has_an_object_too():
    events = [*begun(), *events_of(message("Hello there"), 0)[:-1], events_of(PAIR[0], 1)[0]]
    calls = replay([data(event) for event in events], [F])
    assert [item["type"] for item in calls.response["output"]] == ["message", "function_call"]
    assert calls.response["output"][0]["content"][0]["text"] == "Hello there"
    assert calls.messages[1]["content"] == "Hello there"


def test_the_services_own_address_is_the_default():
    assert Responses().service is OPENAI
    assert Responses().headers("k") == {"authorization": "Bearer k"}
    assert Responses().headers(None) == {}
    assert Responses().half_turns
    assert Responses().raw_arguments


@pytest.mark.parametrize("told", ["added", "done", "pieces"])
def test_words_whose_item_is_not_told_in_full(told):
    """The last event holds no output, and the item of the words has lost its end, or all but its pieces."""
    events = [*begun(), *events_of(message("Let me see."), 0), *events_of(call("f"), 1), ended()]
    lost = {"added": ["added"], "done": ["done"], "pieces": ["added", "done"]}[told]
    events = [one for one in events if one.get("item", {}).get("type") != "message" or one["type"].rpartition(".")[2] not in lost]
    calls = replay(map(data, events), [F])
    assert (calls.text, [one.outcome for one in calls.calls]) == ("Let me see.", ["ok"])
    words = message("Let me see.") if told == "added" else {"role": "assistant", "content": "Let me see."}
    assert calls.messages[1:] == [words, call("f")]
    check_body(asked([body(OK)], [F], messages=calls.reply(["ok"]), stream=False)[1])
    assert calls.response["output"][0]["content"][0]["text"] == "Let me see."


@pytest.mark.parametrize("wrong", [None, "", 5, "incomplete"])
def test_calls_go_back_without_what_a_request_may_not_say(wrong):
    given = {**call("f"), "id": wrong, "status": wrong}
    calls = replay([body(whole(given))], [F], stream=False)
    (sent,) = [item for item in calls.messages if item.get("type")]
    assert sent == call("f", item=wrong if wrong == "incomplete" else None, status=None)
    check_body(asked([body(OK)], [F], messages=calls.reply(["ok"]), stream=False)[1])
