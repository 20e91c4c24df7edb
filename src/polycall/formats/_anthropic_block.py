"""One block of the content of an answer in Anthropic's format, while it arrives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic_core import from_json

from polycall._closing import Closing
from polycall._framing import arguments_text
from polycall.types import CallDelta, JsonObject, ToolCall, is_array, is_object

__all__ = ["Block", "input_text"]

_ENTRY: Final = frozenset({"type", "id", "name", "input"})


class Block:
    """One block of the content, put together when asked for.

    Attributes:
        kind: Its type; empty where it says none.
        place: Its position among the blocks.
        number: Its position among the calls, None where it is none.
        closed: Whether it has stopped.
        complete: Whether the object of a call's arguments has closed.
    """

    def __init__(self, given: JsonObject, place: int) -> None:
        kind = given.get("type")
        self.kind = kind if isinstance(kind, str) else ""
        self.place = place
        self.number: int | None = None
        self.closed = False
        self.complete = False
        self._given = given
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._others: JsonObject = {}
        self._closing: Closing | None = None

    def fold(self, delta: JsonObject) -> None:
        for key, value in delta.items():
            if key == "citation":
                self._lists.setdefault("citations", []).append(value)
            elif key == "type" or value is None:
                continue
            elif isinstance(value, str):
                self._texts.setdefault(key, []).append(value)
            elif is_array(value):
                self._lists.setdefault(key, []).extend(value)
            else:
                self._others[key] = value

    def content(self) -> JsonObject:
        """Return the block as a whole message would have it."""
        made: JsonObject = {**self._given, **self._others}
        made |= {key: [*_listed(self._given.get(key)), *value] for key, value in self._lists.items()}
        for key, pieces in self._texts.items():
            if key == "partial_json":
                read = _parsed("".join(pieces), None)
                made["input"] = read if is_object(read) else self._given.get("input")
            else:
                before = self._given.get(key)
                made[key] = "".join((before if isinstance(before, str) else "", *pieces))
        if self.kind == "text" and not isinstance(made.get("text"), str):
            made["text"] = ""
        return made

    def called(self, call: ToolCall) -> JsonObject:
        """Return the block of a call with its arguments as they were read."""
        return {**self._given, "input": _parsed(call.arguments or "{}", call.arguments)}

    def named(self) -> CallDelta:
        """Return what is known of a call before its arguments."""
        given = self._given
        call_id, name = given.get("id"), given.get("name")
        extra = {key: value for key, value in given.items() if key not in _ENTRY and value is not None}
        return CallDelta(
            self.place,
            str(call_id) if call_id not in (None, "") else None,
            name if isinstance(name, str) else None,
            extra=extra or None,
        )

    def delta(self, *, whole: bool) -> CallDelta:
        """Return a call that came in one piece."""
        made = self.named()
        made.arguments, made.whole = input_text(self._given.get("input")), whole
        return made

    def closes(self, text: str) -> None:
        """Take a piece of a call's arguments."""
        self._closing = self._closing or Closing()
        self.complete = self.complete or self._closing.feed(text) is not None

    def sealed(self) -> CallDelta:
        """Return what completes a call: nothing more, or the arguments that its start had, where no piece came."""
        given = self._given.get("input")
        return CallDelta(self.place, arguments=input_text(given) if given and self._closing is None else "", whole=True)


def input_text(given: object) -> str:
    """Return the arguments of a call as text, however they were sent."""
    return given if isinstance(given, str) else "" if given is None else arguments_text(given)


def _parsed(text: str, otherwise: object) -> Any:
    try:
        return from_json(text.encode())
    except ValueError:
        return otherwise


def _listed(value: object) -> Iterable[Any]:
    return value if is_array(value) else ()
