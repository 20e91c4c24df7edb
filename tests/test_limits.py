"""What one response may cost: where each limit stands, what is kept when it is passed, and that each can be raised."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import Iterable

import openai
import pytest
from pydantic import BaseModel

import polycall
from polycall import CutOffError, DeadlineError, InvalidArgumentsError, LimitError, Limits, Tool, UsageError
from polycall._ask import Deadline
from polycall._effects import Sleep
from polycall._validate import _depth
from support import chat, memory, sockets
from support_tools import check

MEBI = 2**20


class F(BaseModel):
    x: int = 0


class Text(BaseModel):
    text: str = ""


TOOLS = [F, Text, Tool("Any")]
GOOD = chat.entry("F", '{"x": 7}', id="good")
WAYS = ["whole", "streamed", "in pieces", "one event"]


def answer_of(entries, way):
    """Write calls as one body, or as the events of a stream."""
    if way == "whole":
        return [chat.body(chat.whole(*entries))]
    if way == "one event":
        return chat.stream(chat.chunk(*({"index": index, **one} for index, one in enumerate(entries))))
    return chat.streamed(entries, size=50_000 if way == "in pieces" else None)


@pytest.fixture(params=[False, True], ids=["blocking", "asyncio"])
def ask(request):
    """Return a function that gives the calls of an answer that arrives as these chunks."""

    def ask(chunks, *, whole=False, **options):
        options = {"tools": TOOLS, "errors": "return", "max_retries": 0, **options}
        script = memory.Script(chunks)
        if request.param:
            return asyncio.run(_later(memory.async_client(script), whole=whole, **options))
        answer = memory.client(script).create("?", stream=not whole, **options)
        return answer if whole else answer.result()

    return ask


async def _later(client, *, whole, **options):
    answer = await client.create("?", stream=not whole, **options)
    return answer if whole else await answer.result()


def outcomes(calls):
    assert [call.index for call in calls.calls] == list(range(len(calls)))
    return [call.outcome for call in calls.calls]


# ----------------------------------------------------------------------------------------------------- what may be given


@pytest.mark.parametrize(
    "limits",
    [
        None,
        5,
        {},
        {"calls": 5},
        Limits,
        Limits(calls="5"),
        Limits(calls=None),
        Limits(calls=-1),
        Limits(calls=True),
        Limits(calls=1.5),
        Limits(response="1"),
        Limits(response=-1),
        Limits(arguments="1"),
        Limits(depth=None),
        Limits(hosts="api.example.com"),
        Limits(hosts=None),
        Limits(hosts=[1]),
        Limits(hosts={"api.example.com": 1}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("where", ["client", "call"])
def test_limits_that_are_none(limits, where):
    script = memory.Script(chat.streamed([GOOD]))
    given = {"limits": limits}
    with pytest.raises(UsageError, match=r"imits"):
        memory.client(script, **(given if where == "client" else {})).stream(
            "?", tools=TOOLS, **(given if where == "call" else {})
        )
    assert not script.sent


@pytest.mark.parametrize("hosts", [frozenset({"a.b"}), {"a.b"}, ["a.b"], ("a.b",), frozenset()])
def test_hosts_in_any_collection(hosts, ask):
    assert len(ask(chat.streamed([GOOD]), limits=Limits(hosts=hosts))) == 1


def test_a_call_wins_over_the_client():
    client = memory.client(memory.Script(chat.streamed([GOOD, GOOD])), limits=Limits(calls=1))
    assert len(client.stream("?", tools=TOOLS, errors="return").result().calls) == 1
    assert len(client.stream("?", tools=TOOLS, errors="return", limits=Limits(calls=2)).result().calls) == 2


def test_the_defaults():
    assert Limits() == Limits(response=16 * MEBI, arguments=MEBI, calls=1024, depth=64, hosts=frozenset())
    assert pickle.loads(pickle.dumps(Limits(calls=5))) == Limits(calls=5)


@pytest.mark.parametrize("retries", [-1, 1.5, "2", True, [], 2.0], ids=repr)
def test_retries_that_are_none(retries):
    with polycall.from_provider("ollama/m") as client, pytest.raises(UsageError, match="retries counts the times"):
        client.payload("?", tools=TOOLS, retries=retries)


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_an_sdk_has_its_own_retries(retries):
    with openai.OpenAI(api_key="k") as sdk:
        client = polycall.from_openai(sdk, model="m")
        with pytest.raises(UsageError, match=r"openai\.OpenAI\(max_retries=\.\.\.\)"):
            client.payload("?", tools=TOOLS, retries=retries)
        assert client.payload("?", tools=TOOLS, retries=None)


@pytest.mark.parametrize("retries", [0, 1])
def test_neither_has_the_embedded_model_any(retries):
    with polycall.from_provider("local") as client, pytest.raises(UsageError, match="retries"):
        client.payload("?", tools=TOOLS, retries=retries)


# ------------------------------------------------------------------------------------------------------- number of calls


def many(count, *, same=False):
    return [chat.entry("F", '{"x": 1}' if same else f'{{"x": {n}}}', id=f"c{n}") for n in range(count)]


def check_cut(calls, limit):
    assert outcomes(calls) == ["ok"] * limit
    (error,) = calls.errors
    assert isinstance(error, CutOffError)
    assert error.index == limit
    assert f"more than {limit} calls" in str(error)
    assert "limits=polycall.Limits(calls=...)" in str(error)
    assert isinstance(error.__cause__, LimitError)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("same", [False, True])
def test_1024_calls_are_all_there(way, same, ask):
    calls = ask(answer_of(many(1024, same=same), way), whole=way == "whole")
    assert outcomes(calls) == ["ok"] * 1024
    assert not calls.errors
    assert [one.x for one in calls] == [1] * 1024 if same else list(range(1024))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("count", [1025, 3000])
def test_more_than_1024_calls_are_cut_behind_the_last(way, same, count, ask):
    calls = ask(answer_of(many(count, same=same), way), whole=way == "whole")
    check_cut(calls, 1024)


@pytest.mark.parametrize("way", WAYS)
def test_more_calls_may_be_allowed(way, ask):
    calls = ask(answer_of(many(1500), way), whole=way == "whole", limits=Limits(calls=1500))
    assert [one.x for one in calls] == list(range(1500))
    assert not calls.errors


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_fewer_calls_may_be_allowed(way, limit, ask):
    check_cut(ask(answer_of(many(4), way), whole=way == "whole", limits=Limits(calls=limit)), limit)
    assert not ask(answer_of(many(limit), way), whole=way == "whole", limits=Limits(calls=limit)).errors


def test_no_call_at_all(ask):
    calls = ask(chat.streamed(many(1)), limits=Limits(calls=0))
    assert not calls.calls
    assert isinstance(calls.errors[0], CutOffError)
    assert not ask(chat.stream(chat.chunk(content="hello"), finish="stop"), limits=Limits(calls=0)).errors


def test_nothing_is_read_behind_the_last_call():
    read = []

    def chunks():
        for chunk in chat.streamed(many(100)):
            read.append(chunk)
            yield chunk

    check_cut(memory.replay(chunks(), TOOLS, limits=Limits(calls=3)), 3)
    assert len(read) == 4


@pytest.mark.parametrize("count", [1024, 1025])
def test_interleaved_calls(count, ask):
    heads = [chat.chunk(chat.entry("F", "", id=f"c{n}", index=n)) for n in range(count)]
    texts = [chat.chunk(chat.entry(arguments=text, index=n)) for text in ('{"x"', ": 5}") for n in range(count)]
    calls = ask(chat.stream(*heads, *texts))
    if count == 1024:
        assert [one.x for one in calls] == [5] * 1024
        return
    # The answer is cut where the first call too many begins: nothing of the others' arguments has come by then.
    assert len(calls) == 1024
    assert set(outcomes(calls)) <= {"cut off", "ok"}
    assert "ok" not in outcomes(calls)
    assert any(isinstance(error, CutOffError) for error in calls.errors)


def test_interleaved_calls_that_are_open_at_the_cut(ask):
    chunks = [
        chat.chunk(chat.entry("F", '{"x": 1}', id="a", index=0)),
        chat.chunk(chat.entry("F", '{"x"', id="b", index=1)),
        chat.chunk(chat.entry("F", '{"x": 3}', id="c", index=2)),
        chat.chunk(chat.entry(arguments=": 2}", index=1)),
    ]
    calls = ask(chat.stream(*chunks), limits=Limits(calls=2))
    assert outcomes(calls) == ["ok", "cut off"]
    assert "more than 2 calls" in str(calls.errors[-1])


def test_identical_repeats_do_not_count(ask):
    entries = many(3)
    chunks = [chat.chunk({**one, "index": n}) for n, one in enumerate(entries) for _ in range(4)]
    calls = ask(chat.stream(*chunks), limits=Limits(calls=3))
    assert outcomes(calls) == ["ok"] * 3
    assert not calls.errors


def test_a_repeat_that_turns_out_to_be_a_call_of_its_own_counts(ask):
    """The first piece might have been the first call again; the second one shows that it is another."""
    chunks = [
        chat.chunk(chat.entry("F", '{"x": 1}', index=0)),
        chat.chunk(chat.entry("F", '{"x": ', index=0)),
        chat.chunk(chat.entry(arguments="2}", index=0)),
    ]
    assert [one.x for one in ask(chat.stream(*chunks), limits=Limits(calls=2))] == [1, 2]
    check_cut(ask(chat.stream(*chunks), limits=Limits(calls=1)), 1)


def test_a_repeat_that_breaks_off_behind_the_last_call_counts(ask):
    chunks = [chat.chunk(chat.entry("F", '{"x": 1}', index=0)), chat.chunk(chat.entry("F", '{"x": ', index=0))]
    calls = ask(chat.stream(*chunks, finish="length"), limits=Limits(calls=1))
    assert outcomes(calls) == ["ok"]
    assert any(isinstance(error, CutOffError) for error in calls.errors)


def test_raising_has_the_calls():
    with pytest.raises(polycall.CallErrors) as caught:
        memory.replay(answer_of(many(5), "streamed"), TOOLS, limits=Limits(calls=2), errors="raise")
    assert [one.x for one in caught.value.calls] == [0, 1]


# --------------------------------------------------------------------------------------------------- length of arguments


def long_text(length):
    """Write arguments of so many characters."""
    return '{"text": "' + "a" * (length - 12) + '"}'


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("length", "outcome"), [(MEBI, "ok"), (MEBI + 1, "invalid"), (3 * MEBI, "invalid")])
def test_a_megabyte_of_arguments(way, length, outcome, ask):
    entries = [
        GOOD,
        chat.entry("Text", long_text(length), id="long"),
        GOOD | {"id": "after"},
        chat.entry("Text", '{"text": "b"}', id="b"),
    ]
    calls = ask(answer_of(entries, way), whole=way == "whole")
    assert outcomes(calls) == ["ok", outcome, "ok", "ok"]
    assert [call.id for call in calls.calls] == ["good", "long", "after", "b"]
    assert (calls[2], calls[3]) == (F(x=7), Text(text="b"))
    if outcome == "ok":
        assert len(calls[1].text) == length - 12
        return
    assert [call.error for call in calls.calls if call.error] == list(calls.errors)
    error = calls.calls[1].error
    assert isinstance(error, InvalidArgumentsError)
    assert "longer than 1048576 characters (limits=polycall.Limits(arguments=...))" in str(error)
    assert "aaa" not in str(error)
    assert len(calls.calls[1].arguments) <= MEBI + 1  # no more of it is kept


@pytest.mark.parametrize("way", WAYS)
def test_more_may_be_allowed(way, ask):
    entries = [chat.entry("Text", long_text(3 * MEBI), id="long"), GOOD]
    calls = ask(answer_of(entries, way), whole=way == "whole", limits=Limits(arguments=3 * MEBI))
    assert outcomes(calls) == ["ok", "ok"]
    assert not ask(answer_of([GOOD], way), whole=way == "whole", limits=Limits(arguments=8)).errors
    assert outcomes(ask(answer_of([GOOD], way), whole=way == "whole", limits=Limits(arguments=7))) == ["invalid"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_every_way_of_splitting_gives_the_same(size, ask):
    entries = [chat.entry("Text", long_text(40), id="a"), GOOD, chat.entry("Text", long_text(12), id="b")]
    calls = ask(chat.streamed(entries, size=size), limits=Limits(arguments=12))
    assert outcomes(calls) == ["invalid", "ok", "ok"]
    assert "longer than 12 characters" in str(calls.errors[0])
    assert calls.calls[0].arguments == long_text(40)[:13]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ['{"x": 5}', "null", "", "{}"])
@pytest.mark.parametrize("before", [True, False])
def test_white_space_counts_and_hides_nothing(way, text, before, ask):
    space = " " * (MEBI + 1)
    calls = ask(answer_of([chat.entry("F", space + text if before else text + space, id="a"), GOOD], way), whole=way == "whole")
    assert calls[1] == F(x=7)
    if before or way == "whole" or "{" not in text:
        assert outcomes(calls) == ["invalid", "ok"]
    elif calls.calls[0].outcome == "ok":  # white space that comes behind a complete call belongs to nothing
        assert calls[0] == F(x=5 if "5" in text else 0)


def test_a_long_call_that_is_cut_off_stays_cut_off(ask):
    text = long_text(100)
    calls = ask(
        chat.stream(chat.chunk(chat.entry("Text", text[:50], id="a", index=0)), finish="length"), limits=Limits(arguments=20)
    )
    assert outcomes(calls) == ["cut off"]


@pytest.mark.parametrize("size", [None, 10, 25])
@pytest.mark.parametrize("id", ["a", None])
def test_a_long_call_that_is_sent_again_is_one_call(size, id, ask):
    text = long_text(100)
    one = [chat.chunk(chat.entry("Text", text, id=id, index=0))]
    again = one
    if size is not None:
        again = [chat.chunk(chat.entry("Text", "", id=id, index=0))]
        again += [chat.chunk(chat.entry(arguments=piece, index=0)) for piece in chat.pieces(text, size)]
    calls = ask(chat.stream(*one, *again, chat.chunk(chat.entry("F", '{"x": 7}', id="b", index=1))), limits=Limits(arguments=30))
    assert outcomes(calls) == ["invalid", "ok"]
    assert len(calls.errors) == 1


def test_arguments_that_are_no_text_count_as_they_would_be_written(ask):
    entry = chat.entry("Text", {"text": "a" * 100}, id="a")
    body = chat.body(chat.whole(entry, GOOD))
    assert outcomes(ask([body], whole=True, limits=Limits(arguments=50))) == ["invalid", "ok"]
    assert outcomes(ask([body], whole=True, limits=Limits(arguments=112))) == ["ok", "ok"]


def test_the_events_of_a_long_call_go_on():
    chunks = chat.streamed([chat.entry("Text", long_text(100), id="a"), GOOD], size=10)
    stream = memory.client(memory.Script(chunks)).stream(
        "?", tools=TOOLS, errors="return", limits=Limits(arguments=30), max_retries=0
    )
    events = list(stream.events())
    text = "".join(one.text for one in events if isinstance(one, polycall.DeltaEvent) and one.index == 0)
    assert text == long_text(100)
    for one in events:
        if isinstance(one, polycall.DeltaEvent):
            _ = one.partial
    assert [one.call.outcome for one in events if isinstance(one, polycall.SealedEvent)] == ["invalid", "ok"]


# ----------------------------------------------------------------------------------------------------------------- depth


def nested(depth):
    """Write an object that nests so deep, itself included."""
    return '{"v": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}" if depth > 1 else "{}"


@pytest.mark.parametrize(("opening", "inner", "closing"), [("[", "", "]"), ('{"a":', "1", "}"), ('[{"a":', "1", "}]")])
@pytest.mark.parametrize("strict", [True, False])
def test_64_levels_and_no_more(opening, inner, closing, strict):
    times = 63 // len(closing)
    good, bad = (f'{{"v": {opening * count}{inner}{closing * count}}}' for count in (times, times + 1))
    assert check(Tool("Any"), good, strict=strict).outcome == "ok"
    error = check(Tool("Any"), bad, strict=strict).error
    assert error.reason == "the arguments nest deeper than 64 levels (limits=polycall.Limits(depth=...))"
    assert error.arguments == bad


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_nests_too_deep_leaves_the_others(way, ask):
    entries = [GOOD, chat.entry("Any", nested(65), id="a"), chat.entry("Any", nested(64), id="b")]
    assert outcomes(ask(answer_of(entries, way), whole=way == "whole")) == ["ok", "invalid", "ok"]
    calls = ask(answer_of(entries, way), whole=way == "whole", limits=Limits(depth=65))
    assert outcomes(calls) == ["ok"] * 3


@pytest.mark.parametrize("depth", [0, 1, 2, 10, 150])
def test_other_depths(depth):
    limits = Limits(depth=depth)
    if depth:
        assert check(Tool("Any"), nested(depth), limits=limits).outcome == "ok"
    assert check(Tool("Any"), nested(depth + 1), limits=limits).outcome == "invalid"


@pytest.mark.parametrize("depth", [65, 199, 300, 5_000, 300_000])
@pytest.mark.parametrize("limit", [64, 10**6])
def test_no_depth_breaks_anything(depth, limit):
    limits = Limits(depth=limit)
    assert check(Tool("Any"), nested(depth), limits=limits).outcome == ("ok" if depth < 200 < limit else "invalid")
    for text in nested(depth)[:-depth], '{"v": ' + "[" * depth, '{"a": ' * depth, '["' * depth, "}" * depth:
        assert check(Tool("Any"), text, limits=limits).outcome == "invalid"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"v": "[" * 500}),
        json.dumps({"v": '"[{' * 500}),
        json.dumps({"v": "\\" * 501 + "[" * 100}),
        json.dumps({"[" * 500: 1}),
        json.dumps({"v": "\n[" * 100, "w": ["{" * 100]}),
        json.dumps({"v": [[]] * 500}),
        json.dumps({"v": [{}, []] * 500}),
    ],
    ids=range(7),
)
def test_brackets_in_strings_and_side_by_side_do_not_nest(text):
    call = check(Tool("Any"), text)
    assert call.outcome == "ok"
    assert call.value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("", 0),
        ("{}", 1),
        ("[[]]", 2),
        ('{"a": [{}], "b": [[[]]]}', 4),
        ('"[["', 0),
        ('"\\"[["', 0),
        ('"\\\\"[[', 2),
        ('"[[', 0),
        ('["', 1),
    ],
)
def test_how_deep_brackets_nest(text, depth):
    assert _depth(text) == depth


# ------------------------------------------------------------------------------------------------- length of the response


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [1, 10, 10**6])
def test_a_response_may_be_just_as_long(whole, size, ask):
    body = chat.body(chat.whole(GOOD)) if whole else b"".join(chat.streamed([GOOD]))
    calls = ask([body[at : at + size] for at in range(0, len(body), size)], whole=whole, limits=Limits(response=len(body)))
    assert outcomes(calls) == ["ok"]
    assert not calls.errors


@pytest.mark.parametrize("size", [1, 10, 10**6])
def test_a_whole_body_that_is_longer_is_no_answer(size, ask):
    body = chat.body(chat.whole(GOOD))
    with pytest.raises(LimitError, match=r"longer than \d+ bytes; limits=polycall\.Limits\(response=\.\.\.\)"):
        ask([body[at : at + size] for at in range(0, len(body), size)], whole=True, limits=Limits(response=len(body) - 1))


@pytest.mark.parametrize("size", [1, 10, 10**6])
def test_a_stream_that_is_longer_keeps_the_calls_before(size, ask):
    events = chat.streamed(many(3))
    body, room = b"".join(events), len(events[0] + events[1])
    calls = ask([body[at : at + size] for at in range(0, len(body), size)], limits=Limits(response=room + 5))
    assert [one.x for one in calls] == [0, 1]
    (error,) = calls.errors
    assert isinstance(error, CutOffError)
    assert error.index == 2
    assert f"longer than {room + 5} bytes" in str(error)
    assert isinstance(error.__cause__, LimitError)


@pytest.mark.parametrize("size", [1, 10, 10**6])
def test_a_stream_that_is_longer_before_anything_of_the_answer_came(size, ask):
    body = chat.streamed(many(1))[0]
    with pytest.raises(LimitError):
        ask([body[at : at + size] for at in range(0, len(body), size)], limits=Limits(response=20))


def test_a_stream_that_is_longer_inside_a_call(ask):
    events = chat.streamed([GOOD, chat.entry("Text", long_text(500), id="a")], size=50)
    calls = ask(events, limits=Limits(response=len(b"".join(events[:8]))))
    assert outcomes(calls) == ["ok", "cut off"]


def test_what_follows_the_end_mark_is_not_counted(ask):
    body = b"".join(chat.streamed([GOOD]))
    for chunks in [body, b"x" * 100], [body + b"x" * 100]:
        calls = ask(chunks, limits=Limits(response=len(body)))
        assert outcomes(calls) == ["ok"]
        assert not calls.errors


@pytest.mark.parametrize("junk", [b": keep-alive\n\n", b"\n", b"data: {}\n\n", b"event: ping\n\n", b" "])
def test_junk_for_ever_ends(junk, ask):
    def endless():
        yield from chat.streamed([GOOD], finish=None, done=False)
        while True:
            yield junk * 1000

    calls = ask(endless(), **({} if junk.startswith(b":") else {"limits": Limits(response=MEBI)}))
    assert outcomes(calls) == ["ok"]
    assert isinstance(calls.errors[-1], CutOffError)


@pytest.mark.parametrize("junk", [b": keep-alive\n\n", b"\n", b" ", b'{"choices": [', b"x"])
@pytest.mark.parametrize("whole", [True, False])
def test_junk_for_ever_in_the_place_of_an_answer_ends(junk, whole, ask):
    def endless():
        while True:
            yield junk * 1000

    with pytest.raises((LimitError, polycall.TransportError)) as caught:
        ask(endless(), whole=whole, limits=Limits(response=200_000))
    assert isinstance(caught.value, LimitError)


def test_raising_the_limit_of_a_response(ask):
    entries = [chat.entry("Text", long_text(MEBI), id=f"c{n}") for n in range(17)]
    calls = ask(answer_of(entries, "streamed"))
    assert outcomes(calls) == ["ok"] * 15
    calls = ask(answer_of(entries, "streamed"), limits=Limits(response=32 * MEBI))
    assert outcomes(calls) == ["ok"] * 17


@pytest.mark.parametrize(
    "rest", [[], [b"\n"], [ConnectionError("gone")], [b": more\n\n"] * 100], ids=["end", "line", "broken", "for ever"]
)
def test_next_to_nothing_is_read_behind_the_end_mark(rest):
    read = []

    def chunks():
        yield from chat.streamed([GOOD])
        for one in rest:
            read.append(one)
            yield one

    calls = memory.replay(chunks(), TOOLS, limits=Limits(response=10_000))
    assert outcomes(calls) == ["ok"]
    assert not calls.errors
    assert len(read) < 10


# -------------------------------------------------------------------------------------------------------------- deadline


def test_what_is_there_at_once_is_late_as_well():
    """Who reads slowly, or is flooded, gets no more than the deadline allows."""
    read = []

    def flood():
        while True:
            read.append(True)
            yield chat.data(chat.chunk(chat.entry("F", '{"x": 7}', id=f"c{len(read)}", index=len(read))))

    stream = memory.client(memory.Script(flood())).stream("?", tools=TOOLS, timeout=0.2)
    start = time.monotonic()
    with pytest.raises(DeadlineError, match=r"timeout=0\.2 seconds"):
        all(time.sleep(0.05) is None for _ in stream)
    assert time.monotonic() - start < 0.7
    assert len(read) < 10


def test_a_failure_behind_the_deadline_is_the_deadline():
    for seconds, kind in (0.01, DeadlineError), (30.0, ConnectionError), (None, ConnectionError):
        held = Deadline(seconds).hold(Sleep(0))
        next(held)
        time.sleep(0.02)
        with pytest.raises(kind) as caught:
            held.throw(ConnectionError("timed out"))
        assert seconds != 0.01 or isinstance(caught.value.__cause__, ConnectionError)


def test_nothing_begins_behind_the_deadline():
    deadline = Deadline(0.01)
    time.sleep(0.02)
    with pytest.raises(DeadlineError):
        next(deadline.hold(Sleep(0)))
    assert deadline.left() == 0.0
    assert Deadline(None).left() is None


# ---------------------------------------------------------------------------------------------------------- other hosts


@pytest.fixture(params=["pyreqwest", "httpx2"])
def client_at(request):
    made = []

    def client_at(url, **options):
        given = {"base_url": url, "api_key": "sk-canary-1", "http_client": request.param, "retries": 0, "timeout": 10, **options}
        made.append(polycall.from_provider("openai/m", **given))
        return made[-1]

    yield client_at
    for client in made:
        client.close()


def moved(location, status=307):
    return [sockets.head(status, location=location, content_length=0)]


@pytest.mark.parametrize("status", [307, 308])
def test_a_request_follows_its_own_host(status, client_at):
    with sockets.Server(sockets.answering(GOOD)) as server:
        server.queue.append(moved("/v2/elsewhere?x=1", status))
        calls = client_at(server.url).create("?", response_model=Iterable[F])
        assert list(calls) == [F(x=7)]
        assert [one.path for one in server.requests] == ["/v1/chat/completions", "/v2/elsewhere?x=1"]
        first, second = server.requests
        assert first.raw == second.raw
        assert second.headers["authorization"] == "Bearer sk-canary-1"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_request_goes_to_another_host_only_where_it_may(stream, allowed, client_at):
    """The port is another one, so it is another service; the name `127.0.0.1` is allowed or not."""
    with sockets.Server(sockets.answering(GOOD)) as here, sockets.Server(sockets.answering(GOOD)) as there:
        here.answer = moved(f"http://127.0.0.1:{there.port}/v1/there")
        client = client_at(here.url, limits=Limits(hosts=frozenset({"127.0.0.1"} if allowed else {"example.com"})))

        def ask():
            return client.create("?", response_model=Iterable[F], stream=stream)

        if allowed:
            answer = ask()
            assert list(answer.result() if stream else answer) == [F(x=7)]
            assert [one.path for one in there.requests] == ["/v1/there"]
        else:
            with pytest.raises(LimitError, match="redirects to another host") as caught:
                list(ask())
            assert "canary" not in str(caught.value)
            assert not there.requests
        assert len(here.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}\\@localhost:{own}/v1",
        "http://127.0.0.1:{port}/\\@localhost:{own}/",
        "//127.0.0.1:{port}\\@localhost:{own}/",
    ],
)
def test_a_location_that_parsers_read_differently_gets_no_key(location, client_at):
    with sockets.Server(sockets.answering(GOOD)) as here, sockets.Server(sockets.answering(GOOD)) as there:
        here.answer = moved(location.replace("{port}", str(there.port)).replace("{own}", str(here.port)))
        with pytest.raises(LimitError):
            client_at(here.url).create("?", response_model=Iterable[F])
        assert not there.requests


def test_a_circle_ends(client_at):
    with sockets.Server(moved("/v1/chat/completions")) as server:
        with pytest.raises(polycall.TransportError, match="redirects in circles"):
            client_at(server.url).create("?", response_model=Iterable[F])
        assert len(server.requests) == 4


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirects_of_pages_are_not_followed(status, client_at):
    with sockets.Server(moved("/v2", status)) as server:
        with pytest.raises(polycall.TransportError, match="put the final address into base_url") as caught:
            client_at(server.url).create("?", response_model=Iterable[F])
        assert caught.value.status == status
        assert len(server.requests) == 1


def test_a_moved_request_is_sent_again_where_it_was_moved_to(client_at):
    with sockets.Server(sockets.answering(GOOD)) as server:
        server.queue.append(moved("/v2/there"))
        server.queue.append(sockets.whole({"error": {}}, 503, retry_after_ms=1))
        calls = client_at(server.url, retries=1).create("?", response_model=Iterable[F])
        assert len(calls) == 1
        assert [one.path for one in server.requests] == ["/v1/chat/completions", "/v2/there", "/v2/there"]
