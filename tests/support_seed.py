"""A loopback server that answers every chat completion with one recorded response of three calls, whole or streamed."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = json.loads((Path(__file__).parent / "data/seed/three_calls.json").read_text(encoding="utf-8"))["body"]


def chunks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a whole response into the chunks that OpenAI streams it in: id and name first, then the arguments in pieces."""
    head = {key: body[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    message = body["choices"][0]["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    for index, call in enumerate(message["tool_calls"]):
        text = call["function"]["arguments"]
        start = {"index": index, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
        pieces = [{"index": index, "function": {"arguments": text[at : at + 5]}} for at in range(0, len(text), 5)]
        deltas += [{"tool_calls": [piece]} for piece in (start, *pieces)]
    for delta in deltas:
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": body["choices"][0]["finish_reason"]}]}
    yield head | {"choices": [], "usage": body["usage"]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        if asked.get("stream"):
            events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks(RECORDED)]
            kind, body = "text/event-stream", "".join([*events, "data: [DONE]\n\n"]).encode()
        else:
            kind, body = "application/json", json.dumps(RECORDED).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def seed_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve; give the base URL and the list of the bodies that were sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
