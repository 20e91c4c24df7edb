"""The messages format, written: what a model says, as Anthropic's service would send it.

Sources: Anthropic's API reference ("Create a message", "Streaming messages", "Errors"), its guides to tool use and to extended
thinking, and the recordings of ``anthropic.messages``; the errors as its service words them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from typing_extensions import override

from polycall.testing import _anthropic_rules as rules
from polycall.testing._format import (
    Event,
    Format,
    argument_object,
    argument_text,
    counts,
    digest,
    event_bytes,
    json_bytes,
    object_or_text,
    objects,
    paced,
    split,
)
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_object

__all__ = ["AnthropicFormat"]

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_THOUGHT: Final = "Each place needs a call of its own."


class AnthropicFormat(Format):
    """Anthropic's messages.

    With ``thinking`` on, an answer with calls begins with a signed thought, which has to come back as it was. Argument texts that
    are no JSON object are sent as they are in a stream, and as ``input`` of that text in a whole answer.
    """

    name = "anthropic"

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format; Vertex AI's are too."""
        return path.endswith(("/messages", ":rawPredict", ":streamRawPredict"))

    @override
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""
        told = rules.problem(sent)
        return None if told is None else self.error(400, told)

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.body.get("stream") is True

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        turns = [message for message in sent.body["messages"] if message.get("role") == "assistant"]
        return [
            [
                (str(block.get("name")), argument_text(block.get("input")))
                for block in objects(turn.get("content"))
                if block.get("type") == "tool_use"
            ]
            for turn in turns
        ]

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn; ``input`` is a text where an object would not say the same."""
        return [
            {
                "type": "tool_use",
                "id": f"toolu_01{call.id.removeprefix('call_')}",
                "name": call.name,
                "input": object_or_text(call.arguments),
            }
            for call in saying.calls
        ]

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        content = [*_thoughts(sent, entries), *([{"type": "text", "text": saying.text}] if saying.text else [])]
        message = _message(sent, saying)
        message["content"] = [*content, *map(_whole, entries)]
        return {**message, **_stop(saying, entries)}

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream."""
        start: JsonObject = {**_message(sent, saying), "content": [], "stop_reason": None, "stop_sequence": None}
        events = [Event({"type": "message_start", "message": start}), Event({"type": "ping"})]
        index = 0
        for thought in _thoughts(sent, entries):
            deltas = [_delta("thinking", _THOUGHT), _delta("signature", thought["signature"])]
            events += map(Event, _block(index, {**thought, "thinking": "", "signature": ""}, deltas))
            index += 1
        if saying.text:
            deltas = [_delta("text", piece) for piece in split(saying.text, pieces)]
            events += map(Event, _block(index, {"type": "text", "text": ""}, deltas))
            index += 1
        calls = [[*_call(index + place, entry, pieces)] for place, entry in enumerate(entries)]
        for call, times in zip(calls, paced(saying, [len(call) for call in calls]), strict=True):
            events += [Event(data, at) for at, data in zip(times, call, strict=True)]
        usage = {"output_tokens": counts(sent, saying)[1]}
        events.append(Event({"type": "message_delta", "delta": _stop(saying, entries), "usage": usage}, saying.end))
        return [*events, Event({"type": "message_stop"}, saying.end)]

    @override
    def frame(self, sent: Sent, number: int, data: Any) -> bytes:
        """Write one event of a stream, with the name of its type."""
        return event_bytes(data, str(data["type"]) if is_object(data) and "type" in data else None)

    @override
    def changed(self, entry: Any, name: Any = ..., arguments: Any = ...) -> Any:
        """Return a call with another name, or with other arguments."""
        given = {"name": name, "input": object_or_text(arguments) if isinstance(arguments, str) else arguments}
        return {**entry, **{key: value for key, value in given.items() if value is not ...}}

    @override
    def calls_in(self, events: Sequence[Event]) -> list[list[int]]:
        """Return which events of a stream each call is made of, by their positions."""
        found: dict[Any, list[int]] = {}
        for number, event in enumerate(events):
            block: JsonObject = event.data.get("content_block") or {}
            if block.get("type") == "tool_use":
                found[event.data["index"]] = []
            if event.data.get("index") in found:
                found[event.data["index"]].append(number)
        return list(found.values())

    @override
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the service, which knows neither ``code`` nor ``param``."""
        error = {"type": type or _KINDS.get(status, "api_error"), "message": message}
        body = {"type": "error", "error": error, "request_id": "req_011CTestingPolycall00001"}
        return Answer(json_bytes(body), status=status, headers={"request-id": "req_011CTestingPolycall00001"})

    @override
    def key(self, sent: Sent) -> str:
        """Return the key that was sent."""
        return sent.headers.get("x-api-key") or super().key(sent)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        return self.error(401, "invalid x-api-key")


def _message(sent: Sent, saying: Saying) -> JsonObject:
    prompt, answer = counts(sent, saying)
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {
        "id": "msg_01PolycallTesting000001",
        "type": "message",
        "role": "assistant",
        "model": sent.body.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt, **cached, "output_tokens": answer},
    }


def _stop(saying: Saying, entries: Sequence[Any]) -> JsonObject:
    return {"stop_reason": saying.finish or ("tool_use" if entries else "end_turn"), "stop_sequence": None}


def _thoughts(sent: Sent, entries: Sequence[Any]) -> list[JsonObject]:
    if not entries or not rules.thinks(sent.body):
        return []
    return [{"type": "thinking", "thinking": _THOUGHT, "signature": digest(_THOUGHT)}]


def _whole(entry: Any) -> Any:
    """Put the arguments into a whole answer: as an object, else as the text that they are."""
    if not is_object(entry) or not isinstance(entry.get("input"), str):
        return entry
    given = argument_object(entry["input"])
    return {**entry, "input": entry["input"] if "invalid_arguments" in given else given}


def _call(index: int, entry: Any, pieces: int | None) -> Iterator[JsonObject]:
    """Yield the events of one call; the first piece of its arguments is empty, as the service has it."""
    if not is_object(entry) or "input" not in entry:
        yield from _block(index, entry, [])
        return
    text = argument_text(entry["input"])
    deltas = [_delta("input_json", piece, "partial_json") for piece in ("", *split(text, pieces))]
    yield from _block(index, {**entry, "input": {}}, deltas)


def _block(index: int, block: Any, deltas: Sequence[JsonObject]) -> Iterator[JsonObject]:
    yield {"type": "content_block_start", "index": index, "content_block": block}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


def _delta(kind: str, text: str, key: str | None = None) -> JsonObject:
    return {"type": f"{kind}_delta", key or kind: text}
