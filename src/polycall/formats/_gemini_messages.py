"""Conversations -> the contents of the generateContent format, and answers to calls into it.

Sources: Gemini's API reference, `Content` and `Part`; the guides "Function calling" (one content with all answers, in the order
of the calls) and "Thought signatures" (the word that stands for one where another model made the calls).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from mimetypes import guess_type
from typing import Any, Final

import jiter
from pydantic_core import to_json

from polycall._messages import Asked, Media, Native, Part, Spoken, Text, Told, plain, read_conversation
from polycall._tools import legal_name
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._gemini_candidate import argument_object
from polycall.formats._gemini_partial import field
from polycall.types import JsonObject, Message, is_array, is_mapping, is_object, is_sequence

__all__ = ["answers", "contents", "written_parts"]

_LONG_NUMBER: Final = re.compile(r"\d{16}")
_KINDS: Final = {"image": "image/jpeg", "audio": "audio/wav", "file": "application/octet-stream"}
_FOREIGN: Final = {"thoughtSignature": "skip_thought_signature_validator"}
_BLOBS: Final = ("inlineData", "inline_data")
_SIGNATURES: Final = ("thoughtSignature", "thought_signature")
_BARE: Final = frozenset({"text", *_BLOBS, "fileData", "file_data", "functionResponse", "function_response"})
"""The user's parts that may stand for a message: those that follow each other are one content, as the SDK has them."""


def contents(messages: Iterable[Message], *, signed: bool) -> tuple[list[JsonObject], list[JsonObject]]:
    """Return the parts of the system instruction, and the contents, of messages that are OpenAI's or Gemini's own.

    Args:
        messages: The conversation.
        signed: Whether the model wants calls signed: those in OpenAI's form, which are not, then say that they are another's.

    Raises:
        UsageError: There is nothing to answer, or a message cannot be said in this format.
    """
    system: list[JsonObject] = []
    made: list[JsonObject] = []
    names: dict[str, str] = {}
    before: str | None = None
    for message in read_conversation(messages, _is_native, "Gemini"):
        if isinstance(message, Native):
            content, kind = _native(message.message), None if "parts" in message.message else "part"
            names.update(_names(content["parts"]))
        else:
            message.without_media("Gemini")
            content, kind = _content(message, names, signed=signed)
        if content["role"] == "system":
            system += content["parts"]
        elif content["parts"]:
            if kind is not None and kind == before:
                made[-1]["parts"] += content["parts"]
            else:
                made.append(content)
            before = kind
    if not made:
        raise UsageError("there is nothing to answer: Gemini wants a message of the user beside the system's")
    return system, made


def answers(given: Sequence[Answer]) -> list[Message]:
    """Return the one content that answers the calls of a turn, with the ids that the service gave."""
    parts: list[JsonObject] = []
    for answer in given:
        response: JsonObject = {"name": legal_name(answer.call.name), "response": _response(answer.content, failed=answer.failed)}
        if "id" in answer.call.extra:
            response["id"] = answer.call.id
        parts.append({"functionResponse": response})
    return [{"role": "user", "parts": parts}]


def written_parts(given: Any) -> list[JsonObject]:
    """Return the parts of a native content, or of what stands for one: text, a part, a list of them.

    Raises:
        UsageError: It is none of these.
    """
    if isinstance(given, str):
        return [{"text": given}] if given else []
    if is_mapping(given):
        return written_parts(given["parts"]) if "parts" in given else [_coded(dict(given))]
    if hasattr(given, "model_dump"):
        return written_parts(plain(given))
    if not is_sequence(given):
        raise UsageError(f"the parts of a content are texts and mappings, not {type(given).__name__}")
    return [part for one in given for part in written_parts(one)]


def _is_native(message: Mapping[str, Any]) -> bool:
    return "parts" in message or not ({"role", "content"} & message.keys() or _BARE.isdisjoint(message))


def _native(message: JsonObject) -> JsonObject:
    """Return a content with its parts as a list, unchanged where it is one already."""
    content = message if "parts" in message else {"parts": [message]}
    return {**content, "role": content.get("role") or "user", "parts": written_parts(content["parts"])}


def _coded(part: JsonObject) -> JsonObject:
    """Write bytes in base 64, as the SDK does."""
    for name in _SIGNATURES:
        if isinstance(part.get(name), bytes):
            part[name] = b64encode(part[name]).decode()
    for name in _BLOBS:
        blob = part.get(name)
        if is_mapping(blob) and isinstance(blob.get("data"), bytes):
            part[name] = {**blob, "data": b64encode(blob["data"]).decode()}
    return part


def _names(parts: Iterable[JsonObject]) -> dict[str, str]:
    """Return the names of the calls that have ids."""
    calls = [field(part, "functionCall") for part in parts]
    return {str(call["id"]): str(call.get("name")) for call in calls if is_object(call) and call.get("id")}


def _content(message: Spoken, names: Mapping[str, str], *, signed: bool) -> tuple[JsonObject, str]:
    """Return a content, and its kind: those of one kind are joined where they follow each other."""
    told = [part for part in message.parts if isinstance(part, Told)]
    if told:
        return {"role": "user", "parts": [_told(part, names) for part in told]}, "told"
    role = "model" if message.role == "assistant" else message.role
    parts = [part for one in message.parts if (part := _part(one))]
    first = next((number for number, part in enumerate(parts) if "functionCall" in part), None)
    if signed and first is not None:
        parts[first] = {**parts[first], **_FOREIGN}
    return {"role": role, "parts": parts}, role


def _part(part: Part) -> JsonObject | None:
    if isinstance(part, Text):
        return {"text": part.text} if part.text else None
    if isinstance(part, Asked):
        return {
            "functionCall": {
                "name": legal_name(part.name),
                "args": argument_object(part.arguments),
                **({"id": part.id} if part.id else {}),
            }
        }
    return _media(part) if isinstance(part, Media) else None


def _media(media: Media) -> JsonObject:
    mime = media.mime or guess_type(media.name or (media.url or "").partition("?")[0], strict=False)[0]
    if media.data is not None:
        return {"inlineData": {"mimeType": mime or _KINDS[media.kind], "data": media.data}}
    return {"fileData": {**({"mimeType": mime} if mime else {}), "fileUri": media.url or media.id}}


def _told(told: Told, names: Mapping[str, str]) -> JsonObject:
    name = told.name or names.get(told.id, "")
    if not name:
        raise UsageError(f'the answer to the call {told.id!r} needs the tool\'s name for Gemini: give "name" in its message')
    response: JsonObject = {"name": legal_name(name), "response": _response(told.text, failed=False)}
    if told.id and told.id != told.name:
        response["id"] = told.id
    media = [made for part in told.parts if isinstance(part, Media) and (made := _media(part))]
    return {"functionResponse": {**response, **({"parts": media} if media else {})}}


def _response(text: str, *, failed: bool) -> JsonObject:
    """Return an answer as the object that it has to be: ``output`` or ``error``, structured where the text is plain JSON.

    Numbers are floating ones on the way, so that text with long ones stays text.
    """
    return {"error" if failed else "output": _structured(text)}


def _structured(text: str) -> Any:
    if text[:1] not in {"{", "["} or _LONG_NUMBER.search(text):
        return text
    try:
        parsed: Any = jiter.from_json(text.encode(), allow_inf_nan=False)
    except ValueError:
        return text
    plain = (is_object(parsed) or is_array(parsed)) and to_json(parsed).decode() == text
    return parsed if plain else text
