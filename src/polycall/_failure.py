"""What a server says when it does not answer: a status, headers, an error body -> a `TransportError`.

A server's message may quote the request, so the text of the error tells its type and code only; its words are in ``body``.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import jiter

from polycall.errors import LimitError, TransportError
from polycall.types import is_array, is_mapping, is_object

__all__ = ["failure", "redact", "redirected", "reported", "shown"]

_HOST: Final = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?")
_WORD: Final = re.compile(r"[A-Za-z][\w.-]{0,63}")
_PLACE: Final = re.compile(r"[A-Za-z_][\w.\[\]-]{0,99}")
_TRANSIENT: Final = frozenset({408, 409, 429})
_SERVER_FAULT: Final = 500
_MIXED: Final = 599
_HUGE: Final = 10**6
_USED_UP: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credits_exhausted"})
_LASTING: Final = _USED_UP | {
    "authentication_error",
    "invalid_api_key",
    "invalid_authentication_error",
    "invalid_request_error",
    "model_not_found",
    "not_found_error",
    "permission_error",
}
_ADVICE: Final = {
    400: "",
    401: "check the key",
    403: "the key may not do this",
    404: "check the model's name and base_url",
    413: "the request is too large",
    **dict.fromkeys((301, 302, 303), "it redirects as only pages can be: put the final address into base_url"),
}
_MOVED: Final = frozenset({307, 308})
_MOST_MOVES: Final = 3
_LONGEST_BODY: Final = 2_000
_SHORTEST_SECRET: Final = 6
_ID: Final = re.compile(r"[\w.:/+=-]{1,200}")
_SECONDS: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s")


def failure(status: int, headers: Mapping[str, str], body: bytes, url: str) -> TransportError:
    """Return the error that a response with an error status, or a redirect that is not followed, means.

    Args:
        status: The HTTP status.
        headers: Names in lower case.
        body: As much of the body as was read.
        url: Where the request went.
    """
    from http import HTTPStatus

    details = _details(body)
    phrase = next((f" {one.phrase}" for one in HTTPStatus if one == status), "")
    used_up = not _USED_UP.isdisjoint(_codes(details))
    advice = "the quota is used up" if used_up else _ADVICE.get(status, "")
    told = ", ".join(part for part in (f"{urlsplit(url).hostname} answered {status}{phrase}", _told(details), advice) if part)
    request_id = headers.get("x-request-id") or headers.get("request-id")
    transient = (status in _TRANSIENT or status >= _SERVER_FAULT) and not used_up
    return TransportError(
        f"{told}{'; its words are in `body`' if body.strip() else ''}",
        status=status,
        body=body.decode(errors="replace"),
        transient=transient if used_up else {"true": True, "false": False}.get(headers.get("x-should-retry", ""), transient),
        retry_after=_retry_delay(details) if (asked := _retry_after(headers)) is None else asked,
        request_id=request_id if request_id is not None and _ID.fullmatch(request_id) else None,
    )


def reported(error: object) -> TransportError:
    """Return the error that an answer with a good status reports in its body, or within a stream."""
    details: Mapping[Any, Any] = error if is_mapping(error) else {}
    told = _told(details) or "no details"
    codes = _codes(details)
    number = next((int(code) for code in codes if code.isdecimal() and len(code) == 3), None)  # noqa: PLR2004  # as HTTP's are
    lasting = not _LASTING.isdisjoint(codes)
    if number is not None:
        lasting = not _USED_UP.isdisjoint(codes) or not (number in _TRANSIENT or _SERVER_FAULT <= number <= _MIXED)
    message = f"the server reported an error: {told}; its words are in `body`"
    return TransportError(message, body=shown(error), transient=not lasting, retry_after=_retry_delay(details))


def shown(value: object) -> str:
    """Return parsed JSON as text, for the body of an error."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # a number too long to write
        return ""


def redirected(status: int, url: str, headers: Mapping[str, str], hosts: Collection[str], moves: int) -> str | None:
    """Return where the same request is to be sent instead, None when the response does not say so.

    Args:
        status: The HTTP status; 307 and 308 move a POST.
        url: Where the request went.
        headers: Names in lower case.
        hosts: Hosts that may be redirected to beside the present one.
        moves: How often the request was moved before.

    Raises:
        LimitError: It would go to another host, or leave TLS.
        TransportError: It goes in circles.
    """
    if status not in _MOVED or not headers.get("location"):
        return None
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, headers["location"]))
        allowed = _allowed(here, there, hosts)
    except ValueError:
        return None
    if not allowed:
        message = f"{here.hostname} redirects to another host, which would be shown the key: put its address into base_url"
        raise LimitError(f"{message}, or allow it by limits=polycall.Limits(hosts=...)")
    if moves >= _MOST_MOVES:
        raise TransportError(f"{here.hostname} redirects in circles", status=status)
    return urlunsplit(there)


def _allowed(here: SplitResult, there: SplitResult, hosts: Collection[str]) -> bool:
    """Whether a request may be sent there as well, with its key."""
    if not _HOST.fullmatch(there.netloc) or "\\" in urlunsplit(there):
        return False  # who connects may read another host out of it than we do
    ports = {"http": 80, "https": 443}
    if there.scheme not in ports or (here.scheme == "https" and there.scheme == "http"):
        return False
    before, after = here.port or ports[here.scheme], there.port or ports[there.scheme]
    same = here.hostname == there.hostname and (before == after or (before, after) == (80, 443))
    return same or there.hostname in {host.lower() for host in hosts}


def redact(error: TransportError, secrets: tuple[str, ...]) -> None:
    """Take secrets out of an error, and shorten what the server said."""
    message, body, request_id = str(error), error.body or "", error.request_id or ""
    forms = {form for secret in secrets for form in (secret, secret.partition(" ")[2], secret.replace("/", r"\/"))}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _SHORTEST_SECRET:
            message, body, request_id = (text.replace(form, "[key]") for text in (message, body, request_id))
    error.args = (message,)
    error.request_id = request_id or None
    error.body = None if error.body is None else body[:_LONGEST_BODY]


def _details(body: bytes) -> Mapping[Any, Any]:
    """Return the object that describes an error: OpenAI's, Anthropic's and Google's are all below ``error``."""
    try:
        parsed: Any = jiter.from_json(body)
    except ValueError:
        return {}
    first: Any = parsed[0] if is_array(parsed) and parsed else parsed
    if not is_object(first):
        return {}
    inner = first.get("error")
    return inner if is_mapping(inner) else first


def _codes(details: Mapping[Any, Any]) -> set[str]:
    return {word.lower() for word in _words(details)}


def _told(details: Mapping[Any, Any]) -> str:
    """Return what an error's details say in single words; anything longer may quote the request."""
    told = [word for word in dict.fromkeys(_words(details)) if word.isdecimal() or _WORD.fullmatch(word)]
    place = details.get("param")
    if isinstance(place, str) and _PLACE.fullmatch(place):
        told.append(f"at {place}")
    return ", ".join(told)


def _words(details: Mapping[Any, Any]) -> list[str]:
    found = [details.get(key) for key in ("type", "code", "status")]
    return [str(one) for one in found if isinstance(one, str) or (type(one) is int and abs(one) < _HUGE)]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as a date; None without either."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    if "retry-after" not in headers:
        return None
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _retry_delay(details: Mapping[Any, Any]) -> float | None:
    """Return the seconds to wait that Google's services name in the body: ``google.rpc.RetryInfo``, a duration as "3.5s"."""
    told = details.get("details")
    for one in told if is_array(told) else ():
        delay = one.get("retryDelay") if is_object(one) else None
        if isinstance(delay, str) and (found := _SECONDS.fullmatch(delay)):
            return float(found[1])
    return None
