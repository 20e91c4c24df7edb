"""Coverage-guided fuzzing: ``python -m nox -s fuzz``."""

from __future__ import annotations

import re

__all__ = ["Broken", "must", "plain"]


class Broken(AssertionError):  # noqa: N818  # what was promised is
    """Something does not hold that has to."""


def must(condition: object, what: str) -> None:
    """Raise `Broken` where the condition is not met."""
    if not condition:
        raise Broken(what)


def plain(text: str) -> str:
    """Return a text without the numbers in it, so that only another kind of thing is something new."""
    head, space, rest = text.partition(" ")
    return head + space + re.sub(r"\d+", "0", rest)
