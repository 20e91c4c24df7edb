"""The line itself: request -> body -> response -> tool calls -> checked calls, written once for blocking and asyncio.

`exchange` is a generator. It yields effects, whose outcome the pump sends back in, and events, which the pump hands to whoever
listens; it returns the `Calls`. Nothing here blocks, awaits or touches a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, cast

from polycall._ask import Deadline, Exchange, answered
from polycall._async_validators import awaited, needs_awaiting, unchecked
from polycall._beside import Beside, Failed
from polycall._effects import Do, Finished, Flow
from polycall._gather import Gathered
from polycall._try import Try
from polycall.call import Call
from polycall.calls import Calls
from polycall.errors import CallErrors, DeadlineError, LimitError, PolycallError
from polycall.events import ErrorEvent, ReaskEvent, SealedEvent
from polycall.types import ToolCall

__all__ = ["Exchange", "exchange"]

_MOST_EARLY: Final = 4
"""Requests for bad calls while the first answer is on its way: a model that gets every call wrong is asked at the end."""


_UNREADABLE: Final = frozenset({400, 422, 500})
"""What services answer that cannot read the arguments of a bad call when they are sent back as the model wrote them."""


def exchange(asked: Exchange) -> Flow[Calls[Any]]:
    """Ask, ask again for what is bad, and return what came back.

    Raises:
        CallErrors: Calls are bad, and ``asked.raising``.
        TransportError: Nothing usable came back.
        DeadlineError: ``asked.timeout`` ran out before there was an answer.
        LimitError: More came than the limits allow, and no answer before it.
    """
    line = _Line(asked)
    try:
        yield from line.run()
    except Exception as error:
        if not isinstance(error, PolycallError):
            names = ", ".join(tool.name for tool in asked.request.tools)
            error.add_note(
                f"polycall had asked {asked.connection.provider.name} for calls of {names} (model {asked.request.model})"
            )
        asked.tell("completion:error", _given(error))
        raise
    calls = line.calls()
    if asked.raising and calls.errors:
        count = sum(call.error is not None for call in calls.calls)
        message = f"{count} of {len(calls)} calls cannot be used" if count else "the response is not what was asked for"
        failure = CallErrors(message, calls.errors, calls)
        asked.tell("completion:last_attempt", _given(failure))
        raise failure from calls.stopped
    return calls


class _Line:
    """One question on its way: its requests, and what they have brought so far."""

    def __init__(self, asked: Exchange) -> None:
        self._asked = asked
        self._deadline = Deadline(asked.timeout)
        most = 0 if asked.checking.allowed == frozenset() else asked.max_retries  # where no call is allowed none can be right
        self._gathered = Gathered(asked.request.messages, asked.checking.tools.names, most, stream=asked.stream)
        if not asked.connection.provider.raw_arguments:
            self._gathered.write_plainly()
        self._beside: Beside[tuple[Try, bool]] = Beside(self._take, self._ask_early, (SealedEvent,))
        self._stopped: Exception | None = None
        self._early = 0

    def run(self) -> Flow[None]:
        """Ask until nothing is to be asked any more."""
        self._send(self._gathered.first)
        yield from self._beside.drive()

    def calls(self) -> Calls[Any]:
        """Return the outcome."""
        gathered, results = self._gathered, self._asked.connection.provider.results
        attempts = [one.attempt() for one in gathered.tries]
        last = next(one for one in reversed(gathered.tries) if not one.early)
        return Calls(
            [gathered.places[place] for place in sorted(gathered.places)],
            conversation=lambda: gathered.conversation(results),
            errors=gathered.errors,
            text=next((attempt.text for attempt in attempts if attempt.text), ""),
            usage=gathered.usage,
            finish_reason=None if last.incoming is None else last.incoming.finish_reason,
            attempts=attempts,
            stopped=self._stopped,
            response=last.response,
        )

    def _send(self, one: Try) -> None:
        one.running += 1
        self._beside.add((one, False), answered(self._asked, one, self._deadline), through=one.number == 0)

    def _take(self, key: tuple[Try, bool], item: Any) -> Iterable[Any]:
        """Take what a flow has brought; return the events that the user sees of it."""
        one, checked = key
        if isinstance(item, SealedEvent):
            return self._sealed(one, cast("Any", item).call, checked=checked)
        if isinstance(item, Finished | Failed):
            return self._ended(one, cast("Any", item))
        return (item,) if isinstance(item, ErrorEvent) else ()

    def _ended(self, one: Try, how: Finished[None] | Failed) -> Iterator[Any]:
        one.running -= 1
        if isinstance(how, Failed):
            self._fail(one, how.error)
        if not one.running:
            yield from self._end(one)
        if not any(other.running for other in self._gathered.tries):
            yield from self._ask_again()

    def _sealed(self, one: Try, call: Call[Any], *, checked: bool) -> Sequence[Any]:
        """Put a call in its place; first it is checked by what awaits something, beside everything else."""
        if not checked and needs_awaiting(call):
            one.running += 1
            self._beside.add((one, True), self._confirmed(one, call))
            return ()
        placed = self._gathered.sealed(one, call)
        return () if placed is None else (SealedEvent(placed),)

    def _confirmed(self, one: Try, call: Call[Any]) -> Flow[None]:
        raw = ToolCall(call.index, call.id, "", "") if one.incoming is None else one.incoming.calls[call.index]
        work = partial(awaited, call, raw, self._asked.checking)
        try:
            call = yield from self._deadline.hold(Do(work, self._deadline.left(), awaits=True))
        except DeadlineError as error:
            self._stopped = self._stopped or error
            call = unchecked(raw, self._asked.checking, error)
        yield SealedEvent(call)

    def _end(self, one: Try) -> Iterator[Any]:
        """Take note that nothing more comes of a request."""
        for placed in self._gathered.ended(one):
            yield SealedEvent(placed)
        if one not in self._gathered.tries:
            return
        attempt = one.attempt()
        self._asked.tell("completion:response", lambda: attempt.response)
        for bad in attempt.errors:
            self._asked.tell("parse:error", _given(bad))
        self._asked.tell("attempt", _given(attempt))

    def _fail(self, one: Try, error: Exception) -> None:
        """End all of it where the first request has failed; else keep what there is."""
        if one.number == 0:
            raise error
        status = getattr(error, "status_code", None) or getattr(error, "status", None)  # an SDK's exception, or ours
        one.forgiven = (status in _UNREADABLE and self._gathered.write_plainly()) or (
            one.early and not isinstance(error, DeadlineError)
        )
        if one.early:
            self._early = _MOST_EARLY  # the service may take whole turns only, or one request at a time: then at the end
        if one.forgiven:
            return
        self._asked.tell("completion:error", _given(error))
        self._stopped = self._stopped or error

    def _ask_again(self) -> Sequence[ReaskEvent]:
        """Ask for what is bad, now that nothing more is on its way; return what to announce."""
        gathered = self._gathered
        if self._stopped is not None or self._deadline.left() == 0 or not (gathered.due() or gathered.missing()):
            return ()
        try:
            self._check_budget()
        except LimitError as error:
            self._stopped = error
            return ()
        return (self._reask(gathered.again),)

    def _ask_early(self) -> Sequence[ReaskEvent]:
        """Ask for bad calls while the first answer is still on its way; return what to announce."""
        gathered, first = self._gathered, self._gathered.first
        if not self._asked.early or first.ended or first.incoming is None or first.incoming.finished:
            return ()
        if self._stopped is None and self._early < _MOST_EARLY and gathered.due_early():
            self._early += 1
            return (self._reask(gathered.again_early),)
        return ()

    def _reask(self, make: Callable[[Any], Try]) -> ReaskEvent:
        one = make(self._asked.connection.provider.results)
        self._send(one)
        return ReaskEvent(one.number, one.asked)

    def _check_budget(self) -> None:
        """Check that one more request can be paid for: it holds at least what the last one held and gave.

        Raises:
            LimitError: It cannot, or nobody knows what was taken.
        """
        most, usage = self._asked.max_tokens_total, self._gathered.usage
        if most is None:
            return
        if usage is None or usage.input_tokens is None:
            raise LimitError("max_tokens_total is set and the service does not count tokens: bad calls are not asked again")
        last = self._gathered.tries[-1].incoming
        taken = usage.input_tokens + (usage.output_tokens or 0)
        known = None if last is None else last.usage
        least = 0 if known is None else (known.input_tokens or 0) + (known.output_tokens or 0)
        if taken + least > most:
            message = (
                f"{taken} tokens are taken, and one more request needs at least {least}: max_tokens_total={most} allows no more"
            )
            raise LimitError(message)


def _given(thing: object) -> Callable[[], object]:
    return lambda: thing
