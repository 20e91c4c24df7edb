"""OpenAI's Responses format, which Azure, xAI, OpenRouter, Bedrock, DeepSeek, llama.cpp and LM Studio speak as well.

Sources: OpenAI's API reference, "Create a model response" and "Streaming events"; deviations of other servers as recorded in
``tests/wire/responses``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json

from polycall._services import OPENAI, Service
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._functions import Functions, functions
from polycall.formats._responses_decoder import ResponsesDecoder
from polycall.formats._responses_messages import input_items, not_kept
from polycall.provider import Encoded
from polycall.types import JsonObject, Message, Request, ToolChoice

_TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body"})
_LIMIT: Final = "max_output_tokens"
_OTHER_LIMITS: Final = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Responses:
    """The Responses format, as one service speaks it.

    The whole conversation is sent each time, also beside ``previous_response_id=``, whose messages stand before it. What is in a
    ``conversation=`` already is not sent again; such a one is locked while an answer streams, so ask with ``reask="end"``.

    Nothing is added to ``include=``: services refuse what a model cannot give. With ``store=False`` a reasoning model goes on
    from its own thoughts only where ``include=["reasoning.encrypted_content"]`` asks for them.
    """

    service: Service = OPENAI
    name: str = "openai"
    half_turns: bool = True
    json_lines: bool = False

    @property
    def raw_arguments(self) -> bool:
        """As the service does."""
        return self.service.raw_arguments

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /responses``; ``max_tokens`` of the chat format becomes ``max_output_tokens``."""
        options = _options(request.options, stream=stream)
        choice = request.tool_choice
        named = choice.allowed is not None and choice.forced and len(choice.allowed) == 1
        native = choice.allowed is None or (self.service.named_choice if named else self.service.allowed_tools)
        tools = request.tools
        if not native:
            tools = tuple(tool for tool in tools if tool.wire_name in (choice.allowed or ()))
        offered = _flat(tools, self.service, request.schema_strict)
        items = input_items(request.messages)
        if options.get("conversation"):
            items = not_kept(items)
        body: JsonObject = {"model": request.model, "input": items, "tools": offered.tools}
        if native and choice.allowed is not None:
            body["tool_choice"] = _allowed(choice, choice.allowed, named=named)
        elif choice.mode != "auto" and self.service.required:
            body["tool_choice"] = choice.mode
        parallel = self.service.parallel if request.parallel is None else request.parallel
        if parallel is not None:
            body["parallel_tool_calls"] = parallel
        if stream:
            body["stream"] = True
        body |= {key: value for key, value in options.items() if key not in _TRANSPORT}
        transport = {key: value for key, value in options.items() if key in _TRANSPORT}
        return Encoded(body, offered.strict_schemas, offered.json, transport, self.service.responses_path)

    def decoder(self) -> ResponsesDecoder:
        """Return the reader of one response."""
        return ResponsesDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with the key, as the service wants it."""
        if key is None:
            return {}
        return {self.service.key_header: f"Bearer {key}" if self.service.key_header == "authorization" else key}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one ``function_call_output`` per call; one that a program made says so again."""
        return [
            {
                "type": "function_call_output",
                "call_id": answer.call.id,
                "output": answer.content,
                **({"caller": answer.call.extra["caller"]} if "caller" in answer.call.extra else {}),
            }
            for answer in answers
        ]


def _options(given: Mapping[str, Any], *, stream: bool) -> JsonObject:
    """Return the caller's options in the format's words.

    Raises:
        UsageError: One of them takes over what polycall does, or they contradict each other.
    """
    if "input" in given:
        raise UsageError("input= is given as messages= here")
    if given.get("background") and not stream:
        raise UsageError("background=True gives no answer to read: leave it out, or ask for a stream")
    options = {key: value for key, value in given.items() if key not in _OTHER_LIMITS}
    limits = {key: given[key] for key in (_LIMIT, *_OTHER_LIMITS) if given.get(key) is not None}
    if len(limits) > 1:
        message = f"{' and '.join(limits)} mean the same: write {_LIMIT} alone"
        raise UsageError(message)
    for limit in limits.values():
        options[_LIMIT] = limit
    return options


def _allowed(choice: ToolChoice, allowed: Sequence[str], *, named: bool) -> JsonObject:
    names: list[JsonObject] = [{"type": "function", "name": name} for name in allowed]
    return names[0] if named else {"type": "allowed_tools", "mode": choice.mode, "tools": names}


@lru_cache(maxsize=512)
def _flat(tools: Any, service: Service, strict: bool) -> Functions:  # noqa: FBT001  # a key of the cache
    """Write tools as this format does: flat, and with ``strict`` always said, as the service's default for it is another."""
    offered = functions(tools, service, strict)
    flat: list[JsonObject] = [{"type": "function", "strict": False, **tool["function"]} for tool in offered.tools]
    return Functions(flat, offered.strict_schemas, to_json(flat))
