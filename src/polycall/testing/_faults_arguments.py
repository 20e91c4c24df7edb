"""Faults of one call's arguments: what models write, and servers pass on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from polycall.testing._faults import KEPT, RECOVERED, Arrival, Fault, Outcome, arrives
from polycall.testing._faults_calls import entry_of, with_entries
from polycall.testing._format import Event
from polycall.testing._script import Said
from polycall.testing._spoiling import arguments, on_call, on_events
from polycall.types import JsonObject

_row = partial(Fault, where="arguments")
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "kept", "error")
_DEEP: Final = 100_000


def _bad(name: str, about: str, text: Any | Callable[[str], Any]) -> Fault:
    """Make a fault of arguments that cannot be used."""
    return _row(name=name, about=about, whole=KEPT, streamed=KEPT, arrivals=arrives("good", "bad"), spoil=arguments(text))


def _odd(name: str, about: str, text: Any | Callable[[str], Any]) -> Fault:
    """Make a fault of arguments that can be taken or refused."""
    return _row(
        name=name, about=about, whole=_EITHER, streamed=_EITHER, arrivals=arrives("good", "either"), spoil=arguments(text)
    )


def _good(name: str, about: str, text: Callable[[str], Any], *, cut_up: bool = False) -> Fault:
    """Make a fault of arguments that are written oddly and are right."""
    return _row(name=name, about=about, spoil=arguments(text, cut_up=cut_up))


def _with(**fields: Any) -> Callable[[str], str]:
    """Set fields of the arguments; a field set to ``...`` is taken away."""

    def change(text: str) -> str:
        given = {**json.loads(text), **fields}
        return json.dumps({key: value for key, value in given.items() if value is not ...}, ensure_ascii=False)

    return change


def _other(name: str, about: str, **fields: Any) -> Fault:
    """Make a fault of arguments that are right, with other values."""

    def arrivals(calls: Sequence[Said], streamed: bool) -> list[Arrival]:  # noqa: ARG001, FBT001  # as every such function
        changed = [Said(call.name, _with(**fields)(call.text)) if number == 1 else call for number, call in enumerate(calls)]
        return [Arrival(call) for call in changed]

    return _row(name=name, about=about, whole=RECOVERED, streamed=RECOVERED, arrivals=arrivals, spoil=arguments(_with(**fields)))


def _large(calls: Sequence[Said], streamed: bool) -> list[Arrival]:  # noqa: ARG001, FBT001  # as every such function
    large = Said(calls[1].name, _with(location="x" * (2 << 20))(calls[1].text)) if len(calls) > 1 else calls[0]
    return [Arrival(large, "either") if number == 1 else Arrival(call) for number, call in enumerate(calls)]


def _nested(depth: int) -> Callable[[str], str]:
    return lambda text: text[:-1] + ', "extra": ' + "[" * depth + "]" * depth + "}"


def _pair_split(events: list[Event]) -> list[Event]:
    """Split a surrogate pair between two deltas."""
    changed: list[Event] = []
    for event in events:
        entry = entry_of(event)
        text = entry["function"]["arguments"] if entry is not None else ""
        if entry is None or '"location": "' not in text:
            changed.append(event)
            continue
        start, mark, rest = text.partition('"location": "')
        halves = (
            {**entry, "function": {**entry["function"], "arguments": f"{start}{mark}\ud83c"}},
            _piece(entry, f"\udf27{rest}"),
        )
        changed.extend(with_entries(event, [half]) for half in halves)
    return changed


def _piece(entry: JsonObject, text: str) -> JsonObject:
    return {"index": entry["index"], "function": {"arguments": text}}


def _rainy(calls: Sequence[Said], streamed: bool) -> list[Arrival]:  # noqa: ARG001, FBT001  # as every such function
    return [Arrival(Said(call.name, call.text.replace('"location": "', '"location": "\U0001f327'))) for call in calls]


def _deep_text(_: str) -> str:
    return '{"location": ' + "[" * _DEEP + "]" * _DEEP + "}"


BAD: Final = (
    _bad("arguments-null", "they are null", None),
    _bad("arguments-empty", "they are empty", ""),
    _bad("arguments-blank", "they are a blank", " "),
    _bad("arguments-empty-object", "they are an empty object", "{}"),
    _row(
        name="arguments-missing",
        about="there are none",
        whole=KEPT,
        streamed=KEPT,
        arrivals=arrives("good", "bad"),
        spoil=on_call(lambda entry: entry["function"].pop("arguments") and None),
    ),
    _bad("arguments-not-json", "they are words", "location=Dallas, units=imperial"),
    _bad("arguments-single-quotes", "they are a Python dictionary", lambda text: text.replace('"', "'")),
    _bad("arguments-without-quotes", "their keys have no quotes", lambda text: text.replace('"location"', "location")),
    _bad("arguments-nan", "a value is NaN", lambda text: text.replace('"imperial"', "NaN")),
    _bad("arguments-infinity", "a value is -Infinity", lambda text: text.replace('"imperial"', "-Infinity")),
    _bad("arguments-undefined", "a value is undefined", lambda text: text.replace('"imperial"', "undefined")),
    _bad("arguments-duplicate-keys", "a key is there twice", lambda text: text[:-1] + ', "units": "metric"}'),
    _bad(
        "arguments-lone-surrogate",
        "half of a surrogate pair, escaped",
        lambda text: text.replace('"location": "', '"location": "\\ud83c'),
    ),
    _bad(
        "arguments-raw-surrogate",
        "half of a surrogate pair, as the server's escape",
        lambda text: text.replace('"location": "', '"location": "\ud83c'),
    ),
    _bad("arguments-trailing-text", "words behind the object", lambda text: text + " as asked"),
    _bad("arguments-two-objects", "two objects", lambda text: text + text),
    _bad("arguments-cut", "they end in their middle, and nothing says so", lambda text: text[: len(text) // 2]),
    _bad("arguments-cut-by-one", "the last bracket is missing, and nothing says so", lambda text: text[:-1]),
    _bad("arguments-array", "they are an array", lambda text: f"[{text}]"),
    _bad("arguments-string", "they are a string", '"Dallas"'),
    _bad("arguments-number", "they are a number", "5"),
    _bad("arguments-number-unquoted", "the field holds a number and no text", 5),
    _bad("arguments-list-unquoted", "the field holds a list and no text", ["Dallas"]),
    _bad("arguments-true-unquoted", "the field holds true and no text", True),
    _bad("arguments-wrong-type", "a value is of the wrong type", _with(location=5)),
    _bad("arguments-null-field", "a value is null", _with(location=None)),
    _bad("arguments-missing-field", "a field is missing", _with(location=...)),
    _bad("arguments-not-in-list", "a value is none of those allowed", _with(units="kelvin")),
    _bad("arguments-other-case", "a key is in another case", lambda text: text.replace('"location"', '"Location"')),
    _bad("arguments-trailing-comma", "a comma before the last bracket", lambda text: text[:-1] + ",}"),
    _bad("arguments-comments", "a comment inside", lambda text: text[:-1] + " /* done */}"),
    _bad("arguments-fenced", "they stand in a fence of Markdown", lambda text: f"```json\n{text}\n```"),
    _bad(
        "arguments-control-character",
        "a bare line feed inside a string",
        lambda text: text.replace('"location": "', '"location": "\n'),
    ),
    _bad("arguments-wrapped", "they stand inside another object", lambda text: f'{{"arguments": {text}}}'),
    _bad("arguments-bom", "a byte order mark before them", lambda text: f"\ufeff{text}"),
    _bad("arguments-depth-100000", "a value nests 100,000 deep", _deep_text),
)

ODD: Final = (
    _odd("arguments-double-encoded", "they are a JSON text of a JSON text", json.dumps),
    _odd("arguments-non-breaking-blank", "white space that JSON does not know around them", lambda text: f"\u00a0{text}\u00a0"),
    _odd("arguments-null-byte-around", "a null byte behind them", lambda text: f"{text}\0"),
    _odd("arguments-extra-field", "a field that the tool does not have", _with(confidence=0.9)),
    _odd("arguments-prototype-field", "a field that other languages trip over", _with(__proto__={"x": 1}, __class__="x")),
    _odd("arguments-depth-65", "a value nests 65 deep", _nested(64)),
    _odd(
        "arguments-huge-number-beside",
        "a number of 5,000 digits in another field",
        lambda text: text[:-1] + f', "extra": {"9" * 5000}}}',
    ),
    _row(
        name="arguments-2-mib",
        about="a value of 2 MiB",
        whole=_EITHER,
        streamed=_EITHER,
        arrivals=_large,
        spoil=arguments(_with(location="x" * (2 << 20))),
    ),
    _row(
        name="arguments-text-after-the-end",
        about="words behind the object, in pieces of their own",
        whole=KEPT,
        streamed=_EITHER,
        arrivals=arrives("good", "either"),
        spoil=arguments(lambda text: f"{text} as asked for", cut_up=True),
    ),
)

GOOD: Final = (
    _good("arguments-as-object", "they are an object and no text", json.loads),
    _good("arguments-pretty-printed", "they stand over many lines", lambda text: json.dumps(json.loads(text), indent=4)),
    _good("arguments-compact", "they have no white space", lambda text: json.dumps(json.loads(text), separators=(",", ":"))),
    _good("arguments-white-space-around", "white space around them", lambda text: f"\r\n\t {text} \n\n"),
    _good(
        "arguments-escaped",
        "every letter is an escape",
        lambda text: text.replace("imperial", "".join(f"\\u{ord(letter):04x}" for letter in "imperial")),
    ),
    _good("arguments-in-single-characters", "white space around them, in small pieces", lambda text: f" {text} ", cut_up=True),
    _other("arguments-unicode", "letters of many scripts", location="Zürich 東京 Ω \U0001f327 \u202e\u0301"),
    _other("arguments-brackets-in-strings", "brackets and quotes inside a string", location='}{][" \\" \\\\ {"a": [1'),
    _other("arguments-null-byte", "an escaped null byte inside a string", location="Dal\0las"),
    _other(
        "arguments-format-marks",
        "marks of templates inside a string",
        location="{0.__class__} ${jndi:x} {{7*7}} %s %(x)s <script>",
    ),
    _other("arguments-empty-string", "an empty string", location=""),
    _row(
        name="surrogate-pair-split",
        about="a surrogate pair is split between two deltas",
        whole=(),
        arrivals=_rainy,
        spoil=on_events(_pair_split, cut_up=False),
    ),
)
