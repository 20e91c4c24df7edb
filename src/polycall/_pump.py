"""The blocking pump: it drives a flow and carries its effects out; `_pump_asyncio` is its twin, effect by effect.

The pumps are the only places of the core that block, await or start threads.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from polycall._effects import Close, Do, Driving, Effect, Finished, First, Flow, Open, Read, Start, Task
from polycall.errors import TransportError
from polycall.provider import Late, Reply, Waiting

if TYPE_CHECKING:
    from concurrent import futures

    from polycall._loop import Loop

R = TypeVar("R")

CLOSED: Final = "the stream was closed before the answer was complete"


def pump(flow: Flow[R], world: Blocking | None = None) -> Generator[Any, None, None]:
    """Drive a flow, blocking: yield its events, and last `Finished`. Closing this iterator closes the flow and its replies.

    Args:
        flow: What to drive.
        world: What carries its effects out; give one to be able to close it while another thread waits for the next event.
    """
    world = world or Blocking()
    try:
        yield from _drive(flow, world)
    finally:
        world.close()


def _drive(flow: Flow[R], world: Blocking) -> Generator[Any, None, None]:
    driving = Driving(flow)
    try:
        while not isinstance(item := driving.step(), Finished):
            if isinstance(item, Effect):
                try:
                    driving.give(world.carry_out(item))
                except Exception as error:  # noqa: BLE001  # raised again, inside the flow
                    driving.fail(error)
            else:
                yield item
        yield item
    finally:
        driving.close()


class Blocking:
    """Carries effects out in the calling thread; what is started beside runs in threads of its own."""

    def __init__(self) -> None:
        """Start with nothing open."""
        self._replies: list[Reply] = []
        self._opening: list[Waiting] = []
        self._gone = threading.Event()
        self._idle: list[Worker] = []
        self._wakers: list[futures.Future[None]] = []
        self._loop: Loop | None = None

    def carry_out(self, effect: Effect) -> Any:  # noqa: PLR0911  # one for each effect
        """Do what the effect asks and return what it gives."""
        match effect:
            case Read():
                return self._read(effect)
            case Open():
                return self._open(effect)
            case Close(reply):
                return self._let_go(reply)
            case Do(work, timeout, awaits):
                return self._do(work, timeout, awaits=awaits)
            case Start(what):
                return self._start(what)
            case First(tasks, timeout):
                return self._first(tasks, timeout)
            case _:
                self._gone.wait(effect.seconds)  # and not past the end of the stream
        return None

    def close(self) -> None:
        """Let go of all replies and of what is being opened, from any thread; may be called twice."""
        self._gone.set()
        for waiting in tuple(self._opening):
            waiting.cancel()
        for woken in tuple(self._wakers):
            with suppress(Exception):  # closed twice at once
                woken.set_result(None)
        for reply in tuple(self._replies):
            reply.close()
        self._dismiss()
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _open(self, effect: Open) -> Reply:
        if self._gone.is_set():
            raise TransportError(CLOSED)
        if not effect.at_once:
            return cast("Reply", self._within(effect.timeout, lambda: self._opened(effect.open(effect.send()))))
        waiting: Waiting = effect.send()
        self._opening.append(waiting)
        if self._gone.is_set():
            waiting.cancel()
        try:
            return self._opened(effect.open(waiting.get(effect.timeout)))
        except BaseException:
            waiting.cancel()
            raise
        finally:
            self._opening.remove(waiting)

    def _read(self, effect: Read) -> Any:
        if isinstance(effect.reply.chunks, Waiting):
            return effect.reply.chunks.get(effect.timeout)
        chunks = cast("Iterator[Any]", effect.reply.chunks)
        return self._within(effect.timeout, lambda: next(chunks, None))

    def _opened(self, reply: Reply) -> Reply:
        self._replies.append(reply)
        if self._gone.is_set():  # left behind at a deadline
            reply.close()
        return reply

    def _let_go(self, reply: Reply) -> None:
        reply.close()
        self._replies.remove(reply)

    def _within(self, timeout: float | None, work: Callable[[], Any]) -> Any:
        """Do work, in a thread that is left behind when ``timeout`` seconds are over."""
        if timeout is None:
            return work()
        worker, task = self._worker(), _future()
        worker.do(into(task, work))
        try:
            self._wait((task,), timeout)
        finally:
            if not task.done():
                worker.do(None)  # ends when it gets there
        if not task.done():
            raise TransportError(CLOSED) if self._gone.is_set() else Late
        self._free(worker)
        return task.result()

    def _begin_awaiting(self, work: Callable[[], Any], timeout: float | None) -> futures.Future[Any]:
        if self._loop is None:
            from polycall._loop import Loop

            self._loop = Loop()
        return self._loop.start(work, timeout)

    def _do(self, work: Callable[[], Any], timeout: float | None, *, awaits: bool) -> Any:
        if not awaits:
            result = self._within(timeout, work)
            if not hasattr(result, "__await__"):
                return result
            work = partial(_same, result)
        task = self._begin_awaiting(work, timeout)
        self._wait((task,), timeout)
        if self._gone.is_set():
            raise TransportError(CLOSED)
        if not task.done():
            task.cancel()
            raise Late
        return task.result()

    def _start(self, what: Effect | Generator[Effect, Any, Any]) -> futures.Future[Any]:
        if isinstance(what, Do) and what.awaits:
            return self._begin_awaiting(what.work, what.timeout)
        worker, task = self._worker(), _future()
        run = into(task, (lambda: self.carry_out(what)) if isinstance(what, Effect) else (lambda: _result(_drive(what, self))))
        worker.do(run)
        worker.do(partial(self._free, worker))
        return task

    def _first(self, tasks: tuple[Task, ...], timeout: float | None) -> Task | None:
        self._wait(tasks, timeout)
        if self._gone.is_set():
            raise TransportError(CLOSED)
        return next((task for task in tasks if task.done()), None)

    def _wait(self, tasks: tuple[Any, ...], timeout: float | None) -> None:
        """Wait until one of the tasks is done, the time is over, or the stream is closed."""
        from concurrent import futures

        woken = _future()
        self._wakers.append(woken)
        try:
            if not self._gone.is_set():
                futures.wait((*tasks, woken), timeout, futures.FIRST_COMPLETED)
        finally:
            self._wakers.remove(woken)

    def _worker(self) -> Worker:
        with suppress(IndexError):
            return self._idle.pop()
        return Worker()

    def _free(self, worker: Worker) -> None:
        self._idle.append(worker)
        if self._gone.is_set():
            self._dismiss()

    def _dismiss(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().do(None)


class Worker:
    """A thread that does one thing after another, so that a deadline costs no thread for every read."""

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._given: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="polycall", daemon=True).start()

    def do(self, work: Callable[[], object] | None) -> None:
        """Do something next; None ends the thread."""
        self._given.put(work)

    def _run(self) -> None:
        while (work := self._given.get()) is not None:
            work()
            del work


def into(task: futures.Future[Any], work: Callable[[], Any]) -> Callable[[], None]:
    """Return what does work, in the present context, and puts its outcome into a task."""
    context = contextvars.copy_context()

    def run() -> None:
        if not task.set_running_or_notify_cancel():
            return
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001  # raised where the task's result is asked for
            task.set_exception(error)
        else:
            task.set_result(result)

    return run


def _future() -> futures.Future[Any]:
    from concurrent import futures

    return futures.Future()


def _same(value: Any) -> Any:
    return value


def _result(events: Iterator[Any]) -> Any:
    *_, finished = events
    return finished.result
