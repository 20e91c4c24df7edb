"""What the ways to wrap an SDK's client share."""

from __future__ import annotations

from typing import Any

from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import UsageError
from polycall.provider import Connection, Provider

__all__ = ["check", "is_of", "kind_of", "wrapped"]


def wrapped(
    provider: Provider,
    client: Any,
    mode: Mode | None,
    model: str | None,
    defaults: dict[str, Any],
    *,
    is_async: bool,
    blocking: bool = False,
) -> Client | AsyncClient:
    """Return polycall's client around an SDK's."""
    kind = AsyncClient if is_async else Client
    return kind(Connection(provider, client, blocking=blocking), model=model, mode=mode, **defaults)


def check(client: object, package: str, function: str, wanted: str, has: str) -> bool:
    """Check that a client is of a package and has what is used of it; return whether it is an asynchronous one.

    Raises:
        UsageError: It is something else.
    """
    if not is_of(client, package) or not hasattr(client, has):
        raise UsageError(f"{function} takes {wanted}, not {kind_of(client)}")
    own = [kind for kind in type(client).__mro__ if kind.__module__.partition(".")[0] == package.partition(".")[0]]
    return any(kind.__name__.startswith("Async") or "aio" in kind.__module__.split(".") for kind in own)


def is_of(client: object, package: str) -> bool:
    """Whether an object is one of a package, which need not be imported to know that."""
    return any(kind.__module__ == package or kind.__module__.startswith(f"{package}.") for kind in type(client).__mro__)


def kind_of(client: object) -> str:
    """Return what an object is, for errors."""
    kind = client if isinstance(client, type) else type(client)
    return f"{'the class ' if kind is client else ''}{kind.__module__}.{kind.__qualname__}"
