"""What every checker must refuse: mypy, pyright and ty report an `ignore` that is not needed. Nothing here runs."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Iterable
from dataclasses import dataclass

import openai
from pydantic import BaseModel

import polycall
from polycall import Client


class Weather(BaseModel):
    location: str


@dataclass
class Point:
    x: int


def bare(client: Client) -> None:
    client.create("", response_model=Weather)  # type: ignore[type-var]  # ty: ignore[invalid-argument-type]
    client.create("", response_model=Point)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    client.create("", response_model=Weather | Point)  # type: ignore[arg-type, type-var]  # ty: ignore[invalid-argument-type]


def not_tools(client: Client) -> None:
    client.create("", response_model=Iterable[int])  # type: ignore[type-var]  # ty: ignore[invalid-argument-type]
    client.create("", response_model=str)  # type: ignore[type-var]  # ty: ignore[invalid-argument-type]
    client.create("", response_model=[Weather])  # type: ignore[call-overload]  # ty: ignore[invalid-type-form]
    client.create("")  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]


def wrong_words(client: Client) -> None:
    client.create("", response_model=Iterable[Weather], errors="ignore")  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]
    polycall.from_openai(openai)  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]
