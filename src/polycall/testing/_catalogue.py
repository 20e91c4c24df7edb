"""Every fault, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Final

from polycall.testing import (
    _faults_answer,
    _faults_arguments,
    _faults_body,
    _faults_calls,
    _faults_connection,
    _faults_events,
    _faults_http,
    _faults_native,
    _faults_secrets,
    _faults_status,
    _faults_stream,
)
from polycall.testing._faults import Fault

__all__ = ["FAULTS"]


_CHAT: Final = frozenset({"chat"})
# fmt: off
_IN_ITS_WORDS: Final = frozenset(
    [
        "200-escaped", "json-repeated-key", "response-17-mib", "no-done", "done-twice", "done-without-newline",
        "done-first", "done-first-then-all", "done-quoted", "events-after-done", "finish-twice", "ndjson",
        "data-over-lines", "event-names", "lines-without-blanks", "null-events", "usage-only-chunk-first",
        "usage-only-chunk-inside", "empty-delta-inside", "text-inside", "reasoning-first", "chunk-of-no-format-inside",
        "error-event-first", "error-event-429-first", "error-event-named-first", "error-event-inside",
        "error-event-named-inside", "error-event-between", "error-event-before-finish", "error-event-before-done",
        "error-string-event-inside", "stop-event-inside", "stop-event-between", "empty-deltas-for-ever",
        "text-for-ever", "usage-for-ever", "flood-of-text", "flood-of-arguments", "flood-of-calls",
        "arguments-for-ever", "close-before-done", "reset-before-done", "stall-before-done", "tarpit-after-finish",
        "arguments-missing", "arguments-as-object", "surrogate-pair-split", "name-missing", "name-in-every-delta",
        "name-late", "name-split", "key-echoed-in-event", "prompt-echoed-in-event", "arguments-echoed-in-event",
    ]
)
# fmt: on
"""What can only be said in the words of chat completions, among the faults that are of every format."""


def _of_chat(faults: Iterable[Fault]) -> Iterable[Fault]:
    return (replace(fault, formats=_CHAT) for fault in faults)


def _by_name(*groups: Iterable[Fault]) -> dict[str, Fault]:
    named: dict[str, Fault] = {}
    for fault in chain.from_iterable(groups):
        if fault.name in named:
            raise ValueError(f"two faults are named {fault.name}")
        named[fault.name] = replace(fault, formats=_CHAT) if fault.name in _IN_ITS_WORDS else fault
    return named


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    _by_name(
        _faults_connection.CONNECTION,
        _faults_http.HEAD,
        _faults_http.LENGTH,
        _faults_http.CODING,
        _faults_status.ONCE,
        _faults_status.ALWAYS,
        _faults_status.REDIRECT,
        _faults_secrets.FORMS,
        _faults_secrets.ECHOES,
        _faults_body.PACE,
        _faults_body.INSTEAD,
        _faults_body.WRITTEN,
        _faults_stream.FRAMING,
        _faults_stream.BREAKS,
        _faults_events.BETWEEN,
        _faults_events.FOR_EVER,
        _of_chat(_faults_answer.CHOICES),
        _of_chat(_faults_answer.FINISH),
        _of_chat(_faults_calls.LISTS),
        _of_chat(_faults_calls.NUMBERS),
        _faults_calls.NAMES,
        _faults_arguments.BAD,
        _faults_arguments.ODD,
        _faults_arguments.GOOD,
        _faults_native.OWN_WORDS,
    )
)
"""Every fault, by its name, in the order in which an answer comes into being."""
