"""What a model server needs to know of a wire format: how its service words an answer, and which conversations it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from polycall.testing._script import Saying
from polycall.testing._wire import Answer, Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = [
    "EVENT_STREAM",
    "Event",
    "Format",
    "argument_object",
    "argument_text",
    "counts",
    "digest",
    "event_bytes",
    "json_bytes",
    "object_or_text",
    "objects",
    "paced",
    "split",
    "text_of",
]

EVENT_STREAM: Final = "text/event-stream"
_WRAPPED: Final = "invalid_arguments"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        data: A JSON value, or a text that is sent as it is.
        at: Seconds since the request.
    """

    data: Any
    at: float = 0.0


def json_bytes(value: Any) -> bytes:
    """Write JSON; lone surrogates become escapes, as a server's library would write them."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def event_bytes(data: Any, name: str | None = None) -> bytes:
    """Write one server-sent event, with its name if it has one."""
    named = b"" if name is None else b"event: %s\n" % name.encode()
    return named + b"data: %s\n\n" % (data.encode() if isinstance(data, str) else json_bytes(data))


class Format(ABC):
    """One wire format, written: the words of its service, and its rules.

    A format is given what the model says (`polycall.testing` plays that off a script), and it reads off a conversation what the
    model has said before. It remembers nothing that a request does not hold, but what its real service keeps.

    Attributes:
        name: What people call it.
    """

    name: str

    @abstractmethod
    def speaks(self, path: str) -> bool:
        """Whether requests to this path, its query left out, are of this format."""

    @abstractmethod
    def problem(self, sent: Sent) -> Answer | None:
        """Return what the real service answers to a request that breaks its rules; None when it keeps them."""

    @abstractmethod
    def streamed(self, sent: Sent) -> bool:
        """Whether a stream is asked for."""

    @abstractmethod
    def answers(self, sent: Sent) -> list[list[tuple[str, str]]]:
        """Return the model's answers in the conversation: the names and argument texts of the calls of each."""

    @abstractmethod
    def entries(self, saying: Saying) -> list[JsonObject]:
        """Return the calls as they stand in the model's turn."""

    @abstractmethod
    def body(self, sent: Sent, saying: Saying, entries: Sequence[Any]) -> JsonObject:
        """Return a whole response."""

    @abstractmethod
    def events(self, sent: Sent, saying: Saying, entries: Sequence[Any], pieces: int | None) -> list[Event]:
        """Return the events of a stream; ``pieces`` is how many characters of arguments one has, None for all."""

    def changed(self, entry: Any, name: Any = ..., arguments: Any = ...) -> Any:
        """Return a call with another name, or with other arguments: a text, or any JSON value.

        Args:
            entry: As `entries` gives it.
            name: The name; ``...`` leaves it.
            arguments: The arguments; ``...`` leaves them.
        """
        raise NotImplementedError(f"{self.name}: calls cannot be changed")

    def call_of(self, data: Any) -> Any:  # noqa: ARG002  # for those that know
        """Return a key of the call that an event is part of; None where it is part of none."""
        return None

    def calls_in(self, events: Sequence[Event]) -> list[list[int]]:
        """Return which events of a stream each call is made of, by their positions."""
        found: dict[Any, list[int]] = {}
        for number, event in enumerate(events):
            key = self.call_of(event.data)
            if key is not None:
                found.setdefault(key, []).append(number)
        return list(found.values())

    @abstractmethod
    def error(self, status: int, message: str, *, type: str = "", code: str | None = None, param: str | None = None) -> Answer:
        """Return an error in the words of the service; an empty ``type`` is the one that fits the status."""

    def content_type(self, sent: Sent) -> str:
        """Return the content type of an answer."""
        return EVENT_STREAM if self.streamed(sent) else "application/json"

    def frame(self, sent: Sent, number: int, data: Any) -> bytes:  # noqa: ARG002  # for those whose frames differ
        """Write one event of a stream, the ``number``-th from 0."""
        return event_bytes(data)

    def key(self, sent: Sent) -> str:
        """Return the key that was sent."""
        return sent.headers.get("authorization", "").removeprefix("Bearer ") or sent.headers.get("api-key", "")

    def locked_out(self, given: str) -> Answer:  # noqa: ARG002  # some say what was wrong with it
        """Return what is answered to a key that is not taken."""
        return self.error(401, "invalid api key")


def objects(value: Any) -> list[JsonObject]:
    """Return the objects of a list; nothing where it is none."""
    return [one for one in value if is_object(one)] if is_array(value) else []


def split(text: str, size: int | None) -> list[str]:
    """Split text into pieces of so many characters, or give it as one; nothing of an empty text."""
    return [text[start : start + (size or len(text))] for start in range(0, len(text), size or len(text) or 1)]


def paced(saying: Saying, counts: Sequence[int]) -> Iterator[list[float]]:
    """Yield when each of the ``counts`` events of each call is sent: evenly, so that the last comes when the call is complete."""
    began = 0.0
    for position, count in enumerate(counts):
        ends = saying.calls[min(position, len(saying.calls) - 1)].at if saying.calls else saying.end
        step = (ends - began) / max(count, 1)
        yield [began + step * number for number in range(1, count + 1)]
        began = ends


def counts(sent: Sent, saying: Saying) -> tuple[int, int]:
    """Return tokens of the request and of the answer, of the right order: a token is about four characters."""
    answer = len(saying.text) // 4 + sum(8 + len(call.arguments) // 4 for call in saying.calls)
    return len(sent.raw) // 4, answer


def text_of(content: Any, key: str = "text") -> str:
    """Return the text of a content that is text, or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(str(part[key]) for part in objects(content) if isinstance(part.get(key), str))


def object_or_text(text: str) -> Any:
    """Return arguments as an object where writing that object gives the same text again; else the text."""
    value = _object(text)
    try:
        return value if value is not None and json.dumps(value, ensure_ascii=False) == text else text
    except RecursionError:
        return text


def argument_object(given: Any) -> JsonObject:
    """Return arguments as a wire of objects carries them; a text that is no object stands in one of a single field."""
    if not isinstance(given, str):
        return given  # type: ignore[no-any-return]  # a fault may put anything there
    value = _object(given) if given.strip() else {}
    return {_WRAPPED: given} if value is None else value


def _object(text: str) -> JsonObject | None:
    """Return the object that a text is; None where it is none that JSON can carry: NaN and repeated keys are not."""
    try:
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return value if is_object(value) else None


def _refused(word: str) -> Any:
    raise ValueError(word)


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def argument_text(given: Any) -> str:
    """Return the text of arguments that came back as an object; that of a field for what was no object stands for itself."""
    if is_object(given) and list(given) == [_WRAPPED] and isinstance(given[_WRAPPED], str):
        return str(given[_WRAPPED])
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def digest(*parts: Any) -> str:
    """Return a signature of JSON values that every reader can check: what comes back changed does not fit it."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, ensure_ascii=True)
    return base64.b64encode(hashlib.sha384(text.encode()).digest()).decode()


def _plain(value: Any) -> Any:
    """Return a JSON value with whole floats as integers: some SDKs write every number as a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_object(value):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if is_array(value) else value
