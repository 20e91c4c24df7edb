"""What the line asks of the world. A pump carries the effects out, blocking or on asyncio; see `_pump`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from polycall.provider import Reply

R = TypeVar("R")


class Task(Protocol):
    """Something that was started beside the line."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def result(self) -> Any:
        """Return what it gave, or raise what it raised. Only once it is done."""
        ...

    def cancel(self) -> bool:
        """Ask it to end. On asyncio it is cancelled; a thread runs on, and what it gives is thrown away."""
        ...


@dataclass(frozen=True, slots=True)
class Open:
    """Call ``send`` and open what it returns as a reply; an awaitable is awaited. The pump closes the reply at the end.

    With a ``timeout`` in seconds it raises `Late`, and so does `Read`. ``at_once`` says that ``send`` returns at once, whatever
    the server does.
    """

    send: Callable[[], Any]
    open: Callable[[Any], Reply]
    timeout: float | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Read the next chunk of a reply; None at its end."""

    reply: Reply
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Let go of a reply now."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Do:
    """Call a function and give what it returns; an awaitable is awaited. With a ``timeout`` in seconds it raises `Late`.

    ``awaits`` says that the function returns at once, with something to be awaited.
    """

    work: Callable[[], Any]
    timeout: float | None = None
    awaits: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Start an effect, or a whole flow of effects, beside the line; gives its `Task` at once."""

    what: Effect | Generator[Effect, Any, Any]


@dataclass(frozen=True, slots=True)
class First:
    """Wait until the first of several tasks is done; gives it, or None when ``timeout`` seconds pass before."""

    tasks: tuple[Task, ...]
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


Effect: TypeAlias = Open | Read | Close | Do | Start | First | Sleep
Flow: TypeAlias = Generator[Any, Any, R]
"""A generator that yields effects, and events for whoever listens; returns an R. Each effect's outcome is sent or thrown in."""


class Finished(Generic[R]):
    """What a flow returned; the last thing that a pump yields."""

    __slots__ = ("result",)

    def __init__(self, result: R) -> None:
        """Hold the result."""
        self.result = result


class Driving(Generic[R]):
    """A flow, step by step: for the pumps, and for what drives several side by side."""

    __slots__ = ("_argument", "_flow", "_resume", "_send")

    def __init__(self, flow: Flow[R]) -> None:
        """Start before the first step."""
        self._flow = flow
        self._send: Callable[[Any], Any] = flow.send
        self._resume = self._send
        self._argument: Any = None

    def step(self) -> Any:
        """Resume the flow and return the effect or event that it yields, or `Finished`."""
        resume, argument = self._resume, self._argument
        self._resume, self._argument = self._send, None
        try:
            return resume(argument)
        except StopIteration as stop:
            return Finished(stop.value)

    def give(self, outcome: object) -> None:
        """Send the outcome of an effect in with the next step."""
        self._argument = outcome

    def fail(self, error: Exception) -> None:
        """Raise the failure of an effect inside the flow with the next step."""
        self._resume, self._argument = self._flow.throw, error

    def close(self) -> None:
        """Close the flow where it stands."""
        self._flow.close()
