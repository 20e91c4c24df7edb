"""The suite of every provider: Ollama's own API."""

from __future__ import annotations

import ollama
from tests.support import spec
from tests.support.recorded_native import TESTS

import polycall
from polycall.providers.ollama import Ollama
from polycall.testing import ProviderSuite


class TestOllama(ProviderSuite):
    """The ollama SDK."""

    provider = Ollama()
    sdk = "ollama"
    model = "qwen3"
    recordings = TESTS / "wire" / "ollama"

    def client(self, server, *, asynchronous):
        kind = ollama.AsyncClient if asynchronous else ollama.Client
        sdk = kind(host=server.origin, headers={"authorization": f"Bearer {self.key}"})
        return polycall.from_ollama(sdk, model=self.model)

    def release(self, client):
        http = client._connection.client._client
        return http.aclose() if isinstance(client, polycall.AsyncClient) else http.close()

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.origin, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"ollama/{self.model}", **given)

    def check_body(self, body, *, stream):
        messages = [{"content": "", **message} for message in body["messages"]]  # the SDK leaves empty content out
        body = {**body, "messages": messages}
        spec.check(body, "ollama", "chat")
