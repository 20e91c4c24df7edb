"""One response while it arrives: pieces in, events out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from polycall._decode import Assembled, Assembler, Piece, Stray, whole_text
from polycall._validate import Checking, validate
from polycall.call import Response
from polycall.errors import CallError, CutOffError, InvalidArgumentsError, LimitError, NoCallsError, RefusalError, TransportError
from polycall.events import DeltaEvent, ErrorEvent, Event, SealedEvent, StartedEvent, TextEvent
from polycall.provider import Decoder
from polycall.types import CallDelta, JsonObject, Message, Refusal, Stop, TextDelta, ToolCall, ToolChoice, Usage, WireItem


class Incoming:
    """One response while it arrives.

    Attributes:
        begun: Whether anything of an answer has arrived; some services open a stream with events that hold nothing of it.
        cut: What cut the whole answer short, in words for people; None as long as nothing did.
        cause: The exception that broke the connection.
        calls: The complete calls so far, by position, before they were checked.
        errors: What is wrong with the answer beside its calls.
        usage: The tokens; None as long as the provider does not say.
        finish_reason: Why the model stopped, in the provider's word; None as long as it does not say.
    """

    def __init__(self, checking: Checking, decoder: Decoder, choice: ToolChoice) -> None:
        """Start a response whose calls are checked as ``checking`` says; ``choice`` is what was asked for."""
        self.begun = False
        self.cut: str | None = None
        self.cause: BaseException | None = None
        self._checking = checking
        self._choice = choice
        self._decoder = decoder
        self._assembler = Assembler(seal_on_close=decoder.seal_on_close, limits=checking.limits)
        self.calls: dict[int, ToolCall] = {}
        self.errors: list[CallError] = []
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self._cut_inside = False
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._for_calls = False
        self._cuts: dict[int, str | None] = {}
        self._started: set[int] = set()

    @property
    def answered(self) -> bool:
        """Whether the model has begun to answer; events may come before that, and instead of it."""
        return self._decoder.begun

    @property
    def finished(self) -> bool:
        """Whether nothing of the model's answer can be missing."""
        return self._decoder.finished

    def feed(self, event: JsonObject, *, whole: bool) -> Iterator[Event[Any]]:
        """Yield what one event of the wire brings."""
        deltas: list[CallDelta] = []
        items: list[WireItem] = []
        reported: TransportError | None = None
        try:
            items.extend(self._decoder.feed(event, whole=whole))
        except TransportError as error:
            reported = error
        self.begun = self.begun or bool(items) or (reported is None and self._decoder.begun)
        for item in items:
            if isinstance(item, CallDelta):
                deltas.append(item)
            elif isinstance(item, TextDelta):
                self._texts.append(item.text)
                yield TextEvent(item.text)
            elif isinstance(item, Usage):
                self.usage = item
            elif isinstance(item, Refusal):
                self._refusals.append(item.text)
            else:
                self._stop(item)
        if deltas:
            yield from self._events(self._assembler.feed(deltas))
            if self._assembler.full:
                most = self._checking.limits.calls
                self.cut = f"there are more than {most} calls; limits=polycall.Limits(calls=...) allows more"
                raise LimitError(self.cut)
        if reported is not None:
            raise reported

    def close(self, broken: str | None) -> Iterator[Event[Any]]:
        """Yield what the end of the answer brings; ``broken`` says what broke it off, None when it ended as it should.

        A choice that has said why it stopped was complete before anything broke.
        """
        if self.cut is None and (not self._cuts or not self._decoder.finished):
            self.cut = broken
        yield from self._events(self._assembler.close(self._cuts, self.cut))
        count = len(self.calls)
        if self._refusals:
            yield self._fail(RefusalError("the model refuses to answer; its words are in `text`", index=count))
        cut = self.cut or next(filter(None, self._cuts.values()), None)
        if cut is not None and not self._cut_inside:
            error = CutOffError(f"the answer was cut after call number {count}, and more may be missing: {cut}", index=count)
            error.__cause__ = self.cause
            yield self._fail(error)
        if self._for_calls and not self.calls and not self.errors:
            yield self._fail(NoCallsError("the model stopped to call tools, and no call came", index=0))
        if self._choice.forced and not self.calls and not self.errors:
            yield self._fail(NoCallsError("a call was required, and the model made none", index=0))

    @property
    def model(self) -> str | None:
        """The model that answers, in the provider's word; None as long as it does not say."""
        return self._decoder.model

    @property
    def text(self) -> str:
        """The text so far: the model's words, or those with which it refuses."""
        return whole_text(self._texts or self._refusals)

    def turn(
        self, number: int, written: Callable[[ToolCall], ToolCall], ids: dict[int, str], taken: set[str]
    ) -> tuple[list[Message], list[ToolCall]]:
        """Return the model's turn so far as messages to send back, and its calls, each with an id of its own.

        Args:
            number: How many messages are before it; ids that are made up come of it.
            written: Makes of each call what is sent back of it.
            ids: The ids of its calls, by position, as far as they have any; completed here.
            taken: The ids of the conversation; those that are new are added.
        """
        calls = _with_ids([written(self.calls[index]) for index in sorted(self.calls)], number, ids, taken)
        return self._decoder.turn(calls), calls

    def response(self, native: Callable[[JsonObject], Any] | None) -> Response:
        """Return what makes the SDK's own object, after `close`; ``native`` makes it of the parsed body."""
        calls, decoder = self.calls, self._decoder
        return Response(lambda: decoder.body([calls[index] for index in sorted(calls)]), native)

    def _stop(self, item: Stop) -> None:
        self.finish_reason = item.reason or self.finish_reason
        self._for_calls = self._for_calls or item.calls
        self._cuts[item.choice] = self._cuts.get(item.choice) or item.cut

    def _fail(self, error: CallError) -> ErrorEvent:
        self.errors.append(error)
        return ErrorEvent(error)

    def _events(self, assembled: Iterable[Assembled]) -> Iterator[Event[Any]]:
        for one in assembled:
            if isinstance(one, Piece):
                yield from self._piece(one)
            elif isinstance(one, Stray):
                reason = "more text came after its arguments were complete; the call stays as it was"
                yield self._fail(InvalidArgumentsError(reason, index=one.call.index, tool=one.call.name, id=one.call.id))
            else:
                call = validate(one, self._checking)
                if call.error is not None and call.outcome == "cut off":
                    call.error.__cause__, self._cut_inside = self.cause, True
                self.calls[one.index] = one
                yield SealedEvent(call)

    def _piece(self, piece: Piece) -> Iterator[Event[Any]]:
        slot = piece.slot
        offered = self._checking.tools.find(slot.name)
        if slot.index not in self._started:
            if not slot.name:
                return
            self._started.add(slot.index)
            yield StartedEvent(slot.index, slot.id, slot.name if offered is None else offered.schema.name)
        if piece.text:
            partial = _nothing if offered is None else offered.arguments.partial
            yield DeltaEvent(slot.index, piece.text, slot.pieces, piece.count, partial)


def _nothing(_: str) -> None:
    """Read nothing: the tool was not offered, so its arguments have no type."""


def _with_ids(calls: Sequence[ToolCall], turn: int, ids: dict[int, str], taken: set[str]) -> list[ToolCall]:
    """Give every call an id of its own in the conversation, keeping the provider's where it is one.

    Made up ids have the only form that every service takes: Mistral's, nine letters and digits.
    """
    for call in calls:
        if call.index not in ids:
            given = (call.id or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # which every server takes
            own = given if given and given not in taken else f"c{turn % 10_000:04}{call.index % 10_000:04}"
            while own in taken:
                own = f"{own}x"
            taken.add(own)
            ids[call.index] = own
    return [replace(call, id=ids[call.index]) for call in calls]
