"""The servers that speak the chat completions format, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["LLAMACPP", "OPENAI", "Service", "service_at"]


@dataclass(frozen=True, slots=True)
class Service:
    """A server that speaks the format, and where it differs from OpenAI's own.

    Attributes:
        hosts: What its host names end with.
        strict: Whether it takes OpenAI's strict schema dialect.
        grammar: Whether it turns schemas into grammars as llama.cpp does.
        allowed_tools: Whether `tool_choice` can name several tools; where it cannot, only the allowed tools are sent.
        named_choice: Whether `tool_choice` can name one tool; where it cannot, only that tool is sent.
        stream_usage: Whether it takes ``stream_options``.
        parallel: What is sent as ``parallel_tool_calls`` when the user says nothing; None sends nothing.
    """

    name: str = "openai"
    hosts: tuple[str, ...] = ()
    strict: bool = True
    grammar: bool = False
    allowed_tools: bool = True
    named_choice: bool = True
    stream_usage: bool = True
    parallel: bool | None = None


OPENAI: Final = Service()
LLAMACPP: Final = Service("llama.cpp", strict=False, grammar=True, allowed_tools=False, named_choice=False, parallel=True)
_SERVICES: Final = (
    Service("mistral", ("api.mistral.ai",), allowed_tools=False, stream_usage=False),
    Service("groq", ("api.groq.com",), allowed_tools=False),
    Service("deepseek", ("api.deepseek.com",), strict=False, allowed_tools=False),
    Service("together", ("api.together.xyz", "api.together.ai"), allowed_tools=False),
    Service("fireworks", ("api.fireworks.ai",), allowed_tools=False),
    Service("openrouter", ("openrouter.ai",), allowed_tools=False),
    Service("xai", ("api.x.ai",), allowed_tools=False),
    Service("google", ("generativelanguage.googleapis.com",), strict=False, allowed_tools=False),
)


def service_at(url: str) -> Service:
    """Return the service behind a base URL; one that is not known is taken to be like OpenAI's own."""
    host = urlsplit(url).hostname or ""
    for service in _SERVICES:
        if any(host == known or host.endswith(f".{known}") for known in service.hosts):
            return service
    return OPENAI
