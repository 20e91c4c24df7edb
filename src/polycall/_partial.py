"""The beginning of a tool's arguments -> a value as far as it has arrived."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NotRequired, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict


def partial_dict(kind: Any) -> TypeAdapter[dict[str, Any]] | None:
    """Return an adapter for the fields of ``kind``, none of them required, named as in the JSON; None where there can be none."""
    try:
        fields = {name: NotRequired[hint] for name, hint in _hints(kind).items()}
        made: Any = TypedDict("Partial", fields, total=False)  # type: ignore[misc]  # known only now
        form: Any = with_config(ConfigDict(arbitrary_types_allowed=True))(made)
        return TypeAdapter(form)
    except Exception:  # noqa: BLE001  # the half of a type need not be a type; the whole is checked all the same
        return None


def _hints(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {_wire_key(name, field): _bare(field) for name, field in kind.model_fields.items()}
    plain = cast("Any", get_origin(kind) or kind)
    hints = get_type_hints(plain, include_extras=True)
    if dataclasses.is_dataclass(plain):
        hints = {field.name: hints[field.name] for field in dataclasses.fields(plain) if field.init}
    given = dict(zip(getattr(plain, "__parameters__", ()), get_args(kind), strict=False))
    return {name: _filled(_without_qualifiers(hint), given) for name, hint in hints.items()}


def _bare(field: Any) -> Any:
    """Return a field's type without its default, which would be shown as if it had arrived."""
    from pydantic import Field

    notes = [*field.metadata, *([Field(discriminator=field.discriminator)] if field.discriminator else [])]
    return Annotated[(field.annotation, *notes)] if notes else field.annotation


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    """Put the arguments of a generic type in the places of its variables."""
    if hint in given:
        return given[hint]
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple(given[one] for one in variables)] if variables and given else hint


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


def read_partial(adapter: TypeAdapter[dict[str, Any]] | None, text: str) -> dict[str, Any] | None:
    """Return what can be read of the beginning of a JSON object; None when nothing can."""
    if adapter is None:
        return None
    try:
        found: dict[str, Any] = adapter.validate_json(text, experimental_allow_partial="trailing-strings")
    except ValueError:
        return None
    return found


def half_filled(kind: Any, found: dict[str, Any]) -> Any:
    """Return a value of ``kind`` with the fields that were found; the others are None."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        names = {_wire_key(name, field): name for name, field in kind.model_fields.items()}
        given = {names[key]: value for key, value in found.items()}
        return kind.model_construct(set(given), **{**dict.fromkeys(kind.model_fields), **given})
    plain = cast("Any", get_origin(kind) or kind)
    if not dataclasses.is_dataclass(plain):
        return found
    value = object.__new__(cast("type[Any]", plain))
    for one in dataclasses.fields(plain):
        if one.init:
            object.__setattr__(value, one.name, found.get(one.name))
    return value
