"""Every recorded answer of Vertex AI, read by the older SDK: whole, and as the stream that it would be over REST."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.legacy.conftest import array, whole
from tests.support.recorded import BESIDE, TESTS, sse_data

import polycall

ROOT = BESIDE if BESIDE.is_dir() else TESTS / "wire"
RECORDED: list[dict[str, Any]] = [
    one
    for path in sorted(ROOT.glob("*/*.json"), key=lambda path: path.name)
    if (one := json.loads(path.read_bytes())).get("api") == "vertex.generateContent"
]
ANSWERED = [one for one in RECORDED if one["response"]["status"] == 200]
REFUSED = [one for one in RECORDED if one["response"]["status"] >= 400]
NEW_WORDS = {"FAKE_ENUM", "UNEXPECTED_TOOL_CALL", "blocked:FAKE_NEW_BLOCK_REASON"}
"""Enums that the SDK does not know as texts, and drops; it asks the service for numbers instead."""


def name(one):
    return one["id"]


def events(one):
    return sse_data(one["response"]["body"].encode()) if one["stream"] else [one["response"]["body"]]


def tools(one):
    return [polycall.Tool(name) for name in dict.fromkeys(call["name"] for call in one["expected_calls"])] or [
        polycall.Tool("no")
    ]


def messages(one):
    """Return the conversation that was sent, where the recording has it: contents in the service's own words."""
    return (one["request"] or {}).get("contents") or "?"


@pytest.mark.parametrize(
    ("one", "stream"),
    [
        pytest.param(one, stream, id=f"{one['id']} {'streamed' if stream else 'whole'}")
        for one in ANSWERED
        for stream in (False, True)
        if (stream or not one["stream"])
    ],
)
def test_answer(server, model, one, stream):
    server.answer = array(*events(one)) if stream else whole(one["response"]["body"])
    client = polycall.from_vertexai(model(), max_retries=0, errors="return")
    answer = client.create(messages(one), tools=tools(one), stream=stream)
    calls = answer.result() if stream else answer
    assert [(call.name, call.value) for call in calls.calls] == [
        (expected["name"], expected["arguments"] or {}) for expected in one["expected_calls"]
    ]
    if NEW_WORDS.isdisjoint(one["finish"]):
        assert calls.finish_reason == {"1": "STOP"}.get(one["finish"][-1], one["finish"][-1].removeprefix("blocked:"))
        assert bool(calls.errors) == (calls.finish_reason != "STOP")
    if one["finish"][0].startswith("blocked:"):
        assert [type(error) for error in calls.errors] == [polycall.RefusalError]
    assert type(calls.response).__name__ == "GenerationResponse"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("one", REFUSED, ids=name)
def test_refused(server, model, one, stream):
    status = one["response"]["status"]
    server.answer = whole(one["response"]["body"], status)
    with pytest.raises(Exception) as failed:  # noqa: PT011  # of the SDK
        polycall.from_vertexai(model()).create("?", tools=tools(one), stream=stream).result()
    assert type(failed.value).__module__ == "google.api_core.exceptions"
    assert failed.value.code == status
