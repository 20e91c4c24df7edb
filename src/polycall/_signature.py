"""Functions and docstrings -> names, descriptions and the fields of a tool's arguments."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints

from pydantic_core import PydanticSerializationError, to_jsonable_python

from polycall.errors import UsageError


def underlying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the name and the docstring: that of a `functools.partial`, the call of a callable object."""
    while isinstance(function, partial):
        function = function.func
    return function


def function_name(function: Callable[..., Any]) -> str:
    """Return the name that people know a function by; that of the class for a callable object."""
    function = underlying(function)
    return getattr(function, "__name__", type(function).__name__)


def docstring(source: Any) -> str | None:
    """Return the docstring that was written for ``source`` itself, not one that it inherits or that Python made up."""
    source = get_args(source)[0] if get_origin(source) is Annotated else source
    source = get_origin(source) or getattr(source, "__pydantic_generic_metadata__", {}).get("origin") or source
    if isinstance(source, type):
        text = source.__dict__.get("__doc__")
    elif inspect.isroutine(source):
        text = source.__doc__
    else:  # a callable object
        text = type(source).__dict__.get("__doc__") or type(source).__call__.__doc__
    if not text or (dataclasses.is_dataclass(source) and text.startswith(f"{getattr(source, '__name__', '')}(")):
        return None
    return inspect.cleandoc(text) or None


def described_parameters(text: str | None) -> tuple[str | None, dict[str, str]]:
    """Split a docstring into the text for the model and the descriptions of parameters."""
    if text is None or "\n" not in text:
        return text, {}
    import docstring_parser

    parsed = docstring_parser.parse(text)
    found = {one.arg_name: one.description for one in parsed.params if one.description}
    if not found:
        return text, {}
    return "\n\n".join(filter(None, (parsed.short_description, parsed.long_description))) or None, found


def signature_fields(function: Callable[..., Any], described: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a function as the fields of a TypedDict; those with a default may be left out.

    Raises:
        UsageError: The signature cannot be read, or has a parameter that cannot be given by name.
    """
    name = function_name(function)
    bare = underlying(function)
    try:
        parameters = inspect.signature(function).parameters
        hints = get_type_hints(bare if inspect.isroutine(bare) else type(bare).__call__, include_extras=True)
    except Exception as error:  # annotations are code: they may fail in any way
        message = f"{name} cannot be a tool: its signature cannot be read ({type(error).__name__}: {error})"
        raise UsageError(message) from error
    fields: dict[str, Any] = {}
    for parameter in parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            message = f"{name} cannot be a tool: the model gives arguments by name, and cannot give {str(parameter)!r}"
            raise UsageError(message)
        hint = hints.get(parameter.name, Any)
        fields[parameter.name] = _field(hint, parameter.default, described.get(parameter.name))
    return fields


def _field(hint: Any, default: Any, description: str | None) -> Any:
    from pydantic import Field
    from pydantic.fields import FieldInfo

    if isinstance(default, FieldInfo):  # `limit: int = Field(10, le=20)`
        hint = Annotated[hint, default]
        default = inspect.Parameter.empty if default.is_required() else default.get_default(call_default_factory=True)
    if default is inspect.Parameter.empty:
        return Annotated[hint, Field(description=description)] if description else hint
    try:
        shown = {} if default is None else {"default": to_jsonable_python(default)}
    except PydanticSerializationError:
        shown = {}
    return NotRequired[Annotated[hint, Field(description=description, json_schema_extra=shown or None)]]
