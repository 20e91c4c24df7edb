"""Groq reports what its model wrote wrongly as an error: those are bad calls, and asked again. Recorded answers of its service."""

from __future__ import annotations

import json

import pytest

import polycall
from polycall import InvalidArgumentsError, NoCallsError, UnknownToolError
from polycall.testing import Answer, ModelServer, Said, Turn
from support.reasks import ACCEPTED, KEY, WAYS, Asker, Way, check_asked
from support.recorded import Recorded, named

GET = polycall.Tool(
    "get_something_by_name",
    schema={
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    },
)
FINAL = polycall.Tool(
    "final_result",
    description="The final response which ends this conversation",
    schema={
        "type": "object",
        "properties": {"response": {"enum": ["yes", "no"], "type": "string"}},
        "required": ["response"],
        "additionalProperties": False,
    },
)
WRONG = {"groq-chat-json-0c-04990011": {"foo": "bar"}, "groq-chat-sse-0c-1e931aa3": {"invalid_param": "value"}}
WORDS = ["groq-chat-json-0c-4dbed916", "groq-chat-sse-0c-922e9efa"]
GOOD = [Turn(), Turn(calls=[Said("get_something_by_name", {"name": "lamp"})])]


@pytest.fixture(scope="module")
def ways():
    made = []

    def way(name: str):
        server = ModelServer()
        server.__enter__()
        client = Way(name, server.url, **({} if name.startswith("openai") else {"provider": "groq"}))
        made.append((server, client))
        return server, client

    yield way
    for server, client in made:
        client.close()
        server.__exit__(None, None, None)


@pytest.fixture(scope="module", params=WAYS)
def met(request, ways):
    return ways(request.param)


def replayed(met, one: Recorded, *, stream: bool | None = None) -> Asker:
    """Return what asks a server that first answers as recorded."""
    server, client = met
    server.queue.clear()
    body = [one.body[start : start + 500] for start in range(0, len(one.body), 500)] if one.stream else one.body
    server.queue.append(Answer(body, one.status, one.content_type))
    return Asker(server, client, "early" if (one.stream if stream is None else stream) else "whole")


@pytest.mark.parametrize("id", WRONG)
def test_bad_call_in_a_report_is_asked_again(met, id):
    one = named(id)
    asked = replayed(met, one)(GOOD, one.request["messages"], tools=[GET])
    assert list(asked.calls) == [{"name": "lamp"}]
    assert asked.calls.errors == ()
    assert len(asked.requests) == 2
    (error,) = asked.calls.attempts[0].errors
    assert isinstance(error, InvalidArgumentsError)
    assert json.loads(error.arguments) == WRONG[id]
    turn, answer = asked.sent()[-2:]
    (entry,) = turn["tool_calls"]
    assert (entry["function"]["name"], json.loads(entry["function"]["arguments"])) == ("get_something_by_name", WRONG[id])
    assert answer["tool_call_id"] == entry["id"]
    told = json.loads(answer["content"])
    assert told["error"] == "invalid arguments"
    assert told != ACCEPTED
    assert any("name" in problem for problem in told["problems"])


@pytest.mark.parametrize("id", WRONG)
def test_bad_call_in_a_report_is_an_outcome(met, id):
    one = named(id)
    asked = replayed(met, one)(GOOD, one.request["messages"], tools=[GET], max_retries=0)
    assert len(asked.requests) == 1
    (call,) = asked.calls.calls
    assert (call.name, call.outcome) == ("get_something_by_name", "invalid")
    asked = replayed(met, one)(GOOD, one.request["messages"], tools=[FINAL], max_retries=0)
    assert [type(error) for error in asked.calls.errors] == [UnknownToolError]
    with pytest.raises(polycall.CallErrors):
        replayed(met, one)(GOOD, one.request["messages"], tools=[GET], max_retries=0, errors="raise")


@pytest.mark.parametrize("id", WORDS)
def test_words_where_a_call_was_required_are_asked_again(met, id):
    one = named(id)
    script = [Turn(), Turn(calls=[Said("final_result", {"response": "no"})])]
    asked = replayed(met, one)(script, one.request["messages"], tools=[FINAL], tool_choice="required")
    assert list(asked.calls) == [{"response": "no"}]
    assert asked.calls.text.endswith("maybe")
    assert [type(error) for error in asked.calls.attempts[0].errors] == [NoCallsError]
    turn, note = asked.sent()[-2:]
    assert (turn["role"], turn["content"].endswith("maybe")) == ("assistant", True)
    assert (note["role"], note["content"]) == ("user", "A tool has to be called. Answer with tool calls")


@pytest.mark.parametrize("id", WORDS)
def test_words_for_ever(met, id):
    one = named(id)
    asker = replayed(met, one)
    asker.server.queue.extend([asker.server.queue[0]] * 2)
    asked = asker([], one.request["messages"], tools=[FINAL], tool_choice="required", max_retries=2, check=False)
    assert len(asked.requests) == 3
    assert {type(error) for error in asked.calls.errors} == {NoCallsError}
    assert len(asked.calls) == 0


def report(text: str, **others: object) -> Answer:
    error = {"message": "Failed to call a function.", "type": "invalid_request_error", "code": "tool_use_failed"}
    return Answer(json.dumps({"error": {**error, "failed_generation": text, **others}}).encode(), 400)


@pytest.mark.parametrize(
    "text",
    [
        '<function=get_something_by_name>{"name": 7}</function>',
        '<function=get_something_by_name{"name": 7}</function>',
        '<tool_call>{"name": "get_something_by_name", "arguments": {"name": 7}}</tool_call>',
        '[{"name": "get_something_by_name", "parameters": {"name": 7}}]',
        '{"name": "get_something_by_name", "arguments": {"name": 7',
    ],
)
def test_the_forms_in_which_models_write_calls(met, text):
    server, client = met
    server.queue.append(report(text))
    asked = Asker(server, client, "whole")(GOOD, tools=[GET])
    assert list(asked.calls) == [{"name": "lamp"}]
    assert len(asked.requests) == 2
    check_asked(asked)


def test_good_and_bad_calls_in_one_report(met):
    server, client = met
    calls = [{"name": "get_something_by_name", "arguments": {"name": name}} for name in ("lamp", 7, "chair")]
    server.queue.append(report(json.dumps(calls)))
    script = [Turn(), Turn(calls=[Said("get_something_by_name", {"name": "table"})])]
    asked = Asker(server, client, "whole")(script, tools=[GET])
    assert [value["name"] for value in asked.calls] == ["lamp", "table", "chair"]


def test_other_errors_of_the_service_stay_errors(met):
    server, client = met
    body = {"error": {"message": f"Invalid API Key {KEY}", "type": "invalid_request_error", "code": "invalid_api_key"}}
    server.queue.append(Answer(json.dumps(body).encode(), 401))
    with pytest.raises(Exception, match="401") as caught:
        Asker(server, client, "whole")(GOOD, tools=[GET])
    assert type(caught.value).__name__ in {"AuthenticationError", "TransportError"}
    assert len(server.requests) == 1
