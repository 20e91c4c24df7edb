"""The tests that every provider passes. Plain classes: pytest finds the methods in the subclass, and nothing here imports it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

from polycall.client import AsyncClient, Client
from polycall.errors import CallErrors, CutOffError, DeadlineError, NoCallsError, TransportError
from polycall.provider import Format
from polycall.testing._faults import Fault, Honest
from polycall.testing._format import Format as Written
from polycall.testing._model_server import ModelServer
from polycall.testing._script import Said, Turn
from polycall.testing._suite_pure import PureSuite
from polycall.testing._suite_ways import CALLS, VALUES, WAYS, Way, expect, is_known, outcome
from polycall.testing._wire import Answer, Drop, Gone, Piece
from polycall.types import JsonObject

__all__ = ["ProviderSuite"]

_WRONG: Final = Said(CALLS[1].name, CALLS[1].arguments, wrong='{"location": 5')
_TIMES: Final = (0.15, 0.45, 0.75, 1.05, 1.35)
_MOST_TRIES: Final = 3
_KEY: Final = "sk-quokka-0123456789"


class ProviderSuite(PureSuite):
    """The tests of one provider, against a model server on loopback that enforces its service's rules, and without a socket.

    A subclass names the provider and says how its clients are made; its name begins with ``Test``.

    Example:
        ```python
        class TestMine(ProviderSuite):
            provider = Mine()
            sdk = "mine"
            limit = "max_tokens"

            def client(self, server, *, asynchronous):
                return polycall.from_mine(mine.Client(base_url=server.origin, api_key=self.key), model=self.model)
        ```

    Attributes:
        provider: What is tested.
        sdk: The package of the SDK; importing the provider's file must not import it. None where there is none.
        model: The model that is asked.
        key: The key that clients are to be made with.
        limit: The finish reason that says that the limit of tokens was reached.
        options: What each question is asked with.
        variants: More options, with each of which the programs of two turns are run as well.
        formats: How the service is written, where `ModelServer` does not know it.
        written: The one of them; None finds it by the path of the requests.
        lets_go: Whether the SDK lets go of a stream that is left; else the garbage collector does.
        events: Whether the SDK, and nobody else, parses the answers, so that the provider is given events and no bytes.
        recordings: A folder of recorded exchanges; None for none.
        text_beside_calls: Whether what the model says beside calls is text of the answer; else it is a thought.
    """

    provider: ClassVar[Format]
    sdk: ClassVar[str | None] = None
    model: ClassVar[str] = "m"
    key: ClassVar[str] = _KEY
    limit: ClassVar[str] = "length"
    options: ClassVar[Mapping[str, Any]] = {}
    variants: ClassVar[Sequence[Mapping[str, Any]]] = ()
    formats: ClassVar[Sequence[Written]] = ()
    written: ClassVar[Written | None] = None
    lets_go: ClassVar[bool] = True
    events: ClassVar[bool] = False
    recordings: ClassVar[Path | None] = None
    text_beside_calls: ClassVar[bool] = True

    def client(self, server: ModelServer, *, asynchronous: bool) -> Client | AsyncClient | None:  # noqa: ARG002  # for those who have one
        """Return polycall's client around one of the SDK, without retries of its own; None where there is none."""
        return None

    def direct(self, server: ModelServer, *, asynchronous: bool) -> Client | AsyncClient | None:  # noqa: ARG002  # as above
        """Return polycall's client without an SDK, without retries; None where there is none."""
        return None

    def release(self, client: Any) -> Any:
        """Close the SDK's client, inside of what `client` has given; an awaitable is awaited."""
        sdk = client._connection.client  # noqa: SLF001  # the one that `client` has made
        return sdk.close()

    # ------------------------------------------------------------------------------------------------------------- the file

    def test_importing_the_file_imports_no_sdk(self) -> None:
        """A program that goes direct pays for no SDK, and one that has it imports it itself."""
        module = type(self.provider).__module__
        program = f"import sys, {module}\nprint({self.sdk!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603  # its own
        expect(done.stdout.strip(), "False", f"whether importing {module} imports {self.sdk}")

    # ---------------------------------------------------------------------------------------------------------- two turns

    def test_calls_are_made_and_answered(self) -> None:
        """Calls, results, more calls, results, a last word: the service takes every conversation that comes of it."""
        turns = [Turn(calls=CALLS, text="Let me see."), Turn(calls=CALLS[1:2]), Turn(text="Done.")]
        with self._asked(turns) as (server, ways):
            for way, stream, given in self._cases(ways):
                server.requests.clear()
                calls = way.ask(stream=stream, **given)
                expect(list(calls), list(VALUES), f"{way.name}: the values")
                expect([call.index for call in calls.calls], [*range(len(CALLS))], f"{way.name}: the places")
                again = way.ask(calls.reply({number: {"number": number} for number in range(len(CALLS))}), stream=stream, **given)
                expect(list(again), [VALUES[1]], f"{way.name}: the values of the second turn")
                last = way.ask(again.reply({0: "sunny"}), stream=stream, **given)
                expect((len(last), last.text), (0, "Done."), f"{way.name}: the last word")
                self._check(server, stream=stream)

    def test_a_bad_call_is_asked_again(self) -> None:
        """Only the bad call is asked again, while the stream runs or at its end, and the answers go to their old places."""
        with self._asked([Turn(calls=[CALLS[0], _WRONG, CALLS[3]]), Turn(text="Done.")]) as (server, ways):
            for way, stream, given in self._cases(ways, reask=True):
                server.requests.clear()
                calls = way.ask(stream=stream, **given)
                expect(list(calls), [VALUES[0], VALUES[1], VALUES[3]], f"{way.name}: the values")
                expect(len(server.requests), 2, f"{way.name}: the requests")
                last = way.ask(calls.reply({0: "a", 1: "b", 2: "c"}), stream=stream, **given)
                expect(last.text, "Done.", f"{way.name}: the last word")
                self._check(server, stream=stream)

    def test_a_bad_call_stays_an_error_in_its_place(self) -> None:
        """N calls are N outcomes; the good ones are kept."""
        with self._asked([CALLS[0], _WRONG, CALLS[3]]) as (_, ways):
            for way, stream, given in self._cases(ways):
                calls = way.ask(stream=stream, max_retries=0, errors="return", **given)
                expect([call.outcome for call in calls.calls], ["ok", "invalid", "ok"], f"{way.name}: the outcomes")
                expect([calls[0], calls[2]], [VALUES[0], VALUES[3]], f"{way.name}: the good values")
                error = way.raised(stream=stream, max_retries=0, **given)
                expect(isinstance(error, CallErrors), True, f"{way.name}: {error!r}")

    # ----------------------------------------------------------------------------------------------------------- outcomes

    def test_a_limit_is_told(self) -> None:
        """A cut behind complete calls keeps them, and is an error of its own."""
        with self._asked(Turn(calls=CALLS[:2], finish=self.limit)) as (_, ways):
            for way, stream, given in self._cases(ways):
                calls = way.ask(stream=stream, max_retries=0, errors="return", **given)
                expect([type(error) for error in calls.errors], [CutOffError], f"{way.name}: the errors")
                expect(calls.errors[0].index, len(calls.calls) - (calls.errors[0].tool is not None), f"{way.name}: its place")
                expect([one for one in calls if not isinstance(one, CutOffError)][:1], [VALUES[0]], f"{way.name}: the values")

    def test_words_alone(self) -> None:
        """An answer in words is no error, but where a call was required."""
        with self._asked(Turn(text="It is sunny.")) as (_, ways):
            for way, stream, given in self._cases(ways):
                calls = way.ask(stream=stream, **given)
                expect((len(calls), calls.text, len(calls.errors)), (0, "It is sunny.", 0), f"{way.name}: the answer")
                forced = way.ask(stream=stream, tool_choice="required", max_retries=0, errors="return", **given)
                expect([type(error) for error in forced.errors], [NoCallsError], f"{way.name}: the errors")

    def test_usage_is_told(self) -> None:
        """Streamed and whole tell the same."""
        with self._asked(CALLS[:2]) as (_, ways):
            for way in ways:
                told = [way.ask(stream=stream).usage for stream in (False, True)]
                counted = [usage is not None and bool(usage.input_tokens) and bool(usage.output_tokens) for usage in told]
                expect(counted, [True, True], f"{way.name}: whether tokens are counted")

    # ---------------------------------------------------------------------------------------------------------- transport

    def test_a_refused_request_is_one_clear_error(self) -> None:
        """The SDK's own exceptions pass through; without it there is a `TransportError` with the status."""
        with self._asked(CALLS[:1]) as (server, ways):
            server.key = "another"
            for way in ways:
                for stream in (False, True):
                    error = way.raised(stream=stream)
                    expect(is_known(error, self.sdk), True, f"{way.name}: {error!r}")
                    if not way.by_sdk:
                        status = error.status if isinstance(error, TransportError) else None
                        expect(status in {400, 401, 403}, True, f"{way.name}: {error!r}")
                        expect(self.key in f"{error!r} {error}", False, f"{way.name}: whether the key shows")

    def test_a_broken_stream_keeps_what_was_complete(self) -> None:
        """The connection is gone in the middle: good calls are there, and an error."""
        fault = Fault(name="half", about="half of the events", spoil=_half)
        with self._asked(CALLS, fault=fault) as (_, ways):
            for way in ways:
                calls = way.ask(stream=True, max_retries=0, errors="return")
                good = [call for call in calls.calls if call.outcome == "ok"]
                expect([call.value for call in good], list(VALUES[: len(good)]), f"{way.name}: the values")
                expect(0 < len(good) < len(CALLS), True, f"{way.name}: whether some are there")
                expect([type(error) for error in calls.errors][-1:], [CutOffError], f"{way.name}: the errors")

    def test_a_deadline_is_held(self) -> None:
        """An answer that never comes ends at the time given."""
        with self._asked(CALLS) as (server, ways):
            for way in ways:
                server.queue.append(Answer([Gone()]))
                error = way.raised(stream=True, timeout=0.4, max_retries=0)
                expect(isinstance(error, DeadlineError), True, f"{way.name}: {error!r}")
                server.queue.clear()

    def test_calls_are_given_as_soon_as_they_are_complete(self) -> None:
        """A value is there before the next call is complete on the wire; a busy machine may be asked again."""
        with self._asked(Turn(calls=CALLS, times=_TIMES, end=1.6, pieces=7)) as (server, ways):
            for way in ways:
                late = [0.0]
                for _ in range(_MOST_TRIES):
                    arrived = way.values()
                    expect([value for value, _ in arrived], list(VALUES), f"{way.name}: the values")
                    began = server.requests[-1].at
                    late = [at - began for (_, at), due in zip(arrived, (*_TIMES[1:], 1.6), strict=True) if at - began > due]
                    if not late:
                        break
                expect(late, [], f"{way.name}: values that came late")

    def test_a_stream_that_is_left_lets_go(self) -> None:
        """A stream that is left early closes its connection, or reads it to its end."""
        with self._asked(Turn(calls=CALLS, times=(0.05, 9.0), end=9.0)) as (server, ways):
            for way in ways:
                expect([value for value, _ in way.values(most=1)], [VALUES[0]], f"{way.name}: the first value")
                collected = way.by_sdk and not self.lets_go
                expect(way.settled(server, collected=collected), True, f"{way.name}: whether the connection is let go of")

    def test_both_paths_send_the_same(self) -> None:
        """What goes over the wire is the same with the SDK and without."""
        with self._asked(CALLS[:2]) as (server, ways):
            for stream in (False, True):
                bodies: list[JsonObject] = []
                for way in ways:
                    way.ask(stream=stream)
                    bodies.append(self.plain(server.last))
                for body in bodies[1:]:
                    expect(body, bodies[0], "the body")

    def plain(self, body: JsonObject) -> JsonObject:
        """Return a body without what an SDK adds to it on its own, to compare those of both paths."""
        return body

    def test_the_answer_is_the_same_on_every_way(self) -> None:
        """Blocking and asyncio, with the SDK and without: the same calls, text, finish reason."""
        with self._asked(Turn(calls=CALLS, text="Let me see.", pieces=3)) as (_, ways):
            for stream in (False, True):
                told = [outcome(way.ask(stream=stream)) for way in ways]
                for way, one in zip(ways[1:], told[1:], strict=True):
                    expect(one, told[0], f"{way.name}: the answer")

    # ------------------------------------------------------------------------------------------------------------- helpers

    @contextmanager
    def _asked(self, script: Any, *, fault: Fault | None = None) -> Generator[tuple[ModelServer, list[Way]]]:
        """Give a server that plays a script, and every way to ask it."""
        with ModelServer(script, fault=fault, formats=self.formats) as server:
            ways: list[Way] = []
            try:
                for name in WAYS:
                    make = self.client if name.startswith("sdk") else self.direct
                    made = make(server, asynchronous=name.endswith("asyncio"))
                    if made is not None:
                        ways.append(Way(self, name, made))
                yield server, ways
            finally:
                for way in ways:
                    way.close()

    def _cases(self, ways: Sequence[Way], *, reask: bool = False) -> Iterator[tuple[Way, bool, dict[str, Any]]]:
        """Yield each way, whole and streamed, with each set of options."""
        for way in ways:
            for given in self._variants():
                yield way, False, {**given}
                for when in ("early", "end") if reask else ("",):
                    yield way, True, {**given, **({"reask": when} if when else {})}

    def _check(self, server: ModelServer, *, stream: bool) -> None:
        for request in server.requests:
            self.check_body(request.body, stream=stream)


def _half(honest: Honest) -> Answer:
    frames: list[Piece] = [*honest.frames()]
    return Answer([*frames[: len(frames) // 2], Drop()], content_type=honest.content_type)
