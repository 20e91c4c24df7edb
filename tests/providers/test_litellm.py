"""LiteLLM, through its real functions: what comes through it, and what it makes of it."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dirty_equals import IsPartialDict
from pydantic import BaseModel

import polycall
from polycall.testing import ModelServer, Said, Turn
from support import chat
from support.chat_sdks import Asker, options
from support.loopback import Answer, Drop, Gone, Reset, Server, Wait
from support.recorded import answered, check, exchanges, outcome

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network when it is imported
litellm: Any = pytest.importorskip("litellm")

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own are many
SSE = "text/event-stream"
LOST = {
    "snowflake-chat-json-0c-584bfb59": 'it makes "stop" of an empty finish reason',
    "snowflake-chat-json-1c-47f80345": "it refuses calls with an empty part for custom tools",
    "snowflake-chat-json-1c-bec94d7e": "it refuses calls with an empty part for custom tools",
    "openrouter-chat-sse-0c-b5ae4ac6": "it drops the pieces of a refusal behind the first",
}


class Weather(BaseModel):
    """Get the weather."""

    location: str


class Search(BaseModel):
    query: str


ENTRIES = [chat.entry("Weather", '{"location": "Oslo"}', id="a"), chat.entry("Search", '{"query": "x"}', id="b")]
STREAMED = chat.streamed(ENTRIES, size=5)


@contextmanager
def asking(server: Server, *, asynchronous: bool, **defaults: Any) -> Iterator[Asker]:
    function = litellm.acompletion if asynchronous else litellm.completion
    given = {"model": "openai/m", "api_base": server.url, "api_key": "sk-canary", "num_retries": 0, **defaults}
    client = polycall.from_litellm(function, **given)
    if not asynchronous:
        yield Asker(client, None)
        return
    with asyncio.Runner() as runner:
        yield Asker(client, runner)
        runner.run(_closed())


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server
    asyncio.run(_closed())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what else LiteLLM leaves: clients, an event loop
        gc.collect()


async def _closed() -> None:
    """Close the clients that LiteLLM keeps."""
    await litellm.close_litellm_async_clients()
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(scope="module", params=[False, True], ids=["blocking", "asyncio"])
def asynchronous(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def asker(asynchronous, server):
    with asking(server, asynchronous=asynchronous) as asker:
        yield asker


@pytest.fixture(autouse=True)
def nothing_sent(server):
    server.requests.clear()
    server.gone.clear()


def test_recorded_exchanges_give_the_calls_of_the_model(server, asker):
    for one in answered()[::3]:
        if one.id in LOST:
            continue
        pieces = [one.body[start : start + 400] for start in range(0, len(one.body), 400)]
        server.answer = Answer(pieces if one.stream else one.body, one.status, one.content_type)
        calls = asker.ask(**options(one))
        try:
            check(calls, one)
        except AssertionError as error:
            error.add_note(one.id)
            raise
        assert type(calls.response).__name__ == "ModelResponse"


@pytest.mark.parametrize("name", LOST)
def test_what_litellm_loses(name, server):
    """What the SDK does not give cannot be read; a newer version that gives it takes the entry out of the list."""
    one = next((one for one in exchanges() if one.id == name), None)
    if one is None:
        pytest.skip("not among the recordings that are here")
    server.answer = Answer([one.body] if one.stream else one.body, one.status, one.content_type)
    with asking(server, asynchronous=False) as asker, pytest.raises((AssertionError, litellm.exceptions.InternalServerError)):
        check(asker.ask(**options(one)), one)


@pytest.mark.parametrize("stream", [False, True])
def test_body_is_the_payload(stream, server, asker):
    server.answer = Answer(STREAMED, content_type=SSE) if stream else Answer(chat.body(chat.whole(*ENTRIES)))
    given = {"tools": [Weather, Search], "tool_choice": "required", "parallel": True, "stream": stream, "max_tokens": 9}
    asker.ask("?", **given)
    expected = asker.client.payload("?", **given)
    assert server.last == IsPartialDict({key: value for key, value in expected.items() if key != "model"})
    assert (expected["model"], server.last["model"]) == ("openai/m", "m")
    assert not {"api_key", "api_base", "num_retries"} & expected.keys()
    assert server.requests[0].headers["authorization"] == "Bearer sk-canary"


def test_headers_and_fields_of_its_own(server, asker):
    server.answer = Answer(chat.body(chat.whole(*ENTRIES)))
    asker.ask(tools=[Weather, Search], extra_headers={"x-own": "1"}, extra_body={"own": 1})
    assert server.requests[0].headers["x-own"] == "1"
    assert server.last["own"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_bad_calls_are_asked_again(stream, asynchronous):
    wrong = [Said("Weather", {"location": "Toronto"}), Said("Weather", {"location": "Dallas"}, wrong='{"location": 1')]
    with ModelServer([Turn(calls=wrong), Turn(calls=[Said("Search", {"query": "x"})])]) as server:
        with asking(server, asynchronous=asynchronous) as asker:
            calls = asker.ask(response_model=Iterable[Weather | Search], stream=stream)
            assert list(calls) == [Weather(location="Toronto"), Weather(location="Dallas")]
            assert len(calls.attempts) == 2
            following = asker.ask(
                [*calls.reply({call.index: "sunny" for call in calls.calls}), {"role": "user", "content": "And?"}],
                tools=[Weather, Search],
                stream=stream,
            )
            assert list(following) == [Search(query="x")]
        assert len(server.requests) == 3


def test_whole_and_streamed_answers_are_alike(server, asker):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    server.answer = Answer(chat.body({**chat.whole(*ENTRIES), "usage": usage}))
    whole = asker.ask(tools=[Weather, Search])
    server.answer = Answer([*STREAMED[:-1], chat.data({**chat.chunk_of(), "usage": usage}), chat.DONE], content_type=SSE)
    streamed = asker.ask(tools=[Weather, Search], stream=True)
    assert outcome(whole)[0] == outcome(streamed)[0]
    assert whole.usage == streamed.usage
    assert whole.finish_reason == streamed.finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_error_statuses(status, stream, server, asker):
    server.answer = Answer(chat.body({"error": {"message": "no", "type": "t", "code": None}}), status)
    with pytest.raises(Exception) as raised:  # noqa: PT011  # one of LiteLLM's
        asker.ask(tools=[Weather], stream=stream)
    assert type(raised.value).__module__ == "litellm.exceptions"
    assert raised.value.status_code == status


@pytest.mark.parametrize("end", [[Wait(0.1), Drop()], [Wait(0.1), Reset()], []], ids=["dropped", "reset", "ended"])
def test_stream_that_breaks_keeps_the_calls_before(end, server, asker):
    """Where a stream ends without a reason, LiteLLM says "stop" of its own accord."""
    server.answer = Answer([*STREAMED[:5], *end], content_type=SSE, ended=not end)
    calls = asker.ask(tools=[Weather, Search], stream=True, errors="return", max_retries=0)
    assert calls.calls[0].value == Weather(location="Oslo")
    assert any(isinstance(error, polycall.CutOffError) for error in [*calls.errors, *(call.error for call in calls.calls)])
    assert calls.finish_reason is None


def test_stream_that_reports_an_error_keeps_the_calls_before(server, asker):
    error = {"error": {"message": "the engine is on fire", "type": "server_error", "code": 500}}
    server.answer = Answer([*STREAMED[:8], chat.data(error)], content_type=SSE)
    calls = asker.ask(tools=[Weather, Search], stream=True, errors="return", max_retries=0)
    assert calls.calls[0].value == Weather(location="Oslo")
    assert any(isinstance(error, polycall.CutOffError) for error in [*calls.errors, *(call.error for call in calls.calls)])


def test_leaving_early_lets_go_of_the_connection(server, asker):
    server.answer = Answer([*STREAMED[:5], Gone()], content_type=SSE)
    assert asker.first(tools=[Weather, Search]) == Weather(location="Oslo")
    assert server.gone.wait(2)


@pytest.mark.parametrize("stall", ["first byte", "body"])
def test_deadline_of_a_stream(stall, asynchronous):
    with Server() as server:
        server.answer = Answer([*STREAMED[: 5 if stall == "body" else 0], Gone()], content_type=SSE)
        server.longest_wait = 1.5
        with asking(server, asynchronous=asynchronous) as asker:
            start = time.monotonic()
            with pytest.raises(polycall.DeadlineError):
                asker.ask(tools=[Weather, Search], timeout=0.3, stream=True)
            assert time.monotonic() - start < 2
            assert server.gone.wait(1)


def test_refusals_of_whole_answers(server, asker):
    server.answer = Answer(chat.body(chat.whole(refusal="No.", finish="stop")))
    calls = asker.ask(tools=[Weather], errors="return")
    assert isinstance(calls.errors[0], polycall.RefusalError)
    assert calls.text == "No."


def test_answers_that_come_from_nowhere(asker):
    """What LiteLLM makes up itself has nothing to close, and no finish reason but the "stop" that it always adds."""
    calls = asker.ask(tools=[Weather], mock_response="Hello.", stream=True, errors="return", max_retries=0)
    assert (calls.text, calls.finish_reason) == ("Hello.", None)
    assert asker.ask(tools=[Weather], mock_response="Hello.").text == "Hello."
    if isinstance(asker.client, polycall.Client):
        with asker.client.stream("?", tools=[Weather], mock_response="Hello.") as stream:
            next(stream.events())


def test_what_is_wrapped():
    assert isinstance(polycall.from_litellm(litellm.completion), polycall.Client)
    assert isinstance(polycall.from_litellm(litellm.acompletion), polycall.AsyncClient)
    router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "k"}}])
    assert isinstance(polycall.from_litellm(router.completion), polycall.Client)
    assert isinstance(polycall.from_litellm(router.acompletion), polycall.AsyncClient)
    for other in (print, object(), litellm):
        with pytest.raises(polycall.UsageError, match=r"litellm\.completion or litellm\.acompletion"):
            polycall.from_litellm(other)  # type: ignore[arg-type]  # what is to be refused
