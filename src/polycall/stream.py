"""A response while it arrives, blocking and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, cast

from typing_extensions import TypeVar

from polycall._ask import Exchange
from polycall._effects import Finished
from polycall._exchange import exchange
from polycall._pump import Blocking, pump
from polycall.calls import Calls
from polycall.errors import UsageError
from polycall.events import Event, SealedEvent

__all__ = ["AsyncStream", "Stream"]

T = TypeVar("T", covariant=True)

_OVER = "this stream is over: iterate over it once, result() has the whole"
_BUSY = "this stream is being read elsewhere: one thread, or one task, reads a stream"


class _State(Generic[T]):
    """What both streams know of themselves."""

    def __init__(self) -> None:
        self._result: Calls[Any] | None = None
        self._over = False

    def _take(self, event: Any) -> Event[T] | None:
        """Return an event; keep the result, and return None for it and for the end."""
        if isinstance(event, Finished):
            self._result = cast("Finished[Calls[Any]]", event).result
            return None
        self._over = self._over or event is None
        return cast("Event[T] | None", event)

    def _check(self) -> None:
        if self._over:
            raise UsageError(_OVER)

    def _whole(self) -> Calls[T]:
        if self._result is None:
            raise UsageError("the stream was closed, or has failed, before its end: there is no whole result")
        return self._result


class Stream(_State[T]):
    """One response while it arrives: iterate over it for each value the moment its call is sealed, in order of completion.

    At its end the iteration raises `CallErrors` when calls are bad; with ``errors="return"`` it leaves them to `result`.
    Use it as a context manager: leaving the block closes the connection. It can be read once, by one thread.
    """

    def __init__(self, asked: Exchange) -> None:
        """Prepare the exchange; it is sent when the stream is first read."""
        super().__init__()
        self._world = Blocking()
        self._events = pump(exchange(asked), self._world)

    def events(self) -> Iterator[Event[T]]:
        """Return an iterator over everything that happens: text, calls that start, pieces of arguments, sealed calls, errors.

        Raises:
            CallErrors: At the end, when calls are bad (not with ``errors="return"``).
            UsageError: The stream was read already, or closed.
        """
        self._check()
        return self._each()

    def result(self) -> Calls[T]:
        """Read what is left of the stream and return the whole of it.

        Raises:
            CallErrors: Calls are bad (not with ``errors="return"``, which puts each error in its place).
        """
        while self._pull() is not None:
            pass
        return self._whole()

    def close(self) -> None:
        """Close the connection; what has not arrived yet is not read. Also from another thread than the one that reads."""
        self._over = True
        self._world.close()
        with suppress(ValueError):  # another thread is inside: it ends with the connection
            self._events.close()

    def __iter__(self) -> Iterator[T]:
        """Yield each good value the moment its call is sealed."""
        self._check()
        return self

    def __next__(self) -> T:
        """Return the next good value."""
        while (event := self._pull()) is not None:
            if isinstance(event, SealedEvent) and event.call.error is None:
                return event.call.value
        raise StopIteration

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the connection."""
        self.close()

    def _each(self) -> Iterator[Event[T]]:
        while (event := self._pull()) is not None:
            yield event

    def _pull(self) -> Event[T] | None:
        """Return the next event, None at the end."""
        if cast("Any", self._events).gi_running:
            raise UsageError(_BUSY)
        event = self._take(next(self._events, None))
        return event or self._take(next(self._events, None))  # behind the result the connection is closed


class AsyncStream(_State[T]):
    """`Stream` on asyncio: ``async with`` and ``async for``."""

    def __init__(self, asked: Exchange) -> None:
        """Prepare the exchange; it is sent when the stream is first read."""
        from polycall._pump_asyncio import Asyncio, pump_async

        super().__init__()
        self._world = Asyncio(blocking=asked.connection.blocking)
        self._events = pump_async(exchange(asked), world=self._world)

    def events(self) -> AsyncIterator[Event[T]]:
        """Return an asynchronous iterator over everything that happens; see `Stream.events`."""
        self._check()
        return self._each()

    async def result(self) -> Calls[T]:
        """Read what is left of the stream and return the whole of it; see `Stream.result`."""
        while await self._pull() is not None:
            pass
        return self._whole()

    async def close(self) -> None:
        """Close the connection; what has not arrived yet is not read. Also from another task than the one that reads."""
        self._over = True
        await self._world.close()
        with suppress(RuntimeError):  # another task is inside: it ends with the connection
            await self._events.aclose()

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield each good value the moment its call is sealed."""
        self._check()
        return self

    async def __anext__(self) -> T:
        """Return the next good value."""
        while (event := await self._pull()) is not None:
            if isinstance(event, SealedEvent) and event.call.error is None:
                return event.call.value
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def _each(self) -> AsyncIterator[Event[T]]:
        while (event := await self._pull()) is not None:
            yield event

    async def _pull(self) -> Event[T] | None:
        """Return the next event, None at the end."""
        if cast("Any", self._events).ag_running:
            raise UsageError(_BUSY)
        event = self._take(await anext(self._events, None))
        return event or self._take(await anext(self._events, None))  # behind the result the connection is closed
