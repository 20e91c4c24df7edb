"""A response while it arrives, through the real SDK client: order of events, leaving early, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
import time
from collections.abc import Iterable
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from tests.support import memory
from tests.support.chat import DONE, body, chunk, data, entry, pieces, stream, streamed, whole
from tests.support.loopback import Answer, Gone, Server, Until, Wait
from tests.support.recorded import outcome
from typing_extensions import TypedDict

import polycall


class F(BaseModel):
    x: int
    note: str = ""


class G(BaseModel):
    n: int = 0


ENTRIES = [entry("F", '{"x": 1, "note": "né"}', id="a"), entry("G", '{"n": 2}', id="b")]
SSE = "text/event-stream"


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def sdk(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def client(sdk):
    return polycall.from_openai(sdk, model="m", max_retries=0)


@pytest.fixture
async def async_client(server):
    async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        yield polycall.from_openai(sdk, model="m", max_retries=0)


# ---------------------------------------------------------------------------------------------------------------- events


def told(events):
    return [(event.type, event.call.index if event.type == "sealed" else getattr(event, "index", None)) for event in events]


def test_order_of_events(server, client):
    chunks = [
        chunk(content="Let me"),
        chunk(entry("F", "", id="a", index=0)),
        chunk(entry(arguments='{"x": ', index=0)),
        chunk(entry("G", '{"n": 2}', id="b", index=1)),
        chunk(content=" see."),
        chunk(entry(arguments="1}", index=0)),
    ]
    server.answer = Answer(stream(*chunks), content_type=SSE)
    with client.stream("?", response_model=Iterable[F | G]) as arriving:
        events = list(arriving.events())
        calls = arriving.result()
    assert told(events) == [
        ("text", None),
        ("started", 0),
        ("delta", 0),
        ("started", 1),
        ("delta", 1),
        ("sealed", 1),
        ("text", None),
        ("delta", 0),
        ("sealed", 0),
    ]
    assert "".join(event.text for event in events if event.type == "text") == calls.text == "Let me see."
    assert (events[1].id, events[1].name) == ("a", "F")
    assert [event.call for event in events if event.type == "sealed"] == [calls.calls[1], calls.calls[0]]
    assert list(calls) == [F(x=1), G(n=2)]


def test_values_come_in_order_of_completion(server, client):
    chunks = [
        chunk(entry("F", "", id="a", index=0)),
        chunk(entry("G", "{}", id="b", index=1)),
        chunk(entry(arguments='{"x": 1}', index=0)),
    ]
    server.answer = Answer(stream(*chunks), content_type=SSE)
    with client.stream("?", response_model=Iterable[F | G]) as arriving:
        assert list(arriving) == [G(n=0), F(x=1)]


def test_deltas_tell_arguments_and_partial_values(server, client):
    server.answer = Answer(streamed(ENTRIES[:1], size=4), content_type=SSE)
    with client.stream("?", response_model=Iterable[F]) as arriving:
        deltas = [event for event in arriving.events() if event.type == "delta"]
    text = ENTRIES[0]["function"]["arguments"]
    assert [event.text for event in deltas] == pieces(text, 4)
    # Asked for after the end, each still tells what was there when it came.
    assert [event.arguments for event in deltas] == [text[: 4 * number] for number in range(1, len(deltas))] + [text]
    partial = [event.partial for event in deltas]
    assert isinstance(partial[-1], F)
    assert (partial[-1].x, partial[-1].note) == (1, "né")
    assert [one.note for one in partial if one is not None] == sorted(
        one.note or "" for one in partial if one is not None
    ) or any(one is not None and one.note is None for one in partial)
    assert text not in repr(deltas[-1])


@dataclasses.dataclass
class D:
    x: int
    y: int


class T(TypedDict):
    x: int


def function(x: int, y: int = 1) -> int:
    return x + y


def test_partial_values_of_every_kind():
    tools = [D, T, function, polycall.Tool("raw")]
    names = ["D", "T", "function", "raw"]
    events = streamed([entry(name, '{"x": 1, "y": 2}', id=name) for name in names], size=8)
    arriving = memory.client(memory.Script(events)).stream("?", tools=tools, errors="return")
    first = {event.index: event for event in reversed([one for one in arriving.events() if one.type == "delta"])}
    assert [first[number].arguments for number in range(4)] == ['{"x": 1,'] * 4
    assert isinstance(first[0].partial, D)
    assert (first[0].partial.x, first[0].partial.y) == (1, None)
    assert first[1].partial == {"x": 1}
    assert first[2].partial.arguments == {"x": 1}
    assert first[3].partial == {"x": 1}


def test_partial_of_what_cannot_be_read_is_none():
    entries = [entry("F", "[1, 2]", id="a"), entry("unknown", '{"x": 1}', id="b"), entry("F", '{"x": "no"', id="c")]
    arriving = memory.client(memory.Script(streamed(entries))).stream("?", tools=[F], errors="return")
    found = [event for event in arriving.events() if event.type == "delta"]
    assert [event.partial for event in found[:2]] == [None, None]
    assert getattr(found[2].partial, "x", None) is None


def test_nothing_is_sent_before_the_stream_is_read(server, client):
    server.answer = Answer(streamed(ENTRIES), content_type=SSE)
    arriving = client.stream("?", tools=[F, G])
    assert server.requests == []
    assert len(arriving.result()) == 2
    assert len(server.requests) == 1


def test_each_value_comes_the_moment_it_is_sealed(server, client):
    """The server sends the rest only after the first value has come out at this end."""
    first, *rest = streamed(ENTRIES)
    seen = threading.Event()
    server.answer = Answer([first, Until(seen), *rest], content_type=SSE)
    with client.stream("?", response_model=Iterable[F | G]) as arriving:
        values = iter(arriving)
        assert next(values) == F(x=1, note="né")
        seen.set()
        assert list(values) == [G(n=2)]


async def test_each_value_comes_the_moment_it_is_sealed_on_asyncio(server, async_client):
    first, *rest = streamed(ENTRIES)
    seen = threading.Event()
    server.answer = Answer([first, Until(seen), *rest], content_type=SSE)
    async with async_client.stream("?", response_model=Iterable[F | G]) as arriving:
        values = aiter(arriving)
        assert await anext(values) == F(x=1, note="né")
        seen.set()
        assert [value async for value in values] == [G(n=2)]


# ----------------------------------------------------------------------------------------------- the same by every way


@pytest.mark.parametrize("entries", [ENTRIES, [*ENTRIES, entry("F", "{", id="c")], [entry("H", "{}", id="d"), *ENTRIES], []])
async def test_same_results_by_every_way(entries, server, client, async_client):
    options = {"tools": [F, G], "errors": "return"}
    finish = "tool_calls" if entries else "stop"
    server.answer = Answer(body(whole(*entries, finish=finish)))
    plain = outcome(client.create("?", **options))
    assert outcome(await async_client.create("?", **options)) == plain
    server.answer = Answer(streamed(entries, size=3, finish=finish), content_type=SSE)
    assert outcome(client.create("?", stream=True, **options).result()) == plain
    assert outcome(client.stream("?", **options).result()) == plain
    assert outcome(await (await async_client.create("?", stream=True, **options)).result()) == plain
    assert outcome(await async_client.stream("?", **options).result()) == plain
    with client.stream("?", **options) as arriving:
        good = list(arriving)
        assert outcome(arriving.result()) == plain
        with pytest.raises(polycall.UsageError, match="iterate over it once"):
            list(arriving)
        with pytest.raises(polycall.UsageError, match="iterate over it once"):
            arriving.events()
        assert outcome(arriving.result()) == plain
    assert good == [value for value in arriving.result() if not isinstance(value, polycall.CallError)]


def test_iterated_in_part_then_result(server, client):
    server.answer = Answer(streamed(ENTRIES, size=2), content_type=SSE)
    arriving = client.stream("?", tools=[F, G])
    for value in arriving:
        assert value == F(x=1, note="né")
        break
    assert list(arriving.result()) == [F(x=1, note="né"), G(n=2)]


async def test_iterated_in_part_then_result_on_asyncio(server, async_client):
    server.answer = Answer(streamed(ENTRIES, size=2), content_type=SSE)
    arriving = async_client.stream("?", tools=[F, G])
    async for value in arriving:
        assert value == F(x=1, note="né")
        break
    assert list(await arriving.result()) == [F(x=1, note="né"), G(n=2)]


def test_errors_at_the_end(server, client):
    server.answer = Answer(streamed([entry("F", "{", id="c"), *ENTRIES]), content_type=SSE)
    arriving = client.stream("?", tools=[F, G])
    values = []
    with pytest.raises(polycall.CallErrors) as raised:
        values.extend(arriving)
    assert values == [F(x=1, note="né"), G(n=2)]
    assert len(raised.value.calls) == 3
    with pytest.raises(polycall.UsageError):
        arriving.result()


# -------------------------------------------------------------------------------------------------------- leaving early


def endless(server):
    server.answer = Answer([streamed(ENTRIES)[0], Gone()], content_type=SSE)


def test_leaving_the_block_closes_the_connection(server, client):
    endless(server)
    with client.stream("?", tools=[F, G]) as arriving:
        assert next(iter(arriving)) == F(x=1, note="né")
    assert server.gone.wait(2)
    with pytest.raises(polycall.UsageError, match="closed"):
        arriving.result()


def test_letting_the_stream_go_closes_the_connection(server, client):
    endless(server)
    for value in client.stream("?", tools=[F, G]):
        assert value == F(x=1, note="né")
        break
    gc.collect()
    assert server.gone.wait(2)


def test_error_in_the_block_closes_the_connection(server, client):
    endless(server)
    with pytest.raises(ZeroDivisionError), client.stream("?", tools=[F, G]) as arriving:
        next(arriving.events()).index / 0
    assert server.gone.wait(2)


async def test_leaving_the_block_closes_the_connection_on_asyncio(server, async_client):
    endless(server)
    async with async_client.stream("?", tools=[F, G]) as arriving:
        async for value in arriving:
            assert value == F(x=1, note="né")
            break
    assert await asyncio.to_thread(server.gone.wait, 2)
    with pytest.raises(polycall.UsageError, match="closed"):
        await arriving.result()


async def test_letting_the_stream_go_closes_the_connection_on_asyncio(server, async_client):
    endless(server)
    arriving = async_client.stream("?", tools=[F, G])
    async for _ in arriving:
        break
    del arriving
    gc.collect()
    assert await asyncio.to_thread(server.gone.wait, 2)


def test_closing_what_was_never_read(server, client):
    arriving = client.stream("?", tools=[F])
    arriving.close()
    arriving.close()
    assert server.requests == []
    with pytest.raises(polycall.UsageError):
        arriving.result()


async def test_closing_what_was_never_read_on_asyncio(server, async_client):
    async with async_client.stream("?", tools=[F]) as arriving:
        pass
    await arriving.close()
    assert server.requests == []
    with pytest.raises(polycall.UsageError):
        await arriving.result()


def test_whole_answers_leave_the_connection_to_the_next(server, client):
    server.answer = Answer(body(whole(*ENTRIES)))
    for _ in range(3):
        client.create("?", tools=[F, G])
    assert server.open == 1


# ------------------------------------------------------------------------------------------------------------ deadlines

TIMEOUT = 0.2
LATEST = TIMEOUT + 0.5
STALLS = {
    "headers": Answer(body(whole(*ENTRIES)), before=[Gone()]),
    "body": Answer([data(chunk(ENTRIES[0])), Gone()], content_type=SSE),
    "first byte": Answer([Gone()], content_type=SSE),
    "drip": Answer([piece for _ in range(500) for piece in (b": wait\n", Wait(0.02))], content_type=SSE),
    "drip of calls": Answer(
        [piece for number in range(500) for piece in (data(chunk(entry("G", "{}", index=number))), Wait(0.01))], content_type=SSE
    ),
}


def answer_of(client, streaming):
    options = {"tools": [F, G], "timeout": TIMEOUT, "errors": "return"}
    return client.stream("?", **options).result() if streaming else client.create("?", **options)


@pytest.mark.parametrize("answer", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("streaming", [True, False])
def test_deadline(answer, streaming, server, client):
    server.answer = answer
    start = time.monotonic()
    with pytest.raises(polycall.DeadlineError, match=r"timeout=0\.2"):
        answer_of(client, streaming)
    assert TIMEOUT - 0.02 < time.monotonic() - start < LATEST


@pytest.mark.parametrize("answer", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("streaming", [True, False])
async def test_deadline_on_asyncio(answer, streaming, server, async_client):
    server.answer = answer
    start = time.monotonic()
    with pytest.raises(polycall.DeadlineError, match=r"timeout=0\.2"):
        await answer_of(async_client, streaming)
    assert TIMEOUT - 0.02 < time.monotonic() - start < LATEST
    assert await asyncio.to_thread(server.settle)
    for _ in range(100):  # what another test has left may still be ending
        if len(asyncio.all_tasks()) > 2:
            await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) <= 2  # the test, and who runs it


def test_values_before_the_deadline_are_kept_by_who_reads(server, client):
    server.answer = STALLS["body"]
    values = []
    with client.stream("?", tools=[F, G], timeout=TIMEOUT) as arriving, pytest.raises(polycall.DeadlineError):
        values.extend(arriving)
    assert values == [F(x=1, note="né")]
    assert server.gone.wait(2)


@pytest.mark.parametrize("size", [None, 1])
async def test_deadline_that_is_kept_changes_nothing(size, server, client, async_client):
    server.answer = Answer(streamed(ENTRIES, size=size), content_type=SSE)
    plain = outcome(client.stream("?", tools=[F, G]).result())
    assert outcome(client.stream("?", tools=[F, G], timeout=5).result()) == plain
    assert outcome(await async_client.stream("?", tools=[F, G], timeout=5).result()) == plain


def polycall_threads():
    return {thread for thread in threading.enumerate() if thread.name == "polycall"}


def ended(threads, seconds=2.0):
    """Wait until no more than the given threads of polycall's run; return whether that came true in time."""
    end = time.monotonic() + seconds
    while polycall_threads() - threads:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_no_thread_is_left_where_the_deadline_is_kept(server, client):
    before = polycall_threads()
    server.answer = Answer(body(whole(*ENTRIES)))
    client.create("?", tools=[F, G], timeout=5)
    assert ended(before)


def test_worker_ends_after_the_deadline(server, client):
    before = polycall_threads()
    server.answer = STALLS["body"]
    with pytest.raises(polycall.DeadlineError):
        client.stream("?", tools=[F, G], timeout=0.1).result()
    assert ended(before)


def test_worker_ends_when_the_server_lets_go(server, client):
    before = polycall_threads()
    let_go = threading.Event()
    server.answer = Answer(body(whole(*ENTRIES)), before=[Until(let_go)])
    with pytest.raises(polycall.DeadlineError):
        client.create("?", tools=[F, G], timeout=0.1)
    assert polycall_threads() - before
    let_go.set()
    assert ended(before)


# -------------------------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("stall", ["headers", "body", "first byte"])
@pytest.mark.parametrize("options", [{}, {"timeout": 5}], ids=["no deadline", "deadline"])
async def test_cancellation_leaves_nothing(stall, options, server, async_client):
    server.answer = STALLS[stall]
    before = asyncio.all_tasks()
    running = asyncio.ensure_future(async_client.stream("?", tools=[F, G], errors="return", **options).result())
    await asyncio.to_thread(server.wait_for_request)
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() <= before
    assert await asyncio.to_thread(server.gone.wait, 2)


async def test_wait_for_leaves_nothing(server, async_client):
    server.answer = STALLS["body"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(async_client.create("?", tools=[F, G]), 0.1)
    assert await asyncio.to_thread(server.gone.wait, 2)


async def test_many_at_once_do_not_mix(server, async_client):
    def answer(sent):
        number = int(sent.body["messages"][0]["content"])
        return Answer([*streamed([entry("G", f'{{"n": {number}}}', id=f"c{number}")] * 3, size=2), Wait(0.01)], content_type=SSE)

    server.queue.extend([answer] * 20)
    found = await asyncio.gather(*(async_client.stream(str(n), tools=[G]).result() for n in range(20)))
    assert [[value.n for value in calls] for calls in found] == [[number] * 3 for number in range(20)]


def test_many_threads_do_not_mix(server, client):
    def answer(sent):
        number = int(sent.body["messages"][0]["content"])
        return Answer([*streamed([entry("G", f'{{"n": {number}}}', id=f"c{number}")] * 3, size=2)], content_type=SSE)

    server.queue.extend([answer] * 16)
    found = {}

    def ask(number):
        found[number] = [value.n for value in client.stream(str(number), tools=[G])]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [number] * 3 for number in range(16)}


# --------------------------------------------------------------------------- a client that blocks, used from an event loop


async def test_blocking_client_on_asyncio():
    """The embedded model blocks: its reads go into threads, and the event loop goes on."""
    ticks = []

    def slow():
        for event in streamed(ENTRIES):
            time.sleep(0.05)
            yield event

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.005)

    ticking = asyncio.ensure_future(tick())
    script = memory.Script(slow())
    calls = await memory.async_client(script, blocking=True).stream("?", tools=[F, G]).result()
    ticking.cancel()
    assert list(calls) == [F(x=1, note="né"), G(n=2)]
    assert len(ticks) > 10
    assert script.closed >= 1


async def test_in_memory_on_asyncio():
    script = memory.Script([*streamed(ENTRIES)[:-1], DONE])
    calls = await memory.async_client(script).stream("?", tools=[F, G]).result()
    assert list(calls) == [F(x=1, note="né"), G(n=2)]
    assert script.closed >= 1
    assert script.sent[0]["stream"] is True


# ------------------------------------------------------------------------------------------------- one reader, any closer


def test_closing_from_another_thread_ends_the_reader(server, client):
    """A stop button: the reader, which waits for the server, ends at once with what it has."""
    server.answer = STALLS["body"]
    arriving = client.stream("?", tools=[F, G], errors="return")
    read: list[Any] = []
    reader = threading.Thread(target=lambda: read.extend(arriving))
    reader.start()
    while not read:
        time.sleep(0.005)
    time.sleep(0.05)
    arriving.close()
    reader.join(2)
    assert not reader.is_alive()
    assert read == [F(x=1, note="né")]
    assert server.gone.wait(2)


async def test_closing_from_another_task_ends_the_reader(server, async_client):
    server.answer = STALLS["body"]
    arriving = async_client.stream("?", tools=[F, G], errors="return")
    read: list[Any] = []

    async def reading() -> None:
        async for value in arriving:
            read.append(value)  # noqa: PERF401  # seen from outside while it grows

    reader = asyncio.ensure_future(reading())
    while not read:  # a list has no event to wait for
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    await arriving.close()
    await asyncio.wait_for(reader, 2)
    assert read == [F(x=1, note="né")]
    assert await asyncio.to_thread(server.gone.wait, 2)


def test_two_readers_are_told(server, client):
    server.answer = STALLS["body"]
    with client.stream("?", tools=[F, G], errors="return") as arriving:
        next(arriving)
        reader = threading.Thread(target=lambda: list(arriving))
        reader.start()
        time.sleep(0.1)
        with pytest.raises(polycall.UsageError, match="being read elsewhere"):
            next(arriving)
    reader.join(2)
    assert not reader.is_alive()


async def test_two_reading_tasks_are_told(server, async_client):
    server.answer = STALLS["body"]
    async with async_client.stream("?", tools=[F, G], errors="return") as arriving:
        await anext(arriving)
        reader = asyncio.ensure_future(anext(arriving, None))
        await asyncio.sleep(0.1)
        with pytest.raises(polycall.UsageError, match="being read elsewhere"):
            await anext(arriving)
    assert await asyncio.wait_for(reader, 2) is None


def test_a_closed_stream_is_over(server, client):
    server.answer = Answer(streamed(ENTRIES, size=2), content_type=SSE)
    arriving = client.stream("?", tools=[F, G])
    arriving.close()
    for read in (list, lambda one: list(one.events()), lambda one: one.result()):
        with pytest.raises(polycall.UsageError):
            read(arriving)


async def test_events_to_the_end_on_asyncio(server, async_client):
    server.answer = Answer(streamed(ENTRIES, size=2), content_type=SSE)
    arriving = async_client.stream("?", tools=[F, G])
    kinds = [event.type async for event in arriving.events()]
    assert kinds.count("sealed") == kinds.count("started") == len(ENTRIES)
    assert list(await arriving.result()) == [F(x=1, note="né"), G(n=2)]
