"""A model server on loopback: it plays a script, answers re-asks as a sensible model would, and misbehaves on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from typing_extensions import override

from polycall.testing._anthropic_format import AnthropicFormat
from polycall.testing._catalogue import FAULTS
from polycall.testing._chat_format import ChatFormat
from polycall.testing._cohere_format import CohereFormat
from polycall.testing._converse_format import ConverseFormat
from polycall.testing._faults import Fault, Honest
from polycall.testing._format import Format
from polycall.testing._gemini_format import GeminiFormat
from polycall.testing._loopback import Server
from polycall.testing._ollama_format import OllamaFormat
from polycall.testing._responses_format import ResponsesFormat
from polycall.testing._script import Said, Turn, saying
from polycall.testing._wire import Piece, Played, Sent

__all__ = ["ModelServer", "Script"]

Script: TypeAlias = Turn | Sequence[Turn | Said]
"""Turns; calls without a turn around them are one turn."""

_FORMATS: Final[Sequence[type[Format]]] = (
    ChatFormat,
    AnthropicFormat,
    GeminiFormat,
    ResponsesFormat,
    CohereFormat,
    OllamaFormat,
    ConverseFormat,
)


class ModelServer(Server):
    """A server that speaks every wire format, by the path of the request, and plays a script. A context manager.

    Every conversation plays the script from its start: which turn is due is read off the conversation itself. When it comes back
    with every call answered, the calls in it that were ``wrong`` are sent again, now right, and else the next turn; behind the
    last there is a closing word. What the real service refuses is refused: calls without an answer, answers to no call, a wrong
    key, signatures that do not come back. ``url`` is for the SDKs whose base URL ends in ``/v1``, ``origin`` for the others.

    Example:
        ```python
        from polycall.testing import ModelServer, Said, Turn

        calls = [Said("Weather", {"location": "Toronto"}), Said("Weather", {"location": "Dallas"}, wrong="{")]
        with ModelServer(Turn(calls=calls, times=(0.4, 0.8), end=1.2)) as server:
            ...  # openai.OpenAI(base_url=server.url, api_key="any"), or polycall.from_provider(..., base_url=server.url)
            print(len(server.requests))
        ```

    Attributes:
        script: The turns; or a function that gives them for a request.
        key: The only key that is taken; None takes any.
        formats: The wire formats that it speaks; the first that knows a path is taken.
    """

    def __init__(
        self,
        script: Script | Callable[[Sent], Script] = (),
        *,
        fault: str | Fault | None = None,
        key: str | None = None,
        formats: Sequence[Format] = (),
    ) -> None:
        """Make a server; ``fault`` spoils what is said, by its name in `FAULTS` or as a fault of its own.

        ``formats`` are spoken beside those that are known.

        Raises:
            ValueError: There is no fault of that name.
        """
        super().__init__()
        self.script = script
        self.key = key
        self.formats: tuple[Format, ...] = (*formats, *(make() for make in _FORMATS))
        self._spoilt: Counter[object] = Counter()
        self._fault = _known(fault)

    @property
    def fault(self) -> Fault | None:
        """What spoils the answers. Setting it, by its name too, begins to count anew."""
        return self._fault

    @fault.setter
    def fault(self, fault: str | Fault | None) -> None:
        refused = self._fault is not None and self._fault.refuses
        self._fault = _known(fault)
        with self._lock:
            self._spoilt.clear()
        refuses = self._fault is not None and self._fault.refuses
        if self._entered and refuses:
            self._refuse()
        elif self._entered and refused:
            self._listen()

    @property
    @override
    def origin(self) -> str:
        """Scheme, host and port."""
        scheme = "http" if self._fault is None else self._fault.scheme
        return super().origin.replace(self.scheme, scheme, 1)

    @override
    def greet(self) -> Iterable[Piece] | None:
        """Return what a new connection gets instead of being read; None reads it."""
        fault = self._fault
        if fault is None or fault.greeting is None or not self._spoils(fault, None):
            return None
        return fault.greeting()

    @override
    def _listen(self) -> None:
        if self._fault is None or not self._fault.refuses:
            super()._listen()

    @override
    def _own_answer(self, sent: Sent) -> Played:
        path = sent.path.partition("?")[0]
        spoken = next((one for one in self.formats if one.speaks(path)), None)
        if spoken is None or sent.method != "POST":
            return self.formats[len(self.formats) - len(_FORMATS)].error(404, f"Invalid URL ({sent.method} {sent.path})")
        given = spoken.key(sent)
        problem = spoken.problem(sent) if self.key in {None, given} else spoken.locked_out(given)
        if problem is not None:
            return problem
        script = self.script(sent) if callable(self.script) else self.script
        honest = Honest(sent, saying(_turns(script), spoken.answers(sent)), spoken, self.origin)
        for fault, place in ((self._fault, None), (_known(honest.saying.fault), honest.saying.turn)):
            if fault is None or not fault.meant_for(spoken.name):
                continue
            if (fault.greeting is None or place is not None) and self._spoils(fault, place):
                return fault.spoil(honest)
        return honest.answer()

    def _spoils(self, fault: Fault, place: int | None) -> bool:
        """Whether this request is among those that the fault spoils; counts it."""
        with self._lock:
            self._spoilt[place] += 1
            return fault.times is None or self._spoilt[place] <= fault.times


def _turns(script: Script) -> list[Turn]:
    if isinstance(script, Turn):
        return [script]
    turns: list[Turn] = []
    calls: list[Said] = []
    for one in script:
        if isinstance(one, Said):
            calls.append(one)
        else:
            turns += [*([Turn(calls=calls)] if calls else []), one]
            calls = []
    return [*turns, *([Turn(calls=calls)] if calls else [])]


def _known(fault: str | Fault | None) -> Fault | None:
    if not isinstance(fault, str):
        return fault
    if fault not in FAULTS:
        from difflib import get_close_matches

        near = get_close_matches(fault, FAULTS)
        meant = f": did you mean {' or '.join(near)}?" if near else "; polycall.testing.FAULTS lists them"
        raise ValueError(f"there is no fault {fault!r}{meant}")
    return FAULTS[fault]
