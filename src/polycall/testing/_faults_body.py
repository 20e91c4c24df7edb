"""Faults of a body that comes with status 200: something else than an answer, or an answer that is not well written."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Final

from polycall.testing._faults import ERROR, RECOVERED, Fault, Honest, Outcome, Spoil, arrives
from polycall.testing._format import json_bytes
from polycall.testing._spoiling import dripped, filler, for_ever, page, rewritten, told
from polycall.testing._wire import Answer, Drop, Gone, Piece, Reset

_row = partial(Fault, where="body")
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "error")
_MARK: Final = "\ue000"
_RATE: Final = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
_BROKEN: Final = {"error": {"message": "Internal server error", "type": "server_error", "code": 500}}


def _instead(
    name: str,
    about: str,
    spoil: Spoil,
    *,
    honest: tuple[Outcome, ...] = ERROR,
    times: int | None = None,
) -> Fault:
    return _row(name=name, about=about, whole=honest, streamed=honest, times=times, spoil=spoil)


def _written(name: str, about: str, change: Callable[[bytes], bytes], *, honest: tuple[Outcome, ...] = RECOVERED) -> Fault:
    """Make a fault of how a whole body is written."""

    def spoil(honest: Honest) -> Answer:
        return honest.answer() if honest.streamed else Answer(change(honest.flat()))

    return _row(name=name, about=about, whole=honest, streamed=(), spoil=spoil)


def _whole(name: str, about: str, *pieces: Piece, honest: tuple[Outcome, ...] = _EITHER, stalls: bool = False) -> Fault:
    """Make a fault of how a whole body breaks off in its middle."""

    def spoil(honest: Honest) -> Answer:
        flat = honest.flat()
        return Answer([flat[: len(flat) // 2], *pieces, flat[len(flat) // 2 :]])

    times = None if stalls or honest == RECOVERED else 1
    return _row(name=name, about=about, whole=honest, streamed=(), times=times, stalls=stalls, spoil=spoil)


def _with_content(mebibytes: int) -> Spoil:
    """Put much text before the calls."""

    def spoil(honest: Honest) -> Answer:
        text = filler(mebibytes).decode()
        if not honest.streamed:
            body = honest.body()
            body["choices"][0]["message"]["content"] = text
            return Answer(json_bytes(body))
        events = honest.events()
        piece = text[: 1 << 20]
        for _ in range(mebibytes):
            chunk = {**events[0].data, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            events.insert(1, type(events[0])(chunk))
        return honest.play(events)

    return spoil


def _not_utf_8(honest: Honest) -> Answer:
    entries = honest.entries()
    place = min(1, len(entries) - 1)
    if entries:
        text = honest.saying.calls[place].arguments.replace('"}', f'{_MARK}"}}')
        entries[place] = honest.format.changed(entries[place], arguments=text)
    answer = honest.answer(entries, cut_up=False)
    body = answer.body if isinstance(answer.body, bytes) else [*answer.body]
    written = [body] if isinstance(body, bytes) else [piece for piece in body if isinstance(piece, bytes)]
    return Answer([piece.replace(_MARK.encode(), b"\xff\xfe") for piece in written], content_type=answer.content_type)


INSTEAD: Final = (
    _instead("200-error-body", "an error, with status 200", told(_BROKEN)),
    _instead("200-error-body-once", "an error, with status 200, once", told(_BROKEN), honest=_EITHER, times=1),
    _instead("200-error-body-rate-limit", "a rate limit, with status 200, once", told(_RATE), honest=_EITHER, times=1),
    _instead("200-html", "a page", page(200, "It works!")),
    _instead("200-html-once", "a page, once", page(200, "Service is restarting"), honest=_EITHER, times=1),
    _instead("200-login-page", "a page that wants a password", page(200, "Sign in to continue")),
    _instead("200-json-array", "a JSON array", told([])),
    _instead(
        "200-json-array-around",
        "the answer inside an array",
        lambda honest: Answer(json_bytes([honest.body()])),
        honest=_EITHER,
    ),
    _instead("200-json-string", "a JSON string", told("overloaded")),
    _instead("200-json-number", "a JSON number", told(42)),
    _instead("200-json-null", "a JSON null", told(None)),
    _instead("200-json-true", "a JSON true", told(True)),
    _instead("200-json-empty-object", "an empty object", told({})),
    _instead("200-json-inside-data", "the answer inside `data`", lambda honest: Answer(json_bytes({"data": honest.body()}))),
    _instead(
        "200-problem-json", "a problem, as RFC 9457 has it", told({"title": "no", "status": 503}, 200, "application/problem+json")
    ),
    _instead("200-xml", "XML", told(b"<?xml version='1.0'?><error/>", 200, "application/xml")),
    _instead(
        "200-text", "a proxy's words", told(b"upstream connect error or disconnect/reset before headers", 200, "text/plain")
    ),
    _instead("200-bytes", "noise", told(bytes(range(128, 256)), 200, "application/octet-stream")),
    _instead("200-empty", "nothing", told(b"")),
    _instead("200-empty-once", "nothing, once", told(b""), honest=_EITHER, times=1),
    _instead("200-white-space", "white space", told(b"  \n\n \r\n")),
    _instead("200-null-bytes", "null bytes", told(b"\0" * 100)),
    _instead("200-depth-100000", "JSON that nests 100,000 deep", told(b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    _instead("200-ollama-error", "an error as Ollama writes it", told({"error": "model not found, try pulling it first"})),
    _instead("200-message-only", "a message beside no answer", told({"message": "You have run out of quota", "code": 1113})),
    _instead("response-17-mib", "17 MiB of text before the calls", _with_content(17), honest=("recovered", "error", "kept")),
    _row(
        name="whole-17-mib",
        about="17 MiB of white space inside the answer",
        whole=_EITHER,
        streamed=(),
        spoil=lambda honest: Answer(b"{" + b" " * (17 << 20) + honest.flat()[1:]),
    ),
)

WRITTEN: Final = (
    _written("200-cut-json", "the JSON is cut, its length is right", lambda body: body[: len(body) * 2 // 3], honest=ERROR),
    _written("200-cut-by-one", "the last bracket is missing", lambda body: body[:-1], honest=ERROR),
    _written("200-two-objects", "the answer, twice", lambda body: body + body, honest=ERROR),
    _written("200-trailing-text", "the answer, and words", lambda body: body + b"\nbye", honest=ERROR),
    _written("200-utf-16", "the answer in UTF-16", lambda body: body.decode().encode("utf-16"), honest=_EITHER),
    _written("200-bom", "a byte order mark before the answer", lambda body: b"\xef\xbb\xbf" + body),
    _written("200-white-space-first", "white space before the answer, to keep the line open", lambda body: b"\n" * 1000 + body),
    _written("200-white-space-behind", "white space behind the answer", lambda body: body + b"\r\n \n"),
    _written("200-pretty-printed", "the answer over many lines", lambda body: json.dumps(json.loads(body), indent=4).encode()),
    _written("200-escaped", "names are written with escapes", lambda body: body.replace(b'"choices"', rb'"\u0063hoices"')),
    _written("json-xssi-prefix", "a prefix against scripts before the answer", lambda body: b")]}'\n" + body, honest=ERROR),
    _written("json-trailing-comma", "a comma before the last bracket", lambda body: body[:-1] + b",}", honest=_EITHER),
    _written("json-nan-beside", "NaN in a field beside the answer", lambda body: body[:-1] + b', "cost": NaN}', honest=_EITHER),
    _written(
        "json-huge-number-beside",
        "a number of 5,000 digits",
        lambda body: body[:-1] + b', "cost": ' + b"9" * 5000 + b"}",
        honest=_EITHER,
    ),
    _written(
        "json-repeated-key",
        "`choices` is there twice, empty at first",
        lambda body: b'{"choices": [], ' + body[1:],
        honest=_EITHER,
    ),
    _row(
        name="200-not-utf-8",
        about="a byte that is no UTF-8, inside the arguments of the second call",
        whole=("kept", "error"),
        streamed=("kept", "error"),
        arrivals=arrives("good", "bad"),
        spoil=_not_utf_8,
    ),
)

PACE: Final = (
    _row(
        name="body-one-byte-at-a-time",
        about="every byte of the answer is sent alone",
        spoil=rewritten(lambda data: (data[i : i + 1] for i in range(len(data)))),
    ),
    _row(
        name="body-one-byte-a-second",
        about="the body comes at one byte a second",
        whole=ERROR,
        streamed=ERROR,
        stalls=True,
        spoil=lambda honest: Answer(dripped(honest.flat(), 1.0), content_type=honest.content_type),
    ),
    _row(
        name="white-space-for-ever",
        about="white space comes instead of an answer, and does not end",
        whole=ERROR,
        streamed=ERROR,
        stalls=True,
        spoil=lambda honest: Answer(for_ever(b"\n", 0.02), content_type=honest.content_type),
    ),
    _row(
        name="flood-of-white-space",
        about="white space without end, as fast as it can be sent",
        whole=ERROR,
        streamed=ERROR,
        stalls=True,
        spoil=lambda honest: Answer(for_ever(b"\n" * 1000, 0.0), content_type=honest.content_type),
    ),
    _whole("stall-inside-body", "nothing comes behind half of the body", Gone(), honest=ERROR, stalls=True),
    _whole("close-inside-body", "the connection is closed inside the body, once", Drop()),
    _whole("reset-inside-body", "the connection is reset inside the body, once", Reset()),
    _whole("body-in-two-parts", "the body comes in two parts", b"", honest=RECOVERED),
)
