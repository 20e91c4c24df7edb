"""The mistralai SDK: one client for blocking and asynchronous use."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any, Final

from typing_extensions import override

from polycall._sdk import parsed, read, streamed
from polycall.errors import UsageError
from polycall.formats.mistral import MistralChat
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, Request, is_object

__all__ = ["Mistral"]

_TRANSPORT: Final = frozenset({"http_headers", "retries", "server_url", "timeout_ms"})
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Mistral(MistralChat):
    """Chat completions through the SDK; ``asynchronous`` says which half of the client is called."""

    asynchronous: bool = False

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body; the SDK's own arguments stand beside it."""
        encoded = MistralChat.encode(self, request, stream=stream)
        body = {key: value for key, value in encoded.body.items() if key not in _TRANSPORT}
        own = {key: value for key, value in encoded.body.items() if key in _TRANSPORT}
        return replace(encoded, body=body, transport={**encoded.transport, **own})

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK: ``complete`` or ``stream``, or the coroutine of the asynchronous one.

        Raises:
            UsageError: The request has what the SDK cannot send.
        """
        given = {**encoded.body, **encoded.transport}
        if unknown := [key for key in ("extra_body", "extra_query") if given.pop(key, None)]:
            raise UsageError(f"the mistralai SDK sends no {' and no '.join(unknown)}: leave it out, or use from_provider")
        if headers := given.pop("extra_headers", None):
            given["http_headers"] = {**headers, **(given.get("http_headers") or {})}
        name = f"{'stream' if stream else 'complete'}{'_async' if self.asynchronous else ''}"
        call = getattr(client.chat, name)
        if self.asynchronous:
            return _rescuing(call(**given))
        try:
            return call(**given)
        except Exception as error:
            if (reply := _rescued(error)) is None:
                raise
            return reply

    def open(self, raw: Any) -> Reply:
        """Wrap what came: the bytes of a stream, because its deltas without a name break the SDK; a whole response as it is."""
        if isinstance(raw, Reply):
            return raw
        if hasattr(raw, "model_dump"):
            return parsed(raw, _dumped(raw))
        response = getattr(raw, "response", None)
        if hasattr(response, "iter_bytes") and hasattr(response, "request"):
            return read(response, _native)
        return streamed(raw, lambda event: _dumped(event.data), self.said, _native)

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an error status."""
        try:
            body = json.loads(getattr(error, "body", ""))
        except (TypeError, ValueError, RecursionError):
            return None
        if not is_object(body):
            return None
        return body if "error" in body else {"error": body}


async def _rescuing(raw: Awaitable[Any]) -> Any:
    try:
        return await raw
    except Exception as error:
        if (reply := _rescued(error)) is None:
            raise
        return reply


def _rescued(error: Exception) -> Reply | None:
    """Return the answer that the SDK could not read: one call that is not as it should be, or another content type, is enough.

    None where there is none: then the SDK's word counts.
    """
    body, status = getattr(error, "body", None), getattr(error, "status_code", None)
    if status != _OK or not isinstance(body, str):
        return None
    if not body.lstrip().startswith("data:"):
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not (is_object(answer) and answer.get("choices")):
            return None
    return Reply(iter((body.encode("utf-8", "surrogatepass"),)), lambda: None, status, native=_native)


def _dumped(thing: Any) -> JsonObject:
    """Return what the server sent: a field that it left out has a default in the SDK, like the id "null"."""
    dumped: JsonObject = thing.model_dump(by_alias=True, exclude_unset=True, warnings=False)
    return dumped


def _native(body: JsonObject) -> Any:
    """Return the SDK's own object; the body itself where it is not as the SDK wants it."""
    made: Any = getattr(sys.modules.get("mistralai.client.models"), "ChatCompletionResponse", None)
    try:
        return body if made is None else made.model_validate({"usage": {}, **body})
    except ValueError:
        return body
