"""Typed parallel tool calling: one request to a language model comes back as many typed calls."""

from polycall._async_validators import AsyncValidationInfo, async_field_validator, async_model_validator
from polycall._connect import from_provider
from polycall._tools import Tool
from polycall._wrap import from_anthropic, from_bedrock, from_cohere, from_genai, from_ollama, from_vertexai, from_xai
from polycall._wrap_chat import (
    from_cerebras,
    from_fireworks,
    from_groq,
    from_huggingface,
    from_litellm,
    from_mistral,
    from_openai,
    from_together,
)
from polycall.call import Attempt, BoundCall, Call
from polycall.calls import Calls
from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import (
    ArgumentProblem,
    CallError,
    CallErrors,
    CutOffError,
    DeadlineError,
    InvalidArgumentsError,
    LimitError,
    NoCallsError,
    PolycallError,
    RefusalError,
    TransportError,
    UnknownToolError,
    UsageError,
)
from polycall.events import DeltaEvent, ErrorEvent, Event, ReaskEvent, SealedEvent, StartedEvent, TextEvent
from polycall.stream import AsyncStream, Stream
from polycall.types import Limits, Usage

__all__ = [
    "ArgumentProblem",
    "AsyncClient",
    "AsyncStream",
    "AsyncValidationInfo",
    "Attempt",
    "BoundCall",
    "Call",
    "CallError",
    "CallErrors",
    "Calls",
    "Client",
    "CutOffError",
    "DeadlineError",
    "DeltaEvent",
    "ErrorEvent",
    "Event",
    "InvalidArgumentsError",
    "LimitError",
    "Limits",
    "Mode",
    "NoCallsError",
    "PolycallError",
    "ReaskEvent",
    "RefusalError",
    "SealedEvent",
    "StartedEvent",
    "Stream",
    "TextEvent",
    "Tool",
    "TransportError",
    "UnknownToolError",
    "Usage",
    "UsageError",
    "async_field_validator",
    "async_model_validator",
    "from_anthropic",
    "from_bedrock",
    "from_cerebras",
    "from_cohere",
    "from_fireworks",
    "from_genai",
    "from_groq",
    "from_huggingface",
    "from_litellm",
    "from_mistral",
    "from_ollama",
    "from_openai",
    "from_provider",
    "from_together",
    "from_vertexai",
    "from_xai",
]
