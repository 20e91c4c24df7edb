"""Meets every fault of `polycall.testing` with every client, and judges what each makes of it.

A cell is one fault, one client, whole or streamed, blocking or on asyncio. Many run at a time.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import openai
from pydantic import BaseModel

import polycall
from polycall.testing import FAULTS, Fault, ModelServer, Said, Turn

SDK: Final = "openai SDK"
CLIENTS: Final = (SDK, "pyreqwest", "httpx2")
NATIVE: Final = {
    "anthropic SDK": "anthropic",
    "anthropic": "anthropic",
    "google-genai SDK": "gemini",
    "gemini": "gemini",
    "responses SDK": "responses",
    "responses": "responses",
}
"""The clients of the other formats, by what they speak; those without an SDK take the transport that is installed."""
RETRIES: Final = 2
STALL_TIMEOUT: Final = 1.0
"""Seconds for an answer that never ends."""
TIMEOUT: Final = 20.0
"""Seconds for every other: enough for the pauses between an SDK's attempts."""
GRACE: Final = 0.5
"""Seconds behind the deadline that are allowed by contract."""
SLACK: Final = 2.0
"""Seconds more, for a machine that runs many cells at a time."""
PAUSE: Final = 0.1
"""Seconds between two questions on one connection."""
MARKS: Final = ("quokka", "wombat", "numbat")
"""What the secrets of every cell begin with: its arguments, its key, its prompt."""
_THE_SDKS: Final = ("openai", "anthropic", "google_genai", "httpx", "httpcore")
"""Loggers of the user's own client."""
ALONE: Final = frozenset({"body-one-byte-at-a-time", "chunks-of-one-byte", "crlf-split", "split-utf-8"})
"""Answers in thousands of pieces: beside many others each piece would wait for all of them."""
BEYOND: Final = {
    (client, "answer-to-another-question") for client in (SDK, "httpx2", "anthropic SDK", "responses SDK")
}  # all on httpx2
"""What the user's own client does before polycall sees anything: it gives the next question the answer that came unasked."""
BEYOND_GENAI: Final = frozenset(
    {
        "200-bom",
        "answer-to-another-question",
        "arguments-list-unquoted",
        "arguments-number-unquoted",
        "arguments-true-unquoted",
        "array-event-inside",
        "bom",
        "comment-first",
        "comment-of-1-mib",
        "comments-between",
        "content-length-too-short",
        "cr-only",
        "data-without-space",
        "empty-data",
        "leading-white-space",
        "mixed-line-ends",
        "name-number",
        "name-object",
        "ping-events",
        "ping-objects",
        "redirect-other-host",
        "stale-keep-alive",
        "stale-keep-alive-reset",
        "unknown-fields",
    }
)
"""What google-genai does before polycall sees anything: it parses streams and bodies itself, more strictly than their formats
are, quotes what it cannot parse in its exceptions, does not try again, and shows its key to hosts that it is sent to."""
FORBIDDEN: Final = ("SILENT", "HANG", "BARE", "LEAK", "CRASH")


class Weather(BaseModel):
    """The weather of a town."""

    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    """A search."""

    query: str


@dataclass(frozen=True)
class Cell:
    """One fault for one client."""

    fault: Fault
    client: str
    streamed: bool
    asynchronous: bool

    @property
    def format(self) -> str:
        """The wire format that the client speaks."""
        return NATIVE.get(self.client, "chat")

    @property
    def by_sdk(self) -> bool:
        """Whether the user's own client is underneath."""
        return self.client.endswith("SDK")

    @property
    def timeout(self) -> float:
        """Seconds for the whole question."""
        return STALL_TIMEOUT if self.fault.stalls else TIMEOUT


@dataclass(frozen=True)
class Verdict:
    """What became of a cell: ``recovered``, ``kept``, ``error``, ``beyond``, or one of the forbidden; and why."""

    cell: Cell
    outcome: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def expected(self) -> bool:
        """Whether it is what an honest client can make of the fault."""
        return self.outcome in {*self.cell.fault.honest(streamed=self.cell.streamed), "beyond"}

    @property
    def late(self) -> bool:
        """Whether the deadline had to do with it."""
        return self.outcome == "HANG" or "DeadlineError" in self.detail

    def __str__(self) -> str:
        cell = self.cell
        way = f"{'streamed' if cell.streamed else 'whole'}, {'async' if cell.asynchronous else 'sync'}"
        honest = " or ".join(cell.fault.honest(streamed=cell.streamed))
        return f"{cell.fault.name}, {cell.client}, {way}: {self.outcome} instead of {honest}, {self.seconds:.1f} s; {self.detail}"


def clients() -> tuple[str, ...]:
    """Return the clients that are installed."""
    return tuple(name for name in CLIENTS if name == SDK or importlib.util.find_spec(name))


def native() -> tuple[str, ...]:
    """Return the clients of the other formats that are installed."""
    needed = {"anthropic SDK": "anthropic", "google-genai SDK": "google.genai"}
    return tuple(name for name in NATIVE if name not in needed or _found(needed[name]))


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def cells(names: Sequence[str] = (), columns: Sequence[str] = (), ways: Sequence[bool] = (False, True)) -> list[Cell]:
    """Return the cells that have a meaning, in order.

    Args:
        names: The faults; all of them when none is named.
        columns: The clients; all that are installed when none is named.
        ways: Whether blocking (False) or on asyncio (True).
    """
    chosen = [FAULTS[name] for name in names] or [*FAULTS.values()]
    return [
        Cell(fault, client, streamed, asynchronous)
        for fault in chosen
        for client in columns or clients()
        for streamed in (False, True)
        if fault.honest(streamed=streamed) and fault.meant_for(NATIVE.get(client, "chat"))
        for asynchronous in ways
    ]


# ---------------------------------------------------------------------------------------------------------------- asking


@contextmanager
def _closing(asking: _Asking) -> Iterator[None]:
    """Close the SDK's client that a cell has made for itself."""
    try:
        yield
    finally:
        if asking.closing is not None:
            asking.closing.close()


@asynccontextmanager
async def _closing_async(asking: _Asking) -> AsyncIterator[None]:
    """Close the SDK's asynchronous client that a cell has made for itself."""
    try:
        yield
    finally:
        if asking.closing is not None:
            await getattr(asking.closing, "aclose", getattr(asking.closing, "close", None))()


@dataclass
class _Asking:
    """One cell while it runs, with secrets of its own."""

    cell: Cell
    number: int

    def __post_init__(self) -> None:
        self.word = f"{MARKS[0]}{self.number:05}x"
        self.key = f"sk-{MARKS[1]}{self.number:05}x"
        self.prompt = f"{MARKS[2]}{self.number:05}x"
        self.calls = (
            Said("Weather", {"location": f"Toronto {self.word}", "units": "metric"}),
            Said("Weather", {"location": f"Dallas {self.word}", "units": "imperial"}),
            Said("GoogleSearch", {"query": f"super bowl winner {self.word}"}),
        )
        self.server = ModelServer(Turn(calls=self.calls, pieces=9), fault=self.cell.fault)
        self.values: list[Any] = []
        self.got: Any = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.closing: Any = None

    @property
    def question(self) -> str:
        """What is asked."""
        return f"What is the weather in toronto and dallas and who won the super bowl? {self.prompt}"

    def client(self, sdk: Any) -> Any:
        """Return polycall's client."""
        url, key = self.server.url, self.key
        if self.cell.format != "chat":
            return self.native(sdk)
        if self.cell.client == SDK:
            mine = sdk.with_options(base_url=url, api_key=key, max_retries=RETRIES)
            return polycall.from_openai(mine, model="gpt-5-mini", timeout=self.cell.timeout)
        return polycall.from_provider(
            "openai/gpt-5-mini",
            base_url=url,
            api_key=key,
            http_client=self.cell.client,
            async_client=self.cell.asynchronous,
            retries=RETRIES,
            timeout=self.cell.timeout,
        )

    def native(self, sdk: Any) -> Any:
        """Return polycall's client for another format than chat completions."""
        server, way, timeout = self.server, self.cell.asynchronous, self.cell.timeout
        if self.cell.client == "responses SDK":
            mine = sdk.with_options(base_url=server.url, api_key=self.key, max_retries=RETRIES)
            return polycall.from_openai(mine, api="responses", model="gpt-5-mini", timeout=timeout)
        if self.cell.client == "anthropic SDK":
            import anthropic

            kind: Any = anthropic.AsyncAnthropic if way else anthropic.Anthropic
            self.closing = kind(base_url=server.origin, api_key=self.key, max_retries=RETRIES)
            return polycall.from_anthropic(self.closing, model="claude-sonnet-5", timeout=timeout)
        if self.cell.client == "google-genai SDK":
            from google import genai

            client = genai.Client(api_key=self.key, http_options={"base_url": server.origin, "api_version": "v1beta"})
            self.closing = client.aio if way else client
            return polycall.from_genai(client, use_async=way, model="gemini-3-flash", timeout=timeout)
        name, url = {
            "anthropic": ("anthropic/claude-sonnet-5", server.origin),
            "gemini": ("google/gemini-3-flash", server.origin),
            "responses": ("openai/gpt-5-mini", server.url),
        }[self.cell.client]
        api = {"api": "responses"} if self.cell.client == "responses" else {}
        options = {"base_url": url, "api_key": self.key, "retries": RETRIES, "timeout": timeout, **api}
        return polycall.from_provider(name, async_client=way, **options)

    def asked(self) -> dict[str, Any]:
        """Return the arguments of the question."""
        return {"messages": self.question, "response_model": Iterable[Weather | GoogleSearch], "max_retries": 0}

    def block(self, sdk: Any) -> None:
        """Ask, blocking."""
        with self.server, _closing(self), self.client(sdk) as client, self.measured():
            for _ in range(self.cell.fault.asks - 1):
                client.create(**self.asked())
                time.sleep(PAUSE)
            self.began = time.monotonic()
            if self.cell.streamed:
                with client.stream(**self.asked()) as stream:
                    self.values.extend(stream)
                    self.got = stream.result()
            else:
                self.got = client.create(**self.asked())

    async def wait(self, sdk: Any) -> None:
        """Ask on asyncio."""
        with self.server:
            async with _closing_async(self), self.client(sdk) as client:
                with self.measured():
                    for _ in range(self.cell.fault.asks - 1):
                        await client.create(**self.asked())
                        await asyncio.sleep(PAUSE)
                    self.began = time.monotonic()
                    if self.cell.streamed:
                        async with client.stream(**self.asked()) as stream:
                            async for value in stream:
                                self.values.append(value)  # one by one: kept also when it raises
                            self.got = await stream.result()
                    else:
                        self.got = await client.create(**self.asked())

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Keep what is raised, and how long it took."""
        self.began = time.monotonic()
        try:
            yield
        except BaseException as error:  # noqa: BLE001  # what it is, is what is judged
            self.error = error
        self.seconds = time.monotonic() - self.began


# --------------------------------------------------------------------------------------------------------------- judging


def _matches(value: Any, said: Said) -> bool:
    """Whether a value is what the model said; fields that the tool does not have are left out by its type."""
    meant = json.loads(said.text)
    held = value.model_dump()
    return type(value).__name__ == said.name and held == {name: meant.get(name) for name in held}


def _kept(calls: Any, arrivals: Sequence[Any]) -> str:
    """Judge calls that came with an error: whether the good ones are in their places, and nothing else is taken for good."""
    lost = len(calls.calls) > len(arrivals)
    for number, call in enumerate(calls.calls):
        arrival = arrivals[number] if number < len(arrivals) else None
        placed = call.error is None and arrival is not None and arrival.state != "bad" and _matches(call.value, arrival.said)
        if call.error is None and not placed:
            if not any(_matches(call.value, one.said) for one in arrivals if one.state != "bad"):
                return "SILENT"
            lost = True  # a good call, in another's place
        lost = lost or (call.error is not None and arrival is not None and arrival.state == "good")
    missing = arrivals[len(calls.calls) :]
    return "error" if lost or any(arrival.state != "gone" for arrival in missing) or not calls.calls else "kept"


def _all(calls: Any, arrivals: Sequence[Any]) -> str:
    """Judge calls that came without an error."""
    right = len(calls) == len(arrivals) and all(
        arrival.state != "bad" and _matches(value, arrival.said)  # what was thought gone may have come
        for value, arrival in zip(calls, arrivals, strict=True)
    )
    return "recovered" if right else "SILENT"


def _judge(asking: _Asking, logged: Sequence[tuple[str, str]]) -> Verdict:
    cell, error = asking.cell, asking.error
    if (cell.client, cell.fault.name) in BEYOND:
        return Verdict(cell, "beyond", "", asking.seconds)
    arrivals = cell.fault.becomes(asking.calls, streamed=cell.streamed)
    detail = "" if error is None else f"{type(error).__name__}: {str(error)[:200]}"
    leak = _leak(asking, logged)
    calls = getattr(error, "calls", None) if isinstance(error, polycall.CallErrors) else asking.got
    if leak:
        outcome, detail = "LEAK", leak
    elif asking.seconds > cell.timeout + GRACE + SLACK:
        outcome = "HANG"
    elif any(not any(_matches(value, arrival.said) for arrival in arrivals) for value in asking.values):
        outcome, detail = "SILENT", f"a value that nobody said was yielded; {detail}"
    elif error is None:
        outcome = _all(calls, arrivals)
        detail = detail if outcome == "recovered" else f"{calls!r:.300} text={calls.text!r:.40}"
    elif calls is not None:
        outcome = _kept(calls, arrivals)
    else:
        known = isinstance(error, polycall.PolycallError) or (cell.by_sdk and _is_theirs(error))
        outcome = "error" if known else "BARE"
        if not known:
            detail += "\n" + "".join(traceback.format_exception(error)[-6:])
    verdict = Verdict(cell, outcome, detail, asking.seconds)
    if not verdict.expected and cell.client == "google-genai SDK" and cell.fault.name in BEYOND_GENAI:
        return Verdict(cell, "beyond", detail, asking.seconds)
    return verdict


def _is_theirs(error: BaseException) -> bool:
    """Whether an error is one that an SDK raises, or lets through from the libraries below it; those pass unchanged."""
    roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    inside = any("/google/genai/" in frame.filename for frame in traceback.extract_tb(error.__traceback__))
    return inside or bool(roots & {"openai", "anthropic", "google", "httpx2", "httpx"})


def _errors(asking: _Asking) -> Iterator[polycall.PolycallError]:
    """Yield polycall's own errors: the one raised, and those that it holds."""
    found = [asking.error, *getattr(asking.got, "errors", ())]
    if isinstance(asking.error, polycall.CallErrors) and asking.error.calls is not None:
        found += asking.error.calls.errors
    for error in found:
        while isinstance(error, polycall.PolycallError):
            yield error
            error = error.__cause__  # noqa: PLW2901  # the one below


def _leak(asking: _Asking, logged: Sequence[tuple[str, str]]) -> str:
    """Name where a secret shows that must not show there."""
    secrets = (asking.key, asking.prompt, asking.word)
    for error in _errors(asking):
        shown = {
            "str": str(error),
            "repr": repr(error),
            "traceback": "".join(traceback.format_exception(error)),
            "pickle": pickle.dumps(error).decode("latin-1"),
        }
        for secret in secrets:
            for place, text in shown.items():
                if secret in text:
                    near = text[max(0, text.index(secret) - 100) :][:160]
                    return f"{secret} in the {place} of {type(error).__name__}: ...{near!r}"
        if asking.key in str(getattr(error, "body", "")):
            return f"the key in .body of {type(error).__name__}"
    for logger, text in logged:
        ours = not asking.cell.by_sdk or not logger.startswith(_THE_SDKS)
        if ours and any(secret in text for secret in secrets):
            return f"in a log record of {logger}: {text[:200]}"
    for request in asking.server.requests:
        if not request.headers.get("host", "").startswith("127.0.0.1") and asking.key in str(request.headers):
            return "the key was sent to another host"
    return ""


# --------------------------------------------------------------------------------------------------------------- running


class _Records(logging.Handler):
    """Keeps the records that hold a secret, with their loggers."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if any(mark in text for mark in MARKS):
            self.texts.append((record.name, text))


@contextmanager
def _logged() -> Iterator[list[tuple[str, str]]]:
    root, records = logging.getLogger(), _Records()
    levels = {name: logging.getLogger(name).level for name in ("", "openai")}
    root.setLevel(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.WARNING)  # it logs what it is asked, by design
    root.addHandler(records)
    try:
        yield records.texts
    finally:
        root.removeHandler(records)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def measure(names: Sequence[str] = (), through: Sequence[str] = ()) -> list[Verdict]:
    """Run the cells of some faults and clients, or of all.

    Each client and way has its own process, as many at a time as there are cores.
    """
    through = through or (*clients(), *native())
    wanted = cells(names, through)
    columns = [(client, way) for client in through for way in (False, True)]
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found: dict[Any, Any] = {}
        for answer in pool.map(lambda column: _process(*column, names), columns):
            found |= answer
    crashed = ("CRASH", "its process has died")
    return [
        Verdict(cell, *found.get((cell.fault.name, cell.client, cell.streamed, cell.asynchronous), crashed)) for cell in wanted
    ]


def _process(client: str, asynchronous: bool, names: Sequence[str]) -> dict[Any, Any]:  # noqa: FBT001  # one of two ways
    command = [sys.executable, __file__, client, "async" if asynchronous else "sync", *names]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603  # this very file
    rows = map(json.loads, done.stdout.splitlines())
    return {(name, client, streamed, asynchronous): rest for name, streamed, *rest in rows}


def run(wanted: Sequence[Cell], *, workers: int = 24) -> list[Verdict]:
    """Run cells in this process, many at a time, and return their verdicts in the same order.

    What was late is asked once more, alone: beside many others on a busy machine the wait may be that for its turn.
    """
    numbers = range(len(wanted))
    heavy = [number for number in numbers if wanted[number].fault.name in ALONE]
    verdicts = _side_by_side({number: wanted[number] for number in numbers if number not in heavy}, workers)
    verdicts |= _side_by_side({number: wanted[number] for number in heavy}, 2)
    late = [number for number in numbers if not verdicts[number].expected and verdicts[number].late]
    return [one for _, one in sorted((verdicts | _side_by_side({number: wanted[number] for number in late}, 1)).items())]


def _side_by_side(wanted: Mapping[int, Cell], workers: int) -> dict[int, Verdict]:
    askings = [_Asking(cell, number) for number, cell in wanted.items()]
    with _logged() as logged:
        blocking = threading.Thread(target=_block_all, args=([one for one in askings if not one.cell.asynchronous], workers))
        blocking.start()
        asyncio.run(_wait_all([one for one in askings if one.cell.asynchronous], workers))
        blocking.join()
    return {asking.number: _judge(asking, logged) for asking in askings}


def _block_all(askings: Sequence[_Asking], workers: int) -> None:
    waiting: queue.SimpleQueue[_Asking] = queue.SimpleQueue()
    for asking in askings:
        waiting.put(asking)
    with openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1") as sdk:

        def work() -> None:
            while True:
                try:
                    asking = waiting.get_nowait()
                except queue.Empty:
                    return
                _guarded(asking, sdk)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _guarded(asking: _Asking, sdk: Any) -> None:
    """Run a blocking cell in a thread that can be left behind."""
    asking.seconds = float("inf")
    thread = threading.Thread(target=_caught, args=(asking, sdk), daemon=True)
    thread.start()
    thread.join(asking.cell.timeout * asking.cell.fault.asks + 10.0)


def _caught(asking: _Asking, sdk: Any) -> None:
    try:
        asking.block(sdk)
    except Exception as error:  # noqa: BLE001  # making or closing the client is judged as well
        asking.error = error


async def _wait_all(askings: Sequence[_Asking], workers: int) -> None:
    limit = asyncio.Semaphore(workers)
    async with openai.AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:1") as sdk:

        async def one(asking: _Asking) -> None:
            async with limit:
                asking.seconds = float("inf")
                try:
                    await asyncio.wait_for(asking.wait(sdk), asking.cell.timeout * asking.cell.fault.asks + 10.0)
                except Exception as error:  # noqa: BLE001  # making or closing the client is judged as well
                    asking.error = asking.error or error

        await asyncio.gather(*map(one, askings))


def main() -> None:
    """Run the cells of one client in one way, and print their verdicts as lines of JSON."""
    client, way, *names = sys.argv[1:]
    for one in run(cells(names, [client], [way == "async"])):
        print(json.dumps([one.cell.fault.name, one.cell.streamed, one.outcome, one.detail, one.seconds]))
    sys.stdout.flush()
    os._exit(0)  # clients that were left behind hold no one up


if __name__ == "__main__":
    main()
