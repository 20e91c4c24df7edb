"""boto3's ``bedrock-runtime`` client: what is sent, what is read, and what goes wrong, against a server on loopback."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterable
from typing import Annotated, Literal

import jsonschema_rs
import pytest
from inline_snapshot import snapshot
from pydantic import BaseModel, Field
from tests.support.loopback import Answer, Drop, Gone, Server, Until
from tests.support.recorded_native import TESTS, check, exchanges, folder

import polycall
from polycall.formats.converse import Converse
from polycall.testing import ModelServer, Said, Turn
from polycall.testing._converse_format import aws_frame

boto3 = pytest.importorskip("boto3")
Config = pytest.importorskip("botocore.config").Config
ClientError = pytest.importorskip("botocore.exceptions").ClientError

SPEC = json.loads((TESTS / "spec" / "bedrock_converse.json").read_bytes())
VALIDATOR = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/" + SPEC["x-roots"]["converse"]})
STREAM = "application/vnd.amazon.eventstream"
BY_HAND = "bedrock-converse-json-3c-5d4111c7"
RECORDED = [one for one in exchanges("bedrock_converse") if one.answered and one.id != BY_HAND]
FACES = ["blocking", "asyncio"]
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
NEW_CLAUDE = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"


class Weather(BaseModel):
    """Get the weather."""

    city: str
    units: Literal["imperial", "metric"] = "metric"


class Search(BaseModel):
    query: str
    limit: Annotated[int, Field(ge=1)] | None = None


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    client = boto3_client(server.origin)
    yield client
    client.close()


def boto3_client(origin, **config):
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    settings = Config(retries={"total_max_attempts": 1}, **config)
    return boto3.client("bedrock-runtime", endpoint_url=origin, config=settings, **keys)


@pytest.fixture
def client(server, sdk):
    server.requests.clear()
    server.queue.clear()
    return polycall.from_bedrock(sdk, model=CLAUDE, max_retries=0)


def event(kind, payload, **more):
    return aws_frame(kind, {**payload, "p": "abcdefgh"}, **more)


def begun(index, call_id, name, **more):
    start = {"toolUse": {"toolUseId": call_id, "name": name, **more}}
    return event("contentBlockStart", {"contentBlockIndex": index, "start": start})


def delta(index, given):
    given = {"toolUse": {"input": given}} if isinstance(given, str) else given
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": given})


def ended(index):
    return event("contentBlockStop", {"contentBlockIndex": index})


def call(index, call_id, name, text, size=3):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return [begun(index, call_id, name), *(delta(index, piece) for piece in pieces), ended(index)]


START = event("messageStart", {"role": "assistant"})


def stopped(reason="tool_use", **more):
    usage = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 20, "cacheReadInputTokens": 8, "cacheWriteInputTokens": 2}
    return [
        event("messageStop", {"stopReason": reason}),
        event("metadata", {"usage": usage, "metrics": {"latencyMs": 5}, **more}),
    ]


def streaming(*pieces):
    return Answer(list(pieces), 200, STREAM)


def whole(*content, reason="tool_use", **more):
    usage = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}
    message = {"role": "assistant", "content": list(content)}
    body = {"output": {"message": message}, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": 5}, **more}
    return Answer(json.dumps(body).encode())


def used(call_id, name, given):
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": given}}


def check_sent(server):
    for sent in server.requests:
        problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in VALIDATOR.iter_errors(sent.body)]
        assert not problems
    return server.requests[-1].body


def answered(create, *args, **options):
    calls = create(*args, **options)
    return calls.result() if options.get("stream") else calls


def state(calls):
    return [(one.id, one.name, one.arguments, one.outcome) for one in calls.calls]


# ------------------------------------------------------------------------------------------------------------------ recordings


def replay(server, one, size):
    body = [one.body[start : start + size] for start in range(0, len(one.body), size)]
    server.answer = Answer(body if one.stream else one.body, one.status, one.content_type)
    server.requests.clear()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("one", [pytest.param(one, id=one.id) for one in RECORDED])
async def test_recorded_exchanges_give_their_calls(one, face, server, sdk):
    replay(server, one, 300)
    given = {"tools": one.tools, "errors": "return", "max_retries": 0, "model": "m", "stream": one.stream}
    if face == "asyncio":
        calls = await polycall.from_bedrock(sdk, async_client=True).create("?", **given)
        calls = await calls.result() if one.stream else calls
    else:
        calls = answered(polycall.from_bedrock(sdk).create, "?", **given)
    check(calls, one)
    assert calls.finish_reason == one.finish[-1]
    assert server.requests[0].path == f"/model/m/converse{'-stream' if one.stream else ''}"
    check_sent(server)


@pytest.mark.parametrize("one", [pytest.param(one, id=one.id) for one in RECORDED if one.calls])
def test_recorded_turns_can_be_sent_back(one, server, sdk):
    replay(server, one, 10_000)
    client = polycall.from_bedrock(sdk, model=CLAUDE, max_retries=0)
    given = {"tools": one.tools, "errors": "return", "stream": one.stream}
    calls = answered(client.create, "?", **given)
    answered(client.create, calls.reply(dict.fromkeys(range(len(calls)), "fine")), **given)
    sent = check_sent(server)
    question, turn, results = sent["messages"]
    assert question == {"role": "user", "content": [{"text": "?"}]}
    asked = [block["toolUse"] for block in turn["content"] if "toolUse" in block and "type" not in block["toolUse"]]
    assert [(block["toolUseId"], block["name"], block["input"]) for block in asked] == [
        (expected["id"], expected["name"], expected["arguments"]) for expected in one.calls
    ]
    assert [block["toolResult"]["toolUseId"] for block in results["content"]] == [expected["id"] for expected in one.calls]
    if not one.stream:
        given = json.loads(one.body)["output"]["message"]["content"]
        kept = [{"toolUse": {k: v for k, v in b["toolUse"].items() if v != "tool_use"}} if "toolUse" in b else b for b in given]
        assert turn["content"] == [block for block in kept if block.get("text", "-").strip()]


def test_one_byte_at_a_time(server, sdk):
    one = next(one for one in RECORDED if one.id == "bedrock-converse-sse-1c-c77c17d2")
    replay(server, one, 1)
    check(polycall.from_bedrock(sdk, model="m").stream("?", tools=one.tools).result(), one)


def test_exchange_that_botocore_refuses_is_read_by_the_format_alone():
    one = next(one for one in folder("converse") if one.id == BY_HAND)
    decoder = Converse().decoder()
    items = list(decoder.feed(json.loads(one.body), whole=True))
    deltas = [item for item in items if hasattr(item, "arguments")]
    assert [(item.id, item.name, json.loads(item.arguments)) for item in deltas] == [
        (expected["id"], expected["name"], expected["arguments"]) for expected in one.calls
    ]


# ------------------------------------------------------------------------------------------------------------------ what is sent


def test_request(server, client):
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}))
    calls = client.create(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}],
        response_model=Iterable[Weather | Search],
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
        stop="END",
        inferenceConfig={"temperature": 0.25},
        system=[{"text": "Be kind."}, {"cachePoint": {"type": "default"}}],
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
        requestMetadata={"team": "blue"},
    )
    assert list(calls) == [Weather(city="Oslo")]
    sent = check_sent(server)
    assert server.requests[0].path == "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
    assert sent == snapshot(
        {
            "messages": [{"role": "user", "content": [{"text": "Oslo?"}]}],
            "system": [{"text": "Be kind."}, {"cachePoint": {"type": "default"}}, {"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 50, "temperature": 0.25, "topP": 0.9, "stopSequences": ["END"]},
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "Weather",
                            "description": "Get the weather.",
                            "inputSchema": {
                                "json": {
                                    "properties": {
                                        "city": {"type": "string"},
                                        "units": {"default": "metric", "enum": ["imperial", "metric"], "type": "string"},
                                    },
                                    "required": ["city"],
                                    "type": "object",
                                }
                            },
                        }
                    },
                    {
                        "toolSpec": {
                            "name": "Search",
                            "inputSchema": {
                                "json": {
                                    "properties": {
                                        "query": {"type": "string"},
                                        "limit": {
                                            "anyOf": [{"minimum": 1, "type": "integer"}, {"type": "null"}],
                                            "default": None,
                                        },
                                    },
                                    "required": ["query"],
                                    "type": "object",
                                }
                            },
                        }
                    },
                ]
            },
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
            "requestMetadata": {"team": "blue"},
        }
    )


@pytest.mark.parametrize(
    ("choice", "sent", "names"),
    [
        (None, None, ["Weather", "Search"]),
        ("auto", None, ["Weather", "Search"]),
        ("required", {"any": {}}, ["Weather", "Search"]),
        (Search, {"tool": {"name": "Search"}}, ["Weather", "Search"]),
        ([Search], None, ["Search"]),
    ],
)
def test_tool_choice(choice, sent, names, server, client):
    server.answer = whole(used("a", "Search", {"query": "x"}))
    given = {} if choice is None else {"tool_choice": choice}
    client.create("?", tools=[Weather, Search], errors="return", **given)
    config = check_sent(server)["toolConfig"]
    assert config.get("toolChoice") == sent
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == names


def test_no_call_allowed(server, client):
    server.answer = whole({"text": "no"}, reason="end_turn")
    client.create("?", tools=[Weather], tool_choice="none")
    assert "toolConfig" not in check_sent(server)
    history = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "Weather", "arguments": '{"city": "Oslo"}'}}]},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
    ]
    client.create(history, tools=[Weather], tool_choice="none")
    assert set(check_sent(server)["toolConfig"]) == {"tools"}  # which the service wants beside calls


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        (Weather, {"type": "tool", "name": "Weather"}),
    ],
)
def test_one_call_at_most_is_said_in_claude_s_words(choice, wanted, server, client):
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}))
    given = {"additionalModelRequestFields": {"top_k": 5}}
    client.create("?", tools=[Weather, Search], parallel=False, tool_choice=choice, **given)
    sent = check_sent(server)
    assert sent["additionalModelRequestFields"] == {"top_k": 5, "tool_choice": {**wanted, "disable_parallel_tool_use": True}}
    assert "toolChoice" not in sent["toolConfig"]
    client.create("?", tools=[Weather, Search], parallel=True)
    assert "additionalModelRequestFields" not in check_sent(server)
    with pytest.raises(polycall.UsageError, match="no switch for parallel calls"):
        client.create("?", tools=[Weather], parallel=False, model="amazon.nova-lite-v1:0")


def test_strict_tools_are_for_models_that_take_them(server, client):
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}))
    for model, strict in ((NEW_CLAUDE, True), ("us.anthropic.claude-opus-4-6-v1", True), ("global.anthropic.claude-sonnet-5", True),
                          (CLAUDE, None), ("anthropic.claude-3-5-haiku-20241022-v1:0", None), ("amazon.nova-2-lite-v1:0", None)):  # fmt: skip
        client.create("?", tools=[Weather], model=model)
        spec = check_sent(server)["toolConfig"]["tools"][0]["toolSpec"]
        assert spec.get("strict") is strict, model
        assert spec["inputSchema"]["json"].get("additionalProperties") is (False if strict else None)
    client.create("?", tools=[Weather], model=NEW_CLAUDE, schema_strict=False)
    assert "strict" not in check_sent(server)["toolConfig"]["tools"][0]["toolSpec"]


def test_the_service_s_own_tools_stand_behind(server, client):
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}))
    own = {"tools": [{"systemTool": {"name": "nova_grounding"}}, {"cachePoint": {"type": "default"}}]}
    client.create("?", tools=[Weather], toolConfig=own, tool_choice="required")
    config = check_sent(server)["toolConfig"]
    assert config["tools"][1:] == own["tools"]
    assert config["toolChoice"] == {"any": {}}
    assert own == {"tools": [{"systemTool": {"name": "nova_grounding"}}, {"cachePoint": {"type": "default"}}]}


def test_the_model_may_be_named_as_boto3_does(server, sdk):
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}))
    paths = []
    for given, asked in (
        ({}, {"modelId": "other"}),
        ({"model": "m"}, {"modelId": "other"}),
        ({"modelId": "m"}, {"model": "other"}),
        ({"modelId": "other"}, {}),
        ({}, {"model": "m", "modelId": "other"}),
    ):
        polycall.from_bedrock(sdk, **given).create("?", tools=[Weather], **asked)
        paths.append(server.requests[-1].path)
    assert paths == ["/model/other/converse"] * 5
    with pytest.raises(polycall.UsageError, match="no model"):
        polycall.from_bedrock(sdk).create("?", tools=[Weather], modelId=None)


PNG = base64.b64encode(b"\x89PNG\x00").decode()


def test_conversation(server, client):
    server.answer = whole(used("z", "Weather", {"city": "Oslo"}))
    native = {
        "role": "user",
        "content": [
            {"image": {"format": "png", "source": {"bytes": b"\x89PNG\x01"}}},
            {"document": {"format": "pdf", "name": "d", "source": {"bytes": b"%PDF"}}},
            {"guardContent": {"image": {"format": "png", "source": {"bytes": b"x"}}}},
            {"cachePoint": {"type": "default"}},
        ],
    }
    messages = [
        {"role": "user", "content": "  "},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "text", "text": " "},
                                     {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]},
        native,
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call|1", "type": "function", "function": {"name": "Weather", "arguments": '{"city": "Oslo"}'}},
            {"id": "b", "type": "function", "function": {"name": "Search", "arguments": "{broken"}}]},
        {"role": "tool", "tool_call_id": "call|1", "content": "sun"},
        {"role": "user", "content": "and?"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": [{"type": "file", "file": {"filename": "my_report v2.md", "file_data": "data:text/markdown;base64,eA=="}}]},
    ]  # fmt: skip
    before = repr(messages)
    client.create(messages, tools=[Weather, Search])
    assert repr(messages) == before
    sent = check_sent(server)
    assert sent["system"] == [{"text": "Be brief."}]
    assert sent["messages"] == snapshot(
        [
            {
                "role": "user",
                "content": [
                    {"text": "look"},
                    {"image": {"format": "png", "source": {"bytes": "iVBORwA="}}},
                    {"image": {"format": "png", "source": {"bytes": "iVBORwE="}}},
                    {"document": {"format": "pdf", "name": "d", "source": {"bytes": "JVBERg=="}}},
                    {"guardContent": {"image": {"format": "png", "source": {"bytes": "eA=="}}}},
                    {"cachePoint": {"type": "default"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"toolUse": {"toolUseId": "call_1-70647740", "name": "Weather", "input": {"city": "Oslo"}}},
                    {"toolUse": {"toolUseId": "b", "name": "Search", "input": {"invalid_arguments": "{broken"}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "call_1-70647740", "content": [{"text": "sun"}]}},
                    {"toolResult": {"toolUseId": "b", "content": [{"text": '""'}]}},
                    {"text": "and?"},
                    {"document": {"format": "md", "name": "my report v2", "source": {"bytes": "eA=="}}},
                ],
            },
        ]
    )


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "fetches no image"),
        ({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,eA=="}}, "takes no image of the type 'image/bmp'"),
        ({"type": "file", "file": {"file_id": "f"}}, "fetches no file"),
        ({"type": "video", "video": {}}, "write it in the service's own words"),
    ],
)
def test_what_cannot_be_sent_is_said(part, told, server, client):
    with pytest.raises(polycall.UsageError, match=told):
        client.create([{"role": "user", "content": [part]}], tools=[Weather])
    with pytest.raises(polycall.UsageError, match="system= is a text"):
        client.create("?", tools=[Weather], system=5)
    with pytest.raises(polycall.UsageError, match="toolConfig is a mapping"):
        client.create("?", tools=[Weather], toolConfig=[1])
    assert not server.requests


def test_media_of_other_kinds(server, client):
    server.answer = whole(used("z", "Weather", {"city": "Oslo"}))
    parts = [
        {"type": "input_audio", "input_audio": {"format": "mp3", "data": "eA=="}},
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.jpg"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA=="}},
    ]
    client.create([{"role": "user", "content": parts}], tools=[Weather], system="Be kind.")
    assert check_sent(server)["messages"][0]["content"] == [
        {"audio": {"format": "mp3", "source": {"bytes": "eA=="}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}},
        {"document": {"format": "pdf", "name": "document", "source": {"bytes": "eA=="}}},
    ]


def test_hooks_and_the_sdk_s_object(server, client):
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}))
    told = []
    client.on("completion:kwargs", lambda **given: told.append(given))
    calls, response = client.create_with_completion("?", response_model=Iterable[Weather])
    assert list(calls) == [Weather(city="Oslo")]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert response["output"]["message"]["content"][0]["toolUse"]["name"] == "Weather"
    assert told == [{**check_sent(server), "modelId": CLAUDE}]


# ------------------------------------------------------------------------------------------------------------------ what is read


REDACTED = base64.b64encode(b"\x00\xffhidden").decode()
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm. Well.", "signature": "SIG"}}}
HIDDEN = {"reasoningContent": {"redactedContent": REDACTED}}


def thinking_stream():
    return [
        START,
        delta(0, {"reasoningContent": {"text": "Hm. "}}),
        delta(0, {"reasoningContent": {"text": "Well."}}),
        delta(0, {"reasoningContent": {"signature": "SIG"}}),
        ended(0),
        delta(1, {"reasoningContent": {"redactedContent": REDACTED}}),
        ended(1),
        delta(2, {"text": "Let me "}),
        delta(2, {"text": "see."}),
        ended(2),
        *call(3, "a", "Weather", '{"city": "Oslo"}'),
        *call(4, "b", "Weather", '{"city": 5}'),
        *stopped(),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_goes_back_as_it_came(stream, server, sdk):
    content = [
        THOUGHT,
        HIDDEN,
        {"text": "Let me see."},
        used("a", "Weather", {"city": "Oslo"}),
        used("b", "Weather", {"city": 5}),
    ]
    fixed = [START, *call(0, "c", "Weather", '{"city": "Rome"}'), *stopped()]
    server.requests.clear()
    server.queue.extend(
        [streaming(*thinking_stream()), streaming(*fixed)]
        if stream
        else [whole(*content), whole(used("c", "Weather", {"city": "Rome"}))]
    )
    client = polycall.from_bedrock(sdk, model=CLAUDE)
    calls = answered(client.create, "?", response_model=Iterable[Weather], stream=stream)
    assert list(calls) == [Weather(city="Oslo"), Weather(city="Rome")]
    assert calls.text == "Let me see."
    sent = check_sent(server)["messages"]
    assert sent[1]["content"] == content
    results = [block["toolResult"] for block in sent[2]["content"]]
    assert [(result["toolUseId"], result.get("status")) for result in results] == [("a", None), ("b", "error")]
    assert "city" in results[1]["content"][0]["text"]
    if stream:
        assert calls.response["output"]["message"]["content"] == [*content[:3], *content[3:]]
        assert calls.response["stopReason"] == "tool_use"


def test_failures_are_not_marked_for_models_that_do_not_take_that(server, sdk):
    server.requests.clear()
    server.queue.extend([whole(used("b", "Weather", {"city": 5})), whole(used("c", "Weather", {"city": "Rome"}))])
    client = polycall.from_bedrock(sdk, model="us.writer.palmyra-x5-v1:0")
    assert client.create("?", response_model=Iterable[Weather])[0] == Weather(city="Rome")
    assert "status" not in check_sent(server)["messages"][2]["content"][0]["toolResult"]


@pytest.mark.parametrize("stream", [False, True])
def test_usage_counts_the_cache(stream, server, client):
    usage = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 20, "cacheReadInputTokens": 8, "cacheWriteInputTokens": 2}
    router = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/x"}}
    if stream:
        server.answer = streaming(START, *call(0, "a", "Weather", '{"city": "Oslo"}'), *stopped(trace=router))
    else:
        server.answer = whole(used("a", "Weather", {"city": "Oslo"}), usage=usage, trace=router)
    calls = answered(client.create, "?", tools=[Weather], stream=stream)
    assert calls.usage == polycall.Usage(17, 3, 8, None)
    assert calls.attempts[0].model == "arn:aws:bedrock:us-east-1::foundation-model/x"


def test_a_call_is_there_when_its_block_ends(server, client):
    seen = threading.Event()
    first, second = call(0, "a", "Weather", '{"city": "Oslo"}'), call(1, "b", "Search", '{"query": "x"}')
    server.answer = streaming(START, *first, Until(seen), *second, *stopped())
    with client.stream("?", response_model=Iterable[Weather | Search]) as stream:
        values = iter(stream)
        assert next(values) == Weather(city="Oslo")
        seen.set()
        assert list(values) == [Search(query="x")]


def test_blocks_may_come_in_any_way(server, client):
    first, second = call(0, "a", "Search", '{"query": "one"}'), call(1, "b", "Search", '{"query": "two"}')
    mixed = [piece for pair in zip(first, second, strict=True) for piece in pair]
    again = [*call(0, "a", "Search", '{"query": "one"}'), *call(0, "b", "Search", '{"query": "two"}')]
    same_id = [*call(0, "a", "Search", '{"query": "one"}'), *call(1, "a", "Search", '{"query": "one"}')]
    open_end = [piece for piece in (*first, *second) if piece not in {ended(0), ended(1)}]
    for events in (mixed, again, open_end):
        server.answer = streaming(START, *events, *stopped())
        calls = client.stream("?", tools=[Search], errors="return").result()
        assert state(calls) == [("a", "Search", '{"query": "one"}', "ok"), ("b", "Search", '{"query": "two"}', "ok")]
    server.answer = streaming(START, *same_id, *stopped())
    calls = client.stream("?", tools=[Search], errors="return").result()
    assert [value.query for value in calls] == ["one", "one"]
    ids = [block["toolUse"]["toolUseId"] for block in calls.messages[1]["content"]]
    assert len(set(ids)) == 2


def test_odd_calls_are_calls(server, client):
    server.answer = streaming(
        START,
        *call(0, "a", "Search", ""),
        *call(1, "b", "Nothing", "[1]"),
        delta(2, '{"query": "no start"}'),
        ended(2),
        event("contentBlockStart", {"contentBlockIndex": 3, "start": {"toolUse": {}}}),
        event("somethingNew", {"a": 1}),
        ended(3),
        ended(77),
        *call(4, "e", "Search", '{"query": NaN}'),
        *stopped(),
    )
    calls = client.stream("?", tools=[Search], errors="return").result()
    assert [(one.id, one.name, one.arguments, one.outcome) for one in calls.calls] == [
        ("a", "Search", "", "invalid"),
        ("b", "Nothing", "[1]", "unknown"),
        (None, "", '{"query": "no start"}', "unknown"),
        (None, "", "", "unknown"),
        ("e", "Search", '{"query": NaN}', "invalid"),
    ]
    server.answer = whole({"text": "fine"}, reason="end_turn")
    client.create(calls.reply(dict.fromkeys(range(5), "ok")), tools=[Search])
    asked = [block["toolUse"] for block in check_sent(server)["messages"][1]["content"]]
    assert asked[1]["input"] == {"invalid_arguments": "[1]"}
    assert asked[4]["input"] == {"invalid_arguments": '{"query": NaN}'}
    assert len({one["toolUseId"] for one in asked}) == 5


def test_the_service_s_own_tools_are_no_calls(server, client):
    own = [
        begun(0, "s", "nova_grounding", type="server_tool_use"),
        delta(0, '{"query": "x"}'),
        ended(0),
        event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s", "status": "success", "type": "r"}}}),
        delta(1, {"toolResult": [{"text": "found"}]}),
        ended(1),
        delta(2, {"text": "It is."}),
        ended(2),
        delta(3, {"citation": {"title": "t", "location": {"web": {"url": "https://example.com"}}}}),
        ended(3),
    ]  # fmt: skip
    server.answer = streaming(START, *own, *call(4, "a", "Weather", '{"city": "Oslo"}'), *stopped())
    calls = client.stream("?", tools=[Weather]).result()
    assert [value.city for value in calls] == ["Oslo"]
    assert calls.text == "It is."
    turn = calls.messages[1]["content"]
    assert turn[0] == {
        "toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use", "input": {"query": "x"}}
    }
    assert turn[1]["toolResult"]["content"] == [{"text": "found"}]
    assert turn[3]["citationsContent"]["citations"][0]["title"] == "t"
    server.answer = whole({"text": "fine"}, reason="end_turn")
    client.create(calls.reply({0: "sun"}), tools=[Weather])
    check_sent(server)


def folded(*events):
    """Return the turn and the body that a decoder makes of events, without an SDK."""
    decoder = Converse().decoder()
    for one in events:
        list(decoder.feed(one, whole=False))
    return decoder.turn([]), decoder.body([])["output"]["message"]["content"]


def block_events(index, start, *deltas):
    yield {"contentBlockStart": {"contentBlockIndex": index, "start": start}}
    for one in deltas:
        yield {"contentBlockDelta": {"contentBlockIndex": index, "delta": one}}
    yield {"contentBlockStop": {"contentBlockIndex": index}}


def test_blocks_of_other_kinds_are_folded():
    halves = [base64.b64encode(half).decode() for half in (b"\x00\xff", b"hidden")]
    turn, content = folded(
        *block_events(0, {"image": {"format": "png"}}, {"image": {"source": {"bytes": "eA=="}}}),
        *block_events(
            1, {"toolUse": {"toolUseId": "s", "name": "own", "type": "server_tool_use"}}, {"toolUse": {"input": "{br"}}
        ),
        *block_events(2, {}, *({"reasoningContent": {"redactedContent": half}} for half in halves)),
        *block_events(3, {}, {"reasoningContent": {"text": 5, "signature": "S"}}),
        *block_events(4, {"somethingNew": {"a": 1}}),
        *block_events(5, {"toolUse": {"toolUseId": "a", "name": "lost"}}),
        *block_events(6, {}, {"somethingElse": 7}),
        *block_events(7, {}, {"citation": {"title": "t"}}, {"text": "said"}),
        {"messageStop": {}, "metadata": {}},
    )
    kept = [
        {"image": {"format": "png", "source": {"bytes": "eA=="}}},
        {"toolUse": {"toolUseId": "s", "name": "own", "type": "server_tool_use", "input": "{br"}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"\x00\xffhidden").decode()}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "S"}}},
    ]
    cited = {"citationsContent": {"content": [{"text": "said"}], "citations": [{"title": "t"}]}}
    assert turn == [{"role": "assistant", "content": [*kept, cited]}]
    assert content == [*kept, {"somethingNew": {"a": 1}}, cited]
    assert folded() == ([], [])


def test_body_that_is_no_answer():
    with pytest.raises(polycall.TransportError, match="has no message"):
        Converse().decoder().feed({"message": "no"}, whole=True)


def test_header_of_a_key():
    assert Converse().headers("k") == {"authorization": "Bearer k"}
    assert Converse().headers(None) == {}


# ------------------------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_exceptions_of_the_call_pass_through(face, stream, server, sdk):
    server.answer = Answer(b'{"message": "slow down"}', status=429, headers={"x-amzn-errortype": "ThrottlingException"})
    with pytest.raises(ClientError) as raised:
        if face == "asyncio":
            calls = await polycall.from_bedrock(sdk, model="m", async_client=True).create("?", tools=[Weather], stream=stream)
            await calls.result()
        else:
            answered(polycall.from_bedrock(sdk, model="m").create, "?", tools=[Weather], stream=stream)
    assert raised.value.response["Error"]["Code"] == "ThrottlingException"
    assert any("Weather" in note for note in raised.value.__notes__)


@pytest.mark.parametrize(
    ("kind", "transient"),
    [("throttlingException", True), ("modelStreamErrorException", True), ("validationException", False), ("serviceUnavailableException", True)],
)  # fmt: skip
def test_exception_within_a_stream_cuts_it(kind, transient, server, sdk):
    broken = event(kind, {"message": "not now, secret words"}, exception=True)
    server.requests.clear()
    server.answer = streaming(
        START, *call(0, "a", "Weather", '{"city": "Oslo"}'), *call(1, "b", "Weather", '{"city": "Ro')[:-1], broken
    )
    calls = polycall.from_bedrock(sdk, model=CLAUDE).stream("?", tools=[Weather], errors="return").result()
    assert calls[0] == Weather(city="Oslo")
    assert isinstance(calls.errors[0], polycall.CutOffError)
    assert kind in str(calls.errors[0])
    assert "secret" not in str(calls.errors[0])
    assert calls.errors[0].__cause__ is not None
    assert len(server.requests) == (2 if transient else 1)
    check_sent(server)


def test_exception_before_the_answer(server, sdk):
    server.answer = streaming(event("throttlingException", {"message": "not now"}, exception=True))
    with pytest.raises(polycall.TransportError, match="throttlingException") as raised:
        polycall.from_bedrock(sdk, model=CLAUDE).stream("?", tools=[Weather]).result()
    assert isinstance(raised.value.__cause__, ClientError)


BAD_SEQUENCE = "Model produced invalid sequence as part of ToolUse. Please refer to the model tool use troubleshooting guide."


@pytest.mark.parametrize("where", ["whole", "stream", "before"])
def test_calls_that_the_service_cannot_read_are_asked_again(where, server, sdk):
    """Nova's; see github.com/langchain-ai/langchain-aws/issues/567."""
    server.requests.clear()
    broken = event("modelStreamErrorException", {"message": BAD_SEQUENCE}, exception=True)
    fixed = [START, *call(0, "c", "Weather", '{"city": "Rome"}'), *stopped()]
    if where == "whole":
        bad = Answer(
            json.dumps({"message": BAD_SEQUENCE}).encode(), status=424, headers={"x-amzn-errortype": "ModelErrorException"}
        )
        server.queue.extend([bad, whole(used("c", "Weather", {"city": "Rome"}))])
    else:
        before = [START, delta(0, {"text": "Hm."})] if where == "stream" else []
        server.queue.extend([streaming(*before, broken), streaming(*fixed)])
    client = polycall.from_bedrock(sdk, model="amazon.nova-lite-v1:0")
    calls = answered(client.create, "?", response_model=Iterable[Weather], stream=where != "whole")
    assert list(calls) == [Weather(city="Rome")]
    assert [attempt.finish_reason for attempt in calls.attempts] == ["malformed_tool_use", "tool_use"]
    assert [message["role"] for message in check_sent(server)["messages"]] == (
        ["user"] if where != "stream" else ["user", "assistant", "user"]
    )


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output", "tool_use"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_call_where_there_should_be_one(reason, stream, server, client):
    server.answer = streaming(START, *stopped(reason)) if stream else whole(reason=reason)
    calls = answered(client.create, "?", tools=[Weather], errors="return", stream=stream)
    assert [type(error) for error in calls.errors] == [polycall.NoCallsError]


@pytest.mark.parametrize("reason", ["max_tokens", "content_filtered", "guardrail_intervened", "model_context_window_exceeded"])
def test_cuts(reason, server, client):
    inside = [*call(0, "a", "Weather", '{"city": "Oslo"}'), begun(1, "b", "Weather"), delta(1, '{"ci'), ended(1)]
    server.answer = streaming(START, *inside, *stopped(reason))
    calls = client.stream("?", tools=[Weather], errors="return").result()
    assert [one.outcome for one in calls.calls] == ["ok", "cut off"]
    assert reason in str(calls.errors[0])
    server.answer = whole(used("a", "Weather", {"city": "Oslo"}), reason=reason)
    calls = client.create("?", tools=[Weather], errors="return")
    assert [one.outcome for one in calls.calls] == ["ok"]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]


def test_stream_cut_anywhere(server, client):
    events = thinking_stream()
    for end in range(1, len(events) - 1):
        server.answer = streaming(*events[:end])
        calls = client.stream("?", tools=[Weather], errors="return").result()
        assert calls.errors, end
        stops = end > events.index(ended(3))
        assert [one.outcome for one in calls.calls if one.outcome == "ok"] == (["ok"] if stops else []), end
        if calls.messages[1:]:
            assert all(block.get("text") != "" for block in calls.messages[1]["content"])
    server.answer = streaming(*events[:14], Drop())
    calls = client.stream("?", tools=[Weather], errors="return").result()
    assert isinstance(calls.errors[0], polycall.CutOffError)
    server.answer = streaming(b"".join(events)[:-5], Drop())  # what came behind the stop reason is not missed
    assert [one.outcome for one in client.stream("?", tools=[Weather], errors="return").result().calls] == ["ok", "invalid"]


def test_frame_that_is_damaged(server, client):
    events = b"".join([START, *call(0, "a", "Weather", '{"city": "Oslo"}'), *stopped()])
    damaged = bytearray(events)
    damaged[len(START) + 60] ^= 1
    server.answer = streaming(bytes(damaged))
    calls = client.stream("?", tools=[Weather], errors="return").result()
    assert isinstance(calls.errors[-1], polycall.CutOffError)


@pytest.mark.parametrize("face", FACES)
async def test_deadline(face, server, sdk):
    server.gone.clear()
    server.answer = streaming(START, *call(0, "a", "Weather", '{"city": "Oslo"}'), Gone())
    began = time.monotonic()
    with pytest.raises(polycall.DeadlineError):
        if face == "asyncio":
            client = polycall.from_bedrock(sdk, model="m", async_client=True)
            await client.stream("?", tools=[Weather], timeout=0.3).result()
        else:
            polycall.from_bedrock(sdk, model="m").stream("?", tools=[Weather], timeout=0.3).result()
    assert time.monotonic() - began < 3
    assert server.gone.wait(3)


def test_stream_closed_by_another_thread(server, sdk):
    server.gone.clear()
    server.answer = streaming(START, *call(0, "a", "Weather", '{"city": "Oslo"}'), Gone())
    stream = polycall.from_bedrock(sdk, model="m", max_retries=0).stream("?", tools=[Weather], errors="return")
    seen = threading.Event()
    got = []

    def read():
        for value in stream:
            got.append(value)
            seen.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert seen.wait(5)
    stream.close()
    thread.join(5)
    assert not thread.is_alive()
    assert server.gone.wait(3)
    assert got == [Weather(city="Oslo")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("face", FACES)
async def test_two_rounds_with_a_server_that_keeps_the_rules(face, stream):
    """See `ConverseFormat`: roles alternate, every call has its answer in the next message, nothing is blank."""
    said = [Said("Weather", {"city": "Oslo"}), Said("Weather", '{"city": '), Said("Search", {"query": 7}), Said("Nope", {})]
    fixed = [Said("Weather", {"city": "Rome"}), Said("Search", {"query": "x"})]
    script = [Turn(calls=said, text="Hm."), Turn(calls=fixed), Turn(text="Sun, and x.")]
    with ModelServer(script) as server:
        sdk = boto3_client(server.origin)
        given = {"response_model": Iterable[Weather | Search], "stream": stream, "errors": "return", "reask": "end"}
        if face == "asyncio":
            client = polycall.from_bedrock(sdk, model=CLAUDE, async_client=True)
            calls = await client.create("Weather?", **given)
            calls = await calls.result() if stream else calls
            last = await client.create(calls.reply({0: "sun", 1: "rain", 2: "x", 3: "nothing"}), tools=[Weather, Search])
        else:
            client = polycall.from_bedrock(sdk, model=CLAUDE)
            calls = answered(client.create, "Weather?", **given)
            last = client.create(calls.reply({0: "sun", 1: "rain", 2: "x", 3: "nothing"}), tools=[Weather, Search])
        sdk.close()
        assert [one.outcome for one in calls.calls] == ["ok", "ok", "ok", "unknown"]
        assert list(calls)[:3] == [Weather(city="Oslo"), Weather(city="Rome"), Search(query="x")]
        assert last.text == "Sun, and x."
        check_sent(server)


def test_bad_call_is_asked_again_while_the_stream_runs(server, sdk):
    server.requests.clear()
    asked = threading.Event()

    def correct(sent):
        asked.set()
        return streaming(START, *call(0, "c", "Weather", '{"city": "Rome"}'), *stopped())

    open_thought = [delta(3, {"reasoningContent": {"text": "unsigned"}}), begun(4, "d", "Search"), delta(4, '{"quer')]
    first = [
        START,
        delta(0, {"text": "So."}),
        ended(0),
        *call(1, "a", "Weather", '{"city": "Oslo"}'),
        *call(2, "b", "Weather", "{}"),
    ]
    rest = [delta(4, 'y": "x"}'), ended(4), *stopped()]
    server.queue.extend([streaming(*first, *open_thought, Until(asked), *rest), correct])
    client = polycall.from_bedrock(sdk, model=CLAUDE)
    calls = client.stream("?", response_model=Iterable[Weather | Search]).result()
    assert list(calls) == [Weather(city="Oslo"), Weather(city="Rome"), Search(query="x")]
    sent = check_sent(server)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == [{"text": "So."}, used("a", "Weather", {"city": "Oslo"}), used("b", "Weather", {})]
    assert [block["toolResult"]["toolUseId"] for block in sent[2]["content"]] == ["a", "b"]


# ------------------------------------------------------------------------------------------------------- what models differ in

ALL, ONLY = ["Weather", "Search"], ["Search"]


@pytest.mark.parametrize(
    ("model", "choice", "sent", "names"),
    [
        (CLAUDE, Search, {"tool": {"name": "Search"}}, ALL),
        ("us.amazon.nova-lite-v1:0", Search, {"tool": {"name": "Search"}}, ALL),
        ("mistral.mistral-large-2407-v1:0", Search, {"any": {}}, ONLY),
        ("mistral.mistral-large-2407-v1:0", "required", {"any": {}}, ALL),
        ("mistral.mistral-small-2402-v1:0", "required", None, ALL),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", "required", None, ALL),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", Search, None, ONLY),
        ("cohere.command-r-v1:0", [Weather, Search], None, ALL),
    ],
)
def test_choice_is_sent_to_models_that_take_it(model, choice, sent, names, server, client):
    server.answer = whole(used("a", "Search", {"query": "x"}))
    client.create("?", tools=[Weather, Search], tool_choice=choice, model=model)
    check_sent(server)
    assert server.last["toolConfig"].get("toolChoice") == sent
    assert [tool["toolSpec"]["name"] for tool in server.last["toolConfig"]["tools"]] == names


def test_a_call_that_cannot_be_forced_is_required_all_the_same(server, client):
    server.answer = whole({"text": "no"}, reason="end_turn")
    calls = client.create("?", tools=[Search], tool_choice="required", model="meta.llama3-1-70b-instruct-v1:0", errors="return")
    assert [type(error) for error in calls.errors] == [polycall.NoCallsError]


@pytest.mark.parametrize("parallel", [None, False])
@pytest.mark.parametrize("thinking", ["enabled", "disabled"])
def test_claude_that_thinks_is_not_forced(thinking, parallel, server, client):
    server.answer = whole(used("a", "Search", {"query": "x"}))
    fields = {"thinking": {"type": thinking, "budget_tokens": 1024}}
    given = {"tool_choice": Search, "additionalModelRequestFields": fields, "parallel": parallel}
    client.create("?", tools=[Weather, Search], **given)
    config, more = server.last["toolConfig"], server.last["additionalModelRequestFields"]
    forced = thinking == "disabled"
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == (ALL if forced else ONLY)
    assert config.get("toolChoice") == ({"tool": {"name": "Search"}} if forced and parallel is None else None)
    kind = {"type": "tool", "name": "Search"} if forced else {"type": "auto"}
    assert more == {**fields, **({} if parallel is None else {"tool_choice": {**kind, "disable_parallel_tool_use": True}})}


def test_deepseek_s_thoughts_are_not_sent_back(server, client):
    thought = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
    server.answer = whole(thought, used("a", "Search", {"query": "x"}))
    for model, kinds in (("us.deepseek.v3-v1:0", ["toolUse"]), (CLAUDE, ["reasoningContent", "toolUse"])):
        calls = client.create("?", tools=[Search], model=model)
        client.create(calls.reply(["found"]), tools=[Search], model=model)
        assert [kind for block in server.last["messages"][1]["content"] for kind in block] == kinds


@pytest.mark.parametrize("stream", [False, True])
def test_numbers_that_json_cannot_say_go_back_as_text(stream, server, client):
    text = '{"query": 1e999}'
    server.answer = streaming(START, *call(0, "a", "Search", text), *stopped()) if stream else whole(used("a", "Search", text))
    calls = answered(client.create, "?", tools=[Search], stream=stream, errors="return")
    body = client.payload(calls.reply(["bad"]), tools=[Search])
    assert body["messages"][1]["content"][0]["toolUse"]["input"] == {"invalid_arguments": text}
