"""Values on the wire side: what is asked of a provider, and the pieces its answer comes in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeGuard

JsonObject: TypeAlias = dict[str, Any]
"""A parsed JSON object."""


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether a JSON value is an array."""
    return isinstance(value, list)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a mapping."""
    return isinstance(value, Mapping)


def is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is a list or a tuple."""
    return isinstance(value, list | tuple)


Message: TypeAlias = Any
"""One message of a conversation: a mapping, or an SDK's own message object."""


@dataclass(frozen=True, slots=True, eq=False)
class ToolSchema:
    """One tool as it is offered to a model.

    Attributes:
        name: The tool's own name, the one users see.
        wire_name: The name that is sent: ``name`` where providers take it, else a mangled form of it.
        description: What the model is told about the tool; None sends no description.
        schema: The canonical JSON Schema of the arguments, always an object schema. Shared and cached: never change it.
    """

    name: str
    wire_name: str
    description: str | None
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one response may cost. Each can be raised.

    Attributes:
        response: Bytes of a response, inflated. Where calls were complete before, the answer is cut there and they are kept.
        arguments: Characters of one call's arguments; a longer call is an `InvalidArgumentsError`.
        calls: Calls of one response; the answer is cut behind the last one.
        depth: How deep one call's arguments may nest, 200 at most; a deeper call is an `InvalidArgumentsError`.
        hosts: Hosts that the service may redirect to beside its own, and which are then shown the key.
    """

    response: int = 16 * 1024 * 1024
    arguments: int = 1024 * 1024
    calls: int = 1024
    depth: int = 64
    hosts: frozenset[str] = frozenset()


LIMITS: Final = Limits()
"""What holds when the user says nothing."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools the model may or must call.

    Attributes:
        mode: ``auto`` leaves it to the model, ``required`` asks for at least one call, ``none`` forbids calls.
        allowed: Wire names of the only tools that may be called, in the order offered; None allows all.
    """

    mode: Literal["auto", "required", "none"] = "auto"
    allowed: tuple[str, ...] | None = None

    @property
    def forced(self) -> bool:
        """Whether an answer without a call breaks the request."""
        return self.mode == "required"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One question with its tools, before any provider has put it into its own words.

    Attributes:
        messages: The conversation, oldest first.
        tools: The tools, in the user's order. The same tuple for the same set of types, so that it can key a cache.
        parallel: Whether several calls in one response are allowed; None says nothing to the provider.
        schema_strict: Whether the provider's strict schema dialect is used for tools whose schema allows it.
        options: Every other argument of the caller, in the SDK's words.
    """

    model: str
    messages: Sequence[Message] = field(repr=False)
    tools: tuple[ToolSchema, ...]
    tool_choice: ToolChoice = ToolChoice()
    parallel: bool | None = None
    schema_strict: bool = True
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used, as far as the provider tells; None where it does not.

    Attributes:
        input_tokens: Tokens of the prompt, cached ones included.
        cached_tokens: Those of ``input_tokens`` that were read from the provider's cache.
        output_tokens: Tokens of the answer, reasoning included.
        reasoning_tokens: Those of ``output_tokens`` that were spent on reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(slots=True)
class CallDelta:
    """A piece of one tool call, as it came over the wire.

    Attributes:
        key: The provider's own key of the call (its index), None where it sends none. Keys may be reused: see `_decode`.
        id: The provider's id of the call, when this piece has one.
        name: The tool's wire name, when this piece has one.
        arguments: The next piece of the arguments' JSON text, empty when this piece has none.
        whole: Whether ``arguments`` is all there will be (a call sent in one piece, or as an object).
        choice: Which of several answers to the same question it belongs to, from 0.
        extra: What else the provider sends with the call and wants back with it (a signature), when this piece has any.
    """

    key: Hashable | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    whole: bool = False
    choice: int = 0
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The provider says why it stopped.

    Attributes:
        reason: The reason in the provider's own word.
        cut: What cut the answer short, in words for people; None when it is complete.
        choice: Which of several answers to the same question stopped, from 0.
        calls: Whether it stopped so that its calls are run: then there are some.
    """

    reason: str | None
    cut: str | None = None
    choice: int = 0
    calls: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model declines; ``text`` is a piece of its explanation."""

    text: str


WireItem: TypeAlias = CallDelta | TextDelta | Stop | Refusal | Usage
"""What one event of a provider's answer can contain."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One complete request by the model to call a tool, not yet checked.

    Attributes:
        index: The position among the calls of the response, from 0, in the model's order. This is the call's identity.
        id: The provider's id, exactly as sent; None where it sent none. Providers repeat and omit ids.
        name: The tool's name as the model wrote it.
        arguments: The JSON text of the arguments as the model wrote it; empty when the model sent none.
        cut: What cut the call short, None when the call is complete.
        choice: Which of several answers to the same question it belongs to, from 0.
        extra: What else the provider sent with the call and wants back with it.
    """

    index: int
    id: str | None
    name: str
    arguments: str
    cut: str | None = None
    choice: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
