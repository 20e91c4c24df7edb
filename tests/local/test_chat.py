"""The local model behind polycall's client: what is sent, what comes back, and what is told when it breaks off."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest
from dirty_equals import IsInt, IsPositiveInt, IsStr
from pydantic import BaseModel

from polycall import AsyncClient, CallErrors, Client, CutOffError, TransportError, from_provider
from polycall.local import LocalModel, connect
from polycall.local._chat import LocalChat
from polycall.provider import Connection

QUESTION = "What is the weather in Oslo and in Rome?"


class Weather(BaseModel):
    """Get the weather in one location."""

    location: str
    units: Literal["imperial", "metric"]


class Recorder:
    """Stands where the model stands, keeps the bodies and answers with a word."""

    def __init__(self):
        self.bodies = []
        self.closed = 0

    def complete(self, body):
        self.bodies.append(json.loads(body))
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.closed:
            raise StopIteration
        self.closed += 1
        return {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}

    def close(self):
        self.closed += 1


@pytest.fixture
def client(model):
    return Client(Connection(LocalChat(), model, blocking=True), model="local")


@pytest.fixture
def async_client(model):
    return AsyncClient(Connection(LocalChat(), model, blocking=True), model="local")


OPTIONS = [
    {},
    {"temperature": 0.5, "max_tokens": 7},
    {"extra_body": {"seed": 1, "temperature": 1}},
    {"extra_body": None, "extra_headers": {"X-A": "b"}, "extra_query": {"a": "b"}},
    {"extra_body": {"tools": [{"type": "function", "function": {"name": "other"}}]}},
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=json.dumps)
def test_the_payload_is_what_is_sent(options, stream):
    recorder = Recorder()
    client = Client(Connection(LocalChat(), recorder, blocking=True), model="local")
    answer = client.create("?", tools=[Weather], stream=stream, **options)
    assert (answer.result() if stream else answer).text == "Hello"
    (sent,) = recorder.bodies
    assert sent == client.payload("?", tools=[Weather], stream=stream, **options)
    expected = {"temperature": 0} | {key: value for key, value in options.items() if not key.startswith("extra_")}
    expected |= options.get("extra_body") or {}
    assert sent == sent | expected
    assert not sent.keys() & {"extra_body", "extra_headers", "extra_query"}
    assert recorder.closed > 1


def test_a_seed_in_the_extra_body_reaches_llama_cpp(client):
    def text(seed):
        options = {"temperature": 2, "max_tokens": 25, "extra_body": {"seed": seed}}
        return client.create("Tell me a story.", tools=[Weather], tool_choice="none", errors="return", **options).text

    assert text(1) == text(1) != text(2)


def test_whole_and_streamed_are_the_same(client):
    whole = client.create(QUESTION, tools=[Weather])
    with client.stream(QUESTION, tools=[Weather]) as stream:
        streamed = stream.result()
    assert [call.location for call in whole] == ["Oslo", "Rome"]
    assert list(streamed) == list(whole)
    assert streamed.usage == whole.usage
    assert whole.usage.output_tokens > 10
    assert whole.finish_reason == "tool_calls"


def test_the_response_is_a_chat_completion(client):
    calls = client.create(QUESTION, tools=[Weather])
    functions = [{"name": "Weather", "arguments": call.arguments} for call in calls.calls]
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": IsStr(min_length=8), "type": "function", "function": function} for function in functions],
    }
    assert calls.response == {
        "id": IsStr(regex="chatcmpl-.+"),
        "object": "chat.completion",
        "created": IsPositiveInt(),
        "model": "SmolLM2-135M-Instruct.Q4_1",
        "system_fingerprint": IsStr(),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}],
        "usage": {
            "prompt_tokens": IsPositiveInt(),
            "completion_tokens": IsPositiveInt(),
            "total_tokens": IsPositiveInt(),
            "prompt_tokens_details": {"cached_tokens": IsInt(ge=0)},
        },
    }


def test_a_conversation_goes_on(client):
    calls = client.create(QUESTION, tools=[Weather])
    after = client.create(calls.reply(["rain", "sun"]), tools=[Weather], max_tokens=5, errors="return")
    assert after.usage.input_tokens > calls.usage.input_tokens


async def test_on_asyncio(async_client):
    calls = await async_client.create(QUESTION, tools=[Weather])
    assert [call.location for call in calls] == ["Oslo", "Rome"]
    async with async_client.stream(QUESTION, tools=[Weather]) as stream:
        assert [call.location async for call in stream] == ["Oslo", "Rome"]


LONG = {"tools": [Weather], "tool_choice": "none", "max_tokens": 3000, "extra_body": {"ignore_eos": True}}


def closed_during(model, question, wait):
    client = Client(Connection(LocalChat(), model, blocking=True, close=model.close), model="local")
    with ThreadPoolExecutor(1) as pool, client:
        answer = pool.submit(client.create, question, **LONG)
        wait(model)
        client.close()
        return answer.exception(timeout=10)


def begun(model):
    while not (model._loaded and model._loaded._running):
        time.sleep(0.01)


def test_a_model_that_is_closed_while_it_reads_the_prompt_is_a_transport_error(weights):
    error = closed_during(LocalModel(weights, parallel=1), "word " * 3800, begun)
    assert isinstance(error, TransportError)
    assert "the local model was closed before the answer was complete" in str(error)


def test_a_model_that_is_closed_while_it_writes_gives_no_short_answer(weights):
    error = closed_during(LocalModel(weights, parallel=1), "Tell me a story.", lambda model: (begun(model), time.sleep(1)))
    assert isinstance(error, CallErrors)
    (cut,) = error.exceptions
    assert isinstance(cut, CutOffError)
    assert "the local model was closed before the answer was complete" in str(cut)
    assert isinstance(cut.__cause__, TransportError)
    assert error.calls.text


def test_a_stream_that_is_closed_by_another_thread_tells_its_reader(client):
    with ThreadPoolExecutor(1) as pool:
        stream = client.stream("Tell me a story.", **LONG)
        events = stream.events()
        next(events)
        reader = pool.submit(list, events)
        time.sleep(0.2)
        stream.close()
        assert isinstance(reader.exception(timeout=10), CallErrors | TransportError)


async def test_a_stream_that_is_left_on_asyncio_ends_the_work(model, async_client):
    async with async_client.stream("Tell me a story.", **LONG) as stream:
        async for _ in stream.events():
            break
    for _ in range(500):
        if model._loaded._running:
            await asyncio.sleep(0.01)
    assert not model._loaded._running


def test_connect_and_from_provider_load_nothing_before_the_first_request(tmp_path):
    missing = tmp_path / "missing.gguf"
    with Client(connect(missing), model="local"), from_provider("local", model_path=str(missing)) as client:
        assert client.payload("?", tools=[Weather])["model"] == "local"
