"""OpenAI chat completions: the bodies that are sent, and the SDK's own objects that come back."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable
from typing import Annotated, Literal

import jsonschema_rs
import openai
import pytest
from dirty_equals import IsPartialDict
from inline_snapshot import snapshot
from pydantic import BaseModel, Field
from tests.support import chat, memory
from tests.support.loopback import Answer, Server
from tests.support.recorded import TESTS, answered, exchanges, streams
from typing_extensions import TypedDict

import polycall
from polycall._services import LLAMACPP
from polycall.provider import Connection

SPEC = json.loads((TESTS / "spec" / "openai.json").read_bytes())
VALIDATOR = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/" + SPEC["x-roots"]["chat.completions"]})


def check_body(body):
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in VALIDATOR.iter_errors(body)]
    assert not problems
    json.dumps(body, allow_nan=False)


class Weather(BaseModel):
    """Get the weather."""

    location: str = Field(description="The city.")
    units: Literal["imperial", "metric"] = "metric"


@dataclasses.dataclass
class Search:
    query: str
    limit: int | None = None


class Point(TypedDict):
    x: float
    y: float


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Node(BaseModel):
    level: Level = Level.LOW
    children: list[Node] = []
    labels: dict[str, int] = {}


def look_up(word: str, languages: list[str] | None = None) -> str:
    """Look a word up.

    Args:
        word: What to look up.
        languages: Where to look; all when left out.
    """
    return f"{word} in {languages}"


async def ping() -> None:
    pass


def broken_defaults(values: dict[str, int], depth: Annotated[int, Field(ge=0, le=9)] = 3) -> int:
    return len(values) + depth


RAW = polycall.Tool(
    "raw tool/with a name of its own",
    "Anything.",
    {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}}, "minProperties": 1},
)
KINDS = {
    "model": Weather,
    "dataclass": Search,
    "TypedDict": Point,
    "recursive model": Node,
    "function": look_up,
    "async function": ping,
    "function with bounds": broken_defaults,
    "schema": RAW,
    "no schema": polycall.Tool("bare"),
}
TOOLS = list(KINDS.values())
QUESTION = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather in Oslo?"}]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def client(sdk):
    return polycall.from_openai(sdk, model="m", max_retries=0)


@pytest.fixture
def sent(server, client):
    """Return a function that asks and gives the body that arrived at the server."""
    server.answer = Answer(chat.body(chat.whole(content="ok", finish="stop")))

    def sent(messages="?", *, via=client, **options):
        options = options if {"tools", "response_model"} & options.keys() else {"tools": TOOLS, **options}
        answer = via.create(messages, errors="return", **options)
        if options.get("stream"):
            answer.result()
        return server.last

    return sent


# ------------------------------------------------------------------------------------------------------------------ bodies


def test_whole_body(sent):
    body = sent(QUESTION, response_model=Iterable[Weather | Search], temperature=0, parallel=True)
    check_body(body)
    assert body == snapshot(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Use tools."},
                {"role": "user", "content": "Weather in Oslo?"},
            ],
            "parallel_tool_calls": True,
            "temperature": 0,
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "Weather",
                        "description": "Get the weather.",
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "location": {"description": "The city.", "type": "string"},
                                "units": {
                                    "anyOf": [
                                        {"enum": ["imperial", "metric"], "type": "string"},
                                        {"type": "null"},
                                    ]
                                },
                            },
                            "required": ["location", "units"],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
                {
                    "type": "function",
                    "function": {
                        "name": "Search",
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "query": {"type": "string"},
                                "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                            },
                            "required": ["query", "limit"],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
            ],
        }
    )


def test_whole_body_of_a_stream(sent):
    body = sent("?", tools=[ping, RAW], stream=True, tool_choice="required")
    check_body(body)
    assert body == snapshot(
        {
            "model": "m",
            "stream": True,
            "messages": [{"role": "user", "content": "?"}],
            "stream_options": {"include_usage": True},
            "tool_choice": "required",
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "ping",
                        "parameters": {
                            "type": "object",
                            "properties": {},
                            "required": [],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
                {
                    "type": "function",
                    "function": {
                        "name": "raw_tool_with_a_name_of_its_own",
                        "description": "Anything.",
                        "parameters": {
                            "type": "object",
                            "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                            "required": ["a"],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
            ],
        }
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("strict", [True, False])
def test_every_kind_of_tool_is_taken(kind, strict, sent):
    body = sent(tools=[kind], schema_strict=strict)
    check_body(body)
    (tool,) = body["tools"]
    assert tool["function"].get("strict", False) is False or strict
    jsonschema_rs.validator_for(tool["function"]["parameters"])


CHOICES = {
    "nothing": {},
    "auto": {"tool_choice": "auto"},
    "required": {"tool_choice": "required"},
    "none": {"tool_choice": "none"},
    "tool": {"tool_choice": Weather},
    "tool by name": {"tool_choice": "Search"},
    "function": {"tool_choice": look_up},
    "schema": {"tool_choice": RAW},
    "allowed": {"tool_choice": [Weather, look_up]},
    "allowed one": {"tool_choice": ["Weather"]},
    "parallel": {"parallel": True},
    "not parallel": {"parallel": False},
    "options": {"temperature": 0.5, "seed": 1, "max_completion_tokens": 9, "stop": ["x"], "user": "u", "n": 2},
    "service": {"service_tier": "flex", "store": False, "metadata": {"a": "b"}, "reasoning_effort": "low"},
}


@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_option_is_taken(options, stream, sent):
    body = sent(stream=stream, **options)
    check_body(body)
    assert body.get("stream", False) is stream
    assert body.get("stream_options") == ({"include_usage": True} if stream else None)
    assert len(body["tools"]) == len(TOOLS)
    passed = {key: value for key, value in options.items() if key not in {"tool_choice", "parallel"}}
    assert body == IsPartialDict(passed)
    assert body.get("parallel_tool_calls") is options.get("parallel")


def test_spelling_of_choices(sent):
    function = {"type": "function", "function": {"name": "Weather"}}
    assert "tool_choice" not in sent()
    assert "tool_choice" not in sent(tool_choice="auto")
    assert sent(tool_choice="none")["tool_choice"] == "none"
    assert sent(tool_choice=Weather)["tool_choice"] == function
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function]}}
    assert sent(tool_choice=[Weather])["tool_choice"] == allowed


SERVICES = {
    "api.mistral.ai": {"stream_options": False, "strict": True},
    "api.groq.com": {"stream_options": True, "strict": True},
    "api.deepseek.com": {"stream_options": True, "strict": False},
    "generativelanguage.googleapis.com": {"stream_options": True, "strict": False},
    "api.together.xyz": {"stream_options": True, "strict": True},
    "openrouter.ai": {"stream_options": True, "strict": True},
    "eu.api.x.ai": {"stream_options": True, "strict": True},
    "notgroq.com": {"stream_options": True, "strict": True, "allowed": True},
}


@pytest.mark.parametrize(("host", "facts"), SERVICES.items(), ids=SERVICES)
def test_services_differ(host, facts):
    with openai.OpenAI(base_url=f"https://{host}/v1", api_key="k") as sdk:
        client = polycall.from_openai(sdk, model="m")
        body = client.payload("?", tools=[Weather, Search], tool_choice=[Weather], stream=True)
    check_body(body)
    assert ("stream_options" in body) is facts["stream_options"]
    assert body["tools"][0]["function"].get("strict", False) is facts["strict"]
    if facts.get("allowed"):
        assert body["tool_choice"]["type"] == "allowed_tools"
    else:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["Weather"]
        assert "tool_choice" not in body


def test_llama_cpp_wants_to_be_asked_for_parallel_calls():
    script = memory.Script(chat.streamed([chat.entry("Search", '{"query": "x"}', id="a")]))
    client = polycall.Client(Connection(memory.InMemory(LLAMACPP), script, blocking=True), model="m")
    body = client.payload("?", tools=TOOLS, tool_choice=[Weather, Search])
    check_body(body)
    assert body["parallel_tool_calls"] is True
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Weather", "Search"]
    assert "tool_choice" not in body
    assert not any("strict" in tool["function"] for tool in body["tools"])
    forced = client.payload("?", tools=[Weather, Search], tool_choice=Search, parallel=False)
    assert ([tool["function"]["name"] for tool in forced["tools"]], forced["tool_choice"]) == (["Search"], "required")
    assert forced["parallel_tool_calls"] is False
    assert client.stream("?", tools=[Search]).result()[0] == Search("x")


def test_transport_options_are_no_part_of_the_body(server, sent):
    body = sent(extra_headers={"x-own": "1"}, extra_query={"q": "2"}, extra_body={"provider": {"order": ["a"]}})
    check_body(body)
    assert server.requests[-1].headers["x-own"] == "1"
    assert server.requests[-1].path == "/v1/chat/completions?q=2"
    assert body["provider"] == {"order": ["a"]}
    assert not body.keys() & {"extra_headers", "extra_query", "extra_body", "timeout"}


def test_defaults_and_options(sent, sdk):
    own = polycall.from_openai(sdk, model="one", temperature=0.1, seed=5)
    body = sent(via=own, seed=6)
    assert (body["model"], body["temperature"], body["seed"]) == ("one", 0.1, 6)
    assert sent(via=own, model="two")["model"] == "two"


@pytest.mark.parametrize("stream", [False, True])
def test_same_request_same_bytes(stream, server, sent, client):
    options = {"tools": TOOLS, "tool_choice": [Weather, Search], "parallel": True, "stream": stream, "temperature": 1}
    bodies = set()
    for _ in range(3):
        body = sent(QUESTION, **options)
        bodies.add(server.requests[-1].raw)
        assert client.payload(QUESTION, **options) == body
    assert len(bodies) == 1


def test_nothing_that_was_given_is_changed(sent):
    messages = [*QUESTION, {"role": "user", "content": [{"type": "text", "text": "and Rome?"}]}]
    before = json.dumps(messages)
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string", "title": "T"}}}
    kept = json.dumps(schema)
    body = sent(messages, tools=[polycall.Tool("t", None, schema)])
    assert json.dumps(messages) == before
    assert json.dumps(schema) == kept
    assert body["messages"] == messages


RECORDED = [
    pytest.param(one, id=one.id)
    for one in exchanges()
    if one.request is not None and one.request.get("tools") and VALIDATOR.is_valid(one.request)
]


def offered(request):
    functions = [tool["function"] for tool in request["tools"] if tool.get("type") == "function"]
    return [polycall.Tool(one["name"], one.get("description"), one.get("parameters")) for one in functions]


@pytest.mark.parametrize("one", RECORDED)
def test_recorded_requests_can_be_asked_again(one, client):
    choice = one.request.get("tool_choice")
    options = {"tool_choice": choice if isinstance(choice, str) else None, "messages": one.request["messages"]}
    tools = offered(one.request)
    for stream in (False, True):
        body = client.payload(tools=tools, stream=stream, parallel=one.request.get("parallel_tool_calls"), **options)
        check_body(body)
        assert body["messages"] == one.request["messages"]
        assert [tool["function"]["name"] for tool in body["tools"]] == [tool.name for tool in tools]


# ---------------------------------------------------------------------------------------------------------- continuations

WITH_CALLS = [pytest.param(one, id=one.id) for one in answered() if one.calls]


@pytest.mark.parametrize("one", WITH_CALLS)
def test_conversation_goes_on(one, client):
    calls = memory.replay([one.body], one.tools, stream=one.stream)
    results = {call.index: {"position": call.index} for call in calls.calls}
    messages = calls.reply(results)
    check_body(client.payload(messages, tools=one.tools))
    question, turn, *answers = messages
    assert question == {"role": "user", "content": "?"}
    assert calls.messages == [question, turn]
    ids = [entry["id"] for entry in turn["tool_calls"]]
    assert len(set(ids)) == len(ids) == len(calls.calls)
    assert [(answer["role"], answer["tool_call_id"]) for answer in answers] == [("tool", one_id) for one_id in ids]
    assert [json.loads(answer["content"]) for answer in answers] == list(results.values())
    for entry, call in zip(turn["tool_calls"], calls.calls, strict=True):
        assert entry["function"] == {"name": call.name, "arguments": call.arguments or "{}"}
        assert entry["id"] == call.id or not call.id or ids.count(call.id) == 1
    assert json.dumps(turn)


def test_reasoning_and_signatures_go_back():
    """DeepSeek wants its reasoning back, and Gemini the signature that came with the call."""
    entry = chat.entry("Search", '{"query": "x"}', id="a", extra_content={"google": {"thought_signature": "s"}})
    parts = [chat.chunk(reasoning_content="Let "), chat.chunk(reasoning_content="me."), chat.chunk({**entry, "index": 0})]
    whole = chat.body(chat.whole(entry, reasoning_content="Let me."))
    for chunks, stream in (([whole], False), (chat.stream(*parts), True)):
        turn = memory.replay(chunks, [Search], stream=stream).messages[-1]
        assert turn["reasoning_content"] == "Let me."
        assert turn["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}


def test_turn_without_calls_goes_back():
    turn = memory.replay(chat.stream(chat.chunk(content="Hi"), finish="stop"), [Search]).messages[-1]
    assert turn == {"role": "assistant", "content": "Hi"}
    turn = memory.replay(chat.stream(chat.chunk(), finish="stop"), [Search]).messages[-1]
    assert turn == {"role": "assistant", "content": ""}


# --------------------------------------------------------------------------------------------------------- the SDK's object


@pytest.fixture
def parsing(monkeypatch):
    """Return a list of what the SDK has parsed or built."""
    import openai._legacy_response as legacy
    import openai._models as models

    seen = []

    def counted(owner, name):
        original = getattr(owner, name)
        if isinstance(owner.__dict__.get(name), classmethod):
            plain = owner.__dict__[name].__func__
            monkeypatch.setattr(owner, name, classmethod(lambda *args, **kwargs: (seen.append(name), plain(*args, **kwargs))[1]))
        else:
            monkeypatch.setattr(owner, name, lambda *args, **kwargs: (seen.append(name), original(*args, **kwargs))[1])

    counted(legacy.LegacyAPIResponse, "parse")
    counted(legacy.LegacyAPIResponse, "_parse")
    counted(models.BaseModel, "construct")
    counted(models, "construct_type")
    counted(models, "validate_type")
    return seen


@pytest.mark.parametrize("stream", [False, True])
def test_response_is_the_sdk_s_and_made_when_asked_for(stream, server, client, parsing):
    entries = [chat.entry("Search", '{"query": "x"}', id="a"), chat.entry("Weather", '{"location": "Oslo"}', id="b")]
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 2}}
    if stream:
        server.answer = Answer(
            [*chat.streamed(entries, size=2)[:-1], chat.data(chat.chunk_of(usage=usage)), chat.DONE], 200, "text/event-stream"
        )
        with client.stream("?", response_model=Iterable[Weather | Search]) as arriving:
            values = list(arriving)
            calls = arriving.result()
        assert values == list(calls)
    else:
        server.answer = Answer(chat.body({**chat.whole(*entries), "usage": usage}))
        calls = client.create("?", response_model=Iterable[Weather | Search])
    assert list(calls) == [Search("x"), Weather(location="Oslo")]
    assert calls.usage == polycall.Usage(7, 3, 2, None)
    assert calls.messages
    assert parsing == []
    completion = calls.response
    assert parsing
    assert isinstance(completion, openai.types.chat.ChatCompletion)
    assert calls.response is completion
    assert completion.id == "r"
    assert completion.model == "m-1"
    assert completion.object == "chat.completion"
    assert completion.usage.total_tokens == 10
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert [(one.id, one.type, one.function.name, one.function.arguments) for one in choice.message.tool_calls] == [
        ("a", "function", "Search", '{"query": "x"}'),
        ("b", "function", "Weather", '{"location": "Oslo"}'),
    ]
    check_body(client.payload([{"role": "user", "content": "?"}, choice.message.model_dump(exclude_none=True)], tools=[Search]))


WHOLE = [pytest.param(one, id=one.id) for one in answered() if not one.stream and one.calls]


@pytest.mark.parametrize("one", WHOLE[:40])
def test_response_is_what_the_sdk_gives_itself(one, server, client, sdk):
    server.answer = Answer(one.body, 200, one.content_type)
    mine = client.create("?", tools=one.tools, errors="return").response
    own = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert type(mine) is type(own)
    assert mine.model_dump() == own.model_dump()


STREAMED = [pytest.param(one, id=one.id) for one in streams() if one.calls]


@pytest.mark.parametrize("one", STREAMED[:60])
def test_response_of_a_stream_holds_what_came(one, server, client):
    server.answer = Answer([one.body], 200, one.content_type)
    calls = client.stream("?", tools=one.tools, errors="return").result()
    completion = calls.response
    assert isinstance(completion, openai.types.chat.ChatCompletion)
    message = completion.choices[0].message
    assert (message.content or message.refusal or "") == calls.text
    made = [entry for choice in completion.choices for entry in choice.message.tool_calls or ()]
    assert [(entry.id, entry.function.name, entry.function.arguments) for entry in made] == [
        (call.id, call.name, call.arguments) for call in calls.calls
    ]
    assert completion.choices[-1].finish_reason == calls.finish_reason
    assert (completion.usage is None) is (calls.usage is None)
    json.loads(completion.model_dump_json(warnings=False))


def test_create_with_completion(server, client, parsing):
    server.answer = Answer(chat.body(chat.whole(chat.entry("Search", '{"query": "x"}', id="a"))))
    calls, completion = client.create_with_completion("?", response_model=Iterable[Search])
    assert calls[0] == Search("x")
    assert completion is calls.response
    assert isinstance(completion, openai.types.chat.ChatCompletion)


async def test_create_with_completion_on_asyncio(server):
    server.answer = Answer(chat.body(chat.whole(chat.entry("Search", '{"query": "x"}', id="a"))))
    async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        client = polycall.from_openai(sdk, model="m")
        calls, completion = await client.create_with_completion("?", response_model=Iterable[Search])
        assert calls[0] == Search("x")
        assert isinstance(completion, openai.types.chat.ChatCompletion)
        streamed = await client.stream("?", response_model=Iterable[Search]).result()
        assert isinstance(streamed.response, openai.types.chat.ChatCompletion)
        assert streamed.response.choices[0].message.tool_calls[0].id == "a"


def finish(create, **options):
    """Return the calls, also where they are asked for as a stream."""
    answer = create("?", **options)
    return answer.result() if options.get("stream") else answer


@pytest.mark.parametrize("stream", [False, True])
def test_hooks_are_told(stream, server, sdk):
    server.answer = Answer(chat.body(chat.whole(chat.entry("Search", "{}", id="a"))))
    client = polycall.from_openai(sdk, model="m", max_retries=0)
    told = []
    client.on("completion:kwargs", lambda **kwargs: told.append(("kwargs", kwargs)))
    client.on("completion:response", lambda response: told.append(("response", response)))
    client.on("parse:error", lambda error: told.append(("parse", error)))
    client.on("completion:last_attempt", lambda error: told.append(("last", error)))
    client.on("completion:error", lambda error: told.append(("error", error)))
    with pytest.raises(polycall.CallErrors) as raised:
        finish(client.create, tools=[Search], stream=stream, extra_headers={"a": "b"})
    assert [name for name, _ in told] == ["kwargs", "response", "parse", "last"]
    assert told[0][1] == {**server.last, "extra_headers": {"a": "b"}}
    assert isinstance(told[1][1], openai.types.chat.ChatCompletion)
    assert told[2][1] is raised.value.exceptions[0]
    assert told[3][1] is raised.value
    told.clear()
    server.answer = Answer(chat.body({"error": {"message": "no"}}), status=429)
    with pytest.raises(openai.RateLimitError) as limited:
        finish(client.create, tools=[Search], stream=stream)
    assert [name for name, _ in told] == ["kwargs", "error"]
    assert told[1][1] is limited.value


@pytest.mark.parametrize("stream", [False, True])
def test_exceptions_of_the_sdk_carry_a_note(stream, server, client):
    server.answer = Answer(chat.body({"error": {"message": "no"}}), status=429)
    with pytest.raises(openai.RateLimitError) as limited:
        finish(client.create, tools=[Search], stream=stream)
    assert any("polycall" in note or "Search" in note or "m" in note for note in limited.value.__notes__)


def test_client_of_the_user_stays_open(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        server.answer = Answer(chat.body(chat.whole(chat.entry("Search", '{"query": "x"}'))))
        with polycall.from_openai(sdk, model="m") as client:
            client.create("?", tools=[Search])
        assert not sdk.is_closed()
        assert client.create("?", tools=[Search])[0] == Search("x")
