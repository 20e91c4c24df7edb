"""The generateContent format, read: one response, whole or in chunks. Of the Gemini API and of Vertex AI.

Sources: Gemini's API reference, `GenerateContentResponse`, and Vertex AI's; both recorded in ``tests/wire/gemini``. Proxies and
SDKs write the names of fields in snake case as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from operator import itemgetter
from typing import Final

from polycall._failure import reported, shown
from polycall.errors import TransportError
from polycall.formats._gemini_candidate import Candidate
from polycall.formats._gemini_partial import field
from polycall.formats._sendable import sendable
from polycall.types import (
    JsonObject,
    Message,
    Refusal,
    Stop,
    ToolCall,
    Usage,
    WireItem,
    is_array,
    is_object,
)

__all__ = ["GeminiDecoder"]

_APART: Final = frozenset({"candidates", "error", "usageMetadata", "usage_metadata"})
_UNSAID: Final = frozenset({"FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})
_CONTENT: Final = frozenset({"content", "finishReason", "finish_reason", "index"})


class GeminiDecoder:
    """Reads one response."""

    seal_on_close = False  # each call says itself when it is whole

    def __init__(self, *, wants_reason: bool = False) -> None:
        """Start a response.

        Args:
            wants_reason: Whether a whole response that does not say why it stopped is a cut one.
        """
        self._wants_reason = wants_reason
        self.model: str | None = None
        self._whole: JsonObject | None = None
        self._head: JsonObject = {}
        self._candidates: dict[int, Candidate] = {}
        self._numbers = count()
        self._blocked = False

    @property
    def begun(self) -> bool:
        """Whether a candidate has been seen, or the question was blocked."""
        return bool(self._candidates) or self._blocked

    @property
    def finished(self) -> bool:
        """Whether every candidate that was seen has given its finish reason, or the question was blocked."""
        return self._blocked or (bool(self._candidates) and all(one.finish is not None for one in self._candidates.values()))

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one chunk, or in a whole body."""
        given = event.get("candidates")
        candidates = [one for one in given if is_object(one)] if is_array(given) else []
        feedback = field(event, "promptFeedback")
        blocked = _said(feedback, "blockReason") if is_object(feedback) else None
        if event.get("error") and not candidates:
            raise reported(event["error"])
        if whole:
            self._whole = event
            if not blocked and not any(_says(one) for one in candidates):
                raise TransportError("the server's answer has no candidates", body=shown(event), transient=True)
        self._fold(event)
        return self._items(event, candidates, blocked, feedback)

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the model's content with every part as it came, thoughts and signatures included.

        Of further candidates it has the calls, all in the order in which they are answered.
        """
        given = {call.index: call for call in calls}
        placed = [
            part
            for place, candidate in enumerate(self._candidates.values())
            for part in candidate.parts(given, all_parts=place == 0)
        ]
        parts = [part for _, part in sorted(placed, key=itemgetter(0))]
        return [{"role": "model", "parts": sendable(parts)}] if parts else []

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the whole body; a stream's chunks are folded into one."""
        if self._whole is not None:
            return self._whole
        given = {call.index: call for call in calls}
        candidates = [
            {
                **one.others,
                "index": index,
                "content": {"role": "model", "parts": [part for _, part in one.parts(given, all_parts=True)]},
                **({} if one.finish is None else {"finishReason": one.finish}),
            }
            for index, one in sorted(self._candidates.items())
        ]
        return {**self._head, **({"candidates": candidates} if candidates else {})}

    def _fold(self, event: JsonObject) -> None:
        """Take what is said about the response as a whole; later chunks count the tokens of those before, and leave some out."""
        model, usage = field(event, "modelVersion"), field(event, "usageMetadata")
        if self.model is None and isinstance(model, str):
            self.model = model
        self._head |= {key: value for key, value in event.items() if key not in _APART}
        if is_object(usage):
            self._head.setdefault("usageMetadata", {}).update(usage)

    def _items(
        self, event: JsonObject, candidates: Sequence[JsonObject], blocked: str | int | None, feedback: JsonObject
    ) -> Iterator[WireItem]:
        numbered = any(isinstance(one.get("index"), int) for one in candidates)  # then it is 0 that is left out
        for position, candidate in enumerate(candidates):
            given = candidate.get("index")
            number = given if isinstance(given, int) else 0 if numbered else position
            if _says(candidate) or number in self._candidates:
                yield from self._candidate(candidate, number)
        if blocked is not None and not self._blocked:
            self._blocked = True
            text = field(feedback, "blockReasonMessage")
            yield Refusal(text if isinstance(text, str) and text else f"the question was blocked ({blocked})")
            yield Stop(str(blocked))
        usage = _usage(self._head.get("usageMetadata") or {})
        if usage is not None:
            yield usage
        if event.get("error"):
            raise reported(event["error"])

    def _candidate(self, candidate: JsonObject, number: int) -> Iterator[WireItem]:
        seen = self._candidates.get(number)
        if seen is None:
            seen = self._candidates[number] = Candidate(number, self._numbers)
        first = number == next(iter(self._candidates))
        seen.others |= {key: value for key, value in candidate.items() if key not in _CONTENT}
        content = candidate.get("content")
        parts = content.get("parts") if is_object(content) else None
        for part in parts if is_array(parts) else [parts] if is_object(parts) else ():
            if is_object(part):
                yield from seen.add(part, spoken=first)
        yield from self._stopped(candidate, seen)

    def _stopped(self, candidate: JsonObject, seen: Candidate) -> Iterator[WireItem]:
        finish = _said(candidate, "finishReason")
        if finish is not None:
            yield from seen.stop(finish)
        elif self._wants_reason and self._whole is not None:
            yield Stop(None, "the service does not say why the model stopped", seen.number)


def _says(candidate: JsonObject) -> bool:
    return bool(candidate.get("content") or _said(candidate, "finishReason"))


def _said(holder: JsonObject, name: str) -> str | int | None:
    """Return a reason; None where there is none, or one that says nothing."""
    reason = field(holder, name)
    return reason if isinstance(reason, str | int) and reason and reason not in _UNSAID else None


def _usage(usage: JsonObject) -> Usage | None:
    def number(*names: str) -> int | None:
        values = [
            value for value in (field(usage, name) for name in names) if type(value) in {int, float} and 0 <= value < math.inf
        ]
        return int(sum(values)) if values else None

    counted = Usage(
        input_tokens=number("promptTokenCount", "toolUsePromptTokenCount"),
        output_tokens=number("candidatesTokenCount", "thoughtsTokenCount"),
        cached_tokens=number("cachedContentTokenCount"),
        reasoning_tokens=number("thoughtsTokenCount"),
    )
    return None if counted == Usage() else counted
