"""Bad calls are asked again while the first stream still runs: at once, few at a time, with half a turn as history."""

from __future__ import annotations

import time

import pytest

import polycall
from polycall.events import ReaskEvent, SealedEvent
from polycall.testing import Said, Sent, Turn
from support.reasks import ACCEPTED, CORRECTED, MORE_WAYS, RIGHT, TOOLS, VALUES, Sensible, check_messages, spoilt

SLACK = 1.0
"""Seconds that a busy machine may add; what is compared is far apart."""
STREAM = 0.6
TIMES = (0.05, 0.1, 0.5)
MANY = [
    Said("GoogleSearch", {"query": f"query{place}"}, wrong=f'{{"query": ["query{place}"]}}') for place in range(8)
]  # fmt: skip


@pytest.fixture
def mode():
    return "early"


@pytest.fixture(params=["openai", "pyreqwest asyncio"])
def way(request):
    return request.param


class Watched:
    """One stream with the time of each event, in seconds since its start."""

    def __init__(self, ask, script, **options) -> None:
        ask.server.script, ask.server.fault = script, None
        ask.server.requests.clear()
        ask.way.client.clear()
        self.events: list[tuple[float, object]] = []
        self._began = time.monotonic()
        self._options = {"tools": TOOLS, "errors": "return", **options}
        self.calls = ask.way.run(self._read_async(ask.way.client)) if ask.way.asynchronous else self._read(ask.way.client)
        self.total = time.monotonic() - self._began
        self.requests: list[Sent] = ask.server.requests
        self.sent = [sent.at - self._began for sent in self.requests]

    def _read(self, client):
        with client.stream("?", **self._options) as stream:
            for event in stream.events():
                self._note(event)
            return stream.result()

    async def _read_async(self, client):
        async with client.stream("?", **self._options) as stream:
            async for event in stream.events():
                self._note(event)
            return await stream.result()

    def _note(self, event) -> None:
        self.events.append((time.monotonic() - self._began, event))

    def sealed(self, index: int) -> list[tuple[float, bool]]:
        """Return when a call was sealed, and whether it was good."""
        found = [(at, event.call) for at, event in self.events if isinstance(event, SealedEvent)]
        return [(at, call.error is None) for at, call in found if call.index == index]


@pytest.mark.parametrize("way", MORE_WAYS, indirect=True)
def test_bad_call_is_corrected_before_the_stream_ends(ask):
    watched = Watched(ask, Sensible(Turn(calls=spoilt(3, 0), times=TIMES, end=STREAM)))
    assert tuple(watched.calls) == VALUES[:3]
    assert len(watched.requests) == 2
    assert watched.sent[1] < STREAM
    (bad, good) = watched.sealed(0)
    assert (bad[1], good[1]) == (False, True)
    assert good[0] < watched.sealed(2)[0][0]
    assert STREAM <= watched.total + 0.05 < STREAM + SLACK
    assert [event for _, event in watched.events if isinstance(event, ReaskEvent)] == [ReaskEvent(1, (0,))]
    assert [attempt.asked for attempt in watched.calls.attempts] == [(), (0,)]


def test_what_is_sent_early_is_half_a_turn_with_every_call_answered(ask):
    watched = Watched(ask, Sensible(Turn(calls=spoilt(3, 1), times=TIMES, end=STREAM)))
    first, again = watched.requests
    messages = again.body["messages"]
    question, turn, *answers = messages
    check_messages(messages, [question])
    assert question == first.body["messages"][0]
    assert [entry["id"] for entry in turn["tool_calls"]] == ["call_000_0000", "call_000_0001"]
    assert [answer["tool_call_id"] for answer in answers] == ["call_000_0000", "call_000_0001"]
    assert answers[0]["content"] == ACCEPTED
    assert answers[1]["content"].startswith('{"error":"invalid arguments"')
    assert len(again.raw) <= len(first.raw) + len(str(turn)) + 2 * 128 + 4096
    assert {**again.body, "messages": None} == {**first.body, "messages": None}
    reply = watched.calls.reply(["a", "b", "c"])
    check_messages([*watched.calls.reply(["done"] * 3), {"role": "user"}], [question])
    told = {message["tool_call_id"]: message["content"] for message in reply if message["role"] == "tool"}
    assert (told["call_000_0000"], told["call_001_0000"], told["call_000_0002"]) == ("a", "b", "c")
    assert told["call_000_0001"] == CORRECTED


def test_bad_last_call_costs_one_round_trip_more(ask):
    watched = Watched(ask, Sensible(Turn(calls=spoilt(3, 2), times=(0.05, 0.1, 0.3), end=0.3)))
    assert tuple(watched.calls) == VALUES[:3]
    assert len(watched.requests) == 2
    assert watched.total < 0.3 + SLACK


def test_slow_correction_of_an_early_call_runs_beside_the_stream(ask):
    turn = Turn(calls=spoilt(3, 0), times=(0.05, 0.1, 0.5), end=0.5)
    watched = Watched(ask, Sensible(turn, lambda calls: Turn(calls=calls, times=(0.6,), end=0.6)))
    assert tuple(watched.calls) == VALUES[:3]
    assert 0.6 < watched.total < 0.5 + 0.6  # and not one after the other
    assert watched.calls.finish_reason == "tool_calls"


def test_several_bad_calls_at_different_times(ask):
    turn = Turn(calls=spoilt(5, 0, 1, 3), times=(0.05, 0.25, 0.3, 0.45, 0.9), end=0.9)
    watched = Watched(ask, Sensible(turn))
    assert tuple(watched.calls) == VALUES
    assert watched.calls.errors == ()
    assert len(watched.requests) == 4
    assert [attempt.asked for attempt in watched.calls.attempts] == [(), (0,), (1,), (3,)]
    assert all(at < 0.9 for at in watched.sent)
    for place in (0, 1, 3):
        assert [good for _, good in watched.sealed(place)] == [False, True]
        assert watched.sealed(place)[1][0] < 0.9
    for place in (2, 4):
        assert [good for _, good in watched.sealed(place)] == [True]
    for sent in watched.requests[1:]:
        check_messages(sent.body["messages"], watched.requests[0].body["messages"])


def test_never_more_than_four_beside_the_stream(ask):
    slow = 0.3
    times = tuple(0.05 + 0.05 * place for place in range(8))
    turn = Turn(calls=MANY, times=times, end=0.9)
    watched = Watched(ask, Sensible(turn, lambda calls: Turn(calls=calls, times=(slow,) * len(calls), end=slow)))
    assert [value.query for value in watched.calls] == [f"query{place}" for place in range(8)]
    early = [at for at in watched.sent[1:] if at < 0.9]
    assert len(early) >= 4
    for at in early:
        assert sum(at - slow < other <= at for other in early) <= 4
    asked = [place for attempt in watched.calls.attempts for place in attempt.asked]
    assert sorted(asked) == list(range(8))


def test_values_come_in_the_order_of_their_completion(ask):
    def values() -> list:
        ask.server.script = Sensible(Turn(calls=spoilt(3, 0), times=TIMES, end=STREAM))
        if not ask.way.asynchronous:
            with ask.way.client.stream("?", tools=TOOLS) as stream:
                return list(stream)

        async def read() -> list:
            async with ask.way.client.stream("?", tools=TOOLS) as stream:
                return [value async for value in stream]

        return ask.way.run(read())

    assert values() in ([VALUES[0], VALUES[1], VALUES[2]], [VALUES[1], VALUES[0], VALUES[2]])


def test_bad_for_ever_is_asked_as_often_as_said(ask):
    wrong = [f'{{"location": "Toronto", "try": {number}}}' for number in range(9)]
    calls = [Said("Weather", RIGHT[0].arguments, wrong=wrong), *RIGHT[1:3]]
    watched = Watched(ask, Sensible(Turn(calls=calls, times=(0.05, 0.1, 0.4), end=0.4)), max_retries=3)
    assert len(watched.requests) == 4
    assert [error.index for error in watched.calls.errors] == [0]
    assert len(watched.calls) == 3


def test_each_try_is_shown_what_was_wrong_with_the_one_before(ask):
    wrong = ['{"location": "Toronto"}', '{"units": "metric"}']
    calls = [Said("Weather", RIGHT[0].arguments, wrong=wrong), *RIGHT[1:3]]
    watched = Watched(ask, Sensible(Turn(calls=calls, times=(0.05, 0.1, 0.4), end=0.4)), max_retries=2)
    assert tuple(watched.calls) == VALUES[:3]
    assert len(watched.requests) == 3
    said = [str(sent.body["messages"]) for sent in watched.requests]
    assert ["units: Field required" in one for one in said[:2]] == [False, True]
    assert ["location: Field required" in one for one in said] == [False, False, True]


def again_all(calls):
    """Send the corrections behind a good call that is already there, and one that is only about to come."""
    return Turn(calls=[RIGHT[0], *calls, RIGHT[2]])


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(again_all, id="all"),
        pytest.param(lambda calls: Turn(calls=[RIGHT[2], *calls, RIGHT[0]]), id="all, in another order"),
        pytest.param(lambda calls: Turn(calls=[*calls, *RIGHT[2:5]]), id="what is still to come"),
        pytest.param(
            lambda calls: Turn(calls=[Said("Weather", {"location": "Toronto", "units": "imperial"}), *calls]), id="changed"
        ),
    ],
)
def test_other_calls_in_an_early_answer_change_nothing(ask, again):
    watched = Watched(ask, Sensible(Turn(calls=spoilt(5, 1), times=(0.05, 0.1, 0.3), end=0.3), again))
    assert tuple(watched.calls) == VALUES
    assert watched.calls.errors == ()
    assert len(watched.requests) == 2


def test_not_early_with_a_budget_or_at_the_end(ask):
    for options in ({"reask": "end"}, {"max_tokens_total": 100_000}):
        watched = Watched(ask, Sensible(Turn(calls=spoilt(3, 0), times=(0.05, 0.1, 0.3), end=0.3)), **options)
        assert tuple(watched.calls) == VALUES[:3]
        assert watched.sent[1] >= 0.3
        assert len(watched.requests[1].body["messages"][1]["tool_calls"]) == 3


def test_stream_that_breaks_while_a_call_is_asked_again(ask):
    script = Sensible(Turn(calls=spoilt(3, 0), times=(0.1, 0.5, 0.5), end=0.5, pieces=4))

    def broken(sent):
        turns = script(sent)
        if len(turns) == 1:
            first = turns[0]
            return Turn(calls=first.calls, times=first.times, end=first.end, pieces=4, fault="close-inside-call")
        return turns

    watched = Watched(ask, broken, max_retries=0)
    assert len(watched.requests) == 1
    assert isinstance(watched.calls.errors[-1], polycall.CutOffError)
    watched = Watched(ask, broken, max_retries=1)
    assert watched.calls[0] == VALUES[0]
    assert len(watched.requests) == 3
