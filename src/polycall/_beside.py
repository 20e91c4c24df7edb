"""Several flows driven side by side, as one flow; with one alone it costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Generic, TypeVar, get_args

from typing_extensions import override

from polycall._effects import Driving, Effect, Finished, First, Flow, Start, Task

K = TypeVar("K", bound=Hashable)

__all__ = ["Beside", "Failed"]


class Failed:
    """What a flow raised."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        """Hold the error."""
        self.error = error


class Beside(Generic[K]):
    """Flows that go on side by side. Only this object runs them, one step at a time; what they wait for goes on at once."""

    def __init__(
        self, take: Callable[[K, Any], Iterable[Any]], waiting: Callable[[], Iterable[Any]], taken: Collection[type]
    ) -> None:
        """Start with no flow.

        Args:
            take: Told what each flow yields beside effects, and last its `Finished` or `Failed`; returns what to yield for it.
                It may add flows, and what it raises ends all of them.
            waiting: Called before anything is waited for; returns what to yield, and may add flows too.
            taken: The types of events that `take` wants to see of every flow.
        """
        self._kept = frozenset({*taken, Finished, Failed, *get_args(Effect)})
        self._take = take
        self._waiting = waiting
        self._lanes: list[_Lane[K]] = []

    def add(self, key: K, flow: Flow[Any], *, through: bool = False) -> None:
        """Add a flow, by a key that `take` is told; with ``through`` only what is wanted there goes by way of `take`."""
        self._lanes.append(_Lane(key, flow, through=through))

    def drive(self) -> Flow[None]:
        """Go on until every flow has ended."""
        lanes, take, kept = self._lanes, self._take, self._kept
        try:
            while lanes:
                for lane in tuple(lanes):
                    while lane.ready:
                        item = lane.step()
                        if lane.through and type(item) not in kept:
                            yield item
                        elif isinstance(item, Effect):
                            lane.effect, lane.ready = item, False
                        else:
                            if lane.ended:
                                lanes.remove(lane)
                            yield from take(lane.key, item)
                yield from self._waiting()
                if len(lanes) == 1 and lanes[0].effect is not None:
                    yield from lanes[0].carry_out()
                elif lanes and not any(lane.ready for lane in lanes):
                    yield from self._first()
        finally:
            for lane in lanes:
                lane.close()

    def _first(self) -> Flow[None]:
        """Wait until one of the flows can go on."""
        for lane in self._lanes:
            if lane.effect is not None:
                lane.task, lane.effect = (yield Start(lane.effect)), None
        by_task = {id(lane.task): lane for lane in self._lanes}
        done = yield First(tuple(lane.task for lane in self._lanes if lane.task is not None))
        by_task[id(done)].go_on()


class _Lane(Driving[Any], Generic[K]):
    """One of the flows.

    Attributes:
        through: Whether its events are yielded as they are.
        ready: Whether it can go on now.
        ended: Whether it has ended.
        effect: What it asks for and was not begun yet.
        task: What it waits for.
    """

    __slots__ = ("effect", "ended", "key", "ready", "task", "through")

    def __init__(self, key: K, flow: Flow[Any], *, through: bool) -> None:
        super().__init__(flow)
        self.key = key
        self.through = through
        self.effect: Effect | None = None
        self.task: Task | None = None
        self.ready = True
        self.ended = False

    @override
    def step(self) -> Any:
        item: Any
        try:
            item = super().step()
        except Exception as error:  # noqa: BLE001  # told to who takes it
            item = Failed(error)
        self.ended = isinstance(item, Finished | Failed)
        self.ready = not self.ended
        return item

    def carry_out(self) -> Flow[None]:
        """Have its effect carried out while nothing else goes on."""
        effect, self.effect, self.ready = self.effect, None, True
        try:
            self.give((yield effect))
        except Exception as error:  # noqa: BLE001  # raised again, inside the flow
            self.fail(error)

    def go_on(self) -> None:
        """Give it what its task brought."""
        task, self.task, self.ready = self.task, None, True
        try:
            self.give(None if task is None else task.result())
        except Exception as error:  # noqa: BLE001  # raised again, inside the flow
            self.fail(error)
