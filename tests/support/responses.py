"""Writes answers in OpenAI's Responses format, whole and as events, and plays them to the real line from memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from tests.support.memory import Script
from tests.support.recorded import TESTS

import polycall
from polycall.provider import Connection, Encoded, Reply
from polycall.providers.openai import OpenAIResponses

SPEC = json.loads((TESTS / "spec" / "openai.json").read_bytes())
VALIDATOR = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/" + SPEC["x-roots"]["responses"]})
ITEM = jsonschema_rs.validator_for({"$defs": SPEC["$defs"], "$ref": "#/$defs/InputItem"})
USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 20},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 42,
}


def check_body(body: dict[str, Any]) -> None:
    """Assert that a body is one that the service takes."""
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in VALIDATOR.iter_errors(body)]
    assert not problems
    json.dumps(body, allow_nan=False)


def call(name: str | None, arguments: Any = "{}", *, id: Any = "call_1", item: Any = "fc_1", **others: Any) -> dict[str, Any]:
    """Write the item of a call; what is None is left out."""
    given = {"id": item, "type": "function_call", "status": "completed", "call_id": id, "name": name, "arguments": arguments}
    return {key: value for key, value in {**given, **others}.items() if value is not None}


def reasoning(item: str = "rs_1", **others: Any) -> dict[str, Any]:
    return {"id": item, "type": "reasoning", "summary": [], **others}


def message(text: str, *, item: str = "msg_1", kind: str = "output_text", **others: Any) -> dict[str, Any]:
    part = (
        {"type": kind, "refusal": text} if kind == "refusal" else {"type": kind, "text": text, "annotations": [], "logprobs": []}
    )
    return {"id": item, "type": "message", "status": "completed", "role": "assistant", "content": [part], **others}


def whole(*items: dict[str, Any], status: str = "completed", **others: Any) -> dict[str, Any]:
    """Write a whole body."""
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m-1", "output": list(items)}
    return {**head, "error": None, "incomplete_details": None, "usage": USAGE, "parallel_tool_calls": True, **others}


def body(response: dict[str, Any]) -> bytes:
    return json.dumps(response).encode("utf-8", "surrogatepass")


def data(event: dict[str, Any]) -> bytes:
    """Write one event as OpenAI does."""
    kind = f"event: {event['type']}\n" if "type" in event else ""
    return f"{kind}data: {json.dumps(event)}\n\n".encode(errors="replace")


def begun(**others: Any) -> list[dict[str, Any]]:
    response = {**whole(status="in_progress", usage=None), **others}
    return [{"type": f"response.{word}", "response": response} for word in ("created", "in_progress")]


def pieces(text: str, size: int | None) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)] if size else [text]


def events_of(item: dict[str, Any], index: int, *, size: int | None = 5) -> list[dict[str, Any]]:
    """Write the events of one item, its text in pieces of so many characters."""
    where = {"output_index": index, "item_id": item.get("id")}
    started: dict[str, Any] = {**item, "status": "in_progress"}
    inner: list[dict[str, Any]] = []
    if item["type"] == "function_call" and isinstance(item.get("arguments"), str):
        started["arguments"] = ""
        kind = "response.function_call_arguments"
        inner = [{"type": f"{kind}.delta", **where, "delta": piece} for piece in pieces(item["arguments"], size)]
        inner.append({"type": f"{kind}.done", **where, "arguments": item["arguments"]})
    elif item["type"] == "message":
        started["content"] = []
        part = item["content"][0]
        word = "refusal" if part["type"] == "refusal" else "output_text"
        text = part["refusal" if word == "refusal" else "text"]
        inner = [{"type": f"response.{word}.delta", **where, "content_index": 0, "delta": piece} for piece in pieces(text, size)]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": started},
        *inner,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def ended(*items: dict[str, Any], status: str = "completed", **others: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": whole(*items, status=status, **others)}


def streamed(*items: dict[str, Any], size: int | None = 5, status: str = "completed", **others: Any) -> list[bytes]:
    """Write a whole answer as a stream."""
    events = begun(**{key: value for key, value in others.items() if key == "store"})
    for index, item in enumerate(items):
        events += events_of(item, index, size=size)
    return [data(event) for event in [*events, ended(*items, status=status, **others)]]


@dataclass(frozen=True, slots=True)
class InMemory(OpenAIResponses):
    """The format with a `Script` in the place of the SDK's client."""

    def send(self, client: Script, encoded: Encoded, *, stream: bool, timeout: float | None) -> Script:
        client.sent.append(encoded.body)
        return client

    def open(self, raw: Script) -> Reply:
        return Reply(iter(raw), raw.close, 200)


def asked(chunks: Iterable[bytes | Exception], tools: Any, **options: Any) -> tuple[polycall.Calls[Any], dict[str, Any]]:
    """Return the calls of an answer that arrives as ``chunks``, and the body that was sent."""
    options = {"errors": "return", "stream": True, "max_retries": 0, "messages": "?", **options}
    script = Script(chunks)
    client = polycall.Client(Connection(InMemory(), script, blocking=False), model="m")
    answer = client.create(options.pop("messages"), tools=tools, **options)
    return (answer.result() if options["stream"] else answer), script.sent[0]


def replay(chunks: Iterable[bytes | Exception], tools: Any, **options: Any) -> polycall.Calls[Any]:
    return asked(chunks, tools, **options)[0]


def outcome(calls: polycall.Calls[Any]) -> Any:
    """Return everything that must not depend on how an answer was split, or on whether it was a stream."""
    return (
        [(one.index, one.id, one.name, one.arguments, one.outcome) for one in calls.calls],
        [(type(error).__name__, error.index) for error in calls.errors],
        calls.text,
        calls.usage,
        calls.finish_reason,
        calls.messages,
    )


def sse_events(stream: bytes) -> Iterator[dict[str, Any]]:
    """Parse a stream simply: one line of data for each event."""
    for line in stream.splitlines():
        if line.startswith(b"data:") and b"[DONE]" not in line:
            yield json.loads(line[5:])
