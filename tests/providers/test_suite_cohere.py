"""The suite of every provider: Cohere."""

from __future__ import annotations

import cohere
import httpx
from tests.support import spec
from tests.support.recorded_native import TESTS

import polycall
from polycall.providers.cohere import Cohere
from polycall.testing import ProviderSuite


class TestCohere(ProviderSuite):
    """The cohere SDK, version 2 of the API."""

    provider = Cohere()
    sdk = "cohere"
    model = "command-a-03-2025"
    limit = "MAX_TOKENS"
    text_beside_calls = False  # it is the tool_plan
    recordings = TESTS / "wire" / "cohere"

    def client(self, server, *, asynchronous):
        lent = httpx.AsyncClient() if asynchronous else httpx.Client()
        kind = cohere.AsyncClientV2 if asynchronous else cohere.ClientV2
        client = polycall.from_cohere(
            kind(api_key=self.key, base_url=server.origin, httpx_client=lent, max_retries=0), model=self.model
        )
        client.lent = lent
        return client

    def release(self, client):
        return client.lent.aclose() if isinstance(client.lent, httpx.AsyncClient) else client.lent.close()

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.origin, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"cohere/{self.model}", **given)

    def check_body(self, body, *, stream):
        spec.check(body, "cohere_v2", "v2.chat")
