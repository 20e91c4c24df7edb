"""The published schemas of requests, to check bodies with."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs

from support.recorded_native import TESTS


@cache
def validator(file: str, root: str) -> Any:
    """Return the validator of one endpoint."""
    spec = json.loads((TESTS / "spec" / f"{file}.json").read_bytes())
    return jsonschema_rs.validator_for({"$defs": spec["$defs"], "$ref": "#/$defs/" + spec["x-roots"][root]})


def check(body: Any, file: str, root: str) -> None:
    """Assert that a body is valid."""
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in validator(file, root).iter_errors(body)]
    if problems:
        raise AssertionError(problems[:3])
    json.dumps(body, allow_nan=False)
