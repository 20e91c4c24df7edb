"""The recorded exchanges of generateContent, and answers written by hand in that format."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs
from tests.support.recorded import BESIDE, TESTS

import polycall

SPECS = {"google": "google_generativelanguage_v1beta", "vertex": "vertex_aiplatform_v1beta1"}


@cache
def exchanges() -> tuple[dict[str, Any], ...]:
    """Return all exchanges beside the project where they are, else the part of them that is in it; ordered by id."""
    paths = [*BESIDE.glob("google/*.json"), *BESIDE.glob("vertex/*.json")] if BESIDE.is_dir() else []
    read = [json.loads(path.read_bytes()) for path in paths or (TESTS / "wire" / "gemini").glob("*.json")]
    return tuple(sorted((one for one in read if one["family"] == "gemini"), key=lambda one: one["id"]))


def answered() -> list[dict[str, Any]]:
    """Return those that hold an answer of the model; a service can report an error with status 200."""
    return [one for one in exchanges() if one["response"]["status"] < 400 and "error" not in one["tags"]]


def body_of(one: dict[str, Any]) -> bytes:
    body = one["response"].get("text", one["response"]["body"])
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def events_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Parse a recorded body by itself: each event of a stream, or the one whole body."""
    text = body_of(one).decode()
    if text.lstrip().startswith(("{", "[")):
        parsed = json.loads(text)
        return parsed if isinstance(parsed, list) else [parsed]
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]


def parts_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all parts of the first candidate, in order."""
    candidates = [event["candidates"][0] for event in events_of(one) if event.get("candidates")]
    return [standard(part) for candidate in candidates for part in candidate.get("content", {}).get("parts", ())]


def standard(part: dict[str, Any]) -> dict[str, Any]:
    """Write a signature in the letters of base64 that the services use; where one was taken out, the words for it may not be."""
    if "thoughtSignature" not in part:
        return part
    return {**part, "thoughtSignature": part["thoughtSignature"].replace("_", "/").replace("-", "+")}


def tools_of(one: dict[str, Any]) -> list[polycall.Tool]:
    return [polycall.Tool(name) for name in dict.fromkeys(call["name"] for call in one["expected_calls"]) or ["unused"]]


def check(calls: polycall.Calls[Any], one: dict[str, Any]) -> None:
    """Assert that ``calls`` are exactly those of the recording, with its text, finish reason, and turn to send back."""
    assert [(call.id, call.name) for call in calls.calls] == [(call["id"], call["name"]) for call in one["expected_calls"]]
    for call, expected in zip(calls.calls, one["expected_calls"], strict=True):
        assert call.outcome == "ok", call.arguments
        if expected["state"] == "missing":
            assert call.arguments == ""
        else:
            assert expected["state"] in {"object", "partial"}
            assert json.loads(call.arguments) == expected["arguments"]
            assert "3.0" not in call.arguments or expected["state"] == "object"
    parts = parts_of(one)
    assert calls.text == "".join(part.get("text", "") for part in parts if not part.get("thought")) or calls.errors
    reason = (one["finish"] or [None])[-1]
    assert calls.finish_reason == (reason and reason.removeprefix("blocked:"))
    check_turn(calls, parts, partial="partial_args" in one["tags"])


def check_turn(calls: polycall.Calls[Any], parts: list[dict[str, Any]], *, partial: bool) -> None:
    """Assert that the turn has every part as it came: signatures with their parts, text joined where it came in pieces."""
    turn = calls.messages[1:]
    sent = [standard(part) for part in turn[0]["parts"]] if turn else []
    assert [part["thoughtSignature"] for part in sent if "thoughtSignature" in part] == [
        part["thoughtSignature"] for part in parts if "thoughtSignature" in part
    ]
    assert "".join(part.get("text", "") for part in sent) == "".join(part.get("text", "") for part in parts)
    if not partial:
        assert [part for part in sent if "text" not in part] == [part for part in parts if "text" not in part]


@cache
def validator(service: str) -> jsonschema_rs.Validator:
    spec = json.loads((TESTS / "spec" / f"{SPECS[service]}.json").read_bytes())
    return jsonschema_rs.validator_for({"$defs": spec["$defs"], "$ref": "#/$defs/" + spec["x-roots"]["generateContent"]})


def check_body(body: Any, service: str) -> None:
    """Assert that a body is one of the published description; the SDK writes two names in snake case, which are put right."""
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    if "thinking_budget" in thinking:
        thinking["thinkingBudget"] = thinking.pop("thinking_budget")
    for tool in body.get("tools", ()):
        for declaration in tool.get("functionDeclarations", ()):
            if "parameters_json_schema" in declaration:
                declaration["parametersJsonSchema"] = declaration.pop("parameters_json_schema")
    problems = [f"{list(error.instance_path)}: {error.message[:300]}" for error in validator(service).iter_errors(body)]
    assert not problems, problems


def call(name: str, args: Any = None, **more: Any) -> dict[str, Any]:
    """Write a part with a call; fields of the part have names of their own, the others are the call's."""
    function = {"name": name, **({} if args is None else {"args": args})}
    signature = {"thoughtSignature": more.pop("signature")} if "signature" in more else {}
    return {"functionCall": {**function, **more}, **signature}


def answer(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """Write a whole body, or a chunk of a stream."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "modelVersion": "gemini-x", **more}


def stream(*chunks: dict[str, Any]) -> list[bytes]:
    return [f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks]


def whole(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
