"""How the ollama SDK is reached: below its ``chat``, or through it where something has been put in its place."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import ollama
import pytest
from pydantic import BaseModel

import polycall
from support.loopback import Answer, Server, Wait


class Search(BaseModel):
    query: str


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"id": "call_1", "function": {"name": "Search", "arguments": arguments, "index": 0}, **more}


def line(*calls: Any, **more: Any) -> bytes:
    message = {"role": "assistant", "content": "", "tool_calls": list(calls), **more.pop("message", {})}
    return json.dumps({"model": "m", "message": message, "done": True, "done_reason": "stop", **more}).encode() + b"\n"


GOOD = line(call({"query": "x"}))


@pytest.fixture(scope="module")
def serving():
    with Server() as server:
        yield server


@pytest.fixture
def server(serving):
    serving.answer = Answer(GOOD)
    serving.requests.clear()
    return serving


@contextmanager
def opened(origin: str, **options: Any) -> Iterator[Any]:
    client = ollama.Client(host=origin, **options)
    try:
        yield client
    finally:
        client._client.close()


def asked(client: Any, messages: Any = "?", **options: Any) -> polycall.Calls[Any]:
    given = {"tools": [Search], "errors": "return", "max_retries": 0, **options}
    got = polycall.from_ollama(client, model="m").create(messages, **given)
    return got.result() if options.get("stream") else got


def asked_async(origin: str, prepare: Callable[[Any], None] = lambda _: None, **options: Any) -> polycall.Calls[Any]:
    async def ask() -> Any:
        sdk = ollama.AsyncClient(host=origin)
        prepare(sdk)
        try:
            given = {"tools": [Search], "errors": "return", "max_retries": 0, **options}
            got = await polycall.from_ollama(sdk, model="m").create("?", **given)
            return await got.result() if options.get("stream") else got
        finally:
            await sdk._client.aclose()

    return asyncio.run(ask())


FACES = pytest.mark.parametrize("asynchronous", [False, True])
FORMS = pytest.mark.parametrize("stream", [False, True])


def either(origin: str, *, asynchronous: bool, **options: Any) -> polycall.Calls[Any]:
    if asynchronous:
        return asked_async(origin, **options)
    with opened(origin) as client:
        return asked(client, **options)


# ---------------------------------------------------------------------------------------------------------------- patched


class Wrapped:
    """A wrapper as tracers make them: it says of itself what the function says, whatever is asked."""

    def __init__(self, wrapped: Any, seen: list[Any], instance: Any = None) -> None:
        self.__wrapped__, self._seen, self._instance = wrapped, seen, instance

    def __get__(self, instance: Any, owner: Any) -> Any:
        return Wrapped(self.__wrapped__.__get__(instance, owner), self._seen, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    @property
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __call__(self, *args: Any, **given: Any) -> Any:
        self._seen.append(given)
        return self.__wrapped__(*args, **given)


@FORMS
@FACES
def test_a_tracer_sees_the_call(server, monkeypatch, asynchronous, stream):
    kind = ollama.AsyncClient if asynchronous else ollama.Client
    seen: list[Any] = []
    monkeypatch.setattr(kind, "chat", Wrapped(kind.chat, seen))
    assert isinstance(kind("x").chat, types.MethodType)
    assert either(server.origin, asynchronous=asynchronous, stream=stream).calls[0].value == Search(query="x")
    assert [(given["model"], given["stream"]) for given in seen] == [("m", stream)]


@FORMS
@FACES
@pytest.mark.parametrize("place", ["class", "client", "inherited", "_request"])
def test_a_function_in_its_place_is_called(server, monkeypatch, asynchronous, stream, place):
    kind = ollama.AsyncClient if asynchronous else ollama.Client
    name = "_request" if place == "_request" else "chat"
    original: Any = getattr(kind, name)
    seen: list[Any] = []

    def put(self: Any, *args: Any, **given: Any) -> Any:
        seen.append(given)
        return original(self, *args, **given)

    put.__module__ = original.__module__
    if place == "client":
        sdk = kind(server.origin)
        monkeypatch.setattr(kind, "__init__", lambda self, **_: vars(self).update(vars(sdk), chat=types.MethodType(put, self)))
    elif place == "inherited":
        monkeypatch.setattr(ollama, kind.__name__, type("Own", (kind,), {"chat": put}))
    else:
        monkeypatch.setattr(kind, name, put)
    calls = either(server.origin, asynchronous=asynchronous, stream=stream)
    assert calls.calls[0].value == Search(query="x")
    assert len(seen) == len(server.requests) == 1


def test_other_clients_below_it(server, monkeypatch):
    with opened(server.origin) as client:
        client._client, below = types.SimpleNamespace(request=client._client.request), client._client
        assert asked(client).calls[0].id is None
        client._client = below
        below.headers["x-team"] = "blue"
        assert asked(client).calls[0].id == "call_1"
        assert server.requests[-1].headers["x-team"] == "blue"

    def answer(request: Any) -> Any:
        assert json.loads(request.read())["model"] == "m"
        return httpx.Response(200, content=GOOD)

    with opened("http://nowhere.invalid", transport=httpx.MockTransport(answer)) as client:
        for stream in (False, True):
            assert asked(client, stream=stream).calls[0].id == "call_1"


def test_base_url_with_a_path(server):
    with opened(f"{server.origin}/below/") as client:
        asked(client)
    assert server.requests[-1].path == "/below/api/chat"


# ----------------------------------------------------------------------------------------------------------------- errors


@FORMS
@FACES
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "no such model"}', "no such model"),
        (b"gone", "gone"),
        (b'"a text"', '"a text"'),
        (b"[]", "[]"),
        (b"", ""),
        (b'{"error": {"message": "m"}}', {"message": "m"}),
    ],
)
def test_error_statuses_are_the_sdks_own(server, asynchronous, stream, body, said):
    server.answer = Answer(body, 503)
    with pytest.raises(ollama.ResponseError) as caught:
        either(server.origin, asynchronous=asynchronous, stream=stream)
    assert (caught.value.error, caught.value.status_code) == (said, 503)
    assert "503" in str(caught.value)


@FORMS
def test_a_redirect_that_is_not_followed_is_an_error(server, stream):
    server.answer = Answer(b"", 302)
    with opened(server.origin, follow_redirects=False) as client, pytest.raises(ollama.ResponseError, match="302"):
        asked(client, stream=stream)


@FORMS
@FACES
def test_refused_connections_are_the_sdks_own(asynchronous, stream):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionError, match="Failed to connect to Ollama") as caught:
        either(f"http://127.0.0.1:{port}", asynchronous=asynchronous, stream=stream)
    assert type(caught.value) is ConnectionError


def test_other_failures_pass_unchanged(server):
    with opened("http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: 1 // 0)) as client:  # noqa: SIM117
        with pytest.raises(ZeroDivisionError):
            asked(client)
    server.answer = Answer(GOOD, before=(Wait(2.0),))
    with opened(server.origin, timeout=0.2) as client, pytest.raises(httpx.ReadTimeout):
        asked(client)


@FORMS
@FACES
def test_a_deadline_leaves_nothing_behind(server, asynchronous, stream):
    server.answer = Answer(GOOD, before=(Wait(3.0),))
    before = threading.active_count()
    began = time.monotonic()
    with pytest.raises(polycall.DeadlineError):
        either(server.origin, asynchronous=asynchronous, stream=stream, timeout=0.4)
    assert time.monotonic() - began < 1.5
    while threading.active_count() > before and time.monotonic() - began < 2.0:
        time.sleep(0.02)
    assert time.monotonic() - began < 2.0


def test_what_cannot_be_written(server):
    with opened(server.origin) as client, pytest.raises(polycall.UsageError, match="written as JSON") as caught:
        asked(client, [{"role": "user", "content": "a prompt"}], format=object())
    assert "prompt" not in str(caught.value)
    assert not server.requests


# ------------------------------------------------------------------------------------------------------------------ read


@FORMS
@FACES
def test_one_malformed_call_leaves_the_others(server, asynchronous, stream):
    odd = [call([1]), call(None), {"function": None}, 7]
    server.answer = Answer(line(*odd, call({"query": "x"})))
    calls = either(server.origin, asynchronous=asynchronous, stream=stream)
    assert [made.outcome for made in calls.calls] == ["invalid", "invalid", "unknown", "unknown", "ok"]
    assert isinstance(calls.response, ollama.ChatResponse)
    assert [made.function.arguments for made in calls.response.message.tool_calls][-1] == {"query": "x"}


@FORMS
def test_the_sdks_object_of_what_it_refuses(server, stream):
    server.answer = Answer(line(call({"query": "x"}), eval_count="many", created_at=7))
    with opened(server.origin) as client:
        response = asked(client, stream=stream).response
    assert isinstance(response, ollama.ChatResponse)
    assert isinstance(response.message, ollama.Message)
    assert (response.eval_count, response.message.role) == ("many", "assistant")


@FORMS
def test_ids_go_back(server, stream):
    with opened(server.origin) as client:
        calls = asked(client, stream=stream)
        asked(client, calls.reply({0: "4"}), stream=stream)
    assert server.last["messages"][-2:] == [
        {"role": "assistant", "content": "", "tool_calls": [call({"query": "x"})]},
        {"role": "tool", "tool_name": "Search", "tool_call_id": "call_1", "content": "4"},
    ]


# ---------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("patched", [False, True])
def test_images(server, tmp_path, monkeypatch, patched):
    data = base64.b64encode(b"\x89PNG\x00\xff").decode()
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG\x00\xff")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abcd").write_text("secret")
    native = [data, b"\x89PNG\x00\xff", str(file), file, "a.png", ollama.Image(value=data), ollama.Image(value=file)]
    shaped = {"type": "image_url", "image_url": {"url": "data:image/png;base64,abcd"}}
    with opened(server.origin) as client:
        if patched:
            chat = client.chat
            client.chat = lambda **given: chat(**given)  # noqa: PLW0108  # no method of the SDK
        messages = [{"role": "user", "content": "?", "images": native}, {"role": "user", "content": [shaped]}]
        asked(client, messages)
        assert server.last["messages"][0]["images"] == [data] * len(native)
        assert server.last["messages"][1]["images"] == ["abcd"]
        asked(client, [ollama.Message(role="user", content="?", images=[ollama.Image(value=file)])])
        assert server.last["messages"][0]["images"] == [data]
        with pytest.raises(ValueError, match=r"b\.png does not exist"):
            asked(client, [{"role": "user", "content": "?", "images": ["b.png"]}])
        with pytest.raises(polycall.UsageError, match="images as data"):
            asked(
                client,
                [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{file}"}}]}],
            )


@pytest.mark.parametrize("images", [["a.png"], "a.png", [7], {"a": 1}])
def test_a_server_names_no_file(server, tmp_path, monkeypatch, images):
    (tmp_path / "a.png").write_text("secret")
    monkeypatch.chdir(tmp_path)
    server.answer = Answer(line(call({"query": 3}), message={"images": images}))
    with opened(server.origin) as client:
        asked(client, max_retries=1)
    assert len(server.requests) == 2
    assert "images" not in server.last["messages"][1]
