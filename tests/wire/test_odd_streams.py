"""Streams that no recording shows and that servers send all the same: nothing is lost, invented or told twice."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel
from tests.support import memory
from tests.support.chat import DONE, chunk, chunk_of, data, entry, stream, whole

import polycall


class F(BaseModel):
    x: int = 0


class G(BaseModel):
    n: int


F1, G2 = '{"x": 1}', '{"n": 2}'
TWO = [("F", F1), ("G", G2)]


def read(*events, **options):
    return memory.replay(events, [F, G], **options)


def calls_of(calls):
    return [(call.name, call.arguments) for call in calls.calls]


@pytest.mark.parametrize(
    "events",
    {
        "an object instead of a list": [
            data(chunk(tool_calls=entry("F", F1, id="a", index=0))),
            data(chunk(tool_calls=entry("G", G2, id="b", index=1))),
        ],
        "a message that repeats everything, without ids": [
            data(chunk(entry("F", F1, id="a", index=0))),
            data(chunk(entry("G", G2, id="b", index=1))),
            data(chunk_of({"index": 0, "message": {"tool_calls": [entry("F", F1), entry("G", G2)]}, "finish_reason": None})),
        ],
        "other ids, no index, the name behind the arguments": [
            data(chunk(entry(None, F1, id="a"))),
            data(chunk(entry("F", id="a"))),
            data(chunk(entry(None, G2, id="b"))),
            data(chunk(entry("G", id="b"))),
        ],
        "a first piece without index": [
            data(chunk(entry("F", "", id="a"))),
            data(chunk(entry(None, F1, id="a", index=0))),
            data(chunk(entry("G", G2, id="b", index=1))),
        ],
        "an index that is sometimes text": [
            data(chunk(entry("F", '{"x"', id="a", index="0"))),
            data(chunk(entry(None, ": 1}", index=0))),
            data(chunk(entry("G", G2, id="b", index="1"))),
        ],
        "sent again with other white space": [
            data(chunk(entry("F", F1, id="a", index=0))),
            data(chunk(entry("F", '{"x":1}', id="a", index=0))),
            data(chunk(entry("G", G2, id="b", index=1))),
        ],
        "sent again in part": [
            data(chunk(entry("F", F1, id="a", index=0))),
            data(chunk(entry("G", G2, id="b", index=1))),
            data(chunk(entry("G", '{"n"', id="b", index=1))),
        ],
    }.values(),
    ids=str,
)
def test_two_calls_are_two(events):
    calls = read(*events, data(chunk(finish="tool_calls")), DONE)
    assert calls_of(calls) == TWO
    assert calls.errors == ()
    assert [*calls] == [F(x=1), G(n=2)]


def test_an_index_too_long_to_be_a_number_is_a_key_all_the_same():
    long = "9" * 5000
    calls = read(data(chunk(entry("F", '{"x"', id="a", index=long), entry(None, ": 1}", index=long))), *stream())
    assert calls_of(calls) == [("F", F1)]


def test_an_entry_that_is_nothing_is_an_unknown_call():
    calls = read(data(chunk(tool_calls="text")), *stream())
    assert [call.outcome for call in calls.calls] == ["unknown"]


@pytest.mark.parametrize("known", [True, False])
def test_an_error_beside_a_call(known):
    """The call of the same event is kept, and the server's words are there as data."""
    event = chunk(entry("F", F1, id="a", index=0)) | {"error": {"code": "overloaded", "message": "secret words"}}
    calls = read(data(event), DONE) if known else read(data(event))
    assert [*calls] == [F(x=1)]
    (cut,) = calls.errors
    assert isinstance(cut, polycall.CutOffError)
    assert "overloaded" in str(cut)
    assert "secret" not in str(cut)
    assert isinstance(cut.__cause__, polycall.TransportError)
    assert "secret words" in (cut.__cause__.body or "")


def test_an_error_first_is_no_answer():
    with pytest.raises(polycall.TransportError, match="overloaded") as caught:
        read(data({"error": {"code": "overloaded"}}), DONE)
    assert caught.value.body


def test_an_event_named_error_cuts():
    calls = read(data(chunk(entry("F", F1, id="a", index=0))), b'event: error\ndata: {"message": "no"}\n\n', DONE)
    assert [*calls] == [F(x=1)]
    assert isinstance(calls.errors[0], polycall.CutOffError)


@pytest.mark.parametrize(
    "finish", ["length", "max_tokens", "MAX_TOKENS", "model_length", "insufficient_system_resource", "error"]
)
def test_words_that_mean_a_cut(finish):
    calls = read(*stream(chunk(entry("F", F1, id="a", index=0)), chunk(entry("G", '{"n', index=1)), finish=finish))
    assert [call.outcome for call in calls.calls] == ["ok", "cut off"]
    calls = read(*stream(chunk(entry("F", F1, id="a", index=0)), finish=finish))
    assert calls.errors[0].index == 1


def test_a_call_without_arguments_before_the_cut_is_complete():
    entries = entry("F", "", id="a", index=0), entry("G", '{"n', id="b", index=1)
    for calls in (
        read(*stream(*map(chunk, entries), finish="length")),
        read(json.dumps(whole(*entries, finish="length")).encode(), stream=False),
    ):
        assert [call.outcome for call in calls.calls] == ["ok", "cut off"]


def test_open_calls_of_an_interleaved_stream_are_all_cut():
    entries = entry("F", '{"x"', id="a", index=0), entry("G", '{"n', id="b", index=1)
    calls = read(*stream(*map(chunk, entries), finish="length"))
    assert [call.outcome for call in calls.calls] == ["cut off", "cut off"]


def test_one_byte_that_is_no_text_takes_one_call():
    bad = data(chunk(entry("F", '{"x": "?"}', id="a", index=0))).replace(b"?", b"\xff")
    calls = read(bad, *stream(chunk(entry("G", G2, id="b", index=1))))
    assert [call.outcome for call in calls.calls] == ["invalid", "ok"]


@pytest.mark.parametrize("tokens", [float("nan"), float("inf"), -1, "7", None, [7]])
def test_usage_that_is_no_number(tokens):
    calls = read(data(chunk(entry("F", F1, id="a", index=0)) | {"usage": {"prompt_tokens": tokens}}), *stream())
    assert [*calls] == [F(x=1)]
    assert calls.errors == ()
    assert calls.usage == polycall.Usage()


def test_stopped_for_calls_that_never_came():
    calls = read(*stream(chunk(content="I will call")))
    assert isinstance(calls.errors[0], polycall.NoCallsError)
    assert calls.text == "I will call"


def test_forbidden_calls_are_no_calls():
    calls = read(*stream(chunk(entry("F", F1, id="a", index=0))), tool_choice="none")
    assert calls.calls[0].outcome == "unknown"
    assert "offered were: none" in str(calls.errors[0])


class TestConversation:
    def test_made_up_ids_are_new_in_every_turn(self):
        first = read(*stream(chunk(entry("F", F1, index=0), entry("G", G2, index=1))))
        messages = first.reply(["a", "b"])
        again = (
            memory.client(memory.Script(stream(chunk(entry("F", F1, index=0)))))
            .create(messages, tools=[F, G], stream=True)
            .result()
        )
        ids = [call["id"] for message in again.reply(["c"]) for call in message.get("tool_calls", ())]
        assert len(set(ids)) == 3
        assert all(len(one) == 9 and one.isalnum() for one in ids)

    def test_what_the_model_wrote_is_sent_back_so_that_servers_take_it(self):
        event = chunk(entry("No Such", "", id="a\ud800", index=0), content="hi \ud83d")
        calls = read(data(json.dumps(event)), *stream())
        (turn,) = calls.messages[1:]
        assert turn["content"] == "hi \ufffd"
        assert turn["tool_calls"][0]["id"] == "a\ufffd"
        assert turn["tool_calls"][0]["function"] == {"name": "No_Such", "arguments": "{}"}
        json.dumps(turn, ensure_ascii=False).encode()

    def test_a_made_up_id_is_never_one_of_the_providers(self):
        calls = read(*stream(chunk(entry("F", F1, index=0, id="c00010001"), entry("G", G2, index=1))))
        assert [one["id"] for one in calls.messages[-1]["tool_calls"]] == ["c00010001", "c00010001x"]


def test_text_in_parts():
    """Mistral's thinking models send a list."""
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}, "b", {"text": 1}]
    calls = read(data(chunk(content=parts)), data(chunk(content="c")), *stream(finish="stop"))
    assert calls.text == "ac"
