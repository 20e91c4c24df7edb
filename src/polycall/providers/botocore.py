"""The AWS SDK, boto3 on botocore: its ``bedrock-runtime`` client. It blocks; under asyncio it runs in threads."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from typing_extensions import override

from polycall._sdk import Parsed, parsed
from polycall.formats._converse_decoder import BAD_SEQUENCE, described
from polycall.formats.converse import Converse
from polycall.provider import Encoded, Reply
from polycall.types import JsonObject, is_array, is_mapping, is_object

__all__ = ["Bedrock"]

_MEDIA: Final = ("image", "document", "video", "audio")


@dataclass(frozen=True, slots=True)
class Bedrock(Converse):
    """Converse, through boto3."""

    def send(self, client: Any, encoded: Encoded, *, stream: bool, timeout: float | None) -> Any:  # noqa: ARG002  # it has its own
        """Call ``converse`` or ``converse_stream``; a dict comes back."""
        call = client.converse_stream if stream else client.converse
        return call(**encoded.transport, **_values(encoded.body))

    def open(self, raw: Any) -> Reply:
        """Wrap what boto3 has parsed: a whole body, or a stream of events."""
        if "stream" not in raw:
            return parsed(raw, _wire(raw))
        chunks = _Events(raw["stream"], _events(raw["stream"]))
        return Reply(chunks, chunks.close, said=self.said)

    def said(self, error: Exception) -> JsonObject | None:
        """Return what a ``ClientError`` holds, ``EventStreamError`` among them: the service's own code and words."""
        response: Any = getattr(error, "response", None)
        told: Any = response.get("Error") if is_mapping(response) else None
        if not is_mapping(told):
            return None
        return {"error": described(str(told.get("Code", "")), str(told.get("Message", "")))}


class _Events(Parsed):
    """The events of a stream, whose socket is shut down to wake who waits for the next."""

    @override
    def wake(self) -> None:
        """Shut the reading side down; urllib3 does that from 2.3 on."""
        raw = getattr(self._stream, "_raw_stream", None)
        with suppress(Exception):  # it may have ended in this moment
            getattr(raw, "shutdown", _nothing)()


def _nothing() -> None:
    """Shut nothing down."""


def _events(stream: Any) -> Iterator[JsonObject]:
    """Yield the events as they are in JSON; the one error that is about what the model wrote is an event as well."""
    try:
        for event in stream:
            yield _wire(event)
    except Exception as error:
        if BAD_SEQUENCE not in str(error):
            raise
        yield {"modelStreamErrorException": {"message": str(error)}}


def _wire(value: Any) -> Any:
    """Write what botocore has decoded as it was in JSON."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if is_object(value):
        return {key: _wire(one) for key, one in value.items()}
    return [_wire(one) for one in value] if is_array(value) else value


def _values(body: JsonObject) -> JsonObject:
    """Return the body as boto3 takes it: it encodes bytes itself."""
    messages = [{**message, "content": [_block(block) for block in message["content"]]} for message in body["messages"]]
    made = {**body, "messages": messages}
    return {**made, "system": [_block(block) for block in body["system"]]} if "system" in body else made


def _block(block: Mapping[str, Any]) -> Mapping[str, Any]:
    for kind, value in block.items():
        if not is_mapping(value):
            continue
        if kind in _MEDIA and is_mapping(value.get("source")):
            return {kind: {**value, "source": _decoded(value["source"], "bytes")}}
        if kind == "guardContent":
            return {kind: _block(value)}
        if kind == "toolResult" and is_array(value.get("content")):
            return {kind: {**value, "content": [_block(one) for one in value["content"]]}}
        if kind == "reasoningContent":
            return {kind: _decoded(value, "redactedContent")}
    return block


def _decoded(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return {**holder, key: b64decode(holder[key])} if isinstance(holder.get(key), str) else holder
