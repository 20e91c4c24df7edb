"""The line itself: request -> body -> response -> tool calls -> checked calls, written once for blocking and asyncio.

`exchange` is a generator. It yields effects, whose outcome the pump sends back in, and events, which the pump hands to whoever
listens; it returns the `Calls`. Nothing here blocks, awaits or touches a socket.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polycall._decode import Assembled, Assembler, Piece, Stray, whole_text
from polycall._effects import Effect, First, Flow, Open, Read, Start
from polycall._framing import Framing
from polycall._validate import Checking, validate
from polycall.call import Attempt, Call, Calls, Turn
from polycall.errors import (
    CallError,
    CallErrors,
    CutOffError,
    DeadlineError,
    InvalidArgumentsError,
    NoCallsError,
    RefusalError,
    TransportError,
)
from polycall.events import DeltaEvent, ErrorEvent, Event, SealedEvent, StartedEvent, TextEvent
from polycall.provider import Connection, Reply
from polycall.types import CallDelta, JsonObject, Refusal, Request, Stop, TextDelta, ToolCall, Usage, WireItem


def _silent(_name: str, _make: Callable[[], Any]) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exchange:
    """Everything that one question needs.

    Attributes:
        stream: Whether the answer is asked for as a stream.
        raising: Whether bad calls raise at the end instead of standing in their places.
        timeout: Seconds for the whole of it, None for no limit of ours.
        tell: Told what happens, for the user's hooks: the event's name, and what makes the thing to tell.
    """

    connection: Connection
    request: Request
    checking: Checking
    stream: bool = False
    raising: bool = True
    timeout: float | None = None
    tell: Callable[[str, Callable[[], Any]], None] = _silent


def exchange(asked: Exchange) -> Flow[Calls[Any]]:
    """Ask once, and return what came back.

    Raises:
        CallErrors: Calls are bad, and ``asked.raising``.
        TransportError: Nothing usable came back.
        DeadlineError: ``asked.timeout`` ran out.
    """
    provider = asked.connection.provider
    encoded = provider.encode(asked.request, stream=asked.stream)
    deadline = None if asked.timeout is None else _Deadline(asked.timeout)
    asked.tell("completion:kwargs", lambda: copy.deepcopy({**encoded.body, **encoded.transport}))
    try:
        reply: Reply = yield from _within(
            deadline, Open(lambda: provider.send(asked.connection.client, encoded, stream=asked.stream), provider.open)
        )
        answer = _Answer(replace(asked.checking, nulled=encoded.nulled), provider.decoder(), encoded.messages)
        yield from _read(answer, reply, deadline)
    except Exception as error:
        asked.tell("completion:error", _given(error))
        raise
    calls = answer.calls(asked, reply)
    for bad in calls.errors:
        asked.tell("parse:error", _given(bad))
    if asked.raising and calls.errors:
        count = sum(call.error is not None for call in calls.calls)
        message = f"{count} of {len(calls)} calls cannot be used" if count else "the response is not what was asked for"
        failure = CallErrors(message, calls.errors, calls)
        asked.tell("completion:last_attempt", _given(failure))
        raise failure
    return calls


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


def _within(deadline: _Deadline | None, effect: Effect) -> Generator[Any, Any, Any]:
    """Carry out an effect, beside the line when there is a deadline to leave it behind at."""
    if deadline is None:
        return (yield effect)
    task = yield Start(effect)
    first = yield First((task,), deadline.left())
    if first is None:
        task.cancel()
        message = f"no complete answer within timeout={deadline.seconds:g} seconds"
        raise DeadlineError(message)
    return first.result()


def _read(answer: _Answer, reply: Reply, deadline: _Deadline | None) -> Generator[Any, Any, None]:
    """Read the reply to its end; what breaks it off after something has arrived cuts the answer, and loses nothing."""
    framing = Framing()
    try:
        while (chunk := (yield from _within(deadline, Read(reply)))) is not None:
            for event in framing.feed(chunk):
                yield from answer.feed(event, whole=False)
        for event in framing.close():
            yield from answer.feed(event, whole=bool(framing.whole))
    except DeadlineError:
        raise
    except TransportError as error:
        if not answer.begun:
            error.status = reply.status
            raise
        yield from answer.close(f"{error}")
        return
    except Exception as error:
        if not answer.begun:
            message = f"the connection broke before anything of the answer arrived ({type(error).__name__})"
            raise TransportError(message, status=reply.status) from error
        answer.broken = error
        yield from answer.close(f"the connection broke ({type(error).__name__})")
        return
    if framing.whole is None and not answer.begun:
        raise TransportError("the server's answer is empty", status=reply.status)
    ended = framing.done or framing.whole or answer.finish is not None
    yield from answer.close(None if ended else "the stream ended without saying that it is complete")


class _Answer:
    """One answer while it is read: pieces in, events out, and at the end the `Calls`."""

    def __init__(self, checking: Checking, decoder: Any, messages: Sequence[Any]) -> None:
        self.begun = False
        self.finish: str | None = None
        self.broken: BaseException | None = None
        self._checking = checking
        self._decoder = decoder
        self._messages = tuple(messages)
        self._assembler = Assembler(seal_on_close=decoder.seal_on_close)
        self._calls: dict[int, Call[Any]] = {}
        self._sealed: dict[int, ToolCall] = {}
        self._errors: list[CallError] = []
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._usage: Usage | None = None
        self._cut: str | None = None
        self._started: set[int] = set()

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[Event[Any]]:
        """Yield what one event of the wire brings."""
        items: list[WireItem] = list(self._decoder.feed(event, whole=whole))
        self.begun = True
        deltas: list[CallDelta] = []
        for item in items:
            if isinstance(item, CallDelta):
                deltas.append(item)
            elif isinstance(item, TextDelta):
                self._texts.append(item.text)
                yield TextEvent(item.text)
            elif isinstance(item, Usage):
                self._usage = item
            elif isinstance(item, Refusal):
                self._refusals.append(item.text)
            else:
                self._stop(item)
        if deltas:
            yield from self._events(self._assembler.feed(deltas))

    def close(self, broken: str | None) -> Iterable[Event[Any]]:
        """Yield what the end of the answer brings; ``broken`` says what broke it off, None when it ended as it should."""
        cut = self._cut or broken
        yield from self._events(self._assembler.close(cut))
        count = len(self._calls)
        if self._refusals:
            yield self._fail(RefusalError("the model refuses to answer; its words are in `text`", index=count))
        if cut is not None and not any(call.outcome == "cut off" for call in self._calls.values()):
            error = CutOffError(f"the answer was cut after call number {count}, and more may be missing: {cut}", index=count)
            error.__cause__ = self.broken
            yield self._fail(error)
        self._cut = cut

    def calls(self, asked: Exchange, reply: Reply) -> Calls[Any]:
        """Return everything that came."""
        forced, errors = asked.request.tool_choice.forced, self._errors
        calls = [self._calls[index] for index in sorted(self._calls)]
        if forced and not calls and not errors:
            errors.append(NoCallsError("a call was required, and the model made none", index=0))
        listed = [call.error for call in calls if call.error is not None] + errors
        sealed = [self._sealed[index] for index in sorted(self._sealed)]
        attempt = Attempt(self._decoder.model, self.finish, self._usage, tuple(listed))
        named = _with_ids(sealed)
        turn = Turn(self._messages, tuple(self._decoder.turn(named)), tuple(named), asked.connection.provider.results)
        result: Calls[Any] = Calls(
            calls,
            turn=turn,
            errors=listed,
            text=whole_text(self._texts or self._refusals),
            usage=self._usage,
            finish_reason=self.finish,
            attempts=(attempt,),
            body=lambda: self._decoder.body(sealed),
            native=reply.native,
        )
        asked.tell("completion:response", lambda: result.response)
        return result

    def _stop(self, item: Stop) -> None:
        self.finish = item.reason or self.finish
        self._cut = self._cut or item.cut

    def _fail(self, error: CallError) -> ErrorEvent:
        self._errors.append(error)
        return ErrorEvent(error)

    def _events(self, assembled: Iterable[Assembled]) -> Iterable[Event[Any]]:
        for one in assembled:
            if isinstance(one, Piece):
                yield from self._piece(one)
            elif isinstance(one, Stray):
                reason = "more text came after its arguments were complete; the call stays as it was"
                yield self._fail(InvalidArgumentsError(reason, index=one.call.index, tool=one.call.name, id=one.call.id))
            else:
                call = validate(one, self._checking)
                self._sealed[one.index], self._calls[one.index] = one, call
                yield SealedEvent(call)

    def _piece(self, piece: Piece) -> Iterable[Event[Any]]:
        slot = piece.slot
        offered = self._checking.tools.find(slot.name)
        if slot.index not in self._started:
            if not slot.name:
                return
            self._started.add(slot.index)
            yield StartedEvent(slot.index, slot.id, slot.name if offered is None else offered.schema.name)
        if piece.text:
            partial = _nothing if offered is None else offered.arguments.partial
            yield DeltaEvent(slot.index, piece.text, slot.pieces, piece.count, partial)


def _given(thing: object) -> Callable[[], object]:
    return lambda: thing


def _nothing(_: str) -> None:
    """Read nothing: the tool was not offered, so its arguments have no type."""


def _with_ids(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Give every call an id of its own, keeping the provider's where it is one."""
    taken: set[str] = set()
    named: list[ToolCall] = []
    for call in calls:
        own = call.id if call.id and call.id not in taken else f"call_{call.index}"
        while own in taken:
            own = f"{own}_"
        taken.add(own)
        named.append(replace(call, id=own))
    return named
