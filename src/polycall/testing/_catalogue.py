"""Every fault, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    _faults_secrets,
    _faults_status,
    _faults_stream,
)
from polycall.testing._faults import Fault

__all__ = ["FAULTS"]


def _by_name(*groups: Iterable[Fault]) -> dict[str, Fault]:
    named: dict[str, Fault] = {}
    for fault in chain.from_iterable(groups):
        if fault.name in named:
            raise ValueError(f"two faults are named {fault.name}")
        named[fault.name] = fault
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
        _faults_answer.CHOICES,
        _faults_answer.FINISH,
        _faults_calls.LISTS,
        _faults_calls.NUMBERS,
        _faults_calls.NAMES,
        _faults_arguments.BAD,
        _faults_arguments.ODD,
        _faults_arguments.GOOD,
    )
)
"""Every fault, by its name, in the order in which an answer comes into being."""
