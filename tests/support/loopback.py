"""A model server on loopback: answers as it is told, in the pieces and at the pace it is told, and keeps what it was sent."""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LONGEST_WAIT = 10.0
"""Seconds after which the server goes on, so that a test that fails does not hang."""


@dataclass(frozen=True)
class Wait:
    """Nothing arrives for some seconds, or until the client has gone."""

    seconds: float


@dataclass(frozen=True)
class Until:
    """Nothing arrives until the event is set."""

    event: threading.Event


class Gone:
    """Nothing arrives until the client has closed the connection; then `Server.gone` is set."""


class Reset:
    """The connection is reset (RST): what the client reads next fails."""


class Drop:
    """The connection is shut down in the middle of the body."""


Piece = bytes | Wait | Until | Gone | Reset | Drop


@dataclass(frozen=True)
class Answer:
    """One HTTP response.

    Attributes:
        body: Sent at once with its length, or in pieces as it comes (chunked).
        before: What happens before the status line.
        ended: Whether a body in pieces ends as HTTP says.
    """

    body: bytes | Sequence[Piece] = b""
    status: int = 200
    content_type: str = "application/json"
    before: Sequence[Piece] = ()
    ended: bool = True


@dataclass(frozen=True)
class Sent:
    """One request that the server got."""

    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any = field(repr=False)


class Server:
    """Answers each POST with the next of the `queue`, else with `answer`. A context manager; `url` is the base URL for SDKs."""

    def __init__(self) -> None:
        self.answer = Answer(status=500)
        self.queue: deque[Answer | Callable[[Sent], Answer]] = deque()
        self.requests: list[Sent] = []
        self.gone = threading.Event()
        self.open = 0  # connections
        self.failures: list[BaseException] = []
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self.origin = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.url = f"{self.origin}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="loopback", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        assert not self.failures, self.failures

    @property
    def last(self) -> Any:
        """The body of the last request."""
        return self.requests[-1].body

    def next_answer(self, sent: Sent) -> Answer:
        with self._lock:
            self.requests.append(sent)
            answer = self.queue.popleft() if self.queue else self.answer
        return answer if isinstance(answer, Answer) else answer(sent)

    def wait_for_request(self) -> None:
        end = time.monotonic() + LONGEST_WAIT
        while not self.requests and time.monotonic() < end:
            time.sleep(0.002)

    def counted(self, change: int) -> None:
        with self._lock:
            self.open += change

    def settle(self, connections: int = 0, seconds: float = 2.0) -> bool:
        """Wait until no more than so many connections are open; return whether that came true in time."""
        end = time.monotonic() + seconds
        while self.open > connections:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    owner: Server

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.owner.failures.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.owner.counted(1)

    def finish(self) -> None:
        self.server.owner.counted(-1)
        super().finish()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.owner.next_answer(Sent(self.path, headers, raw, json.loads(raw)))
        try:
            self._send(answer)
        except OSError:
            self.close_connection = True

    def _send(self, answer: Answer) -> None:
        for piece in answer.before:
            if not self._done(piece):
                return
        whole = isinstance(answer.body, bytes)
        length = f"content-length: {len(answer.body)}" if whole else "transfer-encoding: chunked"
        head = f"HTTP/1.1 {answer.status} Told\r\ncontent-type: {answer.content_type}\r\n{length}\r\n\r\n".encode()
        if isinstance(answer.body, bytes):
            self.wfile.write(head + answer.body)
            return
        self.wfile.write(head)
        for piece in answer.body:
            if isinstance(piece, bytes):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            elif not self._done(piece):
                return
        if answer.ended:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self._hang_up()

    def _done(self, piece: Piece) -> bool:
        """Do what ``piece`` says; return whether the connection is still there."""
        match piece:
            case Wait(seconds):
                return not self._client_goes(seconds)
            case Until(event):
                return event.wait(LONGEST_WAIT)
            case Gone():
                if self._client_goes(LONGEST_WAIT):
                    self.server.owner.gone.set()
            case Reset():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case _:
                self._hang_up()
        return False

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _client_goes(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.connection], [], [], seconds)
        try:
            gone = bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            gone = True
        self.close_connection = self.close_connection or gone
        return gone

    def log_message(self, format: str, *args: object) -> None:
        pass
