"""Fuzzes the assembler and the argument check: ``python fuzz/calls.py [SECONDS] [--keep]``, or ``python -m nox -s fuzz``.

Each target of ``targets.py`` runs in a process of its own, on one core, for its part of the time (ten minutes for all of
it), starting from the corpus. A finding ends its target: its input is printed as a line for ``corpus/``, where the tests find
it again.
With ``--keep`` the corpus becomes what covers most in fewest inputs, out of the old one and what was found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
NAMES: Final = ("answer", "arguments")
LONGEST: Final = 2_048
LONGEST_KEPT: Final = 768
MOST_MARKS: Final = 3_000
SLOW: Final = 10  # seconds: such an input is a finding


def main() -> int:
    """Fuzz every target; return 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("seconds", nargs="?", type=int, default=600, help="for all targets together (default: 600)")
    parser.add_argument("--keep", action="store_true", help="write what was found into the corpus")
    given = parser.parse_args()
    findings = [finding for name in NAMES for finding in fuzz(name, max(1, given.seconds // len(NAMES)), keep=given.keep)]
    for name, data in findings:
        sys.stderr.write(f"finding; for fuzz/corpus/{name}.jsonl:\n{line_of(data)}\n")
    return 1 if findings else 0


def fuzz(name: str, seconds: int, *, keep: bool) -> list[tuple[str, bytes]]:
    """Fuzz one target in a process of its own and return its findings."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, found = Path(folder, "inputs"), Path(folder, "found")
        inputs.mkdir()
        found.mkdir()
        kept = HERE / "corpus" / f"{name}.jsonl"
        for number, line in enumerate(kept.read_text(encoding="ascii").splitlines()):
            (inputs / f"{number:04}").write_bytes(json.loads(line).encode("latin-1"))
        start(name, inputs, f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-artifact_prefix={found}/")
        if keep:
            lines = [line_of(data) for data in fewest(name, [path.read_bytes() for path in inputs.iterdir()])]
            kept.write_text("".join(f"{line}\n" for line in sorted(lines, key=len)), encoding="ascii")
        return [(name, path.read_bytes()) for path in sorted(found.iterdir())]


def start(name: str, *arguments: Path | str) -> None:
    """Run the fuzzer of one target to its end, whatever that is: findings are files."""
    command = [sys.executable, str(Path(__file__)), "--work", name, f"-timeout={SLOW}", "-keep_seed=1", "-print_final_stats=1"]
    subprocess.run([*command, *map(str, arguments)], check=False)  # noqa: S603  # this file


def work(name: str, arguments: list[str]) -> None:
    """Be the fuzzer of one target, with the arguments of libFuzzer; never returns."""
    import atheris

    sys.path.insert(0, str(HERE.parent))
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["polycall"]):
        from fuzz.targets import TARGETS
    from fuzz.mutate import mutate

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311  # nothing secret
        changed = mutate(data, name, random) if random.randrange(4) else None
        return bytes(atheris.Mutate(data, most)) if changed is None or len(changed) > most else changed

    marks: dict[str, Any] = {}

    def run(data: bytes) -> None:
        for told in TARGETS[name](data):
            if told not in marks and len(marks) < MOST_MARKS:

                def mark() -> None:
                    """Be a place in the code that is reached when this is told."""

                marks[told] = atheris.instrument_func(mark)
            if told in marks:
                marks[told]()

    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=mutated)
    atheris.Fuzz()


def fewest(name: str, inputs: list[bytes]) -> list[bytes]:
    """Return few inputs that reach, one after the other, what all of them reach in polycall and in what is told."""
    sys.path.insert(0, str(HERE.parent))
    import polycall
    from fuzz.targets import TARGETS

    package = str(Path(polycall.__file__).parent)
    reached: dict[bytes, set[Any]] = {}
    for data in inputs:
        if len(data) <= LONGEST_KEPT:
            lines: set[Any] = set()
            sys.settrace(partial(traced, package, lines))
            try:
                reached[data] = lines | TARGETS[name](data)
            finally:
                sys.settrace(None)
    kept: list[bytes] = []
    known: set[Any] = set()
    for data in sorted(reached, key=lambda data: (-len(reached[data]), data)):
        if not reached[data] <= known:
            known |= reached[data]
            kept.append(data)
    return kept


def traced(package: str, lines: set[Any], frame: FrameType, event: str, _: object) -> Any:
    """Note from which line of the package to which other the program goes."""
    code = frame.f_code
    if not code.co_filename.startswith(package):
        return None
    last = 0

    def step(frame: FrameType, event: str, _: object) -> Any:
        nonlocal last
        if event == "line":
            lines.add((code, last, last := frame.f_lineno))
        return step

    return step(frame, event, None)


def line_of(data: bytes) -> str:
    """Write an input as a line of the corpus: its bytes as the characters of a JSON text."""
    return json.dumps(data.decode("latin-1"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3:])
    sys.exit(main())
