"""What OpenAI's service refuses of the items of a conversation, in its words.

Sources: the errors of the service as its users report them, and its guide to reasoning: every call has an output behind it, every
output its call; a call that has the id it was given has the reasoning before it that led to it, and that reasoning stands before
what it led to; reasoning that nobody has stored comes back with its ``encrypted_content``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from polycall.testing._format import digest
from polycall.types import JsonObject, is_object

__all__ = ["by_model", "problem", "reasoning_id"]

_Problem: TypeAlias = tuple[int, str, str | None]
_MODEL: Final = frozenset({"function_call", "reasoning", "custom_tool_call"})


def reasoning_id(call: str) -> str:
    """Return the id of the reasoning that led to a call of this id: one for all calls of an answer."""
    return f"rs_{call.removeprefix('fc_').partition('_')[0]}"


def by_model(item: JsonObject) -> bool:
    """Whether the model has said it."""
    return item.get("type") in _MODEL or item.get("role") == "assistant"


def problem(body: JsonObject, items: Sequence[Any]) -> _Problem | None:
    """Return the status, the words and the parameter of the first thing that is wrong; None when nothing is."""
    if not items and not body.get("prompt"):
        return 400, "Missing required parameter: 'input'.", "input"
    if not body.get("model"):
        return 400, "Missing required parameter: 'model'.", "model"
    return next(_problems(body, items), None)


def _problems(body: JsonObject, items: Sequence[Any]) -> Iterator[_Problem]:
    waiting: dict[str, None] = {}
    for place, item in enumerate(items):
        where = f"input[{place}]"
        if not is_object(item):
            yield 400, f"Invalid type for '{where}': expected an input item, but got something else instead.", where
            return
        kind = item.get("type")
        if kind == "function_call":
            yield from _call(place, item, items)
            waiting[str(item.get("call_id"))] = None
        elif kind == "function_call_output":
            name = str(item.get("call_id"))
            if name not in waiting:
                yield 400, f"No tool call found for function call output with call_id {name}.", "input"
            waiting.pop(name, None)
        elif kind == "reasoning":
            yield from _reasoning(place, item, items, stored=body.get("store") is not False)
    for name in waiting:
        yield 400, f"No tool output found for function call {name}.", "input"


def _call(place: int, item: JsonObject, items: Sequence[Any]) -> Iterator[_Problem]:
    for field in ("call_id", "name", "arguments"):
        if not isinstance(item.get(field), str):
            yield 400, f"Missing required parameter: 'input[{place}].{field}'.", f"input[{place}].{field}"
    name = item.get("id")
    if name is None:
        return
    if not str(name).startswith("fc"):
        told = f"Invalid 'input[{place}].id': '{name}'. Expected an ID that begins with 'fc'."
        yield 400, told, f"input[{place}].id"
        return
    needed = reasoning_id(str(name))
    run = place
    while run and is_object(items[run - 1]) and by_model(items[run - 1]):
        run -= 1
    if not any(before.get("id") == needed for before in items[run:place]):
        told = f"Item '{name}' of type 'function_call' was provided without its required 'reasoning' item: '{needed}'."
        yield 400, told, "input"


def _reasoning(place: int, item: JsonObject, items: Sequence[Any], *, stored: bool) -> Iterator[_Problem]:
    name = item.get("id")
    content = item.get("encrypted_content")
    if not stored and content is None:
        told = (
            f"Item with id '{name}' not found. Items are not persisted when `store` is set to false. Try again with `store` set "
            "to true, or remove this item from your input."
        )
        yield 404, told, "input"
    if content is not None and content != digest(name):
        told = f"The encrypted content for item {name} could not be verified."
        yield 400, told, None
    following: Any = items[place + 1] if place + 1 < len(items) else {}
    if not is_object(following) or not by_model(following):
        yield 400, f"Item '{name}' of type 'reasoning' was provided without its required following item.", "input"
