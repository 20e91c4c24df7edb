"""Messages of the older SDK of Vertex AI, which are wrapped protobuf messages, and JSON of the wire."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, cast

from polycall.types import JsonObject, Message, is_array, is_mapping, is_object, is_sequence

__all__ = ["in_order", "protobuf_json", "sdk_message", "with_integers"]

_EXACT: Final = 2.0**53  # from here on, a float may be another number than the one that was written


def sdk_message(message: Message) -> Message:
    """Return a message, the SDK's own `Content` as JSON of the wire, and so one with its `Part` in a list."""
    raw = getattr(message, "_raw_content", None)
    if raw is not None:
        return with_integers(protobuf_json(raw))
    key = "parts" if is_mapping(message) and "parts" in message else "content"
    given: Any = message.get(key) if is_mapping(message) else None
    if not is_sequence(given) or not any(hasattr(part, "_raw_part") for part in given):
        return message
    role = message.get("role") or "user"
    return with_integers({"role": "model" if role == "assistant" else role, "parts": [_part(part) for part in given]})


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"text": part}
    if is_mapping(part) and part.get("type") == "text":
        return {"text": part.get("text")}
    raw = getattr(part, "_raw_part", None)
    return part if raw is None else protobuf_json(raw)


def in_order(contents: Sequence[JsonObject]) -> list[JsonObject]:
    """Put the answers of a content into the order of the calls before it.

    The SDK's messages have no ids (those of version 1 of the API), and then nothing else says whose they are.
    """
    made: list[JsonObject] = []
    order: dict[str, int] = {}
    for content in contents:
        parts = content["parts"]
        called = [part["functionCall"] for part in parts if "functionCall" in part]
        ids = [part.get("functionResponse", {}).get("id") for part in parts]
        if called:
            order = {str(call.get("id")): number for number, call in enumerate(called)}
        elif ids and all(one in order for one in ids):
            parts = sorted(parts, key=lambda part: order[part["functionResponse"]["id"]])  # called here
        made.append({**content, "parts": parts})
    return made


def protobuf_json(message: Any) -> JsonObject:
    """Return a protobuf message as JSON of the wire, without what is not set."""
    kind = cast("Any", type(message))
    return cast("JsonObject", sys.modules["google.protobuf.json_format"].MessageToDict(kind.pb(message)))


def with_integers(content: JsonObject) -> JsonObject:
    """Write whole numbers in the arguments of calls as integers: protobuf has only floats there."""
    for part in content.get("parts", ()):
        call = part.get("functionCall", {})
        if "args" in call:
            call["args"] = _whole(call["args"])
    return content


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if is_object(value):
        return {key: _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if is_array(value) else value
