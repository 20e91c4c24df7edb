"""What Anthropic's service refuses of a conversation, in its words.

Sources: the errors of its API as its users report them, and its guides: results come first in the next message of the user, all
of them; roles take turns; with thinking on, the thoughts of a turn with calls come back unchanged. They are asked of turns that
this server has made: it knows them by the ids of their calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from polycall.testing._format import digest, objects
from polycall.testing._wire import Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["problem", "thinks"]

_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_OURS: Final = re.compile(r"toolu_01\d{3}_\d{4,}")


def thinks(body: Any) -> bool:
    """Whether thinking is asked for."""
    thinking = body.get("thinking")
    return is_object(thinking) and thinking.get("type") in {"enabled", "adaptive", "between_tools"}


def problem(sent: Sent) -> str | None:
    """Return the first thing that is wrong with a request; None when nothing is."""
    if not is_object(sent.body):
        return "The request body is not valid JSON"
    return next(_problems(sent.body, sent.path.endswith(("Predict", "invoke"))), None)


def _problems(body: JsonObject, told_elsewhere: bool) -> Iterator[str]:  # noqa: FBT001  # the model is in the path there
    for name in ("max_tokens", "messages", *(() if told_elsewhere else ("model",))):
        if name not in body:
            yield f"{name}: Field required"
    messages = body.get("messages")
    if not is_array(messages) or not messages:
        yield "messages: at least one message is required"
        return
    yield from _asked(body)
    yield from _roles(messages)
    seen: set[str] = set()
    for place, message in enumerate(messages):
        yield from _blocks(place, message)
        yield from _calls(place, messages, seen)
        yield from _results(place, messages)
        if thinks(body):
            yield from _thoughts(place, message)
    kinds = {block.get("type") for message in messages for block in objects(message.get("content"))}
    if kinds & {"tool_use", "tool_result"} and not body.get("tools"):
        yield "Requests which have `tool_use` or `tool_result` blocks in their messages must define tools."
    if messages[-1].get("role") == "assistant":
        yield "This model does not support assistant message prefill. The conversation must end with a user message."


def _asked(body: JsonObject) -> Iterator[str]:
    choice = body.get("tool_choice")
    kind = choice.get("type") if is_object(choice) else None
    if choice is not None and not body.get("tools"):
        yield "tool_choice: tool_choice may only be specified while providing tools"
    if kind in {"any", "tool"} and thinks(body):
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _roles(messages: Sequence[Any]) -> Iterator[str]:
    before = None
    for place, message in enumerate(messages):
        role = message.get("role") if is_object(message) else None
        if role not in {"user", "assistant"}:
            yield f"messages.{place}.role: Input should be 'user' or 'assistant'"
        if place == 0 and role != "user":
            yield 'messages: first message must use the "user" role'
        if role == before:
            yield f'messages: roles must alternate between "user" and "assistant", but found multiple "{role}" roles in a row'
        before = role


def _blocks(place: int, message: JsonObject) -> Iterator[str]:
    content = message.get("content")
    if not content:
        yield f"messages.{place}: all messages must have non-empty content except for the optional final assistant message"
    for number, block in enumerate(objects(content)):
        where = f"messages.{place}.content.{number}"
        kind = block.get("type")
        if kind == "text" and not str(block.get("text", "")).strip():
            yield "messages: text content blocks must be non-empty"
        if kind == "tool_use" and not _ID.fullmatch(str(block.get("id", ""))):
            yield f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        if kind == "tool_use" and not is_object(block.get("input")):
            yield f"{where}.tool_use.input: Input should be a valid dictionary"


def _ids(message: Any, kind: str, key: str) -> list[str]:
    blocks = objects(message.get("content")) if is_object(message) else []
    return [str(block.get(key)) for block in blocks if block.get("type") == kind]


def _calls(place: int, messages: Sequence[Any], seen: set[str]) -> Iterator[str]:
    """Every call is answered once in the next message, whose first blocks are the answers."""
    calls = _ids(messages[place], "tool_use", "id") if messages[place]["role"] == "assistant" else []
    for number, one in enumerate(calls):
        if one in seen or one in calls[:number]:
            yield f"messages.{place}.content.{number}: `tool_use` ids must be unique"
    seen.update(calls)
    following: Any = messages[place + 1] if place + 1 < len(messages) else {}
    blocks = objects(following.get("content"))
    behind_text = next((number for number, block in enumerate(blocks) if block.get("type") != "tool_result"), len(blocks))
    first = [str(block.get("tool_use_id")) for block in blocks[:behind_text]]
    missing = [one for one in calls if one not in first]
    if missing:
        yield (
            f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def _results(place: int, messages: Sequence[Any]) -> Iterator[str]:
    """Every result answers a call of the message before, and is its only one."""
    given = _ids(messages[place], "tool_result", "tool_use_id")
    calls = _ids(messages[place - 1], "tool_use", "id") if place else []
    for number, one in enumerate(given):
        where = f"messages.{place}.content.{number}"
        if one not in calls:
            yield (
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {one}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if one in given[:number]:
            yield f"{where}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {one}"


def _thoughts(place: int, message: JsonObject) -> Iterator[str]:
    """The thoughts that this server has given are back, first in their turn, and unchanged."""
    blocks = objects(message.get("content"))
    for number, block in enumerate(blocks):
        if block.get("type") == "thinking" and block.get("signature") != digest(block.get("thinking")):
            yield f"messages.{place}.content.{number}: Invalid `signature` in `thinking` block"
    ours = any(_OURS.fullmatch(one) for one in _ids(message, "tool_use", "id"))
    first = blocks[0].get("type") if blocks else None
    if message.get("role") == "assistant" and ours and first not in {"thinking", "redacted_thinking"}:
        yield (
            f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` "
            "is enabled, a final `assistant` message must start with a thinking block (preceding the lastmost set of `tool_use` "
            "and `tool_result` blocks)."
        )
