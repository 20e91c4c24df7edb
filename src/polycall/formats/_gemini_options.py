"""The options of a request -> the fields of the generateContent body, and what is the SDK's alone.

Sources: Gemini's API reference, `GenerateContentRequest` and `GenerationConfig`; google-genai, `GenerateContentConfig`, which has
the fields of both, and some of its own.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from polycall.errors import UsageError
from polycall.formats._gemini_messages import written_parts
from polycall.types import JsonObject, is_mapping, is_sequence

__all__ = ["Options", "plain_value", "read_options"]

TRANSPORT: Final = frozenset({"extra_headers", "extra_query", "extra_body"})
_TOP: Final = frozenset({
    "cachedContent", "continuationToken", "labels", "modelArmorConfig", "outputConfig", "safetySettings", "serviceTier", "store",
    "toolConfig",
})  # fmt: skip
_NAMED: Final = {
    "maxTokens": "maxOutputTokens",
    "maxCompletionTokens": "maxOutputTokens",
    "n": "candidateCount",
    "stop": "stopSequences",
    "modelSelectionConfig": "modelConfig",
    "generationOutputConfig": "outputConfig",
    "system": "systemInstruction",
}
"""Other words for them: those of OpenAI's programs, and those of the SDK that are not the wire's."""

_VERBATIM: Final = frozenset({"labels", "responseSchema", "responseJsonSchema"})
_REFUSED: Final = {
    "contents": "give the conversation as messages=",
    "shouldReturnHttpResponse": "the response is read here: leave it out",
    "httpOptions": "they are the SDK's; say it by timeout=, extra_headers= and extra_body=",
}
_NEVER: Final = frozenset({"automaticFunctionCalling", "automaticContinuation"})
"""What an SDK would do by itself."""


@dataclass(slots=True)
class Options:
    """What a request asks for beside its messages and tools.

    Attributes:
        top: Fields of the body.
        generation: Fields of its ``generationConfig``.
        system: Parts of the system instruction.
        tools: Tools that the service runs itself, offered beside ours.
        transport: What is no part of the body.
    """

    top: JsonObject = field(default_factory=dict[str, Any])
    generation: JsonObject = field(default_factory=dict[str, Any])
    system: list[JsonObject] = field(default_factory=list[JsonObject])
    tools: list[JsonObject] = field(default_factory=list[JsonObject])
    transport: JsonObject = field(default_factory=dict[str, Any])


def read_options(given: Mapping[str, Any], own: frozenset[str]) -> Options:
    """Sort options out; ``config`` gives way to ``generation_config``, and that to options by their own names.

    Args:
        given: The options, in snake or camel case.
        own: The names, in camel case, of what the SDK takes beside the fields of the body.

    Raises:
        UsageError: One is not for this way to call the service.
    """
    made = Options()
    for name in ("config", "generation_config", "generationConfig"):
        if given.get(name) is not None:
            for key, value in _fields(given[name], name).items():
                _put(made, key, value, own)
    for key, value in given.items():
        if key in TRANSPORT:
            made.transport[key] = value
        elif key not in {"config", "generation_config", "generationConfig"}:
            _put(made, key, value, own)
    return made


def plain_value(value: Any, *, named: bool = True) -> Any:
    """Return what JSON says of a value, SDK objects among them; ``named`` puts the keys into camel case, as the wire has them."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if is_mapping(value):
        names = {key: str(key.value if isinstance(key, Enum) else key) for key in value}
        keys = {key: _camel(name) if named else name for key, name in names.items()}
        return {keys[key]: plain_value(one, named=named and keys[key] not in _VERBATIM) for key, one in value.items()}
    if is_sequence(value):
        return [plain_value(one, named=named) for one in value]
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return plain_value(value.model_dump(by_alias=True, exclude_unset=True), named=named)
    return value


def _put(made: Options, name: str, value: Any, own: frozenset[str]) -> None:
    key = _NAMED.get(_camel(name), _camel(name))
    if key in own:
        made.transport[key] = value
    elif value is None or key in _NEVER:
        return
    elif key in _REFUSED:
        raise UsageError(f"{name}= is not for Gemini here: {_REFUSED[key]}")
    elif key == "systemInstruction":
        made.system += written_parts(plain_value(value))
    elif key == "tools":
        made.tools += _server_tools(value)
    elif key in _TOP:
        made.top[key] = _settings(value) if key == "safetySettings" else plain_value(value, named=key not in _VERBATIM)
    elif key == "stopSequences" and isinstance(value, str):
        made.generation[key] = [value]
    else:
        made.generation[key] = plain_value(value, named=key not in _VERBATIM)


def _server_tools(given: Any) -> list[JsonObject]:
    """Return tools that the service runs itself, such as ``google_search``."""
    tools = [plain_value(tool) for tool in (given if is_sequence(given) else [given])]
    for tool in tools:
        if not is_mapping(tool) or tool.get("functionDeclarations"):
            raise UsageError(
                "functions go to polycall's own tools= or response_model=: config= takes tools that Gemini runs itself"
            )
    return tools


def _settings(given: Any) -> Any:
    """Return safety settings as a list; the older SDK has them as a mapping of categories to thresholds."""
    plain = plain_value(given, named=not is_mapping(given))
    return [{"category": key, "threshold": value} for key, value in plain.items()] if is_mapping(plain) else plain


def _fields(given: Any, name: str) -> Mapping[str, Any]:
    if is_mapping(given):
        return given
    if hasattr(given, "model_fields_set"):
        names: set[str] = given.model_fields_set
        return {key: getattr(given, key) for key in sorted(names)}
    if hasattr(given, "to_dict"):
        return dict(given.to_dict())
    raise UsageError(f"{name}= is a mapping of names to values, or the SDK's own object, not {type(given).__name__}")


def _camel(name: str) -> str:
    return re.sub(r"(?<=[a-zA-Z0-9])_([a-z0-9])", lambda letter: letter[1].upper(), name)
