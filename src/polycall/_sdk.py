"""How the SDKs that stand on httpx (or httpx2) hand over a raw response. None of them is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, Final

from typing_extensions import override

from polycall.provider import Reply
from polycall.types import JsonObject, is_object

__all__ = ["Reading", "opened", "said"]

_KEYS: Final = ("authorization", "api-key", "x-api-key")


def opened(raw: Any, module: str, kind: str) -> Reply:
    """Wrap what ``with_raw_response`` gave: the bytes of a stream as they come, a whole body at once.

    Args:
        raw: The SDK's raw response, blocking or asynchronous.
        module: Where in the SDK's package the class of its response objects is.
        kind: The name of that class. It makes one from a stream's folded body; of a whole body the SDK does that itself.
    """
    response = raw.http_response
    sent = response.request.headers
    secrets = tuple(sent[name].removeprefix("Bearer ") for name in _KEYS if name in sent)
    if response.is_closed:
        chunks = iter((raw.content,))
        return Reply(chunks, lambda: None, raw.status_code, native=lambda _: raw.parse(), secrets=secrets)
    package = type(raw).__module__.partition(".")[0]
    made: Any = getattr(sys.modules[f"{package}.{module}"], kind)
    if hasattr(response.stream, "__aiter__"):
        chunks, close = response.aiter_bytes(), response.aclose
    else:
        chunks = Reading(response, response.iter_bytes())
        close = chunks.close
    return Reply(chunks, close, raw.status_code, native=lambda body: made.construct(**body), secrets=secrets)


def said(error: Exception) -> JsonObject | None:
    """Return what a server said with an error status, as the SDK keeps it in its exception; None where there is nothing."""
    body = getattr(error, "body", None)
    return {"error": body} if is_object(body) else None


class Reading(Iterator[bytes]):
    """The chunks of a blocking response, which may be closed while another thread waits for the next one.

    Closing a descriptor under a reader would leave it reading whatever is opened next under the same number. So the socket is
    only shut down then, which wakes the reader and tells the server, and the reader closes the response.
    """

    def __init__(self, response: Any, chunks: Iterator[bytes]) -> None:
        """Read ``chunks``, which are those of ``response``."""
        self._response = response
        self._chunks = chunks
        self._lock = Lock()
        self._reading = False
        self._closed = False

    @override
    def __next__(self) -> bytes:
        """Return the next chunk."""
        with self._lock:
            if self._closed:
                raise ConnectionError("the response was closed")
            self._reading = True
        try:
            return next(self._chunks)
        finally:
            self._read()

    def _read(self) -> None:
        with self._lock:
            self._reading = False
            if self._closed:
                self._response.close()

    def close(self) -> None:
        """Let go of the connection; may be called twice, and from another thread than the one that reads."""
        with self._lock:
            self._closed = True
            if self._reading:
                _shut_down(self._response)
            else:
                self._response.close()


def _shut_down(response: Any) -> None:
    from socket import SHUT_RDWR

    stream = response.extensions.get("network_stream")
    if not response.is_closed and stream is not None and response.http_version == "HTTP/1.1":
        with suppress(OSError, AttributeError):
            stream.get_extra_info("socket").shutdown(SHUT_RDWR)
