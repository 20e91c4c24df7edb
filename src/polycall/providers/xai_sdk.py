"""The xai-sdk, which speaks gRPC: its `Client` and `AsyncClient`.

The body is that of the chat completions format; `XAI.send` makes the SDK's protocol messages of it. What the SDK gives back is
written as JSON for `XAIDecoder`.
"""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from typing_extensions import override

from polycall._framing import arguments_text
from polycall._messages import Asked, Media, Native, Part, Spoken, Text, Told, plain, read_conversation
from polycall._sdk import Parsed, begun, parsed, streamed
from polycall._services import Service
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._sendable import sendable
from polycall.formats._xai_decoder import CLIENT_SIDE, XAIDecoder
from polycall.formats.chat import Chat
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, Message, Request, is_mapping

__all__ = ["XAI"]

_CHAT: Final = Chat(Service("xai", allowed_tools=False))
_OWN: Final = "xai"
_ROLES: Final = {"user": 1, "assistant": 2, "system": 3, "tool": 5}
"""MessageRole, as in the SDK's protocol."""

_NAMES: Final = {number: name for name, number in _ROLES.items()}
_KEPT: Final = ("name", "reasoning_content", "encrypted_content")
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens", "cached_prompt_text_tokens")
_LASTING: Final = {
    "FAILED_PRECONDITION": 400,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "OUT_OF_RANGE": 400,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "UNIMPLEMENTED": 400,
}


@dataclass(frozen=True, slots=True)
class XAI:
    """Chat, through the xai-sdk."""

    name: str = "xai"
    half_turns: bool = True
    raw_arguments: bool = False  # the SDK reads them as JSON, for its telemetry
    json_lines: bool = False

    def encode(self, request: Request, *, stream: bool) -> Encoded:  # noqa: ARG002  # which method is called says so
        """Put a request into a body of the chat completions format, whose options are those of ``client.chat.create``."""
        options = dict(request.options)
        if isinstance(options.get("stop"), str):
            options["stop"] = [options["stop"]]
        return _CHAT.encode(replace(request, options=options), stream=False)

    def decoder(self) -> XAIDecoder:
        """Return the reader of one response."""
        return XAIDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with the key, as the SDK sends it."""
        return _CHAT.headers(key)

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one ``tool`` message per call."""
        return _CHAT.results(answers)

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Make a chat of the SDK and sample it, or start its stream; a coroutine on its asynchronous client."""
        sdk = sys.modules["xai_sdk.chat"]
        body = dict(encoded.body)
        choice = body.pop("tool_choice", None)
        if is_mapping(choice):
            choice = sdk.required_tool(choice["function"]["name"])
        messages, tools = body.pop("messages"), [_tool(sdk, entry) for entry in body.pop("tools")]
        chat = client.chat.create(tools=tools, tool_choice=choice, **body, **encoded.transport)
        _guard(chat)
        for message in _messages(sdk, messages):
            chat.append(message)
        if not stream:
            return chat.sample()
        chunks = chat.stream()
        if hasattr(chunks, "__aiter__"):
            return begun(_InOneContextAsync(chunks))
        return _Stream(begun(_InOneContext(chunks)), chunks)

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's response, or its pairs of the response so far and a chunk."""
        if hasattr(raw, "proto"):
            return parsed(raw, _event(raw.proto))
        seen: list[Any] = []

        def event(pair: Any) -> JsonObject:
            seen[:] = [pair[0]]
            return _event(pair[1].proto)

        if not isinstance(raw, _Stream):
            return streamed(raw, event, self.said, lambda _: seen[0])
        raw.make = event
        return Reply(raw, raw.close, native=lambda _: seen[0], said=self.said)

    def said(self, error: Exception) -> JsonObject | None:
        """Return the status of a ``grpc.RpcError``, and what the server said with it."""
        code: Any = getattr(error, "code", None)
        name = getattr(code(), "name", None) if callable(code) else None
        if not isinstance(name, str):
            return None
        details: Any = getattr(error, "details", None)
        told = {"type": name, "message": str(details()) if callable(details) else ""}
        return {"error": {**told, "status": _LASTING[name]} if name in _LASTING else told}


def _guard(chat: Any) -> None:
    """Keep the SDK's telemetry from losing an answer: it reads the arguments of every call, and raises where one is no JSON."""
    for name in ("_make_span_request_attributes", "_make_span_response_attributes"):
        make: Any = getattr(chat, name, None)
        if make is not None:
            setattr(chat, name, partial(_guarded, make))


def _guarded(make: Callable[..., JsonObject], *responses: Any) -> JsonObject:
    try:
        return make(*responses)
    except (ValueError, RecursionError):
        return {}


def _cancel(frame: Any) -> None:
    """Cancel the gRPC call of a generator of the SDK, which keeps it to itself; without that, it ends when it is collected."""
    with suppress(Exception):
        frame.f_locals["stream"].cancel()


class _InOneContext(Iterator[Any]):
    """A generator of the SDK, run in one context: it enters a span of OpenTelemetry that it must leave in the same."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._context = copy_context()

    @override
    def __next__(self) -> Any:
        return self._context.run(next, self._generator)

    def close(self) -> None:
        _cancel(self._generator.gi_frame)
        self._context.run(self._generator.close)


class _InOneContextAsync(AsyncIterator[Any]):
    """An asynchronous one, each step of which would else be in the context of another task."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._context = copy_context()

    @override
    async def __anext__(self) -> Any:
        chunk = await self._task(self._next())
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        _cancel(self._generator.ag_frame)
        await self._task(self._close())

    def _task(self, work: Coroutine[Any, Any, Any]) -> Any:
        import asyncio

        return asyncio.get_running_loop().create_task(work, context=self._context)

    async def _next(self) -> Any:
        return await anext(self._generator, None)

    async def _close(self) -> None:
        await self._generator.aclose()


class _Stream(Parsed):
    """A blocking stream. The SDK keeps the gRPC call to itself, within its generator."""

    def __init__(self, started: Any, generator: Any) -> None:
        super().__init__(started, iter(started))
        self._generator = generator
        self.make: Any = None

    @override
    def __next__(self) -> JsonObject:
        event: JsonObject = self.make(super().__next__())
        return event

    @override
    def wake(self) -> None:
        """Cancel the call, so that whoever waits for it comes back; without it they wait for what the server sends next."""
        _cancel(self._generator.gi_frame)


def _messages(sdk: Any, messages: Sequence[Message]) -> Iterator[Any]:
    """Yield messages as the SDK takes them; its own are left as they are, responses among them."""
    own = [hasattr(one, "DESCRIPTOR") or hasattr(one, "proto") for one in messages]
    given = [{_OWN: one} if is_own else plain(one) for one, is_own in zip(messages, own, strict=True)]
    for message, spoken in zip(given, read_conversation(given, lambda one: _OWN in one, "xAI"), strict=True):
        yield spoken.message[_OWN] if isinstance(spoken, Native) else _message(sdk, message, spoken)


def _message(sdk: Any, given: JsonObject, spoken: Spoken) -> Any:
    pb = sdk.chat_pb2
    kept = {key: sendable(given[key]) for key in _KEPT if isinstance(given.get(key), str)}
    told = [part for part in spoken.parts if isinstance(part, Told)]
    content = [_content(sdk, part) for part in (told[0].parts if told else spoken.parts) if isinstance(part, Text | Media)]
    if told:
        kept["tool_call_id"] = sendable(told[0].id)
    role = "tool" if told else spoken.role
    asked = [part for part in spoken.parts if isinstance(part, Asked)]
    entries: Any = given.get("tool_calls") or [{"function": {"name": one.name, "arguments": one.arguments}} for one in asked]
    ids = [one.id for one in asked] or [""] * len(entries)  # those of the service's own tools are as they came
    made = [_call(pb, *pair) for pair in zip(entries, ids, strict=False)]
    return pb.Message(role=_ROLES[role], content=content or [sdk.text("")], tool_calls=made, **kept)


def _call(pb: Any, given: Any, own_id: str) -> Any:
    call = given if is_mapping(given) else plain(given)
    kind, function = call.get("type"), call["function"]
    arguments = function.get("arguments") or "{}"
    text = arguments if isinstance(arguments, str) else arguments_text(arguments)
    kept = {key: call[key] for key in ("status", "error_message") if call.get(key)}
    made = pb.FunctionCall(name=sendable(function["name"]), arguments=sendable(text))
    return pb.ToolCall(
        id=sendable(own_id or call.get("id") or ""), type=kind if isinstance(kind, int) else CLIENT_SIDE[1], function=made, **kept
    )


def _content(sdk: Any, part: Part) -> Any:
    match part:
        case Text(text):
            return sdk.text(sendable(text))
        case Media(kind="image") if part.data is not None:
            return sdk.image(f"data:{part.mime or 'image/png'};base64,{part.data}", detail=part.detail or "auto")
        case Media(kind="image") if part.url is not None:
            return sdk.image(part.url, detail=part.detail or "auto")
        case Media(kind="file") if part.id is not None:
            return sdk.file(part.id)
        case Media(kind="file") if part.data is not None:
            return sdk.file(data=b64decode(part.data), filename=part.name, mime_type=part.mime)
        case Media(kind="file") if part.url is not None:
            return sdk.file(url=part.url, filename=part.name)
        case _:
            raise UsageError("xAI takes texts, images and files: a part of a message is none of them")


def _tool(sdk: Any, entry: JsonObject) -> Any:
    import json

    function = entry["function"]
    parameters = json.dumps(function["parameters"])
    described = {"description": sendable(function["description"])} if "description" in function else {}
    strict = {"strict": True} if function.get("strict") else {}
    return sdk.chat_pb2.Tool(function=sdk.chat_pb2.Function(name=function["name"], parameters=parameters, **described, **strict))


def _event(proto: Any) -> JsonObject:
    """Write a response, or a chunk of one, as JSON."""
    event: JsonObject = {"id": proto.id, "model": proto.model, "outputs": [_output(output) for output in proto.outputs]}
    if proto.HasField("usage") and proto.usage.total_tokens + proto.usage.prompt_tokens + proto.usage.completion_tokens:
        event["usage"] = {name: getattr(proto.usage, name) for name in _COUNTS}
    return event


def _output(output: Any) -> JsonObject:
    said = output.delta if hasattr(output, "delta") else output.message
    number = output.finish_reason
    reason = output.DESCRIPTOR.fields_by_name["finish_reason"].enum_type.values_by_number.get(number)
    return {
        "index": output.index,
        "role": _NAMES.get(said.role, "assistant"),
        "content": said.content,
        "reasoning_content": said.reasoning_content,
        "encrypted_content": said.encrypted_content,
        "tool_calls": [_called(call) for call in said.tool_calls],
        "finish_reason": (str(number) if reason is None else reason.name) if number else "",
    }


def _called(call: Any) -> JsonObject:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": call.type, "status": call.status, "error_message": call.error_message, "function": function}
