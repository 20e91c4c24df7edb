"""The Responses format, written: what a model says, as OpenAI's service would send it.

Sources: OpenAI's API reference, "Create a model response" and "Streaming events"; its guides to function calling and to
reasoning; the recordings of ``openai.responses``; the errors as its service words them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from typing_extensions import override

from polycall.testing import _responses_rules as rules
from polycall.testing._format import Event, Format, counts, digest, event_bytes, json_bytes, objects, paced, split
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["ResponsesFormat"]

_CREATED: Final = 1_750_000_000
_LIMITS: Final = {"length": "max_output_tokens", "max_output_tokens": "max_output_tokens", "content_filter": "content_filter"}


class ResponsesFormat(Format):
    """OpenAI's Responses.

    An answer with calls begins with an item of reasoning, which has to come back before its calls: with its
    ``encrypted_content`` where nothing is stored. A response that is stored can be gone on from by its id. The finish reasons of
    a script are ``length`` and ``content_filter``, or the status.
    """

    name = "responses"

    def __init__(self) -> None:
        """Make a service that has stored nothing."""
        self._stored: dict[str, list[Any]] = {}

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""
        return path.endswith("/responses")

    @override
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""
        body = sent.body
        before = body.get("previous_response_id") if is_object(body) else None
        if before is not None and before not in self._stored:
            told = f"Previous response with id '{before}' not found."
            return self.error(400, told, code="previous_response_not_found", param="previous_response_id")
        found = rules.problem(body, self._items(sent)) if is_object(body) else (400, "We could not parse the JSON body.", None)
        return None if found is None else self.error(found[0], found[1], param=found[2])

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.body.get("stream") is True

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        answers: list[list[tuple[str, str]]] = []
        said = False
        for item in objects(self._items(sent)):
            if not rules.by_model(item):
                said = False
                continue
            if not said:
                answers.append([])
            said = True
            if item.get("type") == "function_call":
                answers[-1].append((str(item.get("name")), str(item.get("arguments"))))
        return answers

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn."""
        return [
            {
                "id": f"fc_{call.id.removeprefix('call_')}",
                "type": "function_call",
                "status": "completed",
                "arguments": call.arguments,
                "call_id": call.id,
                "name": call.name,
            }
            for call in saying.calls
        ]

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        output = [*_reasoning(sent, saying, entries), *_message(saying), *entries]
        return self._response(sent, saying, output)

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream."""
        begun = {**self._response(sent, saying, []), "status": "in_progress", "usage": None}
        timed = [(0.0, {"type": f"response.{word}", "response": begun}) for word in ("created", "in_progress")]
        items: list[Any] = [*_reasoning(sent, saying, entries), *_message(saying)]
        timed += [(0.0, event) for index, item in enumerate(items) for event in _item(index, item, pieces)]
        calls = [[*_item(len(items) + place, entry, pieces)] for place, entry in enumerate(entries)]
        for call, times in zip(calls, paced(saying, [len(call) for call in calls]), strict=True):
            timed += zip(times, call, strict=True)
        response = self._response(sent, saying, [*items, *entries])
        timed.append((saying.end, {"type": f"response.{response['status']}", "response": response}))
        return [Event({**event, "sequence_number": number}, at) for number, (at, event) in enumerate(timed)]

    @override
    def frame(self, sent: Sent, number: int, data: Any) -> bytes:
        """Write one event of a stream, with the name of its type."""
        return event_bytes(data, str(data["type"]) if is_object(data) and "type" in data else None)

    @override
    def changed(self, entry: Any, name: Any = ..., arguments: Any = ...) -> Any:
        """Return a call with another name, or with other arguments."""
        given = {"name": name, "arguments": arguments}
        return {**entry, **{key: value for key, value in given.items() if value is not ...}}

    @override
    def calls_in(self, events: Sequence[Event]) -> list[list[int]]:
        """Return which events of a stream each call is made of, by their positions."""
        found: dict[Any, list[int]] = {}
        for number, event in enumerate(events):
            item: JsonObject = event.data.get("item") or {}
            if item.get("type") == "function_call":
                found.setdefault(event.data["output_index"], [])
            if event.data.get("output_index") in found:
                found[event.data["output_index"]].append(number)
        return list(found.values())

    @override
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the service."""
        error = {"message": message, "type": type or "invalid_request_error", "param": param, "code": code}
        return Answer(json_bytes({"error": error}), status=status)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        told = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys."
        return self.error(401, told, code="invalid_api_key")

    def _items(self, sent: Sent) -> list[Any]:
        """Return the whole conversation, what was stored before it too."""
        given = sent.body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given if is_array(given) else []
        return [*self._stored.get(str(sent.body.get("previous_response_id")), ()), *items]

    def _response(self, sent: Sent, saying: Saying, output: list[Any]) -> JsonObject:
        prompt, answer = counts(sent, saying)
        stored = sent.body.get("store") is not False
        name = f"resp_{hashlib.sha256(sent.raw).hexdigest()[:48]}"
        if stored and output:
            self._stored[name] = [*self._items(sent), *output]
        limit = _LIMITS.get(saying.finish or "")
        return {
            "id": name,
            "object": "response",
            "created_at": _CREATED,
            "status": "incomplete" if limit else saying.finish or "completed",
            "error": None,
            "incomplete_details": {"reason": limit} if limit else None,
            "instructions": sent.body.get("instructions"),
            "metadata": {},
            "model": sent.body.get("model"),
            "output": output,
            "parallel_tool_calls": sent.body.get("parallel_tool_calls", True),
            "previous_response_id": sent.body.get("previous_response_id"),
            "store": stored,
            "temperature": 1.0,
            "tool_choice": sent.body.get("tool_choice", "auto"),
            "tools": sent.body.get("tools", []),
            "top_p": 1.0,
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": answer,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": prompt + answer,
            },
        }


def _reasoning(sent: Sent, saying: Saying, entries: Sequence[Any]) -> list[JsonObject]:
    """Return what was thought before the calls, encrypted where that is asked for."""
    if not entries or not saying.calls:
        return []
    name = rules.reasoning_id(f"fc_{saying.calls[0].id.removeprefix('call_')}")
    item: JsonObject = {"id": name, "type": "reasoning", "summary": []}
    include = sent.body.get("include")
    if is_array(include) and "reasoning.encrypted_content" in include:
        item["encrypted_content"] = digest(name)
    return [item]


def _message(saying: Saying) -> list[JsonObject]:
    if not saying.text:
        return []
    content: list[JsonObject] = [{"type": "output_text", "annotations": [], "logprobs": [], "text": saying.text}]
    return [{"id": f"msg_{saying.turn:03}", "type": "message", "status": "completed", "content": content, "role": "assistant"}]


def _item(index: int, item: Any, pieces: int | None) -> Iterator[JsonObject]:
    """Yield the events of one item."""
    kind = item.get("type") if is_object(item) else None
    place = {"output_index": index, "item_id": item.get("id") if is_object(item) else None}
    begun: Any = item
    if kind == "function_call":
        begun = {**item, "status": "in_progress", "arguments": ""}
    elif kind == "message":
        begun = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "item": begun, "output_index": index}
    if kind == "message":
        yield from _text(place, item, pieces)
    elif kind == "function_call" and isinstance(item.get("arguments"), str):
        event = "response.function_call_arguments"
        for piece in split(item["arguments"], pieces):
            yield {"type": f"{event}.delta", **place, "delta": piece}
        yield {"type": f"{event}.done", **place, "name": item.get("name"), "arguments": item["arguments"]}
    yield {"type": "response.output_item.done", "item": item, "output_index": index}


def _text(place: JsonObject, item: JsonObject, pieces: int | None) -> Iterator[JsonObject]:
    (part,) = item["content"]
    where = {**place, "content_index": 0}
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in split(part["text"], pieces):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}
