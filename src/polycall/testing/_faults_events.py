"""Faults of a stream of server-sent events: what comes between the events, or instead of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from polycall.testing._faults import ALL, ERROR, KEPT, RECOVERED, Arrivals, Cut, Fault, Outcome, lost
from polycall.testing._format import event_bytes
from polycall.testing._spoiling import for_ever, streamed_at
from polycall.testing._wire import Piece

_row = partial(Fault, where="stream", whole=())
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "error")
_BROKEN: Final[tuple[Outcome, ...]] = ("kept", "error")
_ANY: Final[tuple[Outcome, ...]] = ("recovered", "kept", "error")
_OVERLOADED: Final = {"error": {"message": "The server is overloaded", "type": "server_error", "code": "overloaded"}}
_RATE: Final = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
_CHUNK: Final = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _inserted(
    name: str,
    about: str,
    cut: Cut,
    *frames: bytes,
    honest: tuple[Outcome, ...] = RECOVERED,
    times: int | None = None,
    arrivals: Arrivals = ALL,
) -> Fault:
    """Make a fault of events that come between."""
    spoil = streamed_at(cut, lambda others, at: [*others[:at], *frames, *others[at:]])
    return _row(name=name, about=about, streamed=honest, times=times, arrivals=arrivals, spoil=spoil)


def _without_end(name: str, about: str, cut: Cut, piece: bytes, *, seconds: float = 0.02) -> Fault:
    """Make a fault of something that comes again and again, with nothing else behind it."""

    def change(frames: list[bytes], at: int) -> Iterator[Piece]:
        yield from frames[:at]
        yield from for_ever(piece, seconds)

    honest = ERROR if cut == "first" else _BROKEN if cut in {"inside", "between"} else _ANY
    return _row(
        name=name,
        about=about,
        streamed=honest,
        stalls=True,
        arrivals=lost({"first": 0, "inside": 2, "between": 2}.get(cut, 9)),
        spoil=streamed_at(cut, change),
    )


def _chunk(delta: dict[str, Any], **others: Any) -> bytes:
    return event_bytes({**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **others})


_FLOOD: Final = _chunk({"tool_calls": [{"index": 2, "function": {"arguments": "xxxxxxxx"}}]})
_CALL: Final = _chunk(
    {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "No", "arguments": "{}"}}]}
)

BETWEEN: Final = (
    _inserted("comment-first", "a comment before the first event", "first", b": OPENROUTER PROCESSING\n\n"),
    _inserted(
        "usage-only-chunk-first",
        "a chunk without choices first, as Azure sends it",
        "first",
        event_bytes({**_CHUNK, "choices": [], "prompt_filter_results": []}),
    ),
    _inserted(
        "usage-only-chunk-inside",
        "a chunk with usage and no choices inside the third call",
        "inside",
        event_bytes({**_CHUNK, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
    ),
    _inserted("empty-delta-inside", "a chunk without news inside the third call", "inside", _chunk({})),
    _inserted("text-inside", "text inside the third call", "inside", _chunk({"content": "let me see"})),
    _inserted(
        "reasoning-first",
        "reasoning before the calls, as DeepSeek sends it",
        "first",
        _chunk({"reasoning_content": "The user wants"}),
    ),
    _inserted(
        "chunk-of-no-format-inside",
        "an object of another format inside the third call",
        "inside",
        event_bytes({"type": "content_block_stop", "index": 0}),
    ),
    _inserted("error-event-first", "an error before anything else", "first", event_bytes(_OVERLOADED), honest=ERROR),
    _inserted(
        "error-event-429-first", "a rate limit before anything else, once", "first", event_bytes(_RATE), honest=_EITHER, times=1
    ),
    _inserted(
        "error-event-named-first",
        "an event named error before anything else",
        "first",
        b"event: error\n" + event_bytes(_OVERLOADED),
        honest=ERROR,
    ),
    _inserted(
        "error-event-inside", "an error inside the third call", "inside", event_bytes(_OVERLOADED), honest=KEPT, arrivals=lost(2)
    ),
    _inserted(
        "error-event-named-inside",
        "an event named error inside the third call",
        "inside",
        b'event: error\ndata: {"message": "overloaded"}\n\n',
        honest=KEPT,
        arrivals=lost(2),
    ),
    _inserted(
        "error-event-between",
        "an error behind the second call",
        "between",
        event_bytes(_OVERLOADED),
        honest=KEPT,
        arrivals=lost(2),
    ),
    _inserted(
        "error-event-before-finish",
        "an error behind the last call",
        "finish",
        event_bytes(_OVERLOADED),
        honest=("recovered", "kept"),
    ),
    _inserted(
        "error-event-before-done",
        "an error behind the finish reason",
        "done",
        event_bytes(_OVERLOADED),
        honest=("recovered", "kept"),
    ),
    _inserted(
        "error-string-event-inside",
        "an error that is only text, inside the third call",
        "inside",
        event_bytes({"error": "overloaded"}),
        honest=KEPT,
        arrivals=lost(2),
    ),
    _inserted("garbage-event-first", "an event that is no JSON before the answer", "first", b"data: oops\n\n", honest=_ANY),
    _inserted(
        "garbage-event-inside",
        "an event that is no JSON inside the third call",
        "inside",
        b"data: {oops\n\n",
        honest=KEPT,
        arrivals=lost(2),
    ),
    _inserted(
        "array-event-inside",
        "an event that is an array inside the third call",
        "inside",
        b"data: []\n\n",
        honest=KEPT,
        arrivals=lost(2),
    ),
    _inserted(
        "page-inside",
        "a page inside the third call",
        "inside",
        b"<html><body>502 Bad Gateway</body></html>\n\n",
        honest=_ANY,
        arrivals=lost(9),
    ),
    _inserted(
        "not-utf-8-event-inside",
        "an event of noise inside the third call",
        "inside",
        b"data: \xff\xfe\x80\n\n",
        honest=KEPT,
        arrivals=lost(2),
    ),
    _inserted(
        "stop-event-inside", "the end marker inside the third call", "inside", b"data: [DONE]\n\n", honest=KEPT, arrivals=lost(2)
    ),
    _inserted(
        "stop-event-between",
        "the end marker behind the second call, without a finish reason",
        "between",
        b"data: [DONE]\n\n",
        honest=KEPT,
        arrivals=lost(2),
    ),
)

FOR_EVER: Final = (
    _without_end("comments-for-ever", "comments come instead of events, and do not end", "first", b": keep-alive\n\n"),
    _without_end("comment-without-end", "one comment that does not end", "first", b": xxxxxxxxxxxxxxx"),
    _without_end("pings-for-ever", "pings come instead of events, and do not end", "first", b"event: ping\ndata: {}\n\n"),
    _without_end("empty-deltas-for-ever", "chunks without news do not end", "first", _chunk({})),
    _without_end("text-for-ever", "text does not end", "first", _chunk({"content": "and so on "})),
    _without_end("empty-lines-for-ever", "empty lines do not end", "first", b"\n\n"),
    _without_end("comments-between-calls-for-ever", "comments behind the second call do not end", "between", b": keep-alive\n\n"),
    _without_end("comments-inside-call-for-ever", "comments inside the third call do not end", "inside", b": keep-alive\n\n"),
    _without_end("tarpit-after-last-call", "comments behind the last call do not end", "finish", b": keep-alive\n\n"),
    _without_end("tarpit-after-finish", "comments behind the finish reason do not end", "done", b": keep-alive\n\n"),
    _without_end(
        "usage-for-ever",
        "chunks with usage behind the finish reason do not end",
        "done",
        event_bytes({**_CHUNK, "choices": [], "usage": {"prompt_tokens": 1}}),
    ),
    _without_end(
        "flood-of-comments", "comments without end, as fast as they can be sent", "first", b": keep-alive\n\n", seconds=0.0
    ),
    _without_end(
        "flood-of-text", "text without end, as fast as it can be sent", "first", _chunk({"content": "and so on "}), seconds=0.0
    ),
    _without_end("flood-of-arguments", "arguments without end, as fast as they can be sent", "inside", _FLOOD, seconds=0.0),
    _without_end("flood-of-calls", "calls without end, as fast as they can be sent", "between", _CALL, seconds=0.0),
    _without_end("flood-of-line", "a line without end, as fast as it can be sent", "first", b"data: " + b"x" * 1000, seconds=0.0),
    _without_end("arguments-for-ever", "arguments that do not end", "inside", _FLOOD),
)
