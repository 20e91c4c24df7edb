"""`vertexai.generative_models`: what arrives at the server, and what comes back."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import jsonschema_rs
import pytest
from inline_snapshot import snapshot
from pydantic import BaseModel, Field
from tests.legacy.conftest import MODEL, array, call, said, whole
from tests.support.loopback import Answer, Drop, Gone, Wait
from tests.support.recorded import TESTS

import polycall

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPEC_FILE = TESTS / "spec" / "vertex_aiplatform_v1beta1.json"
QUESTION = "What is the weather in toronto and dallas and who won the super bowl?"
PARTS = [
    call("Weather", {"location": "Toronto", "units": "metric"}, thoughtSignature="c2lnbmF0dXJl"),
    call("Weather", {"location": "Dallas", "units": "imperial"}),
    call("GoogleSearch", {"query": "who won the super bowl"}),
]
USAGE = {"promptTokenCount": 30, "candidatesTokenCount": 20, "thoughtsTokenCount": 7, "totalTokenCount": 57}


class Weather(BaseModel):
    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    query: str


class Order(BaseModel):
    """Order something."""

    count: int = Field(ge=1, description="How many.")
    class_: str = "b"
    price: float | None = None
    tags: list[Literal["x", "y"]] = []


BOTH = Iterable[Weather | GoogleSearch]
THREE = [
    Weather(location="Toronto", units="metric"),
    Weather(location="Dallas", units="imperial"),
    GoogleSearch(query="who won the super bowl"),
]


def streamed(*parts, **more):
    """Return a stream with one part in each event."""
    *first, last = parts
    return array(*(said(part, finish=None) for part in first), said(last), **more)


def last(server):
    """Return the body that arrived last, checked, with the names of its enums: the SDK writes numbers."""
    from google.cloud.aiplatform_v1.types import GenerateContentRequest
    from google.protobuf.json_format import MessageToDict

    sent = server.requests[-1]
    message = GenerateContentRequest.from_json(json.dumps(sent.body))  # fails where the service knows no such field
    body = MessageToDict(GenerateContentRequest.pb(message))
    body.pop("model", None)
    if SPEC_FILE.exists():
        spec = json.loads(SPEC_FILE.read_bytes())
        root = {"$defs": spec["$defs"], "$ref": "#/$defs/" + spec["x-roots"]["generateContent"]}
        problems = [
            f"{list(error.instance_path)}: {error.message}" for error in jsonschema_rs.validator_for(root).iter_errors(body)
        ]
        assert not problems
    return body


# ----------------------------------------------------------------------------------------------------------------- programs

SEED = """
from __future__ import annotations

import polycall as instructor
import vertexai
from typing import Iterable, Literal
from vertexai.generative_models import GenerativeModel
from pydantic import BaseModel
from google.auth.credentials import AnonymousCredentials

vertexai.init(
    project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint="{origin}"
)

class Weather(BaseModel):
    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    query: str


client = instructor.from_vertexai(
    GenerativeModel("gemini-1.5-pro-preview-0409"),
    mode=instructor.Mode.VERTEXAI_PARALLEL_TOOLS,
)
function_calls = client.create(
    messages=[
        {{
            "role": "user",
            "content": "What is the weather in toronto and dallas and who won the super bowl?",
        }},
    ],
    response_model=Iterable[Weather | GoogleSearch],
)
for fc in function_calls:
    print(fc)
"""


def test_seed_program(server):
    server.answer = whole(said(*PARTS, usageMetadata=USAGE))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SEED.format(origin=server.origin)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == [str(value) for value in THREE], done.stderr
    assert server.requests[-1].path.startswith(
        f"/v1/projects/p/locations/us-central1/publishers/google/models/{MODEL}:generateContent?"
    )


def test_blocking(server, model):
    server.answer = whole(said(*PARTS, usageMetadata=USAGE))
    client = polycall.from_vertexai(model(), mode=polycall.Mode.VERTEXAI_PARALLEL_TOOLS)
    calls = client.create(messages=[{"role": "user", "content": QUESTION}], response_model=BOTH)
    assert list(calls) == THREE
    assert [call.outcome for call in calls.calls] == ["ok"] * 3
    assert calls.finish_reason == "STOP"
    assert calls.usage == polycall.Usage(input_tokens=30, output_tokens=27, reasoning_tokens=7)
    assert type(calls.response).__name__ == "GenerationResponse"
    assert [one.name for one in calls.response.candidates[0].function_calls] == ["Weather", "Weather", "GoogleSearch"]
    assert last(server) == snapshot(
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [{"text": "What is the weather in toronto and dallas and who won the super bowl?"}],
                }
            ],
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "Weather",
                            "parameters": {
                                "type": "OBJECT",
                                "properties": {
                                    "location": {"type": "STRING"},
                                    "units": {"type": "STRING", "enum": ["imperial", "metric"]},
                                },
                                "required": ["location", "units"],
                                "propertyOrdering": ["location", "units"],
                            },
                        },
                        {
                            "name": "GoogleSearch",
                            "parameters": {
                                "type": "OBJECT",
                                "properties": {"query": {"type": "STRING"}},
                                "required": ["query"],
                                "propertyOrdering": ["query"],
                            },
                        },
                    ]
                }
            ],
        }
    )


def test_streamed(server, model):
    server.answer = streamed(*PARTS)
    with polycall.from_vertexai(model()).stream(QUESTION, response_model=BOTH) as stream:
        assert list(stream) == THREE
    assert server.requests[-1].path.partition("?")[0].endswith(f"{MODEL}:streamGenerateContent")
    calls = stream.result()
    assert calls.finish_reason == "STOP"
    assert type(calls.response).__name__ == "GenerationResponse"
    assert len(calls.response.candidates[0].function_calls) == 3


def test_streamed_call_comes_at_once(server, model):
    first, rest = said(PARTS[0], finish=None), said(*PARTS[1:])
    told = [b"[" + json.dumps(first).encode(), Wait(0.6), b"," + json.dumps(rest).encode() + b"]"]
    server.answer = Answer(told, content_type="application/json; charset=UTF-8")
    begun, times = time.monotonic(), []
    with polycall.from_vertexai(model()).stream(QUESTION, response_model=BOTH) as stream:
        times.extend(time.monotonic() - begun for _ in stream)
    assert times[0] < 0.5 < times[1]


@pytest.mark.parametrize("stream", [False, True])
async def test_asyncio_in_threads(server, model, stream):
    """REST without asynchronous credentials: the SDK's own asynchronous client would go over gRPC."""
    server.answer = streamed(*PARTS) if stream else whole(said(*PARTS))
    client = polycall.from_vertexai(model(), use_async=True)
    assert isinstance(client, polycall.AsyncClient)
    asked = [client.create(QUESTION, response_model=BOTH, stream=stream) for _ in range(3)]
    for answer in await asyncio.gather(*asked):
        assert list(await answer.result() if stream else answer) == THREE


@pytest.fixture
async def asynchronous(model):
    """Return a model over REST with credentials of the asynchronous kind."""
    pytest.importorskip("aiohttp")
    from google.auth.aio.credentials import StaticCredentials
    from google.cloud.aiplatform import initializer

    initializer._set_async_rest_credentials(StaticCredentials(token="t"))
    made = model()
    yield made
    initializer.global_config._async_rest_credentials = None
    await made._prediction_async_client.transport.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_asyncio_of_the_sdk(server, asynchronous, stream):
    server.answer = streamed(*PARTS) if stream else whole(said(*PARTS))
    client = polycall.from_vertexai(asynchronous, use_async=True)
    for messages in (QUESTION, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]):
        answer = await client.create(messages, response_model=BOTH, stream=stream)
        assert list(await answer.result() if stream else answer) == THREE
    assert last(server)["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert server.requests[-1].headers["authorization"] == "Bearer t"
    server.answer = whole({"error": {"code": 429, "message": "no"}}, 429)
    with pytest.raises(Exception, match="no") as failed:
        await (await client.create("?", response_model=BOTH, stream=True)).result()
    assert type(failed.value).__name__ == "TooManyRequests"


async def test_stream_of_the_sdk_that_is_left(server, asynchronous):
    first = json.dumps(said(PARTS[0], finish=None)).encode()
    server.gone.clear()
    server.answer = Answer([b"[", first, Gone()], content_type="application/json; charset=UTF-8")
    async with polycall.from_vertexai(asynchronous, use_async=True).stream("?", response_model=BOTH) as stream:
        assert await anext(aiter(stream)) == THREE[0]
    assert await asyncio.to_thread(server.gone.wait, 3.0)


def test_model_of_the_preview(server, vertexai, model):
    """It speaks v1beta1, which has ids of calls."""
    with_ids = [{"functionCall": {**part["functionCall"], "id": f"id-{number}"}} for number, part in enumerate(PARTS)]
    server.answer = whole(said(*with_ids))
    client = polycall.from_vertexai(model(kind=vertexai.preview.generative_models.GenerativeModel))
    calls = client.create(QUESTION, response_model=BOTH)
    assert list(calls) == THREE
    assert [call.id for call in calls.calls] == ["id-0", "id-1", "id-2"]
    assert "/v1beta1/" in server.requests[-1].path
    client.create(calls.reply({0: "sunny", 1: "cold", 2: "Eagles"}), response_model=BOTH)
    turn, results = server.last["contents"][1:]
    assert [part["functionCall"]["id"] for part in turn["parts"]] == ["id-0", "id-1", "id-2"]
    assert [part["functionResponse"]["id"] for part in results["parts"]] == ["id-0", "id-1", "id-2"]


# -------------------------------------------------------------------------------------------------------------------- turns


@pytest.mark.parametrize("stream", [False, True])
def test_second_turn(server, model, stream):
    server.answer = streamed({"text": "Let me see."}, *PARTS) if stream else whole(said({"text": "Let me see."}, *PARTS))
    client = polycall.from_vertexai(model())
    calls = client.create([{"role": "user", "content": QUESTION}], response_model=BOTH, stream=stream)
    calls = calls.result() if stream else calls
    server.answer = whole(said({"text": "Done."}))
    after = client.create(calls.reply({0: {"sky": "clear"}, 1: "cold", 2: "Eagles"}), response_model=BOTH)
    assert (after.text, list(after)) == ("Done.", [])
    assert last(server)["contents"] == snapshot(
        [
            {
                "role": "user",
                "parts": [{"text": "What is the weather in toronto and dallas and who won the super bowl?"}],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "Let me see."},
                    {
                        "functionCall": {
                            "name": "Weather",
                            "args": {"location": "Toronto", "units": "metric"},
                        },
                        "thoughtSignature": "c2lnbmF0dXJl",
                    },
                    {
                        "functionCall": {
                            "name": "Weather",
                            "args": {"location": "Dallas", "units": "imperial"},
                        }
                    },
                    {
                        "functionCall": {
                            "name": "GoogleSearch",
                            "args": {"query": "who won the super bowl"},
                        }
                    },
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "name": "Weather",
                            "response": {"output": {"sky": "clear"}},
                        }
                    },
                    {"functionResponse": {"name": "Weather", "response": {"output": "cold"}}},
                    {
                        "functionResponse": {
                            "name": "GoogleSearch",
                            "response": {"output": "Eagles"},
                        }
                    },
                ],
            },
        ]
    )


@pytest.mark.parametrize("stream", [False, True])
def test_bad_call_is_asked_again(server, model, stream):
    bad = call("Weather", {"location": "Dallas", "units": "kelvin"})
    parts = [PARTS[0], bad, PARTS[2]]
    server.queue.append(streamed(*parts) if stream else whole(said(*parts)))
    server.queue.append(streamed(PARTS[1]) if stream else whole(said(PARTS[1])))
    client = polycall.from_vertexai(model())
    calls = client.create(QUESTION, response_model=BOTH, stream=stream)
    calls = calls.result() if stream else calls
    assert list(calls) == THREE
    assert len(server.requests) == 2
    contents = last(server)["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    turn, results = contents[1]["parts"], contents[2]["parts"]
    assert turn[0] == {**PARTS[0], "functionCall": PARTS[0]["functionCall"]}
    answered = [part["functionResponse"] for part in results if "functionResponse" in part]
    assert [one["name"] for one in answered] == [part["functionCall"]["name"] for part in turn]
    assert "kelvin" not in json.dumps(answered[0])
    assert "units" in json.dumps(answered[1])


def test_threads_share_a_client(server, model):
    server.answer = streamed(*PARTS)
    client = polycall.from_vertexai(model(system_instruction="Own."))

    def ask(number):
        messages = [{"role": "system", "content": f"Number {number}."}, {"role": "user", "content": str(number)}]
        return list(client.create(messages, response_model=BOTH, stream=True).result())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(12))) == [THREE] * 12
    told = [
        (sent.body["systemInstruction"]["parts"][1]["text"], sent.body["contents"][0]["parts"][0]["text"])
        for sent in server.requests
    ]
    assert sorted(told) == sorted((f"Number {number}.", str(number)) for number in range(12))


def test_asked_for_calls_and_none_came(server, model):
    """MALFORMED_FUNCTION_CALL has no parts; the service sends the number of the reason."""
    empty = {
        "candidates": [{"content": {"role": "model"}, "finishReason": 9, "finishMessage": "Malformed function call: print("}]
    }
    server.queue.extend([whole(empty), whole(said(*PARTS))])
    assert list(polycall.from_vertexai(model()).create(QUESTION, response_model=BOTH)) == THREE
    server.queue.extend([whole(empty), whole(empty)])
    calls = polycall.from_vertexai(model()).create(QUESTION, response_model=BOTH, errors="return")
    assert (calls.finish_reason, [type(error) for error in calls.errors]) == ("MALFORMED_FUNCTION_CALL", [polycall.NoCallsError])


# ------------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("stream", [False, True])
def test_arguments_are_those_of_the_model(server, model, stream):
    """Protobuf has only floats; the SDK's own to_dict() makes ``class`` of ``class_``."""
    part = call("Order", {"count": 3, "class_": "c", "price": 2.5, "tags": ["x"]})
    server.answer = streamed(part) if stream else whole(said(part))
    answer = polycall.from_vertexai(model()).create("?", response_model=Iterable[Order], stream=stream)
    calls = answer.result() if stream else answer
    assert list(calls) == [Order(count=3, class_="c", price=2.5, tags=["x"])]
    assert type(json.loads(calls.calls[0].arguments)["count"]) is int


def test_numbers(server, model):
    tool = polycall.Tool("any")
    values = {"a": 1, "b": 1.0, "c": -0.5, "d": 2**53 - 1, "e": 2**53, "f": [1, {"g": 2}], "h": True, "i": None, "j": "1.0"}
    server.answer = whole(said(call("any", values), {"functionCall": {"name": "any"}}, call("any", {})))
    calls = polycall.from_vertexai(model()).create("?", tools=[tool])
    got = json.loads(calls.calls[0].arguments)
    assert got == values
    assert [type(got[key]) for key in "abde"] == [int, int, int, float]  # e may have been 2**53 + 1
    assert [call.value for call in calls.calls[1:]] == [{}, {}]


ODD = {"location": 'Zürich \U0001f327 [}]{"\\', "units": "metric"}


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_stream_in_small_pieces(server, model, size, tail):
    """The SDK takes the array apart by itself, letter by letter, and does not read on behind it."""
    body = b"[" + b",\r\n".join(
        json.dumps(event, ensure_ascii=place == 0, indent=1).encode()
        for place, event in enumerate([said(call("Weather", ODD), finish=None), said(call("Weather", ODD))])
    )
    text = body + b"]" + tail
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    server.answer = Answer(pieces, content_type="application/json; charset=UTF-8")
    calls = polycall.from_vertexai(model()).create("?", response_model=BOTH, stream=True).result()
    assert list(calls) == [Weather(**ODD)] * 2
    assert not calls.errors


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stream_that_the_sdk_cannot_read(server, model):
    """It leaves the connection to the garbage collector then."""
    event = json.dumps(said(*PARTS)).encode()
    server.answer = Answer(b"data: " + event + b"\n\n", content_type="text/event-stream; charset=UTF-8")
    with pytest.raises(ValueError, match="array of JSON objects"):
        polycall.from_vertexai(model()).create("?", response_model=BOTH, stream=True).result()
    gc.collect()


def test_connection_of_a_stream_is_used_again(server, model):
    server.answer = streamed(*PARTS)
    client = polycall.from_vertexai(model())
    for _ in range(3):
        client.create("?", response_model=BOTH, stream=True).result()
    assert [sent.nth for sent in server.requests] == [1, 2, 3]


def test_finish_reasons_that_the_sdk_does_not_know(server, model):
    client = polycall.from_vertexai(model(), max_retries=0)
    for sent, told in ((15, "UNEXPECTED_TOOL_CALL"), (99, "99"), ("NEW", None)):
        server.answer = whole(said(*PARTS, finish=sent))
        calls = client.create("?", response_model=BOTH)
        assert (list(calls), calls.finish_reason) == (THREE, told)


@pytest.mark.filterwarnings("ignore:Unrecognized FinishReason:UserWarning")  # the SDK's own word
@pytest.mark.parametrize("sent", [15, 99, 1])
def test_response_of_a_stream_is_the_sdk_s_own_whatever_ended_it(server, model, vertexai, sent):
    server.answer = array(said(*PARTS, finish=sent))
    calls = polycall.from_vertexai(model(), max_retries=0).create("?", response_model=BOTH, stream=True).result()
    assert isinstance(calls.response, vertexai.generative_models.GenerationResponse)
    assert int(calls.response._raw_response.candidates[0].finish_reason) == sent


def test_response_of_a_blocked_stream_is_the_sdk_s_own(server, model, vertexai):
    server.answer = array({"promptFeedback": {"blockReason": 1}})
    calls = polycall.from_vertexai(model(), max_retries=0, errors="return").create("?", response_model=BOTH, stream=True).result()
    assert isinstance(calls.response, vertexai.generative_models.GenerationResponse)


@pytest.mark.parametrize("stream", [False, True])
def test_cut_by_the_limit(server, model, stream):
    events = [said(PARTS[0], finish=None), said(finish="MAX_TOKENS")]
    server.answer = array(*events) if stream else whole(said(PARTS[0], finish="MAX_TOKENS"))
    client = polycall.from_vertexai(model(), max_retries=0, errors="return")
    answer = client.create("?", response_model=BOTH, stream=stream)
    calls = answer.result() if stream else answer
    assert list(calls) == THREE[:1]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 1)]


def test_blocked_question(server, model):
    server.answer = whole({"promptFeedback": {"blockReason": 1, "blockReasonMessage": "No."}})
    calls = polycall.from_vertexai(model(), max_retries=0).create("?", response_model=BOTH, errors="return")
    assert [type(error) for error in calls.errors] == [polycall.RefusalError]
    assert calls.text == "No."


# ------------------------------------------------------------------------------------------------------------------ requests


def test_settings_of_the_model_are_kept(server, vertexai, model):
    kinds = vertexai.generative_models
    mode = kinds.ToolConfig.FunctionCallingConfig
    made = model(
        system_instruction=["You speak Dutch."],
        generation_config={"temperature": 0.5, "max_output_tokens": 100},
        tool_config=kinds.ToolConfig(mode(mode.Mode.ANY)),
        labels={"a": "b"},
        safety_settings={kinds.HarmCategory.HARM_CATEGORY_HARASSMENT: kinds.HarmBlockThreshold.BLOCK_ONLY_HIGH},
    )
    server.answer = whole(said(*PARTS))
    client = polycall.from_vertexai(made)
    client.create("?", response_model=BOTH)
    body = last(server)
    assert body["systemInstruction"]["parts"] == [{"text": "You speak Dutch."}]
    assert body["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 100}
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert body["labels"] == {"a": "b"}
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
    client.create(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}],
        response_model=BOTH,
        temperature=0,
        tool_choice="none",
        errors="return",
        labels={"c": "d"},
    )
    body = last(server)
    assert body["systemInstruction"]["parts"] == [{"text": "You speak Dutch."}, {"text": "Be brief."}]
    assert body["generationConfig"] == {"temperature": 0.0, "maxOutputTokens": 100}
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}
    assert body["labels"] == {"c": "d"}
    assert made._system_instruction == ["You speak Dutch."]


@pytest.mark.parametrize("own", ["Own.", ["Own."], "part", "content", None])
def test_system_instruction_of_model_and_messages(server, vertexai, model, own):
    kinds = vertexai.generative_models
    part = kinds.Part.from_text("Own.")
    own = {"part": part, "content": kinds.Content(role="user", parts=[part])}.get(own, own) if isinstance(own, str) else own
    server.answer = whole(said(*PARTS))
    client = polycall.from_vertexai(model(system_instruction=own))
    client.create([{"role": "system", "content": "More."}, {"role": "user", "content": "?"}], response_model=BOTH)
    expected = ["Own.", "More."] if own else ["More."]
    assert [part["text"] for part in last(server)["systemInstruction"]["parts"]] == expected


def test_copy_with_instruction_shares_the_connection(server, model):
    made = model()
    server.answer = whole(said(*PARTS))
    client = polycall.from_vertexai(made)
    for _ in range(2):
        client.create([{"role": "system", "content": "Go."}, {"role": "user", "content": "?"}], response_model=BOTH)
    assert [(sent.connection - server.requests[0].connection, sent.nth) for sent in server.requests] == [(0, 1), (0, 2)]
    client.create("?", response_model=BOTH)
    assert server.requests[-1].nth == 3


@pytest.mark.parametrize("given", ["dict", "object"])
def test_generation_config(server, vertexai, model, given):
    config = {"temperature": 0.25, "top_k": 3.0, "stop_sequences": ["\n"]}
    config = config if given == "dict" else vertexai.generative_models.GenerationConfig(**config)
    server.answer = whole(said(*PARTS))
    client = polycall.from_vertexai(model(generation_config={"max_output_tokens": 5}))
    client.create("?", response_model=BOTH, generation_config=config)
    expected = {"temperature": 0.25, "topK": 3.0, "stopSequences": ["\n"], "maxOutputTokens": 5}
    assert last(server)["generationConfig"] == expected
    client.create("?", response_model=BOTH, generation_config=config, temperature=0.75, max_output_tokens=9)
    assert last(server)["generationConfig"] == {**expected, "temperature": 0.75, "maxOutputTokens": 9}


def test_choice(server, model):
    server.answer = whole(said(*PARTS))
    client = polycall.from_vertexai(model(), errors="return", max_retries=0)
    told = {}
    for name, choice in {"required": "required", "one": Weather, "some": [Weather], "none": "none", "auto": "auto"}.items():
        client.create("?", response_model=BOTH, tool_choice=choice)
        body = last(server)
        offered = [tool["name"] for tool in body["tools"][0]["functionDeclarations"]]
        told[name] = (body.get("toolConfig", {}).get("functionCallingConfig"), offered)
    both = ["Weather", "GoogleSearch"]
    assert told == {
        "required": ({"mode": "ANY"}, both),
        "one": ({"mode": "ANY", "allowedFunctionNames": ["Weather"]}, both),
        "some": (None, ["Weather"]),
        "none": ({"mode": "NONE"}, both),
        "auto": (None, both),
    }


def test_no_switch_for_parallel_calls(model):
    with pytest.raises(polycall.UsageError, match="parallel"):
        polycall.from_vertexai(model()).create("?", response_model=BOTH, parallel=False)


def test_tools_of_the_model_itself(server, vertexai, model):
    kinds = vertexai.generative_models
    declaration = kinds.FunctionDeclaration(name="own", parameters={"type": "object", "properties": {"a": {"type": "string"}}})
    with pytest.raises(polycall.UsageError, match="functions of its own"):
        polycall.from_vertexai(model(tools=[kinds.Tool([declaration])])).create("?", response_model=BOTH)
    assert not server.requests
    search = kinds.Tool.from_google_search_retrieval(kinds.grounding.GoogleSearchRetrieval())
    server.answer = whole(said(*PARTS))
    polycall.from_vertexai(model(tools=[search])).create("?", response_model=BOTH)
    assert [list(tool) for tool in last(server)["tools"]] == [["googleSearchRetrieval"], ["functionDeclarations"]]


def test_another_model(server, model):
    client = polycall.from_vertexai(model())
    with pytest.raises(polycall.UsageError, match="wrap another one"):
        client.create("?", model="gemini-9", response_model=BOTH)
    assert not server.requests
    server.answer = whole(said(*PARTS))
    client.create("?", model=f"models/{MODEL}", response_model=BOTH)


def test_native_messages(server, vertexai, model):
    """The SDK's own objects, JSON of the wire, and OpenAI's messages, in one conversation; numbers stay integers."""
    kinds = vertexai.generative_models
    asked = kinds.Content(role="user", parts=[kinds.Part.from_text("Order 3.")])
    turn = kinds.Content.from_dict({"role": "model", "parts": [call("Order", {"count": 3, "class_": "c"})]})
    answer = kinds.Content(role="user", parts=[kinds.Part.from_function_response("Order", {"content": "done"})])
    server.answer = whole(said({"text": "ok"}))
    client = polycall.from_vertexai(model())
    client.create([asked, turn, answer, {"role": "user", "parts": [{"text": "Again."}]}], response_model=Iterable[Order])
    body = last(server)
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user", "user"]
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == {"count": 3.0, "class_": "c"}
    assert client.payload([asked, turn, answer], response_model=Iterable[Order])["contents"][1]["parts"] == [
        call("Order", {"count": 3, "class_": "c"})
    ]


def test_image(server, model):
    data = "iVBORw0KGgo="
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]
    server.answer = whole(said(*PARTS))
    polycall.from_vertexai(model()).create([{"role": "user", "content": parts}], response_model=BOTH)
    assert last(server)["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": data}}


def test_request_is_not_changed(server, model):
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    config = {"temperature": 0.5}
    server.answer = whole(said(*PARTS))
    client = polycall.from_vertexai(model())
    for _ in range(2):
        client.create(messages, response_model=BOTH, generation_config=config, temperature=0)
    assert server.requests[0].body == server.requests[1].body
    assert (messages[0], config) == ({"role": "system", "content": "a"}, {"temperature": 0.5})


# ------------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "name"), [(400, "BadRequest"), (429, "TooManyRequests"), (503, "ServiceUnavailable")])
def test_errors_of_the_sdk(server, model, status, name, stream):
    server.answer = whole({"error": {"code": status, "message": "no", "status": "X"}}, status)
    with pytest.raises(Exception, match="no") as failed:
        polycall.from_vertexai(model()).create("?", response_model=BOTH, stream=stream).result()
    assert type(failed.value).__module__ == "google.api_core.exceptions"
    assert type(failed.value).__name__ == name
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["dropped", "ended early", "error event", "no reason"])
def test_broken_stream_keeps_what_was_complete(server, model, how):
    first = said(*PARTS[:2], finish=None)
    text = json.dumps(first).encode()
    server.answer = {
        "dropped": Answer([b"[", text, b",", text[:30], Drop()], content_type="application/json; charset=UTF-8"),
        "ended early": Answer([b"[", text, b",", text[:30]], content_type="application/json; charset=UTF-8"),
        "error event": array(first, {"error": {"code": 500, "message": "boom", "status": "INTERNAL"}}),
        "no reason": array(first),
    }[how]
    client = polycall.from_vertexai(model(), max_retries=0, errors="return")
    calls = client.create("?", response_model=BOTH, stream=True).result()
    assert list(calls) == THREE[:2]
    assert [(type(error), error.index) for error in calls.errors] == [(polycall.CutOffError, 2)]


def test_stream_that_is_left(server, model):
    first = json.dumps(said(PARTS[0], finish=None)).encode()
    server.gone.clear()
    server.answer = Answer([b"[", first, Gone()], content_type="application/json; charset=UTF-8")
    with polycall.from_vertexai(model()).stream("?", response_model=BOTH) as stream:
        assert next(iter(stream)) == THREE[0]
    assert server.gone.wait(3.0)


async def test_stream_that_is_left_under_asyncio(server, model):
    first = json.dumps(said(PARTS[0], finish=None)).encode()
    server.gone.clear()
    server.answer = Answer([b"[", first, Gone()], content_type="application/json; charset=UTF-8")
    async with polycall.from_vertexai(model(), use_async=True).stream("?", response_model=BOTH) as stream:
        assert await anext(aiter(stream)) == THREE[0]
    assert await asyncio.to_thread(server.gone.wait, 3.0)


async def test_deadline(server, model):
    server.answer = Answer([Wait(2.0)])
    client = polycall.from_vertexai(model(), use_async=True)
    begun = time.monotonic()
    with pytest.raises(polycall.DeadlineError):
        await client.create("?", response_model=BOTH, timeout=0.3)
    assert time.monotonic() - begun < 1.5


class Deep(BaseModel):
    inner: dict[str, int] | None = None
    again: list[Deep] = []
    at: tuple[int, str] | None = None
    kind: Literal[1, 2] = 1


def test_schemas(server, model):
    deep = {"type": "string"}
    for level in range(60):
        deep = {"type": "object", "properties": {f"p{level}": deep}} if level % 2 else {"type": "array", "items": deep}
    tools = [Deep, polycall.Tool("bare"), polycall.Tool("deep", schema={"type": "object", "properties": {"a": deep}})]
    server.answer = whole(said({"functionCall": {"name": "bare"}}))
    calls = polycall.from_vertexai(model()).create("?", tools=tools)
    assert calls.calls[0].value == {}
    first, bare, _ = last(server)["tools"][0]["functionDeclarations"]
    assert bare == {"name": "bare"}
    assert first["parameters"]["properties"]["again"] == snapshot(
        {
            "type": "ARRAY",
            "items": {
                "type": "OBJECT",
                "properties": {
                    "again": {"type": "ARRAY", "items": {"type": "OBJECT"}},
                    "inner": {"type": "OBJECT", "nullable": True},
                    "at": {
                        "type": "ARRAY",
                        "items": {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]},
                        "nullable": True,
                        "minItems": "2",
                        "maxItems": "2",
                    },
                    "kind": {"type": "INTEGER", "description": "(one of: 1, 2)"},
                },
                "propertyOrdering": ["inner", "again", "at", "kind"],
            },
        }
    )


def test_history_in_openais_words(server, model):
    """Ids of calls are not known to version 1 of the API; answers find their calls by name and order."""
    ask = {
        "id": "a1",
        "type": "function",
        "function": {"name": "Weather", "arguments": '{"location": "Oslo", "units": "metric"}'},
    }
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [ask, {**ask, "id": "a2"}]},
        {"role": "tool", "tool_call_id": "a1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "a2", "content": "windy"},
    ]
    server.answer = whole(said(*PARTS))
    polycall.from_vertexai(model()).create(messages, response_model=BOTH)
    _, turn, results = last(server)["contents"]
    asked = {"functionCall": {"name": "Weather", "args": {"location": "Oslo", "units": "metric"}}}
    assert turn["parts"] == [{"text": "I look."}, asked, asked]
    assert [part["functionResponse"] for part in results["parts"]] == [
        {"name": "Weather", "response": {"output": word}} for word in ("sunny", "windy")
    ]


@pytest.mark.parametrize("option", [{"extra_headers": {"a": "b"}}, {"extra_body": {"a": 1}}])
def test_what_the_sdk_does_not_take(model, option):
    with pytest.raises(polycall.UsageError, match=next(iter(option))):
        polycall.from_vertexai(model()).create("?", response_model=BOTH, **option)


def test_words_of_openais_programs(server, model):
    server.answer = whole(said(*PARTS))
    polycall.from_vertexai(model()).create("?", response_model=BOTH, max_tokens=7, stop="END")
    assert last(server)["generationConfig"] == {"maxOutputTokens": 7, "stopSequences": ["END"]}


@pytest.mark.parametrize("client", [object(), "GenerativeModel"])
def test_something_else(client):
    with pytest.raises(polycall.UsageError, match="from_vertexai takes vertexai"):
        polycall.from_vertexai(client)


def test_mode(model):
    with pytest.raises(polycall.UsageError, match="does not fit"):
        polycall.from_vertexai(model(), mode=polycall.Mode.PARALLEL_TOOLS)


def test_answers_of_another_order_reach_their_calls(server, model):
    """Version 1 of the API has no ids: the order is all that says whose an answer is."""
    server.answer = whole(said({"text": "Done."}))
    calls = [{"id": town, "type": "function", "function": {"name": "Weather", "arguments": "{}"}} for town in ("oslo", "rome")]
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "rome", "content": "hot"},
        {"role": "tool", "tool_call_id": "oslo", "content": "cold"},
    ]
    polycall.from_vertexai(model()).create(messages, response_model=BOTH)
    told = [part["functionResponse"]["response"] for part in last(server)["contents"][-1]["parts"]]
    assert told == [{"output": "cold"}, {"output": "hot"}]


def test_the_sdk_s_own_parts_may_stand_in_a_message(server, model, vertexai):
    part = vertexai.generative_models.Part
    server.answer = whole(said(*PARTS))
    image = part.from_data(b"abc", "image/png")
    messages = [
        {"role": "system", "content": [part.from_text("Be brief.")]},
        {"role": "user", "content": ["What is this?", {"type": "text", "text": "And where?"}, image]},
        {"role": "assistant", "content": [part.from_text("A town.")]},
        {"role": "user", "parts": [part.from_text("Which?")]},
    ]
    assert list(polycall.from_vertexai(model()).create(messages, response_model=BOTH)) == THREE
    sent = last(server)
    assert [piece["text"] for piece in sent["systemInstruction"]["parts"]] == ["Be brief."]
    assert [(content["role"], content["parts"]) for content in sent["contents"]] == [
        (
            "user",
            [{"text": "What is this?"}, {"text": "And where?"}, {"inlineData": {"mimeType": "image/png", "data": "YWJj"}}],
        ),
        ("model", [{"text": "A town."}]),
        ("user", [{"text": "Which?"}]),
    ]
