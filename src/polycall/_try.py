"""One request out of those that make up an outcome, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polycall._incoming import Incoming
from polycall._places import Places
from polycall.call import Attempt, Call, Response
from polycall.types import Message

__all__ = ["Try"]


class Try:
    """One request, and what came of it.

    Attributes:
        number: Its number, from 0.
        messages: The conversation that is sent.
        asked: The places of the calls that are asked again.
        seen: What its calls are compared with: the outcome as the model was shown it; None for the first.
        gap: Whether it asks for what is missing behind the calls.
        optional: Whether no call at all may be the right answer to it.
        early: Whether the first answer was still on its way when it was sent.
        incoming: The answer; None before it is sent.
        calls: Its calls as they were checked, by their positions in it.
        places: The places that its calls stand in, by their positions; those that are only sent again are not there.
        note: What was said to the model beside the answers to its calls, when it was asked again; empty for nothing.
        forgiven: Whether it does not count, where it was never answered: another one is sent in its place.
        ids: The ids of its calls in the conversation, by their positions.
        new: The positions of its calls that nobody asked for.
        response: What makes the SDK's own object.
        running: How much of it is going on: its answer, and each check of one of its calls.
        ended: Whether all of it has come.
    """

    def __init__(
        self,
        number: int,
        messages: Sequence[Message],
        asked: Sequence[int] = (),
        seen: Places | None = None,
        *,
        gap: bool = False,
        early: bool = False,
    ) -> None:
        """Prepare a request."""
        self.number = number
        self.messages = tuple(messages)
        self.asked = tuple(asked)
        self.seen = seen
        self.gap = gap
        self.optional = False
        self.early = early
        self.incoming: Incoming | None = None
        self.calls: dict[int, Call[Any]] = {}
        self.places: dict[int, int] = {}
        self.note = ""
        self.response = Response()
        self.forgiven = False
        self.ids: dict[int, str] = {}
        self.new: list[int] = []
        self.running = 0
        self.ended = False

    @property
    def answered(self) -> bool:
        """Whether anything of an answer has come."""
        return self.incoming is not None and self.incoming.answered

    def attempt(self) -> Attempt:
        """Return what is known of it in the end."""
        return Attempt(None, None, None, (), asked=self.asked) if self.incoming is None else self._attempt(self.incoming)

    def _attempt(self, incoming: Incoming) -> Attempt:
        calls = tuple(self.calls[index] for index in sorted(self.calls))
        errors = (*(call.error for call in calls if call.error is not None), *incoming.errors)
        return Attempt(
            incoming.model, incoming.finish_reason, incoming.usage, errors, calls, incoming.text, self.asked, self.response
        )
