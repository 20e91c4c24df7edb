"""Compressed bodies: read right by both libraries, and a bomb stops at the limit, in little memory."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
import time
import zlib
from pathlib import Path

import httpx2
import pytest

import polycall
from polycall import LimitError, Limits, TransportError
from polycall._http_httpx2 import _Inflating
from support.chat import body, chunk, completion, data, entry
from support.chat import stream as events
from support.chat import whole as written
from support.faces import FACES
from support.sockets import HANG_UP, STALL, chunked, head, whole

TOOLS = [polycall.Tool("F")]
ENTRY = entry("F", json.dumps({"text": "Århus " * 20}), id="a")
WHOLE = body(written(ENTRY))
EVENTS = b"".join(events(chunk({"index": 0, **ENTRY})))
HTTPX2 = [name for name in FACES if "httpx2" in name]


def raw_deflate(raw: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(raw) + packing.flush()


def members(raw: bytes) -> bytes:
    half = len(raw) // 2
    return gzip.compress(raw[:half]) + gzip.compress(raw[half:])


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
    "empty": ("", bytes),
}


@pytest.mark.parametrize(("coding", "size"), list(itertools.product(CODINGS, [1, 7, 10_000])))
def test_codings(connect, server, stream, coding, size, request):
    name = request.getfixturevalue("name")
    word, pack = CODINGS[coding]
    if "pyreqwest" in name and coding in {"x-gzip", "GZIP", "deflate without its header"}:
        pytest.skip("not understood by pyreqwest, and no service sends it")
    packed = pack(EVENTS if stream else WHOLE)
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    server.answer = lambda _: chunked(pieces, content_encoding=word)
    calls = connect(retries=0).ask(tools=TOOLS, stream=stream)
    assert [call["text"] for call in calls] == ["Århus " * 20]


@pytest.mark.parametrize("name", HTTPX2)
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_members_of_gzip_follow_one_another(connect, server, stream, size):
    packed = members(EVENTS if stream else WHOLE)
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    server.answer = lambda _: chunked(pieces, content_encoding="gzip")
    assert len(connect(retries=0).ask(tools=TOOLS, stream=stream)) == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate without its header"])
@pytest.mark.parametrize("length", [65_535, 65_536, 65_537, 65_536 + 200, 131_072, 131_072 + 300, 300_000])
@pytest.mark.parametrize("name", ["pyreqwest", "httpx2", "own httpx2"])
def test_length_near_that_of_a_piece(connect, server, name, coding, length):
    """What inflates to exactly a piece, or little more, is there in whole."""
    if "pyreqwest" in name and "without" in coding:
        pytest.skip("not understood by pyreqwest, and no service sends it")
    word, pack = CODINGS[coding]
    raw = WHOLE.rstrip() + b" " * (length - len(WHOLE))
    server.answer = whole(pack(raw), content_encoding=word)
    assert len(connect(retries=0).ask(tools=TOOLS)) == 1
    long = completion({"index": 0, "message": {"content": "a" * (length - 200)}, "finish_reason": "stop"})
    server.answer = whole(pack(body(long)), content_encoding=word)
    assert connect(retries=0).ask(tools=TOOLS).text == "a" * (length - 200)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate without its header"])
@pytest.mark.parametrize("size", [1, 50, 1_000_000])
def test_length_of_any_size_is_inflated(coding, size):
    """Also where zlib has taken all of the input before a piece is full."""
    word, pack = CODINGS[coding]
    for length in [0, 1, *range(65_534, 65_540), 65_700, 65_800, 66_060, 131_072, 131_073, 131_234, 196_610]:
        raw = b"a" * length
        packed = pack(raw)
        inflating = _Inflating(httpx2.Response(200, headers={"content-encoding": word}))
        pieces = [piece for start in range(0, len(packed), size) for piece in inflating.feed(packed[start : start + size])]
        inflating.close()
        assert b"".join(pieces) == raw
        assert max(map(len, pieces), default=0) <= 65_536


def test_events_of_a_compressed_stream_come_as_they_are_sent(connect, server):
    packing = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first = packing.compress(data(chunk(entry("F", "{}", id="a", index=0)))) + packing.flush(zlib.Z_SYNC_FLUSH)
    server.answer = lambda _: chunked([first, STALL], content_encoding="gzip")
    face = connect()
    start = time.monotonic()
    if face.asynchronous:

        async def first_event():
            async with face.client.stream("?", tools=TOOLS, timeout=5) as arriving:
                return await anext(aiter(arriving.events()))

        assert face.run(first_event()).type == "started"
    else:
        with face.client.stream("?", tools=TOOLS, timeout=5) as arriving:
            assert next(iter(arriving.events())).type == "started"
    assert time.monotonic() - start < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", HTTPX2)
def test_spoiled_body_says_so(connect, server, stream):
    packed = gzip.compress(WHOLE)
    server.answer = whole(packed[:30] + b"\xff" * 30 + packed[60:], content_encoding="gzip")
    with pytest.raises(TransportError, match="compressed body cannot be read"):
        connect(retries=0).ask(tools=TOOLS, stream=stream)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: raw[:10] + b"\xff" * 9 + raw[19:],
        lambda raw: b"plain " + raw,
    ],
    ids=["cut", "empty", "spoiled", "not packed"],
)
def test_body_that_cannot_be_inflated(connect, server, coding, spoil):
    stream = coding == "gzip"
    word, pack = CODINGS[coding]
    server.answer = whole(spoil(pack(WHOLE)), content_encoding=word)
    with pytest.raises(TransportError) as raised:
        connect().ask(tools=TOOLS, stream=stream)
    assert raised.value.status == 200
    assert raised.value.transient
    assert len(server.requests) == 2  # once more


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_calls_before_a_cut_are_kept(connect, server, coding):
    word, _ = CODINGS[coding]
    opener = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if coding == "gzip" else 0))
    packed = opener.compress(data(chunk(entry("F", '{"x": 1}', id="a", index=0)))) + opener.flush(zlib.Z_SYNC_FLUSH)
    for script in (
        [head(content_type="text/event-stream", content_encoding=word, content_length=len(packed)) + packed],
        [head(content_type="text/event-stream", content_encoding=word, content_length=len(packed) + 9) + packed, HANG_UP],
    ):
        server.answer = script
        calls = connect().ask(tools=TOOLS, stream=True, errors="return")
        assert [call.outcome for call in calls.calls] == ["ok"]
        assert [type(error).__name__ for error in calls.errors] == ["CutOffError"]


@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_compressed_error_is_read(connect, server, stream, size):
    packed = gzip.compress(body({"error": {"type": "insufficient_quota", "message": "you have no money"}}))
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    server.answer = lambda _: [
        head(429, content_encoding="gzip", transfer_encoding="chunked"),
        *list(chunked(pieces))[1:],
    ]
    with pytest.raises(TransportError, match="quota is used up") as raised:
        connect().ask(tools=TOOLS, stream=stream)
    assert "no money" in raised.value.body
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", HTTPX2)
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "magic"])
def test_coding_that_was_not_asked_for(connect, server, stream, coding):
    server.answer = whole(WHOLE, content_encoding=coding)
    with pytest.raises(TransportError, match="content-encoding") as raised:
        connect(retries=0).ask(tools=TOOLS, stream=stream)
    assert raised.value.status == 200


# ------------------------------------------------------------------------------------------------------------------- bombs


def resident() -> int:
    """Return the memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


class Peak:
    """The most memory that was used, beyond what was at the beginning."""

    def __enter__(self):
        self._before = self.most = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(0.002):
            self.most = max(self.most, resident())

    @property
    def more(self) -> int:
        return self.most - self._before


def bomb(size: int) -> bytes:
    """Pack a gigabyte of white space into a megabyte."""
    packing = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    piece = b" " * (1 << 20)
    return b"".join([packing.compress(piece) for _ in range(size >> 20)] + [packing.flush()])


@pytest.fixture(scope="module")
def gigabyte():
    return bomb(1 << 30)


def test_bomb_stops_at_the_limit(connect, server, stream, gigabyte):
    server.answer = whole(gigabyte, content_encoding="gzip")
    face = connect()
    with Peak() as peak, pytest.raises(LimitError, match="16777216 bytes"):
        face.ask(tools=TOOLS, stream=stream, timeout=20)
    assert peak.more < 100 << 20, f"{peak.more >> 20} MiB"
    assert len(server.requests) == 1


def test_bomb_behind_a_call_keeps_the_call(connect, server):
    packing = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    parts = [data(chunk(entry("F", '{"x": 1}', id="a", index=0))), *[b": comment " * 100_000 + b"\n\n"] * 100]
    packed = b"".join([packing.compress(part) for part in parts] + [packing.flush()])
    server.answer = whole(packed, content_encoding="gzip")
    calls = connect().ask(tools=TOOLS, stream=True, errors="return", timeout=20)
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert "bytes" in str(calls.errors[0])


def test_bomb_as_an_error_is_cut(connect, server, gigabyte):
    server.answer = [head(400, content_encoding="gzip", content_length=len(gigabyte)) + gigabyte]
    with Peak() as peak, pytest.raises(TransportError) as raised:
        connect().ask(tools=TOOLS, timeout=20)
    assert raised.value.status == 400
    assert len(raised.value.body) <= 2000
    assert peak.more < 100 << 20, f"{peak.more >> 20} MiB"


def test_endless_body_stops_at_the_limit(connect, server, stream):
    limits = Limits(response=1 << 20)
    server.answer = lambda _: chunked(itertools.repeat(b" " * 10_000))
    with Peak() as peak, pytest.raises(LimitError, match="1048576 bytes"):
        connect().ask(tools=TOOLS, stream=stream, limits=limits, timeout=20)
    assert peak.more < 60 << 20, f"{peak.more >> 20} MiB"


def test_slow_reader_holds_up_the_server_and_not_the_memory(connect, server):
    """A stream that nobody reads is not collected without bound."""
    server.answer = lambda _: chunked(itertools.repeat(data(chunk(content="word " * 2000))))
    face = connect()
    if face.asynchronous:
        pytest.skip("nothing is read ahead")
    with Peak() as peak, face.client.stream("?", tools=TOOLS, timeout=20) as arriving:
        events = arriving.events()
        next(events)
        time.sleep(1)
        for _ in range(400):  # 4 MB: goes on where it was held up
            next(events)
    assert peak.more < 60 << 20, f"{peak.more >> 20} MiB"
