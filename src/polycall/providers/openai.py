"""The openai SDK: its OpenAI and Azure clients, with any base URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polycall._sdk import opened, said
from polycall.formats.chat import Chat
from polycall.formats.responses import Responses
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject

__all__ = ["OpenAIChat", "OpenAIResponses"]


@dataclass(frozen=True, slots=True)
class OpenAIChat(Chat):
    """Chat completions."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK for its raw response; `LegacyAPIResponse`, or its coroutine."""
        return client.chat.completions.with_raw_response.create(**encoded.body, **encoded.transport)

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's raw response."""
        return opened(raw, "types.chat", "ChatCompletion")

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an error status."""
        return said(error)


@dataclass(frozen=True, slots=True)
class OpenAIResponses(Responses):
    """The Responses API."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK for its raw response; `LegacyAPIResponse`, or its coroutine."""
        return client.responses.with_raw_response.create(**encoded.body, **encoded.transport)

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's raw response."""
        return opened(raw, "types.responses", "Response")

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an error status."""
        return said(error)
