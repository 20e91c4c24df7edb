"""Tools in a module whose annotations are text, as user modules have them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, NotRequired

from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class Weather(BaseModel):
    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    query: str


@dataclass
class Trip:
    stops: list[Weather]
    name: str = "trip"


class Row(TypedDict):
    x: int
    note: NotRequired[Annotated[str, Field(description="a note")]]


def travel(to: Annotated[str, Field(description="where to")], how: Trip | None = None, *, days: int = 1) -> str:
    """Book a journey."""
    return f"{to} for {days}"


Both = Iterable[Weather | GoogleSearch]
