"""The embedded model behind the ordinary chat completions code: only the sending differs."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from polycall._services import LLAMACPP, Service
from polycall.local._model import LocalModel
from polycall.provider import Connection, Encoded, Reply, json_body
from polycall.providers.openai import OpenAIChat
from polycall.types import Request


@dataclass(frozen=True, slots=True)
class LocalChat(OpenAIChat):
    """Chat completions, answered in the process."""

    service: Service = LLAMACPP
    name: str = "local"

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        encoded = OpenAIChat.encode(self, request, stream=stream)
        encoded.body.setdefault("temperature", 0)  # a small model is right more often without chance
        return encoded

    @override
    def send(self, client: LocalModel, encoded: Encoded, *, stream: bool) -> Any:
        return client.complete(json_body(encoded), stream=stream)

    @override
    def open(self, raw: Any) -> Reply:
        def close() -> Awaitable[None] | None:
            raw.close()
            return None

        return Reply(raw, close)


def connect(model_path: str | os.PathLike[str] | None = None) -> Connection:
    """Return a connection to the embedded model, or to the GGUF file at ``model_path``; it is loaded at the first request."""
    model = LocalModel(model_path)
    return Connection(LocalChat(), model, blocking=True, close=model.close)
