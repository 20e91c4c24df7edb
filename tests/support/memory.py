"""The real line and the real pumps over a response that is in memory: for the many cases that need no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polycall
from polycall.provider import Connection, Encoded, Reply
from polycall.providers.openai import OpenAIChat


class Script:
    """Stands where the SDK's client stands: gives prepared chunks, raises prepared errors, keeps what was sent."""

    def __init__(self, chunks: Iterable[bytes | Exception] = ()) -> None:
        self.chunks = chunks
        self.sent: list[dict[str, Any]] = []
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


@dataclass(frozen=True, slots=True)
class InMemory(OpenAIChat):
    """The format of OpenAI's chat completions, with a `Script` in the place of the SDK's client."""

    asynchronous: bool = False

    def send(self, client: Script, encoded: Encoded, *, stream: bool, timeout: float | None) -> Script:
        client.sent.append(encoded.body)
        return client

    def open(self, raw: Script) -> Reply:
        return Reply(raw.__aiter__() if self.asynchronous else iter(raw), raw.close, 200)


def client(script: Script, **options: Any) -> polycall.Client:
    return polycall.Client(Connection(InMemory(), script, blocking=False), model="m", **options)


def async_client(script: Script, *, blocking: bool = False) -> polycall.AsyncClient:
    return polycall.AsyncClient(Connection(InMemory(asynchronous=not blocking), script, blocking=blocking), model="m")


def replay(chunks: Iterable[bytes | Exception], tools: Any, **options: Any) -> polycall.Calls[Any]:
    """Return the calls of a response that arrives as ``chunks``; errors are returned unless asked otherwise."""
    options = {"errors": "return", "stream": True, "max_retries": 0, **options}
    answer = client(Script(chunks)).create("?", tools=tools, **options)
    return answer.result() if options["stream"] else answer
