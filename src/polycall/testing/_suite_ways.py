"""What a provider suite asks with: four ways to a model server, and a line without a socket."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel
from pydantic_core import to_json
from typing_extensions import override

from polycall._direct import Direct
from polycall._tools import toolset
from polycall.calls import Calls
from polycall.client import AsyncClient, Client
from polycall.errors import PolycallError
from polycall.provider import Connection, Encoded, Format, Reply
from polycall.testing._faults import Honest
from polycall.testing._format import Format as Written
from polycall.testing._loopback import Server
from polycall.testing._script import Said, Turn, saying
from polycall.testing._wire import Sent
from polycall.types import JsonObject, Request, ToolChoice

if TYPE_CHECKING:
    from polycall.testing._suite import ProviderSuite

__all__ = [
    "CALLS",
    "TOOLS",
    "VALUES",
    "WAYS",
    "GoogleSearch",
    "Now",
    "Way",
    "Weather",
    "asked",
    "encoded",
    "expect",
    "outcome",
    "replay",
]

WAYS: Final = ("sdk", "sdk asyncio", "direct", "direct asyncio")


class Weather(BaseModel):
    """The weather of a town."""

    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    """A search."""

    query: str


class Now(BaseModel):
    """The time."""


TOOLS: Final = (Weather, GoogleSearch, Now)
CALLS: Final = (
    Said("Weather", {"location": "Zürich \U0001f327", "units": "metric"}),
    Said("Weather", {"location": "Dallas", "units": "imperial"}),
    Said("Now", {}),
    Said("GoogleSearch", {"query": 'who "won" \\ {the} [super] bowl?'}),
    Said("Weather", {"location": "Dallas", "units": "imperial"}),
)
VALUES: Final[tuple[BaseModel, ...]] = (
    Weather(location="Zürich \U0001f327", units="metric"),
    Weather(location="Dallas", units="imperial"),
    Now(),
    GoogleSearch(query='who "won" \\ {the} [super] bowl?'),
    Weather(location="Dallas", units="imperial"),
)
"""What `CALLS` are, checked."""


def expect(got: object, meant: object, what: str) -> None:
    """Raise when something is not what it should be.

    Raises:
        AssertionError: It is something else.
    """
    if got != meant:
        message = f"{what}:\n  {got!r}\ninstead of\n  {meant!r}"
        raise AssertionError(message)


def outcome(calls: Calls[Any]) -> Any:
    """Return everything that must not depend on how a response came."""
    return (
        [(call.index, call.id, call.name, call.arguments, call.outcome) for call in calls.calls],
        [(type(error).__name__, error.index, error.tool) for error in calls.errors],
        calls.text,
        calls.finish_reason,
    )


@dataclass(frozen=True, slots=True)
class _Replay(Direct):
    """A format whose answer is there already."""

    chunks: Iterable[bytes | Mapping[str, Any]] = ()
    whole: bool = False
    sent: list[JsonObject] = field(default_factory=list[JsonObject])

    @override
    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:
        self.sent.append(encoded.body)
        return self

    @override
    def open(self, raw: Any) -> Reply:
        return Reply(iter(self.chunks), _nothing, 200, json_lines=self.json_lines, whole=self.whole)


def _nothing() -> None:
    """Let go of nothing."""


def replay(
    provider: Format,
    chunks: Iterable[bytes | Mapping[str, Any]],
    *,
    stream: bool,
    tools: Sequence[Any] = TOOLS,
    messages: Any = "?",
    **options: Any,
) -> Calls[Any]:
    """Return the calls of an answer that is there already; one of events is whole where no stream is asked for."""
    chunks = [*chunks]
    parsed = not stream and any(not isinstance(chunk, bytes) for chunk in chunks)
    client: Any = Client(Connection(_Replay(provider, chunks, parsed), None, blocking=False), model="m")
    given: dict[str, Any] = {"errors": "return", "max_retries": 0, **options}
    if stream:
        with client.stream(messages, tools=tools, **given) as arriving:
            return arriving.result()  # type: ignore[no-any-return]
    calls: Calls[Any] = client.create(messages, tools=[*tools], **given)
    return calls


def encoded(
    provider: Format,
    messages: Sequence[Any],
    *,
    stream: bool,
    model: str,
    choice: ToolChoice = ToolChoice(),  # noqa: B008  # frozen
    options: Mapping[str, Any] | None = None,
) -> Encoded:
    """Return a request in the provider's words, as the direct path would send it."""
    return Direct(provider).encode(asked(messages, model, choice, options or {}), stream=stream)


def asked(messages: Sequence[Any], model: str, choice: ToolChoice, options: Mapping[str, Any]) -> Request:
    """Return a request with the tools of the suite."""
    offered = toolset(None, [*TOOLS])
    return Request(model=model, messages=messages, tools=offered.schemas, tool_choice=choice, options=options)


def honest(written: Written, given: Encoded, turns: Sequence[Turn]) -> Honest:
    """Return what the model says to a request."""
    raw = to_json(given.body)
    sent = Sent(given.path, {}, raw, given.body)
    return Honest(sent, saying(turns, written.answers(sent)), written, "http://127.0.0.1")


class Way:
    """One client of polycall behind one blocking face.

    Attributes:
        name: One of `WAYS`.
        client: polycall's.
    """

    def __init__(self, suite: ProviderSuite, name: str, client: Client | AsyncClient) -> None:
        """Wrap a client."""
        self.name = name
        self.client: Any = client
        self._suite = suite
        self._runner = asyncio.Runner() if name.endswith("asyncio") else None

    @property
    def by_sdk(self) -> bool:
        """Whether the user's own SDK is underneath."""
        return self.name.startswith("sdk")

    def ask(self, messages: Any = "?", *, stream: bool = False, **options: Any) -> Calls[Any]:
        """Ask, and return everything that came."""
        options = {"tools": TOOLS, **self._suite.options, **options}
        if self._runner is not None:
            return self._runner.run(self._ask(messages, stream=stream, **options))
        if stream:
            with self.client.stream(messages, **options) as arriving:
                return arriving.result()  # type: ignore[no-any-return]
        return self.client.create(messages, **options)  # type: ignore[no-any-return]

    async def _ask(self, messages: Any, *, stream: bool, **options: Any) -> Calls[Any]:
        if stream:
            async with self.client.stream(messages, **options) as arriving:
                return await arriving.result()  # type: ignore[no-any-return]
        return await self.client.create(messages, **options)  # type: ignore[no-any-return]

    def values(self, most: int | None = None, **options: Any) -> list[tuple[Any, float]]:
        """Return the values of a stream with the time of their arrival; a stream is left behind the ``most``-th."""
        options = {"tools": TOOLS, **self._suite.options, **options}
        if self._runner is not None:
            return self._runner.run(self._values(most, **options))
        arrived: list[tuple[Any, float]] = []
        with self.client.stream("?", **options) as arriving:
            for value in arriving:
                arrived.append((value, time.monotonic()))
                if len(arrived) == most:
                    break
        return arrived

    async def _values(self, most: int | None, **options: Any) -> list[tuple[Any, float]]:
        arrived: list[tuple[Any, float]] = []
        async with self.client.stream("?", **options) as arriving:
            async for value in arriving:
                arrived.append((value, time.monotonic()))
                if len(arrived) == most:
                    break
        return arrived

    def settled(self, server: Server, *, collected: bool) -> bool:
        """Whether every connection is closed within some seconds; ``collected`` whether the garbage is collected first."""
        if self._runner is not None:
            return self._runner.run(self._settled(server, collected=collected))
        return server.settle(seconds=3.0)

    async def _settled(self, server: Server, *, collected: bool) -> bool:
        for _ in range(3 if collected else 0):
            gc.collect()
            await asyncio.sleep(0.05)  # what is collected is closed by tasks
        return await asyncio.to_thread(server.settle, seconds=3.0)

    def raised(self, **options: Any) -> Exception:
        """Ask, and return what is raised.

        Raises:
            AssertionError: Nothing is.
        """
        try:
            self.ask(**options)
        except Exception as error:  # noqa: BLE001  # what it is, is what is asked
            return error
        message = f"{self.name}: nothing was raised"
        raise AssertionError(message)

    def close(self) -> None:
        """Close polycall's client, and the SDK's."""
        if self._runner is None:
            self.client.close()
            if self.by_sdk:
                self._suite.release(self.client)
            return
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self.client.close()
        releasing = self._suite.release(self.client) if self.by_sdk else None
        if isinstance(releasing, Awaitable):
            await releasing


def is_known(error: BaseException, package: str | None) -> bool:
    """Whether an error is polycall's, or one that the SDK or what it stands on raises."""
    packages = [f"{name}." for name in (package, "httpx", "httpx2", "urllib3", "grpc") if name is not None]
    modules = [f"{kind.__module__}." for kind in type(error).__mro__]
    return isinstance(error, PolycallError) or any(module.startswith(name) for module in modules for name in packages)
