"""What every test gets: no network beyond this machine, no proxy, no key, asyncio as the only event loop."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# A loaded machine is no finding: how long an example takes is not judged.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_BLOCKED: list[str] = []
_LOCAL_NAMES = {"", "localhost"}
_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class NetworkUsedError(RuntimeError):
    """A test reached out of this machine."""


def _is_local(host: object) -> bool:
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return name in _LOCAL_NAMES or ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what leaves this machine, in every thread and below every library: CPython reports it before it happens."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path (AF_UNIX), or an address given before
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    if not _is_local(host):
        _BLOCKED.append(f"{event} {host!r}")
        msg = f"tests use no network: {event} {host!r}"
        raise NetworkUsedError(msg)


sys.addaudithook(_guard)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the weights of the embedded model as ``local``."""
    for item in items:
        if isinstance(item, pytest.Function) and "weights" in item.fixturenames:
            item.add_marker("local")


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Fail a test that reached out of this machine, also where a library swallowed the error."""
    yield
    blocked, _BLOCKED[:] = list(_BLOCKED), []
    assert not blocked, f"tests use no network: {blocked}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what would make a test depend on the machine: proxies, keys and addresses of model providers."""
    for name in list(os.environ):
        if name.upper() in _PROXIES or name.endswith(("_API_KEY", "_BASE_URL", "_API_BASE")):
            monkeypatch.delenv(name)


@pytest.fixture
def anyio_backend() -> str:
    """Run every async test on asyncio."""
    return "asyncio"
