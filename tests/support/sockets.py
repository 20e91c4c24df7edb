"""A server on loopback that sends exactly the bytes it is told, when it is told, to thousands of connections at once."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from support import chat

Piece: TypeAlias = "bytes | float"
"""Bytes to send, or seconds in which nothing is sent; `STALL` waits until the client has gone."""

STALL = math.inf
HANG_UP = -1.0
"""The connection is closed."""

LONGEST_WAIT = 20.0
"""Seconds after which the server goes on, so that a test that fails does not hang."""


@dataclass(frozen=True)
class Sent:
    """One request that the server got; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes = field(repr=False)

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


Script: TypeAlias = "Iterable[Piece] | Callable[[Sent], Iterable[Piece]]"


class Server:
    """Answers each request with the next of the `queue`, else with `answer`. A context manager.

    Attributes:
        open: Connections that are open now.
        accepted: Connections that ever were.
        greeting: What is sent to whoever connects, before the connection is closed; None listens to requests.
        left: Answers that the client has left before their end.
        playing: Answers that are under way.
    """

    def __init__(self, answer: Script = (), tls: ssl.SSLContext | None = None, greeting: bytes | None = None) -> None:
        self.answer = answer
        self.queue: deque[Script] = deque()
        self.requests: list[Sent] = []
        self.open = self.accepted = self.left = self.playing = 0
        self.failures: list[BaseException] = []
        self.port = 0
        self._tls = tls
        self._greeting = greeting
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(LONGEST_WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        assert not self.failures, self.failures

    @property
    def origin(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def hang_up(self) -> None:
        """Close all connections."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tuple(self._tasks)])

    def settled(self, connections: int = 0, seconds: float = 2.0) -> bool:
        """Wait until no more than so many connections are open; return whether that came true in time."""
        return eventually(lambda: self.open <= connections, seconds)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        secure: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls, "ssl_shutdown_timeout": 0.2}
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=4096, **secure)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for _ in range(3):  # what was accepted just now takes its socket: asyncio forgets it in a task that never began
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._tasks.values():  # of tasks that were cancelled before their first step
            writer.transport.abort()
        await asyncio.sleep(0)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.accepted += 1
        self._tasks[asyncio.create_task(self._connected(reader, writer))] = writer

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if self._greeting is not None:
                writer.write(self._greeting)
                return
            while (sent := await _request(reader)) is not None:
                self.requests.append(sent)
                script = self.queue.popleft() if self.queue else self.answer
                self.playing += 1
                try:
                    if not await self._play(script(sent) if callable(script) else script, reader, writer):
                        break
                finally:
                    self.playing -= 1
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()  # closing would wait for a client that does not read
        except Exception as error:  # shown at the end of the test
            self.failures.append(error)
        finally:
            self.open -= 1
            del self._tasks[task]
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _play(self, pieces: Iterable[Piece], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send pieces; return whether the connection goes on."""
        try:
            for piece in pieces:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                elif piece == HANG_UP:
                    return False
                elif await _gone(reader, min(piece, LONGEST_WAIT)):
                    self.left += 1
                    return False
        except OSError:
            self.left += 1
            raise
        return True


async def _request(reader: asyncio.StreamReader) -> Sent | None:
    """Read one request; None when the client has gone."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        return Sent(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    except asyncio.IncompleteReadError:
        return None


async def _gone(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Wait; return whether the client has gone meanwhile."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return not await reader.read(1)
    return False


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until something is true; return whether that came about in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def head(status: int = 200, content_type: str = "application/json", **headers: object) -> bytes:
    """Write a status line and headers; underscores in their names are dashes."""
    lines = [f"HTTP/1.1 {status} Told", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(body: bytes | Any, status: int = 200, **headers: object) -> list[Piece]:
    """Write an answer with its length; what is no bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else chat.body(body)
    return [head(status, **{"content_length": len(raw), **headers}) + raw]


def chunked(pieces: Iterable[Piece], content_type: str = "text/event-stream", **headers: object) -> Iterator[Piece]:
    """Write an answer whose body comes piece by piece."""
    yield head(content_type=content_type, transfer_encoding="chunked", **headers)
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if isinstance(piece, bytes) else piece
    yield b"0\r\n\r\n"


def answering(*entries: dict[str, Any]) -> Callable[[Sent], Iterable[Piece]]:
    """Answer with these calls, as a stream where one is asked for."""

    def answer(sent: Sent) -> Iterable[Piece]:
        if sent.body.get("stream"):
            return chunked(chat.streamed(entries, size=8))
        return whole(chat.whole(*entries))

    return answer
