"""google-genai: its clients for both services, what they send, and the SDK's own objects that come back."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import Iterable
from typing import Any, Literal

import pytest
from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types
from inline_snapshot import snapshot
from pydantic import BaseModel, Field
from tests.support import gemini
from tests.support.loopback import Answer, Drop, Server

import polycall
from polycall.testing import ModelServer, Said, Turn

pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),  # the SDK's own
    pytest.mark.filterwarnings("ignore:.* is not a valid:UserWarning"),  # how it takes a reason that it does not know
]

UNREAD = {"492f115e", "4cf05085", "984c1a09", "3ac7480a"}
"""What the SDK cannot read itself: JSON arrays where it has asked for events, and a finish reason as a number."""

ANSWERED = [pytest.param(one, id=one["id"]) for one in gemini.answered() if one["id"][-8:] not in UNREAD]


class Weather(BaseModel):
    """Get the weather."""

    location: str = Field(description="The city.")
    units: Literal["imperial", "metric"] = "metric"


class Search(BaseModel):
    query: str
    limit: int | None = None


class Stub(Credentials):
    def __init__(self):
        super().__init__()
        self.token = "token"

    @property
    def valid(self):
        return True

    def refresh(self, request):
        raise AssertionError


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


def sdk_of(server, service, **http):
    http = types.HttpOptions(base_url=server.origin, **http)
    if service == "google":
        return genai.Client(api_key="k", http_options=http)
    return genai.Client(vertexai=True, project="p", location="us-central1", credentials=Stub(), http_options=http)


@pytest.fixture(scope="module")
def sdks(server):
    sdks = {service: sdk_of(server, service) for service in ("google", "vertex")}
    yield sdks
    for sdk in sdks.values():
        sdk.close()


@pytest.fixture(scope="module")
async def async_sdks(sdks):
    yield sdks
    for sdk in sdks.values():
        await sdk.aio.aclose()


@pytest.fixture
def client(server, sdks):
    server.requests.clear()
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    return polycall.from_genai(sdks["google"], model="m", max_retries=0)


def told(server, one):
    body = gemini.body_of(one)
    pieces = [body[start : start + 300] for start in range(0, len(body), 300)] if one["stream"] else body
    server.answer = Answer(pieces, one["response"]["status"], one["response"]["headers"]["content-type"])
    server.requests.clear()


def options(one) -> dict[str, Any]:
    return {"model": "m", "tools": gemini.tools_of(one), "errors": "return", "stream": one["stream"], "max_retries": 0}


# -------------------------------------------------------------------------------------------------------------- recordings


@pytest.mark.parametrize("one", ANSWERED)
def test_recorded(server, sdks, one):
    told(server, one)
    calls = polycall.from_genai(sdks[one["provider"]]).create("?", **options(one))
    if one["stream"]:
        with calls:
            calls = calls.result()
    gemini.check(calls, one)
    assert isinstance(calls.response, types.GenerateContentResponse)
    assert len(server.requests) == 1
    functions = [function.name for function in calls.response.function_calls or ()]
    assert functions == [call["name"] for call in one["expected_calls"]]


@pytest.mark.parametrize("one", ANSWERED)
async def test_recorded_asynchronously(server, async_sdks, one):
    told(server, one)
    calls = await polycall.from_genai(async_sdks[one["provider"]].aio).create("?", **options(one))
    if one["stream"]:
        async with calls:
            calls = await calls.result()
    gemini.check(calls, one)


def test_no_answer(server, sdks):
    for one in gemini.exchanges():
        if one["response"]["status"] >= 400:
            told(server, one)
            with pytest.raises(errors.ClientError) as caught:
                polycall.from_genai(sdks[one["provider"]]).create("?", **options(one))
            assert caught.value.code == one["response"]["status"]
            assert "polycall had asked gemini" in caught.value.__notes__[0]


# ------------------------------------------------------------------------------------------------------------------ bodies


@pytest.mark.parametrize("service", ["google", "vertex"])
@pytest.mark.parametrize("stream", [False, True])
def test_body(server, sdks, service, stream):
    server.answer = Answer(
        gemini.stream(gemini.answer({"text": "ok"})) if stream else gemini.whole(gemini.answer({"text": "ok"}))
    )
    question = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather in Oslo?"}]
    client = polycall.from_genai(sdks[service], model="m")
    calls = client.create(question, response_model=Iterable[Weather | Search], temperature=0, stream=stream, parallel=True)
    if stream:
        calls.result()
    body = server.last
    gemini.check_body(body, service)
    root = "/v1/" if service == "google" else "/v1beta1/projects/p/locations/us-central1/publishers/google/"
    version = server.requests[-1].path.partition("models/")[0]
    assert version in {root, "/v1beta/"}  # of the Gemini API, by the version of the SDK
    assert server.requests[-1].path.endswith("m:streamGenerateContent?alt=sse" if stream else "m:generateContent")
    assert body == snapshot(
        {
            "contents": [{"parts": [{"text": "Weather in Oslo?"}], "role": "user"}],
            "systemInstruction": {"parts": [{"text": "Use tools."}]},
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "description": "Get the weather.",
                            "name": "Weather",
                            "parametersJsonSchema": {
                                "properties": {
                                    "location": {"description": "The city.", "type": "string"},
                                    "units": {"default": "metric", "enum": ["imperial", "metric"], "type": "string"},
                                },
                                "required": ["location"],
                                "type": "object",
                            },
                        },
                        {
                            "name": "Search",
                            "parametersJsonSchema": {
                                "properties": {
                                    "query": {"type": "string"},
                                    "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                                },
                                "required": ["query"],
                                "type": "object",
                            },
                        },
                    ]
                }
            ],
            "generationConfig": {"temperature": 0.0},
        }
    )


CONFIG = types.GenerateContentConfig(
    temperature=0.5,
    max_output_tokens=7,
    system_instruction="Be brief.",
    thinking_config=types.ThinkingConfig(thinking_budget=0),
    safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],
    tools=[types.Tool(google_search=types.GoogleSearch())],
)
SAME = {
    "temperature": 0.5,
    "maxOutputTokens": 7,
    "system_instruction": types.Content(parts=[types.Part(text="Be brief.")]),
    "thinking_config": {"thinking_budget": 0},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "tools": [{"google_search": {}}],
}


@pytest.mark.parametrize("service", ["google", "vertex"])
@pytest.mark.parametrize("config", [CONFIG, SAME], ids=["object", "mapping"])
def test_config(server, sdks, client, service, config):
    before = repr(config)
    polycall.from_genai(sdks[service], model="m").create("?", tools=[Search], config=config, top_p=0.25)
    assert repr(config) == before
    gemini.check_body(server.last, service)
    assert server.last["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.25,
        "maxOutputTokens": 7,
        "thinkingConfig": {"thinkingBudget": 0},
    }
    assert server.last["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert server.last["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert {"googleSearch": {}} in server.last["tools"]


@pytest.mark.parametrize(
    ("given", "field", "sent"),
    [
        ({"max_tokens": 5}, "generationConfig", {"maxOutputTokens": 5}),
        ({"stop": "x", "n": 2}, "generationConfig", {"stopSequences": ["x"], "candidateCount": 2}),
        ({"generation_config": {"top_k": 4}, "config": {"top_k": 3, "seed": 1}}, "generationConfig", {"topK": 4.0, "seed": 1}),
        ({"cached_content": "cachedContents/c"}, "cachedContent", "cachedContents/c"),
        (
            {"safety_settings": {types.HarmCategory.HARM_CATEGORY_HARASSMENT: types.HarmBlockThreshold.BLOCK_NONE}},
            "safetySettings",
            [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        ),
    ],
)
def test_option(server, client, given, field, sent):
    client.create("?", tools=[Search], **given)
    gemini.check_body(server.last, "google")
    assert server.last[field] == sent


def test_streamed_arguments(server, sdks):
    """The user's own tool configuration keeps its place beside the choice."""
    chunks = [
        {"functionCall": {"name": "Search", "willContinue": True}},
        {
            "functionCall": {
                "partialArgs": [{"jsonPath": "$.query", "stringValue": "a", "willContinue": True}],
                "willContinue": True,
            }
        },
        {"functionCall": {"partialArgs": [{"jsonPath": "$.limit", "numberValue": 3}], "willContinue": True}},
    ]
    end = gemini.answer({"functionCall": {}})
    server.answer = Answer(
        gemini.stream(*(gemini.answer(one, finish=None) for one in chunks), end), content_type="text/event-stream"
    )
    config = {"tool_config": {"function_calling_config": {"stream_function_call_arguments": True}}}
    client = polycall.from_genai(sdks["vertex"], model="m", config=config)
    calls = client.create("?", tools=[Search], tool_choice="required", stream=True).result()
    assert calls[0] == Search(query="a", limit=3)
    calling = server.last["toolConfig"]["functionCallingConfig"]
    assert calling.pop("mode") == "ANY"
    assert calling in ({"streamFunctionCallArguments": True}, {"stream_function_call_arguments": True})


def test_transport_options(server, client):
    http = {"headers": {"x-one": "1"}, "extra_body": {"labels": {"a": "b"}}}
    client.create("?", tools=[Search], extra_headers={"x-two": "2"}, extra_body={"store": True}, config={"http_options": http})
    assert {"x-one": "1", "x-two": "2"}.items() <= server.requests[-1].headers.items()
    assert server.last["store"] is True
    assert server.last["labels"] == {"a": "b"}
    client.create("?", tools=[Search], http_options={"headers": {"x-three": "3"}})
    assert server.requests[-1].headers["x-three"] == "3"
    with pytest.raises(polycall.UsageError, match="extra_query"):
        client.create("?", tools=[Search], extra_query={"a": "b"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parallel": False}, "no switch"),
        ({"config": {"tools": [{"function_declarations": [{"name": "f"}]}]}}, "functions go to"),
        ({"config": {"tools": [print]}}, "functions go to"),
        ({"config": 3}, "is a mapping of names"),
        ({"config": {"automatic_function_calling": {}, "seed": None, "warmth": 1}}, "warmth"),
        ({"contents": "?"}, "messages="),
        ({"should_return_http_response": True}, "leave it out"),
        ({"labels": {"a": object()}}, "plain values"),
        ({"warmth": 1}, "warmth"),
    ],
)
def test_refused(server, client, given, words):
    with pytest.raises(polycall.UsageError, match=words):
        client.create("?", tools=[Search], **given)
    assert not server.requests


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (Weather, {"mode": "ANY", "allowedFunctionNames": ["Weather"]}),
        ([Weather], {"mode": "VALIDATED", "allowedFunctionNames": ["Weather"]}),
    ],
)
def test_tool_choice(server, client, choice, sent):
    client.create("?", tools=[Weather, Search], tool_choice=choice, errors="return")
    gemini.check_body(server.last, "google")
    assert server.last.get("toolConfig", {}).get("functionCallingConfig") == sent


def test_nothing_is_called(server, client):
    """A tool is declared only: the SDK, which would run functions by itself, gets none."""

    def launch(where: str) -> str:
        raise AssertionError(where)

    server.answer = Answer(gemini.whole(gemini.answer(gemini.call("launch", {"where": "moon"}))))
    calls = client.create("?", tools=[launch])
    assert [call.name for call in calls.calls] == ["launch"]
    assert len(server.requests) == 1


def test_no_continuation(server, client):
    """The SDK would send further requests by itself; what comes is a cut."""
    server.answer = Answer(gemini.whole(gemini.answer({"text": "a"}, finish="CONTINUATION")))
    server.answer = Answer(server.answer.body.replace(b'"index"', b'"continuationToken": "YWI=", "index"'))
    calls = client.create("?", tools=[Search], errors="return")
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]
    assert len(server.requests) == 1


# ---------------------------------------------------------------------------------------------------------- conversations


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3.8-flash"])
@pytest.mark.parametrize("service", ["google", "vertex"])
@pytest.mark.parametrize("stream", [False, True])
def test_two_turns(model, service, stream):
    cities = ["Oslo", "Rome", "Oslo"]
    script = [Turn(calls=[Said("Weather", {"location": city}) for city in cities], text="Looking."), Turn(text="Mild.")]
    with ModelServer(script) as server:
        client = polycall.from_genai(sdk_of(server, service), model=model)
        calls = client.create("Weather?", response_model=Iterable[Weather], stream=stream)
        if stream:
            calls = calls.result()
        assert [call.location for call in calls] == cities
        messages = calls.reply({0: "mild", 1: {"degrees": 20}, 2: [1, 2]})
        final = client.create(messages, response_model=Iterable[Weather], stream=stream)
        if stream:
            final = final.result()
        assert final.text == "Mild."
        gemini.check_body(server.last, service)
        (asked, turn, results) = server.last["contents"]
    assert asked == {"role": "user", "parts": [{"text": "Weather?"}]}
    ids = [part["functionCall"].get("id") for part in turn["parts"] if "functionCall" in part]
    assert all(ids) if model == "gemini-3.8-flash" else ids == [None] * 3
    assert [part["functionResponse"].get("id") for part in results["parts"]] == ids
    assert results["role"] == "user"
    assert [part["functionResponse"]["response"] for part in results["parts"]] == [
        {"output": "mild"},
        {"output": {"degrees": 20}},
        {"output": [1, 2]},
    ]


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3.8-flash"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("resend", ["bad", "all"])
def test_asked_again(model, stream, resend):
    wrong = Said("Weather", {"location": "Rome"}, wrong='{"location": 5}')
    script = [Turn(calls=[Said("Weather", {"location": "Oslo"}), wrong, Said("Search", {"query": "q"})], resend=resend)]
    with ModelServer(script) as server:
        client = polycall.from_genai(sdk_of(server, "google"), model=model)
        calls = client.create("?", response_model=Iterable[Weather | Search], stream=stream)
        if stream:
            calls = calls.result()
        for request in server.requests:
            gemini.check_body(request.body, "google")
        assert len(server.requests) == 2
        told = [part["functionResponse"]["response"] for part in server.last["contents"][-1]["parts"]]
    assert [repr(value) for value in calls] == [
        "Weather(location='Oslo', units='metric')",
        "Weather(location='Rome', units='metric')",
        "Search(query='q', limit=None)",
    ]
    assert [list(one) for one in told] in ([["output"], ["error"], ["output"]], [["output"], ["error"]])


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3.8-flash"])
def test_asked_again_while_the_stream_runs(model):
    """With the beginning of the turn: its first call has the signature."""
    said = [Said("Weather", {"location": "Rome"}, wrong="{}"), Said("Search", {"query": "q"}), Said("Search", {"query": "r"})]
    with ModelServer([Turn(calls=said, times=[0.05, 0.1, 1.0])]) as server:
        client = polycall.from_genai(sdk_of(server, "google"), model=model)
        calls = client.create("?", response_model=Iterable[Weather | Search], stream=True).result()
        first, again = server.requests
        assert again.at - first.at < 1.0
        gemini.check_body(again.body, "google")
    assert [type(value).__name__ for value in calls] == ["Weather", "Search", "Search"]


async def test_asked_again_asynchronously():
    script = [Turn(calls=[Said("Weather", {"location": "Rome"}, wrong="{}"), Said("Search", {"query": "q"})])]
    with ModelServer(script) as server:
        async with sdk_of(server, "google").aio as sdk:
            client = polycall.from_genai(sdk, model="gemini-3.8-flash")
            stream = await client.create("?", response_model=Iterable[Weather | Search], stream=True)
            async with stream:
                calls = await stream.result()
    assert [type(value).__name__ for value in calls] == ["Weather", "Search"]


def test_the_sdks_own_messages(server, client):
    content = types.Content(role="model", parts=[types.Part(text="a", thought_signature=b"\xfb\xff"), types.Part(text="b")])
    client.create([types.Part(text="?"), content, {"role": "user", "parts": ["!"]}], tools=[Search])
    assert server.last["contents"] == [
        {"role": "user", "parts": [{"text": "?"}]},
        {"role": "model", "parts": [{"text": "a", "thoughtSignature": "-_8="}, {"text": "b"}]},
        {"role": "user", "parts": [{"text": "!"}]},
    ]


# ----------------------------------------------------------------------------------------------------------------- trouble


def test_an_error_within_a_stream(server, client):
    error = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "Overloaded."}}
    chunks = gemini.stream(gemini.answer(gemini.call("Search", {"query": "q"}), finish=None), error)
    server.answer = Answer(chunks, content_type="text/event-stream")
    calls = client.create("?", tools=[Search], stream=True, errors="return").result()
    assert calls[0] == Search(query="q")
    (cut,) = calls.errors
    assert isinstance(cut, polycall.CutOffError)
    assert "503" in str(cut)


def test_an_error_instead_of_a_stream(server, client):
    error = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "Overloaded."}}
    server.answer = Answer(gemini.stream(error), content_type="text/event-stream")
    with pytest.raises(errors.ServerError, match="Overloaded"):
        client.create("?", tools=[Search], stream=True).result()


def test_a_broken_stream(server, client):
    chunks = gemini.stream(gemini.answer(gemini.call("Search", {"query": "q"}), finish=None))
    server.answer = Answer([*chunks, Drop()], content_type="text/event-stream")
    calls = client.create("?", tools=[Search], stream=True, errors="return").result()
    assert calls[0] == Search(query="q")
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]


def test_an_empty_stream(server, client):
    server.answer = Answer(b"", content_type="text/event-stream")
    with pytest.raises(polycall.TransportError, match="is empty"):
        client.create("?", tools=[Search], stream=True).result()


def test_the_client_is_kept(server):
    """The SDK closes a client that nobody refers to."""
    server.answer = Answer(gemini.whole(gemini.answer(gemini.call("Search", {"query": "q"}))))
    client = polycall.from_genai(sdk_of(server, "google"), model="m")
    gc.collect()
    assert client.create("?", tools=[Search])[0] == Search(query="q")


async def test_the_client_is_kept_by_its_asynchronous_half(server):
    server.answer = Answer(gemini.whole(gemini.answer(gemini.call("Search", {"query": "q"}))))
    sdk = sdk_of(server, "google")
    async with sdk.aio as aio:
        seen = weakref.ref(sdk)
        client = polycall.from_genai(sdk, model="m", use_async=True)
        del sdk
        gc.collect()
        assert seen() is not None
        assert (await client.create("?", tools=[Search]))[0] == Search(query="q")
    assert isinstance(client, polycall.AsyncClient)
    assert aio is not None


def test_unknown_reason(server, client):
    server.answer = Answer(gemini.whole(gemini.answer(gemini.call("Search", {"query": "q"}), finish="NEW_REASON")))
    calls = client.create("?", tools=[Search])
    assert calls.finish_reason == "NEW_REASON"
    assert json.loads(calls.calls[0].arguments) == {"query": "q"}


def test_no_sdk_is_imported():
    import subprocess

    code = "import sys, polycall.providers.google_genai; print('google.genai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
