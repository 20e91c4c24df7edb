"""The blocking pump: it drives a flow and carries its effects out; `_pump_asyncio` is its twin, effect by effect.

The pumps are the only places of the core that block, await or start threads.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from polycall._effects import Close, Do, Effect, First, Flow, Open, Read, Start
from polycall.provider import Reply

if TYPE_CHECKING:
    from concurrent import futures

R = TypeVar("R")


class Finished(Generic[R]):
    """What a flow returned; the last thing that a pump yields."""

    __slots__ = ("result",)

    def __init__(self, result: R) -> None:
        """Hold the result."""
        self.result = result


class Driving(Generic[R]):
    """A flow, step by step: what both pumps share."""

    __slots__ = ("_argument", "_flow", "_resume")

    def __init__(self, flow: Flow[R]) -> None:
        """Start before the first step."""
        self._flow = flow
        self._resume: Callable[[Any], Any] = flow.send
        self._argument: Any = None

    def step(self) -> Any:
        """Resume the flow and return the effect or event that it yields, or `Finished`."""
        try:
            item = self._resume(self._argument)
        except StopIteration as stop:
            return Finished(stop.value)
        self.give(None)
        return item

    def give(self, outcome: object) -> None:
        """Send the outcome of an effect in with the next step."""
        self._resume, self._argument = self._flow.send, outcome

    def fail(self, error: Exception) -> None:
        """Raise the failure of an effect inside the flow with the next step."""
        self._resume, self._argument = self._flow.throw, error

    def close(self) -> None:
        """Close the flow where it stands."""
        self._flow.close()


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
        self._closed = False

    def carry_out(self, effect: Effect) -> Any:
        """Do what the effect asks and return what it gives."""
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
                from concurrent import futures

                done, _ = futures.wait(tasks, timeout, futures.FIRST_COMPLETED)  # type: ignore[arg-type]  # made by _start
                return next((task for task in tasks if task in done), None)
            case _:
                time.sleep(effect.seconds)
        return None

    def close(self) -> None:
        """Let go of all replies, from any thread; may be called twice."""
        self._closed = True
        for reply in self._replies:
            reply.close()

    def _opened(self, reply: Reply) -> Reply:
        self._replies.append(reply)
        if self._closed:  # left behind at a deadline
            reply.close()
        return reply

    def _start(self, what: Effect | Generator[Effect, Any, Any]) -> futures.Future[Any]:
        from concurrent import futures

        task: futures.Future[Any] = futures.Future()
        context = contextvars.copy_context()
        work = (lambda: self.carry_out(what)) if isinstance(what, Effect) else (lambda: _result(_drive(what, self)))

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


def _result(events: Iterator[Any]) -> Any:
    *_, finished = events
    return finished.result
