"""Faults of HTTP itself: the head, the framing and the coding of a body."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Final

from polycall.testing._faults import ERROR, RECOVERED, Fault, Honest, Outcome, Spoil
from polycall.testing._spoiling import before, dripped, for_ever, framed, rewritten, wire
from polycall.testing._wire import Answer, Drop, Gone, Piece, Raw, Wait

_row = partial(Fault, where="head")
_EITHER: Final[tuple[Outcome, ...]] = ("recovered", "error")
_ANY: Final[tuple[Outcome, ...]] = ("recovered", "kept", "error")
_CHUNKED: Final = ("transfer-encoding", "chunked")
_MANY: Final = tuple((f"x-filler-{number}", "x") for number in range(10_000))
_BOMB: Final = 64 << 20
_SECOND: Final = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":'
    b'{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"GoogleSearch","arguments":'
    b'"{\\"query\\": \\"the answer to another question\\"}"}}]}}]}'
)


def _both(
    name: str,
    about: str,
    spoil: Spoil,
    honest: tuple[Outcome, ...] = RECOVERED,
    *,
    stalls: bool = False,
    times: int | None = None,
) -> Fault:
    return _row(name=name, about=about, whole=honest, streamed=honest, stalls=stalls, times=times, spoil=spoil)


def _coded(coding: str, code: Callable[[bytes], bytes], *, chunked: bool = False) -> Spoil:
    """Answer the honest body in a content coding."""

    def spoil(honest: Honest) -> Answer:
        body = code(honest.flat())
        pieces = [body[start : start + 100] for start in range(0, len(body), 100)]
        return Answer(pieces if chunked else body, content_type=honest.content_type, headers={"content-encoding": coding})

    return spoil


def _raw_deflate(body: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(body) + coder.flush()


@cache
def _blanks() -> bytes:
    """Return 64 MiB of blanks, compressed, to be put between compressed pieces."""
    coder = zlib.compressobj(9, wbits=-15)
    return coder.compress(b" " * _BOMB) + coder.flush(zlib.Z_FULL_FLUSH)


def _bomb(honest: Honest) -> Answer:
    """Inflate to 64 MiB: blanks behind the first byte of the honest JSON, a long comment before the events."""
    flat = honest.flat()
    start, rest = (b":", b"\n\n" + flat) if honest.streamed else (flat[:1], flat[1:])
    first, last = zlib.compressobj(wbits=-15), zlib.compressobj(wbits=-15)
    packed = first.compress(start) + first.flush(zlib.Z_FULL_FLUSH) + _blanks() + last.compress(rest) + last.flush()
    checksum = zlib.crc32(rest, zlib.crc32(b" " * _BOMB, zlib.crc32(start)))
    tail = struct.pack("<II", checksum, len(start) + _BOMB + len(rest))
    body = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + packed + tail
    return Answer(body, content_type=honest.content_type, headers={"content-encoding": "gzip"})


def _chunks(body: bytes, *, size: int = 50, end: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    parts = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + end


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _split(data: bytes, place: bytes, *pieces: Piece) -> list[Piece]:
    """Let something happen behind the first occurrence of ``place``."""
    position = data.index(place) + len(place)
    return [data[:position], *pieces, data[position:]]


def _bare(data: bytes) -> list[bytes]:
    start, mark, body = data.partition(b"\r\n\r\n")
    return [(start + mark).replace(b"\r\n", b"\n") + body]


def _endless_headers(seconds: float) -> Iterator[Piece]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from for_ever(b"x-filler: x\r\n" * (1 if seconds else 100), seconds)


def _later(pieces: Iterable[Piece]) -> Callable[[bytes], Iterable[Piece]]:
    return lambda data: _split(data, b"\r\n\r\n", *pieces)


def _unasked(honest: Honest) -> Raw:
    """Send another answer behind the first."""
    extra = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_SECOND)
    return Raw([*honest.answer().wire(), Wait(0.02), extra + _SECOND], kept=True)


HEAD: Final = (
    _both("status-line-garbage", "the first line is no status line", wire(b"\x00\xff garbage\r\n\r\n"), ERROR),
    _both("status-line-cut", "the connection ends inside the status line", wire(b"HTTP/1.1 2"), ERROR),
    _both(
        "status-line-without-reason",
        "the status line ends behind the number",
        framed(line="HTTP/1.1 200", length=True, behind=()),
    ),
    _both("status-line-http-2", "the status line says HTTP/2", framed(line="HTTP/2 200 OK", length=True), _EITHER),
    _both("status-line-http-0.9", "no head at all", lambda honest: Raw([honest.flat()]), ERROR),
    _both("status-line-icy", "the status line of an old radio server", framed(line="ICY 200 OK", length=True), _EITHER),
    _both("status-line-1-mib", "a reason of one MiB", framed(line=f"HTTP/1.1 200 {'x' * (1 << 20)}", length=True), _EITHER),
    _both("status-line-two-digits", "a status of two digits", framed(line="HTTP/1.1 20 OK", length=True), _EITHER),
    _both("http-1.0", "HTTP/1.0, which ends with the connection", framed(line="HTTP/1.0 200 OK")),
    _both("connection-close", "the connection ends with each answer", framed(("connection", "close"), length=True)),
    _both("header-2-mib", "one header of 2 MiB", framed(("x-filler", "x" * (2 << 20)), length=True), _EITHER),
    _both("headers-10000", "10,000 headers", framed(*_MANY, length=True), _EITHER),
    _both("headers-for-ever", "headers without end", lambda _: Raw(_endless_headers(0.02)), ERROR, stalls=True),
    _both("headers-in-a-flood", "headers without end, as fast as they can be sent", lambda _: Raw(_endless_headers(0.0)), ERROR),
    _both(
        "header-without-colon",
        "a line of the head has no colon",
        framed(("x-odd\r\nno colon here\r\nx", "1"), length=True),
        _EITHER,
    ),
    _both("header-folded", "a header goes on in the next line", framed(("x-folded", "a\r\n b"), length=True), _EITHER),
    _both("header-null-byte", "a header holds a null byte", framed(("x-null", "a\0b"), length=True), _EITHER),
    _both("header-latin-1", "a header holds a byte beyond ASCII", framed(("x-town", "Zürich"), length=True)),
    _both("header-name-with-blank", "a blank before a colon", framed(("x-blank ", "1"), length=True), _EITHER),
    _both(
        "header-line-feeds",
        "the lines of the head end without carriage returns",
        rewritten(_bare),
        _EITHER,
    ),
    _both(
        "headers-one-byte-a-second",
        "the head comes at one byte a second",
        rewritten(lambda data: dripped(data, 1.0)),
        ERROR,
        stalls=True,
    ),
    _both("stall-before-headers", "the request is read, and nothing comes", wire(Gone()), ERROR, stalls=True),
    _both(
        "stall-inside-headers",
        "nothing comes behind half of the head",
        wire(b"HTTP/1.1 200 OK\r\ncontent-", Gone()),
        ERROR,
        stalls=True,
    ),
    _both("stall-after-headers", "nothing comes behind the head", rewritten(_later([Gone()])), ERROR, stalls=True),
    _both("slow-headers", "the head takes 0.2 seconds", before(Wait(0.2))),
    _both(
        "close-inside-headers",
        "the connection is closed inside the head, once",
        wire(b"HTTP/1.1 200 OK\r\ncontent-", Drop()),
        _EITHER,
        times=1,
    ),
    _both("close-after-headers", "the connection is closed behind the head, once", rewritten(_later([Drop()])), _EITHER, times=1),
)
LENGTH: Final = (
    _both("content-length-too-long", "more is announced than comes", framed(("content-length", "99999")), _ANY),
    _both(
        "content-length-too-short",
        "the end lies beyond what is announced",
        framed(("content-length", "{half}")),
        ("kept", "error"),
    ),
    _both("content-length-missing", "neither a length nor chunks: it ends with the connection", framed()),
    _both("content-length-twice", "the right length, twice", framed(("content-length", "{length}"), length=True), _EITHER),
    _both("content-length-two", "two lengths", framed(("content-length", "7"), length=True), _EITHER),
    _both("content-length-garbage", "a length that is no number", framed(("content-length", "many")), _EITHER),
    _both("content-length-negative", "a negative length", framed(("content-length", "-1")), _EITHER),
    _both("content-length-huge", "a length beyond 64 bits", framed(("content-length", "9" * 30)), _ANY),
    _both("content-length-zero", "a length of 0, and a body", framed(("content-length", "0")), ERROR),
    _both("chunk-size-garbage", "a chunk's size is no number", framed(_CHUNKED, body=lambda body: b"zz\r\n" + body), ERROR),
    _both(
        "chunk-size-huge",
        "a chunk's size is beyond 64 bits",
        framed(_CHUNKED, body=lambda body: b"f" * 17 + b"\r\n" + body),
        _ANY,
    ),
    _both("chunk-size-negative", "a chunk's size is negative", framed(_CHUNKED, body=lambda body: b"-5\r\n" + body), ERROR),
    _both(
        "chunk-longer-than-told",
        "a chunk does not end where it should",
        framed(_CHUNKED, body=lambda body: b"5\r\n" + body),
        ("error",),
    ),
    _both(
        "chunk-extensions",
        "chunks have extensions",
        framed(_CHUNKED, body=lambda body: _chunks(body, extension=b";a=b"), behind=()),
    ),
    _both(
        "chunk-trailers",
        "headers come behind the chunks",
        framed(_CHUNKED, body=lambda body: _chunks(body, end=b"0\r\nx-cost: 1\r\n\r\n"), behind=()),
    ),
    _both("chunks-of-one-byte", "every byte is a chunk", framed(_CHUNKED, body=lambda body: _chunks(body, size=1), behind=())),
    _both("chunked-cut", "the last chunk is missing", framed(_CHUNKED, body=lambda body: _chunks(body, end=b"")), _ANY),
    _both("chunked-and-length", "chunks, and a length", framed(_CHUNKED, ("content-length", "20"), body=_chunks), _EITHER),
    _both("transfer-encoding-unknown", "a transfer encoding that nobody knows", framed(("transfer-encoding", "zip")), _EITHER),
    _row(
        name="answer-to-another-question",
        about="a second answer comes unasked behind the first; the next question must not get it",
        asks=2,
        spoil=_unasked,
    ),
)
CODING: Final = (
    _both("gzip", "the body is compressed", _coded("gzip", gzip.compress)),
    _both("gzip-in-chunks", "the body is compressed, and comes in chunks", _coded("gzip", gzip.compress, chunked=True)),
    _both(
        "gzip-in-members",
        "the body is compressed in two parts",
        _coded("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
        _ANY,
    ),
    _both("deflate-body", "the body is compressed by zlib", _coded("deflate", zlib.compress)),
    _both("deflate-without-head", "the body is compressed, and zlib's head is missing", _coded("deflate", _raw_deflate), _EITHER),
    _both("gzip-cut", "the compressed body is cut", _coded("gzip", lambda body: _half(gzip.compress(body))), ("kept", "error")),
    _both("gzip-wrong", "it says gzip, and the body is plain", _coded("gzip", bytes), ERROR),
    _both(
        "gzip-checksum-wrong", "the checksum is wrong", _coded("gzip", lambda body: gzip.compress(body)[:-8] + b"\0" * 8), _ANY
    ),
    _both(
        "gzip-garbage-behind",
        "garbage behind the compressed body",
        _coded("gzip", lambda body: gzip.compress(body) + b"garbage"),
        _ANY,
    ),
    _both("gzip-not-told", "the body is compressed, and no header says so", framed(body=gzip.compress, length=True), ERROR),
    _both(
        "gzip-twice",
        "compressed twice, and both are told",
        _coded("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
        _EITHER,
    ),
    _both("gzip-bomb", "66 KiB that become 64 MiB", _bomb, _EITHER),
    _both("brotli-not-asked-for", "it says br, and the body is none", _coded("br", lambda _: b"\x0b\x02\x80garbage\x03"), ERROR),
    _both(
        "zstd-not-asked-for", "it says zstd, and the body is none", _coded("zstd", lambda _: b"\x28\xb5\x2f\xfd garbage"), ERROR
    ),
    _both("coding-unknown", "a coding that nobody knows, on a plain body", _coded("rot13", bytes), _EITHER),
    _both("coding-identity", "a coding that says nothing", _coded("identity", bytes)),
)
