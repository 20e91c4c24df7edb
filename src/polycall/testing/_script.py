"""What a model server's model says: turns of calls, and which of them it sends again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from polycall.testing._faults import Fault

__all__ = ["Resend", "Said", "Saying", "Spoken", "Turn", "saying"]

Resend: TypeAlias = Literal["bad", "all", "one", "none"]
"""What the model sends when its wrong calls come back: those, now right; all calls of the turn; one at a time; or words alone."""

_FAREWELL = "That is all."
_GIVES_UP = "I cannot do better."


@dataclass(frozen=True, slots=True)
class Said:
    """One call that the model makes.

    Attributes:
        arguments: A mapping, written as JSON; a text is sent as it is.
        wrong: What is sent in its place at first: arguments as a text, or another call; several are sent one after the other,
            each in answer to the complaint about the one before.
    """

    name: str
    arguments: Mapping[str, Any] | str
    wrong: str | Said | Sequence[str | Said] = ()

    @property
    def text(self) -> str:
        """The arguments as they are sent."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)

    @property
    def mistakes(self) -> tuple[Said, ...]:
        """What is sent before the right call."""
        wrong = (self.wrong,) if isinstance(self.wrong, str | Said) else self.wrong
        return tuple(Said(self.name, one) if isinstance(one, str) else one for one in wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of the model.

    Attributes:
        text: What it says beside, or without, calls.
        finish: The finish reason; None for the one that fits.
        times: Seconds since the request at which each call is complete on the wire; calls beyond come with the last.
        end: Seconds since the request at which the answer ends; None for at once behind the last call.
        pieces: How many characters of arguments one delta of a stream has; None for all of them in one.
        resend: What is sent when wrong calls come back.
        fault: The name of a fault that spoils this turn, or the fault.
    """

    calls: Sequence[Said] = ()
    text: str = ""
    finish: str | None = None
    times: Sequence[float] = ()
    end: float | None = None
    pieces: int | None = None
    resend: Resend = "bad"
    fault: str | Fault | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """One call as it is sent.

    Attributes:
        at: Seconds since the request at which it is complete.
    """

    id: str
    name: str
    arguments: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """One answer of the model, before a wire format has put it into its words.

    Attributes:
        turn: Which turn of the script it belongs to; the number of turns behind the last.
        end: Seconds since the request at which it ends.
        pieces: How many characters of arguments one delta has, None for all.
        fault: What spoils it.
    """

    turn: int
    calls: tuple[Spoken, ...] = ()
    text: str = ""
    finish: str | None = None
    end: float = 0.0
    pieces: int | None = None
    fault: str | Fault | None = None


def saying(turns: Sequence[Turn], answers: Sequence[Sequence[tuple[str, str]]]) -> Saying:
    """Return what the model says next in a conversation that holds these answers of it, each the names and texts of its calls.

    Nothing is remembered between requests: any number of conversations can play the same script side by side, and one that
    holds the beginning of a turn goes on from there.
    """
    place, answered = _Place(turns), len(answers)
    for calls in answers:
        place.advance(calls)
    if place.number == len(turns):
        return Saying(turn=place.number, text=_FAREWELL)
    turn = turns[place.number]
    if not place.sending and turn.calls:
        return Saying(turn=place.number, text=_GIVES_UP)
    paced = not any(place.tries.values())
    times = list(turn.times) if paced else []
    spoken: list[Spoken] = []
    for position, number in enumerate(place.sending):
        name, text = place.line(number)
        at = times[min(position, len(times) - 1)] if times else 0.0
        spoken.append(Spoken(f"call_{answered:03}_{position:04}", name, text, at))
    end = max([turn.end or 0.0, *times]) if paced else 0.0
    return Saying(
        turn=place.number,
        calls=tuple(spoken),
        text=turn.text if paced else "",
        finish=turn.finish if paced else None,
        end=end,
        pieces=turn.pieces,
        fault=turn.fault,
    )


class _Place:
    """Where in the script a conversation is.

    Attributes:
        number: The turn.
        sending: Which of its calls are sent next; empty where the model has given up on them.
        tries: How often each of its calls was sent.
    """

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self.number = -1
        self.sending: list[int] = []
        self.tries: Counter[int] = Counter()
        self._next()

    def advance(self, calls: Sequence[tuple[str, str]]) -> None:
        """Go on behind an answer that came back with these calls, which may be less than all that were sent."""
        if self.number == len(self._turns):
            return
        turn, sent = self._turns[self.number], self.sending
        for position, call in enumerate(calls):
            known = sent[position] if position < len(sent) else None
            if known is None or self.line(known) != call:
                known = next((number for number in range(len(turn.calls)) if self.line(number) == call), known)
            if known is not None:
                self.tries[known] += 1
        wrong = [number for number, call in enumerate(turn.calls) if 0 < self.tries[number] <= len(call.mistakes)]
        if not wrong or (turn.calls and not calls):
            self._next()
        elif turn.resend == "all":
            self.sending = [number for number in range(len(turn.calls)) if self.tries[number]]
        else:
            self.sending = {"bad": wrong, "one": wrong[:1], "none": []}[turn.resend]

    def line(self, number: int) -> tuple[str, str]:
        """Return what is sent for a call next."""
        call = self._turns[self.number].calls[number]
        said = [*call.mistakes, call][min(self.tries[number], len(call.mistakes))]
        return said.name, said.text

    def _next(self) -> None:
        self.number += 1
        self.tries.clear()
        if self.number < len(self._turns):
            self.sending = list(range(len(self._turns[self.number].calls)))
