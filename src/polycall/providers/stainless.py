"""The SDKs that Stainless generates for services of OpenAI's chat format: groq, cerebras-cloud-sdk, together, fireworks-ai.

They are alike beside their names: the raw response is that of httpx, and arguments that `create` does not know go into
``extra_body``. Their parsed chunks are never used: cerebras types some deltas as plain mappings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from polycall._sdk import parameters, read, said
from polycall._services import OPENAI, Service
from polycall.errors import UsageError
from polycall.formats.chat import Chat
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, is_mapping, is_object

__all__ = ["StainlessChat"]

_KINDS: Final = {
    "cerebras": "types.chat.chat_completion.ChatCompletionResponse",
    "fireworks": "types.chat.completion_create_response.CompletionCreateResponse",
}
_KIND: Final = "types.chat.chat_completion.ChatCompletion"


@dataclass(frozen=True, slots=True)
class StainlessChat(Chat):
    """Chat completions through one of these SDKs; ``name`` says which."""

    service: Service = OPENAI
    name: str = "stainless"

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK for its raw response, or the coroutine of it."""
        completions = client.chat.completions
        given = {**encoded.body, **encoded.transport}
        known = parameters(completions.create)
        if more := {key: value for key, value in given.items() if known and key not in known}:
            extra: Any = given.get("extra_body") or {}
            if not is_mapping(extra):
                raise UsageError("extra_body is a mapping of names to values, merged into the body")
            given = {key: value for key, value in given.items() if key not in more} | {"extra_body": {**more, **extra}}
        return completions.with_raw_response.create(**given)

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's raw response: the bytes of a stream as they come, a whole body at once."""
        package = type(raw).__module__.rpartition(".")[0]

        def native(body: JsonObject) -> Any:
            return _made(f"{package}.{_KINDS.get(self.name, _KIND)}", body)

        whole = raw.http_response.is_closed
        return read(raw.http_response, (lambda _: _at_once(raw.parse())) if whole else native)

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an error status, which these SDKs keep whole."""
        told = said(error)
        return told["error"] if told is not None and is_object(told["error"].get("error")) else told


def _at_once(parsed: Any) -> Any:
    """Return what a response has parsed; the body of an asynchronous one is there, so that nothing waits."""
    if not hasattr(parsed, "send"):
        return parsed
    try:
        return parsed.send(None)
    except StopIteration as done:
        return done.value


def _made(path: str, body: Mapping[str, Any]) -> Any:
    """Return the SDK's object of a body; the body itself where the SDK has no such class."""
    module, _, kind = path.rpartition(".")
    made: Any = getattr(sys.modules.get(module), kind, None)
    return dict(body) if made is None else made.construct(**body)
