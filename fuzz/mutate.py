"""Changes inputs where they have a form: JSON, JSON within JSON, and lines of a stream. The rest is left to the fuzzer."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any, Final

HEADS: Final = {"answer": 1, "arguments": 2}
"""How many bytes of an input only say how it is used."""

_KEY: Final = re.compile(r'"\w+":')
FRAGMENTS: Final = (
    "{", "}", "[", "]", '"', "\\", ",", ":", "{}", "[]", "null", "true", "1.0", "1e400", "NaN", " ", "\n", "\ufeff",
    "\ud83d", "\ude00", '{"', '"}', '{"a":1}', '{"a":', '\\"', "\\ud800", "é", "😀",
)  # fmt: skip
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, 2, 3, -1, 1.0, 0.5, 9.0, 2**53, 2**63, 10**30, 1e300, "", " ", "a", "1", "1.5", "true", "metric",
    "leaf", "PT1H", "2026-01-02", "2026-01-02T03:04:05Z", "10:11:12", "12345678-1234-5678-1234-567812345678", "\ud83d",
    [], {}, [1], {"a": 1}, "{}", "[DONE]",
)  # fmt: skip
KEYS: Final = (
    "a", "b", "x", "y", "index", "id", "name", "arguments", "function", "tool_calls", "function_call", "type", "custom",
    "delta", "message", "choices", "finish_reason", "content", "refusal", "error", "usage", "from", "kind", "n", "shape",
    "side", "radius", "filled", "within",
)  # fmt: skip


def mutate(data: bytes, target: str, random: Random) -> bytes | None:
    """Change one input of a target; None where it has no form."""
    head = HEADS[target]
    body = data[head:]
    if body.lstrip()[:1] == b"{":
        changed = _json(body, random)
        return None if changed is None else data[:head] + changed
    events = body.split(b"\n\n")
    if not body.startswith((b"data:", b"event:", b":")):
        return None
    place = random.randrange(len(events))
    match random.randrange(8):
        case 0:
            del events[place]
        case 1:
            events.insert(random.randrange(len(events) + 1), events[place])
        case 2:
            events[place] = events[place].replace(b"\n", random.choice([b"\r", b"\r\n", b"\n: x\n"]))
        case _:
            start, colon, rest = events[place].partition(b":")
            changed = _json(rest, random)
            if changed is None:
                return None
            events[place] = start + colon + changed
    return data[:head] + b"\n\n".join(events)


def _json(text: bytes, random: Random) -> bytes | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    holder = {"": value}
    _change(holder, random)
    written = json.dumps(holder[""], ensure_ascii=random.random() < 0.5, separators=(",", ":"))  # noqa: PLR2004  # a half
    if random.random() < 0.05 and (key := _KEY.search(written)):  # noqa: PLR2004  # now and then
        written = f"{written[: key.start()]}{key[0]}1,{written[key.start() :]}"
    return written.encode("utf-8", "surrogatepass")


def _change(holder: Any, random: Random) -> None:
    """Change something at or below one place of an object or a list."""
    keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
    if not keys:
        _add(holder, random)
        return
    key = random.choice(keys)
    value = holder[key]
    if isinstance(value, dict | list) and random.random() < 0.8:  # noqa: PLR2004  # mostly
        _change(value, random)
    elif isinstance(value, str) and random.random() < 0.7:  # noqa: PLR2004  # mostly
        holder[key] = _text(value, random)
    elif key != "" and random.random() < 0.3:  # noqa: PLR2004  # now and then
        del holder[key]
    elif random.random() < 0.3:  # noqa: PLR2004  # now and then
        _add(holder, random, value)
    else:
        holder[key] = random.choice(VALUES)


def _add(holder: Any, random: Random, *more: Any) -> None:
    value = random.choice((*VALUES, *more))
    if isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), value)
    elif holder.keys() != {""}:
        holder[random.choice(KEYS)] = value


def _text(text: str, random: Random) -> str:
    """Change a text, which is often JSON itself or a piece of it."""
    inner = _json(text.encode("utf-8", "replace"), random) if text[:1] == "{" and random.random() < 0.5 else None  # noqa: PLR2004
    if inner is not None:
        return inner.decode("utf-8", "replace")
    start, end = sorted((random.randrange(len(text) + 1), random.randrange(len(text) + 1)))
    return text[:start] + random.choice((*FRAGMENTS, text[start:end] * 2, "")) + text[end:]
