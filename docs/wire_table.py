"""Prints how many of the recorded exchanges each way to ask gives exactly: ``python docs/wire_table.py``.

The recordings are those beside the project where they are, else the part in ``tests/wire``. ``--why`` tells what is not right.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.loopback import Server
from support.ways import WAYS, Way, clients, exchanges, verdict

FACES = {"blocking": False, "asyncio": True}


def measure(way: Way, server: Server) -> dict[str, list[tuple[str, str, str]]]:
    """Return what is wrong, by face: the api, the id and the reason of each exchange that is not given exactly."""
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for face, asynchronous in FACES.items():
        with clients(way, server, asynchronous=asynchronous) as client:
            for one in filter(way.fits, exchanges()):
                problem = verdict(way, one, server, client, asynchronous=asynchronous)
                if problem and not way.explained(one):
                    found[face].append((one.api, one.id, problem))
    return found


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="How many recorded exchanges are given exactly.")
    parser.add_argument("--why", action="store_true", help="tell what is not right")
    parser.add_argument("ways", nargs="*", help="the ways to measure; all of them when none is named")
    given = parser.parse_args()
    missing: list[str] = []
    failed = 0
    print(f"{'way':24}{'api':34}{'exchanges':>9}{'explained':>11}  " + "".join(f"{face:>10}" for face in FACES))
    with Server() as server:
        for way in WAYS:
            if given.ways and way.name not in given.ways:
                continue
            if not way.installed:
                missing.append(way.name)
                continue
            failed += show(way, server, why=given.why)
    spoken = {way.family for way in WAYS}
    if others := Counter(one.api for one in exchanges() if one.family not in spoken):
        print("no format of polycall:", ", ".join(f"{api} ({count})" for api, count in others.items()))
    if missing:
        print(f"not installed: {', '.join(missing)}")
    return 1 if failed else 0


def show(way: Way, server: Server, *, why: bool) -> int:
    """Print the rows of one way; return how many answers were not right."""
    found = measure(way, server)
    taken = [one for one in exchanges() if way.fits(one)]
    explained = Counter(one.api for one in taken if way.explained(one))
    for api, count in sorted(Counter(one.api for one in taken).items()):
        right = [count - explained[api] - sum(one[0] == api for one in found[face]) for face in FACES]
        print(f"{way.name:24}{api:34}{count:9}{explained[api]:11}  " + "".join(f"{number:10}" for number in right))
    for face in FACES if why else ():
        for _, name, problem in found[face]:
            print(f"    {face} {name}: {problem}")
    return sum(map(len, found.values()))


if __name__ == "__main__":
    sys.exit(main())
