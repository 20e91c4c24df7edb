"""The direct path needs no SDK, and each library not the other: the rest is made impossible to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.chat import entry
from support.sockets import answering

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[2].split(",")))  # None there: importing it fails, as if it were not installed
import asyncio
import polycall

def told(work):
    try:
        return str(work())
    except polycall.UsageError as error:
        return f"UsageError: {error}"

def blocking():
    with polycall.from_provider("openai/m", base_url=sys.argv[1], api_key="k") as client:
        whole = client.create("?", tools=[polycall.Tool("F")])
        return list(whole), list(client.stream("?", tools=[polycall.Tool("F")]))

def on_asyncio():
    async def ask():
        async with polycall.from_provider("openai/m", base_url=sys.argv[1], api_key="k", async_client=True) as client:
            whole = await client.create("?", tools=[polycall.Tool("F")])
            return list(whole), [value async for value in client.stream("?", tools=[polycall.Tool("F")])]
    return asyncio.run(ask())

print(told(blocking))
print(told(on_asyncio))
print(*(name for name in ("openai", "httpx", "httpx2", "pyreqwest") if sys.modules.get(name)))
"""


def run(url: str, blocked: str) -> list[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, url, blocked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(autouse=True)
def _answers(server):
    server.answer = answering(entry("F", '{"x": 1}', id="a"))


def test_no_sdk_and_only_pyreqwest(server):
    blocking, on_asyncio, loaded = run(server.url, "openai,httpx,httpx2")
    assert blocking == on_asyncio == "([{'x': 1}], [{'x': 1}])"
    assert "pyreqwest" in loaded.split()
    assert not {"openai", "httpx", "httpx2"} & set(loaded.split())


def test_no_sdk_and_only_httpx2(server):
    blocking, on_asyncio, loaded = run(server.url, "openai,httpx,pyreqwest")
    assert blocking == on_asyncio == "([{'x': 1}], [{'x': 1}])"
    assert "httpx2" in loaded.split()
    assert "gzip" in server.requests[0].headers["accept-encoding"]


def test_neither_library_is_there(server):
    blocking, on_asyncio, _ = run(server.url, "openai,httpx,httpx2,pyreqwest")
    assert blocking == on_asyncio
    assert blocking.startswith("UsageError: pyreqwest and httpx2 cannot be found")
    assert "polycall[http]" in blocking
