"""What the user gets: the calls of a response and their values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from typing_extensions import TypeForm, TypeVar, override

from polycall._turn import Conversation, result_text
from polycall.call import Attempt, Call, Response
from polycall.errors import CallError, PolycallError, UsageError
from polycall.types import Message, Usage, is_mapping

__all__ = ["Calls"]

T = TypeVar("T", covariant=True)
V = TypeVar("V")


class Calls(Sequence[T]):
    """The calls of one response: a sequence of their values, in the model's order, to be read as often as you like.

    Where a call is bad (``errors="return"``, or `CallErrors.calls`) its `CallError` stands in its place.

    Attributes:
        calls: One `Call` per call of the model, in its order.
        errors: Every error: those of the calls, in order, then those of the response as a whole.
        text: The text beside the calls of the first answer that has any; empty when there is none.
        usage: The tokens over all attempts; None where the provider does not say.
        finish_reason: Why the model stopped in the end, in the provider's word; None where it does not say.
        attempts: The requests that made up this answer, oldest first: the first, and those that asked again for what was bad.
        stopped: What kept bad calls from being asked again as often as ``max_retries`` says: why such a request failed, or the
            `LimitError` of ``max_tokens_total``. None where nothing did.
    """

    __slots__ = ("_conversation", "_response", "attempts", "calls", "errors", "finish_reason", "stopped", "text", "usage")

    def __init__(
        self,
        calls: Sequence[Call[Any]],
        *,
        conversation: Callable[[], Conversation],
        errors: Sequence[CallError] = (),
        text: str = "",
        usage: Usage | None = None,
        finish_reason: str | None = None,
        attempts: Sequence[Attempt] = (),
        stopped: Exception | None = None,
        response: Response | None = None,
    ) -> None:
        """Hold what one exchange gave. ``conversation`` makes what is seldom asked for."""
        self.calls: tuple[Call[T], ...] = tuple(calls)
        self.errors = tuple(errors)
        self.text = text
        self.usage = usage
        self.finish_reason = finish_reason
        self.attempts = tuple(attempts)
        self.stopped = stopped
        self._conversation: Conversation | Callable[[], Conversation] = conversation
        self._response = response or Response()

    @property
    def response(self) -> Any:
        """The SDK's own response object, made when first asked for; the parsed body where no SDK was used.

        After a stream it is the whole response put together from the chunks. Where the model was asked again, behind the first
        answer, it is that of the last one (`Attempt.response` has each). After unpickling it is the parsed body.
        """
        return self._response.get()

    @property
    def messages(self) -> list[Message]:
        """The conversation so far with the model's turn at its end, in the provider's form.

        Where the model was asked again all its turns are there. The calls of the last one are not answered yet: providers want an
        answer to every one, see `reply`.
        """
        return self._said().messages()

    def reply(self, results: Mapping[Any, Any] | Iterable[Any]) -> list[Message]:
        """Return the messages that continue the conversation, every call answered, each in the turn in which it was made.

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
        answers: dict[int, tuple[str, bool]] = {}
        for index, call in enumerate(self.calls):
            if index in given:
                answers[index] = (result_text(given[index], index, call.name), False)
            elif call.error is not None:
                answers[index] = (call.error.reason, True)
            else:
                need = "every call needs one, add it under the key"
                message = f"no result for call {index} ({call.name}): {need} {index}"
                raise UsageError(message)
        return self._said().answered(answers)

    def _said(self) -> Conversation:
        if not isinstance(self._conversation, Conversation):
            self._conversation = self._conversation()
        return self._conversation

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
            kept = name.startswith("_") or name == "stopped"  # an SDK's exception is what it is
            setattr(made, name, value if kept else copy.deepcopy(value, memo))
        return made

    def __copy__(self) -> Calls[T]:
        return self

    @override
    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in self.__slots__}
        stopped = self.stopped if isinstance(self.stopped, PolycallError) else None  # an SDK's may hold the key
        return {**state, "_conversation": self._said(), "stopped": stopped}

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


def _in_place(call: Call[V]) -> V:
    # A bad call's place holds its error; the face types that as `Calls[T | CallError]`.
    error: Any = call.error
    return call.value if error is None else error
