"""Ways to spoil an honest answer, to make faults of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

from polycall.testing._faults import Cut, Honest, Spoil
from polycall.testing._format import Event, json_bytes
from polycall.testing._wire import Answer, Drop, Piece, Raw, Wait, head
from polycall.types import JsonObject

Change = Callable[[list[JsonObject]], Sequence[Any]]
"""Changes the calls of a message; they are a copy."""


def told(
    body: Any = b"", status: int = 200, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Spoil:
    """Answer something else; what is not bytes is written as JSON."""
    answer = Answer(body if isinstance(body, bytes) else json_bytes(body), status, content_type, headers=dict(headers or {}))
    return lambda _: answer


def error(status: int, message: str, *, type: str = "invalid_request_error", code: str | None = None, **headers: str) -> Spoil:
    """Answer an error in the words of OpenAI's service; in the names of headers ``_`` stands for ``-``."""
    body = {"error": {"message": message, "type": type, "param": None, "code": code}}
    return told(body, status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def page(status: int, title: str) -> Spoil:
    """Answer an HTML page, as what stands between does."""
    html = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return told(html.encode(), status, "text/html; charset=utf-8")


def wire(*pieces: Piece) -> Spoil:
    """Answer these bytes, and hang up."""
    return lambda _: Raw(pieces)


def before(*pieces: Piece) -> Spoil:
    """Let something happen before the honest answer."""

    def spoil(honest: Honest) -> Raw:
        return Raw([*pieces, *honest.answer().wire()], kept=True)

    return spoil


def framed(
    *headers: tuple[str, str],
    line: str = "HTTP/1.1 200 OK",
    body: Callable[[bytes], bytes] = bytes,
    behind: Sequence[Piece] = (Drop(),),
    length: bool = False,
) -> Spoil:
    """Answer the honest body in one piece, below a head of its own.

    Args:
        headers: Those beside the content type; ``{length}`` and ``{half}`` stand for the true length, and half of it.
        line: The status line.
        body: Changes the body.
        behind: What happens behind it.
        length: Whether the right length is told.
    """

    def spoil(honest: Honest) -> Raw:
        sent = body(honest.flat())
        told_length = [("content-length", str(len(sent)))] if length else []
        given = [
            (name, value.replace("{length}", str(len(sent))).replace("{half}", str(len(sent) // 2))) for name, value in headers
        ]
        start = head(line, [("content-type", honest.content_type), *given, *told_length])
        return Raw((start + sent, *behind), kept=not behind)

    return spoil


def rewritten(change: Callable[[bytes], Iterable[Piece]], *, kept: bool = True) -> Spoil:
    """Answer what ``change`` makes of all the bytes of the honest answer, its head among them."""

    def spoil(honest: Honest) -> Raw:
        flat = honest.flat()
        start = head("HTTP/1.1 200 OK", [("content-type", honest.content_type), ("content-length", str(len(flat)))])
        return Raw(change(start + flat), kept=kept)

    return spoil


def dripped(data: bytes, seconds: float) -> Iterable[Piece]:
    """Yield the bytes one by one, a wait before each."""
    for number in range(len(data)):
        yield Wait(seconds)
        yield data[number : number + 1]


def for_ever(piece: bytes, seconds: float) -> Iterable[Piece]:
    """Yield the same bytes again and again."""
    for _ in count():
        yield piece
        if seconds:
            yield Wait(seconds)


def streamed(change: Callable[[list[bytes]], Iterable[Piece]], *, ended: bool = True) -> Spoil:
    """Answer what ``change`` makes of the bytes of the events; a whole answer stays as it is."""

    def spoil(honest: Honest) -> Answer:
        if not honest.streamed:
            return honest.answer()
        return Answer(change(honest.frames()), content_type=honest.content_type, ended=ended)

    return spoil


def on_events(change: Callable[[list[Event]], Iterable[Event]], *, cut_up: bool = True) -> Spoil:
    """Answer what ``change`` makes of the events; a whole answer stays as it is."""

    def spoil(honest: Honest) -> Answer:
        return honest.play(change(honest.events(cut_up=cut_up))) if honest.streamed else honest.answer()

    return spoil


def on_chunks(change: Callable[[JsonObject], Any], *, cut_up: bool = True) -> Spoil:
    """Answer what ``change`` makes of each chunk, or of the whole body; it may change what it is given, and return None."""

    def changed(value: JsonObject) -> Any:
        made = change(value)
        return value if made is None else made

    def spoil(honest: Honest) -> Answer:
        if not honest.streamed:
            return Answer(json_bytes(changed(honest.body())))
        events = honest.events(cut_up=cut_up)
        return honest.play(
            one if isinstance(one.data, str) else Event(changed(copy.deepcopy(one.data)), one.at) for one in events
        )

    return spoil


def on_choices(change: Callable[[JsonObject], Any]) -> Spoil:
    """Answer what ``change`` makes of each choice, in chunks and in the whole body."""

    def each(chunk: JsonObject) -> None:
        chunk["choices"] = [change(choice) or choice for choice in chunk["choices"]]

    return on_chunks(each)


def on_messages(change: Callable[[JsonObject], Any]) -> Spoil:
    """Answer what ``change`` makes of each delta, and of the message of a whole body."""

    def each(choice: JsonObject) -> None:
        key = "message" if "message" in choice else "delta"
        made = change(choice[key])
        if made is not None:
            choice[key] = made

    return on_choices(each)


def on_calls(change: Change, *, cut_up: bool = False) -> Spoil:
    """Answer what ``change`` makes of the calls; in a stream each comes in one delta, or cut up as the script says."""
    return lambda honest: honest.answer(change(honest.entries()), cut_up=cut_up)


def streamed_at(cut: Cut, change: Callable[[list[bytes], int], Iterable[Piece]], *, ended: bool = True) -> Spoil:
    """Answer what ``change`` makes of the bytes of the events and a place among them; a whole answer stays as it is."""

    def spoil(honest: Honest) -> Answer:
        if not honest.streamed:
            return honest.answer()
        return Answer(change(honest.frames(), honest.place(cut)), content_type=honest.content_type, ended=ended)

    return spoil


def on_call(change: Callable[[JsonObject], Any], place: int = 1, *, cut_up: bool = False) -> Spoil:
    """Answer what ``change`` makes of one call, the last if there are fewer; it may change it in place and return None."""

    def each(entries: list[JsonObject]) -> list[Any]:
        changed: list[Any] = [*entries]
        if entries:
            number = min(place, len(entries) - 1)
            made = change(entries[number])
            changed[number] = entries[number] if made is None else made
        return changed

    return on_calls(each, cut_up=cut_up)


def arguments(text: Any | Callable[[str], Any], *, place: int = 1, cut_up: bool = False) -> Spoil:
    """Answer other arguments in one call: these, or what a function makes of the honest ones."""

    def spoil(honest: Honest) -> Answer:
        entries: list[Any] = [*honest.entries()]
        if entries:
            number = min(place, len(entries) - 1)
            given = text(honest.saying.calls[number].arguments) if callable(text) else text
            entries[number] = honest.format.changed(entries[number], arguments=given)
        return honest.answer(entries, cut_up=cut_up)

    return spoil


def named(name: Any | Callable[[str], Any]) -> Spoil:
    """Answer another name in one call: this, or what a function makes of the honest one."""

    def spoil(honest: Honest) -> Answer:
        entries: list[Any] = [*honest.entries()]
        if entries:
            number = min(1, len(entries) - 1)
            given = name(honest.saying.calls[number].name) if callable(name) else name
            entries[number] = honest.format.changed(entries[number], given)
        return honest.answer(entries, cut_up=False)

    return spoil


@cache
def filler(mebibytes: int) -> bytes:
    """Return so much text, made once."""
    return b"x" * (mebibytes << 20)
