"""An HTTP/1.1 server on loopback that plays pieces: any bytes, at any pace, and any way to break off."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, create_connection, socket
from types import TracebackType
from typing import Any, Final, Self

from polycall.testing._connection import Connection
from polycall.testing._wire import Answer, Piece, Played, Raw, Sent

__all__ = ["LONGEST_WAIT", "Server"]

LONGEST_WAIT: Final = 10.0
"""Seconds after which the server goes on, so that a test that fails does not hang."""


class Server:
    """Answers each request with the next of the ``queue``, else with ``answer``. A context manager.

    Attributes:
        answer: What it says when the queue is empty.
        queue: What it says first, in order; a function is given the request.
        requests: What it was sent, in order.
        gone: Set when a client has left while the server waited for that.
        open: How many connections are open.
        failures: What went wrong in the server itself; the first is raised when its block ends.
        longest_wait: Seconds after which a server that waits for something goes on.
    """

    scheme = "http"

    def __init__(self) -> None:
        """Make a server that begins to answer with the block of the context manager."""
        self.answer: Played = Answer(status=500)
        self.queue: deque[Played | Callable[[Sent], Played]] = deque()
        self.requests: list[Sent] = []
        self.gone = threading.Event()
        self.open = 0
        self.failures: list[BaseException] = []
        self.longest_wait = LONGEST_WAIT
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._entered = False
        self._listening = False
        self._thread: threading.Thread | None = None
        self._listener: socket | None = None
        self._port = 0

    @property
    def origin(self) -> str:
        """Scheme, host and port.

        Raises:
            RuntimeError: The block of the context manager has not begun.
        """
        if not self._port:
            raise RuntimeError("a server has its URL inside of its block: with ModelServer() as server: ...")
        return f"{self.scheme}://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The base URL for SDKs; it ends in ``/v1``."""
        return f"{self.origin}/v1"

    @property
    def last(self) -> Any:
        """The body of the last request."""
        return self.requests[-1].body

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._entered = True
        self._bind()
        self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Shut every connection down; what went wrong in the server itself is raised."""
        self._entered = False
        self._stop()
        if self.failures and kind is None:
            raise self.failures[0]

    def wait_for_request(self, count: int = 1) -> bool:
        """Wait until so many requests have come; return whether they came in time."""
        return self._comes_true(lambda: len(self.requests) >= count, self.longest_wait)

    def settle(self, connections: int = 0, seconds: float = 2.0) -> bool:
        """Wait until no more than so many connections are open; return whether that came true in time."""
        return self._comes_true(lambda: self.open <= connections, seconds)

    def respond(self, sent: Sent) -> Played:
        """Return the answer to a request."""
        with self._lock:
            self.requests.append(sent)
            told = self.queue.popleft() if self.queue else self._own_answer
        return told if isinstance(told, Answer | Raw) else told(sent)

    def greet(self) -> Iterable[Piece] | None:
        """Return what a new connection gets instead of being read; None reads it."""
        return None

    def _own_answer(self, sent: Sent) -> Played:  # noqa: ARG002  # for those who know better
        return self.answer

    def _bind(self) -> None:
        """Take a port, the same again if there was one, without listening on it: whoever connects is refused."""
        self._listener = socket(AF_INET, SOCK_STREAM)
        self._listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]

    def _listen(self) -> None:
        if self._listener is not None:
            self._listener.listen(256)
            self._listening = True
            self._thread = threading.Thread(target=self._accept, args=(self._listener,), name="loopback", daemon=True)
            self._thread.start()

    def _refuse(self) -> None:
        """Let go of every connection and refuse new ones."""
        self._stop()
        self._bind()

    def _stop(self) -> None:
        if self._listening:
            self._listening = False
            with suppress(OSError):
                create_connection(("127.0.0.1", self._port), timeout=1.0).close()  # wakes the thread that accepts
        if self._thread is not None:
            self._thread.join(1.0)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.hang_up()
        if self._listener is not None:
            self._listener.close()

    def _accept(self, listener: socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if not self._listening:
                client.close()
                return
            with self._lock:
                self._accepted += 1
                connection = Connection(self, client, self._accepted)
                self._connections.add(connection)
                self.open += 1
            threading.Thread(target=self._serve, args=(connection,), name="loopback", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        except OSError:
            pass  # the client has gone
        except Exception as error:  # noqa: BLE001  # raised where the block of the server ends
            self.failures.append(error)
        finally:
            with self._lock:
                self._connections.discard(connection)
                self.open -= 1
            connection.close()

    def _comes_true(self, question: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not question():
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True
