"""Faults of calls: how they are listed, numbered, named and cut up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final

from polycall.testing._chat_format import DONE
from polycall.testing._faults import ALL, KEPT, RECOVERED, Arrival, Arrivals, Fault, Honest, Outcome, Spoil, arrives
from polycall.testing._format import Event
from polycall.testing._script import Said
from polycall.testing._spoiling import named, on_call, on_calls, on_events, on_messages
from polycall.testing._wire import Played
from polycall.types import JsonObject

_row = partial(Fault, where="calls")
_ANY: Final[tuple[Outcome, ...]] = ("recovered", "kept", "error")
_MANY: Final = 1_025


def _both(name: str, about: str, spoil: Spoil, honest: tuple[Outcome, ...] = RECOVERED, arrivals: Arrivals = ALL) -> Fault:
    return _row(name=name, about=about, whole=honest, streamed=honest, spoil=spoil, arrivals=arrivals)


def _stream(name: str, about: str, spoil: Spoil, honest: tuple[Outcome, ...] = RECOVERED, arrivals: Arrivals = ALL) -> Fault:
    return _row(name=name, about=about, whole=(), streamed=honest, spoil=spoil, arrivals=arrivals)


def _bad(name: str, about: str, spoil: Spoil, honest: tuple[Outcome, ...] = KEPT) -> Fault:
    return _both(name, about, spoil, honest, arrives("good", "bad" if honest == KEPT else "either"))


def _deltas(change: Callable[[JsonObject, int], Any]) -> Spoil:
    """Answer what ``change`` makes of each piece of a call, given with its position among the pieces of all calls."""

    def changed(events: list[Event]) -> Iterator[Event]:
        number = 0
        for event in events:
            entry = entry_of(event)
            if entry is not None:
                made = change(entry, number)
                number += 1
                yield with_entries(event, [entry if made is None else made])
            else:
                yield event

    return on_events(changed_list(changed))


def changed_list(change: Callable[[list[Event]], Iterator[Event]]) -> Callable[[list[Event]], list[Event]]:
    """Return the same, giving a list."""
    return lambda events: [*change(events)]


def entry_of(event: Event) -> JsonObject | None:
    """Return the piece of a call in an event."""
    if event.data == DONE or not event.data["choices"]:
        return None
    entries: list[JsonObject] | None = event.data["choices"][0]["delta"].get("tool_calls")
    return entries[0] if entries else None


def with_entries(event: Event, entries: Any) -> Event:
    """Return the event with other pieces of calls."""
    choice = {**event.data["choices"][0], "delta": {"tool_calls": entries}}
    return Event({**event.data, "choices": [choice]}, event.at)


def _index(value: Callable[[int], Any]) -> Spoil:
    """Number the calls otherwise; ``...`` takes the number away."""

    def change(entry: JsonObject, _: int) -> None:
        entry["index"] = value(entry["index"])
        if entry["index"] is ...:
            del entry["index"]

    return _deltas(change)


def _ids(value: Callable[[int], Any]) -> Spoil:
    """Give other ids; ``...`` takes them away."""

    def change(entries: list[JsonObject]) -> list[JsonObject]:
        for number, entry in enumerate(entries):
            entry["id"] = value(number)
            if entry["id"] is ...:
                del entry["id"]
        return entries

    return on_calls(change, cut_up=True)


def _grouped(events: list[Event]) -> tuple[list[Event], list[list[Event]], list[Event]]:
    """Split the events into those before the calls, those of each call, and those behind."""
    calls = [number for number, event in enumerate(events) if entry_of(event) is not None]
    by_call: dict[Any, list[Event]] = {}
    for number in calls:
        by_call.setdefault((entry_of(events[number]) or {})["index"], []).append(events[number])
    return events[: calls[0]], list(by_call.values()), events[calls[-1] + 1 :]


def _interleaved(events: list[Event]) -> list[Event]:
    first, calls, last = _grouped(events)
    heads = [call[0] for call in calls]
    rest = chain.from_iterable(zip_longest(*(call[1:] for call in calls)))
    return [*first, *heads, *(event for event in rest if event is not None), *last]


def _in_one(events: list[Event]) -> list[Event]:
    first, calls, last = _grouped(events)
    entries = [entry_of(event) for call in calls for event in call]
    return [*first, with_entries(calls[0][0], entries), *last]


def _again(events: list[Event]) -> list[Event]:
    """Send the second call twice, the same in everything."""
    first, calls, last = _grouped(events)
    return [*first, *chain.from_iterable([*calls[:2], *calls[1:]]), *last]


def _repeat(entries: list[JsonObject]) -> list[JsonObject]:
    """Make the second call twice, with an id of its own."""
    return [*entries[:2], {**entries[1], "id": "call_again"}, *entries[2:]]


def _repeated(calls: Sequence[Said], _: bool) -> list[Arrival]:  # noqa: FBT001  # as every such function
    return [Arrival(call) for call in (*calls[:2], *calls[1:])]


def _as_object(honest: Honest) -> Played:
    """Give an object where a list is due: one call of a whole answer, each piece of a stream."""
    if honest.streamed:
        return honest.play(
            [event if (entry := entry_of(event)) is None else with_entries(event, entry) for event in honest.events()]
        )
    first = honest.entries()[:1]

    def change(message: JsonObject) -> None:
        message["tool_calls"] = first[0]

    return on_messages(change)(honest)


def _first_of_whole(calls: Sequence[Said], streamed: bool) -> list[Arrival]:  # noqa: FBT001  # as every such function
    return [Arrival(call) for call in (calls if streamed else calls[:1])]


def _late_name(events: list[Event]) -> Iterator[Event]:
    """Tell the name of each call behind its arguments."""
    first, calls, last = _grouped(events)
    yield from first
    for call in calls:
        head = entry_of(call[0]) or {}
        yield with_entries(call[0], [{**head, "function": {"arguments": ""}}])
        *pieces, end = call[1:] or call
        yield from pieces
        tail = entry_of(end) or {}
        yield with_entries(end, [{**tail, "function": {**tail["function"], "name": head["function"]["name"]}}])
    yield from last


def _split_name(events: list[Event]) -> Iterator[Event]:
    """Send the name of the second call in two pieces."""
    for event in events:
        entry = entry_of(event)
        name = entry["function"].get("name") if entry is not None else None
        if entry is None or name is None or entry["index"] != 1:
            yield event
            continue
        yield with_entries(event, [{**entry, "function": {"name": name[:3], "arguments": ""}}])
        yield with_entries(event, [{"index": 1, "function": {"name": name[3:], "arguments": ""}}])


def _set(**fields: Any) -> Spoil:
    """Set fields of the second call."""
    return on_call(lambda entry: entry.update(fields))


def _repeating(what: str) -> Spoil:
    def change(events: list[Event]) -> Iterator[Event]:
        heads: dict[Any, JsonObject] = {}
        for event in events:
            entry = entry_of(event)
            if entry is not None:
                first = heads.setdefault(entry["index"], entry)
                if what == "id":
                    entry["id"] = first["id"]
                else:
                    entry["function"]["name"] = first["function"]["name"]
            yield event

    return on_events(changed_list(change))


def _new_id(entry: JsonObject, number: int) -> None:
    entry["id"] = f"delta_{number}"


NUMBERS: Final = (
    _stream("index-all-zero", "every call has index 0", _index(lambda _: 0)),
    _stream("index-missing", "no call has an index", _index(lambda _: ...)),
    _stream("index-null", "every index is null", _index(lambda _: None)),
    _stream("index-negative", "the indexes are negative", _index(lambda index: -1 - index)),
    _stream("index-float", "the indexes are 0.0, 1.0, 2.0", _index(float)),
    _stream("index-string", "the indexes are text", _index(str)),
    _stream("index-huge", "the indexes are beyond 64 bits", _index(lambda index: 10**30 + index)),
    _stream("index-with-gaps", "the indexes are 3, 10, 17", _index(lambda index: 3 + 7 * index)),
    _stream("index-object", "the indexes are objects", _index(lambda index: {"i": index}), _ANY),
    _both("ids-missing", "no call has an id", _ids(lambda _: ...)),
    _both("ids-null", "every id is null", _ids(lambda _: None)),
    _both("ids-empty", "every id is empty", _ids(lambda _: "")),
    _both("ids-equal", "every call has the same id", _ids(lambda _: "call_1")),
    _both("ids-numbers", "the ids are numbers", _ids(lambda number: number)),
    _both("ids-of-64-kib", "the ids are 64 KiB long", _ids(lambda number: f"{number}" * (64 << 10))),
    _both("ids-control-characters", "the ids hold control characters", _ids(lambda number: f"\0\r\n\x1b[31m{number}\u202e")),
    _both("ids-objects", "the ids are objects", _ids(lambda number: {"id": number})),
    _stream("id-in-every-delta", "the id comes with every piece", _repeating("id")),
    _stream("id-new-in-every-delta", "every piece has an id of its own", _deltas(_new_id), _ANY),
    _both(
        "type-missing",
        "no call tells its type",
        on_calls(lambda entries: [{key: value for key, value in entry.items() if key != "type"} for entry in entries]),
    ),
    _both("type-unknown", "the type of a call is none that is known", _set(type="tool")),
)

LISTS: Final = (
    _both(
        "calls-1025",
        "1,025 calls",
        on_calls(lambda entries: [{**entries[0], "id": f"call_{number}"} for number in range(_MANY)]),
        _ANY,
        lambda calls, _: [Arrival(calls[0])] * _MANY,
    ),
    _stream("calls-interleaved", "the pieces of the calls come by turns", on_events(_interleaved)),
    _stream("calls-in-one-chunk", "all pieces of all calls in one chunk", on_events(_in_one)),
    _stream("call-sent-twice", "the second call is sent again, the same in everything", on_events(_again)),
    _both("call-made-twice", "the second call is made again, with another id", on_calls(_repeat), arrivals=_repeated),
    _both("tool-calls-as-object", "an object stands where the list of calls is due", _as_object, arrivals=_first_of_whole),
    _bad("call-null", "a call is null", on_calls(lambda entries: [*entries[:1], None, *entries[2:]])),
    _bad("call-string", "a call is text", on_call(lambda _: "Weather")),
    _bad("call-empty", "a call is an empty object", on_call(lambda entry: entry.clear())),
    _bad("function-null", "the function of a call is null", _set(function=None)),
    _bad("function-string", "the function of a call is text", _set(function="Weather")),
    _bad("function-missing", "a call has no function", on_call(lambda entry: entry.pop("function") and None)),
    _bad("function-array", "the function of a call is a list", _set(function=["Weather"])),
)

NAMES: Final = (
    _bad("name-unknown", "a tool that was not offered", named("GetWeather")),
    _bad("name-empty", "a name that is empty", named("")),
    _bad("name-null", "a name that is null", named(None)),
    _bad("name-missing", "no name", on_call(lambda entry: entry["function"].pop("name") and None)),
    _bad("name-number", "a name that is a number", named(5)),
    _bad("name-object", "a name that is an object", named({"name": "Weather"})),
    _bad("name-other-case", "a name in another case", named(str.lower)),
    _bad("name-with-blanks", "a name between blanks", named(lambda name: f" {name} "), ("kept", "recovered")),
    _bad("name-with-prefix", "a name behind `functions.`", named(lambda name: f"functions.{name}"), ("kept", "recovered")),
    _bad("name-look-alike", "a name with a letter of another script", named(lambda name: name.replace("e", "\u0435"))),
    _bad("name-control-characters", "a name with control characters", named(lambda name: f"{name}\0\x1b[31m\n")),
    _bad("name-of-64-kib", "a name of 64 KiB", named(lambda name: name * 10_000)),
    _bad("name-with-arguments", "a name with the arguments in it", named(lambda name: f'{name}(location="Dallas")')),
    _bad("name-dunder", "the name of something inside Python", named("__class__")),
    _stream("name-in-every-delta", "the name comes with every piece", _repeating("name")),
    _stream("name-late", "the name comes behind the arguments", on_events(changed_list(_late_name))),
    _stream(
        "name-split",
        "the name comes in two pieces",
        on_events(changed_list(_split_name)),
        ("recovered", "kept", "error"),
        arrives("good", "either"),
    ),
)
