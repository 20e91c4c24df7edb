"""The older SDK of Vertex AI: ``vertexai.generative_models`` of google-cloud-aiplatform, version 1 and 2.

It turns everything into protobuf messages and back: numbers in arguments become floats, what its messages do not know (ids of
calls, new finish reasons) is dropped, and of a `GenerativeModel` alone the constructor takes a system instruction.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from typing_extensions import override

from polycall._dialect_vertexai import vertexai_schema
from polycall._dialects import tell
from polycall._sdk import begun, parsed, streamed
from polycall.errors import UsageError
from polycall.formats._vertexai_messages import in_order, protobuf_json, sdk_message, with_integers
from polycall.formats.gemini import Gemini
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, Request, ToolChoice, ToolSchema, is_array, is_object

__all__ = ["VertexAI", "in_threads", "model_name"]

_ARGUMENTS: Final = {"safetySettings": "safety_settings", "labels": "labels", "toolConfig": "tool_config"}
_NEWER: Final = dict(
    enumerate(
        ("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "UNEXPECTED_TOOL_CALL", "NO_IMAGE"), 11
    )
)
"""Finish reasons that the SDK has no word for; the service sends numbers."""

_PUBLISHED: Final = "publishers/google/models/"


@dataclass(frozen=True, slots=True)
class VertexAI(Gemini):
    """A `GenerativeModel`.

    What the user has set in it holds: its system instruction comes before that of the messages, the fields of its configuration
    under those of the request, its server-side tools beside polycall's. ``safety_settings=``, ``labels=`` and ``tool_config=``
    are given to the SDK as they are.

    Attributes:
        asynchronous: Whether ``generate_content_async`` is called.
    """

    name: str = "vertexai"
    vertex: bool = True
    asynchronous: bool = False

    @override
    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``generateContent``; the SDK's own `Content` may be among the messages."""
        request = replace(request, messages=[sdk_message(message) for message in request.messages])
        choice = request.tool_choice
        if choice.mode == "auto" and choice.allowed is not None:  # the mode VALIDATED is younger than this SDK's models
            some = tuple(tool for tool in request.tools if tool.wire_name in choice.allowed)
            request = replace(request, tools=some, tool_choice=ToolChoice())
        encoded = Gemini.encode(self, request, stream=stream)
        _, *of_the_server = encoded.body["tools"]
        tools = [{"functionDeclarations": _declarations(request.tools)}, *of_the_server]
        body = {**encoded.body, "contents": in_order(encoded.body["contents"]), "tools": tools}
        return replace(encoded, body=body, tools_json=b"")

    @override
    def own_options(self) -> frozenset[str]:
        """Return the names of the options that the SDK takes beside those of the body."""
        return frozenset(_ARGUMENTS)

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it takes none
        """Call ``generate_content`` or ``generate_content_async``.

        Raises:
            UsageError: The request asks for what the model does not do.
        """
        body, kinds = encoded.body, _kinds()
        arguments = _arguments(client, encoded)
        contents = [kinds.Content.from_dict(content) for content in body["contents"]]
        arguments["tools"] = _tools(client, body, kinds)
        if (config := body.get("toolConfig")) is not None:
            arguments["tool_config"] = _tool_config(config, kinds)
        if fields := body.get("generationConfig"):
            arguments["generation_config"] = _laid_over(_own(client, "generation_config"), fields, kinds)
        model = self._instructed(client, body.get("systemInstruction"), kinds)
        call = model.generate_content_async if self.asynchronous else model.generate_content
        raw = call(contents, **arguments, stream=stream)
        if not stream:
            return raw
        return begun(_awaited(raw) if self.asynchronous else _chunks(raw))

    def open(self, raw: Any) -> Reply:
        """Wrap a `GenerationResponse`, or an iterator of them."""
        if _own(raw, "raw_response") is not None:
            return parsed(raw, _event(raw))
        return streamed(raw, _event, self.said, _native)

    def said(self, error: Exception) -> JsonObject | None:
        """Return what the server said, as `google.api_core.exceptions` keep it."""
        code, message = getattr(error, "code", None), getattr(error, "message", None)
        if not isinstance(code, int) or not isinstance(message, str):
            return None
        status = getattr(getattr(error, "grpc_status_code", None), "name", None)
        return {"error": {"code": int(code), "message": message, "status": status}}

    def _instructed(self, client: Any, instruction: Any, kinds: Any) -> Any:
        """Return the model with an instruction after its own: a copy of it, on the same connection."""
        if not instruction:
            return client
        own = _own(client, "system_instruction")
        before: Any = own if is_array(own) else own.parts if hasattr(own, "parts") else [own] if own else []
        after = [kinds.Part.from_dict(part) for part in instruction["parts"]]
        _own(client, "prediction_async_client" if self.asynchronous else "prediction_client")  # made now, so that it is copied
        model = copy.copy(client)
        model._system_instruction = [*before, *after]  # noqa: SLF001  # else it comes from the constructor alone
        return model


def _chunks(stream: Any) -> Iterator[Any]:
    """Yield from the SDK's stream and let go of the connection at the end, however that comes.

    By itself the SDK does not, until the garbage collector finds that its response is in a circle with itself.
    """
    response: Any = None
    try:
        for chunk in stream:
            response = _response(stream) if response is None else response
            yield chunk
    finally:
        if response is not None:
            response.cancel()


async def _awaited(asked: Any) -> AsyncIterator[Any]:
    """Do so where the SDK's stream is asynchronous, and to be awaited first."""
    response: Any = None
    stream = await asked
    try:
        async for chunk in stream:
            response = _response(stream) if response is None else response
            yield chunk
    finally:
        if response is not None and isinstance(cancelled := response.cancel(), Awaitable):
            await cancelled


def _response(stream: Any) -> Any:
    """Return the response that a generator of the SDK reads from; None where it cannot be seen."""
    frame = getattr(stream, "gi_frame", None) or getattr(stream, "ag_frame", None)
    return None if frame is None else frame.f_locals.get("response_stream")


def model_name(client: Any) -> str:
    """Return the model that a `GenerativeModel` asks, as its user named it."""
    return _short(str(_own(client, "model_name")))


def in_threads() -> bool:
    """Whether the SDK has to be called in threads under asyncio.

    Its asynchronous client speaks gRPC, or REST with credentials of its own kind. Where REST was asked for without them it would
    go over gRPC in silence, even if nothing there speaks that.
    """
    config = getattr(sys.modules.get("google.cloud.aiplatform.initializer"), "global_config", None)
    return getattr(config, "_api_transport", None) == "rest" and getattr(config, "_async_rest_credentials", None) is None


@lru_cache(maxsize=512)
def _declarations(tools: tuple[ToolSchema, ...]) -> list[JsonObject]:
    made: list[JsonObject] = []
    for tool in tools:
        dialected = vertexai_schema(tool.schema)
        tell(tool.name, dialected)
        declaration: JsonObject = {"name": tool.wire_name}
        if tool.description:
            declaration["description"] = tool.description
        if "properties" in dialected.schema:  # the service wants some, or no parameters at all
            declaration["parameters"] = dialected.schema
        made.append(declaration)
    return made


def _arguments(client: Any, encoded: Encoded) -> dict[str, Any]:
    """Return the arguments of the SDK's call that are no part of the body."""
    given = dict(encoded.transport)
    asked, own = _short(str(given.pop("model", ""))), model_name(client)
    if asked != own:
        raise UsageError(f"the GenerativeModel asks {own}, not {asked}: wrap another one for that")
    if unknown := given.keys() - _ARGUMENTS.keys():
        raise UsageError(f"vertexai.generative_models takes no {min(unknown)}=: give it to vertexai.init, if it has that")
    return {_ARGUMENTS[name]: value for name, value in given.items()}


def _kinds() -> Any:
    """Return the SDK's module, which is there since the user has made a model of it."""
    return sys.modules["vertexai.generative_models"]


def _own(thing: Any, name: str) -> Any:
    """Return what an object of the SDK keeps of what it was given, which it does not show otherwise; None where it has none."""
    return getattr(thing, f"_{name}", None)


def _raw(thing: Any, name: str) -> Any:
    """Return the message in an object of the SDK; the object itself where it is one."""
    raw = _own(thing, name)  # false where nothing in it is set
    return thing if raw is None else raw


def _short(model: str) -> str:
    return model.removeprefix("models/").removeprefix(_PUBLISHED)


def _tools(client: Any, body: Mapping[str, Any], kinds: Any) -> list[Any]:
    """Return the tools of the model itself, which run on the server, and those of the request."""
    own: list[Any] = list(_own(client, "tools") or ())
    if any("functionDeclarations" in protobuf_json(_raw(tool, "raw_tool")) for tool in own):
        raise UsageError(
            "the GenerativeModel has functions of its own in tools=: make it without them, and give them to polycall as tools="
        )
    return [*own, *(kinds.Tool.from_dict(tool) for tool in body.get("tools", ()))]


def _tool_config(config: Mapping[str, Any], kinds: Any) -> Any:
    calling, kind = config["functionCallingConfig"], kinds.ToolConfig.FunctionCallingConfig
    mode = kind.Mode[calling["mode"]]
    return kinds.ToolConfig(kind(mode=mode, allowed_function_names=calling.get("allowedFunctionNames")))


def _laid_over(own: Any, fields: Mapping[str, Any], kinds: Any) -> Any:
    """Return a configuration with some fields of the wire laid over it."""
    kind = kinds.GenerationConfig
    raw = _raw(own, "raw_generation_config")
    if is_object(raw):
        raw = type(_own(kind(), "raw_generation_config"))(**raw)
    return kind.from_dict({**({} if raw is None else protobuf_json(raw)), **fields})


def _event(response: Any) -> JsonObject:
    """Return a response as JSON of the wire.

    The SDK's own ``to_dict`` takes an underscore off the end of every key, those of a call's arguments among them. Feedback and
    no answer means that the question was blocked, for a reason that the SDK does not know.
    """
    event = protobuf_json(_own(response, "raw_response"))
    for candidate in event.get("candidates", ()):
        with_integers(candidate.get("content", {}))
        if isinstance(number := candidate.get("finishReason"), int):
            candidate["finishReason"] = _NEWER.get(number, str(number))
    if "promptFeedback" in event and "candidates" not in event:
        event["promptFeedback"].setdefault("blockReason", "BLOCKED_REASON_UNSPECIFIED")
    return event


def _native(body: JsonObject) -> Any:
    """Return the SDK's own object; it takes the finish reasons that it has no word for as numbers."""
    numbers = {word: number for number, word in _NEWER.items()}
    given: JsonObject = {**body}
    if "candidates" in body:
        given["candidates"] = [
            {**one, **({"finishReason": numbers[one["finishReason"]]} if one.get("finishReason") in numbers else {})}
            for one in body["candidates"]
        ]
    return _kinds().GenerationResponse.from_dict(given)
