"""Every recorded exchange in the Responses format, through the openai SDK and without it: exactly the calls that were made."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

import openai
import pytest
from openai.types.responses import Response
from tests.support import responses
from tests.support.loopback import Answer, Server
from tests.support.recorded import BESIDE, TESTS

import polycall


@cache
def exchanges() -> tuple[dict, ...]:
    root = BESIDE if BESIDE.is_dir() else TESTS / "wire"
    read = [json.loads(path.read_bytes()) for path in sorted(root.glob("*/*.json"), key=lambda path: path.name)]
    return tuple(one for one in read if one["family"] == "openai_responses")


def ids(found) -> list:
    return [pytest.param(one, id=one["id"]) for one in found]


def is_answer(one) -> bool:
    return one["response"]["status"] == 200 and "error_mid_stream" not in one["tags"]


ANSWERED = [one for one in exchanges() if is_answer(one)]
REFUSED = [one for one in exchanges() if one["response"]["status"] >= 400]
WITH_CALLS = [one for one in ANSWERED if one["n_calls"]]
STREAMS = [one for one in WITH_CALLS if one["stream"]]
SPREAD = ANSWERED[::5]
KEPT = {path.stem for path in Path(TESTS / "wire" / "responses").glob("*.json")}


def body_of(one) -> bytes:
    body = one["response"].get("text", one["response"]["body"])
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def tools_of(one) -> list[polycall.Tool]:
    return [polycall.Tool(name) for name in dict.fromkeys(call["name"] for call in one["expected_calls"])] or [
        polycall.Tool("none")
    ]


def text_of(one) -> str:
    """Read the text off the body by itself."""
    if one["stream"]:
        events = responses.sse_events(body_of(one))
        return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    items = [item for item in one["response"]["body"]["output"] if item["type"] == "message"]
    return "".join(part.get("text") or part.get("refusal") or "" for item in items for part in item["content"])


def check(calls, one) -> None:
    expected = one["expected_calls"]
    assert [(call.id, call.name) for call in calls.calls] == [(call["id"], call["name"]) for call in expected]
    for call, wanted in zip(calls.calls, expected, strict=True):
        if wanted["state"] == "json":
            assert json.loads(call.arguments) == wanted["arguments"] == call.value
        else:
            assert wanted["state"] == "invalid"
            assert (call.arguments, call.outcome) == (wanted["arguments_text"], "cut off")
    assert calls.text == text_of(one)
    status, _, reason = one["finish"][-1].partition(":")
    assert calls.finish_reason == (status if reason in {"", "None"} else reason)
    assert bool(calls.errors) is (status != "completed")


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
async def async_sdk(server):
    async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def direct(server):
    with polycall.from_provider("openai", api="responses", base_url=server.url, api_key="k", retries=0) as client:
        yield client


@pytest.fixture(scope="module")
async def async_direct(server):
    given = {"api": "responses", "base_url": server.url, "api_key": "k", "retries": 0}
    async with polycall.from_provider("openai", async_client=True, **given) as client:
        yield client


def replayed(server, one, size=400) -> dict:
    body = body_of(one)
    pieces = [body[start : start + size] for start in range(0, len(body), size)] if one["stream"] else body
    server.answer = Answer(pieces, one["response"]["status"], one["response"]["headers"]["content-type"])
    server.requests.clear()
    return {"model": "m", "tools": tools_of(one), "errors": "return", "stream": one["stream"], "max_retries": 0}


def check_sent(server, one) -> None:
    assert len(server.requests) == 1
    assert server.requests[0].path == "/v1/responses"
    assert server.last["input"] == [{"role": "user", "content": "?"}]
    assert [tool["name"] for tool in server.last["tools"]] == [tool.name for tool in tools_of(one)]
    assert server.last.get("stream", False) is one["stream"]


@pytest.mark.parametrize("one", ids(ANSWERED))
def test_blocking_client_gives_the_calls(one, server, sdk):
    calls = polycall.from_openai(sdk, api="responses").create("?", **replayed(server, one))
    calls = calls.result() if one["stream"] else calls
    check(calls, one)
    check_sent(server, one)
    assert type(calls.response) is Response
    made = [(item.call_id, item.name, item.arguments) for item in calls.response.output if item.type == "function_call"]
    assert made == [(call.id, call.name, call.arguments) for call in calls.calls]


@pytest.mark.parametrize("one", ids(ANSWERED))
async def test_asyncio_client_gives_the_calls(one, server, async_sdk):
    calls = await polycall.from_openai(async_sdk, api="responses").create("?", **replayed(server, one))
    calls = await calls.result() if one["stream"] else calls
    check(calls, one)
    check_sent(server, one)
    assert type(calls.response) is Response


@pytest.mark.parametrize("one", ids(ANSWERED))
def test_direct_blocking_client_gives_the_calls(one, server, direct):
    calls = direct.create("?", **replayed(server, one))
    calls = calls.result() if one["stream"] else calls
    check(calls, one)
    check_sent(server, one)
    made = [item for item in calls.response["output"] if item["type"] == "function_call"]
    assert [(item["call_id"], item["arguments"]) for item in made] == [(call.id, call.arguments) for call in calls.calls]


@pytest.mark.parametrize("one", ids(ANSWERED))
async def test_direct_asyncio_client_gives_the_calls(one, server, async_direct):
    calls = await async_direct.create("?", **replayed(server, one))
    check(await calls.result() if one["stream"] else calls, one)
    check_sent(server, one)


@pytest.mark.parametrize("one", ids(SPREAD))
def test_sdk_and_direct_path_are_the_same(one, server, sdk, direct):
    sent, given = [], []
    for client in (polycall.from_openai(sdk, api="responses"), direct):
        calls = client.create("?", **replayed(server, one))
        given.append(responses.outcome(calls.result() if one["stream"] else calls))
        sent.append(server.last)
    assert sent[0] == sent[1]
    assert given[0] == given[1]


@pytest.mark.parametrize("one", ids(REFUSED))
@pytest.mark.parametrize("stream", [False, True])
def test_http_errors_stay_those_of_the_sdk(one, stream, server, sdk, direct):
    options = {**replayed(server, one), "stream": False}
    client = polycall.from_openai(sdk, api="responses")
    with pytest.raises(openai.BadRequestError) as raised:
        client.stream("?", model="m", tools=tools_of(one)).result() if stream else client.create("?", **options)
    assert raised.value.body["message"] == one["response"]["body"]["error"]["message"]
    with pytest.raises(polycall.TransportError, match="400") as failed:
        direct.stream("?", model="m", tools=tools_of(one)).result() if stream else direct.create("?", **options)
    assert not failed.value.transient


@pytest.mark.parametrize("one", ids(ANSWERED))
def test_stream_and_whole_body_are_read_the_same(one):
    """A stream that answers a plain request, and a whole body that answers a stream, however it comes."""
    body = body_of(one)
    plain = responses.replay([body], tools_of(one), stream=False)
    check(plain, one)
    assert responses.outcome(responses.replay([body[:9], body[9:]], tools_of(one))) == responses.outcome(plain)


@pytest.mark.parametrize("one", ids(one for one in STREAMS if one["id"] in KEPT))
def test_bytes_come_one_by_one(one):
    body = body_of(one)
    split = responses.replay([body[at : at + 1] for at in range(len(body))], tools_of(one))
    assert responses.outcome(split) == responses.outcome(responses.replay([body], tools_of(one)))


@pytest.mark.parametrize("one", ids(STREAMS))
def test_stream_that_is_cut_keeps_the_calls_before_the_cut(one):
    events = body_of(one).split(b"\n\n")
    full = responses.replay([body_of(one)], tools_of(one))
    for number in range(1, len(events) - 1):
        begun = list(responses.sse_events(b"\n\n".join(events[:number])))
        if any(event["type"] in {"response.completed", "response.incomplete"} for event in begun):
            continue
        done = [event for event in begun if event["type"] == "response.output_item.done"]
        count = sum(event["item"]["type"] == "function_call" and event["item"]["status"] != "incomplete" for event in done)
        calls = responses.replay([b"\n\n".join(events[:number]) + b"\n\n"], tools_of(one))
        good = [call for call in calls.calls if call.outcome == "ok"]
        assert [(call.id, call.arguments) for call in good] == [(call.id, call.arguments) for call in full.calls[:count]]
        assert isinstance(calls.errors[-1], polycall.CutOffError)
        assert len(calls) <= len(full)
        _, sent = responses.asked([body_of(one)], tools_of(one), messages=calls.reply(["done"] * len(calls)))
        check_goes_on(sent["input"], calls)


@pytest.mark.parametrize("one", ids(ANSWERED))
def test_turn_goes_back_as_it_came(one):
    """Every item verbatim and in its place, every call answered; what the service has not kept is left out."""
    calls = responses.replay([body_of(one)], tools_of(one), stream=one["stream"])
    more = [*calls.reply(["42"] * len(calls)), *([] if calls.calls else [{"role": "user", "content": "go on"}])]
    _, sent = responses.asked([body_of(one)], tools_of(one), messages=more)
    check_goes_on(sent["input"], calls)
    output = output_of(one)
    thoughts = [item for item in output if item["type"] == "reasoning"]
    back = sent["input"][1 : 1 + len(output)]
    if any("encrypted_content" not in item and not item.get("content") for item in thoughts) and is_forgotten(one):
        assert not any(item.get("type") == "reasoning" for item in sent["input"])
        assert not any("id" in item for item in sent["input"] if item.get("type") in {"function_call", None})
        return
    if output and output[-1]["type"] != "reasoning" and "call_incomplete" not in one["tags"]:
        assert back == output
    if all(responses.ITEM.is_valid(item) for item in output):  # recorded items are not all as the schema says
        responses.check_body(sent)


def output_of(one) -> list[dict]:
    """Return the items as they were told of last, by themselves."""
    if not one["stream"]:
        return one["response"]["body"]["output"]
    return [event["item"] for event in responses.sse_events(body_of(one)) if event["type"] == "response.output_item.done"]


def is_forgotten(one) -> bool:
    """Whether the service says that it does not keep the response."""
    body = one["response"]["body"]
    if one["stream"]:
        body = [event["response"] for event in responses.sse_events(body_of(one)) if "response" in event][-1]
    return body.get("store") is False


def check_goes_on(items, calls) -> None:
    """Each call is there once, and answered behind it; no thought stands at the end of the turn."""
    made = [item["call_id"] for item in items if item.get("type") == "function_call"]
    told = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    assert made == told
    assert len(set(made)) == len(made) == len(calls)
    for before, after in itertools.pairwise(items):
        assert before.get("type") != "reasoning" or not (
            after.get("type") == "function_call_output" or after.get("role") == "user"
        )
    assert items[-1].get("type") != "reasoning"


@pytest.mark.parametrize(
    "one", ids(one for one in exchanges() if one["request"] and isinstance(one["request"].get("input"), list))
)
def test_recorded_input_goes_out_unchanged(one):
    given = one["request"]["input"]
    if given:
        _, sent = responses.asked(responses.streamed(), [polycall.Tool("f")], messages=given)
        assert sent["input"] == given


def test_error_in_a_stream_is_told():
    one = next(one for one in exchanges() if "error_mid_stream" in one["tags"])
    for stream in (False, True):
        try:
            (cut,) = responses.replay([body_of(one)], [polycall.Tool("f")], stream=stream).errors
            error = cut.__cause__
        except polycall.TransportError as raised:
            error = raised
        assert isinstance(error, polycall.TransportError)
        assert "insufficient_quota" in str(error)
        assert not error.transient


def test_recordings_are_the_interesting_ones():
    assert {one["provider"] for one in exchanges()} == {
        "azure", "bedrock", "deepseek", "github-copilot", "llamacpp", "lmstudio", "openai", "xai",
    }  # fmt: skip
    assert len(ANSWERED) >= 35
    assert len(KEPT) == 40
    assert sum(one["n_calls"] > 1 for one in STREAMS) >= 2
