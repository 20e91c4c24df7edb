"""One answer while it is being generated: a worker thread writes it, any other thread reads or cancels it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Self, cast

from typing_extensions import override

from polycall.errors import TransportError

__all__ = ["Answer", "Generation", "Generator"]

Generator = Callable[[str, Callable[[str], bool]], object]
"""llama.cpp's blocking call: a request, and what it calls with each piece, in the same thread, until that returns True."""


class Generation:
    """The work itself. It does not know who reads it, so a reader that is forgotten can end it."""

    def __init__(self, generate: Generator, request: dict[str, Any], done: Callable[[Generation], None]) -> None:
        self._documents: SimpleQueue[dict[str, Any] | TransportError | None] = SimpleQueue()
        self._cancelled = threading.Event()
        self._reason: str | None = None
        self._generate = generate
        self._request = json.dumps(request)
        self._done = done
        self._thread = threading.Thread(target=self._run, name="polycall-local", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def cancel(self, reason: str) -> None:
        """Stop at the next token, or between two batches of the prompt. Does not wait; the first reason given stays.

        Args:
            reason: What is told to who reads on: an answer never ends as if it were whole.
        """
        self._reason = self._reason or reason
        self._cancelled.set()
        self._documents.put(None)

    def read(self) -> Iterator[dict[str, Any]]:
        """Give the documents as they come, until the end or `cancel`.

        Raises:
            TransportError: llama.cpp refused the request, or the generation was cancelled.
        """
        while not self._cancelled.is_set() and (document := self._documents.get()) is not None:
            if isinstance(document, TransportError):
                raise document
            yield document
        if self._reason is not None:
            raise TransportError(self._reason)

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, at most `timeout` seconds; whether it did."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if not self._cancelled.is_set():
                self._generate(self._request, self._receive)
        except Exception as error:  # noqa: BLE001 (llama.cpp's exceptions have no common type, and they quote the prompt)
            self._documents.put(_refused(type(error).__name__, str(error)))
        finally:
            del self._generate
            self._documents.put(None)
            self._done(self)

    def _receive(self, text: str) -> bool:
        # An exception here would be swallowed by xllamacpp, and end the answer as if it were whole.
        if self._cancelled.is_set():
            return True
        try:
            document: Any = json.loads(text)
        except ValueError:
            self._documents.put(TransportError("llama.cpp sent something that is not JSON", body=text[:2000]))
            return True
        if not isinstance(document, dict) or "error" in document:
            self._documents.put(_failure(cast("object", document)))
            return True
        if "prompt_progress" not in document:
            self._documents.put(cast("dict[str, Any]", document))
        return False


class Answer(Iterator[dict[str, Any]]):
    """The documents of one answer, in order; see `LocalModel.complete`."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._documents = generation.read()

    @override
    def __next__(self) -> dict[str, Any]:
        return next(self._documents)

    def close(self) -> None:
        """Cancel what is not generated yet. Whoever reads on, or waits in another thread, gets a `TransportError`."""
        self._generation.cancel("the answer was closed before it was read to its end")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _failure(document: object) -> TransportError:
    details = _member(document, "error")
    kind, code = _member(details, "type"), _member(details, "code")
    if kind == "exceed_context_size_error":
        return TransportError(
            f"the prompt has {_member(details, 'n_prompt_tokens')} tokens, the local model takes {_member(details, 'n_ctx')}:"
            " offer fewer tools, shorten the messages, or raise `context`",
            status=400,
        )
    return _refused(str(kind), json.dumps(document), code if isinstance(code, int) else None)


def _member(value: object, key: str) -> object:
    return cast("dict[str, object]", value).get(key) if isinstance(value, dict) else None


def _refused(kind: str, words: str, status: int | None = None) -> TransportError:
    """Name the kind of the failure only: llama.cpp's own words quote the prompt."""
    return TransportError(f"llama.cpp refused the request ({kind}); its words are in `body`", status=status, body=words[:2000])
