"""What happens while a response arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias

from typing_extensions import TypeVar

from polycall.call import Call
from polycall.errors import CallError

__all__ = ["DeltaEvent", "ErrorEvent", "Event", "ReaskEvent", "SealedEvent", "StartedEvent", "TextEvent"]

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A piece of the answer's text."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class StartedEvent:
    """A call began: its position and name are known, its arguments are on their way."""

    index: int
    id: str | None
    name: str
    type: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class DeltaEvent:
    """A piece of one call's arguments arrived.

    Attributes:
        index: The call's position.
        text: The new piece of JSON text.
    """

    index: int
    text: str = field(repr=False)
    _pieces: list[str] = field(repr=False)
    _count: int = field(repr=False)
    _partial: Callable[[str], Any] = field(repr=False)
    type: Literal["delta"] = "delta"

    @property
    def arguments(self) -> str:
        """All of the JSON text so far, put together when asked for."""
        return "".join(self._pieces[: self._count])

    @property
    def partial(self) -> Any:
        """The value as far as it has arrived, made when asked for; None while nothing of it can be read.

        For a model or dataclass: an instance whose fields hold checked values, None where nothing valid has arrived yet. For a
        TypedDict or a raw schema: a dict with what has arrived. For a function: a `BoundCall` with the arguments so far.
        """
        return self._partial(self.arguments)


@dataclass(frozen=True, slots=True)
class SealedEvent(Generic[T]):
    """A call is complete and checked. A bad one may be sealed again, after it was asked again; a good one never is."""

    call: Call[T]
    type: Literal["sealed"] = "sealed"


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Something is wrong with an answer as a whole; calls that are sealed stay as they are. What is missing may be asked for."""

    error: CallError
    type: Literal["error"] = "error"


@dataclass(frozen=True, slots=True)
class ReaskEvent:
    """The model is asked again.

    Attributes:
        attempt: The number of the request, from 1; those that fail are counted too, and are not in ``calls.attempts``.
        indexes: The positions of the bad calls that it is asked for; empty where only what is missing is asked for.
    """

    attempt: int
    indexes: tuple[int, ...]
    type: Literal["reask"] = "reask"


Event: TypeAlias = TextEvent | StartedEvent | DeltaEvent | SealedEvent[T] | ErrorEvent | ReaskEvent
"""What happens in a response, in the order in which it happens."""
