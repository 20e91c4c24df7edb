"""Every fault through every client that is installed: nothing is lost in silence, hangs, escapes bare or leaks."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import get_args

import openai
import pytest
from tests.support.services import post

import polycall
from polycall.testing import FAULTS, Drop, Fault, ModelServer, Outcome, Raw, Said, Turn

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
import fault_cells
import fault_table

CALLS = (
    Said("Weather", {"location": "Toronto", "units": "metric"}),
    Said("Weather", {"location": "Dallas", "units": "imperial"}),
    Said("GoogleSearch", {"query": "super bowl winner"}),
)
LISTED = [
    "stall-before-headers",
    "headers-one-byte-a-second",
    "comments-for-ever",
    "body-one-byte-at-a-time",
    "reset-inside-arguments",
    "gzip-bomb",
    "429-retry-after-seconds",
    "429-retry-after-ms",
    "429-retry-after-date",
    "429-retry-after-beyond-deadline",
    "429-quota-exhausted",
    "529-once",
    "408-once",
    "409-once",
    "500-once",
    "502-html-once",
    "503-always",
    "400",
    "401",
    "403",
    "404-model",
    "413",
    "422",
    "redirect-307-same-host",
    "redirect-other-host",
    "redirect-loop",
    "200-error-body",
    "200-error-body-rate-limit",
    "200-html",
    "200-json-array",
    "200-json-string",
    "200-cut-json",
    "200-not-utf-8",
    "200-empty",
    "204",
    "crlf",
    "cr-only",
    "comments-between",
    "bom",
    "split-utf-8",
    "no-done",
    "keep-alive-white-space",
    "event-stream-as-text-plain",
    "stream-asked-whole-sent",
    "whole-asked-stream-sent",
    "error-event-first",
    "error-event-inside",
    "error-event-429-first",
    "finish-length-inside-call",
    "finish-length-between-calls",
    "finish-content-filter",
    "refusal",
    "text-only",
    "no-finish-reason",
    "choices-empty",
    "choices-missing",
    "choices-null",
    "message-null",
    "usage-null",
    "usage-only-chunk-first",
    "index-all-zero",
    "index-missing",
    "index-negative",
    "index-float",
    "index-string",
    "ids-missing",
    "ids-empty",
    "ids-equal",
    "arguments-as-object",
    "arguments-null",
    "arguments-empty",
    "arguments-not-json",
    "arguments-nan",
    "arguments-duplicate-keys",
    "arguments-lone-surrogate",
    "arguments-trailing-text",
    "arguments-cut",
    "arguments-array",
    "arguments-depth-65",
    "arguments-depth-100000",
    "arguments-2-mib",
    "arguments-double-encoded",
    "arguments-wrong-type",
    "arguments-missing-field",
    "calls-1025",
    "calls-interleaved",
    "calls-in-one-chunk",
    "call-sent-twice",
    "name-in-every-delta",
    "name-late",
    "name-unknown",
    "name-empty",
    "name-null",
    "name-split",
    "function-null",
    "tool-calls-as-object",
    "legacy-function-call",
    "custom-call-beside",
    "n-2-choices",
    "response-17-mib",
    "whole-17-mib",
    "gzip",
    "deflate-body",
    "gzip-cut",
    "gzip-wrong",
    "brotli-not-asked-for",
    "content-length-too-long",
    "content-length-too-short",
    "content-length-missing",
    "chunk-size-garbage",
    "chunked-cut",
    "chunked-and-length",
    "status-line-garbage",
    "header-2-mib",
    "headers-10000",
    "http-1.0",
    "100-continue-first",
    "early-hints-103",
    "connection-refused",
    "accept-and-close",
    "accept-and-reset",
    "close-after-request",
    "close-inside-headers",
    "reset-before-first-event",
    "close-between-calls",
    "close-inside-call",
    "close-before-done",
    "stale-keep-alive",
    "key-echoed-in-error",
    "key-echoed-in-html",
    "prompt-echoed-in-error",
    "arguments-echoed-in-error",
    "error-as-string",
    "error-as-list",
    "error-code-number",
]
QUICK = [
    "connection-refused",
    "accept-and-reset",
    "stale-keep-alive",
    "status-line-garbage",
    "stall-before-headers",
    "content-length-missing",
    "gzip",
    "gzip-cut",
    "429-retry-after-ms",
    "401",
    "redirect-other-host",
    "key-echoed-in-error",
    "200-html",
    "200-not-utf-8",
    "crlf",
    "comments-between",
    "reset-inside-arguments",
    "close-between-calls",
    "error-event-inside",
    "comments-for-ever",
    "choices-empty",
    "finish-length-inside-call",
    "refusal",
    "n-2-choices",
    "calls-interleaved",
    "ids-equal",
    "name-unknown",
    "arguments-nan",
    "arguments-as-object",
    "arguments-unicode",
]


# -------------------------------------------------------------------------------------------------------------- the catalogue


def test_there_are_enough_faults():
    assert len(FAULTS) >= 400
    assert not set(LISTED) - set(FAULTS)


def test_each_fault_says_what_it_is():
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert re.fullmatch(r"[a-z0-9][a-z0-9.]*(-[a-z0-9.]+)*", name)
        assert fault.about
        assert "\n" not in fault.about
        assert fault.where
        assert fault.whole or fault.streamed
        assert {*fault.whole, *fault.streamed} <= set(get_args(Outcome))
        assert isinstance(fault.about, str)


@pytest.mark.parametrize("streamed", [False, True])
def test_each_fault_says_what_becomes_of_the_calls(streamed):
    """What can be recovered has no bad call, and what can be kept has a bad or a missing one, or an error beside."""
    for fault in FAULTS.values():
        states = [arrival.state for arrival in fault.becomes(CALLS, streamed=streamed)]
        honest = fault.honest(streamed=streamed)
        if honest == ("recovered",):
            assert set(states) <= {"good"}, fault.name
        if "recovered" in honest:
            assert "bad" not in states, fault.name


def heard(server, *, stream):
    """Return the first bytes that a server answers with, less what differs by itself."""
    body = b'{"model":"m","messages":[{"role":"user","content":"?"}]%s}' % (
        b',"stream":true,"stream_options":{"include_usage":true}' if stream else b""
    )
    head = b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    received = b""
    address = re.search(r"//([\d.]+):(\d+)", server.origin).groups()
    try:
        with socket.create_connection(address) as client:
            client.settimeout(0.25)
            client.sendall(head % len(body) + body)
            while len(received) < 40_000_000 and (data := client.recv(1 << 20)):
                received += data
    except OSError as error:
        received += type(error).__name__.encode()
    return received


@pytest.mark.parametrize("stream", [False, True])
def test_each_fault_changes_what_is_sent(stream):
    """A fault that changes nothing would be recovered by everyone."""
    later = {"stale-keep-alive", "stale-keep-alive-reset", "answer-to-another-question"}
    turn = Turn(calls=CALLS, pieces=9)
    with ModelServer(turn) as server:
        honest = heard(server, stream=stream)
        assert honest.startswith(b"HTTP/1.1 200 Told\r\n")
        unchanged = []
        for name, fault in FAULTS.items():
            if fault.meant_for("chat") and fault.honest(streamed=stream) and not fault.stalls and name not in later:
                server.fault = name
                if heard(server, stream=stream) == honest:
                    unchanged.append(name)
        assert unchanged == ["slow-headers"]  # a fault of the pace alone


# ------------------------------------------------------------------------------------------------------------------ the cells


def test_some_faults_through_every_client():
    assert [str(verdict) for verdict in fault_cells.run(fault_cells.cells(QUICK)) if not verdict.expected] == []


OWN = [name for name in FAULTS if name.startswith("own-")]


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # of google-genai
@pytest.mark.filterwarnings("ignore:SOMETHING_NEW is not a valid FinishReason:UserWarning")  # of google-genai
def test_some_faults_through_the_clients_of_other_formats():
    cells = fault_cells.cells([*QUICK[::3], *OWN], fault_cells.native())
    assert {cell.format for cell in cells} == {"anthropic", "gemini", "responses"}
    assert [str(verdict) for verdict in fault_cells.run(cells) if not verdict.expected] == []


@pytest.mark.parametrize("name", ["anthropic", "gemini", "responses"])
def test_a_fault_of_another_format_spoils_nothing(name):
    with ModelServer([CALLS[0]], fault="choices-empty") as server:
        path = {"anthropic": "/v1/messages", "gemini": "/v1/models/m:generateContent", "responses": "/v1/responses"}[name]
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}], "input": "?"}
        status, _, answer = post(server, path, {**body, "contents": [{"role": "user", "parts": [{"text": "?"}]}]})
        assert (status, b"Toronto" in answer) == (200, True)


@pytest.mark.slow
def test_every_fault_through_every_client_of_chat_completions():
    verdicts = fault_cells.measure(through=fault_cells.clients())
    assert [str(verdict) for verdict in verdicts if not verdict.expected] == []
    of_chat = [fault for fault in FAULTS.values() if fault.meant_for("chat")]
    assert len({verdict.cell.fault.name for verdict in verdicts}) == len(of_chat)
    page = fault_table.page(verdicts)
    assert page.count("\n| `") == len(of_chat)
    assert "0 of what must not happen" in page


@pytest.mark.slow
def test_every_fifth_fault_through_the_clients_of_other_formats():
    """The command measures them all, in minutes."""
    verdicts = fault_cells.measure([*FAULTS][::5], through=fault_cells.native())
    assert [str(verdict) for verdict in verdicts if not verdict.expected] == []
    assert {verdict.cell.format for verdict in verdicts} == {"anthropic", "gemini", "responses"}


@pytest.mark.slow
def test_what_a_retry_can_heal_is_healed_on_the_direct_path():
    """A status or a connection that fails once, before anything has come, is no error with retries to spend."""
    direct = [client for client in fault_cells.clients() if client != fault_cells.SDK]
    healing = [name for name, fault in FAULTS.items() if fault.times == 1 and fault.where in {"status", "connection"}]
    verdicts = fault_cells.run(fault_cells.cells(healing, direct)) if direct else []
    assert [str(verdict) for verdict in verdicts if verdict.outcome != "recovered"] == []


# ------------------------------------------------------------------------------------------- the judge is no friend of polycall


def judged(fault, monkeypatch, *, streamed=False, create=None, client="openai SDK"):
    """Return the verdict on a client that does what ``create`` does."""
    cell = fault_cells.Cell(fault, client, streamed, asynchronous=False)

    class Doing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def create(self, **_):
            return create(self.asking)

    doing = Doing()

    def fake(asking, _):
        doing.asking = asking
        return doing

    monkeypatch.setattr(fault_cells._Asking, "client", fake)
    (verdict,) = fault_cells.run([cell])
    return verdict


def plain(name="400", **changes):
    fault = FAULTS[name]
    return Fault(**{field: getattr(fault, field) for field in fault.__dataclass_fields__} | changes)


def test_the_judge_sees_a_bare_exception(monkeypatch):
    def create(_):
        raise KeyError("x")

    assert judged(plain(), monkeypatch, create=create).outcome == "BARE"


def test_the_sdk_may_raise_its_own_errors_and_only_the_sdk(monkeypatch):
    def create(_):
        raise openai.OpenAIError("x")

    assert judged(plain(), monkeypatch, create=create).outcome == "error"
    assert judged(plain(), monkeypatch, create=create, client="httpx2").outcome == "BARE"


@pytest.mark.parametrize("secret", ["key", "word", "prompt"])
def test_the_judge_sees_a_leak(secret, monkeypatch):
    def create(asking):
        raise polycall.TransportError(f"it said {getattr(asking, secret)}")

    assert judged(plain(), monkeypatch, create=create).outcome == "LEAK"


def test_the_judge_sees_a_leak_in_a_log(monkeypatch):
    import logging

    def create(asking):
        logging.getLogger("polycall").debug("sending %s", asking.prompt)
        raise polycall.TransportError("x")

    assert judged(plain(), monkeypatch, create=create).outcome == "LEAK"


def test_the_judge_sees_a_late_answer(monkeypatch):
    monkeypatch.setattr(fault_cells, "TIMEOUT", 0.01)
    monkeypatch.setattr(fault_cells, "GRACE", 0.0)
    monkeypatch.setattr(fault_cells, "SLACK", 0.0)

    def create(_):
        import time

        time.sleep(0.1)
        raise polycall.TransportError("x")

    assert judged(plain(), monkeypatch, create=create).outcome == "HANG"


class Fake(list):
    text = ""
    errors = ()


def value(call, **changes):
    import json

    kind = {"Weather": fault_cells.Weather, "GoogleSearch": fault_cells.GoogleSearch}[call.name]
    return kind(**{**json.loads(call.text), **changes})


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (lambda calls: [value(call) for call in calls], "recovered"),
        (lambda calls: [value(call) for call in calls[:2]], "SILENT"),
        (lambda calls: [value(call) for call in (*calls, calls[0])], "SILENT"),
        (lambda calls: [value(call) for call in (calls[1], calls[0], calls[2])], "SILENT"),
        (lambda calls: [value(calls[0], location="Paris"), *map(value, calls[1:])], "SILENT"),
        (lambda _: [], "SILENT"),
    ],
    ids=["right", "fewer", "more", "swapped", "changed", "none"],
)
def test_the_judge_counts_and_compares(made, outcome, monkeypatch):
    assert judged(plain("gzip"), monkeypatch, create=lambda asking: Fake(made(asking.calls))).outcome == outcome


def test_a_good_value_for_a_bad_call_is_silent(monkeypatch):
    fault = plain("arguments-cut")
    made = lambda asking: Fake(value(call) for call in asking.calls)  # noqa: E731  # short
    assert judged(fault, monkeypatch, create=made).outcome == "SILENT"


def test_a_fault_of_ones_own():
    """A fault is plain data: anyone can make one."""
    fault = Fault(name="mine", about="closes", whole=("error",), streamed=("error",), spoil=lambda _: Raw([Drop()]))
    cells = [fault_cells.Cell(fault, client, streamed, False) for client in fault_cells.clients() for streamed in (False, True)]
    assert [str(verdict) for verdict in fault_cells.run(cells) if not verdict.expected] == []


def test_the_page():
    cells = fault_cells.cells(["gzip", "stall-before-done"], [fault_cells.SDK])
    kept = [fault_cells.Verdict(cell, "kept" if cell.asynchronous else "recovered") for cell in cells]
    page = fault_table.page(kept)
    assert "| `gzip` | the body is compressed | recovered / kept | recovered / kept |" in page
    assert re.search(r"\| `stall-before-done` \| [^|]* \|\s+\| recovered / kept \|", page)
