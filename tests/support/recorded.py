"""The recorded exchanges: all of those beside the project where they are, else the part in ``tests/wire/openai_chat``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polycall

TESTS = Path(__file__).resolve().parents[1]
BESIDE = Path(os.environ.get("POLYCALL_RECORDINGS", TESTS.parents[1] / "shared" / "wire"))


@dataclass(frozen=True)
class Recorded:
    """One exchange.

    Attributes:
        body: The bytes of the response's body.
        calls: Id, name, arguments and state of each call that the response holds.
        finish: Finish reasons as sent, in order.
        request: The body that was sent when it was recorded; None where it was not published.
    """

    id: str
    provider: str
    stream: bool
    status: int
    content_type: str
    body: bytes = field(repr=False)
    calls: tuple[dict[str, Any], ...] = field(repr=False)
    finish: tuple[str, ...] = field(repr=False)
    tags: frozenset[str] = field(repr=False)
    request: dict[str, Any] | None = field(repr=False)

    @property
    def refused(self) -> bool:
        """Whether the service has refused what its model wrote; the recording counts no call then. See tests/reask/test_groq.py."""
        return b'"failed_generation"' in self.body

    @property
    def tools(self) -> list[polycall.Tool]:
        """The tools that the calls name, without a schema; one at least."""
        names = dict.fromkeys(call["name"] for call in self.calls) or ["unused"]
        return [_tool(name) for name in names]

    @property
    def text(self) -> str:
        """The text of the first choice, read off the body by itself."""
        if not self.stream:
            message = (json.loads(self.body)["choices"][0]["message"]) if self.body.strip() else {}
            return _text(message.get("content")) or message.get("refusal") or ""
        texts: list[str] = []
        refusals: list[str] = []
        for event in sse_data(self.body):
            for choice in event.get("choices") or ():
                if not choice.get("index") and choice.get("delta"):
                    texts.append(_text(choice["delta"].get("content")))
                    refusals.append(choice["delta"].get("refusal") or "")
        return "".join(texts) or "".join(refusals)


def sse_data(body: bytes) -> list[dict[str, Any]]:
    """Parse the events of a recorded stream, simply: one line of data each."""
    lines = [line.removeprefix(b"data:").strip() for line in body.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line and line != b"[DONE]"]


@cache
def exchanges() -> tuple[Recorded, ...]:
    """Return the exchanges in the format of OpenAI's chat completions, ordered by id."""
    root = BESIDE if BESIDE.is_dir() else TESTS / "wire"
    read = [json.loads(path.read_bytes()) for path in sorted(root.glob("*/*.json"), key=lambda path: path.name)]
    return tuple(_recorded(one) for one in read if one["family"] == "openai_chat")


def answered() -> list[Recorded]:
    """Return the exchanges that were answered with status 200 and a body, whose calls are those that the recording counts."""
    return [one for one in exchanges() if one.status < 400 and one.body.strip() and not one.refused]


def streams() -> list[Recorded]:
    return [one for one in answered() if one.stream]


@cache
def named(name: str) -> Recorded:
    return next(one for one in exchanges() if one.id == name)


def check(calls: polycall.Calls[Any], recorded: Recorded) -> None:
    """Assert that ``calls`` are exactly those of the recording, with its text and finish reason."""
    assert [(call.id, call.name) for call in calls.calls] == [
        (expected["id"] or None, expected["name"]) for expected in recorded.calls
    ]
    assert [call.index for call in calls.calls] == list(range(len(recorded.calls)))
    for call, expected in zip(calls.calls, recorded.calls, strict=True):
        if expected["state"] in {"json", "object"}:
            assert json.loads(call.arguments) == expected["arguments"]
            assert call.outcome == "ok", one_line(call)
            assert call.value == (expected["arguments"] or {}), one_line(call)
        elif expected["state"] == "invalid":
            assert call.arguments == expected["arguments_text"]
            assert call.outcome in {"invalid", "cut off"}
        else:
            assert call.arguments == ""
            assert call.outcome == ("cut off" if "length" in recorded.finish else "ok")
    assert calls.text == recorded.text
    assert calls.finish_reason == ((recorded.finish or (None,))[-1] or None)


def outcome(calls: polycall.Calls[Any]) -> Any:
    """Return everything that must not depend on how the bytes of a response were split."""
    return (
        [(call.index, call.id, call.name, call.arguments, call.outcome) for call in calls.calls],
        [(type(error).__name__, error.index, error.tool, error.id) for error in calls.errors],
        calls.text,
        calls.usage,
        calls.finish_reason,
    )


def _recorded(one: dict[str, Any]) -> Recorded:
    response = one["response"]
    body = response.get("text", response["body"])
    return Recorded(
        one["id"],
        one["provider"],
        one["stream"],
        response["status"],
        response["headers"]["content-type"],
        (body if isinstance(body, str) else json.dumps(body)).encode(),
        tuple(one["expected_calls"]),
        tuple(one["finish"]),
        frozenset(one["tags"]),
        one["request"],
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part.get("text", ""), str))
    return content or ""


@cache
def _tool(name: str) -> polycall.Tool:
    return polycall.Tool(name)


def one_line(call: polycall.Call[Any]) -> str:
    return f"{call!r} {call.arguments!r}"
