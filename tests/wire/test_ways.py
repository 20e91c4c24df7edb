"""Every recorded exchange, by every way to ask it: exactly the calls that the model made."""

from __future__ import annotations

import pytest

from support.loopback import Answer, Server
from support.ways import CHAT, LOOP, WAYS, ask, ask_async, clients, exchanges, wrong

OWN = [
    way for way in WAYS if way.installed and (way.family != CHAT or way.sdk not in {None, "openai"})
]  # the rest: test_recorded.py
FACES = {"blocking": False, "asyncio": True}
CASES = [
    pytest.param((way, face), one, id=f"{way.name.replace(' ', '-')}-{face}-{one.id}")
    for way in OWN
    for face in FACES
    for one in exchanges()
    if way.fits(one) and not way.explained(one)
]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def asked(request, server):
    """Return a function that asks one way, of which only one is open at a time."""
    way, face = request.param
    asynchronous = FACES[face]
    with clients(way, server, asynchronous=asynchronous) as client:
        yield way, lambda one: LOOP.run_until_complete(ask_async(client, one)) if asynchronous else ask(client, one)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")  # of SDKs
@pytest.mark.parametrize(("asked", "one"), CASES, indirect=["asked"], scope="module")
def test_the_calls_are_those_of_the_recording(asked, one, server):
    way, ask_for = asked
    body = one.sent(sse=way.sse)
    pieces = [body[start : start + 400] for start in range(0, len(body), 400)]
    server.answer = Answer(pieces if one.stream else body, one.status, one.content_type)
    server.requests.clear()
    refused = one.status >= 400 or not one.body.strip()
    if refused:
        with pytest.raises(Exception):  # noqa: B017, PT011  # each SDK has its own
            ask_for(one)
        return
    try:
        calls = ask_for(one)
    except Exception:
        assert one.tags & {"error", "error_mid_stream"}
        assert not one.calls
        return
    assert not wrong(calls, one)
    assert len(server.requests) == 1


def test_every_way_has_exchanges():
    assert [way.name for way in WAYS if not any(map(way.fits, exchanges()))] in (["fireworks"], [])
