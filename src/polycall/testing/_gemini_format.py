"""The generateContent format, written: what a model says, as the Gemini API and Vertex AI would send it.

Sources: Google's API reference ("GenerateContentResponse", "Content"), its guides to function calling and to thought signatures,
and the recordings of ``google.generateContent`` and ``vertex.generateContent``; the errors as its services word them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from typing_extensions import override

from polycall.testing import _gemini_rules as rules
from polycall.testing._format import (
    EVENT_STREAM,
    Event,
    Format,
    argument_object,
    argument_text,
    counts,
    json_bytes,
    objects,
    paced,
    split,
)
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_object

__all__ = ["GeminiFormat"]

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_END: Final = "]"


class GeminiFormat(Format):
    """Google's generateContent.

    The first call of an answer has a thought signature, which models from Gemini 3 on want back; calls of those have ids as well.
    Arguments travel as objects: a text that is none is sent as ``{"invalid_arguments": <the text>}``, and an empty one as ``{}``.
    Each call comes in one piece. Without ``alt=sse`` a stream is a JSON array.
    """

    name = "gemini"

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""
        return path.endswith((":generateContent", ":streamGenerateContent"))

    @override
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""
        told = rules.problem(sent)
        return None if told is None else self.error(400, told)

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return ":streamGenerateContent" in sent.path

    @override
    def content_type(self, sent: Sent) -> str:
        """Return the content type of an answer."""
        return EVENT_STREAM if self.streamed(sent) and rules.by_events(sent) else "application/json; charset=UTF-8"

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        return [
            [(str(call.get("name")), argument_text(call.get("args", {}))) for call in rules.calls(content)]
            for content in rules.contents(sent.body)
            if content.get("role") == "model"
        ]

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn: parts, the first with a signature."""
        entries: list[JsonObject] = []
        for call in saying.calls:
            function: JsonObject = {"name": call.name, "args": argument_object(call.arguments)}
            signature = {} if entries else {"thoughtSignature": rules.signature(function)}
            entries.append({"functionCall": {"id": call.id, **function}, **signature})
        return entries

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        parts = [*([{"text": saying.text}] if saying.text else []), *_fitting(sent, entries)]
        return _response(sent, saying, parts, _finish(saying))

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream: texts, one event for each call, and one that says why it stopped."""
        events = [Event(_response(sent, saying, [{"text": piece}])) for piece in split(saying.text, pieces)]
        parts = _fitting(sent, entries)
        for part, times in zip(parts, paced(saying, [1] * len(parts)), strict=True):
            events.append(Event(_response(sent, saying, [part]), times[0]))
        events.append(Event(_response(sent, saying, [{"text": ""}], _finish(saying)), saying.end))
        return events if rules.by_events(sent) else [*events, Event(_END, saying.end)]

    @override
    def frame(self, sent: Sent, number: int, data: Any) -> bytes:
        """Write one event of a stream, or one element of the array."""
        if rules.by_events(sent):
            return super().frame(sent, number, data).replace(b"\n", b"\r\n")
        if isinstance(data, str):
            return data.encode()
        return (b",\r\n" if number else b"[") + json_bytes(data)

    @override
    def changed(self, entry: Any, name: Any = ..., arguments: Any = ...) -> Any:
        """Return a call with another name, or with other arguments, which are an object."""
        given = {"name": name, "args": argument_object(arguments) if isinstance(arguments, str) else arguments}
        function = {**entry["functionCall"], **{key: value for key, value in given.items() if value is not ...}}
        return {**entry, "functionCall": function}

    @override
    def calls_in(self, events: Sequence[Event]) -> list[list[int]]:
        """Return which events of a stream each call is made of, by their positions: one each."""
        return [[number] for number, event in enumerate(events) if '"functionCall"' in json.dumps(event.data)]

    @override
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the service, which knows neither ``code`` nor ``param``."""
        word = type or _STATUSES.get(status) or HTTPStatus(status).name
        body = {"error": {"code": status, "message": message, "status": word}}
        return Answer(json_bytes(body), status=status, content_type="application/json; charset=UTF-8")

    @override
    def key(self, sent: Sent) -> str:
        """Return the key that was sent."""
        return sent.headers.get("x-goog-api-key") or super().key(sent)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        return self.error(400, "API key not valid. Please pass a valid API key.")


def _fitting(sent: Sent, entries: Sequence[Any]) -> list[Any]:
    """Return the calls as this model makes them: older ones give no ids."""
    if rules.is_strict(sent):
        return list(entries)
    return [_without_id(entry) for entry in entries]


def _without_id(entry: Any) -> Any:
    function = entry.get("functionCall") if is_object(entry) else None
    if not is_object(function):
        return entry
    return {**entry, "functionCall": {key: value for key, value in function.items() if key != "id"}}


def _finish(saying: Saying) -> str:
    return saying.finish or "STOP"


def _response(sent: Sent, saying: Saying, parts: Sequence[Any], finish: str | None = None) -> JsonObject:
    prompt, answer = counts(sent, saying)
    candidate: JsonObject = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    called = any("functionCall" in part for part in objects(list(parts)))
    if called and finish == "STOP":
        candidate["finishMessage"] = "Model generated function call(s)."
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": answer, "totalTokenCount": prompt + answer}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": rules.model(sent),
        "responseId": "cOlyCaLlTeStInG0000001",
    }
