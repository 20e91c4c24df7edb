"""One part of the content of a message of Cohere's: text, thinking, or what is yet to come."""

from __future__ import annotations

from typing import Final

from polycall.types import JsonObject

__all__ = ["Part"]

_KINDS: Final = frozenset({"text", "thinking"})


class Part:
    """One part, put together when asked for.

    Attributes:
        kind: Its type, in the service's word.
    """

    __slots__ = ("_others", "_texts", "kind")

    def __init__(self) -> None:
        """Start a part that is text until it says otherwise."""
        self.kind = "text"
        self._texts: dict[str, list[str]] = {}
        self._others: JsonObject = {}

    @property
    def said(self) -> bool:
        """Whether there is anything in it: of text and thinking, what their name says."""
        if self.kind in _KINDS:
            return any(self._texts.get(self.kind, ()))
        return any(piece for pieces in self._texts.values() for piece in pieces) or bool(self._others)

    def fold(self, part: JsonObject) -> None:
        """Add a piece of it."""
        kind = part.get("type")
        if isinstance(kind, str):
            self.kind = kind
        elif "thinking" in part and not self._texts:
            self.kind = "thinking"
        for key, value in part.items():
            if isinstance(value, str) and key != "type":
                self._texts.setdefault(key, []).append(value)
            elif key != "type" and value is not None:
                self._others[key] = value

    def written(self) -> JsonObject:
        """Return it as the service would send it whole."""
        return {"type": self.kind, **{key: "".join(pieces) for key, pieces in self._texts.items()}, **self._others}
