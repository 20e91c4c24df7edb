"""The tools that ``polycall ask`` offers when it is given none."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Weather(BaseModel):
    """Get the weather in one location."""

    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    """Search the web."""

    query: str
