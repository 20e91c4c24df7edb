"""The direct transport on pyreqwest (Rust's reqwest). Its runtime is its own: one client serves every event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

# The exceptions first: where a signal arrives while Rust imports them, the process aborts.
from pyreqwest.exceptions import BuilderError, DetailedPyreqwestError, PyreqwestError

# isort: split
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.proxy import ProxyBuilder

from polycall._http import CONNECT_TIMEOUT, Post, Response, Settings, connection_fault
from polycall.errors import TransportError, UsageError

if TYPE_CHECKING:
    from pyreqwest.request import StreamRequest
    from pyreqwest.response import Response as HttpResponse

T = TypeVar("T")

_MARGIN: Final = 0.25
"""Seconds that the line has to give up by itself at the deadline; this timeout only ends what was left behind."""


class Pyreqwest:
    """Posts by pyreqwest.

    A request that is cancelled before its headers have come goes on inside pyreqwest until they come, or its timeout.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the client.

        Raises:
            RuntimeError: This process was forked from one that has used pyreqwest.
            UsageError: The settings cannot be used.
        """
        builder = ClientBuilder().follow_redirects(enable=False).connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
        try:
            if settings.proxy is not None:
                builder = builder.proxy(ProxyBuilder.all(settings.proxy))
            if settings.ca_file is not None:
                builder = builder.add_root_certificate_pem(_certificates(settings.ca_file))
            self._client: Client | None = builder.build()
        except (ValueError, OSError) as error:
            message = f"proxy= or ca_file= cannot be used ({type(error).__name__})"
            raise UsageError(message) from None  # the text would show a password in the URL of the proxy

    async def post(self, post: Post) -> Response:
        """Send one request; see `Transport`."""
        if self._client is None:
            raise TransportError("the client was closed before the answer was complete")
        try:
            builder = self._client.post(post.url).headers(post.headers).body_bytes(post.body)
            if post.timeout is not None:
                builder = builder.timeout(timedelta(seconds=post.timeout + _MARGIN))
            # The default buffer would hold a slow stream back until its end.
            request = builder.streamed_read_buffer_limit(0).build_streamed()
        except (BuilderError, ValueError) as error:
            message = f"the base_url or a header cannot be sent ({type(error).__name__})"
            raise UsageError(message) from None  # the text may show a header
        try:
            response = await _heeding(request.__aenter__())
        except PyreqwestError as error:
            raise _fault(error) from _told(error)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # there is no response yet
                await request.__aexit__(None, None, None)
            raise

        body = _Body(request, response)
        return Response(response.status, dict(_headers(response)), body.chunks(), body.close)

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None  # connections are closed with the last reference
        if client is not None:
            await client.close()


class _Body:
    """The body of a response. Every wait for pyreqwest costs a switch between threads, so there is none without need."""

    def __init__(self, request: StreamRequest, response: HttpResponse) -> None:
        self._request = request
        self._reader = response.body_reader
        length = response.get_header("content-length")  # gone where the body is inflated
        self._left = int(length) if length is not None and length.isdecimal() else -1
        self._open = True

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while self._left and (chunk := await _heeding(self._reader.read_chunk())) is not None:
                self._left -= len(chunk)
                yield bytes(chunk)
        except PyreqwestError as error:
            raise _fault(error) from _told(error)
        self._open = False

    async def close(self) -> None:
        if self._open:
            self._open = False
            await _heeding(self._request.__aexit__(None, None, None))


async def _heeding(work: Awaitable[T]) -> T:
    """Wait for pyreqwest, which forgets that its task was cancelled when it has something to give in that very moment."""
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    given = await work
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return given


def _certificates(file: str) -> bytes:
    content = Path(file).read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError("no certificate")
    return content


def _headers(response: HttpResponse) -> Iterator[tuple[str, str]]:
    for name in response.headers:
        with suppress(ValueError):  # bytes beyond ASCII: of no header that means anything here
            yield name.lower(), response.headers[name]


def _fault(error: PyreqwestError) -> TransportError:
    return connection_fault(error, _words(error))


def _told(error: PyreqwestError) -> PyreqwestError:
    """Return the error as far as it may be shown: without the URL."""
    return PyreqwestError(f"{type(error).__name__}: {_words(error)}")


def _words(error: PyreqwestError) -> str:
    """Return the innermost cause; the outer ones hold the URL."""
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return causes[-1]["message"] if causes else error.message
