"""Cohere's chat format of version 2, read: one response, whole or in events.

Sources: Cohere's API reference, "Chat with streaming", and the event types of its SDK; recordings in ``tests/wire/cohere``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from polycall._failure import reported, shown
from polycall._framing import arguments_text
from polycall._tools import legal_name
from polycall.errors import TransportError
from polycall.formats._cohere_part import Part
from polycall.formats._sendable import sendable
from polycall.types import (
    CallDelta,
    JsonObject,
    Message,
    Stop,
    TextDelta,
    ToolCall,
    Usage,
    WireItem,
    is_array,
    is_mapping,
    is_object,
)

__all__ = ["CohereDecoder"]

_LIMIT: Final = "the token limit was reached"
_CUTS: Final = {
    "MAX_TOKENS": _LIMIT,
    "ERROR_LIMIT": _LIMIT,
    "ERROR_TOXIC": "the content filter stepped in",
    "ERROR": "the server failed",
    "TIMEOUT": "the server took too long",
    "USER_CANCEL": "the request was cancelled",
    "LENGTH": _LIMIT,
    "CONTENT_FILTER": "the content filter stepped in",
}
"""Finish reasons that mean a cut; those of the first version, and of gateways, among them."""
_NO_CALL: Final = "INVALID_TOOL_GENERATION"
"""What the service says in place of a call that it cannot read; recorded in ``cohere-v2-chat-sse-0c-dde335b5``."""
_ENTRY: Final = frozenset({"id", "type", "function", "index"})


class CohereDecoder:
    """Reads one response."""

    seal_on_close = True

    def __init__(self) -> None:
        """Start a response."""
        self.model: str | None = None  # it is never said
        self.begun = False
        self._whole: JsonObject | None = None
        self._head: JsonObject = {}
        self._plan: list[str] = []
        self._parts: dict[Any, Part] = {}
        self._citations: list[Any] = []
        self._keys: dict[Any, dict[tuple[Any, int], None]] = {}
        self._over: dict[Any, int] = {}  # by index, how many calls have ended and another has begun
        self._done: set[Any] = set()  # the places of calls that have ended
        self._written: set[Any] = set()  # the keys of calls that have a piece of arguments
        self._ended: list[Any] = []  # of those, the keys of calls that are said to be complete, and may be cut
        self._last: Any = None
        self._calls = 0

    @property
    def finished(self) -> bool:
        """Whether the finish reason has come."""
        return self._head.get("finish_reason") is not None

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one event, or in a whole body."""
        error, message = event.get("error"), event.get("message")
        if is_object(message):
            self._whole = event
            return self._with(error, self._body(event, message))
        if isinstance(message, str) or (error and "delta" not in event):
            raise _reported(error or event)
        if whole:
            raise TransportError("the server's answer has no message", body=shown(event), transient=True)
        return self._with(error, self._event(event))

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the assistant's message, with its plan, its thinking and its citations."""
        turn: JsonObject = {"role": "assistant"}
        content = [part.written() for part in self._parts.values() if part.said]
        if calls:
            turn |= {"tool_plan": "".join(self._plan)} if self._plan else {}
            turn["tool_calls"] = [_entry(call) for call in calls]
        elif not content and self._plan:
            content = [{"type": "text", "text": "".join(self._plan)}]
        if not calls and not content:
            return []  # the service takes no message that is empty
        if content:
            turn["content"] = content
        if self._citations:
            turn["citations"] = self._citations
        return [sendable(turn)]

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole body; the events of a stream are folded into one."""
        if self._whole is not None:
            return self._whole
        message: JsonObject = {"role": "assistant"}
        if calls:
            entries = [{**_entry(call), "function": {"name": call.name, "arguments": call.arguments}} for call in calls]
            message["tool_calls"] = entries
        message |= {"tool_plan": "".join(self._plan)} if self._plan else {}
        message |= {"content": [part.written() for part in self._parts.values()]} if self._parts else {}
        message |= {"citations": self._citations} if self._citations else {}
        return {**self._head, "message": message}

    def _with(self, error: object, items: Iterator[WireItem]) -> Iterator[WireItem]:
        """Return what is in an event, and then report the error that stands beside it."""
        yield from items
        if error:
            raise _reported(error)

    def _body(self, event: JsonObject, message: JsonObject) -> Iterator[WireItem]:
        """Return what is in a whole body, whose last call may be cut."""
        if not any(message.get(key) for key in ("content", "tool_calls", "tool_plan")) and not event.get("finish_reason"):
            raise TransportError("the server's answer is empty", body=shown(event), transient=True)
        self.begun = True
        self._planned(message.get("tool_plan"))
        content = message.get("content")
        for index, part in enumerate(content if is_array(content) else [content] if content else ()):
            yield from self._content(index, part)
        self._cited(message.get("citations"))
        entries = message.get("tool_calls")
        listed: list[Any] = entries if is_array(entries) else [entries] if entries else []
        cut = _cut(event.get("finish_reason")) is not None
        for index, entry in enumerate(listed):
            yield self._call(entry, (index, 0), whole=not cut or index + 1 < len(listed))
        yield from self._end(event)

    def _event(self, event: JsonObject) -> Iterator[WireItem]:
        """Return what is in one event of a stream."""
        delta = event.get("delta")
        delta = delta if is_object(delta) else {}
        inner = delta.get("message")
        message: JsonObject = inner if is_object(inner) else {}
        index = event.get("index")
        match event.get("type"):
            case "message-start":
                self.begun = True
                self._head = {"id": event["id"]} if "id" in event else {}
            case "tool-plan-delta":
                self._planned(message.get("tool_plan"))
            case "content-start" | "content-delta":
                yield from self._content(_hashable(index), message.get("content"))
            case "citation-start":
                self._cited(message.get("citations"))
            case "tool-call-start":
                yield from self._sealed()
                self._start(index)
                yield from self._pieces(message.get("tool_calls") or {})
            case "tool-call-delta":
                self._last = self._place(index) if index is not None else self._last
                yield from self._pieces(message.get("tool_calls") or [])
            case "tool-call-end":
                place = self._place(index) if index is not None else self._last
                keys = self._keys.get(place, ())
                yield from (CallDelta(key, whole=True) for key in keys if key not in self._written)
                self._ended += (key for key in keys if key in self._written)
                self._done.add(place)
            case "message-end":
                if _cut(delta.get("finish_reason")) is None:
                    yield from self._sealed()
                yield from self._end(delta)
            case _:
                pass  # content-end, citation-end, and what is yet to come

    def _start(self, index: object) -> None:
        """Begin a call; one of an index whose call has ended is another, of a gateway that numbers nothing."""
        if self._place(index) in self._done:
            self._over[_hashable(index)] = self._over.get(_hashable(index), 0) + 1
        self._last = self._place(index) if index is not None else ("start", self._calls)
        self._keys[self._last] = {}

    def _place(self, index: object) -> tuple[Any, int]:
        """Return what a call is known by: its index, and how many calls of that index were before it."""
        return _hashable(index), self._over.get(_hashable(index), 0)

    def _sealed(self) -> list[CallDelta]:
        """Return the end of each call that was said to be complete: no cut can have been meant any more.

        Most are sealed by then, because their object has closed.
        """
        ended, self._ended = self._ended, []
        return [CallDelta(key, whole=True) for key in ended]

    def _planned(self, plan: object) -> None:
        if isinstance(plan, str) and plan:
            self.begun = True
            self._plan.append(plan)

    def _content(self, index: Any, given: object) -> Iterator[WireItem]:
        part = {"type": "text", "text": given} if isinstance(given, str) else given
        if not is_object(part):
            return
        self.begun = True
        seen = self._parts.setdefault(index, Part())
        seen.fold(part)
        if seen.kind == "text" and isinstance(part.get("text"), str) and part["text"]:
            yield TextDelta(part["text"])

    def _cited(self, citations: object) -> None:
        self._citations += citations if is_array(citations) else [citations] if citations else []

    def _pieces(self, entries: object) -> Iterator[CallDelta]:
        """Return the pieces of calls in an event: one object, though the name says many."""
        keys = self._keys.setdefault(self._last, {})
        for position, entry in enumerate(entries if is_array(entries) else [entries]):
            key = (self._last, position)
            keys[key] = None
            yield self._call(entry, key, whole=False)

    def _call(self, entry: object, key: Any, *, whole: bool) -> CallDelta:
        self.begun = True
        self._calls += 1
        if not is_object(entry):
            return CallDelta(key, arguments=arguments_text(entry), whole=True)
        given = entry.get("function")
        function: JsonObject = given if is_object(given) else {}
        name, call_id, arguments = function.get("name"), entry.get("id"), function.get("arguments")
        text = arguments if isinstance(arguments, str) else "" if arguments is None else arguments_text(arguments)
        extra = {name: value for name, value in entry.items() if name not in _ENTRY and value is not None}
        if text:
            self._written.add(key)
        return CallDelta(
            key,
            str(call_id) if call_id not in (None, "") else None,
            name if isinstance(name, str) else None,
            text,
            whole or not isinstance(arguments, str | None),
            extra=extra or None,
        )

    def _end(self, event: JsonObject) -> Iterator[WireItem]:
        """Return what ends a response: why, and the tokens."""
        self._head |= {key: event[key] for key in ("id", "finish_reason", "usage", "logprobs") if key in event}
        if is_object(event.get("usage")):
            yield _usage(event["usage"])
        reason = event.get("finish_reason")
        if not isinstance(reason, str):
            return
        self.begun = True
        if event.get("error_type") == _NO_CALL:
            cut = f"the model wrote a call that is none ({reason})" if self._calls else None
            yield Stop(reason, cut, calls=True)
            return
        yield Stop(reason, _cut(reason), calls=reason == "TOOL_CALL")


def _entry(call: ToolCall) -> JsonObject:
    """Return a call as it is sent back."""
    function = {"name": legal_name(call.name), "arguments": call.arguments or "{}"}
    return {**call.extra, "id": call.id, "type": "function", "function": function}


def _cut(reason: object) -> str | None:
    """Return what cut an answer short, in words; None where its finish reason means no cut."""
    words = _CUTS.get(reason.upper()) if isinstance(reason, str) else None
    return f"{words} ({reason})" if words else None


def _reported(error: object) -> TransportError:
    return reported({"message": error} if isinstance(error, str) else error)


def _hashable(index: object) -> Any:
    return index if isinstance(index, int | float | str | None) else shown(index)


def _usage(usage: Mapping[str, Any]) -> Usage:
    def number(holder: object, key: str) -> int | None:
        value = holder.get(key) if is_mapping(holder) else None
        return int(value) if isinstance(value, int | float) and 0 <= value < math.inf else None

    tokens = usage.get("tokens") or usage.get("billed_units")
    return Usage(
        input_tokens=number(tokens, "input_tokens"),
        output_tokens=number(tokens, "output_tokens"),
        cached_tokens=number(usage, "cached_tokens"),
        reasoning_tokens=number(tokens, "reasoning_tokens"),
    )
