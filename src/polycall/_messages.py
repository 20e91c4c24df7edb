"""OpenAI-shaped messages -> their parts, for the formats that have words of their own for them.

Source: OpenAI's API reference, "Create chat completion", `messages`; the parts of its Responses API are understood as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from mimetypes import guess_type
from typing import Any, Final, Literal, TypeAlias, cast

from polycall._pairing import Pairing
from polycall.errors import UsageError
from polycall.types import JsonObject, Message, is_mapping, is_sequence

__all__ = ["Asked", "Media", "Native", "Part", "Role", "Spoken", "Text", "Told", "foreign", "plain", "read_conversation"]

Role: TypeAlias = Literal["system", "user", "assistant"]

_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,(.*)", re.DOTALL)
_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
}
_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})
_ANTHROPIC: Final = frozenset({"tool_use", "tool_result", "server_tool_use", "mcp_tool_use"})
_CONVERSE: Final = frozenset({"toolUse", "toolResult", "reasoningContent"})
_AUDIO: Final = {"mp3": "audio/mpeg"}


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a sound or a file: ``data`` in base 64, else its ``url``, else the ``id`` the service knows it by.

    Attributes:
        mime: Its media type; None where it is not said.
        name: The file's name; None where it is not said.
        detail: How closely the model is to look; None where it is not said.
    """

    kind: Literal["image", "audio", "file"]
    mime: str | None = None
    data: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    id: str | None = None
    name: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that the model made.

    Attributes:
        arguments: The JSON text of its arguments.
    """

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What a call is answered.

    Attributes:
        name: The tool's name; empty where no call of this id was read.
    """

    id: str
    name: str
    parts: tuple[Text | Media, ...]

    @property
    def text(self) -> str:
        """The text of it alone."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


Part: TypeAlias = Text | Media | Asked | Told


@dataclass(frozen=True, slots=True)
class Spoken:
    """One OpenAI-shaped message, taken apart. Answers to calls are the user's."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text of it alone."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def without_media(self, service: str) -> None:
        """Check that a message of the system is text alone, where the service takes no more.

        Raises:
            UsageError: It holds an image, a sound or a file.
        """
        if self.role == "system" and any(isinstance(part, Media) for part in self.parts):
            raise UsageError(f"{service} takes text alone in system messages: put the rest into a message of the user")


@dataclass(frozen=True, slots=True)
class Native:
    """A message in the format's own words."""

    message: JsonObject


def plain(message: Message) -> JsonObject:
    """Return a message as a mapping; an SDK's own object as the SDK itself would send it.

    Raises:
        UsageError: It is neither.
    """
    if is_mapping(message):
        return dict(message)
    if hasattr(message, "model_dump"):
        dumped: JsonObject = message.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
        if not (dumped.get("role") or dumped.get("type")):  # mistralai's have them by default
            dumped = message.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)
        return dumped
    name = type(message).__name__
    raise UsageError(f'a message is a mapping like {{"role": "user", "content": "..."}}, or an object of the SDK, not {name}')


def read_conversation(
    messages: Iterable[Message], is_native: Callable[[Mapping[str, Any]], bool], provider: str
) -> Iterator[Spoken | Native]:
    """Take a conversation apart, message by message.

    Args:
        messages: Mappings, or an SDK's own objects.
        is_native: Whether a message is in the format's own words, and to be left as it is.
        provider: What to call the service in errors.

    Raises:
        UsageError: A message is neither OpenAI's nor the format's own.
    """
    pairing = Pairing()
    for number, message in enumerate(messages):
        given = plain(message)
        if is_native(given):
            pairing.begin()
            yield Native(given)
            continue
        place = f"message {number} for {provider}"
        if (others := foreign(given)) is not None:
            raise UsageError(f"{place} is in the words of {others}: go on there, or write it as OpenAI's messages are written")
        yield _spoken(given, pairing, number, place)


def foreign(message: Mapping[str, Any]) -> str | None:
    """Return whose words a message is in that is none of OpenAI's; None where that cannot be seen."""
    content: Any = message.get("content")
    if "role" not in message and isinstance(message.get("type"), str):
        return "the Responses API"
    if "parts" in message and content is None:
        return "Gemini"
    for part in content if is_sequence(content) else ():
        kind = part.get("type") if is_mapping(part) else getattr(part, "type", None)
        if isinstance(kind, str) and kind in _ANTHROPIC:
            return "Anthropic"
        if is_mapping(part) and kind is None and not _CONVERSE.isdisjoint(part):
            return "Bedrock"
    return None


def _spoken(message: Mapping[str, Any], pairing: Pairing, number: int, place: str) -> Spoken:
    role, content = message.get("role"), message.get("content")
    if role in ("tool", "function"):
        call_id, name = pairing.told(
            str(message.get("tool_call_id") or ""), str(message.get("name") or message.get("tool_name") or "")
        )
        return Spoken("user", (Told(call_id, name, tuple(_parts(content, place))),))
    if not isinstance(role, str) or role not in _ROLES:
        raise UsageError(f'{place} has the role {role!r}: write "system", "user", "assistant" or "tool"')
    if message.get("images"):
        raise UsageError(f'{place} has images beside its content, as Ollama takes them: write them as parts of type "image_url"')
    said: list[Part] = [*_parts(content, place)]
    if _ROLES[role] != "assistant":
        if "content" not in message:
            raise UsageError(f"{place} has no content")
        return Spoken(_ROLES[role], tuple(said))
    pairing.begin()
    if not said:
        said += _instead(message, place)
    entries: Any = message.get("tool_calls")
    for position, entry in enumerate(entries if is_sequence(entries) else ()):
        said.append(_asked(entry, pairing, f"call_{number}_{position}", place))
    if message.get("function_call"):
        said.append(_asked({"function": message["function_call"]}, pairing, f"call_{number}", place))
    return Spoken("assistant", tuple(said))


def _instead(message: Mapping[str, Any], place: str) -> Iterator[Text]:
    """Yield what the assistant said where it has no content: it refused, or spoke."""
    sound = message.get("audio")
    transcript = sound.get("transcript") if is_mapping(sound) else None
    if message.get("refusal"):
        yield Text(str(message["refusal"]))
    elif transcript:
        yield Text(str(transcript))
    elif sound:
        raise UsageError(f"{place} has an answer in sound without its transcript: write that as its content")


def _asked(call: Any, pairing: Pairing, made: str, place: str) -> Asked:
    call = call if is_mapping(call) else plain(call)
    function = call.get("function")
    if not is_mapping(function) or not isinstance(function.get("name"), str):
        raise UsageError(
            f'{place} has a call that is not written as {{"id": ..., "function": {{"name": ..., "arguments": ...}}}}'
        )
    arguments = function.get("arguments")
    if is_mapping(arguments):
        import json

        arguments = json.dumps(arguments, ensure_ascii=False)
    name = function["name"]
    return Asked(pairing.asked(str(call.get("id") or ""), name, made), name, str(arguments or "{}"))


def _parts(content: Any, place: str) -> Iterator[Text | Media]:
    if content is None or content == "":
        return
    if isinstance(content, str):
        yield Text(content)
        return
    if not is_sequence(content):
        raise UsageError(f"{place} has a content that is neither text nor a list of parts")
    for part in cast("Sequence[Any]", content):
        if isinstance(part, str):
            yield Text(part)
            continue
        given = part if is_mapping(part) else plain(part)
        if not (isinstance(given.get("type"), str) and given["type"] in _THOUGHTS):  # which only their service takes
            yield _part(given, place)


def _part(part: Mapping[str, Any], place: str) -> Text | Media:
    kind = part.get("type")
    kind = kind if isinstance(kind, str) else None
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return Text(part["text"])
    if kind == "refusal":
        return Text(str(part.get("refusal") or ""))
    media = _media(kind, part)
    if media is None:
        raise UsageError(f"{place} has a part of type {kind!r}, which is not understood: write it in the service's own words")
    if not (media.data or media.url or media.id):
        raise UsageError(f"{place} has a part of type {kind!r} without data, URL or id")
    if media.url is not None and media.url.startswith("data:"):
        raise UsageError(f"{place} has a data: URL that is not in base 64")
    return media


def _media(kind: str | None, part: Mapping[str, Any]) -> Media | None:
    match kind:
        case "image_url" | "input_image":
            image: Any = part.get("image_url")
            inner: Mapping[str, Any] = image if is_mapping(image) else {"url": image, **part}
            return _found("image", inner.get("url"), detail=inner.get("detail"), id=part.get("file_id"))
        case "input_audio" if is_mapping(part.get("input_audio")):
            sound = part["input_audio"]
            style = str(sound.get("format") or "wav")
            return Media("audio", _AUDIO.get(style, f"audio/{style}"), sound.get("data"))
        case "file" | "input_file":
            file: Any = part.get("file")
            inner = file if is_mapping(file) else part
            data, name, file_id = (inner.get(key) for key in ("file_data", "filename", "file_id"))
            if isinstance(data, str) and data and ":" not in data:  # base 64 by itself
                return Media("file", guess_type(str(name))[0], data, name=name, id=file_id)
            return _found("file", data or inner.get("file_url"), name=name, id=file_id)
        case _:
            return None


def _found(kind: Literal["image", "file"], url: Any, **more: Any) -> Media:
    found = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if found is not None:
        return Media(kind, found[1] or None, found[2], **more)
    return Media(kind, url=url if isinstance(url, str) else None, **more)
