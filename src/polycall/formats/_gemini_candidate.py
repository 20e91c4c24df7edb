"""One candidate of a generateContent response while it arrives: its parts, its calls, and why it stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jiter

from polycall._framing import arguments_text
from polycall._tools import legal_name
from polycall.formats._gemini_partial import PartialArguments, field
from polycall.types import CallDelta, JsonObject, Stop, TextDelta, ToolCall, WireItem, is_array, is_object

__all__ = ["Candidate", "argument_object"]

_FILTER: Final = "the content filter stepped in"
_CUTS: Final = {
    "MAX_TOKENS": "the token limit was reached",
    "LANGUAGE": "the language is not supported",
    "OTHER": "the model was stopped",
    "CONTINUATION": "the service stopped halfway",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "IMAGE_OTHER",
        ),
        _FILTER,
    ),
}
_UNREADABLE: Final = {
    "MALFORMED_FUNCTION_CALL": "the model wrote a call that its server could not read",
    "MALFORMED_RESPONSE": "the model wrote what its server could not read",
    "TOO_MANY_TOOL_CALLS": "the model made too many calls",
    "MISSING_THOUGHT_SIGNATURE": "a call was sent back without its signature",
}
"""Finish reasons in the place of calls: an answer that has none is asked for again, one that has some was cut."""

_NUMBERED: Final = (
    "", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
    "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR",
)  # fmt: skip
"""Finish reasons by their numbers in Vertex AI's protocol, as some of its servers write them."""

_PIECEWISE: Final = frozenset({"willContinue", "will_continue", "partialArgs", "partial_args"})
_NO_DATA: Final = frozenset({"thought", "thoughtSignature", "thought_signature"})
_OURS: Final = frozenset({"id", "name", "args"})


@dataclass(slots=True, eq=False)
class _Text:
    """Text that came in pieces and has no signature."""

    pieces: list[str]
    thought: bool

    def part(self) -> JsonObject:
        return {"text": "".join(self.pieces), **({"thought": True} if self.thought else {})}


@dataclass(slots=True, eq=False)
class _Call:
    """A part with a call.

    Attributes:
        number: The call's position among all of the response.
    """

    number: int
    part: JsonObject

    @property
    def key(self) -> str:
        return f"call {self.number}"

    def written(self, call: ToolCall) -> JsonObject:
        """Return the part with the call as it is sent back, with its id where the service gave one."""
        given = field(self.part, "functionCall")
        kept = {key: value for key, value in given.items() if key not in _PIECEWISE | _OURS} if is_object(given) else {}
        function: JsonObject = {**kept, "name": legal_name(call.name)}
        if call.arguments:
            function["args"] = argument_object(call.arguments)
        if "id" in call.extra:
            function["id"] = call.id
        rest = {key: value for key, value in self.part.items() if key not in {"functionCall", "function_call"}}
        return {"functionCall": function, **rest}


@dataclass(slots=True, eq=False)
class _Open:
    """A call whose arguments come in pieces, as long as it has not ended."""

    call: _Call
    arguments: PartialArguments


class Candidate:
    """What one candidate has said.

    Attributes:
        number: Which of the candidates it is.
        finish: Why it stopped, in the service's word; None as long as it has not.
        others: Its other fields.
    """

    def __init__(self, number: int, numbers: Iterator[int]) -> None:
        """Start candidate ``number``; ``numbers`` counts the calls of all candidates."""
        self.finish: str | None = None
        self.others: JsonObject = {}
        self.number = number
        self._numbers = numbers
        self._parts: list[JsonObject | _Text | _Call] = []
        self._open: _Open | None = None
        self._piecewise = False
        self._calls = 0

    def add(self, part: JsonObject, *, spoken: bool) -> Iterator[WireItem]:
        """Take a part; ``spoken`` says whether its text is the answer's."""
        part = {key: value for key, value in part.items() if value is not None}  # which some proxies write for what is not there
        for name in ("functionCall", "function_call"):
            if name in part:
                yield from self._call(part, part[name])
                return
        text, thought = part.get("text"), bool(part.get("thought"))
        if isinstance(text, str) and spoken and not thought and text:
            yield TextDelta(text)
        self._keep(part, text, thought=thought)

    def stop(self, given: str | int) -> Iterator[WireItem]:
        """Take the finish reason; a call that has begun and not ended was cut."""
        self.finish = finish = str(given)
        name = _NUMBERED[given] if isinstance(given, int) and 0 < given < len(_NUMBERED) else finish
        cut = _CUTS.get(name) or (_UNREADABLE.get(name) if self._calls else None)
        if self._open is not None:
            yield from self._end(complete=False, sealed=False)
            cut = cut or "the arguments of a call did not end"
        for_calls = name in _UNREADABLE or name == "UNEXPECTED_TOOL_CALL"
        yield Stop(finish, f"{cut} ({name})" if cut else None, self.number, calls=for_calls)

    def parts(self, given: Mapping[int, ToolCall], *, all_parts: bool) -> list[tuple[float, JsonObject]]:
        """Return the parts, or those with calls alone, with the calls as ``given``; each with its place among all candidates'."""
        made: list[tuple[float, JsonObject]] = []
        following = math.inf
        for one in reversed(self._parts):
            if isinstance(one, _Call):
                following = one.number
                if one.number in given:
                    made.append((one.number, one.written(given[one.number])))
            elif all_parts:
                made.append((following - 0.5, one.part() if isinstance(one, _Text) else one))
        return made[::-1]

    def _keep(self, part: JsonObject, text: object, *, thought: bool) -> None:
        if not part.keys() - _NO_DATA:
            if part.keys() - {"thought"}:
                self._parts.append({"text": "", **part})  # as the service wants it
            return
        if not isinstance(text, str) or part.keys() - {"text", "thought"}:
            self._parts.append(part)
            return
        last = self._parts[-1] if self._parts else None
        if isinstance(last, _Text) and last.thought == thought:
            last.pieces.append(text)
        elif text:
            self._parts.append(_Text([text], thought))

    def _call(self, part: JsonObject, call: object) -> Iterator[CallDelta]:
        function = call if is_object(call) else {"args": call}
        name, pieces = function.get("name"), field(function, "partialArgs")
        if self._open is not None and not (isinstance(name, str) and name):
            yield from self._go_on(self._open, part, function, pieces)
            return
        if self._piecewise and not function:
            return  # the end of a call, told once more
        yield from self._end(complete=False, sealed=True)
        begun = self._begin(part)
        given = function.get("id")
        call_id = str(given) if given not in (None, "") else None
        delta = CallDelta(begun.key, call_id, name if isinstance(name, str) else None, choice=self.number)
        delta.extra = None if call_id is None else {"id": call_id}
        if pieces or field(function, "willContinue"):
            self._open, self._piecewise = _Open(begun, PartialArguments()), True
            yield delta
            yield from self._go_on(self._open, {}, function, pieces)
            return
        arguments = function.get("args")
        delta.arguments = arguments if isinstance(arguments, str) else "" if arguments is None else arguments_text(arguments)
        delta.whole = True
        yield delta

    def _begin(self, part: JsonObject) -> _Call:
        begun = _Call(next(self._numbers), part)
        self._calls += 1
        self._parts.append(begun)
        return begun

    def _go_on(self, begun: _Open, part: JsonObject, function: JsonObject, pieces: object) -> Iterator[CallDelta]:
        """Add to the open call what a part brings, and close it where that was the last one."""
        for key, value in part.items():
            if key not in {"functionCall", "function_call"}:
                begun.call.part.setdefault(key, value)
        arguments = function.get("args")
        if is_object(arguments):
            begun.arguments.update(arguments)
        for piece in pieces if is_array(pieces) else ():
            begun.arguments.add(piece)
        if not field(function, "willContinue"):
            yield from self._end(complete=True, sealed=True)

    def _end(self, *, complete: bool, sealed: bool) -> Iterator[CallDelta]:
        ended, self._open = self._open, None
        if ended is not None:
            text = ended.arguments.text(complete=complete)
            yield CallDelta(ended.call.key, arguments=text, whole=sealed, choice=self.number)


def argument_object(arguments: str) -> JsonObject:
    """Return arguments as the object that they have to be; one that holds the text where they are none."""
    try:
        parsed: Any = jiter.from_json(arguments.encode(errors="replace"), allow_inf_nan=False)
    except ValueError:
        parsed = None
    return parsed if is_object(parsed) else {"invalid_arguments": arguments}
