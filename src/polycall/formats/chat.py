"""The chat completions format: OpenAI's, and that of most other services.

Sources: OpenAI's API reference, "Create chat completion" and "Streaming"; deviations of other servers as recorded in
``tests/wire/openai_chat``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from polycall._messages import foreign
from polycall._services import OPENAI, Service
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats._chat_decoder import ChatDecoder
from polycall.formats._functions import functions
from polycall.provider import Encoded
from polycall.types import JsonObject, Message, Request, is_mapping

_TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body"})


@dataclass(frozen=True, slots=True)
class Chat:
    """The chat completions format, as one service speaks it."""

    service: Service = OPENAI
    name: str = "openai"
    half_turns: bool = True
    json_lines: bool = False

    @property
    def raw_arguments(self) -> bool:
        """As the service does."""
        return self.service.raw_arguments

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``POST /chat/completions``.

        Raises:
            UsageError: A message is in another format's words.
        """
        check_words(request.messages, self.name)
        choice = request.tool_choice
        named = choice.allowed is not None and choice.forced and len(choice.allowed) == 1
        native = choice.allowed is None or (self.service.named_choice if named else self.service.allowed_tools)
        tools = request.tools
        if not native:
            tools = tuple(tool for tool in tools if tool.wire_name in (choice.allowed or ()))
        offered = functions(tools, self.service, request.schema_strict)
        body: JsonObject = {"model": request.model, "messages": list(request.messages), "tools": offered.tools}
        if native and choice.allowed is not None:
            names = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
            allowed = {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": names}}
            body["tool_choice"] = names[0] if named else allowed
        elif choice.mode != "auto" and self.service.required:
            body["tool_choice"] = choice.mode
        parallel = self.service.parallel if request.parallel is None else request.parallel
        if parallel is not None:
            body["parallel_tool_calls"] = parallel
        if stream:
            body["stream"] = True
            if self.service.stream_usage:
                body["stream_options"] = {"include_usage": True}
        body |= {key: value for key, value in request.options.items() if key not in _TRANSPORT}
        transport = {key: value for key, value in request.options.items() if key in _TRANSPORT}
        path = self.service.path.replace("{model}", quote(request.model, safe="", errors="replace"))
        return Encoded(body, offered.strict_schemas, offered.json, transport, path)

    def decoder(self) -> ChatDecoder:
        """Return the reader of one response."""
        return ChatDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with the key, as the service wants it."""
        if key is None:
            return {}
        return {self.service.key_header: f"Bearer {key}" if self.service.key_header == "authorization" else key}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return one ``tool`` message per call."""
        return [{"role": "tool", "tool_call_id": answer.call.id, "content": answer.content} for answer in answers]


def check_words(messages: Iterable[Message], service: str) -> None:
    """Check that messages are OpenAI's.

    Raises:
        UsageError: One is in another format's words.
    """
    for number, message in enumerate(messages):
        if is_mapping(message) and (whose := "Ollama" if "tool_name" in message else foreign(message)) is not None:
            raise UsageError(f"message {number} for {service} is in the words of {whose}: write it as OpenAI's")
