"""What a model wrote and its server could not read, as Groq reports it -> calls, so that they are checked and asked again.

Source: Groq's reference, "Tool Use", error code ``tool_use_failed``; recorded as HTTP 400 and as an event of a stream in
``tests/wire/openai_chat`` (provider groq).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import jiter

from polycall._framing import arguments_text
from polycall.types import CallDelta, is_array, is_mapping, is_object

__all__ = ["REFUSED", "Generation", "failed_generation"]

REFUSED: Final = "tool_use_failed"
"""Groq's word for it; it stands for the finish reason, which such an answer has not."""

_FUNCTION: Final = re.compile(r"<function[=(]([\w.-]{1,64})(?:\)>|[)>,])?")
_WRAPPED: Final = re.compile(r"<tool_call>")
_NAMED: Final = re.compile(r'"(?:name|function)"\s*:\s*"([^"\\]*)"')
_ARGUMENTS: Final = re.compile(r'"(?:arguments|parameters)"\s*:\s*(.*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote: calls, or text where there is none to be seen."""

    calls: tuple[CallDelta, ...]
    text: str = ""


def failed_generation(error: object) -> Generation | None:
    """Return what an error of the server holds of the model's own words; None where it holds none."""
    text = error.get("failed_generation") if is_mapping(error) else None
    if not isinstance(text, str):
        return None
    calls = [*_calls(text)]
    return Generation(tuple(calls), "" if calls else text)


def _calls(text: str) -> list[CallDelta]:
    found = [(opening[1], inner.strip()) for opening, inner in _tagged(text, _FUNCTION, "</function>")]
    if not found:
        wrapped = [inner for _, inner in _tagged(text, _WRAPPED, "</tool_call>")]
        for part in wrapped or [text.removeprefix("<|python_tag|>")]:
            found += _written(part.strip())
    return [
        CallDelta((0, REFUSED, position), None, name, arguments, whole=True) for position, (name, arguments) in enumerate(found)
    ]


def _tagged(text: str, opening: re.Pattern[str], closing: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield what stands between opening and closing tags; a tag that is not closed reaches to the next, or to the end."""
    tags = list(opening.finditer(text))
    for tag, following in zip_longest(tags, tags[1:]):
        inner = text[tag.end() : len(text) if following is None else following.start()]
        yield tag, inner.partition(closing)[0].removesuffix("<function>")  # as some models close it


def _written(text: str) -> list[tuple[str, str]]:
    """Read calls written as JSON; where that is broken, what stands behind the key of the arguments is taken as it is."""
    try:
        parsed: Any = jiter.from_json(text.encode(errors="replace"))
    except ValueError:
        name = _NAMED.search(text)
        arguments = _ARGUMENTS.search(text)
        return [] if name is None else [(name[1], "" if arguments is None else arguments[1])]
    listed: list[Any] = parsed if is_array(parsed) else [parsed]
    return [(call["name"], _text(call)) for call in listed if is_object(call) and isinstance(call.get("name"), str)]


def _text(call: Any) -> str:
    arguments = call.get("arguments", call.get("parameters"))
    return arguments if isinstance(arguments, str) else "" if arguments is None else arguments_text(arguments)
