"""Faults that give away what a client has sent or got, and errors in forms of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from polycall.testing._faults import ERROR, KEPT, RECOVERED, Arrival, Fault, Honest, Spoil
from polycall.testing._format import event_bytes, json_bytes
from polycall.testing._spoiling import filler, told
from polycall.testing._wire import Answer, Drop, Raw, head

_row = partial(Fault, where="echo")


def _echo(name: str, about: str, spoil: Spoil) -> Fault:
    return _row(name=name, about=about, whole=ERROR, streamed=ERROR, spoil=spoil)


def _error(name: str, about: str, body: Any, status: int = 400) -> Fault:
    return _row(name=name, where="status", about=about, whole=ERROR, streamed=ERROR, spoil=told(body, status))


def _says(status: int, message: Callable[[Honest], str]) -> Spoil:
    """Answer an error whose message is made of the request."""

    def spoil(honest: Honest) -> Answer:
        body = {"error": {"message": message(honest), "type": "invalid_request_error", "param": message(honest), "code": None}}
        return Answer(json_bytes(body), status)

    return spoil


def _everywhere(honest: Honest) -> Answer:
    """Give the key away in every field of an error."""
    fields = ("message", "type", "param", "code", "status", honest.key)
    return Answer(json_bytes({"error": dict.fromkeys(fields, honest.key)}), 400)


def _page(honest: Honest) -> Answer:
    html = f"<html><body><pre>Authorization: Bearer {honest.key}</pre></body></html>"
    return Answer(html.encode(), 403, "text/html")


def _reason(honest: Honest) -> Raw:
    return Raw([head(f"HTTP/1.1 401 {honest.key}", [("content-length", "0")])])


def _header(honest: Honest) -> Raw:
    fields = [("x-request-id", honest.key), ("www-authenticate", f"Bearer {honest.key}"), ("content-length", "2")]
    return Raw([head("HTTP/1.1 401 No", fields) + b"{}"])


def _garbage(honest: Honest) -> Raw:
    return Raw([f"Authorization: Bearer {honest.key}\r\n\r\n".encode(), Drop()])


def _location(honest: Honest) -> Raw:
    return Raw([head("HTTP/1.1 307 Go", [("location", f"http://{honest.key}@[bad/?key={honest.key}"), ("content-length", "0")])])


def _event(honest: Honest, echoed: str) -> Answer:
    """Give something away in an error behind the second call of a stream, or in a body with status 200."""
    error = {"error": {"message": echoed, "type": echoed, "code": echoed}}
    if not honest.streamed:
        return Answer(json_bytes(error))
    return Answer([*honest.frames()[: honest.place("between")], event_bytes(error)], content_type=honest.content_type)


def _spoken(honest: Honest) -> str:
    return " ".join(call.arguments for call in honest.saying.calls)


def _lost(calls: Any, streamed: bool) -> list[Arrival]:  # noqa: FBT001  # as every such function
    return [Arrival(call, "good" if streamed and number < 2 else "gone") for number, call in enumerate(calls)]  # noqa: PLR2004


def _told_in_event(name: str, about: str, echoed: Callable[[Honest], str]) -> Fault:
    spoil: Spoil = lambda honest: _event(honest, echoed(honest))  # noqa: E731  # given its type
    return _row(name=name, about=about, whole=ERROR, streamed=KEPT, arrivals=_lost, spoil=spoil)


def _with_key(honest: Honest) -> Answer:
    """Answer what is right, and the key in fields beside it."""
    if honest.streamed:
        events = [
            one if isinstance(one.data, str) else type(one)({**one.data, "echo": honest.key}, one.at) for one in honest.events()
        ]
        return honest.play(events)
    return Answer(json_bytes({**honest.body(), "echo": honest.key}), headers={"x-echo": honest.key})


def _nested(depth: int) -> Any:
    value: Any = "no"
    for _ in range(depth):
        value = {"error": value}
    return value


ECHOES: Final = (
    _echo(
        "key-echoed-in-error",
        "the message of an error quotes the key",
        _says(401, lambda honest: f"Incorrect API key: {honest.key}"),
    ),
    _echo("key-echoed-in-every-field", "every field of an error is the key", _everywhere),
    _echo("key-echoed-in-html", "a page quotes the key", _page),
    _echo("key-echoed-in-status-line", "the status line quotes the key", _reason),
    _echo("key-echoed-in-headers", "headers quote the key", _header),
    _echo("key-echoed-as-garbage", "the key comes instead of a status line", _garbage),
    _echo("key-echoed-in-location", "a redirect quotes the key", _location),
    _echo(
        "key-echoed-reversed-case",
        "an error quotes the key as JSON escapes",
        lambda honest: Answer(b'{"error":{"message":"%s"}}' % "".join(f"\\u{ord(one):04x}" for one in honest.key).encode(), 401),
    ),
    _echo(
        "prompt-echoed-in-error",
        "the message of an error quotes the whole request",
        _says(400, lambda honest: honest.sent.raw.decode()),
    ),
    _echo(
        "prompt-echoed-in-html", "a page quotes the request", lambda honest: Answer(b"<html>" + honest.sent.raw, 413, "text/html")
    ),
    _echo("arguments-echoed-in-error", "the message of an error quotes the model's arguments", _says(400, _spoken)),
    _told_in_event("key-echoed-in-event", "an error behind the second call quotes the key", lambda honest: honest.key),
    _told_in_event(
        "prompt-echoed-in-event", "an error behind the second call quotes the request", lambda honest: honest.sent.raw.decode()
    ),
    _told_in_event("arguments-echoed-in-event", "an error behind the second call quotes the arguments", _spoken),
    _row(
        name="key-echoed-beside-answer",
        about="fields beside the answer quote the key",
        whole=RECOVERED,
        streamed=RECOVERED,
        spoil=_with_key,
    ),
)

FORMS: Final = (
    _error("error-as-string", "the error is text", {"error": "no"}),
    _error("error-as-list", "the error is a list", {"error": [{"message": "no"}]}),
    _error(
        "error-in-list",
        "the error stands in a list, as Google's compatible service does",
        [{"error": {"code": 400, "message": "no", "status": "INVALID"}}],
    ),
    _error("error-as-number", "the error is a number", {"error": 5}),
    _error("error-as-null", "the error is null", {"error": None}),
    _error("error-as-true", "the error is true", {"error": True}),
    _error("error-code-number", "the code is a number", {"error": {"message": "no", "code": 1234, "type": 7}}),
    _error("error-message-null", "the message is null", {"error": {"message": None, "type": None, "code": None}}),
    _error("error-message-object", "the message is an object", {"error": {"message": {"text": "no"}, "type": ["x"], "code": {}}}),
    _error(
        "error-beside",
        "the message stands beside no error",
        {"object": "error", "message": "no", "type": "BadRequestError", "code": 400},
    ),
    _error("error-detail", "the message is called detail", {"detail": "no"}),
    _error("error-nested", "the error nests 500 deep", _nested(500)),
    _error("error-of-1-mib", "the message is 1 MiB long", {"error": {"message": filler(1).decode()}}),
    _error("error-of-17-mib", "the message is 17 MiB long", b'{"error": {"message": "' + filler(17) + b'"}}'),
    _error(
        "error-control-characters",
        "the message holds control characters",
        {"error": {"message": "\x1b[2J\r\n\0\u202e", "type": "\x1b[31m", "code": "a\nb"}},
    ),
    _error("error-not-utf-8", "the body is no UTF-8", b'{"error": {"message": "\xff\xfe"}}'),
    _error("error-cut", "the body is cut", b'{"error": {"mess'),
    _error("error-empty-object", "the body is an empty object", {}),
    _error("error-html-as-json", "a page that calls itself JSON", b"<html>no</html>"),
)
