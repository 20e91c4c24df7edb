"""Bytes -> tool calls: what holds for any response, however it is split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fuzz import must, plain
from fuzz.tools import ANSWER_TOOLS
from polycall._decode import Assembler, Piece, Stray, whole_text
from polycall._framing import Framing
from polycall._tools import toolset
from polycall._validate import Checking, validate
from polycall.errors import LimitError, TransportError
from polycall.formats._chat_decoder import ChatDecoder
from polycall.types import LIMITS, CallDelta, Limits, Stop, ToolCall, WireItem

_ANSWER: Final = toolset(None, ANSWER_TOOLS)
_LIMITS: Final = (LIMITS, LIMITS, LIMITS, Limits(calls=2, arguments=24, depth=3))
_SHORT: Final = 300
_SOME: Final = 4


@dataclass
class Answer:
    """What became of one response.

    Attributes:
        calls: The complete calls, in the order in which they were sealed.
        strays: Positions of the sealed calls for which other text came.
        broken: What ended it before its end, None when nothing did.
        early: How many calls were sealed before the end.
    """

    calls: list[ToolCall] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)
    broken: str | None = None
    early: int = 0


class _Line:
    """The line from events to calls, as `polycall._incoming` has it, with everything watched that goes by."""

    def __init__(self, limits: Limits) -> None:
        self.decoder = ChatDecoder()
        self.answer = Answer()
        self._limits = limits
        self._assembler = Assembler(seal_on_close=self.decoder.seal_on_close, limits=limits)
        self._cuts: dict[int, str | None] = {}
        self._texts: dict[int, str] = {}

    def feed(self, event: dict[str, Any], *, whole: bool) -> None:
        items: list[WireItem] = []
        reported: TransportError | None = None
        try:
            items.extend(self.decoder.feed(event, whole=whole))
        except TransportError as error:
            reported = error
        for item in items:
            if isinstance(item, Stop):
                self._cuts[item.choice] = self._cuts.get(item.choice) or item.cut
        self._watch(self._assembler.feed([item for item in items if isinstance(item, CallDelta)]))
        if self._assembler.full:
            raise LimitError("too many calls")
        if reported is not None:
            raise reported

    def close(self) -> Answer:
        answer = self.answer
        answer.early = len(answer.calls)
        must(all(call.cut is None for call in answer.calls), "a call that was sealed before the end was cut")
        cut = None if self._cuts and self.decoder.finished and not self._assembler.full else answer.broken
        self._watch(self._assembler.close(self._cuts, cut))
        cuts = {None, cut, *self._cuts.values()}
        must(all(call.cut in cuts for call in answer.calls), "a call was cut by nothing")
        slots = self._assembler.slots
        must(sorted(call.index for call in answer.calls) == list(range(len(slots))), "not every call was sealed exactly once")
        must(len(slots) <= self._limits.calls, "there are more calls than the limits allow")
        must(all(slots[call.index].sealed is call for call in answer.calls), "a sealed call was replaced")
        return answer

    def _watch(self, assembled: Iterable[Piece | ToolCall | Stray]) -> None:
        sealed = {call.index for call in self.answer.calls}
        for one in assembled:
            if isinstance(one, ToolCall):
                must(one.index not in sealed, "a call was sealed twice")
                sealed.add(one.index)
                text = whole_text([self._texts.get(one.index, "")])[: self._limits.arguments + 1]
                must(one.arguments[: self._limits.arguments + 1] == text, "the text of a call is not its pieces")
                self.answer.calls.append(one)
            elif isinstance(one, Stray):
                must(one.call.index in sealed, "text for an open call was taken for a stray")
                self.answer.strays.append(one.call.index)
            else:
                must(one.slot.index not in sealed, "a sealed call was added to")
                self._texts[one.slot.index] = self._texts.get(one.slot.index, "") + one.text
                if len(self._texts[one.slot.index]) <= self._limits.arguments:
                    known = "".join(one.slot.pieces[: one.count])
                    must(known == self._texts[one.slot.index], "a piece does not tell what has come")


def read(chunks: Iterable[bytes], limits: Limits = LIMITS) -> Answer:
    """Read one response as the library does, and check what holds for each."""
    framing, line = Framing(), _Line(limits)
    try:
        for chunk in chunks:
            if framing.done:
                break
            for event in framing.feed(chunk):
                line.feed(event, whole=False)
        for event in framing.close():
            line.feed(event, whole=bool(framing.whole))
        if not framing.whole and not (framing.done and line.decoder.finished):
            line.answer.broken = "the stream ended before its end"
    except (TransportError, LimitError) as error:
        line.answer.broken = str(error)
    answer = line.close()
    _continue(line.decoder, answer.calls)
    return answer


def _continue(decoder: ChatDecoder, calls: Sequence[ToolCall]) -> None:
    """Write the turn that continues the conversation, which any server can be sent, and the body for who asks for it."""
    named = [replace(call, id=call.id or f"c{call.index}") for call in sorted(calls, key=lambda call: call.index)]
    (turn,) = decoder.turn(named)
    json.dumps(turn, ensure_ascii=False).encode()
    must(len(turn.get("tool_calls", ())) == len(calls), "the turn does not hold every call")
    decoder.body(named)


def pieces(body: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces of one size."""
    return [body[start : start + size] for start in range(0, len(body), size)]


def answer(data: bytes) -> set[str]:
    """Read a response in one piece and in many; the first byte says how many, and what the limits are."""
    head, body = data[0] if data else 0, data[1:]
    limits = _LIMITS[head % len(_LIMITS)]
    once = read([body], limits)
    for size in {1 + head // len(_LIMITS), 1} if len(body) <= _SHORT else {1 + head // len(_LIMITS)}:
        same = repr(read(pieces(body, size), limits)) == repr(once)  # NaN is not equal to itself
        must(same, f"in pieces of {size} bytes it is another answer")
    checking = Checking(_ANSWER, limits=limits)
    outcomes = [validate(call, checking) for call in once.calls]
    must([call.index for call in outcomes] == [call.index for call in once.calls], "a call changed its place")
    for call, checked in zip(once.calls, outcomes, strict=True):
        must((checked.error is None) == (checked.outcome == "ok"), "a call is good and bad")
        must(checked.error is not None or len(call.arguments) <= limits.arguments, "arguments that are too long were taken")
        must(call.id is None or isinstance(call.id, str), "an id is no text")
        known = _ANSWER.find(call.name) is not None
        must((checked.outcome == "unknown") != known, "a tool was offered and unknown, or neither")
        must((checked.outcome == "cut off") == (call.cut is not None and known), "a cut call is told as something else")
    told = {
        f"calls {_few(len(once.calls))} {_few(once.early)} {_few(len(once.strays))}",
        plain((once.broken or "").partition(":")[0]),
    }
    return told | {
        f"call {_few(call.index)} {checked.outcome} {bool(call.id)} {_few(call.choice)}"
        for call, checked in zip(once.calls, outcomes, strict=True)
    }


def _few(number: int) -> str:
    return str(number) if 0 <= number < _SOME else "many"
