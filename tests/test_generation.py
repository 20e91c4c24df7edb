"""What a model wrote and its server could not read becomes calls, however it is written."""

from __future__ import annotations

import dataclasses
import json

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import polycall
from polycall.errors import InvalidArgumentsError, TransportError
from polycall.formats._generation import REFUSED, failed_generation
from polycall.provider import Connection, Reply
from support.memory import InMemory, Script


def read(text):
    generation = failed_generation({"code": REFUSED, "failed_generation": text})
    return [(call.name, call.arguments) for call in generation.calls], generation.text


ROME = '{"city": "Rome"}'
OSLO = '{"city": "Oslo"}'


@pytest.mark.parametrize(
    "error", [None, "tool_use_failed", {}, [], {"code": REFUSED}, {"failed_generation": None}, {"failed_generation": 7}]
)
def test_no_words_of_the_model(error):
    assert failed_generation(error) is None


@pytest.mark.parametrize("text", ["", "I cannot do that.", "{", "[1, null]", '"weather"', '{"arguments": {}}', '{"name": 7}'])
def test_words_without_a_call_are_text(text):
    assert read(text) == ([], text)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (f"<function=weather>{ROME}</function>", [("weather", ROME)]),
        (f"<function=weather>{ROME}<function>", [("weather", ROME)]),
        (f"<function(weather){ROME}</function>", [("weather", ROME)]),
        (f"<function(weather)>\n{ROME}\n</function>", [("weather", ROME)]),
        (f"<function=weather,{ROME}</function>", [("weather", ROME)]),
        (f"<function=weather{ROME}</function>", [("weather", ROME)]),
        ("<function=stop.all-1></function>", [("stop.all-1", "")]),
        (
            f"Sure: <function=weather>{ROME}</function> <function=weather>{OSLO}</function>",
            [("weather", ROME), ("weather", OSLO)],
        ),
        ('<function=weather>{"city": \n"Ro</function>', [("weather", '{"city": \n"Ro')]),
    ],
)
def test_tags(text, calls):
    assert read(text) == (calls, "")


@pytest.mark.parametrize("key", ["arguments", "parameters"])
@pytest.mark.parametrize("layout", ["{0}", "[{0}]", "<|python_tag|>{0}", "<tool_call>\n{0}\n</tool_call>", " {0}\n"])
def test_json(key, layout):
    written = json.dumps({"name": "weather", key: json.loads(ROME)})
    [[(name, arguments)], text] = read(layout.format(written))
    assert (name, json.loads(arguments), text) == ("weather", {"city": "Rome"}, "")


def test_several_calls_as_json():
    first, second = ({"name": "weather", "arguments": {"city": city}} for city in ("Rome", "Oslo"))
    expected = [("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})]
    for text in (
        json.dumps([first, "no call", {"name": None}, second]),
        f"<tool_call>{json.dumps(first)}</tool_call>\n<tool_call>{json.dumps(second)}</tool_call>",
    ):
        assert [(name, json.loads(arguments)) for name, arguments in read(text)[0]] == expected


def test_arguments_that_are_text_stay_as_they_are():
    assert read(json.dumps({"name": "weather", "arguments": "{not JSON"})) == ([("weather", "{not JSON")], "")


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}])
def test_no_arguments(arguments):
    assert read(json.dumps({"name": "stop", **arguments})) == ([("stop", "")], "")


def test_broken_json_gives_what_stands_behind_the_key():
    assert read('{"name": "weather", "arguments": {"city": "Ro') == ([("weather", '{"city": "Ro')], "")
    assert read('{"name": "weather", "parameters": {"city": Rome}}') == ([("weather", '{"city": Rome}}')], "")
    assert read('{"function": "weather", "arg') == ([("weather", "")], "")
    assert read("<tool_call>{'name'</tool_call>") == ([], "<tool_call>{'name'</tool_call>")


def test_calls_are_whole_and_have_keys_of_their_own():
    calls = failed_generation({"failed_generation": f"<function=a>{ROME}</function><function=a>{ROME}</function>"}).calls
    assert len({call.key for call in calls}) == 2
    assert all(call.whole and call.id is None for call in calls)


pieces = st.sampled_from(
    ["<function=", "<function(", "a", ")>", ">", "</function>", "<tool_call>", "</tool_call>", ROME, "{", "}", "[", "]", "\ud800",
     '"name"', '"arguments"', ":", ",", " ", '"', "null", "1e999", "\n", "<|python_tag|>", "é"]
)  # fmt: skip


@given(st.text() | st.lists(pieces, max_size=20).map("".join))
def test_any_text_is_calls_or_text(text):
    calls, rest = read(text)
    assert rest == ("" if calls else text)
    assert all(isinstance(name, str) and isinstance(arguments, str) for name, arguments in calls)


@pytest.mark.parametrize("unit", ["<function=a>", "<tool_call>", "<function=a> ", '"name":"a"', "["])
def test_long_text_is_read_in_linear_time(unit):
    read(unit * 20_000)


# ------------------------------------------------------------------------------------------------ as an error of the server


class Weather(pydantic.BaseModel):
    city: str


@dataclasses.dataclass(frozen=True, slots=True)
class Refusing(InMemory):
    """Answers with an error status, or raises as an SDK does."""

    def send(self, client, encoded, *, stream, timeout):
        client.sent.append(encoded.body)
        if isinstance(client.chunks, Exception):
            raise client.chunks
        return client

    def open(self, raw):
        return Reply(iter(raw), raw.close, 400)


class SDKError(Exception):
    def __init__(self, body):
        super().__init__("400")
        self.body = body


def ask(chunks):
    script = Script(chunks)
    client = polycall.Client(Connection(Refusing(), script, blocking=True), model="m")
    try:
        return client.create("?", tools=[Weather], errors="return", max_retries=0)
    finally:
        assert len(script.sent) == 1
        assert script.closed == (not isinstance(chunks, Exception))


def refusal(text):
    return {"message": "Failed to call a function.", "code": REFUSED, "failed_generation": text}


@pytest.mark.parametrize("sdk", [True, False])
def test_a_refused_generation_is_an_answer(sdk):
    text = f"<function=Weather>{ROME}</function><function=Weather>{{</function>"
    error = refusal(text)
    body = json.dumps({"error": error}).encode()
    calls = ask(SDKError(error) if sdk else [body[:20], body[20:]])
    assert calls[0] == Weather(city="Rome")
    assert isinstance(calls[1], InvalidArgumentsError)
    assert calls.finish_reason == REFUSED
    assert [call["function"]["arguments"] for call in calls.messages[1]["tool_calls"]] == [ROME, "{"]


@pytest.mark.parametrize("body", [None, "text", {}, {"message": "no such model"}, {"failed_generation": 7}])
def test_any_other_refusal_of_an_sdk_passes_through(body):
    with pytest.raises(SDKError) as caught:
        ask(SDKError(body))
    assert caught.value.body == body


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b"no JSON"],
        [b"[]"],
        [b"{}"],
        [b'{"error":{"message":"no such model"}}'],
        [b'{"error":', ConnectionError("gone")],
        [json.dumps({"error": refusal("x" * 70_000)}).encode()[:65_000], b"x" * 9_000, b"never read"],
    ],
)
def test_any_other_refusal_is_a_failed_request(chunks):
    with pytest.raises(TransportError) as caught:
        ask(chunks)
    assert caught.value.status == 400
