"""How SDKs hand over a response: raw, where they stand on httpx or httpx2, or parsed already. None of them is imported."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, Final, cast

from typing_extensions import override

from polycall.provider import Reply
from polycall.types import JsonObject, is_object

__all__ = ["Parsed", "Reading", "begun", "carried_out", "opened", "parameters", "parsed", "read", "said", "shut_down", "streamed"]

_KEYS: Final = ("authorization", "api-key", "x-api-key")


def opened(raw: Any, module: str, kind: str) -> Reply:
    """Wrap what ``with_raw_response`` gave: the bytes of a stream as they come, a whole body at once.

    Args:
        raw: The SDK's raw response, blocking or asynchronous.
        module: Where in the SDK's package the class of its response objects is.
        kind: The name of that class. It makes one from a stream's folded body; of a whole body the SDK does that itself.
    """
    response = raw.http_response
    if response.is_closed:
        secrets = _secrets(response)
        return Reply(iter((raw.content,)), lambda: None, raw.status_code, native=lambda _: raw.parse(), secrets=secrets)
    package = type(raw).__module__.partition(".")[0]
    made: Any = getattr(sys.modules[f"{package}.{module}"], kind)
    return read(response, lambda body: made.construct(**body))


def read(response: Any, native: Callable[[JsonObject], Any]) -> Reply:
    """Wrap a response of httpx, blocking or asynchronous: its bytes as they come, or at once where it has been read.

    Args:
        response: The response.
        native: As in `Reply`.
    """
    secrets = _secrets(response)
    if response.is_closed:
        return Reply(iter((response.content,)), lambda: None, response.status_code, native=native, secrets=secrets)
    if hasattr(response.stream, "__aiter__"):
        chunks, close = response.aiter_bytes(), response.aclose
    else:
        chunks = Reading(response, response.iter_bytes())
        close = chunks.close
    return Reply(chunks, close, response.status_code, native=native, secrets=secrets)


def _secrets(response: Any) -> tuple[str, ...]:
    sent = response.request.headers
    return tuple(sent[name].removeprefix("Bearer ") for name in _KEYS if name in sent)


def parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names that an SDK's function takes; none where it takes any, as one that something has patched may."""
    import inspect

    found = inspect.signature(function).parameters.values()
    return frozenset() if any(one.kind is one.VAR_KEYWORD for one in found) else frozenset(one.name for one in found)


def said(error: Exception) -> JsonObject | None:
    """Return what a server said with an error status, as the SDK keeps it in its exception; None where there is nothing."""
    body = getattr(error, "body", None)
    return {"error": body} if is_object(body) else None


def parsed(raw: Any, event: JsonObject) -> Reply:
    """Wrap a whole response that the SDK has parsed: its object, and what that is as an event of the wire."""
    return Reply(iter((event,)), lambda: None, whole=True, native=lambda _: raw)


def streamed(
    raw: Any,
    event: Callable[[Any], JsonObject],
    said: Callable[[Exception], JsonObject | None],
    native: Callable[[JsonObject], Any] | None = None,
) -> Reply:
    """Wrap a stream whose chunks the SDK has parsed.

    Args:
        raw: A blocking or asynchronous iterator, closed at the end by its ``close`` or ``aclose`` where it has one.
        event: Makes an event of the wire of each chunk.
        said: As in `Reply`.
        native: As in `Reply`.
    """
    if hasattr(raw, "__aiter__"):
        return Reply(_events(raw, event), _closing(raw), native=native, said=said)
    reading = Parsed(raw, map(event, raw))
    return Reply(reading, reading.close, native=native, said=said)


def begun(raw: Any) -> Any:
    """Read the first chunk of a stream whose SDK sends the request only then, so that what it raises is that of the call itself.

    Args:
        raw: A blocking iterator; an asynchronous one, or an awaitable of it.

    Returns:
        The stream; for an asynchronous one an awaitable of it.
    """
    if isinstance(raw, Awaitable) or hasattr(raw, "__aiter__"):
        return _begun_async(raw)
    chunks = iter(raw)
    return _Begun(next(chunks, _END), chunks, getattr(raw, "close", _nothing))


async def _begun_async(raw: Any) -> Any:
    stream = raw if hasattr(raw, "__aiter__") else await raw
    chunks: AsyncIterator[Any] = aiter(stream)
    return _BegunAsync(await anext(chunks, _END), chunks, _closing(stream))


def carried_out(flow: Generator[Any, Any, Any]) -> Any:
    """Return what a flow returns that yields what a client gives, blocking or asynchronous, and is sent what that comes to.

    Returns:
        That, or an awaitable of it where the client is asynchronous.
    """
    try:
        got = next(flow)
        while not hasattr(got, "__await__"):
            got = flow.send(got)
    except StopIteration as ended:
        return ended.value
    return _carried_out_async(flow, got)


async def _carried_out_async(flow: Generator[Any, Any, Any], got: Awaitable[Any]) -> Any:
    try:
        while True:
            try:
                come = await got
            except Exception as error:  # noqa: BLE001  # raised again, inside the flow
                got = flow.throw(error)
            else:
                got = flow.send(come)
    except StopIteration as ended:
        return ended.value


def _closing(stream: Any) -> Callable[[], Any]:
    close: Any = getattr(stream, "aclose", None)
    return cast("Callable[[], Any]", close or getattr(stream, "close", _nothing))


_END: Final = object()


def _nothing() -> None:
    """Let go of nothing."""


class _Begun(Iterator[Any]):
    def __init__(self, first: Any, rest: Iterator[Any], close: Callable[[], None]) -> None:
        self._first = first
        self._rest = rest
        self.close = close

    @override
    def __next__(self) -> Any:
        first, self._first = self._first, None
        if first is _END:
            raise StopIteration
        return next(self._rest) if first is None else first


class _BegunAsync(AsyncIterator[Any]):
    def __init__(self, first: Any, rest: AsyncIterator[Any], close: Callable[[], Any]) -> None:
        self._first = first
        self._rest = rest
        self.aclose = close

    @override
    async def __anext__(self) -> Any:
        first, self._first = self._first, None
        if first is _END:
            raise StopAsyncIteration
        return await anext(self._rest) if first is None else first


async def _events(raw: Any, event: Callable[[Any], JsonObject]) -> AsyncIterator[JsonObject]:
    async for chunk in raw:
        yield event(chunk)


class Parsed(Iterator[Any]):
    """The chunks of a blocking stream, which may be closed while another thread waits for the next one.

    That one then closes it.
    """

    def __init__(self, stream: Any, chunks: Iterator[Any]) -> None:
        """Read ``chunks``, which are those of ``stream``."""
        self._stream = stream
        self._chunks = chunks
        self._lock = Lock()
        self._reading = False
        self._closed = False

    @override
    def __next__(self) -> Any:
        """Return the next chunk."""
        with self._lock:
            if self._closed:
                raise ConnectionError("the response was closed")
            self._reading = True
        try:
            return next(self._chunks)
        finally:
            self._read()

    def _read(self) -> None:
        with self._lock:
            self._reading = False
            if self._closed:
                self.let_go()

    def close(self) -> None:
        """Let go of the connection; may be called twice, and from another thread than the one that reads."""
        with self._lock:
            self._closed = True
            if self._reading:
                self.wake()
            else:
                self.let_go()

    def let_go(self) -> None:
        """Close the stream, which nobody reads."""
        getattr(self._stream, "close", _nothing)()

    def wake(self) -> None:
        """Make whoever reads come back, where that can be done."""


class Reading(Parsed):
    """The bytes of a blocking response of httpx.

    Closing a descriptor under a reader would leave it reading whatever is opened next under the same number. So the socket is
    only shut down then, which wakes the reader and tells the server, and the reader closes the response.
    """

    @override
    def wake(self) -> None:
        """Shut the socket down."""
        shut_down(self._stream)


def shut_down(response: Any) -> None:
    """Shut the socket of a response of httpx down, which wakes whoever reads from it and tells the server."""
    from socket import SHUT_RDWR

    stream = response.extensions.get("network_stream")
    if not response.is_closed and stream is not None and response.http_version == "HTTP/1.1":
        with suppress(OSError, AttributeError):
            stream.get_extra_info("socket").shutdown(SHUT_RDWR)
