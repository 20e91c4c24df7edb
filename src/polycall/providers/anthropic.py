"""The anthropic SDK: its clients for Anthropic's own API, Amazon Bedrock, Vertex AI, Foundry and the others."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from inspect import Parameter, signature
from typing import Any, Final

from polycall._sdk import Reading, read
from polycall._sdk import said as said_by
from polycall.formats.anthropic import Anthropic
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, is_object

__all__ = ["AnthropicMessages"]

_FRAMES: Final = "application/vnd.amazon.eventstream"


@dataclass(frozen=True, slots=True)
class AnthropicMessages(Anthropic):
    """Messages."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK for its raw response: its helper for streams fails as a whole where one call is no JSON.

        What its version has no parameter for goes into ``extra_body``: ``temperature`` (since 1.0), and options newer than it.
        The SDK itself refuses answers of more than about 21,000 tokens that are not streamed, by a ValueError.
        """
        known = _parameters(client.messages.__class__.create)
        body = {key: value for key, value in encoded.body.items() if known is None or key in known}
        transport = dict(encoded.transport)
        others = {key: value for key, value in encoded.body.items() if key not in body}
        if others:
            transport["extra_body"] = {**others, **(transport.get("extra_body") or {})}
        return client.messages.with_raw_response.create(**body, **transport)

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's raw response."""
        response = raw.http_response
        reply = read(response, partial(_message, raw))
        if not str(response.headers.get("content-type", "")).startswith(_FRAMES):
            return reply
        if hasattr(response.stream, "__aiter__"):
            return replace(reply, chunks=_framed_async(raw), close=response.aclose, said=self.said)
        reading = Reading(response, _framed(raw))
        return replace(reply, chunks=reading, close=reading.close, said=self.said)

    def said(self, error: Exception) -> JsonObject | None:
        """Return what the server said with an error status, or in an event of a stream that the SDK has parsed."""
        told = said_by(error)
        inner = told["error"].get("error") if told else None
        return {"error": inner} if is_object(inner) else told


@lru_cache(maxsize=16)
def _parameters(create: Callable[..., Any]) -> frozenset[str] | None:
    """Return what the SDK takes by name; None where that cannot be seen, because somebody has wrapped it."""
    parameters = signature(create).parameters
    wrapped = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    return None if wrapped else frozenset(parameters)


def _message(raw: Any, body: JsonObject) -> Any:
    """Return the SDK's own object; the body has been read already, so that the SDK cannot."""
    message = sys.modules["anthropic.types"].Message.construct(**body)
    message._request_id = raw.headers.get("request-id")  # noqa: SLF001  # where the SDK puts it
    return message


def _framed(raw: Any) -> Iterator[JsonObject]:
    """Yield the events of AWS's binary frames, which only the SDK's own stream can read."""
    return map(_event, raw.parse())


async def _framed_async(raw: Any) -> AsyncIterator[JsonObject]:
    async for chunk in await raw.parse():
        yield _event(chunk)


def _event(chunk: Any) -> JsonObject:
    event: JsonObject = chunk.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    return event
