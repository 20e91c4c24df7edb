"""The pytest plugin: the fixture ``model_server``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from polycall.testing import ModelServer


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """Give a `polycall.testing.ModelServer` that listens; set its ``script``, ``fault`` and ``key``."""
    from polycall.testing import ModelServer

    with ModelServer() as server:
        yield server
