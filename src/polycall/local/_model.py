"""The face of the embedded model."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
import weakref
from typing import Any, Self, cast

from polycall.errors import UsageError
from polycall.local._engine import Server, Settings, llama_cpp, load
from polycall.local._generation import Answer, Generation
from polycall.local._weights import locate

__all__ = ["LocalModel"]

_PATIENCE = 30.0
"""Seconds that `close` waits for generations to notice that they are cancelled."""


class LocalModel:
    """A language model in this process that answers OpenAI chat completion requests.

    The file is found and loaded at the first request. An instance may be used by many threads at once.

    Args:
        model_path: A GGUF file whose own chat template knows tools; None for the embedded model (or POLYCALL_LOCAL_MODEL).
        parallel: Requests that are generated side by side; more of them wait their turn.
        context: Tokens of prompt and answer together, per request. Memory grows with `parallel` times `context`.
        threads: Threads of the processor per step; None for half of the cores.
        max_tokens: Tokens an answer may have where the request does not say.

    Example:
        >>> model = LocalModel()
        >>> body = b'{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}'
        >>> with model.complete(body) as answer:
        ...     pieces = [choice["delta"].get("content") for chunk in answer for choice in chunk["choices"]]
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        parallel: int = 4,
        context: int = 4096,
        threads: int | None = None,
        max_tokens: int = 1024,
    ) -> None:
        if min(parallel, context, max_tokens, 1 if threads is None else threads) < 1:
            raise UsageError("parallel, context, threads and max_tokens of LocalModel are at least 1")
        self._model_path = model_path
        self._settings = Settings(parallel, context, threads, max_tokens)
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._is_closed = False

    def load(self) -> None:
        """Find and load the model now, rather than at the first request. Does nothing the second time.

        Raises:
            UsageError: A piece is missing, and the text says what to type; or the model was closed.
        """
        self._ready()

    def complete(self, body: bytes) -> Answer:
        """Answer one chat completion request; the work begins at once, in a thread of its own.

        Args:
            body: The JSON body of an OpenAI chat completion request. Its ``model`` is ignored; it is always streamed.

        Returns:
            An iterator of parsed ``chat.completion.chunk`` documents as they are generated, the last one with the usage. Closing
            it, or forgetting it, cancels the rest; reading it raises `TransportError` where llama.cpp gives no usable answer, or
            the answer was cancelled before its end.

        Raises:
            UsageError: The body is not a JSON object, a piece is missing, or the model was closed.
        """
        request = _request(body)
        return Answer(self._ready().start(request))

    def close(self) -> None:
        """Cancel what is being generated and free the model's memory. May be called twice; happens at exit by itself."""
        with self._lock:
            self._is_closed = True
            finalizer, self._finalizer, self._loaded = self._finalizer, None, None
        if finalizer is not None:
            finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> _Loaded:
        with self._lock:
            if self._is_closed:
                raise UsageError("this LocalModel is closed: make a new one")
            if self._loaded is None or not self._loaded.is_ours:
                library = llama_cpp()  # asked for before the file: with neither, this is what to install first
                self._loaded = _Loaded(load(library, locate(self._model_path), self._settings))
                # Not a method of this object: it has to outlive it, and runs at exit while threads can still be joined.
                self._finalizer = weakref.finalize(self, self._loaded.close)
            return self._loaded


class _Loaded:
    """A loaded model and the generations that run on it."""

    def __init__(self, server: Server) -> None:
        self._server: Server | None = server
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._running: set[Generation] = set()

    @property
    def is_ours(self) -> bool:
        """False in a forked process, where llama.cpp's threads do not exist."""
        return self._process == os.getpid()

    def start(self, request: dict[str, Any]) -> Generation:
        """Begin to answer a request."""
        with self._lock:
            if self._server is None:
                raise UsageError("this LocalModel is closed: make a new one")
            generation = Generation(self._server.handle_chat_completions, request, self._forget)
            self._running.add(generation)
            generation.start()
        return generation

    def close(self) -> None:
        """Cancel every generation, wait for the threads, free the memory."""
        if not self.is_ours:
            # Freeing it would wait for threads that the fork did not copy, so it is kept for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
            return
        with self._lock:
            self._server = None
            running = list(self._running)
        for generation in running:
            generation.cancel("the local model was closed before the answer was complete")
        deadline = time.monotonic() + _PATIENCE
        for generation in running:
            generation.join(max(0.0, deadline - time.monotonic()))

    def _forget(self, generation: Generation) -> None:
        with self._lock:
            self._running.discard(generation)


def _request(body: bytes) -> dict[str, Any]:
    """Return what llama.cpp is asked: always a stream, because only that can be cancelled."""
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise UsageError("the body of a request to LocalModel is a JSON object")
    streaming = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    request = cast("dict[str, Any]", parsed) | streaming
    for message in _objects(request.get("messages")):
        for call in _objects(message.get("tool_calls")):
            for function in _objects([call.get("function")]):
                _quote_arguments(function)
    return request


def _objects(value: object) -> list[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _quote_arguments(function: dict[str, Any]) -> None:
    """Make arguments that a model once wrote badly readable for llama.cpp, which refuses a request over them."""
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return
    try:
        json.loads(arguments)
    except ValueError:
        function["arguments"] = json.dumps(arguments)
