"""Arguments that are no JSON object, but mean one beyond doubt -> the text of that object."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import jiter

from polycall.types import JsonObject, is_array, is_object

__all__ = ["DOUBLED", "repaired", "undoubled"]

DOUBLED: Final = "doubled encoding"

_SPACE: Final = " \t\n\r"
_LAYERS: Final = 4
"""How often a text is looked into: an object, written as a string up to three times."""

_FENCE: Final = "```"
_FENCE_START: Final = re.compile(r"```\w*+")
_ESCAPE: Final = r"""\\(?:['"\\bfnrt]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})"""
"""The escapes that Python itself writes or that JSON has too: what others mean (``'C:\\apps'``) is a guess."""
_TOKEN: Final = re.compile(
    r"""
    (?: [^"',TFN{\[]++                    # what stays as it is: whether it was JSON, the check of the result tells
      | "(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"
      | (?!True|False|None)[TFN] | ,(?![ \t\n\r]*+[}\]]) | [{\[](?![ \t\n\r]*+,)
    )++
  | (?P<literal> True | False | None )
  | (?P<comma> , )"""
    rf"""
  | (?P<single> '(?:[^'\\\x00-\x1f]++|{_ESCAPE})*+' )
  | (?P<double> "(?:[^"\\\x00-\x1f]++|{_ESCAPE})*+" )
  | (?P<hopeless> (?s:.+) )               # no string, or a comma behind nothing: the rest is not looked at again
    """,
    re.VERBOSE,
)

_UNLIKE_JSON: Final = re.compile(r"""\\(?:x(..)|U(.{8})|.)|\"""")
_LITERALS: Final = {"True": "true", "False": "false", "None": "null"}
_WORDS: Final = {
    "literal": "python literals",
    "single": "single quotes",
    "double": "python escapes",
    "comma": "trailing comma",
}


def repaired(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the JSON object that ``text`` means, and what was done to it, in order; None where it does not mean one, or is one.

    Done is: ``code fence``, ``doubled encoding``, ``python literals``, ``single quotes``, ``python escapes``, ``trailing comma``.
    Nothing is completed and nothing guessed: no bracket, quote or value is added, and a string that is right stays as it is.
    """
    done: list[str] = []
    for _ in range(_LAYERS):
        text = text.strip(_SPACE)
        if (fence := _FENCE_START.match(text)) and text.endswith(_FENCE):
            text = text[fence.end() : -len(_FENCE)].strip(_SPACE)
            done.append("code fence")
        value = _parsed(text)
        if value is None:
            text, words = _spelled(text)
            value = _parsed(text) if words else None
            done += words
        if is_object(value):
            return (text, tuple(done)) if done else None
        if not isinstance(value, str):
            return None
        text = value
        done.append(DOUBLED)
    return None


def undoubled(arguments: JsonObject, paths: Sequence[Sequence[str | int]]) -> bool:
    """Parse the strings at ``paths`` that are the JSON text of an object or an array, in place; return whether there were any.

    ``paths`` are the locations of pydantic's errors: a step that is no key or position there, as the name of a union's
    member, is passed over.
    """
    changed = False
    for holder, step in [place for path in paths if (place := _place(arguments, path)) is not None]:
        value = _parsed(holder[step]) if isinstance(holder[step], str) else None
        if is_object(value) or is_array(value):
            holder[step] = value
            changed = True
    return changed


def _place(arguments: JsonObject, path: Sequence[str | int]) -> tuple[Any, str | int] | None:
    """Return what holds the value at ``path``, and under which step; None for the arguments themselves and for a bad key."""
    place: tuple[Any, str | int] | None = None
    value: Any = arguments
    for step in path:
        if _holds(value, step):
            place, value = (value, step), value[step]
        elif step == "[key]":
            return None
    return place


def _holds(value: Any, step: str | int) -> bool:
    return step in value if is_object(value) else is_array(value) and step in range(len(value))


def _parsed(text: str) -> Any:
    """Return the value of strict JSON text; None where it is not strict JSON."""
    try:
        return jiter.from_json(text.encode(), catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
    except ValueError:
        return None


def _spelled(text: str) -> tuple[str, list[str]]:
    """Write Python's literals and strings as JSON has them, take out trailing commas; return the text and what was done."""
    found: set[str | None] = set()

    def spell(token: re.Match[str]) -> str:
        found.add(token.lastgroup)
        match token.lastgroup:
            case "literal":
                return _LITERALS[token[0]]
            case "single" | "double":
                return f'"{_UNLIKE_JSON.sub(_escaped, token[0][1:-1])}"'
            case "comma":
                return ""
            case _:
                return token[0]

    changed = _TOKEN.sub(spell, text)
    if "hopeless" in found or ("double" in found and found.isdisjoint({"literal", "single"})):
        return text, []  # an escape that JSON does not have is Python's only where something else is Python's too
    return changed, [word for kind, word in _WORDS.items() if kind in found]


def _escaped(found: re.Match[str]) -> str:
    r"""Write a bare quote, ``\'``, ``\xhh`` and ``\Uhhhhhhhh`` as JSON has them; other escapes are the same there."""
    code = found[1] or found[2]
    if code:
        return json.dumps(chr(int(code, 16)))[1:-1]
    return {'"': r"\"", r"\'": "'"}.get(found[0], found[0])
