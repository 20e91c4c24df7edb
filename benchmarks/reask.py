"""What one bad call of ten costs, and what becomes of the ten values: polycall beside Instructor, pydantic-ai and langchain.

A program asks once; the model makes ten parallel calls, the fifth with arguments that do not fit the schema. Told so, it sends
that call again, or all ten, or says in words that it cannot. A loopback server plays the model and counts. Each other library has
its newest version, in an environment of its own below `.nox`.

    python benchmarks/reask.py
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from reask_peers import QUESTION, WAYS, GoogleSearch, Program, Weather, play

import polycall
from polycall.testing import Answer, Fault, Honest, ModelServer, Resend, Said, Turn

CITIES: Final = ("Oslo", "Rome", "Bern", "Lima", "Cairo", "Tokyo", "Delhi", "Quito")
RIGHT: Final = [
    *(Said("Weather", {"location": city, "units": "metric"}) for city in CITIES),
    *(Said("GoogleSearch", {"query": f"super bowl winner {year}"}) for year in (2025, 2026)),
]
BAD: Final = 4
WRONG: Final = '{"location":"Cairo","units":"celsius"}'
PACE: Final = [0.1 * number for number in range(1, len(RIGHT) + 1)]
NOTHING: Final = "makes no mistake"
CASES: Final[dict[str, Resend | None]] = {
    NOTHING: None,
    "sends the bad call again": "bad",
    "sends all ten again": "all",
    "answers in words": "none",
}
EXPECTED: Final = [{said.name: said.arguments} for said in RIGHT]


class Counting(ModelServer):
    """A server that plays one case, and counts the calls that it sends."""

    def __init__(self, resend: Resend | None, *, stream: bool) -> None:
        """Prepare the script; a stream completes a call every tenth of a second and ends a tenth behind the last."""
        calls = [replace(said, wrong=WRONG) if resend and place == BAD else said for place, said in enumerate(RIGHT)]
        times, end = (PACE, PACE[-1] + 0.1) if stream else ((), None)
        super().__init__(
            Turn(calls=calls, resend=resend or "bad", times=times, end=end, pieces=4),
            fault=Fault(name="none", about="it counts", spoil=self._count),
        )
        self.stream = stream
        self.sent_calls = 0

    def _count(self, honest: Honest) -> Answer:
        self.sent_calls += len(honest.saying.calls)
        return honest.answer()


@dataclass
class Row:
    """What one library did in one case."""

    library: str
    requests: int
    sent: int
    calls: int
    values: list[Any]
    first: float | None
    last: float | None
    raised: str | None

    def cells(self, polycall_sent: int, *, stream: bool) -> str:
        """Return the row of the table."""
        got = sum(value is not None for value in self.values)
        placed = sum(value == expected for value, expected in zip(self.values, EXPECTED, strict=False))
        times = [f"{at or 0:.2f} s" for at in (self.first, self.last)] if stream else []
        cost = [self.library, self.requests, f"{self.sent:,}", f"{self.sent / polycall_sent:.2f}", self.calls]
        return " | ".join(map(str, [*cost, *times, got, placed, self.raised or "nothing"]))

    def repeats(self, other: Row) -> bool:
        """Whether this is another setting of the same library, which made no difference."""
        setting = self.library.startswith(f"{other.library}, ")
        return setting and replace(self, library="", first=None, last=None) == replace(other, library="", first=None, last=None)


def ask_polycall(url: str, program: Program, stream: bool) -> None:  # noqa: FBT001  # as every way
    """Ask with polycall and its defaults; `CallErrors` has the good values too."""
    with polycall.from_provider("openai/m", base_url=url, api_key="none") as client:
        try:
            if stream:
                with client.stream(QUESTION, response_model=Iterable[Weather | GoogleSearch]) as answer:
                    for value in answer:
                        program.take(value)
                    program.have(answer.result())
            else:
                program.have(client.create(QUESTION, response_model=Iterable[Weather | GoogleSearch]))
        except polycall.CallErrors as error:
            program.have(None if isinstance(value, polycall.CallError) else value for value in error.calls or ())
            raise


def python_with(requirements: tuple[str, ...]) -> str:
    """Return the Python of an environment that has the newest versions of ``requirements``; make it, or bring it up to date."""
    folder = Path(__file__).parents[1] / ".nox" / f"peer-{requirements[0].partition('[')[0]}"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--upgrade", "--upgrade-strategy", "eager", *requirements]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return str(python)


def played(library: str, servers: list[Counting]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Let a library ask each server in turn; gives the versions, and what came of it."""
    if library == "polycall":
        return {"polycall": version("polycall")}, [play(ask_polycall, server.url, server.stream) for server in servers]
    program = str(Path(__file__).with_name("reask_peers.py"))
    asked = json.dumps([(server.url, server.stream) for server in servers])
    done = subprocess.run([python_with(WAYS[library][1]), program, library, asked], check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout)
    return told["versions"], told["played"]


def measure(library: str) -> tuple[dict[str, str], dict[tuple[bool, str], Row]]:
    """Return the versions, and a row for each case, whole and streamed."""
    cases = [(stream, case) for stream in (False, True) for case in CASES]
    with ExitStack() as block:
        servers = [block.enter_context(Counting(CASES[case], stream=stream)) for stream, case in cases]
        versions, done = played(library, servers)
    made = [
        Row(library, len(one.requests), sum(len(sent.raw) for sent in one.requests), one.sent_calls, **what)
        for one, what in zip(servers, done, strict=True)
    ]
    return versions, dict(zip(cases, made, strict=True))


def table(found: dict[str, dict[tuple[bool, str], Row]], *, stream: bool) -> Iterator[str]:
    """Yield the lines of the table of whole answers, or of streams; a library that streams nothing is named below it."""
    head = ["the model", "library", "requests", "bytes sent", "÷ polycall", "calls made"]
    head += [*(["first value", "last value"] if stream else []), "values", "in place", "raised"]
    yield from ("", f"{'Streamed' if stream else 'Whole answers'}:", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}")
    refused: list[str] = []
    for case in CASES:
        told, before = case, found["polycall"][stream, case]
        for row in (rows[stream, case] for rows in found.values()):
            if row.requests and not row.repeats(before):
                yield f"| {told} | {row.cells(found['polycall'][stream, case].sent, stream=stream)} |"
                told = ""
            elif case == NOTHING and not row.repeats(before):
                refused.append(f"{row.library} sends nothing: {row.raised}.")
            before = row
    yield from ("", *refused) if refused else ()


def main() -> None:
    """Measure every library, and print what was measured with."""
    found: dict[str, dict[tuple[bool, str], Row]] = {}
    versions: dict[str, dict[str, str]] = {}
    for library in ("polycall", *WAYS):
        versions[library], found[library] = measure(library)
    once = dict.fromkeys(", ".join(f"{name} {number}" for name, number in one.items()) for one in versions.values())
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}: {'; '.join(once)}")
    for stream in (False, True):
        print("\n".join(table(found, stream=stream)))


if __name__ == "__main__":
    main()
