"""Faults told by a status: errors as services and what stands before them send them, and redirects."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import partial
from typing import Final

from polycall.testing._faults import ERROR, Fault, Honest, Outcome, Spoil
from polycall.testing._spoiling import before, error, page, told, wire
from polycall.testing._wire import Answer, Drop, Gone, Raw

_row = partial(Fault, where="status")
_HEALED: Final[tuple[Outcome, ...]] = ("recovered", "error")
_BUSY: Final = "The server had an error while processing your request."
_RATE: Final = "Rate limit reached for the model on requests per min (RPM): Limit 3, Used 3, Requested 1."


def _once(name: str, about: str, spoil: Spoil) -> Fault:
    return _row(name=name, about=f"{about}, once", times=1, whole=_HEALED, streamed=_HEALED, spoil=spoil)


def _always(name: str, about: str, spoil: Spoil, *, honest: tuple[Outcome, ...] = ERROR, stalls: bool = False) -> Fault:
    return _row(name=name, about=about, whole=honest, streamed=honest, stalls=stalls, spoil=spoil)


def _rate(**headers: str) -> Spoil:
    return error(429, _RATE, type="requests", code="rate_limit_exceeded", **headers)


def _rate_until(_: Honest) -> Answer:
    return Answer(b'{"error":{"message":"slow down"}}', 429, headers={"retry-after": formatdate(time.time() + 1, usegmt=True)})


def _elsewhere(honest: Honest) -> str:
    """Return another path that is of the same format."""
    start, _, rest = honest.sent.path[1:].partition("/")
    return f"/{start}/elsewhere/{rest}"


def _redirect(status: int, location: str | None) -> Spoil:
    """Send somewhere else, on the first request of each question.

    In the location ``{port}`` is the server's own port, ``{here}`` the path that was asked, and ``{there}`` another.
    """

    def spoil(honest: Honest) -> Answer:
        if "/elsewhere/" in honest.sent.path:
            return honest.answer()
        known = {"{port}": honest.origin.rpartition(":")[2], "{here}": honest.sent.path, "{there}": _elsewhere(honest)}
        place = location
        for mark, meant in known.items():
            place = place and place.replace(mark, meant)
        return Answer(b"", status, "text/plain", headers={"location": place} if place else {})

    return spoil


def _portal(honest: Honest) -> Answer:
    place = f"{honest.origin}{_elsewhere(honest)}"
    if "/elsewhere/" in honest.sent.path:
        return Answer(b"<html><title>Sign in to the guest network</title></html>", content_type="text/html")
    return Answer(b"", 307, "text/html", headers={"location": place})


def _cut_error(_: Honest) -> Raw:
    return Raw([b'HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"error": {"mess', Drop()])


ONCE: Final = (
    _once("408-once", "request timeout", error(408, "Request timed out.")),
    _once("409-once", "conflict", error(409, "The resource is locked.")),
    _once("429-retry-after-seconds", "rate limit with `retry-after: 1`", _rate(retry_after="1")),
    _once("429-retry-after-ms", "rate limit with `retry-after-ms: 50`", _rate(retry_after_ms="50")),
    _once("429-retry-after-date", "rate limit with a date in `retry-after`", _rate_until),
    _once("429-retry-after-fraction", "rate limit with `retry-after: 0.2`", _rate(retry_after="0.2")),
    _once("429-retry-after-zero", "rate limit with `retry-after: 0`", _rate(retry_after="0")),
    _once("429-retry-after-negative", "rate limit with `retry-after: -5`", _rate(retry_after="-5")),
    _once("429-retry-after-garbage", "rate limit with `retry-after: soon`", _rate(retry_after="soon")),
    _once("429-without-retry-after", "rate limit that does not say for how long", _rate()),
    _once("500-once", "server error", error(500, _BUSY, type="server_error")),
    _once("500-empty-once", "server error without a body", told(b"", 500)),
    _once("500-cut-once", "server error whose body breaks off", _cut_error),
    _once("502-html-once", "bad gateway, as a page of a proxy", page(502, "502 Bad Gateway")),
    _once("503-once", "overloaded", error(503, "That model is currently overloaded.", type="server_error")),
    _once("504-html-once", "gateway timeout, as a page of a proxy", page(504, "504 Gateway Time-out")),
    _once("520-html-once", "Cloudflare's unknown error", page(520, "Web server is returning an unknown error")),
    _once("529-once", "overloaded, in Anthropic's number", error(529, "Overloaded", type="overloaded_error")),
)

ALWAYS: Final = (
    _always("429-always", "rate limit that does not end", _rate(retry_after_ms="20")),
    _always("429-retry-after-beyond-deadline", "rate limit with `retry-after: 3600`", _rate(retry_after="3600")),
    _always("429-retry-after-infinite", "rate limit with `retry-after: inf`", _rate(retry_after="inf")),
    _always(
        "429-quota-exhausted",
        "the account has no credit left",
        error(429, "You exceeded your current quota.", type="insufficient_quota", code="insufficient_quota"),
    ),
    _always("500-always", "server error that does not end", error(500, _BUSY, type="server_error")),
    _always("503-always", "overloaded without end", error(503, "overloaded", type="server_error")),
    _always("400", "bad request", error(400, "Invalid schema for function 'Weather'.", code="invalid_function_parameters")),
    _always("400-context-length", "the prompt is too long", error(400, "8192 tokens at most.", code="context_length_exceeded")),
    _always("400-content-filter", "Azure's filter refuses the prompt", error(400, "filtered", code="content_filter")),
    _always("401", "wrong key", error(401, "Incorrect API key provided.", code="invalid_api_key")),
    _always("402", "no balance", error(402, "Insufficient Balance", type="unknown_error")),
    _always("403", "not allowed", error(403, "Country, region, or territory not supported", code="unsupported_country")),
    _always("403-html", "a page that wants a browser", page(403, "Just a moment...")),
    _always("404-model", "no such model", error(404, "The model does not exist.", code="model_not_found")),
    _always("404-html", "no such page", page(404, "404 Not Found")),
    _always("405", "wrong method", told({"detail": "Method Not Allowed"}, 405)),
    _always("407", "a proxy wants a password", page(407, "Proxy Authentication Required")),
    _always("413", "the request is too large", page(413, "413 Request Entity Too Large")),
    _always("422", "not understood, as FastAPI says it", told({"detail": [{"loc": ["body", "tools"], "msg": "no"}]}, 422)),
    _always("451", "not allowed by law", error(451, "Unavailable for legal reasons")),
    _always("499-without-body", "a status that only proxies know", told(b"", 499)),
    _always(
        "stall-inside-error",
        "an error whose body does not end",
        wire(b"HTTP/1.1 500 E\r\ncontent-length: 9\r\n\r\n{", Gone()),
        stalls=True,
    ),
    _always("201-empty", "created, without a body", told(b"", 201)),
    _always("204", "no content", wire(b"HTTP/1.1 204 No Content\r\n\r\n")),
    _always("205", "reset content", wire(b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n")),
    _always("304", "not modified", wire(b"HTTP/1.1 304 Not Modified\r\n\r\n")),
    _always("101", "another protocol", wire(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")),
    _always("status-999", "a status that does not exist", told({"ok": True}, 999)),
    _always(
        "100-continue-first", "`100 Continue` before the answer", before(b"HTTP/1.1 100 Continue\r\n\r\n"), honest=("recovered",)
    ),
    _always(
        "early-hints-103",
        "`103 Early Hints` before the answer",
        before(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"),
        honest=("recovered",),
    ),
    _always(
        "102-for-ever", "`102 Processing` without end", wire(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 50, Gone()), stalls=True
    ),
)

REDIRECT: Final = (
    _always(
        "redirect-307-same-host",
        "to another path of the same host",
        _redirect(307, "{there}"),
        honest=_HEALED,
    ),
    _always("redirect-308-same-host", "for good, to another path", _redirect(308, "{there}"), honest=_HEALED),
    _always("redirect-302", "to another path, to be asked with GET", _redirect(302, "{there}")),
    _always(
        "redirect-other-host",
        "to another host, which must not see the key",
        _redirect(307, "http://localhost:{port}{there}"),
        honest=_HEALED,
    ),
    _always("redirect-loop", "to where it came from", _redirect(307, "{here}")),
    _always("redirect-without-location", "to nowhere", _redirect(307, None)),
    _always("redirect-to-file", "to a file", _redirect(307, "file:///etc/hostname")),
    _always("redirect-to-garbage", "to something that is no URL", _redirect(307, "http://[::1")),
    _always("redirect-captive-portal", "to the page of a guest network", _portal),
)
