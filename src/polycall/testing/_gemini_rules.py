"""What the Gemini API and Vertex AI refuse of a conversation, in their words.

Sources: the errors of the services as their users report them, and Google's guides: a turn of calls follows a turn of the user or
of results, and is followed by as many results as it has calls, each with the name of its call and with its id where it has one;
in the present turn the first call has its thought signature (Gemini 3). Which results are whose is told by their order where
there are no ids; the words for a result in another's place are this server's own. Where a call was not made by the service it
takes two constants for a signature: https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from polycall.testing._format import digest, objects
from polycall.testing._wire import Sent
from polycall.types import JsonObject, is_array, is_object

__all__ = ["by_events", "calls", "contents", "is_strict", "model", "problem", "signature"]

_TAKEN: Final = frozenset({"context_engineering_is_the_way_to_go", "skip_thought_signature_validator"})
_MODEL: Final = re.compile(r"/models/([^/:]+):")
_STRICT: Final = re.compile(r"gemini-(?:[3-9]|\d\d)")
_ORDER: Final = "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
_ALONE: Final = "Please ensure that function response turn comes immediately after a function call turn."
_COUNT: Final = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call "
    "turn."
)
_LAST: Final = "Please ensure that multiturn requests end with a user turn or a function response."


def model(sent: Sent) -> str:
    """Return the model that is asked."""
    found = _MODEL.search(unquote(urlsplit(sent.path).path))
    return found[1] if found else ""


def is_strict(sent: Sent) -> bool:
    """Whether the model gives ids, and wants its signatures back."""
    return _STRICT.match(model(sent)) is not None


def by_events(sent: Sent) -> bool:
    """Whether a stream is one of events, and not a JSON array."""
    return parse_qs(urlsplit(sent.path).query).get("alt") == ["sse"]


def signature(function: JsonObject) -> str:
    """Return the signature of a call."""
    return digest(function.get("name"), function.get("args"))


def contents(body: JsonObject) -> list[JsonObject]:
    """Return the turns of a conversation."""
    return objects(body.get("contents"))


def calls(content: JsonObject) -> list[JsonObject]:
    """Return the calls of a turn."""
    return _parts(content, "functionCall")


def _parts(content: JsonObject, key: str) -> list[JsonObject]:
    return [part[key] for part in objects(content.get("parts")) if is_object(part.get(key))]


def problem(sent: Sent) -> str | None:
    """Return the first thing that is wrong with a request; None when nothing is."""
    if not is_object(sent.body):
        return "Invalid JSON payload received."
    return next(_problems(sent), None)


def _problems(sent: Sent) -> Iterator[str]:
    given = sent.body.get("contents")
    if not is_array(given) or not given:
        yield "* GenerateContentRequest.contents: contents is not specified\n"
        return
    turns = contents(sent.body)
    yield from _form(turns)
    for place, turn in enumerate(turns):
        yield from _order(place, turns)
        if place:
            yield from _results(calls(turns[place - 1]), _parts(turn, "functionResponse"))
        yield from _signed(place, turns, strict=is_strict(sent))
    if turns[-1].get("role") == "model":
        yield _COUNT if calls(turns[-1]) else _LAST


def _form(turns: Sequence[JsonObject]) -> Iterator[str]:
    for place, turn in enumerate(turns):
        if turn.get("role", "user") not in {"user", "model", "function"}:
            yield "Please use a valid role: user, model."
        parts = turn.get("parts")
        where = f"* GenerateContentRequest.contents[{place}].parts"
        if not is_array(parts) or not parts:
            yield f"{where}: contents.parts must not be empty.\n"
        for number, part in enumerate(objects(parts)):
            if not set(part) - {"thought", "thoughtSignature"}:
                yield f"{where}[{number}].data: required oneof field 'data' must have one initialized field\n"
            for kind, name in (("functionCall", "function_call"), ("functionResponse", "function_response")):
                if kind in part and not (is_object(part[kind]) and part[kind].get("name")):
                    yield f"{where}[{number}].{name}.name: Name cannot be empty.\n"


def _order(place: int, turns: Sequence[JsonObject]) -> Iterator[str]:
    before = turns[place - 1] if place else {}
    if calls(turns[place]) and (not place or before.get("role") == "model"):
        yield _ORDER
    if _parts(turns[place], "functionResponse") and not calls(before):
        yield _ALONE


def _results(made: Sequence[JsonObject], given: Sequence[JsonObject]) -> Iterator[str]:
    if len(made) != len(given):
        yield _COUNT
    by_id = {str(one["id"]): one for one in made if one.get("id")}
    for place, result in enumerate(given):
        call = by_id.pop(str(result.get("id")), None) if by_id else made[min(place, len(made) - 1)]
        if call is None or call.get("name") != result.get("name"):
            yield f"Please ensure that function response {place} has the id and the name of its function call."
        if not is_object(result.get("response")):
            yield f"Invalid value at 'function_response[{place}].response' (type.googleapis.com/google.protobuf.Struct)"


def _signed(place: int, turns: Sequence[JsonObject], *, strict: bool) -> Iterator[str]:
    """The signatures that are there fit their calls; the first call of the present turn has one."""
    first = True
    present = place > max((number for number, turn in enumerate(turns) if _asks(turn)), default=-1)
    for number, part in enumerate(objects(turns[place].get("parts"))):
        call = part.get("functionCall")
        given = _standard(part.get("thoughtSignature"))
        if given is not None and given not in _TAKEN and (not is_object(call) or given != signature(call)):
            yield "Thought signature is not valid."
        if is_object(call):
            if first and given is None and strict and present:
                yield (
                    f"Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                    f"correctly, and missing thought_signature may lead to degraded model performance. Additional data, function "
                    f"call `default_api:{call.get('name')}`, position {number + 1}."
                )
            first = False


def _standard(text: Any) -> Any:
    """Return base64 in its standard letters; the service takes those for URLs as well, which google-genai writes."""
    return text.translate({ord("-"): "+", ord("_"): "/"}) if isinstance(text, str) and text not in _TAKEN else text


def _asks(turn: JsonObject) -> bool:
    """Whether a turn is a question, with which the present turn begins."""
    return turn.get("role", "user") == "user" and not _parts(turn, "functionResponse")
