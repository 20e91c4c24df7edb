"""The direct path: a format's own encode, decode and results, with polycall's HTTP in the place of the SDK's client."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic_core import PydanticSerializationError, to_json

from polycall._http import Key, Post, Poster, Response
from polycall._messages import plain
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.provider import Decoder, Encoded, Format, Reply, json_body, merged
from polycall.types import Message, Request, is_mapping, is_sequence

__all__ = ["Direct", "Server", "check_url"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, token
_VALUE: Final = re.compile(r"[\t -~]*")
_SECRET: Final = re.compile("auth|cookie|key|secret|token")
_OURS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """A service as it is reached without an SDK; what a direct connection has as its client.

    Attributes:
        url: The base URL.
        poster: What carries requests there.
        key: The key, or what gives it before each request.
        headers: Sent with each request, names in lower case.
    """

    url: str
    poster: Poster
    key: Key = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Direct:
    """A format without an SDK."""

    format: Format

    @property
    def name(self) -> str:
        """The format's own."""
        return self.format.name

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the provider's words, down to the bytes; ``extra_body`` is merged, as an SDK would."""
        messages = [plain(message) for message in request.messages]
        encoded = merged(self.format.encode(replace(request, messages=messages), stream=stream))
        return replace(encoded, content=_body(encoded))

    def send(self, client: Server, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:
        """Post the request; see `Poster.open`."""
        url = _joined(client.url, encoded.path, encoded.transport.get("extra_query") or {})
        own = {"accept": "text/event-stream" if stream else "application/json", "content-type": "application/json"}
        given = {**client.headers, **checked_headers(encoded.transport.get("extra_headers"), "extra_headers")}

        def post(key: str | None) -> Post:
            if key is None and client.key is not None:
                raise UsageError("the function given as api_key returned None instead of a key")
            checked = checked_key(key)
            secrets = (checked or "", *(value for name, value in given.items() if _SECRET.search(name)))
            shown = self.format.headers(checked)
            return Post(url, {"user-agent": "polycall", **own, **shown, **given}, encoded.content, timeout, secrets)

        return client.poster.open(client.key, post)

    def open(self, raw: Response) -> Reply:
        """Wrap the response."""
        return Reply(
            raw.chunks, raw.close, raw.status, headers=raw.headers, secrets=raw.secrets, url=raw.url, json_lines=self.json_lines
        )

    @property
    def half_turns(self) -> bool:
        """The format's own."""
        return self.format.half_turns

    @property
    def raw_arguments(self) -> bool:
        """The format's own."""
        return self.format.raw_arguments

    @property
    def json_lines(self) -> bool:
        """The format's own."""
        return self.format.json_lines

    def said(self, error: Exception) -> None:
        """Return nothing: there is no SDK."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the format's own."""
        return self.format.headers(key)

    def decoder(self) -> Decoder:
        """Return the format's own."""
        return self.format.decoder()

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return the format's own."""
        return self.format.results(answers)


def check_url(url: object) -> str:
    """Return a base URL as it is used.

    Raises:
        UsageError: It is none, or holds a password.
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        _ = parts and parts.port  # raises where it is none
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError('base_url is the address of the service, like "https://api.openai.com/v1"')
    if "\\" in parts.netloc + parts.path or any(letter.isspace() for letter in parts.netloc):
        raise UsageError("base_url has a character that no address has")
    if parts.username is not None or parts.password is not None:
        raise UsageError("base_url holds a password: give it by headers= or api_key=")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), parts.query, ""))


def checked_key(key: object) -> str | None:
    """Return a key as it is sent.

    Raises:
        UsageError: It cannot be sent; the text does not show it.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not key.strip():
        raise UsageError("api_key is empty, or no text: give the key, or a function that returns it")
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("api_key has characters that no key has (line breaks, or letters beyond ASCII)")
    return key


def checked_headers(headers: object, name: str) -> dict[str, str]:
    """Return headers with their names in lower case; None is none.

    Raises:
        UsageError: They are no mapping of text to text, or belong to the transport.
    """
    if headers is not None and not is_mapping(headers):
        message = f'{name} is a mapping of names to values, like {{"x-team": "blue"}}'
        raise UsageError(message)
    given: dict[str, str] = {}
    for key, value in (headers or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            message = f"{name} is a mapping of text to text"
            raise UsageError(message)
        if not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
            message = f"{name}: {key!a} or its value has a character that HTTP does not carry"
            raise UsageError(message)
        if key.lower() in _OURS:
            message = f"{name} cannot set {key.lower()}: the transport does"
            raise UsageError(message)
        given[key.lower()] = value
    return given


def _joined(base: str, path: str, query: object) -> str:
    """Return the URL of a request; ``path`` may be a whole URL, where a service has moved it."""
    if path.startswith(("https://", "http://")):
        return path
    parts = urlsplit(base)
    added = urlsplit(path)
    if not is_mapping(query):
        raise UsageError('extra_query is a mapping of names to values, like {"api-version": "preview"}')
    extra = {str(name): _written(value) for name, value in query.items() if value is not None}
    pairs = [pair for pair in [*parse_qsl(parts.query, keep_blank_values=True), *parse_qsl(added.query)] if pair[0] not in extra]
    return urlunsplit((parts.scheme, parts.netloc, parts.path + added.path, urlencode([*pairs, *extra.items()], doseq=True), ""))


def _written(value: object) -> str | list[str]:
    if is_sequence(value):
        return [str(one) for one in value]
    if not isinstance(value, str | int | float):
        raise UsageError("extra_query takes text, numbers, True, False, and lists of them")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(encoded: Encoded) -> bytes:
    if odd := [key for key, value in encoded.body.items() if isinstance(value, float) and not math.isfinite(value)]:
        message = f"{odd[0]} is no number that JSON can say"
        raise UsageError(message)
    try:
        return json_body(encoded)
    except (PydanticSerializationError, UnicodeEncodeError, ValueError):
        for key, value in encoded.body.items():
            try:
                to_json(value)
            except (PydanticSerializationError, UnicodeEncodeError, ValueError) as error:
                message = f"{key} cannot be written as JSON ({type(error).__name__}): give plain values"
                raise UsageError(message) from None  # the text may show the prompt
        raise UsageError("the request cannot be written as JSON: the name of an option is no plain text") from None
