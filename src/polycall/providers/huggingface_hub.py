"""The clients of huggingface_hub for inference."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from polycall._sdk import parameters, parsed, read, streamed
from polycall._services import OPENAI, Service, service_named
from polycall.errors import UsageError
from polycall.formats.chat import Chat
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, is_array, is_mapping, is_object

__all__ = ["HuggingFace"]

_HUGGINGFACE: Final[Service] = service_named("huggingface") or OPENAI


@dataclass(frozen=True, slots=True)
class HuggingFace(Chat):
    """Chat completions through an `InferenceClient`, or an asynchronous one."""

    service: Service = _HUGGINGFACE
    name: str = "huggingface"

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call ``chat_completion``, or return its coroutine; what it does not know goes into ``extra_body``.

        Raises:
            UsageError: The request has what the SDK cannot send.
        """
        given = {**encoded.body, **encoded.transport}
        extra: Any = given.pop("extra_body", None) or {}
        if not is_mapping(extra):
            raise UsageError("extra_body is a mapping of names to values, merged into the body")
        if unknown := [key for key in ("extra_headers", "extra_query") if given.pop(key, None)]:
            hint = "give headers= to its client" if unknown == ["extra_headers"] else "leave it out, or use from_provider"
            raise UsageError(f"huggingface_hub sends no {' and no '.join(unknown)}: {hint}")
        known = parameters(client.chat_completion)
        more = {key: given.pop(key) for key in tuple(given) if known and key not in known}
        if more or extra:
            given["extra_body"] = {**more, **extra}
        return client.chat_completion(**given)

    def open(self, raw: Any) -> Reply:
        """Wrap what came: the bytes of a stream where they can be had, else its chunks; a whole response as it is."""
        if isinstance(raw, Mapping):
            return parsed(raw, _dumped(raw))
        response = _response(raw)
        return streamed(raw, _dumped, self.said, _native) if response is None else read(response, _native)

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an error status, or the error that a stream has reported, which the SDK raises."""
        if not type(error).__module__.startswith("huggingface_hub"):
            return None
        response = getattr(error, "response", None)
        try:
            body = {"message": str(error)} if response is None else response.json()
        except (ValueError, RuntimeError, RecursionError):  # it is no JSON, or was never read
            return None
        return (body if "error" in body else {"error": body}) if is_object(body) else None


def _response(stream: Any) -> Any:
    """Return the response of httpx2 that a stream reads from; None where it is not found.

    The SDK gives a generator over lines, whose closing leaves the connection open until the client is closed: its response is
    a local variable of the generators, none of which has begun.
    """
    while (frame := getattr(stream, "gi_frame", None) or getattr(stream, "ag_frame", None)) is not None:
        inner = frame.f_locals
        for name in ("response", "self"):
            if hasattr(inner.get(name), "iter_bytes") and hasattr(inner.get(name), "aiter_bytes"):
                return inner[name]
        stream = next((inner[name] for name in ("lines", "output_lines") if name in inner), None)
    return None


def _dumped(thing: Any) -> Any:
    """Return an object of the SDK as it came over the wire; its own view as a mapping leaves out fields that it does not know."""
    names: Any = getattr(thing, "__dataclass_fields__", None)
    if names is not None:
        return {key: _dumped(value) for key, value in _fields(thing).items() if value is not None or key not in names}
    if is_object(thing):
        return {key: _dumped(value) for key, value in thing.items()}
    return [_dumped(one) for one in thing] if is_array(thing) else thing


def _fields(thing: Any) -> JsonObject:
    return {**vars(thing)}


def _native(body: JsonObject) -> Any:
    made: Any = getattr(sys.modules.get("huggingface_hub"), "ChatCompletionOutput", None)
    return body if made is None else made.parse_obj_as_instance(body)
