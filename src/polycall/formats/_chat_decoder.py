"""The chat completions format, read: one response, whole or in chunks. OpenAI's, and that of most other services.

Sources: OpenAI's API reference, "Create chat completion" and "Streaming"; deviations of other servers as recorded in
``tests/wire/openai_chat``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from polycall._failure import reported, shown
from polycall._framing import arguments_text
from polycall._tools import legal_name
from polycall.errors import TransportError
from polycall.formats._generation import REFUSED, Generation, failed_generation
from polycall.formats._sendable import sendable
from polycall.types import (
    CallDelta,
    JsonObject,
    Message,
    Refusal,
    Stop,
    TextDelta,
    ToolCall,
    Usage,
    WireItem,
    is_array,
    is_mapping,
    is_object,
)

__all__ = ["ChatDecoder"]

_SAYS: Final = ("message", "delta", "finish_reason")
_ENTRY: Final = frozenset({"index", "id", "type", "function", "custom"})
_FOR_CALLS: Final = frozenset({"tool_calls", "function_call"})
_LONGEST_INDEX: Final = 10
_LIMIT: Final = "the token limit was reached"
_CUTS: Final = {
    "length": _LIMIT,
    "max_tokens": _LIMIT,
    "model_length": _LIMIT,
    "content_filter": "the content filter stepped in",
    "insufficient_system_resource": "the server ran out of resources",
    "error": "the server failed",
}
"""Finish reasons that mean a cut, in lower case; Mistral's, DeepSeek's and OpenRouter's words among them."""


class ChatDecoder:
    """Reads one chat completion, whole or in chunks."""

    seal_on_close = True

    def __init__(self) -> None:
        """Start a response."""
        self.model: str | None = None
        self._whole: JsonObject | None = None
        self._head: JsonObject = {}
        self._choices: dict[int, _Choice] = {}

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one chunk, or in a whole body."""
        choices = event.get("choices")
        error = event.get("error")
        if error and not choices:
            generation = failed_generation(error)
            if generation is None:
                raise reported(error)
            return self._failed(generation, event)
        if whole:
            self._whole = event
            if not is_array(choices) or not any(
                is_object(choice) and any(choice.get(key) for key in _SAYS) for choice in choices
            ):
                raise TransportError("the server's answer has no choices", body=shown(event), transient=True)
        if self.model is None and isinstance(event.get("model"), str):
            self.model = event["model"]
        if not self._head:
            self._head = {key: value for key, value in event.items() if key not in {"choices", "usage"}}
        return self._items(event, choices, whole=whole)

    @property
    def begun(self) -> bool:
        """Whether a choice has been seen."""
        return bool(self._choices)

    @property
    def finished(self) -> bool:
        """Whether every choice that was seen has given its finish reason."""
        return bool(self._choices) and all(choice.finish is not None for choice in self._choices.values())

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the assistant's message, with every field that the server sent, reasoning included."""
        choice = next(iter(self._choices), 0)
        message = self._message(choice, [])
        kept = {
            key: value for key, value in message.items() if value not in (None, []) and key not in {"tool_calls", "function_call"}
        }
        turn: JsonObject = {**kept, "role": "assistant", "content": message.get("content")}
        if calls:
            named = [replace(call, name=legal_name(call.name), arguments=call.arguments or "{}") for call in calls]
            turn["tool_calls"] = [_entry(call) for call in named]
        elif turn["content"] is None:
            turn["content"] = ""
        return [sendable(turn)]

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole body; a stream's chunks are folded into one."""
        if self._whole is not None:
            return self._whole
        choices = [
            {"index": index, "message": self._message(index, calls), "finish_reason": choice.finish, "logprobs": None}
            for index, choice in sorted(self._choices.items())
        ]
        return {**self._head, "object": "chat.completion", "choices": choices}

    def _message(self, index: int, calls: Sequence[ToolCall]) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": None}
        if index in self._choices:
            message |= self._choices[index].message()
        mine = [_entry(call) for call in calls if call.choice == index]
        return {**message, "tool_calls": mine} if mine else message

    def _items(self, event: JsonObject, choices: object, *, whole: bool) -> Iterator[WireItem]:
        for position, choice in enumerate(choices if is_array(choices) else ()):
            if is_object(choice) and any(choice.get(key) for key in _SAYS):
                number = choice.get("index")
                yield from self._choice(choice, number if isinstance(number, int) else position, whole=whole)
        usage = event.get("usage")
        if is_object(usage):
            self._head["usage"] = usage
            yield _usage(usage)
        if event.get("error"):
            raise reported(event["error"])

    def _failed(self, generation: Generation, event: JsonObject) -> Iterator[WireItem]:
        """Return what the model wrote before the server refused it."""
        self._head = self._head or event
        seen = self._choices.setdefault(0, _Choice())
        seen.finish = REFUSED
        if generation.text and not seen.has_text:
            seen.fold({"content": generation.text})
            yield TextDelta(generation.text)
        yield from generation.calls
        yield Stop(REFUSED, calls=True)

    def _choice(self, choice: JsonObject, number: int, *, whole: bool) -> Iterator[WireItem]:
        seen = self._choices.get(number)
        if seen is None:
            seen = self._choices[number] = _Choice()
        delta, message = choice.get("delta"), choice.get("message")
        in_message = not delta and bool(message)
        delta = message if in_message else delta
        if is_object(delta):
            seen.fold(delta)
            if number == next(iter(self._choices)):
                if delta.get("content"):
                    yield TextDelta(_text(delta["content"]))
                if isinstance(delta.get("refusal"), str) and delta["refusal"]:
                    yield Refusal(delta["refusal"])
            yield from _call_deltas(delta, number, whole=whole, in_message=in_message)
        finish = choice.get("finish_reason")
        if isinstance(finish, str):
            seen.finish = finish
            cut = _CUTS.get(finish.lower())
            yield Stop(finish, f"{cut} ({finish})" if cut else None, number, calls=finish in _FOR_CALLS and not seen.custom)


class _Choice:
    """What one choice has said beside its calls, put together when asked for."""

    def __init__(self) -> None:
        self.finish: str | None = None
        self.custom = False
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._others: JsonObject = {}

    def fold(self, delta: JsonObject) -> None:
        for key, value in delta.items():
            if key == "tool_calls" and is_array(value):
                self.custom = self.custom or any(is_object(entry) and _is_custom(entry) for entry in value)
            if key in {"tool_calls", "role"} or value is None:
                continue
            if isinstance(value, str) and key in self._lists:
                self._lists[key].extend([{"type": "text", "text": value}] if value else ())
            elif isinstance(value, str):
                self._texts.setdefault(key, []).append(value)
            elif is_array(value):
                self._list(key).extend(value)
            elif key != "function_call":
                self._others[key] = value

    def _list(self, key: str) -> list[Any]:
        """Return the parts of a field so far; Mistral sends its thinking as parts, and after that its answer as text."""
        if key not in self._lists:
            text = "".join(self._texts.pop(key, ()))
            self._lists[key] = [{"type": "text", "text": text}] if text else []
        return self._lists[key]

    @property
    def has_text(self) -> bool:
        return "content" in self._texts

    def message(self) -> JsonObject:
        return {**self._others, **self._lists, **{key: "".join(pieces) for key, pieces in self._texts.items()}}


def _call_deltas(delta: JsonObject, choice: int, *, whole: bool, in_message: bool) -> Iterator[CallDelta]:
    """Return the calls in a delta, or in a message: there the position of an entry is its index, where it has none."""
    legacy = delta.get("function_call")
    if is_object(legacy) and any(legacy.values()):  # Snowflake sends one with empty fields beside every answer
        yield _call_delta({"function": legacy}, (choice, "function_call"), choice)
    entries = delta.get("tool_calls")
    listed: list[Any] = entries if is_array(entries) else [entries] if entries else []
    for position, entry in enumerate(listed):
        if not is_object(entry):
            yield CallDelta((choice, "malformed", position), arguments=arguments_text(entry), whole=True, choice=choice)
        elif not _is_custom(entry):
            index = entry.get("index", position if in_message else None)
            yield _call_delta(entry, (choice, "whole", position) if whole else _key(choice, index), choice)


def _key(choice: int, index: object) -> tuple[int, float | str] | None:
    if isinstance(index, str):
        return choice, int(index) if index.isdecimal() and len(index) < _LONGEST_INDEX else index
    return (choice, index) if isinstance(index, int | float) else None


def _is_custom(entry: JsonObject) -> bool:
    """Whether this is a call of a free-form tool, which only the caller can have offered and only the SDK's object shows."""
    custom = entry.get("custom")  # Snowflake sends one with empty fields in every call
    return entry.get("type") == "custom" or (is_object(custom) and ("function" not in entry or any(custom.values())))


def _call_delta(entry: JsonObject, key: Any, choice: int) -> CallDelta:
    function = entry.get("function")
    function = function if is_object(function) else {}
    name, call_id, arguments = function.get("name"), entry.get("id"), function.get("arguments")
    whole = arguments is not None and not isinstance(arguments, str)
    text = arguments_text(arguments) if whole else arguments or ""
    extra = {name: value for name, value in entry.items() if name not in _ENTRY and value is not None}
    return CallDelta(
        key,
        str(call_id) if call_id not in (None, "") else None,
        name if isinstance(name, str) else None,
        text,
        whole,
        choice,
        extra or None,
    )


def _entry(call: ToolCall) -> JsonObject:
    return {**call.extra, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _text(content: object) -> str:
    """Return the text of a content; Mistral and others send a list of parts."""
    if is_array(content):
        return "".join(part["text"] for part in content if is_object(part) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _usage(usage: Mapping[str, Any]) -> Usage:
    def number(holder: object, key: str) -> int | None:
        value = holder.get(key) if is_mapping(holder) else None
        return int(value) if isinstance(value, int | float) and 0 <= value < math.inf else None

    return Usage(
        input_tokens=number(usage, "prompt_tokens"),
        output_tokens=number(usage, "completion_tokens"),
        cached_tokens=number(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=number(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )
