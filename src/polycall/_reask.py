"""What the model is told when it is asked again: one answer per call, and nothing beyond a size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import jiter
from pydantic_core import to_json

from polycall._turn import Answer, Results
from polycall.call import Call
from polycall.errors import CallError, CutOffError, InvalidArgumentsError, short_name
from polycall.types import JsonObject, Message, ToolCall, is_object

__all__ = ["AGAIN", "as_it_is", "beside", "plainly", "said", "tell"]

ACCEPTED: Final = "Accepted, do not repeat"
"""What the model is told of a call that needs no correction; nothing has been run yet."""

CORRECTED: Final = "Corrected below"
"""What it is told of a bad call that it has corrected in a turn that now stands behind."""

AGAIN: Final = "Make the calls that were refused again, corrected"
"""What the model is told when it has answered in words alone."""

_LONGEST: Final = 2_000
_PER_CALL: Final = 128
_FOR_ALL: Final = 4_096
_BESIDE: Final = 1_536
_SLACK: Final = 128
"""Bytes for what stands around the messages that are added."""

_CORRECT: Final = "call this tool again with all its arguments, corrected; repeat no other call"
_COMPLETE: Final = "make this call again, whole, and after it only the calls that are still missing"
_REPLACE: Final = "call a tool that was offered instead, or leave it out; repeat no other call"
_MISSING: Final = "The answer was cut off. Make only the calls that are still missing, if there are any"
_NO_CALL: Final = "A tool has to be called. Answer with tool calls"


def tell(
    calls: Sequence[ToolCall],
    bad: Mapping[int, CallError],
    note: str,
    results: Results,
    corrected: Collection[int] = (),
) -> list[Answer]:
    """Compose the answers to the calls of a turn; all are accepted but the ``bad`` ones, by their positions.

    Together with the note they are at most 128 bytes a call and 4 KB, as long as the ids are as short as services make them.

    Args:
        calls: The calls of the turn, in order.
        bad: What is wrong with calls of it.
        note: What is said beside, in the last of the answers: not every service takes a message behind them.
        results: Puts answers into the provider's form.
        corrected: Which calls of it are corrected in a turn that stands behind, by their positions.
    """
    plain = [Answer(call, CORRECTED if call.index in corrected else ACCEPTED) for call in calls]
    plain = [replace(answer, content="", failed=True) if answer.call.index in bad else answer for answer in plain]
    room = _PER_CALL * len(calls) + _FOR_ALL - _SLACK - len(to_json(results(plain))) - _size(note)
    texts = _shared_out([_told(bad[call.index]) for call in calls if call.index in bad], room)
    answers = [replace(answer, content=texts.pop(0)) if answer.failed else answer for answer in plain]
    if note and answers:
        answers[-1] = replace(answers[-1], content=f"{answers[-1].content} {note}")
    return answers


def beside(absent: Iterable[Call[Any]], gaps: Iterable[CallError]) -> str:
    """Compose what is said beside the answers to the calls of the last turn, in at most 2 KB; empty for nothing.

    Args:
        absent: Bad calls that are asked again and stand in an earlier turn.
        gaps: What was wrong with the answer as a whole, and is asked for.
    """
    named = [{"tool": short_name(call.name), **_told(call.error)} for call in absent if call.error is not None]
    wanted = [_MISSING if isinstance(gap, CutOffError) else _NO_CALL for gap in gaps]
    return " ".join([*wanted, *_shared_out(named, _BESIDE)])


def said(text: str) -> Message:
    """Return a message of the user."""
    return {"role": "user", "content": text}


def as_it_is(call: ToolCall) -> ToolCall:
    """Return what is sent back of a call where a service takes what its model wrote."""
    return call


def plainly(call: ToolCall) -> ToolCall:
    """Return what is sent back of a call where a service takes JSON objects only: one that holds what the model wrote."""
    try:
        if not call.arguments or is_object(jiter.from_json(call.arguments.encode())):
            return call
    except ValueError:
        pass
    text = call.arguments.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return replace(call, arguments=_json({"invalid_arguments": text}))


def _told(error: CallError) -> JsonObject:
    if isinstance(error, InvalidArgumentsError):
        told = [problem.detail if problem.for_model else str(problem) for problem in error.problems]
        problems = [text.encode(errors="replace").decode() for text in told]
        return {"error": "invalid arguments", "problems": problems, "do": _CORRECT}
    if isinstance(error, CutOffError):
        return {"error": "cut off", "problems": [error.reason], "do": _COMPLETE}
    return {"error": "unknown tool", "problems": [error.reason], "do": _REPLACE}


def _shared_out(parts: Sequence[JsonObject], room: int) -> list[str]:
    """Write each part as JSON; the short ones whole, the others in equal shares of the room."""
    sizes = sorted((_size(_within(part, _LONGEST)), number) for number, part in enumerate(parts))
    texts = [""] * len(parts)
    for place, (_, number) in enumerate(sizes):
        share = max(0, room) // (len(parts) - place)
        texts[number] = _within(parts[number], _LONGEST, share)
        room -= _size(texts[number])
    return texts


def _within(part: JsonObject, longest: int, room: int | None = None) -> str:
    """Write a part as JSON in at most so many characters, and bytes of the body; what does not fit is left out and counted."""

    def fits(text: str) -> bool:
        return len(text) <= longest and (room is None or _size(text) <= room)

    listed = part["problems"]
    low, high = 0, len(listed)
    if fits(whole := _json(part)):
        return whole
    while low < high:  # the most entries that fit
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high)
            if fits(_json({**part, "problems": listed[:middle], "more": len(listed) - middle}))
            else (low, middle - 1)
        )
    if low:
        return _json({**part, "problems": listed[:low], "more": len(listed) - low})
    return _shortened(part, fits)


def _shortened(part: JsonObject, fits: Callable[[str], bool]) -> str:
    """Write a part whose first problem alone is too long: it is cut, and left out where even that does not help."""
    first: str = part["problems"][0]
    more = len(part["problems"]) - 1

    def cut(length: int) -> str:
        return _json({**part, "problems": [f"{first[:length]}..."], **({"more": more} if more else {})})

    low, high = 0, len(first)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(cut(middle)) else (low, middle - 1)
    return cut(low) if low else _json({key: value for key, value in part.items() if key in {"tool", "error"}})


def _json(value: Any) -> str:
    return to_json(value).decode()


def _size(text: str) -> int:
    """Return the bytes that a text takes in a JSON body."""
    return len(to_json(text)) - 2
