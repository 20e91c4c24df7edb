"""The chat template: what the adapter was trained on, to the letter, and something sensible for everything else."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import polycall.local
from polycall._dialect_llamacpp import grammar_schema

USER = {"role": "user", "content": "Hello"}


@pytest.fixture(scope="module")
def render(weights):
    """Return llama.cpp's own rendering of our template."""
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_ctx = 256
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.endpoint_metrics = True
    parameters.chat_template = (Path(polycall.local.__file__).parent / "template.jinja").read_text(encoding="utf-8")
    server = xllamacpp.Server(parameters)
    server.handle_metrics()

    def render(messages, tools=None):
        body = {"messages": messages} | ({"tools": tools} if tools else {})
        connection = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
        connection.request("POST", "/apply-template", json.dumps(body), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert "prompt" in answer, answer
        return answer["prompt"]

    return render


def tool(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def trained(tools, user):
    """Say the prompt that the adapter was trained on (the twin of the template, for the shapes of the training data)."""
    lines = ["Call functions for the request: one call for each thing asked, values taken from the request.\n"]
    for function in (tool["function"] for tool in tools):
        lines.append(f"{function['name']}: {function['description']}")
        for name, schema in function["parameters"]["properties"].items():
            kind = "|".join(schema["enum"]) if "enum" in schema else schema["type"]
            kind = f"list of {schema['items']['type']}" if kind == "array" else kind
            optional = "" if name in function["parameters"]["required"] else ", optional"
            description = f": {schema['description']}" if schema.get("description") else ""
            lines.append(f"  {name} ({kind}{optional}){description}")
    system = "\n".join(lines)
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


texts = some.text(some.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)
words = some.text("abcdefgh_.", min_size=1, max_size=8)
kinds = some.one_of(
    some.sampled_from([{"type": name} for name in ("string", "integer", "number", "boolean")]),
    some.lists(words, min_size=1, max_size=3).map(lambda values: {"type": "string", "enum": values}),
    some.sampled_from(["string", "integer"]).map(lambda name: {"type": "array", "items": {"type": name}}),
)
schemas = some.builds(lambda kind, text: kind | ({"description": text} if text else {}), kinds, texts)
tools = some.builds(
    lambda name, text, properties: tool(name, text, properties, list(properties)[::2]),
    words,
    texts,
    some.dictionaries(words, schemas, max_size=4),
)


@settings(max_examples=200)
@given(offered=some.lists(tools, min_size=1, max_size=3), user=texts)
def test_it_is_the_training_format(render, offered, user):
    assert render([{"role": "user", "content": user}], offered) == trained(offered, user)


def test_a_conversation(render, weather):
    arguments = {"location": 'Ærø "x"', "units": "metric"}
    calls = [
        {"id": "a", "type": "function", "function": {"name": "Weather", "arguments": json.dumps(arguments)}},
        {"id": "b", "type": "function", "function": {"name": "Weather", "arguments": arguments}},
    ]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Use"}, {"type": "text", "text": "tools."}]},
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "rain"}]},
        {"role": "developer", "content": "Be brief."},
    ]
    call = '<tool_call>\n{"name": "Weather", "arguments": {"location": "Ærø \\"x\\"", "units": "metric"}}\n</tool_call>'
    assert render(messages, [weather]).partition("<|im_end|>\n")[2] == (
        "<|im_start|>system\nUse\ntools.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        f"<|im_start|>assistant\n{call}\n{call}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n12 degrees\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n"
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": None},
        {"role": "user", "content": []},
        {"role": "assistant", "content": "text", "tool_calls": []},
        {"role": "assistant", "tool_calls": None, "content": ""},
        {"role": "tool", "content": None, "tool_call_id": "x"},
    ],
)
def test_messages_without_content(render, message, weather):
    assert render([USER, message, USER], [weather]).endswith("<|im_start|>assistant\n")
    assert render([USER, message, USER]).startswith("<|im_start|>system\nYou are a helpful assistant.")


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({}, "any"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/Colour"}]}, "integer|red|blue"),
        ({"$ref": "#/$defs/Colour"}, "red|blue"),
        ({"$ref": "#/$defs/Tree"}, "object"),
        ({"type": ["integer", "null"]}, "integer"),
        ({"type": "array"}, "list of any"),
        ({"type": "array", "items": {"$ref": "#/$defs/Colour"}}, "list of red|blue"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "number"}}}, "list of list of number"),
        ({"enum": [1, True, None, "x"]}, "1|true|null|x"),
        ({"const": "x"}, "x"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object"),
        ({"properties": {"a": {"type": "integer"}}}, "object"),
        ({"$ref": "#/$defs/Nested"}, "list of list of any"),
    ],
)
def test_every_kind_of_parameter_has_a_name(render, schema, kind):
    definitions = {
        "Colour": {"type": "string", "enum": ["red", "blue"]},
        "Tree": {"type": "object", "properties": {"branches": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}},
        "Nested": {"type": "array", "items": {"$ref": "#/$defs/Nested"}},
    }
    parameters = {"type": "object", "properties": {"p": schema}, "$defs": definitions}
    prompt = render([USER], [{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert f"\nf: \n  p ({kind}, optional)<|im_end|>" in prompt


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}])
def test_a_function_without_parameters(render, parameters):
    assert "\nf: <|im_end|>" in render([USER], [{"type": "function", "function": {"name": "f", "parameters": parameters}}])


KEYWORDS = [
    *("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "items", "prefixItems", "minimum", "maxLength"),
    *("required", "additionalProperties", "description", "pattern", "format", "maxItems", "a", "$defs"),
]
json_values = some.recursive(
    some.none() | some.booleans() | some.integers(-5, 5) | some.sampled_from(["string", "array", "object", "#/$defs/a"]),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.sampled_from(KEYWORDS), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300)
@given(schema=some.dictionaries(some.sampled_from(KEYWORDS), json_values, max_size=5))
def test_no_schema_makes_it_raise(render, schema):
    sent, _ = grammar_schema(schema)
    render([USER], [{"type": "function", "function": {"name": "f", "parameters": sent}}])
