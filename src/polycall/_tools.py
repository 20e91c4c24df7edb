"""Types and functions -> tools: their names, schemas and argument checks, built once per set of types."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, ForwardRef, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import TypeAliasType

from polycall._arguments import (
    Arguments,
    FunctionArguments,
    SchemaArguments,
    TypeArguments,
    is_argument_type,
    type_name,
)
from polycall._schema import is_integer, leaves, names
from polycall.errors import UsageError
from polycall.types import JsonObject, ToolChoice, ToolSchema, is_mapping, is_sequence

__all__ = ["Tool", "ToolSource", "Toolset"]

_WIRE_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_WHOLE_NUMBER: Final = re.compile(r"\d\.0+(?!\d)|\d[eE]")
_WHOLE_NUMBER_OR_TRUTH: Final = re.compile(rf"{_WHOLE_NUMBER.pattern}|true|false")
_SEVERAL: Final = frozenset({list, tuple, Sequence, Iterable})
_UNIONS: Final = frozenset({Union, UnionType})


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A tool given by a JSON Schema instead of a type; its values are checked dicts.

    Attributes:
        name: What the model calls. A name that providers refuse is sent in a mangled form and mapped back.
        description: What the model is told about it.
        schema: The JSON Schema (draft 2020-12) of the arguments, an object schema; None allows any object. Do not change it
            afterwards.
    """

    name: str
    description: str | None = None
    schema: Mapping[str, Any] | None = None


ToolSource: TypeAlias = "type[Any] | Callable[..., Any] | Tool"
"""What a tool can be made of: a model, dataclass or TypedDict, a function, or a `Tool`."""


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """One tool.

    Attributes:
        source: The type, function or `Tool` that it was made of.
        schema: How it is offered.
        arguments: How its arguments are checked.
        names: Every name that its schema gives to a field or a definition.
        unlike: What in the text of arguments needs a second look, as pydantic and JSON Schema see it differently; None for
            nothing.
    """

    source: Any
    schema: ToolSchema
    arguments: Arguments
    names: frozenset[str]
    unlike: re.Pattern[str] | None


@dataclass(frozen=True, slots=True, eq=False)
class Toolset:
    """The tools of a request, in the user's order."""

    offered: tuple[Offered, ...]
    schemas: tuple[ToolSchema, ...]
    _by_wire_name: Mapping[str, Offered]

    def find(self, wire_name: str) -> Offered | None:
        """Return the tool that was offered under exactly this name."""
        return self._by_wire_name.get(wire_name)

    def names(self) -> frozenset[str]:
        """Return every name that the schemas give to a field or a definition."""
        return frozenset[str]().union(*(tool.names for tool in self.offered))

    def choice(self, wanted: object) -> ToolChoice:
        """Read the user's ``tool_choice``.

        Raises:
            UsageError: It names a tool that is not among the tools, or is of no known form.
        """
        match wanted:
            case None | "auto":
                return ToolChoice()
            case "required":
                return ToolChoice("required")
            case "none":
                return ToolChoice("none")
            case _ if is_sequence(wanted):
                allowed = [self._wire_name(one) for one in wanted]
                if not allowed:
                    raise UsageError('tool_choice is an empty list: write "none" to allow no tool')
                return ToolChoice("auto", tuple(name for name in self._by_wire_name if name in allowed))
            case _:
                return ToolChoice("required", (self._wire_name(wanted),))

    def _wire_name(self, wanted: object) -> str:
        wanted = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
        for tool in self.offered:
            if wanted in (tool.source, tool.schema.name):
                return tool.schema.wire_name
        listed = ", ".join(tool.schema.name for tool in self.offered)
        known = f'"auto", "required", "none", or among the tools of this request ({listed})'
        what = "a dict" if is_mapping(wanted) else repr(wanted) if isinstance(wanted, str) else repr(type_name(wanted))
        message = f"tool_choice: {what} is not {known}"
        raise UsageError(message)


def toolset(response_model: object = None, tools: object = None) -> Toolset:
    """Return the tools of a request, built once for the same types.

    Raises:
        UsageError: No tool, a form that is not understood, or two tools with one name.
    """
    if (response_model is None) == (tools is None):
        raise UsageError("say which tools the model may call: response_model=Iterable[A | B], or tools=[A, B]")
    if tools is None:
        sources = _members_of(response_model)
    elif is_sequence(tools):
        sources = [source for one in tools for source in _members(one)]
    else:
        message = f"tools takes a list of types, functions and polycall.Tool objects, not {type_name(tools)}: write tools=[...]"
        raise UsageError(message)
    if not sources:
        raise UsageError("tools is empty: the model needs at least one tool to call")
    try:
        key = tuple(dict.fromkeys(sources))
    except TypeError:  # metadata of a type that cannot be hashed, so the tools cannot be kept
        return _build(tuple(one for number, one in enumerate(sources) if one not in sources[:number]))
    return _cached(key)


def _build(sources: tuple[Any, ...]) -> Toolset:
    checks = [_arguments(source) for source in sources]
    repeated = [name for name, count in Counter(check.name for check in checks).items() if count > 1]
    if repeated:
        message = f"two tools are named {repeated[0]!r}: rename one, or give it another name with polycall.Tool(name=...)"
        raise UsageError(message)
    taken = {check.name for check in checks if _WIRE_NAME.fullmatch(check.name)}
    offered: dict[str, Offered] = {}
    for source, check in zip(sources, checks, strict=True):
        wire_name = _wire_name(check.name, taken)
        taken.add(wire_name)
        schema = ToolSchema(check.name, wire_name, check.description, check.schema)
        bare = get_args(source)[0] if get_origin(source) is Annotated else source
        offered[wire_name] = Offered(bare, schema, check, frozenset(names(check.schema)), _unlike(check.schema))
    tools = tuple(offered.values())
    return Toolset(tools, tuple(tool.schema for tool in tools), offered)


def _unlike(schema: JsonObject) -> re.Pattern[str] | None:
    """Return what finds whole numbers that are not written as such, and where integers are constants truth values."""
    leaf = tuple(leaves(schema))
    if any(map(is_integer, leaf)):
        return _WHOLE_NUMBER_OR_TRUTH
    return _WHOLE_NUMBER if "integer" in leaf else None


_cached = lru_cache(maxsize=256)(_build)


def legal_name(name: str) -> str:
    """Return ``name`` where every provider takes it, else a legal name like it."""
    if _WIRE_NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_") or "tool"
    return (plain if plain[0].isalpha() else f"_{plain}")[:64]


def _wire_name(name: str, taken: set[str]) -> str:
    """Return ``name`` where every provider takes it, else a legal name like it that no other tool has."""
    plain = legal_name(name)
    if plain == name:
        return name
    candidate, number = plain, 2
    while candidate in taken:
        candidate = f"{plain[:60]}_{number}"
        number += 1
    return candidate


def _members_of(form: object) -> list[Any]:
    """Take ``Iterable[A | B]`` and its like apart."""
    form = _resolved(form)
    origin: Any = get_origin(form)
    if origin is Annotated:
        return _members_of(get_args(form)[0])
    elements = [element for element in get_args(form) if element is not Ellipsis]
    if origin in _SEVERAL and len(elements) == 1:
        return _members(elements[0])
    name = type_name(form)
    if is_argument_type(form) or origin in _UNIONS:
        members = [one for one in get_args(form) if one is not type(None)] if origin in _UNIONS else [form]
        if len(members) == 1 and get_origin(members[0]) in _SEVERAL:
            message = f"response_model may not be None: write response_model={type_name(members[0])}"
            raise UsageError(message)
        inner = " | ".join(map(type_name, members))
        message = f"response_model={name} asks for one value, and a response holds many: write response_model=Iterable[{inner}]"
    elif is_sequence(form) or (callable(form) and not isinstance(form, type) and origin is None):
        inside = "..." if is_sequence(form) else name
        message = f"response_model takes a type: for a list of tools, or for functions, write tools=[{inside}]"
    else:
        inner = " | ".join(type_name(one) for one in elements if is_argument_type(one) or get_origin(one) in _UNIONS) or "A | B"
        message = f"response_model={name} is not understood: write response_model=Iterable[{inner}]"
    raise UsageError(message)


def _members(element: object) -> list[Any]:
    """Take a union apart into its members; anything else is one member."""
    element = _resolved(element)
    if get_origin(element) in _UNIONS:
        return [member for one in get_args(element) for member in _members(one)]
    if get_origin(element) is Annotated:
        inner = _resolved(get_args(element)[0])
        if get_origin(inner) in _UNIONS:
            return _members(inner)
        return [Annotated[(inner, *get_args(element)[1:])]]
    return [element]


def _resolved(form: object) -> Any:
    """Look behind the names of type aliases."""
    generic: Any = get_origin(form)
    if _is_alias(generic):
        try:
            return _resolved(generic.__value__[get_args(form)])
        except TypeError:
            message = f"the type alias {type_name(form)} cannot be looked into: write out what it stands for"
            raise UsageError(message) from None
    if _is_alias(form):
        return _resolved(getattr(form, "__value__", None))
    if isinstance(form, str | ForwardRef):
        name = form if isinstance(form, str) else form.__forward_arg__
        message = f"{name!r} is the name of a type and not the type: write it without quotes, where the type is already defined"
        raise UsageError(message)
    return form


def _is_alias(form: object) -> bool:
    return isinstance(form, TypeAliasType) or type(form).__name__ == "TypeAliasType"  # Python 3.12 has a class of its own


def _arguments(source: object) -> Arguments:
    if isinstance(source, Tool):
        if not isinstance(source.name, str) or not source.name or not (source.schema is None or is_mapping(source.schema)):
            raise UsageError(
                "polycall.Tool takes a name and a JSON Schema as a dict: polycall.Tool(name=..., description=..., schema={...})"
            )
        return SchemaArguments(source.name, source.description, dict(source.schema or {"type": "object"}))
    if is_argument_type(source):
        return TypeArguments(source)
    if callable(source) and not isinstance(source, type) and get_origin(source) is None and not _is_form(source):
        return FunctionArguments(source)
    raise UsageError(_not_a_tool(source))


def _is_form(source: object) -> bool:
    """Whether this is a special form like ``Never``, which is callable but no function."""
    return type(source).__module__ in {"typing", "typing_extensions"}


def _not_a_tool(source: object) -> str:
    name = type_name(source)
    if is_mapping(source):
        return (
            "a dict cannot be a tool: write polycall.Tool(name=..., description=..., schema={...JSON Schema of the arguments...})"
        )
    if source is None or source is type(None):
        return "None cannot be a tool: leave it out, an answer without calls is an empty list"
    if inspect.isclass(source) and getattr(source, "__pydantic_root_model__", False):
        return f"{name} cannot be a tool: the arguments of a tool are an object with fields, write a model with a field for it"
    if inspect.isclass(source) and source is not BaseModel:
        hint = f"write a model with a field for it, class {name.title()}Call(BaseModel): value: {name}"
        return f"{name} cannot be a tool: the arguments of a tool are an object with fields, {hint}"
    return f"{name} cannot be a tool: a tool is a pydantic model, a dataclass, a TypedDict, a function or a polycall.Tool"
