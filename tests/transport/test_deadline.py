"""Nothing returns later than the deadline and half a second, whatever the server does; and `close` wakes who waits, at once."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

import polycall
from polycall import DeadlineError, TransportError
from support.chat import DONE, chunk, data, entry
from support.chat import stream as events
from support.faces import FACES
from support.sockets import HANG_UP, STALL, Piece, answering, chunked, eventually, head, whole

pytestmark = pytest.mark.slow

TOOLS = [polycall.Tool("F")]
CALL = data(chunk(entry("F", '{"x": 1}', id="a", index=0)))
GRACE = 0.5


def dripped(raw: bytes, seconds: float = 0.05) -> Iterator[Piece]:
    """Send one byte at a time, and never the last one."""
    for byte in raw[:-1]:
        yield bytes([byte])
        yield seconds
    yield STALL


def for_ever(piece: bytes, seconds: float = 0.01) -> Iterator[Piece]:
    return itertools.cycle([piece, seconds])


SLOW: dict[str, Callable[[], Iterator[Piece]]] = {
    "nothing": lambda: iter([STALL]),
    "half a status line": lambda: iter([b"HTTP/1.1 2", STALL]),
    "headers byte by byte": lambda: dripped(head(transfer_encoding="chunked", **{f"x-{n}": "y" * 50 for n in range(9)})),
    "headers for ever": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], for_ever(b"x-more: y\r\n")),
    "interim responses for ever": lambda: for_ever(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "no body": lambda: iter([head(transfer_encoding="chunked"), STALL]),
    "less than its length": lambda: iter([head(content_length=1000) + b'{"choices": [', STALL]),
    "white space for ever": lambda: chunked(for_ever(b"  \n"), "application/json"),
    "white space dripped": lambda: itertools.chain([head(content_length=100_000)], for_ever(b" ", 0.05)),
    "body byte by byte": lambda: chunked(dripped(b"".join(events(chunk(content="word" * 100))))),
    "half a chunk size": lambda: iter([head(transfer_encoding="chunked"), b"1", STALL]),
    "comments for ever": lambda: chunked(for_ever(b": keep-alive\n\n")),
    "comments without a pause": lambda: chunked(itertools.repeat(b": keep-alive\n\n" * 50)),
    "pings for ever": lambda: chunked(for_ever(b"event: ping\ndata: {}\n\n")),
    "one endless line": lambda: chunked(for_ever(b"data: aaaaaaaa")),
    "empty choices for ever": lambda: chunked(for_ever(data({"choices": []}))),
    "text for ever": lambda: chunked(for_ever(data(chunk(content="word ")))),
    "a call, then nothing": lambda: chunked([CALL, STALL]),
    "arguments for ever": lambda: chunked(
        itertools.chain([data(chunk(entry("F", "", id="a", index=0)))], for_ever(data(chunk(entry(arguments="[", index=0)))))
    ),
    "an error status, then nothing": lambda: iter([head(400, content_length=50) + b'{"error', STALL]),
    "an error status, body byte by byte": lambda: iter([head(500, transfer_encoding="chunked"), *dripped(b"1\r\n \r\n" * 99)]),
    "a redirect, then nothing": lambda: iter([head(307, content_length=50, location="/x"), STALL]),
}


@contextmanager
def within(seconds: float, least: float = 0.0) -> Iterator[None]:
    start = time.monotonic()
    yield
    taken = time.monotonic() - start
    assert least - 0.02 <= taken <= seconds + GRACE, f"{taken:.3f} seconds"


# Every fault meets every face in the table of faults; here each meets two, in turn.
@pytest.mark.parametrize(
    ("slow", "name"),
    [(slow, FACES[(number + turn) % len(FACES)]) for number, slow in enumerate(SLOW) for turn in (0, 3)],
    indirect=["name"],
)
def test_slow_server_meets_the_deadline(connect, server, slow):
    server.answer = lambda _: SLOW[slow]()
    face = connect()
    with within(0.3, least=0.3), pytest.raises(DeadlineError, match=r"timeout=0\.3"):
        face.ask(tools=TOOLS, stream=True, timeout=0.3)
    assert len(server.requests) == 1


def test_done_ends_a_stream_that_stays_open(connect, server):
    server.answer = lambda _: chunked([CALL, data(chunk(finish="tool_calls")), DONE, STALL])
    with within(0.0):
        assert len(connect().ask(tools=TOOLS, stream=True, timeout=5)) == 1


def test_answer_that_is_complete_but_for_its_end_is_given_at_the_deadline(connect, server, stream):
    server.answer = lambda _: chunked([CALL, data(chunk(finish="tool_calls")), STALL])
    with within(0.3):
        assert len(connect().ask(tools=TOOLS, stream=stream, timeout=0.3)) == 1


def test_stream_that_is_read_slowly_meets_the_deadline(connect, server):
    server.answer = lambda _: chunked(for_ever(CALL.replace(b'"index": 0', b'"index": 1')))
    face = connect()
    if face.asynchronous:
        pytest.skip("the same line, driven by the same pump")
    arriving = face.client.stream("?", tools=TOOLS, timeout=0.4)

    def read() -> None:
        for _ in arriving.events():
            time.sleep(0.05)

    with within(0.4), arriving, pytest.raises(DeadlineError):
        read()


@pytest.fixture
def full() -> Iterator[str]:
    """A port that accepts nothing: its queue is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        yield f"http://127.0.0.1:{port}/v1"
        for one in waiting:
            one.close()


def test_port_that_never_accepts_meets_the_deadline(connect, full, stream):
    with within(0.5), pytest.raises(TransportError):
        connect(full).ask(tools=TOOLS, stream=stream, timeout=0.5)


def test_port_where_nothing_listens_is_a_connection_fault(connect, stream):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        face = connect(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with within(0.0), pytest.raises(TransportError, match="connection failed") as raised:
            face.ask(tools=TOOLS, stream=stream, retries=0, timeout=5)
    assert raised.value.transient
    assert raised.value.status is None


def test_retries_end_at_the_deadline(connect, server):
    server.answer = whole(b"", 503)
    with within(1.5), pytest.raises(TransportError, match="left of timeout=") as raised:
        connect().ask(tools=TOOLS, timeout=1.5, retries=100)
    assert raised.value.status == 503
    assert 2 <= len(server.requests) <= 4


def test_slow_key_meets_the_deadline(connect, server):
    def key() -> str:
        over.wait(3)
        return "some-key"

    over = threading.Event()
    face = connect(api_key=key)
    with within(0.3), pytest.raises(DeadlineError):
        face.ask(tools=TOOLS, timeout=0.3)
    over.set()


@pytest.mark.parametrize("header", [{"retry_after": "30"}, {"retry_after_ms": "30000"}])
def test_retry_after_beyond_the_deadline_raises_at_once(connect, server, stream, header):
    server.answer = whole(b"", 429, **header)
    with within(0.0), pytest.raises(TransportError, match="30 seconds") as raised:
        connect().ask(tools=TOOLS, stream=stream, timeout=5)
    assert raised.value.retry_after == 30
    assert len(server.requests) == 1


def test_retry_after_is_waited_for(connect, server):
    server.queue.append(whole(b"", 429, retry_after_ms="700"))
    server.answer = answering(entry("F", "{}", id="a"))
    with within(0.8, least=0.7):
        assert len(connect().ask(tools=TOOLS, timeout=5)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        [HANG_UP],
        [b"HTTP/1.1 2", HANG_UP],
        [head(content_length=9), HANG_UP],
        [b"no HTTP at all\r\n\r\n", HANG_UP],
        whole(b"", 529),
    ],
    ids=["no answer", "half a head", "no body", "no HTTP", "overloaded"],
)
def test_faults_are_tried_again(connect, server, fault):
    stream = fault[0] == HANG_UP
    server.queue.append(fault)
    server.answer = answering(entry("F", "{}", id="a"))
    assert len(connect().ask(tools=TOOLS, stream=stream, timeout=5)) == 1
    assert len(server.requests) == 2


def test_connection_that_the_server_closed_meanwhile_is_no_fault(connect, server, stream):
    face = connect()
    server.answer = lambda sent: itertools.chain(answering(entry("F", "{}", id="a"))(sent), [0.05, HANG_UP])
    assert len(face.ask(tools=TOOLS, stream=stream)) == 1
    assert server.settled()
    with within(0.0):
        assert len(face.ask(tools=TOOLS, stream=stream, retries=1)) == 1


# ------------------------------------------------------------------------------------------------------------------ close


WAITING: dict[str, Callable[[], Iterator[Piece]]] = {
    "before headers": lambda: iter([STALL]),
    "inside headers": lambda: iter([b"HTTP/1.1 200 OK\r\n", STALL]),
    "before the body": lambda: iter([head(transfer_encoding="chunked"), STALL]),
    "inside the body": lambda: chunked([CALL, STALL]),
    "while comments come": lambda: chunked(for_ever(b": ping\n\n")),
    "inside an error's body": lambda: iter([head(500, content_length=9), STALL]),
    "in the pause before a retry": lambda: iter(whole(b"", 429, retry_after="4")),
}


@pytest.mark.parametrize("waiting", WAITING)
def test_closing_the_stream_wakes_its_reader(connect, server, waiting):
    server.answer = lambda _: WAITING[waiting]()
    face = connect()
    if face.asynchronous:
        face.run(_woken_on_asyncio(face.client, server))
    else:
        _woken(face.client, server)
    if "headers" in waiting:  # pyreqwest goes on with the request until they come
        server.hang_up()
    assert eventually(lambda: server.playing == 0)


def _woken(client, server):
    def read():
        try:
            outcome.append(arriving.result())
        except Exception as error:  # looked at below
            outcome.append(error)

    outcome = []
    arriving = client.stream("?", tools=TOOLS, timeout=5)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert eventually(lambda: bool(server.requests))
    time.sleep(0.1)
    with within(0.0):
        arriving.close()
        reader.join(2)
    _check_woken(outcome[0])


async def _woken_on_asyncio(client, server):
    arriving = client.stream("?", tools=TOOLS, timeout=5)
    reader = asyncio.create_task(arriving.result())
    assert await asyncio.to_thread(eventually, lambda: bool(server.requests))
    await asyncio.sleep(0.1)
    with within(0.0):
        await arriving.close()
        await asyncio.wait((reader,), timeout=2)
    if not reader.done():
        reader.cancel()
    (outcome,) = await asyncio.gather(reader, return_exceptions=True)
    _check_woken(outcome)


def _check_woken(outcome):
    """Closed before the answer was complete: never a whole result."""
    assert isinstance(outcome, polycall.PolycallError), repr(outcome)
    assert not isinstance(outcome, DeadlineError)


def test_stream_can_be_closed_before_it_is_read(connect, server):
    face = connect()
    arriving = face.client.stream("?", tools=TOOLS)
    if face.asynchronous:
        face.run(arriving.close())
    else:
        arriving.close()
    assert not server.requests


def test_closing_the_stream_in_the_moment_before_it_is_sent(connect, server):
    """From a hook, which runs inside the reader."""
    face = connect()
    arriving = face.client.stream("?", tools=TOOLS)

    def close(**_):
        if face.asynchronous:
            with suppress(StopIteration):
                arriving.close().send(None)
        else:
            arriving.close()

    face.client.on("completion:kwargs", close)
    with pytest.raises(TransportError, match="closed"):
        if face.asynchronous:
            face.run(arriving.result())
        else:
            arriving.result()
    assert not server.requests


@pytest.mark.parametrize("name", ["pyreqwest", "httpx2"])
def test_closing_the_stream_in_the_moment_it_is_sent(connect, server, monkeypatch):
    def open_and_close(*given):
        try:
            return sending(*given)
        finally:
            arriving.close()

    server.answer = [STALL]
    face = connect()
    poster = face.client._connection.client.poster
    sending = poster.open
    monkeypatch.setattr(poster, "open", open_and_close)
    arriving = face.client.stream("?", tools=TOOLS)
    with within(0.0), pytest.raises(TransportError, match="closed"):
        arriving.result()
    server.hang_up()


def test_closing_the_client_ends_its_requests(connect, server, name):
    if name.startswith("own"):
        pytest.skip("the client is the user's")
    server.answer = lambda _: chunked([CALL, STALL])
    face = connect()
    if face.asynchronous:
        pytest.skip("a task is cancelled instead")
    arriving = face.client.stream("?", tools=TOOLS, errors="return")
    next(iter(arriving.events()))
    closing = threading.Timer(0.1, face.client.close)
    closing.start()
    with within(0.1):
        calls = arriving.result()
    closing.join()
    assert [call.outcome for call in calls.calls] == ["ok"]
    assert calls.errors
