"""How the arguments of one tool are described to a model, and checked when they come back."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, with_config
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaValidator
from typing_extensions import TypedDict, is_typeddict, override

from polycall._partial import half_filled, partial_dict, read_partial
from polycall._schema import SchemaMismatch, canonical
from polycall._signature import described_parameters, docstring, function_name, signature_fields, underlying
from polycall.call import BoundCall
from polycall.errors import UsageError
from polycall.types import JsonObject, is_mapping, is_object, is_sequence


class Arguments(Protocol):
    """The arguments of one tool.

    Attributes:
        name: The tool's own name.
        description: What the model is told about the tool, None for nothing.
        schema: The canonical JSON Schema: an object schema, self-contained, without titles nobody wrote.
    """

    name: str
    description: str | None
    schema: JsonObject

    def check(self, text: str, *, strict: bool, context: object) -> Any:
        """Return the value that ``text``, one JSON object, stands for.

        Raises:
            pydantic.ValidationError: It does not fit.
            SchemaMismatch: It does not fit (tools given by a JSON Schema).
        """
        ...

    def partial(self, text: str) -> Any:
        """Return what can be read of ``text``, the beginning of one JSON object; None when nothing can."""
        ...


class _Schema(GenerateJsonSchema):
    """Pydantic's JSON Schema without the titles that it makes up from names."""

    ignored_warning_kinds: Final = {"skipped-choice", "non-serializable-default"}  # type: ignore[misc]  # narrower on purpose

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    @override
    def dataclass_args_schema(self, schema: Any) -> JsonObject:
        given = {**schema, "fields": [field for field in schema["fields"] if field.get("init", True)]}
        written: JsonObject = super().dataclass_args_schema(cast("Any", given))  # the other fields cannot be given
        return written


class TypeArguments:
    """The arguments of a tool given by a model, a dataclass or a TypedDict."""

    def __init__(
        self, kind: Any, *, name: str | None = None, described: tuple[str | None, Mapping[str, str]] | None = None
    ) -> None:
        self.name = name or type_name(kind)
        self.description, parameters = described_parameters(docstring(kind)) if described is None else described
        self._kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            self._adapter.rebuild(raise_errors=True)  # says which name is not defined, where one is not
            self.schema = canonical(self._adapter.json_schema(schema_generator=_Schema), self.name)
            self._lax, self._strict = self._adapter.validator, _strict_validator(self._adapter)
        except PydanticUndefinedAnnotation as error:
            raise UsageError(_undefined(self.name, error.name or "a name")) from error
        except UsageError:
            raise
        except Exception as error:  # annotations are the user's code, and pydantic has many errors for them
            message = f"{self.name} cannot be a tool: {_first_line(error)}"
            raise UsageError(message) from error
        _describe(self.schema, parameters)
        self._partial: tuple[TypeAdapter[dict[str, Any]] | None] | None = None  # made when first asked for

    def check(self, text: str, *, strict: bool, context: object) -> Any:
        if not strict:
            return self._lax.validate_json(text, strict=False, context=context)
        if self._strict is None:
            return self._lax.validate_json(text, strict=True, context=context)
        return self._strict.validate_json(text, context=context)

    def partial(self, text: str) -> Any:
        if self._partial is None:
            self._partial = (partial_dict(self._kind),)
        found = read_partial(self._partial[0], text)
        return None if found is None else half_filled(self._kind, found)


class FunctionArguments:
    """The arguments of a tool given by a function: its signature is the schema, its docstring the descriptions."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.name = function_name(function)
        described = described_parameters(docstring(underlying(function)))
        made: Any = TypedDict(self.name, signature_fields(function, described[1]))  # type: ignore[misc]  # known only now
        closed = with_config(ConfigDict(extra="forbid"))(made)
        self._type = TypeArguments(closed, name=self.name, described=described)
        self.description, self.schema = self._type.description, self._type.schema

    def check(self, text: str, *, strict: bool, context: object) -> BoundCall:
        return BoundCall(self._function, self._type.check(text, strict=strict, context=context))

    def partial(self, text: str) -> BoundCall | None:
        found = self._type.partial(text)
        return None if found is None else BoundCall(self._function, found)


class SchemaArguments:
    """The arguments of a tool given by a JSON Schema."""

    def __init__(self, name: str, description: str | None, schema: JsonObject) -> None:
        import jsonschema_rs

        self.name, self.description = name, description
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_refuse, mask="it", validate_formats=True)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            message = f"the schema of tool {name!r} is no valid JSON Schema: {_first_line(error)}"
            raise UsageError(message) from error
        self.schema = canonical(copy.deepcopy(schema), name)
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])

    def check(self, text: str, *, strict: bool, context: object) -> dict[str, Any]:  # noqa: ARG002  # a schema has one strictness
        value = self._adapter.validate_json(text)
        found = [(tuple(error.instance_path), _mismatch(error)) for error in self._validator.iter_errors(value)]
        if found:
            raise SchemaMismatch(found)
        return value

    def partial(self, text: str) -> dict[str, Any] | None:
        return read_partial(self._adapter, text)


def is_argument_type(source: object) -> bool:
    """Whether ``source`` is a type whose values are JSON objects with named fields."""
    if get_origin(source) is Annotated:
        return is_argument_type(get_args(source)[0])
    kind: Any = get_origin(source) or source
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return kind is not BaseModel and not kind.__pydantic_root_model__
    return inspect.isclass(kind) and (dataclasses.is_dataclass(kind) or is_typeddict(kind))


def type_name(source: object) -> str:
    """Return how people write ``source``: ``Weather``, ``Box[int]``, ``get_weather``."""
    if get_origin(source) is Annotated:
        return type_name(get_args(source)[0])
    arguments = get_args(source)
    if get_origin(source) is not None and arguments:
        name = getattr(source, "__name__", type(source).__name__)
        if type(source).__name__ in {"UnionType", "_UnionGenericAlias"} or name in {"Union", "Optional"}:
            return " | ".join(type_name(one) for one in arguments)
        return f"{name}[{', '.join(type_name(one) for one in arguments)}]"
    return str(getattr(source, "__name__", None) or repr(source)[:80])


def _strict_validator(adapter: TypeAdapter[Any]) -> SchemaValidator | None:
    """Return a validator that is strict except where the type says otherwise; None where it says so nowhere.

    Strictness asked for at run time overrides a field's own ``strict=False``; strictness of the configuration does not. So the
    types that have such a field get a validator of their own, built from their core schema with strict configurations.
    """
    schema = adapter.core_schema
    if not _mentions_lax(schema):
        return None
    return SchemaValidator(_with_strict_config(schema), {"strict": True}, _use_prebuilt=False)


def _mentions_lax(schema: object) -> bool:
    if is_mapping(schema):
        return schema.get("strict") is False or any(
            _mentions_lax(value) for key, value in schema.items() if key not in {"metadata", "serialization"}
        )
    return is_sequence(schema) and any(_mentions_lax(value) for value in schema)


def _with_strict_config(schema: Any) -> Any:
    if is_object(schema):
        made = {
            key: value if key in {"metadata", "serialization"} else _with_strict_config(value) for key, value in schema.items()
        }
        if made.get("type") in {"model", "dataclass", "typed-dict"}:
            made["config"] = {"strict": True, **(made.get("config") or {})}
        return made
    if is_sequence(schema):
        return type(schema)(_with_strict_config(value) for value in schema)
    return schema


def _undefined(name: str, missing: str) -> str:
    advice = f"define it before, or call {name}.model_rebuild()"
    return f"{name} cannot be a tool: {missing!r} in its annotations is not defined yet; {advice}"


def _mismatch(error: Any) -> str:
    """Say what is wrong in words that hold no part of the arguments: not a key that the model made up either."""
    if error.kind.name in {"additionalProperties", "unevaluatedProperties", "propertyNames"}:
        return "a key is not allowed"
    return str(error.message)


def _refuse(url: str) -> Any:
    message = f"it refers to {url}, and nothing is fetched: put that schema into $defs"
    raise ValueError(message)


def _describe(schema: JsonObject, parameters: Mapping[str, str]) -> None:
    for name, field in schema["properties"].items():
        if name in parameters and is_object(field):
            field.setdefault("description", parameters[name])


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
