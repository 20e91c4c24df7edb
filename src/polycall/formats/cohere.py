"""Cohere's chat format, version 2 of its API.

Sources: Cohere's API reference, "Chat", and the request types of its SDK; the service refuses fields that it does not know (422,
"unknown field"). Recordings in ``tests/wire/cohere``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic_core import to_json

from polycall._dialect_cohere import MOST_FIELDS, cohere_strict, count_fields
from polycall._dialects import Dialected, tell
from polycall._messages import Asked, Media, Native, Part, Spoken, Text, Told, read_conversation
from polycall._tools import legal_name
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._cohere_decoder import CohereDecoder
from polycall.provider import Encoded, Endpoint
from polycall.types import JsonObject, Message, Request, ToolSchema, is_mapping, is_sequence

__all__ = ["ENDPOINT", "FORMAT", "Cohere", "base_url"]

_TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body", "request_options"})
_CHOICES: Final = {"required": "REQUIRED", "none": "NONE"}
_EMPTY: Final = '""'
"""An empty text, in JSON: a message has to have a content."""
_OWN_FIELDS: Final = frozenset({"tool_plan", "citations"})
_OWN_PARTS: Final = frozenset({"thinking", "document"})


@dataclass(frozen=True, slots=True)
class Cohere:
    """The format of ``POST /v2/chat``."""

    name: str = "cohere"
    half_turns: bool = True
    raw_arguments: bool = False
    json_lines: bool = False

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /v2/chat``.

        Raises:
            UsageError: It asks for at most one call, or a message has what Cohere does not take.
        """
        if request.parallel is False:
            raise UsageError("Cohere has no switch for parallel calls: leave parallel= out, or offer the model fewer tools")
        choice = request.tool_choice
        tools = request.tools
        if choice.allowed is not None:
            tools = tuple(tool for tool in tools if tool.wire_name in choice.allowed)
        offered = _offered(tools, request.schema_strict and request.options.get("strict_tools") is not False)
        messages = list(_messages(request.messages))
        body: JsonObject = {"model": request.model, "messages": messages, "tools": offered.tools, "stream": stream}
        if offered.strict:
            body["strict_tools"] = True
        if choice.mode in _CHOICES:
            body["tool_choice"] = _CHOICES[choice.mode]
        body |= {key: value for key, value in request.options.items() if key not in _TRANSPORT}
        transport = {key: value for key, value in request.options.items() if key in _TRANSPORT}
        tools_json = offered.json if body["tools"] is offered.tools else b""
        return Encoded(body, tools_json=tools_json, transport=transport, path="/v2/chat")

    def decoder(self) -> CohereDecoder:
        """Return the reader of one response."""
        return CohereDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with the key."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one ``tool`` message per call; the format has no word for a failure."""
        return [{"role": "tool", "tool_call_id": answer.call.id, "content": answer.content or _EMPTY} for answer in answers]


def base_url(url: str) -> str:
    """Return the base URL that ``CO_API_URL`` means: without a version on the service's own hosts, as its SDK reads it."""
    own = urlsplit(url).netloc.endswith(("cohere.com", "cohere.ai"))
    return url.rstrip("/").removesuffix("/v1").removesuffix("/v2") if own else url


FORMAT: Final = Cohere()
ENDPOINT: Final = Endpoint("https://api.cohere.com", ("CO_API_KEY", "COHERE_API_KEY"), "CO_API_URL", base_url)


@dataclass(frozen=True, slots=True, eq=False)
class _Offered:
    """Tools as Cohere takes them; ``strict`` says that all of them are in its strict dialect."""

    tools: list[JsonObject]
    json: bytes
    strict: bool


@lru_cache(maxsize=512)
def _offered(tools: tuple[ToolSchema, ...], strict: bool) -> _Offered:  # noqa: FBT001  # a key of the cache
    """Write tools; strictness is one switch for all of them."""
    written = [cohere_strict(tool.schema) for tool in tools]
    refused = tuple(reason for one in written for reason in one.refused)
    if not refused and sum(count_fields(one.schema) for one in written) > MOST_FIELDS:
        refused = (f"the tools have more than {MOST_FIELDS} fields",)
    if not strict or refused or not tools:
        written = [Dialected(tool.schema, refused if strict else ()) for tool in tools]
        strict = False
    entries: list[JsonObject] = []
    for tool, dialected in zip(tools, written, strict=True):
        tell(tool.name, dialected)
        described = {"description": tool.description} if tool.description else {}
        entries.append({"type": "function", "function": {"name": tool.wire_name, **described, "parameters": dialected.schema}})
    return _Offered(entries, to_json(entries), strict)


def _is_native(message: Mapping[str, Any]) -> bool:
    """Whether a message has what only Cohere's have: a plan, citations, thinking, documents."""
    content = message.get("content")
    parts = content if is_sequence(content) else ()
    return not _OWN_FIELDS.isdisjoint(message) or any(map(_is_own, parts))


def _is_own(part: object) -> bool:
    """Whether a part is one that only Cohere writes; the thoughts of others are signed, or lists."""
    if not is_mapping(part) or part.get("type") not in _OWN_PARTS:
        return False
    return part["type"] != "thinking" or (isinstance(part.get("thinking"), str) and "signature" not in part)


def _messages(messages: Iterable[Message]) -> Iterable[JsonObject]:
    for one in read_conversation(messages, _is_native, "Cohere"):
        if isinstance(one, Native):
            yield one.message
        elif one.parts and isinstance(one.parts[0], Told):
            yield from (_told(part) for part in one.parts if isinstance(part, Told))
        elif one.parts or one.role != "assistant":  # the service takes no answer that is empty
            yield _written(one)


def _told(part: Told) -> JsonObject:
    if any(isinstance(one, Media) for one in part.parts):
        raise UsageError("Cohere takes text and documents as the result of a call: put the image into a message of the user")
    return {"role": "tool", "tool_call_id": part.id, "content": part.text or _EMPTY}


def _written(spoken: Spoken) -> JsonObject:
    message: JsonObject = {"role": spoken.role}
    content = [_part(part) for part in spoken.parts if not isinstance(part, Asked | Told)]
    calls = [part for part in spoken.parts if isinstance(part, Asked)]
    if len(content) == 1 and content[0]["type"] == "text":
        message["content"] = content[0]["text"]
    elif content or not calls:
        message["content"] = content or ""
    if calls:
        entries = [(call.id, {"name": legal_name(call.name), "arguments": call.arguments}) for call in calls]
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function} for call_id, function in entries]
    return message


def _part(part: Part) -> JsonObject:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if not isinstance(part, Media) or part.kind != "image" or not (part.url or part.data):
        kind = part.kind if isinstance(part, Media) else type(part).__name__
        raise UsageError(f"Cohere takes text and images, given as data or by their URL, and no {kind} like this one")
    url = part.url or f"data:{part.mime or 'image/png'};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url, **({"detail": part.detail} if part.detail else {})}}
