"""Where the requests of a blocking client run: a thread with an event loop, so that a deadline and Ctrl-C always get through.

A blocking read of a socket can be neither interrupted nor left; a task on an event loop can.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from typing_extensions import override

from polycall._http import Key, MakePost, Response, Transport, posted
from polycall.errors import TransportError
from polycall.provider import Late, Waiting

_PATIENCE: Final = 2.0
_MOST_AT_ONCE: Final = 64 * 1024
_MOST_KEPT: Final = 1024 * 1024


class Portal:
    """Runs requests in a thread of its own, which begins with the first and ends with `close`, or with the portal itself."""

    def __init__(self, make: Callable[[], Transport]) -> None:
        """Take what makes the transport: it is made with the first request, and anew in a forked process."""
        self._make = make
        self.renew()
        _portals.add(self)

    def renew(self) -> None:
        """Begin anew, as after a fork: another thread may have held the lock, and will never let go of it."""
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._end: Callable[[], object] = lambda: None

    def open(self, key: Key, post: MakePost) -> Waiting:
        """Send one request; see `Poster`. What is returned gives the `Response` first, and then, as its ``chunks``, the body."""
        with self._lock:
            if self._running is None or not self._running.usable:
                self._running = _Running(self._make())
                self._end = weakref.finalize(self, self._running.close)
            running = self._running
            fetch = _Fetch(running.loop, partial(posted, running.transport, key, post))
            running.loop.call_soon_threadsafe(fetch.begin)
        return fetch

    def close(self) -> None:
        """End all requests, close all connections and the thread. May be called twice; a later request begins anew."""
        with self._lock:
            self._running, end = None, self._end
        end()


_portals: weakref.WeakSet[Portal] = weakref.WeakSet()


def _renew_all() -> None:
    for portal in tuple(_portals):
        portal.renew()


with suppress(AttributeError):  # Windows does not fork
    os.register_at_fork(after_in_child=_renew_all)


class _Running:
    """The thread, its loop and its transport, in the process that has made them."""

    def __init__(self, transport: Transport) -> None:
        self.loop = asyncio.new_event_loop()
        self.transport: Any = transport
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="polycall-http", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        return self._process == os.getpid() and not self.loop.is_closed()

    def close(self) -> None:
        if not self.usable:
            return  # in a forked process the thread is not there
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            while tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.transport.close())
        finally:
            self.transport = None  # pyreqwest closes its connections with the last reference
            self.loop.close()


class _Fetch(Waiting):
    """One request. What comes is kept until it is asked for, up to a point: behind that a slow reader holds up the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[], Awaitable[Response]]) -> None:
        self._loop = loop
        self._send = send
        self._come: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._here: deque[Any] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False
        self._put = self._taken = 0  # bytes; each is changed by one thread only
        self._held = False
        self._room = asyncio.Event()

    def begin(self) -> None:
        """Start the request; in the loop's thread."""
        task = self._loop.create_task(self._run())
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    @override
    def get(self, timeout: float | None) -> Any:
        if not self._here:
            try:
                self._take(self._come.get(timeout=timeout))
            except queue.Empty:
                raise Late from None
        while not self._come.empty():
            self._take(self._come.get())
        item = self._here[0]
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return None  # for ever, and so is an error
        self._here.popleft()
        return item if not isinstance(item, bytes) else self._with_more(item)

    def _take(self, come: tuple[Any, ...]) -> None:
        self._here.extend(come)
        self._taken += sum(len(item) for item in come if isinstance(item, bytes))
        if self._held:
            self._call(self._room.set)

    def _with_more(self, first: bytes) -> bytes:
        """Return what is there already as one chunk, as far as it is read before anybody looks at the clock again."""
        pieces, size = [first], len(first)
        while self._here and isinstance(self._here[0], bytes) and size < _MOST_AT_ONCE:
            pieces.append(self._here.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    @override
    def cancel(self) -> None:
        if not self._over:
            self._call(self._cancel)

    def _call(self, work: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and every request of it has ended
            self._loop.call_soon_threadsafe(work)

    def _cancel(self) -> None:
        for task in self._tasks:  # begun before, as the loop keeps the order
            task.cancel()

    async def _run(self) -> None:
        head: tuple[Response, ...] = ()
        end: BaseException | None = None
        try:
            response = await self._send()
            try:
                head = (replace(response, chunks=self, close=self.cancel),)
                async for chunk in cast("AsyncIterator[bytes]", response.chunks):
                    self._come.put((*head, chunk))  # together, as waking the other thread costs more than all the rest
                    head = ()
                    self._put += len(chunk)
                    await self._until_there_is_room()
            finally:
                await cast("Awaitable[None]", response.close())
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # raised where the next thing is asked for, be it SystemExit
            end = error
        self._over = True
        self._come.put((*head, end))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Wake the reader of a request that was cancelled, maybe before its first step."""
        if task.cancelled():
            self._over = True
            self._come.put((TransportError("the stream was closed before the answer was complete"),))

    async def _until_there_is_room(self) -> None:
        if self._put - self._taken <= _MOST_KEPT:
            return
        self._held = True  # before looking once more: what is taken from here on sets the event
        try:
            while self._is_full():
                await self._room.wait()
        finally:
            self._held = False

    def _is_full(self) -> bool:
        self._room.clear()
        return self._put - self._taken > _MOST_KEPT
