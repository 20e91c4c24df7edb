"""Which call of an answer stands where, when the model was asked again."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall._merge import merge, surely
from polycall._places import Places
from polycall.call import Call
from polycall.errors import InvalidArgumentsError, UnknownToolError

NAMES = {"city", "hour", "note"}


def good(text, name="Weather"):
    return Call(0, None, name, text, "ok")


def bad(text, name="Weather"):
    return Call(0, None, name, text, "invalid", InvalidArgumentsError("bad", index=0, tool=name))


def unknown(text, name="Tool"):
    return Call(0, None, name, text, "unknown", UnknownToolError("unknown", index=0, tool=name))


def city(name):
    return f'{{"city":"{name}"}}'


def alarm(hour):
    return good(f'{{"hour":{hour}}}', "Alarm")


ROME, OSLO, BONN = (good(city(name)) for name in ("Rome", "Oslo", "Bonn"))
BROKEN = bad("{")


def places(*calls, asked=None):
    """Return what an answer is compared with; all bad calls are asked again where nothing else is said."""
    by_place = dict(enumerate(calls))
    asked = [place for place, call in by_place.items() if call.error is not None] if asked is None else asked
    return Places(by_place, frozenset(asked), NAMES)


def merged(outcome, *answer, fixed=None, **options):
    found = merge(dict(enumerate(answer)), outcome, fixed or {}, **options)
    return found.fixes, found.resent


# ------------------------------------------------------------------------------------------------- only the bad ones come


def test_one_correction():
    assert merged(places(ROME, BROKEN, OSLO), BONN) == ({0: 1}, {})


def test_corrections_in_order():
    assert merged(places(BROKEN, ROME, BROKEN, BROKEN), OSLO, OSLO, BONN) == ({0: 0, 1: 2, 2: 3}, {})


def test_a_correction_may_be_equal_to_a_good_call():
    assert merged(places(ROME, BROKEN), ROME) == ({0: 1}, {})
    assert merged(places(ROME, BROKEN, BROKEN), ROME, OSLO) == ({0: 1, 1: 2}, {})
    assert merged(places(ROME, BROKEN, BROKEN), OSLO, ROME) == ({0: 1, 1: 2}, {})
    assert merged(places(ROME, bad("[]"), bad('{"city":["Oslo"]}')), ROME, OSLO, fixed={1: 2}) == ({0: 1, 1: 2}, {})


def test_a_good_call_once_more_corrects_nothing_that_says_something_else():
    assert merged(places(ROME, bad('{"city":["Oslo"]}')), ROME) == ({}, {0: 0})
    assert merged(places(ROME, bad('{"city":"Oslo"')), ROME, OSLO) == ({1: 1}, {0: 0})


@pytest.mark.parametrize("literal", ["null", "true", "{}", "[]", '""'])
def test_literals_and_names_say_nothing(literal):
    assert merged(places(ROME, bad(f'{{"city":{literal}}}')), ROME) == ({0: 1}, {})
    assert merged(places(ROME, bad(f'{{"city":{literal}')), ROME) == ({0: 1}, {})


def test_words_in_common_tell_more_than_the_order():
    outcome = places(bad('{"city":["Rome"]}'), bad('{"city":"Oslo"'), bad("Bonn, please"))
    assert merged(outcome, BONN, ROME, OSLO) == ({0: 2, 1: 0, 2: 1}, {})
    assert merged(outcome, OSLO) == ({0: 1}, {})
    assert merged(outcome, BONN, OSLO) == ({0: 2, 1: 1}, {})
    assert merged(outcome, ROME, BONN, OSLO, ROME) == ({0: 0, 1: 2, 2: 1}, {})


def test_escaped_words_are_words():
    outcome = places(bad('{"city":["R\\u00f6m"]}'), bad('{"city":["Köln"]}'))
    assert merged(outcome, good(city("Köln")), good(city("Röm"))) == ({0: 1, 1: 0}, {})


def test_numbers_are_words():
    outcome = places(bad('{"hour":"7"}', "Alarm"), bad('{"hour":"8"}', "Alarm"))
    assert merged(outcome, alarm(8), alarm(7)) == ({0: 1, 1: 0}, {})


def test_words_that_good_calls_have_too_tell_nothing():
    outcome = places(ROME, bad('{"city":["Rome"]}'), bad('{"city":["Oslo","Rome"]}'))
    assert merged(outcome, BONN, ROME) == ({0: 1, 1: 2}, {})


def test_words_that_many_bad_calls_have_tell_nothing():
    many = [bad(f'{{"city":["Rome {number}"]}}') for number in range(20)]
    assert merged(places(*many), good(city("Rome 7")), good(city("Rome 3"))) == ({0: 7, 1: 3}, {})


def test_a_place_is_corrected_once():
    outcome = places(BROKEN, unknown(city("Rome"), "Weathers"), bad("[]"))
    assert merged(outcome, OSLO, ROME, ROME) == ({0: 0, 1: 1, 2: 2}, {})


def test_tools_are_kept_apart():
    outcome = places(BROKEN, bad("{", "Alarm"))
    assert merged(outcome, alarm(7), ROME) == ({0: 1, 1: 0}, {})
    assert merged(outcome, alarm(7)) == ({0: 1}, {})


def test_a_tool_that_was_not_offered_may_become_any():
    assert merged(places(unknown("{}")), alarm(7)) == ({0: 0}, {})
    assert merged(places(unknown("{}"), BROKEN), ROME, OSLO) == ({0: 0, 1: 1}, {})
    assert merged(places(unknown("{}"), BROKEN), ROME) == ({0: 1}, {})  # the call of its own tool is the likelier


def test_more_than_was_asked_for():
    fixes, resent = merged(places(BROKEN), ROME, OSLO)
    assert (fixes, resent) == ({0: 0}, {})
    assert merged(places(), ROME) == ({}, {})


def test_nothing():
    assert merged(places(BROKEN, ROME)) == ({}, {})
    assert merged(places()) == ({}, {})


# ----------------------------------------------------------------------------------------------------------- all of them


def test_all_once_more():
    assert merged(places(ROME, BROKEN, OSLO), ROME, BONN, OSLO) == ({1: 1}, {0: 0, 2: 2})
    assert merged(places(BROKEN, BROKEN, ROME), ROME, OSLO, ROME) == ({0: 0, 1: 1}, {2: 2})
    assert merged(places(*[ROME] * 7, BROKEN, BROKEN, ROME), *[ROME] * 8, OSLO, ROME)[0] == {7: 7, 8: 8}


def test_arguments_are_the_same_however_they_are_written():
    again = good('{ "city" : "R\\u006fme" }')
    assert merged(places(ROME, BROKEN), again, OSLO) == ({1: 1}, {0: 0})
    stop = [good(text, "Stop") for text in ("", "null", "{}", " { } ")]
    assert merged(places(stop[0], BROKEN), stop[1], ROME) == ({1: 1}, {0: 0})
    assert merged(places(stop[2], BROKEN), stop[3], ROME) == ({1: 1}, {0: 0})


def test_good_ones_that_come_changed_stay_where_they_were():
    assert merged(places(ROME, BROKEN, OSLO), good(city("Roma")), BONN, OSLO)[0] == {1: 1}
    assert merged(places(ROME, BONN, BROKEN), alarm(7), good(city("Bonn, Germany")), OSLO) == ({2: 2}, {1: 1})


def test_all_and_more():
    fixes, resent = merged(places(ROME, BROKEN), ROME, OSLO, BONN)
    assert fixes == {1: 1}
    assert resent == {0: 0}


def test_half_a_turn_that_comes_whole_once_more():
    """While the stream runs a call that is not complete is left out: the order tells, and not the number."""
    outcome = Places({0: ROME, 2: alarm(7), 3: unknown("{}"), 4: OSLO, 5: unknown("{}")}, frozenset([5]), NAMES)
    assert merged(outcome, ROME, alarm(7), unknown("{}"), OSLO, OSLO) == ({4: 5}, {0: 0, 1: 2, 2: 3, 3: 4})


def test_bad_ones_that_others_ask_for_are_no_corrections():
    outcome = places(bad('{"city":["Rome"]}'), bad('{"city":["Oslo"]}'), asked=[1])
    assert merged(outcome, bad('{"city":["Rome"]}'), OSLO) == ({1: 1}, {0: 0})


# ----------------------------------------------------------------------------------------------------------------- at once


def test_surely():
    assert surely(ROME, places(BROKEN)) == 0
    assert surely(ROME, places(alarm(7), BROKEN)) == 1
    assert surely(alarm(7), places(unknown("{}"))) == 0
    assert surely(OSLO, places(ROME, bad('{"city":["Oslo"]}'))) == 1
    assert surely(OSLO, places(bad('{"city":["Rome"]}'), bad('{"city":["Oslo"]}'))) == 1


def test_not_surely():
    assert surely(ROME, places(ROME, BROKEN)) is None  # that one may come once more
    assert surely(OSLO, places(ROME, BROKEN)) is None  # it may be that one, changed
    assert surely(alarm(7), places(BROKEN)) is None  # a new call
    assert surely(ROME, places(BROKEN, BROKEN)) is None
    assert surely(ROME, places(bad('{"city":["Rome"]}'), bad('{"city":"Rome"'))) is None
    assert surely(ROME, places(bad('{"city":["Rome"]}'), BROKEN)) is None
    assert surely(ROME, places(bad('{"city":["Rome"]}'), unknown("{}"))) is None
    assert surely(ROME, places(bad('{"city":["Rome"]}'), bad('{"city":["Oslo"]}'), asked=[1])) is None
    assert surely(alarm(7), places(unknown("{}"), unknown("{}"), asked=[1])) is None


# -------------------------------------------------------------------------------------------------------------- properties

texts = st.sampled_from(["{", "[]", "", '{"city":["Rome"]}', '{"city":["Oslo"]}', '{"city":"Rome', "Oslo Rome", '{"hour":"7"}'])
goods = st.sampled_from([ROME, OSLO, BONN, alarm(7), alarm(8), good("{}", "Stop"), good("", "Stop")])
bads = st.builds(bad, texts, st.sampled_from(["Weather", "Alarm", "Stop"])) | st.builds(unknown, texts)


@given(st.data(), st.lists(goods | bads, max_size=10), st.lists(goods | bads, max_size=12), st.booleans())
def test_each_call_and_each_place_is_paired_once(data, calls, answer, gap):
    wrong = [place for place, call in enumerate(calls) if call.error is not None]
    outcome = places(*calls, asked=data.draw(st.sets(st.sampled_from(wrong))) if wrong else [])
    fixed = {}
    for position, call in enumerate(answer):
        place = surely(call, outcome)
        if place is not None and place not in fixed.values():
            fixed[position] = place
    fixes, resent = merged(outcome, *answer, fixed=fixed, gap=gap)
    assert not set(fixes) & set(resent)
    assert fixed.items() <= fixes.items()
    assert len(set(fixes.values())) == len(fixes)
    assert len(set(resent.values())) == len(resent)
    assert set(fixes.values()) <= set(outcome.open)
    assert not set(resent.values()) & set(outcome.open)
    assert (fixes, resent) == merged(outcome, *answer, fixed=fixed, gap=gap)


# -------------------------------------------------------------------------------------------------------------------- cost


class Number(int):
    """A number that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Number.compared += 1
        return super().__eq__(other)

    __hash__ = int.__hash__


def effort(work):
    """Return how many lines and comparisons of positions some work takes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before, Number.compared = sys.gettrace(), 0
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count + Number.compared


DISTINCT = [good(city(f"c{number}")) for number in range(1000)]
SIZES = {
    "nothing in common": ([BROKEN], [ROME]),
    "equal": ([bad('{"city":["Rome"]}')], [ROME]),
    "equal to good ones": ([ROME, BROKEN], [ROME]),
    "equal good ones": ([ROME], [ROME]),
    "unknown": ([unknown("{}")], [ROME]),
    "unknown both": ([unknown("{}")], [unknown("{}")]),
    "no tool": ([BROKEN], [unknown("{}")]),
    "another tool": ([BROKEN], [alarm(7)]),
    "distinct": ([bad(f'{{"city":["c{number}"]}}') for number in range(1000)], DISTINCT),
    "distinct, backwards": ([bad(f'{{"city":["c{number}"]}}') for number in range(1000)], DISTINCT[::-1]),
    "many words": ([bad("a b c d e f g h Rome")], [ROME]),
    "changed": (DISTINCT, DISTINCT[::-1]),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("case", SIZES)
def test_the_cost_is_linear(case, whole):
    outcome, answer = SIZES[case]

    def work(size):
        calls = {Number(number): outcome[number % len(outcome)] for number in range(size)}
        asked = frozenset(place for place, call in calls.items() if call.error is not None)
        again = {Number(number): answer[number % len(answer)] for number in range(size if whole else size - 1)}
        compared = Places(calls, asked, NAMES)
        fixed = {}
        for position, call in again.items():
            place = surely(call, compared)
            if place is not None:
                fixed[position] = place
        merge(again, compared, {} if len(set(fixed.values())) < len(fixed) else fixed)

    assert effort(lambda: work(1000)) < 6 * effort(lambda: work(250))
