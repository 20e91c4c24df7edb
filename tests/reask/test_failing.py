"""Requests that ask again and fail, take too long, or may not be sent: nothing that was good is lost."""

from __future__ import annotations

import time

import openai
import pytest

import polycall
from polycall import DeadlineError, InvalidArgumentsError, LimitError, TransportError
from polycall.testing import ModelServer, Said, Turn
from support.reasks import MORE_WAYS, RIGHT, TOOLS, VALUES, Asker, Sensible, Way, first_answer, spoilt


@pytest.fixture
def asking(way, mode):
    """Give a function like ``ask`` with a server and a client of its own; how the client is made is up to the test."""
    made = []

    def asking(**options):
        server = ModelServer()
        server.__enter__()
        client = Way(way, server.url, **options)
        made.append((server, client))
        return Asker(server, client, mode)

    yield asking
    for server, client in made:
        client.close()
        assert way == "openai" or server.settle()  # a blocking call of the SDK is left behind at a deadline
        server.__exit__(None, None, None)


def check_kept(calls, kind) -> None:
    """The good calls are there, the bad one is as it was, and what failed is told."""
    assert [calls[0], calls[2]] == [VALUES[0], VALUES[2]]
    assert len(calls) == 3
    (error,) = calls.errors
    assert isinstance(error, InvalidArgumentsError)
    assert error.index == 1
    assert isinstance(calls.stopped, kind), calls.stopped
    assert calls.usage == calls.attempts[0].usage
    assert len([attempt for attempt in calls.attempts if attempt.calls]) == 1
    assert "sk-canary" not in f"{calls.stopped!r} {calls.stopped}"


@pytest.mark.parametrize("way", MORE_WAYS, indirect=True)
@pytest.mark.parametrize(
    "fault", ["500-always", "401", "429-always", "400", "200-html", "200-empty", "close-after-request-always"]
)
def test_reask_that_is_refused(ask, fault):
    script = [Turn(calls=first_answer(3, 1)), Turn(calls=[RIGHT[1]], fault=fault)]
    kinds = (openai.OpenAIError, TransportError) if ask.way.by_sdk else TransportError
    script.append(script[1])  # what has failed early is asked once more at the end
    asked = ask(script, check=False, max_retries=2)
    check_kept(asked.calls, kinds)
    assert len(asked.requests) in ({2, 3} if ask.early else {2})
    assert len(asked.hooks["completion:error"]) >= 1
    with pytest.raises(polycall.CallErrors) as caught:
        ask(script, check=False, errors="raise")
    check_kept(caught.value.calls, kinds)
    assert caught.value.__cause__ is caught.value.calls.stopped
    reply = caught.value.calls.reply({0: "a", 2: "c"})
    assert sum(message["role"] == "tool" for message in reply) == 3


@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
def test_reask_that_is_refused_once_is_sent_again_without_an_sdk(ask):
    script = [Turn(calls=first_answer(3, 1)), Turn(calls=[RIGHT[1]], fault="500-once")]
    if ask.way.by_sdk:
        asked = ask(script, check=False)
        assert isinstance(asked.calls.stopped, openai.InternalServerError)
        return
    asked = ask(script, check=False, retries=1)
    assert tuple(asked.calls) == VALUES[:3]
    assert asked.calls.stopped is None
    assert len(asked.requests) == 3
    assert asked.requests[1].raw == asked.requests[2].raw


@pytest.mark.parametrize("mode", ["whole", "end"], indirect=True)
def test_server_that_has_gone_when_it_is_asked_again(asking):
    ask = asking()
    refused = []

    def gone(_) -> None:
        if not refused:
            refused.append(True)
            ask.server.fault = "connection-refused"

    ask.server.script = [Turn(calls=first_answer(3, 1)), Turn(calls=[RIGHT[1]])]
    ask.way.client.on("attempt", gone)
    calls = ask.way.ask("?", stream=ask.mode != "whole", tools=TOOLS, errors="return", **ask.options)
    check_kept(calls, (openai.APIConnectionError, TransportError))
    assert refused


@pytest.mark.parametrize(
    ("mode", "fault"), [("whole", "stall-before-headers"), ("early", "stall-inside-body")], indirect=["mode"]
)
def test_deadline_within_a_reask(asking, fault):
    ask = asking()
    script = [Turn(calls=first_answer(3, 1)), Turn(calls=[RIGHT[1]], fault=fault)]
    start = time.monotonic()
    asked = ask(script, check=False, timeout=0.3)
    assert 0.25 < time.monotonic() - start < 2.5
    check_kept(asked.calls, DeadlineError)
    assert len(asked.requests) == 2


@pytest.mark.parametrize("mode", ["whole"], indirect=True)
@pytest.mark.parametrize("way", ["openai", "openai asyncio"], indirect=True)
def test_timeout_of_the_sdk_within_a_reask(asking):
    ask = asking(timeout=0.3)
    asked = ask([Turn(calls=first_answer(3, 1)), Turn(calls=[RIGHT[1]], fault="stall-before-headers")], check=False)
    check_kept(asked.calls, openai.APITimeoutError)


@pytest.mark.parametrize("mode", ["whole"], indirect=True)
@pytest.mark.parametrize("way", ["openai asyncio", "pyreqwest"], indirect=True)
def test_deadline_between_two_reasks(asking):
    ask = asking()
    turn = Turn(
        calls=[Said("Weather", RIGHT[0].arguments, wrong=[f'{{"location": "Toronto {number}"}}' for number in range(99)])]
    )
    slow = Sensible(turn, lambda calls: Turn(calls=calls, times=(0.15,), end=0.15))
    start = time.monotonic()
    asked = ask(slow, check=False, timeout=0.5, max_retries=99)
    assert time.monotonic() - start < 2.5
    assert isinstance(asked.calls.stopped, DeadlineError)
    assert 2 <= len(asked.requests) <= 6
    assert len(asked.calls) == 1


def test_stream_cut_in_a_reask_keeps_what_came(ask):
    script = [Turn(calls=first_answer(5, 1, 3)), Turn(calls=[RIGHT[1], RIGHT[3]], fault="finish-length-inside-call")]
    asked = ask(script, check=False, reask="end")
    assert asked.calls[1] == VALUES[1]
    assert [asked.calls[place] for place in (0, 2, 4)] == [VALUES[place] for place in (0, 2, 4)]
    assert [error.index for error in asked.calls.errors if error.index < 5] == [3]


# ----------------------------------------------------------------------------------------------------------------- tokens


def used(ask) -> int:
    """Return how many tokens the first request takes with its answer."""
    usage = ask(spoilt(3, 1), max_retries=0).calls.usage
    return usage.input_tokens + usage.output_tokens


def test_budget_that_is_spent_stops_before_sending(ask):
    taken = used(ask)
    for most in (0, 1, taken, 2 * taken - 1):
        asked = ask(spoilt(3, 1), max_tokens_total=most)
        assert len(asked.requests) == 1
        check_kept(asked.calls, LimitError)
        assert f"max_tokens_total={most}" in str(asked.calls.stopped)


def test_budget_that_is_enough(ask):
    taken = used(ask)
    asked = ask(spoilt(3, 1), max_tokens_total=10 * taken)
    assert tuple(asked.calls) == VALUES[:3]
    assert asked.calls.stopped is None
    assert asked.calls.usage.input_tokens + asked.calls.usage.output_tokens <= 10 * taken


def test_budget_for_some_of_the_retries(ask):
    taken = used(ask)
    asked = ask(spoilt(3, 1, times=99), max_tokens_total=12 * taken, max_retries=99)
    assert 3 <= len(asked.requests) < 12
    assert isinstance(asked.calls.stopped, LimitError)
    spent = asked.calls.usage.input_tokens + asked.calls.usage.output_tokens
    assert spent <= 13 * taken  # what the last request takes is not known before
    with pytest.raises(polycall.CallErrors) as caught:
        ask(spoilt(3, 1, times=99), max_tokens_total=12 * taken, max_retries=99, errors="raise")
    assert isinstance(caught.value.__cause__, LimitError)


def test_budget_where_the_service_does_not_count(ask):
    script = [Turn(calls=first_answer(3, 1), fault="usage-missing"), Turn(calls=[RIGHT[1]])]
    asked = ask(script, max_tokens_total=1_000_000, check=False)
    assert len(asked.requests) == 1
    check_kept(asked.calls, LimitError)
    assert "does not count" in str(asked.calls.stopped)


def test_budget_is_no_matter_where_all_is_good(ask):
    asked = ask(RIGHT, max_tokens_total=1)
    assert tuple(asked.calls) == VALUES
    assert asked.calls.stopped is None


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "100"])
def test_budget_that_is_none(wrong):
    with pytest.raises(polycall.UsageError):
        polycall.from_provider("openai/m", base_url="http://localhost:1", api_key="k").payload(
            "?", tools=TOOLS, max_tokens_total=wrong
        )
