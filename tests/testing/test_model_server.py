"""The model server, met by real clients of the openai SDK: scripts, pace, re-asks, the rules of the service."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from polycall.testing import FAULTS, Answer, Drop, Gone, ModelServer, Raw, Reset, Said, Turn, Until, Wait
from polycall.testing._fixture import model_server  # noqa: F401  # the fixture, also where the plugin is not installed
from polycall.testing._loopback import Server

TORONTO = Said("Weather", {"location": "Toronto", "units": "metric"})
DALLAS = Said("Weather", {"location": "Dallas", "units": "imperial"})
SEARCH = Said("GoogleSearch", {"query": "super bowl winner"})
THREE = (TORONTO, DALLAS, SEARCH)
QUESTION = [{"role": "user", "content": "?"}]


@pytest.fixture
def ask():
    """Return a function that asks a server for a whole message, with one client for all."""
    clients = {}

    def ask(server, messages=QUESTION, **options):
        if server not in clients:
            clients[server] = openai.OpenAI(base_url=server.url, api_key="sk-test-0123456789", max_retries=0)
        return clients[server].chat.completions.create(model="m-1", messages=messages, **options)

    yield ask
    for client in clients.values():
        client.close()


def said(answer):
    return [(call.function.name, call.function.arguments) for call in answer.choices[0].message.tool_calls or ()]


def meant(*calls):
    return [(call.name, call.text) for call in calls]


def continued(messages, answer, *results):
    """Return the conversation with the answer and a result for each of its calls."""
    message = answer.choices[0].message
    calls = message.tool_calls or ()
    told = [{"role": "tool", "tool_call_id": call.id, "content": "r"} for call in calls] if not results else list(results)
    return [*messages, message.model_dump(exclude_none=True), *told]


def put_together(chunks):
    """Return the calls of a stream as OpenAI's own documentation puts them together."""
    calls = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                call = calls.setdefault(piece.index, ["", "", ""])
                call[0] += piece.id or ""
                call[1] += piece.function.name or ""
                call[2] += piece.function.arguments or ""
    return [tuple(call[1:]) for _, call in sorted(calls.items())]


# ---------------------------------------------------------------------------------------------------------------- scripts


@pytest.mark.parametrize("pieces", [None, 1, 7])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_is_said_to_every_client(stream, pieces, ask):
    with ModelServer(Turn(calls=THREE, pieces=pieces)) as server:
        answer = ask(server, stream=stream)
        assert (put_together(answer) if stream else said(answer)) == meant(*THREE)
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            answer = await client.chat.completions.create(model="m-1", messages=QUESTION, stream=stream)
            assert (put_together([chunk async for chunk in answer]) if stream else said(answer)) == meant(*THREE)


def test_a_whole_answer_has_what_the_service_sends(ask):
    with ModelServer(Turn(calls=[TORONTO], text="Let me see.")) as server:
        answer = ask(server)
        assert answer.model == "m-1"
        assert answer.object == "chat.completion"
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.content == "Let me see."
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
        (request,) = server.requests
        assert request.path == "/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer sk-test-0123456789"
        assert request.body == server.last == json.loads(request.raw)


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_has_usage_only_when_asked(asked, ask):
    options = {"stream_options": {"include_usage": True}} if asked else {}
    with ModelServer([TORONTO]) as server:
        *_, last = ask(server, stream=True, **options)
        assert (last.usage is not None, last.choices == []) == (asked, asked)


def test_calls_alone_are_one_turn_and_turns_follow(ask):
    with ModelServer([TORONTO, DALLAS, Turn(text="It is cold.", finish="length"), SEARCH]) as server:
        first = ask(server)
        assert said(first) == meant(TORONTO, DALLAS)
        second = ask(server, messages := continued(QUESTION, first))
        assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("It is cold.", "length")
        third = ask(server, messages := continued(messages, second))
        assert said(third) == meant(SEARCH)
        last = ask(server, messages := continued(messages, third))
        assert (last.choices[0].finish_reason, said(last)) == ("stop", [])
        assert ask(server, continued(messages, last)).choices[0].message.content


def test_a_script_can_be_a_function_of_the_request(ask):
    with ModelServer(lambda sent: [Said("Echo", {"text": sent.body["messages"][-1]["content"]})]) as server:
        assert said(ask(server)) == [("Echo", '{"text": "?"}')]


def test_nothing_to_say_is_a_word(ask):
    with ModelServer() as server:
        assert ask(server).choices[0].message.content
        assert [chunk.choices[0].finish_reason for chunk in ask(server, stream=True)][-1] == "stop"


# ------------------------------------------------------------------------------------------------------------------- pace


def arrivals(events, began):
    """Return when each call was complete."""
    seen = {}
    for chunk in events:
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                seen[piece.index] = time.monotonic() - began
    return [when for _, when in sorted(seen.items())], time.monotonic() - began


@pytest.mark.parametrize("pieces", [None, 5])
def test_calls_are_complete_at_their_times(pieces, ask):
    with ModelServer(Turn(calls=THREE, times=(0.1, 0.2, 0.3), end=0.4, pieces=pieces)) as server:
        ask(server)  # the connection is there
        began = time.monotonic()
        times, end = arrivals(ask(server, stream=True), began)
        assert all(when >= due - 0.005 for when, due in zip(times, (0.1, 0.2, 0.3), strict=True))
        assert times == sorted(times)
        assert end >= 0.395


def test_a_whole_answer_comes_at_its_end(ask):
    with ModelServer(Turn(calls=THREE, times=(0.05,), end=0.2)) as server:
        began = time.monotonic()
        assert said(ask(server)) == meant(*THREE)
        assert time.monotonic() - began >= 0.195


# ---------------------------------------------------------------------------------------------------------------- re-asks

WRONG = (
    TORONTO,
    Said("Weather", DALLAS.arguments, wrong="{"),
    Said("GoogleSearch", SEARCH.arguments, wrong=Said("Search", "{}")),
)
BAD = [("Weather", "{"), ("Search", "{}")]


def rounds(server, ask, count):
    """Return what is said round by round, every call answered each time."""
    messages, heard = QUESTION, []
    for _ in range(count):
        answer = ask(server, messages)
        heard.append(said(answer) or answer.choices[0].message.content)
        messages = continued(messages, answer)
    return heard


def test_wrong_calls_are_sent_again_right(ask):
    with ModelServer([*WRONG, Turn(text="Done.")]) as server:
        assert rounds(server, ask, 3) == [meant(TORONTO) + BAD, meant(DALLAS, SEARCH), "Done."]


def test_all_calls_are_sent_again(ask):
    with ModelServer([Turn(calls=WRONG, resend="all"), Turn(text="Done.")]) as server:
        assert rounds(server, ask, 3) == [meant(TORONTO) + BAD, meant(*THREE), "Done."]


def test_wrong_calls_are_sent_again_one_at_a_time(ask):
    with ModelServer([Turn(calls=WRONG, resend="one"), Turn(text="Done.")]) as server:
        assert rounds(server, ask, 4) == [meant(TORONTO) + BAD, meant(DALLAS), meant(SEARCH), "Done."]


def test_the_model_gives_up(ask):
    with ModelServer([Turn(calls=WRONG, resend="none"), Turn(text="Done.")]) as server:
        first, second, third = rounds(server, ask, 3)
        assert (first, third) == (meant(TORONTO) + BAD, "Done.")
        assert isinstance(second, str)


def test_several_mistakes_come_one_after_the_other(ask):
    with ModelServer([Said("Weather", TORONTO.arguments, wrong=["", "[]"])]) as server:
        assert rounds(server, ask, 3) == [[("Weather", "")], [("Weather", "[]")], meant(TORONTO)]


def test_a_question_asked_anew_is_answered_anew(ask):
    with ModelServer([*WRONG]) as server:
        assert rounds(server, ask, 1) == rounds(server, ask, 1)


# ------------------------------------------------------------------------------------------------------ rules of the service

CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": name, "type": "function", "function": {"name": "F", "arguments": "{}"}} for name in "ab"],
}


def result(id):
    return {"role": "tool", "tool_call_id": id, "content": "r"}


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([*QUESTION, CALLED], "did not have response messages: a, b"),
        ([*QUESTION, CALLED, result("b")], "did not have response messages: a"),
        ([*QUESTION, CALLED, result("b"), *QUESTION], "did not have response messages: a"),
        ([*QUESTION, CALLED, *QUESTION, result("a"), result("b")], "did not have response messages: a, b"),
        ([*QUESTION, CALLED, result("a"), result("a"), result("b")], "'tool_call_id' of 'a' not found"),
        ([*QUESTION, CALLED, result("a"), result("b"), result("a")], "messages with role 'tool' must be a response"),
        ([result("a"), *QUESTION], "messages with role 'tool' must be a response"),
        ([], "Missing required parameter"),
    ],
)
def test_a_broken_history_is_refused(messages, told, ask):
    with ModelServer([TORONTO]) as server, pytest.raises(openai.BadRequestError, match=told) as caught:
        ask(server, messages)
    assert caught.value.type == "invalid_request_error"


def test_a_whole_history_is_taken_in_any_order(ask):
    with ModelServer([TORONTO, Turn(text="Good.")]) as server:
        assert ask(server, [*QUESTION, CALLED, result("b"), result("a")]).choices[0].message.content == "Good."


@pytest.mark.parametrize("header", ["authorization", "api-key"])
def test_another_key_is_refused(header, ask):
    with ModelServer([TORONTO], key="sk-right") as server:
        with pytest.raises(openai.AuthenticationError, match=r"Incorrect API key provided: sk-\*+6789") as caught:
            ask(server)
        assert caught.value.code == "invalid_api_key"
        right = (
            {"Authorization": "Bearer sk-right"} if header == "authorization" else {"Authorization": "", "api-key": "sk-right"}
        )
        assert said(ask(server, extra_headers=right)) == meant(TORONTO)


def test_what_is_not_there_is_not_found(ask):
    with ModelServer([TORONTO]) as server, openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="Invalid URL"):
            client.models.list()
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="m", input="x")
        assert [request.method for request in server.requests] == ["GET", "POST"]


# ------------------------------------------------------------------------------------------------------------ connections


def test_a_connection_is_kept(ask):
    with ModelServer([TORONTO]) as server:
        for stream in (False, False, True):
            list(ask(server, stream=stream))
            assert server.open <= 1
        assert [(request.connection, request.nth) for request in server.requests] == [(1, 1), (1, 2), (1, 3)]
    assert server.settle()


async def test_fifty_at_a_time(ask):
    turn = Turn(calls=[Said("Weather", TORONTO.arguments, wrong="{")], times=(0.05,), end=0.1, pieces=3)
    with ModelServer([turn]) as server, openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client:

        def one(_):
            return put_together(client.chat.completions.create(model="m", messages=QUESTION, stream=True))

        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(one, range(50))) == [[("Weather", "{")]] * 50
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as other:
            answers = [other.chat.completions.create(model="m", messages=QUESTION) for _ in range(50)]
            assert [said(answer) for answer in await asyncio.gather(*answers)] == [[("Weather", "{")]] * 50
        assert len(server.requests) == 100


def test_the_fixture_listens(model_server, ask):  # noqa: F811  # the fixture
    model_server.script = [TORONTO]
    assert said(ask(model_server)) == meant(TORONTO)
    model_server.fault = "400"
    with pytest.raises(openai.BadRequestError):
        ask(model_server)


# ----------------------------------------------------------------------------------------------------------------- faults


def test_a_fault_that_retries_heal():
    with ModelServer([TORONTO], fault="429-retry-after-ms") as server:
        with openai.OpenAI(base_url=server.url, api_key="k", max_retries=2) as client:
            assert said(client.chat.completions.create(model="m", messages=QUESTION)) == meant(TORONTO)
        assert len(server.requests) == 2


def test_a_fault_lasts_as_long_as_it_should(ask):
    with ModelServer([TORONTO], fault=FAULTS["500-once"].lasting(2)) as server:
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                ask(server)
        assert said(ask(server)) == meant(TORONTO)
        server.fault = "500-once"
        with pytest.raises(openai.InternalServerError):
            ask(server)
        server.fault = None
        assert said(ask(server)) == meant(TORONTO)


def test_a_turn_has_its_own_fault(ask):
    with ModelServer(
        [Turn(calls=[TORONTO]), Turn(calls=[DALLAS], fault="500-once"), Turn(text="x", fault="accept-and-close")]
    ) as server:
        first = ask(server)
        messages = continued(QUESTION, first)
        with pytest.raises(openai.InternalServerError):
            ask(server, messages)
        second = ask(server, messages)
        assert said(second) == meant(DALLAS)
        messages = continued(messages, second)
        with pytest.raises(openai.APIConnectionError):
            ask(server, messages)
        assert ask(server, messages).choices[0].message.content == "x"


def test_refusing_connections_can_end(ask):
    with ModelServer([TORONTO]) as server:
        ask(server)
        server.fault = "connection-refused"
        with pytest.raises(openai.APIConnectionError):
            ask(server)
        server.fault = None
        assert said(ask(server)) == meant(TORONTO)
    with ModelServer([TORONTO], fault="connection-refused") as server, pytest.raises(openai.APIConnectionError):
        ask(server)


def test_an_unknown_fault_is_named():
    with pytest.raises(ValueError, match="did you mean 500-once"):
        ModelServer(fault="500-onec")
    with pytest.raises(ValueError, match="FAULTS"):
        ModelServer().fault = "zzzzzzz"


def test_a_url_with_https():
    with ModelServer(fault="plain-http-on-tls-port") as server:
        assert server.url.startswith("https://127.0.0.1:")
        server.fault = None
        assert server.url.startswith("http://127.0.0.1:")
        assert server.url.endswith("/v1")
    with pytest.raises(RuntimeError, match="with ModelServer"):
        _ = ModelServer().url


# ------------------------------------------------------------------------------------------------- the server that plays pieces


def talk(server, data, *, wait=True):
    """Send bytes and return everything that comes back."""
    with socket.create_connection(server.origin.removeprefix("http://").split(":")) as client:
        client.settimeout(5)
        client.sendall(data)
        if wait:
            return b"".join(iter(lambda: client.recv(1 << 16), b""))
        return b""


def request(body=b"{}", *headers):
    lines = [b"POST /v1/x HTTP/1.1", b"host: h", *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CLOSE = b"connection: close"


def test_pieces_are_chunks_and_the_queue_comes_first():
    with Server() as server:
        server.answer = Answer(b"later")
        server.queue += [Answer([b"a", b"", Wait(0.01), b"bc"]), lambda sent: Answer(sent.raw, status=418)]
        assert talk(server, request(b"{}", CLOSE)).endswith(b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
        assert talk(server, request(b"[1]", CLOSE)).startswith(b"HTTP/1.1 418 ")
        assert talk(server, request(b"no json", CLOSE)).endswith(b"\r\n\r\nlater")
        assert [sent.body for sent in server.requests] == [{}, [1], None]
        assert server.wait_for_request(3)


def test_the_bytes_before_and_any_bytes():
    with Server() as server:
        server.answer = Answer(b"x", before=(b"HTTP/1.1 100 Continue\r\n\r\n",))
        assert talk(server, request(b"{}", CLOSE)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
        server.answer = Raw([b"\x00\x01", Wait(0), b"\x02"])
        assert talk(server, request()) == b"\x00\x01\x02"
        server.answer = Answer([b"ab"], ended=False)
        assert talk(server, request()).endswith(b"2\r\nab\r\n")


@pytest.mark.parametrize(("piece", "error"), [(Drop(), None), (Reset(), ConnectionResetError)])
def test_the_ends_of_a_connection(piece, error):
    with Server() as server:
        server.answer = Raw([b"HTTP", Wait(0.05), piece, b"never"])
        if error is None:
            assert talk(server, request()) == b"HTTP"
        else:
            with pytest.raises(error):
                talk(server, request())
        assert server.settle()


def test_waiting_ends():
    event = threading.Event()
    with Server() as server:
        server.longest_wait = 0.1
        server.answer = Raw([b"a", Until(event), b"b"])
        assert talk(server, request()) == b"a"
        event.set()
        assert talk(server, request()) == b"ab"
        server.answer = Raw([b"a", Gone(), b"b"])
        assert talk(server, request()) == b"a"
        assert not server.gone.is_set()
        server.longest_wait = 5.0
        talk(server, request(), wait=False)
        assert server.gone.wait(5)
        server.answer = Raw([Wait(5), b"b"])
        talk(server, request(), wait=False)
        assert server.settle()
        server.longest_wait = 0.01
        assert not server.wait_for_request(99)
        assert not server.settle(-1, 0.01)


def test_requests_in_every_form():
    with Server() as server:
        server.answer = Answer(b"ok", headers={"connection": "close"})
        chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
        assert talk(server, chunked).endswith(b"ok")
        assert server.last == [1, 2]
        waiting = talk(server, request(b"{}", b"expect: 100-continue"))
        assert waiting.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
        assert talk(server, b"this is no request\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert talk(server, b"\r\n\r\n").startswith(b"HTTP/1.1 400")
        talk(server, b"POST / HT", wait=False)
        assert server.settle()


def test_requests_one_after_the_other_on_one_connection():
    with Server() as server:
        server.queue += [Answer([Wait(0.05), b"1"]), Answer(b"2")]
        both = talk(server, request() + request(b"{}", CLOSE))
        assert both.endswith(b"2")
        assert [sent.nth for sent in server.requests] == [1, 2]


def test_what_goes_wrong_in_the_server_is_raised():
    def broken(_):
        raise ZeroDivisionError

    def use(error):
        with Server() as server:
            server.queue.append(broken)
            talk(server, request())
            if error is not None:
                raise error

    with pytest.raises(ZeroDivisionError):
        use(None)
    with pytest.raises(KeyError):
        use(KeyError())  # the test's own error goes first


def test_ports_differ():
    with Server() as one, Server() as other:
        assert one.url != other.url
