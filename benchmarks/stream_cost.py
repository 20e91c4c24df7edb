"""What reading a stream costs in CPU time: many small events, many calls, and whether double the input costs double.

The bytes come from a server in another process. Bounds: 100,000 one-character events in 1.5 s, 10,000 calls in 0.5 s, doubling at
most 2.2 times; the command ends with status 1 when one is missed.

    python benchmarks/stream_cost.py
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import openai
from canned import serving

import polycall

LIMITS = polycall.Limits(calls=100_000, arguments=10_000_000, response=1_000_000_000)
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
BOUNDS = {"events": 1.5, "calls": 0.5}
DOUBLING = 2.2
WAYS = ("pyreqwest", "httpx2", "openai")


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Return one event of a stream."""
    return f"data: {json.dumps({**CHUNK, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n".encode()


def stream(calls: int, arguments: str, piece: int) -> bytes:
    """Return a stream of so many calls, their arguments in pieces of so many characters."""
    events: list[bytes] = []
    for index in range(calls):
        function = {"name": "note", "arguments": ""}
        events.append(event({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}))
        for start in range(0, len(arguments), piece):
            function = {"arguments": arguments[start : start + piece]}
            events.append(event({"tool_calls": [{"index": index, "function": function}]}))
    return b"".join([*events, event({}, "tool_calls"), b"data: [DONE]\n\n"])


def client(way: str, url: str) -> polycall.Client:
    """Return a client that reaches the server in one of the ways."""
    if way == "openai":
        return polycall.from_openai(openai.OpenAI(base_url=url, api_key="none"), model="m")
    if way == "httpx2":
        return polycall.from_provider("openai/m", base_url=url, api_key="none", http_client="httpx2")
    return polycall.from_provider("openai/m", base_url=url, api_key="none", http_client="pyreqwest")


def seconds(way: str, body: bytes, calls: int) -> float:
    """Return the least CPU time of five reads of ``body``, all threads counted."""
    taken: list[float] = []
    with serving(body, stream=True) as url, client(way, url) as asker:
        for _ in range(5):
            gc.collect()  # what the read before has left is not paid for by this one
            start = time.process_time()
            got = asker.create("?", tools=[polycall.Tool("note")], stream=True, limits=LIMITS, max_retries=0).result()
            taken.append(time.process_time() - start)
            assert len(got) == calls, got
            del got
    return min(taken)


def main() -> int:
    """Measure, print, and say whether the bounds hold."""
    missed = 0
    for what, half, whole, calls in (
        ("events", stream(1, json.dumps({"a": "x" * 49_991}), 1), stream(1, json.dumps({"a": "x" * 99_991}), 1), (1, 1)),
        ("calls", stream(5_000, '{"a":1}', 100), stream(10_000, '{"a":1}', 100), (5_000, 10_000)),
    ):
        for way in WAYS:
            once, twice = seconds(way, half, calls[0]), seconds(way, whole, calls[1])
            held = twice <= BOUNDS[what] and twice / once <= DOUBLING
            missed += not held
            size = "100,000 one-character events" if what == "events" else "10,000 calls"
            print(f"{size:30} {way:10} {twice:6.2f} s   {twice / once:.2f} times half of it   {'held' if held else 'MISSED'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
