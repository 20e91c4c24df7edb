"""The chat completions format, written: what a model says, as OpenAI's service would send it.

Sources: OpenAI's API reference, "Create chat completion" and "Streaming"; the errors as its service words them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["DONE", "ChatFormat", "Event", "event_bytes", "json_bytes"]

DONE: Final = "[DONE]"
_UNANSWERED: Final = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: {}"
)
_ALONE: Final = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
_NOT_FOUND: Final = "Invalid parameter: 'tool_call_id' of '{}' not found in 'tool_calls' of previous message."


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        data: A JSON value, or a text that is sent as it is.
        at: Seconds since the request.
    """

    data: Any
    at: float = 0.0


def json_bytes(value: Any) -> bytes:
    """Write JSON; lone surrogates become escapes, as a server's library would write them."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def event_bytes(data: Any) -> bytes:
    """Write one server-sent event."""
    return b"data: %s\n\n" % (data.encode() if isinstance(data, str) else json_bytes(data))


class ChatFormat:
    """OpenAI's chat completions."""

    path = "/chat/completions"

    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""
        messages = sent.body.get("messages") if is_object(sent.body) else None
        if not is_array(messages) or not messages:
            return self.error(400, "Missing required parameter: 'messages'.", param="messages")
        calls: list[str] = []
        for position, message in enumerate(messages):
            role = message.get("role") if is_object(message) else None
            told = None
            if role != "tool":
                told = _UNANSWERED.format(", ".join(calls)) if calls else None
                calls = _asked_ids(message)
            elif message.get("tool_call_id") in calls:
                calls.remove(message["tool_call_id"])
            else:
                told = _NOT_FOUND.format(message.get("tool_call_id")) if calls else _ALONE
            if told is not None:
                return self.error(400, told, param=f"messages.[{position}].role")
        if calls:
            return self.error(400, _UNANSWERED.format(", ".join(calls)), param=f"messages.[{len(messages)}].role")
        return None

    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.body.get("stream") is True

    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        return [_calls(message) for message in sent.body["messages"] if message.get("role") == "assistant"]

    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in a message."""
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in saying.calls
        ]

    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        message: JsonObject = {"role": "assistant", "content": saying.text or None, "refusal": None}
        if entries:
            message["tool_calls"] = list(entries)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(saying, entries)}
        return {**_head(sent, "chat.completion"), "choices": [choice], "usage": _usage(sent, saying)}

    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream."""
        options = sent.body.get("stream_options")
        with_usage = is_object(options) and options.get("include_usage") is True
        chunk_head = {**_head(sent, "chat.completion.chunk"), **({"usage": None} if with_usage else {})}

        def chunk(at: float, delta: JsonObject, finish: str | None = None) -> Event:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return Event({**chunk_head, "choices": [choice]}, at)

        events = [chunk(0.0, {"role": "assistant", "content": None, "refusal": None})]
        events += [chunk(0.0, {"content": piece}) for piece in _split(saying.text, pieces)]
        began = 0.0
        for position, entry in enumerate(entries):
            ends = saying.calls[min(position, len(saying.calls) - 1)].at if saying.calls else saying.end
            deltas = _deltas(entry, position, pieces)
            step = (ends - began) / len(deltas)
            events += [chunk(began + step * number, {"tool_calls": [delta]}) for number, delta in enumerate(deltas, 1)]
            began = ends
        events.append(chunk(saying.end, {}, _finish(saying, entries)))
        if with_usage:
            events.append(Event({**chunk_head, "choices": [], "usage": _usage(sent, saying)}, saying.end))
        return [*events, Event(DONE, saying.end)]

    def error(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> Answer:
        """Return an error in the words of the service."""
        body = {"error": {"message": message, "type": type, "param": param, "code": code}}
        return Answer(json_bytes(body), status=status)


def _asked_ids(message: Any) -> list[str]:
    entries = message.get("tool_calls") if is_object(message) and message.get("role") == "assistant" else None
    return [str(entry.get("id")) for entry in entries if is_object(entry)] if is_array(entries) else []


def _calls(message: JsonObject) -> list[tuple[str, str]]:
    entries = message.get("tool_calls")
    functions = [entry.get("function") for entry in entries if is_object(entry)] if is_array(entries) else []
    return [(str(one.get("name")), str(one.get("arguments"))) for one in functions if is_object(one)]


def _deltas(entry: Any, position: int, pieces: int | None) -> list[Any]:
    """Split a call into what its chunks have: id and name first, then pieces of the arguments."""
    if not is_object(entry):
        return [entry]
    function = entry.get("function")
    text = function.get("arguments") if is_object(function) else None
    if pieces is None or not isinstance(text, str):
        return [{"index": position, **entry}]
    first = {"index": position, **entry, "function": {**entry["function"], "arguments": ""}}
    return [first, *({"index": position, "function": {"arguments": piece}} for piece in _split(text, pieces))]


def _split(text: str, size: int | None) -> list[str]:
    return [text[start : start + (size or len(text))] for start in range(0, len(text), size or len(text) or 1)]


def _finish(saying: Saying, entries: Sequence[Any]) -> str:
    return saying.finish or ("tool_calls" if entries else "stop")


def _head(sent: Sent, kind: str) -> JsonObject:
    model = sent.body.get("model")
    return {"id": "chatcmpl-0123456789", "object": kind, "created": 1_750_000_000, "model": model}


def _usage(sent: Sent, saying: Saying) -> JsonObject:
    """Return counts of the right order: a token is about four characters."""
    prompt = len(sent.raw) // 4
    answer = len(saying.text) // 4 + sum(8 + len(call.arguments) // 4 for call in saying.calls)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
