"""Faults of a stream of server-sent events: how it is framed, how it breaks off, what comes between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from polycall.testing._chat_format import DONE
from polycall.testing._faults import ERROR, EVENT_STREAM, KEPT, RECOVERED, Cut, Fault, Honest, Outcome, Spoil, lost
from polycall.testing._format import Event, json_bytes
from polycall.testing._spoiling import on_events, streamed, streamed_at
from polycall.testing._wire import Answer, Drop, Gone, Piece, Reset, Wait

_row = partial(Fault, where="stream", whole=())
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "error")
_LENIENT: Final[tuple[Outcome, ...]] = ("recovered", "kept")
_BROKEN: Final[tuple[Outcome, ...]] = ("kept", "error")
_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'

Frames = Callable[[list[bytes]], Iterable[Piece]]


def _framed(name: str, about: str, change: Frames, honest: tuple[Outcome, ...] = RECOVERED, *, stalls: bool = False) -> Fault:
    return _row(name=name, about=about, streamed=honest, stalls=stalls, spoil=streamed(change))


def _break(name: str, about: str, cut: Cut, *pieces: Piece, stalls: bool = False) -> Fault:
    """Make a fault of something that happens at a place of the stream, with nothing behind it."""
    spoil = streamed_at(cut, lambda frames, at: [*frames[:at], *pieces], ended=not pieces)
    return _row(name=name, about=about, stalls=stalls, spoil=spoil, **_after(cut, stalls=stalls))


def _after(cut: Cut, *, stalls: bool = False) -> dict[str, Any]:
    """Return what a client can make of a stream that goes no further."""
    if cut == "first":
        healed: tuple[Outcome, ...] = ERROR if stalls else _EITHER
        return {"streamed": healed, "times": None if stalls else 1}
    if cut in {"inside", "between"}:
        return {"streamed": _BROKEN if stalls else KEPT, "arrivals": lost(2)}
    return {"streamed": ("recovered", "kept", "error") if stalls else _LENIENT}


def _between(separator: bytes) -> Frames:
    return lambda frames: [piece for frame in frames for piece in (separator, frame)]


def _each(change: Callable[[bytes], bytes]) -> Frames:
    return lambda frames: [change(frame) for frame in frames]


def _bytes(frames: list[bytes]) -> Iterable[bytes]:
    return (bytes([byte]) for byte in b"".join(frames))


def _lines(frame: bytes) -> bytes:
    """Write the JSON of an event over several data lines."""
    text = frame.removeprefix(b"data: ").strip()
    lines = text if text == DONE.encode() else json.dumps(json.loads(text), indent=1).encode()
    return b"".join(b"data: %s\n" % line for line in lines.split(b"\n")) + b"\n"


def _kind(content_type: str) -> Spoil:
    def spoil(honest: Honest) -> Answer:
        return Answer(honest.frames(), content_type=content_type) if honest.streamed else honest.answer()

    return spoil


def _whole_sent(honest: Honest) -> Answer:
    return Answer(json_bytes(honest.body()))


def _stream_sent(honest: Honest) -> Answer:
    return Answer(
        [honest.format.frame(honest.sent, number, event.data) for number, event in enumerate(honest.events())],
        content_type=EVENT_STREAM,
    )


def _twice(events: list[Event]) -> list[Event]:
    """Send the finish reason twice."""
    position = max(number for number, event in enumerate(events) if event.data != DONE and event.data["choices"])
    return [*events[: position + 1], *events[position:]]


def _late_call(frames: list[bytes]) -> list[bytes]:
    """Call a tool once more behind the end marker."""
    late = next(frame for frame in frames if b'"name"' in frame)
    return [*frames, late.replace(b'"index": 0, "id"', b'"index": 9, "id"').replace(b"call_", b"late_")]


FRAMING: Final = (
    _framed("crlf", "lines end with CR LF", _each(lambda frame: frame.replace(b"\n", b"\r\n"))),
    _framed("cr-only", "lines end with CR", _each(lambda frame: frame.replace(b"\n", b"\r"))),
    _framed(
        "mixed-line-ends",
        "lines end with LF, CR LF and CR by turns",
        lambda frames: [frame.replace(b"\n", (b"\n", b"\r\n", b"\r")[number % 3]) for number, frame in enumerate(frames)],
    ),
    _framed(
        "crlf-split",
        "CR and LF come in different pieces",
        lambda frames: _bytes([frame.replace(b"\n", b"\r\n") for frame in frames]),
    ),
    _framed("comments-between", "comments between the events", _between(b": keep-alive\n\n")),
    _framed("comment-of-1-mib", "a comment of one MiB", lambda frames: [b": " + b"x" * (1 << 20) + b"\n\n", *frames]),
    _framed("bom", "a byte order mark before the first event", lambda frames: [b"\xef\xbb\xbf", *frames]),
    _framed("split-utf-8", "every byte comes in a piece of its own", _bytes),
    _framed("one-packet", "all events in one piece", lambda frames: [b"".join(frames)]),
    _framed("no-done", "the end marker is missing", lambda frames: frames[:-1]),
    _framed("done-twice", "the end marker comes twice", lambda frames: [*frames, frames[-1]]),
    _framed("done-without-newline", "no line ends behind the end marker", lambda frames: [*frames[:-1], b"data: [DONE]"]),
    _framed("done-first", "the end marker comes first, and nothing else", lambda frames: frames[-1:], ERROR),
    _framed("done-first-then-all", "the end marker comes before the answer", lambda frames: [frames[-1], *frames], _EITHER),
    _framed(
        "done-quoted",
        "the end marker is a JSON string",
        lambda frames: [*frames[:-1], b'data: "[DONE]"\n\n'],
        ("recovered", "kept", "error"),
    ),
    _framed("events-after-done", "another call behind the end marker", _late_call),
    _framed("keep-alive-white-space", "empty lines between the events", _between(b"\n\n\r\n")),
    _framed("leading-white-space", "blanks and lines before the first event", lambda frames: [b"\n \r\n\n", *frames]),
    _framed("data-without-space", "no blank behind `data:`", _each(lambda frame: frame.replace(b"data: ", b"data:"))),
    _framed("data-over-lines", "the JSON of an event over several data lines", _each(_lines)),
    _framed(
        "event-names",
        "each event has a name, an id and a retry",
        _each(lambda frame: b"event: message\nid: 7\nretry: 100\n" + frame),
    ),
    _framed("unknown-fields", "lines of no known field", _each(lambda frame: b"x-cost: 3\nnoise\n" + frame)),
    _framed("empty-data", "events without data between", _between(b"data:\n\n")),
    _framed("ping-events", "named events between that are none of the format", _between(b"event: ping\ndata: {}\n\n")),
    _framed("ping-objects", "pings with content between", _between(_PING)),
    _framed("null-events", "`data: null` between the events", _between(b"data: null\n\n"), ("recovered", "kept", "error")),
    _framed(
        "lines-without-blanks",
        "no blank line between the events",
        lambda frames: [b"\n".join(frame.rstrip() for frame in frames) + b"\n\n"],
        ("recovered", "kept", "error"),
    ),
    _framed(
        "ndjson",
        "JSON lines instead of events",
        lambda frames: [frame.removeprefix(b"data: ").rstrip() + b"\n" for frame in frames],
        _EITHER,
    ),
    _row(name="event-stream-as-text-plain", about="the content type is text/plain", spoil=_kind("text/plain")),
    _row(name="event-stream-as-json", about="the content type is application/json", spoil=_kind("application/json")),
    _row(name="event-stream-as-image", about="the content type is image/png", spoil=_kind("image/png")),
    _row(
        name="event-stream-in-utf-16",
        about="the content type names another charset",
        spoil=_kind("text/event-stream; charset=utf-16"),
        streamed=_EITHER,
    ),
    _row(name="event-stream-of-no-type", about="the content type is empty", spoil=_kind("")),
    _row(name="stream-asked-whole-sent", about="a stream is asked for, the whole answer is sent", spoil=_whole_sent),
    _row(
        name="whole-asked-stream-sent",
        about="the whole answer is asked for, a stream is sent",
        whole=_EITHER,
        streamed=(),
        spoil=_stream_sent,
    ),
    _row(name="finish-twice", about="the finish reason comes twice", spoil=on_events(_twice)),
)

BREAKS: Final = (
    _break("close-before-first-event", "the connection is closed behind the head, once", "first", Drop()),
    _break("reset-before-first-event", "the connection is reset behind the head, once", "first", Reset()),
    _break("close-inside-call", "the connection is closed inside the third call", "inside", Drop()),
    _break("reset-inside-arguments", "the connection is reset inside the third call", "inside", Wait(0.05), Reset()),
    _break("close-between-calls", "the connection is closed behind the second call", "between", Drop()),
    _break("reset-between-calls", "the connection is reset behind the second call", "between", Wait(0.05), Reset()),
    _break("end-between-calls", "the stream ends, as HTTP says, behind the second call", "between"),
    _break("close-before-finish", "the connection is closed behind the last call", "finish", Drop()),
    _break("close-before-done", "the connection is closed before the end marker", "done", Drop()),
    _break("reset-before-done", "the connection is reset before the end marker", "done", Wait(0.05), Reset()),
    _break(
        "cut-inside-event",
        "the connection is closed inside an event of the third call",
        "inside",
        b'data: {"id": "chatcmpl',
        Drop(),
    ),
    _break("stall-before-first-event", "nothing comes behind the head", "first", Gone(), stalls=True),
    _break("stall-inside-call", "nothing comes behind the first half of the third call", "inside", Gone(), stalls=True),
    _break("stall-between-calls", "nothing comes behind the second call", "between", Gone(), stalls=True),
    _break("stall-before-finish", "nothing comes behind the last call", "finish", Gone(), stalls=True),
    _break("stall-before-done", "everything comes but the end marker", "done", Gone(), stalls=True),
)
