"""Rewrites ``docs/faults.md``: what becomes of every fault of `polycall.testing`, for every client.

Run ``python docs/fault_table.py``; with ``--check`` nothing is written, and the command fails when a cell is not as it should be.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fault_cells import CLIENTS, FORBIDDEN, NATIVE, SDK, Verdict, clients, measure, native

from polycall.testing import FAULTS

PAGE: Final = Path(__file__).with_name("faults.md")
TITLES: Final = {SDK: "SDK", "pyreqwest": "pyreqwest", "httpx2": "httpx2"}
NATIVE_INTRO: Final = """
## Other formats

The same faults where they have a meaning in Anthropic's messages, Gemini's generateContent and OpenAI's Responses, and some in
their own words: through the anthropic SDK, google-genai and the openai SDK, and through polycall's own transport.
"""
INTRO: Final = """\
# Faults

What polycall makes of a server that misbehaves. Each row is a fault of `polycall.testing.FAULTS`, by its name; each cell asks one
question of a server on loopback that has this fault, through one client: the openai SDK's, or polycall's own transport on
pyreqwest or httpx2. The model says three calls, `Weather` of Toronto, `Weather` of Dallas and `GoogleSearch`; every client may
try three times.

| in a cell | what the program gets |
|---|---|
| recovered | every call that the model made, with its value, and no error |
| kept | the good calls in their places, and an error in place of each other: as many outcomes as calls |
| error | one clear error: a `PolycallError`, or the SDK's own exception |
| | the fault has no meaning there |

Two words in a cell are those of the blocking and of the asynchronous client, where they differ. What must not happen is fewer or
other values without an error, an answer later than the deadline, any other Python exception, or a key, a prompt or an argument in
the text, the traceback or the pickle of an error or in a log record, or the end of the process: that would be `SILENT`, `HANG`,
`BARE`, `LEAK` or `CRASH`.

The same server is there for your tests: `ModelServer(script, fault="reset-inside-arguments")`.

    python docs/fault_table.py           # measures anew, and rewrites this page
    python docs/fault_table.py --check   # measures, and fails when a cell is not what it should be
"""
BEYOND_NOTE: Final = """
¹ httpx2, which the SDK stands on too, may give the next question an answer that came unasked on the same connection. polycall
sees one answer to one question there, and cannot tell.

² google-genai parses bodies and streams itself before polycall sees them, more strictly than their formats are; it quotes what it
cannot parse in its exceptions, does not try again, and shows its key to a host that it is redirected to.
"""


def main() -> int:
    """Measure, and write or check."""
    parser = argparse.ArgumentParser(description="What becomes of every fault, for every client.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a cell is not what it should be")
    parser.add_argument("faults", nargs="*", help="the faults to measure; all of them when none is named")
    given = parser.parse_args()
    verdicts = measure(given.faults)
    wrong = [verdict for verdict in verdicts if not verdict.expected]
    for verdict in wrong:
        print(verdict)
    print(f"{len(verdicts)} cells, {len(wrong)} not as they should be; {_counted(verdicts)}")
    if not given.check and not given.faults:
        PAGE.write_text(page(verdicts), encoding="utf-8")
        print(f"wrote {PAGE.name}")
    return 1 if wrong else 0


def page(verdicts: Sequence[Verdict]) -> str:
    """Return the page."""
    columns = clients()
    lines = [INTRO, _measured(verdicts), "", *_table(verdicts, columns)]
    if any(verdict.cell.client in NATIVE for verdict in verdicts):
        lines += [NATIVE_INTRO, *_table(verdicts, native())]
    if any(verdict.outcome == "beyond" for verdict in verdicts):
        lines.append(BEYOND_NOTE.rstrip())
    return "\n".join(lines) + "\n"


def _table(verdicts: Sequence[Verdict], columns: Sequence[str]) -> Iterator[str]:
    ways = [f"{TITLES.get(client, client)}, {way}" for client in columns for way in ("whole", "streamed")]
    yield f"| fault | what the server does | {' | '.join(ways)} |"
    yield f"|---|---|{'---|' * len(ways)}"
    yield from _rows(verdicts, columns)


def _measured(verdicts: Sequence[Verdict]) -> str:
    forbidden = sum(verdict.outcome in FORBIDDEN for verdict in verdicts)
    names = {verdict.cell.fault.name for verdict in verdicts}
    found = f"{len(names)} faults, {len(verdicts)} cells: {_counted(verdicts)}; {forbidden} of what must not happen."
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("openai", "anthropic", "google-genai", *CLIENTS[1:])
        if _installed(name)
    )
    python = f"Python {platform.python_version()} on {platform.system()}"
    return f"{found}\nMeasured on {dt.datetime.now(dt.UTC).date()} with {python}, {versions}."


def _counted(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in verdicts)
    order = ("recovered", "kept", "error", "beyond", *FORBIDDEN)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome])


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _rows(verdicts: Sequence[Verdict], columns: Sequence[str]) -> Iterator[str]:
    found = {(one.cell.fault.name, one.cell.client, one.cell.streamed, one.cell.asynchronous): one for one in verdicts}
    where = ""
    formats = {NATIVE.get(client, "chat") for client in columns}
    for name, fault in FAULTS.items():
        if not any(map(fault.meant_for, formats)):
            continue
        if fault.where != where:
            where = fault.where
            yield f"| **{where}** | |{' |' * 2 * len(columns)}"
        cell = [
            _cell([found[key] for way in (False, True) if (key := (name, client, streamed, way)) in found])
            for client in columns
            for streamed in (False, True)
        ]
        yield f"| `{name}` | {fault.about.replace('|', chr(92) + '|')} | {' | '.join(cell)} |"


def _cell(verdicts: Sequence[Verdict]) -> str:
    marks = {"beyond": "beyond²" if verdicts and verdicts[0].cell.client == "google-genai SDK" else "beyond¹"}
    words = [marks.get(verdict.outcome, verdict.outcome) for verdict in verdicts]
    return " / ".join(dict.fromkeys(words))


if __name__ == "__main__":
    sys.exit(main())
