"""Every way in which a call can be wrong, and come right."""

from __future__ import annotations

import pytest

import polycall
from polycall import InvalidArgumentsError, NoCallsError, UnknownToolError
from polycall.testing import Said, Turn
from support.reasks import RIGHT, TOOLS, VALUES, Sensible, first_answer

DALLAS = RIGHT[1]
WRONG = {
    "a bracket": "{",
    "nothing": "",
    "null": "null",
    "a list": "[1]",
    "text": '"Dallas"',
    "a number": "7",
    "words": "Dallas, please",
    "not a number": '{"location": "Dallas", "units": NaN}',
    "a key twice": '{"location": "Dallas", "location": "Dallas", "units": "metric"}',
    "a missing field": '{"units": "imperial"}',
    "a wrong type": '{"location": 1, "units": "imperial"}',
    "a wrong value": '{"location": "Dallas", "units": "imperial "}',
    "null in a field": '{"location": "Dallas", "units": null}',
    "too deep": '{"location": ' + "[" * 70 + "]" * 70 + "}",
    "a number too big": '{"location": "Dallas", "units": 1e999}',
    "half a surrogate pair": '{"location": "\\ud800", "units": "imperial"}',
    "text behind": '{"location": "Dallas", "units": "imperial"} There you are.',
    "a fence": '```json\n{"location": "Dallas", "units": "imperial"}\n```',
    "python": "{'location': 'Dallas', 'units': 'imperial'}",
    "a name in other letters": Said("weather", DALLAS.arguments),
    "an unknown name": Said("Forecast", DALLAS.arguments),
    "no name": Said("", DALLAS.arguments),
}


@pytest.mark.parametrize("kind", WRONG)
def test_one_of_three_is_wrong_in_this_way(ask, kind):
    calls = [RIGHT[0], Said(DALLAS.name, DALLAS.arguments, wrong=WRONG[kind]), RIGHT[2]]
    asked = ask(calls)
    assert tuple(asked.calls) == VALUES[:3]
    assert asked.calls.errors == ()
    assert len(asked.requests) == 2
    (told,) = [told for told in asked.told().values() if isinstance(told, dict)]
    unknown = isinstance(WRONG[kind], Said)
    assert told["error"] == ("unknown tool" if unknown else "invalid arguments")
    assert isinstance(asked.calls.attempts[0].errors[0], UnknownToolError if unknown else InvalidArgumentsError)
    assert isinstance(told["problems"], list)
    assert all(isinstance(problem, str) for problem in told["problems"])


def test_the_arguments_of_one_tool_under_the_name_of_another(ask):
    wrong = Said("GoogleSearch", DALLAS.arguments)
    asked = ask([RIGHT[0], Said(DALLAS.name, DALLAS.arguments, wrong=wrong), RIGHT[2]])
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 2


def test_two_mistakes_one_after_the_other(ask):
    wrong = ["{", '{"location": "Dallas"}', Said("Forecast", "{}")]
    calls = [RIGHT[0], Said(DALLAS.name, DALLAS.arguments, wrong=wrong)]
    asked = ask(calls, max_retries=3)
    assert tuple(asked.calls) == VALUES[:2]
    assert [len(attempt.errors) for attempt in asked.calls.attempts] == [1, 1, 1, 0]


# ---------------------------------------------------------------------------------------------------------- unknown tools


def unknown(*again: Said, text: str = "") -> list[Turn]:
    made = [RIGHT[0], Said("Forecast", {"city": "Dallas"}), RIGHT[2]]
    return [Turn(calls=made), Turn(calls=again, text=text)]


def test_unknown_tool_is_replaced_by_a_known_one(ask):
    asked = ask(unknown(DALLAS))
    assert tuple(asked.calls) == VALUES[:3]
    (told,) = [told for told in asked.told().values() if isinstance(told, dict)]
    assert told == {
        "error": "unknown tool",
        "problems": ["no such tool was offered; offered were: Weather, GoogleSearch"],
        "do": "call a tool that was offered instead, or leave it out; repeat no other call",
    }


@pytest.mark.parametrize("again", [(), (RIGHT[0], RIGHT[2])])
def test_unknown_tool_that_the_model_leaves_out_is_settled(ask, again):
    asked = ask(unknown(*again, text="I cannot do that."), max_retries=3)
    assert len(asked.requests) == 2
    assert [asked.calls[0], asked.calls[2]] == [VALUES[0], VALUES[2]]
    assert len(asked.calls) == 3
    (error,) = asked.calls.errors
    assert isinstance(error, UnknownToolError)
    assert asked.calls.stopped is None


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
def test_unknown_tool_that_the_model_keeps(ask, most):
    kept = Said("Forecast", {"city": "Dallas", "days": 3})
    asked = ask([*unknown(kept), Turn(calls=[kept])], max_retries=most)
    assert len(asked.requests) == 1 + most
    (error,) = asked.calls.errors
    assert (type(error), error.index, error.arguments) == (UnknownToolError, 1, kept.text)
    assert len(asked.calls) == 3


@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
def test_unknown_tool_left_out_while_another_call_is_corrected(ask):
    first = [*first_answer(2, 1), Said("Forecast", "{}")]
    asked = ask([Turn(calls=first), Turn(calls=[RIGHT[1]]), Turn(calls=[RIGHT[2]])], max_retries=3)
    assert tuple(asked.calls)[:2] == VALUES[:2]
    assert [type(error) for error in asked.calls.errors] == [UnknownToolError]
    assert len(asked.requests) == 2


def test_tool_that_was_not_allowed_is_as_unknown(ask):
    asked = ask([RIGHT[0], RIGHT[2]], tool_choice=[TOOLS[0]], check=False, max_retries=0)
    assert asked.calls[0] == VALUES[0]
    assert isinstance(asked.calls[1], UnknownToolError)


# --------------------------------------------------------------------------------------------------------------- no calls


def test_no_call_where_one_is_required(ask):
    asked = ask([Turn(text="It is cold in Oslo."), Turn(calls=[RIGHT[0]])], tool_choice="required")
    assert tuple(asked.calls) == VALUES[:1]
    assert asked.calls.errors == ()
    assert asked.calls.text == "It is cold in Oslo."
    assert [message["role"] for message in asked.sent()] == ["user", "assistant", "user"]
    assert "A tool has to be called" in asked.sent()[-1]["content"]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_call_for_ever(ask, most):
    asked = ask([Turn(text="No.")] * 4, tool_choice="required", max_retries=most)
    assert len(asked.requests) == 1 + most
    assert [type(error) for error in asked.calls.errors] == [NoCallsError]
    assert len(asked.calls) == 0


def test_text_alone_is_an_answer(ask):
    asked = ask([Turn(text="No.")])
    assert len(asked.requests) == 1
    assert (list(asked.calls), asked.calls.text) == ([], "No.")


def test_refusal_is_not_asked_again(ask):
    asked = ask([Turn(calls=RIGHT[:1], fault="refusal"), *[Turn(calls=RIGHT[:1])] * 2], max_retries=2)
    assert len(asked.requests) == 1
    assert [type(error) for error in asked.calls.errors] == [polycall.RefusalError]


def test_what_a_limit_caused_is_not_asked_again(ask):
    asked = ask(Sensible(Turn(calls=RIGHT)), limits=polycall.Limits(calls=3), max_retries=2)
    assert len(asked.requests) == 1
    assert tuple(asked.calls)[:3] == VALUES[:3]
    assert [type(error) for error in asked.calls.errors] == [polycall.CutOffError]


def test_an_answer_that_says_nothing_is_asked_for_again(ask):
    def script(sent):
        return [Turn(finish="tool_calls")] if len(sent.body["messages"]) == 1 else [RIGHT[0]]

    asked = ask(script, tool_choice="required", check=False)
    assert tuple(asked.calls) == VALUES[:1]
    assert len(asked.requests) == 2
    assert asked.sent()[1:] == [{"role": "user", "content": "A tool has to be called. Answer with tool calls"}]
