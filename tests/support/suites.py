"""What some provider suites share."""

from __future__ import annotations

from typing import Any

from polycall.errors import CutOffError
from polycall.testing import ProviderSuite
from polycall.testing._faults import Fault, Honest
from polycall.testing._suite_ways import CALLS, VALUES, expect
from polycall.testing._wire import Answer, Drop, Wait

__all__ = ["OnAiohttp"]


class OnAiohttp(ProviderSuite):
    """An SDK that stands on aiohttp, which loses what has come and was not yet read when a connection breaks."""

    def test_a_broken_stream_keeps_what_was_complete(self) -> None:
        """As with the others, but that the connection breaks a little later."""
        fault = Fault(name="half", about="half of the events, then nothing for a moment", spoil=_half)
        with self._asked(CALLS, fault=fault) as (_, ways):
            for way in ways:
                calls = way.ask(stream=True, max_retries=0, errors="return")
                good: list[Any] = [call.value for call in calls.calls if call.outcome == "ok"]
                expect(good, list(VALUES[: len(good)]), f"{way.name}: the values")
                expect(0 < len(good) < len(CALLS), True, f"{way.name}: whether some are there")
                expect([type(error) for error in calls.errors][-1:], [CutOffError], f"{way.name}: the errors")


def _half(honest: Honest) -> Answer:
    frames = [*honest.frames()]
    return Answer([*frames[: len(frames) // 2], Wait(0.2), Drop()], content_type=honest.content_type)
