"""The embedded model behind the ordinary chat completions code: only the sending differs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from typing_extensions import override

from polycall._services import LLAMACPP, Service
from polycall.formats.chat import Chat
from polycall.local._generation import Answer
from polycall.local._model import LocalModel
from polycall.provider import Connection, Encoded, Reply, json_body, merged
from polycall.types import JsonObject, Request


@dataclass(frozen=True, slots=True)
class LocalChat(Chat):
    """Chat completions, answered in the process."""

    service: Service = LLAMACPP
    name: str = "local"
    half_turns: bool = False  # it answers one request at a time, and would wait for the end of the stream itself

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        encoded = merged(Chat.encode(self, request, stream=stream))
        # A small model is right more often without chance. There are neither headers nor a query.
        return replace(encoded, body={"temperature": 0, **encoded.body}, transport={})

    def send(self, client: LocalModel, encoded: Encoded, *, stream: bool, timeout: float | None) -> Answer:  # noqa: ARG002  # nothing to stream, nothing to wait for
        """Start the answer."""
        return client.complete(json_body(encoded))

    def open(self, raw: Answer) -> Reply:
        """Wrap the answer."""
        return Reply(raw, raw.close)

    def said(self, error: Exception) -> JsonObject | None:  # noqa: ARG002  # it is in this process
        """Return nothing: there is no server."""
        return None


def connect(model_path: str | os.PathLike[str] | None = None) -> Connection:
    """Return a connection to the embedded model, or to the GGUF file at ``model_path``; it is loaded at the first request."""
    model = LocalModel(model_path)
    return Connection(LocalChat(), model, blocking=True, close=model.close)
