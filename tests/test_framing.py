"""Bytes of a response -> events, however they are split."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.chat import cut_up

from polycall import TransportError
from polycall._framing import Framing, arguments_text, parse_event

LINE_ENDS = [b"\n", b"\r\n", b"\r"]


def read(chunks):
    framing = Framing()
    events = [event for chunk in chunks for event in framing.feed(chunk)]
    return [*events, *framing.close()], framing


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=5)
ends = st.sampled_from(LINE_ENDS)
noise = st.sampled_from([b"", b":", b": comment", b"id: 1", b"retry: 10", b"event: message", b"datum: x", b"data"])


@st.composite
def split(draw, body):
    return cut_up(body, draw(st.lists(st.integers(0, len(body)), max_size=12)))


@st.composite
def event_streams(draw):
    events = draw(st.lists(objects, min_size=1, max_size=5))
    end = draw(ends)
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf", end, b" " * 3 + end]))
    for event in events:
        text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))).encode()
        body += draw(noise) + end
        for line in text.split(b"\n"):
            body += b"data:" + draw(st.sampled_from([b"", b" "])) + line + end
        body += draw(noise) + end + end
    done = draw(st.booleans())
    if done:
        body += b"data: [DONE]" + end + end
    return events, done, draw(split(body))


@given(event_streams())
def test_events_do_not_depend_on_the_split(given_):
    events, done, chunks = given_
    found, framing = read(chunks)
    assert found == events
    assert framing.done is done
    assert framing.whole is False


@given(st.data(), objects, st.sampled_from([b"", b"\n  \r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"]))
def test_whole_bodies_do_not_depend_on_the_split(data, event, before):
    body = before + json.dumps(event).encode() + data.draw(st.sampled_from([b"", b"\n\n "]))
    found, framing = read(data.draw(split(body)))
    assert found == [event]
    assert framing.whole is True


@given(st.binary(max_size=80), st.data())
def test_any_bytes_give_events_or_a_transport_error(body, data):
    results = []
    for chunks in ([body], data.draw(split(body))):
        try:
            results.append(read(chunks)[0])
        except TransportError:
            results.append("refused")
    if "refused" not in results:
        assert results[0] == results[1]


def test_nothing_is_neither_whole_nor_a_stream():
    assert read([])[1].whole is None
    found, framing = read([b"", b" \n", b"\xef\xbb"])
    assert (found, framing.whole) == ([], None)


def test_events_of_an_sdk_pass_as_they_are():
    event = {"choices": []}
    found, framing = read([event])
    assert found == [event]
    assert found[0] is not event
    assert framing.whole is None


def test_events_come_as_soon_as_they_are_complete():
    framing = Framing()
    assert list(framing.feed(b'data: {"a": 1}\n')) == []
    assert list(framing.feed(b"\n")) == [{"a": 1}]
    assert list(framing.feed(b'data: {"a": 2}\r\n\r\ndata: {"a"')) == [{"a": 2}]
    assert list(framing.feed(b": 3}\r\r")) == []  # the last CR may be half of a CR LF
    assert list(framing.feed(b"data: 1\r")) == [{"a": 3}]


def test_last_event_needs_no_empty_line():
    assert read([b'data: {"a": 1}'])[0] == [{"a": 1}]
    assert read([b'data: {"a": 1}\n'])[0] == [{"a": 1}]
    assert read([b'data: {"a": 1}\n\ndata: {"a'])[0] == [{"a": 1}]
    assert read([b"data: [DONE]"])[1].done


def test_empty_data_is_no_event():
    assert read([b"data:\n\ndata: \n\ndata\n\n\n\n"])[0] == []


def test_reading_is_linear():
    """What waits for its end is not copied again with every piece: ten megabytes in pieces of a hundred bytes."""
    body = b'data: {"a": "' + b"x" * 10_000_000 + b'"}\n\n'
    chunks = [body[start : start + 100] for start in range(0, len(body), 100)]
    assert len(read(chunks)[0][0]["a"]) == 10_000_000


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>", "HTML"),
        (b" \n<!doctype html>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b"[1]", "list"),
        (b'"text"', "str"),
        (b"{", "not JSON"),
        (b'{"a": }', "not JSON"),
        (b'{"a": ' + b"[" * 200_000, "nests too deep"),
        (b"data: 7\n\n", "int"),
        (b"data: {]\n\n", "not JSON"),
    ],
)
def test_what_is_no_object_is_a_transport_error(body, told):
    for chunks in ([body], cut_up(body, range(min(len(body), 50)))):
        with pytest.raises(TransportError, match=told) as raised:
            read(chunks)
        assert len(raised.value.body) <= 8000  # cut again when secrets have been taken out
        assert raised.value.body not in str(raised.value)


def test_bytes_that_are_no_text_stay_where_they_are():
    """One bad byte inside one call takes no other call with it; the check refuses what it became."""
    ((event,), _) = read([b'data: {"a": "x\xffy", "b": 1}\n\n'])
    assert event == {"a": "x\udcffy", "b": 1}


def test_an_event_named_error_is_an_error():
    assert read([b'event: error\ndata: {"message": "overloaded"}\n\n'])[0] == [{"error": {"message": "overloaded"}}]
    assert read([b'event: error\ndata: {"error": {"code": 1}}\n\ndata: {"a": 1}\n\n'])[0] == [{"error": {"code": 1}}, {"a": 1}]


def test_empty_event_says_so():
    with pytest.raises(TransportError, match="empty"):
        parse_event(b" ")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{"x": {"a": 1, "a": 2}}', '{"a": 1, "a": 2}'),
        ('{"x": {"b": {"a": 1, "a": 2}}}', '{"b": {"a": 1, "a": 2}}'),
        ('{"x": "\\ud83d"}', '"\ud83d"'),
        ('{"x": {"a": NaN}}', '{"a": NaN}'),
        ('{"x": {"a": -Infinity, "b": "\\ud83d"}}', '{"a": -Infinity, "b": "\ud83d"}'),
        ('{"x": {"a": ' + "1" * 5000 + "}}", '{"a": NaN}'),
        ('{"x": {"é": 1e400}}', '{"é": Infinity}'),
    ],
)
def test_what_strict_json_cannot_say_is_kept_for_the_check(text, written):
    assert arguments_text(parse_event(text.encode("utf-8", "surrogatepass"))["x"]) == written


@given(values)
def test_arguments_text_is_json(value):
    assert json.loads(arguments_text(value)) == value


ARRAYS = {
    "nested": (b'[[{"a": 1}], [[{"b": 2}]]]', True),
    "values between": (b'[1, {"a": 1}, null, "x", [2], {"b": 2}, 3]', True),
    "brackets in text between": (b'["]{", "\\"]\\\\", {"a": 1}, "[", {"b": 2}]', True),
    "white space": (b'\n[\n{"a": 1}\r\n,\n{"b": 2}\n]\n', True),
    "more behind": (b'[{"a": 1}, {"b": 2}]{[', True),
    "not closed": (b'[{"a": 1}, {"b": 2}, ', False),
    "cut within": (b'[[{"a": 1}, {"b": 2}], {"c"', False),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    body, done = ARRAYS[name]
    for chunks in ([body], cut_up(body, range(len(body)))):
        events, framing = read(chunks)
        assert events == [{"a": 1}, {"b": 2}]
        assert (framing.done, framing.whole) == (done, False)


@given(st.lists(objects, min_size=1, max_size=5), st.data())
def test_arrays_do_not_depend_on_the_split(events, data):
    body = data.draw(st.sampled_from([b"", b"\n", b"\xef\xbb\xbf"])) + json.dumps(events).encode()
    found, framing = read(data.draw(split(body)))
    assert found == events
    assert framing.done is True


def test_large_array_is_read_in_linear_time():
    body = b"[" + b'{"a": 1},' * 200_000 + b'["x", {"a": 1}]]'
    assert len(read([body])[0]) == 200_001


def read_lines(chunks):
    framing = Framing(json_lines=True)
    events = [event for chunk in chunks for event in framing.feed(chunk)]
    return [*events, *framing.close()]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1}\n{"b": 2}',
        b' {"a": 1}\r\n\r\n\t{"b": 2}\r\n',
        b'{"a": 1}\r{"b": 2}\r',
        b'null\n{"a": 1}\n[1]\n: alive\n"x"\n{"b": 2}\nnull',
        b'data: {"a": 1}\n\ndata: {"b": 2}\n\n',
        b'[{"a": 1},\n{"b": 2}]',
    ],
)
def test_json_lines(body):
    for chunks in ([body], cut_up(body, range(len(body)))):
        assert read_lines(chunks) == [{"a": 1}, {"b": 2}]


def test_name_of_an_event_without_data_is_not_that_of_the_next():
    assert read([b'event: error\n\ndata: {"a": 1}\n\n'])[0] == [{"a": 1}]
