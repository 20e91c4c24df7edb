"""What the direct transport sends, and what comes back of it: the same over both libraries, blocking and on asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Iterable

import httpx2
import pytest
from pydantic import BaseModel

import polycall
from polycall import UsageError
from support.chat import entry
from support.faces import FACES, Face
from support.sockets import HANG_UP, answering, whole


class Weather(BaseModel):
    city: str


class Search(BaseModel):
    query: str


TOOLS = Iterable[Weather | Search]
ENTRIES = [entry("Weather", '{"city": "Århus"}', id="c1"), entry("Search", '{"query": "cup"}', id="c2")]
OWN = {"authorization", "accept", "content-type", "user-agent"}
LIBRARY = {"host", "content-length", "accept-encoding", "connection"}


@pytest.fixture(autouse=True)
def _answers(server):
    server.answer = answering(*ENTRIES)


def test_request_is_the_payload_and_the_answer_is_read(connect, server, stream):
    face = connect()
    messages = [{"role": "user", "content": "naïve 🎈 \u2028 question"}]
    calls = face.ask(messages, response_model=TOOLS, stream=stream, temperature=0)
    assert list(calls) == [Weather(city="Århus"), Search(query="cup")]
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/v1/chat/completions")
    payload = face.client.payload(messages, response_model=TOOLS, stream=stream, temperature=0)
    assert sent.body == payload
    assert list(sent.body)[-1] == "tools"  # a long tail of equal bytes, cached
    assert "🎈".encode() in sent.raw
    assert sent.headers["authorization"] == "Bearer sk-canary"
    assert sent.headers["accept"] == ("text/event-stream" if stream else "application/json")
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"] == "polycall"
    assert sent.headers["content-length"] == str(len(sent.raw))
    assert set(sent.headers) <= OWN | LIBRARY


def test_response_is_the_parsed_body(connect, server, stream):
    calls = connect().ask(response_model=TOOLS, stream=stream)
    message = calls.response["choices"][0]["message"]
    assert [call["id"] for call in message["tool_calls"]] == ["c1", "c2"]
    assert calls.response["model"] == "m-1"
    json.dumps(calls.response)


def test_conversation_goes_on(connect, server, stream):
    face = connect()
    calls = face.ask(response_model=TOOLS, stream=stream)
    messages = [*calls.messages, *calls.results({"c1": "rain", "c2": "none"})] if hasattr(calls, "results") else calls.messages
    face.ask(messages, response_model=TOOLS, stream=stream)
    roles = [message["role"] for message in server.requests[1].body["messages"]]
    assert roles[:2] == ["user", "assistant"]
    assert [one["id"] for one in server.requests[1].body["messages"][1]["tool_calls"]] == ["c1", "c2"]


def test_many_requests_use_one_connection(connect, server, stream):
    face = connect()
    for _ in range(5):
        face.ask(response_model=TOOLS, stream=stream)
    assert len(server.requests) == 5
    assert server.accepted == 1


def test_headers_of_the_client_and_of_the_request(connect, server, stream):
    face = connect(headers={"X-One": "client", "X-Two": "client", "User-Agent": "mine/1"})
    face.ask(response_model=TOOLS, stream=stream, extra_headers={"x-two": "request", "X-Three": "3"})
    headers = server.requests[0].headers
    assert (headers["x-one"], headers["x-two"], headers["x-three"]) == ("client", "request", "3")
    assert headers["user-agent"] == "mine/1"
    assert headers["authorization"] == "Bearer sk-canary"


def test_own_authorization_replaces_the_key(connect, server, stream):
    connect(headers={"Authorization": "Basic abcdef"}).ask(response_model=TOOLS, stream=stream)
    assert server.requests[0].headers["authorization"] == "Basic abcdef"


@pytest.mark.parametrize(
    ("base", "extra", "expected"),
    [
        ("", None, "/v1/chat/completions"),
        ("/", None, "/v1/chat/completions"),
        ("?region=eu", None, "/v1/chat/completions?region=eu"),
        ("", {"a": 1, "b": "x y&z"}, "/v1/chat/completions?a=1&b=x+y%26z"),
        ("?a=1&region=eu", {"a": 2}, "/v1/chat/completions?region=eu&a=2"),
        ("", {"many": [1, 2]}, "/v1/chat/completions?many=1&many=2"),
        ("", {"é": "ü"}, "/v1/chat/completions?%C3%A9=%C3%BC"),
    ],
)
def test_query(connect, server, base, extra, expected):
    connect(server.url + base).ask(response_model=TOOLS, extra_query=extra)
    assert server.requests[0].path == expected


def test_extra_body_is_merged(connect, server, stream):
    face = connect()
    tools = [{"type": "function", "function": {"name": "Weather"}}]
    options = {"extra_body": {"top_k": 3, "temperature": 1, "tools": tools}, "temperature": 0}
    face.ask(response_model=TOOLS, stream=stream, **options)
    sent = server.requests[0].body
    assert (sent["top_k"], sent["temperature"], sent["tools"]) == (3, 1, tools)
    assert sent == face.client.payload("?", response_model=TOOLS, stream=stream, **options)


def test_options_of_the_client_are_sent(connect, server, stream):
    connect(temperature=0.5, extra_headers={"x-from": "client"}).ask(response_model=TOOLS, stream=stream)
    assert server.requests[0].body["temperature"] == 0.5
    assert server.requests[0].headers["x-from"] == "client"


# ---------------------------------------------------------------------------------------------------------------- the key


def test_key_is_asked_for_before_each_request(connect, server, stream):
    keys = iter(["first-key", " second-key\n", "third-key"])
    face = connect(api_key=lambda: next(keys))
    for _ in range(3):
        face.ask(response_model=TOOLS, stream=stream)
    shown = [sent.headers["authorization"] for sent in server.requests]
    assert shown == ["Bearer first-key", "Bearer second-key", "Bearer third-key"]


def test_key_is_asked_for_before_each_retry(connect, server):
    server.queue.append([HANG_UP])
    keys = iter(["first-key", "second-key"])
    connect(api_key=lambda: next(keys)).ask(response_model=TOOLS)
    assert [sent.headers["authorization"] for sent in server.requests] == ["Bearer first-key", "Bearer second-key"]


WHOSE = contextvars.ContextVar("WHOSE", default="nobody's")


def test_function_that_gets_the_key_runs_in_a_thread_with_the_callers_context(connect, server):
    def key() -> str:
        seen.append((threading.current_thread(), WHOSE.get()))
        return "some-key"

    seen = []
    WHOSE.set("mine")
    face = connect(api_key=key)
    face.ask(response_model=TOOLS)
    ((thread, whose),) = seen
    assert whose == "mine"
    if face.asynchronous:
        assert thread is not threading.current_thread()  # it may block, and the event loop goes on


@pytest.mark.parametrize("name", [name for name in FACES if name != "own httpx2"])
def test_asynchronous_function_that_gets_the_key(connect, server, stream):
    async def key() -> str:
        return "some-key"

    class Callable:
        async def __call__(self) -> str:
            return "other-key"

    connect(api_key=key).ask(response_model=TOOLS, stream=stream)
    connect(api_key=Callable()).ask(response_model=TOOLS, stream=stream)
    assert [sent.headers["authorization"] for sent in server.requests] == ["Bearer some-key", "Bearer other-key"]


def test_own_blocking_client_takes_no_asynchronous_function(server):
    async def key() -> str:
        return "some-key"

    face = Face("own httpx2", server.url, api_key=key)
    with pytest.raises(UsageError, match="asynchronous"):
        face.ask(response_model=TOOLS)
    face.close()
    assert not server.requests


@pytest.mark.parametrize("key", ["", " \n", 7, b"some-key", "two\nlines", "schlüssel", "\x00", "new\u2028line"])
@pytest.mark.parametrize("as_function", [False, True])
def test_key_that_cannot_be_sent(connect, server, key, as_function):
    with pytest.raises(UsageError, match="api_key") as raised:
        connect(api_key=(lambda: key) if as_function else key).ask(response_model=TOOLS)
    assert not isinstance(key, str) or not key.strip() or key not in str(raised.value)
    assert raised.value.__cause__ is None
    assert not server.requests


def test_function_that_gives_none(connect, server):
    with pytest.raises(UsageError, match="None instead of a key"):
        connect(api_key=lambda: None).ask(response_model=TOOLS)
    assert not server.requests


def test_service_without_a_key_is_sent_none(connect, server):
    connect(provider="lmstudio", api_key=None).ask(response_model=TOOLS)
    assert "authorization" not in server.requests[0].headers


class VaultError(Exception):
    pass


def test_what_the_function_raises_is_raised(connect, server, stream):
    def key() -> str:
        raise VaultError

    face = connect(api_key=key)
    with pytest.raises(VaultError):
        face.ask(response_model=TOOLS, stream=stream)
    assert not server.requests


@pytest.mark.parametrize("name", [name for name in FACES if not name.endswith("asyncio")])
def test_function_that_ends_the_process_does_so_and_the_client_goes_on(connect, server):
    def key() -> str:
        if not left:
            return "some-key"
        raise left.pop()

    left = [SystemExit(3), KeyboardInterrupt()]
    face = connect(api_key=key)
    for expected in (KeyboardInterrupt, SystemExit):
        with pytest.raises(expected):
            face.ask(response_model=TOOLS, timeout=5)
    assert len(face.ask(response_model=TOOLS, timeout=5)) == 2


# ---------------------------------------------------------------------------------------------- what cannot be sent


@pytest.mark.parametrize("headers", [{"x": "a\nb"}, {"x": "é"}, {"a b": "c"}, {"": "c"}, {"x": "\x00"}])
def test_header_that_cannot_be_sent(connect, server, headers):
    for options in ({"headers": headers}, {}):
        with pytest.raises(UsageError, match="header"):
            connect(**options).ask(response_model=TOOLS, extra_headers=headers)
    assert not server.requests


@pytest.mark.parametrize("url", ["http://localhost:99999/v1", "http://localhost:port/v1", "http://[::1/v1", "http://exa mple/v1"])
def test_address_that_cannot_be_used(name, url):
    with pytest.raises(UsageError, match="base_url"):
        Face(name, url).ask(tools=[polycall.Tool("F")], retries=0)


@pytest.mark.parametrize("name", [name for name in FACES if "httpx2" in name])
@pytest.mark.parametrize("path", ["a" * 70_000, "\x01"], ids=["long", "unprintable"])
def test_address_that_only_the_library_refuses(connect, server, path):
    with pytest.raises(UsageError, match="base_url"):
        connect(f"{server.url}/{path}").ask(response_model=TOOLS, retries=0)
    assert not server.requests


@pytest.mark.parametrize("asynchronous", [False, True])
def test_header_of_the_own_client_that_cannot_be_sent(server, asynchronous):
    own = (httpx2.AsyncClient if asynchronous else httpx2.Client)(headers={"x-bad": "sk-canary\nx"})
    with pytest.raises(UsageError, match="header") as raised:
        ask_with(own, server, asynchronous)
    assert "canary" not in str(raised.value)
    assert not server.requests


@pytest.mark.parametrize("asynchronous", [False, True])
def test_own_client_that_is_closed(server, asynchronous):
    own = (httpx2.AsyncClient if asynchronous else httpx2.Client)()
    if asynchronous:
        asyncio.run(own.aclose())
    else:
        own.close()
    with pytest.raises(UsageError, match="closed"):
        ask_with(own, server, asynchronous)


def ask_with(own, server, asynchronous):
    client = polycall.from_provider("openai/m", base_url=server.url, api_key="k", http_client=own, async_client=asynchronous)
    answer = client.create("?", response_model=TOOLS)
    return asyncio.run(answer) if asynchronous else answer


def test_nothing_of_a_request_is_logged(connect, server, stream, caplog):
    """Not by the libraries either: they would show addresses, and one of them headers."""
    caplog.set_level(0)
    connect(headers={"x-other": "sk-other-canary"}).ask("a private question", response_model=TOOLS, stream=stream)
    assert not [record for record in caplog.records if not record.name.startswith("asyncio")]
    with httpx2.Client() as own:
        own.post(server.url, json={})
    assert any("httpx2" in record.name for record in caplog.records)  # what is not ours is logged as ever


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, float("nan"), "\ud800", b"\xff"], ids=["object", "set", "nan", "surrogate", "bytes"]
)
def test_value_that_is_no_json(connect, server, value):
    try:
        connect().ask(response_model=TOOLS, metadata=value)
    except UsageError as error:
        assert "metadata" in str(error)  # noqa: PT017  # what JSON can say somehow may be sent
        assert not server.requests


@pytest.mark.parametrize("timeout", [1e9, 1e10, 1e15, 1e300])
def test_endless_timeout(connect, server, stream, timeout):
    assert len(connect().ask(response_model=TOOLS, stream=stream, timeout=timeout)) == 2


def test_no_timeout(connect, server, stream):
    assert len(connect().ask(response_model=TOOLS, stream=stream, timeout=None)) == 2


# ------------------------------------------------------------------------------------------------------------ redirects


def test_redirect_of_a_post_is_followed_on_the_same_host(connect, server, stream):
    server.queue.append(whole(b"", 307, location="/v2/elsewhere?x=1"))
    server.queue.append(whole(b"", 308, location=f"{server.origin}/v3"))
    assert len(connect().ask(response_model=TOOLS, stream=stream)) == 2
    assert [sent.path for sent in server.requests] == ["/v1/chat/completions", "/v2/elsewhere?x=1", "/v3"]
    assert len({sent.raw for sent in server.requests}) == 1
    assert {sent.headers["authorization"] for sent in server.requests} == {"Bearer sk-canary"}
    assert {sent.method for sent in server.requests} == {"POST"}


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_redirect_to_another_host_is_not_followed(connect, server, stream, status):
    server.queue.append(whole(b"", status, location=f"http://127.0.0.1:{server.port}/v1"))
    with pytest.raises(polycall.PolycallError, match="redirect") as raised:
        connect().ask(response_model=TOOLS, stream=stream)
    assert isinstance(raised.value, polycall.LimitError) is (status == 307)
    assert len(server.requests) == 1


def test_redirect_to_a_host_that_is_allowed(connect, server, stream):
    server.queue.append(whole(b"", 307, location=f"http://127.0.0.1:{server.port}/v1"))
    limits = polycall.Limits(hosts=frozenset({"127.0.0.1"}))
    assert len(connect(limits=limits).ask(response_model=TOOLS, stream=stream)) == 2


def test_redirects_in_circles_end(connect, server, stream):
    server.answer = whole(b"", 307, location="/v1/chat/completions")
    with pytest.raises(polycall.TransportError, match="circles"):
        connect().ask(response_model=TOOLS, stream=stream)
    assert len(server.requests) == 4


# --------------------------------------------------------------------------------------------------- which libraries


def test_library_is_the_one_asked_for(connect, name, server):
    connect().ask(response_model=TOOLS)
    accepted = server.requests[0].headers.get("accept-encoding", "")
    assert (accepted == "gzip, deflate") is ("httpx2" in name)
