"""Answers that are cut: what is there stays, what is missing is asked for and appended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polycall import CutOffError
from polycall.testing import FAULTS, Said, Turn
from support.reasks import RIGHT, VALUES, Sensible, reason_in

INSIDE = ["finish-length-inside-call", "finish-max-tokens-inside-call", "finish-content-filter-inside-call"]
BETWEEN = ["finish-length-between-calls"]
BROKEN_INSIDE = ["close-inside-call", "reset-inside-arguments", "error-event-inside"]
BROKEN_BETWEEN = ["close-between-calls", "reset-between-calls", "end-between-calls", "error-event-between"]
MISSING = "Make only the calls that are still missing"


def cut(fault: str, *again: Said, count: int = 3) -> list[Turn]:
    return [Turn(calls=RIGHT[:count], pieces=4, fault=fault), Turn(calls=again)]


def lost_in(ask, fault: str) -> int:
    """Return at which call the fault cuts an answer of three calls off."""
    asked = ask(cut(fault), max_retries=0)
    error = asked.calls.errors[-1]
    assert isinstance(error, CutOffError)
    assert len(asked.requests) == 1
    assert tuple(asked.calls)[: error.index] == VALUES[: error.index]
    return error.index


def check_cut(ask, fault: str, *, inside: bool) -> None:
    at = lost_in(ask, fault)
    for resent in (RIGHT[at:3], RIGHT[:3]):
        asked = ask(cut(fault, *resent))
        assert tuple(asked.calls) == VALUES[:3]
        assert asked.calls.errors == ()
        assert len(asked.requests) == 2
        first = asked.calls.attempts[0]
        assert [type(error) for error in first.errors] == [CutOffError]
        assert all(asked.calls.calls[place] is first.calls[place] for place in range(at))
        last = asked.sent()[-1]
        if inside:
            told, behind = reason_in(last["content"])
            assert (told["error"], behind) == ("cut off", "")
        else:
            assert MISSING in last["content"]


@pytest.mark.parametrize("fault", INSIDE)
def test_cut_inside_a_call(ask, fault):
    check_cut(ask, fault, inside=True)


@pytest.mark.parametrize("fault", BETWEEN)
def test_cut_between_calls(ask, fault):
    check_cut(ask, fault, inside=False)


@pytest.mark.parametrize("mode", ["early", "end"], indirect=True)
@pytest.mark.parametrize("fault", BROKEN_INSIDE)
def test_stream_that_breaks_inside_a_call(ask, fault):
    check_cut(ask, fault, inside=True)


@pytest.mark.parametrize("mode", ["early", "end"], indirect=True)
@pytest.mark.parametrize("fault", BROKEN_BETWEEN)
def test_stream_that_breaks_between_calls(ask, fault):
    check_cut(ask, fault, inside=False)


def test_cut_and_a_bad_call_before(ask):
    bad = Said("Weather", {"location": "Toronto", "units": "metric"}, wrong='{"location": "Toronto"}')
    first = [Said(bad.name, bad.mistakes[0].text), *RIGHT[1:3]]
    fault = FAULTS["finish-length-inside-call"]
    at = lost_in(ask, "finish-length-inside-call")
    asked = ask([Turn(calls=first, fault=fault), Turn(calls=[RIGHT[0], *RIGHT[at:3]]), Turn(calls=RIGHT[at:3])], max_retries=2)
    assert tuple(asked.calls) == VALUES[:3]
    assert asked.calls.errors == ()


def test_nothing_is_missing_after_all(ask):
    asked = ask([Turn(calls=RIGHT[:3], fault="finish-length-with-all"), Turn(text="That was all.")])
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 2
    assert asked.calls.errors == ()


@pytest.mark.parametrize("fault", ["finish-length-inside-call", "finish-length-between-calls"])
def test_cut_for_ever_ends(ask, fault):
    calls = [Turn(calls=RIGHT, fault=fault), *[Turn(calls=[one], fault=fault) for one in RIGHT]]
    for most in (0, 1, 3):
        asked = ask(calls, max_retries=most)
        assert len(asked.requests) <= 1 + most
        assert asked.calls.errors
        assert all(isinstance(error, CutOffError) for error in asked.calls.errors)


def test_cut_again_in_what_was_missing(ask):
    fault = "finish-length-between-calls"
    at = lost_in(ask, fault)
    script = [Turn(calls=RIGHT[:3], fault=fault), Turn(calls=RIGHT[at:5], fault=fault), Turn(calls=RIGHT)]
    asked = ask(script, max_retries=2)
    assert tuple(asked.calls) == VALUES
    assert asked.calls.errors == ()
    assert len(asked.requests) == 3


def test_every_call_of_a_cut_answer_is_answered(ask):
    asked = ask(Sensible(Turn(calls=RIGHT[:3])), fault=replace(FAULTS["finish-length-inside-call"], times=1), max_retries=0)
    *_, turn, last = asked.calls.reply(dict.fromkeys(range(3), "done"))[-3:]
    assert turn["role"] == last["role"] == "tool"
