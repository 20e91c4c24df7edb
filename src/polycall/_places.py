"""The calls of the outcome, as far as those of another answer are compared with them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cached_property
from itertools import chain
from typing import Any, Final

import jiter

from polycall.call import Call
from polycall.types import is_array, is_object

__all__ = ["Places", "meaning"]

_WORD: Final = re.compile(r"\w+")
_NO_WORDS: Final = frozenset({"null", "true", "false"})
_MANY: Final = 8
"""A word that so many bad calls share tells nothing of any of them."""


class Places:
    """The calls of the outcome, as far as an answer is compared with them.

    Args:
        calls: All of them, by place.
        open: The places of the bad calls that may be corrected.
        names: The names that the tools' schemas give to fields: they are no sign that two calls mean the same.
        beside: Whether other requests ask for bad calls that are not open.
        shown: The calls as the model was shown them, where that is not what they are now.
    """

    def __init__(
        self,
        calls: Mapping[int, Call[Any]],
        open: AbstractSet[int],
        names: Collection[str],
        *,
        beside: bool = False,
        shown: Mapping[int, Call[Any]] | None = None,
    ) -> None:
        self.calls = calls
        self._beside = beside
        self._shown = shown or {}
        self.open = sorted(open)
        self._open = open
        self._names = names
        tools = {calls[place].name for place in self.open}
        others = [call for place, call in calls.items() if place not in open]
        common: dict[str, set[str]] = {}
        for call in others:
            if call.name in tools:
                common.setdefault(call.name, set()).update(self.words(call))
        self._holders: dict[str, list[int]] = {}
        for place in self.open:
            for word in self.words(calls[place]) - common.get(calls[place].name, set()):
                self._holders.setdefault(word, []).append(place)
        self._rivals = {_tool(call) for call in others}
        telling = {place for holders in self._holders.values() for place in holders}
        self._blank = {_tool(calls[place]) for place in self.open if place not in telling}
        self._tools = {_tool(calls[place]) for place in self.open}

    def words(self, call: Call[Any]) -> set[str]:
        """Return the words and numbers among the values of a call's arguments."""
        try:
            return set(_WORD.findall(" ".join(_leaves(jiter.from_json(call.arguments.encode())))))
        except ValueError:
            return set(_WORD.findall(call.arguments)).difference(self._names, _NO_WORDS)

    def likeness(self, answer: Mapping[int, Call[Any]]) -> list[tuple[int, int, int]]:
        """Return how many words, which no other call has, each call of an answer shares with bad calls: number, call, place."""
        found: list[tuple[int, int, int]] = []
        for position, call in answer.items():
            found += [(count, position, place) for place, count in self.alike(call).items() if self.fits(place, call)]
        return found

    def alike(self, call: Call[Any]) -> Mapping[int, int]:
        """Return how many words, which no other call has, a call shares with bad ones, by their places."""
        shared: Counter[int] = Counter()
        for word in self.words(call) if self._holders else ():
            holders = self._holders.get(word, ())
            shared.update(holders if len(holders) < _MANY else ())
        return shared

    @cached_property
    def closed(self) -> Mapping[str, Sequence[int]]:
        """The places of the calls that are not asked for, by what they ask for."""
        closed: dict[str, list[int]] = {}
        for place, call in self.calls.items():
            if place not in self._open:
                for what in {meaning(call), meaning(self._shown.get(place, call))}:
                    closed.setdefault(what, []).append(place)
        return closed

    def is_open(self, place: int) -> bool:
        """Whether the bad call in a place may be corrected."""
        return place in self._open

    def fits(self, place: int, call: Call[Any]) -> bool:
        """Whether a call may correct the bad one in a place: it is of the same tool, or that tool was not offered."""
        bad = self.calls[place]
        return bad.outcome == "unknown" or bad.name == call.name

    def may_be(self, place: int, call: Call[Any]) -> bool:
        """Whether a call fits a bad one, and nothing that can be seen of that one speaks against it."""
        words = self.words(self.calls[place])
        return self.fits(place, call) and (not words or not words.isdisjoint(self.words(call)))

    def has_rival(self, call: Call[Any]) -> bool:
        """Whether a call may as well be another one of the outcome, changed."""
        return call.name in self._rivals or None in self._rivals

    def has(self, tool: str) -> bool:
        """Whether a bad call of a tool that was offered is open."""
        return tool in self._tools

    def is_wanted(self, call: Call[Any]) -> bool:
        """Whether a call fits any bad one."""
        return call.name in self._tools or None in self._tools

    def is_plain(self, call: Call[Any]) -> bool:
        """Whether each bad call that a call fits has words that no other call has."""
        return call.name not in self._blank and None not in self._blank

    def is_changed(self, place: int, call: Call[Any], common: Collection[str]) -> bool:
        """Whether a call seems to be the one in a place, sent again with other arguments: both have words that no other call has.

        Args:
            place: A place.
            call: A call of the answer.
            common: The words that several calls of the answer have.
        """
        if not self.is_closed(place, call.name):
            return False
        own = {word for word in self.words(self.calls[place]) if self._spread[call.name, word] == 1}
        return not own.isdisjoint(self.words(call).difference(common))

    def is_closed(self, place: int, tool: str) -> bool:
        """Whether a call of a tool stands in a place that is not asked for: a good one, or one that another request asks for."""
        return place not in self._open and self.calls[place].name == tool and (self._beside or self.calls[place].error is None)

    @cached_property
    def _spread(self) -> Counter[tuple[str, str]]:
        """How many calls of a tool have a word."""
        return Counter((call.name, word) for call in self.calls.values() for word in self.words(call))


def _tool(call: Call[Any]) -> str | None:
    return None if call.outcome == "unknown" else call.name


def meaning(call: Call[Any]) -> str:
    """Return what two calls have in common that ask for the same."""
    arguments = call.arguments.strip()
    with suppress(ValueError):
        arguments = json.dumps(jiter.from_json(arguments.encode()), sort_keys=True)
    return f"{call.name} {arguments if arguments not in {'', 'null'} else '{}'}"


def _leaves(value: Any) -> Iterator[str]:
    if is_object(value):
        yield from chain.from_iterable(map(_leaves, value.values()))
    elif is_array(value):
        yield from chain.from_iterable(map(_leaves, value))
    elif isinstance(value, str):
        yield value
    elif not isinstance(value, bool | None):
        yield str(value)
