"""The line itself: request -> body -> response -> tool calls -> checked calls, written once for blocking and asyncio.

`exchange` is a generator. It yields effects, whose outcome the pump sends back in, and events, which the pump hands to whoever
listens; it returns the `Calls`. Nothing here blocks, awaits or touches a socket.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from polycall._effects import Effect, First, Flow, Open, Read, Start
from polycall._framing import Framing
from polycall._incoming import Incoming
from polycall._validate import Checking
from polycall.call import Calls
from polycall.errors import (
    CallErrors,
    DeadlineError,
    PolycallError,
    TransportError,
)
from polycall.provider import Connection, Reply
from polycall.types import Request


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
        incoming = Incoming(
            replace(asked.checking, strict_schemas=encoded.strict_schemas), provider.decoder(), asked.request.tool_choice
        )
        yield from _read(incoming, reply, deadline)
    except Exception as error:
        if not isinstance(error, PolycallError):
            names = ", ".join(tool.name for tool in asked.request.tools)
            error.add_note(f"polycall had asked {provider.name} for calls of {names} (model {asked.request.model})")
        asked.tell("completion:error", _given(error))
        raise
    calls = incoming.calls(encoded.messages, provider, reply)
    asked.tell("completion:response", lambda: calls.response)
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


def _read(incoming: Incoming, reply: Reply, deadline: _Deadline | None) -> Generator[Any, Any, None]:
    """Read the reply to its end; what breaks it off after something has arrived cuts the answer, and loses nothing."""
    framing = Framing()
    broken: str | None = None
    try:
        while not framing.done and (chunk := (yield from _next(incoming, reply, deadline))) is not None:
            for event in framing.feed(chunk):
                yield from incoming.feed(event, whole=reply.whole)
        for event in framing.close():
            yield from incoming.feed(event, whole=bool(framing.whole))
        if not (framing.done or framing.whole or reply.whole):
            broken = "the stream ended without saying that it is complete"
    except TransportError as error:
        error.status = error.status or reply.status
        if isinstance(error, DeadlineError) or not incoming.begun:
            raise
        broken, incoming.cause = str(error), error.__cause__ or error
    if not (incoming.begun or framing.streaming) or (framing.done and not incoming.answered):
        reason = "is empty" if framing.whole is None else "holds no answer of the model"
        message = f"the server's answer {reason}"
        raise TransportError(message, status=reply.status)
    yield from incoming.close(broken)


def _next(incoming: Incoming, reply: Reply, deadline: _Deadline | None) -> Generator[Any, Any, Any]:
    """Read the next chunk; whatever the SDK's transport raises then is a broken connection."""
    try:
        return (yield from _within(deadline, Read(reply)))
    except TransportError:
        raise
    except Exception as error:
        where = "" if incoming.begun else " before anything of the answer arrived"
        message = f"the connection broke{where} ({type(error).__name__})"
        raise TransportError(message) from error


def _given(thing: object) -> Callable[[], object]:
    return lambda: thing
