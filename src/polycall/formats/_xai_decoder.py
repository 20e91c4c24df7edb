"""xAI's answers over gRPC, read: one response, whole or in chunks, as the provider has written its messages as JSON.

Sources: the SDK's protocol, ``xai/api/v1/chat.proto`` (GetChatCompletionResponse, GetChatCompletionChunk), and `Chat.append` of
the SDK for what is sent back. Each call comes whole, and is known by its position alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from polycall._failure import reported
from polycall._tools import legal_name
from polycall.types import CallDelta, JsonObject, Message, Stop, TextDelta, ToolCall, Usage, WireItem

__all__ = ["CLIENT_SIDE", "XAIDecoder"]

CLIENT_SIDE: Final = (0, 1)
"""The types of calls that the caller runs: TOOL_CALL_TYPE_CLIENT_SIDE_TOOL, and none at all."""

_FOR_CALLS: Final = "REASON_TOOL_CALLS"
_CUTS: Final = {
    "REASON_MAX_LEN": "the token limit was reached",
    "REASON_MAX_CONTEXT": "the model's context is full",
    "REASON_TIME_LIMIT": "the time limit of the server was reached",
}
_TEXTS: Final = ("content", "reasoning_content", "encrypted_content")


class XAIDecoder:
    """Reads one answer of xAI, whole or in chunks."""

    seal_on_close = False

    def __init__(self) -> None:
        """Start a response."""
        self.model: str | None = None
        self._head: JsonObject = {}
        self._outputs: dict[int, _Output] = {}
        self._calls = 0

    @property
    def begun(self) -> bool:
        """Whether an output has been seen."""
        return bool(self._outputs)

    @property
    def finished(self) -> bool:
        """Whether every output of the model has given its finish reason."""
        own = [output.finish for output in self._outputs.values() if output.role == "assistant"]
        return bool(own) and all(own)

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:  # noqa: ARG002  # both are alike
        """Return what is in one chunk, or in a whole response."""
        if event.get("error"):
            raise reported(event["error"])
        return self._items(event)

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the model's messages: more than one where the service has run tools of its own between them."""
        by_number = {call.index: call for call in calls}
        messages = [output.message(by_number) for _, output in sorted(self._outputs.items())]
        return [message for message in messages if len(message) > 1]

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole response; a stream's chunks are folded into one."""
        by_number = {call.index: call for call in calls}
        outputs = [
            {"index": index, "message": output.message(by_number, exact=True), "finish_reason": output.finish}
            for index, output in sorted(self._outputs.items())
        ]
        return {**self._head, "outputs": outputs}

    def _items(self, event: JsonObject) -> Iterator[WireItem]:
        self.model = self.model or event.get("model") or None
        self._head |= {key: value for key, value in event.items() if key != "outputs"}
        for given in event.get("outputs", ()):
            output = self._outputs.get(given["index"])
            if output is None:
                output = self._outputs[given["index"]] = _Output(given["role"])
            output.fold(given)
            if output.role == "assistant" and given["content"]:
                yield TextDelta(given["content"])
            for call in given["tool_calls"]:
                if call["type"] not in CLIENT_SIDE:
                    output.calls.append(call)
                    continue
                output.calls.append(self._calls)
                yield _delta(call, self._calls)
                self._calls += 1
            yield from _stop(output, given["finish_reason"])
        if event.get("usage"):
            yield _usage(event["usage"])


class _Output:
    """One message of the answer while it arrives; its calls are the service's own, or numbers of the caller's."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.finish: str | None = None
        self.calls: list[JsonObject | int] = []
        self._texts: dict[str, list[str]] = {}

    def fold(self, given: JsonObject) -> None:
        for key in _TEXTS:
            if given[key]:
                self._texts.setdefault(key, []).append(given[key])

    def message(self, calls: Mapping[int, ToolCall], *, exact: bool = False) -> JsonObject:
        message: JsonObject = {"role": self.role, **{key: "".join(pieces) for key, pieces in self._texts.items()}}
        entries: list[JsonObject] = []
        for one in self.calls:
            if not isinstance(one, int):
                entries.append(one)
            elif one in calls:
                entries.append(_entry(calls[one], exact=exact))
        if entries:
            message["tool_calls"] = entries
            if self.role == "tool":
                message["tool_call_id"] = entries[0]["id"]
        return message


def _delta(call: JsonObject, number: int) -> CallDelta:
    function = call["function"]
    kept = {key: call[key] for key in ("status", "error_message") if call[key]}
    return CallDelta(number, call["id"] or None, function["name"] or None, function["arguments"], whole=True, extra=kept or None)


def _entry(call: ToolCall, *, exact: bool) -> JsonObject:
    name, arguments = (call.name, call.arguments) if exact else (legal_name(call.name), call.arguments or "{}")
    return {**call.extra, "id": call.id or "", "type": "function", "function": {"name": name, "arguments": arguments}}


def _stop(output: _Output, reason: str) -> Iterator[Stop]:
    """Tell why an output ended. One that ends in order to have the service's own tools run has no calls of the caller's."""
    if reason:
        output.finish = reason
        cut = _CUTS.get(reason)
        own = any(not isinstance(call, int) for call in output.calls)
        yield Stop(reason, f"{cut} ({reason})" if cut else None, calls=reason == _FOR_CALLS and not own)


def _usage(usage: Mapping[str, int]) -> Usage:
    """Count tokens as all providers do: reasoning is not in ``completion_tokens`` here, but in the total (as recorded of xAI)."""
    prompt, completion, reasoning = usage["prompt_tokens"], usage["completion_tokens"], usage["reasoning_tokens"]
    output = usage["total_tokens"] - prompt if usage["total_tokens"] else completion + reasoning
    return Usage(prompt, output, usage["cached_prompt_text_tokens"], reasoning)
