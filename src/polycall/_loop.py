"""An event loop beside blocking code. A file of its own, as importing asyncio costs more than importing polycall."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import Any, Final

from polycall.provider import Late

__all__ = ["Loop", "within"]

_PATIENCE: Final = 1.0


class Loop:
    """An event loop in a thread of its own: for what has to be awaited, whatever loop the calling thread may have."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="polycall", daemon=True).start()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def start(self, work: Callable[[], Any], timeout: float | None) -> futures.Future[Any]:
        """Call a function and await what it gives."""
        return asyncio.run_coroutine_threadsafe(within(timeout, work), self._loop)

    def close(self) -> None:
        """Cancel what is not done, and end the thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=_PATIENCE)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)


async def within(seconds: float | None, work: Callable[[], Awaitable[Any]]) -> Any:
    """Await what a function gives.

    Raises:
        Late: It took longer; None sets no limit.
    """
    if seconds is None:
        return await work()
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await work()
    except TimeoutError:
        if scope.expired():
            raise Late from None
        raise
