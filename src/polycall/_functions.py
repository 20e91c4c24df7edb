"""Tools -> the function entries of OpenAI's formats, which most other services take as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from polycall._dialects import Dialected, openai_strict, tell
from polycall._services import Service
from polycall.types import JsonObject, ToolSchema

__all__ = ["Functions", "functions"]


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """Tools as OpenAI writes them.

    Attributes:
        tools: The entries of ``tools``. Shared and cached: never change them.
        nulled: The schemas as sent, by wire name, of the tools where null is the way to leave a field out.
        json: ``tools`` as JSON bytes.
    """

    tools: list[JsonObject]
    nulled: Mapping[str, Mapping[str, Any]]
    json: bytes


@lru_cache(maxsize=512)
def functions(tools: tuple[ToolSchema, ...], service: Service, strict: bool) -> Functions:  # noqa: FBT001  # a key of the cache
    """Write tools in a service's dialect, strict where that is asked for and can be; written once for the same tools."""
    entries: list[JsonObject] = []
    nulled: dict[str, Mapping[str, Any]] = {}
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
        tell(tool.name, dialected)
        if dialected.nulled:
            nulled[tool.wire_name] = dialected.schema
        entries.append({"type": "function", "function": function})
    return Functions(entries, nulled, to_json(entries))
