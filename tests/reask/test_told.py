"""What the model is told of a bad call: all of it, within a size, and nothing of the host or of another call."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, field_validator

import polycall
from polycall.testing import Said
from support.reasks import ACCEPTED, KEY, RIGHT, TOOLS, VALUES, compact, reason_in

PATH = "/srv/private/towns.db"


class Row(BaseModel):
    name: str
    size: int


class Table(BaseModel):
    """Write a table."""

    rows: list[Row]


class Town(BaseModel):
    """Look a town up."""

    name: str
    size: Annotated[int, Field(ge=0)] = 0

    @field_validator("name")
    @classmethod
    def is_known(cls, name: str) -> str:
        if name == "Atlantis":
            message = "Atlantis is no town: did you mean Athens?"
            raise ValueError(message)
        if name == "Nowhere":
            raise KeyError(PATH, KEY)
        if name == "Lost":
            raise FileNotFoundError(2, "No such file", PATH)
        assert name != "Babel", f"too high ({name})"
        return name


def reason_of(asked, id: str = "call_000_0000", number: int = 1) -> tuple[str, dict]:
    """Return what a call is answered, as text and parsed."""
    (content,) = [message["content"] for message in asked.sent(number) if message.get("tool_call_id") == id]
    told, behind = reason_in(content)
    assert told != ACCEPTED
    return content.removesuffix(behind), told


def town(name: str, wrong: str) -> Said:
    return Said("Town", {"name": name}, wrong=wrong)


def test_validators_words_are_for_the_model(ask):
    asked = ask([town("Athens", '{"name": "Atlantis"}')], tools=[Town])
    assert list(asked.calls) == [Town(name="Athens")]
    assert reason_of(asked)[1]["problems"] == ["name: Value error, Atlantis is no town: did you mean Athens?"]
    assert "Atlantis" not in str(asked.calls.attempts[0].errors[0])


def test_assertions_words_are_for_the_model(ask):
    asked = ask([town("Athens", '{"name": "Babel"}')], tools=[Town])
    (problem,) = reason_of(asked)[1]["problems"]
    assert "too high (Babel)" in problem


@pytest.mark.parametrize(("name", "kind"), [("Nowhere", "KeyError"), ("Lost", "FileNotFoundError")])
def test_what_went_wrong_inside_of_a_validator_is_not(ask, name, kind):
    asked = ask([town("Athens", compact({"name": name}))], tools=[Town])
    assert list(asked.calls) == [Town(name="Athens")]
    text, told = reason_of(asked)
    assert told["problems"] == [f"the tool's own check failed with {kind}"]
    for sent in asked.requests:
        assert PATH not in sent.raw.decode()
        assert KEY not in sent.raw.decode()
    assert "private" not in text
    (error,) = asked.calls.attempts[0].errors
    assert PATH not in f"{error!r} {error}"


def test_all_problems_of_one_call(ask):
    asked = ask([town("Athens", '{"name": 7, "size": -1, "colour": "red"}')], tools=[Town])
    assert list(asked.calls) == [Town(name="Athens")]
    problems = reason_of(asked)[1]["problems"]
    assert {problem.partition(":")[0] for problem in problems} >= {"name", "size"}


@pytest.mark.parametrize("many", [3, 40, 400, 3000])
def test_hundreds_of_problems_stay_short(ask, many):
    wrong = compact({"rows": [{"name": "x" * 20, "size": f"{number}?"} for number in range(many)]})
    asked = ask([Said("Table", {"rows": []}, wrong=wrong), Said("Town", {"name": "Athens"})], tools=[Table, Town])
    assert list(asked.calls) == [Table(rows=[]), Town(name="Athens")]
    text, told = reason_of(asked)
    assert len(text) <= 2_000
    assert json.loads(text) == told
    assert told["error"] == "invalid arguments"
    assert told["problems"]
    if many < 1_000:
        assert len(told["problems"]) + told.get("more", 0) == many
        assert "more" in told or many == 3
    else:
        assert str(many) in told["problems"][0]


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀", '"', "\\", "\x07"])
def test_one_problem_that_is_too_long_is_cut(ask, letter):
    asked = ask([town("Athens", compact({"name": letter * 9_000, "size": -1, letter * 3_000: 1}))], tools=[Town], strict=True)
    text, told = reason_of(asked)
    assert len(text) <= 2_000
    assert json.loads(text) == told
    assert list(asked.calls) == [Town(name="Athens")]


LANGUAGES = ["Zürich", "München", "東京", "Київ", "مكة", "ירושלים", "กรุงเทพ", "São Paulo 🏙️", "नई दिल्ली"]


def test_arguments_in_other_languages(ask):
    right = [Said("Town", {"name": name}, wrong=compact({"name": name, "size": -1})) for name in LANGUAGES]
    asked = ask([*right, *RIGHT[:1]], tools=[Town, *TOOLS], reask="end")
    assert list(asked.calls) == [*(Town(name=name) for name in LANGUAGES), VALUES[0]]
    turn = asked.sent()[1]
    assert [json.loads(entry["function"]["arguments"])["name"] for entry in turn["tool_calls"][:-1]] == LANGUAGES
    assert [json.loads(entry["function"]["arguments"]) for entry in turn["tool_calls"]][-1] == RIGHT[0].arguments


@pytest.mark.parametrize(
    "wrong",
    ['{"name": "\\ud83d"}', '{"name": "\ud83d"}', '{"\\udc00": 1}', '{"name": "Atlantis \\ud83d\\ude00", "\ud83d": 1}'],
)
def test_lone_surrogates_are_sent_as_something_that_servers_take(ask, wrong):
    asked = ask([town("Athens", wrong), RIGHT[0]], tools=[Town, *TOOLS])
    assert list(asked.calls) == [Town(name="Athens"), VALUES[0]]
    for sent in asked.requests:
        json.dumps(sent.body, ensure_ascii=False).encode()  # would fail


def test_the_error_of_one_call_says_nothing_of_another(ask):
    bad = [town("Athens", '{"name": "Atlantis"}'), town("Rome", '{"name": "Babel"}'), town("Oslo", '{"name": "Lost", "size": 1}')]
    asked = ask(bad, tools=[Town], reask="end")
    assert list(asked.calls) == [Town(name=name) for name in ("Athens", "Rome", "Oslo")]
    told = {call: compact(one) for call, one in asked.told().items()}
    for word, own in {"Atlantis": 0, "Babel": 1, "FileNotFoundError": 2}.items():
        assert [word in text for text in told.values()] == [place == own for place in range(3)]


def test_many_bad_calls_share_the_room(ask):
    wrong = compact({"rows": [{"name": "x" * 20, "size": "?"}] * 40})
    right = [Said("Table", {"rows": [{"name": f"n{number}", "size": number}]}, wrong=wrong) for number in range(30)]
    asked = ask(right, tools=[Table], reask="end")
    assert [table.rows[0].size for table in asked.calls] == list(range(30))
    assert len(asked.requests) == 2
    assert all(one["problems"] for one in asked.told().values())


@pytest.mark.parametrize(
    ("way", "mode"), [("openai", "whole"), ("openai asyncio", "early"), ("pyreqwest", "early")], indirect=True
)
def test_one_wrong_of_a_thousand(ask):
    calls = [Said("Town", {"name": f"Town {number}"}) for number in range(1_000)]
    calls[567] = Said("Town", {"name": "Town 567"}, wrong='{"name": "Town 567", "size": "big"}')
    asked = ask(calls, tools=[Town])
    assert [value.name for value in asked.calls] == [f"Town {number}" for number in range(1_000)]
    assert len(asked.requests) == 2
    first, second = asked.requests
    assert [call.arguments for call in asked.calls.attempts[1].calls] == ['{"name": "Town 567"}']
    turn = asked.sent()[1]
    assert len(second.raw) <= len(first.raw) + len(compact(turn).encode()) + 128 * len(turn["tool_calls"]) + 4096
    assert asked.bad() == ["call_000_0567"]
    assert all(asked.calls.calls[place] is asked.calls.attempts[0].calls[place] for place in range(1_000) if place != 567)


def test_a_key_in_the_arguments_of_a_failing_validator_is_in_no_error(ask):
    asked = ask([town("Athens", '{"name": "Nowhere"}')], tools=[Town], max_retries=0)
    (error,) = asked.calls.errors
    assert KEY not in f"{error} {error!r} {error.problems!r}"
    assert isinstance(error, polycall.InvalidArgumentsError)
