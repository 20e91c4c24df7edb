"""What the suite over all faces does not reach: closed transports, wrong settings of the environment, and the choice of the library."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

import polycall
from polycall import TransportError, UsageError
from polycall._http import Post, Settings
from polycall._http_httpx2 import Httpx2
from polycall._http_pyreqwest import Pyreqwest
from polycall._transport import transport
from support.chat import chunk, data, entry
from support.memory import Script, async_client, replay

TOOLS = [polycall.Tool("F")]


@pytest.mark.parametrize("kind", [Pyreqwest, Httpx2])
def test_transport_that_was_not_used_is_closed(kind):
    asyncio.run(kind(Settings()).close())


def test_pyreqwest_that_is_closed():
    async def program() -> None:
        over = Pyreqwest(Settings())
        await over.close()
        await over.close()
        with pytest.raises(TransportError, match="was closed"):
            await over.post(Post("http://127.0.0.1:9", {}, b""))

    asyncio.run(program())


@pytest.mark.parametrize("kind", [Pyreqwest, Httpx2])
@pytest.mark.parametrize(
    ("url", "headers"), [("http://", {}), ("http://[::1", {}), (None, {"a b": "canary"}), (None, {"a": "\n"})]
)
def test_what_cannot_be_sent(kind, url, headers, server):
    async def program() -> None:
        over = kind(Settings())
        try:
            await over.post(Post(url or server.url, headers, b""))
        finally:
            await over.close()

    with pytest.raises((UsageError, TransportError)) as raised:
        asyncio.run(program())
    assert "canary" not in str(raised.value)
    assert not server.requests


def test_client_of_the_user_that_is_closed(server):
    with httpx2.Client() as own:
        pass
    client = polycall.from_provider("openai/m", base_url=server.url, api_key="k", http_client=own)
    with client, pytest.raises(UsageError, match="is closed"):
        client.create("?", tools=TOOLS)


def test_proxy_of_the_environment_that_cannot_be_used(monkeypatch, server):
    monkeypatch.setenv("ALL_PROXY", "no://me:canary@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = polycall.from_provider("openai/m", base_url=server.url, api_key="k", http_client="httpx2")
    with client, pytest.raises(UsageError, match="a proxy of the environment") as raised:
        client.create("?", tools=TOOLS)
    assert "canary" not in str(raised.value)


def test_httpx2_stands_in_where_pyreqwest_refuses(monkeypatch):
    class Refusing:
        def __init__(self) -> None:
            raise RuntimeError("A pyreqwest runtime was initialized before fork()")

    monkeypatch.setattr("polycall._http_pyreqwest.ClientBuilder", Refusing)
    assert isinstance(transport(Settings(), None), Httpx2)
    with pytest.raises(UsageError, match="forked process"):
        transport(Settings(), "pyreqwest")


@pytest.mark.parametrize("extra_body", [5, ["a"], {"tools": [object()]}])
def test_extra_body_that_cannot_be_merged(extra_body, server):
    client = polycall.from_provider("openai/m", base_url=server.url, api_key="k")
    with client, pytest.raises(UsageError, match="extra_body"):
        client.create("?", tools=TOOLS, extra_body=extra_body)
    assert not server.requests


def test_a_timeout_that_is_not_ours_is_a_broken_connection():
    async def program() -> polycall.Calls:
        client = async_client(Script([data(chunk(entry("F", "{}", id="a", index=0))), TimeoutError("of the transport")]))
        return await client.create("?", tools=TOOLS, errors="return", timeout=20, stream=True, max_retries=0)

    async def whole() -> polycall.Calls:
        return await (await program()).result()

    calls = asyncio.run(whole())
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert "TimeoutError" in str(calls.errors[0])


def test_choice_without_a_delta():
    calls = replay([data({"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}), b"data: [DONE]\n\n"], TOOLS)
    assert (len(calls), calls.finish_reason, calls.messages[-1]["content"]) == (0, "stop", "")


def test_cut_before_the_model_has_begun():
    calls = replay([data({"choices": [], "usage": {"prompt_tokens": 3}}), ConnectionResetError()], TOOLS)
    assert [type(error).__name__ for error in calls.errors] == ["CutOffError"]
    assert calls.messages[-1]["role"] == "assistant"
    assert calls.usage is not None
