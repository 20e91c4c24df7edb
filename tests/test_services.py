"""The table of services: what each row says is true of itself, and what is sent to whom."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import pytest
from inline_snapshot import snapshot
from pydantic import BaseModel

import polycall
from polycall import NoCallsError
from polycall._services import (
    _GOOGLE,
    _SERVICES,
    AZURE,
    LLAMACPP,
    OPENAI,
    Service,
    service_at,
    service_named,
    service_names,
)
from polycall.provider import Connection
from support import chat, memory

NAMES = [service.name for service in _SERVICES]
ROWS = pytest.mark.parametrize("service", _SERVICES, ids=NAMES)


class Weather(BaseModel):
    city: str


class Search(BaseModel):
    query: str
    limit: int = 1


# ---------------------------------------------------------------------------------------------------------------- the table


def test_names_are_there_once():
    assert len(set(NAMES)) == len(NAMES)
    assert service_names() == sorted(NAMES)
    assert set(service_names()) >= {
        *("openai", "azure", "openrouter", "deepseek", "together", "fireworks", "groq", "mistral", "xai", "cerebras", "ollama"),
        *("lmstudio", "vllm", "llamacpp", "huggingface", "github", "moonshot", "zai"),
    }


@ROWS
def test_a_name_is_found_in_every_spelling(service):
    assert service.name == "".join(letter for letter in service.name if letter.islower())
    for spelling in service.name, service.name.upper(), service.name.title(), ".".join(service.name), f" {service.name}_-":
        assert service_named(spelling) is service


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("z.ai", "zai"),
        ("LM Studio", "lmstudio"),
        ("llama.cpp", "llamacpp"),
        ("Hugging-Face", "huggingface"),
        ("x.ai", "xai"),
        ("OVH_cloud", "ovhcloud"),
    ],
)
def test_names_as_people_write_them(spelling, name):
    assert service_named(spelling).name == name


@pytest.mark.parametrize(
    "name", ["", "...", "nobody", "open", "openaii", "google", "local", "\N{FULLWIDTH LATIN SMALL LETTER X}ai"]
)
def test_names_of_nobody(name):
    assert service_named(name) is None


@ROWS
def test_an_address_is_https_or_on_this_machine(service):
    if service is AZURE:
        assert service.url is None
        return
    parts = urlsplit(service.url)
    assert (parts.scheme, parts.hostname == "localhost") in {("https", False), ("http", True)}
    assert (parts.username, parts.password, parts.query, parts.fragment) == (None, None, "", "")
    assert service.url == service.url.strip().rstrip("/")
    assert not service.url.endswith("/chat/completions")
    assert parts.port is None or parts.hostname == "localhost"


def test_addresses_are_there_once():
    urls = [service.url for service in _SERVICES if service.url]
    assert len(set(urls)) == len(urls)


@ROWS
def test_keys_are_names_of_variables(service):
    for key in service.keys:
        assert key == key.upper()
        assert key.replace("_", "").isalnum()
    if service.url is None or service.url.startswith("https://"):
        assert service.keys
    assert service.key_header == ("api-key" if service is AZURE else "authorization")


@ROWS
def test_the_service_at_its_own_address_is_itself(service):
    if service.url and service.url.startswith("https://"):
        for url in service.url, f"{service.url}/", service.url.upper(), service.url.replace("://", "://eu."):
            assert service_at(url) is service
    else:
        assert service_at(service.url or "") is OPENAI  # nothing of an address on this machine tells who listens
    for host in service.hosts:
        assert service_at(f"https://{host}/v1") is service
        assert service_at(f"https://me.{host}/v1") is service
        assert service_at(f"https://not{host}/v1") is not service
        assert service_at(f"https://{host}.example.com/v1") is not service


def test_hosts_are_of_one_service_each():
    hosts = [host for service in (*_SERVICES, _GOOGLE) for host in set(service.hosts)]
    assert len(set(hosts)) == len(hosts)
    assert all(host == host.lower() for host in hosts)
    assert service_at("https://generativelanguage.googleapis.com/v1beta/openai") is _GOOGLE


def test_azure_has_many_addresses():
    for url in "https://mine.openai.azure.com", "https://mine.services.ai.azure.com/openai/v1":
        assert service_at(url) is AZURE


# ------------------------------------------------------------------------------------------------------------- what is sent


def client_of(service, monkeypatch):
    for key in service.keys:
        monkeypatch.setenv(key, "sk-canary")
    given = {"base_url": "https://mine.openai.azure.com"} if service is AZURE else {}
    return polycall.from_provider(f"{service.name}/m", api="chat", **given)  # ollama has an api of its own, too


@ROWS
def test_every_service_gets_what_it_takes_and_no_more(service, monkeypatch):
    form = Iterable[Weather | Search]
    with client_of(service, monkeypatch) as client:
        auto = client.payload("?", response_model=form)
        assert auto["model"] == "m"
        assert auto["messages"] == [{"role": "user", "content": "?"}]
        assert auto.keys() - {"model", "messages", "tools", "parallel_tool_calls"} == set()
        assert auto.get("parallel_tool_calls") == service.parallel
        assert ("strict" in auto["tools"][0]["function"]) is service.strict
        streamed = client.payload("?", response_model=form, stream=True)
        assert streamed["stream"] is True
        assert ("stream_options" in streamed) is service.stream_usage
        required = client.payload("?", response_model=form, tool_choice="required")
        assert required.get("tool_choice") == ("required" if service.required else None)
        assert client.payload("?", response_model=form, parallel=False)["parallel_tool_calls"] is False
        several = client.payload("?", response_model=form, tool_choice=[Weather, Search])
        assert isinstance(several.get("tool_choice"), dict) is service.allowed_tools
        assert len(several["tools"]) == 2
        one = client.payload("?", response_model=form, tool_choice=Search)
        if service.named_choice:
            assert one["tool_choice"] == {"type": "function", "function": {"name": "Search"}}
            assert len(one["tools"]) == 2
        else:
            assert one.get("tool_choice") == ("required" if service.required else None)
            assert [tool["function"]["name"] for tool in one["tools"]] == ["Search"]
        none = client.payload("?", response_model=form, tool_choice="none")
        assert none.get("tool_choice") == ("none" if service.required else None)


def test_a_body_of_some_services():
    bodies = {}
    for name in "openai", "mistral", "moonshot", "zai", "llamacpp":
        with polycall.from_provider(f"{name}/m", api_key="k") as client:
            body = client.payload("?", response_model=Iterable[Weather | Search], tool_choice=[Search], stream=True)
        tools = [(tool["function"]["name"], tool["function"].get("strict")) for tool in body["tools"]]
        bodies[name] = {**body, "tools": tools, "messages": len(body["messages"])}
    assert bodies == snapshot(
        {
            "openai": {
                "model": "m",
                "messages": 1,
                "tools": [("Weather", True), ("Search", True)],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "Search"}}],
                    },
                },
                "stream": True,
                "stream_options": {"include_usage": True},
            },
            "mistral": {
                "model": "m",
                "messages": 1,
                "tools": [("Search", True)],
                "stream": True,
            },
            "moonshot": {
                "model": "m",
                "messages": 1,
                "tools": [("Search", None)],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
            "zai": {
                "model": "m",
                "messages": 1,
                "tools": [("Search", None)],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
            "llamacpp": {
                "model": "m",
                "messages": 1,
                "tools": [("Search", None)],
                "parallel_tool_calls": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        }
    )


@pytest.mark.parametrize("choice", ["required", Weather])
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_required_also_of_a_service_that_cannot_be_told(choice, stream):
    """Z.ai refuses every ``tool_choice`` but ``auto``."""
    body = chat.whole(finish="stop", content="I would rather talk.")
    events = chat.stream(chat.chunk(content="I would rather talk."), finish="stop")
    script = memory.Script(events if stream else [chat.body(body)])
    provider = memory.InMemory(service=service_named("z.ai"))
    client = polycall.Client(Connection(provider, script, blocking=False), model="m")
    options = {"response_model": Iterable[Weather], "tool_choice": choice, "errors": "return"}
    calls = client.stream("?", **options).result() if stream else client.create("?", **options)
    assert "tool_choice" not in script.sent[0]
    assert not calls.calls
    assert [type(error) for error in calls.errors] == [NoCallsError]
    assert calls.text == "I would rather talk."


def test_a_service_is_a_row():
    assert Service() == Service("openai")
    assert {service.name for service in _SERVICES if service.grammar} == {"llamacpp"}
    assert LLAMACPP in _SERVICES
    assert {service.name for service in _SERVICES if not service.required} == {"zai"}
