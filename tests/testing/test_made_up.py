"""Adding a provider: the one test file that belongs to `made_up`, with the service as it is written, and the suite."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from tests.testing.made_up import Decoder, MadeUp

import polycall
from polycall._connect import _connect
from polycall._reach import Reached
from polycall.provider import Connection
from polycall.testing import Answer, Event, Format, ModelServer, ProviderSuite, Said, Turn
from polycall.types import CallDelta, Stop, TextDelta, ToolChoice, Usage


class MadeUpFormat(Format):
    """The service: its words, and its rules."""

    name = "made up"

    def speaks(self, path):
        return path == "/talk"

    def problem(self, sent):
        waiting = []
        for turn in sent.body["said"]:
            if turn["who"] == "tools" and [one["no"] for one in turn["gave"]] != waiting:
                return self.error(400, "not the results of the calls")
            if turn["who"] != "tools" and waiting:
                return self.error(400, "calls without results")
            waiting = [one["no"] for one in turn.get("made", ())]
        return self.error(400, "calls without results") if waiting else None

    def streamed(self, sent):
        return sent.body["lines"]

    def answers(self, sent):
        return [[(one["tool"], one["with"]) for one in turn["made"]] for turn in sent.body["said"] if turn["who"] == "model"]

    def entries(self, saying):
        return [{"tool": call.name, "with": call.arguments} for call in saying.calls]

    def body(self, sent, saying, entries):
        return {"lines": [event.data for event in self.events(sent, saying, entries, None)]}

    def events(self, sent, saying, entries, pieces):
        events = [Event({"word": saying.text})] if saying.text else []
        for number, entry in enumerate(entries):
            text, at = entry["with"], saying.calls[number].at
            size = pieces or len(text) or 1
            events.append(Event({"call": number, "tool": entry["tool"]}, at))
            events += [Event({"of": number, "more": text[place : place + size]}, at) for place in range(0, len(text), size)]
            events.append(Event({"ready": number}, at))
        told = {"end": saying.finish or "done", "heard": len(sent.raw), "spoken": 1 + len(saying.text)}
        return [*events, Event(told, saying.end)]

    def frame(self, sent, number, data):
        return json.dumps(data).encode() + b"\n"

    def content_type(self, sent):
        return "application/x-ndjson" if self.streamed(sent) else "application/json"

    def error(self, status, message, **_):
        return Answer(json.dumps({"problem": message}).encode(), status)


class RefusedError(Exception):
    """What the SDK raises."""


class SDK:
    """What the makers of the service would give: blocking, one connection for each question."""

    def __init__(self, origin, key):
        self.origin, self.key = origin, key

    def talk(self, body):
        connection = http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=10)
        connection.request("POST", "/talk", json.dumps(body), {"authorization": f"Bearer {self.key}"})
        sock, answer = connection.sock, connection.getresponse()
        if answer.status != 200:
            connection.close()
            raise RefusedError(answer.status)
        return Talk(sock, connection, answer)

    def close(self):
        pass


class Talk:
    """An answer that arrives; closing it wakes whoever reads."""

    def __init__(self, sock, connection, answer):
        self._sock, self._connection, self._answer = sock, connection, answer
        self.chunks = iter(lambda: answer.read1(1 << 16), b"")

    def close(self):
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._answer.close()
        self._connection.close()


class TestMadeUp(ProviderSuite):
    provider = MadeUp()
    sdk = __name__
    formats = (MadeUpFormat(),)
    limit = "full"

    def client(self, server, *, asynchronous):
        kind = polycall.AsyncClient if asynchronous else polycall.Client
        return kind(Connection(MadeUp(), SDK(server.origin, self.key), blocking=True), model=self.model)

    def direct(self, server, *, asynchronous):
        kind = polycall.AsyncClient if asynchronous else polycall.Client
        given = {"headers": None, "http_client": None, "proxy": None, "ca_file": None}
        connection = _connect(Reached(MadeUp(), server.origin, self.key), asynchronous=asynchronous, **given)
        return kind(connection, model=self.model, retries=0)


# ------------------------------------------------------------------------------------------------ the suite sees what is wrong


class Wrong(Decoder):
    """A decoder with one thing wrong."""

    def feed(self, event, *, whole):
        return [one for item in super().feed(event, whole=whole) for one in self.changed(item)]

    def changed(self, item):
        yield item


class Unsealed(Wrong):
    def changed(self, item):
        if not (isinstance(item, CallDelta) and item.whole):
            yield item


class Hasty(Wrong):
    """It takes a piece of one letter for nothing."""

    def changed(self, item):
        yield replace(item, arguments="") if isinstance(item, CallDelta) and len(item.arguments) == 1 else item


class Shortened(Wrong):
    """It loses the last call."""

    def changed(self, item):
        if not (isinstance(item, CallDelta) and item.key == 4):
            yield item


class Uncut(Wrong):
    """It does not tell that a limit was reached."""

    def changed(self, item):
        yield replace(item, cut=None) if isinstance(item, Stop) else item


class Endless(Wrong):
    """It says that an answer is complete before it is."""

    finished = property(lambda _: True, lambda *_: None)

    def changed(self, item):
        yield from (item, Stop("done"))


class Forgetful(Wrong):
    """It leaves the last call out of the turn."""

    def turn(self, calls):
        return super().turn(calls[:-1])


class Silent(Wrong):
    def changed(self, item):
        if not isinstance(item, TextDelta | Usage):
            yield item


DECODERS = {
    Unsealed: {"test_calls_are_given_as_soon_as_they_are_complete"},
    Hasty: {"test_streamed_equals_whole"},
    Shortened: {"test_streamed_equals_whole", "test_any_cut_keeps_what_was_complete", "test_calls_are_made_and_answered"},
    Uncut: {"test_a_limit_is_told"},
    Endless: {"test_any_cut_keeps_what_was_complete", "test_a_broken_stream_keeps_what_was_complete"},
    Forgetful: {"test_every_call_is_answered_exactly_once", "test_calls_are_made_and_answered", "test_a_bad_call_is_asked_again"},
    Silent: {"test_streamed_equals_whole", "test_words_alone", "test_usage_is_told"},
}


@pytest.mark.parametrize(("decoder", "seen"), DECODERS.items(), ids=[kind.__name__ for kind in DECODERS])
def test_the_suite_sees_a_wrong_decoder(decoder, seen):
    class Provider(MadeUp):
        def decoder(self):
            return decoder()

    assert seen <= failures(Provider(), *seen)


class Mutating(MadeUp):
    def encode(self, request, *, stream):
        request.messages[0]["content"] = "changed"
        return super().encode(request, stream=stream)


class Random(MadeUp):
    def encode(self, request, *, stream):
        encoded = super().encode(request, stream=stream)
        return replace(encoded, body={**encoded.body, "nonce": time.monotonic_ns()})


class Unsaid(MadeUp):
    """It does not say which tools are allowed."""

    def encode(self, request, *, stream):
        return super().encode(replace(request, tool_choice=ToolChoice()), stream=stream)


class Swapped(MadeUp):
    def results(self, answers):
        return super().results(answers[::-1])


class Deaf(MadeUp):
    """It leaves results out where there are several."""

    def results(self, answers):
        return super().results(answers[:1])


class Importing(MadeUp):
    """Its file imports the SDK, which is this one."""


PROVIDERS = {
    Mutating: {"test_encoding_is_pure"},
    Random: {"test_encoding_is_pure"},
    Unsaid: {"test_tools_that_are_not_allowed_are_not_offered"},
    Swapped: {"test_every_call_is_answered_exactly_once", "test_calls_are_made_and_answered"},
    Deaf: {"test_every_call_is_answered_exactly_once", "test_calls_are_made_and_answered", "test_a_bad_call_is_asked_again"},
    Importing: {"test_importing_the_file_imports_no_sdk"},
}


@pytest.mark.parametrize(("provider", "seen"), PROVIDERS.items(), ids=[kind.__name__ for kind in PROVIDERS])
def test_the_suite_sees_a_wrong_provider(provider, seen):
    assert seen <= failures(provider(), *seen)


def failures(wrong, *names):
    """Return which tests of the suite a provider fails."""

    class Suite(TestMadeUp):
        provider = wrong

        def client(self, server, *, asynchronous):
            return (
                polycall.Client(Connection(wrong, SDK(server.origin, self.key), blocking=True), model="m")
                if not asynchronous
                else None
            )

        def direct(self, server, *, asynchronous):
            return None

    failed = set()
    for name in names:
        try:
            getattr(Suite(), name)()
        except Exception:  # whatever it is
            failed.add(name)
    return failed


def test_a_server_with_a_format_of_ones_own_knows_the_others():
    with ModelServer([Said("F", {})], formats=[MadeUpFormat()]) as server:
        client = polycall.from_provider("openai/m", base_url=server.url, api_key="k", retries=0)
        with client:
            assert client.create("?", tools=[polycall.Tool("F")])[0] == {}
        assert Turn().calls == ()
