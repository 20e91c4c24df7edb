"""Ollama's own chat format, read: one response, whole or line by line.

Sources: Ollama's API reference, "Generate a chat completion", and `ChatResponse` in its ``api/types.go``; recordings in
``tests/wire/ollama``. Calls come whole, their arguments as objects.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from polycall._failure import reported, shown
from polycall._framing import arguments_text
from polycall._tools import legal_name
from polycall.errors import TransportError
from polycall.formats._sendable import sendable
from polycall.types import CallDelta, JsonObject, Message, Stop, TextDelta, ToolCall, Usage, WireItem, is_array, is_object

__all__ = ["CALL_ID", "OllamaDecoder", "as_object", "is_base64"]

CALL_ID: Final = "tool_call_id"
_CUTS: Final = {"length": "the token limit was reached", "unload": "the model was unloaded"}
_NO_CALL: Final = "error parsing tool call"
"""How the server begins when its model wrote a call that it cannot read (github.com/ollama/ollama/issues/12884); some versions
say so in the place of ``error`` (issues/11781)."""
_REFUSED: Final = "error"
_TEXTS: Final = frozenset({"content", "thinking"})
_KNOWN: Final = _TEXTS | {"role", "tool_calls"}


class OllamaDecoder:
    """Reads one response."""

    seal_on_close = False  # every call comes whole

    def __init__(self) -> None:
        """Start a response."""
        self.model: str | None = None
        self.begun = False
        self.finished = False
        self._head: JsonObject = {}
        self._texts: dict[str, list[str]] = {}
        self._others: JsonObject = {}
        self._entries: list[Any] = []
        self._logprobs: list[Any] = []

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one line of a stream, or in a whole body."""
        error, message = event.get("error") or event.get(_NO_CALL), event.get("message")
        text = error.get("message") if is_object(error) else error
        if _NO_CALL in event or (isinstance(text, str) and text.startswith(_NO_CALL)):
            return self._failed()
        if not is_object(message):
            if error:
                raise _reported(error, event)
            if whole:
                raise TransportError("the server's answer has no message", body=shown(event), transient=True)
        return self._items(event, message if is_object(message) else {})

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the assistant's message, with its thinking; a call has an id there where the server gave it one."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        turn: JsonObject = {"role": "assistant", "content": "", **self._others, **texts}
        if "images" in turn:  # the SDK reads files for what is no data, and it is the server who has written this
            images: Any = turn.pop("images")
            turn |= {"images": images} if is_array(images) and all(map(is_base64, images)) else {}
        if calls:
            turn["tool_calls"] = [self._entry(call) for call in calls]
        return [sendable(turn)]

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole body; the lines of a stream are folded into one."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        message: JsonObject = {"role": "assistant", "content": "", **self._others, **texts}
        if calls:
            message["tool_calls"] = [self._entry(call) for call in calls]
        return {**self._head, "message": message, **({"logprobs": self._logprobs} if self._logprobs else {})}

    def _failed(self) -> Iterator[WireItem]:
        """Return that the model wrote a call which the server could not read: the others, if there are any, came before it."""
        self.begun = self.finished = True
        yield Stop(_REFUSED, "the model wrote a call that the server could not read" if self._entries else None, calls=True)

    def _items(self, event: JsonObject, message: JsonObject) -> Iterator[WireItem]:
        if self.model is None and isinstance(event.get("model"), str):
            self.model = event["model"]
        self._head |= {key: value for key, value in event.items() if key not in {"message", "logprobs"}}
        if is_array(event.get("logprobs")):
            self._logprobs += event["logprobs"]
        self.begun = self.begun or bool(message) or bool(event.get("done"))
        for key, value in message.items():
            if key in _TEXTS and isinstance(value, str):
                self._texts.setdefault(key, []).append(value)
            elif key not in _KNOWN and value is not None:
                self._others[key] = value
        if isinstance(message.get("content"), str) and message["content"]:
            yield TextDelta(message["content"])
        entries = message.get("tool_calls")
        for entry in entries if is_array(entries) else [entries] if entries else ():
            yield self._call(entry)
        if event.get("done"):
            yield from self._end(event)
        if event.get("error"):
            raise _reported(event["error"], event)

    def _call(self, entry: Any) -> CallDelta:
        """Return a call. Its place in the answer is its key: the server's ``index`` is left out, or 0, or repeated."""
        key = len(self._entries)
        self._entries.append(entry)
        if not is_object(entry):
            return CallDelta(key, arguments=arguments_text(entry), whole=True)
        given = entry.get("function")
        function: JsonObject = given if is_object(given) else {}
        name, call_id, arguments = function.get("name"), entry.get("id"), function.get("arguments")
        text = arguments if isinstance(arguments, str) else "" if arguments is None else arguments_text(arguments)
        return CallDelta(
            key, str(call_id) if call_id not in (None, "") else None, name if isinstance(name, str) else None, text, whole=True
        )

    def _end(self, event: JsonObject) -> Iterator[WireItem]:
        self.finished = True
        tokens, written = event.get("prompt_eval_count"), event.get("eval_count")
        if isinstance(tokens, int) or isinstance(written, int):
            yield Usage(tokens if isinstance(tokens, int) else None, written if isinstance(written, int) else None)
        reason = event.get("done_reason")
        reason = reason if isinstance(reason, str) else None
        words = _CUTS.get(reason or "")
        yield Stop(reason, f"{words} ({reason})" if words else None)

    def _entry(self, call: ToolCall) -> JsonObject:
        """Return a call as it is sent back: the server's own entry, with the arguments that the call has now."""
        given = self._entries[call.index] if call.index < len(self._entries) else None
        entry: JsonObject = dict(given) if is_object(given) else {}
        inner = entry.get("function")
        function: JsonObject = dict(inner) if is_object(inner) else {}
        if not isinstance(function.get("index"), int):
            function.pop("index", None)  # the server reads a number there, or refuses the request
        function |= {"name": legal_name(call.name), "arguments": as_object(call.arguments)}
        return {**entry, **({"id": call.id} if entry.get("id") else {}), "function": function}


def _reported(error: object, event: JsonObject) -> TransportError:
    """Return the error that a line reports: a text, beside which a status may stand."""
    return reported({**event, "message": error} if isinstance(error, str) else error)


def is_base64(value: object) -> bool:
    """Whether a value is a text in base 64, as the server takes images."""
    try:
        return isinstance(value, str) and bool(b64decode(value, validate=True))
    except ValueError:
        return False


def as_object(arguments: str) -> Mapping[str, Any]:
    """Return arguments as the object that the format has them in; what is none is kept as a text in one."""
    try:
        parsed: Any = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        parsed = None
    return parsed if is_object(parsed) else {"invalid_arguments": arguments}
