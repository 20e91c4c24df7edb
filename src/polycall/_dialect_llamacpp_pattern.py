r"""Regular expressions as llama.cpp's grammar takes them.

llama.cpp matches a pattern against the JSON text of the string, not against the string: `.` or `[^a]` would take the closing
quote and let the model write on behind it. So quotes, backslashes and control characters are taken out of every class and
escaped where they stand alone. A pattern that it cannot read (`\d`, a lookaround, ...) it ignores, with a warning on stderr.
"""

from __future__ import annotations

import json
import re

__all__ = ["grammar_pattern"]

_REST = 1000
_CLASSES = {"d": [("0", "9")], "w": [("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")], "s": [(" ", " ")]}
_UNSAFE = [("\0", "\x1f"), ('"', '"'), ("\\", "\\"), ("\x7f", "\x7f")]
_UNSAFE_TEXT = r'"\\\x00-\x1F\x7F'
_ANY = f"[^{_UNSAFE_TEXT}]"
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_SPECIAL = frozenset(r".+*?()[]{}|^$\\")
_TOKEN = re.compile(
    r"\[(?P<class>\^?(?:\\.|[^\]\\])+)\]"
    r"|(?P<group>\((?:\?:)?(?!\?)|\)|\|)"
    r"|(?P<repeat>(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\}))\??(?!\+)"
    r"|\\(?P<escape>.)"
    r"|(?P<any>\.)"
    r"|(?P<literal>[^\\()\[\]{}|*+?^$])",
    re.DOTALL,
)
_MEMBER = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)


def grammar_pattern(pattern: str) -> str | None:
    """Rewrite a JSON Schema pattern so that llama.cpp enforces it.

    What is rewritten never takes more than the pattern does, and may take less (white space is a space only). Lookarounds, named
    groups, back references and word boundaries have no equivalent; a pattern that may begin anywhere is not tried, because
    a small model does not find its way to it.

    Returns:
        The pattern between ``^`` and ``$``, or None where it cannot be said.
    """
    if not pattern.startswith("^"):
        return None
    has_end = re.search(r"(?<!\\)(?:\\\\)*\$$", pattern) is not None
    body = _body(pattern[1 : len(pattern) - has_end])
    if body is None:
        return None
    rewritten = f"^{body}$" if has_end else f"^(?:{body}){_ANY}{{0,{_REST}}}$"
    try:
        re.compile(rewritten)
    except re.error:
        return None
    return rewritten


def _body(pattern: str) -> str | None:
    pieces: list[str] = []
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        piece = _piece(token) if token else None
        if token is None or piece is None:
            return None
        pieces.append(piece)
        position = token.end()
    return "".join(pieces)


def _piece(token: re.Match[str]) -> str | None:
    found = token.group(token.lastgroup or 0)
    match token.lastgroup:
        case "class":
            return _class(found)
        case "escape":
            return _escape(found)
        case "any":
            return _ANY
        case "literal":
            return _literal(found)
        case _:
            return found


def _literal(character: str) -> str:
    """Write one character as it stands in JSON text, and that as a regular expression."""
    text = json.dumps(character, ensure_ascii=False)[1:-1]
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)


def _escape(character: str) -> str | None:
    if character.lower() in _CLASSES:
        return _class(f"{'^' if character.isupper() else ''}\\{character.lower()}")
    if character in _CONTROLS:
        return _literal(_CONTROLS[character])
    return None if character.isalnum() else _literal(character)


def _class(content: str) -> str | None:
    """Write a class in brackets anew; one that cannot be said, or has nothing left, is None."""
    is_negated = content.startswith("^")
    ranges: list[tuple[str, str]] = []
    for member in _MEMBER.finditer(content.removeprefix("^")):
        found = _ranges(member.group(1), member.group(2))
        if found is None:
            return None
        ranges += [bounds for bounds in found if bounds not in ranges]
    if is_negated:
        # White space that is no space is unsafe, and out already.
        return f"[^{''.join(map(_range, _safe(ranges)))}{_UNSAFE_TEXT}]"
    # A circumflex cannot be escaped in a class, and does not stand first.
    safe = sorted(_safe(ranges), key=lambda bounds: bounds[0] == "^")
    if safe and safe[0][0] == "^":
        return r"\^" if safe[0][1] == "^" else None
    return f"[{''.join(map(_range, safe))}]" if safe else None


def _ranges(first: str, last: str | None) -> list[tuple[str, str]] | None:
    if last is None and first[0] == "\\" and first[1] in _CLASSES:
        return _CLASSES[first[1]]
    low, high = _character(first), _character(last or first)
    return [(low, high)] if low is not None and high is not None else None


def _character(text: str) -> str | None:
    if text[0] != "\\":
        return text
    return None if text[1].isalnum() and text[1] not in _CONTROLS else _CONTROLS.get(text[1], text[1])


def _safe(ranges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Cut what has to be escaped in JSON out of the ranges."""
    for low, high in _UNSAFE:
        ranges = [
            part
            for first, last in ranges
            for part in ((first, min(last, chr(max(ord(low) - 1, 0)))), (max(first, chr(ord(high) + 1)), last))
            if part[0] <= part[1] and not low <= part[0] <= high
        ]
    return ranges


def _range(bounds: tuple[str, str]) -> str:
    first, last = (f"\\{character}" if character in r"\][-" else character for character in bounds)
    return first if first == last else f"{first}-{last}"
