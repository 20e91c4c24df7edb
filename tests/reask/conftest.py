"""One server and one client of each way for all tests of re-asking; each test has a script of its own."""

from __future__ import annotations

import pytest

from polycall.testing import ModelServer
from support.reasks import MODES, WAYS, Asker, Way


@pytest.fixture(scope="session")
def shared_server():
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_ways(shared_server):
    ways: dict[str, Way] = {}

    def shared(name: str) -> Way:
        if name not in ways:
            ways[name] = Way(name, shared_server.url)
        return ways[name]

    yield shared
    for way in ways.values():
        way.close()


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture
def ask(shared_server, shared_ways, way, mode):
    yield Asker(shared_server, shared_ways(way), mode)
    shared_server.queue.clear()
    assert not shared_server.failures
