"""What is fuzzed: bytes -> tool calls (`answer`), and the text of arguments -> a value or an error (`arguments`).

Each target takes any bytes, raises `Broken` where something does not hold that has to, and else says in words what came of
them, so that a fuzzer sees what is new: most of the work is done where it cannot look. Nothing here needs a fuzzer:
``tests/test_fuzz.py`` runs the targets over the corpus.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from fuzz import Broken
from fuzz.answer import answer
from fuzz.arguments import arguments

__all__ = ["CORPUS", "TARGETS", "Broken", "corpus"]

CORPUS: Final = Path(__file__).parent / "corpus"

TARGETS: Final = {"answer": answer, "arguments": arguments}


def corpus(name: str) -> list[bytes]:
    """Return the inputs of one target that are kept: one JSON text per line, whose characters are the bytes."""
    lines = (CORPUS / f"{name}.jsonl").read_text(encoding="ascii").splitlines()
    return [json.loads(line).encode("latin-1") for line in lines]
