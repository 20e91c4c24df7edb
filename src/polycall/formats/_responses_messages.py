"""Messages -> the items of a Responses request, and items that go back to the service that wrote them.

Source: OpenAI's API reference, "Create a model response", `input`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from polycall._messages import Asked, Media, Native, Spoken, Text, Told, read_conversation
from polycall._tools import legal_name
from polycall.errors import UsageError
from polycall.formats._sendable import sendable
from polycall.types import JsonObject, Message, ToolCall, is_array, is_mapping, is_object, is_sequence

__all__ = ["call_item", "input_items", "not_kept", "returnable", "said_in"]

_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})
_PARTS: Final = frozenset({"input_text", "input_image", "input_file", "input_audio", "output_text"})
_FIELDS: Final = frozenset({"role", "content", "phase"})
_STATUSES: Final = ("completed", "in_progress")
_SOUNDS: Final = {"audio/mpeg": "mp3", "audio/wav": "wav"}


def input_items(messages: Iterable[Message]) -> list[JsonObject]:
    """Write a conversation as items; those that are items already stay as they are.

    Raises:
        UsageError: A message is neither OpenAI's nor an item.
    """
    items: list[JsonObject] = []
    for message in read_conversation(messages, _is_native, "the Responses API"):
        if isinstance(message, Native):
            items.append(_unparsed(message.message))
        else:
            items.extend(_written(message))
    return items


def not_kept(items: list[JsonObject]) -> list[JsonObject]:
    """Return the items behind the last one that a service has written and kept, which it shows by an id of its own."""
    last = max((place for place, item in enumerate(items) if item.get("id") and "type" in item), default=-1)
    return items[last + 1 :]


def call_item(raw: JsonObject, call: ToolCall) -> JsonObject:
    """Return the item of a call to send back: as the service wrote it, with the call's own id.

    A status that a request may not have is left out, and an id that is none.
    """
    kept = {key: value for key, value in raw.items() if key != "status" or value in _STATUSES}
    if not kept.get("id") or not isinstance(kept["id"], str):
        kept.pop("id", None)
    arguments = call.arguments or "{}"
    return {
        **kept,
        **call.extra,
        "type": "function_call",
        "call_id": call.id,
        "name": legal_name(call.name),
        "arguments": arguments,
    }


def returnable(items: Sequence[JsonObject], *, stored: bool) -> list[Message]:
    """Return the items of a turn as the service will take them back.

    A service looks a thought up by its id, unless it comes with it. One that it did not keep is left out, and with it the ids of
    what followed, which would ask for it; so is one that nothing follows. Sources: OpenAI's guide "Reasoning models"; recorded
    without ``encrypted_content`` by azure-responses with ``store`` false.

    Args:
        items: The items, in order.
        stored: Whether the service has kept the whole response.
    """
    kept = list(items)
    while kept and kept[-1].get("type") == "reasoning":
        kept.pop()
    found = [item for item in kept if stored or item.get("type") != "reasoning" or _is_whole(item)]
    return [sendable(item) for item in (found if len(found) == len(kept) else map(_alone, found))]


def _is_whole(reasoning: JsonObject) -> bool:
    return bool(reasoning.get("encrypted_content") or reasoning.get("content"))


def _alone(item: JsonObject) -> JsonObject:
    """Return an item without its id, where it can be without one."""
    if item.get("type") in {"function_call", "custom_tool_call"}:
        return {key: value for key, value in item.items() if key != "id"}
    if item.get("type") != "message":
        return item
    text = "".join(part for _, part in said_in(item))
    phase = {"phase": item["phase"]} if item.get("phase") else {}
    return {"role": "assistant", "content": text, **phase}


def said_in(message: JsonObject) -> Iterator[tuple[bool, str]]:
    """Yield the texts of a message item, each with whether it refuses."""
    content = message.get("content")
    if isinstance(content, str):
        yield False, content
    for part in content if is_array(content) else ():
        if not is_object(part):
            continue
        refuses = part.get("type") == "refusal"
        text = part.get("refusal" if refuses else "text")
        if isinstance(text, str) and text:
            yield refuses, text


def _is_native(message: Mapping[str, Any]) -> bool:
    """Whether a message is an item, or a message that both formats write alike."""
    if isinstance(message.get("type"), str):
        return "stop_reason" not in message  # which Anthropic's answers have
    if "role" not in message:
        return "id" in message
    content = message.get("content")
    parts: Sequence[Any] = content if is_sequence(content) and content else (None,)
    plain = isinstance(content, str) or all(is_mapping(part) and part.get("type") in _PARTS for part in parts)
    return plain and message["role"] in _ROLES and message.keys() <= _FIELDS


def _unparsed(item: JsonObject) -> JsonObject:
    """Return an item without what the openai SDK's ``parse`` has made of it, which no service takes."""
    item = {key: value for key, value in item.items() if key != "parsed_arguments"}
    content = item.get("content")
    if is_array(content) and any(is_object(part) and "parsed" in part for part in content):
        item["content"] = [
            {key: value for key, value in part.items() if key != "parsed"} if is_object(part) else part for part in content
        ]
    return item


def _written(spoken: Spoken) -> Iterator[JsonObject]:
    content = [part for part in spoken.parts if isinstance(part, Text | Media)]
    if content and spoken.role == "assistant":
        if any(isinstance(part, Media) for part in content):
            raise UsageError("the Responses API takes nothing but text as the words of the assistant")
        yield {"role": "assistant", "content": spoken.text}
    elif content:
        yield {"role": spoken.role, "content": _content(content)}
    for part in spoken.parts:
        if isinstance(part, Asked):
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        elif isinstance(part, Told):
            yield {"type": "function_call_output", "call_id": part.id, "output": _content(part.parts)}


def _content(parts: Sequence[Text | Media]) -> str | list[JsonObject]:
    if len(parts) <= 1 and all(isinstance(part, Text) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [{"type": "input_text", "text": part.text} if isinstance(part, Text) else _media(part) for part in parts]


def _media(media: Media) -> JsonObject:
    url = media.url if media.data is None else f"data:{media.mime or 'application/octet-stream'};base64,{media.data}"
    if media.kind == "audio":
        style = _SOUNDS.get(media.mime or "", (media.mime or "").partition("/")[2])
        return {"type": "input_audio", "input_audio": {"data": media.data, "format": style}}
    if media.kind == "image":
        image = {"type": "input_image", "image_url": url, "file_id": media.id, "detail": media.detail or "auto"}
        return {key: value for key, value in image.items() if value is not None}
    place = "file_url" if media.data is None else "file_data"
    file = {"type": "input_file", place: url, "file_id": media.id, "filename": media.name}
    return {key: value for key, value in file.items() if value is not None}
