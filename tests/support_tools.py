"""Shortcuts of the tests: one tool, one call of it, checked as the library checks it."""

from __future__ import annotations

import json
from typing import Any

from polycall._tools import Offered, Toolset, toolset
from polycall._validate import Checking, validate
from polycall.call import Call
from polycall.providers.openai import OpenAIChat
from polycall.types import JsonObject, Request, ToolCall


def offer(source: Any) -> Offered:
    """Return ``source`` as the only tool of a request."""
    return toolset(None, [source]).offered[0]


def schema_of(source: Any) -> JsonObject:
    """Return the canonical schema of one tool, as plain JSON values."""
    schema: JsonObject = json.loads(json.dumps(offer(source).schema.schema))
    return schema


def check(source: Any, arguments: Any, *, sent_strict: bool = False, **how: Any) -> Call[Any]:
    """Check a call of the only tool ``source``, after its schema went out in OpenAI's strict dialect or as it is."""
    tools = toolset(None, [source])
    encoded = OpenAIChat().encode(Request(model="m", messages=(), tools=tools.schemas, schema_strict=sent_strict), stream=False)
    assert encoded.body["tools"][0]["function"].get("strict", False) is sent_strict
    return check_named(tools, tools.schemas[0].wire_name, arguments, strict_schemas=encoded.strict_schemas, **how)


def check_named(tools: Toolset, name: str, arguments: Any, **how: Any) -> Call[Any]:
    """Check a call of the tool that was sent as ``name``; arguments that are no text are written as JSON."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return validate(ToolCall(0, "call_0", name, text), Checking(tools, **how))
