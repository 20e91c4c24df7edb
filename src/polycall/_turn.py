"""One turn of a conversation: what the model said, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import PydanticSerializationError, to_json

from polycall.errors import UsageError
from polycall.types import Message, ToolCall

__all__ = ["Answer", "Turn", "result_text"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model is told about one call: ``content`` is text, ``failed`` whether it tells of a failure."""

    call: ToolCall
    content: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the model, ready to be sent back to the same provider.

    Attributes:
        before: The messages that were sent.
        assistant: The model's turn in the provider's form, every call with an id of its own.
        calls: The calls of that turn, with those ids, in the model's order.
        results: Puts one answer per call into the provider's form.
    """

    before: tuple[Message, ...]
    assistant: tuple[Message, ...]
    calls: tuple[ToolCall, ...]
    results: Callable[[Sequence[Answer]], list[Message]]


def result_text(result: object, call: ToolCall) -> str:
    """Return what the model is told of a result: text as it is, anything else as JSON.

    Raises:
        UsageError: JSON cannot say it.
    """
    if isinstance(result, str):
        return result
    try:
        return to_json(result).decode()
    except PydanticSerializationError:
        message = f"the result for call {call.index} ({call.name}) is a {type(result).__name__}, which JSON cannot say: give text"
        raise UsageError(message) from None
