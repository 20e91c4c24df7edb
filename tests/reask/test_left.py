"""Streams that are left while a bad call is being asked again beside them: no socket, task or thread is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import polycall
from polycall.testing import ModelServer, Said, Turn
from support.reasks import KEY, MORE_WAYS, RIGHT, TOOLS, WRONG, Way
from support.sockets import eventually

DESCRIPTORS = Path("/proc/self/fd")
LONG = 8.0
SOON = 2.0
STEPS = 60
MOMENTS = {"before the headers": "stall-before-headers", "inside the answer": "stall-inside-call"}


def script(fault: str | None):
    """One bad call, some good ones, then nothing for long; the request that asks again is not answered to its end either."""

    def said(sent):
        if any(message["role"] == "assistant" for message in sent.body["messages"]):
            return [Turn(), Turn(calls=[RIGHT[0]], times=(LONG,), pieces=4, fault=fault)]
        more = [Said("GoogleSearch", {"query": f"query{number}"}) for number in range(STEPS)]
        times = [0.02 + 0.05 * number for number in range(STEPS)]
        return Turn(calls=[Said("Weather", WRONG[0]), *more, RIGHT[1]], times=(*times, LONG), end=LONG)

    return said


def descriptors() -> int:
    return len(os.listdir(DESCRIPTORS))  # noqa: PTH208


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name != "loopback"}


@pytest.fixture(scope="module", autouse=True)
def _runtime():
    """What is there from the first request to the end of the process is no leak."""
    with ModelServer([RIGHT[0]]) as server:
        for name in MORE_WAYS:
            way = Way(name, server.url)
            way.ask(tools=TOOLS, stream=True)
            way.close()


@pytest.fixture
def moment(request):
    return MOMENTS[request.param]


@pytest.fixture
def server(moment):
    with ModelServer(script(moment)) as server:
        before, named = descriptors(), threads()
        yield server
        gc.collect()
        assert server.settle(seconds=SOON), f"{server.open} connections"
        assert eventually(lambda: descriptors() <= before, SOON), f"{before} descriptors before, {descriptors()} after"
        assert eventually(lambda: threads() <= named, SOON), threads() - named


@pytest.fixture
def left(server, way):
    """Give a client; all must be gone before it is closed."""
    client = Way(way, server.url)
    yield client
    quiet = server.settle(seconds=SOON)
    client.close()
    assert quiet, f"{server.open} connections while the client is open"


def until_asked_again(stream, server) -> None:
    for _ in stream.events():
        if len(server.requests) == 2:
            return


async def until_asked_again_async(stream, server) -> None:
    async for _ in stream.events():
        if len(server.requests) == 2:
            return


INSIDE = [(way, "inside the answer") for way in MORE_WAYS]
BLOCKING = [one for one in [*INSIDE, ("httpx2", "before the headers")] if not one[0].endswith("asyncio")]
ASYNC = [one for one in INSIDE if one[0].endswith("asyncio")]
ASYNC += [(way, "before the headers") for way in ("openai asyncio", "httpx2 asyncio")]
LATE = [("pyreqwest", "before the headers"), ("openai", "inside the answer")]
LATE_ASYNC = [("pyreqwest asyncio", "before the headers"), ("openai asyncio", "inside the answer")]
"""What waits for headers: at a deadline the transport itself ends it; a blocking call of the SDK goes on in its thread."""


def over(ways: list[tuple[str, str]]):
    return pytest.mark.parametrize(("way", "moment"), ways, indirect=["moment"])


@over(BLOCKING)
def test_block_that_is_left(server, left):
    began = time.monotonic()
    with left.client.stream("?", tools=TOOLS) as stream:
        until_asked_again(stream, server)
    assert time.monotonic() - began < SOON


@over(BLOCKING)
def test_stream_that_another_thread_closes(server, left):
    stream = left.client.stream("?", tools=TOOLS)
    ended = []

    def read() -> None:
        try:
            ended.append(stream.result())
        except polycall.PolycallError as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert server.wait_for_request(2)
    time.sleep(0.1)
    stream.close()
    reader.join(SOON)
    assert not reader.is_alive()
    assert isinstance(ended[0], polycall.PolycallError), ended


@over(LATE)
def test_deadline_of_a_blocking_stream(server, left):
    began = time.monotonic()
    with pytest.raises(polycall.DeadlineError):
        left.ask(tools=TOOLS, stream=True, timeout=0.3)
    assert time.monotonic() - began < SOON
    assert len(server.requests) == 2


@over(ASYNC)
def test_block_that_is_left_async(server, left):
    async def main() -> None:
        await leave_async(left, server)
        check_tasks()

    left.run(main())


@over(ASYNC)
def test_task_that_is_cancelled(server, left):
    async def main() -> None:
        task = asyncio.create_task(left.client.stream("?", tools=TOOLS).result())
        assert await asyncio.to_thread(server.wait_for_request, 2)
        await asyncio.sleep(0.1)
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=SOON)
        assert done
        assert task.cancelled()
        check_tasks()

    left.run(main())


@over(ASYNC)
def test_stream_that_another_task_closes(server, left):
    async def main() -> None:
        stream = left.client.stream("?", tools=TOOLS)
        task = asyncio.create_task(stream.result())
        assert await asyncio.to_thread(server.wait_for_request, 2)
        await asyncio.sleep(0.1)
        await asyncio.wait_for(stream.close(), SOON)
        with pytest.raises(polycall.PolycallError):
            await asyncio.wait_for(task, SOON)
        check_tasks()

    left.run(main())


@over(LATE_ASYNC)
def test_deadline_of_an_asyncio_stream(server, left):
    async def main() -> None:
        with pytest.raises(polycall.DeadlineError):
            await left.client.stream("?", tools=TOOLS, timeout=0.3).result()
        check_tasks()

    left.run(main())
    assert len(server.requests) == 2


@over([INSIDE[1], INSIDE[3]])
def test_many_tasks_that_are_cancelled_at_any_point(server, left):
    async def one(number: int) -> None:
        task = asyncio.create_task(left.client.stream("?", tools=TOOLS).result())
        await asyncio.sleep(0.01 * number)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))
        check_tasks()

    left.run(main())


@pytest.mark.xfail(strict=True, reason="pyreqwest holds the connection of a request that is cancelled before its headers")
@pytest.mark.parametrize("way", ["pyreqwest", "pyreqwest asyncio"])
def test_pyreqwest_before_the_headers(way):
    with ModelServer(script(MOMENTS["before the headers"])) as server:
        left = Way(way, server.url)
        if left.asynchronous:
            left.run(leave_async(left, server))
        else:
            with left.client.stream("?", tools=TOOLS) as stream:
                until_asked_again(stream, server)
        quiet = server.settle(seconds=0.3)
        left.close()
        assert quiet


async def leave_async(left, server) -> None:
    async with left.client.stream("?", tools=TOOLS) as stream:
        await until_asked_again_async(stream, server)
    await asyncio.sleep(0.05)  # the loop itself closes the iterator over the events, a step later


def check_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, others


PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[3])
from support.reasks import TOOLS, Way

way = Way(sys.argv[1], sys.argv[2])
way.ask(tools=TOOLS, stream=True)
"""


@over([(way, "before the headers") for way in ("openai", "pyreqwest asyncio")])
def test_interrupt(server, way, moment):
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM, way, server.url, tests]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: len(server.requests) == 2, 20)
        time.sleep(0.1)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    assert time.monotonic() - sent < 2
    assert child.returncode == -signal.SIGINT, told
    assert told.rstrip().endswith("KeyboardInterrupt"), told
    for word in ("Fatal", "Exception ignored", "never retrieved", KEY):
        assert word not in told, told
