"""What the user gets of one call, and of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Generic, Literal, TypeAlias, Union, get_args, get_origin

from typing_extensions import TypeVar, is_typeddict, override

from polycall.errors import CallError
from polycall.types import JsonObject, Usage

__all__ = ["Attempt", "BoundCall", "Call", "Outcome", "Response"]

T = TypeVar("T", covariant=True)

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
        repairs: What was put right in the arguments before they were checked, in words like ``"trailing comma"``; empty for
            nothing. Only with ``repair=True``; ``arguments`` stays as the model wrote it.
    """

    index: int
    id: str | None
    name: str
    arguments: str = field(repr=False)
    outcome: Outcome
    error: CallError | None = None
    _value: Any = field(default=None, repr=False)
    _source: Any = field(default=None, repr=False)
    repairs: tuple[str, ...] = ()

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


class Response:
    """The SDK's own response object, made when it is first asked for. Pickled it is the parsed body."""

    __slots__ = ("_body", "_made", "_native")

    def __init__(self, body: Callable[[], JsonObject] = dict, native: Callable[[JsonObject], Any] | None = None) -> None:
        """Take what makes the parsed body, and what makes the SDK's object of it; None where no SDK was used."""
        self._body: JsonObject | Callable[[], JsonObject] = body
        self._native = native
        self._made: tuple[Any] | None = None

    def get(self) -> Any:
        """Return the object; the parsed body where no SDK was used."""
        if self._made is None:
            body = self._parsed()
            self._made = (body if self._native is None else self._native(body),)
        return self._made[0]

    def _parsed(self) -> JsonObject:
        self._body = self._body() if callable(self._body) else self._body
        return self._body

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _response, (self._parsed(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Response:
        return self


def _response(body: JsonObject) -> Response:
    return Response(lambda: body)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to the provider, out of those that made up the outcome.

    Attributes:
        model: The model that answered, in the provider's word; None where it does not say.
        finish_reason: Why it stopped, in the provider's word; None where it does not say.
        usage: The tokens of this request alone; None where the provider does not say.
        errors: What was wrong with this answer: the errors of its calls, then those of the answer as a whole. Their positions are
            those in this answer.
        calls: The calls of this answer alone, as they were checked; also those that were only sent again.
        text: The text of this answer.
        asked: Which calls of the outcome were asked again by this request, by their positions there; empty for the first.
    """

    model: str | None
    finish_reason: str | None
    usage: Usage | None
    errors: tuple[CallError, ...]
    calls: tuple[Call[Any], ...] = ()
    text: str = ""
    asked: tuple[int, ...] = ()
    _response: Response = field(default_factory=Response, repr=False, compare=False)

    @property
    def response(self) -> Any:
        """The SDK's own response object, made when first asked for; the parsed body without an SDK, and after unpickling."""
        return self._response.get()
