"""The items of a response while they arrive: which one an event is about.

An event names its item by ``output_index`` and ``item_id``. Servers repeat the one, rename the other from event to event (GitHub
Copilot), or leave them out, so an id counts as long as it stands for one item, then the index, then the item that is open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polycall.types import JsonObject, is_object

__all__ = ["Item", "Items"]


class Item:
    """One item of the output.

    Attributes:
        place: Its place among the items, from 0, in the order in which they began.
        kind: Its type.
        raw: The item as the server has sent it last.
        done: Whether all of it has come.
        cut: Whether it is a call that the server calls incomplete.
        pieces: The pieces of its text, or of its arguments.
        all_told: Whether its arguments have been told as a whole.
        number: Its place among the calls; None for one that is no call, or has not been told of.
        has_id: Whether its id has been told.
        has_name: Whether its name has been told.
    """

    __slots__ = ("all_told", "cut", "done", "has_id", "has_name", "kind", "number", "pieces", "place", "raw")

    def __init__(self, place: int, raw: JsonObject) -> None:
        """Begin with what the server has sent first."""
        self.place = place
        self.kind = str(raw.get("type") or "")
        self.raw = raw
        self.done = self.cut = self.all_told = self.has_id = self.has_name = False
        self.pieces: list[str] = []
        self.number: int | None = None

    def rest(self, text: str) -> str:
        """Return what of the whole ``text`` has not come in pieces; nothing where they say something else, and they count."""
        if not self.pieces:
            return text
        said = "".join(self.pieces)
        return text[len(said) :] if text.startswith(said) else ""

    def is_named(self, raw: JsonObject) -> bool:
        """Whether another mention of an item may mean this one."""
        if self.kind and raw.get("type") not in (None, self.kind):
            return False
        mine, other = self.raw.get("call_id"), raw.get("call_id")
        return mine in (None, "") or other in (None, "") or mine == other

    def shares_id(self, raw: JsonObject) -> bool:
        """Whether another mention of an item has an id of this one."""
        return any(raw.get(key) not in (None, "") and raw[key] == self.raw.get(key) for key in ("id", "call_id"))

    def says(self, raw: JsonObject) -> bool:
        """Whether another mention of an item says what this one says."""
        return all(raw.get(key) == self.raw.get(key) for key in ("call_id", "name", "arguments", "content"))


class Items:
    """The items of one response.

    Attributes:
        all: They, in the order in which they began.
    """

    __slots__ = ("_by_id", "_by_index", "all")

    def __init__(self) -> None:
        """Start a response."""
        self.all: list[Item] = []
        self._by_id: dict[str, Item | None] = {}  # None where an id has stood for several
        self._by_index: dict[Any, Item] = {}

    def open(self, event: JsonObject, raw: JsonObject) -> tuple[Item, bool]:
        """Return the item that begins, and whether it is new: it may have been told of before."""
        known = self._known(event, raw.get("id"))
        if known is not None and not known.done and known.is_named(raw) and known.shares_id(raw):
            return known, False
        return self._new(event, raw), True

    def ending(self, event: JsonObject, raw: JsonObject) -> Item:
        """Return the item that is done; one of its own where none like it has begun."""
        known = self._known(event, raw.get("id"))
        if known is None and "output_index" not in event:
            known = next((item for item in self.all[-1:] if not item.done), None)
        if known is None or not known.is_named(raw):
            return self._new(event, raw)
        if known.done and not (self._is_at(event, known) and (known.shares_id(raw) or known.says(raw))):
            return self._new(event, raw)
        return known

    def of(self, event: JsonObject, kind: str) -> Item:
        """Return the item that a piece belongs to."""
        known = self._known(event, event.get("item_id"))
        if known is None and self.all and "output_index" not in event:
            known = self.all[-1] if self.all[-1].kind == kind else None
        return known or self._new(event, {"type": kind, **({"id": event["item_id"]} if event.get("item_id") else {})})

    def missing(self, output: Iterable[object]) -> list[tuple[Item, JsonObject]]:
        """Return the items that the whole output completes, those that no event has told of among them."""
        seen, entries = len(self.all), list(enumerate(output))
        by_call = {item.raw["call_id"]: item for item in self.all if isinstance(item.raw.get("call_id"), str)}
        found: list[tuple[Item, JsonObject]] = []
        for number, raw in entries:
            if not is_object(raw):
                continue
            known = self._known({"output_index": number}, raw.get("id")) if seen else None
            if known is None or known.place >= seen or not known.is_named(raw):
                call_id = raw.get("call_id")
                known = by_call.get(call_id) if isinstance(call_id, str) else None
            if known is None:
                known = self._new({"output_index": number}, raw)
            if not known.done:
                found.append((known, raw))
        return found

    def _is_at(self, event: JsonObject, item: Item) -> bool:
        """Whether an event says nothing else of the place of an item."""
        index = event.get("output_index")
        return not isinstance(index, int | float | str) or self._by_index.get(index) is item

    def _known(self, event: JsonObject, item_id: object) -> Item | None:
        known = self._by_id.get(item_id) if isinstance(item_id, str) else None
        if known is not None:
            return known
        index = event.get("output_index")
        return self._by_index.get(index) if isinstance(index, int | float | str) else None

    def _new(self, event: JsonObject, raw: JsonObject) -> Item:
        item = Item(len(self.all), raw)
        self.all.append(item)
        index, item_id = event.get("output_index"), raw.get("id")
        if isinstance(index, int | float | str):
            self._by_index[index] = item
        if isinstance(item_id, str) and item_id:
            self._by_id[item_id] = None if item_id in self._by_id else item
        return item
