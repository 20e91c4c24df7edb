"""JSONTestSuite as the arguments of a call: what is JSON gives the standard decoder's value, what is not never gives a value."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import BaseModel, JsonValue
from tests.support import memory
from tests.support.chat import DONE, body, chunk, data, entry, pieces, stream, whole
from tests.support.recorded import TESTS

import polycall

FILES = sorted((TESTS / "data" / "json_test_suite" / "test_parsing").glob("*.json"))


class Holder(BaseModel):
    x: JsonValue


class Good(BaseModel):
    n: int


def texts(path):
    """Return the arguments with the file as the value of ``x``: as text where it is text, else with its bytes escaped."""
    return b'{"x": %s}' % path.read_bytes()


def has_repeated_keys(raw: bytes) -> bool:
    def pairs(found):
        nonlocal repeated
        repeated = repeated or len(dict(found)) < len(found)
        return dict(found)

    repeated = False
    json.loads(raw, object_pairs_hook=pairs)
    return repeated


def same(one, other) -> bool:
    """Compare as JSON: 1 and 1.0 differ, and so do 0.0 and -0.0."""
    return repr(one) == repr(other)


def judge(path, calls):
    raw = texts(path)
    call, good = calls.calls
    assert good.value == Good(n=1)
    assert calls.of(Good) == [Good(n=1)]
    kind = path.name[0]
    accepted = kind == "y" and not has_repeated_keys(raw)
    assert (call.outcome == "ok") is accepted or kind == "i", call
    if call.outcome == "ok":
        value = json.loads(raw)["x"]
        assert same(call.value.x, value) or (kind == "i" and math.inf in {value, -value})
    else:
        assert type(call.error) is polycall.InvalidArgumentsError
        assert call.error.problems
        assert calls.errors == (call.error,)


def as_text(path) -> str | None:
    try:
        return texts(path).decode()
    except UnicodeDecodeError:
        return None


TEXTS = [pytest.param(path, id=path.stem) for path in FILES if as_text(path) is not None]
GOOD = entry("Good", '{"n": 1}', id="good")
TOOLS = [Holder, Good]


@pytest.mark.parametrize("path", TEXTS)
def test_whole(path):
    bad = entry("Holder", as_text(path), id="bad")
    judge(path, memory.replay([body(whole(bad, GOOD))], TOOLS, stream=False))


@pytest.mark.parametrize("path", TEXTS)
def test_streamed(path):
    text = as_text(path)
    for size in (1, 2, 7, len(text)):
        if len(text) / size > 10_000:
            continue
        head = chunk(entry("Holder", "", id="bad", index=0))
        parts = [chunk(entry(arguments=part, index=0)) for part in pieces(text, size)]
        calls = memory.replay(stream(head, *parts, chunk({**GOOD, "index": 1})), TOOLS)
        if calls.calls[0].arguments == text:
            judge(path, calls)
        else:  # closed before its last piece, by a file that holds more brackets than one value has
            assert path.name.startswith(("n_", "i_"))
            assert calls.errors
            assert calls.calls[1].value == Good(n=1)


@pytest.mark.parametrize("path", TEXTS)
def test_in_event(path):
    """As a JSON value in the event itself: an event that is not JSON is no answer, anything else is a value or an error."""
    text = as_text(path)
    event = json.dumps(whole(entry("Holder", "HERE", id="bad"), GOOD)).replace('"HERE"', text)
    try:
        calls = memory.replay([event.encode()], TOOLS, stream=False)
    except polycall.TransportError:
        assert path.name.startswith(("n_", "i_"))
    else:
        if len(calls.calls) == 2:
            judge(path, calls)
        else:
            assert path.name.startswith(("n_", "i_"))
    streamed = data(
        json.dumps(chunk(entry("Holder", "HERE", id="bad", index=0))).replace('"HERE"', text).replace("\n", "\ndata: ")
    )
    calls = memory.replay([data(chunk({**GOOD, "index": 1})), streamed, DONE], TOOLS)
    assert calls[0] == Good(n=1)
    assert path.name[0] != "n" or calls.errors


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES if as_text(path) is None])
def test_bytes_that_are_no_text_break_their_event_alone(path):
    broken = chunk(entry("Holder", "HERE", id="bad", index=1))
    events = [data(chunk({**GOOD, "index": 0})), data(broken).replace(b"HERE", path.read_bytes().replace(b"\n", b" ")), DONE]
    calls = memory.replay(events, TOOLS)
    assert calls[0] == Good(n=1)
    assert calls.errors


def test_the_suite_is_there():
    assert len(FILES) >= 159
    assert len(TEXTS) > 130
