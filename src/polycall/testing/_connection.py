"""One connection of a server on loopback: requests in, pieces out."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from socket import IPPROTO_TCP, SHUT_RDWR, SO_LINGER, SOL_SOCKET, TCP_NODELAY, socket
from typing import TYPE_CHECKING, Any, Final

from polycall.testing._wire import Answer, Gone, Heard, Piece, Reset, Sent, Until, Wait

if TYPE_CHECKING:
    from polycall.testing._loopback import Server

__all__ = ["Connection"]

_HEAD_END: Final = b"\r\n\r\n"
_BAD_REQUEST: Final = Answer(b"this is no HTTP request", status=400, headers={"connection": "close"})


class Connection:
    """Reads requests off a socket and plays their answers, until one of both sides hangs up."""

    def __init__(self, server: Server, client: socket, number: int) -> None:
        """Start with a socket on which nothing was read."""
        self._server = server
        self._client = client
        self._number = number
        self._buffer = bytearray()
        client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def serve(self) -> None:
        """Answer requests until the connection ends.

        Raises:
            OSError: The client has gone.
        """
        greeting = self._server.greet()
        if greeting is not None:
            self._play(greeting)
            self.hang_up()
            return
        nth = 1
        while (sent := self._request(nth)) is not None:
            answer = self._server.respond(sent)
            if not self._play(answer.wire()):
                return
            if not answer.kept or sent.headers.get("connection") == "close":
                break
            nth += 1
        self.hang_up()

    def hang_up(self) -> None:
        """Shut both directions down; closing alone would leave a client waiting as long as another thread holds the socket."""
        with suppress(OSError):
            self._client.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self._client.close()

    def _request(self, nth: int) -> Sent | None:
        """Read one request; None when the client has gone, or sends what is no request."""
        raw_head = self._until(_HEAD_END)
        if raw_head is None:
            return None
        line, *fields = raw_head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3:  # noqa: PLR2004  # method, path and version
            self._play(_BAD_REQUEST.wire())
            return None
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if headers.get("expect") == "100-continue":
            self._client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        raw = self._chunks() if "chunked" in headers.get("transfer-encoding", "") else self._exactly(headers)
        return Sent(words[1], headers, raw, _parsed(raw), words[0], self._number, nth, time.monotonic())

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._receive():
                return None
        found, _, self._buffer = self._buffer.partition(mark)
        return bytes(found)

    def _exactly(self, headers: dict[str, str]) -> bytes:
        return self._take(int(headers.get("content-length", "0")))

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length and self._receive():
            pass
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while (size := self._until(b"\r\n")) is not None:
            length = int(size.partition(b";")[0], 16)
            parts.append(self._take(length))
            self._until(b"\r\n")
            if length == 0:
                break
        return b"".join(parts)

    def _receive(self) -> bool:
        data = self._client.recv(1 << 16)
        self._buffer += data
        return bool(data)

    def _play(self, pieces: Iterable[Piece]) -> bool:
        """Send pieces; return whether the connection is still there."""
        for piece in pieces:
            if isinstance(piece, bytes):
                self._client.settimeout(self._server.longest_wait)  # for a client that does not read
                self._client.sendall(piece)
                self._client.settimeout(None)
            elif not self._done(piece):
                return False
        return True

    def _done(self, piece: Piece) -> bool:
        match piece:
            case Wait(seconds):
                return not self._client_goes(seconds)
            case Until(event):
                return event.wait(self._server.longest_wait)
            case Heard():
                return self._receive()
            case Gone():
                if self._client_goes(self._server.longest_wait):
                    self._server.gone.set()
            case Reset():
                self._client.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                self._client.close()
                return False
            case _:
                pass
        self.hang_up()
        return False

    def _client_goes(self, seconds: float) -> bool:
        """Wait; return whether the client has gone meanwhile."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self._client.settimeout(left)
                if not self._receive():  # else the next request, or more of this one
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                self._client.settimeout(None)
        return False


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
