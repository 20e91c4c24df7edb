"""The contract of a provider file: one wire format, and how its SDK is called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic_core import to_json

from polycall._turn import Answer
from polycall.types import JsonObject, Message, Request, ToolCall, WireItem

__all__ = ["Connection", "Decoder", "Encoded", "Provider", "Reply", "json_body"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request in a provider's words.

    Attributes:
        body: The JSON body of the wire.
        messages: The conversation as it stands in ``body``, to be continued.
        strict_schemas: The schemas as sent, by wire name, of the tools in a strict dialect: closed, and null leaves a field out.
        tools_json: The JSON bytes of ``body["tools"]``, cached for the set of tools; for transports that send bytes.
        transport: Arguments of the SDK's call that are no part of the body (headers, timeouts).
    """

    body: JsonObject
    messages: tuple[Message, ...]
    strict_schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    tools_json: bytes = b""
    transport: Mapping[str, Any] = field(default_factory=dict[str, Any])


def json_body(encoded: Encoded) -> bytes:
    """Return the body as JSON bytes; the tools, which are most of it, are cached bytes."""
    rest = to_json({key: value for key, value in encoded.body.items() if key != "tools"})
    return rest[:-1] + b',"tools":' + encoded.tools_json + b"}"


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """An opened response.

    Attributes:
        chunks: What arrives: bytes as they come, or events that the SDK has parsed already. A blocking iterator, or an
            asynchronous one.
        close: Lets go of the connection; may be called twice, and while a read is under way. An awaitable is awaited.
        status: The HTTP status, None where there is none.
        whole: Whether an event that the SDK has parsed is a whole response and no chunk of a stream.
        native: Turns the parsed body of the whole response into the SDK's own object; None gives the body itself.
    """

    chunks: Iterator[bytes | Mapping[str, Any]] | AsyncIterator[bytes | Mapping[str, Any]]
    close: Callable[[], Awaitable[None] | None]
    status: int | None = None
    whole: bool = False
    native: Callable[[JsonObject], Any] | None = None


class Decoder(Protocol):
    """Reads one response. Pure: values in, values out.

    Attributes:
        seal_on_close: Whether a call is complete when the top-level object of its arguments closes.
        model: The model that answers, in the provider's word; None until known.
    """

    seal_on_close: bool
    model: str | None

    @property
    def begun(self) -> bool:
        """Whether anything of an answer has arrived."""
        ...

    @property
    def finished(self) -> bool:
        """Whether everything that has begun has said why it stopped, so that nothing of it can be missing."""
        ...

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        """Return what is in one event of a stream, or in a whole response.

        Raises:
            TransportError: The server reports an error, after the items of the event if there are any; or a whole response is no
                answer.
        """
        ...

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the model's turn as messages to send back, with ``calls`` (whose ids are set and unique) as its calls."""
        ...

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the parsed body of the whole response, put together from the chunks of a stream, with ``calls`` as its calls."""
        ...


class Provider(Protocol):
    """One wire format. Stateless: everything about one response is in its `Decoder`."""

    @property
    def name(self) -> str:
        """What people call it, and what modes are checked against."""
        ...

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the provider's words. Pure, and the same for the same request.

        Raises:
            UsageError: The request asks for what the provider cannot do.
        """
        ...

    def send(self, client: Any, encoded: Encoded, *, stream: bool) -> Any:
        """Call the SDK and return what it returns, raw where it offers that. Never awaits."""
        ...

    def open(self, raw: Any) -> Reply:
        """Wrap what `send` gave."""
        ...

    def decoder(self) -> Decoder:
        """Return the reader of one response."""
        ...

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return the messages that answer calls; every call of a turn is answered exactly once, in the model's order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A provider and the client that reaches it.

    Attributes:
        blocking: Whether the client blocks: under asyncio its calls then run in threads.
        close: Closes what polycall opened itself; None when the client is the user's.
    """

    provider: Provider
    client: Any
    blocking: bool
    close: Callable[[], None] | None = None
