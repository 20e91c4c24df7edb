"""Anthropic's Messages: its own API, and the same as Amazon Bedrock, Vertex AI and Foundry offer it.

Sources: Anthropic's API reference, "Messages"; its guides "Strict tool use", "Thinking" and "Fine-grained tool streaming"; the
recordings in ``tests/wire/anthropic``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json

from polycall._dialect_anthropic import anthropic_open, anthropic_strict, within_limits
from polycall._dialects import Dialected, tell
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._anthropic_decoder import AnthropicDecoder
from polycall.formats._anthropic_messages import legal_id, write_conversation
from polycall.provider import Encoded, Endpoint
from polycall.types import JsonObject, Message, Request, ToolChoice, ToolSchema, is_mapping, is_sequence

__all__ = ["ENDPOINT", "FORMAT", "Anthropic"]

ENDPOINT: Final = Endpoint("https://api.anthropic.com", ("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL")

_VERSION: Final = "2026-10-21"
_MAX_TOKENS: Final = 4096
_OURS: Final = frozenset({"system", "eager_input_streaming"})
_TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body"})
_HEADERS: Final = {
    "betas": "anthropic-beta",
    "user_profile_id": "anthropic-user-profile-id",
    "workspace_id": "anthropic-workspace-id",
}
_WITHOUT_STRICT: Final = re.compile(r"claude-(?:instant|v?[1-3](?!\d)|(?:opus|sonnet)-4(?:-0|-20\d{6}|@|$))")
"""Models that answer a strict tool with an error: "'claude-sonnet-4-20250514' does not support strict tools"."""
_TYPES: Final = {"auto": "auto", "required": "any", "none": "none"}


@dataclass(frozen=True, slots=True)
class Anthropic:
    """The Messages format."""

    name: str = "anthropic"
    half_turns: bool = True
    raw_arguments: bool = False
    json_lines: bool = False

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /v1/messages``.

        A call cannot be forced while the model thinks: the choice is left to it then, among the tools that were allowed, and an
        answer without a call is an error all the same. ``eager_input_streaming`` goes into every tool.

        Raises:
            UsageError: A message cannot be said there, or an option is not what it may be.
        """
        options = request.options
        eager = options.get("eager_input_streaming")
        if not isinstance(eager, bool | None):
            raise UsageError("eager_input_streaming is True or False, for every tool of the request")
        thinks = _thinks(options)
        tools = _allowed(request.tools, request.tool_choice, thinks=thinks)
        strict = request.schema_strict and _WITHOUT_STRICT.search(request.model) is None
        offered, tools_json = _written(tools, strict, eager)
        system, messages = write_conversation(request.messages, options.get("system"))
        body: JsonObject = {"model": request.model, "max_tokens": _MAX_TOKENS, "messages": messages}
        if system:
            body["system"] = system
        if offered:
            body["tools"] = offered
            choice = _choice(request.tool_choice, request.parallel, thinks=thinks)
            if choice is not None:
                body["tool_choice"] = choice
        if stream:
            body["stream"] = True
        apart = _OURS | _TRANSPORT | _HEADERS.keys()
        body |= {key: value for key, value in options.items() if key not in apart and (key, value) != ("max_tokens", None)}
        return Encoded(body, {}, tools_json if offered else b"", _transport(options), "/v1/messages")

    def decoder(self) -> AnthropicDecoder:
        """Return the reader of one response."""
        return AnthropicDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the version of the API, and the key as the SDK of that version shows it (anthropic 2.11)."""
        return {"anthropic-version": _VERSION, **({} if key is None else {"authorization": f"Bearer {key}"})}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one message of the user with a ``tool_result`` per call; several messages would teach the model to call one."""
        blocks: list[JsonObject] = []
        for answer in answers:
            block = {"type": "tool_result", "tool_use_id": legal_id(answer.call.id or ""), "content": answer.content}
            blocks.append({**block, "is_error": True} if answer.failed else block)
        return [{"role": "user", "content": blocks}]


def _thinks(options: Mapping[str, Any]) -> bool:
    extra = options.get("extra_body")
    thinking = options.get("thinking") or (extra.get("thinking") if is_mapping(extra) else None)
    return is_mapping(thinking) and thinking.get("type") != "disabled"


def _allowed(tools: tuple[ToolSchema, ...], choice: ToolChoice, *, thinks: bool) -> tuple[ToolSchema, ...]:
    """Return the tools that are sent: there are no words for a list of those that are allowed."""
    if choice.allowed is None or _is_named(choice, thinks=thinks):
        return tools
    return tuple(tool for tool in tools if tool.wire_name in choice.allowed)


def _is_named(choice: ToolChoice, *, thinks: bool) -> bool:
    return choice.forced and not thinks and choice.allowed is not None and len(choice.allowed) == 1


def _choice(choice: ToolChoice, parallel: bool | None, *, thinks: bool) -> JsonObject | None:  # noqa: FBT001  # as Request has it
    kind = "auto" if choice.forced and thinks else _TYPES[choice.mode]
    made: JsonObject = {"type": kind}
    if choice.allowed is not None and _is_named(choice, thinks=thinks):
        made = {"type": "tool", "name": choice.allowed[0]}
    if parallel is not None and kind != "none":
        made["disable_parallel_tool_use"] = not parallel
    return None if made == {"type": "auto"} else made


def _transport(options: Mapping[str, Any]) -> JsonObject:
    transport = {key: value for key, value in options.items() if key in _TRANSPORT}
    headers: dict[str, str] = {}
    for option, header in _HEADERS.items():
        value = options.get(option)
        if value:
            headers[header] = ",".join(map(str, value)) if is_sequence(value) else str(value)
    if headers:
        transport["extra_headers"] = {**headers, **(transport.get("extra_headers") or {})}
    return transport


@lru_cache(maxsize=512)
def _written(  # the arguments are the key of the cache
    tools: tuple[ToolSchema, ...],
    strict: bool,  # noqa: FBT001
    eager: bool | None,  # noqa: FBT001
) -> tuple[list[JsonObject], bytes]:
    """Return the entries of ``tools``, which are shared and must not be changed, and their JSON."""
    schemas = [tool.schema for tool in tools]
    if strict:
        dialected = within_limits([anthropic_strict(schema) for schema in schemas], schemas)
    else:
        dialected = [Dialected(schema, ("not asked for",)) for schema in schemas]
    entries: list[JsonObject] = []
    for tool, made in zip(tools, dialected, strict=True):
        sent = anthropic_open(made) if made.refused else made
        entry: JsonObject = {"name": tool.wire_name}
        if tool.description:
            entry["description"] = tool.description
        entry["input_schema"] = sent.schema
        if not sent.refused:
            entry["strict"] = True
        if eager is not None:
            entry["eager_input_streaming"] = eager
        if strict:
            tell(tool.name, sent)
        entries.append(entry)
    return entries, to_json(entries)


FORMAT: Final = Anthropic()
