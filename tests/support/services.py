"""The real SDKs of the services, against a model server: what was said, and how it is answered, without polycall."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import boto3
import cohere
import httpx
import ollama
import openai
from botocore.config import Config
from google import genai
from google.genai import types

KEY: Final = "k-0123456789-abcdef"
SCHEMA: Final = {"type": "object", "properties": {}}
NAMES: Final = ("Weather", "GoogleSearch", "Search")
FORMATS: Final = ("chat", "anthropic", "gemini", "vertex", "responses", "cohere", "ollama", "converse")
TEXTS: Final = frozenset({"chat", "anthropic", "responses", "cohere", "converse"})
"""Those that carry arguments as text in a stream."""


@dataclass(frozen=True)
class Heard:
    """What an SDK makes of an answer: the calls, the text, the finish reason, and the turn to send back."""

    calls: list[tuple[str, Any]]
    text: str
    finish: str
    turn: list[Any]
    answers: list[Any]


def post(server: Any, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, str, bytes]:
    """Post JSON; return the status, the content type and the body."""
    host, port = server.origin.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read()
    finally:
        connection.close()


def chat(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
        tools: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
        asked = {"model": "gpt-5-mini", "messages": messages, "tools": tools, **options}
        if stream:
            with client.chat.completions.stream(**asked) as events:
                for _ in events:
                    pass
                message = events.get_final_completion().choices[0]
        else:
            message = client.chat.completions.create(**asked).choices[0]
    calls = message.message.tool_calls or []
    return Heard(
        [(call.function.name, call.function.arguments) for call in calls],
        message.message.content or "",
        message.finish_reason,
        [message.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})],
        [{"role": "tool", "tool_call_id": call.id, "content": "r"} for call in calls],
    )


def claude(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    with anthropic.Anthropic(base_url=server.origin, api_key=KEY, max_retries=0) as client:
        tools: Any = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
        asked = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": messages, "tools": tools, **options}
        if stream:
            with client.messages.stream(**asked) as events:
                message: Any = events.get_final_message()
        else:
            message = client.messages.create(**asked)
    calls = [block for block in message.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "r"} for call in calls]
    return Heard(
        [(call.name, call.input) for call in calls],
        "".join(block.text for block in message.content if block.type == "text"),
        message.stop_reason,
        [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}],
        [{"role": "user", "content": results}],
    )


def gemini(server: Any, messages: list[Any], *, stream: bool, vertex: bool = False, **options: Any) -> Heard:
    reached = {"http_options": {"base_url": server.origin}, "api_key": KEY}
    client = genai.Client(vertexai=True, **reached) if vertex else genai.Client(**reached)
    tools = [types.Tool(function_declarations=[{"name": name, "parameters_json_schema": SCHEMA} for name in NAMES])]
    config = types.GenerateContentConfig(tools=tools, automatic_function_calling={"disable": True})
    asked: dict[str, Any] = {"model": "gemini-3-flash", "contents": messages, "config": config, **options}
    with closing(client):
        models = client.models
        answers = list(models.generate_content_stream(**asked)) if stream else [models.generate_content(**asked)]
    parts = [part for answer in answers for part in answer.candidates[0].content.parts]
    calls = [part.function_call for part in parts if part.function_call]
    results = [types.Part(function_response={"id": call.id, "name": call.name, "response": {"output": "r"}}) for call in calls]
    return Heard(
        [(call.name, call.args) for call in calls],
        "".join(part.text or "" for part in parts),
        answers[-1].candidates[0].finish_reason.name,
        [types.Content(role="model", parts=parts)],
        [types.Content(role="user", parts=results)],
    )


def vertex(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    return gemini(server, messages, stream=stream, vertex=True, **options)


def responses(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
        tools: Any = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in NAMES]
        asked = {"model": "gpt-5-mini", "input": messages, "tools": tools, **options}
        if stream:
            with client.responses.stream(**asked) as events:
                for _ in events:
                    pass
                answer: Any = events.get_final_response()
        else:
            answer = client.responses.create(**asked)
    calls = [item for item in answer.output if item.type == "function_call"]
    turn = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
    return Heard(
        [(call.name, call.arguments) for call in calls],
        answer.output_text,
        answer.incomplete_details.reason if answer.incomplete_details else answer.status,
        turn,
        [{"type": "function_call_output", "call_id": call.call_id, "output": "r"} for call in calls],
    )


def command(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    with httpx.Client() as lent:
        return _command(
            cohere.ClientV2(api_key=KEY, base_url=server.origin, httpx_client=lent), messages, stream=stream, **options
        )


def _command(client: cohere.ClientV2, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    tools: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
    asked = {"model": "command-a-03-2025", "messages": messages, "tools": tools, **options}
    entries: list[dict[str, Any]] = []
    plan = text = ""
    if stream:
        for event in client.chat_stream(**asked):
            if event.type == "tool-plan-delta":
                plan += event.delta.message.tool_plan
            elif event.type == "content-delta":
                text += event.delta.message.content.text
            elif event.type == "tool-call-start":
                entries.append(event.delta.message.tool_calls.model_dump())
            elif event.type == "tool-call-delta":
                entries[-1]["function"]["arguments"] += event.delta.message.tool_calls.function.arguments
            elif event.type == "message-end":
                finish = event.delta.finish_reason
    else:
        answer = client.chat(**asked)
        entries = [call.model_dump() for call in answer.message.tool_calls or ()]
        plan, finish = answer.message.tool_plan or "", answer.finish_reason
        text = "".join(part.text for part in answer.message.content or ())
    said = {"tool_plan": plan, "tool_calls": entries} if entries else {"content": text}
    return Heard(
        [(entry["function"]["name"], entry["function"]["arguments"]) for entry in entries],
        plan + text,
        finish,
        [{"role": "assistant", **said}],
        [{"role": "tool", "tool_call_id": entry["id"], "content": "r"} for entry in entries],
    )


def llama(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    client = ollama.Client(host=server.origin, headers={"authorization": f"Bearer {KEY}"})
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
    asked = {"model": "qwen3", "messages": messages, "tools": tools, **options}
    with closing(client):
        answers: Any = list(client.chat(**asked, stream=True)) if stream else [client.chat(**asked)]
    calls = [call for answer in answers for call in answer.message.tool_calls or ()]
    text = "".join(answer.message.content or "" for answer in answers)
    entries = [{"function": {"name": call.function.name, "arguments": dict(call.function.arguments)}} for call in calls]
    return Heard(
        [(call.function.name, dict(call.function.arguments)) for call in calls],
        text,
        answers[-1].done_reason,
        [{"role": "assistant", "content": text, **({"tool_calls": entries} if entries else {})}],
        [{"role": "tool", "tool_name": call.function.name, "content": "r"} for call in calls],
    )


def converse(server: Any, messages: list[Any], *, stream: bool, **options: Any) -> Heard:
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.origin,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}),
    )
    tools = [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in NAMES]
    asked = {"modelId": "anthropic.claude-sonnet-5", "messages": messages, "toolConfig": {"tools": tools}, **options}
    with closing(client):
        if stream:
            content, finish = _blocks(client.converse_stream(**asked)["stream"])
        else:
            answer = client.converse(**asked)
            content, finish = answer["output"]["message"]["content"], answer["stopReason"]
    calls = [block["toolUse"] for block in content if "toolUse" in block]
    results = [{"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "r"}]}} for call in calls]
    return Heard(
        [(call["name"], call["input"]) for call in calls],
        "".join(block.get("text", "") for block in content),
        finish,
        [{"role": "assistant", "content": content}],
        [{"role": "user", "content": results}],
    )


def _blocks(events: Any) -> tuple[list[dict[str, Any]], str]:
    content: dict[int, dict[str, Any]] = {}
    finish = ""
    for event in events:
        if "contentBlockStart" in event:
            one = event["contentBlockStart"]
            content[one["contentBlockIndex"]] = {"toolUse": {**one["start"]["toolUse"], "input": ""}}
        elif "contentBlockDelta" in event:
            one = event["contentBlockDelta"]
            delta = one["delta"]
            if "text" in delta:
                block = content.setdefault(one["contentBlockIndex"], {"text": ""})
                block["text"] += delta["text"]
            else:
                content[one["contentBlockIndex"]]["toolUse"]["input"] += delta["toolUse"]["input"]
        elif "messageStop" in event:
            finish = event["messageStop"]["stopReason"]
    for block in content.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return [block for _, block in sorted(content.items())], finish


ASK: Final[dict[str, Any]] = {
    "chat": chat,
    "anthropic": claude,
    "gemini": gemini,
    "vertex": vertex,
    "responses": responses,
    "cohere": command,
    "ollama": llama,
    "converse": converse,
}


def question(name: str) -> list[Any]:
    """Return the question in the form of a service."""
    if name in {"gemini", "vertex"}:
        return [types.Content(role="user", parts=[types.Part(text="?")])]
    if name == "converse":
        return [{"role": "user", "content": [{"text": "?"}]}]
    return [{"role": "user", "content": "?"}]


def meant(call: Any) -> Any:
    """Return arguments as an object, however an SDK gives them."""
    return json.loads(call) if isinstance(call, str) else call
