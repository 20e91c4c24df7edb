"""generateContent without an SDK, of the Gemini API and of Vertex AI: recordings, paths and keys, and every odd answer."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.support import gemini
from tests.support.loopback import Answer, Server

import polycall
from polycall._decode import Assembler
from polycall._dialect_gemini import gemini_schema
from polycall.formats._gemini_decoder import GeminiDecoder
from polycall.formats._gemini_partial import PartialArguments
from polycall.formats.gemini import FORMAT
from polycall.testing import ModelServer, Said, Turn
from polycall.types import CallDelta, Stop, ToolCall

ANSWERED = [pytest.param(one, id=one["id"]) for one in gemini.answered()]
STREAMED = [one for one in ANSWERED if one.values[0]["stream"] and len(gemini.body_of(one.values[0])) < 8_000]
VERTEX = {"project": "p", "location": "us-central1"}


class Search(BaseModel):
    query: str


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


def connected(server, provider, **more):
    key = {"api_key": "a-long-key"} if provider == "google" else {"api_key": lambda: "a-long-token", **VERTEX}
    return polycall.from_provider(provider, **{"base_url": server.origin, "retries": 0, **key, **more})


@pytest.fixture(scope="module")
def clients(server):
    clients = {provider: connected(server, provider) for provider in ("google", "vertex")}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def read(server, clients):
    """Return a function that gives the calls that are read in chunks of a stream, or in one whole body."""

    def read(*chunks, stream=True, tools=(Search,), pieces=None, **options):
        body = gemini.stream(*chunks) if stream else gemini.whole(chunks[0])
        if pieces:
            body = pieces(b"".join(body))
        server.answer = Answer(body, content_type="text/event-stream" if stream else "application/json")
        server.requests.clear()
        options = {"model": "m", "errors": "return", "max_retries": 0, "stream": stream, **options}
        calls = clients["google"].create("?", tools=list(tools), **options)
        return calls.result() if stream else calls

    return read


# -------------------------------------------------------------------------------------------------------------- recordings


def told(server, one, size=300):
    body = gemini.body_of(one)
    pieces = [body[start : start + size] for start in range(0, len(body), size)] if one["stream"] else body
    server.answer = Answer(pieces, one["response"]["status"], one["response"]["headers"]["content-type"])
    server.requests.clear()


def options(one):
    return {"model": "m", "tools": gemini.tools_of(one), "errors": "return", "stream": one["stream"], "max_retries": 0}


@pytest.mark.parametrize("one", ANSWERED)
def test_recorded(server, clients, one):
    told(server, one)
    calls = clients[one["provider"]].create("?", **options(one))
    calls = calls.result() if one["stream"] else calls
    gemini.check(calls, one)
    gemini.check_body(server.last, one["provider"])
    if not one["stream"]:
        assert calls.response == one["response"]["body"]
    elif "partial_args" not in one["tags"] and not calls.errors:
        assert calls.response["candidates"][0]["content"]["parts"] == calls.messages[1]["parts"]


@pytest.mark.parametrize("one", STREAMED)
def test_byte_by_byte(server, clients, one):
    told(server, one, size=1)
    gemini.check(clients[one["provider"]].create("?", **options(one)).result(), one)


async def test_recorded_asynchronously(server):
    async with connected(server, "google", async_client=True) as client:
        for one in gemini.answered()[::3]:
            told(server, one)
            calls = await client.create("?", **options(one))
            gemini.check(await calls.result() if one["stream"] else calls, one)


def test_no_answer(server, clients):
    for one in gemini.exchanges():
        if "error" in one["tags"]:
            told(server, one)
            with pytest.raises(polycall.TransportError) as caught:
                clients[one["provider"]].create("?", **options(one))
            error = one["response"]["body"]["error"]
            assert error["status"] in str(caught.value)
            assert error["message"][:40] in caught.value.body


@pytest.mark.parametrize("one", [one for one in STREAMED if one.values[0]["n_calls"]][:6])
def test_cut_anywhere(server, clients, one):
    """Calls before the cut are kept; an answer that was cut says so."""
    names = [call["name"] for call in one["expected_calls"]]
    body = gemini.body_of(one)
    for end in range(1, len(body), max(1, len(body) // 20)):
        server.answer = Answer(body[:end], content_type="text/event-stream")
        try:
            calls = clients[one["provider"]].create("?", **options(one)).result()
        except polycall.TransportError:
            assert b"candidates" not in body[:end].rpartition(b"\n")[0] or body.startswith(b"[")
            continue
        assert [call.name for call in calls.calls] == names[: len(calls.calls)]
        assert calls.errors or calls.finish_reason


# --------------------------------------------------------------------------------------------------------- paths and keys


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("m", "/v1beta/models/m:generateContent"),
        ("models/m", "/v1beta/models/m:generateContent"),
        ("tunedModels/t", "/v1beta/tunedModels/t:generateContent"),
        ("a/../b?c", "/v1beta/models/a%2F..%2Fb%3Fc:generateContent"),
    ],
)
def test_path(server, clients, model, path):
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    clients["google"].create("?", tools=[Search], model=model)
    assert server.requests[-1].path == path
    assert server.requests[-1].headers["x-goog-api-key"] == "a-long-key"
    assert "authorization" not in server.requests[-1].headers


@pytest.mark.parametrize(
    ("provider", "model"),
    [("vertex", "../m"), ("vertex", "google/../../x"), ("vertex", "publishers//m"), ("vertex", "a/"), ("google", "models/../m")],
)
def test_model_refused(clients, provider, model):
    with pytest.raises(polycall.UsageError, match="give its name"):
        clients[provider].create("?", tools=[Search], model=model)


def test_no_key():
    assert FORMAT.headers(None) == {}


ROOT = "/v1beta1/projects/p/locations/us-central1/"


@pytest.mark.parametrize(
    ("given", "path", "key"),
    [
        ({"model": "m"}, f"{ROOT}publishers/google/models/m", "authorization"),
        ({"model": "google/m"}, f"{ROOT}publishers/google/models/m", "authorization"),
        ({"model": "publishers/meta/models/m"}, f"{ROOT}publishers/meta/models/m", "authorization"),
        ({"model": "endpoints/7"}, f"{ROOT}endpoints/7", "authorization"),
        ({"model": "projects/q/locations/l/endpoints/7"}, "/v1beta1/projects/q/locations/l/endpoints/7", "authorization"),
        ({"model": "m", "api_version": "v1"}, f"{ROOT.replace('v1beta1', 'v1')}publishers/google/models/m", "authorization"),
        ({"model": "m", "api_key": "key-key"}, f"{ROOT}publishers/google/models/m", "x-goog-api-key"),
        (
            {"model": "m", "api_key": "key-key", "project": None, "location": None},
            "/v1beta1/publishers/google/models/m",
            "x-goog-api-key",
        ),
    ],
)
def test_vertex_path(server, given, path, key):
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    model = given.pop("model")
    with connected(server, "vertex", **given) as client:
        client.create("?", tools=[Search], model=model)
    assert server.requests[-1].path == f"{path}:generateContent"
    assert {"authorization": "Bearer a-long-token", "x-goog-api-key": "key-key"}[key] == server.requests[-1].headers[key]


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (None, "https://aiplatform.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_vertex_address(monkeypatch, location, url):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "env-project")
    if location:
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", location)
    from polycall._vertex import vertex

    made, found, key = vertex(None, lambda: "t", None, None, None, asynchronous=False)
    assert found == url
    assert made.root == f"/v1beta1/projects/env-project/locations/{location or 'global'}"
    assert key() == "t"
    assert vertex(None, "express", None, None, None, asynchronous=False)[:2] == (
        type(made)(vertex=True, root="/v1beta1"),
        "https://aiplatform.googleapis.com",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "GOOGLE_CLOUD_PROJECT"),
        ({"project": "p/../q"}, "one plain word"),
        ({"project": "p", "location": "evil.com/"}, "one plain word"),
        ({"project": "p", "api_version": "v1/x"}, "one plain word"),
        ({"project": "p", "api_key": " "}, "api_key is empty"),
    ],
)
def test_vertex_refused(monkeypatch, given, words):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(polycall.UsageError, match=words):
        polycall.from_provider("vertex/m", **given)


class Granted:
    """Stands for the credentials that google-auth finds: each token is good for two requests."""

    def __init__(self):
        self.refreshed: list[str] = []
        self.left = 0

    @property
    def valid(self):
        self.left -= 1
        return self.left >= 0

    @property
    def token(self):
        return f"token-number-{len(self.refreshed)}"

    def refresh(self, request):
        assert request is not None
        self.refreshed.append(threading.current_thread().name)
        self.left = 1


def test_tokens_of_google_auth(server, monkeypatch):
    import google.auth

    granted = Granted()
    monkeypatch.setattr(google.auth, "default", lambda scopes: (granted, "p"))
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    server.requests.clear()
    with connected(server, "vertex", api_key=None) as client:
        for _ in range(3):
            client.create("?", tools=[Search], model="m")
    assert [sent.headers["authorization"][-1] for sent in server.requests] == ["1", "1", "2"]


async def test_tokens_are_not_got_on_the_event_loop(server, monkeypatch):
    import google.auth

    granted = Granted()
    monkeypatch.setattr(google.auth, "default", lambda scopes: (granted, "p"))
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    async with connected(server, "vertex", api_key=None, async_client=True) as client:
        await client.create("?", tools=[Search], model="m")
    assert granted.refreshed != [threading.main_thread().name]


def test_no_credentials(server, monkeypatch):
    import google.auth

    def default(scopes):
        raise google.auth.exceptions.DefaultCredentialsError(str(scopes))

    monkeypatch.setattr(google.auth, "default", default)
    with connected(server, "vertex", api_key=None) as client, pytest.raises(polycall.UsageError, match="gcloud auth"):
        client.create("?", tools=[Search], model="m")


@pytest.mark.parametrize("missing", ["google", "google.auth", "requests"])
def test_no_google_auth(server, monkeypatch, missing):
    monkeypatch.setattr("polycall._google_auth.find_spec", lambda name: None if name == missing else types)
    if missing == "google":

        def find_spec(name):
            raise ModuleNotFoundError(name)

        monkeypatch.setattr("polycall._google_auth.find_spec", find_spec)
    with pytest.raises(polycall.UsageError, match=r"google-auth\[requests\]"):
        connected(server, "vertex", api_key=None)


# --------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("finish", "error"),
    [
        ("MALFORMED_FUNCTION_CALL", polycall.NoCallsError),
        ("UNEXPECTED_TOOL_CALL", polycall.NoCallsError),
        ("TOO_MANY_TOOL_CALLS", polycall.NoCallsError),
        ("MALFORMED_RESPONSE", polycall.NoCallsError),
        ("MISSING_THOUGHT_SIGNATURE", polycall.NoCallsError),
        ("MAX_TOKENS", polycall.CutOffError),
        ("SAFETY", polycall.CutOffError),
        ("RECITATION", polycall.CutOffError),
        ("OTHER", polycall.CutOffError),
        (2, polycall.CutOffError),
        ("NEW", None),
        ("STOP", None),
    ],
)
def test_finish(read, finish, error, stream):
    """Without calls an answer is asked for again, or was cut; complete calls before a cut are kept."""
    chunk = {"candidates": [{"finishReason": finish}]}
    calls = read(chunk, stream=stream)
    assert [type(one) for one in calls.errors] == ([error] if error else [])
    assert calls.messages == [{"role": "user", "content": "?"}]
    calls = read(gemini.answer(gemini.call("Search", {"query": "q"}), finish=finish), stream=stream)
    assert calls[0] == Search(query="q")
    cut = error is not None and finish != "UNEXPECTED_TOOL_CALL"
    assert [type(one) for one in calls.errors] == ([polycall.CutOffError] if cut else [])


@pytest.mark.parametrize("stream", [False, True])
def test_blocked(read, stream):
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": "No."}
    calls = read({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}}, stream=stream)
    assert [type(one) for one in calls.errors] == [polycall.RefusalError]
    assert (calls.text, calls.finish_reason, calls.usage.input_tokens) == ("No.", "SAFETY", 3)
    assert read({"promptFeedback": {"block_reason": "NEW"}}, stream=False).text == "the question was blocked (NEW)"


def test_malformed_call_is_asked_again():
    """The whole answer is asked for again."""
    with Server() as server, connected(server, "google") as client:
        server.queue.append(Answer(gemini.whole({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]})))
        server.queue.append(Answer(gemini.whole(gemini.answer(gemini.call("Search", {"query": "q"})))))
        calls = client.create("?", tools=[Search], model="m")
        gemini.check_body(server.last, "google")
    assert calls[0] == Search(query="q")
    assert len(calls.attempts) == 2


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"candidates": [{}]}, {"candidates": None}, {"candidates": [3]}])
def test_no_candidates(read, body):
    with pytest.raises(polycall.TransportError, match="no candidates"):
        read(body, stream=False)


def test_an_error_within_a_stream(read):
    error = {"error": {"code": 503, "status": "UNAVAILABLE"}}
    calls = read(gemini.answer(gemini.call("Search", {"query": "q"}), finish=None), error)
    assert calls[0] == Search(query="q")
    assert "503" in str(calls.errors[0])
    both = read({**gemini.answer(gemini.call("Search", {"query": "q"}), finish=None), **error})
    assert both[0] == Search(query="q")
    assert [type(one) for one in both.errors] == [polycall.CutOffError]


def test_odd_calls(read):
    """Every call is an outcome, whatever is wrong with it."""
    parts = [
        gemini.call("Search", '{"query": "text"}'),
        gemini.call("Search", [1]),
        gemini.call("Search", {"query": float("nan")}),
        {"functionCall": "no call"},
        {"functionCall": {}},
        {"function_call": {"name": "Search", "args": {"query": "snake"}}},
        gemini.call("Other", {}),
    ]
    calls = read(gemini.answer(*parts), stream=False)
    outcomes = [call.outcome for call in calls.calls]
    assert outcomes == ["ok", "invalid", "invalid", "unknown", "unknown", "ok", "unknown"]
    assert [call.index for call in calls.calls] == list(range(7))
    sent = calls.reply(dict.fromkeys(range(7), "x"))
    for part, result in zip(sent[1]["parts"], sent[2]["parts"], strict=True):
        assert part["functionCall"]["name"] == result["functionResponse"]["name"]
        assert isinstance(part["functionCall"].get("args", {}), dict)
    json.dumps(sent, allow_nan=False)


def test_repeated_ids_are_told_apart(read):
    parts = [gemini.call("Search", {"query": str(number)}, id="same") for number in range(2)]
    calls = read(gemini.answer(*parts))
    assert [call.id for call in calls.calls] == ["same", "same"]
    sent = calls.reply({0: "a", 1: "b"})
    ids = [part["functionCall"]["id"] for part in sent[1]["parts"]]
    assert len(set(ids)) == 2
    assert [part["functionResponse"]["id"] for part in sent[2]["parts"]] == ids


def test_several_candidates(read):
    candidates = [
        {"content": {"parts": [{"text": name}, gemini.call("Search", {"query": name})]}, "finishReason": finish, "index": index}
        for index, (name, finish) in enumerate([("a", "STOP"), ("b", "MAX_TOKENS")])
    ]
    calls = read({"candidates": candidates}, stream=False)
    assert [call.value.query for call in calls.calls] == ["a", "b"]
    assert calls.text == "a"
    assert [type(one) for one in calls.errors] == [polycall.CutOffError]
    (turn,) = calls.messages[1:]
    assert turn["parts"] == [
        {"text": "a"},
        gemini.call("Search", {"query": "a"}),
        gemini.call("Search", {"query": "b"}),
    ]
    chunks = [{"candidates": [candidate]} for candidate in candidates]
    calls = read(*chunks)
    assert [call.value.query for call in calls.calls] == ["a", "b"]
    assert calls.messages[1] == turn
    assert [one["content"]["parts"] for one in calls.response["candidates"]] == [one["content"]["parts"] for one in candidates]


def test_text_and_thoughts_keep_their_places(read):
    chunks = [
        gemini.answer({"text": "th", "thought": True}, finish=None),
        gemini.answer({"text": "ought", "thought": True}, finish=None),
        gemini.answer({"text": "wo"}, finish=None),
        gemini.answer({"text": "rds"}, {"text": ""}, gemini.call("Search", {"query": "q"}, signature="c2ln"), finish=None),
        gemini.answer({"text": "", "thoughtSignature": "ZW5k"}, {"executableCode": {"code": "1"}}),
    ]
    calls = read(*chunks)
    assert calls.text == "words"
    assert calls.messages[1]["parts"] == [
        {"text": "thought", "thought": True},
        {"text": "words"},
        gemini.call("Search", {"query": "q"}, signature="c2ln"),
        {"text": "", "thoughtSignature": "ZW5k"},
        {"executableCode": {"code": "1"}},
    ]
    assert calls.response["candidates"][0]["finishReason"] == "STOP"


def test_usage(read):
    first = {"promptTokenCount": 5, "thoughtsTokenCount": 7, "cachedContentTokenCount": 2, "trafficType": "ON_DEMAND"}
    last = {"promptTokenCount": 5, "candidatesTokenCount": 3, "toolUsePromptTokenCount": 1}
    calls = read(gemini.answer({"text": "a"}, finish=None, usageMetadata=first), gemini.answer({"text": "b"}, usageMetadata=last))
    usage = calls.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == (6, 2, 10, 7)


# ------------------------------------------------------------------------------------------------------ partial arguments


def piece(path, **value):
    return {"jsonPath": path, **value}


def begun(*pieces, **more):
    return gemini.answer({"functionCall": {"partialArgs": list(pieces), "willContinue": True, **more}}, finish=None)


END = gemini.answer({"functionCall": {}})
ANY = polycall.Tool("f")


def test_partial_arguments(read):
    calls = read(
        begun(name="f", id="i"),
        begun(piece("$.text", stringValue="a", willContinue=True)),
        begun(piece("$.text", stringValue="b"), piece("$.whole", numberValue=3.0), piece("$.half", numberValue=0.5)),
        begun(piece("$.list[0].yes", boolValue=True), piece("$.list[0]['no.no']", boolValue=False)),
        begun(piece("$.list[1].none", nullValue="NULL_VALUE"), piece('$["q\\"\\u00e9"]', stringValue="é")),
        END,
        tools=[ANY],
    )
    assert calls[0] == {
        "text": "ab",
        "whole": 3,
        "half": 0.5,
        "list": [{"yes": True, "no.no": False}, {"none": None}],
        'q"é': "é",
    }
    assert type(calls[0]["whole"]) is int
    assert calls.messages[1]["parts"] == [{"functionCall": {"name": "f", "args": calls[0], "id": "i"}}]


@pytest.mark.parametrize(
    "path", ["location", "$", "$[0]", "$.a[2]", "$.a.b", "$.a[*]", "$..a", "$.a[", "$.a['", "$.a[-1]", None, "$" + ".a" * 500]
)
def test_partial_argument_without_a_place(read, path):
    calls = read(begun(name="f"), begun(piece("$.a[0]", stringValue="x")), begun(piece(path, stringValue="y")), END, tools=[ANY])
    assert [call.outcome for call in calls.calls] == ["invalid"]


def test_partial_call_that_does_not_end(read):
    start = [begun(name="f"), begun(piece("$.a", stringValue="x"))]
    stopped = gemini.answer({"text": ""})
    for chunks in (start, [*start, stopped], start[:1], [start[0], stopped]):
        calls = read(*chunks, tools=[ANY])
        assert [call.outcome for call in calls.calls] == ["cut off"]


def test_part_without_a_call(read):
    calls = read(gemini.answer({"functionCall": None, "text": "a"}, {"function_call": None}, "odd"))
    assert (calls.text, calls.errors) == ("a", ())
    assert calls.messages[1]["parts"] == [{"text": "a"}]


def test_part_without_data(read):
    """The service refuses it when it comes back; SDKs leave one where they do not know what was in it."""
    calls = read(gemini.answer({}, {"thought": True}, {"thoughtSignature": "c2ln"}, {"new": 1}))
    assert calls.messages[1]["parts"] == [{"text": "", "thoughtSignature": "c2ln"}, {"new": 1}]


def test_partial_call_before_another(read):
    """One that has not ended when the next one begins is not taken for a whole one."""
    calls = read(begun(name="f"), begun(piece("$.a", stringValue="x")), gemini.answer(gemini.call("f", {"b": 1})), tools=[ANY])
    assert [call.outcome for call in calls.calls] == ["invalid", "ok"]
    calls = read(begun(name="f"), END, gemini.answer(gemini.call("f")), END, tools=[ANY])
    assert [(call.outcome, call.value) for call in calls.calls] == [("ok", {}), ("ok", {})]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-5, 5) | st.text(min_size=1, max_size=4),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=4), inner, min_size=1, max_size=3),
    max_leaves=6,
)


def leaves(value, path):
    if isinstance(value, dict):
        for key, one in value.items():
            quoted = json.dumps(key)
            yield from leaves(one, f"{path}[{quoted}]")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, f"{path}[{number}]")
    else:
        yield path, value


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_any_partial_arguments(value):
    arguments = PartialArguments()
    for path, leaf in leaves(value, "$"):
        if isinstance(leaf, str):
            for letter in leaf:
                arguments.add(piece(path, stringValue=letter))
        elif isinstance(leaf, bool):
            arguments.add(piece(path, boolValue=leaf))
        elif leaf is None:
            arguments.add(piece(path, nullValue=None))
        else:
            arguments.add(piece(path, numberValue=float(leaf)))
    assert json.loads(arguments.text(complete=True)) == value
    with pytest.raises(ValueError, match=r"."):
        json.loads(arguments.text(complete=False))


def test_partial_arguments_that_come_whole_as_well(read):
    signed = {"functionCall": {"name": "f", "willContinue": True}, "thoughtSignature": "c2ln"}
    late = {"functionCall": {"args": {"a": 1}, "partialArgs": [piece("$.b", boolValue=True), piece("$.c")]}, "thought": True}
    calls = read(gemini.answer(signed, finish=None), gemini.answer(late), tools=[ANY])
    assert calls[0] == {"a": 1, "b": True}
    assert calls.messages[1]["parts"] == [
        {"functionCall": {"name": "f", "args": {"a": 1, "b": True}}, "thought": True, "thoughtSignature": "c2ln"}
    ]


@pytest.mark.parametrize("path", ["$.a", "$.a.b.c", "$.a[0]", "$.a.b[1]", "$.c[2].d"])
def test_partial_argument_against_another(read, path):
    pieces = [piece("$.a.b", stringValue="x"), piece(path, stringValue="y")]
    calls = read(begun(*pieces, name="f"), END, tools=[ANY])
    assert [call.outcome for call in calls.calls] == ["invalid"]


SHAPE = st.deferred(
    lambda: (
        JSON
        | st.lists(SHAPE, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "candidates", "content", "parts", "functionCall", "function_call", "name", "id", "args", "partialArgs", "jsonPath",
                "stringValue", "numberValue", "willContinue", "finishReason", "index", "text", "thought", "thoughtSignature",
                "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "modelVersion",
            ]),
            SHAPE,
            max_size=4,
        )
    )
)  # fmt: skip
PIECE = st.fixed_dictionaries(
    {"jsonPath": st.sampled_from(["$.a", "$.b[0]", "$.b[1].c"])}, optional={"stringValue": JSON, "numberValue": JSON}
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["f", "", None]) | JSON,
        "args": SHAPE,
        "id": JSON,
        "willContinue": st.booleans(),
        "partialArgs": st.lists(PIECE | JSON, max_size=2) | SHAPE,
    },
)
PART = st.fixed_dictionaries({}, optional={"functionCall": CALL | SHAPE, "text": SHAPE, "thought": SHAPE, "other": JSON})
CANDIDATE = st.fixed_dictionaries(
    {},
    optional={
        "content": st.fixed_dictionaries({"parts": st.lists(PART, max_size=4)}) | SHAPE,
        "finishReason": SHAPE,
        "index": SHAPE,
    },
)
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(CANDIDATE, max_size=3) | SHAPE,
        "promptFeedback": SHAPE,
        "usageMetadata": SHAPE,
        "error": SHAPE,
    },
)


@given(st.lists(EVENT, max_size=4), st.booleans())
def test_anything(events, whole):
    """Whatever a server sends, there is an answer or an error for it, and a turn that can be sent back."""
    decoder = GeminiDecoder()
    assembler = Assembler(seal_on_close=False)
    made = []
    for event in events[:1] if whole else events:
        try:
            deltas = [item for item in decoder.feed(event, whole=whole) if isinstance(item, CallDelta)]
        except polycall.TransportError:
            break
        made += assembler.feed(deltas)
    made += assembler.close({}, None)
    calls = [replace(one, id=f"i{one.index}") for one in made if isinstance(one, ToolCall)]
    calls.sort(key=lambda call: call.index)
    turn = decoder.turn(calls)
    json.dumps(decoder.body(calls))
    assert sum("functionCall" in part for content in turn for part in content["parts"]) == len(calls)
    for count in range(len(calls)):
        begun = decoder.turn(calls[:count])
        assert sum("functionCall" in part for content in begun for part in content["parts"]) == count


def test_the_beginning_of_a_turn():
    """What is asked again while the stream runs holds only the calls that are complete."""
    decoder = GeminiDecoder()
    parts = [gemini.call("f", {"a": 1}, signature="c2ln"), {"text": "x"}, gemini.call("f", {"a": 2})]
    assert len([*decoder.feed(gemini.answer(*parts, finish=None), whole=False)]) == 3
    (turn,) = decoder.turn([ToolCall(0, "c1", "f", '{"a":1}')])
    assert turn == {"role": "model", "parts": parts[:2]}


def test_reason_that_is_wanted():
    """The older SDK drops reasons that it does not know."""
    body = gemini.answer(gemini.call("f", {}), finish=None)
    items = list(GeminiDecoder(wants_reason=True).feed(body, whole=True))
    assert [type(item) for item in items] == [CallDelta, Stop]
    assert items[1].cut == "the service does not say why the model stopped"
    assert [type(item) for item in GeminiDecoder().feed(body, whole=True)] == [CallDelta]


# ---------------------------------------------------------------------------------------------------------- conversations

PICTURE = "data:image/png;base64,QUJD"
SAID = [
    {"role": "system", "content": "One."},
    {"role": "developer", "content": "Two."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
            {"type": "file", "file": {"file_id": "files/7", "filename": "a.pdf"}},
        ],
    },
    {"role": "user", "content": "And?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "Search", "arguments": '{"query": "a"}'}},
            {"id": "c2", "type": "function", "function": {"name": "Search", "arguments": "broken"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "text"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
    {"role": "user", "content": "Go on."},
]


@pytest.mark.parametrize("provider", ["google", "vertex"])
def test_messages(server, clients, provider):
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    before = json.dumps(SAID)
    clients[provider].create(SAID, tools=[Search], model="m", system="Zero.")
    assert json.dumps(SAID) == before
    gemini.check_body(server.last, provider)
    assert server.last["systemInstruction"] == {"parts": [{"text": "Zero."}, {"text": "One."}, {"text": "Two."}]}
    picture = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    answers = [
        {"functionResponse": {"name": "Search", "response": {"output": "text"}, "id": "c1"}},
        {"functionResponse": {"name": "Search", "response": {"output": ""}, "id": "c2", "parts": [picture]}},
    ]
    assert server.last["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                picture,
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.jpg"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "files/7"}},
                {"text": "And?"},
            ],
        },
        {
            "role": "model",
            "parts": [
                gemini.call("Search", {"query": "a"}, id="c1"),
                gemini.call("Search", {"invalid_arguments": "broken"}, id="c2"),
            ],
        },
        {"role": "user", "parts": answers},
        {"role": "user", "parts": [{"text": "Go on."}]},
    ]


@pytest.mark.parametrize(
    ("model", "signed"), [("gemini-2.5-pro", False), ("gemini-3.8-flash", True), ("gemini-flash-latest", True)]
)
def test_calls_of_another_model(server, clients, model, signed):
    """Models that refuse calls without a signature are told that another one made them."""
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    clients["google"].create(SAID, tools=[Search], model=model)
    parts = server.last["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["skip_thought_signature_validator" if signed else None, None]
    with ModelServer([Turn(text="Done.")]) as strict, connected(strict, "google") as client:
        client.create([*SAID[:-1]], tools=[Search], model=model)
        gemini.check_body(strict.last, "google")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "system", "content": "x"}], "nothing to answer"),
        ([{"role": "tool", "tool_call_id": "c9", "content": "x"}], "needs the tool's name"),
        ([{"role": "user", "parts": 3}], "texts and mappings"),
        ([{"role": "user", "content": [{"type": "file", "file": {"filename": "a"}}]}], "without data"),
    ],
)
def test_messages_refused(clients, messages, words):
    with pytest.raises(polycall.UsageError, match=words):
        clients["google"].create(messages, tools=[Search], model="m")


def test_native_messages_with_ours(server, clients):
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    messages = [
        {"role": "system", "parts": [{"text": "S"}]},
        {"parts": {"text": "?"}},
        {"role": "model", "parts": [{"function_call": {"name": "Search", "args": {}, "id": "n1"}, "thought_signature": "c2ln"}]},
        {"role": "tool", "tool_call_id": "n1", "content": '{"a":1}'},
    ]
    clients["google"].create(messages, tools=[Search], model="m")
    assert server.last["systemInstruction"] == {"parts": [{"text": "S"}]}
    assert server.last["contents"][1] == messages[2]
    assert server.last["contents"][2]["parts"] == [
        {"functionResponse": {"name": "Search", "response": {"output": {"a": 1}}, "id": "n1"}}
    ]


class Dumped:
    """Stands for the older SDK's configuration."""

    def to_dict(self):
        return {"max_output_tokens": 3}


def test_options(server, clients):
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    given = {"generation_config": Dumped(), "seed": None, "automatic_function_calling": {"disable": True}}
    clients["vertex"].create("?", tools=[Search], model="m", continuation_token=b"ab", system="", **given)
    gemini.check_body(server.last, "vertex")
    assert server.last["generationConfig"] == {"maxOutputTokens": 3}
    assert server.last["continuationToken"] == "YWI="
    assert "systemInstruction" not in server.last


def test_answers_follow_answers(server, clients):
    """The messages of several tools become one content; one with nothing in it is left out."""
    server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
    told = [{"role": "tool", "name": "Search", "content": "x"}, {"role": "assistant", "content": None}]
    clients["google"].create(
        [{"role": "user", "content": "?"}, *told, {"role": "user", "content": "!"}], tools=[Search], model="m"
    )
    assert [len(content["parts"]) for content in server.last["contents"]] == [1, 1, 1]
    assert server.last["contents"][1]["parts"] == [{"functionResponse": {"name": "Search", "response": {"output": "x"}}}]


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ('{"a":[1,null]}', {"a": [1, None]}),
        ("[]", []),
        ('{"a": 1}', '{"a": 1}'),
        ('{"a":12345678901234567890}', '{"a":12345678901234567890}'),
        ('{"a":', '{"a":'),
        ("3", "3"),
        ("", ""),
    ],
)
def test_results(read, content, output):
    """Structured results are those that read back as they were written."""
    calls = read(gemini.answer(gemini.call("Search", {"query": "q"})))
    (result,) = calls.reply({0: content})[-1]["parts"]
    assert result["functionResponse"]["response"] == {"output": output}


@pytest.mark.parametrize("provider", ["google", "vertex"])
@pytest.mark.parametrize("stream", [False, True])
def test_asked_again(provider, stream):
    wrong = Said("Search", {"query": "b"}, wrong='{"query": 5}')
    with ModelServer([Turn(calls=[Said("Search", {"query": "a"}), wrong], text="Hm."), Turn(text="Done.")]) as server:
        with connected(server, provider) as client:
            calls = client.create("?", response_model=Iterable[Search], model="gemini-3.8-flash", stream=stream)
            calls = calls.result() if stream else calls
            assert [call.query for call in calls] == ["a", "b"]
            for request in server.requests:
                gemini.check_body(request.body, provider)
            final = client.create(calls.reply({0: "x", 1: "y"}), tools=[Search], model="gemini-3.8-flash")
        assert final.text == "Done."


# ------------------------------------------------------------------------------------------------------------------ dialect


@pytest.mark.parametrize(
    ("schema", "sent", "dropped"),
    [
        ({"const": "a"}, {"enum": ["a"], "type": "string"}, ()),
        ({"const": True}, {"enum": [True], "type": "boolean"}, ()),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}, ()),
        ({"type": "integer", "exclusiveMaximum": 9, "maximum": 3}, {"type": "integer", "maximum": 3}, ()),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "minimum": 0}, ("exclusiveMinimum",)),
        ({"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}, ()),
        ({"$ref": "#/$defs/A", "description": "d"}, {"anyOf": [{"$ref": "#/$defs/A"}], "description": "d"}, ()),
        (
            {"oneOf": [{"type": "string"}], "discriminator": {"propertyName": "k"}},
            {"anyOf": [{"type": "string"}]},
            ("discriminator",),
        ),
        ({"properties": {"const": {"type": "string"}}}, {"properties": {"const": {"type": "string"}}}, ()),
        (
            {"$ref": "#/$defs/A", "anyOf": [{"type": "null"}], "title": "t"},
            {"anyOf": [{"type": "null"}], "title": "t"},
            ("$ref",),
        ),
        ({"const": [1]}, {"enum": [[1]]}, ()),
        ({"items": True}, {"items": True}, ()),
        ({"exclusiveMinimum": True}, {}, ()),
        ({"default": {"const": 1}}, {"default": {"const": 1}}, ()),
        ({"type": "string", "pattern": "a", "examples": ["a"], "$schema": "x"}, {"type": "string", "pattern": "a"}, ()),
    ],
)
def test_dialect(schema, sent, dropped):
    whole = {"type": "object", "properties": {"x": schema}}
    before = json.dumps(whole)
    dialected = gemini_schema(whole)
    assert dialected.schema == {"type": "object", "properties": {"x": sent}}
    assert dialected.dropped == tuple(f"properties.x: {keyword}" for keyword in dropped)
    assert json.dumps(whole) == before


def test_nothing_is_imported_early():
    import subprocess

    code = "import sys, polycall.formats.gemini, polycall._vertex; print([m for m in sys.modules if m.startswith('google')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "google.auth" not in done.stdout
