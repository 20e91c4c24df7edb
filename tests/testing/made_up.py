"""A provider that nobody has: the one source file that a new provider is.

Its wire: ``POST /talk`` with the name of a model, the conversation as ``said``, and tools. What comes back is JSON lines, or one
object of all that the lines would say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polycall._failure import reported
from polycall._messages import Spoken, read_conversation
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.provider import Encoded, Reply
from polycall.types import CallDelta, JsonObject, Message, Request, Stop, TextDelta, ToolCall, Usage, WireItem


class Decoder:
    """Reads one answer."""

    seal_on_close = False

    def __init__(self) -> None:
        self.model: str | None = None
        self.begun = self.finished = False
        self._texts: list[str] = []
        self._end: JsonObject = {}

    def feed(self, event: JsonObject, *, whole: bool) -> Iterable[WireItem]:
        for line in event.get("lines", [event]):
            if "problem" in line:
                raise reported({"message": line["problem"]})
            self.begun = True
            yield from self._line(line)

    def _line(self, line: JsonObject) -> Iterable[WireItem]:
        if "word" in line:
            self._texts.append(line["word"])
            yield TextDelta(line["word"])
        if "call" in line:
            yield CallDelta(key=line["call"], id=f"{line['call']}", name=line["tool"])
        if "more" in line:
            yield CallDelta(key=line["of"], arguments=line["more"])
        if "ready" in line:
            yield CallDelta(key=line["ready"], whole=True)
        if "end" in line:
            self.finished, self._end = True, line
            yield Usage(line["heard"], line["spoken"])
            yield Stop(line["end"], "the limit of tokens was reached" if line["end"] == "full" else None)

    def turn(self, calls: Sequence[ToolCall]) -> list[Message]:
        made = [{"no": call.id, "tool": call.name, "with": call.arguments} for call in calls]
        return [{"who": "model", "text": "".join(self._texts), "made": made}] if made or self._texts else []

    def body(self, calls: Sequence[ToolCall]) -> JsonObject:
        return {"turn": self.turn(calls), **self._end}


@dataclass(frozen=True)
class MadeUp:
    """The format, and how its SDK is called."""

    name: str = "made up"
    half_turns: bool = True
    raw_arguments: bool = True
    json_lines: bool = True

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        if request.parallel is False:
            raise UsageError("MadeUp has no switch for parallel calls: leave parallel= out")
        choice = request.tool_choice
        offered = [tool for tool in request.tools if choice.allowed is None or tool.wire_name in choice.allowed]
        tools = [{"tool": tool.wire_name, "about": tool.description, "takes": dict(tool.schema)} for tool in offered]
        body = {"model": request.model, "said": [*_said(request.messages)], "tools": tools, "lines": stream}
        if choice.mode != "auto":
            body["must"] = choice.mode
        return Encoded({**body, **request.options}, path="/talk")

    def decoder(self) -> Decoder:
        return Decoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key}"}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        return [{"who": "tools", "gave": [{"no": answer.call.id, "what": answer.content} for answer in answers]}]

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:
        return client.talk(encoded.body)

    def open(self, raw: Any) -> Reply:
        return Reply(raw.chunks, raw.close, 200, json_lines=True)

    def said(self, error: Exception) -> JsonObject | None:
        return None


def _said(messages: Sequence[Message]) -> Iterable[JsonObject]:
    for one in read_conversation(messages, lambda message: "who" in message, "made up"):
        if isinstance(one, Spoken):
            yield {"who": one.role, "text": one.text}
        else:
            yield json.loads(json.dumps(one.message))
