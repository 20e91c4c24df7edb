"""Threads, event loops and forked processes: one client serves them all, or says clearly what to do."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import polycall
from support.chat import entry
from support.faces import FACES, Face
from support.sockets import Server, answering, eventually

TOOLS = [polycall.Tool("F")]
BLOCKING = [name for name in FACES if not name.endswith("asyncio")]
LIBRARIES = ("pyreqwest", "httpx2")


@pytest.fixture(autouse=True)
def _answers(server):
    server.answer = answering(entry("F", "{}", id="a"))


def blocking(server: Server, library: str | None = None, **options) -> polycall.Client:
    return polycall.from_provider("openai/m", base_url=server.url, api_key="k", http_client=library, **options)


def on_asyncio(server: Server, library: str | None = None) -> polycall.AsyncClient:
    return polycall.from_provider("openai/m", base_url=server.url, api_key="k", http_client=library, async_client=True)


@pytest.fixture(autouse=True)
def _others() -> Iterator[None]:
    """Know the threads of clients that other tests have left open; and leave nothing of this test for the collector."""
    gc.collect()
    OTHERS.clear()
    OTHERS.update(thread for thread in threading.enumerate() if thread.name == "polycall-http")
    yield
    gc.collect()


OTHERS: set[threading.Thread] = set()


def portals() -> int:
    return sum(thread.name == "polycall-http" and thread not in OTHERS for thread in threading.enumerate())


# ---------------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("name", BLOCKING)
def test_many_threads_share_a_client(connect, server, stream):
    client = connect().client
    start = threading.Barrier(50)

    def ask(number: int) -> str:
        start.wait()
        for _ in range(3):
            calls = client.create(str(number), tools=TOOLS, stream=stream)
            assert len(calls.result() if stream else calls) == 1
        return str(number)

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [str(number) for number in range(50)]
    assert len(server.requests) == 150
    assert portals() <= 1
    asked = sorted(sent.body["messages"][0]["content"] for sent in server.requests)
    assert asked == sorted(str(number) for number in range(50) for _ in range(3))


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_asynchronous_client_serves_one_event_loop_after_another(server, library):
    client = on_asyncio(server, library)

    async def ask() -> int:
        calls = await asyncio.gather(*(client.create("?", tools=TOOLS) for _ in range(3)))
        return sum(map(len, calls))

    assert [asyncio.run(ask()) for _ in range(3)] == [3, 3, 3]
    asyncio.run(client.close())
    gc.collect()
    assert server.settled()


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_asynchronous_client_serves_event_loops_at_the_same_time(server, library):
    client = on_asyncio(server, library)
    start = threading.Barrier(8)

    async def ask() -> int:
        start.wait()
        total = 0
        for stream in (False, True) * 3:
            calls = await client.create("?", tools=TOOLS, stream=stream)
            total += len(await calls.result() if stream else calls)
        return total

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: asyncio.run(ask()), range(8))) == [6] * 8


# ---------------------------------------------------------------------------------------------------------- forgotten


@pytest.mark.parametrize("library", LIBRARIES)
def test_forgotten_client_ends_its_thread(server, library):
    client = blocking(server, library)
    client.create("?", tools=TOOLS)
    assert portals() == 1
    seen = weakref.ref(client)
    del client
    gc.collect()
    assert seen() is None
    assert eventually(lambda: portals() == 0)
    assert server.settled()


@pytest.mark.parametrize("library", LIBRARIES)
def test_forgotten_stream_lets_go_of_its_connection(server, library):
    client = blocking(server, library)
    arriving = client.stream("?", tools=TOOLS)
    next(iter(arriving.events()))
    del arriving
    gc.collect()
    assert eventually(lambda: server.playing == 0)
    client.close()
    assert server.settled()


@pytest.mark.parametrize("library", LIBRARIES)
def test_forgotten_asynchronous_client(server, library):
    async def ask() -> None:
        client = on_asyncio(server, library)
        assert len(await client.create("?", tools=TOOLS)) == 1

    asyncio.run(ask())
    gc.collect()
    assert server.settled()


@pytest.mark.parametrize("name", FACES)
def test_closing_twice_and_asking_again(connect, server, stream):
    face = connect()
    assert len(face.ask(tools=TOOLS, stream=stream)) == 1
    for _ in range(2):
        if face.asynchronous:
            face.run(face.client.close())
        else:
            face.client.close()
    assert len(face.ask(tools=TOOLS, stream=stream)) == 1  # begins anew
    assert len(server.requests) == 2


@pytest.mark.parametrize("library", LIBRARIES)
def test_client_as_a_context_manager(server, library):
    with blocking(server, library) as client:
        client.create("?", tools=TOOLS)
    assert server.settled()
    assert portals() == 0


def test_closing_from_the_thread_of_the_requests(server):
    """A function that gets the key closes the client: odd, and no reason to hang."""

    async def key() -> str:
        client.close()
        return "some-key"

    client = polycall.from_provider("openai/m", base_url=server.url, api_key=key)
    start = time.monotonic()
    with pytest.raises(polycall.TransportError):
        client.create("?", tools=TOOLS, timeout=3, retries=0)
    assert time.monotonic() - start < 1


# --------------------------------------------------------------------------------------------------------------------- forks


def in_fork(work: Callable[[], None], seconds: float = 10.0) -> str:
    """Run work in a forked process; return what it says, or the name of its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = "fine"
        try:
            work()
        except BaseException as error:  # sent to the parent
            told = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode() or "hangs"


@pytest.mark.parametrize("library", [None, *LIBRARIES])
@pytest.mark.parametrize("used", [True, False])
def test_forked_process(server, library, used):
    """Behind a fork pyreqwest cannot be used once it was; httpx2 takes its place, and where it was asked for, an error does."""
    for asynchronous in (False, True):
        client = on_asyncio(server, library) if asynchronous else blocking(server, library)

        def ask(client=client, asynchronous=asynchronous) -> None:
            calls = asyncio.run(client.create("?", tools=TOOLS)) if asynchronous else client.create("?", tools=TOOLS)
            assert len(calls) == 1

        if used:
            ask()
        told = in_fork(ask)
        if library == "pyreqwest" and told != "fine":
            assert told.startswith("UsageError: pyreqwest cannot be used in a forked process"), told
            assert "spawn" in told
        else:
            assert told == "fine"
        ask()
        if asynchronous:
            asyncio.run(client.close())
        else:
            client.close()
        gc.collect()


def test_own_client_in_a_forked_process(server):
    face = Face("own httpx2", server.url)
    assert in_fork(lambda: face.ask(tools=TOOLS) and None) == "fine"
    assert len(face.ask(tools=TOOLS)) == 1
    face.close()


def _ask_in_a_pool(url: str) -> int:
    client = polycall.from_provider("openai/m", base_url=url, api_key="k")
    return len(client.create("?", tools=TOOLS))


def test_pool_of_forked_processes(server):
    blocking(server).create("?", tools=TOOLS)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map_async(_ask_in_a_pool, [server.url] * 9).get(30) == [1] * 9


@pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning")  # anyio's, where a connect is cancelled at once
# httpx2's attempts to connect are cancelled wherever they stand, some before their first step.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("library", [None, "httpx2"])
def test_forks_while_other_threads_ask(server, library):
    """Locks that other threads hold in the moment of the fork must not stop the child."""
    client = blocking(server, library)
    client.create("?", tools=TOOLS)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with suppress(polycall.TransportError):  # closed by another of the threads
                client.create("?", tools=TOOLS)
            client.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    told = [in_fork(lambda: client.create("?", tools=TOOLS, timeout=8) and None) for _ in range(30)]
    over.set()
    for thread in threads:
        thread.join()
    client.close()
    assert told == ["fine"] * 30


FORK_WITHOUT_HTTPX2 = """
import importlib.util, os, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "httpx2" else find(name, *rest)
import polycall
client = polycall.from_provider("openai/m", base_url=sys.argv[1], api_key="k")
ask = lambda: len(client.create("?", tools=[polycall.Tool("F")], timeout=5))
print(ask(), flush=True)
child = os.fork()
if child == 0:
    try:
        print(ask())
    except polycall.UsageError as error:
        print(error)
    sys.exit()
os.waitpid(child, 0)
print(ask())
"""


def test_forked_process_without_httpx2_is_told_what_to_do(server):
    command = [sys.executable, "-W", "error", "-c", FORK_WITHOUT_HTTPX2, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    first, told, last = done.stdout.splitlines()
    assert (first, last) == ("1", "1")
    assert told.startswith("pyreqwest cannot be used in a forked process")
    assert "polycall[http]" in told
    assert done.stderr == ""
