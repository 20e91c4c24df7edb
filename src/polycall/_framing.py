"""Bytes of a response -> the JSON events in it: a whole body, server-sent events, JSON lines or a JSON array.

The format is read off the first bytes and not off the headers: servers send streams as ``text/plain``, whole bodies where
a stream was asked for, and error pages with status 200.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jiter
from typing_extensions import override

from polycall._closing import Closing
from polycall.errors import TransportError
from polycall.types import JsonObject, is_array, is_object

_NOTHING: Final = b" \t\n\r\x0b\x0c\xef\xbb\xbf"
"""White space, and the bytes of a byte order mark."""
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")
_DONE: Final = b"[DONE]"
_WINDOW: Final = 8_192
_ELEMENT: Final = re.compile(r'[{"\[\]]')
_INSIDE_STRING: Final = re.compile(r'["\\]')
_PRETTY: Final = re.compile(rb"\{[ \t\r]*\n")
_LONGEST_INTEGER: Final = 4_300
_DEEPEST: Final = 300
_LONGEST_SHOWN: Final = 8_000  # cut again when secrets have been taken out


class Framing:
    """Splits one response into events. Feed it what arrives, then close it.

    Attributes:
        done: Whether the ``[DONE]`` marker was read: the stream ended as it should.
        whole: Whether the response is one JSON body; None while nothing but white space has arrived.
        streaming: Whether a line of a stream was read, be it a comment.
    """

    __slots__ = ("_array", "_data", "_error", "_json_lines", "_parts", "done", "streaming", "whole")

    def __init__(self, *, json_lines: bool = False) -> None:
        """Start at the first byte of a response; ``json_lines`` says that a stream has an event on each line."""
        self._json_lines = json_lines
        self._array: Elements | None = None
        self.done = False
        self.whole: bool | None = None
        self.streaming = False
        self._parts: list[bytes] = []  # of a whole body, or of a line that is not complete
        self._data: list[bytes] = []  # the data lines of the event that is not complete
        self._error = False  # whether the event that is not complete is named so

    def feed(self, chunk: bytes | Mapping[str, Any]) -> Iterator[JsonObject]:
        """Yield the events that ``chunk`` completes. An SDK that parses by itself feeds mappings.

        Raises:
            TransportError: What arrives is no JSON object, or nothing that a service sends.
        """
        if not isinstance(chunk, bytes):
            yield dict(chunk)
            return
        if self.whole is None:
            chunk = self._sniff(chunk)
        if self._array is not None:
            if self._array.empty:
                self._parts.append(chunk)
            yield from map(parse_event, self._array.feed(chunk))
            self.done = self._array.closed
        elif self.whole:
            self._parts.append(chunk)
        elif self.whole is False:
            yield from self._lines(chunk)

    def close(self) -> Iterator[JsonObject]:
        """Yield what the end of the response completes.

        Raises:
            TransportError: A whole body is no JSON object. The unfinished event of a stream that broke off is dropped.
        """
        if self.whole:
            yield parse_event(b"".join(self._parts))
        elif self._array is not None:
            if self._array.empty:
                parse_event(b"".join(self._parts))  # which tells what came instead
        elif self.whole is False:
            yield from self._lines(b"\n")
            try:
                last = self._event()
            except TransportError:
                return  # cut inside an event: the missing end of the answer tells the story
            if last is not None:
                yield last

    def _sniff(self, chunk: bytes) -> bytes:
        start = chunk.lstrip(_NOTHING)  # servers send white space to keep the connection alive
        if not start:
            return b""
        if start.startswith(b"<"):
            message = "the server answered with an HTML page instead of JSON: check base_url and what stands between"
            raise TransportError(message, body=start[:_LONGEST_SHOWN].decode(errors="replace"), transient=True)
        if start.startswith(b"["):  # Google streams so where nobody asks for server-sent events
            self._array, self.whole, self.streaming = Elements(), False, True
        else:
            self.whole = start[:1] in b'{"' and not self._json_lines
        return start

    def _lines(self, chunk: bytes) -> Iterator[JsonObject]:
        if b"\n" not in chunk and b"\r" not in chunk:
            self._parts.append(chunk)
            return
        if self._parts:
            chunk = b"".join((*self._parts, chunk))
            self._parts.clear()
        if self._json_lines and not self.streaming and _PRETTY.match(chunk):  # no event: a whole body over many lines
            self.whole = True
            self._parts.append(chunk)
            return
        lines = chunk.splitlines(keepends=True)
        if not lines[-1].endswith(b"\n"):  # a line at the end may go on, and so may a lone CR (as CR LF)
            self._parts.append(lines.pop())
        for raw in lines:
            if self.done:
                return  # what comes behind the end is no part of the answer
            if (event := self._line(raw.rstrip(b"\r\n"))) is not None:
                yield event

    def _line(self, line: bytes) -> JsonObject | None:
        if self._json_lines and line.lstrip().startswith(b"{"):
            self.streaming = True
            return parse_event(line)
        if not self.streaming:
            self.streaming = line.startswith(_FIELDS)
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._error = line[6:].strip() == b"error"
        return None if line else self._event()

    def _event(self) -> JsonObject | None:
        if not self._data:
            self._error = False
            return None
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        error, self._error = self._error, False
        if data.strip() == _DONE:
            self.done = True
            return None
        event = parse_event(data) if data.strip() else None
        return {"error": event} if error and event is not None and "error" not in event else event


class Elements:
    """Splits a JSON array that arrives in pieces into the objects in it.

    Attributes:
        closed: Whether the array has closed.
        empty: Whether no object was seen in it.
    """

    __slots__ = ("_closing", "_depth", "_escaped", "_parts", "_string", "closed", "empty")

    def __init__(self) -> None:
        """Start before the bracket that opens the array."""
        self.closed = False
        self.empty = True
        self._closing: Closing | None = None
        self._parts: list[str] = []
        self._depth = 0
        self._string = False
        self._escaped: bool = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the elements that ``chunk`` completes."""
        for start in range(0, len(chunk), _WINDOW):  # what is left of it is copied for every element
            yield from self._feed(chunk[start : start + _WINDOW].decode("latin-1"))

    def _feed(self, text: str) -> Iterator[bytes]:
        """Yield the elements that ``text``, a letter a byte, completes: only brackets and quotes are looked at."""
        while text and not self.closed:
            if self._closing is None:
                text = self._skipped(text)
                continue
            end = self._closing.feed(text)
            self._parts.append(text[:end])
            if end is None:
                return
            yield "".join(self._parts).encode("latin-1")
            text, self._closing = text[end:], None
            self._parts.clear()

    def _skipped(self, text: str) -> str:
        """Return the text from where the next object opens, in this array or in one within it; nothing where none does."""
        position, self._escaped = int(self._escaped), False
        while (found := (_INSIDE_STRING if self._string else _ELEMENT).search(text, position)) is not None:
            position = found.end()
            match found.group():
                case '"':
                    self._string = not self._string
                case "\\":
                    self._escaped = position == len(text)
                    position += 1
                case "{":
                    self._closing, self.empty = Closing(), False
                    return text[found.start() :]
                case bracket:
                    self._depth += 1 if bracket == "[" else -1
                    self.closed = self._depth == 0
            if self.closed:
                break
        return ""


def parse_event(data: bytes) -> JsonObject:
    """Parse one JSON object.

    Raises:
        TransportError: ``data`` is not JSON, or no object.
    """
    try:
        event = jiter.from_json(data, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError:
        event = _parse_leniently(data)
    if not is_object(event):
        message = f"the server answered with a JSON {type(event).__name__} instead of an object"
        raise TransportError(message, body=data[:_LONGEST_SHOWN].decode(errors="replace"), transient=True)
    return event


def _parse_leniently(data: bytes) -> Any:
    """Parse what strict JSON refuses, so that one bad call does not take the others of its event with it.

    Lone surrogates pass (bytes that are no UTF-8 become some), and so do repeated keys and integers too long to read: the check
    of the arguments refuses what is made of them.
    """
    try:
        parsed = json.loads(data.decode("utf-8-sig", "surrogateescape"), object_pairs_hook=_pairs, parse_int=_integer)
        _check_depth(parsed)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deep" if isinstance(error, RecursionError) else "it is not JSON, or cut"
        message = f"the server's answer cannot be read: {reason}" if data.strip() else "the server's answer is empty"
        raise TransportError(message, body=data[:_LONGEST_SHOWN].decode(errors="replace"), transient=True) from None
    return parsed


def _check_depth(value: Any) -> None:
    """Refuse what nests deeper than the strict parser takes: who walks through it later would run out of stack."""
    inner = [value]
    for _ in range(_DEEPEST):
        inner = [one for outer in inner for one in _inside(outer)]
    if inner:
        raise RecursionError


def _inside(value: Any) -> list[Any]:
    return [inner for _, inner in value.items()] if is_object(value) else value if is_array(value) else []


class _Repeated(dict[str, Any]):
    """An object with repeated keys; its items are all the pairs, so that it is written back as it was."""

    __slots__ = ("_given",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self._given = pairs

    @override
    def items(self) -> Any:  # what json.dumps reads
        return self._given


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else _Repeated(pairs)


def _integer(digits: str) -> float | int:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float("nan")


def arguments_text(arguments: object) -> str:
    """Write arguments that came as JSON values back as JSON text; what strict JSON cannot say is refused later, by the check."""
    return json.dumps(arguments, ensure_ascii=False)
