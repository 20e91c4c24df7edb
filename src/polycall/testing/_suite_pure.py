"""The tests of a provider that need no socket: a format is pure, so its answers can be given in every way there is."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic_core import to_json

from polycall._tools import Tool
from polycall.calls import Calls
from polycall.errors import TransportError, UsageError
from polycall.provider import Format, json_body
from polycall.testing._format import Format as Written
from polycall.testing._model_server import ModelServer
from polycall.testing._script import Turn
from polycall.testing._suite_ways import CALLS, TOOLS, VALUES, asked, encoded, expect, honest, outcome, replay
from polycall.testing._wire import Sent
from polycall.types import JsonObject, ToolChoice

if TYPE_CHECKING:
    from polycall.testing._faults import Honest

__all__ = ["PureSuite", "recorded_body"]

_QUESTION: Final = ({"role": "system", "content": "You must always use tools."}, {"role": "user", "content": "?"})
_CHOICES: Final = (
    ToolChoice(),
    ToolChoice("required"),
    ToolChoice("none"),
    ToolChoice("required", ("Weather",)),
    ToolChoice("auto", ("Weather", "Now")),
)
_SIZES: Final = (1, 2, 3, 7, 64)
_MOST_CUTS: Final = 400


class PureSuite:
    """The half of `polycall.testing.ProviderSuite` that opens no socket; its attributes are described there."""

    provider: ClassVar[Format]
    model: ClassVar[str]
    options: ClassVar[Mapping[str, Any]]
    variants: ClassVar[Sequence[Mapping[str, Any]]]
    formats: ClassVar[Sequence[Written]]
    written: ClassVar[Written | None]
    events: ClassVar[bool]
    recordings: ClassVar[Path | None]
    text_beside_calls: ClassVar[bool]

    def check_body(self, body: JsonObject, *, stream: bool) -> None:
        """Raise when a body is not what the service's specification allows."""

    def recorded(self, recording: JsonObject) -> list[Any]:
        """Return a recorded answer as the provider is given it: bytes, or events that only an SDK can parse; nothing skips it."""
        return [recorded_body(recording)] if recording["response"]["status"] == 200 else []  # noqa: PLR2004  # HTTP's word for it

    # -------------------------------------------------------------------------------------------------------------- encode

    def test_encoding_is_pure(self) -> None:
        """Nothing that is given is changed; the same request gives the same bytes; the bytes are the body."""
        for choice in _CHOICES:
            for stream in (False, True):
                messages = [*copy.deepcopy(_QUESTION)]
                options = copy.deepcopy(dict(self.options))
                self.provider.encode(asked(messages, self.model, choice, options), stream=stream)
                expect((messages, options), ([*_QUESTION], dict(self.options)), "what was given, behind the request")
                given = [self._encoded(messages, stream=stream, choice=choice) for _ in range(2)]
                expect(json_body(given[0]), json_body(given[1]), "the bytes of the same request")
                expect(json.loads(json_body(given[0])), json.loads(to_json(given[0].body)), "the bytes of a request")
                expect(given[0].path != "", True, "whether there is a path")

    def test_bodies_are_valid(self) -> None:
        """Every choice of tools gives a body that the specification allows, and that the service takes."""
        for choice in _CHOICES:
            for stream in (False, True):
                given = self._encoded([*_QUESTION], stream=stream, choice=choice)
                self.check_body(given.body, stream=stream)
                self._taken(given)

    def test_tools_that_are_not_allowed_are_not_offered(self) -> None:
        """A choice of some tools is said in the service's words, or the others are left out."""
        given = to_json(self._encoded([*_QUESTION], choice=ToolChoice("required", ("Weather",))).body).decode()
        expect("Weather" in given, True, "whether the allowed tool is named")
        forbidden = self._encoded([*_QUESTION], choice=ToolChoice("none"))
        expect(forbidden.body == self._encoded([*_QUESTION]).body, False, "whether `none` says anything")

    def test_one_call_at_most_is_said_or_refused(self) -> None:
        """``parallel=False`` is in the body, or a `UsageError` says that it cannot be."""
        answer = self._said(Turn(calls=CALLS[:1]), stream=True)
        try:
            limited = self._replayed(answer, stream=True, parallel=False)
        except UsageError as error:
            expect("parallel" in str(error), True, f"whether the error tells what is wrong: {error}")
        else:
            expect(list(limited), [VALUES[0]], "the values")

    # -------------------------------------------------------------------------------------------------------------- decode

    def test_streamed_equals_whole(self) -> None:
        """The same answer gives the same calls, text and finish reason, streamed in any pieces and whole."""
        for calls, text in ((CALLS, ""), (CALLS, "Let me see."), (CALLS[:1], "x"), ((), "Only words."), (CALLS[2:3], "")):
            for given in self._variants():
                turns = [Turn(calls=calls, text=text, pieces=pieces) for pieces in (None, 1, 2, 5)]
                whole = self._replayed(self._said(turns[0], stream=False, **given), stream=False, **given)
                expect(list(whole), [VALUES[CALLS.index(call)] for call in calls], "the values of the whole answer")
                expect(whole.text, text if self.text_beside_calls or not calls else "", "the text of the whole answer")
                for turn in turns:
                    streamed = self._replayed(self._said(turn, stream=True, **given), stream=True, **given)
                    expect(_meant(streamed), _meant(whole), f"the streamed answer, {turn.pieces} characters at a time")

    def test_any_splitting_gives_the_same(self) -> None:
        """However the bytes are split, the calls are the same."""
        for given in self._variants():
            answer = self._said(Turn(calls=CALLS, text="Zürich!", pieces=4), stream=True, **given)
            meant = outcome(self._replayed(answer, stream=True, **given))
            for chunks in self._splits(answer):
                expect(outcome(self._replayed(chunks, stream=True, **given)), meant, f"the answer in {len(chunks)} pieces")

    def test_any_cut_keeps_what_was_complete(self) -> None:
        """A stream that breaks off anywhere gives a beginning of the calls, right, and an error for what is missing."""
        for given in self._variants():
            answer = self._said(Turn(calls=CALLS, text="Hm.", pieces=6), stream=True, **given)
            whole = self._replayed(answer, stream=True, **given)
            expect(list(whole), list(VALUES), "the values of the answer")
            uncut = outcome(whole)
            most = -1
            for chunks in self._cuts(answer):
                try:
                    calls = self._replayed(chunks, stream=True, **given)
                except TransportError:
                    expect(most <= 0, True, "whether calls that were there are lost")
                    continue
                good = [call for call in calls.calls if call.outcome == "ok"]
                expect([call.value for call in good], list(VALUES[: len(good)]), "the values of a cut answer")
                expect(len(calls.calls) - len(good) in {0, 1}, True, "whether one call at most is cut")
                expect(
                    bool(calls.errors) or outcome(calls)[0] == uncut[0], True, f"whether a cut behind {len(good)} calls is told"
                )
                expect(len(good) >= most, True, "whether a longer answer has as many calls")
                most = len(good)

    def test_recorded_answers_are_read(self) -> None:
        """Every recorded answer gives exactly the calls that it holds, in one piece and a byte at a time."""
        for path in sorted(self.recordings.glob("*.json")) if self.recordings is not None else ():
            one = json.loads(path.read_bytes())
            chunks = self.recorded(one)
            if not chunks:
                continue
            tools = [Tool(name) for name in dict.fromkeys(call["name"] for call in one["expected_calls"])] or [Tool("none")]
            calls = replay(self.provider, chunks, stream=one["stream"], tools=tools)
            got = [(call.id, call.name) for call in calls.calls]
            expect(got, [(call["id"] or None, call["name"]) for call in one["expected_calls"]], one["id"])
            for call, expected in zip(calls.calls, one["expected_calls"], strict=True):
                if "arguments" in expected and expected["state"] not in {"empty", "missing", "invalid"}:
                    expect(json.loads(call.arguments or "null") or {}, expected["arguments"] or {}, f"{one['id']}, {call.index}")
            if one["stream"] and isinstance(chunks[0], bytes):
                single = [chunks[0][at : at + 1] for at in range(len(chunks[0]))]
                expect(outcome(replay(self.provider, single, stream=True, tools=tools)), outcome(calls), one["id"])

    # ------------------------------------------------------------------------------------------------------------- results

    def test_every_call_is_answered_exactly_once(self) -> None:
        """The conversation with results is valid, the same each time, and one that the service takes."""
        turn = Turn(calls=CALLS, text="Let me see.")
        for given in self._variants():
            for stream in (False, True):
                calls = self._replayed(self._said(turn, stream=stream, **given), stream=stream, messages=[*_QUESTION], **given)
                results = {number: {"n": number} if number % 2 else f"result {number}" for number in range(len(CALLS))}
                messages = [calls.reply(results) for _ in range(2)]
                expect(_plain(messages[0]), _plain(messages[1]), "the conversation")
                continued = self._encoded(messages[0], stream=stream, **given)
                self.check_body(continued.body, stream=stream)
                self._taken(continued)
                said = to_json(continued.body).decode()
                for number in range(0, len(CALLS), 2):
                    expect(said.count(f"result {number}"), 1, f"how often result {number} is given")

    # ------------------------------------------------------------------------------------------------------------- helpers

    def _variants(self) -> list[dict[str, Any]]:
        """Return the sets of options that everything is tried with."""
        return [{}, *({**given} for given in self.variants)]

    def _encoded(self, messages: Sequence[Any], *, stream: bool = False, choice: ToolChoice = _CHOICES[0], **given: Any) -> Any:
        options = {**self.options, **given}
        return encoded(self.provider, messages, stream=stream, model=self.model, choice=choice, options=options)

    def _format(self, path: str) -> Written:
        plain = path.partition("?")[0]
        known = (self.written,) if self.written is not None else ModelServer(formats=self.formats).formats
        return next(one for one in known if self.written is not None or one.speaks(plain))

    def _taken(self, given: Any) -> None:
        """Raise when the service would refuse a request."""
        problem = self._format(given.path).problem(Sent(given.path, {}, to_json(given.body), json.loads(to_json(given.body))))
        expect(problem and problem.body, None, "what the service says")

    def _honest(self, turn: Turn, *, stream: bool, **given: Any) -> Honest:
        asked = self._encoded([*_QUESTION], stream=stream, **given)
        return honest(self._format(asked.path), asked, [turn])

    def _said(self, turn: Turn, *, stream: bool, **given: Any) -> list[Any]:
        """Return an answer as the provider is given it: bytes, or events."""
        answer = self._honest(turn, stream=stream, **given)
        if self.events:
            return [event.data for event in answer.events()] if stream else [answer.body()]
        return answer.frames() if stream else [answer.flat()]

    def _replayed(self, chunks: Sequence[Any], *, stream: bool, messages: Any = "?", **given: Any) -> Calls[Any]:
        return replay(self.provider, chunks, stream=stream, tools=TOOLS, messages=messages, **{**self.options, **given})

    def _splits(self, answer: list[Any]) -> Iterator[list[Any]]:
        if self.events:
            yield answer
            return
        body = b"".join(answer)
        yield [body]
        for size in _SIZES:
            yield [body[at : at + size] for at in range(0, len(body), size)]
        dice = random.Random(7)  # noqa: S311  # no secret
        for _ in range(5):
            at = sorted(dice.sample(range(1, len(body)), 12))
            yield [body[start:end] for start, end in zip([0, *at], [*at, len(body)], strict=True)]

    def _cuts(self, answer: list[Any]) -> Iterator[list[Any]]:
        if self.events:
            yield from (answer[:end] for end in range(1, len(answer)))
            return
        body = b"".join(answer)
        step = max(1, len(body) // _MOST_CUTS)
        yield from ([body[:end]] for end in range(1, len(body), step))


def _meant(calls: Calls[Any]) -> Any:
    """Return an answer less what is written otherwise in a stream: how the arguments are spaced."""
    said = [(call.index, call.id, call.name, json.loads(call.arguments or "{}"), call.outcome) for call in calls.calls]
    return said, calls.errors, calls.text, calls.finish_reason


def _plain(messages: Sequence[Any]) -> Any:
    return [message.model_dump() if hasattr(message, "model_dump") else message for message in messages]


def recorded_body(recording: JsonObject) -> bytes:
    """Return the bytes of a recorded answer's body."""
    response = recording["response"]
    given = response.get("text", response["body"])
    text = given if isinstance(given, str) else json.dumps(given)
    return base64.b64decode(text) if response.get("body_encoding") == "base64" else text.encode()
