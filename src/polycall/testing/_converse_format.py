"""Bedrock's Converse format, written: what a model says, as AWS would send it.

Sources: AWS' API reference, "Converse" and "ConverseStream"; the framing of its event streams (lengths, headers, two CRCs) from
https://smithy.io/2.0/aws/amazon-eventstream.html; the recordings of ``bedrock.converse``; the errors as its service words them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from typing_extensions import override

from polycall.testing._format import (
    Event,
    Format,
    argument_object,
    argument_text,
    counts,
    json_bytes,
    object_or_text,
    objects,
    paced,
    split,
)
from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["ConverseFormat", "aws_frame"]

_KINDS: Final = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_ALTERNATE: Final = (
    "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and "
    "assistant roles and try again."
)
_CREDENTIAL: Final = re.compile(r"Credential=([^/]+)/")
_FIRST: Final = "A conversation must start with a user message. Try again with a conversation that starts with a user message."
_CONFIG: Final = "The toolConfig field must be defined when using toolUse and toolResult content blocks."


def aws_frame(kind: str, payload: Any, *, exception: bool = False) -> bytes:
    """Write one message of an AWS event stream."""
    what = "exception" if exception else "event"
    named = ((f":{what}-type", kind), (":content-type", "application/json"), (":message-type", what))
    headers = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode() for name, value in named
    )
    body = json_bytes(payload)
    start = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    start += struct.pack(">I", zlib.crc32(start))
    return start + headers + body + struct.pack(">I", zlib.crc32(start + headers + body))


class ConverseFormat(Format):
    """Bedrock's Converse and ConverseStream.

    Argument texts that are no JSON object are sent as they are in a stream, and as ``input`` of that text in a whole answer.
    Requests are signed: any signature is taken, and the ``key`` of a server is the id of an access key, or a bearer token.
    """

    name = "converse"

    @override
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""
        return path.startswith("/model/") and path.endswith(("/converse", "/converse-stream"))

    @override
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""
        told = next(_problems(sent.body), None) if is_object(sent.body) else "The request is no JSON object."
        return None if told is None else self.error(400, told)

    @override
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""
        return sent.path.endswith("-stream")

    @override
    def content_type(self, sent: Sent) -> str:
        """Return the content type of an answer."""
        return "application/vnd.amazon.eventstream" if self.streamed(sent) else "application/json"

    @override
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""
        turns = [message for message in sent.body["messages"] if message.get("role") == "assistant"]
        return [[(str(one.get("name")), argument_text(one.get("input"))) for one in _blocks(turn, "toolUse")] for turn in turns]

    @override
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn; ``input`` is a text where an object would not say the same."""
        return [
            {
                "toolUse": {
                    "toolUseId": f"tooluse_{call.id.removeprefix('call_')}",
                    "name": call.name,
                    "input": object_or_text(call.arguments),
                }
            }
            for call in saying.calls
        ]

    @override
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""
        content = [*([{"text": saying.text}] if saying.text else []), *map(_whole, entries)]
        output = {"message": {"role": "assistant", "content": content}}
        return {"output": output, "stopReason": _finish(saying, entries), **_metadata(sent, saying)}

    @override
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream, each an object of one name."""
        events = [Event({"messageStart": {"role": "assistant"}})]
        index = 0
        if saying.text:
            deltas = [{"text": piece} for piece in split(saying.text, pieces)]
            events += map(Event, _block(index, None, deltas))
            index += 1
        calls = [[*_call(index + place, entry, pieces)] for place, entry in enumerate(entries)]
        for call, times in zip(calls, paced(saying, [len(call) for call in calls]), strict=True):
            events += [Event(data, at) for at, data in zip(times, call, strict=True)]
        events.append(Event({"messageStop": {"stopReason": _finish(saying, entries)}}, saying.end))
        return [*events, Event({"metadata": _metadata(sent, saying)}, saying.end)]

    @override
    def frame(self, sent: Sent, number: int, data: Any) -> bytes:
        """Write one binary message; an object of one name is an event of that name."""
        if not is_object(data) or len(data) != 1:
            return data.encode() if isinstance(data, str) else json_bytes(data)
        ((kind, payload),) = data.items()
        return aws_frame(kind, payload, exception=kind.endswith("Exception"))

    @override
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the service, which tells its kind in a header."""
        kind = type or _KINDS.get(status, "InternalServerException")
        return Answer(json_bytes({"message": message}), status=status, headers={"x-amzn-errortype": kind})

    @override
    def key(self, sent: Sent) -> str:
        """Return the id of the access key that the request is signed with, or the bearer token."""
        signed = _CREDENTIAL.search(sent.headers.get("authorization", ""))
        return signed[1] if signed else super().key(sent)

    @override
    def locked_out(self, given: str) -> Answer:
        """Return what is answered to a key that is not taken."""
        return self.error(403, "The security token included in the request is invalid.", type="UnrecognizedClientException")


def _blocks(message: Any, key: str) -> list[JsonObject]:
    content = message.get("content") if is_object(message) else None
    return [block[key] for block in objects(content) if is_object(block.get(key))]


def _problems(body: JsonObject) -> Iterator[str]:
    messages = body.get("messages")
    if not is_array(messages) or not messages:
        yield "The messages field is required."
        return
    if messages[0].get("role") != "user":
        yield _FIRST
    before: JsonObject = {}
    for place, message in enumerate(messages):
        if message.get("role") not in {"user", "assistant"} or message.get("role") == before.get("role"):
            yield _ALTERNATE
        if not message.get("content"):
            where = f"messages.{place}"
            yield f"The content field in the Message object at {where} is empty. Add a ContentBlock object and try again."
        if any(block == {"text": ""} for block in objects(message.get("content"))):
            yield f"The text field in the ContentBlock object at messages.{place}.content.0 is blank. Add text and try again."
        calls, results = _blocks(message, "toolUse"), _blocks(message, "toolResult")
        if (calls or results) and not body.get("toolConfig"):
            yield _CONFIG
        yield from _answers(place, [str(one.get("toolUseId")) for one in _blocks(before, "toolUse")], results)
        if any(not is_object(one.get("input")) for one in calls):
            yield f"The format of the value at messages.{place}.content.0.toolUse.input is invalid. Provide a json object."
        before = message
    waiting = [str(one.get("toolUseId")) for one in _blocks(before, "toolUse")]
    if waiting:
        yield f"Expected toolResult blocks at messages.{len(messages)}.content for the following Ids: {', '.join(waiting)}"


def _answers(place: int, calls: Sequence[str], results: Sequence[JsonObject]) -> Iterator[str]:
    given = [str(one.get("toolUseId")) for one in results]
    where = f"messages.{place}.content"
    if len(given) > len(calls):
        yield f"The number of toolResult blocks at {where} exceeds the number of toolUse blocks of previous turn."
    missing = [one for one in calls if one not in given]
    if missing:
        yield f"Expected toolResult blocks at {where} for the following Ids: {', '.join(missing)}"
    for one in results:
        if not one.get("content") or one.get("status", "success") not in {"success", "error"}:
            yield f"The toolResult block at {where} has no content, or an unknown status."


def _whole(entry: Any) -> Any:
    """Put the arguments into a whole answer: as an object, else as the text that they are."""
    use = entry.get("toolUse") if is_object(entry) else None
    if not is_object(use) or not isinstance(use.get("input"), str):
        return entry
    given = argument_object(use["input"])
    return {"toolUse": {**use, "input": use["input"] if "invalid_arguments" in given else given}}


def _call(index: int, entry: Any, pieces: int | None) -> Iterator[JsonObject]:
    use = entry.get("toolUse") if is_object(entry) else None
    if not is_object(use):
        yield from _block(index, entry, [])
        return
    start = {"toolUse": {key: value for key, value in use.items() if key != "input"}}
    texts = split(argument_text(use["input"]), pieces) if "input" in use else []
    yield from _block(index, start, [{"toolUse": {"input": text}} for text in texts])


def _block(index: int, start: Any, deltas: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Yield the events of one block; the service begins those of calls only."""
    if start is not None:
        yield {"contentBlockStart": {"contentBlockIndex": index, "start": start}}
    yield from ({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}} for delta in deltas)
    yield {"contentBlockStop": {"contentBlockIndex": index}}


def _finish(saying: Saying, entries: Sequence[Any]) -> str:
    return saying.finish or ("tool_use" if entries else "end_turn")


def _metadata(sent: Sent, saying: Saying) -> JsonObject:
    prompt, answer = counts(sent, saying)
    usage = {"inputTokens": prompt, "outputTokens": answer, "totalTokens": prompt + answer}
    return {"usage": usage, "metrics": {"latencyMs": 500}}
