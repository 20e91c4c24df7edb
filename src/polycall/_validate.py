"""A complete tool call -> a checked call: a value or an error. The only place that says "this call is bad"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, get_args

import jiter
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError, PydanticSerializationError, to_json
from pydantic_core.core_schema import CoreSchemaType, ErrorType

from polycall._dialect_openai import take_out_nulls
from polycall._repair import DOUBLED, repaired, undoubled
from polycall._schema import SchemaMismatch, with_integers
from polycall._tools import Offered, Toolset
from polycall.call import Call, Outcome
from polycall.errors import (
    ArgumentProblem,
    CallError,
    CutOffError,
    InvalidArgumentsError,
    UnknownToolError,
    meant_for_the_model,
)
from polycall.types import LIMITS, JsonObject, Limits, ToolCall, is_array, is_object

_OWN_KINDS: Final = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}
_QUOTING: Final = frozenset({"error", "encoding_error", "tz_actual", "attribute"})
"""What in the context of pydantic's errors may quote the arguments."""
_CORE_KINDS: Final = frozenset(get_args(CoreSchemaType)) | {"constrained", "function", "lax", "json"}
_REPEATED_KEY: Final = re.compile(r'^Detected duplicate key "(.*)" at line', re.DOTALL)
_NO_ARGUMENTS: Final = frozenset({"", "null"})
"""How models write a call without arguments, besides an empty object."""

_HUGE_NUMBER: Final = re.compile(r"[eE]\+?0*[1-9]\d\d|(?<!\d)\d{300}")
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)
_MANY_PROBLEMS: Final = 1_000
_FIRST_PROBLEMS: Final = 10
_TOO_BIG: Final = "the arguments hold a number that is too big"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Checking:
    """How the calls of one request are checked.

    Attributes:
        allowed: Wire names of the only tools that may be called; None allows all of ``tools``.
        strict_schemas: The schemas as sent, by wire name, of the tools in a strict dialect: closed, and null leaves a field out.
        strict: Whether JSON values must be of the schema's types as they are; False lets pydantic convert them.
        context: What the user's validators see as ``info.context``.
        limits: What one response may cost.
        repair: Whether arguments that are not strict JSON are put right, where that needs no guess at what is meant.
    """

    tools: Toolset
    allowed: frozenset[str] | None = None
    strict_schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    strict: bool = True
    context: object = None
    limits: Limits = LIMITS
    repair: bool = False


def validate(call: ToolCall, checking: Checking) -> Call[Any]:
    """Check one call. Never raises: what is wrong with the call is its error."""
    offered = checking.tools.find(call.name)
    if offered is None or (checking.allowed is not None and call.name not in checking.allowed):
        return _bad(call, "unknown", UnknownToolError(_unknown(call, checking), **_of(call, call.name)), None)
    name, repairs = offered.schema.name, tuple[str, ...]()
    if call.cut is not None:
        error = CutOffError(f"the answer was cut inside this call: {call.cut}", **_of(call, name))
        return _bad(call, "cut off", error, offered)
    try:
        if len(call.arguments) > checking.limits.arguments:
            _refuse(
                f"the arguments are longer than {checking.limits.arguments} characters (limits=polycall.Limits(arguments=...))"
            )
        text = call.arguments.strip(" \t\n\r")  # what JSON calls white space, and no more
        value = _value("{}" if text in _NO_ARGUMENTS else text, offered, checking)
    except _Refused as problem:
        mended = _mended(call.arguments, offered, checking, problem) if checking.repair else None
        if mended is None:
            return refused(call, problem.problems, checking, problem.cause)
        value, repairs = mended
    return Call(call.index, call.id, name, call.arguments, "ok", None, value, offered.source, repairs)


def refused(call: ToolCall, problems: Sequence[ArgumentProblem], checking: Checking, cause: Exception | None = None) -> Call[Any]:
    """Return the bad call that a call of a known tool is, for what is wrong with its arguments."""
    offered = checking.tools.find(call.name)
    said = [str(problem) for problem in problems[:_FIRST_PROBLEMS]]
    more = len(problems) - len(said)
    reason = "; ".join([*said, f"and {more} more"] if more else said)
    name = call.name if offered is None else offered.schema.name
    invalid = InvalidArgumentsError(reason, problems=problems, **_of(call, name))
    invalid.__cause__ = cause
    return _bad(call, "invalid", invalid, offered)


def _unknown(call: ToolCall, checking: Checking) -> str:
    known = [tool for tool in checking.tools.schemas if checking.allowed is None or tool.wire_name in checking.allowed]
    names = ", ".join(tool.name for tool in known) or "none"
    return f"{'no such tool was offered' if call.name else 'the call names no tool'}; offered were: {names}"


def _of(call: ToolCall, name: str) -> dict[str, Any]:
    return {"index": call.index, "tool": name, "id": call.id, "arguments": call.arguments}


def _bad(call: ToolCall, outcome: Outcome, error: CallError, offered: Offered | None) -> Call[Any]:
    source = None if offered is None else offered.source
    return Call(call.index, call.id, error.tool or "", call.arguments, outcome, error, None, source)


class _Refused(Exception):  # noqa: N818  # never leaves this file
    def __init__(
        self, problems: Sequence[ArgumentProblem], cause: ValidationError | None = None, paths: Sequence[Path] = ()
    ) -> None:
        super().__init__()
        self.problems = tuple(problems)
        self.cause = cause
        self.paths = tuple(paths)


def _mended(text: str, offered: Offered, checking: Checking, problem: _Refused) -> tuple[Any, tuple[str, ...]] | None:
    """Return the value that arguments have once they are repaired, and what was repaired; None where that does not help."""
    paths = problem.paths
    made = None if paths else repaired(text) if len(text) <= checking.limits.arguments else None
    done = () if made is None else made[1]
    text = text if made is None else made[0]
    try:
        if made is not None:
            return _value(text, offered, checking), done
    except _Refused as again:
        paths = again.paths
    try:
        arguments = _scan(text, offered, checking.limits.depth) if paths else {}
        if not undoubled(arguments, paths):
            return None
        value = _value(to_json(arguments).decode(), offered, checking)
    except (_Refused, PydanticSerializationError):
        return None
    return value, (*done, *(() if DOUBLED in done else (DOUBLED,)))


def _value(text: str, offered: Offered, checking: Checking) -> Any:
    """Return the value; text and scan first, so that one validation by pydantic-core on the raw text is all that is left."""
    arguments = _scan(text, offered, checking.limits.depth)
    try:
        text = _as_the_type_has_it(text, arguments, offered, checking.strict_schemas.get(offered.schema.wire_name))
        return offered.arguments.check(text, strict=checking.strict, context=checking.context)
    except ValidationError as error:
        if error.error_count() > _MANY_PROBLEMS:  # a union of look-alikes in itself makes millions
            said = f"the arguments do not fit in {error.error_count()} places"
            raise _Refused([ArgumentProblem("", said, said)]) from None
        problems = [_problem(details, offered) for details in error.errors(include_url=False)]
        paths = [details["loc"] for details in error.errors(include_url=False, include_context=False, include_input=False)]
        raise _Refused(problems, _without_input(error, problems), paths) from None
    except SchemaMismatch as error:
        problems = [ArgumentProblem(_joined(path, offered), text, _located(path, text)) for path, text in error.found]
        raise _Refused(problems, paths=[path for path, _ in error.found]) from None
    except Exception as error:  # noqa: BLE001  # validators are the user's code
        reason = f"the tool's own check failed with {type(error).__name__}"
        raise _Refused([ArgumentProblem("", reason, f"{reason}: {error}", for_model=False)]) from None


def _as_the_type_has_it(text: str, arguments: JsonObject, offered: Offered, sent: Mapping[str, Any] | None) -> str:
    """Write the arguments anew where JSON Schema accepts what pydantic's strict mode does not; else return the text as it is.

    Null means "left out" where the schema was sent so, and a number like ``1.0`` is an integer. That has to be settled before the
    check: a union would take the wrong member without a word. The schema as it was ``sent`` tells the members apart best.
    """
    changed = offered.unlike is not None and offered.unlike.search(text) is not None
    if changed:
        arguments = with_integers(arguments, sent or offered.schema.schema)
    if sent is not None and "null" in text and take_out_nulls(arguments, sent):
        changed = True
    return to_json(arguments).decode() if changed else text


def _scan(text: str, offered: Offered, most: int) -> JsonObject:
    """Parse strict JSON: no NaN, no lone surrogates, no repeated keys, an object, at most so many levels deep."""
    if text.count("{") + text.count("[") > most and _depth(text) > most:
        _refuse(f"the arguments nest deeper than {most} levels (limits=polycall.Limits(depth=...))")
    try:
        arguments = jiter.from_json(text.encode(), catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
    except UnicodeEncodeError:
        reason = detail = "the arguments are not valid JSON: a lone surrogate"
    except ValueError as error:
        detail = f"the arguments are not valid JSON: {error}"
        repeated = _REPEATED_KEY.match(str(error))
        known = repeated is not None and repeated[1] in offered.names
        key = repr(repeated[1]) if repeated is not None and known else "a key"
        reason = detail if repeated is None else f"the arguments are not valid JSON: {key} is there twice"
    else:
        if is_object(arguments) and not (_HUGE_NUMBER.search(text) and _has_infinity(arguments)):
            return arguments
        if is_object(arguments):
            _refuse(_TOO_BIG)
        reason = detail = f"the arguments are a JSON {_json_type(arguments)}, not an object"
    raise _Refused([ArgumentProblem("", reason, detail)])


def _refuse(reason: str) -> NoReturn:
    raise _Refused([ArgumentProblem("", reason, reason)])


def _depth(text: str) -> int:
    """Return how deep the brackets of JSON text nest."""
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "}]":
            depth -= 1
    return deepest


def _has_infinity(value: Any) -> bool:
    if is_object(value):
        return any(map(_has_infinity, value.values()))
    return any(map(_has_infinity, value)) if is_array(value) else isinstance(value, float) and math.isinf(value)


def _problem(details: Any, offered: Offered) -> ArgumentProblem:
    """Describe one of pydantic's errors; the reason leaves out what may quote the arguments."""
    kind, context = details["type"], details.get("ctx", {})
    if kind not in _OWN_KINDS:
        reason = "refused by the tool's own check"
    elif kind == "union_tag_invalid":
        reason = f"its {context['discriminator']} is none of {context['expected_tags']}"
    else:
        told = {key: "..." if key in _QUOTING else value for key, value in context.items()}
        reason = PydanticKnownError(kind, told or None).message()
    detail = _located(details["loc"], details["msg"])
    for_model = "error" not in context or meant_for_the_model(context["error"])
    return ArgumentProblem(_joined(details["loc"], offered), reason, detail, for_model)


def _without_input(error: ValidationError, problems: list[ArgumentProblem]) -> ValidationError:
    """Return pydantic's error without the arguments, so that no traceback shows them."""
    own_error: Any = PydanticCustomError  # typed for literal texts only
    lines: list[InitErrorDetails] = [
        {"type": own_error(details["type"], problem.reason), "loc": tuple(problem.field.split(".")), "input": None}
        for details, problem in zip(error.errors(include_url=False), problems, strict=True)
    ]
    return ValidationError.from_exception_data(error.title, lines, "json", hide_input=True)


def _joined(path: Path, offered: Offered) -> str:
    """Write a path; a key that the model made up is a ``?``, as it may be anything."""
    known = offered.names
    return ".".join(str(step) if isinstance(step, int) or step in known or _is_label(step) else "?" for step in path)


def _located(path: Path, text: str) -> str:
    return f"{'.'.join(map(str, path))}: {text}" if path else text


def _is_label(step: str) -> bool:
    """Whether this is pydantic's own name for a member of a union or for a key, as in ``list[int]`` or ``[key]``."""
    return step == "[key]" or re.split(r"[-\[]", step, maxsplit=1)[0] in _CORE_KINDS


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "array" if is_array(value) else "string" if isinstance(value, str) else "number"
