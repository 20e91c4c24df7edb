"""A conversation, OpenAI-shaped or Anthropic's own -> Anthropic's system prompt and messages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from zlib import crc32

from pydantic_core import from_json

from polycall._messages import Asked, Media, Native, Part, Spoken, Text, Told, plain, read_conversation
from polycall._tools import legal_name
from polycall.errors import UsageError
from polycall.formats._sendable import sendable
from polycall.types import JsonObject, Message, is_mapping, is_object, is_sequence

__all__ = ["is_kind", "legal_id", "read_input", "write_conversation"]

Content: TypeAlias = "str | list[JsonObject]"

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9_-]")
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_ALSO_OTHERS: Final = frozenset({"text", "thinking"})
"""Blocks that others have under the same names; their thoughts are not signed, and would be refused."""
_OPENAI: Final = frozenset(
    {"image_url", "input_image", "input_audio", "input_text", "output_text", "file", "input_file", "refusal"}
)
_PDF: Final = "application/pdf"


def write_conversation(messages: Sequence[Message], system: object) -> tuple[Content | None, list[JsonObject]]:
    """Return the system prompt, None where there is none, and the messages, users and assistants in turns.

    The results of calls come first in the user's message that holds them, as the service wants it. The ``system`` option comes
    before what the messages have of that role.

    Source: Anthropic's API reference, "Messages"; its guide "Handle tool calls".

    Raises:
        UsageError: A message cannot be said there.
    """
    prompts: list[Content] = [_prompt(system)] if system else []
    turns: list[tuple[str, Content]] = []
    for one in read_conversation(messages, _is_native, "Anthropic"):
        role, content = _native(one.message) if isinstance(one, Native) else (one.role, _said(one))
        if not content:
            continue  # an empty message is refused
        if role == "system":
            if not isinstance(content, str) and any(block.get("type") != "text" for block in content):
                raise UsageError("Anthropic takes nothing but text as a system message: put the rest into a message of the user")
            prompts.append(content)
        elif turns and turns[-1][0] == role:
            turns[-1] = (role, [*_blocks(turns[-1][1]), *_blocks(content)])
        else:
            turns.append((role, content))
    if not turns:
        raise UsageError("there is nothing to answer: Anthropic wants a message of the user beside the system's")
    return _joined(prompts), [{"role": role, "content": _results_first(content)} for role, content in turns]


def legal_id(call_id: str) -> str:
    """Return the id of a call where the service takes it, else a legal one that stands for it alone."""
    plain = _ILLEGAL.sub("_", call_id)
    return plain if plain and plain == call_id else f"{plain}_{crc32(call_id.encode('utf-16', 'surrogatepass')):08x}"


def read_input(arguments: str) -> JsonObject:
    """Return the arguments of a call as the object that is sent; what is none is shown within one."""
    try:
        value = from_json((arguments or "{}").encode(), allow_inf_nan=False)
    except ValueError:
        value = None
    return value if is_object(value) and sendable(value) == value else {"invalid_arguments": arguments}


def is_kind(kind: object) -> bool:
    """Whether this can be the type of a block, and is none of OpenAI's parts."""
    return isinstance(kind, str) and kind != "" and kind not in _OPENAI


def _is_native(message: Mapping[str, Any]) -> bool:
    """Whether the content is blocks that OpenAI has no other words for; text is written the same by both."""
    content: Any = message.get("content")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES or message.get("tool_calls") or not is_sequence(content):
        return False
    kinds = [_field(part, "type") for part in content]
    if not all(map(is_kind, kinds)):
        return False
    signed = all(kind != "thinking" or _field(part, "signature") is not None for part, kind in zip(content, kinds, strict=True))
    return signed or not _ALSO_OTHERS.issuperset(kinds)


def _field(part: Any, name: str) -> Any:
    return part.get(name) if is_mapping(part) else getattr(part, name, None)


def _native(message: Mapping[str, Any]) -> tuple[str, list[JsonObject]]:
    blocks = [plain(block) for block in message["content"]]
    return _ROLES[message["role"]], [block for block in blocks if block.get("type") != "text" or _is_filled(block.get("text"))]


def _is_filled(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _said(spoken: Spoken) -> Content:
    """Write a message; text of nothing but white space is left out, which the service refuses."""
    parts = _filled(spoken.parts)
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_block(part) for part in parts]


def _filled(parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if not isinstance(part, Text) or _is_filled(part.text)]


def _block(part: Part) -> JsonObject:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Asked():
            name = legal_name(part.name)
            return {"type": "tool_use", "id": legal_id(part.id), "name": name, "input": read_input(part.arguments)}
        case Told():
            media = any(isinstance(one, Media) for one in part.parts)
            content = [_block(one) for one in _filled(part.parts)] if media else part.text
            return {"type": "tool_result", "tool_use_id": legal_id(part.id), "content": content}
        case _:
            return _image(part) if part.kind == "image" else _document(part)


def _image(media: Media) -> JsonObject:
    if media.data is not None:
        source = {"type": "base64", "media_type": media.mime or "image/png", "data": media.data}
    else:
        source = _elsewhere(media)
    return {"type": "image", "source": source}


def _document(media: Media) -> JsonObject:
    """Write a file as a document: a PDF, or text.

    Raises:
        UsageError: It is neither, or a sound.
    """
    if media.kind == "audio":
        raise UsageError("Anthropic takes no sound: leave it out, or send its text")
    mime = media.mime or (_PDF if media.name is None or media.name.lower().endswith(".pdf") else "text/plain")
    source: JsonObject
    if media.data is None:
        source = _elsewhere(media)
    elif mime == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": media.data}
    elif mime.startswith("text/") or mime == "application/json":
        try:
            text = base64.b64decode(media.data).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise UsageError("a text file for Anthropic is no base 64 of UTF-8") from None
        source = {"type": "text", "media_type": "text/plain", "data": text}
    else:
        message = f"Anthropic takes PDF and text files, not {mime}: send its text, or upload it and give its file_id"
        raise UsageError(message)
    return {"type": "document", "source": source, **({"title": media.name} if media.name else {})}


def _elsewhere(media: Media) -> JsonObject:
    if media.id is not None:
        return {"type": "file", "file_id": media.id}
    if media.url is None or not media.url.startswith(("https://", "http://")):
        message = f"Anthropic takes {media.kind}s as data:...;base64,..., by an https address, or by file_id"
        raise UsageError(message)
    return {"type": "url", "url": media.url}


def _prompt(system: object) -> Content:
    if isinstance(system, str):
        return system
    if is_sequence(system):
        return [{"type": "text", "text": block} if isinstance(block, str) else plain(block) for block in system]
    raise UsageError("system is a text, or a list of text blocks")


def _joined(prompts: Iterable[Content]) -> Content | None:
    given = list(prompts)
    texts = [prompt for prompt in given if isinstance(prompt, str)]
    if len(texts) == len(given):
        return "\n\n".join(texts) or None
    return [block for prompt in given for block in _blocks(prompt)]


def _blocks(content: Content) -> list[JsonObject]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _results_first(content: Content) -> Content:
    if isinstance(content, str) or not any(block.get("type") == "tool_result" for block in content):
        return content
    return sorted(content, key=lambda block: block.get("type") != "tool_result")
