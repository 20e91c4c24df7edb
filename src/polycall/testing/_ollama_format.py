"""Ollama's own chat format, written: what a model says, as its server would send it.

Sources: Ollama's ``docs/api.md`` and ``docs/openapi.yaml``; the recordings of ``ollama.chat``. The real server takes every
conversation and leaves it to the model's template: that results answer calls, in their order and by their tools' names, is asked
for here because templates drop what does not; the words are this server's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typing_extensions import override

from polycall.testing._format import Event, Format, argument_object, argument_text, counts, json_bytes, objects, paced, split
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["OllamaFormat"]


class OllamaFormat(Format):
    """Ollama's own chat, in JSON lines.

    Calls have no ids, and each comes in one piece. Arguments travel as objects: a text that is none is sent as
    ``{"invalid_arguments": <the text>}``, and an empty one as ``{}``. A stream is the default, as the API has it.
    """

    name = "ollama"

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""
        return path.endswith("/api/chat")

    @override
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real server answers to a request that breaks its rules, or this one; None when it keeps them."""
        if not is_object(sent.body) or not sent.body.get("model"):
            return self.error(400, "model is required")
        messages = sent.body.get("messages")
        told = next(_problems(messages if is_array(messages) else []), None)
        return None if told is None else self.error(400, told)

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.body.get("stream") is not False

    @override
    def content_type(self, sent: Sent) -> str:
        """Return the content type of an answer."""
        return "application/x-ndjson" if self.streamed(sent) else "application/json; charset=utf-8"

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        turns = [message for message in sent.body.get("messages") or () if message.get("role") == "assistant"]
        return [[(str(one.get("name")), argument_text(one.get("arguments"))) for one in _functions(turn)] for turn in turns]

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn."""
        return [{"function": {"name": call.name, "arguments": argument_object(call.arguments)}} for call in saying.calls]

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        message: JsonObject = {"role": "assistant", "content": saying.text}
        if entries:
            message["tool_calls"] = list(entries)
        return {**_head(sent, message), **_ended(sent, saying)}

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the lines of a stream: texts, one for each call, and one that says why it stopped."""
        texts = [{"role": "assistant", "content": piece} for piece in split(saying.text, pieces)]
        events = [Event({**_head(sent, message), "done": False}) for message in texts]
        for entry, times in zip(entries, paced(saying, [1] * len(entries)), strict=True):
            message: JsonObject = {"role": "assistant", "content": "", "tool_calls": [entry]}
            events.append(Event({**_head(sent, message), "done": False}, times[0]))
        last = {**_head(sent, {"role": "assistant", "content": ""}), **_ended(sent, saying)}
        return [*events, Event(last, saying.end)]

    @override
    def frame(self, sent: Sent, number: int, data: Any) -> bytes:
        """Write one line of a stream."""
        return (data.encode() if isinstance(data, str) else json_bytes(data)) + b"\n"

    @override
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the server, which knows a message alone."""
        return Answer(json_bytes({"error": message}), status=status)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        return self.error(401, "unauthorized")


def _functions(message: JsonObject) -> list[JsonObject]:
    return objects([entry.get("function") for entry in objects(message.get("tool_calls"))])


def _problems(messages: Sequence[Any]) -> Iterator[str]:
    waiting: list[str] = []
    for place, message in enumerate(messages):
        role = message.get("role") if is_object(message) else None
        if role not in {"system", "user", "assistant", "tool"}:
            yield f"messages[{place}]: invalid role"
            return
        if role == "tool":
            due = waiting.pop(0) if waiting else None
            if due is None or message.get("tool_name", message.get("name")) != due:
                yield f"messages[{place}]: a result of {message.get('tool_name')!r} where one of {due!r} is due"
            continue
        if waiting:
            yield f"messages[{place}]: no result for the calls of {', '.join(waiting)}"
        functions = _functions(message) if role == "assistant" else []
        if any(not is_object(one.get("arguments")) for one in functions):
            yield "json: cannot unmarshal string into Go struct field ChatRequest.messages.tool_calls.function.arguments"
        waiting = [str(one.get("name")) for one in functions]
    if waiting:
        yield f"no result for the calls of {', '.join(waiting)}"


def _head(sent: Sent, message: JsonObject) -> JsonObject:
    return {"model": sent.body.get("model"), "created_at": "2026-11-20T12:00:00.000000Z", "message": message}


def _ended(sent: Sent, saying: Saying) -> JsonObject:
    prompt, answer = counts(sent, saying)
    spent = {"total_duration": 2_000_000_000, "load_duration": 1_000_000, "prompt_eval_duration": 300_000_000}
    counted = {"prompt_eval_count": prompt, "eval_count": answer, "eval_duration": 1_000_000_000}
    return {"done_reason": saying.finish or "stop", "done": True, **spent, **counted}
