"""The xai-sdk, which speaks gRPC: what is sent, what is read, and what goes wrong, against a gRPC server on loopback."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterable
from concurrent import futures
from typing import Literal

import pytest
from pydantic import BaseModel

import polycall
from polycall.providers.xai_sdk import XAI, _guard
from polycall.types import ToolCall

grpc = pytest.importorskip("grpc")
xai_sdk = pytest.importorskip("xai_sdk")
sdk_chat = xai_sdk.chat
pb, sample_pb2, usage_pb2 = xai_sdk.proto.chat_pb2, xai_sdk.proto.sample_pb2, xai_sdk.proto.usage_pb2
chat_pb2_grpc = xai_sdk.proto.chat_pb2_grpc

FACES = ["blocking", "asyncio"]
STOP, CALLS = sample_pb2.REASON_STOP, sample_pb2.REASON_TOOL_CALLS
ASSISTANT, TOOL = pb.ROLE_ASSISTANT, pb.ROLE_TOOL


class Weather(BaseModel):
    """Get the weather."""

    city: str
    units: Literal["imperial", "metric"] = "metric"


class Search(BaseModel):
    query: str


class XaiServer(chat_pb2_grpc.ChatServicer):
    """Answers each request with the next of the queue; a function is given the request and the context.

    A conversation with a call that is not answered right behind its turn is refused, as the service does.
    """

    def __init__(self):
        self.queue = []
        self.requests = []
        self.metadata = []
        self.gone = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        chat_pb2_grpc.add_ChatServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(None).wait()

    def reset(self, *answers):
        self.queue[:] = answers
        self.requests.clear()
        self.gone.clear()

    def _answer(self, request, context):
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if told := problem(request.messages):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, told)
        answer = self.queue.pop(0)
        return answer(request, context) if callable(answer) else answer

    def GetCompletion(self, request, context):  # noqa: N802  # gRPC's name
        return self._answer(request, context)

    def GetCompletionChunk(self, request, context):  # noqa: N802  # gRPC's name
        context.add_callback(self.gone.set)
        for chunk in self._answer(request, context):
            if callable(chunk):
                chunk(context)
            else:
                yield chunk


def problem(messages):
    waiting = []
    for message in messages:
        if message.role == TOOL:
            if message.tool_call_id not in waiting:
                return f"{message.tool_call_id!r} answers no call"
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            return f"{waiting} are not answered"
        waiting = [one.id for one in message.tool_calls]
        if len(set(waiting)) < len(waiting) or not all(waiting):
            return "ids are not unique"
    return f"{waiting} are not answered" if waiting else None


@pytest.fixture(scope="module")
def server():
    with XaiServer() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    with xai_sdk.Client(api_key="k", api_host=f"127.0.0.1:{server.port}", use_insecure_channel=True) as sdk:
        yield sdk


@pytest.fixture
def client(sdk):
    return polycall.from_xai(sdk, model="grok")


@pytest.fixture
async def async_sdk(server):
    async with xai_sdk.AsyncClient(api_key="k", api_host=f"127.0.0.1:{server.port}", use_insecure_channel=True) as sdk:
        yield sdk


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Assert that OpenTelemetry finds each span of the SDK in the context that it was made in."""
    yield
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR and one.name.startswith("opentelemetry")]


def called(call_id, name, arguments, kind=pb.TOOL_CALL_TYPE_CLIENT_SIDE_TOOL, **more):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return pb.ToolCall(id=call_id, type=kind, function=pb.FunctionCall(name=name, arguments=text), **more)


def whole(*calls, finish=CALLS, **more):
    usage = usage_pb2.SamplingUsage(
        prompt_tokens=5, completion_tokens=3, total_tokens=10, reasoning_tokens=2, cached_prompt_text_tokens=1
    )
    message = pb.CompletionMessage(role=ASSISTANT, tool_calls=calls, **more)
    return pb.GetChatCompletionResponse(id="r", model="grok-x", outputs=[output(message, finish)], usage=usage)


def output(message, finish=0, index=0):
    return pb.CompletionOutput(index=index, finish_reason=finish, message=message)


def chunk(*calls, finish=0, index=0, role=ASSISTANT, usage=None, **more):
    delta = pb.Delta(role=role, tool_calls=calls, **more)
    made = pb.CompletionOutputChunk(index=index, finish_reason=finish, delta=delta)
    return pb.GetChatCompletionChunk(id="r", model="grok-x", outputs=[made], usage=usage)


USAGE = usage_pb2.SamplingUsage(prompt_tokens=5, completion_tokens=3, total_tokens=8)


async def ask(face, sdk, async_sdk, messages, *, stream=False, **options):
    if face == "blocking":
        calls = polycall.from_xai(sdk, model="grok").create(messages, stream=stream, **options)
        return calls.result() if stream else calls
    calls = await polycall.from_xai(async_sdk, model="grok").create(messages, stream=stream, **options)
    return await calls.result() if stream else calls


@pytest.mark.parametrize("face", FACES)
async def test_request_and_answer(face, server, sdk, async_sdk):
    server.reset(
        whole(
            called("a", "Weather", {"city": "Oslo", "units": None}),
            called("b", "Search", {"query": "x"}),
            content="Hm.",
            finish=STOP,
        )
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
    calls = await ask(
        face, sdk, async_sdk, messages, response_model=Iterable[Weather | Search], tool_choice="required", parallel=False,
        temperature=0.5, max_tokens=50, stop="END", reasoning_effort="low", use_encrypted_content=True,
    )  # fmt: skip
    assert list(calls) == [Weather(city="Oslo"), Search(query="x")]
    assert calls.usage == polycall.Usage(5, 5, 1, 2)
    assert (calls.text, calls.finish_reason, calls.attempts[0].model) == ("Hm.", "REASON_STOP", "grok-x")
    assert isinstance(calls.response, sdk_chat.Response)
    assert server.metadata[-1]["authorization"] == "Bearer k"
    (sent,) = server.requests
    assert [(one.role, [part.text for part in one.content]) for one in sent.messages] == [(3, ["Be brief."]), (1, ["Oslo?"])]
    assert (sent.model, sent.n, sent.temperature, sent.max_tokens, list(sent.stop)) == ("grok", 1, 0.5, 50, ["END"])
    assert (sent.reasoning_effort, sent.use_encrypted_content) == (pb.EFFORT_LOW, True)
    assert (sent.tool_choice.mode, sent.parallel_tool_calls) == (pb.TOOL_MODE_REQUIRED, False)
    assert sent.HasField("parallel_tool_calls")
    weather, search = (tool.function for tool in sent.tools)
    assert (weather.name, weather.description, weather.strict) == ("Weather", "Get the weather.", True)
    assert json.loads(weather.parameters)["required"] == ["city", "units"]
    assert (search.name, search.description) == ("Search", "")


@pytest.mark.parametrize(
    ("choice", "mode", "function", "names"),
    [
        ("auto", None, "", ["Weather", "Search"]),
        ("none", pb.TOOL_MODE_NONE, "", ["Weather", "Search"]),
        (Search, None, "Search", ["Weather", "Search"]),
        ([Search], None, "", ["Search"]),
    ],
)
def test_tool_choice(choice, mode, function, names, server, client):
    server.reset(whole(content="no", finish=STOP))
    client.create("?", tools=[Weather, Search], tool_choice=choice, errors="return", schema_strict=False, max_retries=0)
    (sent,) = server.requests
    assert sent.tool_choice.function_name == function
    assert (sent.tool_choice.mode or None) == mode
    assert [tool.function.name for tool in sent.tools] == names
    assert not any(tool.function.strict for tool in sent.tools)
    assert not sent.HasField("parallel_tool_calls")


def test_conversation(server, client):
    png = base64.b64encode(b"png").decode()
    own = sdk_chat.user("mine", sdk_chat.image("https://example.com/a.png"))
    response = sdk_chat.Response(whole(called("z", "Search", {"query": "old"}), reasoning_content="so"), 0)
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "look \ud800"},
                                     {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}", "detail": "low"}},
                                     {"type": "file", "file": {"file_id": "f1"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/b.png"}},
                                     {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,eA=="}},
                                     {"type": "file", "file": {"file_url": "https://example.com/a.pdf"}}]},
        own,
        response,
        {"role": "tool", "tool_call_id": "z", "content": "found"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "Weather", "arguments": {"city": "Oslo"}}}]},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
    ]  # fmt: skip
    server.reset(whole(called("b", "Search", {"query": "x"})))
    client.create(messages, tools=[Weather, Search])
    sent = server.requests[0].messages
    assert [one.role for one in sent] == [3, 1, 1, 2, 5, 2, 5]
    look = sent[1].content
    assert look[0].text == "look \ufffd"
    assert look[1].image_url.image_url == f"data:image/png;base64,{png}"
    assert look[2].file.file_id == "f1"
    assert look[3].image_url.image_url == "https://example.com/b.png"
    assert (look[4].file.data, look[4].file.filename, look[4].file.mime_type) == (b"x", "a.txt", "text/plain")
    assert look[5].file.url == "https://example.com/a.pdf"
    assert sent[2] == own
    assert (sent[3].reasoning_content, sent[3].tool_calls[0].id) == ("so", "z")
    assert json.loads(sent[5].tool_calls[0].function.arguments) == {"city": "Oslo"}
    assert sent[5].tool_calls[0].type == pb.TOOL_CALL_TYPE_CLIENT_SIDE_TOOL
    with pytest.raises(polycall.UsageError, match="xAI takes texts, images and files"):
        client.create([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "eA=="}}]}], tools=[Weather])


def test_calls_without_ids_meet_their_answers(server, client):
    asked = [{"type": "function", "function": {"name": "Weather", "arguments": {"city": city}}} for city in ("Oslo", "Rome")]
    told = [{"role": "tool", "name": "Weather", "content": text} for text in ("sun", "rain")]
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "Search", "arguments": '{"query": "x"}'}}
    found = {"role": "function", "name": "Search", "content": "found"}
    server.reset(whole(content="fine", finish=STOP))
    client.create(
        [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": asked}, *told, legacy, found], tools=[Weather]
    )
    turn, first, second, search, last = server.requests[0].messages[1:]
    assert [one.id for one in turn.tool_calls] == [first.tool_call_id, second.tool_call_id]
    assert len({first.tool_call_id, second.tool_call_id, ""}) == 3
    assert search.tool_calls[0].function.arguments == '{"query": "x"}'
    assert search.tool_calls[0].id == last.tool_call_id


def thinking():
    return [
        chunk(reasoning_content="Let "),
        chunk(reasoning_content="me."),
        chunk(content="So"),
        chunk(content=".", encrypted_content="ENC"),
        chunk(called("a", "Weather", {"city": "Oslo", "units": "metric"}, status=pb.TOOL_CALL_STATUS_COMPLETED)),
        chunk(called("b", "Weather", {"city": 5, "units": None}), called("c", "Search", "{broken")),
        chunk(finish=CALLS, usage=USAGE),
    ]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_calls_are_asked_again(face, stream, server, sdk, async_sdk):
    fixed = [called("d", "Weather", {"city": "Rome", "units": "metric"}), called("e", "Search", {"query": "x"})]
    if stream:
        server.reset(thinking(), [chunk(*fixed, finish=CALLS)])
    else:
        calls = [called("a", "Weather", {"city": "Oslo", "units": "metric"}, status=pb.TOOL_CALL_STATUS_COMPLETED),
                 called("b", "Weather", {"city": 5, "units": None}), called("c", "Search", "{broken")]  # fmt: skip
        server.reset(whole(*calls, content="So.", reasoning_content="Let me.", encrypted_content="ENC"), whole(*fixed))
    given = {"response_model": Iterable[Weather | Search], "stream": stream, "reask": "end"}
    calls = await ask(face, sdk, async_sdk, "?", **given)
    assert list(calls) == [Weather(city="Oslo"), Weather(city="Rome"), Search(query="x")]
    turn, *told = server.requests[1].messages[1:]
    assert (turn.role, turn.content[0].text, turn.reasoning_content, turn.encrypted_content) == (2, "So.", "Let me.", "ENC")
    assert [(one.id, one.status, one.function.arguments) for one in turn.tool_calls] == [
        ("a", pb.TOOL_CALL_STATUS_COMPLETED, '{"city": "Oslo", "units": "metric"}'),
        ("b", 0, '{"city": 5, "units": null}'),
        ("c", 0, '{"invalid_arguments":"{broken"}'),
    ]
    assert [(one.role, one.tool_call_id) for one in told] == [(TOOL, "a"), (TOOL, "b"), (TOOL, "c")]
    assert "city" in told[1].content[0].text
    assert isinstance(calls.response, sdk_chat.Response)
    assert (
        [one.function.name for one in calls.response.tool_calls] == ["Weather", "Search"]
        if not stream
        else ["Weather", "Weather", "Search"]
    )
    server.reset(whole(content="Sun.", finish=STOP))
    last = await ask(face, sdk, async_sdk, calls.reply({0: "sun", 1: "rain", 2: "found"}), tools=[Weather, Search])
    assert last.text == "Sun."


def test_bad_call_is_asked_again_while_the_stream_runs(server, client):
    asked = threading.Event()

    def correct(_request, _context):
        asked.set()
        return [chunk(called("d", "Weather", {"city": "Rome"}), finish=CALLS)]

    first = [chunk(content="So."), chunk(called("a", "Weather", {"city": 5})), lambda _: asked.wait(5)]
    server.reset([*first, chunk(called("b", "Search", {"query": "x"})), chunk(finish=CALLS)], correct)
    calls = client.stream("?", response_model=Iterable[Weather | Search]).result()
    assert asked.is_set()
    assert list(calls) == [Weather(city="Rome"), Search(query="x")]
    assert [one.id for one in server.requests[1].messages[1].tool_calls] == ["a"]


def test_a_call_is_there_at_once(server, client):
    seen = threading.Event()
    server.reset(
        [
            chunk(called("a", "Weather", {"city": "Oslo"})),
            lambda _: seen.wait(5),
            chunk(called("", "Search", {"query": "x"}), finish=STOP),
        ]
    )
    with client.stream("?", response_model=Iterable[Weather | Search]) as stream:
        values = iter(stream)
        assert next(values) == Weather(city="Oslo")
        seen.set()
        assert list(values) == [Search(query="x")]
        assert [one.id for one in stream.result().calls] == ["a", None]


def test_odd_calls_are_calls(server, client):
    calls = [called("a", "Search", ""), called("a", "Search", {"query": "x"}, kind=0), called("c", "", "{}"), pb.ToolCall(id="d")]
    server.reset(whole(*calls))
    got = client.create("?", tools=[Search], errors="return", max_retries=0)
    assert [(one.id, one.name, one.outcome) for one in got.calls] == [
        ("a", "Search", "invalid"), ("a", "Search", "ok"), ("c", "", "unknown"), ("d", "", "unknown")]  # fmt: skip
    server.reset(whole(content="fine", finish=STOP))
    client.create(got.reply(dict.fromkeys(range(4), "ok")), tools=[Search])


@pytest.mark.parametrize("stream", [False, True])
def test_the_service_s_own_tools_are_no_calls(stream, server, client):
    own = called("s", "web_search", {"query": "x"}, kind=pb.TOOL_CALL_TYPE_WEB_SEARCH_TOOL, status=pb.TOOL_CALL_STATUS_COMPLETED)
    mine = called("a", "Weather", {"city": "Oslo"})
    if stream:
        answer = [
            chunk(own, finish=CALLS, encrypted_content="E1"),
            chunk(own, index=1, role=TOOL, content="found", finish=STOP),
            chunk(index=2, content="Now."),
            chunk(mine, index=2, finish=CALLS, usage=USAGE),
        ]
    else:
        messages = [
            pb.CompletionMessage(role=ASSISTANT, tool_calls=[own], encrypted_content="E1"),
            pb.CompletionMessage(role=TOOL, tool_calls=[own], content="found"),
            pb.CompletionMessage(role=ASSISTANT, tool_calls=[mine], content="Now."),
        ]
        finishes = [CALLS, STOP, CALLS]
        outputs = [output(one, finish, index) for index, (one, finish) in enumerate(zip(messages, finishes, strict=True))]
        answer = pb.GetChatCompletionResponse(id="r", model="grok-x", outputs=outputs)
    server.reset(answer, whole(content="fine", finish=STOP))
    calls = client.create("?", tools=[Weather], stream=stream)
    calls = calls.result() if stream else calls
    assert list(calls) == [Weather(city="Oslo")]
    assert calls.text == "Now."
    client.create(calls.reply({0: "sun"}), tools=[Weather])
    first, result, last, told = server.requests[1].messages[1:]
    assert (first.role, first.tool_calls[0], first.encrypted_content) == (2, own, "E1")
    assert (result.role, result.tool_call_id, result.tool_calls[0], result.content[0].text) == (5, "s", own, "found")
    assert (last.role, last.tool_calls[0], last.content[0].text) == (2, mine, "Now.")
    assert (told.role, told.tool_call_id) == (5, "a")


def test_no_call_beside_the_service_s_own_is_no_error(server, client):
    own = called("s", "web_search", {}, kind=pb.TOOL_CALL_TYPE_WEB_SEARCH_TOOL)
    server.reset([chunk(own, finish=CALLS), chunk(index=1, content="Found.", finish=STOP)])
    calls = client.stream("?", tools=[Weather]).result()
    assert (list(calls), calls.errors, calls.text) == ([], (), "Found.")


@pytest.mark.parametrize("reason", ["REASON_MAX_LEN", "REASON_MAX_CONTEXT", "REASON_TIME_LIMIT"])
@pytest.mark.parametrize("stream", [False, True])
def test_cuts(reason, stream, server, client):
    finish = sample_pb2.FinishReason.Value(reason)
    mine = called("a", "Weather", {"city": "Oslo"})
    server.reset([chunk(mine), chunk(finish=finish)] if stream else whole(mine, finish=finish))
    calls = client.create("?", tools=[Weather], errors="return", stream=stream, max_retries=0)
    calls = calls.result() if stream else calls
    assert [one.outcome for one in calls.calls] == ["ok"]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]
    assert reason in str(calls.errors[0])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_call_pass_through(face, stream, server, sdk, async_sdk):
    server.reset(lambda _, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down"))
    with pytest.raises(grpc.RpcError) as raised:
        await ask(face, sdk, async_sdk, "?", tools=[Weather], stream=stream)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert any("Weather" in note for note in raised.value.__notes__)
    assert len(server.requests) == 1


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("code", "again"), [(grpc.StatusCode.INTERNAL, 2), (grpc.StatusCode.INVALID_ARGUMENT, 1)])
async def test_error_within_a_stream_cuts_it(face, code, again, server, sdk, async_sdk):
    broken = [chunk(called("a", "Weather", {"city": "Oslo"})), lambda context: context.abort(code, "secret words")]
    server.reset(broken, [chunk(content="that is all", finish=STOP)])
    calls = await ask(face, sdk, async_sdk, "?", tools=[Weather], stream=True, errors="return")
    assert calls[0] == Weather(city="Oslo")
    assert len(server.requests) == again
    errors = [error for attempt in calls.attempts for error in attempt.errors]
    assert isinstance(errors[0], polycall.CutOffError)
    assert code.name in str(errors[0])
    assert "secret" not in str(errors[0])
    assert isinstance(errors[0].__cause__, grpc.RpcError) or isinstance(errors[0].__cause__.__cause__, grpc.RpcError)


@pytest.mark.parametrize("face", FACES)
async def test_stream_that_just_ends_is_cut(face, server, sdk, async_sdk):
    server.reset([chunk(called("a", "Weather", {"city": "Oslo"}))])
    calls = await ask(face, sdk, async_sdk, "?", tools=[Weather], stream=True, errors="return", max_retries=0)
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]
    server.reset([])
    with pytest.raises(polycall.TransportError):
        await ask(face, sdk, async_sdk, "?", tools=[Weather], stream=True)


@pytest.mark.parametrize("face", FACES)
async def test_deadline(face, server, sdk, async_sdk):
    over = threading.Event()
    server.reset([chunk(called("a", "Weather", {"city": "Oslo"})), lambda _: over.wait(5)])
    began = time.monotonic()
    with pytest.raises(polycall.DeadlineError):
        await ask(face, sdk, async_sdk, "?", tools=[Weather], stream=True, timeout=0.3)
    assert time.monotonic() - began < 3
    assert server.gone.wait(3)
    over.set()


def test_stream_closed_by_another_thread(server, client):
    over, seen, got = threading.Event(), threading.Event(), []
    server.reset([chunk(called("a", "Weather", {"city": "Oslo"})), lambda _: over.wait(5)])
    stream = client.stream("?", tools=[Weather], errors="return")

    def read():
        for value in stream:
            got.append(value)
            seen.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert seen.wait(5)
    stream.close()
    thread.join(3)
    assert not thread.is_alive()
    assert server.gone.wait(3)
    assert got == [Weather(city="Oslo")]
    over.set()


async def test_stream_that_is_left_is_cancelled(server, async_sdk):
    over = threading.Event()
    server.reset([chunk(called("a", "Weather", {"city": "Oslo"})), lambda _: over.wait(5)])
    async with polycall.from_xai(async_sdk, model="grok").stream("?", tools=[Weather], errors="return") as stream:
        async for value in stream:
            assert value == Weather(city="Oslo")
            break
    assert server.gone.wait(3)
    over.set()


async def test_clients_are_told_apart(sdk, async_sdk):
    assert isinstance(polycall.from_xai(sdk, model="m"), polycall.Client)
    assert isinstance(polycall.from_xai(async_sdk, model="m"), polycall.AsyncClient)
    with pytest.raises(polycall.UsageError, match=r"from_xai takes xai_sdk\.Client"):
        polycall.from_xai(object(), model="m")


def test_payload_is_plain(client):
    payload = client.payload("?", tools=[Weather], tool_choice=Weather, temperature=0.5)
    assert payload["messages"] == [{"role": "user", "content": "?"}]
    assert payload["tool_choice"] == {"type": "function", "function": {"name": "Weather"}}
    assert payload["temperature"] == 0.5


def test_provider_alone():
    provider = XAI()
    assert provider.headers("k") == {"authorization": "Bearer k"}
    assert provider.said(ValueError()) is None
    decoder = provider.decoder()
    calls = [
        {"id": name, "type": 1, "status": 0, "error_message": "", "function": {"name": name, "arguments": "{}"}} for name in "ab"
    ]
    texts = {"content": "", "reasoning_content": "", "encrypted_content": ""}
    given = {"index": 0, "role": "assistant", "tool_calls": calls, "finish_reason": "", **texts}
    deltas = list(decoder.feed({"id": "r", "model": "m", "outputs": [given]}, whole=False))
    assert [one.id for one in deltas] == ["a", "b"]
    (turn,) = decoder.turn([ToolCall(1, "b", "b", "")])
    assert [one["id"] for one in turn["tool_calls"]] == ["b"]
    assert decoder.body([])["outputs"] == [{"index": 0, "message": {"role": "assistant"}, "finish_reason": None}]
    with pytest.raises(polycall.TransportError):
        decoder.feed({"error": {"type": "INTERNAL"}}, whole=False)


def test_chat_of_another_sdk_version_is_left_as_it_is():
    chat = object()
    _guard(chat)
    assert not hasattr(chat, "_make_span_request_attributes")


@pytest.mark.parametrize("stream", [False, True])
def test_finish_reason_that_the_sdk_does_not_know(stream, server, client):
    call = called("a", "Search", {"query": "x"})
    server.reset([chunk(call, finish=77)] if stream else whole(call, finish=77))
    calls = client.create("?", tools=[Search], stream=stream, errors="return")
    calls = calls.result() if stream else calls
    assert (list(calls), calls.errors, calls.finish_reason) == ([Search(query="x")], (), "77")
    assert len(server.requests) == 1


def test_lone_surrogates_in_names_and_ids(server, client):
    server.reset(whole(content="ok", finish=STOP))
    asked = [{"id": "1\ud800", "type": "function", "function": {"name": "f\ud800", "arguments": "{}"}}]
    messages = [
        {"role": "user", "name": "ann\ud800", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": asked},
        {"role": "tool", "tool_call_id": "1\ud800", "content": "\ud800"},
    ]
    client.create(messages, tools=[Search])
    user, turn, told = server.requests[0].messages
    assert (user.name, turn.tool_calls[0].function.name) == ("ann\ufffd", "f\ufffd")
    assert turn.tool_calls[0].id == told.tool_call_id == "1\ufffd"
