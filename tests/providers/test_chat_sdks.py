"""The SDKs whose services speak OpenAI's chat format or nearly so, each with its real clients, blocking and asynchronous."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from dirty_equals import IsPartialDict
from pydantic import BaseModel

import polycall
from polycall.testing import ModelServer, Said, Turn
from support import chat
from support.chat_sdks import SDKS, Asker, Sdk, asking, options
from support.loopback import Answer, Drop, Gone, Reset, Server, Wait
from support.recorded import answered, check, exchanges, named, outcome

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of the SDKs

SSE = "text/event-stream"
NOT_TAKEN = {"function_call", "refusal"}
"""What the mistralai SDK drops of a whole response: Mistral sends neither."""


class Weather(BaseModel):
    """Get the weather."""

    location: str


class Search(BaseModel):
    query: str
    limit: int = 5


ENTRIES = [chat.entry("Weather", '{"location": "Oslo"}', id="aaaaaaaa1"), chat.entry("Search", '{"query": "x"}', id="aaaaaaaa2")]
STREAMED = chat.streamed(ENTRIES, size=5)


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module", params=SDKS.values(), ids=SDKS)
def sdk(request) -> Sdk:
    pytest.importorskip(request.param.package)
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["blocking", "asyncio"])
def asynchronous(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def asker(sdk, asynchronous, server):
    with asking(sdk, server.origin, asynchronous=asynchronous, max_retries=0) as asker:
        yield asker


def replied(server: Server, answer: Answer) -> None:
    server.answer = answer
    server.requests.clear()
    server.gone.clear()


# -------------------------------------------------------------------------------------------------------------- recordings


def test_recorded_exchanges_give_the_calls_of_the_model(sdk, asynchronous, server, asker):
    """Those of its service, and every sixth of the others: an SDK that hands over bytes gives the calls of them all."""
    share = list(SDKS).index(sdk.name)
    for number, one in enumerate(answered()):
        if one.provider != sdk.name and number % len(SDKS) != share:
            continue
        size = 7 if len(one.body) < 5_000 and not asynchronous else 400
        pieces = [one.body[start : start + size] for start in range(0, len(one.body), size)]
        replied(server, Answer(pieces if one.stream else one.body, one.status, one.content_type))
        calls = asker.ask(**options(one))
        if sdk.name == "mistral" and not one.stream and _says(one.body, NOT_TAKEN):
            continue
        try:
            check(calls, one)
        except AssertionError as error:
            error.add_note(one.id)
            raise
        assert calls.response is not None
        (sent,) = server.requests
        assert sent.path == sdk.path
        assert sent.body["messages"] == [{"role": "user", "content": "?"}]
        assert [tool["function"]["name"] for tool in sent.body["tools"]] == [tool.name for tool in one.tools]
        assert sent.body.get("stream", False) is one.stream


def _says(body: bytes, words: set[str]) -> bool:
    message = json.loads(body)["choices"][0]["message"]
    return any(message.get(word) for word in words)


def test_refused_recordings_raise_what_the_sdk_raises(sdk, server, asker, asynchronous):
    refused = [one for one in exchanges() if one.status >= 400 and not one.refused][::4]
    assert refused
    for one in refused:
        replied(server, Answer(one.body, one.status, one.content_type))
        plain = plain_error(sdk, server, asynchronous=asynchronous, stream=one.stream)
        with pytest.raises(Exception) as raised:  # noqa: PT011  # each SDK has its own
            asker.ask(**options(one))
        assert type(raised.value) is type(plain)
        assert type(raised.value).__module__.partition(".")[0] == sdk.package.partition(".")[0]
        assert vars(raised.value).get("status_code") == vars(plain).get("status_code")


def plain_error(sdk: Sdk, server: Server, *, asynchronous: bool, stream: bool) -> Exception:
    """Return what the SDK raises by itself."""
    import asyncio

    given: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}]}

    def call(raw: Any) -> Any:
        if sdk.name == "mistral":
            name = ("stream" if stream else "complete") + ("_async" if asynchronous else "")
            return getattr(raw.chat, name)(**given)
        if sdk.name == "huggingface":
            return raw.chat_completion(stream=stream, **given)
        return raw.chat.completions.create(stream=stream, **given)

    async def called() -> Any:
        async with sdk.raw(server.origin, asynchronous=True) as raw:
            return await call(raw)

    with pytest.raises(Exception) as raised:  # noqa: PT011
        if asynchronous:
            asyncio.run(called())
        else:
            with sdk.raw(server.origin, asynchronous=False) as raw:
                call(raw)
    return raised.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"no"', b'{"message": "no"}'])
def test_error_statuses_with_any_body(body, stream, sdk, server, asker, asynchronous):
    replied(server, Answer(body, 503))
    plain = plain_error(sdk, server, asynchronous=asynchronous, stream=stream)
    with pytest.raises(type(plain)) as raised:
        asker.ask(tools=[Weather], stream=stream)
    assert type(raised.value) is type(plain)


GROQ = ("groq-chat-json-0c-04990011", "groq-chat-sse-0c-1e931aa3")


@pytest.mark.parametrize("name", GROQ)
def test_what_the_service_has_refused_of_its_model_is_a_bad_call(name, sdk, server, asker):
    if sdk.name == "mistral":
        pytest.skip("its service reports nothing like that")
    one = named(name)
    replied(server, Answer(one.body, one.status, one.content_type))
    calls = asker.ask(tools=[polycall.Tool("get_something_by_name")], errors="return", stream=one.stream)
    assert [call.name for call in calls.calls] == ["get_something_by_name"]


# ---------------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("stream", [False, True])
def test_body_is_the_payload(stream, sdk, server, asker):
    replied(server, Answer(STREAMED, content_type=SSE) if stream else Answer(chat.body(chat.whole(*ENTRIES))))
    given = {"tools": [Weather, Search], "tool_choice": "required", "parallel": True, "stream": stream, "temperature": 0.5}
    asker.ask([{"role": "system", "content": "Use tools."}, {"role": "user", "content": "?"}], max_tokens=9, **given)
    (sent,) = server.requests
    assert sent.path == sdk.path
    assert sent.headers["authorization"] == "Bearer sk-canary"
    expected = asker.client.payload(
        [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "?"}], max_tokens=9, **given
    )
    assert sent.body == IsPartialDict({key: value for key, value in expected.items() if key != "tools"})
    assert sent.body["parallel_tool_calls"] is True
    assert [tool["function"]["name"] for tool in sent.body["tools"]] == ["Weather", "Search"]
    assert [tool["function"]["parameters"] for tool in sent.body["tools"]] == [
        tool["function"]["parameters"] for tool in expected["tools"]
    ]


def test_schemas_arrive_as_they_are(sdk, server, asker):
    """Null as a value of an enum, or inside of a list, is no option left out."""
    replied(server, Answer(chat.body(chat.whole(*ENTRIES))))
    schema = {"type": "object", "properties": {"a": {"enum": ["x", None]}, "b": {"type": ["string", "null"]}}, "required": ["a"]}
    asker.ask(tools=[polycall.Tool("f", schema=schema)], schema_strict=False, errors="return")
    (tool,) = server.last["tools"]
    assert tool["function"] == {"name": "f", "parameters": schema}


def test_one_tool_and_some_tools_can_be_asked_for(sdk, server, asker):
    replied(server, Answer(chat.body(chat.whole(*ENTRIES))))
    asker.ask(tools=[Weather, Search], tool_choice=Search, errors="return")
    assert server.last["tool_choice"] == {"type": "function", "function": {"name": "Search"}}
    asker.ask(tools=[Weather, Search], tool_choice=[Weather], errors="return")
    assert [tool["function"]["name"] for tool in server.last["tools"]] == ["Weather"]
    assert "tool_choice" not in server.last
    asker.ask(tools=[Weather], tool_choice="none", errors="return")
    assert server.last["tool_choice"] == "none"


def test_what_the_sdk_does_not_know_goes_into_the_body(sdk, server, asker):
    replied(server, Answer(chat.body(chat.whole(*ENTRIES))))
    if sdk.name == "mistral":
        with pytest.raises(polycall.UsageError, match="extra_body"):
            asker.ask(tools=[Weather], extra_body={"own": 1})
        return
    asker.ask(tools=[Weather, Search], extra_body={"own": [1]}, unheard_of={"a": 1}, errors="return")
    assert server.last == IsPartialDict({"own": [1], "unheard_of": {"a": 1}})
    with pytest.raises(polycall.UsageError, match="extra_body is a mapping"):
        asker.ask(tools=[Weather], extra_body=[1], unheard_of=1)


def test_headers_of_a_request(sdk, server, asker):
    replied(server, Answer(chat.body(chat.whole(*ENTRIES))))
    if sdk.name == "huggingface":
        with pytest.raises(polycall.UsageError, match="headers= to its client"):
            asker.ask(tools=[Weather], extra_headers={"x-own": "1"})
        with pytest.raises(polycall.UsageError, match="extra_query"):
            asker.ask(tools=[Weather], extra_query={"x": "1"})
        return
    asker.ask(tools=[Weather, Search], extra_headers={"x-own": "1"})
    assert server.requests[0].headers["x-own"] == "1"


# ----------------------------------------------------------------------------------------------------------------- answers


def test_response_is_the_object_of_the_sdk(sdk, server, asker):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    replied(server, Answer(chat.body({**chat.whole(*ENTRIES), "usage": usage})))
    whole = asker.ask(tools=[Weather, Search])
    replied(server, Answer([*STREAMED[:-1], chat.data({**chat.chunk_of(), "usage": usage}), chat.DONE], content_type=SSE))
    streamed = asker.ask(tools=[Weather, Search], stream=True)
    assert list(whole) == list(streamed) == [Weather(location="Oslo"), Search(query="x")]
    assert outcome(whole) == outcome(streamed)
    for calls in (whole, streamed):
        native: Any = calls.response
        assert type(native).__name__ == sdk.response
        assert type(native).__module__.startswith(sdk.package.partition(".")[0])
        function = native.choices[0].message.tool_calls[1].function
        assert (function.name, function.arguments) == ("Search", '{"query": "x"}')
        assert native.usage.completion_tokens == 4


WRONG = [Said("Weather", {"location": "Toronto"}), Said("Weather", {"location": "Dallas"}, wrong='{"location": 1')]


@pytest.mark.parametrize("stream", [False, True])
def test_bad_calls_are_asked_again(stream, sdk, asynchronous):
    with ModelServer([Turn(calls=WRONG), Turn(calls=[Said("Search", {"query": "x"})])]) as server:
        with asking(sdk, server.origin, asynchronous=asynchronous) as asker:
            calls = asker.ask(response_model=Iterable[Weather | Search], stream=stream)
            assert list(calls) == [Weather(location="Toronto"), Weather(location="Dallas")]
            assert len(calls.attempts) == 2
            following = asker.ask(
                [*calls.reply({call.index: "sunny" for call in calls.calls}), {"role": "user", "content": "And who won?"}],
                tools=[Weather, Search],
                stream=stream,
            )
            assert list(following) == [Search(query="x")]
        assert {sent.path for sent in server.requests} == {sdk.path}


# -------------------------------------------------------------------------------------------------- what breaks on its way


@pytest.mark.parametrize("end", [[Wait(0.1), Drop()], [Wait(0.1), Reset()], []], ids=["dropped", "reset", "ended"])
def test_stream_that_breaks_keeps_the_calls_before(end, sdk, server, asker):
    replied(server, Answer([*STREAMED[:8], *end], content_type=SSE, ended=not end))
    calls = asker.ask(tools=[Weather, Search], stream=True, errors="return")
    assert calls.calls[0].outcome == "ok"
    assert calls.calls[0].value == Weather(location="Oslo")
    assert any(isinstance(error, polycall.CutOffError) for error in [*calls.errors, *(call.error for call in calls.calls)])


def test_stream_that_reports_an_error_keeps_the_calls_before(sdk, server, asker):
    error = {"error": {"message": "the engine is on fire", "type": "server_error", "code": 500}}
    replied(server, Answer([*STREAMED[:8], chat.data(error)], content_type=SSE))
    calls = asker.ask(tools=[Weather, Search], stream=True, errors="return")
    assert calls.calls[0].value == Weather(location="Oslo")
    cuts = [error for error in [*calls.errors, *(call.error for call in calls.calls)] if isinstance(error, polycall.CutOffError)]
    assert cuts
    assert "the server reported an error: server_error, 500" in str(cuts[0])


def test_stream_that_reports_nothing_but_an_error(sdk, server, asker):
    error = {"error": {"message": "the engine is on fire", "type": "server_error", "code": 500}}
    replied(server, Answer([chat.data(error)], content_type=SSE))
    with pytest.raises(polycall.TransportError, match="server_error, 500") as raised:
        asker.ask(tools=[Weather, Search], stream=True)
    assert "the engine is on fire" in (raised.value.body or "")


def test_leaving_early_lets_go_of_the_connection(sdk, server, asker):
    replied(server, Answer([*STREAMED[:5], Gone()], content_type=SSE))
    assert asker.first(tools=[Weather, Search]) == Weather(location="Oslo")
    assert server.gone.wait(2)


TIMEOUT = 0.15
STALLS = {
    "headers": Answer(chat.body(chat.whole(*ENTRIES)), before=[Gone()]),
    "first byte": Answer([Gone()], content_type=SSE),
    "body": Answer([*STREAMED[:4], Gone()], content_type=SSE),
}


@pytest.mark.parametrize("stall", STALLS)
def test_deadline(stall, sdk, asynchronous):
    with Server() as server:
        server.longest_wait = 1.5
        server.answer = STALLS[stall]
        with asking(sdk, server.origin, asynchronous=asynchronous) as asker:
            start = time.monotonic()
            with pytest.raises(polycall.DeadlineError, match=r"timeout=0\.15"):
                asker.ask(tools=[Weather, Search], timeout=TIMEOUT, stream=stall != "headers")
            assert TIMEOUT - 0.02 < time.monotonic() - start < TIMEOUT + 1
            if asynchronous or stall != "headers":
                assert server.gone.wait(1)


def test_mistaken_clients_are_told(sdk):
    with pytest.raises(polycall.UsageError, match=f"from_{sdk.name} takes"):
        getattr(polycall, f"from_{sdk.name}")(object())
    with pytest.raises(polycall.UsageError, match=f"from_{sdk.name} takes"):
        getattr(polycall, f"from_{sdk.name}")(getattr(__import__(sdk.package, fromlist=["x"]), sdk.kinds[0]))


def test_subclasses_are_clients(sdk, server):
    replied(server, Answer(chat.body(chat.whole(*ENTRIES))))
    with sdk.raw(server.origin, asynchronous=False) as raw:
        raw.__class__ = type("Ours", (type(raw),), {})
        client = sdk.wrap(raw, asynchronous=False)
        assert isinstance(client, polycall.Client)
        assert list(client.create("?", tools=[Weather, Search])) == [Weather(location="Oslo"), Search(query="x")]


def test_asker_is_of_the_kind_that_was_asked_for(asker: Asker, asynchronous):
    assert isinstance(asker.client, polycall.AsyncClient if asynchronous else polycall.Client)


def test_stream_of_a_patched_huggingface_client_is_read(server):
    """What wraps the SDK's stream in a generator of its own hides the response; its chunks are read then."""
    sdk = SDKS["huggingface"]
    pytest.importorskip(sdk.package)
    with sdk.raw(server.origin, asynchronous=False) as raw:
        plain = raw.chat_completion

        def patched(*given: Any, **options: Any) -> Any:
            yield from plain(*given, **options)

        raw.chat_completion = patched
        client = sdk.wrap(raw, asynchronous=False, max_retries=0)
        replied(server, Answer(STREAMED, content_type=SSE))
        calls = client.stream("?", tools=[Weather, Search]).result()
        assert list(calls) == [Weather(location="Oslo"), Search(query="x")]
        assert type(calls.response).__name__ == sdk.response
        error = {"error": "the engine is on fire", "error_type": "overloaded"}
        replied(server, Answer([*STREAMED[:8], chat.data(error)], content_type=SSE))
        calls = client.stream("?", tools=[Weather, Search], errors="return").result()
        assert calls.calls[0].value == Weather(location="Oslo")
        assert isinstance(calls.calls[1].error, polycall.CutOffError)
        assert "the server reported an error" in str(calls.calls[1].error)
        replied(server, Answer([*STREAMED[:8], Wait(0.1), Drop()], content_type=SSE, ended=False))
        calls = client.stream("?", tools=[Weather, Search], errors="return").result()
        assert calls.calls[0].value == Weather(location="Oslo")
        assert "the connection broke" in str(calls.calls[1].error)
