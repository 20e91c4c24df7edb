"""The other libraries of `reask.py`, each used as its documentation recommends. Runs in an environment of theirs.

    python reask_peers.py WAY '[["URL", whether to stream], ...]'

prints the versions, and for each URL what the program has in the end and what was raised, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel


class Weather(BaseModel):
    """Get the weather in one location."""

    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    """Search the web."""

    query: str


QUESTION = "What is the weather in these eight cities, and who won the last two super bowls?"
TOOLS = (Weather, GoogleSearch)


@dataclass
class Program:
    """What a program has of one question.

    Attributes:
        values: The values in the order in which it has them; None for an error in a value's place.
        first: Seconds until it had the first; None while it has none.
        last: Seconds until it had the last.
    """

    values: list[Any] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    start: float = field(default_factory=time.monotonic)

    def take(self, value: Any) -> None:
        """Get one more value."""
        self.have([*self.values, value])

    def have(self, values: Iterable[Any]) -> None:
        """Get the whole, in place of what has come before."""
        before, self.values = self._count(), list(values)
        if self._count() > before:
            self.last = time.monotonic() - self.start
            self.first = self.first or self.last

    def _count(self) -> int:
        return sum(value is not None for value in self.values)


Way = Callable[[str, Program, bool], None]
"""Asks the server at a URL and puts what comes of it into the program; a stream when that is asked for."""


def instructor(url: str, program: Program, stream: bool, **retries: int) -> None:  # noqa: FBT001  # as every way
    """Ask as its page "Parallel Tools" does; its own default is three re-asks."""
    import openai
    from instructor import Mode, from_openai

    client: Any = from_openai(openai.OpenAI(base_url=url, api_key="none"), mode=Mode.PARALLEL_TOOLS)
    asked = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": stream, **retries}
    for value in client.chat.completions.create(**asked, response_model=Iterable[Weather | GoogleSearch]):
        program.take(value)


def instructor_once(url: str, program: Program, stream: bool) -> None:  # noqa: FBT001  # as every way
    """Ask with one re-ask."""
    instructor(url, program, stream, max_retries=1)


def pydantic_ai(url: str, program: Program, stream: bool) -> None:  # noqa: FBT001  # as every way
    """Run an agent with one function per tool; its own default is one re-ask for each tool.

    A function, as only one output is taken from an answer. Its metadata is for the program, which finds it in the messages.
    """
    from pydantic_ai import Agent, FunctionToolResultEvent, Tool, ToolReturn, ToolReturnPart, capture_run_messages
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def weather(call: Weather) -> Any:
        return ToolReturn("done", metadata=call)

    async def search(call: GoogleSearch) -> Any:
        return ToolReturn("done", metadata=call)

    model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="none"))
    named = ((weather, Weather), (search, GoogleSearch))
    agent = Agent(model, tools=[Tool(run, name=kind.__name__, description=kind.__doc__) for run, kind in named])

    async def streamed() -> None:
        async with agent.run_stream_events(QUESTION) as events:
            async for event in events:
                if isinstance(event, FunctionToolResultEvent) and event.part.metadata:
                    program.take(event.part.metadata)

    with capture_run_messages() as messages:
        try:
            if stream:
                asyncio.run(streamed())
            else:
                agent.run_sync(QUESTION)
        finally:
            parts = [part for message in messages for part in message.parts]
            program.have(part.metadata for part in parts if isinstance(part, ToolReturnPart))


def langchain_parser(url: str, program: Program, stream: bool) -> None:  # noqa: FBT001  # as every way
    """Parse the calls of one answer into the models; it does not ask again."""
    from langchain_core.output_parsers import PydanticToolsParser
    from langchain_openai import ChatOpenAI

    model: Any = ChatOpenAI(model="m", base_url=url, api_key="none")
    chain = model.bind_tools(TOOLS) | PydanticToolsParser(tools=list(TOOLS))
    if not stream:
        program.have(chain.invoke(QUESTION))
        return
    for values in chain.stream(QUESTION):  # each time all there is so far
        program.have(values)


def langchain_agent(url: str, program: Program, stream: bool) -> None:  # noqa: FBT001  # as every way
    """Run an agent with one function per tool; it asks again without a bound of its own.

    Artifacts are for the program, which finds them in the messages.
    """
    from langchain.agents import create_agent
    from langchain_core.messages import ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool("Weather", args_schema=Weather, description=Weather.__doc__, response_format="content_and_artifact")
    def weather(**arguments: Any) -> tuple[str, Weather]:
        return "done", Weather(**arguments)

    @tool("GoogleSearch", args_schema=GoogleSearch, description=GoogleSearch.__doc__, response_format="content_and_artifact")
    def search(**arguments: Any) -> tuple[str, GoogleSearch]:
        return "done", GoogleSearch(**arguments)

    model = ChatOpenAI(model="m", base_url=url, api_key="none")
    agent: Any = create_agent(model, tools=[weather, search])
    asked = {"messages": [{"role": "user", "content": QUESTION}]}
    state = {} if stream else agent.invoke(asked)
    for kind, data in agent.stream(asked, stream_mode=["messages", "updates", "values"]) if stream else ():
        state = data if kind == "values" else state
        for message in data.get("tools", {}).get("messages", []) if kind == "updates" else ():
            if message.artifact:
                program.take(message.artifact)
    program.have(message.artifact for message in state["messages"] if isinstance(message, ToolMessage))


WAYS: dict[str, tuple[Way, tuple[str, ...]]] = {
    "Instructor": (instructor, ("instructor",)),
    "Instructor, max_retries=1": (instructor_once, ("instructor",)),
    "pydantic-ai": (pydantic_ai, ("pydantic-ai-slim[openai]",)),
    "langchain, PydanticToolsParser": (langchain_parser, ("langchain", "langchain-openai")),
    "langchain, create_agent": (langchain_agent, ("langchain", "langchain-openai")),
}
"""Each way, and what it needs installed."""


def play(way: Way, url: str, stream: bool) -> dict[str, Any]:  # noqa: FBT001  # as every way
    """Ask once; gives what the program has, and what was raised."""
    program, raised = Program(), None
    try:
        way(url, program, stream)
    except Exception as error:  # noqa: BLE001  # what it raises is what is asked
        raised = type(error).__name__
    values = [value and {type(value).__name__: value.model_dump()} for value in program.values]
    return {"values": values, "first": program.first, "last": program.last, "raised": raised}


if __name__ == "__main__":
    logging.disable()
    chosen, needed = WAYS[sys.argv[1]]
    versions = {name: version(name) for name in ("openai", *(one.partition("[")[0] for one in needed))}
    print(json.dumps({"versions": versions, "played": [play(chosen, url, stream) for url, stream in json.loads(sys.argv[2])]}))
