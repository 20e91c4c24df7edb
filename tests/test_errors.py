"""Errors say what to do, travel between processes, and take nothing of the arguments along."""

import copy
import pickle
import traceback
from typing import Any

import pytest
from pydantic import BaseModel

import polycall
from polycall import (
    ArgumentProblem,
    CallError,
    CallErrors,
    CutOffError,
    DeadlineError,
    InvalidArgumentsError,
    NoCallsError,
    PolycallError,
    RefusalError,
    TransportError,
    UnknownToolError,
    UsageError,
)
from support_tools import check

SECRET = "secret7391"


class Weather(BaseModel):
    city: int


def invalid(index: int = 0) -> InvalidArgumentsError:
    error = check(Weather, {"city": SECRET}).error
    assert isinstance(error, InvalidArgumentsError)
    error.index = index
    return error


ERRORS = [
    UsageError("write it so"),
    TransportError("no answer", status=502, body=SECRET),
    DeadlineError("too late"),
    CallError("bad", index=1, tool="t", id="c", arguments=SECRET),
    UnknownToolError("no such tool", index=0, tool="t", arguments=SECRET),
    CutOffError("cut", index=2, arguments=SECRET),
    RefusalError("declined", index=0),
    NoCallsError("none", index=0),
    invalid(),
    InvalidArgumentsError("bad", index=0, tool="t"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__ + str(len(str(error))))
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_travel_and_leave_the_arguments_behind(error, protocol):
    data = pickle.dumps(error, protocol)
    assert SECRET.encode() not in data
    copied = pickle.loads(data)
    assert type(copied) is type(error)
    assert (str(copied), repr(copied), copied.args) == (str(error), repr(error), error.args)
    kept = {name: value for name, value in vars(error).items() if name not in {"arguments", "body", "problems"}}
    assert {name: getattr(copied, name) for name in kept} == kept
    assert getattr(copied, "arguments", None) is None
    assert getattr(copied, "body", None) is None
    assert [str(one) for one in getattr(copied, "problems", ())] == [str(one) for one in getattr(error, "problems", ())]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__ + str(len(str(error))))
def test_errors_can_be_copied(error):
    for copied in copy.copy(error), copy.deepcopy(error):
        assert type(copied) is type(error)
        assert str(copied) == str(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__ + str(len(str(error))))
def test_no_text_of_an_error_quotes_the_arguments(error):
    assert SECRET not in f"{error}{error!r}{''.join(traceback.format_exception(error))}"


@pytest.mark.parametrize("name", polycall.errors.__all__)
def test_every_error_is_public_and_in_the_tree(name):
    kind = getattr(polycall, name)
    assert kind is getattr(polycall.errors, name)
    assert name == "ArgumentProblem" or issubclass(kind, PolycallError)


def test_the_tree():
    assert issubclass(DeadlineError, TransportError)
    assert issubclass(CallErrors, ExceptionGroup)
    for kind in UnknownToolError, InvalidArgumentsError, CutOffError, RefusalError, NoCallsError:
        assert issubclass(kind, CallError)
    for kind in UsageError, TransportError, CallErrors:
        assert not issubclass(kind, CallError)


def test_an_error_names_its_call():
    assert str(UnknownToolError("no", index=3, tool="t")) == "call 3 (t): no"
    assert str(RefusalError("declined", index=3)) == "declined"
    error = CallError("r", index=3, tool="t", id="c", arguments="{}")
    assert (error.reason, error.index, error.tool, error.id, error.arguments) == ("r", 3, "t", "c", "{}")


def test_a_note_is_shown_and_travels_not():
    error = UnknownToolError("no", index=0, tool="t", arguments=SECRET)
    error.add_note("a note")
    assert "a note" in "".join(traceback.format_exception(error))
    assert SECRET.encode() not in pickle.dumps(error)


@pytest.mark.parametrize("tool", ["a\nb", "x" * 500, "a\x1b[31m"])
def test_a_name_that_is_no_name_is_told_in_one_short_line(tool):
    text = str(UnknownToolError("no", index=0, tool=tool))
    assert text.isprintable()
    assert len(text) < 120


def test_a_problem_in_words():
    problem = ArgumentProblem("a.b", "is wrong", f"is wrong: {SECRET}")
    assert (str(problem), repr(problem)) == ("a.b: is wrong", "ArgumentProblem('a.b: is wrong')")
    assert str(ArgumentProblem("", "is wrong", "")) == "is wrong"
    copied = pickle.loads(pickle.dumps(problem))
    assert (copied.field, copied.reason, copied.detail) == ("a.b", "is wrong", "is wrong")


# --------------------------------------------------------------------------------------------------------------- groups


def group(*errors: CallError) -> CallErrors:
    return CallErrors("2 of 3 calls cannot be used", errors)


def test_a_group_lists_its_errors():
    text = str(group(invalid(), RefusalError("declined", index=3)))
    assert text == "2 of 3 calls cannot be used: call 0 (Weather): city: Input should be a valid integer; declined"
    assert str(group(*[RefusalError(f"r{n}", index=n) for n in range(7)])).endswith("r4; and 2 more")
    assert str(group(*[RefusalError(f"r{n}", index=n) for n in range(5)])).endswith("r4")


def test_a_group_can_be_caught_by_kind():
    caught: list[Any] = []
    try:
        raise group(invalid(), CutOffError("cut", index=1), invalid(2))
    except* InvalidArgumentsError as bad:
        caught.append(bad)
    except* CutOffError as cut:
        caught.append(cut)
    assert [type(part) for part in caught] == [CallErrors, CallErrors]
    assert [[error.index for error in part.exceptions] for part in caught] == [[0, 2], [1]]


def test_a_group_can_be_caught_as_one():
    with pytest.raises(PolycallError):
        raise group(invalid())
    with pytest.raises(ExceptionGroup, match="2 of 3 calls") as caught:
        raise group(invalid())
    assert caught.group_contains(InvalidArgumentsError)


def test_parts_of_a_group_keep_its_calls():
    whole = CallErrors("m", [invalid(), CutOffError("cut", index=1)], "the calls")
    cut, rest = whole.split(CutOffError)
    assert (type(cut), type(rest)) == (CallErrors, CallErrors)
    assert (cut.calls, rest.calls) == ("the calls", "the calls")
    assert [type(error) for error in rest.exceptions] == [InvalidArgumentsError]
    assert whole.subgroup(RefusalError) is None
    assert whole.derive([invalid()]).message == "m"


def test_a_group_must_not_be_empty():
    with pytest.raises(ValueError, match="non-empty"):
        CallErrors("m", [])


def test_a_group_travels_without_its_calls():
    whole = CallErrors("m", [invalid(), CutOffError("cut", index=1, arguments=SECRET)], "the calls")
    data = pickle.dumps(whole)
    assert SECRET.encode() not in data
    copied = pickle.loads(data)
    assert (type(copied), str(copied), copied.calls) == (CallErrors, str(whole), None)
    assert [type(error) for error in copied.exceptions] == [InvalidArgumentsError, CutOffError]
    assert copied.exceptions[0].problems == pickle.loads(pickle.dumps(whole.exceptions[0])).problems


def test_the_traceback_of_a_group_shows_why_and_not_what():
    try:
        raise group(invalid(), CutOffError("cut", index=1, arguments=SECRET))
    except CallErrors as error:
        text = "".join(traceback.format_exception(error))
    assert "Input should be a valid integer" in text
    assert "cut" in text
    assert SECRET not in text
