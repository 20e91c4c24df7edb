"""Writes answers in Anthropic's format, whole and as streams, well and badly formed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

HEAD: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4, "output_tokens": 1}


def text(words: str, **others: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **others}


def call(name: str, arguments: Any, id: str, **others: Any) -> dict[str, Any]:
    """Write a call; arguments that are text are streamed as they are."""
    return {"type": "tool_use", "id": id, "name": name, "input": arguments, **others}


def thinking(words: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def whole(*blocks: dict[str, Any], stop: str | None = "tool_use", **others: Any) -> dict[str, Any]:
    return {**HEAD, "content": list(blocks), "stop_reason": stop, "stop_sequence": None, "usage": USAGE, **others}


def body(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def data(event: dict[str, Any]) -> bytes:
    """Write one server-sent event."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def started(**others: Any) -> bytes:
    return data({"type": "message_start", "message": {**HEAD, "content": [], "stop_reason": None, "usage": USAGE, **others}})


def stopped(stop: str | None = "tool_use", **others: Any) -> bytes:
    delta = {"stop_reason": stop, "stop_sequence": None, **others}
    return data({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}}) + data({"type": "message_stop"})


def begin(index: int, block: dict[str, Any]) -> bytes:
    return data({"type": "content_block_start", "index": index, "content_block": block})


def delta(index: int, kind: str, **values: Any) -> bytes:
    return data({"type": "content_block_delta", "index": index, "delta": {"type": kind, **values}})


def end(index: int) -> bytes:
    return data({"type": "content_block_stop", "index": index})


def block(index: int, given: dict[str, Any], size: int = 5) -> bytes:
    """Write one block as the events that it comes in."""
    return b"".join(_block(index, given, size))


def _block(index: int, given: dict[str, Any], size: int) -> Iterator[bytes]:
    match given["type"]:
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            written = given["input"] if isinstance(given["input"], str) else json.dumps(given["input"])
            yield begin(index, {**given, "input": {}})
            yield delta(index, "input_json_delta", partial_json="")
            for piece in _pieces(written, size):
                yield delta(index, "input_json_delta", partial_json=piece)
        case "text":
            yield begin(index, {"type": "text", "text": ""})
            for piece in _pieces(given["text"], size):
                yield delta(index, "text_delta", text=piece)
            for citation in given.get("citations") or ():
                yield delta(index, "citations_delta", citation=citation)
        case "thinking":
            yield begin(index, {"type": "thinking", "thinking": "", "signature": ""})
            for piece in _pieces(given["thinking"], size):
                yield delta(index, "thinking_delta", thinking=piece)
            yield delta(index, "signature_delta", signature=given["signature"])
        case _:
            yield begin(index, given)
    yield end(index)


def _pieces(words: str, size: int) -> Iterable[str]:
    return (words[start : start + size] for start in range(0, len(words), size))


def stream(*blocks: dict[str, Any], stop: str | None = "tool_use", size: int = 5, **others: Any) -> list[bytes]:
    """Write a stream: one piece per block, and what is before and behind them."""
    ping = data({"type": "ping"})
    return [started() + ping, *(block(index, one, size) for index, one in enumerate(blocks)), stopped(stop, **others)]
