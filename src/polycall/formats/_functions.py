"""Tools -> the function entries of OpenAI's formats, which most other services take as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from polycall._dialect_openai import openai_strict
from polycall._dialects import Dialected, tell
from polycall._services import Service
from polycall.types import JsonObject, ToolSchema

__all__ = ["Functions", "functions"]


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """Tools as OpenAI writes them.

    Attributes:
        tools: The entries of ``tools``. Shared and cached: never change them.
        strict_schemas: The schemas as sent, by wire name, of the tools in a strict dialect: closed, and null leaves a field out.
        json: ``tools`` as JSON bytes.
    """

    tools: list[JsonObject]
    strict_schemas: Mapping[str, Mapping[str, Any]]
    json: bytes


@lru_cache(maxsize=512)
def functions(tools: tuple[ToolSchema, ...], service: Service, strict: bool) -> Functions:  # noqa: FBT001  # a key of the cache
    """Write tools in a service's dialect, strict where that is asked for and can be; written once for the same tools."""
    entries: list[JsonObject] = []
    strict_schemas: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        dialected = Dialected(tool.schema, ("not asked for",))
        if service.grammar:
            from polycall._dialect_llamacpp import grammar_schema

            sent, dropped = grammar_schema(dict(tool.schema))
            dialected = Dialected(sent, dropped=dropped)
        elif strict and service.strict:
            dialected = openai_strict(tool.schema)
        function: JsonObject = {"name": tool.wire_name}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = dialected.schema
        if not dialected.refused and not service.grammar:
            function["strict"] = True
            strict_schemas[tool.wire_name] = dialected.schema
        tell(tool.name, dialected)
        entries.append({"type": "function", "function": function})
    return Functions(entries, strict_schemas, to_json(entries))
