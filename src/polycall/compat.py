"""What exists only so that programs written for Instructor run unchanged: its modes, hooks and method paths."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Self

from polycall.errors import UsageError

__all__ = ["Hooks", "InstructorNames", "Mode", "check_mode"]

HOOKS: Final = (
    "completion:kwargs",
    "completion:response",
    "completion:error",
    "completion:last_attempt",
    "parse:error",
    "attempt",
)


class Mode(StrEnum):
    """What kind of client is wrapped. The client object says so itself: a mode is optional, and only checked to fit."""

    TOOLS = "tool_call"
    TOOLS_STRICT = "tools_strict"
    PARALLEL_TOOLS = "parallel_tool_call"
    RESPONSES_TOOLS = "responses_tools"
    ANTHROPIC_TOOLS = "anthropic_tools"
    ANTHROPIC_PARALLEL_TOOLS = "anthropic_parallel_tools"
    GENAI_TOOLS = "genai_tools"
    VERTEXAI_TOOLS = "vertexai_tools"
    VERTEXAI_PARALLEL_TOOLS = "vertexai_parallel_tools"
    MISTRAL_TOOLS = "mistral_tools"
    COHERE_TOOLS = "cohere_tools"
    BEDROCK_TOOLS = "bedrock_tools"
    CEREBRAS_TOOLS = "cerebras_tools"
    FIREWORKS_TOOLS = "fireworks_tools"
    XAI_TOOLS = "xai_tools"


_OPENAI_LIKE: Final = frozenset({
    "openai", "cerebras", "fireworks", "groq", "huggingface", "litellm", "local", "mistral", "ollama", "together", "xai",
})  # fmt: skip
_FITS: Final[dict[Mode, frozenset[str]]] = {
    Mode.TOOLS: _OPENAI_LIKE,
    Mode.TOOLS_STRICT: _OPENAI_LIKE,
    Mode.PARALLEL_TOOLS: _OPENAI_LIKE,
    Mode.RESPONSES_TOOLS: frozenset({"openai"}),
    Mode.ANTHROPIC_TOOLS: frozenset({"anthropic"}),
    Mode.ANTHROPIC_PARALLEL_TOOLS: frozenset({"anthropic"}),
    Mode.GENAI_TOOLS: frozenset({"gemini"}),
    Mode.VERTEXAI_TOOLS: frozenset({"vertexai"}),
    Mode.VERTEXAI_PARALLEL_TOOLS: frozenset({"vertexai"}),
    Mode.MISTRAL_TOOLS: frozenset({"mistral"}),
    Mode.COHERE_TOOLS: frozenset({"cohere"}),
    Mode.BEDROCK_TOOLS: frozenset({"bedrock"}),
    Mode.CEREBRAS_TOOLS: frozenset({"cerebras"}),
    Mode.FIREWORKS_TOOLS: frozenset({"fireworks"}),
    Mode.XAI_TOOLS: frozenset({"xai"}),
}


def check_mode(mode: object, provider: str) -> None:
    """Check that a mode fits the client.

    Raises:
        UsageError: It does not, or is no mode.
    """
    if mode is None:
        return
    if not isinstance(mode, Mode):
        message = (
            f"mode={mode!r} is not understood: leave it out, the client says what it is, or write polycall.Mode.PARALLEL_TOOLS"
        )
        raise UsageError(message)
    if provider not in _FITS[mode]:
        message = f"mode={mode} does not fit a client of {provider}: leave it out"
        raise UsageError(message)


class Hooks:
    """Functions to call when something happens. A hook that fails warns and changes nothing."""

    def __init__(self) -> None:
        """Start without hooks."""
        self._handlers: dict[str, list[Callable[..., Any]]] = {}

    def on(self, name: str, handler: Any) -> None:
        """Add a function for ``name``.

        Raises:
            UsageError: Nothing of that name ever happens.
        """
        self._known(name)
        if not callable(handler) or inspect.iscoroutinefunction(handler):
            message = f"the handler for {name!r} has to be a plain function: on(name, function)"
            raise UsageError(message)
        self._handlers.setdefault(name, []).append(handler)

    def off(self, name: str, handler: Callable[..., Any]) -> None:
        """Take a function out again; one that was never added is no matter."""
        self._known(name)
        if handler in self._handlers.get(name, ()):
            self._handlers[name].remove(handler)

    def clear(self, name: str | None = None) -> None:
        """Take out all functions, or all for ``name``."""
        if name is None:
            self._handlers.clear()
        else:
            self._known(name)
            self._handlers.pop(name, None)

    def tell(self, name: str, make: Callable[[], Any]) -> None:
        """Call the functions for ``name``; ``make`` makes what they are told, and is called only when one listens."""
        for handler in tuple(self._handlers.get(name, ())):
            try:
                told = make()
                if name == "completion:kwargs":
                    handler(**told)
                else:
                    handler(told)
            except Exception as error:  # noqa: BLE001  # a hook only watches
                warnings.warn(f"the hook for {name!r} failed: {type(error).__name__}", RuntimeWarning, stacklevel=2)

    def _known(self, name: str) -> None:
        if name not in HOOKS:
            message = f"there is no hook {name!r}: there are {', '.join(HOOKS)}"
            raise UsageError(message)


class InstructorNames:
    """The names by which programs written for Instructor reach a client's methods."""

    _hooks: Hooks

    @property
    def chat(self) -> Self:
        """The client itself, for ``client.chat.completions.create``."""
        return self

    @property
    def completions(self) -> Self:
        """The client itself, for ``client.chat.completions.create``."""
        return self

    @property
    def messages(self) -> Self:
        """The client itself, for ``client.messages.create``."""
        return self

    def on(self, name: str, handler: Callable[..., Any]) -> None:
        """Call ``handler`` whenever ``name`` happens.

        Args:
            name: ``completion:kwargs`` (gets the arguments that are sent), ``completion:response`` (the SDK's response object),
                ``completion:error``, ``completion:last_attempt`` and ``parse:error`` (the exception); ``attempt`` (the `Attempt`:
                what each answer was like, with the errors of its calls).
            handler: A plain function; what it returns is ignored, and when it fails that is a warning.
        """
        self._hooks.on(name, handler)

    def off(self, name: str, handler: Callable[..., Any]) -> None:
        """Stop calling ``handler`` for ``name``."""
        self._hooks.off(name, handler)

    def clear(self, name: str | None = None) -> None:
        """Stop calling all handlers, or all for ``name``."""
        self._hooks.clear(name)
