"""Whether and when a request that failed on its way is sent again. Only what can succeed, and never behind the deadline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from polycall.errors import DeadlineError, TransportError

__all__ = ["Retries"]

_FIRST: Final = 0.5
_LONGEST: Final = 8.0
_LONGEST_ASKED: Final = 120.0
"""Seconds. Where nobody has set a deadline, a server that asks for more is not waited for."""

_ANSWERED: Final = range(200, 300)


@dataclass(slots=True)
class Retries:
    """The retries of one request.

    Attributes:
        limit: How often it may be sent again.
        count: How often it was.
        unreadable: How often it was because of an answer that cannot be read, with a good status. Once has to do.
    """

    limit: int
    count: int = 0
    unreadable: int = 0

    def pause(self, error: TransportError, left: float | None) -> float:
        """Return the seconds to wait before the request is sent again.

        Args:
            error: How it failed.
            left: Seconds until the deadline, None without one.

        Raises:
            TransportError: It is not sent again. The error itself, or one that says why there is no time to wait.
        """
        answered = error.status in _ANSWERED
        if not error.transient or isinstance(error, DeadlineError) or self.count >= self.limit or (answered and self.unreadable):
            raise error
        import random

        pause = min(_LONGEST, _FIRST * 2.0 ** min(self.count, 8)) * random.uniform(0.75, 1.0)  # noqa: S311  # spreads load, keeps no secret
        pause = max(pause, error.retry_after or 0.0)
        if error.retry_after is not None and pause > _LONGEST_ASKED and left is None:
            _give_up(error, f"and asks to wait {error.retry_after:g} seconds before the next try")
        if left is not None and pause >= left:
            _give_up(error, f"and the next try would be in {pause:.3g} seconds, {left:.3g} are left of timeout=")
        self.count += 1
        self.unreadable += answered
        return pause


def _give_up(error: TransportError, why: str) -> None:
    error.args = (f"{error}, {why}",)
    raise error
