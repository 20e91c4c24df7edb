"""Which call of a new answer stands for which call of the outcome, when the model was asked again.

A model may send only the corrected calls again, some of them, all calls of its first answer, or others. Ids tell nothing: they
are the server's. What tells is the tool, what a call has in common with the bad one, and the order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polycall._places import Places, meaning
from polycall.call import Call

__all__ = ["Merged", "merge", "surely"]


@dataclass(frozen=True, slots=True)
class Merged:
    """Where the calls of a new answer belong, by their positions in it.

    Attributes:
        fixes: The places of bad calls that they correct.
        resent: The places of good calls that they only send again.
    """

    fixes: dict[int, int]
    resent: dict[int, int]


def merge(answer: Mapping[int, Call[Any]], places: Places, fixed: Mapping[int, int], *, gap: bool = False) -> Merged:
    """Find the place of each call of a whole answer; a call in neither part of what is returned is a new one.

    Args:
        answer: The calls, by their positions from 0.
        places: What they are compared with.
        fixed: Where calls have found their places already, by position.
        gap: Whether the model was asked for further calls.
    """
    pairing = _Pairing(answer, places, fixed)
    pairing.by_number()
    pairing.by_likeness()
    if not gap:
        pairing.by_position()
    pairing.by_order()
    pairing.whatever_the_tool()
    return Merged(pairing.fixes, pairing.resent)


class _Pairing:
    """The calls of an answer while they find their places, surest first."""

    def __init__(self, answer: Mapping[int, Call[Any]], places: Places, fixed: Mapping[int, int]) -> None:
        self._answer = answer
        self._places = places
        self.fixes = dict(fixed)
        whole = len(answer) == len(places.calls)  # everything once more, in the old order
        self._there = dict(zip(sorted(answer), sorted(places.calls), strict=True)) if whole else {}
        left = {position: call for position, call in answer.items() if position not in fixed}
        self.resent = _sent_again(left, places, self._there)
        self._corrected = set(fixed.values())

    def by_number(self) -> None:
        """Where there are as many calls as bad ones, one that repeats a good call may be meant to: the same was wanted twice."""
        pairs = list(zip(sorted(self._answer), self._places.open, strict=False))
        as_many = len(self._answer) == len(self._places.open) and all(self.fixes.get(one, place) == place for one, place in pairs)
        if as_many and all(
            self._places.may_be(place, self._answer[position])
            if position in self.resent
            else self._places.fits(place, self._answer[position])
            for position, place in pairs
        ):
            self.resent.clear()

    def by_likeness(self) -> None:
        """Pair calls with the bad ones that they share most words with; in the order of both where that is as good."""
        free = self._free()
        open_ = [place for place in self._places.open if place not in self._corrected]
        rank = {place: number for number, place in enumerate(open_)}
        order = {position: number for number, position in enumerate(free)}
        alike = [one for one in self._places.likeness(self._answer) if one[1] in order and one[2] in rank]
        alike.sort(key=lambda one: (-one[0], abs(order[one[1]] - rank[one[2]]), one[1]))
        in_order = dict(zip(free, open_, strict=False))
        if len(free) == len(open_) and all(self._places.fits(place, self._answer[one]) for one, place in in_order.items()):
            best = _best(alike)
            if sum(count for count, position, place in alike if in_order[position] == place) >= best:
                alike = [(0, position, place) for position, place in in_order.items()]
        for _, position, place in alike:
            self._pair(position, place)

    def by_position(self) -> None:
        """Where all calls were sent once more each is where it was; also one that has nothing of the old one, where most are."""
        there, again = self._there, set(self.resent.values())
        known = {position for position, place in {**self.resent, **self.fixes}.items() if there.get(position) == place}
        answer = self._answer.values() if there else ()
        spread = Counter(word for call in answer for word in self._places.words(call))
        common = {word for word, count in spread.items() if count > 1}
        changed = {one for one in self._free() if there and self._places.is_changed(there[one], self._answer[one], common)}
        closed = [position for position, place in there.items() if not self._places.is_open(place)]
        sure = 0 < len(closed) <= 2 * len((known | changed).intersection(closed))
        for position in self._free() if there else ():
            place, call = there[position], self._answer[position]
            if place not in again and (position in changed or (sure and self._places.is_closed(place, call.name))):
                self.resent[position] = place
            elif sure and self._places.is_open(place) and self._places.fits(place, call):
                self._pair(position, place)

    def by_order(self) -> None:
        """Give the calls of a tool to its bad calls in their order, then what is left to those of tools that were not offered."""
        waiting: dict[str | None, deque[int]] = {}
        for place in self._places.open:
            if place not in self._corrected:
                bad = self._places.calls[place]
                waiting.setdefault(bad.name, deque()).append(place)
                if bad.outcome == "unknown":
                    waiting.setdefault(None, deque()).append(place)
        for any_tool in (False, True):
            for position in self._free():
                line = waiting.get(None if any_tool else self._answer[position].name, ())
                while line and position not in self.fixes:
                    self._pair(position, line.popleft())

    def whatever_the_tool(self) -> None:
        """Put a call of another tool in the place of a bad one that it shares words with, and a call of no tool anywhere."""
        left = deque(place for place in self._places.open if place not in self._corrected)
        for position in self._free():
            alike = self._places.alike(self._answer[position])
            place = next((one for one in alike if one not in self._corrected), None)
            if place is None and self._answer[position].outcome == "unknown":
                while left and left[0] in self._corrected:
                    left.popleft()
                place = left[0] if left else None
            if place is not None:
                self._pair(position, place)

    def _free(self) -> list[int]:
        return [one for one in sorted(self._answer) if one not in self.fixes and one not in self.resent]

    def _pair(self, position: int, place: int) -> None:
        if position not in self.fixes and place not in self._corrected:
            self.fixes[position] = place
            self._corrected.add(place)


def _best(alike: Sequence[tuple[int, int, int]]) -> int:
    """Return how much calls and places have in common when each is paired with one other at most, likest first."""
    calls, places, best = set[int](), set[int](), 0
    for count, position, place in alike:
        if position not in calls and place not in places:
            calls.add(position)
            places.add(place)
            best += count
    return best


def surely(call: Call[Any], places: Places) -> int | None:
    """Return the place that a call corrects whatever else the answer may bring; None where that has to be seen first."""
    if call.error is not None or meaning(call) in places.closed or not places.is_wanted(call):
        return None
    alike = {place for _, _, place in places.likeness({0: call})}
    if len(places.open) == 1:
        return places.open[0] if alike or not places.has_rival(call) else None
    place = alike.pop() if len(alike) == 1 and places.is_plain(call) else None
    return place if place is not None and (places.calls[place].name == call.name or not places.has(call.name)) else None


def _sent_again(answer: Mapping[int, Call[Any]], places: Places, there: Mapping[int, int]) -> dict[int, int]:
    """Return the places of calls that are in an answer once more, just as they were; those that are where they were first."""
    asked = {position: meaning(call) for position, call in answer.items()}
    closed = {what: set(places.closed.get(what, ())) for what in set(asked.values())}
    found = {position: there[position] for position, what in asked.items() if there.get(position) in closed[what]}
    taken = set(found.values())
    waiting = {what: deque(sorted(inside - taken)) for what, inside in closed.items()}
    for position, what in asked.items():
        if position not in found and waiting[what]:
            found[position] = waiting[what].popleft()
    return found
