"""The text of arguments -> a value or an error: what holds for any text."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
import traceback
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import jiter
import jsonschema_rs
from pydantic_core import to_json

from fuzz import must, plain
from fuzz.tools import EXACT, TOOLS
from polycall._dialect_openai import openai_strict
from polycall._tools import Offered, toolset
from polycall._validate import Checking, validate
from polycall.call import BoundCall, Call
from polycall.errors import PolycallError
from polycall.types import ToolCall

CANARY: Final = "Zq7391xwv"
NUMBER: Final = "73917391739173"
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')
_SIZE_OF_HEAD: Final = 2
_REPAIRS: Final = 4
"""The first of the ways in which arguments are repaired."""
_NO_NUMBER: Final = re.compile("inf|nan")
_EXACT_FLOAT: Final = 2.0**53
_LONGEST_PATH: Final = 40


@dataclass(frozen=True)
class Target:
    """One tool, checked in every way.

    Attributes:
        validators: What the schema accepts by itself, for the schema as it is and as it was sent; None where formats and patterns
            mean different things to pydantic and to JSON Schema.
    """

    offered: Offered
    checking: tuple[Checking, ...]
    validators: tuple[Any, ...] | None


def _target(source: Any) -> Target:
    tools = toolset(None, [source])
    (offered,) = tools.offered
    plain = offered.schema.schema
    dialected = openai_strict(plain)
    sent = {} if dialected.refused else {offered.schema.wire_name: dialected.schema}
    ways = itertools.product((False, True), ({}, sent), (True, False))
    checking = tuple(Checking(tools, strict=strict, strict_schemas=given, repair=repair) for repair, given, strict in ways)
    validators = tuple(jsonschema_rs.validator_for(dict(one), validate_formats=True) for one in (plain, dialected.schema))
    return Target(offered, checking, validators if source in EXACT else None)


_TARGETS: Final = [_target(source) for source in TOOLS]


def arguments(data: bytes) -> set[str]:
    """Check the arguments of one call; the first two bytes say of which tool, how, and where the canary goes."""
    head = data[:_SIZE_OF_HEAD].ljust(_SIZE_OF_HEAD, b"\0")
    text = data[_SIZE_OF_HEAD:].decode("utf-8", "surrogateescape")
    target = _TARGETS[head[0] % len(_TARGETS)]
    way = head[1] % len(target.checking)
    checked = check(target, text, way)
    planted = plant(text, head[1] // len(target.checking))
    if planted is not None:
        check(target, planted, way)
    target.offered.arguments.partial(text[: head[1]])
    if checked.error is not None and target.validators is not None:
        validators = target.validators[: 1 + way // 2 % 2]
        must(not any(accepted(text, one) for one in validators), "what the schema accepts was refused")
    if target.checking[way].repair:
        without = check(target, text, way % _REPAIRS)
        if without.error is None or checked.error is not None:
            must(
                repr(without.error or without.value) == repr(checked.error or checked.value),
                "what was repaired is something else",
            )
        must(bool(checked.repairs) == (without.error is not None and checked.error is None), "a repair is told wrongly")
    return {plain(f"{head[0] % len(_TARGETS)} {one}") for one in _told(target, checked)} | {f"{head[0] % len(_TARGETS)} {way}"}


def _told(target: Target, checked: Call[Any]) -> Iterator[str]:
    """Say in words what came of a call."""
    if checked.error is None:
        yield " ".join(checked.repairs)
        value = checked.value.arguments if isinstance(checked.value, BoundCall) else checked.value
        yield from _shape(jiter.from_json(to_json(value, by_alias=True)), "", target.offered.names)
    else:
        yield from (f"{problem.field} {problem.reason}" for problem in getattr(checked.error, "problems", ()))


def _shape(value: Any, path: str, names: Collection[str]) -> Iterator[str]:
    """Yield the type of every value in a value, with its path; a key that is no name of the tool's is a ``?``."""
    yield f"{path} {type(value).__name__}"
    items = value.items() if isinstance(value, dict) else ((0, one) for one in value) if isinstance(value, list) else ()
    for key, one in items:
        yield from _shape(one, f"{path}.{key if key in names else '?'}"[:_LONGEST_PATH], names)


def check(target: Target, text: str, way: int) -> Call[Any]:
    """Check one call, and then what came of it."""
    checking = target.checking[way]
    checked = validate(ToolCall(0, "call_0", target.offered.schema.wire_name, text), checking)
    if checked.error is None:
        must(checked.outcome == "ok", "a good call is not told as one")
        must(checked.repairs or is_strict(text), "what is no strict JSON was accepted")
        again(target, checked.value, checking)
    else:
        must(checked.outcome == "invalid", "bad arguments are told as something else")
        said = "\n".join(everything_said(checked.error))
        must(CANARY not in said and NUMBER not in said, "an error quotes the arguments")
    return checked


def again(target: Target, value: Any, checking: Checking) -> None:
    """Write a value as arguments and read it again."""
    value = value.arguments if isinstance(value, BoundCall) else value
    if not checking.strict and _NO_NUMBER.search(repr(value)):
        return  # pydantic's lax mode takes the text "inf" for a number
    text = to_json(value, by_alias=True)
    checked = validate(ToolCall(0, None, target.offered.schema.wire_name, text.decode()), checking)
    must(checked.error is None, "what a value is written as is refused")
    other = checked.value.arguments if isinstance(checked.value, BoundCall) else checked.value
    same = sorted(to_json(other, by_alias=True)) == sorted(text)  # a set has no order
    must(other == value and same, "a value that is written and read again is another one")


def plant(text: str, place: int) -> str | None:
    """Put a text or a number that is easily found where a text or a number stands; None where there is none."""
    found = [*_TOKEN.finditer(text)]
    if not found:
        return None
    one = found[place % len(found)]
    is_text = one[0].startswith('"') == (place < len(found))
    return text[: one.start()] + (f'"{CANARY}"' if is_text else NUMBER) + text[one.end() :]


def accepted(text: str, validator: Any) -> bool:
    """Whether JSON Schema by itself accepts the arguments; False where they are no strict JSON that is read exactly."""
    try:
        value = jiter.from_json(text.strip(" \t\n\r").encode(), catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError:
        return False
    exact = all(abs(one) < _EXACT_FLOAT for one in numbers(value))
    return exact and bool(validator.is_valid(value))


def is_strict(text: str) -> bool:
    """Whether arguments are left out, or an object without NaN, repeated keys, lone surrogates and numbers that are too big."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(found) if len(dict(found)) == len(found) else refuse("")

    def refuse(_: str) -> Any:
        raise ValueError

    text = text.strip(" \t\n\r")
    if text in {"", "null"}:
        return True
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return isinstance(value, dict) and math.inf not in map(abs, numbers(value))


def numbers(value: Any) -> Iterator[float]:
    """Yield every number in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value if isinstance(value, int) or math.isfinite(value) else math.inf


def everything_said(error: PolycallError) -> Iterator[str]:
    """Yield all texts about an error that may come into a log."""
    problems = getattr(error, "problems", ())
    yield from (str(error), repr(error), repr(problems), *map(str, problems), *map(repr, problems))
    yield from traceback.format_exception(error)
    yield pickle.dumps((error, problems)).decode("latin-1")
    cause: Any = error.__cause__
    if cause is not None:
        yield from (str(cause), repr(cause), cause.json(), repr(cause.errors()))
