"""Re-asks against a model server: every client behind one method, and what must hold of all that is sent."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import openai
from pydantic import BaseModel

import polycall
from polycall.testing import ModelServer, Said, Sent, Turn
from support.faces import Face

WAYS: Final = ("openai", "openai asyncio", "pyreqwest", "pyreqwest asyncio")
MORE_WAYS: Final = (*WAYS, "httpx2", "httpx2 asyncio")
MODES: Final = ("whole", "early", "end")
"""A whole answer; a stream in which bad calls are asked again at once; one at whose end they are."""
KEY: Final = "sk-canary"
ACCEPTED: Final = "Accepted, do not repeat"
CORRECTED: Final = "Corrected below"
NOTES: Final = (
    "The answer was cut off. Make only the calls that are still missing, if there are any",
    "A tool has to be called. Answer with tool calls",
)
CITIES: Final = ("Toronto", "Dallas", "Oslo", "Rome", "Lima", "Quito")
"""Words of one call each: none of them is told of another call."""


class Weather(BaseModel):
    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    query: str


TOOLS: Final = [Weather, GoogleSearch]
RIGHT: Final = (
    Said("Weather", {"location": "Toronto", "units": "metric"}),
    Said("Weather", {"location": "Dallas", "units": "imperial"}),
    Said("GoogleSearch", {"query": "Oslo"}),
    Said("Weather", {"location": "Rome", "units": "metric"}),
    Said("GoogleSearch", {"query": "Lima"}),
)
WRONG: Final = (
    '{"location": "Toronto"}',
    '{"location": "Dallas", "units": 3}',
    '{"query": ["Oslo"]}',
    '{"location": "Rome", "units": "kelvin"}',
    '{"q": "Lima"}',
)
VALUES: Final = (
    Weather(location="Toronto", units="metric"),
    Weather(location="Dallas", units="imperial"),
    GoogleSearch(query="Oslo"),
    Weather(location="Rome", units="metric"),
    GoogleSearch(query="Lima"),
)


def spoilt(count: int, *bad: int, times: int = 1) -> list[Said]:
    """Return the first calls; those in ``bad`` are wrong so many times."""
    return [
        Said(call.name, call.arguments, wrong=[WRONG[place]] * times) if place in bad else call
        for place, call in enumerate(RIGHT[:count])
    ]


def first_answer(count: int, *bad: int) -> list[Said]:
    """Return the calls as they are made in a turn of its own, so that the next turn may hold anything."""
    return [Said(call.name, WRONG[place]) if place in bad else call for place, call in enumerate(RIGHT[:count])]


class Way(Face):
    """A client of polycall: around one of the openai SDK, or without an SDK and without retries."""

    def __init__(self, name: str, url: str, **options: Any) -> None:
        self._sdk: Any = None
        if not name.startswith("openai"):
            super().__init__(name, url, **{"retries": 0, **options})
            return
        self.asynchronous = name.endswith("asyncio")
        self._runner = asyncio.Runner() if self.asynchronous else None
        self._own = None
        kind: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        self._sdk = kind(base_url=url, api_key=KEY, max_retries=0, **options)
        self.client = polycall.from_openai(self._sdk, model="m")

    @property
    def by_sdk(self) -> bool:
        return self._sdk is not None

    def close(self) -> None:
        if self._sdk is not None:
            closing = self._sdk.close()
            if self.asynchronous:
                self.run(closing)
        super().close()


@dataclass
class Asked:
    """One question: what came, what was sent for it, and what the hooks were told."""

    server: ModelServer
    hooks: dict[str, list[Any]] = field(default_factory=dict)
    calls: Any = None

    @property
    def requests(self) -> list[Sent]:
        return self.server.requests

    def sent(self, number: int = -1) -> list[dict[str, Any]]:
        """Return the messages of a request."""
        return self.requests[number].body["messages"]

    def told(self, number: int = -1) -> dict[str, Any]:
        """Return what calls are answered in a request, by id; reasons are parsed."""
        answers = [message for message in self.sent(number) if message["role"] == "tool"]
        return {answer["tool_call_id"]: reason_in(answer["content"])[0] for answer in answers}

    def bad(self, number: int = -1) -> list[str]:
        """Return the ids of the calls that are asked again in a request."""
        return [one for one, told in self.told(number).items() if isinstance(told, dict)]


class Asker:
    """Asks a server over one way and in one mode; checks all that must hold always."""

    def __init__(self, server: ModelServer, way: Way, mode: str) -> None:
        self.server, self.way, self.mode = server, way, mode

    def __call__(self, script: Any, messages: Any = "?", *, tools: Any = TOOLS, check: bool = True, **options: Any) -> Asked:
        self.server.script, self.server.fault = script, options.pop("fault", None)
        self.server.requests.clear()
        asked = Asked(self.server, {name: [] for name in ("attempt", "parse:error", "completion:kwargs", "completion:error")})
        self.way.client.clear()
        for name, heard in asked.hooks.items():
            self.way.client.on(name, _keeping(heard))
        given = {"errors": "return", **self.options, **options}
        asked.calls = self.way.ask(messages, stream=self.mode != "whole", tools=tools, **given)
        if check:
            check_asked(asked)
        return asked

    @property
    def options(self) -> dict[str, Any]:
        return {} if self.mode == "whole" else {"reask": self.mode}

    @property
    def early(self) -> bool:
        return self.mode == "early"


def _keeping(heard: list[Any]) -> Callable[..., None]:
    return lambda *told, **named: heard.append(told[0] if told else named)


# ------------------------------------------------------------------------------------------------------------- the models


class Sensible:
    """A model that makes its calls and corrects exactly those that it is told are wrong, as it sees them in the conversation.

    Attributes:
        turn: What it says first; no two of its texts may be equal.
        again: How its corrections are paced.
    """

    def __init__(self, turn: Turn, again: Callable[[Sequence[Said]], Turn] = lambda calls: Turn(calls=calls)) -> None:
        self.turn, self.again = turn, again
        self._next: dict[tuple[str, str], Said] = {}
        for call in turn.calls:
            line = [*call.mistakes, Said(call.name, call.arguments)]
            for one, following in itertools.pairwise(line):
                self._next[one.name, one.text] = following

    def __call__(self, sent: Sent) -> list[Turn]:
        turns = [message for message in sent.body["messages"] if message["role"] == "assistant"]
        if not turns:
            calls = [next(iter(call.mistakes), call) for call in self.turn.calls]
            return [_with(self.turn, [Said(call.name, call.text) for call in calls])]
        answers = [message for message in sent.body["messages"] if message["role"] == "tool"]
        refused = {answer["tool_call_id"] for answer in answers if answer["content"].startswith("{")}
        said = [
            (one["id"], one["function"]["name"], one["function"]["arguments"]) for turn in turns for one in turn["tool_calls"]
        ]
        due = [self._next[name, text] for one, name, text in said if one in refused and (name, text) in self._next]
        made = {(name, text) for _, name, text in said}
        return [*[Turn()] * len(turns), self.again([call for call in due if (call.name, call.text) not in made])]


def _with(turn: Turn, calls: Sequence[Said]) -> Turn:
    return Turn(calls=calls, text=turn.text, finish=turn.finish, times=turn.times, end=turn.end, pieces=turn.pieces)


# ----------------------------------------------------------------------------------------------------- what always holds


def reason_in(content: str) -> tuple[Any, str]:
    """Return what a call is answered, parsed where it is JSON, and what is said behind it."""
    for neutral in (ACCEPTED, CORRECTED):
        if content.startswith(neutral):
            return ACCEPTED, content.removeprefix(neutral)
    told, end = json.JSONDecoder().raw_decode(content)
    return told, content[end:]


def check_asked(asked: Asked) -> None:
    """Check what must hold of every question, whatever the model has said."""
    calls, requests = asked.calls, asked.requests
    first, *again = requests
    for sent in again:
        others = [{key: value for key, value in one.body.items() if key != "messages"} for one in (first, sent)]
        assert others[0] == others[1]
        check_messages(sent.body["messages"], first.body["messages"])
        added = [message for message in sent.body["messages"] if message["role"] == "assistant"]
        room = sum(len(compact(turn).encode()) + 128 * len(turn.get("tool_calls", ())) + 4096 for turn in added)
        assert len(sent.raw) <= len(first.raw) + room
        told = "".join(compact(message) for message in sent.body["messages"][len(first.body["messages"]) :])
        assert not any(word in told for word in (KEY, "Traceback", "site-packages", 'File \\"', "polycall/"))
    assert [call.index for call in calls.calls] == list(range(len(calls.calls)))
    assert [error.index for error in calls.errors if error.tool is not None] == [
        call.index for call in calls.calls if call.error is not None
    ]
    heard = asked.hooks["attempt"]  # in the order in which they ended
    assert sorted(calls.attempts, key=_asked_for) == sorted(heard, key=_asked_for)
    assert asked.hooks["parse:error"] == [error for attempt in heard for error in attempt.errors]
    meant = [compact(told["messages"]) for told in asked.hooks["completion:kwargs"]]
    assert sorted(meant) == sorted(compact(sent.body["messages"]) for sent in requests)  # side by side they may overtake
    counted = [attempt.usage for attempt in calls.attempts if attempt.usage is not None]
    if counted:
        assert calls.usage.input_tokens == sum(usage.input_tokens for usage in counted)
        assert calls.usage.output_tokens == sum(usage.output_tokens for usage in counted)
    check_messages([*calls.reply({call.index: "done" for call in calls.calls}), {"role": "user"}], first.body["messages"])


def check_messages(messages: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> None:
    """Check that a conversation goes on from another one, that every call is answered once, and with nothing of another call."""
    assert list(messages[: len(before)]) == list(before)
    waiting: dict[str, str] = {}
    for message in messages[len(before) :]:
        if message["role"] != "tool":
            assert not waiting, waiting
        if message["role"] == "assistant":
            assert not set(message) - {"role", "content", "tool_calls", "refusal", "reasoning", "channel"}
            entries = message.get("tool_calls", [])
            waiting = {entry["id"]: entry["function"]["arguments"] for entry in entries}
            assert len(waiting) == len(entries)
        elif message["role"] == "tool":
            check_answer(message["content"], waiting.pop(message["tool_call_id"]))
    assert not waiting, waiting


def check_answer(content: str, arguments: str) -> None:
    """Check what one call is answered."""
    if content == "done":
        return
    told, behind = reason_in(content)
    said = json.dumps(told, ensure_ascii=False)
    assert not [city for city in CITIES if city in said and city not in arguments]
    if isinstance(told, dict):
        assert set(told) <= {"error", "problems", "more", "do", "tool"}
        assert len(content) - len(behind) <= 2_000
    for note in NOTES:
        behind = behind.replace(note, "")
    while behind.strip():
        other, behind = reason_in(behind.strip())
        assert "tool" in other


def _asked_for(attempt: polycall.Attempt) -> tuple[int, ...]:
    return attempt.asked


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
