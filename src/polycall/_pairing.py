"""Which call of a conversation an answer is for, and an id for each."""

from __future__ import annotations

from collections import Counter, deque

__all__ = ["Pairing"]


class Pairing:
    """Gives each call of a conversation an id of its own: some services leave ids out, some repeat them."""

    def __init__(self) -> None:
        """Start before the first message."""
        self._taken: set[str] = set()
        self._times: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[str, str]]] = {}  # ids and names by the ids that were given, "" for none
        self._last: dict[str, tuple[str, str]] = {}

    def begin(self) -> None:
        """Begin a turn of the model: answers that say no id are for its calls."""
        self._waiting.pop("", None)

    def asked(self, given: str, name: str, made: str) -> str:
        """Take a call and return its id; ``made`` is that where none was given."""
        call_id = given or made
        while call_id in self._taken:
            self._times[given] += 1
            call_id = f"{given or made}_{self._times[given]}"
        self._taken.add(call_id)
        self._last[given] = call_id, name
        self._waiting.setdefault(given, deque()).append((call_id, name))
        return call_id

    def told(self, given: str, name: str) -> tuple[str, str]:
        """Return the id and the name of the call that an answer is for: by its id; else by its name, of those without an id."""
        if given and given in self._last:
            waiting = self._waiting[given]
            return waiting.popleft() if waiting else self._last[given]
        without = self._waiting.get("", deque())
        found = next((one for one in without if name in {one[1], ""}), None)
        if found is None:
            return given or name, name
        without.remove(found)
        return found
