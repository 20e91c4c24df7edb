"""The embedded model itself: these tests have no stand-in for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall._decode import Assembler
from polycall.errors import UsageError
from polycall.formats._chat_decoder import ChatDecoder
from polycall.local import LocalModel
from polycall.local._weights import locate
from polycall.types import CallDelta, ToolCall


@pytest.fixture(scope="session")
def weights() -> Path:
    """Return the embedded model's file."""
    try:
        file = locate()
    except UsageError as error:
        pytest.skip(str(error))
    if not file.is_embedded:
        pytest.skip("POLYCALL_LOCAL_MODEL names another model")
    return file.path


@pytest.fixture(scope="session")
def model(weights: Path) -> Iterator[LocalModel]:
    pytest.importorskip("xllamacpp", reason='python -m pip install "polycall[local]"')
    with LocalModel(weights) as model:
        model.load()
        yield model


@pytest.fixture(scope="session")
def whole(model: LocalModel) -> Callable[..., dict[str, Any]]:
    """Return a reader of whole answers: polycall's own, without the check of the calls."""

    def read(body: bytes, of: LocalModel = model) -> dict[str, Any]:
        decoder, assembler = ChatDecoder(), Assembler(seal_on_close=True)
        done: list[Any] = []
        for chunk in of.complete(body):
            done += assembler.feed([item for item in decoder.feed(chunk, whole=False) if isinstance(item, CallDelta)])
        done += assembler.close({}, None)
        return decoder.body([one for one in done if isinstance(one, ToolCall)])

    return read


@pytest.fixture
def weather() -> dict[str, Any]:
    """Return a tool with two parameters, as OpenAI takes it."""
    return {
        "type": "function",
        "function": {
            "name": "Weather",
            "description": "Get the weather in one location.",
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string"}, "units": {"enum": ["imperial", "metric"]}},
                "required": ["location", "units"],
            },
        },
    }


@pytest.fixture
def ask() -> Callable[..., bytes]:
    """Return a maker of request bodies."""

    def body(content: str, **options: Any) -> bytes:
        return json.dumps({"messages": [{"role": "user", "content": content}], **options}).encode()

    return body


@pytest.fixture
def endless(ask: Callable[..., bytes]) -> bytes:
    """Return a request that takes many seconds to answer."""
    return ask("Tell me a story.", max_tokens=3000, ignore_eos=True)
