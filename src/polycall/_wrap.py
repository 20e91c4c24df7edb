"""The ways to wrap a client whose SDK has a format of its own. No SDK is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from polycall._wrapping import check, wrapped
from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import UsageError

if TYPE_CHECKING:
    import anthropic
    import cohere
    import ollama
    from anthropic.lib import bedrock as anthropic_bedrock
    from anthropic.lib import vertex as anthropic_vertex
    from google import genai
    from google.genai.client import AsyncClient as AsyncGenai

__all__ = [
    "from_anthropic",
    "from_bedrock",
    "from_cohere",
    "from_genai",
    "from_ollama",
    "from_vertexai",
    "from_xai",
]


# fmt: off
@overload
def from_anthropic(client: anthropic.Anthropic | anthropic_bedrock.AnthropicBedrock | anthropic_vertex.AnthropicVertex, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_anthropic(client: anthropic.AsyncAnthropic | anthropic_bedrock.AsyncAnthropicBedrock | anthropic_vertex.AsyncAnthropicVertex, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_anthropic(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the anthropic SDK, those for Bedrock, Vertex AI and Foundry among them; see `from_openai`.

    ``max_tokens``, which the service requires, is 4096 where it is not given.
    """
    is_async = check(client, "anthropic", "from_anthropic", "anthropic.Anthropic() or anthropic.AsyncAnthropic()", "messages")
    from polycall.providers.anthropic import AnthropicMessages

    return wrapped(AnthropicMessages(), client, mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_genai(client: genai.Client, mode: Mode | None = None, *, use_async: Literal[False] = False, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_genai(client: genai.Client, mode: Mode | None = None, *, use_async: Literal[True], model: str | None = None, **defaults: Any) -> AsyncClient: ...
@overload
def from_genai(client: AsyncGenai, mode: Mode | None = None, *, use_async: bool = True, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_genai(
    client: Any, mode: Mode | None = None, *, use_async: bool = False, model: str | None = None, **defaults: Any
) -> Client | AsyncClient:
    """Wrap a client of google-genai, for the Gemini API or for Vertex AI; see `from_openai`.

    ``genai.Client().aio``, or ``use_async=True``, gives an `AsyncClient`. The ``genai.Client`` is kept alive.
    """
    check(client, "google.genai", "from_genai", "genai.Client() or genai.Client().aio", "models")
    from polycall.providers.google_genai import GoogleGenai, asynchronous

    client, is_async = asynchronous(client, use_async=use_async)
    return wrapped(GoogleGenai(vertex=bool(client.vertexai)), client, mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_vertexai(client: Any, mode: Mode | None = None, *, use_async: Literal[False] = False, **defaults: Any) -> Client: ...
@overload
def from_vertexai(client: Any, mode: Mode | None = None, *, use_async: Literal[True], **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_vertexai(client: Any, mode: Mode | None = None, *, use_async: bool = False, **defaults: Any) -> Client | AsyncClient:
    """Wrap a ``vertexai.generative_models.GenerativeModel``, which knows its model; see `from_openai`.

    ``use_async=True`` gives an `AsyncClient`, which calls the SDK in threads where its transport is REST without credentials of
    the asynchronous kind.
    """
    check(client, "vertexai", "from_vertexai", "vertexai.generative_models.GenerativeModel(...)", "generate_content")
    from polycall.providers.vertexai import VertexAI, in_threads, model_name

    if "model" in defaults:
        raise UsageError("from_vertexai takes no model=: the GenerativeModel knows its own")
    threads = use_async and in_threads()
    provider = VertexAI(asynchronous=use_async and not threads)
    return wrapped(provider, client, mode, model_name(client), defaults, is_async=use_async, blocking=threads)


# fmt: off
@overload
def from_cohere(client: cohere.ClientV2 | cohere.Client, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_cohere(client: cohere.AsyncClientV2 | cohere.AsyncClient, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_cohere(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the cohere SDK; its API of version 2 is used; see `from_openai`."""
    is_async = check(client, "cohere", "from_cohere", "cohere.ClientV2() or cohere.AsyncClientV2()", "chat")
    from polycall.providers.cohere import Cohere

    return wrapped(Cohere(), client, mode, model, defaults, is_async=is_async)


# fmt: off
@overload
def from_bedrock(client: Any, mode: Mode | None = None, *, async_client: Literal[False] = False, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_bedrock(client: Any, mode: Mode | None = None, *, async_client: Literal[True], model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_bedrock(
    client: Any, mode: Mode | None = None, *, async_client: bool = False, model: str | None = None, **defaults: Any
) -> Client | AsyncClient:
    """Wrap ``boto3.client("bedrock-runtime")``; its Converse API is used; see `from_openai`.

    ``async_client=True`` gives an `AsyncClient`, which calls boto3 in threads.
    """
    check(client, "botocore", "from_bedrock", 'boto3.client("bedrock-runtime")', "converse")
    from polycall.providers.botocore import Bedrock

    return wrapped(Bedrock(), client, mode, model, defaults, is_async=async_client, blocking=True)


# fmt: off
@overload
def from_ollama(client: ollama.Client, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_ollama(client: ollama.AsyncClient, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_ollama(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the ollama SDK, which speaks Ollama's own API; see `from_openai`."""
    is_async = check(client, "ollama", "from_ollama", "ollama.Client() or ollama.AsyncClient()", "chat")
    from polycall.providers.ollama import Ollama

    return wrapped(Ollama(), client, mode, model, defaults, is_async=is_async)


class _Entered(Protocol):
    """What of ``xai_sdk.Client`` its asynchronous twin has not; mypy knows neither, the package ships no types."""

    def __enter__(self) -> Any: ...


class _EnteredAsync(Protocol):
    """What of ``xai_sdk.AsyncClient`` its blocking twin has not."""

    async def __aenter__(self) -> Any: ...


# fmt: off
@overload
def from_xai(client: _Entered, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_xai(client: _EnteredAsync, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> AsyncClient: ...
# fmt: on
def from_xai(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the xai-sdk, which speaks gRPC; see `from_openai`."""
    is_async = check(client, "xai_sdk", "from_xai", "xai_sdk.Client() or xai_sdk.AsyncClient()", "chat")
    from polycall.providers.xai_sdk import XAI

    return wrapped(XAI(), client, mode, model, defaults, is_async=is_async)
