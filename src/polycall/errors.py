"""The error tree.

```
PolycallError
├── UsageError                  the calling code is wrong; raised before anything is sent
├── TransportError              no usable response
│   └── DeadlineError           `timeout=` ran out
├── LimitError                  more than `limits=` allows
├── CallErrors                  also an ExceptionGroup; `.calls` holds everything, the good calls too
└── CallError                   one call, or one gap, is bad: a value in its place
    ├── UnknownToolError        a tool that was not offered
    ├── InvalidArgumentsError   the arguments are not JSON, or do not fit the schema
    ├── CutOffError             the answer ends inside this call, or (index == number of calls) between calls
    ├── RefusalError            the model declines
    └── NoCallsError            calls were required and none came
```

No error of polycall holds a key or a prompt. The arguments of a call are in the attribute `arguments`, as data: never in `str`,
`repr`, a traceback or a pickle.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from polycall.calls import Calls

__all__ = [
    "ArgumentProblem",
    "CallError",
    "CallErrors",
    "CutOffError",
    "DeadlineError",
    "InvalidArgumentsError",
    "LimitError",
    "NoCallsError",
    "PolycallError",
    "RefusalError",
    "TransportError",
    "UnknownToolError",
    "UsageError",
]

E = TypeVar("E", bound="CallError")
P = TypeVar("P", bound="PolycallError")

_LONGEST_NAME: Final = 64


class PolycallError(Exception):
    """Base of every error that polycall raises itself."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copy by way of a pickle would lose the arguments


class UsageError(PolycallError):
    """The calling code is wrong. Raised before anything is sent; the text says what to write instead."""


class TransportError(PolycallError):
    """No usable response came back: no connection, an error status, empty, not JSON, an error body with status 200, no choices.

    Attributes:
        status: The HTTP status, None where there is none.
        body: The start of what came instead (at most 2,000 characters), as data. Not part of the text or the pickle.
        transient: Whether the same request may succeed when it is sent again.
        retry_after: Seconds that the server asks to wait before that, None where it does not say.
        request_id: The service's own id of the request, for its support; None where it sends none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: str | None = None,
        transient: bool = False,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.transient = transient
        self.retry_after = retry_after
        self.request_id = request_id

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if not name.startswith("__")}
        return _rebuild, (type(self), self.args, {**state, "body": None})


class DeadlineError(TransportError):
    """`timeout=` ran out before the answer was complete."""


class LimitError(PolycallError):
    """More came than ``limits=`` allows; the text names the limit. Where calls have come before, they are kept instead."""


@dataclass(frozen=True, slots=True)
class ArgumentProblem:
    """One thing that is wrong with a call's arguments.

    Attributes:
        field: Where: names and positions joined by dots (``stops.1.city``), empty for the arguments as a whole.
        reason: What is wrong, in words that hold no part of the arguments.
        detail: The same as the checker said it; it may quote the arguments, and is left out of pickles.
        for_model: Whether the model may be told the detail. Not where it is the text of an exception that was not meant for it.
    """

    field: str
    reason: str
    detail: str
    for_model: bool = True

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.reason, self.reason)

    @override
    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason

    @override
    def __repr__(self) -> str:
        return f"ArgumentProblem({str(self)!r})"


class CallError(PolycallError):
    """One call, or one gap, of a response is bad.

    Attributes:
        index: The call's position in the response; the number of calls where the error belongs to no call.
        tool: The tool's name as the model wrote it, None where the error belongs to no call.
        id: The provider's id of the call, None where there is none.
        reason: What is wrong, in words that hold no part of the arguments.
        arguments: The raw text of the arguments, as data; None where there is none, and after unpickling.
    """

    def __init__(
        self, reason: str, *, index: int, tool: str | None = None, id: str | None = None, arguments: str | None = None
    ) -> None:
        super().__init__(_text(reason, index, tool))
        self.reason = reason
        self.index = index
        self.tool = tool
        self.id = id
        self.arguments = arguments

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if not name.startswith("__")}
        return _rebuild, (type(self), self.args, {**state, "arguments": None})


class UnknownToolError(CallError):
    """The model called a tool that was not offered. Names match exactly."""


class InvalidArgumentsError(CallError):
    """The arguments are not strict JSON, or do not fit the tool's schema.

    Attributes:
        problems: What is wrong, one entry per place; never empty.
    """

    def __init__(
        self,
        reason: str,
        *,
        index: int,
        tool: str | None = None,
        id: str | None = None,
        arguments: str | None = None,
        problems: Sequence[ArgumentProblem] = (),
    ) -> None:
        super().__init__(reason, index=index, tool=tool, id=id, arguments=arguments)
        self.problems = tuple(problems) or (ArgumentProblem("", reason, reason),)


class CutOffError(CallError):
    """The answer was cut: inside this call, or between calls, where `index` is the number of calls."""


class RefusalError(CallError):
    """The model declined to answer; ``calls.text`` has its words."""


class NoCallsError(CallError):
    """A call was required, and the model made none."""


class CallErrors(PolycallError, ExceptionGroup[CallError]):  # noqa: N818  # several, so plural
    """Calls of one response are bad. An `ExceptionGroup` of `CallError`, in the model's order.

    Attributes:
        calls: Everything that came back: good values, errors in their places, text and usage. None after unpickling.
    """

    calls: Calls[Any] | None

    def __new__(cls, message: str, exceptions: Sequence[CallError], calls: Calls[Any] | None = None) -> Self:
        """Make the group; ``exceptions`` must not be empty."""
        group = super().__new__(cls, message, exceptions)
        group.calls = calls
        return group

    def __init__(self, message: str, exceptions: Sequence[CallError], calls: Calls[Any] | None = None) -> None:  # noqa: ARG002  # see __new__
        super().__init__(message, exceptions)

    @override
    def derive(self, excs: Sequence[CallError], /) -> CallErrors:  # type: ignore[override]  # keeps to one member type
        return CallErrors(self.message, excs, self.calls)

    @override
    def __str__(self) -> str:
        listed = "; ".join(str(error) for error in self.exceptions[:5])
        more = len(self.exceptions) - 5
        return f"{self.message}: {listed}" + (f"; and {more} more" if more > 0 else "")

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, list(self.exceptions))


def _rebuild(kind: type[P], args: tuple[Any, ...], state: dict[str, Any]) -> P:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def meant_for_the_model(error: object) -> bool:
    """Whether an exception of a user's check says what is wrong with the arguments, and is no accident that tells of the host."""
    kind = type(error)
    return kind in {ValueError, AssertionError} or kind.__module__.partition(".")[0] not in sys.stdlib_module_names


def moved(error: E, index: int) -> E:
    """Return the same error for another position."""
    made: E = _rebuild(type(error), (_text(error.reason, index, error.tool),), {**error.__dict__, "index": index})
    made.__cause__ = error.__cause__
    return made


def _text(reason: str, index: int, tool: str | None) -> str:
    return reason if tool is None else f"call {index} ({short_name(tool)}): {reason}"


def short_name(name: str) -> str:
    """A tool's name fit for one line of text: the model may have written anything there."""
    return name if len(name) <= _LONGEST_NAME and name.isprintable() else ascii(name[:_LONGEST_NAME])
