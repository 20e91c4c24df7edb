"""One canonical JSON Schema -> what a provider's dialect of it takes, and what had to be given up: a file for each dialect.

Pure functions. Whatever a dialect drops is still checked by polycall when the call comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Dialected", "tell"]


@dataclass(frozen=True, slots=True, eq=False)
class Dialected:
    """A schema in a dialect.

    Attributes:
        schema: The schema to send; the canonical one where the dialect cannot say it.
        refused: Why the dialect cannot say it, one reason per place; empty where it can.
        dropped: What was left out, as ``place: keyword``; checked by polycall alone.
    """

    schema: Mapping[str, Any]
    refused: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def tell(name: str, dialected: Dialected) -> None:
    """Log what the model is not told about the schema of the tool ``name``: fields and keywords only."""
    import logging

    log = logging.getLogger("polycall")
    if dialected.refused:
        log.debug("tool %s is sent without the strict dialect: %s", name, "; ".join(dialected.refused))
    if dialected.dropped:
        log.debug("tool %s is sent without: %s", name, "; ".join(dialected.dropped))
