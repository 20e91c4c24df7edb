"""Mistral's chat format: OpenAI's, where fields that it does not know are refused and ids have a form of their own.

Sources: Mistral's API reference and its OpenAPI description (github.com/mistralai/platform-docs-public), "Chat"; ids: "Tool call
id was ... but must be a-z, A-Z, 0-9, with a length of 9", as its service words it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256
from itertools import groupby
from typing import Any, Final

from typing_extensions import override

from polycall._messages import plain
from polycall._services import OPENAI, Service, service_named
from polycall._tools import legal_name
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats.chat import Chat, check_words
from polycall.provider import Encoded
from polycall.types import JsonObject, Message, Request, is_mapping, is_sequence

__all__ = ["MISTRAL", "MistralChat", "mistral_messages"]

MISTRAL: Final[Service] = service_named("mistral") or OPENAI
_OWN_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")
_FIELDS: Final = {
    "system": frozenset({"content"}),
    "user": frozenset({"content"}),
    "assistant": frozenset({"content", "tool_calls", "prefix"}),
    "tool": frozenset({"content", "tool_call_id", "name"}),
}
"""What it takes of a message of each role beside the role itself; it refuses all other fields."""
_ROLES: Final = {"developer": "system", "function": "tool"}


@dataclass(frozen=True, slots=True)
class MistralChat(Chat):
    """Chat completions as Mistral speaks them."""

    service: Service = MISTRAL
    name: str = "mistral"

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /v1/chat/completions``."""
        check_words(request.messages, self.name)
        messages = mistral_messages(request.messages)
        return Chat.encode(self, replace(request, messages=messages), stream=stream)

    @override
    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one ``tool`` message per call, with the name of its tool."""
        return [
            {"role": "tool", "name": legal_name(answer.call.name), "tool_call_id": answer.call.id, "content": answer.content}
            for answer in answers
        ]


def mistral_messages(messages: Iterable[Message]) -> list[JsonObject]:
    """Return a conversation as Mistral takes it: its own fields only, and ids of its form.

    Raises:
        UsageError: There is a message with a role, or a part of one, that it does not know.
    """
    given = [_plain(message) for message in messages]
    ids: dict[str, str] = {}
    taken = {one for message in given for one in _ids(message) if _OWN_ID.fullmatch(one)}
    for one in (one for message in given for one in _ids(message)):
        if one not in ids:
            ids[one] = one if _OWN_ID.fullmatch(one) else _own_id(one, taken)
    return [_message(message, number, ids) for number, message in enumerate(given)]


def _message(message: Mapping[str, Any], number: int, ids: Mapping[str, str]) -> JsonObject:
    given = message.get("role")
    name = str(given.value if isinstance(given, Enum) else given)
    role = _ROLES.get(name, name)
    if role not in _FIELDS:
        wanted = '"system", "user", "assistant" or "tool"'
        raise UsageError(f"message {number} for mistral has the role {message.get('role')!r}: write {wanted}")
    kept: JsonObject = {"role": role, **{key: value for key, value in message.items() if key in _FIELDS[role]}}
    if is_sequence(kept.get("content")):
        parts = [_part(part, number) for part in kept["content"]]
        kept["content"] = _joined(parts) if role == "assistant" else parts
    if kept.get("tool_call_id"):
        kept["tool_call_id"] = ids[str(kept["tool_call_id"])]
    if role == "assistant":
        if calls := [_call(call, ids) for call in _calls(message)]:
            kept["tool_calls"] = calls
        else:
            kept.pop("tool_calls", None)
        if not calls and kept.get("content") is None:
            kept["content"] = str(message.get("refusal") or "")
    return kept


def _call(call: JsonObject, ids: Mapping[str, str]) -> JsonObject:
    function: Any = call.get("function")
    named = {key: function[key] for key in ("name", "arguments") if key in function} if is_mapping(function) else function
    kept = {key: call[key] for key in ("type", "index") if call.get(key) is not None}
    return {**kept, **({"id": ids[str(call["id"])]} if call.get("id") else {}), "function": named}


def _joined(parts: Sequence[JsonObject]) -> list[JsonObject]:
    """Join the pieces of one thought, and of one text, that a stream has brought."""
    joined: list[JsonObject] = []
    for kind, group in groupby(parts, lambda part: part.get("type")):
        alike = list(group)
        if kind == "text" and len(alike) > 1:
            joined.append({"type": "text", "text": "".join(str(part.get("text")) for part in alike)})
        elif kind == "thinking" and len(alike) > 1:
            thoughts = [thought for part in alike if is_sequence(part.get("thinking")) for thought in part["thinking"]]
            joined.append({**alike[0], "thinking": _joined([_plain(thought) for thought in thoughts])})
        else:
            joined += alike
    return joined


def _part(part: Any, number: int) -> Any:
    """Return a part of a content; OpenAI's sounds and files are written as Mistral has them."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    given = _plain(part)
    if given.get("type") == "input_audio" and is_mapping(given.get("input_audio")):
        return {"type": "input_audio", "input_audio": given["input_audio"].get("data")}
    if given.get("type") == "refusal":
        return {"type": "text", "text": given.get("refusal") or ""}
    if given.get("type") == "file" and is_mapping(given.get("file")):
        return _file(given["file"], number)
    return given


def _file(file: Mapping[str, Any], number: int) -> JsonObject:
    if file.get("file_id"):
        return {"type": "file", "file_id": file["file_id"]}
    if not file.get("file_data"):
        raise UsageError(f"message {number} for mistral has a file without file_id or file_data")
    name = {"document_name": file["filename"]} if file.get("filename") else {}
    return {"type": "document_url", "document_url": file["file_data"], **name}


def _calls(message: Mapping[str, Any]) -> list[JsonObject]:
    calls = message.get("tool_calls")
    return [_plain(call) for call in calls] if is_sequence(calls) else []


def _plain(thing: Any) -> JsonObject:
    """Return a mapping; the SDK's own objects with their roles and types, which are there by default."""
    if is_mapping(thing) or not hasattr(thing, "model_dump"):
        return plain(thing)
    dumped: JsonObject = thing.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _ids(message: Mapping[str, Any]) -> list[str]:
    found = [call.get("id") for call in _calls(message)] if message.get("role") == "assistant" else [message.get("tool_call_id")]
    return [str(one) for one in found if one]


def _own_id(foreign: str, taken: set[str]) -> str:
    """Return an id of Mistral's form for another service's: the same in every request, so that its cache goes on to serve."""
    attempt, made = 0, ""
    while not made or made in taken:
        made = sha256(f"{attempt}{foreign}".encode(errors="replace")).hexdigest()[:9]
        attempt += 1
    taken.add(made)
    return made
