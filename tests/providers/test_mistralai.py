"""Mistral's format and its SDK: what is sent is what its published schema allows, and what the SDK cannot read is read."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

import polycall
from polycall.formats.mistral import mistral_messages
from polycall.testing import ModelServer, Said, Turn
from support import chat
from support.chat_sdks import SDKS, asking, options
from support.loopback import Answer, Server
from support.recorded import TESTS, answered, exchanges, outcome

mistralai = pytest.importorskip("mistralai.client")

SSE = "text/event-stream"
SPEC = json.loads((TESTS / "spec" / "mistral.json").read_bytes())
VALIDATOR = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/" + SPEC["x-roots"]["chat.completions"]})
OWN_ID = re.compile(r"[a-zA-Z0-9]{9}")


class Weather(BaseModel):
    """Get the weather."""

    location: str
    day: str | None = None


class Search(BaseModel):
    query: str


def check_body(body: Any) -> None:
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in VALIDATOR.iter_errors(body)]
    assert not problems


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module", params=[False, True], ids=["blocking", "asyncio"])
def asker(request, server):
    with asking(SDKS["mistral"], server.origin, asynchronous=request.param, max_retries=0) as asker:
        yield asker


@pytest.fixture
def sent(server, asker):
    """Return a function that asks and gives the body that arrived at the server."""

    def sent(messages="?", **given):
        server.answer = Answer(chat.body(chat.whole(content="ok", finish="stop")))
        if given.get("stream"):
            server.answer = Answer(chat.stream(chat.chunk(content="ok"), finish="stop"), content_type=SSE)
        asker.ask(messages, errors="return", **{"tools": [Weather, Search], **given})
        payload = asker.client.payload(messages, **{"tools": [Weather, Search], **given})
        check_body(server.last)
        check_body(payload)
        assert server.requests[-1].body.items() >= {key: payload[key] for key in payload if key != "messages"}.items()
        return server.last

    return sent


# ---------------------------------------------------------------------------------------------------------------- requests

CHOICES = {
    "nothing": {},
    "required": {"tool_choice": "required"},
    "none": {"tool_choice": "none"},
    "tool": {"tool_choice": Weather},
    "allowed": {"tool_choice": [Weather]},
    "not parallel": {"parallel": False},
    "not strict": {"schema_strict": False},
    "options": {"temperature": 0.5, "random_seed": 1, "max_tokens": 9, "stop": ["x"], "n": 2, "safe_prompt": True},
}


@pytest.mark.parametrize("given", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_option_is_taken(given, stream, sent):
    body = sent(stream=stream, **given)
    assert body["stream"] is stream
    assert "stream_options" not in body
    passed = {key: value for key, value in given.items() if key not in {"tool_choice", "parallel", "schema_strict"}}
    assert body.items() >= passed.items()
    assert body.get("parallel_tool_calls") is given.get("parallel")
    assert [tool["function"].get("strict", False) for tool in body["tools"]] == [given.get("schema_strict", True)] * len(
        body["tools"]
    )


def test_spelling_of_choices(sent):
    assert "tool_choice" not in sent()
    assert sent(tool_choice="required")["tool_choice"] == "required"
    assert sent(tool_choice="none")["tool_choice"] == "none"
    assert sent(tool_choice=Weather)["tool_choice"] == {"type": "function", "function": {"name": "Weather"}}
    body = sent(tool_choice=[Search])
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Search"]
    assert "tool_choice" not in body


def test_arguments_of_the_sdk_stand_beside_the_body(server, asker):
    server.answer = Answer(chat.body(chat.whole(content="ok", finish="stop")))
    given = {"timeout_ms": 5000, "http_headers": {"x-own": "1"}, "extra_headers": {"x-other": "2"}}
    asker.ask(tools=[Weather], **given)
    assert server.requests[-1].headers["x-own"] == "1"
    assert server.requests[-1].headers["x-other"] == "2"
    assert asker.client.payload("?", tools=[Weather], **given).keys() == {"model", "messages", "tools"}
    for key in ("extra_body", "extra_query"):
        with pytest.raises(polycall.UsageError, match=f"sends no {key}: leave it out"):
            asker.ask(tools=[Weather], **{key: {"a": "1"}})


def history(first: str, second: str, **others: Any) -> list[dict[str, Any]]:
    calls = [
        {"id": first, "type": "function", "function": {"name": "Weather", "arguments": "{}"}, "extra_content": {"a": 1}},
        {"id": second, "type": "function", "function": {"name": "Search", "arguments": "{}"}},
    ]
    return [
        {"role": "developer", "content": "Use tools."},
        {"role": "user", "name": "Ada", "content": "?"},
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": calls, **others},
        {"role": "tool", "tool_call_id": first, "content": "1"},
        {"role": "tool", "tool_call_id": second, "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "And?"},
    ]


FOREIGN = {
    "openai": ("call_abcdefghijklmnopqrstuvwx", "call_zyxwvutsrqponmlkjihgfedc"),
    "anthropic": ("toolu_01A", "toolu_01B"),
    "one of them": ("a12345678", "toolu_01B"),
    "a long number": ("1" * 40, "2" * 40),
    "not of letters": ("\u00e9" * 9, "call-1234"),
}


@pytest.mark.parametrize("ids", FOREIGN.values(), ids=FOREIGN)
def test_foreign_histories_are_taken(ids, sent):
    given = history(*ids, reasoning_content="hm")
    before = copy.deepcopy(given)
    body = sent(given)
    assert given == before
    system, user, turn, first, second, last = body["messages"]
    assert (system["role"], system["content"], last) == ("system", "Use tools.", {"role": "user", "content": "And?"})
    assert user == {"role": "user", "content": "?"}
    made = [call["id"] for call in turn["tool_calls"]]
    assert [first["tool_call_id"], second["tool_call_id"]] == made
    assert all(OWN_ID.fullmatch(one) for one in made)
    assert len(set(made)) == 2
    assert [one for one in made if one in ids] == [one for one in ids if OWN_ID.fullmatch(one)]
    assert not turn.keys() & {"refusal", "annotations", "reasoning_content"}
    assert mistral_messages(given) == mistral_messages(given)


def test_ids_that_are_made_hit_no_other():
    foreign = "call_1"
    (_, _, turn, *_) = mistral_messages(history(foreign, "toolu_2"))
    made = turn["tool_calls"][0]["id"]
    (_, _, turn, *_) = mistral_messages(history(foreign, made))
    assert turn["tool_calls"][1]["id"] == made
    assert turn["tool_calls"][0]["id"] not in {made, foreign}


def test_own_objects_of_the_sdk_are_messages(sent):
    call = {"id": "a12345678", "function": {"name": "Weather", "arguments": {"location": "Oslo", "day": None}}}
    turn = mistralai.models.AssistantMessage(content="", tool_calls=[call])
    told = mistralai.models.ToolMessage(content="1", tool_call_id="a12345678", name="Weather")
    question = mistralai.models.UserMessage(content=[mistralai.models.TextChunk(text="?")])
    body = sent([question, turn, told, {"role": "user", "content": "And?"}])
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "user"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "?"}]
    assert body["messages"][1]["tool_calls"][0]["function"] == {"name": "Weather", "arguments": {"location": "Oslo", "day": None}}


def test_parts_of_contents(sent):
    parts = [
        {"type": "text", "text": "?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "2b4b6f2e-9d3c-4a5e-8f67-0123456789ab"}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
    ]
    (message,) = sent([{"role": "user", "content": parts}])["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "document_url", "file", "input_audio"]
    assert message["content"][2]["document_name"] == "a.pdf"
    with pytest.raises(polycall.UsageError, match="message 0 for mistral has a file"):
        mistral_messages([{"role": "user", "content": [{"type": "file", "file": {}}]}])
    with pytest.raises(polycall.UsageError, match="message 0 for mistral has the role 'critic'"):
        mistral_messages([{"role": "critic", "content": "?"}])
    texts = mistral_messages([{"role": "assistant", "content": ["a", {"type": "refusal", "refusal": "b"}]}])
    assert texts[0]["content"] == [{"type": "text", "text": "ab"}]
    assert len(mistral_messages([{"role": "user", "content": ["a", "b"]}])[0]["content"]) == 2
    assert mistral_messages([{"role": "assistant", "content": None, "refusal": "no"}]) == [{"role": "assistant", "content": "no"}]


RECORDED = [pytest.param(one, id=one.id) for one in exchanges() if one.provider == "mistral" and one.request is not None]


@pytest.mark.parametrize("one", RECORDED)
def test_recorded_requests_can_be_asked_again(one, sent):
    assert VALIDATOR.is_valid(one.request)
    functions = [tool["function"] for tool in one.request.get("tools") or ()] or [{"name": "unused"}]
    tools = [polycall.Tool(function["name"], function.get("description"), function.get("parameters")) for function in functions]
    for stream in (False, True):
        body = sent(one.request["messages"], tools=tools, stream=stream)
        assert [message["role"] for message in body["messages"]] == [message["role"] for message in one.request["messages"]]


CONTINUED = [pytest.param(one, id=one.id) for one in answered() if one.calls][::3]


@pytest.mark.parametrize("one", CONTINUED)
def test_conversation_goes_on(one, server, asker, sent):
    server.answer = Answer([one.body] if one.stream else one.body, content_type=one.content_type)
    calls = asker.ask(**options(one))
    body = sent(calls.reply({call.index: {"position": call.index} for call in calls.calls}), tools=one.tools)
    if not calls.calls:
        return  # of a whole answer with a field that only OpenAI has
    turn = next(message for message in body["messages"] if message["role"] == "assistant")
    told = [message for message in body["messages"] if message["role"] == "tool"]
    ids = [call["id"] for call in turn["tool_calls"]]
    assert [message["tool_call_id"] for message in told] == ids
    assert [message["name"] for message in told] == [call["function"]["name"] for call in turn["tool_calls"]]
    assert all(OWN_ID.fullmatch(one) for one in ids)
    assert len(set(ids)) == len(calls.calls)


@pytest.mark.parametrize("stream", [False, True])
def test_every_request_of_asking_again_is_valid(stream):
    wrong = [Said("Weather", {"location": "Oslo"}), Said("Weather", {"location": "Rome"}, wrong='{"location": 1}')]
    with ModelServer([Turn(calls=wrong), Turn(calls=[Said("Search", {"query": "x"})])]) as server:
        with asking(SDKS["mistral"], server.origin, asynchronous=stream) as asker:
            calls = asker.ask(tools=[Weather, Search], stream=stream)
            assert list(calls) == [Weather(location="Oslo"), Weather(location="Rome")]
            following = asker.ask(calls.reply({call.index: "sunny" for call in calls.calls}), tools=[Weather, Search])
            assert list(following) == [Search(query="x")]
        assert len(server.requests) == 3
        for sent in server.requests:
            check_body(sent.body)
            for message in sent.body["messages"]:
                for call in message.get("tool_calls") or ():
                    assert OWN_ID.fullmatch(call["id"])


# ----------------------------------------------------------------------------------------------------------------- answers

GOOD = chat.entry("Weather", '{"location": "Oslo"}', id="aaaaaaaa1")


def test_bad_call_takes_no_other_with_it(server, asker):
    """The SDK refuses a response with a call whose arguments are neither text nor an object."""
    bad = chat.entry("Weather", ["Rome"], id="aaaaaaaa2")
    body = chat.body({**chat.whole(GOOD, bad), "usage": {}})
    server.answer = Answer(body)
    with mistralai.Mistral(api_key="k", server_url=server.origin) as sdk, pytest.raises(mistralai.errors.MistralError):
        sdk.chat.complete(model="m", messages=[{"role": "user", "content": "?"}])
    calls = asker.ask(tools=[Weather], errors="return")
    assert [call.outcome for call in calls.calls] == ["ok", "invalid"]
    assert calls.calls[0].value == Weather(location="Oslo")
    assert calls.response is not None


def test_stream_with_deltas_without_a_name(server, asker):
    """The SDK refuses such a chunk, and the stream with it."""
    entries = [
        chat.entry("Weather", '{"location": "Oslo"}', id="aaaaaaaa1"),
        chat.entry("Search", '{"query": "x"}', id="aaaaaaaa2"),
    ]
    server.answer = Answer(chat.streamed(entries, size=3), content_type=SSE)
    with mistralai.Mistral(api_key="k", server_url=server.origin) as sdk, pytest.raises(mistralai.errors.MistralError):
        list(sdk.chat.stream(model="m", messages=[{"role": "user", "content": "?"}]))
    calls = asker.ask(tools=[Weather, Search], stream=True)
    assert list(calls) == [Weather(location="Oslo"), Search(query="x")]


def test_answer_in_another_form_than_asked_for(server, asker):
    """The SDK wants a stream where it has asked for one, and a whole body where not."""
    server.answer = Answer(chat.body(chat.whole(GOOD)))
    assert list(asker.ask(tools=[Weather], stream=True)) == [Weather(location="Oslo")]
    server.answer = Answer(b"".join(chat.streamed([GOOD])), content_type=SSE)
    assert list(asker.ask(tools=[Weather])) == [Weather(location="Oslo")]
    server.answer = Answer(b"".join(chat.streamed([GOOD])), content_type="text/plain")
    assert list(asker.ask(tools=[Weather], stream=True)) == [Weather(location="Oslo")]


@pytest.mark.parametrize("body", [b" ", b"{", b"[1]", b'{"object": "list"}', b"<html>"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer_raises_what_the_sdk_raises(body, stream, server, asker):
    server.answer = Answer(body)
    with pytest.raises(mistralai.errors.MistralError):
        asker.ask(tools=[Weather], stream=stream)


@pytest.mark.parametrize("status", [400, 401, 422, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_error_statuses(status, stream, server, asker):
    server.answer = Answer(chat.body({"object": "error", "message": "no", "type": "t", "code": 1}), status)
    with pytest.raises(mistralai.errors.MistralError) as raised:
        asker.ask(tools=[Weather], stream=stream)
    assert raised.value.status_code == status


def test_calls_without_ids_and_with_objects(server, asker):
    """In a whole answer every call has the index 0, and the SDK gives those without an id the id "null"."""
    entries = [chat.entry("Weather", {"location": place}, index=0) for place in ("Oslo", "Rome")]
    server.answer = Answer(chat.body({**chat.whole(*entries), "usage": {}}))
    calls = asker.ask(tools=[Weather])
    assert [call.id for call in calls.calls] == [None, None]
    assert list(calls) == [Weather(location="Oslo"), Weather(location="Rome")]
    assert calls.messages[-1]["role"] == "tool" or len({entry["id"] for entry in calls.messages[-1]["tool_calls"]}) == 2


def test_thinking_goes_back_in_its_place(server, asker, sent):
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "So."}]
    server.answer = Answer(chat.body({**chat.whole(GOOD, content=thinking), "usage": {}}))
    calls = asker.ask(tools=[Weather])
    assert calls.text == "So."
    body = sent(calls.reply({0: "sunny"}))
    assert body["messages"][1]["content"] == thinking


def test_thinking_of_a_stream_goes_back_whole(server, asker, sent):
    def thought(text):
        return chat.chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])

    chunks = [chat.chunk(content=""), thought("h"), thought("m"), chat.chunk(content="S"), chat.chunk(content="o.")]
    server.answer = Answer(chat.stream(*chunks, chat.chunk({**GOOD, "index": 0})), content_type=SSE)
    calls = asker.ask(tools=[Weather], stream=True)
    assert calls.text == "So."
    body = sent(calls.reply({0: "sunny"}))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "So."},
    ]
    assert calls.response.choices[0].message.content[0].type == "thinking"


def test_patched_stream_of_parsed_events_is_read(server):
    """What wraps the SDK's stream in a generator of its own hides the response; its events are read then."""
    server.answer = Answer(
        [chat.data(chat.chunk({**GOOD, "index": 0})), chat.data(chat.chunk(finish="tool_calls")), chat.DONE], content_type=SSE
    )
    with mistralai.Mistral(api_key="k", server_url=server.origin) as sdk:
        plain = sdk.chat.stream

        def patched(**given):
            with plain(**given) as events:
                yield from events

        sdk.chat.stream = patched
        calls = polycall.from_mistral(sdk, model="m").stream("?", tools=[Weather]).result()
        assert list(calls) == [Weather(location="Oslo")]
        assert type(calls.response).__name__ == "ChatCompletionResponse"


def test_both_halves_of_a_client(server):
    server.answer = Answer(chat.body({**chat.whole(GOOD), "usage": {}}))
    with mistralai.Mistral(api_key="k", server_url=server.origin) as sdk:
        assert isinstance(polycall.from_mistral(sdk), polycall.Client)
        assert isinstance(polycall.from_mistral(sdk, use_async=True), polycall.AsyncClient)


def test_streams_and_whole_answers_are_alike(server, asker):
    entries = [GOOD, chat.entry("Search", '{"query": "é"}', id="aaaaaaaa2")]
    server.answer = Answer(chat.body({**chat.whole(*entries), "usage": {}}))
    whole = asker.ask(tools=[Weather, Search])
    body = b"".join(chat.streamed(entries))
    server.answer = Answer([body[start : start + 1] for start in range(len(body))], content_type=SSE)
    streamed = asker.ask(tools=[Weather, Search], stream=True)
    assert outcome(whole)[0] == outcome(streamed)[0]
