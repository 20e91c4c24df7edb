"""What a server on loopback sends: answers, and the pieces that they are sent in."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Answer", "Drop", "Gone", "Heard", "Piece", "Played", "Raw", "Reset", "Sent", "Until", "Wait", "head"]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing arrives for some seconds, or until the client has gone."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Until:
    """Nothing arrives until the event is set."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing arrives until the client has closed the connection; then ``Server.gone`` is set."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Nothing is sent until the client has sent something."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST): what the client reads next fails."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is shut down where it stands."""


Piece: TypeAlias = bytes | Wait | Until | Gone | Heard | Reset | Drop
"""One step of an answer."""


def head(status: int | str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Write the head of a response; a text as ``status`` is the whole status line."""
    line = f"HTTP/1.1 {status} Told" if isinstance(status, int) else status
    return "".join(f"{text}\r\n" for text in (line, *(f"{name}: {value}" for name, value in headers), "")).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """One well-formed HTTP response.

    Attributes:
        body: Sent at once with its length, or in pieces as they come (chunked).
        before: What happens before the status line; bytes are sent as they are.
        ended: Whether a body in pieces ends as HTTP says; else the connection is shut down.
        headers: More headers.
    """

    body: bytes | Iterable[Piece] = b""
    status: int = 200
    content_type: str = "application/json"
    before: Iterable[Piece] = ()
    ended: bool = True
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def kept(self) -> bool:
        """Whether the connection is used for the next request."""
        return self.headers.get("connection") != "close"

    def wire(self) -> Iterator[Piece]:
        """Yield everything that is sent, with its head and its framing."""
        yield from self.before
        headers = [("content-type", self.content_type), *self.headers.items()]
        if isinstance(self.body, bytes):
            yield head(self.status, [*headers, ("content-length", str(len(self.body)))]) + self.body
            return
        yield head(self.status, [*headers, ("transfer-encoding", "chunked")])
        for piece in self.body:
            if not isinstance(piece, bytes):
                yield piece
            elif piece:
                yield b"%x\r\n%s\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n" if self.ended else Drop()


@dataclass(frozen=True, slots=True)
class Raw:
    """Any bytes: status line, headers and framing are the caller's.

    Attributes:
        pieces: What is sent, as it is.
        kept: Whether the connection is used for the next request; else it is shut down behind the last piece.
    """

    pieces: Iterable[Piece]
    kept: bool = False

    def wire(self) -> Iterator[Piece]:
        """Yield everything that is sent."""
        yield from self.pieces


Played: TypeAlias = Answer | Raw
"""What a server can answer."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that a server got.

    Attributes:
        headers: By name in lower case.
        raw: The body as it came.
        body: The body as JSON; None where it is none.
        connection: Which connection it came on, from 1 in the order of their opening.
        nth: Which request on that connection it is, from 1.
        at: When it had come, on the clock of `time.monotonic`.
    """

    path: str
    headers: dict[str, str] = field(repr=False)
    raw: bytes = field(repr=False)
    body: Any = field(repr=False)
    method: str = "POST"
    connection: int = 1
    nth: int = 1
    at: float = 0.0
