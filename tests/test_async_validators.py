"""Validators that await something decide about a call like any other check, wherever they stand."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import time
from typing import Any

import pydantic
import pytest
from pydantic import ConfigDict
from typing_extensions import TypedDict

import polycall
from polycall import AsyncValidationInfo, async_field_validator, async_model_validator
from polycall._async_validators import needs_awaiting
from polycall._effects import Do
from polycall._pump import pump
from polycall.call import Call
from polycall.errors import CallErrors, DeadlineError, InvalidArgumentsError, UsageError
from support import chat
from support.memory import Script, async_client, client


class Place(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str
    seconds: float = 0

    @async_field_validator("city")
    async def city_exists(self, city):
        await asyncio.sleep(self.seconds)
        if city == "Atlantis":
            raise ValueError(f"there is no {city}")
        if city == "Nowhere":
            raise AssertionError("nowhere is no place")
        if city == "Broken":
            raise KeyError("/etc/passwd")
        return "ignored"


class Trip(pydantic.BaseModel):
    start: Place
    stops: list[Place] = []
    named: dict[str, Place] = {}

    @async_model_validator()
    async def goes_somewhere(self, info: AsyncValidationInfo):
        assert info.field_name is None
        if self.start.city in (info.context or ()):
            raise ValueError("this is closed")


@dataclasses.dataclass
class Stay:
    place: Place
    nights: int

    @async_field_validator("nights", "place")
    async def is_known(self, value, info):
        if info.context == info.field_name:
            raise ValueError(f"{info.field_name} is refused")


class Tour(TypedDict):
    stays: list[Stay]


def walk(place: Place, to: tuple[Place, ...] = ()):
    """Walk somewhere."""
    return place.city


def place(city, **others):
    return {"city": city, **others}


TOOLS = [Place, Trip, Stay, Tour, walk]


def script(*said):
    return Script(
        [chat.body(chat.whole(*(chat.entry(name, arguments, id=f"c{at}") for at, (name, arguments) in enumerate(said))))]
    )


def ask(*said, **options):
    return client(script(*said)).create("?", tools=TOOLS, errors="return", max_retries=0, **options)


def problems(calls, at=0):
    error = calls.calls[at].error
    assert isinstance(error, InvalidArgumentsError)
    return [(problem.field, problem.reason, problem.detail, problem.for_model) for problem in error.problems]


OWN = "refused by the tool's own check"


def test_good_values_stay_as_they_are():
    calls = ask(("Place", place("Rome")), ("Trip", {"start": place("Oslo")}), ("walk", {"place": place("Bonn")}))
    assert not calls.errors
    assert calls[0] == Place(city="Rome")
    assert calls[2]() == "Bonn"


@pytest.mark.parametrize(
    ("city", "problem"),
    [
        ("Atlantis", ("city", OWN, "city: there is no Atlantis", True)),
        ("Nowhere", ("city", OWN, "city: nowhere is no place", True)),
        (
            "Broken",
            (
                "city",
                "the tool's own check failed with KeyError",
                "the tool's own check failed with KeyError: '/etc/passwd'",
                False,
            ),
        ),
    ],
)
def test_what_is_raised_refuses_the_call(city, problem):
    calls = ask(("Place", place(city)), ("Place", place("Rome")))
    assert problems(calls) == [problem]
    call = calls.calls[0]
    assert (call.index, call.id, call.name, call.outcome) == (0, "c0", "Place", "invalid")
    assert call.arguments
    assert city not in str(call.error)
    assert "passwd" not in repr(call.error)
    assert calls[1] == Place(city="Rome")


@pytest.mark.parametrize(
    ("name", "arguments", "where"),
    [
        ("Trip", {"start": place("Atlantis")}, "start.city"),
        ("Trip", {"start": place("Rome"), "stops": [place("Rome"), place("Atlantis")]}, "stops.1.city"),
        ("Trip", {"start": place("Rome"), "named": {"a": place("Atlantis")}}, "named.a.city"),
        ("Stay", {"place": place("Atlantis"), "nights": 1}, "place.city"),
        ("Tour", {"stays": [{"place": place("Atlantis"), "nights": 1}]}, "stays.0.place.city"),
        ("walk", {"place": place("Rome"), "to": [place("Atlantis")]}, "to.0.city"),
        ("walk", {"place": place("Atlantis")}, "place.city"),
    ],
)
def test_values_inside_are_checked_too(name, arguments, where):
    assert problems(ask((name, arguments))) == [(where, OWN, f"{where}: there is no Atlantis", True)]


def test_all_problems_are_told():
    calls = ask(("Trip", {"start": place("Nowhere"), "stops": [place("Atlantis")] * 2}), context=["Nowhere"])
    assert problems(calls) == [
        ("", OWN, "this is closed", True),
        ("start.city", OWN, "start.city: nowhere is no place", True),
        ("stops.0.city", OWN, "stops.0.city: there is no Atlantis", True),
        ("stops.1.city", OWN, "stops.1.city: there is no Atlantis", True),
    ]


@pytest.mark.parametrize("field", ["place", "nights"])
def test_validators_of_several_fields_know_field_and_context(field):
    calls = ask(("Stay", {"place": place("Rome"), "nights": 1}), context=field)
    assert problems(calls) == [(field, OWN, f"{field}: {field} is refused", True)]


def test_a_whole_that_fails_otherwise():
    class Odd(pydantic.BaseModel):
        @async_model_validator()
        async def breaks(self):
            raise OSError("/home/me")

    calls = client(script(("Odd", {}))).create("?", tools=[Odd], errors="return", max_retries=0)
    reason = "the tool's own check failed with OSError"
    assert problems(calls) == [("", reason, f"{reason}: /home/me", False)]


def test_bad_calls_are_not_looked_at():
    class Never(pydantic.BaseModel):
        number: int

        @async_model_validator()
        async def breaks(self):
            raise AssertionError

    calls = client(script(("Never", {"number": "1"}))).create("?", tools=[Never], errors="return", max_retries=0)
    assert [problem.field for problem in calls.calls[0].error.problems] == ["number"]


def test_subclasses_inherit_and_replace():
    class Base(pydantic.BaseModel):
        what: str

        @async_field_validator("what")
        async def one(self, value):
            raise ValueError("one")

        @async_field_validator("what")
        async def two(self, value):
            raise ValueError("two")

    class Below(Base):
        async def one(self, value):  # no validator any more
            raise AssertionError

        @async_field_validator("what")
        async def two(self, value):
            raise ValueError("another two")

    calls = client(script(("Base", {"what": "x"}), ("Below", {"what": "x"}))).create(
        "?", tools=[Base, Below], errors="return", max_retries=0
    )
    assert [detail for _, _, detail, _ in problems(calls, 0)] == ["what: one", "what: two"]
    assert [detail for _, _, detail, _ in problems(calls, 1)] == ["what: another two"]


def test_only_async_methods_of_the_right_form():
    with pytest.raises(UsageError, match="async def"):

        @async_field_validator("a")
        def plain(self, value): ...

    with pytest.raises(UsageError, match="takes self, the value and"):

        @async_field_validator("a")
        async def too_few(self): ...

    with pytest.raises(UsageError, match="takes self and"):

        @async_model_validator()
        async def too_many(self, value, info): ...


# ------------------------------------------------------------------------------------------------------------ side by side


SLOW = [("Place", place(city, seconds=0.2)) for city in ("Rome", "Atlantis", "Oslo", "Bonn")]


def assert_slow(calls, seconds):
    assert seconds < 0.7
    assert [call.outcome for call in calls.calls] == ["ok", "invalid", "ok", "ok"]


def test_the_calls_of_an_answer_are_checked_side_by_side():
    start = time.monotonic()
    calls = ask(*SLOW)
    assert_slow(calls, time.monotonic() - start)


@pytest.mark.parametrize("blocking", [True, False])
async def test_also_on_asyncio(blocking):
    start = time.monotonic()
    calls = await async_client(script(*SLOW), blocking=blocking).create("?", tools=TOOLS, errors="return", max_retries=0)
    assert_slow(calls, time.monotonic() - start)


async def test_also_on_a_blocking_client_in_a_coroutine():
    start = time.monotonic()
    calls = ask(*SLOW)
    assert_slow(calls, time.monotonic() - start)
    assert problems(ask(("Place", place("Atlantis"))))


def test_the_validators_of_a_call_run_side_by_side():
    start = time.monotonic()
    calls = ask(("Trip", {"start": place("Rome", seconds=0.2), "stops": [place("Oslo", seconds=0.2)] * 8}))
    assert not calls.errors
    assert time.monotonic() - start < 1


def test_good_calls_do_not_wait_for_those_that_are_checked():
    chunks = chat.streamed(
        [
            chat.entry("Place", '{"city":"Rome","seconds":0.4}', id="a"),
            chat.entry("Other", "{}", id="b"),
            chat.entry("Other", "{}", id="c"),
        ]
    )

    class Other(pydantic.BaseModel):
        pass

    stream = client(Script(chunks)).stream("?", tools=[Place, Other], max_retries=0)
    start = time.monotonic()
    got = [(type(value).__name__, time.monotonic() - start > 0.3) for value in stream]
    assert got == [("Other", False), ("Other", False), ("Place", True)]
    assert [type(value) for value in stream.result()] == [Place, Other, Other]


@pytest.mark.parametrize("stream", [True, False])
def test_the_deadline_holds(stream):
    start = time.monotonic()
    said = ("Place", '{"city":"Rome","seconds":1.5}')
    chunks = chat.streamed([chat.entry(*said, id="a")]) if stream else script(said).chunks
    with pytest.raises(polycall.CallErrors) as caught:
        answer = client(Script(chunks)).create("?", tools=[Place], timeout=0.3, stream=stream)
        answer.result()
    assert "not done in time" in str(caught.value)
    assert isinstance(caught.value.__cause__, DeadlineError)
    assert time.monotonic() - start < 1.2


async def test_cancelling_cancels_the_validators():
    cancelled = []

    class Waits(pydantic.BaseModel):
        @async_model_validator()
        async def wait(self):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    asking = asyncio.ensure_future(async_client(script(("Waits", {}))).create("?", tools=[Waits]))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert cancelled == [True]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


class Sees(pydantic.BaseModel):
    @async_model_validator()
    async def sees(self):
        raise ValueError(variable.get())


@pytest.mark.parametrize("count", [1, 3])
def test_context_variables_are_seen(count):
    def run() -> Any:
        variable.set("from outside")
        return client(script(*[("Sees", {})] * count)).create("?", tools=[Sees], errors="return", max_retries=0)

    calls = contextvars.copy_context().run(run)
    assert {problems(calls, at)[0][2] for at in range(count)} == {"from outside"}


async def test_context_variables_are_seen_on_asyncio():
    variable.set("from outside")
    for each in (async_client(script(("Sees", {}))), client(script(("Sees", {})))):
        calls = each.create("?", tools=[Sees], errors="return", max_retries=0)
        calls = await calls if isinstance(each, polycall.AsyncClient) else calls
        assert problems(calls)[0][2] == "from outside"


def test_refused_calls_raise_together():
    with pytest.raises(CallErrors) as caught:
        client(script(*SLOW[:2])).create("?", tools=TOOLS, max_retries=0)
    assert [error.index for error in caught.value.exceptions] == [1]


def test_a_value_within_itself_is_looked_at_once():
    inside: list[Any] = [Place(city="Rome")]
    inside.append(inside)
    assert needs_awaiting(Call(0, None, "any", "{}", "ok", None, inside))
    inside[0] = "Rome"
    assert not needs_awaiting(Call(0, None, "any", "{}", "ok", None, inside))


async def test_the_blocking_pump_awaits_in_a_coroutine():
    async def later():
        await asyncio.sleep(0)
        return "awaited"

    def flow():
        return (yield Do(later))

    *_, last = pump(flow())
    assert last.result == "awaited"


@pytest.mark.parametrize("misused", [async_field_validator, async_model_validator])
def test_a_decorator_without_its_parentheses(misused):
    with pytest.raises(UsageError, match="write @async_"):

        @misused
        async def check(self): ...
