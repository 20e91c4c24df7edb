"""The asyncio pump: it drives a flow and carries its effects out on the running event loop; `_pump` is its blocking twin.

It is a file of its own because importing asyncio costs more than importing polycall.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

from polycall._effects import Close, Do, Driving, Effect, Finished, First, Flow, Open, Read, Start
from polycall._loop import within
from polycall._pump import CLOSED, Worker, into
from polycall.errors import TransportError
from polycall.provider import Reply

R = TypeVar("R")

_TURN: Final = 16


async def pump_async(flow: Flow[R], *, blocking: bool = False, world: Asyncio | None = None) -> AsyncGenerator[Any, None]:
    """Drive a flow on asyncio: yield its events, and last `Finished`. Closing this iterator closes the flow and its replies.

    Args:
        flow: What to drive.
        blocking: Whether the client blocks, so that its calls and reads belong into threads.
        world: What carries the effects out; give one to be able to close it while another task waits for the next event.
    """
    world = world or Asyncio(blocking=blocking)
    driving = Driving(flow)
    try:
        while not isinstance(item := driving.step(), Finished):
            if isinstance(item, Effect):
                try:
                    driving.give(await world.carry_out(item))
                except Exception as error:  # noqa: BLE001  # raised again, inside the flow
                    driving.fail(error)
            else:
                yield item
        yield item
    finally:
        driving.close()
        await world.close()


class Asyncio:
    """Carries effects out on the running event loop; what is started beside runs as tasks."""

    def __init__(self, *, blocking: bool) -> None:
        """Start with nothing open; ``blocking`` is whether the client blocks."""
        self._blocking = blocking
        self._closed = False
        self._reads = 0
        self._waiting: set[asyncio.Task[Any]] = set()
        self._replies: list[Reply] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle: list[Worker] = []

    async def carry_out(self, effect: Effect) -> Any:
        """Do what the effect asks and return what it gives."""
        match effect:
            case Read(reply, timeout):
                return await self._till_closed(partial(within, timeout, partial(self._read, reply)))
            case Open():
                return await self._till_closed(partial(within, effect.timeout, partial(self._open, effect)))
            case Close(reply):
                self._replies.remove(reply)
                await _closed(reply)
            case Do(work, timeout, _):
                return await self._till_closed(partial(within, timeout, partial(_settled, work)))
            case Start(what):
                return self._start(what)
            case First(tasks, timeout):
                done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]  # made by _start
                if self._is_closed():
                    raise TransportError(CLOSED)
                return next((task for task in tasks if task in done), None)
            case _:
                await self._till_closed(partial(asyncio.sleep, effect.seconds))
        return None

    async def close(self) -> None:
        """End what was started beside and let go of all replies; may be called twice."""
        self._closed = True
        ending = {*self._tasks, *self._waiting} - {asyncio.current_task()}
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        for reply in self._replies:
            await _closed(reply)
        while self._idle:
            self._idle.pop().do(None)

    def _is_closed(self) -> bool:
        return self._closed

    async def _till_closed(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do work that ends when the stream is closed, by whichever task."""
        if self._is_closed():
            raise TransportError(CLOSED)
        waiting = asyncio.ensure_future(work())
        self._waiting.add(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.cancelled() and self._is_closed():
                raise TransportError(CLOSED) from None
            raise
        finally:
            self._waiting.discard(waiting)

    async def _open(self, effect: Open) -> Reply:
        if self._blocking:
            opened: Reply = await self._in_thread(lambda: self._opened(effect.open(effect.send())))
            return opened
        raw = effect.send()
        reply = effect.open(await raw if inspect.isawaitable(raw) else raw)
        self._replies.append(reply)
        return reply

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """Do blocking work in a thread that may be left behind: asyncio waits for its own at the end, and it has only a few."""
        worker = self._idle.pop() if self._idle else Worker()
        task: futures.Future[Any] = futures.Future()
        worker.do(into(task, work))
        try:
            return await asyncio.wrap_future(task)
        finally:
            if task.done() and not self._closed:
                self._idle.append(worker)
            else:
                worker.do(None)  # ends when it gets there

    def _opened(self, reply: Reply) -> Reply:
        self._replies.append(reply)
        if self._closed:  # a blocking call that was left behind
            reply.close()
        return reply

    async def _read(self, reply: Reply) -> Any:
        if isinstance(reply.chunks, AsyncIterator):
            self._reads += 1
            if self._reads % _TURN == 0:
                await asyncio.sleep(0)  # chunks that are there already do not wait, and nobody else would run
            return await anext(reply.chunks, None)
        chunks = cast("Iterator[Any]", reply.chunks)  # nothing that is `Waiting` is driven here
        if self._blocking:
            return await self._in_thread(lambda: next(chunks, None))
        return next(chunks, None)

    def _start(self, what: Effect | Generator[Effect, Any, Any]) -> asyncio.Task[Any]:
        work = self.carry_out(what) if isinstance(what, Effect) else _result_async(pump_async(what, blocking=self._blocking))
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain of one that was left behind


async def _settled(work: Callable[[], Any]) -> Any:
    result = work()
    return await result if inspect.isawaitable(result) else result


async def _closed(reply: Reply) -> None:
    chunks: Any = reply.chunks
    if inspect.isasyncgen(chunks):
        with suppress(RuntimeError):  # another task reads from it: that one ends with the connection
            await chunks.aclose()  # else it is left to the garbage collector, which needs a running loop for that
    closing = reply.close()
    if isinstance(closing, Awaitable):
        await closing


async def _result_async(events: AsyncIterator[Any]) -> Any:
    finished: Any = None
    async for event in events:
        finished = event
    return finished.result
