"""Validators that await something: run beside everything else, on both kinds of clients; what they refuse is asked again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pydantic import BaseModel

import polycall
from polycall import InvalidArgumentsError, async_field_validator, async_model_validator
from polycall.testing import Said, Turn
from support.reasks import KEY, RIGHT, VALUES, Weather, compact

PATH = "/srv/private/towns.db"
SEEN: list[Any] = []


class Town(BaseModel):
    """Look a town up."""

    name: str
    size: int = 0

    @async_field_validator("name")
    async def exists(self, name: str) -> None:
        await asyncio.sleep(0.001)
        if name == "Atlantis":
            message = "there is no town called Atlantis"
            raise ValueError(message)
        if name == "Lost":
            raise FileNotFoundError(2, "No such file", PATH)
        if name == "Nowhere":
            raise KeyError(PATH, KEY)
        if name == "Babel":
            raise AssertionError("Babel is too high")

    @async_model_validator()
    async def fits(self, info: polycall.AsyncValidationInfo) -> None:
        await asyncio.sleep(0.001)
        SEEN.append((info.context, info.field_name))
        if self.size > 100:
            message = f"{self.name} cannot be so big"
            raise ValueError(message)


class Tour(BaseModel):
    """Plan a tour."""

    towns: list[Town]
    first: Town | None = None


class Slow(BaseModel):
    """Take some time."""

    number: int

    @async_field_validator("number")
    async def waits(self, number: int, info: polycall.AsyncValidationInfo) -> None:
        await asyncio.sleep(0.1)
        if number < 0:
            message = f"{info.field_name} is below {info.context}"
            raise ValueError(message)


def town(name: str, wrong: dict[str, Any]) -> Said:
    return Said("Town", {"name": name}, wrong=compact(wrong))


def problems(asked, number: int = -1) -> list[list[str]]:
    return [told["problems"] for told in asked.told(number).values() if isinstance(told, dict)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "Atlantis"}, ["name: there is no town called Atlantis"]),
        ({"name": "Babel"}, ["name: Babel is too high"]),
        ({"name": "Rome", "size": 101}, ["Rome cannot be so big"]),
        ({"name": "Atlantis", "size": 101}, ["name: there is no town called Atlantis", "Atlantis cannot be so big"]),
        ({"name": "Lost"}, ["name: the tool's own check failed with FileNotFoundError"]),
        ({"name": "Nowhere"}, ["name: the tool's own check failed with KeyError"]),
    ],
)
def test_what_they_refuse_is_asked_again(ask, wrong, told):
    asked = ask([RIGHT[0], town("Athens", wrong), RIGHT[1]], tools=[Weather, Town])
    assert list(asked.calls) == [VALUES[0], Town(name="Athens"), VALUES[1]]
    assert len(asked.requests) == 2
    assert problems(asked) == [told]
    (error,) = asked.calls.attempts[0].errors
    assert isinstance(error, InvalidArgumentsError)
    assert asked.calls.attempts[0].calls[1].outcome == "invalid"
    for sent in asked.requests:
        assert PATH not in sent.raw.decode()
    for secret in (PATH, KEY, "Atlantis", "Babel", "Rome"):
        assert secret not in f"{error} {error!r}"


def test_good_values_pass_and_the_context_is_seen(ask):
    SEEN.clear()
    context = {"user": 7}
    asked = ask([*RIGHT[:2], Said("Town", {"name": "Rome"})], tools=[Weather, Town], context=context)
    assert list(asked.calls) == [*VALUES[:2], Town(name="Rome")]
    assert len(asked.requests) == 1
    assert [(context, None)] == SEEN
    assert SEEN[0][0] is context


def test_bad_for_ever(ask):
    asked = ask(
        [Said("Town", {"name": "Athens"}, wrong=['{"name": "Atlantis"}'] * 9), RIGHT[0]], tools=[Weather, Town], max_retries=2
    )
    assert len(asked.requests) == 3
    assert asked.calls[1] == VALUES[0]
    assert [error.index for error in asked.calls.errors] == [0]


def test_nested_values_are_checked_too(ask):
    wrong = {"towns": [{"name": "Athens"}, {"name": "Atlantis"}], "first": {"name": "Babel"}}
    right = {"towns": [{"name": "Athens"}, {"name": "Rome"}]}
    asked = ask([Said("Tour", right, wrong=compact(wrong))], tools=[Tour])
    assert list(asked.calls) == [Tour.model_validate(right)]
    assert sorted(problems(asked)[0]) == ["first.name: Babel is too high", "towns.1.name: there is no town called Atlantis"]


def test_what_pydantic_refuses_is_not_awaited(ask):
    SEEN.clear()
    asked = ask([town("Athens", {"name": "Atlantis", "size": "big"})], tools=[Town])
    assert list(asked.calls) == [Town(name="Athens")]
    assert len(SEEN) == 1
    (told,) = problems(asked)
    assert [problem.partition(":")[0] for problem in told] == ["size"]


def test_those_of_several_calls_run_at_the_same_time(ask):
    asked = [Said("Slow", {"number": number}) for number in range(8)]
    start = time.monotonic()
    calls = ask(asked, tools=[Slow]).calls
    assert [value.number for value in calls] == list(range(8))
    assert time.monotonic() - start < 8 * 0.1


@pytest.mark.parametrize("mode", ["early"], indirect=True)
def test_they_run_beside_the_stream(ask):
    calls = [Said("Slow", {"number": 1}, wrong='{"number": -1}'), Said("Slow", {"number": 2})]

    def script(sent):
        first = Turn(calls=[Said("Slow", calls[0].wrong), calls[1]], times=(0.05, 0.5), end=0.5)
        answered = sum(message["role"] == "assistant" for message in sent.body["messages"])
        return [Turn(), Turn(calls=[Said("Slow", {"number": 1})])] if answered else first

    start = time.monotonic()
    asked = ask(script, tools=[Slow], context="zero")
    total = time.monotonic() - start
    assert [value.number for value in asked.calls] == [1, 2]
    assert problems(asked) == [["number: number is below zero"]]
    assert len(asked.sent()[1]["tool_calls"]) == 1  # the stream was still running
    assert total < 0.5 + 0.1 + 1.0


@pytest.mark.parametrize("mode", ["whole"], indirect=True)
def test_deadline_while_one_awaits(ask):
    class Endless(BaseModel):
        number: int

        @async_field_validator("number")
        async def waits(self, number: int) -> None:
            await asyncio.sleep(20)

    start = time.monotonic()
    with pytest.raises(polycall.PolycallError) as caught:
        ask([Said("Endless", {"number": 1}), RIGHT[0]], tools=[Endless, Weather], timeout=0.3, check=False, errors="raise")
    assert time.monotonic() - start < 2
    assert "0.3 seconds" in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("way", ["openai", "pyreqwest", "httpx2"], indirect=True)
def test_blocking_client_inside_of_a_running_loop(ask):
    async def inside() -> Any:
        task = asyncio.create_task(asyncio.sleep(0))
        asked = ask([town("Athens", {"name": "Atlantis"}), RIGHT[0]], tools=[Weather, Town])
        await task
        return asked

    asked = asyncio.run(inside())
    assert list(asked.calls) == [Town(name="Athens"), VALUES[0]]
    assert len(asked.requests) == 2


@pytest.mark.parametrize("mode", ["whole"], indirect=True)
def test_functions_and_dataclasses_are_checked_by_their_parts(ask):
    def visit(town: Town, days: int = 1) -> str:
        """Visit a town."""
        return f"{days} days in {town.name}"

    right = {"town": {"name": "Athens"}}
    asked = ask([Said("visit", right, wrong='{"town": {"name": "Atlantis"}}')], tools=[visit])
    assert asked.calls[0]() == "1 days in Athens"
    assert problems(asked) == [["town.name: there is no town called Atlantis"]]
