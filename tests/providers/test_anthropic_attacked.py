"""Anthropic's Messages: what an attack on them has found."""

from __future__ import annotations

import json
from enum import Enum

import anthropic
import pytest

import polycall
from polycall._dialect_anthropic import anthropic_strict
from polycall.formats.anthropic import FORMAT
from polycall.types import Request
from support import messages
from support.loopback import Answer, Server
from support.messages import call, text, thinking

SSE = "text/event-stream"
WEATHER = polycall.Tool("Weather", "The weather.", {"type": "object", "properties": {"location": {"type": "string"}}})
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "1"}
ASK = {"role": "user", "content": "?"}


def written(*given):
    return FORMAT.encode(Request(model="claude-x", messages=given, tools=()), stream=False).body["messages"]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def read(server):
    """Return a function that gives what the SDK's client reads of a stream."""
    with anthropic.Anthropic(base_url=server.origin, api_key="k", max_retries=0) as sdk:
        client = polycall.from_anthropic(sdk, model="claude-x", max_retries=0)

        def read(*pieces):
            server.answer = Answer([messages.started(), *pieces, messages.stopped()], content_type=SSE)
            with client.stream("?", tools=[WEATHER], errors="return") as arriving:
                return arriving.result()

        yield read


def test_blank_text_beside_calls_is_left_out():
    (_, turn, _) = written(ASK, {"role": "assistant", "content": "\n\n", "tool_calls": [CALL]}, ANSWER)
    assert turn["content"] == [call("f", {}, "c1")]
    assert [one["role"] for one in written(ASK, {"role": "assistant", "content": " "}, ASK)] == ["user"]
    parts = [{"type": "text", "text": " "}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    *_, last = written(ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {**ANSWER, "content": parts})
    assert [block["type"] for block in last["content"][0]["content"]] == ["image"]


def test_blank_text_among_parts_is_left_out():
    blank = [{"type": "text", "text": given} for given in ("", " \n", None)]
    assert written({"role": "user", "content": [*blank, text("?")]})[0]["content"] == [text("?")]


def test_system_messages_are_text():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(polycall.UsageError, match="nothing but text as a system message"):
        written({"role": "system", "content": [text("Be good."), image]}, ASK)


def test_numbers_that_json_cannot_say_are_shown_as_text():
    function = {"name": "f", "arguments": '{"a": 1e999}'}
    (_, turn, _) = written(ASK, {"role": "assistant", "content": None, "tool_calls": [{**CALL, "function": function}]}, ANSWER)
    assert turn["content"][0]["input"] == {"invalid_arguments": '{"a": 1e999}'}


@pytest.mark.parametrize(
    "thought",
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "thinking", "thinking": "hm"},
        {"type": "thinking", "thinking": "hm", "signature": None},
    ],
    ids=str,
)
def test_thoughts_of_others_are_left_out(thought):
    (_, turn, _) = written(ASK, {"role": "assistant", "content": [thought, text("Hi.")]}, ASK)
    assert turn["content"] == "Hi."
    (_, turn, _) = written(ASK, {"role": "assistant", "content": [thought], "tool_calls": [CALL]}, ANSWER)
    assert turn["content"] == [call("f", {}, "c1")]


def test_thoughts_of_its_own_are_kept():
    blocks = [thinking("hm", "s"), text("Hi.")]
    assert written(ASK, {"role": "assistant", "content": blocks}, ASK)[1]["content"] == blocks
    unsigned = [{"type": "thinking", "thinking": "hm"}, call("f", {}, "c1")]  # a server of another speaks the format
    answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}]}
    assert written(ASK, {"role": "assistant", "content": unsigned}, answer)[1]["content"] == unsigned


def test_ids_that_are_not_taken_stay_apart():
    asked = [{**CALL, "id": call_id} for call_id in ("a.b", "a:b", "a_b")]
    answers = [{**ANSWER, "tool_call_id": one["id"], "content": one["id"]} for one in asked]
    (_, turn, last) = written(ASK, {"role": "assistant", "content": None, "tool_calls": asked}, *answers)
    ids = [block["id"] for block in turn["content"]]
    assert len(set(ids)) == 3
    assert ids[2] == "a_b"
    assert [(block["tool_use_id"], block["content"]) for block in last["content"]] == [
        *zip(ids, ("a.b", "a:b", "a_b"), strict=True)
    ]


def test_nothing_to_answer_is_a_usage_error():
    with pytest.raises(polycall.UsageError, match="nothing to answer"):
        written({"role": "system", "content": "Be good."})
    with pytest.raises(polycall.UsageError, match="nothing to answer"):
        written({"role": "user", "content": " "})


class Role(str, Enum):  # noqa: UP042  # whose text is not its value
    USER = "user"


def test_role_may_be_an_enum():
    assert json.dumps(written({"role": Role.USER, "content": [text("?")]})) == json.dumps(
        [{"role": "user", "content": [text("?")]}]
    )


def test_index_may_be_a_float(read):
    """Blocks that arrive interleaved stay apart."""
    begun = [messages.begin(place, call("Weather", {}, f"t{place:.0f}")) for place in (0.0, 1.0)]
    pieces = [
        messages.delta(place, "input_json_delta", partial_json=piece)
        for piece in ('{"location": ', '"x"}')
        for place in (0.0, 1.0)
    ]
    calls = read(*begun, *pieces, messages.end(0.0), messages.end(1.0))
    assert [(one.id, one.value) for one in calls.calls] == [("t0", {"location": "x"}), ("t1", {"location": "x"})]


@pytest.mark.parametrize("kind", ["citations_delta", "mystery_delta"])
def test_delta_without_its_start_is_no_block_of_its_own(read, kind):
    lost = messages.delta(0, kind, citation={"type": "char_location"})
    calls = read(lost, messages.end(0), messages.block(1, call("Weather", {"location": "x"}, "t1")))
    assert [one.value for one in calls.calls] == [{"location": "x"}]
    assert calls.messages[1]["content"] == [call("Weather", {"location": "x"}, "t1")]


def test_input_of_a_server_tool_goes_back_as_an_object(read):
    used = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    pieces = [messages.begin(0, used), messages.delta(0, "input_json_delta", partial_json='"x"'), messages.end(0)]
    calls = read(*pieces, messages.block(1, call("Weather", {"location": "x"}, "t1")))
    assert calls.messages[1]["content"][0] == used


@pytest.mark.parametrize(
    ("field", "reason"),
    [({"type": "object"}, "allows any key"), ({"const": {"x": 1}}, "no plain value"), ({"const": [1]}, "no plain value")],
    ids=str,
)
def test_what_the_strict_dialect_cannot_say(field, reason):
    assert reason in anthropic_strict({"type": "object", "properties": {"a": field}}).refused[0]


def test_what_the_strict_dialect_says():
    assert anthropic_strict({"type": "object"}).refused == ()
    empty = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}
    assert anthropic_strict(empty).refused == ()
    nothing = anthropic_strict({"type": "object", "properties": {"a": {"type": ["null"], "default": None}}})
    assert nothing.schema["properties"]["a"]["type"] == ["null"]
