"""What a fault is: how it spoils an honest answer, and what an honest client can make of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from polycall.testing._format import EVENT_STREAM, Event, Format, json_bytes
from polycall.testing._script import Said, Saying
from polycall.testing._wire import Answer, Piece, Raw, Sent, Wait
from polycall.types import JsonObject

__all__ = [
    "ALL",
    "ERROR",
    "EVENT_STREAM",
    "KEPT",
    "RECOVERED",
    "Arrival",
    "Arrivals",
    "Cut",
    "Fault",
    "Honest",
    "Outcome",
    "Spoil",
    "State",
    "arrives",
    "lost",
]

Outcome: TypeAlias = Literal["recovered", "kept", "error"]
"""What a client can make of a fault: every value; the good calls in their places and an error for each other; or an error."""

Cut: TypeAlias = Literal["first", "inside", "between", "finish", "done"]
"""A place in a stream: before the first event, inside the last call or before it, behind it, before the last event."""

State: TypeAlias = Literal["good", "bad", "either", "gone"]

RECOVERED: Final[tuple[Outcome, ...]] = ("recovered",)
KEPT: Final[tuple[Outcome, ...]] = ("kept",)
ERROR: Final[tuple[Outcome, ...]] = ("error",)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What becomes of one call.

    Attributes:
        said: The call as the model made it.
        state: ``good``: its value must be there; ``bad``: an error must stand in its place; ``either`` of both; ``gone``: it
            never comes, so that there must be an error, in its place or behind the last call.
    """

    said: Said
    state: State = "good"


Arrivals: TypeAlias = Callable[[Sequence[Said], bool], list[Arrival]]
"""Says what becomes of the calls of a turn; told whether the answer is streamed."""


def arrives(*states: State) -> Arrivals:
    """Return what becomes of the calls: one state each, ``good`` for those beyond."""

    def arrivals(calls: Sequence[Said], streamed: bool) -> list[Arrival]:  # noqa: ARG001, FBT001  # as every such function
        given = dict[int, State](enumerate(states))
        return [Arrival(call, given.get(number, "good")) for number, call in enumerate(calls)]

    return arrivals


ALL: Final = arrives()


def lost(first: int) -> Arrivals:
    """Let the calls from this one on never arrive."""
    return lambda calls, _: [Arrival(call, "gone" if number >= first else "good") for number, call in enumerate(calls)]


@dataclass(frozen=True)
class Honest:
    """One request, and what the model says to it: what a fault starts from.

    Attributes:
        origin: Scheme, host and port of the server.
    """

    sent: Sent
    saying: Saying
    format: Format
    origin: str

    @property
    def streamed(self) -> bool:
        """Whether a stream is asked for."""
        return self.format.streamed(self.sent)

    @property
    def key(self) -> str:
        """The key that was sent."""
        return self.format.key(self.sent)

    @property
    def content_type(self) -> str:
        """The content type of the honest answer."""
        return self.format.content_type(self.sent)

    def entries(self) -> list[JsonObject]:
        """Return the calls as they stand in a message; a copy to be changed."""
        return self.format.entries(self.saying)

    def body(self, entries: Sequence[Any] | None = None) -> JsonObject:
        """Return the whole response, with other calls when they are given."""
        return self.format.body(self.sent, self.saying, self.entries() if entries is None else entries)

    def events(self, entries: Sequence[Any] | None = None, *, cut_up: bool = True) -> list[Event]:
        """Return the events of the stream; with ``cut_up=False`` each call is in one delta."""
        pieces = self.saying.pieces if cut_up else None
        return self.format.events(self.sent, self.saying, self.entries() if entries is None else entries, pieces)

    def answer(self, entries: Sequence[Any] | None = None, *, cut_up: bool = True) -> Answer:
        """Return the answer as it was asked for, at its pace."""
        if self.streamed:
            return self.play(self.events(entries, cut_up=cut_up))
        return Answer(json_bytes(self.body(entries)), content_type=self.content_type, before=tuple(self._until(self.saying.end)))

    def play(self, events: Iterable[Event]) -> Answer:
        """Return a stream of events at their pace."""
        return Answer(self._paced(events), content_type=self.content_type)

    def frames(self) -> list[bytes]:
        """Return the events of the stream as bytes."""
        return [self.format.frame(self.sent, number, event.data) for number, event in enumerate(self.events())]

    def place(self, cut: Cut) -> int:
        """Return before which event of the stream something happens."""
        events = self.events()
        calls = self.format.calls_in(events) or [[len(events) - 2]]
        first, end = calls[-1][0], calls[-1][-1] + 1
        return {"first": 0, "inside": (first + end + 1) // 2, "between": first, "finish": end, "done": len(events) - 1}[cut]

    def flat(self) -> bytes:
        """Return the body of the honest answer, whichever was asked for, as one piece."""
        return b"".join(self.frames()) if self.streamed else json_bytes(self.body())

    def _paced(self, events: Iterable[Event]) -> Iterator[Piece]:
        for number, event in enumerate(events):
            yield from self._until(event.at)
            yield self.format.frame(self.sent, number, event.data)

    def _until(self, at: float) -> Iterator[Wait]:
        left = self.sent.at + at - time.monotonic()
        if at > 0 and left > 0:
            yield Wait(left)


Spoil: TypeAlias = Callable[[Honest], Answer | Raw]
"""Makes the spoilt answer of the honest one."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to misbehave.

    Attributes:
        name: What it is called.
        about: What the server does, in one line.
        where: Where it acts.
        times: How many requests it spoils (connections, where it acts before a request); None for all. A fault that spoils one
            can be healed by asking again.
        whole: What an honest client can make of it where the whole answer was asked for, the best first; empty where the fault
            has no meaning there.
        streamed: The same where a stream was asked for.
        stalls: Whether it ends at the client's own deadline only.
        asks: The question that meets it: 2 for what needs a connection that was used before.
        spoil: Makes the spoilt answer of the honest one.
        arrivals: Says what becomes of the calls.
        greeting: What each new connection gets instead of being read; None reads it.
        refuses: Whether connections are refused.
        scheme: What the server's URL begins with.
        formats: The wire formats in which it has a meaning; empty for all.
    """

    name: str
    about: str
    where: str = ""
    times: int | None = None
    whole: tuple[Outcome, ...] = RECOVERED
    streamed: tuple[Outcome, ...] = RECOVERED
    stalls: bool = False
    asks: int = 1
    spoil: Spoil = field(repr=False, compare=False)
    arrivals: Arrivals = field(default=ALL, repr=False, compare=False)
    greeting: Callable[[], Iterable[Piece]] | None = field(default=None, repr=False, compare=False)
    refuses: bool = False
    scheme: str = "http"
    formats: frozenset[str] = frozenset()

    def lasting(self, times: int | None) -> Fault:
        """Return the same fault, spoiling so many requests; None for all."""
        return replace(self, times=times)

    def meant_for(self, format: str) -> bool:
        """Whether it has a meaning in a wire format."""
        return not self.formats or format in self.formats

    def honest(self, *, streamed: bool) -> tuple[Outcome, ...]:
        """Return what an honest client can make of it."""
        return self.streamed if streamed else self.whole

    def becomes(self, calls: Sequence[Said], *, streamed: bool) -> list[Arrival]:
        """Return what becomes of the calls of the spoilt answer."""
        return self.arrivals(calls, streamed)
