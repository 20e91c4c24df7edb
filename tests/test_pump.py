"""The two pumps do the same with every effect, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import time
from concurrent import futures

import pytest

from polycall._effects import Close, Do, Finished, First, Open, Read, Sleep, Start
from polycall._pump import Blocking, pump
from polycall._pump_asyncio import pump_async
from polycall.errors import TransportError
from polycall.provider import Late, Reply

PUMPS = ["blocking", "asyncio", "asyncio over a blocking client"]


class Drive:
    """Drives flows with one of the pumps, from a test on asyncio."""

    def __init__(self, kind):
        self.kind = kind
        self.asynchronous = kind == "asyncio"

    def start(self, flow):
        """Return the pump as an asynchronous iterator, whichever it is."""
        if self.kind == "blocking":
            return Apart(pump(flow))
        return pump_async(flow, blocking=not self.asynchronous)

    async def __call__(self, flow):
        """Return what the flow yielded and what it returned."""
        before = asyncio.all_tasks()
        *events, last = [event async for event in self.start(flow)]
        assert isinstance(last, Finished)
        assert asyncio.all_tasks() <= before
        return events, last.result

    def reply(self, chunks, close=lambda: None):
        return Reply(asynchronously(chunks) if self.asynchronous else iter(chunks), close, 200)

    def sent(self, value, seconds=0.0):
        """Return what `send` gives: the value, or a coroutine for it, after some seconds."""

        async def later():
            await asyncio.sleep(seconds)
            return value

        return later if self.asynchronous else lambda: (time.sleep(seconds), value)[1]


class Apart:
    """A blocking iterator in a thread of its own, so that the event loop goes on."""

    def __init__(self, iterator):
        self.iterator = iterator

    def __aiter__(self):
        return self

    async def __anext__(self):
        end = object()
        item = await asyncio.to_thread(next, self.iterator, end)
        if item is end:
            raise StopAsyncIteration
        return item

    async def aclose(self):
        await asyncio.to_thread(self.iterator.close)


async def asynchronously(chunks):
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


@pytest.fixture(params=PUMPS)
def drive(request):
    return Drive(request.param)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 3
    while (left := polycall_threads() - before) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left


def polycall_threads():
    return {thread for thread in threading.enumerate() if thread.name == "polycall"}


def started(*effects):
    tasks = []
    for effect in effects:
        task = yield Start(effect)
        tasks.append(task)
    return tasks


class Stalled:
    """Something to read that gives nothing until it is closed."""

    def __init__(self):
        self.closed = threading.Event()
        self.closes = 0

    def __iter__(self):
        return self

    def __next__(self):
        assert self.closed.wait(5)
        raise ConnectionError("closed")

    def close(self):
        self.closes += 1
        self.closed.set()


class StalledAsync(Stalled):
    def __aiter__(self):
        return self

    async def __anext__(self):
        assert await asyncio.to_thread(self.closed.wait, 5)
        raise ConnectionError("closed")


def stalled(drive):
    chunks = StalledAsync() if drive.asynchronous else Stalled()
    return chunks, Reply(chunks, chunks.close, 200)


# --------------------------------------------------------------------------------------------------------- one by one


async def test_events_and_result(drive):
    def flow():
        yield "a"
        yield "b"
        return "end"

    assert await drive(flow()) == (["a", "b"], "end")


async def test_open_read_close(drive):
    closed = []
    reply = drive.reply([b"1", b"2"], lambda: closed.append(True))

    def flow():
        opened = yield Open(drive.sent("raw"), lambda raw: (reply, raw)[0])
        assert opened is reply
        read = []
        while (chunk := (yield Read(opened))) is not None:
            read.append(chunk)
        assert (yield Read(opened)) is None
        assert (yield Close(opened)) is None
        assert closed == [True]
        return read

    assert (await drive(flow()))[1] == [b"1", b"2"]
    assert closed == [True]  # what was let go of is not closed again at the end


async def test_awaitable_close(drive):
    closed = []

    async def close():
        await asyncio.sleep(0)
        closed.append(True)

    def flow():
        reply = yield Open(
            drive.sent(None), lambda _: drive.reply([b"1"], close if drive.asynchronous else lambda: closed.append(True))
        )
        yield Read(reply)

    await drive(flow())
    assert closed == [True]


async def test_errors_are_raised_in_the_flow(drive):
    reply = drive.reply([b"1", ValueError("broken")] if drive.asynchronous else raising())

    def flow():
        caught = []
        opened = yield Open(drive.sent("raw"), lambda _: reply)
        yield Read(opened)
        for effect in (
            Read(opened),
            Do(lambda: 1 / 0),
            Open(lambda: 1 / 0, lambda raw: raw),
            Open(drive.sent(1), lambda raw: raw / 0),
        ):
            try:
                yield effect
            except (ValueError, ZeroDivisionError) as error:
                caught.append(type(error))
        return caught

    assert (await drive(flow()))[1] == [ValueError, *[ZeroDivisionError] * 3]


def raising():
    yield b"1"
    raise ValueError("broken")


async def test_uncaught_errors_come_out(drive):
    closed = []

    def flow():
        yield Open(drive.sent("raw"), lambda _: drive.reply([], lambda: closed.append(True)))
        yield Do(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        await drive(flow())
    assert closed == [True]


async def test_do(drive):
    async def later():
        return "awaited"

    def flow():
        plain = yield Do(lambda: "plain")
        return plain, (yield Do(later)) if drive.kind != "blocking" else "awaited"

    assert (await drive(flow()))[1] == ("plain", "awaited")


async def test_sleep(drive):
    def flow():
        start = time.monotonic()
        assert (yield Sleep(0.05)) is None
        return time.monotonic() - start

    assert 0.04 < (await drive(flow()))[1] < 1


# --------------------------------------------------------------------------------------------------------------- beside


async def test_what_is_started_runs_side_by_side(drive):
    def flow():
        start = time.monotonic()
        tasks = yield from started(*[Sleep(0.2)] * 8)
        assert time.monotonic() - start < 0.15
        assert not any(task.done() for task in tasks)
        rest = set(tasks)
        while rest:
            first = yield First(tuple(rest))
            assert first.done()
            assert first.result() is None
            rest.remove(first)
        return time.monotonic() - start

    assert (await drive(flow()))[1] < 0.8


async def test_calls_of_the_client_run_side_by_side(drive):
    def flow():
        start = time.monotonic()
        opens = [Open(drive.sent(number, 0.2), lambda raw: drive.reply([raw])) for number in range(4)]
        tasks = yield from started(*opens)
        replies = []
        for task in tasks:
            yield First((task,))
            replies.append(task.result())
        read = []
        for reply in replies:
            chunk = yield Read(reply)
            read.append(chunk)
        assert time.monotonic() - start < 0.7
        return read

    assert (await drive(flow()))[1] == [0, 1, 2, 3]


async def test_first_gives_whichever_is_done(drive):
    def flow():
        slow = yield Start(Sleep(0.2))
        quick = yield Start(Sleep(0.01))
        first = yield First((slow, quick))
        assert first is quick
        return (yield First((slow, quick))) is quick

    assert (await drive(flow()))[1] is True


async def test_first_gives_none_at_its_timeout(drive):
    def flow():
        task = yield Start(Sleep(0.3))
        start = time.monotonic()
        assert (yield First((task,), 0.05)) is None
        assert 0.04 < time.monotonic() - start < 0.25
        assert (yield First((task,), 0.0)) is None
        assert (yield First((task,), 5)) is task
        return "done"

    assert (await drive(flow()))[1] == "done"


async def test_result_raises_what_the_task_raised(drive):
    def flow():
        task = yield Start(Do(lambda: 1 / 0))
        assert (yield First((task,))) is task
        with pytest.raises(ZeroDivisionError):
            task.result()
        return "went on"

    assert (await drive(flow()))[1] == "went on"


async def test_flows_can_be_started_beside(drive):
    def inner(name, seconds):
        yield "an event that nobody hears"
        yield Sleep(seconds)
        task = yield Start(Do(lambda: name))
        yield First((task,))
        return task.result()

    def failing():
        yield Sleep(0)
        raise LookupError

    def flow():
        start = time.monotonic()
        *tasks, bad = yield from started(*(inner(name, 0.2) for name in "abc"), failing())
        for task in (*tasks, bad):
            yield First((task,))
        with pytest.raises(LookupError):
            bad.result()
        assert time.monotonic() - start < 0.55
        return [task.result() for task in tasks]

    assert await drive(flow()) == ([], ["a", "b", "c"])


variable = contextvars.ContextVar("variable", default="nothing")


async def test_context_goes_along(drive):
    if drive.kind == "blocking":
        pytest.skip("the test itself takes this pump into a thread")
    variable.set("from outside")

    def flow():
        task = yield Start(Do(variable.get))
        yield First((task,))
        return task.result()

    assert (await drive(flow()))[1] == "from outside"


def test_context_goes_into_threads():
    def flow():
        task = yield Start(Do(variable.get))
        yield First((task,))
        return task.result()

    def run():
        variable.set("from outside")
        *_, last = pump(flow())
        return last.result

    assert contextvars.copy_context().run(run) == "from outside"


# -------------------------------------------------------------------------------------------------------------- letting go


async def test_closing_the_iterator_closes_flow_and_replies(drive):
    closed, ended = [], []

    def flow():
        try:
            for number in range(3):
                yield Open(drive.sent("raw"), lambda _, number=number: drive.reply([], lambda: closed.append(number)))
            yield "event"
            yield "never"
        finally:
            ended.append(True)

    driving = drive.start(flow())
    assert await anext(driving) == "event"
    assert closed == []
    await driving.aclose()
    assert closed == [0, 1, 2]
    assert ended == [True]


async def test_closing_the_iterator_ends_what_runs_beside(drive):
    chunks, reply = stalled(drive)

    def flow():
        opened = yield Open(drive.sent("raw"), lambda _: reply)
        yield Start(Read(opened))
        yield Start(Sleep(0.3))
        yield "event"

    before = asyncio.all_tasks()
    driving = drive.start(flow())
    assert await anext(driving) == "event"
    await asyncio.sleep(0.02)
    start = time.monotonic()
    await driving.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()} | before
    assert chunks.closes >= 1
    assert time.monotonic() - start < 1


async def test_end_of_the_flow_ends_what_runs_beside(drive):
    chunks, reply = stalled(drive)

    def flow():
        opened = yield Open(drive.sent("raw"), lambda _: reply)
        task = yield Start(Read(opened))
        assert (yield First((task,), 0.05)) is None
        task.cancel()
        return "left it behind"

    start = time.monotonic()
    assert (await drive(flow()))[1] == "left it behind"
    assert chunks.closes >= 1
    assert time.monotonic() - start < 1


async def test_reply_that_comes_after_the_end_is_closed(drive):
    closed = threading.Event()

    def flow():
        task = yield Start(Open(drive.sent("raw", 0.2), lambda _: drive.reply([], closed.set)))
        yield First((task,), 0.05)
        return "left it behind"

    assert (await drive(flow()))[1] == "left it behind"
    if drive.asynchronous:
        assert not closed.is_set()  # it was cancelled before there was a reply
    else:
        assert await asyncio.to_thread(closed.wait, 2)


async def test_closing_reaches_flows_beside(drive):
    chunks, reply = stalled(drive)

    def inner():
        opened = yield Open(drive.sent("raw"), lambda _: reply)
        yield Read(opened)

    def flow():
        yield Start(inner())
        yield Sleep(0.05)
        yield "event"

    driving = drive.start(flow())
    assert await anext(driving) == "event"
    await driving.aclose()
    assert await asyncio.to_thread(chunks.closed.wait, 1)


async def test_errors_of_what_was_left_behind_are_silent(drive):
    def flow():
        task = yield Start(Do(lambda: 1 / 0))
        yield Sleep(0.05)
        return task.done()

    assert (await drive(flow()))[1] is True
    gc.collect()


async def test_cancelling_the_caller_cancels_everything():
    drive = Drive("asyncio")
    chunks, reply = stalled(drive)
    cancelled = []

    async def wait():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    def flow():
        opened = yield Open(drive.sent("raw"), lambda _: reply)
        yield Start(Do(wait))
        yield Read(opened)

    running = asyncio.ensure_future(drive(flow()))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert cancelled == [True]
    assert chunks.closes >= 1


def test_pump_is_a_plain_generator():
    def flow():
        yield "a"

    driving = pump(flow())
    assert next(driving) == "a"
    driving.close()
    assert inspect.getgeneratorstate(driving) == inspect.GEN_CLOSED
    assert list(driving) == []


# ------------------------------------------------------------------------------------------------------ what is awaited


async def slept(seconds, result="slept"):
    await asyncio.sleep(seconds)
    return result


async def test_what_is_awaited_goes_on_beside(drive):
    def flow():
        started = []
        for number in range(20):
            task = yield Start(Do(functools.partial(slept, 0.05, number), awaits=True))
            started.append(task)
        for task in started:
            yield First((task,))
        return [task.result() for task in started], (yield Do(lambda: slept(0, "alone"), awaits=True))

    assert (await drive(flow()))[1] == ([*range(20)], "alone")


async def test_what_is_awaited_may_be_late(drive):
    def flow():
        with pytest.raises(Late):
            yield Do(lambda: slept(5), 0.05, awaits=True)
        task = yield Start(Do(lambda: slept(5), 0.05, awaits=True))
        yield First((task,))
        with pytest.raises(Late):
            task.result()
        return "in time"

    assert (await drive(flow()))[1] == "in time"


async def test_a_timeout_of_its_own_is_not_late(drive):
    async def own():
        raise TimeoutError("its own")

    def flow():
        for timeout in (None, 5.0):
            with pytest.raises(TimeoutError, match="its own"):
                yield Do(own, timeout, awaits=True)
        return "told"

    assert (await drive(flow()))[1] == "told"


def test_a_blocking_function_that_is_awaited_does_not_hold_the_deadline():
    async def blocks():
        time.sleep(0.5)  # noqa: ASYNC251  # what it should not do

    def flow():
        start = time.monotonic()
        with pytest.raises(Late):
            yield Do(blocks, 0.05, awaits=True)
        return time.monotonic() - start

    *_, last = pump(flow())
    assert last.result < 0.4


def test_closing_ends_what_is_awaited():
    cancelled = threading.Event()

    async def waits():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def flow():
        yield Start(Do(waits, awaits=True))
        yield "begun"
        yield Do(waits, awaits=True)

    world = Blocking()
    events = pump(flow(), world)
    assert next(events) == "begun"
    threading.Timer(0.1, world.close).start()
    with pytest.raises(TransportError, match="closed"):
        next(events)
    assert cancelled.wait(5)
    world.close()


def test_closing_twice_wakes_once():
    world = Blocking()
    woken = futures.Future()
    world._wakers.append(woken)
    world.close()
    world.close()
    assert woken.done()
