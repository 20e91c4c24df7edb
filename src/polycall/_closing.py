"""Where a JSON object that arrives in pieces closes."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Closing"]

_OUTSIDE_STRING: Final = re.compile(r'[{}\[\]"]')
_INSIDE_STRING: Final = re.compile(r'["\\]')


class Closing:
    """Finds where a JSON object that arrives in pieces closes, reading every character once."""

    __slots__ = ("_depth", "_escaped", "_string")

    def __init__(self) -> None:
        """Start before the first character."""
        self._depth = 0
        self._string = False
        self._escaped = False

    def feed(self, text: str) -> int | None:
        """Return the offset in ``text`` just behind the bracket that closes the object, None when it is still open.

        Only brackets and strings are looked at: whether the text is JSON is for the check to say.
        """
        position = 1 if self._escaped and text else 0
        self._escaped = self._escaped and not text
        if position == 0 and self._depth == 0 and not self._string and text.lstrip()[:1] != "{":
            self._depth = -1 if text.strip() else 0  # not an object: it never closes
        while self._depth >= 0:
            found = (_INSIDE_STRING if self._string else _OUTSIDE_STRING).search(text, position)
            if found is None:
                return None
            position = found.end()
            match found.group():
                case '"':
                    self._string = not self._string
                case "\\":
                    self._escaped = position == len(text)
                    position += 1
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth == 0:
                        return position
        return None
