"""The embedded model behind the ordinary chat completions code: only the sending differs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pydantic_core import to_json
from typing_extensions import override

from polycall._services import LLAMACPP, Service
from polycall.local._generation import Answer
from polycall.local._model import LocalModel
from polycall.provider import Connection, Encoded, Reply, json_body
from polycall.providers.openai import OpenAIChat
from polycall.types import JsonObject, Request


@dataclass(frozen=True, slots=True)
class LocalChat(OpenAIChat):
    """Chat completions, answered in the process."""

    service: Service = LLAMACPP
    name: str = "local"

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        encoded = OpenAIChat.encode(self, request, stream=stream)
        # There is no SDK that would merge it, and neither headers nor a query.
        extra: JsonObject = encoded.transport.get("extra_body") or {}
        body = {**encoded.body, **extra}
        body.setdefault("temperature", 0)  # a small model is right more often without chance
        tools_json = to_json(body["tools"]) if "tools" in extra else encoded.tools_json
        return replace(encoded, body=body, tools_json=tools_json, transport={})

    @override
    def send(self, client: LocalModel, encoded: Encoded, *, stream: bool) -> Answer:
        return client.complete(json_body(encoded))

    @override
    def open(self, raw: Answer) -> Reply:
        return Reply(raw, raw.close)


def connect(model_path: str | os.PathLike[str] | None = None) -> Connection:
    """Return a connection to the embedded model, or to the GGUF file at ``model_path``; it is loaded at the first request."""
    model = LocalModel(model_path)
    return Connection(LocalChat(), model, blocking=True, close=model.close)
