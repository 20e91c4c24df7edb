"""Ctrl-C, and the end of the process, while a request is under way: quick, clean, in every moment and over both libraries."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from support.chat import chunk, data, entry
from support.faces import FACES
from support.sockets import STALL, Piece, chunked, eventually, head, whole

pytestmark = pytest.mark.slow

CALL = data(chunk(entry("F", '{"x": 1}', id="a", index=0)))
PROGRAM = """
import asyncio, sys
import polycall

def own(kind):
    import httpx2
    return getattr(httpx2, kind)()

def main(url, library, asynchronous, stream):
    given = own("AsyncClient" if asynchronous else "Client") if library == "own httpx2" else library
    client = polycall.from_provider("openai/m", base_url=url, api_key="k", http_client=given, async_client=asynchronous)
    ask = client.stream if stream else client.create
    if not asynchronous:
        print("asking", flush=True)
        answer = ask("?", tools=[polycall.Tool("F")])
        return answer.result() if stream else answer

    async def go():
        answer = ask("?", tools=[polycall.Tool("F")])
        print("asking", flush=True)
        return await (answer.result() if stream else answer)

    return asyncio.run(go())

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "True", sys.argv[4] == "True")
"""
MOMENTS: dict[str, list[Piece]] = {
    "before headers": [STALL],
    "inside the body": list(chunked([CALL, STALL]))[:-1],
    "inside an error's body": [head(500, content_length=9), STALL],
    "in the pause before a retry": whole(b"", 429, retry_after="30"),
}


@pytest.fixture
def start(server, name) -> Iterator:
    started = []

    def start(stream: bool, program: str = PROGRAM) -> subprocess.Popen:
        arguments = [server.url, name.removesuffix(" asyncio"), str(name.endswith("asyncio")), str(stream)]
        command = [sys.executable, "-X", "faulthandler", "-c", program, *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def check_interrupted(child: subprocess.Popen) -> None:
    """The process must end by the signal, with the traceback of KeyboardInterrupt and nothing else."""
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=20)
    taken = time.monotonic() - sent
    assert child.returncode == -signal.SIGINT, told
    assert told.rstrip().endswith("KeyboardInterrupt"), told
    assert "Fatal" not in told, told
    assert "Exception ignored" not in told, told
    assert "never retrieved" not in told, told
    assert taken < 0.5 + 0.5, f"{taken:.2f} seconds"  # the second half for the end of the interpreter on a busy machine


@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupt(server, start, moment, stream):
    server.answer = MOMENTS[moment]
    child = start(stream)
    assert eventually(lambda: bool(server.requests), 20)
    time.sleep(0.1)
    check_interrupted(child)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pyreqwest", "pyreqwest asyncio", "httpx2"])
def test_interrupt_at_any_moment_of_the_first_request(server, start):
    """From the first import on, in steps of 4 ms: an abort of the process would be one inside the import of Rust."""
    server.answer = [STALL]
    for step in range(20):
        child = start(False, PROGRAM)
        assert child.stdout.readline() == "asking\n"
        time.sleep(step * 0.004)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=20)
        assert child.returncode in {-signal.SIGINT, 1}, told
        assert "KeyboardInterrupt" in told, told
        assert "Fatal" not in told, told
        assert "panic" not in told, told
        assert time.monotonic() - sent < 2, told


AT_EXIT = """
import contextlib, sys, threading
exec(sys.argv.pop())

def asking():
    with contextlib.suppress(polycall.PolycallError):  # the portal ends before the thread
        main(sys.argv[1], sys.argv[2], sys.argv[3] == "True", sys.argv[4] == "True")

threading.Thread(target=asking, daemon=True).start()
sys.stdin.read(1)
"""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", FACES)
def test_end_of_the_process_with_a_request_under_way(server, name, moment):
    server.answer = MOMENTS[moment]
    program = PROGRAM.partition('if __name__ == "__main__"')[0]
    arguments = [server.url, name.removesuffix(" asyncio"), str(name.endswith("asyncio")), "True", program]
    command = [sys.executable, "-W", "always", "-c", AT_EXIT, *arguments]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: bool(server.requests), 20)
    time.sleep(0.1)
    start = time.monotonic()
    _, told = child.communicate("x", timeout=20)
    assert child.returncode == 0, told
    assert told == ""
    assert time.monotonic() - start < 1
