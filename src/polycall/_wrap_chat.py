"""The ways to wrap a client whose SDK speaks OpenAI's formats, or nearly so. No SDK is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from polycall._services import service_at, service_named
from polycall._wrapping import check, kind_of, wrapped
from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import UsageError
from polycall.provider import Provider

if TYPE_CHECKING:
    from collections.abc import Callable

    import cerebras.cloud.sdk as cerebras
    import fireworks
    import groq
    import huggingface_hub
    import mistralai.client as mistralai
    import openai
    import together

__all__ = [
    "from_cerebras",
    "from_fireworks",
    "from_groq",
    "from_huggingface",
    "from_litellm",
    "from_mistral",
    "from_openai",
    "from_together",
]

Api: TypeAlias = Literal["chat", "responses"]


# fmt: off
@overload
def from_openai(client: openai.OpenAI, mode: Mode | None = None, *, api: Api = "chat", model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_openai(client: openai.AsyncOpenAI, mode: Mode | None = None, *, api: Api = "chat", model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_openai(
    client: Any, mode: Mode | None = None, *, api: Api = "chat", model: str | None = None, **defaults: Any
) -> Client | AsyncClient:
    """Wrap a client of the openai SDK: `OpenAI`, `AsyncOpenAI`, the Azure ones, their subclasses, with any ``base_url``.

    Args:
        client: The SDK's client. It stays yours: polycall never closes it, and its own retries and timeouts go on to hold.
        mode: Optional; only checked to fit.
        api: ``"chat"`` for chat completions, ``"responses"`` for the Responses API.
        model: The model to ask when a call names none.
        **defaults: Arguments for every call, polycall's or the SDK's.

    Returns:
        An `AsyncClient` for an asynchronous client, else a `Client`.

    Raises:
        UsageError: ``client`` is no client of the openai SDK.
    """
    is_async = check(client, "openai", "from_openai", "openai.OpenAI() or openai.AsyncOpenAI()", "chat")
    from polycall.providers import openai as sdk

    if api not in {"chat", "responses"}:
        raise UsageError(f'api={api!r} is not understood: write api="chat" or api="responses"')
    service = service_at(str(client.base_url))
    provider: Provider = sdk.OpenAIChat(service) if api == "chat" else sdk.OpenAIResponses(service)
    return wrapped(provider, client, mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_groq(client: groq.Groq, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_groq(client: groq.AsyncGroq, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_groq(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the groq SDK; see `from_openai`."""
    is_async = check(client, "groq", "from_groq", "groq.Groq() or groq.AsyncGroq()", "chat")
    return _like_openai(client, "groq", mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_cerebras(client: cerebras.Cerebras, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_cerebras(client: cerebras.AsyncCerebras, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_cerebras(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the cerebras-cloud-sdk; see `from_openai`."""
    is_async = check(client, "cerebras", "from_cerebras", "cerebras.cloud.sdk.Cerebras() or AsyncCerebras()", "chat")
    return _like_openai(client, "cerebras", mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_together(client: together.Together, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_together(client: together.AsyncTogether, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_together(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the together SDK; see `from_openai`."""
    is_async = check(client, "together", "from_together", "together.Together() or together.AsyncTogether()", "chat")
    return _like_openai(client, "together", mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_fireworks(client: fireworks.Fireworks, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_fireworks(client: fireworks.AsyncFireworks, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_fireworks(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the fireworks-ai SDK; see `from_openai`."""
    is_async = check(client, "fireworks", "from_fireworks", "fireworks.Fireworks() or fireworks.AsyncFireworks()", "chat")
    return _like_openai(client, "fireworks", mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_huggingface(client: huggingface_hub.InferenceClient, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_huggingface(client: huggingface_hub.AsyncInferenceClient, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_huggingface(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap an `InferenceClient` of huggingface_hub; see `from_openai`."""
    wanted = "huggingface_hub.InferenceClient() or AsyncInferenceClient()"
    is_async = check(client, "huggingface_hub", "from_huggingface", wanted, "chat_completion")
    from polycall.providers.huggingface_hub import HuggingFace

    return wrapped(HuggingFace(), client, mode, model or client.model, defaults, is_async=is_async)


def from_litellm(
    client: Callable[..., Any], mode: Mode | None = None, *, model: str | None = None, **defaults: Any
) -> Client | AsyncClient:
    """Wrap ``litellm.completion``, or ``litellm.acompletion`` for an `AsyncClient`; see `from_openai`."""
    if not callable(client) or not str(getattr(client, "__module__", "")).startswith("litellm"):
        raise UsageError(f"from_litellm takes litellm.completion or litellm.acompletion, not {kind_of(client)}")
    from polycall.providers.litellm import LiteLLM

    is_async = getattr(client, "__name__", "") == "acompletion"
    return wrapped(LiteLLM(asynchronous=is_async), client, mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_mistral(client: mistralai.Mistral, mode: Mode | None = None, *, use_async: Literal[False] = False, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_mistral(client: mistralai.Mistral, mode: Mode | None = None, *, use_async: Literal[True], model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_mistral(
    client: Any, mode: Mode | None = None, *, use_async: bool = False, model: str | None = None, **defaults: Any
) -> Client | AsyncClient:
    """Wrap a client of the mistralai SDK; see `from_openai`. ``use_async=True`` gives an `AsyncClient` of the same object."""
    check(client, "mistralai", "from_mistral", "mistralai.client.Mistral(...)", "chat")
    from polycall.providers.mistralai import Mistral

    return wrapped(Mistral(asynchronous=use_async), client, mode, model, defaults, is_async=use_async)


def _like_openai(
    client: Any, name: str, mode: Mode | None, model: str | None, defaults: dict[str, Any], *, is_async: bool
) -> Client | AsyncClient:
    from polycall.providers import stainless

    service = service_named(name)
    assert service is not None  # noqa: S101  # there is a row for each of these SDKs
    return wrapped(stainless.StainlessChat(service, name), client, mode, model, defaults, is_async=is_async)
