"""The types of the public face, under mypy, pyright, ty and pyrefly. Nothing here runs."""

import collections.abc
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, List, Literal, Union, assert_type

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import polycall
from polycall import AsyncClient, AsyncStream, CallError, Calls, Client, LimitError, Limits, Stream, TransportError


class Weather(BaseModel):
    kind: Literal["weather"] = "weather"
    location: str


class Search(BaseModel):
    kind: Literal["search"] = "search"
    query: str


@dataclass
class Point:
    x: int


class Row(TypedDict):
    x: int


Either = Weather | Search
Form = Iterable[Weather | Search]


def forms(client: Client) -> None:
    assert_type(client.create("", response_model=Iterable[Weather]), Calls[Weather])
    assert_type(client.create("", response_model=Iterable[Weather | Search]), Calls[Weather | Search])
    assert_type(client.create("", response_model=Iterable[Union[Weather, Search]]), Calls[Weather | Search])
    assert_type(client.create("", response_model=Iterable[Either]), Calls[Weather | Search])
    assert_type(client.create("", response_model=Form), Calls[Weather | Search])
    assert_type(client.create("", response_model=typing.Iterable[Weather | Search]), Calls[Weather | Search])
    assert_type(client.create("", response_model=typing.Sequence[Weather | Search]), Calls[Weather | Search])
    assert_type(client.create("", response_model=collections.abc.Sequence[Weather | Search]), Calls[Weather | Search])
    assert_type(client.create("", response_model=list[Weather | Search]), Calls[Weather | Search])
    assert_type(client.create("", response_model=List[Weather | Search]), Calls[Weather | Search])
    local = Iterable[Weather | Search]
    assert_type(client.create("", response_model=local), Calls[Weather | Search])


def annotated(client: Client) -> None:
    inside = client.create("", response_model=Iterable[Annotated[Weather | Search, Field(discriminator="kind")]])
    assert_type(inside, Calls[Weather | Search])
    outside = client.create("", response_model=Annotated[Iterable[Weather | Search], "both"])
    assert_type(outside, Calls[Weather | Search])


def kinds(client: Client) -> None:
    assert_type(client.create("", response_model=Iterable[Point]), Calls[Point])
    assert_type(client.create("", response_model=Iterable[Row]), Calls[Row])
    mixed = client.create("", response_model=Iterable[Weather | Row | Point])
    assert_type(mixed, Calls[Weather | Row | Point])
    assert_type(mixed.of(Weather), list[Weather])
    assert_type(mixed.of(Row), list[Row])
    assert_type(mixed.of(Point)[0].x, int)


def reading(calls: Calls[Weather | Search]) -> None:
    assert_type(calls[0], Weather | Search)
    assert_type(list(calls), list[Weather | Search])
    assert_type(calls.calls[0].value, Weather | Search)
    assert_type(calls.calls[0].error, CallError | None)
    for value in calls:
        assert_type(value, Weather | Search)


def choices(client: Client, errors: Literal["raise", "return"]) -> None:
    form = Iterable[Weather | Search]
    assert_type(client.create("", response_model=form, errors="raise"), Calls[Weather | Search])
    assert_type(client.create("", response_model=form, errors="return"), Calls[Weather | Search | CallError])
    assert_type(client.create("", response_model=form, errors=errors), Calls[Weather | Search | CallError])
    assert_type(client.create("", response_model=form, stream=True), Stream[Weather | Search])
    assert_type(client.create("", response_model=form, stream=True, errors="return"), Stream[Weather | Search | CallError])
    assert_type(client.stream("", response_model=form, errors="return").result(), Calls[Weather | Search | CallError])
    assert_type(client.create("", response_model=form, model="m", temperature=0.0, max_retries=2), Calls[Either])


def streams(client: Client) -> None:
    with client.stream("", response_model=Iterable[Weather | Search]) as stream:
        assert_type(stream, Stream[Weather | Search])
        for value in stream:
            assert_type(value, Weather | Search)
        assert_type(stream.result(), Calls[Weather | Search])


def get_weather(city: str) -> str:
    return city


async def get_later(city: str) -> str:
    return city


def tools(client: Client) -> None:
    assert_type(client.create("", tools=[Weather, Point, Row, get_weather, get_later]), Calls[Any])
    assert_type(client.create("", tools=[Weather], stream=True), Stream[Any])
    assert_type(client.stream("", tools=[Weather]), Stream[Any])


def messages(client: Client, typed: list[ChatCompletionMessageParam], plain: list[dict[str, str]]) -> None:
    assert_type(client.create(typed, response_model=Iterable[Weather]), Calls[Weather])
    assert_type(client.create(plain, response_model=Iterable[Weather]), Calls[Weather])
    assert_type(client.create([{"role": "user", "content": ""}], response_model=Iterable[Weather]), Calls[Weather])


def instructor(client: Client) -> None:
    form = Iterable[Weather | Search]
    assert_type(client.chat.completions.create(messages=[], response_model=form), Calls[Weather | Search])
    assert_type(client.messages.create(messages=[], response_model=form), Calls[Weather | Search])
    assert_type(client.create_with_completion("", response_model=form), tuple[Calls[Weather | Search], Any])


async def asynchronous(client: AsyncClient) -> None:
    form = Iterable[Weather | Search]
    assert_type(await client.create("", response_model=form), Calls[Weather | Search])
    assert_type(await client.create("", response_model=form, errors="return"), Calls[Weather | Search | CallError])
    assert_type(await client.create("", response_model=form, stream=True), AsyncStream[Weather | Search])
    assert_type(
        await client.create("", response_model=form, stream=True, errors="return"), AsyncStream[Weather | Search | CallError]
    )
    assert_type(client.stream("", response_model=form, errors="return"), AsyncStream[Weather | Search | CallError])
    assert_type(await client.create("", tools=[Weather]), Calls[Any])
    assert_type(await client.chat.completions.create("", response_model=form), Calls[Weather | Search])
    async with client.stream("", response_model=form) as stream:
        async for value in stream:
            assert_type(value, Weather | Search)
        assert_type(await stream.result(), Calls[Weather | Search])


def clients() -> None:
    assert_type(polycall.from_openai(openai.OpenAI()), Client)
    assert_type(polycall.from_openai(openai.AsyncOpenAI()), AsyncClient)
    assert_type(polycall.from_openai(openai.AzureOpenAI(), model="m"), Client)
    assert_type(polycall.from_openai(openai.AsyncAzureOpenAI(), model="m"), AsyncClient)
    assert_type(polycall.from_openai(openai.OpenAI(), mode=polycall.Mode.PARALLEL_TOOLS), Client)
    assert_type(polycall.from_provider("local"), Client)
    assert_type(polycall.from_provider("local", async_client=True), AsyncClient)
    assert_type(polycall.from_provider("local", async_client=False, model_path="m.gguf"), Client)


def key() -> str:
    return ""


async def later() -> str:
    return ""


def services(path: Path, flag: bool) -> None:
    assert_type(polycall.from_provider("openai/m", async_client=flag), Client | AsyncClient)
    assert_type(polycall.from_provider("openai/gpt-5-mini"), Client)
    assert_type(polycall.from_provider("openai/gpt-5-mini", async_client=False), Client)
    assert_type(polycall.from_provider("openai/gpt-5-mini", async_client=True), AsyncClient)
    assert_type(polycall.from_provider("openai", base_url="", api_key="", headers={"x-team": "blue"}, api_version=""), Client)
    assert_type(polycall.from_provider("azure/m", api_key=key), Client)
    assert_type(polycall.from_provider("azure/m", api_key=later), Client)
    assert_type(polycall.from_provider("azure/m", api_key=lambda: "token", async_client=True), AsyncClient)
    assert_type(polycall.from_provider("vllm/m", http_client="httpx2", proxy="", ca_file=path), Client)
    assert_type(polycall.from_provider("vllm/m", http_client="pyreqwest", ca_file="", async_client=True), AsyncClient)
    assert_type(polycall.from_provider("groq/m", http_client=httpx2.Client()), Client)
    assert_type(polycall.from_provider("groq/m", http_client=httpx2.AsyncClient(), async_client=True), AsyncClient)
    assert_type(polycall.from_provider("groq/m", mode=polycall.Mode.PARALLEL_TOOLS, timeout=5, retries=0, temperature=0), Client)
    assert_type(polycall.from_provider("groq/m", limits=Limits(calls=5)), Client)


def limits(client: Client) -> None:
    chosen = Limits(response=1, arguments=1, calls=1, depth=1, hosts=frozenset({"eu.example.com"}))
    assert_type(chosen, Limits)
    assert_type(chosen.response, int)
    assert_type(chosen.arguments, int)
    assert_type(chosen.calls, int)
    assert_type(chosen.depth, int)
    assert_type(client.create("", response_model=Iterable[Weather], limits=Limits(), retries=1, timeout=1.5), Calls[Weather])
    assert_type(client.stream("", response_model=Iterable[Weather], limits=chosen), Stream[Weather])


def errors(error: TransportError) -> None:
    assert_type(error.status, int | None)
    assert_type(error.body, str | None)
    assert_type(error.transient, bool)
    assert_type(error.retry_after, float | None)
    assert_type(error.request_id, str | None)
    base: type[polycall.PolycallError] = LimitError
    transport: type[TransportError] = polycall.DeadlineError
    assert issubclass(base, Exception)
    assert issubclass(transport, TransportError)


class Checked(BaseModel):
    location: str

    @polycall.async_field_validator("location")
    async def known(self, location: str, info: polycall.AsyncValidationInfo) -> None:
        assert_type(info.field_name, str | None)

    @polycall.async_model_validator()
    async def whole(self) -> None: ...


def asking_again(client: Client) -> None:
    calls = client.create("", response_model=Iterable[Checked], max_retries=2, max_tokens_total=1, reask="end", repair=True)
    assert_type(calls, Calls[Checked])
    assert_type(calls.stopped, Exception | None)
    assert_type(calls.calls[0].repairs, tuple[str, ...])
    (attempt,) = calls.attempts
    assert_type(attempt, polycall.Attempt)
    assert_type(attempt.calls, tuple[polycall.Call[Any], ...])
    assert_type(attempt.asked, tuple[int, ...])
    assert_type(attempt.text, str)
    for event in client.stream("", response_model=Iterable[Checked]).events():
        if event.type == "reask":
            assert_type(event, polycall.ReaskEvent)
            assert_type(event.indexes, tuple[int, ...])


async def marked(checked: Checked) -> None:
    waiting: typing.Awaitable[None] = checked.known("", polycall.AsyncValidationInfo(None))  # the decorators keep the type
    await waiting
