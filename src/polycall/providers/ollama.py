"""The ollama SDK.

Its ``chat`` drops the ids of calls, cuts schemas, and raises for a whole answer in which one call is malformed: so the body of
the wire is sent through the client of httpx below it, and its answer read as it came. Where ``chat`` is no longer the SDK's own,
as where a tracer has wrapped it, or no such client is there, ``chat`` is called, and its limits hold; see `flat_schema`.
"""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MethodType
from typing import Any, Final, cast

from pydantic_core import PydanticSerializationError, from_json

from polycall._dialect_ollama import flat_schema
from polycall._dialects import tell
from polycall._sdk import begun, carried_out, parsed, read, streamed
from polycall.errors import UsageError
from polycall.formats.ollama import Ollama as Format
from polycall.formats.ollama import is_base64
from polycall.provider import Encoded, Reply, json_body, merged
from polycall.types import JsonObject, is_object, is_sequence

__all__ = ["Ollama"]

_PACKAGE: Final = "ollama"


@dataclass(frozen=True, slots=True)
class Ollama(Format):
    """Ollama's own format through the SDK."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:
        """Post the body; where that cannot be, call the SDK.

        Returns:
            A response of httpx; of the SDK a `ChatResponse`, or an iterator of them that has begun; or an awaitable of these.

        Raises:
            UsageError: The SDK is to send headers or a query of one request.
        """
        http = _http(client)
        if http is not None:
            return carried_out(_posted(http, encoded, timeout))
        if unknown := [name for name in ("extra_headers", "extra_query") if encoded.transport.get(name)]:
            raise UsageError(f"the ollama SDK sends no {unknown[0]} with one request: give ollama.Client(headers=...)")
        raw = client.chat(**_cut(encoded))
        return begun(raw) if stream else raw

    def open(self, raw: Any) -> Reply:
        """Wrap what came."""
        if hasattr(raw, "iter_bytes"):
            return replace(read(raw, _native), json_lines=True)
        if hasattr(raw, "message"):
            return parsed(raw, _event(raw))
        return streamed(raw, _event, self.said, _native)

    def said(self, error: Exception) -> JsonObject | None:
        """Return what the server said: with an error status, or in a line of a stream."""
        text = getattr(error, "error", None)
        return {"error": text} if isinstance(text, str) or is_object(text) else None


def _http(client: Any) -> Any:
    """Return the client of httpx below the SDK's; None where a method of the SDK has been replaced, or it is not there."""
    http = getattr(client, "_client", None)
    own = all(_is_own(getattr(client, name, None)) for name in ("chat", "_request"))
    return http if own and hasattr(http, "build_request") and hasattr(http, "send") else None


def _is_own(method: Any) -> bool:
    """Whether a method is the SDK's own function, which what wraps one may pretend to be."""
    if type(method) is not MethodType or hasattr(method, "__wrapped__"):
        return False
    module = getattr(method.__func__, "__globals__", {}).get("__name__", "")
    return str(module).partition(".")[0] == _PACKAGE


def _posted(http: Any, encoded: Encoded, timeout: float | None) -> Generator[Any, Any, Any]:
    """Post a body, and raise what the SDK would raise."""
    encoded = merged(encoded)
    body = _written(encoded.body)
    try:
        given: JsonObject = {"content": json_body(replace(encoded, body=body))}
    except (PydanticSerializationError, ValueError):  # whose text may show the prompt
        raise UsageError("the request cannot be written as JSON: give plain values") from None
    if encoded.transport.get("extra_query"):
        given["params"] = encoded.transport["extra_query"]
    if timeout is not None:
        kept = http.timeout
        kept = (kept.connect, kept.read, kept.write, kept.pool)
        given["timeout"] = tuple(timeout if one is None else min(one, timeout) for one in kept)
    headers: JsonObject = {"content-type": "application/json", **(encoded.transport.get("extra_headers") or {})}
    request = http.build_request("POST", encoded.path, headers=headers, **given)
    try:
        response = yield http.send(request, stream=True)
    except Exception as error:
        if any(kind.__name__ == "ConnectError" for kind in type(error).__mro__):
            raise ConnectionError(getattr(_sdk("._client"), "CONNECTION_ERROR_MESSAGE", str(error))) from None
        raise
    if response.is_success:
        return response
    yield response.aread() if hasattr(response.stream, "__aiter__") else response.read()
    raise _refused(response.text, response.status_code)


def _refused(text: str, status: int) -> Exception:
    """Return the SDK's exception; it cannot make one of a body that is JSON and no object."""
    try:
        return cast("Exception", _sdk().ResponseError(text, status))
    except (AttributeError, RecursionError):
        made: Any = _sdk().ResponseError("", status)
        made.error, made.args = text, (text,)
        return cast("Exception", made)


def _written(body: JsonObject) -> JsonObject:
    """Return a body whose images are written as the SDK writes them: those that are no data name files, which it reads."""

    def written(image: Any) -> Any:
        made: Any = image if hasattr(image, "model_dump") else _sdk().Image(value=image)
        return made.model_dump()

    return _with_images(body, lambda image: image if is_base64(image) else written(image))


def _cut(encoded: Encoded) -> JsonObject:
    """Return the arguments of the SDK's call; an image that came as data is given as bytes, so that no file is read."""
    cut = {"tools": _flat(encoded.tools_json)} if encoded.tools_json else {}
    body = merged(replace(encoded, body={**encoded.body, **cut})).body
    return _with_images(body, lambda image: b64decode(image) if is_base64(image) else image)


def _with_images(body: JsonObject, write: Callable[[Any], Any]) -> JsonObject:
    messages = [
        {**message, "images": [write(image) for image in message["images"]]} if is_sequence(message.get("images")) else message
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


@lru_cache(maxsize=512)
def _flat(tools_json: bytes) -> list[JsonObject]:
    """Return tools with schemas that get through the SDK."""
    tools: list[JsonObject] = from_json(tools_json)
    made: list[JsonObject] = []
    for tool in tools:
        function: Mapping[str, Any] = tool["function"]
        dialected = flat_schema(function["parameters"])
        tell(function["name"], dialected)
        made.append({**tool, "function": {**function, "parameters": dialected.schema}})
    return made


def _event(response: Any) -> JsonObject:
    """Return a response of the SDK, or a piece of one, as the line that it was made of."""
    return cast("JsonObject", response.model_dump(mode="json", exclude_none=True))


def _native(body: JsonObject) -> Any:
    """Return the SDK's object of a whole body, unchecked where the server has sent what the SDK refuses."""
    sdk = _sdk()
    try:
        return sdk.ChatResponse(**body)
    except ValueError:
        return sdk.ChatResponse.model_construct(**{**body, "message": sdk.Message.model_construct(**body["message"])})


def _sdk(module: str = "") -> Any:
    return sys.modules[f"{_PACKAGE}{module}"]
