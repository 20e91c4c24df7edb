"""Cohere's chat format of version 2, written: what a model says, as its service would send it.

Sources: Cohere's API reference, "Chat" and "Chat with Streaming"; its guide to tool use; the recordings of ``cohere.v2.chat``.
How its service words the errors of a broken conversation is not known: those words are this server's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typing_extensions import override

from polycall.testing._format import Event, Format, counts, event_bytes, json_bytes, objects, paced, split
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["CohereFormat"]


class CohereFormat(Format):
    """Cohere's chat, version 2. What the model says beside calls is its ``tool_plan``."""

    name = "cohere"

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""
        return path.endswith("/v2/chat")

    @override
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""
        messages = sent.body.get("messages") if is_object(sent.body) else None
        if not is_array(messages) or not messages:
            return self.error(400, "invalid request: messages must be at least 1 message long")
        told = next(_problems(messages), None)
        return None if told is None else self.error(400, f"invalid request: {told}")

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.body.get("stream") is True

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        turns = [message for message in sent.body["messages"] if message.get("role") == "assistant"]
        calls = [[entry.get("function") for entry in objects(turn.get("tool_calls"))] for turn in turns]
        return [[(str(one.get("name")), str(one.get("arguments"))) for one in objects(turn)] for turn in calls]

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn."""
        return [
            {
                "id": f"{call.name}_{call.id.removeprefix('call_').replace('_', '')}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in saying.calls
        ]

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        message: JsonObject = {"role": "assistant"}
        if entries:
            message |= {"tool_plan": saying.text, "tool_calls": list(entries)}
        elif saying.text:
            message["content"] = [{"type": "text", "text": saying.text}]
        ended = {"finish_reason": _finish(saying, entries), "usage": _usage(sent, saying)}
        return {"id": "00000000-0000-4000-8000-000000000001", "message": message, **ended}

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream."""
        empty: JsonObject = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        events = [Event({"id": "00000000-0000-4000-8000-000000000001", **_event("message-start", empty)})]
        if entries:
            events += [Event(_event("tool-plan-delta", {"tool_plan": piece})) for piece in split(saying.text, pieces)]
        elif saying.text:
            events.append(Event(_event("content-start", {"content": {"type": "text", "text": ""}}, 0)))
            texts = split(saying.text, pieces)
            events += [Event(_event("content-delta", {"content": {"text": piece}}, 0)) for piece in texts]
            events.append(Event({"type": "content-end", "index": 0}))
        calls = [[*_call(place, entry, pieces)] for place, entry in enumerate(entries)]
        for call, times in zip(calls, paced(saying, [len(call) for call in calls]), strict=True):
            events += [Event(data, at) for at, data in zip(times, call, strict=True)]
        ended = {"finish_reason": _finish(saying, entries), "usage": _usage(sent, saying)}
        return [*events, Event({"type": "message-end", "delta": ended}, saying.end)]

    @override
    def frame(self, sent: Sent, number: int, data: Any) -> bytes:
        """Write one event of a stream, with the name of its type."""
        return event_bytes(data, str(data["type"]) if is_object(data) and "type" in data else None)

    @override
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the service, which knows a message alone."""
        return Answer(json_bytes({"id": "00000000-0000-4000-8000-000000000002", "message": message}), status=status)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        return self.error(401, "invalid api token")


def _problems(messages: Sequence[Any]) -> Iterator[str]:
    waiting: list[str] = []
    for place, message in enumerate(messages):
        role = message.get("role") if is_object(message) else None
        if role not in {"system", "user", "assistant", "tool"}:
            yield f"messages[{place}].role must be one of 'system', 'user', 'assistant' or 'tool'"
            return
        if role == "tool":
            name = str(message.get("tool_call_id"))
            if name not in waiting:
                yield f"messages[{place}]: tool call id '{name}' not found in the tool calls of the message before, or answered"
            waiting = [one for one in waiting if one != name]
            if not message.get("content"):
                yield f"messages[{place}].content must not be empty"
            continue
        if waiting:
            yield f"messages[{place}]: no tool message for the tool call ids {waiting}"
        waiting = [str(entry.get("id")) for entry in objects(message.get("tool_calls"))] if role == "assistant" else []
        if role == "assistant" and not waiting and not message.get("content"):
            yield f"messages[{place}]: an assistant message must have content or tool_calls"
        if role == "user" and not message.get("content"):
            yield f"messages[{place}].content must not be empty"
    if waiting:
        yield f"no tool message for the tool call ids {waiting}"


def _event(kind: str, message: JsonObject, index: int | None = None) -> JsonObject:
    return {"type": kind, **({} if index is None else {"index": index}), "delta": {"message": message}}


def _call(index: int, entry: Any, pieces: int | None) -> Iterator[JsonObject]:
    """Yield the events of one call; ``tool_calls`` is an object there."""
    function = entry.get("function") if is_object(entry) else None
    text = function.get("arguments") if is_object(function) else None
    if not isinstance(text, str):
        yield _event("tool-call-start", {"tool_calls": entry}, index)
    else:
        yield _event("tool-call-start", {"tool_calls": {**entry, "function": {**entry["function"], "arguments": ""}}}, index)
        for piece in split(text, pieces):
            yield _event("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index)
    yield {"type": "tool-call-end", "index": index}


def _finish(saying: Saying, entries: Sequence[Any]) -> str:
    return saying.finish or ("TOOL_CALL" if entries else "COMPLETE")


def _usage(sent: Sent, saying: Saying) -> JsonObject:
    prompt, answer = counts(sent, saying)
    tokens = {"input_tokens": float(prompt), "output_tokens": float(answer)}
    return {"billed_units": tokens, "tokens": tokens}
