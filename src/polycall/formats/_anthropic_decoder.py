"""Anthropic's answers -> tool calls and text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from polycall._failure import reported, shown
from polycall._tools import legal_name
from polycall.errors import TransportError
from polycall.formats._anthropic_block import Block, input_text
from polycall.formats._anthropic_messages import is_kind, legal_id, read_input
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
    is_object,
)

__all__ = ["AnthropicDecoder"]

_CALL: Final = "tool_use"
_NOT_LAST: Final = frozenset({"thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use"})
"""Blocks that a turn of the model cannot end with when the user speaks next."""
_KINDS: Final = {
    "input_json_delta": _CALL,
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}
_CUTS: Final = {
    "max_tokens": "the token limit was reached",
    "model_context_window_exceeded": "the model's context window is full",
    "pause_turn": "the service paused a long turn",
}
_REFUSED: Final = "refusal"


class AnthropicDecoder:
    """Reads one message, whole or as events.

    A call is complete at its ``content_block_stop`` when its object has closed. Otherwise that is known with the next event only:
    the block of a call that was cut, or never got an argument, is stopped like any other.

    Sources: Anthropic's API reference, "Messages" and "Streaming messages"; a stream cut in a call is in
    ``anthropic-messages-sse-1c-4e88f27b``, calls without arguments are in ``anthropic-messages-sse-2c-d8035f97``.
    """

    seal_on_close = False

    def __init__(self) -> None:
        """Start a response."""
        self.model: str | None = None
        self._whole: JsonObject | None = None
        self._head: JsonObject = {}
        self._usage: JsonObject = {}
        self._blocks: list[Block] = []
        self._places: dict[Any, Block] = {}
        self._unsealed: dict[int, Block] = {}  # by place
        self._calls = 0
        self._stopped = False
        self._ended = False

    def feed(self, event: JsonObject, *, whole: bool) -> Iterator[WireItem]:
        """Return what is in one event, or in a whole message; what comes behind the end is no part of the answer."""
        kind = event.get("type")
        if self._ended:
            return
        if event.get("error") and not event.get("content"):
            raise reported(event["error"])
        if whole or (kind == "message" and is_array(event.get("content"))):
            yield from self._message(event)
        elif kind == "message_start":
            yield from self._begin(event.get("message"))
        elif kind == "content_block_start":
            yield from self._start(event)
        elif kind == "content_block_delta" and is_object(event.get("delta")):
            yield from self._delta(event, event["delta"])
        elif kind == "content_block_stop":
            yield from self._end(self._found(event))
        elif kind == "message_delta":
            yield from self._finish(event)
        elif kind == "message_stop":
            self._ended = self._stopped

    @property
    def begun(self) -> bool:
        """Whether a block has begun, or the model has stopped without one."""
        return bool(self._blocks) or self._stopped

    @property
    def finished(self) -> bool:
        """Whether the reason for the stop has come, which is behind all blocks."""
        return self._stopped

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the assistant's message with its blocks as they came, thinking and its signatures among them.

        What is not complete, and what the service would refuse (text of nothing but white space), is left out; so is everything
        behind the last call while the model goes on.
        """
        by_number = {call.index: call for call in calls}
        content: list[JsonObject] = []
        end = 0
        for block in self._blocks:
            if block.number is not None:
                if (call := by_number.get(block.number)) is None:
                    continue
                content.append(_written(call))
                end = len(content)
            elif block.kind == "text":
                if (text := block.content())["text"].strip():
                    content.append(text)
            elif block.closed and is_kind(block.kind):
                content.append(block.content())
        if calls and not self._stopped:
            del content[end:]
        while content and content[-1].get("type") in _NOT_LAST:
            content.pop()
        return [{"role": "assistant", "content": sendable(content)}] if content else []

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole message; a stream's events are folded into one."""
        if self._whole is not None:
            return self._whole
        by_number = {call.index: call for call in calls}
        content = [
            block.content()
            if (call := by_number.get(-1 if block.number is None else block.number)) is None
            else block.called(call)
            for block in self._blocks
        ]
        return {**self._head, "content": content, "usage": self._usage}

    def _message(self, event: JsonObject) -> Iterator[WireItem]:
        content = event.get("content")
        if not is_array(content):
            raise TransportError("the server's answer has no content", body=shown(event), transient=True)
        yield from self._begin(event)
        self._whole = event
        blocks = [block for block in content if is_object(block)]
        reason = event["stop_reason"] if isinstance(event.get("stop_reason"), str) else ""
        for place, given in enumerate(blocks):
            block = self._open(given)
            block.closed = True
            if block.number is not None:  # the last one before a cut is not whole, whatever it looks like
                yield block.delta(whole=place < len(blocks) - 1 or reason not in _CUTS)
            elif block.kind == "text" and block.content()["text"]:
                yield TextDelta(block.content()["text"])
        if reason:
            yield from self._stop(reason, event)

    def _begin(self, message: object) -> Iterator[WireItem]:
        if is_object(message):
            self.model = message["model"] if isinstance(message.get("model"), str) else self.model
            self._head = {key: value for key, value in message.items() if key not in {"content", "usage"}}
            yield from self._spend(message.get("usage"))

    def _open(self, given: JsonObject) -> Block:
        block = Block(given, len(self._blocks))
        if block.kind == _CALL:
            block.number = self._calls
            self._calls += 1
            if self._whole is None:
                self._unsealed[block.place] = block
        self._blocks.append(block)
        return block

    def _found(self, event: JsonObject) -> Block | None:
        """Return the block that an event belongs to: the last one where the event does not say."""
        if "index" not in event:
            return self._blocks[-1] if self._blocks else None
        return self._places.get(_hashable(event["index"]))

    def _start(self, event: JsonObject) -> Iterator[WireItem]:
        given = event.get("content_block")
        yield from self._seal(stopped=True)
        block = self._places[_hashable(event.get("index"))] = self._open(given if is_object(given) else {})
        if block.number is not None:
            yield block.named()
        elif block.kind == "text" and block.content()["text"]:
            yield TextDelta(block.content()["text"])

    def _delta(self, event: JsonObject, delta: JsonObject) -> Iterator[WireItem]:
        kind = delta.get("type")
        block = self._found(event)
        if block is None:  # its start was lost
            block = self._places[_hashable(event.get("index"))] = self._open({"type": _KINDS.get(str(kind), "")})
            if block.number is not None:
                yield block.named()
        if block.number is not None:
            text = input_text(delta.get("partial_json"))
            if text:
                block.closes(text)
                yield CallDelta(block.place, arguments=text)
            return
        block.fold(delta)
        if block.kind == "text" and isinstance(delta.get("text"), str) and delta["text"]:
            yield TextDelta(delta["text"])

    def _end(self, block: Block | None) -> Iterator[WireItem]:
        if block is None or block.closed:
            return
        block.closed = True
        if block.complete and self._unsealed.pop(block.place, None) is not None:
            yield block.sealed()

    def _seal(self, *, stopped: bool) -> Iterator[WireItem]:
        """Seal the calls that are open, where it is asked for only those whose blocks have stopped.

        Something came behind them, so they were not cut.
        """
        for place, block in tuple(self._unsealed.items()):
            if block.closed or not stopped:
                del self._unsealed[place]
                yield block.sealed()

    def _finish(self, event: JsonObject) -> Iterator[WireItem]:
        delta = event.get("delta")
        yield from self._spend(event.get("usage"))
        if is_object(delta):
            self._head |= {key: value for key, value in delta.items() if value is not None or key not in self._head}
            if isinstance(delta.get("stop_reason"), str):
                yield from self._stop(delta["stop_reason"], delta)

    def _stop(self, reason: str, told: JsonObject) -> Iterator[WireItem]:
        self._stopped = True
        cut = _CUTS.get(reason)
        if reason == _REFUSED:
            details = told.get("stop_details")
            explanation = details.get("explanation") if is_object(details) else None
            yield Refusal(explanation if isinstance(explanation, str) else "")
            if self._unsealed:
                cut = "the service stepped in"
        if cut is None:
            yield from self._seal(stopped=False)
        yield Stop(reason, f"{cut} ({reason})" if cut else None, calls=reason == _CALL)

    def _spend(self, usage: object) -> Iterator[WireItem]:
        """Take counts that replace the earlier ones: they are cumulative."""
        if is_object(usage):
            self._usage |= {key: value for key, value in usage.items() if value is not None or key not in self._usage}
            yield _usage(self._usage)


def _written(call: ToolCall) -> JsonObject:
    made = {**call.extra, "type": _CALL, "id": legal_id(call.id or ""), "name": legal_name(call.name)}
    return {**made, "input": read_input(call.arguments)}


def _hashable(index: object) -> float | str | None:
    return index if isinstance(index, int | float | str) else None


def _usage(usage: Mapping[str, Any]) -> Usage:
    def number(holder: object, key: str) -> int | None:
        value = holder.get(key) if is_object(holder) else None
        return int(value) if isinstance(value, int | float) and 0 <= value < math.inf else None

    read, written, fresh = (
        number(usage, key) for key in ("cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens")
    )
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=number(usage, "output_tokens"),
        cached_tokens=read,
        reasoning_tokens=number(usage.get("output_tokens_details"), "thinking_tokens"),
    )
