"""A blocking client under asyncio: its threads hold nobody up."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent import futures

import pytest

import polycall
from polycall._pump import into
from support import memory
from support.chat import entry, streamed


def F(x: int) -> None:  # noqa: N802  # a tool's name
    """Do something."""


def test_a_call_that_hangs_is_left_behind():
    """Neither the deadline nor the end of the program waits for it, as they would for one of asyncio's own threads."""
    hangs = threading.Event()

    def never():
        hangs.wait(10)
        yield b""

    async def ask():
        with pytest.raises(polycall.DeadlineError):
            await memory.async_client(memory.Script(never()), blocking=True).create("?", tools=[F], timeout=0.1)

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began < 3
    hangs.set()


async def test_as_many_calls_run_at_once_as_are_made():
    many = threading.Barrier(40, timeout=10)

    def met():
        many.wait()
        yield from streamed([entry("F", '{"x": 1}')])

    clients = [memory.async_client(memory.Script(met()), blocking=True) for _ in range(40)]
    told = await asyncio.gather(*(client.stream("?", tools=[F]).result() for client in clients))
    assert [len(one) for one in told] == [1] * 40
    until = time.monotonic() + 5
    while sum(thread.name == "polycall" for thread in threading.enumerate()) >= 40 and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert sum(thread.name == "polycall" for thread in threading.enumerate()) < 40


def test_work_that_is_cancelled_before_it_begins_is_not_done():
    task = futures.Future()
    task.cancel()
    into(task, pytest.fail)()
    assert task.cancelled()
