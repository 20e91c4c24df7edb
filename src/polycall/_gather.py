"""The outcome over several requests: what stands in which place, and what is asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from polycall._merge import merge, surely
from polycall._places import Places
from polycall._reask import AGAIN, as_it_is, beside, plainly, said, tell
from polycall._try import Try
from polycall._turn import Conversation, Results, Turn
from polycall.call import Call
from polycall.errors import (
    CallError,
    CutOffError,
    InvalidArgumentsError,
    LimitError,
    NoCallsError,
    RefusalError,
    TransportError,
    moved,
)
from polycall.types import Message, Usage


class Gathered:
    """The calls of all answers to one question, merged.

    Attributes:
        places: The calls of the outcome as they stand, by place.
        tries: The requests that were answered, and those under way.
    """

    def __init__(
        self, messages: Sequence[Message], names: Callable[[], Collection[str]], max_retries: int, *, stream: bool
    ) -> None:
        """Begin with the first request; ``names`` gives the names that the tools' schemas give to fields."""
        self._streaming = stream
        self.places: dict[int, Call[Any]] = {}
        self.tries = [Try(0, messages)]
        self._bad: set[int] = set()
        self._written = as_it_is
        self._ids: set[str] = set()
        self._made = 1
        self._names = names
        self._most = max_retries
        self._gaps: list[CallError] = []  # what is wrong with the answer as a whole, and may be asked for
        self._strays: list[CallError] = []
        self._rounds = 0  # of asking again behind the first answer
        self._counts: Counter[int] = Counter()
        self._asking: set[int] = set()
        self._settled: set[int] = set()
        self._corrected: set[int] = set()  # by a request beside the first
        self._source: dict[int, tuple[int, int]] = {}  # of the places that do not hold the first answer's call
        self._waiting: list[Try] = []  # requests beside the first whose further calls wait for its end
        self._noted: tuple[Try, str] | None = None  # the last note, and what was there before

    @property
    def first(self) -> Try:
        """The first request."""
        return self.tries[0]

    def sealed(self, one: Try, call: Call[Any]) -> Call[Any] | None:
        """Take a checked call; return it as it stands in its place, None where that is not known yet."""
        one.calls[call.index] = call
        if one.seen is None:
            one.places[call.index] = call.index
            return self._stand(call)
        place = surely(call, one.seen) if self._streaming else None
        free = place is not None and place not in one.places.values()
        return self._put(one, call.index, place) if place is not None and free else None

    def ended(self, one: Try) -> Iterator[Call[Any]]:
        """Take note that nothing more comes of a request; yield the calls that have found their places by that."""
        one.ended = True
        self._asking.difference_update(one.asked)
        if one.seen is not None and not one.answered:
            self._take_back(one)
            return
        if one.seen is not None:
            one.new = [position for position in sorted(one.calls) if position not in one.places]
            if not one.early or len(one.calls) <= len(one.asked):  # more may be anything that other requests have asked for
                yield from self._place(one, sorted(one.calls), one.seen)
            self._waiting.append(one)
        self._note(one)
        if all(other.ended for other in self.tries):
            waiting, self._waiting = self._waiting, []
            for earlier in waiting:
                yield from self._rest(earlier)

    def due(self) -> list[int]:
        """Return the places of the bad calls that may be asked again."""
        return [place for place in sorted(self._bad) if self._is_due(place)] if self._rounds < self._most else []

    def due_early(self) -> list[int]:
        """Return those of `due` that were never asked again: once is all that can be while the first answer is on its way."""
        return [place for place in self.due() if not self._counts[place]] if self._bad else []

    def write_plainly(self) -> bool:
        """From now on send bad arguments back as JSON objects; return whether that makes a difference."""
        before, self._written = self._written, plainly
        answers = [one.incoming for one in self.tries if one.incoming is not None]
        changed = any(plainly(call) is not call for answer in answers for call in answer.calls.values())
        return changed and before is not plainly

    def missing(self) -> list[CallError]:
        """Return what is wrong with the answer as a whole, and may be asked for."""
        wanted: list[CallError] = [
            gap for gap in self._gaps if isinstance(gap, CutOffError | NoCallsError) and not _is_lasting(gap)
        ]
        return wanted if self._rounds < self._most else []

    def again(self, results: Results) -> Try:
        """Return the next request: the whole conversation, and what is due."""
        due, gaps, spoken = self.due(), self.missing(), self._spoken()
        last = spoken[-1] if spoken else None
        note = beside((self.places[place] for place in due if last is None or self._of(place)[0] != last.number), gaps)
        if last is not None:
            self._noted = last, last.note
            last.note = note
        messages = list(self.first.messages)
        for turn in (self._turn(one, results) for one in spoken):
            messages += [*turn.messages(results, turn.told), *turn.note]
        asking = self._ask(messages if last is not None else [*messages, said(note)], due, gap=bool(gaps))
        known = any(self.places[place].outcome != "unknown" for place in due)
        asking.optional = not known and all(isinstance(gap, CutOffError) for gap in gaps)
        self._rounds += 1
        return asking

    def again_early(self, results: Results) -> Try:
        """Return a request for what is due in the first answer as far as it has come; what others ask for counts as accepted."""
        due = self.due_early()
        bad = {place: error for place in due if (error := self.places[place].error) is not None}
        turn = self._turn(self.first, results, bad)
        return self._ask([*self.first.messages, *turn.messages(results, turn.told)], due, early=True)

    @property
    def errors(self) -> list[CallError]:
        """Every error of the outcome: those of the calls, in order, then those of the answer as a whole."""
        own = [call.error for _, call in sorted(self.places.items()) if call.error is not None]
        return own + self._strays + [moved(gap, len(self.places)) for gap in self._gaps]

    @property
    def usage(self) -> Usage | None:
        """The tokens over all requests; None where the provider does not say."""
        known = [one.incoming.usage for one in self.tries if one.incoming is not None and one.incoming.usage is not None]
        if len(known) <= 1:
            return known[0] if known else None
        fields = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
        return Usage(**{name: _sum([getattr(usage, name) for usage in known]) for name in fields})

    def conversation(self, results: Results) -> Conversation:
        """Return all that was said."""
        turns = [self._turn(one, results) for one in self._spoken() or self.tries[-1:]]
        return Conversation(self.first.messages, tuple(turns), results)

    def _is_due(self, place: int) -> bool:
        waits = place not in self._asking and place not in self._settled and self._counts[place] < self._most
        return waits and not _is_lasting(self.places[place].error)

    def _ask(self, messages: Sequence[Message], due: Sequence[int], *, gap: bool = False, early: bool = False) -> Try:
        self._counts.update(due)
        self._asking.update(due)
        # A call of another tool than those offered may be in the first answer anyway, until that has ended.
        fixable = frozenset(place for place in due if not early or self.places[place].outcome != "unknown")
        shown = self.first.calls if early else self.places
        seen = Places(dict(shown), fixable, self._names(), beside=early)
        self.tries.append(Try(self._made, messages, due, seen, gap=gap, early=early))
        self._made += 1
        return self.tries[-1]

    def _take_back(self, one: Try) -> None:
        """Forget a request that was never answered."""
        self.tries.remove(one)
        if one.forgiven:
            self._counts.subtract(one.asked)
            self._rounds -= not one.early
        if not one.early and self._noted is not None:
            self._noted[0].note = self._noted[1]

    def _place(self, one: Try, positions: Collection[int], places: Places) -> Iterator[Call[Any]]:
        """Put calls of an answer in the places of those that they correct, and remember those that are new."""
        cut = any(places.calls[place].outcome == "cut off" for place in places.open)
        answer = {position: one.calls[position] for position in positions}
        fixed = {position: place for position, place in one.places.items() if position in answer}
        found = merge(answer, places, fixed, gap=one.gap or cut)
        for position, place in found.fixes.items():
            if position not in one.places:
                yield self._put(one, position, place)
        one.new = [position for position in answer if position not in one.places and position not in found.resent]

    def _put(self, one: Try, position: int, place: int) -> Call[Any]:
        call = one.calls[position]
        if one.early:
            self._corrected.add(place)
        error = None if call.error is None else moved(call.error, place)
        self._source[place] = (one.number, position)
        one.places[position] = place
        return self._stand(replace(call, index=place, error=error))

    def _stand(self, call: Call[Any]) -> Call[Any]:
        self.places[call.index] = call
        if call.error is None:
            self._bad.discard(call.index)
        else:
            self._bad.add(call.index)
        return call

    def _rest(self, one: Try) -> Iterator[Call[Any]]:
        """Put the calls that nobody asked for behind the others.

        One that was made while the first answer was on its way may be in that answer as well, or be asked for by another request:
        the model could not know.
        """
        elsewhere: set[str] = set()
        if one.seen is not None and one.early:
            shown = {place: self.places[place] for place in one.seen.calls}
            bad = frozenset(place for place in shown if place in self._bad)
            known = frozenset(place for place in bad if self.places[place].outcome != "unknown")
            yield from self._place(one, sorted(one.calls), Places(shown, known, self._names(), beside=True, shown=one.seen.calls))
            if known != bad and len(one.calls) != len(shown):  # what repeats a call may be meant for those of no tool
                one.new = [position for position in sorted(one.calls) if position not in one.places]
            still = frozenset(place for place in one.asked if place in self._bad)
            yield from self._place(one, one.new, Places(self.places, still, self._names()))
            for place, call in self.first.calls.items():
                if place not in one.asked and (place > max(one.asked) or call.error is not None):
                    elsewhere.add(call.name)
        corrected = set(one.places.values())
        self._settled.update(place for place in one.asked if self.places[place].outcome == "unknown" and place not in corrected)
        for position in one.new:
            if one.calls[position].name not in elsewhere:
                yield self._put(one, position, len(self.places))

    def _note(self, one: Try) -> None:
        errors = [] if one.incoming is None else one.incoming.errors
        gaps = [error for error in errors if not isinstance(error, InvalidArgumentsError)]
        for error in errors:
            if isinstance(error, InvalidArgumentsError) and error.index in one.places:
                self._strays.append(moved(error, one.places[error.index]))
        if one.seen is None:
            self._gaps = gaps
        elif one.gap and not gaps:
            self._gaps = []
        elif not one.early:
            cuts = [gap for gap in gaps if isinstance(gap, CutOffError)]
            before = [gap for gap in self._gaps if not (cuts and isinstance(gap, CutOffError))]
            self._gaps = [*before, *cuts, *(gap for gap in gaps if isinstance(gap, RefusalError))]

    def _spoken(self) -> list[Try]:
        """Return the requests whose answers are part of the conversation: those that hold anything."""
        return [one for one in self.tries if one.calls or (one.incoming is not None and one.incoming.text)]

    def _turn(self, one: Try, results: Results, bad: Mapping[int, CallError] | None = None) -> Turn:
        """Return what the model said, and what it is told: of the ``bad`` calls why, of all that are bad where that is None."""
        number = len(self.first.messages) + one.number
        assistant, calls = ([], []) if one.incoming is None else one.incoming.turn(number, self._written, one.ids, self._ids)
        corrected: Collection[int] = ()
        if bad is None:
            corrected = self._corrected if one is self.first else ()  # on another branch
            bad = {n: call.error for n, call in one.calls.items() if call.error is not None and n not in corrected}
        note = () if calls else (said(one.note or AGAIN),)
        told = tuple(tell(calls, bad, one.note, results, corrected))
        return Turn(tuple(assistant), told, tuple(self._stands(one, call.index) for call in calls), note)

    def _of(self, place: int) -> tuple[int, int]:
        """Return the number of the request, and the position in its answer, that the call in a place is of."""
        return self._source.get(place, (0, place))

    def _stands(self, one: Try, position: int) -> int | None:
        """Return the place of the outcome that a call of an answer stands in; None where another stands there."""
        place = one.places.get(position)
        return place if place is not None and self._of(place) == (one.number, position) else None


def _is_lasting(error: CallError | None) -> bool:
    """Whether an answer ended as the next one would too: by a limit, or because polycall itself was closed."""
    cause = None if error is None else error.__cause__
    return isinstance(cause, LimitError) or (isinstance(cause, TransportError) and not cause.transient)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
