"""What was found by fuzzing stays found: the inputs that are kept, and small changes of them, without a fuzzer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Target:
    name: str
    run: Callable[[bytes], set[str]]
    kept: list[bytes]


@pytest.fixture(params=["answer", "arguments"])
def target(request, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    targets = import_module("fuzz.targets")

    def run(data: bytes) -> set[str]:
        try:
            return targets.TARGETS[request.param](data)
        except BaseException as error:
            error.add_note(f"the input is {data!r}")
            raise

    return Target(request.param, run, targets.corpus(request.param))


def test_what_is_kept_passes(target):
    assert len(target.kept) > 50
    assert len(set[str]().union(*map(target.run, target.kept))) > 50, "they tell next to nothing"


def test_small_changes_of_it_pass(target):
    mutate = import_module("fuzz.mutate").mutate
    random = Random(1)
    for _ in range(2_000):
        data = random.choice(target.kept)
        target.run(mutate(data, target.name, random) or data[: random.randrange(len(data) + 1)])


@pytest.mark.parametrize("target", ["arguments"], indirect=True)
def test_no_place_of_the_arguments_is_quoted(target):
    for head, (tool, way, *rest) in itertools.product(range(32), (data for data in target.kept[::20] if len(data) > 2)):
        target.run(bytes([tool, 8 * head + way % 8, *rest]))
