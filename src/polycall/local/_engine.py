"""llama.cpp inside the process, by the package `xllamacpp`."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.util
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from polycall.errors import UsageError
from polycall.local._weights import ModelFile

__all__ = ["Server", "Settings", "load"]

_FOLDER = Path(__file__).parent
_PROMPT_BATCH = 128
"""Tokens of the prompt read between two chances to cancel."""


class Server(Protocol):
    """What is used of `xllamacpp.Server`."""

    listening_address: str

    def handle_metrics(self) -> object:
        """Ask the server's loop for its counters."""
        ...

    def handle_chat_completions(self, prompt: str, callback: Callable[[str], bool]) -> object:
        """Answer one request; blocks, releases the GIL, calls back in the calling thread."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is run; see `LocalModel`."""

    parallel: int
    context: int
    threads: int | None
    max_tokens: int


def llama_cpp() -> Any:
    """Return the module `xllamacpp`.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError('the local model needs llama.cpp: type `python -m pip install "polycall[local]"`')
    return importlib.import_module("xllamacpp")


def load(library: Any, file: ModelFile, settings: Settings) -> Server:
    """Load a model, which takes some tenths of a second for the embedded one.

    Raises:
        UsageError: llama.cpp cannot read the file.
    """
    parameters = _parameters(library, file, settings)
    if file.is_embedded:
        adapter = library.CommonAdapterLoraInfo()
        adapter.path = str(_FOLDER / "smollm2_tools.gguf")
        adapter.scale = 1.0
        parameters.lora_adapters = [adapter]
        # A prompt that is partly remembered is computed in another order, and a small model then answers otherwise. The same
        # question shall have the same answer.
        parameters.cache_prompt = False
        parameters.chat_template = _template()
        return _start(library, parameters, file.path)
    server = _start(library, parameters, file.path)
    properties = _properties(server.listening_address, parameters.api_keys[0])
    if properties["chat_template_caps"]["supports_tools"]:
        return server
    if "<|im_start|>" not in properties["chat_template"]:
        raise UsageError(f"{file.path} has a chat template without tools: choose a model that is trained for tool calls")
    del server  # the memory of one model, not of two
    parameters.chat_template = _template()
    return _start(library, parameters, file.path)


def _start(library: Any, parameters: Any, path: Path) -> Server:
    try:
        server: Server = library.Server(parameters)
    except RuntimeError as error:
        raise UsageError(f"llama.cpp cannot load {path}: is it a GGUF model, and is there memory for it?") from error
    # The constructor returns before the server's loop runs, and a server that is freed in that moment never ends: wait for
    # an answer out of the loop.
    server.handle_metrics()
    return server


def _template() -> str:
    return (_FOLDER / "template.jinja").read_text(encoding="utf-8")


def _properties(address: str, key: str) -> dict[str, Any]:
    """Ask the server what it knows about its model, which xllamacpp offers by its loopback port only."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/props", headers={"Authorization": f"Bearer {key}"})
        properties: dict[str, Any] = json.loads(connection.getresponse().read())
    return properties


def _parameters(library: Any, file: ModelFile, settings: Settings) -> Any:
    parameters = library.CommonParams()
    parameters.model.path = str(file.path)
    parameters.model_alias = {file.path.stem}
    parameters.use_jinja = True
    parameters.verbosity = -1
    parameters.warmup = False
    parameters.n_parallel = settings.parallel
    parameters.n_ctx = settings.parallel * settings.context
    parameters.n_batch = parameters.n_ubatch = _PROMPT_BATCH
    parameters.n_predict = settings.max_tokens
    parameters.sampling.temp = 0.0
    parameters.cache_ram_mib = 0
    cores = _cores()
    # Threads wait for each other at every step: one that shares its core with another program holds up all of them, and
    # 180 tokens a second become 3.
    parameters.cpuparams.n_threads = settings.threads or max(1, min(8, cores // 2))
    parameters.cpuparams_batch.n_threads = settings.threads or max(1, cores - 1)
    # llama.cpp's server always listens on a loopback port: nobody else shall use it.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.endpoint_metrics = True  # for `_start`
    parameters.n_threads_http = 1
    return parameters


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
