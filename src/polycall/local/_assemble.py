"""The chunks of a streamed answer put together: the answer that was not streamed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["assemble"]


def assemble(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the ``chat.completion`` that the ``chat.completion.chunk`` documents of one answer add up to."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    outer: dict[str, Any] = {}
    finish_reason: str | None = None
    for chunk in chunks:
        outer |= chunk
        for choice in chunk.get("choices", ()):
            finish_reason = choice.get("finish_reason") or finish_reason
            _add(choice.get("delta", {}), message, calls)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {**outer, "object": "chat.completion", "choices": [choice]}


def _add(delta: dict[str, Any], message: dict[str, Any], calls: dict[int, dict[str, Any]]) -> None:
    for key in ("content", "reasoning_content"):
        if delta.get(key):
            message[key] = (message.get(key) or "") + delta[key]
    for piece in delta.get("tool_calls", ()):
        function = piece.get("function", {})
        call = calls.setdefault(piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call["id"] += piece.get("id", "")
        call["function"]["name"] += function.get("name", "")
        call["function"]["arguments"] += function.get("arguments", "")
