"""How the SDKs that stand on httpx (or httpx2) hand over a raw response. None of them is imported."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import Any

from polycall.provider import Reply

__all__ = ["opened"]


def opened(raw: Any, module: str, kind: str) -> Reply:
    """Wrap what ``with_raw_response`` gave: the bytes of a stream as they come, a whole body at once.

    Args:
        raw: The SDK's raw response, blocking or asynchronous.
        module: Where in the SDK's package the class of its response objects is.
        kind: The name of that class. It makes one from a stream's folded body; of a whole body the SDK does that itself.
    """
    response = raw.http_response
    if response.is_closed:
        return Reply(iter((raw.content,)), lambda: None, raw.status_code, native=lambda _: raw.parse())
    package = type(raw).__module__.partition(".")[0]
    made: Any = getattr(sys.modules[f"{package}.{module}"], kind)
    asynchronous = hasattr(response.stream, "__aiter__")
    chunks = response.aiter_bytes() if asynchronous else response.iter_bytes()
    close = response.aclose if asynchronous else partial(_close, response)
    return Reply(chunks, close, raw.status_code, native=lambda body: made.construct(**body))


def _close(response: Any) -> None:
    """Close a response, also under a thread that waits for it: that one is woken, and the server sees the end."""
    from socket import SHUT_RDWR

    stream = response.extensions.get("network_stream")
    if not response.is_closed and stream is not None and response.http_version == "HTTP/1.1":
        with suppress(OSError, AttributeError):
            stream.get_extra_info("socket").shutdown(SHUT_RDWR)
    response.close()
