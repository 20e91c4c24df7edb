"""What every checker must refuse: mypy, pyright and ty report an `ignore` that is not needed. Nothing here runs."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Iterable
from dataclasses import dataclass

import httpx2
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


async def numbers() -> int:
    return 1


def clients(name: int) -> None:
    polycall.from_provider(name)  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", http_client="requests")  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", http_client=httpx2.AsyncClient())  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", http_client=httpx2.Client(), async_client=True)  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]
    polycall.from_provider("openai/m", api_key=1)  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", api_key=numbers)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", headers={"x": 1})  # type: ignore[dict-item]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", ca_file=1)  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
    polycall.from_provider("openai/m", mode="tools")  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]


def limits() -> None:
    polycall.Limits(1)  # type: ignore[call-arg]  # ty: ignore[too-many-positional-arguments]
    polycall.Limits(calls="1")  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    polycall.Limits(tokens=1)  # type: ignore[call-arg]  # ty: ignore[unknown-argument]
    polycall.Limits(hosts="eu.example.com")  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    polycall.Limits().calls = 5  # type: ignore[misc]  # ty: ignore[invalid-assignment]
