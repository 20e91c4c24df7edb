"""The suite of every provider: OpenAI's Responses."""

from __future__ import annotations

import openai
from tests.support import spec
from tests.support.recorded_native import TESTS

import polycall
from polycall.providers.openai import OpenAIResponses
from polycall.testing import ProviderSuite


class TestResponses(ProviderSuite):
    """The openai SDK, Responses; what is stored at the service, and what is not."""

    provider = OpenAIResponses()
    sdk = "openai"
    model = "gpt-5-mini"
    variants = ({"store": False, "include": ["reasoning.encrypted_content"]},)
    recordings = TESTS / "wire" / "responses"

    def client(self, server, *, asynchronous):
        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        sdk = kind(base_url=server.url, api_key=self.key, max_retries=0)
        return polycall.from_openai(sdk, api="responses", model=self.model)

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.url, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"openai/{self.model}", api="responses", **given)

    def recorded(self, recording):
        """One stream holds nothing but an error."""
        return [] if "error_mid_stream" in recording["tags"] else super().recorded(recording)

    def check_body(self, body, *, stream):
        spec.check(body, "openai", "responses")
