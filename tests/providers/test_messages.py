"""OpenAI-shaped conversations, taken apart for the formats that have words of their own."""

from __future__ import annotations

import json
from enum import Enum

import anthropic
import cohere
import huggingface_hub
import ollama
import pytest
from google.genai import types as genai
from mistralai.client import models as mistral
from openai.types.chat import ChatCompletionMessage, ChatCompletionMessageFunctionToolCall

import polycall
from polycall import Tool
from polycall._messages import Asked, Media, Spoken, Text, Told, read_conversation
from polycall.testing import ModelServer, Said, Turn

PIXEL = "iVBORw0KGgo="


def read(*messages):
    return list(read_conversation(messages, lambda _: False, "Acme"))


def calls(*names, ids=None, arguments="{}"):
    made = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name in names]
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [one if ids is None else {"id": ids[place], **one} for place, one in enumerate(made)],
    }


def told(text, **keys):
    return {"role": "tool", "content": text, **keys}


def pairs(messages):
    """Return the ids and names of the calls, and of the answers."""
    asked = [(part.id, part.name) for one in messages for part in one.parts if isinstance(part, Asked)]
    answered = [(part.id, part.name) for one in messages for part in one.parts if isinstance(part, Told)]
    return asked, answered


def test_answers_find_calls_that_have_no_ids():
    asked, answered = pairs(read(calls("a", "b", "a"), told("1", tool_name="a"), told("3", name="a"), told("2", tool_name="b")))
    assert len({call_id for call_id, _ in asked}) == 3
    assert all(call_id for call_id, _ in asked)
    assert answered == [asked[0], asked[2], asked[1]]


def test_answers_without_any_name_are_for_the_next_call():
    asked, answered = pairs(read(calls("a", "b"), told("1"), told("2", tool_call_id="made up")))
    assert answered == asked


def test_answers_without_ids_are_for_the_last_turn():
    asked, answered = pairs(read(calls("a", "b"), told("1"), calls("a"), told("2", name="a")))
    assert answered == [asked[0], asked[2]]


def test_repeated_ids_become_ids_of_their_own():
    """Some servers begin to count anew in every turn; services refuse an id that comes twice."""
    again = [calls("a", "b", ids=["call_0", "call_0"]), told("1", tool_call_id="call_0"), told("2", tool_call_id="call_0")]
    asked, answered = pairs(read(*again, *again))
    assert len({call_id for call_id, _ in asked}) == 4
    assert answered == asked
    assert asked[0] == ("call_0", "a")


def test_many_repeated_ids_are_read_in_no_time():
    asked, answered = pairs(read(*[calls("a", ids=["call_0"]), told("1", tool_call_id="call_0")] * 20_000))
    assert len({call_id for call_id, _ in asked}) == 20_000
    assert answered == asked


def test_ids_are_the_same_when_the_conversation_goes_on():
    start = [calls("a", "b"), told("1"), told("2")]
    assert read(*start, calls("a"), told("3"))[:3] == read(*start)


def test_answer_to_no_call_stays_as_it_is():
    assert read(told("1", tool_call_id="x", name="f")) == [Spoken("user", (Told("x", "f", (Text("1"),)),))]
    assert read({"role": "function", "name": "f", "content": "1"}) == [Spoken("user", (Told("f", "f", (Text("1"),)),))]


def test_second_answer_to_a_call_keeps_its_name():
    _, answered = pairs(read(calls("a", ids=["x"]), told("1", tool_call_id="x"), told("2", tool_call_id="x")))
    assert answered == [("x", "a"), ("x", "a")]


def test_legacy_function_messages():
    asking = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}}
    messages = read(*[asking, {"role": "function", "name": "f", "content": "1"}] * 2)
    asked, answered = pairs(messages)
    assert asked == answered
    assert len({call_id for call_id, _ in asked}) == 2
    assert messages[0].parts[0].arguments == '{"a": 1}'


class Role(str, Enum):  # noqa: UP042  # whose text is not its value
    USER = "user"


def test_role_may_be_an_enum():
    assert read({"role": Role.USER, "content": "?"}) == [Spoken("user", (Text("?"),))]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": ["user"], "content": "?"}, "has the role"),
        ({"role": None, "content": "?"}, "has the role None"),
        ({"content": "?"}, "has the role None"),
        ({"role": "user"}, "has no content"),
        ({"role": "user", "contents": "?"}, "has no content"),
        ({"role": "system", "text": "?"}, "has no content"),
        ({"role": "user", "content": {"text": "?"}}, "neither text nor a list"),
        ({"role": "user", "content": [{"type": ["text"], "text": "?"}]}, "part of type"),
        ({"role": "user", "content": [{"text": "?"}]}, "part of type None"),
        ({"role": "user", "content": [None]}, "a message is a mapping"),
        ({"role": "user", "content": "?", "images": [PIXEL]}, "images beside its content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "without data, URL or id"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav"}}]}, "without data, URL or id"),
        ({"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf"}}]}, "without data, URL or id"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "data:image/svg+xml;utf8,<svg/>"}]}, "not in base 64"),
        ({"role": "assistant", "content": None, "audio": {"id": "audio_1"}}, "in sound"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}, "has a call that"),
        ({"role": "assistant", "content": None, "function_call": {"arguments": "{}"}}, "has a call that"),
        ({"role": "model", "parts": [{"text": "?"}]}, "words of Gemini"),
        ({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}, "words of Gemini"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, "words of the Responses API"),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}, "words of Anthropic"),
        ({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": ""}]}, "words of Anthropic"),
        ({"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]}, "words of Bedrock"),
    ],
    ids=str,
)
def test_what_cannot_be_said_is_a_usage_error(message, reason):
    with pytest.raises(polycall.UsageError, match=reason) as raised:
        read({"role": "user", "content": "?"}, message)
    if "mapping" not in reason:
        assert "message 1 for Acme" in str(raised.value)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"role": "assistant", "content": None, "refusal": "No."}, (Text("No."),)),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, (Text("No."),)),
        ({"role": "assistant", "content": None, "audio": {"id": "a", "data": "AA==", "transcript": "Hi."}}, (Text("Hi."),)),
        (
            {"role": "assistant", "content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hi."}]},
            (Text("Hi."),),
        ),
        ({"role": "assistant", "content": None}, ()),
        ({"role": "user", "content": ["a", {"type": "input_text", "text": "b"}]}, (Text("a"), Text("b"))),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]},
            (Media("image", "image/png", PIXEL),),
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://a.example/b:c.png"}]},
            (Media("image", url="https://a.example/b:c.png"),),
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": None, "file_id": "file-1", "detail": "low"}]},
            (Media("image", id="file-1", detail="low"),),
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a.pdf"}}]},
            (Media("file", "application/pdf", "JVBERi0=", name="a.pdf"),),
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "file_url": "https://a.example/b.pdf"}]},
            (Media("file", url="https://a.example/b.pdf"),),
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}]},
            (Media("audio", "audio/mpeg", "AA=="),),
        ),
    ],
    ids=str,
)
def test_parts(message, parts):
    assert [one.parts for one in read(message)] == [parts]


CALL = ChatCompletionMessageFunctionToolCall(id="c12345678", type="function", function={"name": "f", "arguments": "{}"})


@pytest.mark.parametrize(
    ("message", "spoken"),
    [
        (ChatCompletionMessage(role="assistant", tool_calls=[CALL]), Spoken("assistant", (Asked("c12345678", "f", "{}"),))),
        (mistral.UserMessage(content=[mistral.TextChunk(text="?")]), Spoken("user", (Text("?"),))),
        (
            mistral.AssistantMessage(
                tool_calls=[mistral.ToolCall(id="c12345678", function=mistral.FunctionCall(name="f", arguments="{}"))]
            ),
            Spoken("assistant", (Asked("c12345678", "f", "{}"),)),
        ),
        (mistral.ToolMessage(content="1", tool_call_id="c", name="f"), Spoken("user", (Told("c", "f", (Text("1"),)),))),
        (cohere.UserChatMessageV2(content=[cohere.TextContent(text="?")]), Spoken("user", (Text("?"),))),
        (ollama.Message(role="user", content="?"), Spoken("user", (Text("?"),))),
        (huggingface_hub.ChatCompletionInputMessage(role="user", content="?"), Spoken("user", (Text("?"),))),
    ],
    ids=["openai", "mistral user", "mistral assistant", "mistral tool", "cohere", "ollama", "hugging face"],
)
def test_objects_of_sdks(message, spoken):
    assert read(message) == [spoken]


@pytest.mark.parametrize(
    "message",
    [
        genai.Content(role="model", parts=[genai.Part.from_function_call(name="f", args={})]),
        anthropic.types.Message.construct(
            type="message", role="assistant", content=[anthropic.types.ToolUseBlock(type="tool_use", id="c", name="f", input={})]
        ),
        object(),
        ("user", "?"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_objects_that_cannot_be_said(message):
    with pytest.raises(polycall.UsageError):
        read(message)


WEATHER = Tool("Weather", "The weather.", {"type": "object", "properties": {"location": {"type": "string"}}})
NAMES = {
    "openai": {"name": "openai/gpt-x"},
    "responses": {"name": "openai/gpt-x", "api": "responses"},
    "anthropic": {"name": "anthropic/claude-x"},
    "google": {"name": "google/gemini-3-x"},
    "mistral": {"name": "mistral/m"},
    "cohere": {"name": "cohere/c"},
    "ollama": {"name": "ollama/o"},
}
OPENAI_SHAPED = ("openai", "mistral", "cohere", "ollama")
OWN_WORDS = ("anthropic", "google", "responses")


@pytest.fixture(scope="module")
def server():
    calls = [Said("Weather", {"location": town}) for town in ("Toronto", "Dallas")]
    with ModelServer([Turn(calls=calls, text="Let me see.")]) as server:
        yield server


def ask(server, to, messages):
    url = server.url if to in {"openai", "responses"} else server.origin
    with polycall.from_provider(**NAMES[to], base_url=url, api_key="k", retries=0, max_retries=0) as client:
        return client.create(messages, tools=[WEATHER], errors="return")


@pytest.fixture(scope="module")
def said(server):
    question = [{"role": "system", "content": "Be good."}, {"role": "user", "content": "How is the weather?"}]
    return {name: ask(server, name, question).reply(["hot", "cold"]) for name in NAMES}


@pytest.mark.parametrize("to", ["responses", "anthropic", "google", "cohere", "ollama"])
@pytest.mark.parametrize("of", OPENAI_SHAPED)
def test_conversations_in_openais_shape_move(server, said, of, to):
    """The server keeps each service's rules, and ends the conversation when it has seen that both calls are answered."""
    assert ask(server, to, said[of]).text == "That is all."
    assert "Toronto" in json.dumps(server.requests[-1].body)


@pytest.mark.parametrize("to", list(NAMES))
@pytest.mark.parametrize("of", OWN_WORDS)
def test_conversations_in_words_of_their_own_are_refused(server, said, of, to):
    if of == to:
        assert ask(server, to, said[of]).text == "That is all."
        return
    with pytest.raises(polycall.UsageError, match="in the words of"):
        ask(server, to, said[of])


@pytest.mark.parametrize("to", ["openai", "mistral"])
def test_ollamas_answers_to_calls_without_ids_are_refused_where_ids_are_wanted(server, said, to):
    with pytest.raises(polycall.UsageError, match="in the words of Ollama"):
        ask(server, to, said["ollama"])


def test_thoughts_of_others_do_not_go_to_cohere(server):
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "abc"}
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": [thought, {"type": "text", "text": "Hello."}]}]
    ask(server, "cohere", [*said, {"role": "user", "content": "?"}])
    assert "Hm." not in json.dumps(server.requests[-1].body)
    assert "Hello." in json.dumps(server.requests[-1].body)


def test_an_answer_of_anthropic_without_calls_goes_to_responses(server):
    answer = anthropic.types.Message(
        id="m", type="message", role="assistant", model="c", stop_reason="end_turn", usage={"input_tokens": 1, "output_tokens": 1},
        content=[{"type": "text", "text": "Hello."}],
    )  # fmt: skip
    ask(server, "responses", [{"role": "user", "content": "?"}, answer, {"role": "user", "content": "?"}])
    assert "stop_reason" not in json.dumps(server.requests[-1].body)
    assert "Hello." in json.dumps(server.requests[-1].body)


def test_mistral_takes_a_role_that_is_an_enum(server):
    ask(server, "mistral", [{"role": Role.USER, "content": "?"}])
    assert server.requests[-1].body["messages"] == [{"role": "user", "content": "?"}]


def test_gemini_takes_text_alone_in_system_messages(server):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    with pytest.raises(polycall.UsageError, match="text alone in system messages"):
        ask(server, "google", [{"role": "system", "content": [image]}, {"role": "user", "content": "?"}])
