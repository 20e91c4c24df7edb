"""Thousands of requests that end at a random point: nothing of them is left, no task, no thread, no socket."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import openai
import pytest

import polycall
from polycall._http_pyreqwest import _heeding
from support.chat import chunk, data, entry
from support.chat import stream as events
from support.faces import FACES, Face
from support.sockets import Server, chunked, eventually

# anyio's, where a connect is cancelled at once
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning")
TOOLS = [polycall.Tool("F")]
BODY = [
    data(chunk(content="let me see")),
    *[data(chunk(entry("F" if piece == 0 else None, '{"x": 1}'[piece * 4 :][:4], id="a", index=0))) for piece in range(2)],
    b"".join(events(chunk(entry("F", "{}", id="b", index=1)))),
]
DESCRIPTORS = Path("/proc/self/fd")
LONGEST = 0.06
"""Seconds that an answer takes; it is left at some point of them."""


def paced(sent):
    """A stream with pauses, headers late or early."""
    seed = random.random()
    yield seed * 0.01
    for piece in chunked(BODY):
        yield piece
        yield 0.004


def descriptors() -> int:
    return len(os.listdir(DESCRIPTORS))  # noqa: PTH208


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.fixture
def server():
    with Server(paced) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def _runtime():
    """pyreqwest's runtime has descriptors of its own from its first request to the end of the process."""
    with Server(lambda _: chunked(BODY)) as server:
        for name in FACES:
            face = Face(name, server.url)
            face.ask(tools=TOOLS, stream=True)
            face.close()


@pytest.fixture(autouse=True)
def _nothing_is_left(_runtime, server):
    """After the client is closed, descriptors and threads are back where they were."""
    before, named = descriptors(), threads()
    yield
    gc.collect()
    assert server.settled(), f"{server.open} connections"
    assert eventually(lambda: descriptors() <= before), f"{before} descriptors before, {descriptors()} after"
    assert eventually(lambda: threads() <= named), threads() - named
    assert not server.failures


async def one_cancelled(client, chance: random.Random) -> None:
    """Cancel after some time, or some time after one of the events."""
    reached = asyncio.Event()
    stream = chance.random() < 0.7
    task = asyncio.create_task(
        streamed(client, reached, chance.randrange(7)) if stream else client.create("?", tools=TOOLS, timeout=5)
    )
    if stream:
        waiting = asyncio.create_task(reached.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    await asyncio.sleep(chance.random() * (0.005 if stream else LONGEST))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def streamed(client, reached: asyncio.Event, event: int) -> None:
    """Read a stream, and tell when so many events have come."""
    async with client.stream("?", tools=TOOLS, timeout=5) as arriving:
        if event == 0:
            reached.set()
        number = 0
        async for _ in arriving.events():
            number += 1
            if number == event:
                reached.set()


async def cancelled(client, how_many: int, at_once: int, seed: int) -> None:
    """Cancel tasks at random points; so many are under way at a time."""

    async def worker() -> None:
        while left:
            left.pop()
            await one_cancelled(client, chance)

    before = asyncio.all_tasks()
    chance, left = random.Random(seed), list(range(how_many))
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    await asyncio.sleep(0)
    left_behind = asyncio.all_tasks() - before
    assert not left_behind, left_behind


class Closing:
    """Streams that are read in threads, and closed by others at random points."""

    def __init__(self, client, how_many: int, seed: int) -> None:
        self._client = client
        self._left = deque(range(how_many))
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._due: deque = deque()
        self._over = threading.Event()
        self.wrong: list[Exception] = []

    def read(self) -> None:
        with suppress(IndexError):
            while True:
                self._left.pop()
                with self._lock:
                    event, pause = self._chance.randrange(7), self._chance.random() * 0.005
                try:
                    self._one(event, pause)
                except (polycall.PolycallError, openai.OpenAIError):
                    pass
                except Exception as error:  # all are shown
                    self.wrong.append(error)

    def _one(self, event: int, pause: float) -> None:
        arriving = self._client.stream("?", tools=TOOLS, timeout=5)
        if event == 0:
            self._due.append((time.monotonic() + pause * 5, arriving))
        for number, _ in enumerate(arriving.events(), 1):
            if number == event:
                self._due.append((time.monotonic() + pause, arriving))

    def close(self) -> None:
        while not self._over.is_set() or self._due:
            try:
                when, arriving = self._due.popleft()
            except IndexError:
                time.sleep(0.001)
                continue
            time.sleep(max(0.0, when - time.monotonic()))
            arriving.close()

    def run(self, at_once: int) -> None:
        readers = [threading.Thread(target=self.read, name="reader") for _ in range(at_once)]
        closers = [threading.Thread(target=self.close, name="closer") for _ in range(at_once)]
        for thread in (*readers, *closers):
            thread.start()
        for thread in readers:
            thread.join(30)
        self._over.set()
        for thread in closers:
            thread.join(30)
        assert not any(thread.is_alive() for thread in (*readers, *closers))


def closed(client, how_many: int, at_once: int, seed: int) -> None:
    """Close streams at random points, each from another thread than the one that reads."""
    closing = Closing(client, how_many, seed)
    closing.run(at_once)
    assert not closing.wrong, closing.wrong[:3]


HOW_MANY = {
    "pyreqwest": 2500,
    "pyreqwest asyncio": 3500,
    "httpx2": 1000,
    "httpx2 asyncio": 1500,
    "own httpx2": 500,
    "own httpx2 asyncio": 1000,
}


def played_out(server: Server) -> bool:
    return eventually(lambda: server.playing == 0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_requests_left_at_random_points_leave_nothing_behind(server, name):
    assert sum(HOW_MANY.values()) == 10_000
    face = Face(name, server.url)
    if face.asynchronous:
        face.run(cancelled(face.client, HOW_MANY[name], at_once=60, seed=7))
    else:
        closed(face.client, HOW_MANY[name], at_once=30, seed=7)
    assert played_out(server)
    assert len(face.ask(tools=TOOLS, stream=True)) == 2  # and the client goes on
    face.close()


@pytest.mark.parametrize("name", FACES)
def test_some_requests_left_at_random_points(server, name):
    face = Face(name, server.url)
    if face.asynchronous:
        face.run(cancelled(face.client, 60, at_once=20, seed=8))
    else:
        closed(face.client, 60, at_once=10, seed=8)
    assert played_out(server)
    face.close()


@pytest.mark.slow
def test_blocking_streams_of_the_sdk_are_left_at_random_points(server):
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        closed(polycall.from_openai(sdk, model="m"), 500, at_once=6, seed=9)
        assert played_out(server)


@pytest.mark.slow
async def test_requests_of_the_sdk_are_cancelled_at_random_points(server):
    async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        await cancelled(polycall.from_openai(sdk, model="m"), 500, at_once=30, seed=10)
        assert await asyncio.to_thread(played_out, server)


def flood(sent):
    """Comments without a pause: there is always something to read."""
    return chunked(itertools.repeat(b": keep-alive\n\n" * 50))


ENDLESS = polycall.Limits(response=1 << 40)


@pytest.mark.parametrize("name", [name for name in FACES if name.endswith("asyncio")])
def test_no_cancellation_is_lost_in_a_flood(server, name):
    async def cancelled_in_time() -> None:
        async def read() -> None:
            async with face.client.stream("?", tools=TOOLS, limits=ENDLESS, timeout=20) as arriving:
                async for _ in arriving.events():
                    pass

        for step in range(60):
            task = asyncio.create_task(read())
            await asyncio.sleep(0.01 + step % 20 / 1000)
            task.cancel()
            done, _ = await asyncio.wait((task,), timeout=1)
            assert done, "the task goes on"
            assert task.cancelled()

    server.answer = flood
    face = Face(name, server.url)
    face.run(cancelled_in_time())
    face.close()


async def test_cancellation_that_pyreqwest_forgets_is_made_good():
    class Forgetful(asyncio.Future):
        def cancel(self, msg=None):
            self.set_result(7)
            return True

    task = asyncio.create_task(_heeding(Forgetful()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("name", [name for name in FACES if not name.endswith("asyncio")])
def test_streams_left_in_a_flood_let_go_of_their_connections(server, name):
    server.answer = flood
    face = Face(name, server.url)
    for step in range(40):
        with pytest.raises(polycall.DeadlineError):
            face.ask(tools=TOOLS, stream=True, limits=ENDLESS, timeout=0.02 + step % 20 / 1000)
    assert played_out(server)
    start = time.monotonic()
    face.close()
    assert time.monotonic() - start < 1


async def test_tasks_that_are_cancelled_at_once(server):
    face = Face("pyreqwest", server.url)
    face.close()
    async with polycall.from_provider("openai/m", base_url=server.url, api_key="k", async_client=True) as client:
        tasks = [asyncio.create_task(client.create("?", tools=TOOLS)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in done)
        await asyncio.to_thread(played_out, server)


@pytest.mark.parametrize("library", ["pyreqwest", "httpx2"])
def test_stream_closed_in_the_moment_it_starts_ends(server, library):
    with polycall.from_provider("openai/m", base_url=server.url, api_key="k", http_client=library) as client:
        for _ in range(50):
            arriving = client.stream("?", tools=TOOLS, timeout=5)
            closing = threading.Thread(target=arriving.close)
            start = time.monotonic()
            closing.start()
            with suppress(polycall.PolycallError):
                arriving.result()
            closing.join()
            assert time.monotonic() - start < 2
        played_out(server)
