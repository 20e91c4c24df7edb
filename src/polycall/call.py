"""What the user gets: the calls of a response and their values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Generic, Literal, TypeAlias, Union, get_args, get_origin, overload

from typing_extensions import TypeForm, TypeVar, is_typeddict, override

from polycall._turn import Answer, Turn, result_text
from polycall.errors import CallError, UsageError
from polycall.types import JsonObject, Message, Usage, is_mapping

__all__ = [
    "Attempt",
    "BoundCall",
    "Call",
    "Calls",
    "Outcome",
]

T = TypeVar("T", covariant=True)
V = TypeVar("V")

Outcome: TypeAlias = Literal["ok", "invalid", "unknown", "cut off"]
"""How one call came out: its value is good, its arguments are bad, its tool was not offered, or the answer ends inside it."""


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A function offered as a tool, together with the checked arguments of one call.

    Calling it runs the function; for an ``async def`` function that gives its coroutine, to be awaited.

    Attributes:
        function: The function that was offered.
        arguments: The arguments by parameter name; parameters the model left out are absent and take their default.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self) -> Any:
        """Run the function with the arguments and return what it returns."""
        return self.function(**self.arguments)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of the model, checked: a value or an error.

    Attributes:
        index: The position in the response, from 0, in the model's order. ``calls[i]`` belongs to ``calls.calls[i]``.
        id: The provider's id exactly as sent, None where it sent none. Ids may repeat: identity is the position.
        name: The tool's name; as the model wrote it where no such tool was offered.
        arguments: The JSON text as the model wrote it, empty when it wrote none; written anew where the server sent an object.
        outcome: ``"ok"``, or what went wrong.
        error: Why there is no value; None exactly when ``outcome`` is ``"ok"``.
    """

    index: int
    id: str | None
    name: str
    arguments: str = field(repr=False)
    outcome: Outcome
    error: CallError | None = None
    _value: Any = field(default=None, repr=False)
    _source: Any = field(default=None, repr=False)

    @property
    def value(self) -> T:
        """The checked value.

        Raises:
            CallError: The call is bad; this is its ``error``.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)  # else it would grow with every time it is raised
        value: T = self._value
        return value

    @override
    def __hash__(self) -> int:
        return hash((self.index, self.id, self.name, self.arguments))

    @override
    def __repr__(self) -> str:
        what = f"value={self._value!r}" if self.error is None else f"outcome={self.outcome!r}"
        return f"Call(index={self.index}, id={self.id!r}, name={self.name!r}, {what})"

    def is_of(self, kind: object) -> bool:
        """Whether this is a call of the tool ``kind``, or its good value is an instance of the class ``kind``."""
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if get_origin(kind) in {Union, UnionType}:
            return any(map(self.is_of, get_args(kind)))
        if self._source == kind:
            return True
        return isinstance(kind, type) and not is_typeddict(kind) and self.error is None and isinstance(self._value, kind)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to the provider, out of those that made up the answer.

    Attributes:
        model: The model that answered, in the provider's word; None where it does not say.
        finish_reason: Why it stopped, in the provider's word; None where it does not say.
        usage: The tokens of this request alone; None where the provider does not say.
        errors: What was wrong with this answer.
    """

    model: str | None
    finish_reason: str | None
    usage: Usage | None
    errors: tuple[CallError, ...]


class Calls(Sequence[T]):
    """The calls of one response: a sequence of their values, in the model's order, to be read as often as you like.

    Where a call is bad (``errors="return"``, or `CallErrors.calls`) its `CallError` stands in its place.

    Attributes:
        calls: One `Call` per call of the model, in its order.
        errors: Every error: those of the calls, in order, then those of the response as a whole.
        text: The text beside the calls; empty when there is none.
        usage: The tokens over all attempts; None where the provider does not say.
        finish_reason: Why the model stopped, in the provider's word; None where it does not say.
        attempts: The requests that made up this answer, oldest first.
    """

    __slots__ = ("_body", "_native", "_turn", "attempts", "calls", "errors", "finish_reason", "text", "usage")

    def __init__(
        self,
        calls: Sequence[Call[Any]],
        *,
        turn: Callable[[], Turn],
        errors: Sequence[CallError] = (),
        text: str = "",
        usage: Usage | None = None,
        finish_reason: str | None = None,
        attempts: Sequence[Attempt] = (),
        body: Callable[[], JsonObject] = dict,
        native: Callable[[JsonObject], Any] | None = None,
    ) -> None:
        """Hold what one exchange gave. ``turn`` and ``body`` make what is seldom asked for, ``native`` the SDK's own object."""
        self.calls: tuple[Call[T], ...] = tuple(calls)
        self.errors = tuple(errors)
        self.text = text
        self.usage = usage
        self.finish_reason = finish_reason
        self.attempts = tuple(attempts)
        self._turn: Turn | Callable[[], Turn] = turn
        self._body: JsonObject | Callable[[], JsonObject] = body
        self._native: Any = native

    @property
    def response(self) -> Any:
        """The SDK's own response object, made when first asked for; the parsed body where no SDK was used.

        After a stream it is the whole response put together from the chunks. After unpickling it is the parsed body.
        """
        if callable(self._body):
            self._body = self._body()
        if self._native is None:
            return self._body
        if not isinstance(self._native, _Made):
            self._native = _Made(self._native(self._body))
        return self._native.value

    @property
    def messages(self) -> list[Message]:
        """The conversation so far with the model's turn at its end, in the provider's form.

        The calls of that turn are not answered yet: providers want an answer to every one, see `reply`.
        """
        turn = self._said()
        return [*turn.before, *turn.assistant]

    def reply(self, results: Mapping[Any, Any] | Iterable[Any]) -> list[Message]:
        """Return the messages that continue the conversation, every call answered.

        Args:
            results: A result per good call: a mapping by position, by provider id, by `Call`; or all of them in the model's
                order. Text is sent as it is, anything else as JSON. Bad calls are answered with the reason they are bad,
                unless a result is given for them.

        Raises:
            UsageError: A good call has no result, or a result belongs to no call.
        """
        if isinstance(results, str | bytes):
            raise UsageError("reply takes a result per call: a list in the model's order, or a mapping by position")
        given = self._by_position(results)
        answers: list[Answer] = []
        for call, checked in zip(self._said().calls, self.calls, strict=True):
            if call.index in given:
                answers.append(Answer(call, result_text(given[call.index], call)))
            elif checked.error is not None:
                answers.append(Answer(call, checked.error.reason, failed=True))
            else:
                message = (
                    f"no result for call {call.index} ({call.name}): every call needs one, add it under the key {call.index}"
                )
                raise UsageError(message)
        return [*self.messages, *self._said().results(answers)]

    def _said(self) -> Turn:
        self._turn = self._turn if isinstance(self._turn, Turn) else self._turn()
        return self._turn

    def of(self, kind: TypeForm[V]) -> list[V]:
        """Return the good values of one type, in the model's order.

        Args:
            kind: A tool of the request (a TypedDict or function counts only as the tool it is), or a class of values.
        """
        return [_in_place(call) for call in self.calls if call.error is None and call.is_of(kind)]  # type: ignore[misc]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    @override
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(_in_place(call) for call in self.calls[index])
        return _in_place(self.calls[index])

    @override
    def __len__(self) -> int:
        return len(self.calls)

    @override
    def __iter__(self) -> Iterator[T]:
        return map(_in_place, self.calls)

    @override
    def __repr__(self) -> str:
        return f"Calls({list(self)!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Calls[T]:
        made = object.__new__(type(self))
        for name in self.__slots__:
            value = getattr(self, name)
            setattr(made, name, value if name.startswith("_") else copy.deepcopy(value, memo))
        return made

    def __copy__(self) -> Calls[T]:
        return self

    @override
    def __getstate__(self) -> dict[str, Any]:
        body = self._body() if callable(self._body) else self._body
        return {
            "_body": body,
            "_native": None,
            "_turn": self._said(),
            **{name: getattr(self, name) for name in self.__slots__[3:]},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _by_position(self, results: Mapping[Any, Any] | Iterable[Any]) -> dict[int, Any]:
        if not is_mapping(results):
            values: list[Any] = list(results) if isinstance(results, Iterable) else [results]
            if len(values) != len(self.calls):
                need = "give one per call, in order, or a mapping by position"
                message = f"{len(values)} results for {len(self.calls)} calls: {need}"
                raise UsageError(message)
            return dict(enumerate(values))
        by_id = {call.id: call.index for call in reversed(self.calls) if call.id}
        given: dict[int, Any] = {}
        for key, value in results.items():
            position: Any = by_id.get(key) if isinstance(key, str) else key
            if isinstance(key, Call):
                position = next((call.index for call in self.calls if call is key), None)
            if not isinstance(position, int) or not 0 <= position < len(self.calls):
                message = (
                    f"a result is given for {key!r}, which is no call of this response: use positions 0 to {len(self.calls) - 1}"
                )
                raise UsageError(message)
            given[position] = value
        return given


@dataclass(frozen=True, slots=True)
class _Made:
    value: Any


def _in_place(call: Call[V]) -> V:
    # A bad call's place holds its error; the face types that as `Calls[T | CallError]`.
    error: Any = call.error
    return call.value if error is None else error
