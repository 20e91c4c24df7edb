"""Which calls are asked again, and that what comes back stands in its place, whatever the model sends again."""

from __future__ import annotations

import pytest

import polycall
from polycall import InvalidArgumentsError
from polycall.testing import Said, Turn
from support.reasks import ACCEPTED, MORE_WAYS, RIGHT, VALUES, Sensible, first_answer, spoilt

CASES = {
    "one of one": (1, 0),
    "one of three": (3, 1),
    "the first of three": (3, 0),
    "the last of three": (3, 2),
    "two of five": (5, 1, 3),
    "two of five, of one kind": (5, 2, 4),
    "all": (5, 0, 1, 2, 3, 4),
}


@pytest.mark.parametrize("way", MORE_WAYS, indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_bad_calls_are_corrected_in_their_places(ask, case):
    count, *bad = CASES[case]
    asked = ask(Sensible(Turn(calls=spoilt(count, *bad), pieces=5)))
    calls = asked.calls
    assert tuple(calls) == VALUES[:count]
    assert calls.errors == ()
    assert calls.stopped is None
    assert 2 <= len(asked.requests) <= (1 + len(bad) if ask.early else 2)
    assert sorted(place for attempt in calls.attempts for place in attempt.asked) == bad
    again = [calls.attempts[0].calls[place].id for place in bad]
    assert sorted(one for number in range(1, len(asked.requests)) for one in asked.bad(number)) == again
    for place, call in enumerate(calls.calls):
        assert call.arguments == RIGHT[place].text
        assert (call.id in again) is False
        assert (call is calls.attempts[0].calls[place]) is (place not in bad)
    assert sum(len(attempt.calls) for attempt in calls.attempts) == count + len(bad)


def test_what_is_sent_is_the_answer_as_it_was_and_one_short_answer_a_call(ask):
    asked = ask(spoilt(3, 1))
    question, turn, *answers = asked.sent()
    assert question == {"role": "user", "content": "?"}
    said = [(entry["id"], entry["function"]["name"], entry["function"]["arguments"]) for entry in turn["tool_calls"]]
    whole = [(f"call_000_000{place}", call.name, call.text) for place, call in enumerate(first_answer(3, 1))]
    assert said == whole[: len(said)]
    assert len(said) == 3 or ask.early
    told = asked.told()
    assert list(told) == [one for one, *_ in said] == [answer["tool_call_id"] for answer in answers]
    assert [told[one] == ACCEPTED for one, *_ in said] == [place != 1 for place in range(len(said))]
    assert told["call_000_0001"] == {
        "error": "invalid arguments",
        "problems": ["units: Input should be 'imperial' or 'metric'"],
        "do": "call this tool again with all its arguments, corrected; repeat no other call",
    }


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_call_that_is_bad_for_ever_is_asked_so_often(ask, most):
    asked = ask(spoilt(3, 1, times=9), max_retries=most)
    calls = asked.calls
    assert len(asked.requests) == len(calls.attempts) == 1 + most
    assert [calls[0], calls[2]] == [VALUES[0], VALUES[2]]
    (error,) = calls.errors
    assert calls[1] is error
    assert isinstance(error, InvalidArgumentsError)
    assert error.index == 1
    assert [attempt.asked for attempt in calls.attempts] == [(), *[(1,)] * most]
    assert calls.stopped is None


@pytest.mark.parametrize("most", [0, 2])
def test_all_bad_for_ever(ask, most):
    asked = ask(spoilt(3, 0, 1, 2, times=9), max_retries=most)
    assert [error.index for error in asked.calls.errors] == [0, 1, 2]
    assert len(asked.calls) == 3
    assert 1 + most <= len(asked.requests) <= 1 + most * (3 if ask.early else 1)


def test_a_call_that_comes_right_at_last(ask):
    asked = ask(spoilt(3, 1, times=3), max_retries=3)
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 4
    assert len(asked.hooks["parse:error"]) == 3


def test_errors_are_raised_with_all_that_is_good(ask):
    with pytest.raises(polycall.CallErrors) as caught:
        ask(spoilt(3, 1, times=9), errors="raise")
    calls = caught.value.calls
    assert [calls[0], calls[2]] == [VALUES[0], VALUES[2]]
    assert caught.value.exceptions == calls.errors == (calls.calls[1].error,)
    assert caught.value.__cause__ is None
    assert len(calls.attempts) == len(ask.server.requests) == 2
    assert tuple(ask(spoilt(3, 1), errors="raise").calls) == VALUES[:3]


def test_good_answers_are_not_asked_again(ask):
    asked = ask(spoilt(5))
    assert tuple(asked.calls) == VALUES
    assert len(asked.requests) == len(asked.calls.attempts) == 1


# ------------------------------------------------------------------------------------------- what the model sends again


@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
def test_one_at_a_time(ask):
    turn = Turn(calls=spoilt(5, 1, 3), resend="one")
    asked = ask(turn, max_retries=2)
    assert tuple(asked.calls) == VALUES
    assert len(asked.requests) == 3
    asked = ask(turn, max_retries=1)
    assert len(asked.requests) == 2
    assert [error.index for error in asked.calls.errors] == [3]
    assert [value for place, value in enumerate(asked.calls) if place != 3] == [*VALUES[:3], VALUES[4]]


AGAIN = {
    "all": RIGHT,
    "all, in another order": (RIGHT[4], RIGHT[3], RIGHT[2], RIGHT[1], RIGHT[0]),
    "some": (RIGHT[0], RIGHT[1], RIGHT[3]),
    "some, in another order": (RIGHT[3], RIGHT[2], RIGHT[1]),
    "the bad ones, in another order": (RIGHT[3], RIGHT[1]),
    "all, the good ones changed": (
        Said("Weather", {"location": "Toronto", "units": "imperial"}),
        RIGHT[1],
        Said("GoogleSearch", {"query": "Oslo in winter"}),
        RIGHT[3],
        Said("GoogleSearch", {"query": "Quito"}),
    ),
    "all, written in another way": [
        Said(call.name, call.text.replace(": ", ":").replace("{", "{ ")) if place not in {1, 3} else call
        for place, call in enumerate(RIGHT)
    ],
}


@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
@pytest.mark.parametrize("again", AGAIN)
def test_two_of_five_are_corrected_whatever_is_sent_again(ask, again):
    script = [Turn(calls=first_answer(5, 1, 3)), Turn(calls=AGAIN[again])]
    asked = ask(script)
    assert tuple(asked.calls) == VALUES
    assert asked.calls.errors == ()
    for place in (0, 2, 4):
        assert asked.calls.calls[place] is asked.calls.attempts[0].calls[place]
    assert [len(attempt.calls) for attempt in asked.calls.attempts] == [5, *[len(AGAIN[again])] * (len(asked.requests) - 1)]


def test_only_good_calls_are_sent_again(ask):
    asked = ask([Turn(calls=first_answer(3, 1)), Turn(calls=[RIGHT[0], RIGHT[2]])])
    assert [asked.calls[0], asked.calls[2]] == [VALUES[0], VALUES[2]]
    assert len(asked.calls) == 3
    assert [error.index for error in asked.calls.errors] == [1]


def test_new_calls_beside_the_correction_are_appended(ask):
    asked = ask([Turn(calls=first_answer(2, 1)), Turn(calls=[RIGHT[1], Said("GoogleSearch", {"query": "Quito"})])])
    assert [*asked.calls][:2] == [*VALUES[:2]]
    assert [value.query for value in asked.calls[2:]] == ["Quito"]


@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
@pytest.mark.parametrize("again", [(), (Said("GoogleSearch", {"query": "Quito"}),)])
def test_what_is_not_sent_again_stays_as_it_was(ask, again):
    asked = ask([Turn(calls=first_answer(3, 1)), Turn(calls=again, text="I am sorry.")], max_retries=1)
    assert [*asked.calls][:3] == [VALUES[0], asked.calls.calls[1].error, VALUES[2]]
    assert len(asked.requests) == 2
    assert [error.index for error in asked.calls.errors] == [1]
    assert len(asked.calls) == 3 + len(again)


def test_what_is_not_sent_again_is_asked_for_once_more(ask):
    script = [Turn(calls=first_answer(3, 1)), Turn(text="I am sorry."), Turn(calls=[RIGHT[1]])]
    asked = ask(script, max_retries=2)
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 3


def test_a_correction_that_is_another_mistake(ask):
    asked = ask([Turn(calls=first_answer(3, 1)), Turn(calls=[Said("Weather", '{"units": "imperial"}')])])
    (error,) = asked.calls.errors
    assert (error.index, error.arguments) == (1, '{"units": "imperial"}')
    assert "location" in str(error)


# ------------------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("fault", ["ids-equal", "ids-missing", "ids-null", "ids-empty", "ids-numbers", "index-all-zero"])
def test_ids_tell_nothing(ask, fault):
    asked = ask(Sensible(Turn(calls=spoilt(5, 1, 3))), fault=fault)
    assert tuple(asked.calls) == VALUES
    assert asked.calls.errors == ()


def test_whole_arguments_that_are_sent_twice_are_one_call(ask):
    asked = ask([Turn(calls=first_answer(3, 1), fault="call-sent-twice"), Turn(calls=[RIGHT[1]], fault="call-sent-twice")])
    assert tuple(asked.calls) == VALUES[:3]
    assert asked.calls.errors == ()
