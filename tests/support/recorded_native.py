"""The recorded exchanges of every family: all of those beside the project where they are, else the parts in ``tests/wire``."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import polycall

TESTS: Final = Path(__file__).resolve().parents[1]
BESIDE: Final = Path(os.environ.get("POLYCALL_RECORDINGS", TESTS.parents[1] / "shared" / "wire"))
JSON: Final = frozenset({"json", "object", "partial"})
"""States of a call whose arguments the recording has as a value."""


@dataclass(frozen=True)
class Exchange:
    """One exchange.

    Attributes:
        body: The bytes of the response's body.
        calls: Id, name, arguments and state of each call that the response holds.
        finish: Finish reasons as sent, in order.
        request: The body that was sent when it was recorded; None where it was not published.
    """

    id: str
    provider: str
    api: str
    family: str
    stream: bool
    status: int
    content_type: str
    body: bytes = field(repr=False)
    calls: tuple[dict[str, Any], ...] = field(repr=False)
    finish: tuple[str, ...] = field(repr=False)
    tags: frozenset[str] = field(repr=False)
    request: dict[str, Any] | None = field(repr=False)

    @property
    def tools(self) -> list[polycall.Tool]:
        """The tools that the calls name, without a schema; one at least."""
        names = dict.fromkeys(call["name"] for call in self.calls) or ["unused"]
        return [_tool(name) for name in names]

    @property
    def answered(self) -> bool:
        """Whether it was answered with status 200 and a body."""
        return self.status < 400 and bool(self.body.strip())


@cache
def exchanges(*families: str) -> tuple[Exchange, ...]:
    """Return the exchanges of these families, of all where none is named, ordered by id."""
    root = BESIDE if BESIDE.is_dir() else TESTS / "wire"
    read = [json.loads(path.read_bytes()) for path in sorted(root.glob("*/*.json"), key=lambda path: path.name)]
    return tuple(exchange(one) for one in read if not families or one["family"] in families)


def answered(*families: str) -> list[Exchange]:
    """Return the exchanges of these families that were answered with status 200 and a body."""
    return [one for one in exchanges(*families) if one.answered]


def folder(name: str) -> tuple[Exchange, ...]:
    """Return the exchanges in a folder of ``tests/wire``."""
    return tuple(exchange(json.loads(path.read_bytes())) for path in sorted((TESTS / "wire" / name).glob("*.json")))


@cache
def named(name: str) -> Exchange:
    """Return the exchange of this id."""
    return next(one for one in exchanges() if one.id == name)


def exchange(one: dict[str, Any]) -> Exchange:
    """Read one file."""
    response = one["response"]
    given = response.get("text", response["body"])
    text = given if isinstance(given, str) else json.dumps(given)
    return Exchange(
        one["id"],
        one["provider"],
        one["api"],
        one["family"],
        one["stream"],
        response["status"],
        response["headers"].get("content-type", "application/json"),
        base64.b64decode(text) if response.get("body_encoding") == "base64" else text.encode(),
        tuple(one["expected_calls"]),
        tuple(reason for reason in one["finish"] if reason),
        frozenset(one["tags"]),
        one["request"],
    )


def check(calls: polycall.Calls[Any], one: Exchange) -> None:
    """Assert that ``calls`` are exactly those of the recording."""
    told = problem(calls, one)
    assert told is None, f"{one.id}: {told}"


def problem(calls: polycall.Calls[Any], one: Exchange) -> str | None:
    """Return what differs from the recording; None when nothing does."""
    got = [(call.id, call.name) for call in calls.calls]
    meant = [(expected["id"] or None, expected["name"]) for expected in one.calls]
    if got != meant:
        return f"{got} instead of {meant}"
    if [call.index for call in calls.calls] != list(range(len(meant))):
        return "the calls are not numbered in their order"
    wrong = (told for call, expected in zip(calls.calls, one.calls, strict=True) for told in _wrong(call, expected))
    return next(wrong, None)


def _wrong(call: polycall.Call[Any], expected: dict[str, Any]) -> Iterator[str]:
    """Yield what differs in one call."""
    state, meant = expected["state"], expected["arguments"]
    if state in JSON:
        if json.loads(call.arguments or "{}") not in (meant, meant or {}):
            yield f"call {call.index}: {call.arguments} instead of {meant}"
        if call.outcome not in {"ok", "cut off"}:
            yield f"call {call.index}: {call.outcome}, {call.error}"
        if call.outcome == "ok" and call.value != (meant or {}):
            yield f"call {call.index}: the value is {call.value!r}"
    elif state in {"empty", "missing"}:
        if call.arguments not in {"", "{}"}:
            yield f"call {call.index}: {call.arguments!r} where nothing was sent"
    elif call.arguments != expected["arguments_text"] or call.outcome == "ok":
        yield f"call {call.index}: {call.outcome}, {call.arguments!r} where {expected['arguments_text']!r} was sent"


@cache
def _tool(name: str) -> polycall.Tool:
    return polycall.Tool(name)
