"""Writes answers in the format of OpenAI's chat completions, whole and as streams, well and badly formed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any


def entry(
    name: str | None = None, arguments: Any = None, *, id: str | None = None, index: int | None = None, **others: Any
) -> dict[str, Any]:
    """Write one tool call, or a piece of one; what is None is left out."""
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    given = {"index": index, "id": id, "type": "function" if id else None, "function": function, **others}
    return {key: value for key, value in given.items() if value is not None}


def whole(*entries: dict[str, Any], finish: str | None = "tool_calls", **message: Any) -> dict[str, Any]:
    """Write a whole body."""
    message = {"role": "assistant", "content": None, **message}
    if entries:
        message["tool_calls"] = list(entries)
    return completion({"index": 0, "message": message, "finish_reason": finish})


def completion(*choices: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"id": "r", "object": "chat.completion", "created": 1, "model": "m-1", "choices": list(choices), **others}


def chunk(*entries: dict[str, Any], finish: str | None = None, choice: int = 0, **delta: Any) -> dict[str, Any]:
    """Write one chunk of a stream."""
    if entries:
        delta["tool_calls"] = list(entries)
    return chunk_of({"index": choice, "delta": delta, "finish_reason": finish})


def chunk_of(*choices: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": list(choices),
        **others,
    }


def data(event: dict[str, Any] | str) -> bytes:
    """Write one server-sent event."""
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    return f"data: {text}\n\n".encode("utf-8", "surrogatepass")


DONE = data("[DONE]")


def stream(*chunks: dict[str, Any], finish: str | None = "tool_calls", done: bool = True) -> list[bytes]:
    """Write a stream as its events, with a chunk that tells the finish reason and the end marker."""
    events = [data(one) for one in chunks]
    if finish is not None:
        events.append(data(chunk(finish=finish)))
    return [*events, DONE] if done else events


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def streamed(entries: Sequence[dict[str, Any]], *, size: int | None = None, **options: Any) -> list[bytes]:
    """Write the calls of a whole body as a stream; argument text in pieces of ``size`` characters, else in one chunk each."""
    chunks: list[dict[str, Any]] = []
    for position, one in enumerate(entries):
        arguments = one.get("function", {}).get("arguments")
        head = {"index": position, **one}
        if size is None or not isinstance(arguments, str):
            chunks.append(chunk(head))
            continue
        head["function"] = {**one["function"], "arguments": ""}
        chunks.append(chunk(head))
        chunks += [chunk(entry(arguments=piece, index=position)) for piece in pieces(arguments, size)]
    return stream(*chunks, **options)


def cut_up(body: bytes, positions: Iterable[int]) -> list[bytes]:
    """Split bytes at the given positions."""
    edges = [0, *sorted(set(positions)), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges) if start < end]
