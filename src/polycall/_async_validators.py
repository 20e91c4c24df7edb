"""Validators that await something: marked on a tool's type, run when a call has passed every other check."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel

from polycall._validate import Checking, refused
from polycall.call import BoundCall, Call
from polycall.errors import ArgumentProblem, UsageError, meant_for_the_model
from polycall.types import ToolCall, is_mapping

__all__ = ["AsyncValidationInfo", "async_field_validator", "async_model_validator", "awaited", "needs_awaiting", "unchecked"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_MARK: Final = "__polycall_validates__"
_used = False


@dataclass(frozen=True, slots=True)
class AsyncValidationInfo:
    """What an asynchronous validator may ask for as its last parameter.

    Attributes:
        context: What was given as ``context=``.
        field_name: The field that is checked; None for the whole object.
    """

    context: Any
    field_name: str | None = None


def async_field_validator(field: str, *fields: str) -> Callable[[F], F]:
    """Mark an ``async def`` method of a tool's type as a check of fields: ``(self, value)`` or ``(self, value, info)``.

    It runs when a call has passed every other check, at the same time as those of other calls, and refuses it by raising
    ValueError or AssertionError: the text is told to the model when it is asked again. What it returns is ignored. On a
    blocking client it runs on an event loop of its own.

    Raises:
        UsageError: The method is no ``async def``, or takes something else.
    """
    if not all(isinstance(one, str) for one in (field, *fields)):
        raise UsageError('async_field_validator takes the names of fields: write @async_field_validator("name")')
    return _marking((field, *fields))


def async_model_validator(*nothing: object) -> Callable[[F], F]:
    """Mark an ``async def`` method of a tool's type as a check of the whole: ``(self)`` or ``(self, info)``.

    Like `async_field_validator` in all else.

    Raises:
        UsageError: The method is no ``async def``, or takes something else.
    """
    if nothing:
        raise UsageError("write @async_model_validator(), with parentheses")
    return _marking(())


def _marking(fields: tuple[str, ...]) -> Callable[[F], F]:
    def mark(method: F) -> F:
        global _used  # noqa: PLW0603  # programs without such validators pay nothing for them
        if not _is_async(method):
            raise UsageError("an asynchronous validator is an async def method")
        plain = 2 if fields else 1
        if len(inspect.signature(method).parameters) not in {plain, plain + 1}:
            raise UsageError(f"this validator takes self{', the value' if fields else ''} and, where it wants it, info")
        setattr(method, _MARK, fields)
        _used = True
        return method

    return mark


def _is_async(method: object) -> bool:
    return inspect.iscoroutinefunction(method)


def needs_awaiting(call: Call[Any]) -> bool:
    """Whether a call has a good value that asynchronous validators look at."""
    return _used and call.error is None and next(_checks(call.value, ()), None) is not None


async def awaited(call: Call[Any], raw: ToolCall, checking: Checking) -> Call[Any]:
    """Run the asynchronous validators of a call, all at the same time, and return what becomes of it. Never raises."""
    import asyncio

    checks = list(_checks(call.value, ()))
    found = await asyncio.gather(*(_problem(*check, checking.context) for check in checks))
    problems = [problem for problem in found if problem is not None]
    return refused(raw, problems, checking) if problems else call


def unchecked(raw: ToolCall, checking: Checking, error: Exception) -> Call[Any]:
    """Return the bad call that a call is whose asynchronous validators were not done in time."""
    reason = "its asynchronous validators were not done in time"
    return refused(raw, [ArgumentProblem("", reason, reason)], checking, error)


async def _problem(path: tuple[str, ...], value: Any, name: str, field: str | None, context: object) -> ArgumentProblem | None:
    where = ".".join([*path, *([] if field is None else [_wire_name(cast("Any", type(value)), field)])])
    try:
        method = getattr(value, name)
        given = [] if field is None else [getattr(value, field)]
        if len(inspect.signature(method).parameters) > len(given):
            given.append(AsyncValidationInfo(context, field))
        await method(*given)
    except (ValueError, AssertionError) as error:
        told = f"{where}: {error}" if where else str(error)
        return ArgumentProblem(where, "refused by the tool's own check", told, for_model=meant_for_the_model(error))
    except Exception as error:  # noqa: BLE001  # validators are the user's code
        reason = f"the tool's own check failed with {type(error).__name__}"
        return ArgumentProblem(where, reason, f"{reason}: {error}", for_model=False)
    return None


def _checks(
    value: Any, path: tuple[str, ...], around: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, str, str | None]]:
    """Yield where, on what, by which method and of which field, for a value and everything in it; never one within itself."""
    if id(value) in around:
        return
    for name, fields in _marked(cast("Any", type(value))):
        for field in fields or (None,):
            yield path, value, name, field
    for key, inner in _parts(value):
        yield from _checks(inner, (*path, key), (*around, id(value)))


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BoundCall):
        yield from value.arguments.items()
    elif isinstance(value, BaseModel):
        yield from ((_wire_name(type(value), name), getattr(value, name)) for name in type(value).model_fields)
    elif dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif is_mapping(value):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((str(position), inner) for position, inner in enumerate(value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _wire_name(kind: type[Any], name: str) -> str:
    """Return a field's name as the model knows it."""
    field = kind.model_fields.get(name) if issubclass(kind, BaseModel) else None
    alias = None if field is None else field.validation_alias
    return alias if isinstance(alias, str) else name


@lru_cache(maxsize=1024)
def _marked(kind: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the names of a type's asynchronous validators, each with its fields, in the order in which they are written."""
    mro: tuple[type[object], ...] = kind.__mro__
    found: Mapping[str, Any] = {name: value for one in reversed(mro) for name, value in vars(one).items()}
    return tuple((name, getattr(value, _MARK)) for name, value in found.items() if hasattr(value, _MARK))
