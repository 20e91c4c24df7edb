"""The arguments of one question: which are polycall's own, what they may be, and what goes to the SDK."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from polycall.errors import UsageError
from polycall.types import LIMITS, Limits, Message

__all__ = ["read_messages", "read_options"]

_OPTIONS: Final[Mapping[str, Any]] = {
    "model": None,
    "errors": "raise",
    "stream": False,
    "tool_choice": None,
    "parallel": None,
    "strict": True,
    "schema_strict": True,
    "repair": False,
    "context": None,
    "max_retries": 1,
    "max_tokens_total": None,
    "reask": "early",
    "timeout": None,
    "retries": None,
    "limits": LIMITS,
}
"""The options that are polycall's own, with their defaults; every other one is the SDK's."""


_SWITCHES: Final[Mapping[str, tuple[bool | None, ...]]] = {
    "parallel": (True, False, None),
    "strict": (True, False),
    "schema_strict": (True, False),
    "repair": (True, False),
}


def read_options(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return polycall's own options, all of them, and those that go to the SDK.

    Raises:
        UsageError: An option is not what it may be, or no model is given.
    """
    options = _with_model(options)
    given = {**_with_model(defaults), **{key: value for key, value in options.items() if not _is_left_out(key, value)}}
    own: dict[str, Any] = {key: given.pop(key, default) for key, default in _OPTIONS.items()}
    if not own["model"] or not isinstance(own["model"], str):
        raise UsageError('no model: say which one, model="..." here or where the client is made')
    if own["errors"] not in {"raise", "return"}:
        message = f'errors={own["errors"]!r} is not understood: write errors="raise" or errors="return"'
        raise UsageError(message)
    if not _is_count(own["max_retries"]):
        raise UsageError("max_retries counts the times that bad calls are asked again: write a whole number from 0 on")
    if own["max_tokens_total"] is not None and not _is_count(own["max_tokens_total"]):
        raise UsageError(
            "max_tokens_total is the number of tokens that a question may take with all its re-asks; None sets no limit"
        )
    if own["reask"] not in {"early", "end"}:
        message = f'reask={own["reask"]!r} is not understood: write reask="early" or reask="end"'
        raise UsageError(message)
    if own["timeout"] is not None and not _is_seconds(own["timeout"]):
        raise UsageError("timeout is the number of seconds for the whole call, greater than 0; None sets no limit")
    if own["retries"] is not None and not _is_count(own["retries"]):
        raise UsageError(
            "retries counts the times that a request is sent again when it failed on its way: a whole number from 0 on"
        )
    _check_limits(own["limits"])
    for key, values in _SWITCHES.items():
        if not any(own[key] is value for value in values):
            message = f"{key}={own[key]!r} is not understood: write {' or '.join(map(str, values))}"
            raise UsageError(message)
    return own, given


def _with_model(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arguments with the model under its one name: boto3, and programs written for it, call it ``modelId``."""
    if "modelId" not in options:
        return options
    rest = {key: value for key, value in options.items() if key not in {"model", "modelId"}}
    return {**rest, "model": options["modelId"] or options.get("model")}


def _is_left_out(key: str, value: object) -> bool:
    """Whether an argument is as good as not given: the SDK's marks for that, and no model."""
    return type(value).__name__ in {"Omit", "NotGiven"} or (key == "model" and value is None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_limits(limits: object) -> None:
    if not isinstance(limits, Limits):
        raise UsageError("limits takes polycall.Limits(...)")
    for name in ("response", "arguments", "calls", "depth"):
        if not _is_count(getattr(limits, name)):
            message = f"Limits({name}=...) is a whole number from 0 on"
            raise UsageError(message)
    hosts: object = limits.hosts
    if not isinstance(hosts, frozenset | set | list | tuple) or not all(isinstance(host, str) for host in cast("Any", hosts)):
        raise UsageError('Limits(hosts=...) is a set of host names, like {"eu.api.example.com"}')


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def read_messages(messages: Any) -> tuple[Message, ...]:
    """Return the conversation as a tuple of messages; a text is one question.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(messages, str):
        return ({"role": "user", "content": messages},)
    listed: tuple[Any, ...] | None = None
    if isinstance(messages, Iterable) and not isinstance(messages, Mapping | bytes):
        listed = tuple(one for one in cast("Any", messages))
    if listed is None or any(one is None or isinstance(one, str | bytes | int | float) for one in listed):
        raise UsageError('messages is a question as text, or a list of messages like [{"role": "user", "content": "..."}]')
    if not listed:
        raise UsageError("messages is empty: ask something")
    return listed
