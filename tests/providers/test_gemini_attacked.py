"""What has gone wrong with Gemini once: odd answers, odd messages, and what is sent back of them."""

from __future__ import annotations

import json
import random

import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel
from tests.support import gemini
from tests.support.loopback import Answer, Server

import polycall
from polycall._dialect_gemini import gemini_schema
from polycall.errors import UsageError
from polycall.formats._gemini_decoder import GeminiDecoder
from polycall.testing._gemini_rules import problem

pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),  # the SDK's own
    pytest.mark.filterwarnings("ignore:.* is not a valid:UserWarning"),  # how it takes a reason that it does not know
]


class Weather(BaseModel):
    location: str


class Search(BaseModel):
    query: str


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module", params=["sdk", "direct"])
def client(request, server):
    if request.param == "direct":
        with polycall.from_provider("google/gemini-3-pro", api_key="k", base_url=server.origin) as client:
            yield client
        return
    sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=server.origin))
    yield polycall.from_genai(sdk, model="gemini-3-pro")
    sdk.close()


@pytest.fixture
def read(server, client):
    """Return what reads chunks as a stream, and one body as a whole."""

    def read(*chunks, stream=True, **options):
        server.requests.clear()
        server.answer = Answer(gemini.stream(*chunks) if stream else gemini.whole(chunks[0]))
        given = {"tools": [Weather, Search], "errors": "return", "max_retries": 0, **options}
        calls = client.create("?", stream=stream, **given)
        return calls.result() if stream else calls

    return read


@pytest.fixture
def sent(server, client):
    """Return what sends messages and gives the contents that the server saw."""

    def sent(*messages, **options):
        server.requests.clear()
        server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
        client.create(list(messages), tools=[Weather], **options)
        return server.last["contents"]

    return sent


CALL = gemini.call("Weather", {"location": "a"})

# ---------------------------------------------------------------------------------------------------------------- answers


def test_reason_that_says_nothing(read):
    """It is the default of the field, which some servers write into every chunk."""
    calls = read(gemini.answer(CALL, finish="FINISH_REASON_UNSPECIFIED"))
    assert [type(error).__name__ for error in calls.errors] == ["CutOffError"]
    assert calls.finish_reason is None
    calls = read(gemini.answer(CALL, finish="FINISH_REASON_UNSPECIFIED"), gemini.answer({"text": "a"}))
    assert (calls.errors, calls.finish_reason) == ((), "STOP")


def test_blocked_for_no_reason(read):
    feedback = {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}
    calls = read({**gemini.answer(CALL), **feedback}, stream=False)
    assert (calls.errors, calls.finish_reason, len(calls)) == ((), "STOP", 1)


def test_fields_that_are_null(read):
    empty = {"text": None, "functionCall": None, "inlineData": None, "thought": None}
    calls = read(
        gemini.answer(empty, {**empty, **CALL, "thoughtSignature": None}, {**empty, "text": "a"}, {**empty, "text": "b"})
    )
    assert calls.messages[1]["parts"] == [CALL, {"text": "ab"}]


def test_candidate_whose_number_is_left_out(read):
    one = {"index": 1, "content": {"parts": [{"text": "b"}, CALL]}}
    zero = {"content": {"parts": [{"text": "a"}, gemini.call("Search", {"query": "q"})]}}
    calls = read({"candidates": [one, zero]}, {"candidates": [{"finishReason": "STOP"}, {"index": 1, "finishReason": "STOP"}]})
    assert (calls.text, calls.errors) == ("b", ())
    assert len(calls.response["candidates"] if isinstance(calls.response, dict) else calls.response.candidates) == 2


def test_calls_of_several_candidates_are_in_the_order_of_their_answers(read):
    """Without ids nothing but the order says which answer is whose."""

    def chunk(*candidates):
        given = enumerate(candidates)
        return {"candidates": [{"index": number, "content": {"role": "model", "parts": parts}} for number, parts in given]}

    def call(city):
        return gemini.call("Weather", {"location": city})

    calls = read(
        chunk([{"text": "t"}, call("a")], [{"text": "other"}, call("b")]),
        chunk([{"text": "u"}, call("c"), {"text": "v"}], [call("d")]),
        {"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "finishReason": "STOP"}]},
    )
    assert [value.location for value in calls] == ["a", "b", "c", "d"]
    assert calls.messages[1]["parts"] == [{"text": "t"}, call("a"), call("b"), {"text": "u"}, call("c"), call("d"), {"text": "v"}]


def test_what_a_candidate_says_beside_is_kept(read):
    late = {"candidates": [{"index": 0, "groundingMetadata": {"webSearchQueries": ["q"]}}]}
    response = read(gemini.answer(CALL, finish=None), late, gemini.answer()).response
    if isinstance(response, dict):
        assert response["candidates"][0]["groundingMetadata"] == {"webSearchQueries": ["q"]}
    else:
        assert response.candidates[0].grounding_metadata.web_search_queries == ["q"]


def test_reason_by_its_number():
    decoder = GeminiDecoder()
    items = list(decoder.feed({"candidates": [{"content": {}, "finishReason": 9}]}, whole=True))
    assert [(item.reason, item.calls) for item in items] == [("9", True)]


# --------------------------------------------------------------------------------------------------------------- messages


def test_classes_that_set_the_role_themselves(sent):
    assert [content["role"] for content in sent(types.UserContent("a"), types.ModelContent("b"), types.UserContent("c"))] == [
        "user",
        "model",
        "user",
    ]


def test_objects_of_the_sdk_within_mappings(sent):
    image = types.Part.from_bytes(data=b"\x89\xff\xfe", mime_type="image/png")
    (content,) = sent({"role": "user", "parts": [types.Part.from_text(text="a"), image, "b"]})
    assert [min(part) for part in content["parts"]] == ["text", "inlineData", "text"]


@pytest.mark.parametrize("key", ["inline_data", "inlineData"])
def test_bytes(sent, key):
    signed = {"text": "b", "thought_signature": b"\xfb\xff\xfe"}
    asked, said = sent(
        {"role": "user", "parts": [{key: {"mime_type": "image/png", "data": b"\xfb\xff\xfe"}}]},
        {"role": "model", "parts": [signed]},
    )
    blob = asked["parts"][0].get("inlineData") or asked["parts"][0]["inline_data"]
    signature = said["parts"][0].get("thoughtSignature") or said["parts"][0]["thought_signature"]
    assert {blob["data"], signature} <= {"+//+", "-__-"}


def test_parts_instead_of_messages(sent):
    """As the SDK has them: those that follow each other are one content."""
    call = types.Part.from_function_call(name="Weather", args={"location": "a"})
    answers = [types.Part.from_function_response(name="Weather", response={"output": number}) for number in range(2)]
    contents = sent(types.Part(text="a"), types.Part(text="b"), types.Content(role="model", parts=[call, call]), *answers)
    assert [(content["role"], len(content["parts"])) for content in contents] == [("user", 2), ("model", 2), ("user", 2)]


@pytest.mark.parametrize(
    ("url", "mime"),
    [
        ("https://a.b/c.png?d=e", "image/png"),
        ("https://a.b/c.webp", "image/webp"),
        ("https://[a/c", None),
        ("https://a.b/c", None),
    ],
)
def test_address_of_an_image(sent, url, mime):
    (content,) = sent({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
    file = content["parts"][0]["fileData"]
    assert file.get("mimeType", file.get("mime_type")) == mime


# ---------------------------------------------------------------------------------------------------------------- options


def test_options_of_the_sdk_are_not_sent(server):
    with polycall.from_provider("google/m", api_key="k", base_url=server.origin) as client:
        with pytest.raises(UsageError, match="http_options= is not for Gemini"):
            client.create("?", tools=[Weather], config={"http_options": {"headers": {"x": "secret"}}})
        body = client.payload("?", tools=[Weather], config={"http_options": None, "automatic_continuation": False})
    assert set(body) == {"contents", "tools"}


def test_http_options_that_the_sdk_refuses(server):
    sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=server.origin))
    with pytest.raises(UsageError, match="google-genai does not take this of the request: bogus"):
        polycall.from_genai(sdk, model="m").create("?", tools=[Weather], http_options={"bogus": "secret"})
    sdk.close()


@pytest.mark.parametrize("stream", [False, True])
def test_streamed_arguments_are_asked_for_in_streams_alone(server, stream):
    calling = {"mode": "ANY", "stream_function_call_arguments": True}
    with polycall.from_provider("google/m", api_key="k", base_url=server.origin) as client:
        given = {"tools": [Weather], "stream": stream}
        body = client.payload("?", config={"tool_config": {"function_calling_config": calling}}, **given)
        alone = client.payload("?", config={"tool_config": {"function_calling_config": {**calling, "mode": None}}}, **given)
    assert ("streamFunctionCallArguments" in body["toolConfig"]["functionCallingConfig"]) is stream
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    assert calling == {"mode": "ANY", "stream_function_call_arguments": True}
    assert "streamFunctionCallArguments" in json.dumps(alone) or not stream


def test_odd_bounds():
    def bounded(**more):
        return gemini_schema({"type": "object", "properties": {"x": {"type": "integer", **more}}}).schema["properties"]["x"]

    assert bounded(exclusiveMinimum=10**400)["minimum"] == 10**400 + 1
    assert bounded(exclusiveMinimum=2.0) == {"type": "integer", "minimum": 3}
    assert bounded(exclusiveMaximum=2.5) == {"type": "integer", "maximum": 2.5}
    assert bounded(exclusiveMinimum=1, minimum="words") == {"type": "integer", "minimum": 2}
    assert bounded(exclusiveMinimum=1, minimum=7) == {"type": "integer", "minimum": 7}
    assert bounded(exclusiveMaximum=True, maximum=3) == {"type": "integer", "maximum": 3}


# ----------------------------------------------------------------------------------------------------------- conversations


SIGNED = {"thoughtSignature": "skip_thought_signature_validator"}
"""What is taken for a signature of anything."""


class Model:
    """Says anything at random; the first call of each candidate has a signature, and calls have ids all or not at all."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.ids = self.random.random() < 0.5

    def parts(self, *, pieces=True):
        made, signature = [], SIGNED
        for _ in range(self.random.randint(0, 4)):
            kind = self.random.choice(["text", "thought", "code", "call", "call", "call", "pieces" if pieces else "call"])
            if kind == "text":
                made.append({"text": self.random.choice(["a", "b ", ""])})
            elif kind == "thought":
                made.append(self.random.choice([{"text": "hm", "thought": True}, {"thought": True, **SIGNED}]))
            elif kind == "code":
                made.append({"executableCode": {"language": "PYTHON", "code": "1"}})
            else:
                made += self.call(signature, whole=kind == "call")
                signature = {}
        return made

    def call(self, signature, *, whole):
        identity = {"id": self.random.choice(["i1", "i2", f"i{self.random.random()}"])} if self.ids else {}
        if not whole:
            start = {"name": self.random.choice(["Weather", "Search"]), "willContinue": True, **identity}
            piece = {"jsonPath": self.random.choice(["$.location", "$.query", "$.a[0].b"]), "stringValue": "x"}
            end = [{"functionCall": {}}] if self.random.random() < 0.8 else []
            middle = {"functionCall": {"partialArgs": [piece], "willContinue": True}}
            return [{"functionCall": start, **signature}, middle, *end]
        name = self.random.choice(["Weather", "Search", "Nope", "not legal!", ""])
        args = self.random.choice([{"location": "x"}, {"query": "q"}, {}, {"location": 5}, {"location": "\ud83d"}])
        return [{"functionCall": {"name": name, "args": args, **identity}, **signature}]

    def chunks(self):
        parts, finish = self.parts(), self.random.choice(["STOP", "STOP", "MAX_TOKENS", "MALFORMED_FUNCTION_CALL", None])
        chunks = [gemini.answer(part, finish=None) for part in parts]
        if self.random.random() < 0.3:
            for chunk in chunks[:1]:
                chunk["candidates"].append({"index": 1, "content": {"parts": self.parts(pieces=False)}, "finishReason": "STOP"})
        return [*chunks, gemini.answer(finish=finish)]


@pytest.mark.parametrize("seed", range(60))
def test_what_is_sent_back_is_taken(server, client, seed):
    """Whatever the model has said: asked again, early or at the end, and answered."""
    model = Model(seed)
    server.requests.clear()
    server.queue.append(Answer(gemini.stream(*model.chunks())))
    server.answer = Answer(
        gemini.stream(gemini.answer(gemini.call("Weather", {"location": "y"}, signature=SIGNED["thoughtSignature"])))
    )
    options = {"tools": [Weather, Search], "errors": "return"}
    more = {"max_retries": model.random.randint(0, 2), "reask": model.random.choice(["early", "end"])}
    try:
        calls = client.create(
            [{"role": "system", "content": "S"}, {"role": "user", "content": "?"}], stream=True, **options, **more
        )
        calls = calls.result()
    except polycall.TransportError:
        return  # there was nothing in it
    if calls.calls:
        server.answer = Answer(gemini.whole(gemini.answer({"text": "ok"})))
        client.create(calls.reply({place: {"a": place} for place in range(len(calls.calls))}), **options)
    for request in server.requests:
        gemini.check_body(request.body, "google")
        assert problem(request) is None
