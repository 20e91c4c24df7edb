"""Every recorded exchange, through the real clients of the openai SDK and without it: exactly the calls that the model made."""

from __future__ import annotations

import openai
import pytest
from tests.support import chat, memory
from tests.support.loopback import Answer, Server
from tests.support.recorded import Recorded, answered, check, exchanges, named, outcome, streams

import polycall

ANSWERED = [pytest.param(one, id=one.id) for one in answered()]
STREAMED = [pytest.param(one, id=one.id) for one in streams()]
WHOLE = [pytest.param(one, id=one.id) for one in answered() if not one.stream]
SPREAD = ANSWERED[::4]
REFUSED = [pytest.param(one, id=one.id) for one in exchanges() if one.status >= 400 and not one.refused]


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"  # of the module: one event loop, one client


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sdk(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
async def async_sdk(server):
    async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module", params=["pyreqwest", "httpx2"])
def direct(request, server):
    with polycall.from_provider("openai", base_url=server.url, api_key="k", http_client=request.param, retries=0) as client:
        yield client


@pytest.fixture(scope="module", params=["pyreqwest", "httpx2"])
async def async_direct(request, server):
    given = {"base_url": server.url, "api_key": "k", "http_client": request.param, "retries": 0}
    async with polycall.from_provider("openai", async_client=True, **given) as client:
        yield client


def over(fixture: str) -> pytest.MarkDecorator:
    """Take every exchange over pyreqwest, and a spread of them over httpx2."""
    cases = [pytest.param("pyreqwest", *one.values, id=f"pyreqwest-{one.id}") for one in ANSWERED]
    cases += [pytest.param("httpx2", *one.values, id=f"httpx2-{one.id}") for one in SPREAD]
    return pytest.mark.parametrize((fixture, "one"), cases, indirect=[fixture])


def replayed(server: Server, one: Recorded, size: int = 400) -> None:
    body = [one.body[start : start + size] for start in range(0, len(one.body), size)] if one.stream else one.body
    server.answer = Answer(body, one.status, one.content_type)
    server.requests.clear()


def options(one: Recorded) -> dict:
    return {"model": "m", "tools": one.tools, "errors": "return", "stream": one.stream, "max_retries": 0}


def check_sent(server: Server, one: Recorded) -> None:
    assert len(server.requests) == 1
    sent = server.last
    assert server.requests[0].path == "/v1/chat/completions"
    assert sent["messages"] == [{"role": "user", "content": "?"}]
    assert [tool["function"]["name"] for tool in sent["tools"]] == [tool.name for tool in one.tools]
    assert sent.get("stream", False) is one.stream


@pytest.mark.parametrize("one", ANSWERED)
def test_blocking_client_gives_the_calls(one, server, sdk):
    replayed(server, one)
    calls = polycall.from_openai(sdk).create("?", **options(one))
    check(calls.result() if one.stream else calls, one)
    check_sent(server, one)


@pytest.mark.parametrize("one", ANSWERED)
async def test_asyncio_client_gives_the_calls(one, server, async_sdk):
    replayed(server, one)
    calls = await polycall.from_openai(async_sdk).create("?", **options(one))
    check(await calls.result() if one.stream else calls, one)
    check_sent(server, one)


@over("direct")
def test_direct_blocking_client_gives_the_calls(one, server, direct):
    replayed(server, one)
    calls = direct.create("?", **options(one))
    check(calls.result() if one.stream else calls, one)
    check_sent(server, one)


@over("async_direct")
async def test_direct_asyncio_client_gives_the_calls(one, server, async_direct):
    replayed(server, one)
    calls = await async_direct.create("?", **options(one))
    check(await calls.result() if one.stream else calls, one)
    check_sent(server, one)


@pytest.mark.parametrize("one", SPREAD)
def test_direct_client_sends_and_gives_what_the_sdk_does(one, server, sdk, direct):
    sent = []
    given = []
    for client in (polycall.from_openai(sdk), direct):
        replayed(server, one)
        calls = client.create("?", **options(one))
        calls = calls.result() if one.stream else calls
        sent.append(server.last)
        given.append((outcome(calls), calls.messages))
    assert sent[0] == sent[1]
    assert given[0] == given[1]


@pytest.mark.parametrize("one", STREAMED)
def test_stream_that_answers_a_plain_request_is_read(one):
    check(memory.replay([one.body], one.tools, stream=False), one)


@pytest.mark.parametrize("one", WHOLE)
def test_whole_body_that_answers_a_stream_is_read(one):
    plain = memory.replay([one.body], one.tools, stream=False)
    check(plain, one)
    assert outcome(memory.replay([one.body[:7], one.body[7:]], one.tools, stream=True)) == outcome(plain)


@pytest.mark.parametrize("one", REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_http_errors_stay_those_of_the_sdk(one, stream, server, sdk):
    replayed(server, one)
    with pytest.raises(openai.APIStatusError) as plain:
        sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=stream)
    with pytest.raises(openai.APIStatusError) as raised:
        polycall.from_openai(sdk).create("?", **{**options(one), "stream": False})
    with pytest.raises(openai.APIStatusError) as streamed:
        polycall.from_openai(sdk).stream("?", model="m", tools=one.tools).result()
    assert type(raised.value) is type(streamed.value) is type(plain.value)
    assert raised.value.status_code == one.status
    assert raised.value.body == streamed.value.body == plain.value.body


@pytest.mark.parametrize("one", REFUSED)
async def test_http_errors_stay_those_of_the_sdk_on_asyncio(one, server, async_sdk):
    replayed(server, one)
    client = polycall.from_openai(async_sdk)
    with pytest.raises(openai.APIStatusError) as raised:
        await client.create("?", **{**options(one), "stream": False})
    assert raised.value.status_code == one.status
    with pytest.raises(openai.APIStatusError) as raised:
        await client.stream("?", model="m", tools=one.tools).result()
    assert raised.value.status_code == one.status


@pytest.mark.parametrize("one", REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_http_errors_are_transport_errors_without_the_sdk(one, stream, server, direct):
    replayed(server, one)
    ask = direct.create if not stream else lambda *given, **options: direct.create(*given, **options).result()
    with pytest.raises(polycall.TransportError, match=str(one.status)) as raised:
        ask("?", **{**options(one), "stream": stream})
    check_refused(raised.value, one)


@pytest.mark.parametrize("one", REFUSED)
async def test_http_errors_are_transport_errors_without_the_sdk_on_asyncio(one, server, async_direct):
    replayed(server, one)
    with pytest.raises(polycall.TransportError) as raised:
        await async_direct.create("?", **{**options(one), "stream": False})
    check_refused(raised.value, one)
    with pytest.raises(polycall.TransportError) as raised:
        await async_direct.stream("?", model="m", tools=one.tools).result()
    check_refused(raised.value, one)


def check_refused(error: polycall.TransportError, one: Recorded) -> None:
    """The status and the server's words are there, the latter as data only."""
    assert error.status == one.status
    assert error.body == one.body.decode()[:2000]
    assert error.transient is (one.status in {408, 409, 429} or one.status >= 500)
    assert "localhost" in str(error) or "127.0.0.1" in str(error)


def test_empty_body_with_status_200_is_a_transport_error():
    one = named("openai-chat-json-0c-23092270")  # recorded: nothing but white space
    assert not one.body.strip(), one
    for stream in (False, True):
        with pytest.raises(polycall.TransportError, match="empty") as raised:
            memory.replay([one.body], one.tools, stream=stream)
        assert raised.value.status == 200


def test_azure_and_subclasses_go_to_their_own_address(server):
    class Ours(openai.OpenAI):
        """A client of somebody's own."""

    one = next(one for one in answered() if one.provider == "azure" and one.calls and not one.stream)
    azure = openai.AzureOpenAI(azure_endpoint=server.origin, api_version="2024-10-21", api_key="k", max_retries=0)
    ours = Ours(base_url=server.url, api_key="k", max_retries=0)
    with azure, ours:
        replayed(server, one)
        check(polycall.from_openai(azure).create("?", **options(one)), one)
        assert server.requests[0].path == "/openai/deployments/m/chat/completions?api-version=2024-10-21"
        assert server.requests[0].headers["api-key"] == "k"
        replayed(server, one)
        check(polycall.from_openai(ours).create("?", **options(one)), one)
        check_sent(server, one)


async def test_azure_on_asyncio(server):
    one = next(one for one in answered() if one.provider == "azure" and one.calls and one.stream)
    azure = openai.AsyncAzureOpenAI(azure_endpoint=server.origin, api_version="2024-10-21", api_key="k", max_retries=0)
    async with azure:
        replayed(server, one)
        client = polycall.from_openai(azure)
        assert isinstance(client, polycall.AsyncClient)
        check(await client.stream("?", model="m", tools=one.tools, errors="return").result(), one)
        assert server.requests[0].path.startswith("/openai/deployments/m/chat/completions")


def test_recordings_are_the_interesting_ones():
    assert len(answered()) >= 90
    assert len({one.provider for one in exchanges()}) >= 27
    assert sum(len(one.calls) > 1 for one in streams()) >= 10
    assert {call["state"] for one in answered() for call in one.calls} == {"json", "object", "empty", "invalid"} or {
        call["state"] for one in answered() for call in one.calls
    } >= {"json", "empty", "invalid"}


def test_default_answers_are_well_formed():
    """The writer of the other tests' answers writes what the SDK reads."""
    entries = [chat.entry("f", '{"x": 1}', id="a"), chat.entry("g", "{}", id="b")]
    tools = [polycall.Tool("f"), polycall.Tool("g")]
    plain = memory.replay([chat.body(chat.whole(*entries))], tools, stream=False)
    assert [(call.id, call.name, call.value) for call in plain.calls] == [("a", "f", {"x": 1}), ("b", "g", {})]
    assert outcome(memory.replay(chat.streamed(entries, size=1), tools)) == outcome(plain)
