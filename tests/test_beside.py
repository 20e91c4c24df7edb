"""Several flows are one flow: each goes on as soon as it can, and none is left behind."""

from __future__ import annotations

import asyncio
import time

import pytest

from polycall._beside import Beside, Failed
from polycall._effects import Do, Finished, Sleep, Start
from polycall._pump import pump
from polycall._pump_asyncio import pump_async


class Note:
    """An event that whoever takes wants to see."""

    def __init__(self, what):
        self.what = what


class Taking:
    """Takes what the flows yield; gives the events on, with the key in front."""

    def __init__(self, waiting=lambda _: ()):
        self.taken = []
        self.waited = 0
        self._then = waiting
        self.beside = Beside(self.take, self.waiting, (Note,))

    def take(self, key, item):
        if isinstance(item, Finished):
            item = ("ended", item.result)
        elif isinstance(item, Failed):
            item = ("failed", type(item.error))
        elif isinstance(item, Note):
            item = ("note", item.what)
        self.taken.append((key, item))
        return [(key, item)]

    def waiting(self):
        self.waited += 1
        return self._then(self)


def run(flow):
    *events, last = pump(flow)
    assert isinstance(last, Finished)
    return events


async def run_async(flow):
    *events, last = [event async for event in pump_async(flow)]
    assert isinstance(last, Finished)
    return events


def run_on_asyncio(flow):
    return asyncio.run(run_async(flow))


@pytest.fixture(params=[run, run_on_asyncio])
def drive(request):
    return request.param


def counting(name, *seconds, result=None):
    for number, pause in enumerate(seconds):
        yield f"{name}{number}"
        yield Sleep(pause)
    return result


def test_none_at_all(drive):
    assert drive(Taking().beside.drive()) == []


def test_one_alone_has_its_effects_carried_out_without_anything_beside():
    taking = Taking()

    def flow():
        got = yield Do(lambda: 1)
        yield got
        return "end"

    taking.beside.add("a", flow())
    driving = taking.beside.drive()
    effect = next(driving)
    assert isinstance(effect, Do)
    assert driving.send(effect.work()) == ("a", 1)
    assert next(driving) == ("a", ("ended", "end"))
    with pytest.raises(StopIteration):
        next(driving)


def test_failures_of_effects_are_raised_in_their_flow(drive):
    taking = Taking()

    def flow(name):
        try:
            yield Do(lambda: 1 / 0)
        except ZeroDivisionError:
            yield "caught"
        yield Do(lambda: {}[name])

    taking.beside.add("alone", flow("alone"))
    assert drive(taking.beside.drive()) == [("alone", "caught"), ("alone", ("failed", KeyError))]
    for name in "abc":
        taking.beside.add(name, flow(name))
    drive(taking.beside.drive())
    assert sorted(taking.taken[2:], key=lambda one: one[0]) == [
        (name, what) for name in "abc" for what in ("caught", ("failed", KeyError))
    ]


def test_a_timeout_of_the_work_itself_is_not_ours(drive):
    taking = Taking()

    def late():
        raise TimeoutError

    def flow():
        yield Do(late, 5)

    for name in "ab":
        taking.beside.add(name, flow())
    drive(taking.beside.drive())
    assert sorted(taking.taken) == [(name, ("failed", TimeoutError)) for name in "ab"]


def test_all_wait_at_the_same_time(drive):
    taking = Taking()
    for name in "abcd":
        taking.beside.add(name, counting(name, 0.1, 0.1, result=name))
    start = time.monotonic()
    events = drive(taking.beside.drive())
    assert time.monotonic() - start < 0.6
    for name in "abcd":
        assert [event for key, event in events if key == name] == [f"{name}0", f"{name}1", ("ended", name)]


def test_what_is_done_goes_on_while_another_waits(drive):
    taking = Taking()
    taking.beside.add("slow", counting("slow", 0.3))
    taking.beside.add("quick", counting("quick", 0.0, 0.0, 0.0))
    events = drive(taking.beside.drive())
    assert [key for key, _ in events] == ["slow", "quick", "quick", "quick", "quick", "slow"]


def test_the_last_one_goes_on_alone_once_its_task_is_done():
    taking = Taking()
    taking.beside.add("a", counting("a", 0.0))
    taking.beside.add("b", counting("b", 0.1, 0.0, 0.0))
    started = 0

    def watching():
        nonlocal started
        driving = taking.beside.drive()
        outcome = None
        while True:
            try:
                item = driving.send(outcome)
            except StopIteration:
                return
            started += isinstance(item, Start)
            outcome = yield item

    run(watching())
    assert started == 2  # those for which both had to be waited for
    assert taking.taken[-1] == ("b", ("ended", None))


def test_events_go_through_unless_they_are_wanted(drive):
    taking = Taking()

    def flow():
        yield "plain"
        yield Note("wanted")
        yield Sleep(0)
        yield "plain"

    taking.beside.add("a", flow(), through=True)
    events = drive(taking.beside.drive())
    assert events == ["plain", ("a", ("note", "wanted")), "plain", ("a", ("ended", None))]
    assert taking.taken == [("a", ("note", "wanted")), ("a", ("ended", None))]


def test_flows_are_added_by_what_is_taken_and_before_waiting(drive):
    def waiting(taking):
        if taking.waited == 1:
            taking.beside.add("b", counting("b", 0.0))
            return ["about to wait"]
        return ()

    taking = Taking(waiting)
    take = taking.take

    def adding(key, item):
        yield from take(key, item)
        if (key, item) == ("a", "a0"):
            taking.beside.add("c", counting("c", 0.0))

    taking.beside._take = adding
    taking.beside.add("a", counting("a", 0.0))
    events = drive(taking.beside.drive())
    assert sorted(map(str, events)) == sorted(
        map(str, ["about to wait", *((key, f"{key}0") for key in "abc"), *((key, ("ended", None)) for key in "abc")])
    )


def test_what_taking_raises_ends_all(drive):
    closed = []

    def flow(name):
        try:
            yield name
            yield Sleep(5)
        finally:
            closed.append(name)

    def take(key, item):
        if key == "b":
            raise LookupError
        return ()

    beside = Beside(take, lambda: (), ())
    for name in "abc":
        beside.add(name, flow(name))
    with pytest.raises(LookupError):
        drive(beside.drive())
    assert closed == ["a", "b"]  # the third was never begun


@pytest.mark.parametrize("count", [1, 3])
def test_closing_closes_every_flow(count):
    closed = []

    def flow(name):
        try:
            yield Sleep(5)
        finally:
            closed.append(name)

    taking = Taking()
    for name in range(count):
        taking.beside.add(name, flow(name))
    driving = taking.beside.drive()
    next(driving)
    driving.close()
    assert closed == list(range(count))
