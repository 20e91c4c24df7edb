"""The model server in every wire format, met by the services' own SDKs: what is said, its pace, re-asks."""

from __future__ import annotations

import json
import time

import pytest
from tests.support.services import ASK, FORMATS, TEXTS, meant, post, question

from polycall.testing import ModelServer, Said, Turn

TORONTO = Said("Weather", {"location": "Zürich \U0001f327", "units": "metric", "days": 3})
DALLAS = Said("Weather", {"location": "Dallas", "units": "imperial"})
SEARCH = Said("GoogleSearch", {"query": "super bowl winner"})
THREE = (TORONTO, DALLAS, SEARCH)
TURN = {"text": "Let me see.", "calls": THREE}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDKs


def pairs(*calls):
    return [(call.name, json.loads(call.text)) for call in calls]


def objects(heard):
    return [(name, meant(given)) for name, given in heard.calls]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pieces", [None, 1])
def test_a_turn_is_said(name, stream, pieces):
    with ModelServer(Turn(**TURN, pieces=pieces)) as server:
        heard = ASK[name](server, question(name), stream=stream)
        assert objects(heard) == pairs(*THREE)
        assert heard.text == "Let me see."
        assert heard.finish == {
            "chat": "tool_calls",
            "anthropic": "tool_use",
            "responses": "completed",
            "cohere": "TOOL_CALL",
            "ollama": "stop",
            "converse": "tool_use",
        }.get(name, "STOP")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_to_its_end(name, stream):
    """Calls, results, calls, results, and a closing word: each SDK's own objects are sent back."""
    with ModelServer([Turn(calls=[TORONTO, DALLAS]), Turn(calls=[SEARCH]), Turn(text="Done.")]) as server:
        messages, heard = question(name), []
        for _ in range(4):
            answer = ASK[name](server, messages, stream=stream)
            heard.append(objects(answer) or answer.text)
            messages = [*messages, *answer.turn, *(answer.answers if answer.calls else question(name))]
        assert heard == [pairs(TORONTO, DALLAS), pairs(SEARCH), "Done.", "That is all."]


WRONG = [
    TORONTO,
    Said("Weather", DALLAS.arguments, wrong='{"location": 5}'),
    Said("GoogleSearch", "{}", wrong=Said("Search", "{}")),
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("resend", ["bad", "all", "one", "none"])
def test_wrong_calls_are_sent_again(name, stream, resend):
    right = Said("GoogleSearch", {})
    rounds = {
        "bad": [pairs(DALLAS, right)],
        "all": [pairs(TORONTO, DALLAS, right)],
        "one": [pairs(DALLAS), pairs(right)],
        "none": ["I cannot do better."],
    }[resend]
    with ModelServer(Turn(calls=WRONG, resend=resend)) as server:
        messages, heard = question(name), []
        for _ in range(1 + len(rounds)):
            answer = ASK[name](server, messages, stream=stream)
            heard.append(objects(answer) or answer.text)
            messages = [*messages, *answer.turn, *(answer.answers if answer.calls else ())]
        assert heard == [[*pairs(TORONTO), ("Weather", {"location": 5}), ("Search", {})], *rounds]


@pytest.mark.parametrize("name", FORMATS)
def test_calls_are_complete_at_their_times(name):
    with ModelServer(Turn(calls=THREE, times=(0.1, 0.2, 0.3), end=0.4, pieces=5)) as server:
        ASK[name](server, question(name), stream=False)
        began = time.monotonic()
        assert objects(ASK[name](server, question(name), stream=True)) == pairs(*THREE)
        assert time.monotonic() - began >= 0.39


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"anthropic", "converse"}))  # their SDKs parse the text themselves
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["{", "[1]", "nonsense"])
def test_arguments_that_are_no_object(name, stream, text):
    with ModelServer([Said("Weather", text)]) as server:
        if name == "chat" and stream:
            return  # the helper of the SDK parses it
        ((_, given),) = ASK[name](server, question(name), stream=stream).calls
        assert given == (text if name in TEXTS else {"invalid_arguments": text})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
def test_no_arguments_are_none(name, stream):
    with ModelServer([Said("Weather", "")]) as server:
        ((_, given),) = ASK[name](server, question(name), stream=stream).calls
        assert given in ("", {})


@pytest.mark.parametrize("name", FORMATS)
def test_another_key_is_refused(name):
    with ModelServer([TORONTO], key="another") as server, pytest.raises(Exception, match=r"(?i)key|token|unauthorized"):
        ASK[name](server, question(name), stream=False)


# ------------------------------------------------------------------------------------------------------ rules of the services


def claude(*messages, **options):
    return {"model": "claude-sonnet-5", "max_tokens": 9, "tools": [{}], "messages": list(messages), **options}


USER = {"role": "user", "content": "?"}
USED = {"role": "assistant", "content": [{"type": "tool_use", "id": one, "name": "F", "input": {}} for one in "ab"]}


def results(*ids, behind=()):
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": one, "content": "r"} for one in ids] + list(behind),
    }


WORDS = {"type": "text", "text": "and"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            claude(USER, USED, results("a")),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: b.",
        ),
        (claude(USER, USED, USER), "immediately after: a, b."),
        (claude(USER, USED, results("a"), results("b")), "roles must alternate"),
        (claude(USER, USED, {**USER, "content": [WORDS, *results("a", "b")["content"]]}), "immediately after: a, b."),
        (
            claude(USER, USED, results("a", "b", "c")),
            "messages.2.content.2: unexpected `tool_use_id` found in `tool_result` blocks: c.",
        ),
        (claude(USER, USED, results("a", "b", "a")), "each tool_use must have a single result. Found multiple"),
        (claude(USER, USED), "immediately after: a, b."),
        (claude(USER, {"role": "assistant", "content": "x"}), "must end with a user message"),
        (claude(USER, USED, results("a", "b"), tools=[]), "must define tools"),
        (claude(USED, results("a", "b")), 'first message must use the "user" role'),
        (claude(USER, {"role": "assistant", "content": []}, USER), "must have non-empty content"),
        (claude({"role": "user", "content": [{"type": "text", "text": ""}]}), "text content blocks must be non-empty"),
        (claude({"role": "system", "content": "x"}), "Input should be 'user' or 'assistant'"),
        (claude(USER, {**USED, "content": [{**USED["content"][0], "input": "{"}]}, results("a")), "valid dictionary"),
        (claude(USER, {**USED, "content": [{**USED["content"][0], "id": "a.b"}]}, results("a.b")), "should match pattern"),
        (claude(USER, {**USED, "content": USED["content"][:1] * 2}, results("a")), "ids must be unique"),
        (claude(USER, tool_choice={"type": "any"}, thinking={"type": "adaptive"}), "Thinking may not be enabled"),
        (claude(USER, tools=None, tool_choice={"type": "any"}), "only be specified while providing tools"),
        ({"model": "m", "messages": [USER]}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": 9}, "messages: Field required"),
        (claude(), "at least one message"),
        (None, "not valid JSON"),
    ],
)
def test_anthropic_refuses(body, told):
    with ModelServer([TORONTO]) as server:
        status, _, answer = post(server, "/v1/messages", body)
    error = json.loads(answer)
    assert (status, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error")
    assert told in error["error"]["message"]


def test_anthropic_takes_a_whole_history():
    with ModelServer([TORONTO, Turn(text="Good.")]) as server:
        body = claude(USER, USED, results("b", "a", behind=[WORDS]))
        assert json.loads(post(server, "/v1/messages", body)[2])["content"] == [{"type": "text", "text": "Good."}]


def test_anthropic_wants_its_thoughts_back():
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    with ModelServer([Turn(calls=[TORONTO, DALLAS]), Turn(text="Good.")]) as server:
        first = json.loads(post(server, "/v1/messages", claude(USER, **thinking))[2])
        thought, *calls = first["content"]
        assert thought["type"] == "thinking"
        told = results(*(call["id"] for call in calls))

        def answer(*content):
            status, _, body = post(
                server, "/v1/messages", claude(USER, {"role": "assistant", "content": [*content]}, told, **thinking)
            )
            return status, body.decode()

        assert answer(thought, *calls)[0] == 200
        assert "Expected `thinking`" in answer(*calls)[1]
        assert "Expected `thinking`" in answer(calls[0], thought, calls[1])[1]
        assert "Invalid `signature`" in answer({**thought, "thinking": "other"}, *calls)[1]
        assert "Invalid `signature`" in answer({**thought, "signature": "x"}, *calls)[1]


GEMINI_3 = "/v1beta/models/gemini-3-flash:generateContent"
GEMINI_2 = "/v1beta/models/gemini-2.5-flash:generateContent"
ASKED = {"role": "user", "parts": [{"text": "?"}]}


def called(*calls):
    return {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}, **more}} for name, more in calls]}


def told(*results):
    given = [{"functionResponse": {"name": name, "response": {"output": 1}, **more}} for name, more in results]
    return {"role": "user", "parts": given}


F, G = ("F", {}), ("G", {})


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ([ASKED, called(F, G), told(F)], "number of function response parts is equal"),
        ([ASKED, called(F, G), told(F, G, G)], "number of function response parts is equal"),
        ([ASKED, called(F, G), ASKED], "number of function response parts is equal"),
        ([ASKED, called(F, G)], "number of function response parts is equal"),
        ([ASKED, called(F, G), told(F), told(G)], "number of function response parts is equal"),
        ([ASKED, called(F, G), told(G, F)], "function response 0 has the id and the name"),
        ([ASKED, called(("F", {"id": "1"})), told(F)], "function response 0 has the id and the name"),
        ([ASKED, called(("F", {"id": "1"})), told(("F", {"id": "2"}))], "function response 0 has the id and the name"),
        ([called(F), told(F)], "function call turn comes immediately after a user turn"),
        ([ASKED, {"role": "model", "parts": [{"text": "x"}]}, called(F), told(F)], "function call turn comes immediately"),
        ([ASKED, told(F)], "function response turn comes immediately after a function call turn"),
        ([ASKED, {"role": "model", "parts": [{"text": "x"}]}], "multiturn requests end with a user turn"),
        ([{"role": "assistant", "parts": [{"text": "x"}]}], "Please use a valid role"),
        ([{"role": "user", "parts": []}], "contents.parts must not be empty"),
        ([{"role": "user", "parts": [{"thought": True}]}], "must have one initialized field"),
        ([ASKED, called(("", {})), told(("", {}))], "Name cannot be empty"),
        ([ASKED, called(F), told(("F", {"response": "x"}))], "Invalid value at 'function_response[0].response'"),
        (
            [ASKED, {"role": "model", "parts": [{**called(F)["parts"][0], "thoughtSignature": "x"}]}, told(F)],
            "signature is not valid",
        ),
        ([], "contents is not specified"),
    ],
)
def test_gemini_refuses(contents, said):
    with ModelServer([TORONTO]) as server:
        status, _, answer = post(server, GEMINI_2, {"contents": contents})
    error = json.loads(answer)["error"]
    assert (status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert said in error["message"]


def test_gemini_3_wants_its_signatures_back():
    with ModelServer([Turn(calls=[TORONTO, DALLAS]), Turn(text="Good.")]) as server:
        turn = json.loads(post(server, GEMINI_3, {"contents": [ASKED]})[2])["candidates"][0]["content"]
        first, second = turn["parts"]
        assert "thoughtSignature" in first
        assert "thoughtSignature" not in second
        assert "id" in first["functionCall"]
        given = told(*((part["functionCall"]["name"], {"id": part["functionCall"]["id"]}) for part in turn["parts"]))

        def answer(*parts, path=GEMINI_3, behind=()):
            body = {"contents": [ASKED, {"role": "model", "parts": [*parts]}, given, *behind]}
            return post(server, path, body)[2].decode()

        bare = {"functionCall": first["functionCall"]}
        assert "Good." in answer(first, second)
        assert "missing a thought_signature" in answer(bare, second)
        assert "signature is not valid" in answer(first, {**second, "thoughtSignature": first["thoughtSignature"]})
        assert "Good." in answer({**bare, "thoughtSignature": "skip_thought_signature_validator"}, second)
        assert "Good." in answer(bare, second, path=GEMINI_2)
        behind = [{"role": "model", "parts": [{"text": "x"}]}, ASKED]
        assert "That is all." in answer(bare, second, behind=behind)  # of an earlier turn


def test_gemini_2_gives_no_ids_and_a_stream_can_be_an_array():
    with ModelServer(Turn(calls=[TORONTO, DALLAS], text="Hm.")) as server:
        status, kind, body = post(server, GEMINI_2.replace(":g", ":streamG"), {"contents": [ASKED]})
        assert (status, kind) == (200, "application/json; charset=UTF-8")
        parts = [part for chunk in json.loads(body) for part in chunk["candidates"][0]["content"]["parts"]]
        assert [part["functionCall"]["name"] for part in parts if "functionCall" in part] == ["Weather", "Weather"]
        assert not any("id" in part.get("functionCall", {}) for part in parts)


RESPONSES = "/v1/responses"


def call_item(call_id, **more):
    return {"type": "function_call", "call_id": call_id, "name": "F", "arguments": "{}", **more}


def output(call_id):
    return {"type": "function_call_output", "call_id": call_id, "output": "r"}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([USER, call_item("a"), call_item("b"), output("a")], "No tool output found for function call b."),
        ([USER, output("a")], "No tool call found for function call output with call_id a."),
        ([USER, call_item("a"), output("a"), output("a")], "No tool call found for function call output with call_id a."),
        ([USER, output("a"), call_item("a")], "No tool call found for function call output"),
        ([USER, call_item("a", id="fc_001_0000"), output("a")], "without its required 'reasoning' item: 'rs_001'"),
        ([USER, call_item("a", id="x"), output("a")], "Expected an ID that begins with 'fc'"),
        ([USER, {"type": "reasoning", "id": "rs_001", "summary": []}, output("a")], "without its required following item"),
        ([USER, {"type": "function_call", "call_id": "a", "name": "F"}, output("a")], "'input[1].arguments'"),
        ([7], "expected an input item"),
        ([], "Missing required parameter: 'input'"),
    ],
)
def test_responses_refuse(items, said):
    with ModelServer([TORONTO]) as server:
        status, _, answer = post(server, RESPONSES, {"model": "m", "input": items})
    assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")
    assert said in json.loads(answer)["error"]["message"]


def test_responses_want_reasoning_back():
    with ModelServer([Turn(calls=[TORONTO, DALLAS]), Turn(text="Good.")]) as server:

        def answer(items, **options):
            status, _, body = post(server, RESPONSES, {"model": "m", "input": items, **options})
            return status, body.decode()

        thought, *calls = json.loads(answer("?")[1])["output"]
        told = [output(call["call_id"]) for call in calls]
        assert "Good." in answer([USER, thought, *calls, *told])[1]
        assert "Good." in answer([USER, *({**call, "id": None} for call in calls), *told])[1]
        assert "required 'reasoning' item" in answer([USER, *calls, *told])[1]
        assert answer([USER, thought, *calls, *told], store=False)[0] == 404
        kept = {"store": False, "include": ["reasoning.encrypted_content"]}
        thought, *calls = json.loads(answer("?", **kept)[1])["output"]
        assert "Good." in answer([USER, thought, *calls, *told], **kept)[1]
        assert "could not be verified" in answer([USER, {**thought, "encrypted_content": "x"}, *calls, *told], **kept)[1]


def test_responses_go_on_from_what_is_stored():
    with ModelServer([Turn(calls=[TORONTO]), Turn(text="Good.")]) as server:
        first = json.loads(post(server, RESPONSES, {"model": "m", "input": "?"})[2])
        body = {"model": "m", "previous_response_id": first["id"], "input": [output(first["output"][-1]["call_id"])]}
        assert b"Good." in post(server, RESPONSES, body)[2]
        assert b"No tool output found" in post(server, RESPONSES, {**body, "input": [USER]})[2]
        assert b"not found" in post(server, RESPONSES, {**body, "previous_response_id": "resp_other"})[2]
        forgotten = json.loads(post(server, RESPONSES, {"model": "m", "input": "?", "store": False})[2])
        assert b"not found" in post(server, RESPONSES, {**body, "previous_response_id": forgotten["id"]})[2]


CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": one, "type": "function", "function": {"name": "F", "arguments": "{}"}} for one in "ab"],
}


def tool(name):
    return {"role": "tool", "tool_call_id": name, "content": "r"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([USER, CALLED, tool("a")], "no tool message for the tool call ids ['b']"),
        ([USER, CALLED, tool("a"), USER], "no tool message for the tool call ids ['b']"),
        ([USER, CALLED, tool("a"), tool("a"), tool("b")], "tool call id 'a' not found"),
        ([USER, tool("a")], "tool call id 'a' not found"),
        ([USER, CALLED, {**tool("a"), "content": ""}, tool("b")], "content must not be empty"),
        ([{"role": "user"}], "content must not be empty"),
        ([USER, {"role": "assistant"}, USER], "must have content or tool_calls"),
        ([{"role": "developer", "content": "x"}], "role must be one of"),
        ([], "at least 1 message"),
    ],
)
def test_cohere_refuses(messages, said):
    with ModelServer([TORONTO]) as server:
        status, _, answer = post(server, "/v2/chat", {"model": "m", "messages": messages})
    assert status == 400
    assert said in json.loads(answer)["message"]


def local(*names):
    return {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": {}}} for name in names]}


def result_of(name):
    return {"role": "tool", "tool_name": name, "content": "r"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([USER, local("F", "G"), result_of("G"), result_of("F")], "a result of 'G' where one of 'F' is due"),
        ([USER, local("F", "G"), result_of("F")], "no result for the calls of G"),
        ([USER, local("F", "G"), result_of("F"), USER], "no result for the calls of G"),
        ([USER, result_of("F")], "where one of None is due"),
        ([USER, CALLED, result_of("F"), result_of("F")], "cannot unmarshal string"),
        ([{"role": "model", "content": "x"}], "invalid role"),
    ],
)
def test_ollama_refuses(messages, said):
    with ModelServer([TORONTO]) as server:
        status, _, answer = post(server, "/api/chat", {"model": "m", "messages": messages})
        assert post(server, "/api/chat", {"messages": messages})[2] == b'{"error": "model is required"}'
    assert status == 400
    assert said in json.loads(answer)["error"]


HELLO = {"role": "user", "content": [{"text": "?"}]}
USING = {"role": "assistant", "content": [{"toolUse": {"toolUseId": one, "name": "F", "input": {}}} for one in "ab"]}


def given(*ids, **more):
    return {"role": "user", "content": [{"toolResult": {"toolUseId": one, "content": [{"text": "r"}], **more}} for one in ids]}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([HELLO, USING, given("a")], "Expected toolResult blocks at messages.2.content for the following Ids: b"),
        ([HELLO, USING], "Expected toolResult blocks at messages.2.content for the following Ids: a, b"),
        ([HELLO, USING, given("a", "b", "b")], "exceeds the number of toolUse blocks of previous turn"),
        ([given("a")], "exceeds the number of toolUse blocks of previous turn"),
        ([HELLO, USING, given("a"), given("b")], "Expected toolResult blocks"),
        ([HELLO, HELLO], "must alternate between user and assistant roles"),
        ([USING, given("a", "b")], "must start with a user message"),
        ([{"role": "user", "content": []}], "is empty. Add a ContentBlock object"),
        ([{"role": "user", "content": [{"text": ""}]}], "is blank"),
        ([HELLO, USING, given("a", "b", status="bad")], "unknown status"),
        ([HELLO, {**USING, "content": [{"toolUse": {"toolUseId": "a", "name": "F", "input": "{"}}]}, given("a")], "json object"),
        ([], "messages field is required"),
    ],
)
def test_converse_refuses(messages, said):
    with ModelServer([TORONTO]) as server:
        status, _, answer = post(server, "/model/m/converse", {"messages": messages, "toolConfig": {"tools": []}})
    assert status == 400
    assert said in json.loads(answer)["message"]


def test_converse_wants_its_tools():
    with ModelServer([TORONTO]) as server:
        answer = post(server, "/model/m/converse", {"messages": [HELLO, USING, given("a", "b")]})[2]
    assert b"toolConfig field must be defined" in answer


def test_arguments_as_the_wire_has_them_when_they_are_no_object():
    """Anthropic and Converse carry text in a stream, and a JSON value in a whole answer."""
    with ModelServer([Said("Weather", "{")]) as server:
        assert json.loads(post(server, "/v1/messages", claude(USER))[2])["content"][0]["input"] == "{"
        assert b'"partial_json": "{"' in post(server, "/v1/messages", claude(USER, stream=True))[2]
        body = {"messages": [HELLO]}
        message = json.loads(post(server, "/model/m/converse", body)[2])["output"]["message"]
        assert message["content"][0]["toolUse"]["input"] == "{"
        assert b'"input": "{"' in post(server, "/model/m/converse-stream", body)[2]
