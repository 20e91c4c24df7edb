"""A field that may be left out, for the dialects in which that is said by ``required`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polycall.types import is_mapping, is_sequence

__all__ = ["without_null"]


def without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a field that may be left out without the null that stands for the same.

    It is taken out where one other type is left; a schema that takes more, or no null, is returned as it is.
    """
    kinds = schema.get("type")
    if is_sequence(kinds) and "null" in kinds and len(kinds) == 2:  # noqa: PLR2004  # null and one other
        return {**schema, "type": next(kind for kind in kinds if kind != "null")}
    keyword = "anyOf" if "anyOf" in schema else "oneOf"
    branches = schema.get(keyword)
    if not is_sequence(branches):
        return schema
    others = [one for one in branches if not (is_mapping(one) and one.get("type") == "null")]
    if len(others) == len(branches) or len(others) != 1 or not is_mapping(others[0]):
        return schema
    return {**others[0], **{name: value for name, value in schema.items() if name != keyword}}
