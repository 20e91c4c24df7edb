"""Clients by the name of a service: where the address, the key and the model come from, and what is said when they are missing."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import socket
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx2
import openai
import pytest
from pydantic import BaseModel

import polycall
from polycall import AsyncClient, Client, Mode, TransportError, UsageError
from polycall._direct import Direct
from polycall._services import AZURE
from polycall.providers.openai import OpenAIChat
from support import chat, sockets

KEY = "sk-canary-0123456789"


class F(BaseModel):
    x: int = 0


FORM = Iterable[F]
GOOD = chat.entry("F", '{"x": 7}', id="a")
VARIABLES = ("GITHUB_TOKEN", "HF_TOKEN", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION", "SCW_SECRET_KEY")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with sockets.Server(sockets.answering(GOOD)) as server:
        yield server


@pytest.fixture(params=[False, True], ids=["blocking", "asyncio"])
def ask(request):
    """Return a function that makes a client and asks it once."""

    def ask(name="openai/m", *, call=None, **options):
        given = {"retries": 0, "timeout": 20, **options}
        if request.param:
            return asyncio.run(_ask(name, call or {}, given))
        with polycall.from_provider(name, **given) as client:
            assert type(client) is Client
            return client.create("?", response_model=FORM, **(call or {}))

    ask.asynchronous = request.param
    return ask


async def _ask(name, call, given):
    async with polycall.from_provider(name, async_client=True, **given) as client:
        assert type(client) is AsyncClient
        return await client.create("?", response_model=FORM, **call)


def refused(text, *args, **options):
    """Check that a client cannot be made so, and that nothing secret is told."""
    for asynchronous in False, True:
        with pytest.raises(UsageError, match=text) as caught:
            polycall.from_provider(*args, async_client=asynchronous, **options)
        assert "canary" not in "".join(traceback.format_exception(caught.value))


# ---------------------------------------------------------------------------------------------------------------- the key


def test_a_key_that_is_given(ask, server):
    assert list(ask(api_key=KEY, base_url=server.url)) == [F(x=7)]
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/v1/chat/completions")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.body["model"] == "m"


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("groq", "GROQ_API_KEY"),
        ("github", "GITHUB_TOKEN"),
        ("huggingface", "HF_TOKEN"),
        ("z.ai", "ZHIPUAI_API_KEY"),
    ],
)
def test_a_key_of_the_environment(name, variable, ask, server, monkeypatch):
    monkeypatch.setenv(variable, f" {KEY}\n")
    ask(f"{name}/m", base_url=server.url)
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    ask(f"{name}/m", base_url=server.url, api_key="sk-given")
    assert server.requests[-1].headers["authorization"] == "Bearer sk-given"


def test_the_first_variable_that_is_set_counts(ask, server, monkeypatch):
    monkeypatch.setenv("ZAI_API_KEY", "")
    monkeypatch.setenv("ZHIPUAI_API_KEY", "second")
    ask("zai/m", base_url=server.url)
    monkeypatch.setenv("ZAI_API_KEY", "first-1")
    ask("zai/m", base_url=server.url)
    assert [one.headers["authorization"] for one in server.requests] == ["Bearer second", "Bearer first-1"]


@pytest.mark.parametrize(
    ("name", "variable"), [("openai/m", "OPENAI_API_KEY"), ("zai/m", "ZAI_API_KEY"), ("friendli", "FRIENDLI_TOKEN")]
)
def test_a_key_that_is_missing(name, variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    refused(f"no key for {name.partition('/')[0]}: set {variable}, or give api_key=", name)


def test_a_service_without_a_key(ask, server):
    ask("lmstudio/m", base_url=server.url)
    assert "authorization" not in server.requests[0].headers
    ask("lmstudio/m", base_url=server.url, api_key=KEY)
    assert server.requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["", " ", "\n", 5, b"sk-canary", ["sk-canary"]], ids=repr)
def test_a_key_that_is_empty_or_no_text(key):
    refused("api_key is empty, or no text", "openai/m", api_key=key)


@pytest.mark.parametrize(
    "key", ["sk-canary\nx", "sk-canary\r\nhost: evil", "sk-canaryé", "sk-\x00canary", "sk-canary\x7f", "“sk-canary”"]
)
def test_a_key_with_characters_of_no_key(key, monkeypatch):
    refused("api_key has characters that no key has", "openai/m", api_key=key)
    with suppress(ValueError):  # a variable cannot hold every character
        monkeypatch.setenv("OPENAI_API_KEY", key)
        refused("api_key has characters that no key has", "openai/m")


def test_white_space_around_a_key_is_no_part_of_it(ask, server):
    ask(base_url=server.url, api_key=f"\n{KEY} \r\n")
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_function_gives_the_key_before_each_request(ask, server):
    keys = iter(["first-1", "second-2"])
    server.queue.append(sockets.whole({"error": {}}, 503, retry_after_ms=1))
    ask(base_url=server.url, api_key=lambda: next(keys), retries=1)
    assert [one.headers["authorization"] for one in server.requests] == ["Bearer first-1", "Bearer second-2"]


def test_an_asynchronous_function_gives_the_key(ask, server):
    async def key():
        await asyncio.sleep(0)
        return KEY

    class Callable:
        async def __call__(self):
            return await key()

    def returning():
        return key()

    for given in key, Callable(), returning:
        ask(base_url=server.url, api_key=given)
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("given", ["", None, 5, "sk-canary\nx"], ids=repr)
def test_a_function_that_gives_no_key(given, ask, server):
    with pytest.raises(UsageError, match="api_key") as caught:
        ask(base_url=server.url, api_key=lambda: given)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert not server.requests


def test_a_function_that_fails_raises_what_it_raises(ask, server):
    def key():
        raise LookupError("no key today")

    with pytest.raises(LookupError, match="no key today"):
        ask(base_url=server.url, api_key=key, retries=3)
    assert not server.requests


def test_nobody_is_shown_the_key(ask, server):
    client = polycall.from_provider("openai/m", api_key=KEY, headers={"x-other": KEY}, base_url=server.url)
    shown = [repr(client), repr(vars(client)), repr(client._connection), str(client._connection.client)]
    calls = client.create("?", response_model=FORM)
    shown += [
        repr(calls),
        repr(calls.calls),
        repr(calls.response),
        pickle.dumps(calls).decode("latin-1"),
        str(client.payload("?", tools=[F])),
    ]
    client.close()
    assert all("canary" not in one for one in shown)


def test_a_key_that_the_server_sends_back(ask, server):
    server.answer = sockets.whole({"error": {"message": f"bad {KEY}", "type": KEY}}, 401, x_request_id=KEY)
    for options in {"api_key": KEY}, {"api_key": "sk-other", "headers": {"Authorization": f"Bearer {KEY}"}}:
        with pytest.raises(TransportError) as caught:
            ask(base_url=server.url, **options)
        error = caught.value
        assert error.status == 401
        shown = [*traceback.format_exception(error), repr(error), str(vars(error)), pickle.dumps(error).decode("latin-1")]
        assert "canary" not in "".join(shown)


# ------------------------------------------------------------------------------------------------------------ the address


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com",
        "api.openai.com/v1",
        "ftp://h/v1",
        "https://",
        "https:///v1",
        "http://[::1/v1",
        "file:///etc",
        " ",
        5,
        ["x"],
        b"http://h",
    ],
    ids=repr,
)
def test_an_address_that_is_none(url):
    refused("base_url is the address of the service", "openai/m", base_url=url, api_key=KEY)


@pytest.mark.parametrize(
    "url", ["https://user:sk-canary@h/v1", "https://sk-canary@h/v1", "https://:sk-canary@h/v1", "https://@h/v1"]
)
def test_an_address_with_a_password(url):
    refused("base_url holds a password: give it by headers= or api_key=", "openai/m", base_url=url, api_key=KEY)


@pytest.mark.parametrize("url", ["https://h\\x/v1", "https://evil\\@h/v1", "https://h/v1\\x", "https://h h/v1"])
def test_an_address_that_parsers_read_differently(url):
    refused("base_url", "openai/m", base_url=url, api_key=KEY)


@pytest.mark.parametrize("tail", ["", "/", "//", "/#part"])
def test_an_address_is_written_in_many_ways(tail, ask, server):
    ask(base_url=server.url + tail, api_key=KEY)
    assert server.requests[0].path == "/v1/chat/completions"


def test_a_query_of_the_address_is_kept(ask, server):
    ask(base_url=f"{server.url}?a=1&b=&a=2", api_key=KEY, call={"extra_query": {"c": 3, "a": [4, 5]}})
    ask(base_url=f"{server.url}?a=x%26y", api_key=KEY)
    queries = [sorted(one.path.partition("?")[2].split("&")) for one in server.requests]
    assert queries == [["a=4", "a=5", "b=", "c=3"], ["a=x%26y"]]


def test_the_address_of_the_environment(ask, server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    ask(api_key=KEY)
    ask(api_key=KEY, base_url="")
    ask(api_key=KEY, base_url=f"{server.origin}/mine")
    assert [one.path for one in server.requests] == ["/v1/chat/completions", "/v1/chat/completions", "/mine/chat/completions"]
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    refused("base_url is the address of the service", "openai/m", api_key=KEY)
    with polycall.from_provider("groq/m", api_key=KEY) as client:
        assert client._connection.client.url == "https://api.groq.com/openai/v1"


@pytest.mark.parametrize("port", ["abc", "99999"])
def test_a_port_that_is_none(port, ask):
    with pytest.raises(UsageError, match="base_url") as caught:
        ask(base_url=f"http://localhost:{port}/v1", api_key=KEY)
    assert "canary" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------------ azure

VERSION = "2026-01-01-preview"


@pytest.mark.parametrize("tail", ["", "/", "/openai", "/openai/v1", "/openai/v1/"])
def test_azure_has_two_kinds_of_addresses(tail, ask, server):
    ask("azure/my model", base_url=server.origin + tail, api_key=KEY)
    ask("azure/my model", base_url=server.origin + tail, api_key=KEY, api_version=VERSION)
    newer, older = server.requests
    assert newer.path == "/openai/v1/chat/completions"
    assert older.path == f"/openai/deployments/my%20model/chat/completions?api-version={VERSION}"
    for sent in server.requests:
        assert sent.headers["api-key"] == KEY
        assert "authorization" not in sent.headers
        assert sent.body["model"] == "my model"


def test_azure_behind_a_path_of_its_own_and_with_a_query(ask, server):
    ask("azure/m", base_url=f"{server.origin}/gateway/openai/v1?api-version=preview", api_key=KEY)
    ask("azure/m", base_url=f"{server.origin}/gateway", api_key=KEY, api_version="a&b/c")
    assert [one.path for one in server.requests] == [
        "/gateway/openai/v1/chat/completions?api-version=preview",
        "/gateway/openai/deployments/m/chat/completions?api-version=a%26b%2Fc",
    ]


def test_a_model_of_azure_per_call(ask, server):
    ask("azure", base_url=server.origin, api_key=KEY, api_version=VERSION, call={"model": "a/b?c"})
    assert server.requests[0].path == f"/openai/deployments/a%2Fb%3Fc/chat/completions?api-version={VERSION}"


@pytest.mark.parametrize("version", [None, VERSION])
def test_azure_takes_tokens_of_a_function(version, ask, server):
    ask("azure/m", base_url=server.origin, api_key=lambda: "token-1", api_version=version)
    (sent,) = server.requests
    assert sent.headers["authorization"] == "Bearer token-1"
    assert "api-key" not in sent.headers


def test_azure_of_the_environment(ask, server, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{server.origin}/")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    ask("azure/m")
    monkeypatch.setenv("OPENAI_API_VERSION", VERSION)
    ask("azure/m")
    ask("azure/m", api_version="mine")
    assert [one.path.removeprefix("/openai/") for one in server.requests] == [
        "v1/chat/completions",
        f"deployments/m/chat/completions?api-version={VERSION}",
        "deployments/m/chat/completions?api-version=mine",
    ]
    assert {one.headers["api-key"] for one in server.requests} == {KEY}


def test_what_azure_is_missing():
    refused("no address for azure: give base_url=, or set AZURE_OPENAI_ENDPOINT", "azure/m", api_key=KEY)
    refused("no key for azure: set AZURE_OPENAI_API_KEY, or give api_key=", "azure/m", base_url="https://mine.openai.azure.com")


@pytest.mark.parametrize("version", [5, b"2026", ["2026"]])
def test_a_version_that_is_none(version):
    refused("api_version", "azure/m", base_url="https://mine.openai.azure.com", api_key=KEY, api_version=version)


# -------------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("name", "model"),
    [("openai/gpt-5-mini", "gpt-5-mini"), ("openrouter/z-ai/glm-5", "z-ai/glm-5"), ("lmstudio/llama3:8b", "llama3:8b")],
)
def test_the_model_is_in_the_name(name, model):
    with polycall.from_provider(name, api_key=KEY) as client:
        assert client.payload("?", response_model=FORM)["model"] == model
        assert client.payload("?", response_model=FORM, model="other")["model"] == "other"
        assert client.payload("?", response_model=FORM, model=None)["model"] == model


@pytest.mark.parametrize("name", ["openai", "openai/"])
def test_the_model_of_a_call(name):
    with polycall.from_provider(name, api_key=KEY) as client:
        assert client.payload("?", response_model=FORM, model="mine")["model"] == "mine"
        with pytest.raises(UsageError, match="no model"):
            client.payload("?", response_model=FORM)
    with polycall.from_provider(name, api_key=KEY, model="default") as client:
        assert client.payload("?", response_model=FORM)["model"] == "default"


@pytest.mark.parametrize("name", [5, None, b"openai/m", ["openai"]])
def test_a_name_that_is_none(name):
    refused("provider", name, api_key=KEY)


def test_the_local_model_is_one():
    refused('"local" is one model: model_path= names the file of another', "local/qwen3")


def test_an_address_of_a_model_file_is_for_the_local_one(tmp_path):
    refused('model_path is for "local"', "openai/m", api_key=KEY, model_path=tmp_path / "x.gguf")
    refused('model_path is for "local"', "openai/m", api_key=KEY, model_path="x.gguf")
    with polycall.from_provider("local", model_path=tmp_path / "x.gguf") as client:
        assert client.payload("?", response_model=FORM)["model"] == "local"


@pytest.mark.parametrize(
    "option",
    [
        {"base_url": "http://h"},
        {"api_key": KEY},
        {"headers": {"a": "b"}},
        {"http_client": "httpx2"},
        {"proxy": "http://h"},
        {"ca_file": "x"},
        {"api_version": "1"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_there_is_nothing_to_connect_to_in_this_process(option):
    (name,) = option
    refused(f"{name}: the local model is in this process, there is nothing to connect to", "local", **option)
    with polycall.from_provider("local", **{name: None}) as client:
        assert type(client) is Client


def test_everything_that_is_misplaced_is_named():
    refused("base_url, api_key: the local model", "local", api_key=KEY, base_url="http://h")


def test_a_mode_has_to_fit():
    with polycall.from_provider("openai/m", mode=Mode.PARALLEL_TOOLS, api_key=KEY) as client:
        assert client.payload("?", response_model=FORM)
    for name, given in ("openai/m", {"api_key": KEY}), ("ollama/m", {}), ("local", {}):
        refused("mode", name, mode=Mode.ANTHROPIC_PARALLEL_TOOLS, **given)


def test_arguments_for_every_call():
    with polycall.from_provider("openai/m", api_key=KEY, temperature=0, strict=False) as client:
        assert client.payload("?", response_model=FORM)["temperature"] == 0
        asked = client._asked("?", FORM, None)
    assert (asked.timeout, asked.retries, asked.checking.strict) == (600.0, 2, False)
    with polycall.from_provider("openai/m", api_key=KEY, timeout=None, retries=0) as client:
        asked = client._asked("?", FORM, None)
    assert (asked.timeout, asked.retries) == (None, 0)


# ---------------------------------------------------------------------------------------------------- headers, and what posts


def test_headers_come_before_all_others(ask, server):
    headers = {"X-Team": "blue", "User-Agent": "mine", "Authorization": "Basic x"}
    ask(base_url=server.url, api_key=KEY, headers=headers, call={"extra_headers": {"x-team": "red", "X-Call": "1"}})
    (sent,) = server.requests
    assert {name: sent.headers[name] for name in ("x-team", "x-call", "user-agent", "authorization")} == {
        "x-team": "red",
        "x-call": "1",
        "user-agent": "mine",
        "authorization": "Basic x",
    }


@pytest.mark.parametrize("headers", [{"x": 5}, {"x": None}, {5: "x"}, ["a"], "a: b", 5, {"content-length": "3"}], ids=repr)
def test_headers_that_are_none(headers):
    refused("headers", "openai/m", api_key=KEY, headers=headers)


@pytest.mark.parametrize("headers", [{"x": "a\nb"}, {"x y": "a"}, {"": "a"}, {"x": "a\r\nauthorization: evil"}], ids=repr)
def test_headers_that_cannot_be_sent(headers, ask, server):
    with pytest.raises(UsageError, match="header"):
        ask(base_url=server.url, api_key=KEY, headers=headers)
    assert not server.requests


@pytest.mark.parametrize("name", ["extra_headers", "extra_query", "extra_body"])
@pytest.mark.parametrize("value", [5, "x", ["x"]])
def test_extra_arguments_that_are_none(name, value, ask, server):
    with pytest.raises(UsageError, match=name):
        ask(base_url=server.url, api_key=KEY, call={name: value})
    assert not server.requests


@pytest.mark.parametrize("value", [object(), {"a": 1}, b"x"], ids=["object", "mapping", "bytes"])
def test_a_query_that_is_none(value, ask, server):
    with pytest.raises(UsageError, match="extra_query"):
        ask(base_url=server.url, api_key=KEY, call={"extra_query": {"a": value}})
    assert not server.requests


def test_values_of_a_query(ask, server):
    query = {"on": True, "off": False, "none": None, "number": 1.5, "many": ("a", 2), "text": "a b&c"}
    ask(base_url=server.url, api_key=KEY, call={"extra_query": query})
    assert sorted(server.requests[0].path.partition("?")[2].split("&")) == [
        "many=2",
        "many=a",
        "number=1.5",
        "off=false",
        "on=true",
        "text=a+b%26c",
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_has_not(number, ask, server):
    with pytest.raises(UsageError, match="temperature"):
        ask(base_url=server.url, api_key=KEY, call={"temperature": number})
    assert not server.requests


def test_extra_arguments(ask, server):
    ask(
        base_url=server.url,
        api_key=KEY,
        call={"extra_body": {"top_k": 3, "model": "other"}, "extra_query": None, "extra_headers": None},
    )
    assert (server.requests[0].body["top_k"], server.requests[0].body["model"]) == (3, "other")
    ask(base_url=server.url, api_key=KEY, call={"extra_body": None, "extra_query": {}})
    assert server.requests[1].path == "/v1/chat/completions"


def test_what_is_no_json(ask, server):
    with pytest.raises(UsageError, match="temperature cannot be written as JSON") as caught:
        ask(base_url=server.url, api_key=KEY, call={"temperature": object()})
    assert "object at" not in "".join(traceback.format_exception(caught.value))
    assert not server.requests


@pytest.mark.parametrize(
    "extra", [{"\ud800canary": 1}, {"a": {"\ud800canary": 1}}, {"a": "\ud800canary"}], ids=["key", "inner key", "value"]
)
def test_what_is_no_unicode(extra, ask, server):
    with pytest.raises(UsageError, match="cannot be written as JSON") as caught:
        ask(base_url=server.url, api_key=KEY, call={"extra_body": extra})
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert not server.requests


def test_the_conversation_goes_on(ask, server):
    calls = ask(base_url=server.url, api_key=KEY)
    *_, question, turn, result = calls.reply(["sunny"])
    assert (question["role"], turn["role"]) == ("user", "assistant")
    assert result == {"role": "tool", "tool_call_id": "a", "content": "sunny"}
    assert calls.response["choices"][0]["finish_reason"] == "tool_calls"
    assert calls.attempts[0].model == "m-1"


@pytest.mark.parametrize("body", [b"", b'{"error": {"type": "server_error"', b"x" * 200_000])
@pytest.mark.parametrize("kind", ["cut", "stalled"])
def test_the_status_is_told_whatever_becomes_of_the_body(kind, body, ask, server):
    """Only so much of the body of an error is read; where it stalls, the deadline holds."""
    end = sockets.HANG_UP if kind == "cut" else sockets.STALL
    server.answer = [sockets.head(503, content_length=len(body) + 10) + body, end]
    with pytest.raises(TransportError) as caught:
        ask(base_url=server.url, api_key=KEY, timeout=20 if kind == "cut" or len(body) > 100_000 else 0.5)
    if kind == "stalled" and len(body) < 100_000:
        assert isinstance(caught.value, polycall.DeadlineError)
    else:
        assert caught.value.status == 503
        assert len(caught.value.body or "") <= 2_000


@pytest.mark.parametrize("depth", [100, 190, 500, 900, 5_000, 100_000])
@pytest.mark.parametrize("status", [200, 400])
def test_an_error_that_nests_without_end(status, depth, ask, server):
    server.answer = sockets.whole(b'{"error": {"type": "x", "deep": ' + b"[" * depth + b"]" * depth + b"}}", status)
    with pytest.raises(TransportError) as caught:
        ask(base_url=server.url, api_key=KEY)
    assert caught.value.status == status
    assert len(caught.value.body or "") <= 2_000


def test_a_connection_that_does_not_come_about_is_tried_again(ask):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = []
    for retries in 0, 1:
        start = time.monotonic()
        with pytest.raises(TransportError, match="the connection failed") as caught:
            ask(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, retries=retries)
        told.append(time.monotonic() - start)
        assert caught.value.transient
        assert caught.value.status is None
        assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert told[1] > 0.375


def test_the_direct_path_is_a_provider_like_the_one_it_wraps():
    inner = OpenAIChat(AZURE)
    direct = Direct(inner)
    assert direct.name == inner.name
    assert direct.headers("k") == inner.headers("k") == {"api-key": "k"}
    assert direct.headers(None) == {}


class Other:
    """Looks like a client of httpx2 and is none."""

    def send(self, *_, **__):
        raise AssertionError


@pytest.mark.parametrize("client", ["requests", "", 5, [], {}, Other(), httpx2.Client, httpx2.AsyncClient, httpx2], ids=repr)
def test_a_library_that_is_not_known(client):
    refused('http_client= is "pyreqwest", "httpx2" or a httpx2', "openai/m", api_key=KEY, http_client=client)


def test_a_client_of_the_other_kind():
    with httpx2.Client() as blocking, pytest.raises(UsageError, match=r"httpx2\.AsyncClient\(\) here, not httpx2\."):
        polycall.from_provider("openai/m", api_key=KEY, async_client=True, http_client=blocking)
    asynchronous = httpx2.AsyncClient()
    with pytest.raises(UsageError, match=r"httpx2\.Client\(\) here, not httpx2\."):
        polycall.from_provider("openai/m", api_key=KEY, http_client=asynchronous)
    asyncio.run(asynchronous.aclose())


def test_a_client_of_an_sdk_is_no_library():
    with openai.OpenAI(api_key=KEY) as sdk:
        refused("http_client=", "openai/m", api_key=KEY, http_client=sdk)


@pytest.mark.parametrize("option", [{"proxy": "http://127.0.0.1:9"}, {"ca_file": "mine.pem"}, {"ca_file": Path("mine.pem")}])
def test_an_own_client_has_its_own_proxy_and_certificates(option):
    with httpx2.Client() as own, pytest.raises(UsageError, match="belong to the httpx2 client that you give"):
        polycall.from_provider("openai/m", api_key=KEY, http_client=own, **option)


@pytest.mark.parametrize("value", [5, ["x"], object()], ids=["number", "list", "object"])
@pytest.mark.parametrize("name", ["ca_file", "proxy"])
def test_a_setting_of_another_type(name, value):
    refused(name, "openai/m", api_key=KEY, **{name: value})


@pytest.mark.parametrize("library", ["pyreqwest", "httpx2"])
@pytest.mark.parametrize(
    "option",
    [{"ca_file": "missing.pem"}, {"ca_file": __file__}, {"proxy": "nonsense canary"}],
    ids=["missing", "no PEM", "no URL"],
)
def test_settings_that_cannot_be_used(option, library, ask, server):
    with pytest.raises(UsageError, match=r"proxy= or ca_file= cannot be used|proxy is the URL") as caught:
        ask(base_url=server.url, api_key=KEY, http_client=library, **option)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert not server.requests


@pytest.mark.parametrize("kind", ["pyreqwest", "httpx2", "own"])
def test_an_own_client_stays_open_and_others_are_closed(kind, server):
    own = httpx2.Client() if kind == "own" else None
    client = polycall.from_provider("openai/m", api_key=KEY, base_url=server.url, http_client=own or kind)
    for _ in range(2):
        assert len(client.create("?", response_model=FORM)) == 1
    client.close()
    client.close()
    if own is None:
        assert server.settled()
    else:
        assert own.post(server.url, json={}).status_code == 200
        own.close()


def test_a_client_that_is_never_asked_costs_nothing():
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()  # noqa: PTH208, PTH112  # of this process
    polycall.from_provider("openai/m", api_key=KEY)
    polycall.from_provider("openai/m", api_key=KEY, async_client=True)
    gc.collect()
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
