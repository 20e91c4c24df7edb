"""LiteLLM, which is a function and no client: ``litellm.completion`` or ``litellm.acompletion``, or a router's."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from typing_extensions import override

from polycall._sdk import Parsed, parsed, shut_down, streamed
from polycall._services import OPENAI, Service, service_named
from polycall.formats.chat import Chat
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, Request, is_array, is_object

__all__ = ["LiteLLM"]

_LITELLM: Final[Service] = service_named("litellm") or OPENAI
_TRANSPORT: Final = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "base_url",
        "client",
        "custom_llm_provider",
        "fallbacks",
        "headers",
        "mock_response",
        "num_retries",
        "shared_session",
    }
)
"""Its arguments that say where and how to ask."""


@dataclass(frozen=True, slots=True)
class LiteLLM(Chat):
    """Chat completions through LiteLLM; ``asynchronous`` says which of its functions is called."""

    service: Service = _LITELLM
    name: str = "litellm"
    asynchronous: bool = False

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body; where and how LiteLLM is to ask stands beside it."""
        encoded = Chat.encode(self, request, stream=stream)
        body = {key: value for key, value in encoded.body.items() if key not in _TRANSPORT}
        own = {key: value for key, value in encoded.body.items() if key in _TRANSPORT}
        return replace(encoded, body=body, transport={**encoded.transport, **own})

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the function; its response, its stream, or the coroutine of either."""
        return client(**encoded.body, **encoded.transport)

    def open(self, raw: Any) -> Reply:
        """Wrap what came."""
        if hasattr(raw, "choices"):
            return parsed(raw, _with_refusals(_dumped(raw)))
        event = _Event(raw)
        if self.asynchronous:
            return streamed(raw, event, self.said, _native)
        chunks = _Chunks(raw, map(event, raw))
        return Reply(chunks, chunks.close, native=_native, said=self.said)

    def said(self, error: Exception) -> JsonObject | None:
        """Return what LiteLLM makes of the server's words, where the server has spoken."""
        status = getattr(error, "status_code", None)
        body: Any = getattr(error, "body", None)
        if is_object(body):
            return {"error": body}
        message = getattr(error, "message", None)
        return {"error": {"message": message, "code": status}} if status is not None and isinstance(message, str) else None


class _Event:
    """Makes an event of each chunk. LiteLLM says "stop" where a stream breaks off without a reason: that is left out."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __call__(self, chunk: Any) -> JsonObject:
        event = _dumped(chunk)
        seen = ("received_finish_reason", "intermittent_finish_reason")
        if not any(getattr(self._stream, name, True) for name in seen):
            for choice in event["choices"] if is_array(event.get("choices")) else ():
                choice["finish_reason"] = None
        return event


class _Chunks(Parsed):
    """The chunks of a blocking stream, which has no ``close`` of its own: the one that it reads from has."""

    @override
    def let_go(self) -> None:
        getattr(getattr(self._stream, "completion_stream", None), "close", _nothing)()

    @override
    def wake(self) -> None:
        with suppress(AttributeError):  # not every stream stands on httpx
            shut_down(self._stream.completion_stream.response)


def _nothing() -> None:
    """Let go of nothing."""


def _with_refusals(event: JsonObject) -> JsonObject:
    """Put refusals back to where OpenAI has them; LiteLLM sets them aside."""
    for choice in event["choices"] if is_array(event.get("choices")) else ():
        message: Any = choice.get("message")
        aside: Any = message.get("provider_specific_fields") if is_object(message) else None
        if is_object(aside) and aside.get("refusal"):
            message["refusal"] = aside["refusal"]
    return event


def _dumped(thing: Any) -> JsonObject:
    dumped: JsonObject = thing.model_dump(exclude_unset=True)
    return dumped


def _native(body: JsonObject) -> Any:
    made: Any = getattr(sys.modules.get("litellm"), "ModelResponse", None)
    return body if made is None else made(**body)
