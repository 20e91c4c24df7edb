"""What ``import polycall`` costs beyond the part of pydantic that a user's program imports anyway.

Every run is a fresh process; the two programs take turns, so that a busy moment of the machine meets both.

    python benchmarks/import_time.py [runs]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

PROGRAMS = {"pydantic": "from pydantic import BaseModel, TypeAdapter", "polycall": "import polycall"}
TIMED = "from time import perf_counter as now; start = now(); {program}; print(now() - start)"


def seconds(program: str) -> float:
    """Return how long ``program`` takes in a fresh process, without the start of Python itself."""
    command = [sys.executable, "-I", "-c", TIMED.format(program=program)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(runs: int) -> None:
    """Print the median of both programs and the median of their difference, in milliseconds."""
    for program in PROGRAMS.values():
        seconds(program)  # fills the caches of bytecode and files
    taken = [{name: seconds(program) for name, program in PROGRAMS.items()} for _ in range(runs)]
    for name, program in PROGRAMS.items():
        print(f"{statistics.median(run[name] for run in taken) * 1000:7.1f} ms  {program}")
    difference = statistics.median(run["polycall"] - run["pydantic"] for run in taken)
    print(f"{difference * 1000:7.1f} ms  difference (median of {runs} pairs)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
