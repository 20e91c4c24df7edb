"""Which clients are taken, what is said about the others, and which service is behind an address."""

from collections.abc import Iterable
from http.client import HTTPConnection
from itertools import count
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import polycall
from polycall import AsyncClient, Client, Mode, UsageError
from polycall._services import OPENAI, Service, service_at
from support import chat
from support.loopback import Answer, Server


class Weather(BaseModel):
    city: str


ANSWER = Answer(chat.body(chat.whole(chat.entry("Weather", '{"city": "Oslo"}', id="c"))))


class Mine(openai.OpenAI):
    pass


class MineAsync(openai.AsyncOpenAI):
    pass


class Async(openai.OpenAI):
    """A blocking client, whatever its name says."""


AZURE = {"api_version": "2026-01-01", "azure_endpoint": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("sdk", "kind"),
    [
        (openai.OpenAI(api_key="k"), Client),
        (openai.AsyncOpenAI(api_key="k"), AsyncClient),
        (openai.AzureOpenAI(api_key="k", **AZURE), Client),
        (openai.AsyncAzureOpenAI(api_key="k", **AZURE), AsyncClient),
        (Mine(api_key="k"), Client),
        (MineAsync(api_key="k"), AsyncClient),
        (Async(api_key="k"), Client),
        (openai.OpenAI(api_key="k").with_options(max_retries=0), Client),
    ],
    ids=count(),
)
def test_clients_that_are_taken(sdk, kind):
    assert type(polycall.from_openai(sdk, model="m")) is kind


class Chat:
    """Looks like a client and is none."""

    chat = SimpleNamespace(completions=None)
    base_url = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("sdk", "text"),
    [
        (openai.OpenAI, "the class openai.OpenAI"),
        (openai.AsyncOpenAI, "the class openai.AsyncOpenAI"),
        (None, "NoneType"),
        ("gpt-5", "str"),
        (openai, "module"),
        (openai.OpenAI(api_key="k").chat, "Chat"),
        (openai.OpenAI(api_key="k").chat.completions, "Completions"),
        (HTTPConnection("127.0.0.1"), "http.client.HTTPConnection"),
        (Chat(), "Chat"),
        (Chat, "the class"),
        (polycall.from_openai(openai.OpenAI(api_key="k")), "polycall"),
    ],
    ids=["class", "async class", "none", "text", "module", "chat", "completions", "http", "like it", "like it, class", "ours"],
)
def test_what_is_no_client_of_the_sdk(sdk, text):
    with pytest.raises(UsageError) as caught:
        polycall.from_openai(sdk, model="m")
    assert "openai.OpenAI() or openai.AsyncOpenAI()" in str(caught.value)
    assert text in str(caught.value)


def test_a_subclass_is_asked_like_its_parent():
    with Server() as server:
        server.answer = ANSWER
        with Mine(api_key="k", base_url=server.url) as sdk:
            calls = polycall.from_openai(sdk, model="m", mode=Mode.PARALLEL_TOOLS).create("?", response_model=Iterable[Weather])
        assert calls[0] == Weather(city="Oslo")
        assert server.requests[0].path == "/v1/chat/completions"


def test_azure_is_asked_at_its_own_path():
    with Server() as server:
        server.answer = ANSWER
        azure = {"api_version": "2026-01-01", "azure_endpoint": server.origin}
        with openai.AzureOpenAI(api_key="k", **azure) as sdk:
            calls = polycall.from_openai(sdk, model="deployed").create("?", response_model=Iterable[Weather])
        assert calls[0] == Weather(city="Oslo")
        assert server.requests[0].path == "/openai/deployments/deployed/chat/completions?api-version=2026-01-01"
        assert server.requests[0].headers["api-key"] == "k"


@pytest.mark.parametrize("name", ["nobody/gpt-5-mini", "nobody", "", "/m", "Local", "local "])
@pytest.mark.parametrize("async_client", [False, True])
def test_a_provider_that_is_not_known(name, async_client):
    with pytest.raises(UsageError) as caught:
        polycall.from_provider(name, async_client=async_client, api_key="sk-canary")
    text = str(caught.value)
    assert f"there is no provider {name.partition('/')[0]!r}" in text
    assert "there are local, anthropic, azure, baseten, " in text
    assert "base_url=" in text
    assert "canary" not in text


def test_bedrock_has_no_direct_path():
    with pytest.raises(UsageError, match=r"through boto3: polycall\.from_bedrock"):
        polycall.from_provider("bedrock/anthropic.claude-sonnet-4-5")


def test_azure_by_its_longer_name():
    with polycall.from_provider("azure_openai/m", base_url="https://mine.openai.azure.com", api_key="k") as client:
        assert client.payload("?", response_model=Iterable[Weather])["model"] == "m"


def test_the_embedded_model_is_a_client_like_the_others():
    client, asynchronous = polycall.from_provider("local"), polycall.from_provider("local", async_client=True, temperature=0)
    assert (type(client), type(asynchronous)) == (Client, AsyncClient)
    assert client.payload("?", response_model=Iterable[Weather])["model"] == "local"
    assert asynchronous.payload("?", response_model=Iterable[Weather], model="mine")["model"] == "mine"
    assert asynchronous.payload("?", response_model=Iterable[Weather])["temperature"] == 0
    client.close()


# ------------------------------------------------------------------------------------------------------------- services


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("http://127.0.0.1:8080/v1", "openai"),
        ("https://api.mistral.ai/v1/", "mistral"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://eu.api.groq.com/openai/v1", "groq"),
        ("https://API.DeepSeek.com", "deepseek"),
        ("https://api.together.xyz/v1", "together"),
        ("https://api.together.ai:443/v1", "together"),
        ("https://api.fireworks.ai/inference/v1", "fireworks"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.x.ai/v1", "xai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
        ("https://notopenrouter.ai/v1", "openai"),
        ("https://openrouter.ai.example.com/v1", "openai"),
        ("https://example.com/openrouter.ai/v1", "openai"),
        ("https://user:word@api.groq.com/v1", "groq"),
        ("http://[::1]:8080/v1", "openai"),
        ("", "openai"),
    ],
)
def test_the_service_behind_an_address(url, name):
    service = service_at(url)
    assert service.name == name
    assert isinstance(service, Service)
    if name == "openai":
        assert service is OPENAI


class Search(BaseModel):
    query: str
    limit: int = 1


@pytest.mark.parametrize(
    ("url", "choice", "tools", "strict"),
    [
        ("https://api.openai.com/v1", "allowed_tools", 2, True),
        ("https://openrouter.ai/api/v1", None, 1, True),
        ("https://api.deepseek.com", None, 1, None),
    ],
)
def test_a_service_gets_its_own_words(url, choice, tools, strict):
    client = polycall.from_openai(openai.OpenAI(api_key="k", base_url=url), model="m")
    payload: dict[str, Any] = client.payload("?", response_model=Iterable[Weather | Search], tool_choice=[Search])
    assert payload.get("tool_choice", {}).get("type") == choice
    assert len(payload["tools"]) == tools
    assert payload["tools"][-1]["function"]["name"] == "Search"
    assert payload["tools"][-1]["function"].get("strict") is strict


def test_a_service_that_takes_no_stream_options():
    mistral = polycall.from_openai(openai.OpenAI(api_key="k", base_url="https://api.mistral.ai/v1"), model="m")
    payload = mistral.payload("?", response_model=Iterable[Weather], stream=True)
    assert payload["stream"] is True
    assert "stream_options" not in payload
