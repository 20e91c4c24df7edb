"""A response while it arrives, blocking and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Generic, Self, cast

from typing_extensions import TypeVar

from polycall._exchange import Exchange, exchange
from polycall._pump import Finished, pump
from polycall.call import Calls
from polycall.errors import UsageError
from polycall.events import Event, SealedEvent

__all__ = ["AsyncStream", "Stream"]

T = TypeVar("T", covariant=True)


class Stream(Generic[T]):
    """One response while it arrives: iterate over it for each value the moment its call is sealed, in order of completion.

    At its end the iteration raises `CallErrors` when calls are bad; with ``errors="return"`` it leaves them to `result`.
    Use it as a context manager: leaving the block closes the connection. It can be iterated over once.
    """

    def __init__(self, asked: Exchange) -> None:
        """Prepare the exchange; it is sent when the stream is first read."""
        self._events = pump(exchange(asked))
        self._result: Calls[Any] | None = None

    def events(self) -> Iterator[Event[T]]:
        """Yield everything that happens: text, calls that start, pieces of arguments, sealed calls, errors.

        Raises:
            CallErrors: At the end, when calls are bad (not with ``errors="return"``).
        """
        for event in self._events:
            if isinstance(event, Finished):
                self._result = cast("Finished[Calls[Any]]", event).result
            else:
                yield event

    def result(self) -> Calls[T]:
        """Read what is left of the stream and return the whole of it.

        Raises:
            CallErrors: Calls are bad (not with ``errors="return"``, which puts each error in its place).
        """
        for _ in self.events():
            pass
        return _whole(self._result)

    def close(self) -> None:
        """Close the connection; what has not arrived yet is not read."""
        self._events.close()  # type: ignore[attr-defined]  # a generator

    def __iter__(self) -> Iterator[T]:
        """Yield each good value the moment its call is sealed."""
        for event in self.events():
            if isinstance(event, SealedEvent) and event.call.error is None:
                yield event.call.value

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the connection."""
        self.close()


class AsyncStream(Generic[T]):
    """`Stream` on asyncio: ``async with`` and ``async for``."""

    def __init__(self, asked: Exchange) -> None:
        """Prepare the exchange; it is sent when the stream is first read."""
        from polycall._pump_asyncio import pump_async

        self._events = pump_async(exchange(asked), blocking=asked.connection.blocking)
        self._result: Calls[Any] | None = None

    async def events(self) -> AsyncIterator[Event[T]]:
        """Yield everything that happens; see `Stream.events`."""
        async for event in self._events:
            if isinstance(event, Finished):
                self._result = cast("Finished[Calls[Any]]", event).result
            else:
                yield event

    async def result(self) -> Calls[T]:
        """Read what is left of the stream and return the whole of it; see `Stream.result`."""
        async for _ in self.events():
            pass
        return _whole(self._result)

    async def close(self) -> None:
        """Close the connection; what has not arrived yet is not read."""
        await self._events.aclose()  # type: ignore[attr-defined]  # a generator

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield each good value the moment its call is sealed."""
        async for event in self.events():
            if isinstance(event, SealedEvent) and event.call.error is None:
                yield event.call.value

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()


def _whole(result: Calls[Any] | None) -> Calls[Any]:
    if result is None:
        raise UsageError("the stream was closed, or has failed, before its end: there is no whole result")
    return result
