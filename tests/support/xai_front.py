"""xAI's service on loopback: what it says, written, and a gRPC server that fetches it from a model server over HTTP."""

from __future__ import annotations

import json
import socket
from concurrent import futures
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException

import grpc
import xai_sdk
from google.protobuf.json_format import ParseDict

from polycall.testing._chat_format import ChatFormat
from polycall.testing._format import Event, counts, paced, split

__all__ = ["XaiFormat", "XaiFront"]

pb, pb_grpc = xai_sdk.proto.chat_pb2, xai_sdk.proto.chat_pb2_grpc

_ROLES = {pb.ROLE_USER: "user", pb.ROLE_ASSISTANT: "assistant", pb.ROLE_SYSTEM: "system", pb.ROLE_TOOL: "tool"}
_MODES = {pb.TOOL_MODE_AUTO: "auto", pb.TOOL_MODE_NONE: "none", pb.TOOL_MODE_REQUIRED: "required"}
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class XaiFormat(ChatFormat):
    """Requests as in the chat format, as `XaiFront` writes them; answers as the provider writes the messages of the protocol.

    Sources: the SDK's protocol, ``xai/api/v1/chat.proto`` (GetChatCompletionResponse, GetChatCompletionChunk): each call comes in
    one piece, and usage with the last chunk.
    """

    name = "xai"

    def entries(self, saying):
        kept = {"type": pb.TOOL_CALL_TYPE_CLIENT_SIDE_TOOL, "status": 0, "error_message": ""}
        return [{**entry, **kept} for entry in super().entries(saying)]

    def body(self, sent, saying, entries):
        return self._response(sent, _output(saying.text, entries, _finish(saying, entries)), saying)

    def events(self, sent, saying, entries, pieces):
        said = [(0.0, _output(piece)) for piece in split(saying.text, pieces)]
        times = paced(saying, [1] * len(entries))
        said += [(at, _output("", [entry])) for entry, (at,) in zip(entries, times, strict=True)]
        last = self._response(sent, _output("", (), _finish(saying, entries)), saying)
        return [*(Event(self._response(sent, output), at) for at, output in said), Event(last, saying.end)]

    def _response(self, sent, output, saying=None):
        response = {"id": "r", "model": sent.body["model"], "outputs": [output]}
        if saying is None:
            return response
        prompt, answer = counts(sent, saying)
        told = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        return {**response, "usage": {**told, "reasoning_tokens": 0, "cached_prompt_text_tokens": 0}}


class XaiFront(pb_grpc.ChatServicer):
    """A gRPC server that asks a model server each question it is asked; what breaks there breaks here.

    Attributes:
        host: What the SDK's clients are to be made with, as ``api_host``.
    """

    def __init__(self, origin):
        self._behind = origin.removeprefix("http://")
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        pb_grpc.add_ChatServicer_to_server(self, self._server)
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        """Cancel what runs, and end."""
        self._server.stop(None).wait(5.0)

    def GetCompletion(self, request, context):  # noqa: N802  # gRPC's name
        with self._asked(request, context, stream=False) as response:
            return _message_of(pb.GetChatCompletionResponse, json.loads(response.read()), "message")

    def GetCompletionChunk(self, request, context):  # noqa: N802  # gRPC's name
        with self._asked(request, context, stream=True) as response:
            for event in _events(response):
                yield _message_of(pb.GetChatCompletionChunk, event, "delta")

    @contextmanager
    def _asked(self, request, context, *, stream):
        """Give the response of the model server; its connection goes with the gRPC call."""
        connection = HTTPConnection(self._behind, timeout=20.0)
        connection.connect()
        plug = connection.sock
        try:
            if not context.add_callback(lambda: _pull(plug)):
                context.abort(grpc.StatusCode.CANCELLED, "the call has gone")
            told = dict(context.invocation_metadata())
            headers = {"content-type": "application/json", "authorization": told["authorization"]}
            body = {**_body(request), "stream": True} if stream else _body(request)
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                context.abort(_CODES.get(response.status, grpc.StatusCode.INTERNAL), response.read().decode())
            yield response
        except (OSError, HTTPException) as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"the model server has gone: {error!r}")
        finally:
            connection.close()


def _pull(plug):
    with suppress(OSError):  # it is closed
        plug.shutdown(socket.SHUT_RDWR)


def _events(response):
    """Yield the data of each server-sent event; the last one has the usage."""
    for line in response:
        if line.startswith(b"data: "):
            event = json.loads(line.removeprefix(b"data: "))
            yield event
            if "usage" in event:
                return
    raise ConnectionError("the stream has no end")


def _body(request):
    """Write a request in the chat format."""
    body = {"model": request.model, "messages": [_message(one) for one in request.messages]}
    body |= {name: getattr(request, name) for name in ("max_tokens", "parallel_tool_calls") if request.HasField(name)}
    if request.tools:
        body["tools"] = [{"type": "function", "function": _function(tool.function)} for tool in request.tools]
    if request.tool_choice.function_name:
        body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice.function_name}}
    elif request.tool_choice.mode:
        body["tool_choice"] = _MODES[request.tool_choice.mode]
    return body


def _function(function):
    described = {"description": function.description} if function.description else {}
    return {"name": function.name, **described, "parameters": json.loads(function.parameters), "strict": function.strict}


def _message(message):
    made = {"role": _ROLES[message.role], "content": "".join(part.text for part in message.content)}
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
            for call in message.tool_calls
        ]
    return {**made, "tool_call_id": message.tool_call_id} if message.role == pb.ROLE_TOOL else made


def _finish(saying, entries):
    return saying.finish or ("REASON_TOOL_CALLS" if entries else "REASON_STOP")


def _output(text, entries=(), finish=""):
    said = {"content": text, "reasoning_content": "", "encrypted_content": "", "tool_calls": [*entries]}
    return {"index": 0, "role": "assistant", **said, "finish_reason": finish}


def _message_of(kind, response, field):
    """Make a message of the protocol of what the provider would write for it."""
    outputs = []
    for given in response["outputs"]:
        said = {"role": "ROLE_ASSISTANT", "content": given["content"], "tool_calls": given["tool_calls"]}
        finish = given["finish_reason"] or "REASON_INVALID"
        outputs.append({"index": given["index"], "finish_reason": finish, field: said})
    return ParseDict({**response, "outputs": outputs}, kind())
