"""The google-genai SDK: its clients for the Gemini API and for Vertex AI."""

from __future__ import annotations

import sys
from base64 import b64encode
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from pydantic_core import PydanticSerializationError, ValidationError, to_json
from typing_extensions import override

from polycall._sdk import begun, parsed, streamed
from polycall.errors import UsageError
from polycall.formats._sendable import sendable
from polycall.formats.gemini import Gemini
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, is_array, is_mapping, is_object

__all__ = ["GoogleGenai", "asynchronous"]

_TYPES: Final = "google.genai.types"
_OWN: Final = frozenset({"httpOptions", "automaticContinuation"})
_FOR_HTTP: Final = {"extra_headers": "headers", "extra_body": "extra_body"}
_RENAMED: Final = {"modelConfig": "modelSelectionConfig", "outputConfig": "generationOutputConfig"}
_SHOWN: Final = 5
_QUOTING: Final = frozenset({"UnknownApiResponseError"})
_NOT_SENT: Final = frozenset({"sdk_http_response", "parsed", "automatic_function_calling_history"})


@dataclass(frozen=True, slots=True, eq=False)
class _Aio:
    """The asynchronous half of a client, with the client: that closes what both stand on when it is collected."""

    client: Any
    whole: Any

    @property
    def models(self) -> Any:
        return self.client.models

    @property
    def vertexai(self) -> bool:
        return bool(getattr(getattr(self.client, "_api_client", None), "vertexai", False))


def asynchronous(client: Any, *, use_async: bool) -> tuple[Any, bool]:
    """Return the client to call, which keeps what it needs alive, and whether it is asynchronous.

    Args:
        client: ``genai.Client()``, or its ``aio``.
        use_async: Whether the asynchronous half of a ``genai.Client()`` is asked for.
    """
    if hasattr(client, "aio"):
        return (_Aio(client.aio, client), True) if use_async else (client, False)
    return _Aio(client, None), True


@dataclass(frozen=True, slots=True)
class GoogleGenai(Gemini):
    """generateContent through the SDK, which has the same fields in one flat config."""

    @override
    def own_options(self) -> frozenset[str]:
        """Return the fields of the SDK's config that are not sent."""
        return _OWN

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call the SDK; a `GenerateContentResponse` or an iterator of them, or an awaitable of either."""
        types: Any = sys.modules[_TYPES]
        body = encoded.body
        try:
            said = [types.Content.model_validate_json(to_json(content)) for content in body["contents"]]
            config = types.GenerateContentConfig.model_validate_json(to_json(_config(body)))
            http_options = _http_options(encoded, types)
        except ValidationError as error:
            problems = [".".join(map(str, one["loc"])) or one["msg"] for one in error.errors(include_input=False)]
            raise UsageError(f"google-genai does not take this of the request: {', '.join(problems[:_SHOWN])}") from None
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            message = f"the request cannot be written as JSON ({type(error).__name__}): give plain values"
            raise UsageError(message) from None  # the text may show the prompt
        own = {
            "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
            "automatic_continuation": bool(
                encoded.transport.get("automaticContinuation")
            ),  # the newer SDKs send more by themselves
            "http_options": http_options,
        }
        fields = types.GenerateContentConfig.model_fields
        config = config.model_copy(update={name: value for name, value in own.items() if name in fields})
        call = client.models.generate_content_stream if stream else client.models.generate_content
        raw = call(model=encoded.transport["model"], contents=said, config=config)
        return begun(raw) if stream else raw

    def open(self, raw: Any) -> Reply:
        """Wrap the SDK's parsed response, or the stream of them."""
        if hasattr(raw, "model_dump"):
            return parsed(raw, _event(raw))
        return replace(streamed(raw, _event, self.said, _native), quoting=_QUOTING)

    def said(self, error: Exception) -> JsonObject | None:
        """Return the body of an `APIError`."""
        details = getattr(error, "details", None)
        inner: Any = details[0] if is_array(details) and details else details
        if not is_object(inner):
            return None
        return inner if "error" in inner else {"error": inner}


def _config(body: JsonObject) -> JsonObject:
    """Return the body's fields as those of the SDK's config."""
    fields = {key: value for key, value in body.items() if key not in {"contents", "generationConfig"}}
    fields |= body.get("generationConfig") or {}
    return {_RENAMED.get(key, key): value for key, value in fields.items()}


def _http_options(encoded: Encoded, types: Any) -> Any:
    """Return the user's options for HTTP, with the extra headers and body of this call."""
    given = encoded.transport.get("httpOptions")
    extra = {name: encoded.transport[key] for key, name in _FOR_HTTP.items() if encoded.transport.get(key)}
    if encoded.transport.get("extra_query"):
        raise UsageError("extra_query= is not for google-genai, whose HttpOptions have no query")
    options = types.HttpOptions(**given) if is_mapping(given) else given
    if not extra:
        return options
    options = options or types.HttpOptions()
    merged: JsonObject = {name: {**(getattr(options, name) or {}), **value} for name, value in extra.items()}
    return options.model_copy(update=merged)


def _event(response: Any) -> JsonObject:
    """Return a response as it was on the wire, as far as the SDK keeps it."""
    event: JsonObject = _plain(response.model_dump(by_alias=True, exclude_unset=True, exclude=_NOT_SENT))
    return event


def _plain(value: Any) -> Any:
    if is_object(value):
        return {key: _plain(one) for key, one in value.items()}
    if is_array(value):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Enum):
        return value.value
    isoformat = getattr(value, "isoformat", None)
    return value if isoformat is None else isoformat()


def _native(body: JsonObject) -> Any:
    """Return the SDK's response for the folded body of a stream."""
    return sys.modules[_TYPES].GenerateContentResponse.model_validate_json(to_json(sendable(body)))
