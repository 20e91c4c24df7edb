"""The direct transport on httpx2: a client of our own for each event loop, or the one that the user brings."""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

import httpx2

from polycall._http import CONNECT_TIMEOUT, Key, MakePost, Post, Response, Settings, connection_fault
from polycall._sdk import Reading
from polycall.errors import TransportError, UsageError

_PIECE: Final = 64 * 1024
_HEADER: Final = 2


class Httpx2:
    """Posts by httpx2 on asyncio."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient | None = None) -> None:
        """Take the user's ``client``, which stays theirs; with None make one for each event loop, as they cannot be shared.

        Raises:
            UsageError: The settings cannot be used.
        """
        self._given = client
        self._proxy = settings.proxy
        self._own: dict[asyncio.AbstractEventLoop, AsyncGenerator[httpx2.AsyncClient]] = {}
        try:
            self._trust = True if client is not None else _trusted() if settings.ca_file is None else _trusting(settings.ca_file)
            if settings.proxy is not None:
                httpx2.Proxy(settings.proxy)
        except (ValueError, OSError, httpx2.InvalidURL) as error:
            message = f"proxy= or ca_file= cannot be used ({type(error).__name__})"
            raise UsageError(message) from None  # the text would show a password in the URL of the proxy

    async def post(self, post: Post) -> Response:
        """Send one request; see `Transport`."""
        client = self._given or await self._of_this_loop()
        request = _request(client, post)
        with _unlogged(), _faults():
            response = await client.send(request, stream=True, follow_redirects=False)
        return Response(response.status_code, _headers(response), _inflated_async(response), response.aclose)

    async def close(self) -> None:
        """Close the connections of the clients made here."""
        kept = self._own.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept.aclose()

    async def _of_this_loop(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        kept = self._own.get(loop)
        if kept is None:
            for old in [one for one in self._own if one.is_closed()]:
                del self._own[old]
            kept = self._own[loop] = self._keep()
        return await kept.asend(None)

    async def _keep(self) -> AsyncGenerator[httpx2.AsyncClient]:
        """Give a client again and again. As a generator it is closed with its event loop, where that ends as in `asyncio.run`."""
        try:
            client = httpx2.AsyncClient(verify=self._trust, proxy=self._proxy)
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            message = f"a proxy of the environment cannot be used ({type(error).__name__})"
            raise UsageError(message) from None
        try:
            while True:
                yield client
        finally:
            await client.aclose()


@cache
def _trusted() -> ssl.SSLContext:
    """Return what the system trusts; made once, as it takes a tenth of a second."""
    return ssl.create_default_context()


def _trusting(ca_file: str) -> ssl.SSLContext:
    trust = ssl.create_default_context()
    trust.load_verify_locations(ca_file)
    return trust


class BlockingHttpx2:
    """Posts by the user's blocking client of httpx2."""

    def __init__(self, client: httpx2.Client) -> None:
        """Take the user's client, which stays theirs."""
        self._client = client

    def open(self, key: Key, post: MakePost) -> Response:
        """Send one request; see `Poster`. Blocks."""
        given = key() if callable(key) else key
        if not isinstance(given, str | None):
            if inspect.iscoroutine(given):
                given.close()  # nobody will await it
            raise UsageError("api_key= is an asynchronous function: a blocking client takes a plain one")
        one = post(given)
        request = _request(self._client, one)
        with _unlogged(), _faults():
            response = self._client.send(request, stream=True, follow_redirects=False)
        chunks = Reading(response, _inflated(response))
        return Response(response.status_code, _headers(response), chunks, chunks.close, one.secrets, one.url)


def _request(client: httpx2.Client | httpx2.AsyncClient, post: Post) -> httpx2.Request:
    # Only what is inflated here, in pieces of bounded size: httpx2 itself inflates whatever a read gives at once.
    headers = {**post.headers, "accept-encoding": "gzip, deflate"}
    timeout = httpx2.Timeout(post.timeout, connect=min(CONNECT_TIMEOUT, post.timeout or CONNECT_TIMEOUT))
    try:
        return client.build_request("POST", post.url, headers=headers, content=post.body, timeout=timeout)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        message = f"the base_url or a header cannot be sent ({type(error).__name__})"
        raise UsageError(message) from None  # the text may show a header


async def _inflated_async(response: httpx2.Response) -> AsyncIterator[bytes]:
    inflating = _Inflating(response)
    async with aclosing(response.aiter_raw()) as chunks:  # else the collector of garbage does that
        while True:
            with _unlogged(), _faults():
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            for piece in inflating.feed(chunk):
                yield piece
    inflating.close()


def _inflated(response: httpx2.Response) -> Iterator[bytes]:
    inflating = _Inflating(response)
    chunks = response.iter_raw()
    while True:
        with _unlogged(), _faults():
            chunk = next(chunks, None)
        if chunk is None:
            break
        yield from inflating.feed(chunk)
    inflating.close()


class _Inflating:
    """Inflates a body in pieces of bounded size."""

    def __init__(self, response: httpx2.Response) -> None:
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise TransportError("the server answered in a content-encoding that was not asked for", transient=True)
        self._coding = coding
        self._first = b""
        self._inflate: Any = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        if self._coding in {"", "identity"}:
            yield chunk
            return
        chunk, self._first = self._first + chunk, b""
        more = False  # whether there may be more behind what fitted into a piece
        try:
            while chunk or more:
                if self._inflate is None or self._inflate.eof:  # gzip allows one behind the other
                    if len(chunk) < _HEADER:
                        self._first = chunk
                        return
                    self._inflate = self._begun(chunk)
                if piece := self._inflate.decompress(chunk, _PIECE):
                    yield piece
                more = len(piece) == _PIECE and not self._inflate.eof
                chunk = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        except zlib.error as error:
            raise TransportError("the server's compressed body cannot be read", transient=True) from error

    def _begun(self, chunk: bytes) -> Any:
        """Begin to inflate; servers send deflate with and without the header of zlib."""
        zlib_header = chunk[0] % 16 == zlib.DEFLATED and int.from_bytes(chunk[:_HEADER]) % 31 == 0
        return zlib.decompressobj(-zlib.MAX_WBITS if self._coding == "deflate" and not zlib_header else zlib.MAX_WBITS | 32)

    def close(self) -> None:
        if self._first or (self._inflate is not None and not self._inflate.eof):
            raise TransportError("the server's compressed body is cut", transient=True)


@contextmanager
def _faults() -> Generator[None]:
    """Turn httpx2's errors into ours. Those of the protocol quote what the server sent, maybe the key: they lose their text."""
    try:
        yield
    except httpx2.LocalProtocolError:
        raise UsageError("a header cannot be sent") from None  # the text shows it
    except RuntimeError:
        raise UsageError("the httpx2 client that was given is closed, or belongs to another event loop") from None
    except httpx2.ProtocolError as error:
        cause = type(error)("the server does not speak HTTP as it should")
        raise connection_fault(cause, str(cause)) from cause
    except httpx2.HTTPError as error:
        raise connection_fault(error, str(error) or "no details") from error


_OURS: Final = ContextVar("polycall_httpx2", default=False)


@contextmanager
def _unlogged() -> Generator[None]:
    """Keep httpx2 from logging what passes over the wire."""
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def _not_ours(_: logging.LogRecord) -> bool:
    return not _OURS.get()


for _name in ("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy", "httpcore2.socks"):
    logging.getLogger(_name).addFilter(_not_ours)


def _headers(response: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
