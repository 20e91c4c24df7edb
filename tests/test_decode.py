"""Pieces of tool calls -> complete tool calls, however they are split, mixed and numbered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.support.chat import cut_up

from polycall._closing import Closing
from polycall._decode import Assembler, Piece, Stray, whole_text
from polycall.types import CallDelta, ToolCall

names = st.sampled_from(["f", "g", "get_weather"])
texts = st.text(st.sampled_from('ab{}[]"\\:, é😀\n'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
arguments = st.builds(
    lambda value, indent: json.dumps(value, indent=indent, ensure_ascii=False),
    st.dictionaries(texts, values, max_size=3),
    st.sampled_from([None, 1]),
)


def call(name="f", text="{}", id=None):
    return ToolCall(0, id, name, text)


def seals(done):
    return [one for one in done if isinstance(one, ToolCall)]


def plain(calls):
    return [(one.index, one.id, one.name, one.arguments) for one in sorted(calls, key=lambda one: one.index)]


def assemble(events, *, seal_on_close=True, cut=None):
    """Feed one list of deltas per event, and check what must always hold."""
    assembler = Assembler(seal_on_close=seal_on_close)
    done = [one for event in events for one in assembler.feed(event)]
    done += assembler.close({}, cut)
    sealed = seals(done)
    assert [one.index for one in sorted(sealed, key=lambda one: one.index)] == list(range(len(assembler.slots)))
    texts: dict[int, str] = {}
    for one in done:
        if isinstance(one, Piece):
            texts[one.slot.index] = texts.get(one.slot.index, "") + one.text
            assert "".join(one.slot.pieces[: one.count]) == texts[one.slot.index]
    assert {one.index: one.arguments for one in sealed} == {index: whole_text([text]) for index, text in texts.items()}
    return sealed, [one for one in done if isinstance(one, Stray)]


def split(draw, text):
    return [piece.decode("utf-32-le") for piece in cut_up(text.encode("utf-32-le"), [4 * at for at in cuts(draw, text)])]


def cuts(draw, text):
    return draw(st.lists(st.integers(0, len(text)), max_size=6)) if text else []


@st.composite
def deltas_of(draw, key, id, name, text):
    """Write one call as its pieces, the first with the name, more or less as servers do."""
    parts = split(draw, text) or [""]
    style = draw(st.sampled_from(["name first", "name with text", "name in each", "id in each"]))
    if style == "name first":
        parts = ["", *parts]
    found = []
    for number, part in enumerate(parts):
        first = number == 0
        given_id = id if first or style == "id in each" else draw(st.sampled_from([None, ""])) if id else None
        given_name = name if first or style == "name in each" else draw(st.sampled_from([None, ""]))
        found.append(CallDelta(key, given_id or None, given_name or None, part))
    return [*found, *draw(st.lists(st.just(CallDelta(key, None, None, "")), max_size=1))]


def grouped(draw, deltas):
    """Put the deltas into events, several in one or one in each."""
    events, rest = [], list(deltas)
    while rest:
        size = draw(st.integers(1, 3))
        events.append(rest[:size])
        rest = rest[size:]
    return events


@st.composite
def numbered(draw):
    """Calls with keys of their own, their pieces mixed in any way that keeps the order of the first pieces."""
    count = draw(st.integers(1, 5))
    keys = draw(st.permutations(range(count))) if draw(st.booleans()) else range(count)
    ids = [f"call_{number}" if draw(st.booleans()) else None for number in range(count)]
    wanted = [(number, ids[number], draw(names), draw(arguments)) for number in range(count)]
    pieces = [draw(deltas_of(keys[number], *wanted[number][1:])) for number in range(count)]
    order: list[CallDelta] = []
    begun = 0
    waiting = [list(one) for one in pieces]
    while any(waiting):
        open_ones = [number for number in range(begun) if waiting[number]]
        may_begin = [begun] if begun < count else []
        number = draw(st.sampled_from(open_ones + may_begin))
        begun += number == begun
        order.append(waiting[number].pop(0))
    return wanted, grouped(draw, order)


@given(numbered(), st.booleans())
def test_calls_with_keys_come_back(given_, seal_on_close):
    wanted, events = given_
    sealed, strays = assemble(events, seal_on_close=seal_on_close)
    assert plain(sealed) == wanted
    assert not strays
    assert all(one.cut is None for one in sealed)


@st.composite
def one_key(draw):
    """Calls one after the other under one key, or none: told apart by their ids."""
    count = draw(st.integers(1, 5))
    key = draw(st.sampled_from([None, 0, -1]))
    wanted = [(number, f"call_{number}", draw(names), draw(arguments)) for number in range(count)]
    return wanted, grouped(draw, [delta for one in wanted for delta in draw(deltas_of(key, *one[1:]))])


@given(one_key(), st.booleans())
def test_calls_under_one_key_are_told_apart_by_their_ids(given_, seal_on_close):
    wanted, events = given_
    sealed, strays = assemble(events, seal_on_close=seal_on_close)
    assert plain(sealed) == wanted
    assert not strays


@st.composite
def anonymous(draw):
    """Calls one after the other with nothing to tell them apart but that they differ."""
    count = draw(st.integers(1, 5))
    key = draw(st.sampled_from([None, 0]))
    wanted = []
    for number in range(count):
        text = json.dumps({"number": number, "more": draw(values)})
        wanted.append((number, None, draw(names), text))
    events = []
    for _, _, name, text in wanted:
        parts = split(draw, text)
        head = [CallDelta(key, None, name, "")] if draw(st.booleans()) else []
        style = draw(st.sampled_from([name, None]))
        events += [[one] for one in head]
        events += [[CallDelta(key, None, name if number == 0 and not head else style, part)] for number, part in enumerate(parts)]
    return wanted, events


@given(anonymous())
def test_anonymous_calls_are_told_apart_by_their_text(given_):
    wanted, events = given_
    sealed, strays = assemble(events)
    assert plain(sealed) == wanted
    assert not strays


@given(numbered(), st.data())
def test_cut_keeps_what_is_complete(given_, data):
    wanted, events = given_
    number = data.draw(st.integers(0, len(events)))
    before = events[:number]
    sealed, _ = assemble(before, cut="gone")
    texts: dict[object, str] = {}
    for delta in (delta for event in before for delta in event):
        texts[delta.key] = texts.get(delta.key, "") + delta.arguments
    assert len(sealed) == len(texts)
    for (index, its_id, name, text), one in zip(wanted, sorted(sealed, key=lambda one: one.index), strict=False):
        assert (one.index, one.name) == (index, name)
        assert one.id in {its_id, None}
        assert text.startswith(one.arguments)
        assert (one.cut is None) is (one.arguments == text)


@given(numbered(), st.data())
def test_arguments_sent_again_change_nothing(given_, data):
    wanted, events = given_
    number = data.draw(st.sampled_from(range(len(wanted))))
    key = next(delta.key for event in events for delta in event if delta.name and plain_index(events, delta) == number)
    _, its_id, name, text = wanted[number]
    again = data.draw(deltas_of(key, data.draw(st.sampled_from([its_id, None])), name, text))
    if data.draw(st.booleans()):
        again = [replace(delta, name=None) for delta in again]
    sealed, strays = assemble([*events, *([delta] for delta in again)])
    assert plain(sealed) == wanted
    assert not strays


def plain_index(events, delta):
    keys = list(dict.fromkeys(one.key for event in events for one in event))
    return keys.index(delta.key)


# --------------------------------------------------------------------------------------------------- the rules, one by one


def delta(name=None, text="", id=None, key=None, whole=False):
    return CallDelta(key, id, name, text, whole)


A, B = '{"a": 1}', '{"a": 2}'

RULES = {
    "two entries of one event": ([[delta("f", A, key=0), delta("f", A, key=0)]], [A, A], 0),
    "two entries of one event, no text": ([[delta("f", key=0), delta("f", key=0)]], ["", ""], 0),
    "the same again in another event": ([[delta("f", A, key=0)], [delta("f", A, key=0)]], [A], 0),
    "the name again without text": ([[delta("f", key=0)], [delta("f", key=0)], [delta(None, A, key=0)]], [A], 0),
    "another name": ([[delta("f", key=0)], [delta("g", key=0)]], ["", ""], 0),
    "another id with a name": ([[delta("f", id="a", key=0)], [delta("f", id="b", key=0)]], ["", ""], 0),
    "another id without name or text": ([[delta("f", A, id="a", key=0)], [delta(id="b", key=0)]], [A], 0),
    "another id while open": ([[delta("f", '{"a', id="a", key=0)], [delta(None, '": 1}', id="b", key=0)]], [A], 0),
    "another id and text after a seal": ([[delta("f", A, id="a", key=0)], [delta(None, B, id="b", key=0)]], [A, B], 0),
    "name late": ([[delta(None, A, key=0)], [delta("f", key=0)]], [A], 0),
    "other text after a seal": ([[delta("f", A, key=0)], [delta(None, B, key=0)], [delta(None, "x", key=0)]], [A], 1),
    "half of it again": ([[delta("f", A, key=0)], [delta(None, A[:4], key=0)]], [A], 1),
    "half of it again with the name": ([[delta("f", A, key=0)], [delta("f", A[:4], key=0)]], [A, A[:4]], 0),
    "again, then other text": ([[delta("f", A, key=0)], [delta(None, A, key=0)], [delta(None, "x", key=0)]], [A], 1),
    "again, with white space": ([[delta("f", A, key=0)], [delta(None, f" \n{A} ", key=0)]], [A], 0),
    "whole": ([[delta("f", "7", key=0, whole=True)], [delta("g", A, key=1)]], ["7", A], 0),
    "by id, without keys": (
        [[delta("f", id="a"), delta("g", id="b")], [delta(None, A, id="a"), delta(None, B, id="b")]],
        [A, B],
        0,
    ),
    "equal ids, other keys": ([[delta("f", A, id="a", key=0), delta("f", B, id="a", key=1)]], [A, B], 0),
    "text before any name": ([[delta(None, A)]], [A], 0),
    "not an object": ([[delta("f", "[1]", key=0)], [delta(None, ", 2", key=0)]], ["[1], 2"], 0),
    "closing brackets alone": ([[delta("f", "}", key=0)], [delta(None, "{}", key=0)]], ["}{}"], 0),
    "text behind in one piece": ([[delta("f", A + " and", key=0)]], [A + " and"], 0),
}


@pytest.mark.parametrize(("events", "expected", "strays"), RULES.values(), ids=RULES)
def test_rules(events, expected, strays):
    sealed, found = assemble(events)
    assert [one.arguments for one in sorted(sealed, key=lambda one: one.index)] == expected
    assert len(found) == strays


def test_order_of_completion():
    assembler = Assembler(seal_on_close=True)
    assert [type(one) for one in assembler.feed([delta("f", key=0)])] == [Piece]
    assert [type(one) for one in assembler.feed([delta("g", A, key=1)])] == [Piece, ToolCall]
    (piece, sealed) = assembler.feed([delta(None, B, key=0)])
    assert (piece.slot.index, sealed.index) == (0, 0)
    assert assembler.close({}, None) == []


def test_without_sealing_on_close_the_next_call_seals_where_keys_repeat():
    assembler = Assembler(seal_on_close=False)
    assert not seals(assembler.feed([delta("f", A, id="a", key=0)]))
    (sealed,) = seals(assembler.feed([delta("g", B, id="b", key=0)]))
    assert (sealed.name, sealed.arguments) == ("f", A)
    assert [one.name for one in seals(assembler.close({}, None))] == ["g"]


def test_each_choice_is_cut_by_itself():
    assembler = Assembler(seal_on_close=True)
    for choice in range(3):
        assembler.feed([CallDelta((choice, 0), None, "f", "{", choice=choice)])
    sealed = seals(assembler.close({0: None, 1: "the limit"}, "gone"))
    assert [(one.choice, one.cut) for one in sealed] == [(0, None), (1, "the limit"), (2, "gone")]


def test_extra_is_collected():
    assembler = Assembler(seal_on_close=True)
    assembler.feed([CallDelta(0, None, "f", "", extra={"a": 1})])
    (_, sealed) = assembler.feed([CallDelta(0, None, None, "{}", extra={"b": 2})])
    assert sealed.extra == {"a": 1, "b": 2}


# -------------------------------------------------------------------------------------------------------- where it closes


@given(arguments, st.text(max_size=5), st.data())
@example('{"a": "\\\\"}', "x", None)
@example('{"a": "\\""}', "}", None)
def test_closing_is_found_in_any_split(text, behind, data):
    before = " \n"
    pieces = list(before + text + behind) if data is None else split(data.draw, before + text + behind)
    closing, offset = Closing(), 0
    for piece in pieces:
        found = closing.feed(piece)
        if found is not None:
            assert offset + found == len(before + text)
            return
        offset += len(piece)
    pytest.fail("it never closed")


@given(arguments, st.data())
def test_what_is_open_does_not_close(text, data):
    closing = Closing()
    beginning = text[: data.draw(st.integers(0, len(text) - 1))]
    assert all(closing.feed(piece) is None for piece in split(data.draw, beginning))


@pytest.mark.parametrize("text", ["[1]", "7", '"{}"', "null", "]", "}", "x{}", ""])
def test_what_is_no_object_never_closes(text):
    closing = Closing()
    assert closing.feed(text) is None
    assert closing.feed("" if not text else "{}") is None


@given(st.text(), st.data())
def test_whole_text_joins_split_surrogate_pairs(text, data):
    units = text.encode("utf-16-le", "surrogatepass")
    pieces = [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]
    assert whole_text(pieces) == text


def test_whole_text_keeps_lone_surrogates():
    assert whole_text(["a\ud83d", "b"]) == "a\ud83db"


# ------------------------------------------------------------------------------------------------------ any order of pieces


class AnyPieces(RuleBasedStateMachine):
    """Whatever a server sends, each call is sealed once, with the text of its pieces, and nothing is unsealed."""

    def __init__(self):
        super().__init__()
        self.assembler = Assembler(seal_on_close=True)
        self.sealed: dict[int, ToolCall] = {}

    @rule(
        deltas=st.lists(
            st.builds(
                CallDelta,
                st.sampled_from([None, 0, 1, -1]),
                st.sampled_from([None, "a", "b"]),
                st.sampled_from([None, "f", "g"]),
                st.sampled_from(["", "{", "}", "{}", '{"a": 1}', '{"a"', ": 1}", " ", "x"]),
                st.booleans(),
            ),
            max_size=3,
        )
    )
    def feed(self, deltas):
        self.take(self.assembler.feed(deltas))

    def teardown(self):
        self.take(self.assembler.close({}, "gone"))
        assert len(self.sealed) == len(self.assembler.slots)
        self.nothing_is_unsealed()

    def take(self, done):
        for one in done:
            if isinstance(one, ToolCall):
                assert one.index not in self.sealed
                self.sealed[one.index] = one
            elif isinstance(one, Piece):
                assert one.slot.index not in self.sealed
            else:
                assert one.call is self.sealed[one.call.index]

    @invariant()
    def nothing_is_unsealed(self):
        for index, one in self.sealed.items():
            slot = self.assembler.slots[index]
            assert slot.index == index
            assert slot.sealed is one
            assert one.arguments == "".join(slot.pieces)


TestAnyPieces = AnyPieces.TestCase
