"""Arguments that are no JSON object but mean one: what is repaired, and what never is."""

from __future__ import annotations

import ast
import json
import sys
from typing import Annotated, Literal

import jiter
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from polycall._repair import _TOKEN, repaired, undoubled

FENCE, DOUBLED = "code fence", "doubled encoding"
LITERALS, QUOTES, ESCAPES, COMMA = "python literals", "single quotes", "python escapes", "trailing comma"


@pytest.mark.parametrize(
    ("text", "object_text", "done"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}', [FENCE]),
        ('\n ```\n{"a": 1}```\n', '{"a": 1}', [FENCE]),
        ('```json {"a": "```"} ```', '{"a": "```"}', [FENCE]),
        (r'"{\"a\": 1}"', '{"a": 1}', [DOUBLED]),
        (r'"\"{\\\"a\\\": 1}\""', '{"a": 1}', [DOUBLED] * 2),
        (json.dumps(json.dumps(json.dumps('{"a": "\\u00e9"}'))), '{"a": "\\u00e9"}', [DOUBLED] * 3),
        (r'"```json\n{\"a\": 1}\n```"', '{"a": 1}', [DOUBLED, FENCE]),
        ("```\n\"{'a': None,}\"\n```", '{"a": null}', [FENCE, DOUBLED, LITERALS, QUOTES, COMMA]),
        ("{'a': [True, False, None]}", '{"a": [true, false, null]}', [LITERALS, QUOTES]),
        ('{"a": True}', '{"a": true}', [LITERALS]),
        ("""{'a"b': 'it\\'s', "c": "it's"}""", """{"a\\"b": "it's", "c": "it's"}""", [QUOTES]),
        (r"""{'a': '\x41\x22\u00e9\U0001f600\n\\'}""", r"""{"a": "A\"\u00e9\ud83d\ude00\n\\"}""", [QUOTES]),
        (r"""{"it's": "it's \x00", 'b': 1}""", r"""{"it's": "it's \u0000", "b": 1}""", [QUOTES, ESCAPES]),
        (r"""{"a": "\'\"", "b": None}""", r"""{"a": "'\"", "b": null}""", [LITERALS, ESCAPES]),
        ('{"a": [1, 2, ],\n}', '{"a": [1, 2 ]\n}', [COMMA]),
        ("""{"a": "True, 'b' ,]", "b": 1,}""", """{"a": "True, 'b' ,]", "b": 1}""", [COMMA]),
        ("'{\"a\": true}'", '{"a": true}', [QUOTES, DOUBLED]),
        ("{'a': true, \"b\": []}", '{"a": true, "b": []}', [QUOTES]),
    ],
)
def test_what_means_an_object_is_repaired(text, object_text, done):
    assert repaired(text) == (object_text, tuple(done))
    assert all(repaired(text.strip()[:end]) is None for end in range(len(text.strip())))


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "null", "None", "1", "[1]", "['a',]", '"a"', "'a'", "a", "``````", "```", "````", "```json```", "'", '"'),
        *('{"a": 1}', ' {"a": True, ', '{"a": 1', '{"a": [1}', '"{"', '"{\\"a\\": 1"', '```json\n{"a": 1}', '{"a": 1}\n```'),
        *('Here it is: {"a": 1}', '```json\n{"a": 1}\n``` Done.', '{"a": 1} {"b": 2}', '{"a": 1},', '({"a": 1})', '{"a": 1};'),
        *('{"a": 1, "a": 2}', "{'a': 1, \"a\": 2}", '{"a": 1, "a": 2,}', '"{\\"a\\": 1, \\"a\\": 2}"'),
        *('{"a": NaN}', '{"a": NaN,}', "{'a': Infinity}", '{"a": -Infinity,}', "{'a': nan}"),
        *("{'a': (1, 2)}", "{'a': (1,)}", "{'a'}", "{'a': b'c'}", "{'a': f'c'}", "{'a': 'b' 'c'}", "{'a': '''b'''}", "{1: 2}"),
        *("{'a': 0x10}", "{'a': 1_000}", "{'a': 1.}", "{'a': +1}", "{a: 1}", "{'a': undefined}", "{'a': TRUE}", "{'a': Trueish}"),
        *("{,}", '{"a": [,]}', '{"a": [ , ], }', '{"a": 1,,}', '{"a": ,}', '{"a": 1, , "b": 2}', '{"a" 1,}', '{"a": 1 "b": 2,}'),
        *("{'a': 'it's'}", "{'a': 'b}", "{'a': b'}", "{'a': 'b\n'}", "{'a': 'b\t'}", "{'a': 'b\\\nc'}"),
        *('{"a": "b\n"}', '{"a": "b\n",}', '{"a": "b"c"}', '{"a": "b"c",}', '{\\"a\\": 1}'),
        *(r"{'a': 'C:\apps'}", r"{'a': '\d+'}", r"{'a': '\0'}", r"{'a': '\/'}", r"{'a': '\N{DASH}'}"),
        *(r"{'a': '\xg0'}", r"{'a': '\u12'}", r"{'a': '\ud83d'}", r"{'a': '\U0000d83d'}", r"{'a': '\U00110000'}"),
        *("{'a': '\ud83d'}", '{"a": "\ud83d",}'),
        *(r'{"a": "it\'s"}', r'{"a": "C:\x86"}', r'{"a": "C:\x86",}', r'{"a": "\d", "b": None}', r'{"a": "\/\x41", "b": None}'),
        *("{'a': [" + "[" * 200 + "]" * 200 + "]}", "{'a': 1" + "0" * 5_000 + "}"),
        json.dumps(json.dumps(json.dumps(json.dumps('{"a": 1}')))),
    ],
)
def test_what_would_have_to_be_guessed_is_left_alone(text):
    assert repaired(text) is None


letters = st.text(st.sampled_from("ab'\"\\\x00\n\t,:{}[]` TN1é😀") | st.characters(codec="utf-8"), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | letters
containers = [lambda inner: st.lists(inner, max_size=3), lambda inner: st.dictionaries(letters, inner, max_size=3)]
values = st.recursive(scalars, lambda inner: st.one_of(*(kind(inner) for kind in containers)), max_leaves=8)
objects = st.dictionaries(letters, values, max_size=4)
spaces = st.sampled_from(["", " ", "\n  "])


def single_quoted(text):
    return "'" + repr('"' + text)[2:]


@st.composite
def spoiled(draw, value, words=json.dumps):
    """Write a JSON value with single quotes, Python's literals and trailing commas here and there."""
    if isinstance(value, str):
        return single_quoted(value) if draw(st.booleans()) else json.dumps(value, ensure_ascii=draw(st.booleans()))
    if not isinstance(value, list | dict):
        return repr(value) if draw(st.booleans()) else words(value)
    if isinstance(value, dict):
        parts = [f"{draw(spoiled(key))}{draw(spaces)}:{draw(spaces)}{draw(spoiled(one, words))}" for key, one in value.items()]
    else:
        parts = [draw(spoiled(one, words)) for one in value]
    end = draw(st.sampled_from(["", ","])) if parts else ""
    text = f"{draw(spaces)},{draw(spaces)}".join(parts) + draw(spaces) + end + draw(spaces)
    return f"{{{text}}}" if isinstance(value, dict) else f"[{text}]"


@st.composite
def wrapped(draw, text):
    """Wrap a text into fences and strings, as often as it may be."""
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            text = f"```{draw(st.sampled_from(['', 'json', 'python']))}\n{text}{draw(spaces)}```"
        text = draw(spaces) + draw(st.sampled_from([single_quoted, json.dumps]))(text) + draw(spaces)
    return f"```json\n{text}\n```" if draw(st.booleans()) else text


texts = objects.flatmap(lambda value: st.tuples(st.just(value), spoiled(value).flatmap(wrapped)))


def is_strict_object(text):
    try:
        return isinstance(jiter.from_json(text.encode(), catch_duplicate_keys=True, allow_inf_nan=False), dict)
    except ValueError:
        return False


@given(texts)
def test_a_spoiled_object_is_the_object_again(given_):
    value, text = given_
    found = repaired(text)
    if is_strict_object(text):
        assert found is None
    else:
        assert found is not None
        assert json.dumps(json.loads(found[0])) == json.dumps(value)
        assert is_strict_object(found[0])
        assert repaired(found[0]) is None


@given(objects)
@example({"it's": "it's \x00\U0010ffff"})
def test_what_python_writes_of_an_object_is_the_object_again(value):
    value["ok"] = True
    found = repaired(repr(value))
    assert found is not None
    assert json.dumps(json.loads(found[0])) == json.dumps(value)


@given(texts, st.data())
def test_a_cut_text_is_never_completed(given_, data):
    text = given_[1].strip()
    assert repaired(text[: data.draw(st.integers(0, len(text) - 1))]) is None


pieces = st.sampled_from([*"{}[]:,'\"\\ \nxuU0aTN`1-", "True", "None", "```json", "\\'"])


@given(st.lists(pieces, max_size=30).map("".join) | st.text())
def test_no_text_raises(text):
    found = repaired(text)
    assert found is None or (is_strict_object(found[0]) and found[1])


@given(objects.flatmap(lambda value: spoiled(value, words=repr)), st.data())
def test_what_is_repaired_means_the_same_to_python(text, data):
    for _ in range(data.draw(st.integers(0, 2))):
        at, count = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 2))
        text = text[:at] + data.draw(st.just("") | pieces) + text[at + count :]
    found = repaired(text)
    if found is not None and DOUBLED not in found[1] and "\\ud" not in text:  # two halves of a character are one in JSON only
        assert repr(ast.literal_eval(text)) == repr(json.loads(found[0]))


quoting = ["'", "''", "',", "'\\", "'\\'", "'\\x41'", "a'b\"", '"', '""', '",', '"\\', '"\\"', '"\\x41"', "\\", '\\"', "\\u0041"]
others = [",", ", ", ",]", "1,", "[,", "[ ", "{", "`", "```", "```\n", "None,", "T", "\x00"]


@pytest.mark.parametrize("unit", [*quoting, *others])
@pytest.mark.parametrize("ends", [("", ""), ("{", "}"), ('"', '"'), ("'", "'"), ("[" * 99, "]" * 99), ("```", "```")])
def test_the_cost_is_linear_in_the_text(unit, ends):
    counts = []
    for size in (1_000, 2_000, 4_000):
        text = ends[0] + unit * size + ends[1]
        kinds = [token.lastgroup for token in _TOKEN.finditer(text)]
        assert "hopeless" not in kinds[:-1]  # behind a string that does not close nothing is read again
        counts.append(python_calls(lambda text=text: repaired(text)))
    assert counts[2] - counts[1] <= 2 * (counts[1] - counts[0]) + 10


def python_calls(function) -> int:
    made = 0

    def profile(_frame, event, _):
        nonlocal made
        made += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize("unit", ["{", "[", "{'a':", "'", '"\\"', "```", '\'{"a": '])
def test_a_great_deal_of_garbage_is_refused(unit):
    assert repaired(unit * (2**20 // len(unit))) is None


class Circle(BaseModel):
    kind: Literal["circle"]
    centre: dict[str, int]


class Square(BaseModel):
    kind: Literal["square"]
    corners: list[list[int]]


class Drawing(BaseModel):
    title: str
    shape: Annotated[Circle | Square, Field(discriminator="kind")]
    tags: list[str] | dict[str, int] | None = None
    grid: list[list[int]] = []
    names: dict[int, str] = {}


def located(arguments):
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Drawing).validate_python(arguments, strict=True)
    return [error["loc"] for error in raised.value.errors()]


def test_strings_that_hold_what_belongs_there_are_parsed_in_place():
    arguments = {
        "title": '{"kept": 1}',
        "shape": '{"kind": "square", "corners": "[[1, 2]]"}',
        "tags": '["a", "[1]"]',
        "grid": [[1], "[2, 3]", [4]],
    }
    grid = arguments["grid"]
    paths = located(arguments)
    assert undoubled(arguments, paths)
    assert arguments["grid"] is grid
    assert located(arguments) == [("shape", "square", "corners")]
    assert undoubled(arguments, located(arguments))
    assert arguments == {
        "title": '{"kept": 1}',
        "shape": {"kind": "square", "corners": [[1, 2]]},
        "tags": ["a", "[1]"],
        "grid": [[1], [2, 3], [4]],
    }
    assert Drawing.model_validate(arguments).grid == [[1], [2, 3], [4]]
    assert not undoubled(arguments, paths)


@pytest.mark.parametrize(
    "text", ["", "a", "1", "null", '"[1]"', "[1", "[1,]", "['a']", "[NaN]", '{"a": 1, "a": 2}', "\ud83d", "[" * 300]
)
def test_other_strings_stay(text):
    arguments = {"title": text, "grid": [text]}
    assert not undoubled(arguments, [("title",), ("grid", 0), ("grid", 0, "list[int]")])
    assert arguments == {"title": text, "grid": [text]}


@pytest.mark.parametrize("path", [(), ("union",), ("a", 5), ("a", -1), ("a", "0"), (0,), ("c", "[1]", "[key]")])
def test_a_path_to_something_else_changes_nothing(path):
    arguments = {"a": [[1]], "c": {"[1]": "[2]"}}
    assert not undoubled(arguments, [path])
    assert arguments == {"a": [[1]], "c": {"[1]": "[2]"}}


def test_a_key_may_be_called_as_pydantic_calls_keys():
    arguments = {"[key]": "[1]"}
    assert undoubled(arguments, [("[key]",)])
    assert arguments == {"[key]": [1]}


def test_all_paths_are_those_of_the_arguments_as_they_were():
    arguments = {"shape": '{"square": "[1]"}', "names": {"a": "[1]"}}
    assert undoubled(arguments, [("shape", "circle"), ("shape", "square"), ("names", "a", "[key]")])
    assert arguments == {"shape": {"square": "[1]"}, "names": {"a": "[1]"}}
