"""The suite of every provider: xAI, through its SDK's own gRPC clients; a front on loopback turns gRPC into HTTP."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.support import spec

import polycall
from polycall.providers.xai_sdk import XAI
from polycall.testing import ProviderSuite

pytest.importorskip("grpc")
xai_sdk = pytest.importorskip("xai_sdk")

from tests.support.xai_front import XaiFormat, XaiFront  # noqa: E402  # it needs both


class AsyncClient(xai_sdk.AsyncClient):
    """Opens its channel with the first question: one of asyncio belongs to the loop in which it is made."""

    def _init(self, *given):
        self._given = given
        self._api_channel = self._management_channel = None
        self.chat = SimpleNamespace(create=self._create)

    def _create(self, **given):
        super()._init(*self._given)
        return self.chat.create(**given)


class TestXai(ProviderSuite):
    """xAI, over gRPC."""

    provider = XAI()
    sdk = "xai_sdk"
    model = "grok-4"
    limit = "REASON_MAX_LEN"
    formats = (XaiFormat(),)
    events = True

    def client(self, server, *, asynchronous):
        front = XaiFront(server.origin)
        kind = AsyncClient if asynchronous else xai_sdk.Client
        options = [("grpc.enable_retries", 0)]
        sdk = kind(api_key=self.key, api_host=front.host, use_insecure_channel=True, channel_options=options)
        sdk.front = front
        return polycall.from_xai(sdk, model=self.model)

    def release(self, client):
        front, closing = client._connection.client.front, super().release(client)
        return front.stop() if closing is None else self._released(front, closing)

    @staticmethod
    async def _released(front, closing):
        await closing
        front.stop()

    def check_body(self, body, *, stream):
        spec.check(body, "openai", "chat.completions")
