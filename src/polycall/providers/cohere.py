"""The cohere SDK: its clients of version 2, and what those of version 1 have as ``client.v2``."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from typing_extensions import override

from polycall._sdk import Reading, read, said
from polycall.formats.cohere import Cohere as Format
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject

__all__ = ["Cohere"]

_REQUEST_OPTIONS: Final = {
    "extra_headers": "additional_headers",
    "extra_query": "additional_query_parameters",
    "extra_body": "additional_body_parameters",
}


@dataclass(frozen=True, slots=True)
class Cohere(Format):
    """Chat of version 2, through the SDK."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK for its raw response: `HttpResponse`, or its coroutine; of a stream with what holds it open."""
        given = {key: value for key, value in encoded.body.items() if key != "stream"}
        transport = dict(encoded.transport)
        options = {name: transport[key] for key, name in _REQUEST_OPTIONS.items() if transport.get(key)}
        if options or transport.get("request_options"):
            given["request_options"] = {**options, **(transport.get("request_options") or {})}
        chat = getattr(client, "v2", client).with_raw_response
        if not stream:
            return chat.chat(**given)
        held = chat.chat_stream(**given)
        return _opened_async(held) if hasattr(held, "__aenter__") else _Opened(held, _response(held.__enter__()))

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's raw response: the bytes of a stream as they come, a whole body at once."""
        if not isinstance(raw, _Opened):
            return read(_response(raw), lambda _: raw.data)
        reply = read(raw.response, _native)
        if hasattr(raw.held, "__aexit__"):
            return replace(reply, close=raw.close)
        chunks = _Held(raw)
        return replace(reply, chunks=chunks, close=chunks.close)

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an error status."""
        return said(error)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream: the SDK's context manager, which holds it open, and the response of httpx."""

    held: AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
    response: Any

    async def close(self) -> None:
        """Leave the asynchronous context manager; may be done twice."""
        await cast("AbstractAsyncContextManager[Any]", self.held).__aexit__(None, None, None)


async def _opened_async(held: Any) -> _Opened:
    return _Opened(held, _response(await held.__aenter__()))


def _response(raw: Any) -> Any:
    """Return the response of httpx in one of the SDK's; the first of its versions 7 have no public name for it."""
    return raw.response if hasattr(raw, "response") else raw._response  # noqa: SLF001


class _Held(Reading):
    """The bytes of a blocking stream, whose context manager is left at the end."""

    def __init__(self, raw: _Opened) -> None:
        super().__init__(raw.response, raw.response.iter_bytes())
        self._held = cast("AbstractContextManager[Any]", raw.held)

    @override
    def let_go(self) -> None:
        """Leave the context manager; may be done twice."""
        self._held.__exit__(None, None, None)


def _native(body: JsonObject) -> Any:
    """Return the SDK's object of a whole body, unchecked as the SDK's own."""
    return cast("Any", sys.modules["cohere"]).V2ChatResponse.construct(**body)
