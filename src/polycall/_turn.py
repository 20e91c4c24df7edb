"""The turns of a conversation: what the model said, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from polycall.errors import UsageError
from polycall.types import Message, ToolCall

__all__ = ["Answer", "Conversation", "Results", "Turn", "result_text"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model is told about one call: ``content`` is text, ``failed`` whether it tells of a failure."""

    call: ToolCall
    content: str
    failed: bool = False


Results: TypeAlias = Callable[[Sequence[Answer]], list[Message]]
"""Puts one answer per call of a turn into a provider's form."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the model, ready to be sent back to the same provider.

    Attributes:
        assistant: The model's turn in the provider's form, every call with an id of its own. Empty where it said nothing.
        told: What each call of that turn is answered where nobody knows better, in the model's order.
        places: Which call of the outcome each of them is; None for one that was corrected later, or only sent again.
        note: What was said to the model behind the answers, when it was asked again.
    """

    assistant: tuple[Message, ...]
    told: tuple[Answer, ...]
    places: tuple[int | None, ...]
    note: tuple[Message, ...] = ()

    def messages(self, results: Results, answers: Sequence[Answer]) -> list[Message]:
        """Return the turn with its calls answered, without the note."""
        return [*self.assistant, *(results(answers) if answers else ())]


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that was said, ready to be continued with the same provider.

    Attributes:
        before: The messages that were sent first.
        turns: The model's turns, oldest first: more than one where it was asked again.
        results: Puts one answer per call of a turn into the provider's form.
    """

    before: tuple[Message, ...]
    turns: tuple[Turn, ...]
    results: Results

    def messages(self) -> list[Message]:
        """Return the conversation up to the last turn, whose calls are not answered."""
        *earlier, last = self.turns
        said = [message for turn in earlier for message in (*turn.messages(self.results, turn.told), *turn.note)]
        return [*self.before, *said, *last.assistant]

    def answered(self, given: Mapping[int, tuple[str, bool]]) -> list[Message]:
        """Return the conversation with every call answered; ``given`` has a text by place, and whether it tells of a failure."""
        said: list[Message] = [*self.before]
        for turn in [turn for turn in self.turns if turn.told] or self.turns[-1:]:  # words alone are no answer to results
            pairs = zip(turn.told, turn.places, strict=True)
            answers = [told if place is None else Answer(told.call, *given[place]) for told, place in pairs]
            said += turn.messages(self.results, answers)
        return said


def result_text(result: object, index: int, name: str) -> str:
    """Return what the model is told of a result: text as it is, anything else as JSON.

    Raises:
        UsageError: JSON cannot say it.
    """
    if isinstance(result, str):
        return result
    try:
        return to_json(result).decode()
    except PydanticSerializationError:
        message = f"the result for call {index} ({name}) is a {type(result).__name__}, which JSON cannot say: give text"
        raise UsageError(message) from None
