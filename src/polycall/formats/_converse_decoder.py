"""Bedrock's Converse, read: one response, whole or as the events of ConverseStream.

Sources: AWS, "Amazon Bedrock API reference", Converse and ConverseStream (as in botocore's service model), and the recordings in
``tests/wire/converse``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from polycall._failure import reported, shown
from polycall._framing import arguments_text
from polycall.errors import TransportError
from polycall.formats._converse_blocks import Block, parsed
from polycall.formats._converse_messages import call_block
from polycall.formats._sendable import sendable
from polycall.types import CallDelta, JsonObject, Message, Stop, TextDelta, ToolCall, Usage, WireItem, is_array, is_object

__all__ = ["BAD_SEQUENCE", "ConverseDecoder", "described"]

_FOR_CALLS: Final = frozenset({"tool_use", "malformed_tool_use", "malformed_model_output"})
_LIMIT: Final = "the token limit was reached"
_CUTS: Final = {
    "max_tokens": _LIMIT,
    "model_context_window_exceeded": "the model's context is full",
    "content_filtered": "the content filter stepped in",
    "guardrail_intervened": "a guardrail stepped in",
}
_MALFORMED: Final = "malformed_tool_use"
BAD_SEQUENCE: Final = "invalid sequence as part of ToolUse"
"""What the service says when it cannot read its model's call (Nova's; github.com/langchain-ai/langchain-aws/issues/567)."""

_EXCEPTION: Final = "Exception"
_STATUS: Final = {
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "throttlingexception": 429,
    "validationexception": 400,
}


class ConverseDecoder:
    """Reads one answer of Converse, whole or in events."""

    seal_on_close = False

    def __init__(self) -> None:
        """Start a response."""
        self.begun = False
        self.finished = False
        self.model: str | None = None
        self._whole: JsonObject | None = None
        self._rest: JsonObject = {}
        self._blocks: list[Block] = []
        self._open: dict[Any, Block] = {}
        self._calls = 0

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one event, or in a whole body."""
        error = event.get("error") or next((value for key, value in event.items() if key.endswith(_EXCEPTION)), None)
        if error is not None:
            return self._failed(error, next((key for key in event if key.endswith(_EXCEPTION)), ""))
        if not whole and "output" not in event:
            return self._event(event)
        output = event.get("output")
        message = output.get("message") if is_object(output) else None
        if not is_object(message):
            raise TransportError("the server's answer has no message", body=shown(event), transient=True)
        self._whole, self.begun = event, True
        return self._message(message, event)

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the assistant's message, block by block as it came; what has not come to its end is left out of it."""
        by_number = {call.index: call for call in calls}
        content: list[JsonObject] = []
        for block in self._said(by_number):
            call = None if block.call is None else by_number.get(block.call)
            if call is not None:
                content.append(call_block(call.id or "", call.name, call.arguments))
            elif block.call is None and (native := block.sent(finished=self.finished)) is not None:
                content.append(sendable(native))
        return [{"role": "assistant", "content": content}] if content else []

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole body; a stream's events are folded into one."""
        if self._whole is not None:
            return self._whole
        by_number = {call.index: call for call in calls}
        content: list[JsonObject] = []
        for block in self._blocks:
            call = None if block.call is None else by_number.get(block.call)
            if call is None:
                content += [native] if block.call is None and (native := block.native()) is not None else []
            else:
                content.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": parsed(call.arguments)}})
        return {"output": {"message": {"role": "assistant", "content": content}}, **self._rest}

    def _said(self, calls: Container[int | None]) -> list[Block]:
        """Return the blocks of the turn; of one that goes on, those up to the last call that is known."""
        known = [position for position, block in enumerate(self._blocks, 1) if block.call is not None and block.call in calls]
        return self._blocks if self.finished or not known else self._blocks[: known[-1]]

    def _message(self, message: JsonObject, event: JsonObject) -> Iterator[WireItem]:
        content = message.get("content")
        for given in content if is_array(content) else ():
            block = Block(given if is_object(given) else {}, whole=True)
            self._blocks.append(block)
            called = block.called
            if called is not None:
                yield self._begin(block, called, _text(called.get("input")), whole=True)
            elif text := block.text:
                yield TextDelta(text)
        yield from self._stop(event)
        yield from self._metadata(event)

    def _event(self, event: JsonObject) -> Iterator[WireItem]:
        for kind, given in event.items():
            value: JsonObject = given if is_object(given) else {}
            index = value.get("contentBlockIndex")
            self.begun = self.begun or kind.startswith(("message", "contentBlock"))
            match kind:
                case "contentBlockStart":
                    yield from self._start(index, value.get("start"))
                case "contentBlockDelta":
                    yield from self._delta(index, value.get("delta"))
                case "contentBlockStop":
                    yield from self._end(index)
                case "messageStop":
                    self._rest |= value
                    yield from self._stop(value)
                case "metadata":
                    self._rest |= value
                    yield from self._metadata(value)
                case _:
                    pass

    def _begin(self, block: Block, called: Mapping[str, Any], arguments: str = "", *, whole: bool = False) -> CallDelta:
        """Give a call its number, by which it is known; the service's own index is only used within the stream."""
        block.call = self._calls
        self._calls += 1
        call_id, name = called.get("toolUseId"), called.get("name")
        return CallDelta(
            block.call,
            call_id if isinstance(call_id, str) and call_id else None,
            name if isinstance(name, str) else None,
            arguments,
            whole,
        )

    def _start(self, index: object, start: object) -> Iterator[WireItem]:
        block = Block(start if is_object(start) else {})
        self._blocks.append(block)
        self._open[_key(index)] = block
        if (called := block.called) is not None:
            yield self._begin(block, called)

    def _delta(self, index: object, delta: object) -> Iterator[WireItem]:
        block = self._open.get(_key(index))
        if block is None:
            block = self._open[_key(index)] = Block({})
            self._blocks.append(block)
        for kind, value in delta.items() if is_object(delta) else ():
            if kind != "toolUse" or block.own_tool:
                text = block.fold(kind, value)
                if text:
                    yield TextDelta(text)
                continue
            if block.call is None:  # the server left its start out
                yield self._begin(block, {})
            piece = _text(value.get("input")) if is_object(value) else ""
            block.add(piece)
            yield CallDelta(block.call, arguments=piece)

    def _end(self, index: object) -> Iterator[WireItem]:
        """Seal a call that is complete. One whose object is still open was cut, which is said by why the model stopped."""
        block = self._open.get(_key(index))
        if block is None:
            return
        block.ended = True
        if block.call is not None and block.complete:
            yield CallDelta(block.call, whole=True)

    def _stop(self, event: JsonObject) -> Iterator[WireItem]:
        reason = event.get("stopReason")
        if isinstance(reason, str):
            self.finished = True
            cut = _CUTS.get(reason)
            yield Stop(reason, f"{cut} ({reason})" if cut else None, calls=reason in _FOR_CALLS)

    def _metadata(self, event: JsonObject) -> Iterator[WireItem]:
        router: Any = event.get("trace")
        for key in ("promptRouter", "invokedModelId"):
            router = router.get(key) if is_object(router) else None
        if isinstance(router, str):
            self.model = router
        if is_object(usage := event.get("usage")):
            yield _usage(usage)

    def _failed(self, error: object, kind: str) -> Iterator[WireItem]:
        """Tell of a call that the service itself could not read, which is the model's fault (Nova's); else raise the error."""
        details: Mapping[str, Any] = error if is_object(error) else {}
        if BAD_SEQUENCE in str(details.get("message")):
            self.begun = self.finished = True
            self._rest["stopReason"] = _MALFORMED
            yield Stop(_MALFORMED, calls=True)
            return
        raise reported(described(str(details.get("type") or kind), str(details.get("message", ""))))


def described(kind: str, message: str) -> JsonObject:
    """Return an error of the service as a mapping, with the status that it stands for where the same request would fail again."""
    status = _STATUS.get(kind.lower())
    return {"type": kind, "message": message, **({"status": status} if status else {})}


def _key(index: object) -> object:
    return index if isinstance(index, int | str) else None


def _text(value: object) -> str:
    """Return the arguments of a call as text; some models send them as a text within JSON."""
    return value if isinstance(value, str) else "" if value is None else arguments_text(value)


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Count as every provider's tokens are counted: those of the cache are beside ``inputTokens`` here (TokenUsage)."""

    def number(key: str) -> int | None:
        value = usage.get(key)
        return value if type(value) is int and value >= 0 else None

    read, written, plain = number("cacheReadInputTokens"), number("cacheWriteInputTokens"), number("inputTokens")
    inputs = None if plain is None else plain + (read or 0) + (written or 0)
    return Usage(input_tokens=inputs, output_tokens=number("outputTokens"), cached_tokens=read)
