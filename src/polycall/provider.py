"""The contracts of a wire format, and of a provider: how an SDK is called that speaks one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic_core import PydanticSerializationError, to_json

from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.types import JsonObject, Message, Request, ToolCall, WireItem, is_mapping

__all__ = [
    "Connection",
    "Decoder",
    "Encoded",
    "Endpoint",
    "Format",
    "Late",
    "Provider",
    "Reply",
    "Waiting",
    "json_body",
    "merged",
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request in a provider's words.

    Attributes:
        body: The JSON body of the wire.
        strict_schemas: The schemas as sent, by wire name, of the tools in a strict dialect: closed, and null leaves a field out.
        tools_json: The JSON bytes of ``body["tools"]``, cached for the set of tools, for transports that send bytes; empty
            where the body has no tools of that name.
        transport: Arguments of the SDK's call that are no part of the body (headers, timeouts).
        path: Where the body is posted, below the base URL, with its query; for the direct path.
        content: The body as bytes, made once for all attempts; empty where the SDK writes it.
    """

    body: JsonObject = field(repr=False)
    strict_schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    tools_json: bytes = field(default=b"", repr=False)
    transport: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    path: str = ""
    content: bytes = field(default=b"", repr=False)


def merged(encoded: Encoded) -> Encoded:
    """Put ``extra_body`` into the body, where no SDK does."""
    extra: JsonObject = encoded.transport.get("extra_body") or {}
    if not extra:
        return encoded
    if not is_mapping(extra):
        raise UsageError("extra_body is a mapping of names to values, merged into the body")
    try:
        tools_json = to_json(extra["tools"]) if "tools" in extra else encoded.tools_json
    except (PydanticSerializationError, ValueError):
        raise UsageError("the tools in extra_body cannot be written as JSON") from None
    transport = {key: value for key, value in encoded.transport.items() if key != "extra_body"}
    return replace(encoded, body={**encoded.body, **extra}, tools_json=tools_json, transport=transport)


def json_body(encoded: Encoded) -> bytes:
    """Return the body as JSON bytes; the tools, which are most of it, are cached bytes."""
    if not encoded.tools_json:
        return to_json(encoded.body)
    rest = to_json({key: value for key, value in encoded.body.items() if key != "tools"})
    return rest[:-1] + b',"tools":' + encoded.tools_json + b"}"


class Late(Exception):  # noqa: N818  # a signal between a pump and the line
    """What an effect was to give did not come in time."""


class Waiting(ABC):
    """What another thread gives one by one: the blocking twin of an awaitable, and of an asynchronous iterator."""

    @abstractmethod
    def get(self, timeout: float | None) -> Any:
        """Return the next thing, None at the end; wait ``timeout`` seconds for it, or as long as it takes.

        Raises:
            Late: It did not come in time.
        """
        ...

    @abstractmethod
    def cancel(self) -> None:
        """Let go of it, from any thread; may be called twice. Whoever waits for it gets an error."""
        ...


def _nothing(_: Exception) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """An opened response.

    Attributes:
        chunks: What arrives: bytes as they come, or events that the SDK has parsed already. A blocking iterator, an asynchronous
            one, or `Waiting`.
        close: Lets go of the connection; may be called twice, and while a read is under way. An awaitable is awaited.
        status: The HTTP status, None where there is none.
        whole: Whether an event that the SDK has parsed is a whole response and no chunk of a stream.
        native: Turns the parsed body of the whole response into the SDK's own object; None gives the body itself.
        headers: The headers, names in lower case; empty where the SDK has dealt with them.
        secrets: What must not be in an error, whatever the server sends back.
        url: Where the request went; empty where that is the SDK's business.
        json_lines: Whether a stream has an event on each line, without more around it.
        said: What the server said when a chunk could not be read because it reports an error; see `Provider.said`.
        quoting: The names of the SDK's exceptions whose texts quote what was received; they are no causes of our errors.
    """

    chunks: Iterator[bytes | Mapping[str, Any]] | AsyncIterator[bytes | Mapping[str, Any]] | Waiting
    close: Callable[[], Awaitable[None] | None]
    status: int | None = None
    whole: bool = False
    native: Callable[[JsonObject], Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: tuple[str, ...] = field(default=(), repr=False)
    url: str = ""
    json_lines: bool = False
    said: Callable[[Exception], JsonObject | None] = _nothing
    quoting: frozenset[str] = frozenset()


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
                answer. An error that is about what the model wrote is no such thing: it holds calls, or text.
        """
        ...

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return the model's turn as messages to send back, with ``calls`` (whose ids are set and unique) as its calls."""
        ...

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        """Return the parsed body of the whole response, put together from the chunks of a stream, with ``calls`` as its calls."""
        ...


class Format(Protocol):
    """One wire format, as one service speaks it. Stateless and pure: everything about one response is in its `Decoder`."""

    @property
    def name(self) -> str:
        """What people call it, and what modes are checked against."""
        ...

    @property
    def half_turns(self) -> bool:
        """Whether it takes a conversation that holds the beginning of a turn, so that a bad call can be asked again at once."""
        ...

    @property
    def raw_arguments(self) -> bool:
        """Whether it takes back arguments that are no JSON object, as its own model wrote them."""
        ...

    @property
    def json_lines(self) -> bool:
        """Whether its streams have an event on each line, instead of server-sent events."""
        ...

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the provider's words. Pure, and the same for the same request.

        Messages are OpenAI's, or the provider's own as they are; what `Decoder.turn` and `results` return is among them.

        Raises:
            UsageError: The request asks for what the provider cannot do.
        """
        ...

    def decoder(self) -> Decoder:
        """Return the reader of one response."""
        ...

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the headers of a request on the direct path: how the service is shown the key, None where it needs none."""
        ...

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return the messages that answer calls; every call of a turn is answered exactly once, in the model's order."""
        ...


class Provider(Format, Protocol):
    """A wire format, and how an SDK is called that speaks it."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:
        """Call the SDK and return what it returns, raw where it offers that. Never awaits.

        Args:
            client: The SDK's client.
            encoded: The request.
            stream: Whether a stream was asked for.
            timeout: Seconds that are left, for a transport that can hold to them; the line does so anyway.
        """
        ...

    def open(self, raw: Any) -> Reply:
        """Wrap what `send` gave."""
        ...

    def said(self, error: Exception) -> JsonObject | None:
        """Return what the server said when the SDK raised ``error``, as an event of the wire; None where it said nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a format is spoken, for the direct path.

    Attributes:
        url: The base URL, None where every user has another.
        keys: The environment variables that hold the key, the first one that is set counts; none where no key is needed.
        variable: The environment variable that holds another base URL; empty for none.
        written: Makes a URL of what that variable holds.
    """

    url: str | None
    keys: tuple[str, ...] = ()
    variable: str = ""
    written: Callable[[str], str] = str


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A provider and the client that reaches it.

    Attributes:
        blocking: Whether the client blocks: under asyncio its calls then run in threads.
        close: Closes what polycall opened itself; None when the client is the user's. An awaitable is awaited.
        retries: How often a request that failed on its way is sent again; None where that is the SDK's own business.
        at_once: Whether what `Provider.send` returns is `Waiting`.
    """

    provider: Provider
    client: Any
    blocking: bool
    close: Callable[[], Awaitable[None] | None] | None = None
    retries: int | None = None
    at_once: bool = False
