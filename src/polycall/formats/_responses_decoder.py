"""The Responses format, read: one response, whole or as a stream of events.

Sources: OpenAI's API reference, "Streaming events"; deviations of other servers as recorded in ``tests/wire/responses``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from polycall._failure import reported, shown
from polycall._framing import arguments_text
from polycall.errors import TransportError
from polycall.formats._responses_items import Item, Items
from polycall.formats._responses_messages import call_item, returnable, said_in
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

__all__ = ["ResponsesDecoder"]

_CALL: Final = "function_call"
_KNOWN: Final = frozenset({"id", "type", "status", "call_id", "name", "arguments"})
_CUTS: Final = {"max_output_tokens": "the token limit was reached", "content_filter": "the content filter stepped in"}
_UNFINISHED: Final = {
    "incomplete": "the answer is incomplete",
    "cancelled": "the response was cancelled",
    "in_progress": "the response is still in progress",
    "queued": "the response is still in progress",
}
"""Statuses of a response that is not all there."""
_LASTING: Final = frozenset({"invalid_prompt", "data_residency_mismatch", "bio_policy", "misalignment_policy_violation"})
"""Codes of a failed response that comes of the request, beside those of images."""


class ResponsesDecoder:
    """Reads one response, whole or as events."""

    seal_on_close = False

    def __init__(self) -> None:
        """Start a response."""
        self.model: str | None = None
        self._whole: JsonObject | None = None
        self._head: JsonObject = {}
        self._items = Items()
        self._calls: list[Item] = []
        self._finish: str | None = None

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one event, or in a whole body."""
        if whole:
            return self._body(event)
        if self._finish is not None:
            return ()  # what comes behind the end is no part of the answer
        handler = self._HANDLERS.get(str(event.get("type")))
        if handler is not None:
            return handler(self, event)
        if event.get("error"):
            raise reported(event["error"])
        return ()

    @property
    def begun(self) -> bool:
        """Whether an item has been seen, or the end."""
        return bool(self._items.all) or self._finish is not None

    @property
    def finished(self) -> bool:
        """Whether the response has said how it ended."""
        return self._finish is not None

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the items that are done, as they were sent, reasoning and the calls of the service's own tools included."""
        mine = {call.index: call for call in calls}
        places = {item.place: mine[index] for index, item in enumerate(self._calls) if index in mine}
        items: list[JsonObject] = []
        for item in self._items.all:
            if item.place in places:
                items.append(call_item(item.raw, places[item.place]))
            elif _is_folded(item):
                items.append({"role": "assistant", "content": "".join(item.pieces)})
            elif item.done and item.kind not in {_CALL, ""}:
                items.append(item.raw)
        return returnable(items, stored=self._finish is not None and self._head.get("store") is not False)

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole body; a stream's events are folded into one."""
        if self._whole is not None:
            return self._whole
        mine = {call.index: call for call in calls}
        places = {item.place: mine[index] for index, item in enumerate(self._calls) if index in mine}
        output = [_folded(item, places.get(item.place)) for item in self._items.all]
        return {"object": "response", "status": None, **self._head, "output": output}

    def _body(self, body: JsonObject) -> Iterator[WireItem]:
        if body.get("error") and not body.get("output"):
            raise _failed(body["error"])
        if not is_array(body.get("output")):
            raise TransportError("the server's answer has no output", body=shown(body), transient=True)
        status = _status(body)
        if status in {"queued", "in_progress"} and not body["output"]:
            message = "the service answers in the background, and has only begun: ask without background=True"
            raise TransportError(message, body=shown(body), transient=False)
        self._whole = body
        return self._end(body, status)

    def _began(self, event: JsonObject) -> Iterator[WireItem]:
        response = event.get("response")
        if is_object(response):
            self._head = {**self._head, **{key: value for key, value in response.items() if key != "output"}}
            if self.model is None and isinstance(response.get("model"), str):
                self.model = response["model"]
        return iter(())

    def _ended(self, event: JsonObject) -> Iterator[WireItem]:
        response = event.get("response")
        response = response if is_object(response) else {}
        return self._end(response, _status(response) or str(event["type"]).removeprefix("response."))

    def _end(self, response: JsonObject, status: str | None) -> Iterator[WireItem]:
        """Return what the events have not brought before, and how it ended."""
        self._began({"response": response})
        reason = None if status == "completed" else _reason(response) or status
        output = response.get("output")
        for item, raw in self._items.missing(output if is_array(output) else ()):
            yield from self._complete(item, raw)
        if status == "completed":
            for item in self._items.all:
                if not item.done:
                    yield from self._complete(item, {**item.raw, "status": "completed"})
        failed = status == "failed" or bool(response.get("error"))
        if is_object(response.get("usage")) and (self._items.all or not failed):
            yield _usage(response["usage"])
        if failed:
            raise _failed(response.get("error"))
        self._finish = reason or status or ""
        yield Stop(self._finish or None, self._cut(reason, status))

    def _cut(self, reason: str | None, status: str | None) -> str | None:
        words = _CUTS.get(reason or "") or _UNFINISHED.get(status or "")
        if words is not None:
            return words if reason == status else f"{words} ({reason})"
        return "a call is incomplete" if any(item.cut for item in self._calls) else None

    def _added(self, event: JsonObject) -> Iterator[WireItem]:
        if is_object(event.get("item")):
            item, new = self._items.open(event, event["item"])
            if new and item.kind == _CALL:
                yield self._delta(item, "")

    def _done(self, event: JsonObject) -> Iterator[WireItem]:
        if is_object(event.get("item")):
            item = self._items.ending(event, event["item"])
            if not item.done:
                yield from self._complete(item, event["item"])

    def _complete(self, item: Item, raw: JsonObject) -> Iterator[WireItem]:
        """Return what is still missing of an item that is complete now; one that was cut stays open."""
        item.kind = str(raw.get("type") or item.kind)
        item.raw = {**raw, "type": item.kind}
        item.done = True
        if item.kind == _CALL:
            item.cut = raw.get("status") == "incomplete"
            given = raw.get("arguments")
            text = given if isinstance(given, str) else "" if given is None else arguments_text(given)
            yield self._delta(item, item.rest(text), whole=not item.cut)
        elif item.kind == "message" and not item.pieces:
            for refuses, text in said_in(raw):
                yield Refusal(text) if refuses else TextDelta(text)

    def _arguments(self, event: JsonObject) -> Iterator[WireItem]:
        delta = event.get("delta")
        if delta not in (None, ""):
            text = delta if isinstance(delta, str) else arguments_text(delta)
            item = self._items.of(event, _CALL)
            if item.kind == _CALL:
                item.pieces.append(text)
                yield self._delta(item, text)

    def _all_arguments(self, event: JsonObject) -> Iterator[WireItem]:
        item, given = self._items.of(event, _CALL), event.get("arguments")
        if item.kind != _CALL or item.done or item.all_told or not isinstance(given, str):
            return
        item.all_told = True
        if rest := item.rest(given):
            item.pieces.append(rest)
            yield self._delta(item, rest)

    def _text(self, event: JsonObject) -> Iterator[WireItem]:
        return self._words(event, TextDelta)

    def _refusal(self, event: JsonObject) -> Iterator[WireItem]:
        return self._words(event, Refusal)

    def _words(self, event: JsonObject, kind: type[TextDelta | Refusal]) -> Iterator[WireItem]:
        delta = event.get("delta")
        if isinstance(delta, str) and delta:
            self._items.of(event, "message").pieces.append(delta)
            yield kind(delta)

    def _error(self, event: JsonObject) -> Iterator[WireItem]:
        raise _failed(event.get("error") or {key: value for key, value in event.items() if key != "type"})

    def _delta(self, item: Item, text: str, *, whole: bool = False) -> CallDelta:
        """Return a piece of a call, with as much of its head as was not told yet."""
        if item.number is None:
            item.number = len(self._calls)
            self._calls.append(item)
        delta = CallDelta(item.place, arguments=text, whole=whole)
        call_id, name = item.raw.get("call_id"), item.raw.get("name")
        if not item.has_id and call_id not in (None, ""):
            delta.id, item.has_id = str(call_id), True
        if not item.has_name and isinstance(name, str) and name:
            delta.name, item.has_name = name, True
        if item.done:
            delta.extra = {key: value for key, value in item.raw.items() if key not in _KNOWN and value is not None} or None
        return delta

    _HANDLERS: ClassVar[Mapping[str, Callable[..., Iterator[WireItem]]]] = {
        "error": _error,
        "response.created": _began,
        "response.queued": _began,
        "response.in_progress": _began,
        "response.output_item.added": _added,
        "response.output_item.done": _done,
        "response.function_call_arguments.delta": _arguments,
        "response.function_call_arguments.done": _all_arguments,
        "response.output_text.delta": _text,
        "response.refusal.delta": _refusal,
        "response.completed": _ended,
        "response.incomplete": _ended,
        "response.failed": _ended,
        "response.cancelled": _ended,
    }


def _folded(item: Item, call: ToolCall | None) -> JsonObject:
    """Return an item of a stream as it would be in a whole body."""
    if call is not None:
        return {**item.raw, "call_id": call.id, "name": call.name, "arguments": call.arguments}
    if _is_folded(item):
        return {**item.raw, "content": [{"type": "output_text", "text": "".join(item.pieces), "annotations": []}]}
    return item.raw


def _is_folded(item: Item) -> bool:
    """Whether an item is a message whose words are known by their pieces alone."""
    return item.kind == "message" and bool(item.pieces) and not (item.done and any(said_in(item.raw)))


def _status(response: JsonObject) -> str | None:
    status = response.get("status")
    return status if isinstance(status, str) else None


def _reason(response: JsonObject) -> str | None:
    details = response.get("incomplete_details")
    reason = details.get("reason") if is_mapping(details) else None
    return reason if isinstance(reason, str) else None


def _failed(error: object) -> TransportError:
    raised = reported(error)
    code = str(error.get("code")) if is_mapping(error) else ""
    if code in _LASTING or "image" in code:
        raised.transient = False
    return raised


def _usage(usage: Mapping[str, Any]) -> Usage:
    def number(holder: object, key: str) -> int | None:
        value = holder.get(key) if is_mapping(holder) else None
        return int(value) if isinstance(value, int | float) and 0 <= value < math.inf else None

    return Usage(
        input_tokens=number(usage, "input_tokens"),
        output_tokens=number(usage, "output_tokens"),
        cached_tokens=number(usage.get("input_tokens_details"), "cached_tokens"),
        reasoning_tokens=number(usage.get("output_tokens_details"), "reasoning_tokens"),
    )
