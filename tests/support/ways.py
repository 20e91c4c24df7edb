"""Every way to ask: the clients of the SDKs, and none, around a server on loopback that replays recorded exchanges."""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polycall
from support.loopback import Answer, Server

TESTS = Path(__file__).resolve().parents[1]
BESIDE = Path(os.environ.get("POLYCALL_RECORDINGS", TESTS.parents[1] / "shared" / "wire"))


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange, of any format; see ``tests/wire/README.md``.

    Attributes:
        calls: Id, name, arguments and state of each call that the response holds.
        finish: Finish reasons as sent, in order.
    """

    id: str
    provider: str
    api: str
    family: str
    stream: bool
    status: int
    content_type: str
    body: bytes = field(repr=False)
    calls: tuple[dict[str, Any], ...] = field(repr=False)
    finish: tuple[str, ...] = field(repr=False)
    tags: frozenset[str] = field(repr=False)
    request: dict[str, Any] | None = field(repr=False)

    @property
    def tools(self) -> list[polycall.Tool]:
        """The tools that the calls name, without a schema; one at least."""
        return [polycall.Tool(name) for name in dict.fromkeys(call["name"] for call in self.calls) or ["unused"]]

    def sent(self, *, sse: bool) -> bytes:
        """Return what the server sends; a JSON array as server-sent events where those were asked for."""
        if not (sse and self.stream and self.body.lstrip().startswith(b"[")):
            return self.body
        return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in json.loads(self.body))


@cache
def exchanges() -> tuple[Exchange, ...]:
    """Return all recorded exchanges: those beside the project where they are, else those in ``tests/wire``; ordered by id."""
    root = BESIDE if BESIDE.is_dir() else TESTS / "wire"
    return tuple(_exchange(json.loads(path.read_bytes())) for path in sorted(root.glob("*/*.json"), key=lambda path: path.name))


def of(family: str, *, provider: str | None = None, api: str | None = None) -> list[Exchange]:
    """Return the exchanges of a format, of a provider or an api alone when that is named."""
    found = [one for one in exchanges() if one.family == family]
    return [one for one in found if provider in {None, one.provider} and api in {None, one.api}]


def _exchange(one: dict[str, Any]) -> Exchange:
    response = one["response"]
    body = response.get("text", response["body"])
    if response.get("body_encoding") == "base64":
        content = base64.b64decode(body)
    else:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
    return Exchange(
        one["id"],
        one["provider"],
        one["api"],
        one["family"],
        one["stream"],
        response["status"],
        response["headers"]["content-type"],
        content,
        tuple(one["expected_calls"]),
        tuple(one["finish"]),
        frozenset(one["tags"]),
        one["request"],
    )


# ---------------------------------------------------------------------------------------------------------------- the ways


@dataclass(frozen=True)
class Way:
    """One way to ask.

    Attributes:
        sdk: The SDK's package, None for the direct path.
        family: The format that it speaks.
        takes: Which exchanges of that format it is for.
        make: Makes polycall's client for the server's origin, an asynchronous one when told so.
    """

    name: str
    sdk: str | None
    family: str
    make: Callable[[str, bool], Any] = field(repr=False)
    takes: Callable[[Exchange], bool] = field(default=lambda _: True, repr=False)

    @property
    def sse(self) -> bool:
        """Whether it understands server-sent events alone, where the service could also stream a JSON array."""
        return self.sdk == "google.genai"

    @property
    def installed(self) -> bool:
        """Whether its SDK is there."""
        try:
            return self.sdk is None or importlib.util.find_spec(self.sdk) is not None
        except ModuleNotFoundError:
            return False

    def explained(self, one: Exchange) -> str:
        """Why the calls are others than those that the recording counts, or cannot come this way; empty where they are the same."""
        if b'"failed_generation"' in one.body:
            return "the service has refused what its model wrote: the recording counts no call, polycall reads the calls in it"
        return _EXPLAINED.get((self.name, one.id), "")

    def fits(self, one: Exchange) -> bool:
        """Whether an exchange can come this way."""
        return one.family == self.family and self.takes(one)


_EXPLAINED = {
    (
        "boto3",
        "bedrock-converse-json-3c-5d4111c7",
    ): "written by hand: a content block has two members, which botocore does not read",
    ("google-genai vertex", "vertex-generateContent-json-0c-3ac7480a"): "enums are numbers, as only the older SDK asks for them",
}


def _openai(origin: str, asynchronous: bool) -> Any:
    import openai

    return (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(base_url=f"{origin}/v1", api_key="k", max_retries=0)


def _chat(origin: str, asynchronous: bool) -> Any:
    return polycall.from_openai(_openai(origin, asynchronous))


def _responses(origin: str, asynchronous: bool) -> Any:
    return polycall.from_openai(_openai(origin, asynchronous), api="responses")


def _azure(origin: str, asynchronous: bool) -> Any:
    import openai

    kind = openai.AsyncAzureOpenAI if asynchronous else openai.AzureOpenAI
    return kind(azure_endpoint=origin, api_version="2026-01-01", api_key="k", max_retries=0)


def _anthropic(origin: str, asynchronous: bool) -> Any:
    import anthropic

    kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return polycall.from_anthropic(kind(base_url=origin, api_key="k", max_retries=0))


def _anthropic_vertex(origin: str, asynchronous: bool) -> Any:
    import anthropic

    kind = anthropic.AsyncAnthropicVertex if asynchronous else anthropic.AnthropicVertex
    given = {"project_id": "p", "region": "us-east5", "access_token": "t"}
    return polycall.from_anthropic(kind(base_url=origin, max_retries=0, **given))


def _anthropic_bedrock(origin: str, asynchronous: bool) -> Any:
    import anthropic

    kind = anthropic.AsyncAnthropicBedrock if asynchronous else anthropic.AnthropicBedrock
    given = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}
    return polycall.from_anthropic(kind(base_url=origin, max_retries=0, **given))


def _genai(origin: str, asynchronous: bool) -> Any:
    from google import genai

    client = genai.Client(api_key="k", http_options={"base_url": origin})
    return polycall.from_genai(client, use_async=asynchronous)


def _genai_vertex(origin: str, asynchronous: bool) -> Any:
    from google import genai
    from google.oauth2.credentials import Credentials

    given = {"project": "p", "location": "us-central1", "credentials": Credentials(token="t")}
    client = genai.Client(vertexai=True, http_options={"base_url": origin}, **given)
    return polycall.from_genai(client, use_async=asynchronous)


def _mistral(origin: str, asynchronous: bool) -> Any:
    from mistralai.client import Mistral

    return polycall.from_mistral(Mistral(api_key="k", server_url=origin), use_async=asynchronous)


def _cohere(origin: str, asynchronous: bool) -> Any:
    import cohere

    kind = cohere.AsyncClientV2 if asynchronous else cohere.ClientV2
    return polycall.from_cohere(kind(api_key="k", base_url=origin))


def _ollama(origin: str, asynchronous: bool) -> Any:
    import ollama

    return polycall.from_ollama((ollama.AsyncClient if asynchronous else ollama.Client)(host=origin))


def _bedrock(origin: str, asynchronous: bool) -> Any:
    import boto3
    from botocore.config import Config

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    client = boto3.client("bedrock-runtime", endpoint_url=origin, config=Config(retries={"total_max_attempts": 1}), **keys)
    return polycall.from_bedrock(client, async_client=asynchronous)


def _groq(origin: str, asynchronous: bool) -> Any:
    import groq

    return polycall.from_groq((groq.AsyncGroq if asynchronous else groq.Groq)(base_url=origin, api_key="k", max_retries=0))


def _cerebras(origin: str, asynchronous: bool) -> Any:
    from cerebras.cloud.sdk import AsyncCerebras, Cerebras

    kind = AsyncCerebras if asynchronous else Cerebras
    return polycall.from_cerebras(kind(base_url=origin, api_key="k", max_retries=0, warm_tcp_connection=False))


def _together(origin: str, asynchronous: bool) -> Any:
    import together

    kind = together.AsyncTogether if asynchronous else together.Together
    return polycall.from_together(kind(base_url=f"{origin}/v1", api_key="k", max_retries=0))


def _fireworks(origin: str, asynchronous: bool) -> Any:
    import fireworks

    kind = fireworks.AsyncFireworks if asynchronous else fireworks.Fireworks
    return polycall.from_fireworks(kind(base_url=f"{origin}/inference", api_key="k", max_retries=0))


def _huggingface(origin: str, asynchronous: bool) -> Any:
    import huggingface_hub

    agents: Any = importlib.import_module("huggingface_hub.utils._detect_agent")
    agents._registry = {}  # it asks its hub for it, once a process
    kind = huggingface_hub.AsyncInferenceClient if asynchronous else huggingface_hub.InferenceClient
    return polycall.from_huggingface(kind(base_url=f"{origin}/v1", api_key="k"))


def _litellm(origin: str, asynchronous: bool) -> Any:
    import litellm

    given = {"api_base": f"{origin}/v1", "api_key": "k", "custom_llm_provider": "openai", "max_retries": 0}
    polycalled: Any = polycall.from_litellm(litellm.acompletion if asynchronous else litellm.completion, **given)
    return polycalled


def _direct(name: str, path: str = "", **given: Any) -> Callable[[str, bool], Any]:
    def make(origin: str, asynchronous: bool) -> Any:
        options = {"base_url": origin + path, "api_key": "k", "retries": 0, **given}
        return polycall.from_provider(name, async_client=asynchronous, **options)

    return make


def _by(*providers: str) -> Callable[[Exchange], bool]:
    return lambda one: one.provider in providers


CHAT = "openai_chat"
MESSAGES = "anthropic_messages"
WAYS = (
    Way("openai", "openai", CHAT, _chat),
    Way("openai azure", "openai", CHAT, lambda *given: polycall.from_openai(_azure(*given)), _by("azure")),
    Way("groq", "groq", CHAT, _groq, _by("groq")),
    Way("mistralai", "mistralai", CHAT, _mistral, _by("mistral")),
    Way("cerebras", "cerebras", CHAT, _cerebras, _by("cerebras")),
    Way("together", "together", CHAT, _together, _by("together")),
    Way("fireworks", "fireworks", CHAT, _fireworks, _by("fireworks")),
    Way("huggingface_hub", "huggingface_hub", CHAT, _huggingface, _by("huggingface")),
    Way("litellm", "litellm", CHAT, _litellm, _by("openai", "openrouter", "deepseek")),
    Way("direct", None, CHAT, _direct("openai", "/v1")),
    Way("openai responses", "openai", "openai_responses", _responses),
    Way(
        "openai azure responses",
        "openai",
        "openai_responses",
        lambda *given: polycall.from_openai(_azure(*given), api="responses"),
        _by("azure"),
    ),
    Way("direct", None, "openai_responses", _direct("openai", "/v1", api="responses")),
    Way("anthropic", "anthropic", MESSAGES, _anthropic),
    Way("anthropic vertex", "anthropic", MESSAGES, _anthropic_vertex, _by("vertex")),
    Way("direct", None, MESSAGES, _direct("anthropic")),
    Way("anthropic bedrock", "anthropic", f"{MESSAGES}_in_aws_eventstream", _anthropic_bedrock),
    Way("google-genai", "google.genai", "gemini", _genai, _by("google")),
    Way("google-genai vertex", "google.genai", "gemini", _genai_vertex, _by("vertex")),
    Way("direct", None, "gemini", _direct("google"), _by("google")),
    Way("direct vertex", None, "gemini", _direct("vertex", project="p", location="us-central1"), _by("vertex")),
    Way("cohere", "cohere", "cohere_v2", _cohere),
    Way("direct", None, "cohere_v2", _direct("cohere")),
    Way("boto3", "boto3", "bedrock_converse", _bedrock),
    Way("ollama", "ollama", "ollama_native", _ollama),
    Way("direct", None, "ollama_native", _direct("ollama")),
)


# ------------------------------------------------------------------------------------------------------------------ asking


def ask(client: Any, one: Exchange) -> polycall.Calls[Any]:
    """Ask, in the form in which the exchange was recorded, and return the calls."""
    options = {"model": "m", "tools": one.tools, "errors": "return", "stream": one.stream, "max_retries": 0, "timeout": 20}
    got = client.create("?", **options)
    return got.result() if one.stream else got


async def ask_async(client: Any, one: Exchange) -> polycall.Calls[Any]:
    """Do so on asyncio."""
    options = {"model": "m", "tools": one.tools, "errors": "return", "stream": one.stream, "max_retries": 0, "timeout": 20}
    got = await client.create("?", **options)
    return await got.result() if one.stream else got


def wrong(calls: polycall.Calls[Any], one: Exchange) -> str:
    """Return in what the calls are not exactly those of the recording; empty where they are."""
    if [(call.id, call.name) for call in calls.calls] != [(expected["id"] or None, expected["name"]) for expected in one.calls]:
        return f"ids and names: {[(call.id, call.name) for call in calls.calls]}, not {[(x['id'], x['name']) for x in one.calls]}"
    for call, expected in zip(calls.calls, one.calls, strict=True):
        if problem := _unlike(call, expected):
            return f"call {call.index}: {problem}"
    return ""


def _unlike(call: polycall.Call[Any], expected: dict[str, Any]) -> str:
    state = expected["state"]
    if state == "invalid":
        same = call.arguments == expected["arguments_text"] or call.outcome in {"invalid", "cut off"}
        return "" if same and call.outcome in {"invalid", "cut off"} else f"{call.outcome} {call.arguments!r}"
    if state in {"empty", "missing"}:
        return "" if call.arguments in {"", "{}"} else f"arguments {call.arguments!r} instead of none"
    if call.outcome not in {"ok", "cut off"}:
        return f"{call.outcome}: {call.error}"
    try:
        given = json.loads(call.arguments or "{}")
    except ValueError:
        return f"no JSON: {call.arguments!r}"
    return "" if (given or {}) == (expected["arguments"] or {}) else f"{given!r} instead of {expected['arguments']!r}"


def verdict(way: Way, one: Exchange, server: Server, client: Any, *, asynchronous: bool) -> str:
    """Return what is wrong with what a way makes of an exchange; empty where all is right."""
    server.answer = Answer(one.sent(sse=way.sse), one.status, one.content_type)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calls = LOOP.run_until_complete(ask_async(client, one)) if asynchronous else ask(client, one)
    except Exception as error:  # whatever an SDK raises
        if one.status >= 400 or not one.body.strip():
            return "" if not one.calls else f"{type(error).__name__}: {error}"[:300]
        if "error" in one.tags or "error_mid_stream" in one.tags:
            return "" if not one.calls else f"{type(error).__name__}: {error}"[:300]
        return f"{type(error).__name__}: {error}"[:300]
    return wrong(calls, one)


LOOP = asyncio.new_event_loop()


@contextmanager
def clients(way: Way, server: Server, *, asynchronous: bool) -> Iterator[Any]:
    """Make a client; it is closed at the end, and the SDK's as well."""
    client = way.make(server.origin, asynchronous)
    try:
        yield client
    finally:
        LOOP.run_until_complete(_closed(client, client._connection.client))


async def _closed(*given: Any) -> None:
    for one in given:
        wrapper = getattr(one, "_client_wrapper", None)  # cohere's
        inner = [getattr(one, "_client", None)]  # ollama's, google-genai's
        inner += [one.aio] if hasattr(one, "aio") else []
        inner += [wrapper.httpx_client.httpx_client] if wrapper is not None else []
        config = getattr(one, "sdk_configuration", None)  # mistralai's
        inner += [config.client, config.async_client] if config is not None else []
        for each in (one, *inner):
            close = getattr(each, "aclose", None) or getattr(each, "close", None)
            closing = close() if callable(close) else None
            if isinstance(closing, Awaitable):
                await closing
