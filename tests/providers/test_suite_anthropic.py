"""The suite of every provider: Anthropic's messages."""

from __future__ import annotations

import base64
import json

import anthropic
from botocore.eventstream import EventStreamBuffer
from tests.support import spec
from tests.support.recorded_native import TESTS

import polycall
from polycall.providers.anthropic import AnthropicMessages
from polycall.testing import ProviderSuite, recorded_body


class TestAnthropic(ProviderSuite):
    """The anthropic SDK, with thinking and without."""

    provider = AnthropicMessages()
    sdk = "anthropic"
    model = "claude-sonnet-5"
    limit = "max_tokens"
    variants = ({"thinking": {"type": "enabled", "budget_tokens": 1024}},)
    recordings = TESTS / "wire" / "anthropic"

    def client(self, server, *, asynchronous):
        kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
        return polycall.from_anthropic(kind(base_url=server.origin, api_key=self.key, max_retries=0), model=self.model)

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.origin, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"anthropic/{self.model}", **given)

    def recorded(self, recording):
        """Streams of Bedrock's are binary; the SDK parses them."""
        if recording["response"].get("body_encoding") != "base64":
            return super().recorded(recording)
        buffer = EventStreamBuffer()
        buffer.add_data(recorded_body(recording))
        return [json.loads(base64.b64decode(json.loads(message.payload)["bytes"])) for message in buffer]

    def check_body(self, body, *, stream):
        spec.check(body, "anthropic_beta", "messages.stream" if stream else "messages.json")
