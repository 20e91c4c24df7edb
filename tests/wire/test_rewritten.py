"""The recorded streams, sent differently: cut up anywhere, with other line ends, interleaved, broken off. The calls stay the same."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import random
from collections import Counter

import openai
import pytest
from tests.support import memory
from tests.support.chat import DONE, cut_up, data, pieces
from tests.support.loopback import Answer, Drop, Reset, Server
from tests.support.recorded import Recorded, check, outcome, sse_data, streams

import polycall

CUTS = 64
LONGEST = 20_000  # bytes of a stream that is read byte by byte in the quick run


def ids(recorded):
    return [pytest.param(one, id=one.id) for one in recorded]


STREAMS = ids(streams())
WITH_CALLS = ids(one for one in streams() if one.calls)
SHORT = [one for one in streams() if len(one.body) <= LONGEST]
LONG = [one for one in streams() if len(one.body) > LONGEST]


def replay(one: Recorded, chunks):
    return memory.replay(chunks, one.tools)


def events(body: bytes) -> list[bytes]:
    """Split a recorded stream at the empty lines, each event with its own."""
    return [event + b"\n\n" for event in body.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]


@pytest.mark.parametrize("one", ids(SHORT))
def test_byte_by_byte(one):
    check(replay(one, cut_up(one.body, range(len(one.body)))), one)


@pytest.mark.slow
@pytest.mark.parametrize("one", ids(LONG))
def test_byte_by_byte_long(one):
    check(replay(one, cut_up(one.body, range(len(one.body)))), one)


@pytest.mark.parametrize("one", STREAMS)
def test_cut_up_at_random(one):
    chance = random.Random(one.id)
    expected = outcome(replay(one, [one.body]))
    for _ in range(CUTS):
        positions = chance.sample(range(len(one.body)), chance.randint(1, min(12, len(one.body) - 1)))
        assert outcome(replay(one, cut_up(one.body, positions))) == expected, sorted(positions)


@pytest.mark.parametrize("one", STREAMS)
def test_line_ends_bom_and_comments(one):
    body = b"".join(events(one.body))
    commented = [b": keep-alive\n\n" + event + b":\n:OPENROUTER PROCESSING\nid: 7\nretry: 5\n" for event in events(body)]
    variants = {
        "crlf": body.replace(b"\n", b"\r\n"),
        "cr": body.replace(b"\n", b"\r"),
        "mixed": b"".join(
            event.rstrip(b"\n") + end
            for event, end in zip(events(body), itertools.cycle((b"\r\n\n", b"\n\r\n", b"\r\r", b"\n\n")), strict=False)
        ),
        "bom": b"\xef\xbb\xbf" + body,
        "comments": b"".join(commented),
        "no space": body.replace(b"data: ", b"data:"),
        "blank lines first": b"\n\r\n\n" + body,
        "no end of line at the end": body.rstrip(b"\n"),
    }
    chance = random.Random(one.id)
    expected = outcome(replay(one, [one.body]))
    for name, variant in variants.items():
        assert outcome(replay(one, [variant])) == expected, name
        cuts = chance.sample(range(len(variant)), min(len(variant), 200))
        assert outcome(replay(one, cut_up(variant, cuts))) == expected, (name, sorted(cuts))


@pytest.mark.parametrize("one", STREAMS)
def test_without_done_marker(one):
    if not one.finish or "error_mid_stream" in one.tags:
        pytest.skip("the end marker is the only end that this stream has")
    body = b"".join(event for event in events(one.body) if b"[DONE]" not in event)
    assert outcome(replay(one, [body])) == outcome(replay(one, [one.body]))


def test_only_the_marker_tells_the_end():
    """Without a finish reason and without the marker a stream is cut, and with either it is not."""
    one = next(one for one in streams() if one.calls and not one.finish)
    check(replay(one, [one.body]), one)
    calls = replay(one, [event for event in events(one.body) if b"[DONE]" not in event])
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]
    assert [call.outcome for call in calls.calls] == ["ok"]


# --------------------------------------------------------------------------------- pieces of different calls, and small ones


def exploded(one: Recorded) -> list[tuple[object, dict]]:
    """Return one chunk per piece of a call, with the key of its call, and the others with None."""
    found: list[tuple[object, dict]] = []
    for event in sse_data(one.body):
        single = [choice for choice in event.get("choices") or () if (choice.get("delta") or {}).get("tool_calls")]
        if not single:
            found.append((None, event))
            continue
        for choice in event["choices"]:
            for entry in choice["delta"].get("tool_calls") or ():
                delta = {**choice["delta"], "content": None, "tool_calls": [copy.deepcopy(entry)]}
                part = {**event, "choices": [{**choice, "delta": delta, "finish_reason": None}], "usage": None}
                found.append(((choice.get("index", 0), entry.get("index")), part))
        rest = [{**choice, "delta": {**choice["delta"], "tool_calls": []}} for choice in event["choices"]]
        found.append((None, {**event, "choices": rest}))
    return found


def piece_of(event: dict) -> dict:
    return event["choices"][0]["delta"]["tool_calls"][0]


def in_small_pieces(parts, size=1):
    """Split the argument text of each piece into pieces of ``size`` characters; the first keeps id and name."""
    for key, event in parts:
        text = (piece_of(event).get("function") or {}).get("arguments") if key is not None else None
        if not isinstance(text, str) or len(text) <= size:
            yield key, event
            continue
        for number, small in enumerate(pieces(text, size)):
            part = copy.deepcopy(event)
            entry = piece_of(part)
            if number:
                kept = {"index": entry["index"]} if "index" in entry else {}
                part["choices"][0]["delta"] = {"tool_calls": [{**kept, "function": {"arguments": small}}]}
            else:
                entry["function"]["arguments"] = small
            yield key, part


def interleaved(parts, chance: random.Random) -> list[dict]:
    """Let pieces of different calls alternate: each call's own order is kept, and the first pieces come in order."""
    parts = list(parts)
    by_call: dict[object, list[dict]] = {}
    for key, event in parts:
        if key is not None:
            by_call.setdefault(key, []).append(event)
    first = [pieces_of_call.pop(0) for pieces_of_call in by_call.values()]
    keys = [key for key, rest in by_call.items() for _ in rest]
    chance.shuffle(keys)
    begins = next((number for number, (key, _) in enumerate(parts) if key is not None), len(parts))
    before = [event for key, event in parts[:begins]]
    after = [event for key, event in parts[begins:] if key is None]
    return [*before, *first, *(by_call[key].pop(0) for key in keys), *after]


def sent(parts) -> list[bytes]:
    return [*map(data_of, parts), DONE]


def data_of(event: dict) -> bytes:
    return data(json.dumps(event))


def without_order(calls: polycall.Calls) -> list:
    return [(call.id, call.name, call.arguments, call.outcome) for call in calls.calls]


@pytest.mark.parametrize("one", WITH_CALLS)
def test_arguments_in_single_characters(one):
    check(replay(one, sent(event for _, event in in_small_pieces(exploded(one)))), one)


INDEXED = [
    one
    for one in streams()
    if len(one.calls) > 1
    and Counter(key for key, event in exploded(one) if key is not None and piece_of(event).get("id")).total() == len(one.calls)
    and all(key[1] is not None for key, _ in exploded(one) if key is not None)
    and len({key for key, _ in exploded(one) if key is not None}) == len(one.calls)
]


@pytest.mark.parametrize("one", ids(INDEXED))
def test_pieces_of_different_calls_alternate(one):
    chance = random.Random(one.id)
    for size in (1, 2, 5, 1000):
        for _ in range(4):
            check(replay(one, sent(interleaved(in_small_pieces(exploded(one), size), chance))), one)


def test_enough_streams_to_interleave():
    assert len(INDEXED) >= 5


# ----------------------------------------------------------------------------------------------------------- broken off


def complete_in(chunks: list[dict]) -> dict[object, str]:
    """Return the argument text of each call that has closed, by key; plainly, for streams that number their calls."""
    texts: dict[object, str] = {}
    for event in chunks:
        for choice in event.get("choices") or ():
            for entry in (choice.get("delta") or {}).get("tool_calls") or ():
                key = (choice.get("index", 0), entry.get("index"))
                texts[key] = texts.get(key, "") + ((entry.get("function") or {}).get("arguments") or "")
    return texts


def is_finished(chunks: list[dict]) -> bool:
    """Whether every choice that has begun has told its finish reason."""
    finished: dict[int, bool] = {}
    for event in chunks:
        for choice in event.get("choices") or ():
            number = choice.get("index", 0)
            finished[number] = finished.get(number, False) or bool(choice.get("finish_reason"))
    return bool(finished) and all(finished.values())


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def check_cut(calls: polycall.Calls, full: polycall.Calls, *, ended: bool) -> None:
    assert len(calls.calls) <= len(full.calls)
    for call, whole in zip(calls.calls, full.calls, strict=False):
        if call.outcome == "cut off":
            assert isinstance(call.error, polycall.CutOffError)
            assert (call.id, call.name) == (whole.id, whole.name)
            assert whole.arguments.startswith(call.arguments)
        elif call.outcome != "unknown" or call.name:
            assert (call.id, call.name, call.arguments, call.outcome) == (
                whole.id,
                whole.name,
                whole.arguments,
                whole.outcome,
            )
    if not ended:
        cuts = [error for error in calls.errors if isinstance(error, polycall.CutOffError)]
        assert cuts
        assert all(cut.index <= len(calls.calls) for cut in cuts)
        if all(call.outcome != "cut off" for call in calls.calls):
            assert [cut.index for cut in cuts] == [len(calls.calls)]


@pytest.mark.parametrize("one", WITH_CALLS)
def test_cut_at_every_event(one):
    full = replay(one, [one.body])
    numbered = one in INDEXED or len(one.calls) == 1
    split = events(one.body)
    # Between the first piece of a call and the end of the stream every cut is tried, and a few of the many before.
    begins = next(number for number, event in enumerate(split) if b'"tool_calls"' in event)
    tried = [*range(1, begins, max(1, begins // 4)), *range(max(1, begins), len(split))]
    for number in tried[:: max(1, len(tried) // 150)]:
        before = split[:number]
        chunks = sse_data(b"".join(before))
        if not chunks:
            with pytest.raises(polycall.PolycallError):  # nothing but comments: no answer, or one that is cut
                memory.replay(before, one.tools, errors="raise")
            continue
        calls = replay(one, before)
        finished = is_finished(chunks)
        check_cut(calls, full, ended=finished)
        if numbered and not finished:
            closed = [is_object(text) for text in complete_in(chunks).values()]
            assert [call.outcome == "ok" for call in calls.calls] == closed, number


@pytest.mark.parametrize("one", WITH_CALLS)
def test_cut_inside_an_event_is_a_cut_before_or_behind_it(one):
    chance = random.Random(one.id)
    split = events(one.body)
    body = b"".join(split)
    ends = list(itertools.accumulate(map(len, split)))
    for position in chance.sample(range(ends[0], len(body)), min(12, len(body) - ends[0])):
        number = sum(end <= position for end in ends)
        possible = [outcome(replay(one, split[:count])) for count in (number, number + 1)]
        assert outcome(replay(one, [body[:position]])) in possible, position


@pytest.mark.parametrize("one", WITH_CALLS)
def test_exception_of_the_transport_is_an_end_like_another(one):
    """What broke the connection is told as the cause of the cut, and takes nothing with it."""
    split = events(one.body)
    error = ConnectionResetError("gone")
    for number in {len(split) // 2, len(split) - 3, len(split) - 2, len(split) - 1} - {0}:
        if not sse_data(b"".join(split[:number])):
            continue
        calls = replay(one, [*split[:number], error])
        assert outcome(calls) == outcome(replay(one, split[:number])), number
        gaps = [cut for cut in calls.errors if isinstance(cut, polycall.CutOffError) and cut.index == len(calls)]
        assert all(gap.__cause__ is error for gap in gaps if "connection" in str(gap))


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


BROKEN = ids([one for one in streams() if len(one.calls) > 1][:8])


@pytest.mark.parametrize("end", [Reset(), Drop()], ids=["reset", "shutdown"])
@pytest.mark.parametrize("one", BROKEN)
async def test_socket_breaks(one, end, server):
    split = events(one.body)
    full = replay(one, [one.body])
    begins = next(number for number, event in enumerate(split) if b'"tool_calls"' in event)
    options = {"model": "m", "tools": one.tools, "errors": "return", "max_retries": 0}
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as sdk:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as async_sdk:
            for number in {begins, begins + 1, (begins + len(split)) // 2}:
                # A reset overtakes what is still unread, so what comes before it is only read in part, as a rule not at all.
                server.answer = Answer([*split[:number], end], 200, "text/event-stream")
                chunks = sse_data(b"".join(split[:number]))
                for sdk_of in (sdk, async_sdk):
                    calls = await read(polycall.from_openai(sdk_of).stream("?", **options))
                    if isinstance(calls, polycall.TransportError):
                        assert isinstance(end, Reset)
                        assert calls.status == 200
                        assert calls.__cause__ is not None
                        continue
                    check_cut(calls, full, ended=is_finished(chunks))
                    if isinstance(end, Drop):
                        assert outcome(calls)[0] == outcome(replay(one, split[:number]))[0]


async def read(stream):
    """Return the calls of a stream, or the error that says that nothing usable came."""
    try:
        result = stream.result()
        return await result if inspect.isawaitable(result) else result
    except polycall.TransportError as error:
        return error
