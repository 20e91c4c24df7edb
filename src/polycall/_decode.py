"""Pieces of tool calls -> complete tool calls. The only place that says "this call is complete".

A call's identity is its position. Providers' own keys help to find it, but they are repeated, reused, negative or missing on some
servers, and ids too; the rules in `Assembler._begins_another` say when a piece starts a call of its own nevertheless.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import jiter

from polycall._closing import Closing
from polycall.types import LIMITS, CallDelta, Limits, ToolCall

Assembled: TypeAlias = "Piece | ToolCall | Stray"
"""What a piece did: it added to a call, completed one, or fits nowhere."""


_NOTHING: Final[Mapping[str, Any]] = {}


class Slot:
    """One call while it arrives.

    Attributes:
        index: The call's position.
        pieces: The pieces of its arguments so far; only ever appended to.
        closed: Whether the object of its arguments has closed.
        keyed: Whether the provider's key of it is known.
        sealed: The complete call, None while it is open.
        repeat: What has come for it after its seal.
    """

    __slots__ = ("_closing", "_room", "choice", "closed", "extra", "id", "index", "keyed", "name", "pieces", "repeat", "sealed")

    def __init__(self, index: int, room: int) -> None:
        """Open the place of the call at ``index``; behind ``room`` characters of its arguments it forgets the rest."""
        self.index = index
        self._room = room
        self.id: str | None = None
        self.name = ""
        self.pieces: list[str] = []
        self.choice = 0
        self.closed = False
        self.keyed = False
        self.extra: Mapping[str, Any] = _NOTHING
        self.sealed: ToolCall | None = None
        self.repeat: Repeat | None = None
        self._closing = Closing()

    def add(self, delta: CallDelta) -> None:
        """Add a piece."""
        self.name = self.name or delta.name or ""
        self.id = self.id or delta.id
        self.choice = delta.choice
        if delta.extra:
            self.extra = {**self.extra, **delta.extra}
        if delta.arguments:
            if self._room >= 0:
                self.pieces.append(delta.arguments[: self._room + 1])  # one more, so that the check sees that it is too long
                self._room -= len(delta.arguments)
            self.closed = self.closed or self._closing.feed(delta.arguments) is not None

    def seal(self, cut: str | None = None) -> ToolCall:
        """Close the place and return its call."""
        del self._closing  # nothing more is added
        self.sealed = ToolCall(self.index, self.id, self.name, whole_text(self.pieces), cut, self.choice, self.extra)
        return self.sealed


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A piece was added to an open call.

    Attributes:
        slot: The call.
        text: The new piece of its arguments, empty when only its name or id came.
        count: How many of ``slot.pieces`` there are with it.
    """

    slot: Slot
    text: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Stray:
    """Text came for a sealed call that is no repetition of it. The call stays as it is."""

    call: ToolCall


class Repeat:
    """Text that comes for a call after its seal, as far as it repeats the call's own text.

    Attributes:
        first: The piece that it began with.
        matched: How many characters of the call's text it has repeated.
    """

    __slots__ = ("_longer", "_text", "first", "matched")

    def __init__(self, call: ToolCall, first: CallDelta, *, longer: bool) -> None:
        """Begin with nothing but the piece that follows; ``longer`` says that the call's text is not known to its end."""
        self._longer = longer
        self.first = first
        self.matched = 0
        self._text = call.arguments.strip()

    @property
    def complete(self) -> bool:
        """Whether all of the call's text was repeated."""
        return self.matched == len(self._text)

    @property
    def partly(self) -> bool:
        """Whether some of it was repeated, and not all."""
        return 0 < self.matched < len(self._text)

    @property
    def text(self) -> str:
        """What has come so far."""
        return self._text[: self.matched]

    def add(self, piece: str) -> bool:
        """Take the next piece; return False when it is no repetition."""
        if self.matched == 0:
            piece = piece.lstrip()
        rest = len(self._text) - self.matched
        if (piece[rest:].strip() and not self._longer) or not self._text.startswith(piece[:rest], self.matched):
            return False
        self.matched += min(rest, len(piece))
        return True


class Assembler:
    """Puts the tool calls of one response together.

    Args:
        seal_on_close: Whether a call is complete when its top-level object closes. True where the wire format never sends more
            for a call after that but white space and repetitions.
        limits: What one response may cost.

    Attributes:
        slots: The calls so far.
        full: Whether there were more calls than the limits allow; those are dropped.
    """

    __slots__ = ("_by_id", "_by_key", "_limits", "_seal_on_close", "_strays", "_touched", "full", "slots")

    def __init__(self, *, seal_on_close: bool, limits: Limits = LIMITS) -> None:
        """Start a response."""
        self.slots: list[Slot] = []
        self.full = False
        self._limits = limits
        self._by_key: dict[Hashable, Slot] = {}
        self._by_id: dict[str, Slot] = {}
        self._touched: set[int] = set()  # the calls that the present event has added to
        self._strays: set[int] = set()
        self._seal_on_close = seal_on_close

    def feed(self, deltas: Sequence[CallDelta]) -> list[Assembled]:
        """Take the pieces of one event, in order, and return what they did, in order."""
        self._touched.clear()
        done: list[Assembled] = []
        for delta in deltas:
            slot = self._find(delta)
            if slot is None or self._begins_another(slot, delta):
                if slot is not None and slot.sealed is None and (delta.key is not None or slot.id is None):
                    done.append(slot.seal())  # nothing more can come for it: its key is taken, or it has none
                slot = self._open(delta)
                if slot is None:
                    return done
            if slot.sealed is None:
                self._add(slot, delta, done)
            else:
                self._add_to_sealed(slot, slot.sealed, delta, done)
        return done

    def close(self, cuts: Mapping[int, str | None], cut: str | None) -> list[Assembled]:
        """Seal what is still open, in the model's order.

        Args:
            cuts: What cut each choice short, None for one that is complete.
            cut: The same for the choices that are not in ``cuts``.
        """
        done: list[Assembled] = []
        for slot in tuple(self.slots):
            if slot.sealed is not None and slot.repeat is not None and slot.repeat.partly and slot.repeat.first.id in {None, ""}:
                self._diverge(slot, slot.sealed, slot.repeat, "", done)
        last = {slot.choice: slot for slot in self.slots}
        for slot in self.slots:
            if slot.sealed is None:
                # Where a choice has said that it was cut, everything up to the cut has come: a call without a piece of arguments
                # that is not its last has none.
                own = cuts.get(slot.choice) if slot.pieces or slot is last[slot.choice] else None
                done.append(slot.seal(own if slot.choice in cuts else cut))
        return done

    def _find(self, delta: CallDelta) -> Slot | None:
        known = self._by_id.get(delta.id or "")
        if delta.key is not None:
            slot = self._by_key.get(delta.key)
            if slot is None and known is not None and not known.keyed:  # its first piece had no key
                self._by_key[delta.key], known.keyed = known, True
                return known
            return slot
        if known is not None:
            return known
        return self.slots[-1] if self.slots else None

    def _begins_another(self, slot: Slot, delta: CallDelta) -> bool:
        """Whether ``delta`` starts a call of its own although its key belongs to ``slot``."""
        other_id = bool(delta.id and slot.id and delta.id != slot.id)
        if not delta.name:
            complete = slot.sealed is not None or (delta.key is None and slot.closed)
            return other_id and complete and bool(delta.arguments.strip())
        if not slot.name:
            return False
        if other_id or delta.name != slot.name:
            return True
        # The same name again and no other id: a server that repeats the name in every piece, a call sent again, or the same tool
        # called again by a server that numbers nothing. Two entries of one event are two calls; the rest `Repeat` finds out.
        return slot.index in self._touched and (slot.sealed is not None or not slot.pieces)

    def _open(self, delta: CallDelta) -> Slot | None:
        if len(self.slots) == self._limits.calls:
            self.full = True
            return None
        slot = Slot(len(self.slots), self._limits.arguments)
        self.slots.append(slot)
        if delta.key is not None:
            self._by_key[delta.key], slot.keyed = slot, True
        if delta.id:
            self._by_id[delta.id] = slot
        return slot

    def _add(self, slot: Slot, delta: CallDelta, done: list[Assembled]) -> None:
        self._touched.add(slot.index)
        slot.add(delta)
        done.append(Piece(slot, delta.arguments, len(slot.pieces)))
        if delta.whole or (slot.closed and self._seal_on_close and slot.name):
            done.append(slot.seal())

    def _add_to_sealed(self, slot: Slot, call: ToolCall, delta: CallDelta, done: list[Assembled]) -> None:
        """Ignore white space and a repetition of the whole text; other text is a call of its own, or belongs nowhere."""
        longer = len(call.arguments) > self._limits.arguments
        if slot.repeat is None or (slot.repeat.complete and (delta.name or (delta.arguments.strip() and not longer))):
            slot.repeat = Repeat(call, delta, longer=longer)
        if not slot.repeat.add(delta.arguments):
            self._diverge(slot, call, slot.repeat, delta.arguments, done)

    def _diverge(self, slot: Slot, call: ToolCall, repeat: Repeat, text: str, done: list[Assembled]) -> None:
        """Make a call of its own of text that only began like a repetition and has a name; else it belongs nowhere."""
        slot.repeat = None
        begun = replace(repeat.first, arguments=repeat.text + text)
        if begun.name and begun.id and begun.id == call.id and _same_json(begun.arguments, call.arguments):
            return  # sent again with other white space
        if begun.name:
            if (another := self._open(begun)) is not None:
                self._add(another, begun, done)
        elif slot.index not in self._strays:
            self._strays.add(slot.index)
            done.append(Stray(call))


def _same_json(one: str, other: str) -> bool:
    try:
        return bool(jiter.from_json(one.encode()) == jiter.from_json(other.encode()))
    except ValueError:
        return False


def whole_text(pieces: Sequence[str]) -> str:
    """Join pieces of text; a surrogate pair that was split between two of them becomes one character again."""
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text
