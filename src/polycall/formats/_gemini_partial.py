"""Arguments that Vertex AI streams piece by piece, each with the path of its place -> the JSON text of the whole.

Sources: Vertex AI's reference, `PartialArg`; RFC 9535 for the paths, of which only those of one place are used; recorded in
``tests/wire/gemini`` (tag ``partial_args``).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeAlias

from polycall.types import JsonObject, is_array, is_object

__all__ = ["PartialArguments", "field"]

Step: TypeAlias = "str | int"

_STEP: Final = re.compile(
    r"""\.(?P<plain>[^\s.\[\]'"]+)|\[(?P<index>\d{1,7})\]|\['(?P<single>(?:[^'\\]|\\.)*)'\]|\["(?P<double>(?:[^"\\]|\\.)*)"\]""",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DEEPEST: Final = 250
_WHOLE: Final = 2.0**53


def field(holder: JsonObject, name: str) -> Any:
    """Return a field by its name in the JSON of the wire, or by the one that some proxies and SDKs write, in snake case."""
    return holder[name] if name in holder else holder.get(_snake(name))


@lru_cache(maxsize=256)
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


class _Words:
    """A text that is still growing."""

    __slots__ = ("pieces",)

    def __init__(self, text: str) -> None:
        self.pieces = [text]


class PartialArguments:
    """The arguments of one call while they arrive."""

    def __init__(self) -> None:
        """Start without any."""
        self._root: JsonObject = {}
        self._broken = False

    def add(self, piece: object) -> None:
        """Put a piece in its place; one that has none spoils the arguments."""
        path = field(piece, "jsonPath") if is_object(piece) else None
        steps = _steps(path) if isinstance(path, str) else None
        if not is_object(piece) or not steps or len(steps) > _DEEPEST or isinstance(steps[0], int):
            self._broken = True
            return
        value = _value(piece)
        if value is not _NOTHING:
            self._broken = not self._put(steps, value) or self._broken

    def update(self, arguments: JsonObject) -> None:
        """Take arguments that came whole."""
        self._root |= arguments

    def text(self, *, complete: bool) -> str:
        """Return the JSON text; one that does not close where something is missing or has no place."""
        text = json.dumps(self._root, ensure_ascii=False, default=_joined)
        return text if complete and not self._broken else text[:-1]

    def _put(self, steps: list[Step], value: object) -> bool:
        holder: Any = self._root
        for step, following in pairwise(steps):
            inner: Any = _get(holder, step)
            if inner is _NOTHING:
                inner = list[Any]() if isinstance(following, int) else dict[str, Any]()
                if not _set(holder, step, inner):
                    return False
            holder = inner
        last = steps[-1]
        known = _get(holder, last)
        if isinstance(known, _Words) and isinstance(value, str):
            known.pieces.append(value)
            return True
        if is_array(known) or is_object(known):
            return False
        return _set(holder, last, _Words(value) if isinstance(value, str) else value)


_NOTHING: Final = object()


def _get(holder: Any, step: Step) -> Any:
    if is_object(holder) and isinstance(step, str):
        return holder.get(step, _NOTHING)
    if is_array(holder) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return _NOTHING


def _set(holder: Any, step: Step, value: object) -> bool:
    """Set a value; a list grows by one at a time, as a model writes it."""
    if is_object(holder) and isinstance(step, str):
        holder[step] = value
    elif is_array(holder) and isinstance(step, int) and step <= len(holder):
        holder[step : step + 1] = [value]
    else:
        return False
    return True


def _steps(path: str) -> list[Step] | None:
    """Return the names and indices of a path; None where it is none of a single place."""
    if not path.startswith("$"):
        return None
    steps: list[Step] = []
    position = 1
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            return None
        position = found.end()
        kind = found.lastgroup or ""
        text = found[kind]
        steps.append(int(text) if kind == "index" else text if kind == "plain" else _unescaped(text))
    return steps


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else _ESCAPED.get(one[2], one[2]), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _value(piece: JsonObject) -> object:
    """Return the value of a piece; numbers are always floating ones on the wire, whole ones become integers again."""
    number = field(piece, "numberValue")
    if isinstance(number, float) and number.is_integer() and abs(number) < _WHOLE:
        return int(number)
    for value in (field(piece, "stringValue"), number, field(piece, "boolValue")):
        if value is not None:
            return value
    return None if "nullValue" in piece or "null_value" in piece else _NOTHING


def _joined(words: object) -> str:
    return "".join(words.pieces) if isinstance(words, _Words) else str(words)
