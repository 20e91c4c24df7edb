"""The ways to get a client: around an SDK's client, or by the name of a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from polycall._services import service_at
from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import UsageError
from polycall.provider import Connection
from polycall.providers.openai import OpenAIChat

if TYPE_CHECKING:
    import openai

__all__ = ["from_openai", "from_provider"]


@overload
def from_openai(client: openai.OpenAI, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_openai(
    client: openai.AsyncOpenAI, mode: Mode | None = None, *, model: str | None = None, **defaults: Any
) -> AsyncClient: ...
def from_openai(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the openai SDK: `OpenAI`, `AsyncOpenAI`, the Azure ones, their subclasses, with any ``base_url``.

    Args:
        client: The SDK's client. It stays yours: polycall never closes it, and its own retries and timeouts go on to hold.
        mode: Optional; only checked to fit.
        model: The model to ask when a call names none.
        **defaults: Arguments for every call, polycall's or the SDK's.

    Returns:
        An `AsyncClient` for an asynchronous client, else a `Client`.

    Raises:
        UsageError: ``client`` is no client of the openai SDK.
    """
    if not _is_of(client, "openai") or not hasattr(client, "chat"):
        message = f"from_openai takes a client of the openai SDK, openai.OpenAI() or openai.AsyncOpenAI(), not {_kind(client)}"
        raise UsageError(message)
    connection = Connection(OpenAIChat(service_at(str(client.base_url))), client, blocking=False)
    kind = AsyncClient if _is_async(client) else Client
    return kind(connection, model=model, mode=mode, **defaults)


@overload
def from_provider(
    name: str,
    *,
    async_client: Literal[False] = False,
    model_path: str | None = None,
    mode: Mode | None = None,
    **defaults: Any,
) -> Client: ...
@overload
def from_provider(
    name: str, *, async_client: Literal[True], model_path: str | None = None, mode: Mode | None = None, **defaults: Any
) -> AsyncClient: ...
def from_provider(
    name: str, *, async_client: bool = False, model_path: str | None = None, mode: Mode | None = None, **defaults: Any
) -> Client | AsyncClient:
    """Reach a model by its provider's name.

    Args:
        name: ``"local"``: the small model embedded in the process (needs ``polycall[local]``), no key and no network.
        async_client: Whether to return an `AsyncClient`.
        model_path: For ``"local"``: the path of any GGUF file to use instead of the embedded model.
        mode: Optional; only checked to fit.
        **defaults: Arguments for every call.

    Raises:
        UsageError: The provider is not known, or what it needs is not installed.
    """
    if name != "local":
        message = (
            f'from_provider({name!r}) is not known: "local" is the embedded model; for OpenAI wrap its SDK with from_openai(...)'
        )
        raise UsageError(message)
    from polycall.local import connect

    connection = connect(model_path)
    kind = AsyncClient if async_client else Client
    return kind(connection, **{"model": "local", "mode": mode, **defaults})


def _is_of(client: object, package: str) -> bool:
    return any(kind.__module__ == package or kind.__module__.startswith(f"{package}.") for kind in type(client).__mro__)


def _is_async(client: object) -> bool:
    return any(
        kind.__name__.startswith("Async") for kind in type(client).__mro__ if kind.__module__.partition(".")[0] == "openai"
    )


def _kind(client: object) -> str:
    kind = client if isinstance(client, type) else type(client)
    return f"{'the class ' if kind is client else ''}{kind.__module__}.{kind.__qualname__}"
