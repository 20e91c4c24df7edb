"""The line itself: request -> body -> response -> tool calls -> checked calls, written once for blocking and asyncio.

`exchange` is a generator. It yields effects, whose outcome the pump sends back in, and events, which the pump hands to whoever
listens; it returns the `Calls`. Nothing here blocks, awaits or touches a socket.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from polycall._effects import Close, Effect, Flow, Open, Read, Sleep
from polycall._failure import failure, redact, redirected
from polycall._framing import Framing
from polycall._incoming import Incoming
from polycall._retry import Retries
from polycall._validate import Checking
from polycall.call import Calls
from polycall.errors import CallErrors, DeadlineError, LimitError, PolycallError, TransportError
from polycall.provider import Connection, Encoded, Late, Reply
from polycall.types import Limits, Request

_REDIRECT: Final = 300
_LONGEST_REFUSAL: Final = 64 * 1024
_LONGEST_TIMEOUT: Final = 10.0**7  # seconds; clocks cannot wait much longer
_REST: Final = 0.05
_LONGEST_REST: Final = 4


def _silent(_name: str, _make: Callable[[], Any]) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exchange:
    """Everything that one question needs.

    Attributes:
        stream: Whether the answer is asked for as a stream.
        raising: Whether bad calls raise at the end instead of standing in their places.
        timeout: Seconds for the whole of it, None for no limit of ours.
        retries: How often a request that failed on its way is sent again.
        tell: Told what happens, for the user's hooks: the event's name, and what makes the thing to tell.
    """

    connection: Connection
    request: Request
    checking: Checking
    stream: bool = False
    raising: bool = True
    timeout: float | None = None
    retries: int = 0
    tell: Callable[[str, Callable[[], Any]], None] = _silent


def exchange(asked: Exchange) -> Flow[Calls[Any]]:
    """Ask once, and return what came back.

    Raises:
        CallErrors: Calls are bad, and ``asked.raising``.
        TransportError: Nothing usable came back.
        DeadlineError: ``asked.timeout`` ran out.
        LimitError: More came than the limits allow, and no answer before it.
    """
    provider = asked.connection.provider
    encoded = provider.encode(asked.request, stream=asked.stream)
    asked.tell("completion:kwargs", lambda: copy.deepcopy({**encoded.body, **encoded.transport}))
    try:
        incoming, reply = yield from _answered(asked, encoded)
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
    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + min(seconds, _LONGEST_TIMEOUT)

    def left(self) -> float | None:
        """Return the seconds that are left, None where there is no deadline."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def hold(self, effect: Effect) -> Generator[Any, Any, Any]:
        """Carry out an effect that has been given the time that is left."""
        message = f"no complete answer within timeout={self._seconds} seconds"
        if self.left() == 0:  # what is there at once is never late, and may go on for ever
            raise DeadlineError(message)
        try:
            return (yield effect)
        except Late:
            raise DeadlineError(message) from None
        except Exception as error:
            if self.left() == 0:  # the transport's own timeout was quicker
                raise DeadlineError(message) from error
            raise


def _answered(asked: Exchange, encoded: Encoded) -> Generator[Any, Any, tuple[Incoming, Reply]]:
    """Ask until an answer has come; what fails before the model has begun to answer may be sent again."""
    provider, connection = asked.connection.provider, asked.connection
    deadline, retries, moves = _Deadline(asked.timeout), Retries(asked.retries), 0
    checking = replace(asked.checking, strict_schemas=encoded.strict_schemas)
    while True:
        reply: Reply | None = None
        incoming = Incoming(checking, provider.decoder(), asked.request.tool_choice)
        send = partial(provider.send, connection.client, encoded, stream=asked.stream, timeout=deadline.left())
        try:
            got: Reply = yield from deadline.hold(Open(send, provider.open, deadline.left(), connection.at_once))
            reply = got
            if got.status is None or got.status < _REDIRECT:
                yield from _read(incoming, got, deadline, checking.limits)
                return incoming, got
            body = yield from _start_of(got, deadline)
            url = redirected(got.status, got.url, got.headers, checking.limits.hosts, moves)
            if url is None:
                raise failure(got.status, got.headers, body, got.url)
            encoded, moves, pause = replace(encoded, path=url), moves + 1, 0.0
        except TransportError as error:
            redact(error, () if reply is None else reply.secrets)
            pause = retries.pause(error, deadline.left())
            asked.tell("completion:error", _given(error))
        if reply is not None:
            yield Close(reply)
        yield Sleep(pause)


def _start_of(reply: Reply, deadline: _Deadline) -> Generator[Any, Any, bytes]:
    """Read the body of a response that is no answer, as far as anybody wants to know."""
    start = b""
    try:
        while len(start) < _LONGEST_REFUSAL:
            chunk = yield from deadline.hold(Read(reply, deadline.left()))
            if chunk is None:
                break
            start += chunk
    except DeadlineError:
        raise
    except Exception:  # noqa: BLE001  # the status has told what matters
        return start
    return start


def _read(incoming: Incoming, reply: Reply, deadline: _Deadline, limits: Limits) -> Generator[Any, Any, None]:
    """Read the reply to its end; what breaks it off after the model has begun cuts the answer, and loses nothing."""
    framing = Framing()
    broken: str | None = None
    try:
        yield from _chunks(framing, incoming, reply, deadline, limits.response)
        for event in framing.close():
            yield from incoming.feed(event, whole=bool(framing.whole))
        if framing.done:
            yield from _rest(reply)
            # Gateways write the end marker whatever happened behind them.
            broken = None if incoming.finished else "the stream ended without saying why the model stopped"
        elif not (framing.whole or reply.whole):
            broken = "the stream ended without saying that it is complete"
    except (TransportError, LimitError) as error:
        if isinstance(error, TransportError):
            error.status = error.status or reply.status
            redact(error, reply.secrets)
        if not incoming.begun or (isinstance(error, DeadlineError) and not incoming.finished):
            raise
        broken, incoming.cause = str(error), error.__cause__ or error
    if not (incoming.begun or framing.streaming) or (framing.done and not incoming.answered):
        reason = "is empty" if framing.whole is None else "holds no answer of the model"
        message = f"the server's answer {reason}"
        raise TransportError(message, status=reply.status, transient=True)
    yield from incoming.close(broken)


def _rest(reply: Reply) -> Generator[Any, Any, None]:
    """Read what is behind the end marker, which is next to nothing: then the connection can be used again."""
    try:
        for _ in range(_LONGEST_REST):
            if (yield Read(reply, _REST)) is None:
                return
    except Exception:  # noqa: BLE001  # the answer is complete
        return


def _chunks(framing: Framing, incoming: Incoming, reply: Reply, deadline: _Deadline, most: int) -> Generator[Any, Any, None]:
    """Feed what arrives until the end, or until more than so many bytes have come."""
    room = most
    while not framing.done and (chunk := (yield from _next(incoming, reply, deadline))) is not None:
        piece = chunk[:room] if isinstance(chunk, bytes) else chunk
        for event in framing.feed(piece):
            yield from incoming.feed(event, whole=reply.whole)
        if len(piece) < len(chunk):
            message = f"the response is longer than {most} bytes; limits=polycall.Limits(response=...) allows more"
            raise LimitError(message)
        room -= len(chunk) if isinstance(chunk, bytes) else 0


def _next(incoming: Incoming, reply: Reply, deadline: _Deadline) -> Generator[Any, Any, Any]:
    """Read the next chunk; whatever the transport raises then is a broken connection."""
    try:
        return (yield from deadline.hold(Read(reply, deadline.left())))
    except TransportError:
        raise
    except Exception as error:
        where = "" if incoming.begun else " before anything of the answer arrived"
        message = f"the connection broke{where} ({type(error).__name__})"
        raise TransportError(message, transient=True) from error


def _given(thing: object) -> Callable[[], object]:
    return lambda: thing
