"""One request: sent, sent again where it failed on its way, and its answer read to the end.

Everything here is a generator that yields effects, whose outcome is sent back in, and events. Nothing blocks, awaits or touches
a socket.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from polycall._effects import Close, Effect, Flow, Open, Read, Sleep
from polycall._failure import failure, redact, redirected, reported
from polycall._framing import Framing, parse_event
from polycall._incoming import Incoming
from polycall._retry import Retries
from polycall._try import Try
from polycall._validate import Checking
from polycall.errors import DeadlineError, LimitError, PolycallError, TransportError
from polycall.provider import Connection, Late, Reply
from polycall.types import JsonObject, Limits, Request, ToolChoice

__all__ = ["Deadline", "Exchange", "answered"]

_REDIRECT: Final = 300
_LONGEST_REFUSAL: Final = 64 * 1024
_BAD_REQUEST: Final = 400
_LONGEST_BAD_REQUEST: Final = 1024 * 1024  # it may hold what the model wrote
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
        max_retries: How often a bad call, or what is missing, is asked for again.
        early: Whether a bad call is asked again while the stream still runs.
        max_tokens_total: How many tokens all requests together may take; None for any number.
        tell: Told what happens, for the user's hooks: the event's name, and what makes the thing to tell.
    """

    connection: Connection
    request: Request
    checking: Checking
    stream: bool = False
    raising: bool = True
    timeout: float | None = None
    retries: int = 0
    max_retries: int = 0
    early: bool = False
    max_tokens_total: int | None = None
    tell: Callable[[str, Callable[[], Any]], None] = _silent


class Deadline:
    """When the whole of it has to be done."""

    def __init__(self, seconds: float | None) -> None:
        """Begin to count the seconds; None sets no deadline."""
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


def answered(asked: Exchange, one: Try, deadline: Deadline) -> Flow[None]:
    """Send a request until an answer has come, and read it; what fails before the model has begun to answer may be sent again.

    ``one.incoming`` is the answer from its first byte on, ``one.response`` the SDK's own object at its end.

    Raises:
        TransportError: Nothing usable came back.
        DeadlineError: The time ran out.
        LimitError: More came than the limits allow, and no answer before it.
    """
    provider, connection = asked.connection.provider, asked.connection
    choice = ToolChoice("auto", asked.request.tool_choice.allowed) if one.optional else asked.request.tool_choice
    encoded = provider.encode(replace(asked.request, messages=one.messages, tool_choice=choice), stream=asked.stream)
    sent = encoded
    asked.tell("completion:kwargs", lambda: copy.deepcopy({**sent.body, **sent.transport}))
    retries, moves = Retries(asked.retries), 0
    checking = replace(asked.checking, strict_schemas=encoded.strict_schemas)
    while True:
        reply: Reply | None = None
        incoming = one.incoming = Incoming(checking, provider.decoder(), choice)
        send = partial(provider.send, connection.client, encoded, stream=asked.stream, timeout=deadline.left())
        try:
            got: Reply = yield from deadline.hold(Open(send, provider.open, deadline.left(), connection.at_once))
            reply = got
            url = yield from _received(incoming, got, deadline, checking.limits, moves)
            if url is None:
                one.response = incoming.response(got.native)
                yield Close(got)
                return
            encoded, moves, pause = replace(encoded, path=url), moves + 1, 0.0
        except TransportError as error:
            redact(error, () if reply is None else reply.secrets)
            pause = retries.pause(error, deadline.left())
            asked.tell("completion:error", _given(error))
        except PolycallError:
            raise
        except Exception as error:
            if not (yield from _is_answer(incoming, provider.said(error))):
                raise
            one.response = incoming.response(None)
            return
        if reply is not None:
            yield Close(reply)
        yield Sleep(pause)


def _received(incoming: Incoming, got: Reply, deadline: Deadline, limits: Limits, moves: int) -> Generator[Any, Any, str | None]:
    """Read a response: an answer, whatever its status; return where the same request is to be sent instead, None for nowhere.

    Raises:
        TransportError: It is neither.
    """
    if got.status is None or got.status < _REDIRECT:
        yield from _read(incoming, got, deadline, limits)
        return None
    body = yield from _start_of(got, deadline)
    url = redirected(got.status, got.url, got.headers, limits.hosts, moves)
    if url is None and not (yield from _is_answer(incoming, _event(body))):
        raise failure(got.status, got.headers, body, got.url)
    return url


def _is_answer(incoming: Incoming, event: JsonObject | None) -> Generator[Any, Any, bool]:
    """Read what came with an error status; services report bad calls so, with the model's text."""
    if event is None or "error" not in event:
        return False
    try:
        yield from incoming.feed({"error": event["error"]}, whole=False)
    except TransportError:
        return False
    if not incoming.answered:
        return False
    yield from incoming.close(None)
    return True


def _event(body: bytes) -> JsonObject | None:
    try:
        return parse_event(body)
    except TransportError:
        return None


def _start_of(reply: Reply, deadline: Deadline) -> Generator[Any, Any, bytes]:
    """Read the body of a response that is no answer, as far as anybody wants to know."""
    start = b""
    try:
        while len(start) < (_LONGEST_BAD_REQUEST if reply.status == _BAD_REQUEST else _LONGEST_REFUSAL):
            chunk = yield from deadline.hold(Read(reply, deadline.left()))
            if chunk is None:
                break
            start += chunk
    except DeadlineError:
        raise
    except Exception:  # noqa: BLE001  # the status has told what matters
        return start
    return start


def _read(incoming: Incoming, reply: Reply, deadline: Deadline, limits: Limits) -> Generator[Any, Any, None]:
    """Read the reply to its end; what breaks it off after the model has begun cuts the answer, and loses nothing."""
    framing = Framing(json_lines=reply.json_lines)
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
        lasting = isinstance(error, LimitError) or not error.transient  # the same request would end like this again
        broken, incoming.cause = str(error), error if lasting else error.__cause__ or error
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


def _chunks(framing: Framing, incoming: Incoming, reply: Reply, deadline: Deadline, most: int) -> Generator[Any, Any, None]:
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


def _next(incoming: Incoming, reply: Reply, deadline: Deadline) -> Generator[Any, Any, Any]:
    """Read the next chunk; what is raised then is a broken connection, or what the server said instead."""
    try:
        return (yield from deadline.hold(Read(reply, deadline.left())))
    except TransportError:
        raise
    except Exception as error:
        if (event := reply.said(error)) is not None:
            raise reported(event.get("error")) from error
        where = "" if incoming.begun else " before anything of the answer arrived"
        message = f"the connection broke{where} ({type(error).__name__})"
        raise TransportError(message, transient=True) from (None if type(error).__name__ in reply.quoting else error)


def _given(thing: object) -> Callable[[], object]:
    return lambda: thing
