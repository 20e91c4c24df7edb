"""Ollama's own chat format.

Sources: Ollama's API reference, "Generate a chat completion", and `ChatRequest`, `Message`, `Tool` in its ``api/types.go``: no
tool choice, no switch for parallel calls, arguments as objects, results by the name of the tool and in order; newer servers give
calls an id, and take ``tool_call_id``. Recordings in ``tests/wire/ollama``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic_core import to_json

from polycall._dialect_ollama import plain_schema
from polycall._dialects import tell
from polycall._messages import Asked, Native, Part, Spoken, Text, Told, read_conversation
from polycall._tools import legal_name
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._ollama_decoder import CALL_ID, OllamaDecoder, as_object, is_base64
from polycall.provider import Encoded, Endpoint
from polycall.types import JsonObject, Message, Request, ToolSchema, is_mapping, is_sequence

__all__ = ["ENDPOINT", "FORMAT", "Ollama", "host_url", "is_base64"]

_TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body"})
_MODEL_OPTIONS: Final = {
    "max_tokens": "num_predict",
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop", "num_ctx", "num_predict")},
    **{name: name for name in ("repeat_penalty", "presence_penalty", "frequency_penalty", "repeat_last_n")},
}
"""Arguments that other services have beside the messages, and what Ollama calls them in ``options``; it ignores others."""
_OWN_FIELDS: Final = frozenset({"thinking", "images", "tool_name"})
_PORT: Final = 11434


@dataclass(frozen=True, slots=True)
class Ollama:
    """The format of ``POST /api/chat``."""

    name: str = "ollama"
    half_turns: bool = True
    raw_arguments: bool = False
    json_lines: bool = True

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /api/chat``.

        Raises:
            UsageError: It asks for at most one call, or a message has what Ollama does not take.
        """
        if request.parallel is False:
            raise UsageError("Ollama has no switch for parallel calls: leave parallel= out, or offer the model fewer tools")
        choice = request.tool_choice
        tools = () if choice.mode == "none" else request.tools  # a model that is offered nothing calls nothing
        if choice.allowed is not None:
            tools = tuple(tool for tool in tools if tool.wire_name in choice.allowed)
        offered, tools_json = _offered(tools)
        body: JsonObject = {"model": request.model, "messages": _messages(request.messages), "stream": stream}
        if offered:
            body["tools"] = offered
        given = {key: value for key, value in request.options.items() if key not in _TRANSPORT}
        named = {own: given.pop(name) for name, own in _MODEL_OPTIONS.items() if name in given}
        if isinstance(named.get("stop"), str):
            named["stop"] = [named["stop"]]  # which alone the server takes
        if named or "options" in given:
            options = given.get("options")
            given["options"] = {**named, **(dict(options) if is_mapping(options) else _set_options(options))}
        body |= given
        transport = {key: value for key, value in request.options.items() if key in _TRANSPORT}
        return Encoded(body, tools_json=tools_json if "tools" not in given else b"", transport=transport, path="/api/chat")

    def decoder(self) -> OllamaDecoder:
        """Return the reader of one response."""
        return OllamaDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with the key, which only a server behind a gateway wants, and Ollama's own in the cloud."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one ``tool`` message per call; `encode` leaves out the ids that the server did not give."""
        return [
            {"role": "tool", "tool_name": legal_name(answer.call.name), CALL_ID: answer.call.id, "content": answer.content}
            for answer in answers
        ]


def host_url(host: str) -> str:
    """Return the URL that ``OLLAMA_HOST`` means: a host, with or without a scheme and a port, as the SDK and the server read it.

    An address to listen on, ``0.0.0.0``, is one to reach on this machine.
    """
    scheme, separator, rest = host.strip().strip("\"'").partition("://")
    given, address = (scheme, rest) if separator else ("http", scheme)
    parts = urlsplit(f"//{address or '127.0.0.1'}")
    try:
        port = parts.port
    except ValueError:
        return host  # which `check_url` refuses
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")  # noqa: S104
    netloc = f"[{name}]" if ":" in name else name
    port = port if port is not None or separator else _PORT
    return f"{given}://{netloc}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


FORMAT: Final = Ollama()
ENDPOINT: Final = Endpoint("http://localhost:11434", (), "OLLAMA_HOST", host_url)


@lru_cache(maxsize=512)
def _offered(tools: tuple[ToolSchema, ...]) -> tuple[list[JsonObject], bytes]:
    """Write tools, and the same as JSON bytes; none where there are no tools."""
    entries: list[JsonObject] = []
    for tool in tools:
        dialected = plain_schema(tool.schema)
        tell(tool.name, dialected)
        described = {"description": tool.description} if tool.description else {}
        entries.append({"type": "function", "function": {"name": tool.wire_name, **described, "parameters": dialected.schema}})
    return entries, to_json(entries) if entries else b""


def _set_options(options: Any) -> dict[str, Any]:
    """Return what is set in the SDK's own `Options`."""
    return {} if options is None else dict(options.model_dump(exclude_none=True))


def _is_native(message: Mapping[str, Any]) -> bool:
    """Whether a message has what only Ollama's have: thinking, images beside the text, arguments as objects."""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if is_mapping(call)] if is_sequence(calls) else []
    objects = any(is_mapping(one) and is_mapping(one.get("arguments")) for one in functions)
    return objects or not _OWN_FIELDS.isdisjoint(message)


def _messages(messages: Iterable[Message]) -> list[JsonObject]:
    """Return a conversation as Ollama takes it: a result has the id of its call only where the call has it too."""
    made: list[JsonObject] = []
    ids: set[Any] = set()
    for one in read_conversation(messages, _is_native, "Ollama"):
        said = [_with_data(one.message)] if isinstance(one, Native) else _written(one)
        for message in said:
            calls = message.get("tool_calls")
            ids.update(call["id"] for call in (calls if is_sequence(calls) else ()) if is_mapping(call) and call.get("id"))
            lost = CALL_ID in message and message[CALL_ID] not in ids
            made.append({key: value for key, value in message.items() if key != CALL_ID} if lost else message)
    return _in_order(made)


def _in_order(messages: list[JsonObject]) -> list[JsonObject]:
    """Return messages with results in the order of their calls, by which the templates of most models tell them apart."""
    made: list[JsonObject] = []
    places: dict[Any, int] = {}
    for told, group in groupby(messages, lambda message: message.get("role") == "tool"):
        run = list(group)
        if told and all(one.get(CALL_ID) in places for one in run):
            run.sort(key=lambda one: places[one[CALL_ID]])
        calls: Any = run[-1].get("tool_calls")
        listed = [call for call in calls if is_mapping(call)] if is_sequence(calls) else []
        places = {call["id"]: place for place, call in enumerate(listed) if call.get("id")}
        made += run
    return made


def _written(spoken: Spoken) -> list[JsonObject]:
    told = [part for part in spoken.parts if isinstance(part, Told)]
    if told:
        return [
            {
                "role": "tool",
                **({"tool_name": legal_name(part.name)} if part.name else {}),
                CALL_ID: part.id,
                "content": part.text,
                **_images(part.parts),
            }
            for part in told
        ]
    message: JsonObject = {"role": spoken.role, "content": spoken.text, **_images(spoken.parts)}
    calls = [part for part in spoken.parts if isinstance(part, Asked)]
    if calls:
        entries = [(call.id, {"name": legal_name(call.name), "arguments": as_object(call.arguments)}) for call in calls]
        message["tool_calls"] = [{**({"id": call_id} if call_id else {}), "function": one} for call_id, one in entries]
    return [message]


def _with_data(message: JsonObject) -> JsonObject:
    """Return Ollama's own message with images in base 64 that are given as bytes."""
    images = message.get("images")
    if not is_sequence(images) or not any(isinstance(image, bytes) for image in images):
        return message
    return {**message, "images": [b64encode(image).decode() if isinstance(image, bytes) else image for image in images]}


def _images(parts: Iterable[Part]) -> JsonObject:
    images = [part for part in parts if not isinstance(part, Text | Asked | Told)]
    if any(part.kind != "image" or not is_base64(part.data or None) for part in images):
        raise UsageError("Ollama takes text, and images as data: give an image as data:image/png;base64,...")
    return {"images": [part.data for part in images]} if images else {}
