"""Faults in the words of Anthropic's, Google's and OpenAI's newer format, as chat completions have them in theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from polycall.testing._faults import (
    ALL,
    ERROR,
    KEPT,
    RECOVERED,
    Arrivals,
    Cut,
    Fault,
    Honest,
    Outcome,
    Spoil,
    State,
    arrives,
    lost,
)
from polycall.testing._format import Event
from polycall.testing._wire import Answer
from polycall.types import JsonObject

_row = partial(Fault, where="own words")
_NATIVE: Final = frozenset({"anthropic", "gemini", "responses"})
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "error")
_LIMIT: Final = {"anthropic": "max_tokens", "gemini": "MAX_TOKENS", "responses": "length"}
_FILTER: Final = {"anthropic": "refusal", "gemini": "SAFETY", "responses": "content_filter"}
_UNKNOWN: Final = {"anthropic": "eos_token", "gemini": "SOMETHING_NEW"}
_BESIDE: Final[Mapping[str, JsonObject]] = {
    "anthropic": {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {"query": "x"}},
    "gemini": {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
    "responses": {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
}
_STRANGE: Final[Mapping[str, JsonObject]] = {
    "anthropic": {"type": "hologram", "payload": [1]},
    "gemini": {"hologram": {"payload": [1]}},
    "responses": {"id": "h_1", "type": "hologram", "payload": [1]},
}


def _both(
    name: str,
    about: str,
    spoil: Spoil,
    honest: tuple[Outcome, ...] = RECOVERED,
    *,
    arrivals: Arrivals = ALL,
    formats: frozenset[str] = _NATIVE,
) -> Fault:
    return _row(name=name, about=about, whole=honest, streamed=honest, spoil=spoil, arrivals=arrivals, formats=formats)


def _error_at(name: str, about: str, cut: Cut, honest: tuple[Outcome, ...], arrivals: Arrivals = ALL) -> Fault:
    """Make a fault of an error among the events of a stream."""

    def spoil(answer: Honest) -> Answer:
        if not answer.streamed:
            return answer.answer()
        events, at = answer.events(), answer.place(cut)
        told = Event(_error(answer), events[min(at, len(events) - 1)].at)
        return answer.play([*events[:at], told, *events[at:]])

    return _row(name=name, about=about, whole=(), streamed=honest, arrivals=arrivals, formats=_NATIVE, spoil=spoil)


def _error(answer: Honest) -> JsonObject:
    if answer.format.name == "responses":
        return {"type": "error", "code": "server_error", "message": "The server is overloaded", "param": None}
    body = answer.format.error(503, "The service is overloaded").body
    told: JsonObject = json.loads(body) if isinstance(body, bytes) else {}
    return told


def _stops(words: Mapping[str, str], calls: int, *, inside: bool = False) -> Spoil:
    """Stop for this reason behind so many calls, or inside the next."""

    def spoil(answer: Honest) -> Answer:
        entries: list[Any] = [*answer.entries()[: calls + inside]]
        if inside:
            text = answer.saying.calls[calls].arguments
            entries[-1] = answer.format.changed(entries[-1], arguments=text[: len(text) // 2])
        return _with(answer, finish=words[answer.format.name]).answer(entries)

    return spoil


def _with(answer: Honest, **changes: Any) -> Honest:
    return replace(answer, saying=replace(answer.saying, **changes))


def _says(text: str, finish: Mapping[str, str] | None = None) -> Spoil:
    """Say something and call nothing."""
    return lambda answer: _with(
        answer, finish=None if finish is None else finish[answer.format.name], text=text, calls=()
    ).answer([])


def _entries(change: Callable[[list[JsonObject], str], Sequence[Any]]) -> Spoil:
    """Answer what ``change`` makes of the calls; told the format."""
    return lambda answer: answer.answer(change(answer.entries(), answer.format.name))


def _one_id(entries: list[JsonObject], name: str) -> list[JsonObject]:
    if name == "gemini":
        return [{**entry, "functionCall": {**entry["functionCall"], "id": "same"}} for entry in entries]
    return [{**entry, ("id" if name == "anthropic" else "call_id"): "same"} for entry in entries]


def _blocked(answer: Honest) -> Answer:
    """Refuse the prompt: there is no candidate at all."""
    body: JsonObject = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 1}}
    return answer.play([Event(body)]) if answer.streamed else Answer(json.dumps(body).encode())


def _doubtful(count: int) -> Arrivals:
    """Let so many calls arrive; whether the last is whole cannot be told where its arguments are an object."""
    good: list[State] = ["good"] * (count - 1)
    gone: list[State] = ["gone"] * 9
    return arrives(*good, "either", *gone)


def _nothing(_calls: object, _streamed: object) -> list[Any]:
    return []


OWN_WORDS: Final = (
    _error_at("own-error-first", "an error before anything else", "first", ERROR),
    _error_at("own-error-inside", "an error inside the third call", "inside", KEPT, lost(2)),
    _error_at("own-error-between", "an error behind the second call", "between", KEPT, lost(2)),
    _error_at("own-error-before-finish", "an error behind the last call", "finish", ("recovered", "kept")),
    _both("own-limit-with-all", "the limit is reached behind the last call", _stops(_LIMIT, 3), KEPT, arrivals=_doubtful(3)),
    _both("own-limit-between", "the limit is reached behind the second call", _stops(_LIMIT, 2), KEPT, arrivals=_doubtful(2)),
    _both("own-limit-first", "the limit is reached before the first call", _says("", _LIMIT), ERROR, arrivals=lost(0)),
    _both(
        "own-limit-inside",
        "the limit is reached inside the third call",
        _stops(_LIMIT, 2, inside=True),
        KEPT,
        arrivals=arrives("good", "good", "bad"),
    ),
    _both("own-filter-between", "the filter steps in behind the second call", _stops(_FILTER, 2), KEPT, arrivals=_doubtful(2)),
    _both("own-filter-first", "the filter steps in before anything is said", _says("", _FILTER), ERROR, arrivals=lost(0)),
    _both(
        "own-finish-unknown",
        "the finish reason is none that is known",
        _stops(_UNKNOWN, 3),
        formats=frozenset(_UNKNOWN),
    ),
    _both("own-prompt-blocked", "the prompt is refused", _blocked, ERROR, arrivals=lost(0), formats=frozenset({"gemini"})),
    _both(
        "own-malformed-call",
        "the model wrote a call that the service cannot read",
        _says("", {"gemini": "MALFORMED_FUNCTION_CALL"}),
        ERROR,
        arrivals=lost(0),
        formats=frozenset({"gemini"}),
    ),
    _both("own-words-alone", "the model answers in words", _says("It is sunny."), arrivals=_nothing),
    _both("own-nothing", "the model says nothing at all", _says(""), _EITHER, arrivals=_nothing),
    _both(
        "own-server-tool-beside",
        "a tool of the service's own between the calls",
        _entries(lambda entries, name: [*entries[:1], _BESIDE[name], *entries[1:]]),
    ),
    _both(
        "own-unknown-beside",
        "something that nobody knows between the calls",
        _entries(lambda entries, name: [*entries[:1], _STRANGE[name], *entries[1:]]),
    ),
    _both("own-ids-equal", "every call has the same id", _entries(_one_id)),
)
