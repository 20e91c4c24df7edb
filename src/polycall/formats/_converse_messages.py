"""OpenAI-shaped messages -> those of Bedrock's Converse, and the small words that requests and answers of it share.

Sources: AWS, "Amazon Bedrock API reference", ContentBlock and SystemContentBlock, as in botocore's service model
(``tests/spec/bedrock_converse.json``); rules that the model does not state are named where they are kept.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from zlib import crc32

import jiter

from polycall._messages import Asked, Media, Native, Part, Text, read_conversation
from polycall._tools import legal_name
from polycall.errors import UsageError
from polycall.formats._sendable import sendable
from polycall.types import JsonObject, Message, is_mapping, is_object, is_sequence

__all__ = ["CONTENT", "call_block", "holds_calls", "legal_id", "read", "result_block", "system_blocks"]

CONTENT: Final = frozenset({
    "text", "image", "document", "video", "audio", "toolUse", "toolResult", "guardContent", "cachePoint", "reasoningContent",
    "citationsContent", "searchResult", "toolAddition", "toolRemoval",
})  # fmt: skip
"""The members of ContentBlock."""

_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS: Final = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav"}
_NOTHING: Final = '""'


def read(messages: Iterable[Message], *, status: bool, thoughts: bool = True) -> tuple[list[JsonObject], list[JsonObject]]:
    """Return the blocks of ``system``, and the messages.

    Roles alternate, answers to calls come first in their message, and no text is blank: the service refuses what breaks one of
    these rules ("roles must alternate", "the text field is blank"). Without ``status``, answers to calls say nothing of failures;
    without ``thoughts``, the model's are left out (DeepSeek's are refused; github.com/langchain-ai/langchain-aws/issues/401).
    """
    system: list[JsonObject] = []
    turns: list[tuple[str, list[JsonObject]]] = []
    for spoken in read_conversation(messages, _is_native, "Bedrock"):
        if isinstance(spoken, Native):
            role, blocks = str(spoken.message.get("role")), [_wire(block) for block in spoken.message["content"]]
            blocks = blocks if status else [_without_status(block) for block in blocks]
            blocks = [block for block in blocks if thoughts or "reasoningContent" not in block]
        else:
            spoken.without_media("Bedrock")
            role, blocks = spoken.role, [block for part in spoken.parts for block in _blocks(part)]
        if role == "system":
            system += blocks
        elif turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    return system, [{"role": role, "content": _ordered(role, blocks)} for role, blocks in turns]


def system_blocks(system: object) -> list[JsonObject]:
    """Return what was given as ``system=``: a text, or the service's blocks.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(system, str):
        return [{"text": system}] if system.strip() else []
    if is_sequence(system) and all(isinstance(one, str) or is_mapping(one) for one in system):
        return [{"text": one} if isinstance(one, str) else dict(_wire(one)) for one in system]
    raise UsageError('system= is a text, or a list of blocks like {"text": "..."}')


def holds_calls(messages: Iterable[JsonObject]) -> bool:
    """Whether there are calls or answers to calls among messages: then the service wants ``toolConfig``."""
    return any("toolUse" in block or "toolResult" in block for message in messages for block in message["content"])


def call_block(call_id: str, name: str, arguments: str) -> JsonObject:
    """Return a call as a block; arguments that are no JSON object are put into one."""
    return {"toolUse": {"toolUseId": legal_id(call_id), "name": legal_name(name), "input": _object(arguments)}}


def result_block(call_id: str, content: list[JsonObject], *, failed: bool = False) -> JsonObject:
    """Return the answer to a call as a block.

    A success is not named: ``status`` is for Claude's and Nova's models (API reference, ToolResultBlock).
    """
    block: JsonObject = {"toolUseId": legal_id(call_id), "content": [_filled(one) for one in content] or [{"text": _NOTHING}]}
    return {"toolResult": {**block, "status": "error"} if failed else block}


def legal_id(given: str) -> str:
    """Return an id where the service takes it, else a legal one that stands for it alone (ToolUseId's pattern)."""
    if _ID.fullmatch(given):
        return given
    plain = re.sub(r"[^a-zA-Z0-9_.:-]", "_", given)[:55]
    return f"{plain}-{crc32(given.encode('utf-16', 'surrogatepass')):08x}"


def _is_native(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return (
        is_sequence(content)
        and bool(content)
        and all(is_mapping(part) and "type" not in part and not CONTENT.isdisjoint(part) for part in content)
    )


def _ordered(role: str, blocks: list[JsonObject]) -> list[JsonObject]:
    """Put answers to calls first, as Claude's models want them; an assistant's are those of the service's own tools."""
    return sorted(blocks, key=lambda block: "toolResult" not in block) if role == "user" else blocks


def _without_status(block: JsonObject) -> JsonObject:
    result: Any = block.get("toolResult")
    if not is_object(result):
        return block
    return {"toolResult": {key: value for key, value in result.items() if key != "status"}}


def _wire(value: Any) -> Any:
    """Write the bytes in a block of boto3 as they are in JSON."""
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    if is_mapping(value):
        return {key: _wire(one) for key, one in value.items()}
    return [_wire(one) for one in value] if is_sequence(value) else value


def _blocks(part: Part) -> Iterator[JsonObject]:
    match part:
        case Text(text):
            if text.strip():
                yield {"text": text}
        case Media():
            yield _media(part)
        case Asked():
            yield call_block(part.id, part.name, part.arguments)
        case _:
            content = [{"text": one.text} if isinstance(one, Text) else _media(one) for one in part.parts]
            yield result_block(part.id, content)


def _filled(block: JsonObject) -> JsonObject:
    """Return a block of an answer with something in it: a blank text is refused there as well."""
    text = block.get("text")
    return {"text": _NOTHING} if isinstance(text, str) and not text.strip() else block


def _media(media: Media) -> JsonObject:
    mime = (media.mime or "").lower()
    source = _source(media)
    match media.kind:
        case "image":
            return {"image": {"format": _format(_IMAGES, mime, media, "image"), "source": source}}
        case "audio":
            return {"audio": {"format": _SOUNDS.get(mime, mime.removeprefix("audio/")), "source": source}}
        case _:
            name = re.sub(r"[^a-zA-Z0-9()\[\]-]+", " ", (media.name or "").rpartition(".")[0] or media.name or "").strip()
            return {
                "document": {
                    "format": _format(_DOCUMENTS, mime, media, "file"),
                    "name": name[:200] or "document",
                    "source": source,
                }
            }


def _source(media: Media) -> JsonObject:
    if media.data is not None:
        return {"bytes": media.data}
    if media.url is not None and media.url.startswith("s3://"):
        return {"s3Location": {"uri": media.url}}
    message = f"Bedrock fetches no {media.kind}: give it in base 64, as a URL of the kind data:...;base64,..., or as s3://..."
    raise UsageError(message)


def _format(known: Mapping[str, str], mime: str, media: Media, kind: str) -> str:
    ending = (media.name or media.url or "").rpartition(".")[2].lower()
    found = known.get(mime) or {"jpg": "jpeg"}.get(ending, ending)
    if found not in known.values():
        raise UsageError(
            f"Bedrock takes no {kind} of the type {media.mime or ending or 'unknown'!r}: convert it, or say its type"
        )
    return found


def _object(arguments: str) -> JsonObject:
    try:
        parsed: Any = jiter.from_json(arguments.encode(), allow_inf_nan=False) if arguments.strip() else {}
    except ValueError:
        parsed = None
    return parsed if is_object(parsed) and sendable(parsed) == parsed else {"invalid_arguments": sendable(arguments)}
