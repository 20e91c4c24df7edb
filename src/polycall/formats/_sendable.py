"""What a model wrote -> what a server takes back."""

from __future__ import annotations

import math
from typing import Any

from polycall.types import is_array, is_object

__all__ = ["sendable"]


def sendable(value: Any) -> Any:
    """Return a JSON value without lone surrogates, and without numbers that JSON cannot say."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if is_object(value):
        return {sendable(key): sendable(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [sendable(one) for one in value] if is_array(value) else value
