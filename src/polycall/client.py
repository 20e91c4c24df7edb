"""`Client` and `AsyncClient`: the same face over the same line, one blocking, one on asyncio."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import Field as DataclassField
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias, overload

from typing_extensions import TypeForm, TypeVar

from polycall._ask import Exchange
from polycall._options import read_messages, read_options
from polycall._tools import Tool, toolset
from polycall._validate import Checking
from polycall.calls import Calls
from polycall.compat import Hooks, InstructorNames, check_mode
from polycall.errors import CallError, UsageError
from polycall.provider import Connection
from polycall.stream import AsyncStream, Stream
from polycall.types import JsonObject, Message, Request

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["AsyncClient", "Client"]


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, DataclassField[Any]]]


M = TypeVar("M", bound="BaseModel | _Dataclass | Mapping[str, object]")
"""What a tool may be. The bound makes ``response_model=Weather`` a type error: a model is an iterable of its fields."""

Messages: TypeAlias = str | Sequence[Message]
Tools: TypeAlias = "Sequence[type[Any] | Callable[..., Any] | Tool]"
Errors: TypeAlias = Literal["raise", "return"]


class _Face(InstructorNames):
    """What both clients share: everything up to the pump."""

    def __init__(self, connection: Connection, *, model: str | None = None, mode: object = None, **defaults: Any) -> None:
        """Wrap a connection; `polycall.from_openai` and its like are the way to get one."""
        check_mode(mode, connection.provider.name)
        self._connection = connection
        self._defaults = {"model": model, **defaults}
        self._hooks = Hooks()

    def payload(
        self,
        messages: Messages,
        *,
        response_model: object = None,
        tools: Tools | None = None,
        stream: bool = False,
        **options: Any,
    ) -> JsonObject:
        """Return the JSON body that `create` would send with these arguments; nothing is sent.

        Raises:
            UsageError: As `create` would.
        """
        asked = self._asked(messages, response_model, tools, stream=stream, **options)
        encoded = self._connection.provider.encode(asked.request, stream=asked.stream)
        return copy.deepcopy({**encoded.body, **(encoded.transport.get("extra_body") or {})})

    def _asked(self, messages: Messages, response_model: object, tools: object, **options: Any) -> Exchange:
        """Read the arguments of one question. Whatever is wrong with them raises here, before anything is sent."""
        offered = toolset(response_model, tools)
        own, given = read_options(self._defaults, options)
        choice = offered.choice(own["tool_choice"])
        request = Request(
            model=own["model"],
            messages=read_messages(messages),
            tools=offered.schemas,
            tool_choice=choice,
            parallel=own["parallel"],
            schema_strict=own["schema_strict"],
            options=given,
        )
        connection = self._connection
        if own["retries"] is not None and connection.retries is None:
            raise UsageError("retries= works without an SDK only: an SDK has its own, like openai.OpenAI(max_retries=...)")
        allowed = frozenset[str]() if choice.mode == "none" else None if choice.allowed is None else frozenset(choice.allowed)
        return Exchange(
            connection=connection,
            request=request,
            checking=Checking(
                offered, allowed, strict=own["strict"], context=own["context"], limits=own["limits"], repair=own["repair"]
            ),
            stream=own["stream"],
            raising=own["errors"] == "raise",
            timeout=own["timeout"],
            retries=own["retries"] if own["retries"] is not None else connection.retries or 0,
            max_retries=own["max_retries"],
            early=own["stream"]
            and own["reask"] == "early"
            and own["max_tokens_total"] is None
            and connection.provider.half_turns,
            max_tokens_total=own["max_tokens_total"],
            tell=self._hooks.tell,
        )


class Client(_Face):
    """Asks a model, blocking. Safe to share between threads; it holds nothing of a request."""

    # fmt: off
    @overload
    def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", stream: Literal[False] = False, **options: Any) -> Calls[M]: ...
    @overload
    def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, stream: Literal[False] = False, **options: Any) -> Calls[M | CallError]: ...
    @overload
    def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", stream: Literal[True], **options: Any) -> Stream[M]: ...
    @overload
    def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, stream: Literal[True], **options: Any) -> Stream[M | CallError]: ...
    @overload
    def create(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", stream: Literal[False] = False, **options: Any) -> Calls[Any]: ...
    @overload
    def create(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", stream: Literal[True], **options: Any) -> Stream[Any]: ...
    # fmt: on
    def create(self, messages: Messages, *, response_model: object = None, tools: Any = None, **options: Any) -> Any:
        """Ask once and return the calls.

        Args:
            messages: A question, or a conversation in OpenAI's or the provider's own form.
            response_model: The tools as ``Iterable[A | B]``; also ``list`` or ``Sequence``.
            tools: The tools as a list of types, functions and `Tool` objects, instead of ``response_model``.
            **options: See below; any other argument goes to the SDK as it is.

        Options: ``model``; ``errors`` (``"raise"``, or ``"return"`` to get each error in its call's place); ``stream`` (returns
        a `Stream`); ``tool_choice`` (``"auto"``, ``"required"``, ``"none"``, a tool, or a list of the tools that are allowed);
        ``parallel`` (True or False; None, the default, says nothing to the provider); ``strict`` (False lets pydantic convert
        values); ``schema_strict`` (False keeps from the provider's strict schema dialect); ``context`` (for the models' own
        validators); ``repair`` (True puts right arguments that are JSON but for a code fence, doubled encoding, Python's literals
        or a trailing comma, and says so in `Call.repairs`); ``max_retries`` (how often a bad call is asked again, 1 by default; 0 for never); ``reask`` (``"early"``, the
        default, asks for a bad call while the stream still runs; ``"end"`` waits for its end); ``max_tokens_total`` (tokens of all
        requests together, behind which nothing is asked again); ``timeout`` (seconds for the whole call); ``limits`` (`Limits` of one response); ``retries`` (how often a request that failed on its way is sent
        again; only without an SDK, which has its own).

        Raises:
            UsageError: The arguments are wrong; nothing was sent.
            CallErrors: Calls are bad; ``.calls`` has the good ones too.
            TransportError: Nothing usable came back. What the SDK itself raises passes through unchanged.
            LimitError: More came than ``limits`` allows, and no call before it.
        """
        asked = self._asked(messages, response_model, tools, **options)
        stream: Stream[Any] = Stream(asked)
        return stream if asked.stream else stream.result()

    # fmt: off
    @overload
    def stream(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", **options: Any) -> Stream[M]: ...
    @overload
    def stream(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, **options: Any) -> Stream[M | CallError]: ...
    @overload
    def stream(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", **options: Any) -> Stream[Any]: ...
    # fmt: on
    def stream(self, messages: Messages, *, response_model: object = None, tools: Any = None, **options: Any) -> Stream[Any]:
        """Ask once and return the `Stream` of what comes; the arguments are those of `create`."""
        options["stream"] = True
        return Stream(self._asked(messages, response_model, tools, **options))

    # fmt: off
    @overload
    def create_with_completion(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", **options: Any) -> tuple[Calls[M], Any]: ...
    @overload
    def create_with_completion(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, **options: Any) -> tuple[Calls[M | CallError], Any]: ...
    @overload
    def create_with_completion(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", **options: Any) -> tuple[Calls[Any], Any]: ...
    # fmt: on
    def create_with_completion(
        self, messages: Messages, *, response_model: object = None, tools: Any = None, **options: Any
    ) -> tuple[Calls[Any], Any]:
        """Ask once and return the calls and the SDK's own response object."""
        options["stream"] = False
        calls = Stream[Any](self._asked(messages, response_model, tools, **options)).result()
        return calls, calls.response

    def close(self) -> None:
        """Close what polycall opened itself; a client that was handed in stays open."""
        if self._connection.close is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close what polycall opened itself."""
        self.close()


class AsyncClient(_Face):
    """`Client` on asyncio: the same methods, awaited. Safe to share between tasks."""

    # fmt: off
    @overload
    async def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", stream: Literal[False] = False, **options: Any) -> Calls[M]: ...
    @overload
    async def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, stream: Literal[False] = False, **options: Any) -> Calls[M | CallError]: ...
    @overload
    async def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", stream: Literal[True], **options: Any) -> AsyncStream[M]: ...
    @overload
    async def create(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, stream: Literal[True], **options: Any) -> AsyncStream[M | CallError]: ...
    @overload
    async def create(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", stream: Literal[False] = False, **options: Any) -> Calls[Any]: ...
    @overload
    async def create(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", stream: Literal[True], **options: Any) -> AsyncStream[Any]: ...
    # fmt: on
    async def create(self, messages: Messages, *, response_model: object = None, tools: Any = None, **options: Any) -> Any:
        """Ask once and return the calls; see `Client.create`."""
        asked = self._asked(messages, response_model, tools, **options)
        stream: AsyncStream[Any] = AsyncStream(asked)
        return stream if asked.stream else await stream.result()

    # fmt: off
    @overload
    def stream(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", **options: Any) -> AsyncStream[M]: ...
    @overload
    def stream(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, **options: Any) -> AsyncStream[M | CallError]: ...
    @overload
    def stream(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", **options: Any) -> AsyncStream[Any]: ...
    # fmt: on
    def stream(self, messages: Messages, *, response_model: object = None, tools: Any = None, **options: Any) -> AsyncStream[Any]:
        """Ask once and return the `AsyncStream` of what comes; not awaited itself."""
        options["stream"] = True
        return AsyncStream(self._asked(messages, response_model, tools, **options))

    # fmt: off
    @overload
    async def create_with_completion(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Literal["raise"] = "raise", **options: Any) -> tuple[Calls[M], Any]: ...
    @overload
    async def create_with_completion(self, messages: Messages, *, response_model: TypeForm[Iterable[M]], errors: Errors, **options: Any) -> tuple[Calls[M | CallError], Any]: ...
    @overload
    async def create_with_completion(self, messages: Messages, *, tools: Tools, errors: Errors = "raise", **options: Any) -> tuple[Calls[Any], Any]: ...
    # fmt: on
    async def create_with_completion(
        self, messages: Messages, *, response_model: object = None, tools: Any = None, **options: Any
    ) -> tuple[Calls[Any], Any]:
        """Ask once and return the calls and the SDK's own response object."""
        options["stream"] = False
        calls = await AsyncStream[Any](self._asked(messages, response_model, tools, **options)).result()
        return calls, calls.response

    async def close(self) -> None:
        """Close what polycall opened itself; a client that was handed in stays open."""
        if self._connection.close is not None:
            closing = self._connection.close()
            if isinstance(closing, Awaitable):
                await closing

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what polycall opened itself."""
        await self.close()
