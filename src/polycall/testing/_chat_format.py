"""The chat completions format, written: what a model says, as OpenAI's service would send it.

Sources: OpenAI's API reference, "Create chat completion" and "Streaming"; the errors as its service words them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from typing_extensions import override

from polycall.testing._format import Event, Format, counts, json_bytes, paced, split
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["DONE", "ChatFormat"]

DONE: Final = "[DONE]"
_UNANSWERED: Final = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: {}"
)
_ALONE: Final = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
_NOT_FOUND: Final = "Invalid parameter: 'tool_call_id' of '{}' not found in 'tool_calls' of previous message."


class ChatFormat(Format):
    """OpenAI's chat completions."""

    name = "chat"

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""
        return path.endswith("/chat/completions")

    @override
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

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.body.get("stream") is True

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        return [_calls(message) for message in sent.body["messages"] if message.get("role") == "assistant"]

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in a message."""
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in saying.calls
        ]

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        message: JsonObject = {"role": "assistant", "content": saying.text or None, "refusal": None}
        if entries:
            message["tool_calls"] = list(entries)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(saying, entries)}
        return {**_head(sent, "chat.completion"), "choices": [choice], "usage": _usage(sent, saying)}

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream."""
        options = sent.body.get("stream_options")
        with_usage = is_object(options) and options.get("include_usage") is True
        chunk_head = {**_head(sent, "chat.completion.chunk"), **({"usage": None} if with_usage else {})}

        def chunk(at: float, delta: JsonObject, finish: str | None = None) -> Event:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return Event({**chunk_head, "choices": [choice]}, at)

        events = [chunk(0.0, {"role": "assistant", "content": None, "refusal": None})]
        events += [chunk(0.0, {"content": piece}) for piece in split(saying.text, pieces)]
        deltas = [_deltas(entry, position, pieces) for position, entry in enumerate(entries)]
        for call, times in zip(deltas, paced(saying, [len(call) for call in deltas]), strict=True):
            events += [chunk(at, {"tool_calls": [delta]}) for at, delta in zip(times, call, strict=True)]
        events.append(chunk(saying.end, {}, _finish(saying, entries)))
        if with_usage:
            events.append(Event({**chunk_head, "choices": [], "usage": _usage(sent, saying)}, saying.end))
        return [*events, Event(DONE, saying.end)]

    @override
    def changed(self, entry: Any, name: Any = ..., arguments: Any = ...) -> Any:
        """Return a call with another name, or with other arguments."""
        function = entry["function"]
        given = {"name": name, "arguments": arguments}
        return {**entry, "function": {**function, **{key: value for key, value in given.items() if value is not ...}}}

    @override
    def call_of(self, data: Any) -> Any:
        """Return a key of the call that an event is part of; None where it is part of none."""
        if not is_object(data) or not data["choices"]:
            return None
        entries = data["choices"][0]["delta"].get("tool_calls")
        return entries[0].get("index") if entries and "function" in entries[0] else None

    @override
    def error(
        self,
        status: int,
        message: str,
        *,
        type: str = "",
        code: str | None = None,
        param: str | None = None,
    ) -> Answer:
        """Return an error in the words of the service."""
        body = {"error": {"message": message, "type": type or "invalid_request_error", "param": param, "code": code}}
        return Answer(json_bytes(body), status=status)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        masked = f"{given[:3]}{'*' * 8}{given[-4:]}" if len(given) > 12 else "*" * len(given)  # noqa: PLR2004  # as the service does
        told = f"Incorrect API key provided: {masked}. You can find your API key at https://platform.openai.com/account/api-keys."
        return self.error(401, told, code="invalid_api_key")


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
    return [first, *({"index": position, "function": {"arguments": piece}} for piece in split(text, pieces))]


def _finish(saying: Saying, entries: Sequence[Any]) -> str:
    return saying.finish or ("tool_calls" if entries else "stop")


def _head(sent: Sent, kind: str) -> JsonObject:
    model = sent.body.get("model")
    return {"id": "chatcmpl-0123456789", "object": kind, "created": 1_750_000_000, "model": model}


def _usage(sent: Sent, saying: Saying) -> JsonObject:
    prompt, answer = counts(sent, saying)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
