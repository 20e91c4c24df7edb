"""The Converse format of AWS Bedrock.

Sources: AWS, "Amazon Bedrock API reference", Converse, as in botocore's service model (``tests/spec/bedrock_converse.json``);
requests and answers as recorded in ``tests/wire/converse``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from polycall._dialect_anthropic import anthropic_open, anthropic_strict, within_limits
from polycall._dialects import Dialected, tell
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._converse_decoder import ConverseDecoder
from polycall.formats._converse_messages import holds_calls, read, result_block, system_blocks
from polycall.provider import Encoded
from polycall.types import JsonObject, Message, Request, ToolChoice, ToolSchema, is_mapping, is_sequence

__all__ = ["Converse"]

_TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body"})
_INFERENCE: Final = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}
"""OpenAI's names for what is in ``inferenceConfig``, which programs for several services use."""

_CLAUDE: Final = "anthropic.claude"
_STRICT: Final = re.compile(r"anthropic\.claude-[a-z]+-(?:4-[5-9]|[5-9]|\d\d)(?!\d)")
"""The models that take strict tools in Claude's dialect: from 4.5 on (AWS, "Get validated JSON results from models")."""

_WITH_STATUS: Final = re.compile(r"claude|nova|application-inference-profile|provisioned-model")
"""The models that take ``status`` in answers to calls, and those whose name does not tell (API reference, ToolResultBlock).

Writer's answer with an error (github.com/strands-agents/harness-sdk/issues/554)."""

_UNFORCED: Final = re.compile(r"llama|mistral\.(?!mistral-large)|cohere\.|ai21\.|amazon\.titan")
"""The models that take no choice but ``auto``, and those known to take none at all.

Sources: ``supports_tool_choice_values`` of langchain-aws (its issue 620); github.com/strands-agents/harness-sdk/issues/1241."""

_UNNAMED: Final = "mistral."
"""The models that take ``any``, and no named tool (API reference, ToolChoice)."""

_THOUGHTS: Final = ("thinking", "reasoning_config")


@dataclass(frozen=True, slots=True)
class Converse:
    """The Converse format."""

    name: str = "bedrock"
    half_turns: bool = True
    raw_arguments: bool = False
    json_lines: bool = False

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /model/{modelId}/converse``; the model is no part of it.

        A call cannot be forced while Claude thinks, nor of every model: the choice is left to it then, among the tools that were
        allowed, and an answer without a call is an error all the same.
        """
        options = dict(request.options)
        model = request.model
        told, messages = read(request.messages, status=_WITH_STATUS.search(model) is not None, thoughts="deepseek" not in model)
        system = [*system_blocks(options.pop("system", ())), *told]
        body: JsonObject = {"messages": messages}
        if system:
            body["system"] = system
        if inference := _inference(options):
            body["inferenceConfig"] = inference
        own = _mapping(options, "toolConfig")
        fields = _mapping(options, "additionalModelRequestFields")
        taken = _taken(request.tool_choice, model, fields)
        choice = _choice(taken, model)
        if request.parallel is False:
            fields, choice = {**_one_call(model, taken), **fields}, {}
        if fields:
            body["additionalModelRequestFields"] = fields
        if request.tool_choice.mode != "none" or holds_calls(messages):
            strict = request.schema_strict and _STRICT.search(model) is not None
            tools = [*_tools(_offered(request.tools, taken, model), _CLAUDE in model, strict), *own.get("tools", ())]
            body["toolConfig"] = {"tools": tools, **choice, **{key: one for key, one in own.items() if key != "tools"}}
        body |= {key: value for key, value in options.items() if key not in _TRANSPORT}
        transport = {"modelId": model, **{key: value for key, value in options.items() if key in _TRANSPORT}}
        path = f"/model/{quote(model, safe='', errors='replace')}/{'converse-stream' if stream else 'converse'}"
        return Encoded(body, transport=transport, path=path)

    def decoder(self) -> ConverseDecoder:
        """Return the reader of one response."""
        return ConverseDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with a key of Bedrock's own ("API keys"); AWS credentials sign each request instead."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one message of the user with an answer per call."""
        blocks = [result_block(answer.call.id or "", [{"text": answer.content}], failed=answer.failed) for answer in answers]
        return [{"role": "user", "content": blocks}] if blocks else []


def _taken(choice: ToolChoice, model: str, fields: Mapping[str, Any]) -> ToolChoice:
    """Return the choice as far as the model takes it; ``fields`` tell whether it thinks, where no call can be forced."""
    thinks = any(is_mapping(told) and told.get("type") != "disabled" for told in map(fields.get, _THOUGHTS))
    return replace(choice, mode="auto") if choice.forced and (thinks or _UNFORCED.search(model)) else choice


def _is_named(choice: ToolChoice, model: str) -> bool:
    return choice.forced and choice.allowed is not None and len(choice.allowed) == 1 and _UNNAMED not in model


def _offered(tools: tuple[ToolSchema, ...], choice: ToolChoice, model: str) -> tuple[ToolSchema, ...]:
    """Return the tools to send: a choice of several cannot be said, so the others are left out."""
    if choice.allowed is None or _is_named(choice, model):
        return tools
    return tuple(tool for tool in tools if tool.wire_name in choice.allowed)


def _choice(choice: ToolChoice, model: str) -> JsonObject:
    """Return ``toolChoice``; there is none that forbids calls (boto3's issue 4687)."""
    if not choice.forced:
        return {}
    if choice.allowed is not None and _is_named(choice, model):
        return {"toolChoice": {"tool": {"name": choice.allowed[0]}}}
    return {"toolChoice": {"any": {}}}


def _one_call(model: str, choice: ToolChoice) -> JsonObject:
    """Return what asks Claude for one call at most, in its own words, which are refused beside a choice in the format's.

    Raises:
        UsageError: It is another model.
    """
    if _CLAUDE not in model:
        raise UsageError(
            "Bedrock's Converse has no switch for parallel calls: leave parallel= out, or say it in the model's own words by "
            "additionalModelRequestFields={...}"
        )
    kind: JsonObject = {"type": "auto"}
    if choice.forced:
        kind = {"type": "tool", "name": (choice.allowed or ("",))[0]} if _is_named(choice, model) else {"type": "any"}
    return {"tool_choice": {**kind, "disable_parallel_tool_use": True}}


@lru_cache(maxsize=512)
def _tools(tools: tuple[ToolSchema, ...], claude: bool, strict: bool) -> list[JsonObject]:  # noqa: FBT001  # keys of the cache
    """Write tools once for the same tools; an empty description is refused, so it is left out."""
    schemas = [tool.schema for tool in tools]
    dialected = [Dialected(schema, ("not asked for",)) for schema in schemas]
    if strict:
        dialected = within_limits([anthropic_strict(schema) for schema in schemas], schemas)
    written: list[JsonObject] = []
    for tool, made in zip(tools, dialected, strict=True):
        sent = anthropic_open(made) if claude and made.refused else made
        if strict:
            tell(tool.name, sent)
        spec: JsonObject = {"name": tool.wire_name}
        if tool.description and tool.description.strip():
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": sent.schema}
        if not sent.refused:
            spec["strict"] = True
        written.append({"toolSpec": spec})
    return written


def _inference(options: dict[str, Any]) -> JsonObject:
    """Take ``inferenceConfig`` out of the options, and what OpenAI calls its fields."""
    config = {wire: options.pop(name) for name, wire in _INFERENCE.items() if options.get(name) is not None}
    for name in _INFERENCE:
        options.pop(name, None)
    if isinstance(config.get("stopSequences"), str):
        config["stopSequences"] = [config["stopSequences"]]
    return {**config, **_mapping(options, "inferenceConfig")}


def _mapping(options: dict[str, Any], name: str) -> JsonObject:
    given: Any = options.pop(name, None) or {}
    if not is_mapping(given) or not is_sequence(given.get("tools", ())):
        message = f"{name} is a mapping, as boto3 takes it"
        raise UsageError(message)
    return dict(given)
