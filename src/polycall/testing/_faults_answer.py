"""Faults of the answer as the format has it: choices, messages, finish reasons, usage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from polycall.testing._chat_format import DONE
from polycall.testing._faults import ALL, ERROR, KEPT, RECOVERED, Arrival, Arrivals, Fault, Honest, Outcome, Spoil, arrives, lost
from polycall.testing._format import Event, json_bytes
from polycall.testing._script import Said
from polycall.testing._spoiling import on_calls, on_choices, on_chunks, on_messages
from polycall.testing._wire import Answer, Played
from polycall.types import JsonObject

_row = partial(Fault, where="answer")
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "error")
_ANY: Final[tuple[Outcome, ...]] = ("recovered", "kept", "error")
_NOTHING: Final[Arrivals] = lambda _calls, _streamed: []  # noqa: E731  # a constant


def _both(
    name: str,
    about: str,
    spoil: Spoil,
    honest: tuple[Outcome, ...] = RECOVERED,
    *,
    whole: tuple[Outcome, ...] | None = None,
    arrivals: Arrivals = ALL,
) -> Fault:
    return _row(name=name, about=about, whole=honest if whole is None else whole, streamed=honest, spoil=spoil, arrivals=arrivals)


def _set(**fields: Any) -> Callable[[JsonObject], None]:
    """Set fields of what is changed."""
    return lambda given: given.update(fields)


def _without(*names: str) -> Callable[[JsonObject], None]:
    """Take fields away from what is changed."""

    def change(given: JsonObject) -> None:
        for name in names:
            given.pop(name, None)

    return change


def _finish(reason: Any) -> Spoil:
    """Give another finish reason."""

    def change(choice: JsonObject) -> None:
        if choice["finish_reason"] is not None:
            choice["finish_reason"] = reason

    return on_choices(change)


def _stops(reason: str, calls: int, *, inside: bool = False) -> Spoil:
    """Stop for this reason behind so many calls, or inside the next."""

    def spoil(honest: Honest) -> Answer:
        entries = honest.entries()[: calls + inside]
        if inside and entries:
            function = entries[-1]["function"]
            function["arguments"] = function["arguments"][: len(function["arguments"]) // 2]
        return _with(honest, finish=reason).answer(entries)

    return spoil


def _with(honest: Honest, **changes: Any) -> Honest:
    """Let the model say something else."""
    return replace(honest, saying=replace(honest.saying, **changes))


def _says(text: str, finish: str = "stop", **message: Any) -> Spoil:
    """Say something and call nothing."""

    def spoil(honest: Honest) -> Played:
        changed = _with(honest, finish=finish, text=text, calls=())
        return on_messages(lambda given: given.update(message) if "content" in given else None)(changed)

    return spoil


def _two_choices(honest: Honest) -> Answer:
    """Give the same calls in a second choice, without being asked for it."""
    if not honest.streamed:
        body = honest.body()
        entries = [{**entry, "id": f"{entry['id']}b"} for entry in honest.entries()]
        second: JsonObject = {**body["choices"][0], "index": 1}
        second["message"] = {**second["message"], "tool_calls": entries}
        return Answer(json_bytes({**body, "choices": [*body["choices"], second]}))
    first = honest.events()
    second_events: list[Event] = []
    for event in honest.events([{**entry, "id": f"{entry['id']}b"} for entry in honest.entries()]):
        if event.data == DONE or not event.data["choices"]:
            continue
        second_events.append(Event({**event.data, "choices": [{**event.data["choices"][0], "index": 1}]}, event.at))
    end = next(number for number, event in enumerate(first) if event.data == DONE or not event.data["choices"])
    return honest.play([*first[:end], *second_events, *first[end:]])


def _twice(calls: Sequence[Said], _: bool) -> list[Arrival]:  # noqa: FBT001  # as every such function
    return [Arrival(call) for call in (*calls, *calls)]


def _swapped(choice: JsonObject) -> None:
    """Give a message where a delta is due, and a delta where a message is."""
    if "message" in choice:
        choice["delta"] = choice.pop("message")
    else:
        choice["message"] = choice.pop("delta")


def _legacy(honest: Honest) -> Played:
    """Make one call the way of 2023."""
    function = honest.entries()[0]["function"]
    done: list[bool] = []

    def change(message: JsonObject) -> None:
        if not done and "content" in message:
            done.append(True)
            message["function_call"] = function

    return on_messages(change)(_with(honest, finish="function_call", calls=()))


CHOICES: Final = (
    _both("choices-empty", "there are no choices in the list", on_chunks(_set(choices=[])), ERROR),
    _both("choices-missing", "there is no list of choices", on_chunks(_without("choices")), ERROR),
    _both("choices-null", "the list of choices is null", on_chunks(_set(choices=None)), ERROR),
    _both("choices-string", "the list of choices is text", on_chunks(_set(choices="none")), ERROR),
    _both("choices-of-null", "the only choice is null", on_chunks(_set(choices=[None])), ERROR),
    _both(
        "choices-object",
        "the choices are an object and no list",
        on_chunks(lambda chunk: {**chunk, "choices": {"0": chunk["choices"]}}),
        ERROR,
    ),
    _both("choice-index-missing", "the choice has no index", on_choices(_without("index"))),
    _both("choice-index-five", "the only choice has index 5", on_choices(_set(index=5))),
    _both("choice-index-string", "the index of the choice is text", on_choices(_set(index="0"))),
    _both("choice-empty", "the choice is an empty object", on_choices(lambda choice: choice.clear()), ERROR),
    _both(
        "message-null",
        "the message is null",
        on_choices(lambda choice: {**choice, **{key: None for key in ("message", "delta") if key in choice}}),
        ERROR,
    ),
    _both("message-missing", "there is no message", on_choices(_without("message", "delta")), ERROR),
    _both("message-string", "the message is text", on_messages(lambda _: "hello"), ERROR),
    _both("message-array", "the message is a list", on_messages(lambda message: [message]), ERROR),
    _both("message-instead-of-delta", "message and delta have changed their places", on_choices(_swapped)),
    _both("role-missing", "no role is told", on_messages(_without("role"))),
    _both("role-in-every-delta", "the role comes with every delta", on_messages(_set(role="assistant")), whole=()),
    _both("content-as-parts", "the content is a list of parts", on_messages(_set(content=[{"type": "text", "text": ""}]))),
    _both("content-missing", "there is no content", on_messages(_without("content"))),
    _both("content-number", "the content is a number", on_messages(_set(content=5)), _EITHER),
    _both(
        "reasoning-beside",
        "reasoning beside the calls",
        on_messages(_set(reasoning="Let me think", reasoning_details=[{"type": "x"}])),
    ),
    _both(
        "unknown-fields-everywhere", "fields that nobody knows", on_messages(_set(audio=None, x_trace={"a": [1]}, annotations=[]))
    ),
    _both("model-missing", "no model is told", on_chunks(_without("model", "id", "created", "object"))),
    _both(
        "object-wrong", "the object calls itself something else", on_chunks(_set(object="error", id=7, created="now", model=None))
    ),
    _both("usage-null", "the usage is null", on_chunks(_set(usage=None))),
    _both("usage-missing", "there is no usage", on_chunks(_without("usage"))),
    _both("usage-string", "the usage is text", on_chunks(_set(usage="12 tokens"))),
    _both(
        "usage-negative",
        "the usage is negative, or no number",
        on_chunks(_set(usage={"prompt_tokens": -1, "completion_tokens": "9"})),
    ),
    _both(
        "usage-in-every-chunk",
        "the usage comes with every chunk",
        on_chunks(_set(usage={"prompt_tokens": 9, "completion_tokens": 1.5})),
    ),
    _both("error-null-beside", "`error` is there, and null", on_chunks(_set(error=None))),
    _both("error-empty-beside", "`error` is there, and an empty object", on_chunks(_set(error={})), ("recovered", "kept")),
    _both(
        "error-beside-answer", "an error beside the whole answer", on_chunks(_set(error={"message": "late", "code": "x"})), _ANY
    ),
    _both("n-2-choices", "a second choice, not asked for, with the same calls", _two_choices, arrivals=_twice),
)

FINISH: Final = (
    _both("no-finish-reason", "no finish reason is told", _finish(None), ("recovered", "kept")),
    _both(
        "finish-missing", "there is no field for the finish reason", on_choices(_without("finish_reason")), ("recovered", "kept")
    ),
    _both("finish-stop-with-calls", "the finish reason of calls is stop", _finish("stop")),
    _both("finish-unknown", "the finish reason is none that is known", _finish("eos_token")),
    _both("finish-number", "the finish reason is a number", _finish(1), ("recovered", "kept")),
    _both("finish-empty", "the finish reason is empty", _finish(""), ("recovered", "kept")),
    _both("finish-error", "the finish reason is error", _finish("error"), KEPT),
    _both("finish-length-with-all", "the limit is reached behind the last call", _finish("length"), KEPT),
    _both(
        "finish-length-inside-call",
        "the limit is reached inside the third call",
        _stops("length", 2, inside=True),
        KEPT,
        arrivals=arrives("good", "good", "bad"),
    ),
    _both(
        "finish-length-between-calls", "the limit is reached behind the second call", _stops("length", 2), KEPT, arrivals=lost(2)
    ),
    _both(
        "finish-length-before-calls", "the limit is reached before the first call", _stops("length", 0), ERROR, arrivals=lost(0)
    ),
    _both(
        "finish-max-tokens-inside-call",
        "the same, in another service's word",
        _stops("MAX_TOKENS", 2, inside=True),
        KEPT,
        arrivals=arrives("good", "good", "bad"),
    ),
    _both(
        "finish-content-filter",
        "the filter steps in behind the second call",
        _stops("content_filter", 2),
        KEPT,
        arrivals=lost(2),
    ),
    _both(
        "finish-content-filter-inside-call",
        "the filter steps in inside the third call",
        _stops("content_filter", 2, inside=True),
        KEPT,
        arrivals=arrives("good", "good", "bad"),
    ),
    _both(
        "finish-content-filter-first",
        "the filter steps in before anything is said",
        _stops("content_filter", 0),
        ERROR,
        arrivals=lost(0),
    ),
    _both(
        "finish-calls-without-calls",
        "it stops for its calls, and there are none",
        _says("", "tool_calls"),
        ERROR,
        arrivals=lost(0),
    ),
    _both("refusal", "the model refuses", _says("", refusal="I cannot help with that."), ERROR, arrivals=lost(0)),
    _both(
        "refusal-beside-calls",
        "the model calls, and refuses",
        on_messages(lambda message: message.update(refusal="No.") if "content" in message else None),
        KEPT,
    ),
    _both("text-only", "the model answers in words", _says("It is sunny."), arrivals=_NOTHING),
    _both("text-empty", "the model says nothing at all", _says(""), _EITHER, arrivals=_NOTHING),
    _both(
        "calls-written-as-text",
        "the model writes its calls as text",
        _says('<tool_call>{"name": "Weather"}</tool_call>'),
        arrivals=_NOTHING,
    ),
    _both("calls-empty-list", "an empty list of calls beside words", _says("Hm.", tool_calls=[]), arrivals=_NOTHING),
    _both("calls-null", "the list of calls is null beside words", _says("Hm.", tool_calls=None), arrivals=_NOTHING),
    _both(
        "calls-string",
        "the list of calls is text",
        _says("Hm.", "tool_calls", tool_calls="Weather"),
        ("kept", "error"),
        arrivals=_NOTHING,
    ),
    _both("legacy-function-call", "one call, in the form of 2023", _legacy, arrivals=lambda calls, _: [Arrival(calls[0])]),
    _both(
        "custom-call-beside",
        "a call of a free-form tool between the calls",
        on_calls(
            lambda entries: [
                *entries[:1],
                {"id": "x", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
                *entries[1:],
            ]
        ),
    ),
)
