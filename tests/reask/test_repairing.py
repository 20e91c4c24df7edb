"""``repair=True``, end to end: what needs no guess is put right, told in the call, and not asked again."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from polycall.testing import Said, Turn
from support.reasks import RIGHT, VALUES, Weather

MENDED = {
    '```json\n{"location": "Dallas", "units": "imperial"}\n```': ("code fence",),
    '"{\\"location\\": \\"Dallas\\", \\"units\\": \\"imperial\\"}"': ("doubled encoding",),
    "{'location': 'Dallas', 'units': 'imperial'}": ("single quotes",),
    '{"location": "Dallas", "units": "imperial",}': ("trailing comma",),
}
HOPELESS = ["{", '{"location": "Dallas"', '{"location": "Dallas", "units": kelvin}']


@pytest.mark.parametrize("wrong", MENDED)
def test_what_is_repaired_is_not_asked_again(ask, wrong):
    asked = ask([Turn(calls=[RIGHT[0], Said("Weather", wrong), RIGHT[2]])], repair=True)
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 1
    assert [call.repairs for call in asked.calls.calls] == [(), MENDED[wrong], ()]
    assert asked.calls.calls[1].arguments == wrong
    assert asked.calls.attempts[0].errors == ()


@pytest.mark.parametrize("wrong", [*MENDED, *HOPELESS])
def test_without_it_all_of_them_are(ask, wrong):
    asked = ask([RIGHT[0], Said("Weather", RIGHT[1].arguments, wrong=wrong), RIGHT[2]])
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 2
    assert all(call.repairs == () for call in asked.calls.calls)


class Stops(BaseModel):
    towns: list[str]
    days: int


@pytest.mark.parametrize(
    ("wrong", "mended"),
    [
        ('{"towns": "[\\"Oslo\\"]", "days": 2}', ("doubled encoding",)),
        ("{'towns': '[\"Oslo\"]', 'days': 2}", ("single quotes", "doubled encoding")),
        ('{"towns": "[7]", "days": 2}', None),
        ('{"towns": "Oslo", "days": 2}', None),
        ('{"towns": ["Oslo"], "days": "two"}', None),
    ],
)
def test_a_field_that_was_encoded_twice(ask, wrong, mended):
    said = Said("Stops", {"towns": ["Oslo"], "days": 2}, wrong=wrong)
    asked = ask([said], tools=[Stops], repair=True)
    assert tuple(asked.calls) == (Stops(towns=["Oslo"], days=2),)
    assert len(asked.requests) == (1 if mended else 2)
    assert asked.calls.calls[0].repairs == (mended or ())


@pytest.mark.parametrize("wrong", HOPELESS)
def test_what_cannot_be_repaired_is_asked_again(ask, wrong):
    asked = ask([RIGHT[0], Said("Weather", RIGHT[1].arguments, wrong=wrong), RIGHT[2]], repair=True)
    assert tuple(asked.calls) == VALUES[:3]
    assert len(asked.requests) == 2


def test_a_correction_is_repaired_too(ask):
    again = "{'location': 'Dallas', 'units': 'imperial'}"
    asked = ask([Turn(calls=[RIGHT[0], Said("Weather", "{")]), Turn(calls=[Said("Weather", again)])], repair=True)
    assert tuple(asked.calls) == VALUES[:2]
    assert asked.calls.calls[1].repairs == ("single quotes",)


def test_a_repaired_call_that_does_not_fit_is_asked_again(ask):
    wrong = "{'location': 'Dallas'}"
    asked = ask([RIGHT[0], Said("Weather", RIGHT[1].arguments, wrong=wrong)], repair=True)
    assert asked.calls[1] == Weather(location="Dallas", units="imperial")
    assert len(asked.requests) == 2
