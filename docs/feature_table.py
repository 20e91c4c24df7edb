"""Writes the table of docs/providers.md: what each provider can do, found out by asking a model server on loopback.

Run ``python docs/feature_table.py``. The clients are those of the provider suites in ``tests/providers``; what a provider cannot
do is found in what is sent, or refused.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import polycall
from polycall.testing import ModelServer, ProviderSuite, Said, Turn

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = Path(__file__).with_name("providers.md")
PLACE: Final = re.compile(r"(<!-- features -->\n).*?(<!-- /features -->)", re.DOTALL)
YES: Final = "✓"
NO: Final = "-"
TITLES: Final = {
    "TestAnthropic": "Anthropic",
    "TestBedrock": "Amazon Bedrock",
    "TestChat": "OpenAI, chat completions",
    "TestCohere": "Cohere",
    "TestGemini": "Gemini, from 3 on",
    "TestOlderGemini": "Gemini before 3",
    "TestVertex": "Vertex AI",
    "TestOllama": "Ollama",
    "TestResponses": "OpenAI, Responses",
}
"""The names of the providers, by the classes of their suites; the others' are what their docstrings say."""
CALLS: Final = [Said("Weather", {"location": "Oslo"}), Said("Search", {"query": "x"})]
BAD: Final = [CALLS[0], Said("Search", {"query": "x"}, wrong='{"query": 1}')]


def Weather(location: str) -> None:  # noqa: N802  # a tool's name
    """Get the weather."""


def Search(query: str) -> None:  # noqa: N802
    """Search."""


GIVEN: Final[Mapping[str, Any]] = {"tools": [Weather, Search]}


def suites() -> Iterator[ProviderSuite]:
    """Yield an instance of each suite, in the order of their names."""
    for path in sorted((ROOT / "tests" / "providers").glob("test_suite_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and kind.__module__ == path.stem and issubclass(kind, ProviderSuite)
            if own and name.startswith("Test") and kind.__doc__:
                yield kind()


def _whole(client: Any) -> str:
    return YES if len(client.create("?", **GIVEN)) == len(CALLS) else NO


def _stream(client: Any) -> str:
    return YES if len(list(client.stream("?", **GIVEN))) == len(CALLS) else NO


def _ids(client: Any) -> str:
    return YES if all(call.id for call in client.create("?", **GIVEN).calls) else "made up"


def _usage(client: Any) -> str:
    told = [client.create("?", **GIVEN).usage, client.stream("?", **GIVEN).result().usage]
    return YES if all(usage is not None and usage.output_tokens for usage in told) else NO


def _sent(client: Any, **given: Any) -> str:
    return json.dumps(client.payload("?", **GIVEN, **given), sort_keys=True, default=str)


def _required(client: Any) -> str:
    return YES if _sent(client, tool_choice="required") != _sent(client) else "checked here"


def _named(client: Any) -> str:
    sent = _sent(client, tool_choice=Search)
    return YES if "Get the weather" in sent else "sends only it"


def _allowed(client: Any) -> str:
    sent = _sent(client, tool_choice=[Search])
    return YES if "Get the weather" in sent else "sends only them"


def _one(client: Any) -> str:
    try:
        return YES if _sent(client, parallel=False) != _sent(client) else NO
    except polycall.UsageError:
        return NO


def _strict(client: Any) -> str:
    return YES if _sent(client) != _sent(client, schema_strict=False) else NO


PROBES: Final[Mapping[str, Callable[[Any], str]]] = {
    "whole": _whole,
    "stream": _stream,
    "call required": _required,
    "one tool": _named,
    "list of tools": _allowed,
    "one call only": _one,
    "strict schemas": _strict,
    "ids": _ids,
    "usage": _usage,
}
COLUMNS: Final = ("whole", "stream", "asyncio", "re-ask", *list(PROBES)[2:], "direct")


def row(suite: ProviderSuite) -> str:
    """Return the row of one provider."""
    cells: dict[str, str] = {}
    with ModelServer(Turn(calls=CALLS), formats=suite.formats) as server:
        client = suite.client(server, asynchronous=False) or suite.direct(server, asynchronous=False)
        cells |= {name: probe(client) for name, probe in PROBES.items()}
        cells["asyncio"] = asyncio.run(_asyncio(suite, server))
        direct = suite.direct(server, asynchronous=False)
        cells["direct"] = NO if direct is None else _whole(direct)
        server.script = BAD
        asked = client.create("?", **GIVEN)
        cells["re-ask"] = YES if [call.outcome for call in asked.calls] == ["ok", "ok"] else NO
    title = TITLES.get(type(suite).__name__) or str(type(suite).__doc__).partition("\n")[0].rstrip(".")
    return f"| {title} | {' | '.join(cells[column] for column in COLUMNS)} |"


async def _asyncio(suite: ProviderSuite, server: ModelServer) -> str:
    client: Any = suite.client(server, asynchronous=True) or suite.direct(server, asynchronous=True)
    got = len(await client.create("?", **GIVEN)) == len(CALLS)
    release = suite.release(client) if suite.sdk is not None else None
    if inspect.isawaitable(release):
        await release
    await client.close()
    return YES if got else NO


def table() -> str:
    """Return the table."""
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines += [row(suite) for suite in suites()]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table in its place."""
    return PLACE.sub(lambda place: place[1] + table() + place[2], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
