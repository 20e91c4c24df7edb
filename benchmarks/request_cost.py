"""What one request costs in CPU time: polycall without an SDK, polycall around the openai SDK, the bare SDK, and the bound.

Every way sends the same request (two tools, one question) and gets the same answer of three calls, from a server in another
process. The bound is Python's own `http.client` on an open connection and pydantic on each call's arguments. Ways take
turns, so that a busy moment of the machine meets all; the median is told. All threads of the process are counted.

    python benchmarks/request_cost.py [rounds]
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal
from urllib.parse import urlsplit

import openai
from canned import serving
from pydantic import BaseModel

import polycall

REQUESTS = 200
IN_FLIGHT = 100


class Weather(BaseModel):
    """Get the weather in one location."""

    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    """Search the web."""

    query: str


TOOLS = {"Weather": Weather, "GoogleSearch": GoogleSearch}
CALLS = [
    ("Weather", '{"location":"Toronto","units":"metric"}'),
    ("Weather", '{"location":"Dallas","units":"imperial"}'),
    ("GoogleSearch", '{"query":"super bowl winner"}'),
]
QUESTION = "What is the weather in toronto and dallas and who won the super bowl?"


def answer() -> bytes:
    """Return the body of a whole response."""
    entries = [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(CALLS)
    ]
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": entries}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}
    usage = {"prompt_tokens": 100, "completion_tokens": 56, "total_tokens": 156}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


def bound(url: str, payload: bytes) -> Callable[[], object]:
    """Return the least that has to happen."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port)

    def ask() -> object:
        connection.request("POST", f"{parts.path}/chat/completions", payload, {"content-type": "application/json"})
        message = json.loads(connection.getresponse().read())["choices"][0]["message"]
        return [read(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]

    return ask


def read(name: str, arguments: str) -> BaseModel:
    """Check one call's arguments."""
    return TOOLS[name].model_validate_json(arguments)


def blocking(url: str) -> dict[str, Callable[[], object]]:
    """Return the blocking ways."""
    sdk = openai.OpenAI(base_url=url, api_key="none")
    ways = {
        "polycall, pyreqwest": polycall.from_provider("openai/m", base_url=url, api_key="none", http_client="pyreqwest"),
        "polycall, httpx2": polycall.from_provider("openai/m", base_url=url, api_key="none", http_client="httpx2"),
        "polycall, openai SDK": polycall.from_openai(sdk, model="m"),
    }
    payload = ways["polycall, pyreqwest"].payload(QUESTION, response_model=Iterable[Weather | GoogleSearch])

    def bare() -> object:
        message = sdk.chat.completions.create(**payload).choices[0].message
        return [read(call.function.name, call.function.arguments) for call in message.tool_calls or ()]  # type: ignore[union-attr]

    def ask(client: polycall.Client) -> Callable[[], object]:
        return lambda: list(client.create(QUESTION, response_model=Iterable[Weather | GoogleSearch]))

    asking = {name: ask(client) for name, client in ways.items()}
    return {"bound (http.client)": bound(url, json.dumps(payload).encode()), **asking, "openai SDK alone": bare}


def asynchronous(url: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the ways on asyncio."""
    sdk = openai.AsyncOpenAI(base_url=url, api_key="none")
    direct = {"base_url": url, "api_key": "none"}
    ways: dict[str, polycall.AsyncClient] = {
        "polycall, pyreqwest": polycall.from_provider("openai/m", async_client=True, http_client="pyreqwest", **direct),
        "polycall, httpx2": polycall.from_provider("openai/m", async_client=True, http_client="httpx2", **direct),
        "polycall, openai SDK": polycall.from_openai(sdk, model="m"),
    }
    payload: dict[str, Any] = ways["polycall, httpx2"].payload(QUESTION, response_model=Iterable[Weather | GoogleSearch])

    async def bare() -> object:
        message = (await sdk.chat.completions.create(**payload)).choices[0].message
        return [read(call.function.name, call.function.arguments) for call in message.tool_calls or ()]

    def ask(client: polycall.AsyncClient) -> Callable[[], Awaitable[object]]:
        return lambda: client.create(QUESTION, response_model=Iterable[Weather | GoogleSearch])

    return {**{name: ask(client) for name, client in ways.items()}, "openai SDK alone": bare}


def each(ask: Callable[[], object]) -> float:
    """Return the CPU microseconds of one request, one after another."""
    start = time.process_time()
    for _ in range(REQUESTS):
        ask()
    return (time.process_time() - start) / REQUESTS * 1e6


async def many(ask: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU microseconds of one request, many in flight."""
    start = time.process_time()
    for _ in range(REQUESTS // IN_FLIGHT):
        await asyncio.gather(*[ask() for _ in range(IN_FLIGHT)])
    return (time.process_time() - start) / REQUESTS * 1e6


def show(title: str, taken: dict[str, list[float]]) -> None:
    """Print the medians, and each against the cheapest way through polycall."""
    least = statistics.median(taken["polycall, pyreqwest"])
    print(f"\n{title}")
    for name, microseconds in taken.items():
        median = statistics.median(microseconds)
        print(f"  {name:22} {median:7.0f} µs   {median / least:5.2f}")


async def measure_async(url: str, rounds: int) -> dict[str, list[float]]:
    """Measure the ways on asyncio in turn."""
    ways = asynchronous(url)
    for ask in ways.values():
        await many(ask)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, ask in ways.items():
            taken[name].append(await many(ask))
    return taken


def main(rounds: int) -> None:
    """Measure all ways in turn."""
    with serving(answer()) as url:
        ways = blocking(url)
        for ask in ways.values():
            assert len(ask()) == len(CALLS)  # type: ignore[arg-type]  # each way gives a list
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                taken[name].append(each(ask))
        show("CPU of one request, blocking, one after another; and its ratio to polycall on pyreqwest", taken)
        show(f"CPU of one request, asyncio, {IN_FLIGHT} in flight", asyncio.run(measure_async(url, rounds)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
