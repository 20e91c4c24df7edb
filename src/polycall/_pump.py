"""The two pumps: they drive a flow and carry its effects out, one blocking, one on asyncio.

A pump is the only place of the core that blocks, awaits or starts threads. Both do the same, effect by effect.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent import futures
from typing import Any, Generic, TypeVar, cast

from polycall._effects import Close, Do, Effect, First, Flow, Open, Read, Sleep, Start
from polycall.provider import Reply

R = TypeVar("R")


class Finished(Generic[R]):
    """What a flow returned; the last thing that a pump yields."""

    __slots__ = ("result",)

    def __init__(self, result: R) -> None:
        """Hold the result."""
        self.result = result


def pump(flow: Flow[R]) -> Iterator[Any]:
    """Drive a flow, blocking: yield its events, and last `Finished`. Closing this iterator closes the flow and its replies."""
    world = _Blocking()
    send: Callable[[Any], Any] = flow.send
    argument: Any = None
    try:
        while True:
            try:
                item = send(argument)
            except StopIteration as stop:
                yield Finished(stop.value)
                return
            send, argument = flow.send, None
            if isinstance(item, Effect):
                try:
                    argument = world.carry_out(item)
                except Exception as error:  # noqa: BLE001  # raised again, inside the flow
                    send, argument = flow.throw, error
            else:
                yield item
    finally:
        flow.close()
        world.close()


async def pump_async(flow: Flow[R], *, blocking: bool = False) -> AsyncIterator[Any]:
    """Drive a flow on asyncio: yield its events, and last `Finished`. Closing this iterator closes the flow and its replies.

    Args:
        flow: What to drive.
        blocking: Whether the client blocks, so that its calls and reads belong into threads.
    """
    world = _Asyncio(blocking=blocking)
    send: Callable[[Any], Any] = flow.send
    argument: Any = None
    try:
        while True:
            try:
                item = send(argument)
            except StopIteration as stop:
                yield Finished(stop.value)
                return
            send, argument = flow.send, None
            if isinstance(item, Effect):
                try:
                    argument = await world.carry_out(item)
                except Exception as error:  # noqa: BLE001  # raised again, inside the flow
                    send, argument = flow.throw, error
            else:
                yield item
    finally:
        flow.close()
        await world.close()


class _Blocking:
    """Carries effects out in the calling thread; what is started beside runs in threads of its own."""

    def __init__(self) -> None:
        self._replies: list[Reply] = []
        self._closed = False

    def carry_out(self, effect: Effect) -> Any:
        match effect:
            case Read(reply):
                return next(cast("Iterator[Any]", reply.chunks), None)
            case Open(send, open_):
                return self._opened(open_(send()))
            case Close(reply):
                reply.close()
            case Do(work):
                return work()
            case Start(what):
                return self._start(what)
            case First(tasks, timeout):
                done, _ = futures.wait(tasks, timeout, futures.FIRST_COMPLETED)  # type: ignore[arg-type]  # made by _start
                return next((task for task in tasks if task in done), None)
            case Sleep(seconds):
                time.sleep(seconds)
        return None

    def close(self) -> None:
        self._closed = True
        for reply in self._replies:
            reply.close()

    def _opened(self, reply: Reply) -> Reply:
        self._replies.append(reply)
        if self._closed:  # left behind at a deadline
            reply.close()
        return reply

    def _start(self, what: Effect | Generator[Effect, Any, Any]) -> futures.Future[Any]:
        task: futures.Future[Any] = futures.Future()
        context = contextvars.copy_context()
        work = (lambda: self.carry_out(what)) if isinstance(what, Effect) else (lambda: _result(pump(what)))

        def run() -> None:
            task.set_running_or_notify_cancel()
            try:
                result = context.run(work)
            except BaseException as error:  # noqa: BLE001  # raised where the task's result is asked for
                task.set_exception(error)
            else:
                task.set_result(result)

        threading.Thread(target=run, name="polycall", daemon=True).start()
        return task


class _Asyncio:
    """Carries effects out on the running event loop; what is started beside runs as tasks."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self._replies: list[Reply] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def carry_out(self, effect: Effect) -> Any:
        match effect:
            case Read(reply):
                return await self._read(reply)
            case Open(send, open_):
                raw = await asyncio.to_thread(send) if self._blocking else send()
                reply = open_(await raw if inspect.isawaitable(raw) else raw)
                self._replies.append(reply)
                return reply
            case Close(reply):
                await _closed(reply)
            case Do(work):
                result = work()
                return await result if inspect.isawaitable(result) else result
            case Start(what):
                return self._start(what)
            case First(tasks, timeout):
                done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]  # made by _start
                return next((task for task in tasks if task in done), None)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
        return None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for reply in self._replies:
            await _closed(reply)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _read(self, reply: Reply) -> Any:
        if isinstance(reply.chunks, AsyncIterator):
            return await anext(reply.chunks, None)
        if self._blocking:
            return await asyncio.to_thread(next, reply.chunks, None)
        return next(reply.chunks, None)

    def _start(self, what: Effect | Generator[Effect, Any, Any]) -> asyncio.Task[Any]:
        work = self.carry_out(what) if isinstance(what, Effect) else _result_async(pump_async(what, blocking=self._blocking))
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _closed(reply: Reply) -> None:
    closing = reply.close()
    if isinstance(closing, Awaitable):
        await closing


def _result(events: Iterator[Any]) -> Any:
    *_, finished = events
    return finished.result


async def _result_async(events: AsyncIterator[Any]) -> Any:
    finished: Any = None
    async for event in events:
        finished = event
    return finished.result
