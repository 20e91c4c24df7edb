"""The SDKs whose services speak OpenAI's chat format, or nearly so: their clients, and polycall's around them."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import polycall
from support.recorded import Recorded


@dataclass(frozen=True)
class Sdk:
    """One SDK.

    Attributes:
        package: Where its clients are.
        kinds: The names of its blocking and its asynchronous client.
        base: What comes behind the server's origin in its base URL.
        path: Where it posts to.
        response: The name of its class of whole responses.
    """

    name: str
    package: str
    kinds: tuple[str, str]
    base: str
    path: str
    response: str = "ChatCompletion"

    def raw(self, origin: str, *, asynchronous: bool, key: str = "sk-canary") -> Any:
        """Make the SDK's own client."""
        kind = getattr(importlib.import_module(self.package), self.kinds[asynchronous])
        if self.name == "huggingface":
            agents: Any = importlib.import_module("huggingface_hub.utils._detect_agent")
            agents._registry = {}  # it asks its hub for it, once a process
        url = "server_url" if self.name == "mistral" else "base_url"
        more: dict[str, Any] = {} if self.name in {"mistral", "huggingface"} else {"max_retries": 0}
        more |= {"warm_tcp_connection": False} if self.name == "cerebras" else {}
        return kind(api_key=key, **{url: origin + self.base}, **more)

    def wrap(self, raw: Any, *, asynchronous: bool, **defaults: Any) -> Any:
        """Make polycall's client around it."""
        more: dict[str, Any] = {"use_async": asynchronous} if self.name == "mistral" else {}
        return getattr(polycall, f"from_{self.name}")(raw, **more, **{"model": "m", **defaults})


SDKS = {
    sdk.name: sdk
    for sdk in (
        Sdk("groq", "groq", ("Groq", "AsyncGroq"), "", "/openai/v1/chat/completions"),
        Sdk(
            "cerebras",
            "cerebras.cloud.sdk",
            ("Cerebras", "AsyncCerebras"),
            "",
            "/v1/chat/completions",
            "ChatCompletionResponse",
        ),
        Sdk("together", "together", ("Together", "AsyncTogether"), "", "/v1/chat/completions"),
        Sdk(
            "fireworks",
            "fireworks",
            ("Fireworks", "AsyncFireworks"),
            "/inference",
            "/inference/v1/chat/completions",
            "CompletionCreateResponse",
        ),
        Sdk("mistral", "mistralai.client", ("Mistral", "Mistral"), "", "/v1/chat/completions", "ChatCompletionResponse"),
        Sdk(
            "huggingface",
            "huggingface_hub",
            ("InferenceClient", "AsyncInferenceClient"),
            "/v1",
            "/v1/chat/completions",
            "ChatCompletionOutput",
        ),
    )
}


class Asker:
    """A client of polycall behind one blocking method, blocking or with an event loop of its own."""

    def __init__(self, client: Any, runner: asyncio.Runner | None) -> None:
        self.client = client
        self._runner = runner

    def ask(self, messages: Any = "?", *, stream: bool = False, **options: Any) -> polycall.Calls[Any]:
        """Ask, and return everything that came."""
        if self._runner is not None:
            return self._runner.run(self._ask(messages, stream, options))
        got = self.client.create(messages, stream=stream, **options)
        return got.result() if stream else got

    def first(self, **options: Any) -> Any:
        """Ask for a stream, and leave it behind its first value, which is returned."""
        if self._runner is not None:
            return self._runner.run(self._first(options))
        with self.client.stream("?", **options) as arriving:
            return next(iter(arriving))

    async def _ask(self, messages: Any, stream: bool, options: dict[str, Any]) -> polycall.Calls[Any]:
        got = await self.client.create(messages, stream=stream, **options)
        return await got.result() if stream else got

    async def _first(self, options: dict[str, Any]) -> Any:
        async with self.client.stream("?", **options) as arriving:
            return await anext(aiter(arriving))


@contextmanager
def asking(sdk: Sdk, origin: str, *, asynchronous: bool, **defaults: Any) -> Iterator[Asker]:
    """Make a client of an SDK, and polycall's around it; close it at the end."""
    if not asynchronous:
        with sdk.raw(origin, asynchronous=False) as raw:
            yield Asker(sdk.wrap(raw, asynchronous=False, **defaults), None)
        return
    stack = AsyncExitStack()

    async def made() -> Any:
        return await stack.enter_async_context(sdk.raw(origin, asynchronous=True))

    with asyncio.Runner() as runner:
        raw = runner.run(made())
        try:
            yield Asker(sdk.wrap(raw, asynchronous=True, **defaults), runner)
        finally:
            runner.run(stack.aclose())


def options(one: Recorded) -> dict[str, Any]:
    return {"tools": one.tools, "errors": "return", "max_retries": 0, "stream": one.stream}
