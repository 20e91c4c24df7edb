"""The suite of every provider: OpenAI's chat completions."""

from __future__ import annotations

import openai
from tests.support import spec

import polycall
from polycall.providers.openai import OpenAIChat
from polycall.testing import ProviderSuite


class TestChat(ProviderSuite):
    """The openai SDK, chat completions."""

    provider = OpenAIChat()
    sdk = "openai"
    model = "gpt-5-mini"

    def client(self, server, *, asynchronous):
        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        return polycall.from_openai(kind(base_url=server.url, api_key=self.key, max_retries=0), model=self.model)

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.url, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"openai/{self.model}", **given)

    def check_body(self, body, *, stream):
        spec.check(body, "openai", "chat.completions")
