"""Writes the table of docs/schemas.md: what each schema dialect is sent, and what polycall alone checks.

Run ``python docs/dialect_table.py``. A test checks that the page is that of the code.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, create_model

from polycall._dialect_anthropic import anthropic_strict
from polycall._dialect_cohere import cohere_strict
from polycall._dialect_gemini import gemini_schema
from polycall._dialect_llamacpp import grammar_schema
from polycall._dialect_ollama import plain_schema
from polycall._dialect_openai import openai_strict
from polycall._dialect_vertexai import vertexai_schema
from polycall._dialects import Dialected
from polycall._tools import toolset

PAGE: Final = Path(__file__).with_name("schemas.md")
PLACE: Final = re.compile(r"(<!-- dialects -->\n).*?(<!-- /dialects -->)", re.DOTALL)


class Unit(enum.Enum):
    """An enum."""

    CELSIUS = "c"
    FAHRENHEIT = "f"


class Point(BaseModel):
    """A nested model."""

    x: float
    y: float


class Node(BaseModel):
    """A model that holds itself."""

    name: str
    children: list[Node]


class Cat(BaseModel):
    """A member of a union."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """Another one."""

    kind: Literal["dog"]
    tricks: list[str]


KINDS: Final[Mapping[str, Any]] = {
    "text": (str, ...),
    "a number, a truth value": (float | bool, ...),
    "`Literal`": (Literal["a", "b"], ...),
    "enum": (Unit, ...),
    "date and time": (dt.datetime, ...),
    "date": (dt.date, ...),
    "duration": (dt.timedelta, ...),
    "`UUID`": (uuid.UUID, ...),
    "`Decimal`": (decimal.Decimal, ...),
    "nested model (`$ref`)": (Point, ...),
    "model that holds itself": (Node, ...),
    "union of models": (Cat | Dog, ...),
    "discriminated union": (Annotated[Cat | Dog, Field(discriminator="kind")], ...),
    "`Optional[int]`": (int | None, ...),
    "may be left out, with a default": (int, 3),
    "may be left out, None else": (int | None, None),
    "bounds of a number": (Annotated[int, Field(ge=1, le=9)], ...),
    "a multiple of": (Annotated[int, Field(multiple_of=5)], ...),
    "length of text": (Annotated[str, Field(min_length=1, max_length=9)], ...),
    "pattern": (Annotated[str, Field(pattern="^[a-z]+$")], ...),
    "list": (list[int], ...),
    "length of a list": (Annotated[list[int], Field(min_length=1, max_length=3)], ...),
    "list of three (`tuple`)": (tuple[int, str, bool], ...),
    "`set`": (set[int], ...),
    "`dict[str, int]`": (dict[str, int], ...),
    "anything": (Any, ...),
}


def _grammar(schema: Mapping[str, Any]) -> Dialected:
    sent, dropped = grammar_schema(dict(schema))
    return Dialected(sent, dropped=dropped)


DIALECTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Dialected]]] = {
    "OpenAI strict": openai_strict,
    "Anthropic strict": anthropic_strict,
    "Gemini": gemini_schema,
    "older Vertex AI SDK": vertexai_schema,
    "Cohere strict": cohere_strict,
    "Ollama": plain_schema,
    "llama.cpp": _grammar,
}


def cell(dialected: Dialected) -> str:
    """Say what becomes of a field."""
    if dialected.refused:
        return "sent, not strict"
    if dialected.dropped:
        words = sorted({dropped.rpartition(": ")[2].rpartition("/")[2] for dropped in dialected.dropped})
        return f"checked here: {', '.join(words)}"
    return "sent"


def table() -> str:
    """Return the table."""
    lines = [f"| a field that is | {' | '.join(DIALECTS)} |", f"|---|{'---|' * len(DIALECTS)}"]
    for name, field in KINDS.items():
        tool: Any = create_model("Tool", field=field)
        schema = toolset(tools=[tool]).schemas[0].schema
        lines.append(f"| {name} | {' | '.join(cell(dialect(schema)) for dialect in DIALECTS.values())} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table in its place."""
    return PLACE.sub(lambda place: place[1] + table() + place[2], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
