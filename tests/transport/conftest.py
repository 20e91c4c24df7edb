"""Every face of the direct transport behind one blocking method, so that one suite runs over all of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faces import FACES, Face
from support.sockets import Server

HERE = Path(__file__).parent
WAITING = {"test_slow_server_meets_the_deadline", "test_interrupt", "test_end_of_the_process_with_a_request_under_way"}
QUICK = {("pyreqwest", True), ("pyreqwest asyncio", False), ("httpx2 asyncio", True), ("own httpx2", False)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the tests that wait much, mark as ``slow`` what is not one of a few combinations."""
    for item in items:
        mine = item.path.parent == HERE
        if mine and isinstance(item, pytest.Function) and item.originalname in WAITING:
            given = item.callspec.params
            if not any(given["name"] == name and given.get("stream", stream) is stream for name, stream in QUICK):
                item.add_marker("slow")


@pytest.fixture(params=FACES)
def name(request: pytest.FixtureRequest) -> str:
    """One way to connect: a library, and whether blocking or on asyncio."""
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def connect(name: str, server: Server) -> Iterator[Callable[..., Face]]:
    """Make clients that are closed at the end; nothing of them may be left then."""
    made: list[Face] = []

    def connect(url: str | None = None, **options: Any) -> Face:
        face = Face(name, url or server.url, **options)
        made.append(face)
        return face

    yield connect
    for face in made:
        face.close()
    if not server.settled(seconds=0.1):
        gc.collect()  # the traceback of an error that was dealt with may hold pyreqwest's client
    assert server.settled(seconds=10), f"{server.open} connections are open"
