"""The seam of the direct transport: one POST out, one response back, in bytes. Two libraries carry it out.

pyreqwest is the first choice: light, and fast to import. httpx2 is taken where pyreqwest is missing or cannot be used, as in a
forked process whose parent has used it, and where the user brings a client of it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

from polycall.errors import TransportError
from polycall.provider import Waiting

__all__ = [
    "CONNECT_TIMEOUT",
    "Awaited",
    "Key",
    "Library",
    "MakePost",
    "Post",
    "Poster",
    "Response",
    "Settings",
    "Transport",
    "connection_fault",
    "posted",
]

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for a connection to come about, TLS included; then it counts as a connection fault."""

Library: TypeAlias = Literal["pyreqwest", "httpx2"]
Key: TypeAlias = "str | Callable[[], str | Awaitable[str]] | None"
MakePost: TypeAlias = "Callable[[str | None], Post]"


@dataclass(frozen=True, slots=True)
class Post:
    """One request.

    Attributes:
        timeout: Seconds that are left for all of it, None for no limit.
        secrets: What is in the headers and must not be in an error.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: float | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """What came back, as soon as its headers are there.

    Attributes:
        headers: Names in lower case; of a repeated header the last value.
        chunks: The body as it comes, inflated, in pieces of bounded size.
        close: Lets go of the connection; may be called twice.
        secrets: What was sent that must not be in an error.
        url: Where the request went.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes] | Iterator[bytes] | Waiting
    close: Callable[[], Awaitable[None] | None]
    secrets: tuple[str, ...] = field(default=(), repr=False)
    url: str = ""


class Transport(Protocol):
    """One library that can post. Redirects are not followed."""

    async def post(self, post: Post) -> Response:
        """Send one request and return when the headers of its response are there.

        Raises:
            TransportError: The connection failed.
            UsageError: The URL or a header cannot be sent.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Poster(Protocol):
    """What a direct connection posts through."""

    def open(self, key: Key, post: MakePost) -> Any:
        """Send one request, made of the key; return its `Response`, an awaitable of it, or a `Waiting` that gives it."""
        ...


class Awaited:
    """Posts on the running event loop."""

    def __init__(self, make: Callable[[], Transport]) -> None:
        """Take what makes the transport: it is made with the first request, and anew in a forked process."""
        self._make = make
        self._made: tuple[int, Transport] | None = None

    def open(self, key: Key, post: MakePost) -> Awaitable[Response]:
        """Send one request; see `Poster`."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), self._make())
        return posted(self._made[1], key, post)

    async def close(self) -> None:
        """Close all connections."""
        made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            await made[1].close()


async def posted(over: Transport, key: Key, post: MakePost) -> Response:
    """Send one request; a function that gets the key runs in a thread, unless it is asynchronous."""
    import asyncio

    given = key
    if callable(key):
        got = key() if inspect.iscoroutinefunction(key) else await asyncio.to_thread(key)
        given = await got if inspect.isawaitable(got) else got
    one = post(cast("str | None", given))
    del key, given  # tools that show the variables of a traceback do not get to see it
    return replace(await over.post(one), secrets=one.secrets, url=one.url)


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service is reached.

    Attributes:
        proxy: The URL of a proxy; None takes those of the environment (``HTTPS_PROXY``, ``NO_PROXY``).
        ca_file: A PEM file of certificates to trust beside the system's.
    """

    proxy: str | None = field(default=None, repr=False)
    ca_file: str | None = None


def connection_fault(error: Exception, words: str) -> TransportError:
    """Return what a failed connection is to the user; ``words`` is how the library describes it.

    A certificate that is not trusted stays so; everything else may go better the next time.
    """
    trusted = "certificate" not in words.lower()
    reason = words if trusted else f"{words}; ca_file= names further certificates to trust"
    return TransportError(f"the connection failed: {reason} ({type(error).__name__})", transient=trusted)
