"""What models and servers get wrong, through the real SDK client, whole and streamed: nothing crashes, hangs, is lost or invented."""

from __future__ import annotations

import contextlib
import json
import time

import openai
import pytest
from pydantic import BaseModel, JsonValue
from tests.support import memory
from tests.support.chat import DONE, body, chunk, chunk_of, completion, data, entry, pieces, stream, streamed, whole
from tests.support.loopback import Answer, Gone, Server

import polycall


class F(BaseModel):
    x: JsonValue = None


class G(BaseModel):
    n: int = 0


GOOD = entry("G", '{"n": 1}', id="good")
SEVERAL = 3
"""Places of a bad call: before, between and behind good ones."""


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield polycall.from_openai(sdk, model="m", max_retries=0)


@pytest.fixture
def ask(server, client):
    """Return a function that gives the calls of one answer: bytes for a whole body, a list for a stream."""

    def ask(answer, *, stream=None, content_type=None, **options):
        options = {"tools": [F, G], "errors": "return", **options}
        streamed = isinstance(answer, list) if stream is None else stream
        kind = content_type or ("text/event-stream" if isinstance(answer, list) else "application/json")
        server.answer = Answer(answer, content_type=kind)
        result = client.create("?", stream=streamed, **options)
        return result.result() if streamed else result

    return ask


def seen(calls):
    return [(call.id, call.name, call.arguments, call.outcome) for call in calls.calls]


def check_consistent(calls):
    """Every call is a value or an error in its place, and every error is told once."""
    assert [call.index for call in calls.calls] == list(range(len(calls)))
    for call, value in zip(calls.calls, calls, strict=True):
        if call.error is None:
            assert call.outcome == "ok"
            assert value == call.value
        else:
            assert value is call.error
            assert call.error in calls.errors
            with pytest.raises(type(call.error)):
                _ = call.value
    assert len(calls.errors) == len({id(error) for error in calls.errors})


# ------------------------------------------------------------------------------------------ bad arguments beside good calls

DEEP = '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"
BAD_TEXTS = {
    "no json": "{'x': 1}",
    "nothing closed": '{"x": [1, 2',
    "trailing text": '{"x": 1} and so on',
    "two objects": '{"x": 1}{"x": 2}',
    "array": "[1]",
    "text": '"x"',
    "number": "1",
    "true": "true",
    "nan": '{"x": NaN}',
    "infinity": '{"x": -Infinity}',
    "lone surrogate": '{"x": "\\ud83d"}',
    "lone low surrogate": '{"x": "\\ude00 a"}',
    "duplicate keys": '{"x": 1, "x": 2}',
    "duplicate keys inside": '{"x": {"a": 1, "a": 2}}',
    "too deep": DEEP,
    "control character": '{"x": "\n"}',
    "no closing quote": '{"x": "1}',
    "byte order mark": '\ufeff{"x": 1}',
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
@pytest.mark.parametrize("place", range(SEVERAL))
@pytest.mark.parametrize("way", ["whole", "streamed", "in pieces"])
def test_bad_arguments_are_an_error_beside_good_calls(text, place, way, ask):
    if way == "in pieces" and text.startswith('{"x": 1}'):
        pytest.skip("complete before its last piece: see the tests of text after a seal")
    entries = [entry("G", f'{{"n": {number}}}', id=f"g{number}") for number in range(SEVERAL - 1)]
    entries.insert(place, entry("F", text, id="bad"))
    size = 1 if len(text) < 1000 else 30_000
    calls = ask(body(whole(*entries)) if way == "whole" else streamed(entries, size=size if way == "in pieces" else None))
    check_consistent(calls)
    assert [call.id for call in calls.calls] == [one["id"] for one in entries]
    assert [call.outcome for call in calls.calls] == ["invalid" if number == place else "ok" for number in range(SEVERAL)]
    assert calls.calls[place].arguments == text
    assert [type(error) for error in calls.errors] == [polycall.InvalidArgumentsError]
    assert calls.errors[0].index == place
    assert [value.n for value in calls.of(G)] == list(range(SEVERAL - 1))


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_bad_calls_raise_together_with_the_good_ones(way, ask):
    entries = [entry("F", "{", id="a"), GOOD, entry("H", "{}", id="c")]
    with pytest.raises(polycall.CallErrors) as raised:
        ask(body(whole(*entries)) if way == "whole" else streamed(entries), errors="raise")
    assert [type(error) for error in raised.value.exceptions] == [
        polycall.InvalidArgumentsError,
        polycall.UnknownToolError,
    ]
    calls = raised.value.calls
    check_consistent(calls)
    assert calls[1] == G(n=1)


def test_stream_gives_good_values_before_it_raises(server, client):
    server.answer = Answer(streamed([entry("F", "{", id="a"), GOOD]), content_type="text/event-stream")
    values = []
    with client.stream("?", tools=[F, G]) as answer, pytest.raises(polycall.CallErrors):
        values.extend(answer)
    assert values == [G(n=1)]


def test_surrogate_pair_over_two_pieces_is_one_character(ask):
    # A server that cuts its text between UTF-16 units sends each half as an escape of its own.
    halves = r'{"index":0,"function":{"arguments":"{\"x\": \"\ud83d"}}', r'{"index":0,"function":{"arguments":"\ude00\"}"}}'
    events = [data(f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{half}]}}}}]}}') for half in halves]
    head = data(chunk(entry("F", "", id="a", index=0)))
    calls = ask([head, *events, *stream()])
    assert seen(calls) == [("a", "F", '{"x": "😀"}', "ok")]
    assert calls[0] == F(x="😀")


def test_lone_surrogate_in_the_event_itself(ask):
    bad = r'{"index":0,"id":"a","function":{"name":"F","arguments":"{\"x\": \"\ud83d\"}"}}'
    calls = ask([data(f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{bad}]}}}}]}}'), *streamed([{**GOOD, "index": 1}])])
    assert [call.outcome for call in calls.calls] == ["invalid", "ok"]
    calls = ask(body(whole(GOOD)).replace(b'"tool_calls": [', b'"tool_calls": [' + bad.encode() + b", "))
    assert [call.outcome for call in calls.calls] == ["invalid", "ok"]
    check_consistent(calls)


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({"x": [1, {"a": None}]}, "ok"),
        ({}, "ok"),
        ([1], "invalid"),
        (7, "invalid"),
        (True, "invalid"),
    ],
)
def test_arguments_that_are_no_text(given, outcome, way, ask):
    bad = entry("F", given, id="a")
    calls = ask(body(whole(bad, GOOD)) if way == "whole" else streamed([bad, GOOD]))
    check_consistent(calls)
    assert [call.outcome for call in calls.calls] == [outcome, "ok"]
    assert json.loads(calls.calls[0].arguments) == given
    if outcome == "ok":
        assert calls[0] == F(**given)


OBJECTS = {
    "duplicate keys": '{"x": 1, "x": 2}',
    "duplicate keys inside": '{"x": {"a": 1, "a": 2}}',
    "nan": '{"x": NaN}',
    "5000 digits": '{"x": ' + "7" * 5000 + "}",
    "lone surrogate": '{"x": "\\ud83d"}',
}


@pytest.mark.parametrize("text", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_bad_objects_take_no_other_call_with_them(text, way, ask):
    entries = [GOOD, entry("F", "HERE", id="bad"), {**GOOD, "id": "behind"}]
    if way == "whole":
        calls = ask(body(whole(*entries)).replace(b'"HERE"', text.encode()))
    else:
        calls = ask([event.replace(b'"HERE"', text.encode()) for event in streamed(entries)])
    check_consistent(calls)
    assert [(call.id, call.outcome) for call in calls.calls] == [("good", "ok"), ("bad", "invalid"), ("behind", "ok")]


@pytest.mark.parametrize("depth", [100, 190, 250, 900, 960, 980, 990, 1000, 1500, 100_000])
def test_deep_objects_are_values_or_errors(depth, ask):
    text = '{"x": ' + "[" * depth + "]" * depth + "}"
    events = [event.replace(b'"HERE"', text.encode()) for event in streamed([GOOD, entry("F", "HERE", id="bad")])]
    calls = ask(events)
    check_consistent(calls)
    assert calls.calls[0].outcome == "ok"
    assert calls.errors or depth <= 190
    assert not any("connection" in str(error) for error in calls.errors)
    answer = body(whole(GOOD, entry("F", "HERE", id="bad"))).replace(b'"HERE"', text.encode())
    if depth > 500:  # deeper than Python's own parser goes: nothing of such a body can be read
        with contextlib.suppress(polycall.TransportError):
            calls = ask(answer)
    else:
        calls = ask(answer)
    check_consistent(calls)
    assert calls.calls[0].outcome == "ok"
    assert [call.id for call in calls.calls] == ["good", "bad"][: len(calls)]


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_integer_of_5000_digits_is_a_value_or_an_error(way, ask):
    entries = [entry("F", '{"x": ' + "7" * 5000 + "}", id="long"), GOOD]
    calls = ask(body(whole(*entries)) if way == "whole" else streamed(entries, size=100))
    check_consistent(calls)
    assert [call.outcome for call in calls.calls] == ["invalid", "ok"]
    assert "7777777" not in str(calls.errors[0])


@pytest.mark.parametrize("way", ["whole", "streamed", "in pieces"])
def test_ten_megabytes_of_arguments(way, ask):
    text = json.dumps({"x": "é" * 5_000_000}, ensure_ascii=False)
    entries = [entry("F", text, id="long"), GOOD]
    answer = body(whole(*entries)) if way == "whole" else streamed(entries, size=4_000 if way == "in pieces" else None)
    start = time.monotonic()
    calls = ask(answer, limits=polycall.Limits(arguments=6_000_000, response=64 * 1024 * 1024))
    assert [call.outcome for call in calls.calls] == ["ok", "ok"]
    assert len(calls[0].x) == 5_000_000
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("way", ["whole", "streamed", "in pieces"])
def test_two_million_characters_of_arguments_are_one_bad_call(way, ask):
    text = json.dumps({"x": "é" * 2_000_000}, ensure_ascii=False)
    entries = [entry("F", text, id="long"), GOOD]
    calls = ask(body(whole(*entries)) if way == "whole" else streamed(entries, size=4_000 if way == "in pieces" else None))
    check_consistent(calls)
    assert [call.outcome for call in calls.calls] == ["invalid", "ok"]
    assert "longer than 1048576 characters" in str(calls.errors[0])
    assert len(calls.calls[0].arguments) < 2**20 + 10


@pytest.mark.parametrize("way", ["whole", "streamed", "in pieces"])
def test_more_than_sixteen_megabytes_keep_what_came_before(way, ask):
    entries = [GOOD, entry("F", json.dumps({"x": "é" * 3_000_000}), id="long")]
    if way == "whole":
        with pytest.raises(polycall.LimitError, match="16777216 bytes"):
            ask(body(whole(*entries)))
        return
    calls = ask(streamed(entries, size=100_000 if way == "in pieces" else None))
    check_consistent(calls)
    assert calls[0] == G(n=1)
    assert isinstance(calls.errors[-1], polycall.CutOffError)
    assert [call.outcome for call in calls.calls] == (["ok", "cut off"] if way == "in pieces" else ["ok"])


@pytest.mark.parametrize("name", ["H", "f", "F ", "", " F", "functions.F"])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_names_match_exactly(name, way, ask):
    entries = [entry(name, '{"x": 1}', id="a"), GOOD]
    calls = ask(body(whole(*entries)) if way == "whole" else streamed(entries))
    check_consistent(calls)
    assert seen(calls)[0] == ("a", name, '{"x": 1}', "unknown")
    assert isinstance(calls.errors[0], polycall.UnknownToolError)
    assert calls[1] == G(n=1)


# -------------------------------------------------------------------------------------------------- indices, ids and names

A, B = '{"x": 1}', '{"x": 2}'


def both(first, second):
    """One chunk for each call, one character at a time, and both in one chunk."""
    return {"apart": stream(chunk(first), chunk(second)), "together": stream(chunk(first, second))}


NUMBERING = {
    "no index": ({}, {}),
    "index 0": ({"index": 0}, {"index": 0}),
    "first index 1": ({"index": 1}, {"index": 2}),
    "index -1": ({"index": -1}, {"index": -1}),
    "float index": ({"index": 0.0}, {"index": 1.0}),
    "text index": ({"index": "0"}, {"index": "1"}),
    "index gap": ({"index": 0}, {"index": 7}),
    "backwards": ({"index": 1}, {"index": 0}),
}


@pytest.mark.parametrize("numbering", NUMBERING.values(), ids=NUMBERING)
@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("together", [False, True])
def test_numbering_of_calls_with_ids(numbering, size, together, ask):
    head = [entry("F", A, id="a"), entry("F", A, id="b")]
    heads = [{**one, **number} for one, number in zip(head, numbering, strict=True)]
    if together:
        calls = ask(stream(chunk(*heads)))
    else:
        chunks = []
        for one in heads:
            if size is None:
                chunks.append(chunk(one))
                continue
            number = {"index": one["index"]} if "index" in one else {}
            chunks.append(chunk({**one, "function": {"name": "F", "arguments": ""}}))
            chunks += [chunk({**number, "function": {"arguments": piece}}) for piece in pieces(A, size)]
        calls = ask(stream(*chunks))
    assert seen(calls) == [("a", "F", A, "ok"), ("b", "F", A, "ok")]
    assert not calls.errors


@pytest.mark.parametrize("number", [{}, {"index": 0}, {"index": -1}, {"index": None}])
@pytest.mark.parametrize("id", [{}, {"id": None}, {"id": ""}])
@pytest.mark.parametrize("second", [entry("F", B), entry("G", '{"n": 2}'), entry("G", "{}")])
@pytest.mark.parametrize("size", [None, 1, 3])
def test_calls_without_ids_at_one_index(number, id, second, size, ask):
    chunks = []
    for one in (entry("F", A), second):
        head = {**one, **number, **id}
        if size is None:
            chunks.append(chunk(head))
            continue
        chunks.append(chunk({**head, "function": {"name": one["function"]["name"], "arguments": ""}}))
        chunks += [chunk({**number, "function": {"arguments": part}}) for part in pieces(one["function"]["arguments"], size)]
    calls = ask(stream(*chunks))
    function = second["function"]
    assert seen(calls) == [(None, "F", A, "ok"), (None, function["name"], function["arguments"], "ok")]
    assert not calls.errors


def test_same_tool_twice_without_ids_in_one_event(ask):
    calls = ask(stream(chunk(entry("F", A, index=0), entry("F", A, index=0))))
    assert seen(calls) == [(None, "F", A, "ok")] * 2
    calls = ask(body(whole(entry("F", A), entry("F", A))))
    assert seen(calls) == [(None, "F", A, "ok")] * 2
    calls = ask(body(whole(entry("F", A, index=0), entry("F", A, index=0))))
    assert seen(calls) == [(None, "F", A, "ok")] * 2


def test_calls_without_arguments_at_one_index(ask):
    calls = ask(stream(chunk(entry("F", "", index=0), entry("F", "", index=0))))
    assert [call.outcome for call in calls.calls] == ["ok", "ok"]
    calls = ask(stream(chunk(entry("F", "", index=0, id="a")), chunk(entry("F", "", index=0, id="b"))))
    assert [(call.id, call.outcome) for call in calls.calls] == [("a", "ok"), ("b", "ok")]


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_equal_ids_stay_as_sent_and_are_answered_apart(way, ask):
    entries = [entry("F", A, id="same"), entry("F", B, id="same"), entry("G", "{}", id="same")]
    calls = ask(body(whole(*entries)) if way == "whole" else streamed(entries))
    assert [(call.id, call.outcome) for call in calls.calls] == [("same", "ok")] * 3
    assert [value.x for value in calls.of(F)] == [1, 2]
    answers = [message["tool_call_id"] for message in calls.reply(["a", "b", "c"])[-3:]]
    assert len(set(answers)) == 3
    assert [one["id"] for one in calls.messages[-1]["tool_calls"]] == answers


def test_made_up_ids_do_not_meet_those_of_the_server(ask):
    calls = ask(body(whole(entry("F", A, id="call_1"), entry("F", B), entry("F", A, id="call_1"))))
    assert [call.id for call in calls.calls] == ["call_1", None, "call_1"]
    answers = [message["tool_call_id"] for message in calls.reply({0: "a", 1: "b", 2: "c"})[-3:]]
    assert answers[0] == "call_1"
    assert len(set(answers)) == 3


def test_equal_ids_without_index(ask):
    calls = ask(stream(chunk(entry("F", A, id="same")), chunk(entry("F", B, id="same")), chunk(entry("G", "{}", id="same"))))
    assert seen(calls) == [("same", "F", A, "ok"), ("same", "F", B, "ok"), ("same", "G", "{}", "ok")]


@pytest.mark.parametrize("id", [{"id": "a"}, {"id": None}, {}])
def test_name_and_id_repeated_in_every_piece(id, ask):
    named = [chunk({"index": 0, **id, "function": {"name": "F", "arguments": part}}) for part in ["", *pieces(A, 2), ""]]
    calls = ask(stream(*named))
    assert seen(calls) == [(id.get("id"), "F", A, "ok")]
    assert not calls.errors


def test_id_only_in_a_later_piece(ask):
    calls = ask(stream(chunk(entry("F", A[:3], index=0)), chunk(entry(arguments=A[3:], id="late", index=0))))
    assert seen(calls) == [("late", "F", A, "ok")]


def test_name_after_the_arguments(ask):
    calls = ask(stream(chunk(entry(arguments=A, id="a", index=0)), chunk(entry("F", index=0))))
    assert seen(calls) == [("a", "F", A, "ok")]


# ---------------------------------------------------------------------------------------------------- sent again, and more

AGAIN = {
    "in one piece, with name and id": [entry("F", A, id="a", index=0)],
    "in one piece, with the name": [entry("F", A, index=0)],
    "in one piece, with the id": [entry(arguments=A, id="a", index=0)],
    "in one piece, alone": [entry(arguments=A, index=0)],
    "in pieces": [entry(arguments=part, index=0) for part in pieces(A, 2)],
    "in pieces, with the name in each": [entry("F", part, index=0) for part in pieces(A, 2)],
    "in pieces, the name first": [entry("F", "", index=0), *(entry(arguments=part, index=0) for part in pieces(A, 3))],
    "white space": [entry(arguments=" \n", index=0)],
    "nothing": [entry(arguments="", index=0), entry("F", "", index=0)],
    "twice": [entry(arguments=A, index=0)] * 2,
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_arguments_sent_again_are_ignored(again, ask):
    head = [chunk(entry("F", "", id="a", index=0)), *(chunk(entry(arguments=part, index=0)) for part in pieces(A, 3))]
    calls = ask(stream(*head, *map(chunk, again), chunk({**GOOD, "index": 1})))
    assert seen(calls) == [("a", "F", A, "ok"), ("good", "G", '{"n": 1}', "ok")]
    assert not calls.errors


@pytest.mark.parametrize("other", [B, "and more", "}", '{"x"'])
@pytest.mark.parametrize("size", [None, 1])
def test_other_text_after_a_seal_is_an_error_of_the_response(other, size, server, client):
    more = [chunk(entry(arguments=part, index=0)) for part in ([other] if size is None else pieces(other, size))]
    answer = stream(chunk(entry("F", A, id="a", index=0)), *more, chunk({**GOOD, "index": 1}))
    server.answer = Answer(answer, content_type="text/event-stream")
    with client.stream("?", tools=[F, G], errors="return") as arriving:
        events = [event for event in arriving.events() if event.type in {"sealed", "error"}]
        calls = arriving.result()
    assert seen(calls) == [("a", "F", A, "ok"), ("good", "G", '{"n": 1}', "ok")]
    assert calls[0] == F(x=1)
    assert sorted(event.type for event in events) == ["error", "sealed", "sealed"]
    assert [(type(error), error.index, error.tool) for error in calls.errors] == [(polycall.InvalidArgumentsError, 0, "F")]


# ------------------------------------------------------------------------------------------------------------- no calls


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_text_alone(way, ask):
    answer = (
        body(whole(content="Hello", finish="stop"))
        if way == "whole"
        else stream(chunk(content="Hel"), chunk(content="lo"), finish="stop")
    )
    calls = ask(answer)
    assert (list(calls), calls.text, calls.errors, calls.finish_reason) == ([], "Hello", (), "stop")
    with pytest.raises(polycall.CallErrors) as raised:
        ask(answer, tool_choice="required", errors="raise")
    assert [type(error) for error in raised.value.exceptions] == [polycall.NoCallsError]
    assert raised.value.calls.text == "Hello"
    assert ask(answer, tool_choice="none").text == "Hello"


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_refusal(way, ask):
    answer = (
        body(whole(refusal="I will not.", finish="stop"))
        if way == "whole"
        else stream(chunk(refusal="I will "), chunk(refusal="not."), finish="stop")
    )
    calls = ask(answer)
    assert [type(error) for error in calls.errors] == [polycall.RefusalError]
    assert (list(calls), calls.text) == ([], "I will not.")
    with pytest.raises(polycall.CallErrors):
        ask(answer, errors="raise")
    assert [type(error) for error in ask(answer, tool_choice="required").errors] == [polycall.RefusalError]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_cut_inside_a_call(finish, way, ask):
    entries = [GOOD, entry("F", '{"x": "abc', id="cut")]
    calls = ask(body(whole(*entries, finish=finish)) if way == "whole" else streamed(entries, size=2, finish=finish))
    check_consistent(calls)
    assert [call.outcome for call in calls.calls] == ["ok", "cut off"]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]
    assert finish in str(calls.errors[0])
    assert calls.calls[1].arguments == '{"x": "abc'


@pytest.mark.parametrize("finish", ["length", "content_filter"])
@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_cut_between_calls(finish, way, count, ask):
    entries = [entry("F", A, id=f"c{number}") for number in range(count)]
    calls = ask(body(whole(*entries, finish=finish)) if way == "whole" else streamed(entries, finish=finish))
    assert [call.outcome for call in calls.calls] == ["ok"] * count
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, count)]


def test_stream_that_ends_without_saying_so(ask):
    head = chunk({**GOOD, "index": 0}), chunk(entry("F", '{"x"', id="b", index=1))
    calls = ask(stream(*head, finish=None, done=False))
    assert [call.outcome for call in calls.calls] == ["ok", "cut off"]
    calls = ask(stream(*head[:1], finish=None, done=False))
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]


def test_server_that_stays_silent_after_the_marker(server, client):
    """Nothing follows ``[DONE]``: whoever waits for the connection's end waits for nothing."""
    server.answer = Answer([*streamed([GOOD]), Gone()], content_type="text/event-stream")
    start = time.monotonic()
    calls = client.stream("?", tools=[F, G], timeout=3).result()
    assert list(calls) == [G(n=1)]
    assert time.monotonic() - start < 1


# ----------------------------------------------------------------------------------------------------------- no answer

HTML = b"<!DOCTYPE html>\n<html><body>Bad gateway</body></html>"
NO_ANSWERS = {
    "nothing": b"",
    "white space": b" \r\n\n ",
    "byte order mark": b"\xef\xbb\xbf",
    "html": HTML,
    "html after white space": b"\n\n  " + HTML,
    "text": b"upstream connect error or disconnect/reset before headers",
    "null": b"null",
    "number": b"502",
    "array": b"[]",
    "string": b'"busy"',
    "half an object": b'{"choices": [{"mess',
    "bytes": b"\x00\xff\xfe\x80",
    "no choices": body(completion()),
    "choices are null": body({**completion(), "choices": None}),
    "choices are an object": body({**completion(), "choices": {}}),
    "empty object": b"{}",
    "error": body({"error": {"message": "secret words", "type": "server_error", "code": 500}}),
    "error text": body({"error": "overloaded"}),
    "error beside choices": body({**completion(), "error": {"code": "rate_limited", "message": "x"}}),
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("errors", ["return", "raise"])
def test_no_answer_is_a_transport_error(answer, stream, errors, ask):
    with pytest.raises(polycall.TransportError) as raised:
        ask([answer] if stream and answer else answer, stream=stream, content_type="text/html", errors=errors)
    assert not isinstance(raised.value, polycall.DeadlineError)
    assert raised.value.status == 200
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "events",
    [
        stream(finish=None),
        stream(chunk_of(), chunk_of(usage={"prompt_tokens": 1}), finish=None),
        [b": waiting\n\n", DONE],
    ],
    ids=["marker alone", "no choices", "comments"],
)
def test_complete_stream_without_an_answer_is_told(events, ask):
    with pytest.raises(polycall.PolycallError):
        ask(events, errors="raise")


@pytest.mark.parametrize("before", [[], [b" \n"], [b": waiting\n\n"], [b'{"choices": ']])
@pytest.mark.parametrize("stream", [False, True])
def test_connection_that_breaks_before_an_answer_is_a_transport_error(before, stream):
    error = ConnectionResetError("gone")
    with pytest.raises(polycall.TransportError, match="ConnectionResetError") as raised:
        memory.replay([*before, error], [F, G], stream=stream)
    assert raised.value.__cause__ is error
    assert raised.value.status == 200


def test_error_in_the_middle_of_a_stream_keeps_what_came(ask):
    error = data({"error": {"message": "secret words", "type": "server_error", "code": 502}})
    calls = ask([*stream(chunk({**GOOD, "index": 0}), finish=None, done=False), error, DONE])
    assert list(calls)[:1] == [G(n=1)]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]
    assert "server_error" in str(calls.errors[0])
    assert "secret" not in str(calls.errors[0])


def test_garbage_in_the_middle_of_a_stream_keeps_what_came(ask):
    for garbage in (b"data: {not json}\n\n", b"data: [1]\n\n", HTML + b"\n\n", b"data: \xff\xfe\n\n"):
        calls = ask([*stream(chunk({**GOOD, "index": 0}), finish=None, done=False), garbage])
        assert list(calls)[:1] == [G(n=1)]
        assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]


ODD_CHOICES = [
    {"index": 0},
    {"index": 0, "delta": None},
    {"index": 0, "delta": {}},
    {"index": 0, "delta": []},
    {"index": 0, "delta": {"tool_calls": None}},
    {"index": 0, "delta": {"tool_calls": {}}},
    {"index": 0, "delta": {"content": 5}},
    {"index": None, "delta": {"content": None}},
    {"delta": {"role": None}},
    {"index": 0, "delta": {"content": []}, "finish_reason": 7},
]


@pytest.mark.parametrize("choice", [*ODD_CHOICES, None, 7, "x", []])
def test_odd_chunks_change_nothing(choice, ask):
    odd = chunk_of(choice)
    calls = ask(stream(odd, chunk({**GOOD, "index": 0}), odd))
    assert seen(calls) == [("good", "G", '{"n": 1}', "ok")]
    assert not calls.errors


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, {"function": None}, {"function": {}}, {"function": "F"}, {"index": 0}])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_entries_that_are_no_calls_do_not_hide_calls(odd, way, ask):
    calls = ask(
        body(whole(GOOD, odd))
        if way == "whole"
        else stream(chunk({**GOOD, "index": 1}), chunk_of({"delta": {"tool_calls": [odd]}}))
    )
    check_consistent(calls)
    assert calls[0] == G(n=1)
    assert all(call.outcome != "ok" for call in calls.calls[1:])


# --------------------------------------------------------------------------------------------- custom tools, several choices


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_custom_tool_calls_are_left_to_the_response_object(place, way, ask):
    entries = [GOOD, entry("F", A, id="b")]
    custom = {"id": "c", "type": "custom", "custom": {"name": "code", "input": "print(1)"}}
    if way == "whole":
        entries.insert(place, custom)
        calls = ask(body(whole(*entries)))
        assert calls.response.choices[0].message.tool_calls[place].custom.input == "print(1)"
    else:
        chunks = [chunk({**one, "index": number + (number >= place)}) for number, one in enumerate(entries)]
        parts = [
            chunk({**custom, "index": place, "custom": {"name": "code", "input": ""}}),
            chunk({"index": place, "custom": {"input": "print"}}),
            chunk({"index": place, "custom": {"input": ""}}),
            chunk({"index": place, "custom": {"input": "(1)"}}),
        ]
        calls = ask(stream(*chunks[:place], *parts, *chunks[place:]))
    assert seen(calls) == [("good", "G", '{"n": 1}', "ok"), ("b", "F", A, "ok")]
    assert not calls.errors


@pytest.mark.parametrize("way", ["whole", "streamed", "interleaved"])
def test_several_choices(way, ask):
    first, second = [GOOD, entry("F", A, id="b")], [entry("F", B, id="c")]
    if way == "whole":
        answer = body(
            completion(
                {"index": 0, "message": {"content": "one", "tool_calls": first}, "finish_reason": "tool_calls"},
                {"index": 1, "message": {"content": "two", "tool_calls": second}, "finish_reason": "stop"},
            )
        )
    else:
        chunks = [
            chunk({**first[0], "index": 0}, content="one"),
            chunk({**first[1], "index": 1}),
            chunk({**second[0], "index": 0}, choice=1, content="two"),
            chunk(finish="tool_calls"),
            chunk(finish="stop", choice=1),
        ]
        order = [2, 0, 4, 1, 3] if way == "interleaved" else range(5)
        answer = stream(*(chunks[number] for number in order), finish=None)
    calls = ask(answer, n=2)
    expected = [("good", "G", '{"n": 1}', "ok"), ("b", "F", A, "ok"), ("c", "F", B, "ok")]
    assert sorted(seen(calls), key=str) == sorted(expected, key=str)
    assert not calls.errors
    if way != "interleaved":
        assert seen(calls) == expected
    assert calls.text in ({"one", "two"} if way == "interleaved" else {"one"})
    assert len(calls.response.choices) == 2
    assert [len(choice.message.tool_calls) for choice in calls.response.choices] == [2, 1]


def test_one_choice_is_cut_while_the_other_is_complete(ask):
    """A finish reason is that of its choice alone."""
    head = [chunk({**GOOD, "index": 0}), chunk(entry("F", '{"x": ', id="b", index=0), choice=1), chunk(finish="tool_calls")]
    calls = ask(stream(*head, finish=None, done=False), n=2)
    assert [call.outcome for call in calls.calls] == ["ok", "cut off"]
    assert any(isinstance(error, polycall.CutOffError) for error in calls.errors)


def test_finish_reason_of_one_choice_cuts_only_that_one(ask):
    chunks = [
        chunk(entry("F", "", id="a", index=0)),
        chunk(entry("F", '{"x": ', id="b", index=0), choice=1),
        chunk(finish="tool_calls"),
        chunk(finish="length", choice=1),
    ]
    calls = ask(stream(*chunks, finish=None), n=2)
    assert [call.outcome for call in calls.calls] == ["ok", "cut off"]


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_deprecated_function_call(way, ask):
    call = {"name": "F", "arguments": A}
    if way == "whole":
        calls = ask(body(whole(function_call=call, finish="function_call")))
    else:
        parts = [chunk(function_call={"name": "F", "arguments": ""})]
        parts += [chunk(function_call={"arguments": part}) for part in pieces(A, 2)]
        calls = ask(stream(*parts, finish="function_call"))
    assert seen(calls) == [(None, "F", A, "ok")]
