"""One block of an answer of Bedrock's Converse, whole or folded from its deltas."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any, Final

from polycall._closing import Closing
from polycall.formats._converse_messages import CONTENT
from polycall.types import JsonObject, is_array, is_object

__all__ = ["Block", "parsed"]

_OWN_TOOL: Final = "server_tool_use"
_THOUGHT: Final = ("text", "signature")


class Block:
    """One block.

    Attributes:
        call: The number of the call that it is, None where it is none.
        ended: Whether nothing more of it can come.
    """

    __slots__ = ("_arrived", "_closed", "_closing", "_given", "_lists", "_others", "_texts", "call", "ended")

    def __init__(self, given: JsonObject, *, whole: bool = False) -> None:
        """Begin with what came first: the ``whole`` block, or its start."""
        self._given = given
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._others: JsonObject = {}
        self._closing = Closing()
        self._arrived = self._closed = False
        self.call: int | None = None
        self.ended = whole

    @property
    def own_tool(self) -> bool:
        """Whether it is a call of a tool that the service runs itself (ToolUseBlock, ``type``)."""
        called = self._given.get("toolUse")
        return is_object(called) and called.get("type") == _OWN_TOOL

    @property
    def called(self) -> JsonObject | None:
        """The call that it is, None where the caller has none to run."""
        if "toolUse" not in self._given or self.own_tool:
            return None
        called = self._given["toolUse"]
        return called if is_object(called) else {}

    @property
    def text(self) -> str:
        """The text of a whole block."""
        cited = self._given.get("citationsContent")
        parts: Any = cited.get("content") if is_object(cited) else [self._given]
        listed: list[Any] = parts if is_array(parts) else []
        return "".join(part["text"] for part in listed if is_object(part) and isinstance(part.get("text"), str))

    @property
    def complete(self) -> bool:
        """Whether the arguments of its call are complete, as far as brackets tell; none at all are."""
        return self._closed or not self._arrived

    def add(self, piece: str) -> None:
        """Take a piece of the arguments of its call."""
        if piece.strip() or self._arrived:
            self._arrived = True
            self._closed = self._closed or self._closing.feed(piece) is not None

    def fold(self, kind: str, value: Any) -> str:
        """Take a delta of any other kind; return the text in it."""
        if kind == "text" and isinstance(value, str):
            self._texts.setdefault(kind, []).append(value)
            return value
        if kind in {"reasoningContent", "toolUse"} and is_object(value):
            for key, one in value.items():
                if isinstance(one, str):
                    self._texts.setdefault(f"{kind} {key}", []).append(one)
        elif kind in {"toolResult", "citation"}:
            self._lists.setdefault(kind, []).extend(value if is_array(value) else [value])
        elif is_object(value):
            self._others[kind] = {**self._others.get(kind, {}), **value}
        return ""

    def native(self) -> JsonObject | None:
        """Return it as one block of a whole message, None for nothing."""
        texts = {kind: "".join(pieces) for kind, pieces in self._texts.items()}
        if "citation" in self._lists:
            said = {"content": [{"text": texts["text"]}]} if "text" in texts else {}
            return {"citationsContent": {**said, "citations": self._lists["citation"]}}
        if "text" in texts:
            return {"text": texts["text"]}
        if redacted := self._texts.get("reasoningContent redactedContent"):
            return {"reasoningContent": {"redactedContent": _joined(redacted)}}
        if thought := {key: texts[f"reasoningContent {key}"] for key in _THOUGHT if f"reasoningContent {key}" in texts}:
            return {"reasoningContent": {"reasoningText": {"text": "", **thought}}}
        for kind, start in self._given.items():
            folded: JsonObject = dict(self._others.get(kind, {}))
            if kind == "toolUse" and "toolUse input" in texts:
                folded["input"] = parsed(texts["toolUse input"])
            if kind in self._lists:
                folded["content"] = self._lists[kind]
            return {kind: {**start, **folded}} if folded and is_object(start) else {kind: start}
        return None

    def sent(self, *, finished: bool) -> JsonObject | None:
        """Return it as it is sent back: nothing unknown, blank, or unfinished but text; a thought is signed at its end."""
        block = {kind: value for kind, value in (self.native() or {}).items() if kind in CONTENT}
        text = block.get("text", "-")
        blank = isinstance(text, str) and not text.strip()
        return block if block and not blank and (self.ended or finished or "text" in block) else None


def parsed(arguments: str) -> Any:
    """Return arguments as a value; the text itself where it is no JSON."""
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return arguments


def _joined(pieces: list[str]) -> str:
    """Put bytes together that came in several pieces of base 64."""
    return pieces[0] if len(pieces) == 1 else b64encode(b"".join(b64decode(piece) for piece in pieces)).decode()
