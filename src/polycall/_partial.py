"""The beginning of a tool's arguments -> a value as far as it has arrived."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NotRequired, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict


def partial_dict(kind: Any) -> Any:
    """Return a TypedDict with the fields of ``kind``, none of them required, named as in the JSON."""
    plain: Any = get_origin(kind) or kind
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        hints = {_wire_key(name, field): Annotated[field.annotation, field] for name, field in kind.model_fields.items()}
    else:
        hints = get_type_hints(plain, include_extras=True)
    fields = {name: NotRequired[_without_qualifiers(hint)] for name, hint in hints.items()}
    made: Any = TypedDict("Partial", fields, total=False)  # type: ignore[misc]  # known only now
    return with_config(ConfigDict(arbitrary_types_allowed=True))(made)


def _without_qualifiers(hint: Any) -> Any:
    while getattr(get_origin(hint), "__name__", getattr(get_origin(hint), "_name", "")) in {
        "Required",
        "NotRequired",
        "ReadOnly",
    }:
        hint = get_args(hint)[0]
    return hint


def _wire_key(name: str, field: Any) -> str:
    alias = field.validation_alias
    return alias if isinstance(alias, str) else name


def read_partial(adapter: TypeAdapter[Any], text: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = adapter.validate_json(text, experimental_allow_partial="trailing-strings")
    except ValueError:
        return None
    return found


def half_filled(kind: Any, found: dict[str, Any]) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        names = {_wire_key(name, field): name for name, field in kind.model_fields.items()}
        given = {names[key]: value for key, value in found.items()}
        return kind.model_construct(set(given), **{**dict.fromkeys(kind.model_fields), **given})
    plain = cast("Any", get_origin(kind) or kind)
    if not dataclasses.is_dataclass(plain):
        return found
    value = object.__new__(cast("type[Any]", plain))
    for one in dataclasses.fields(plain):
        object.__setattr__(value, one.name, found.get(one.name))
    return value
