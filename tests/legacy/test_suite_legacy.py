"""The suite of every provider: the SDKs that cannot be installed beside the others."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import warnings
from importlib.util import find_spec

import pytest
from tests.support import spec
from tests.support.suites import OnAiohttp

import polycall
from polycall.providers.litellm import LiteLLM
from polycall.providers.vertexai import VertexAI
from polycall.testing import ProviderSuite

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network when it is imported


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed here: python -m nox -s legacy")
@pytest.mark.filterwarnings("ignore")  # LiteLLM's own are many
class TestLiteLLM(OnAiohttp, ProviderSuite):
    """LiteLLM."""

    provider = LiteLLM()
    sdk = "litellm"
    model = "openai/gpt-5-mini"

    def client(self, server, *, asynchronous):
        import litellm

        function = litellm.acompletion if asynchronous else litellm.completion
        return polycall.from_litellm(function, model=self.model, api_base=server.url, api_key=self.key, num_retries=0)

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def left_behind():
        """Close and collect what LiteLLM keeps: clients, an event loop."""
        import litellm

        yield
        asyncio.run(litellm.close_litellm_async_clients())
        litellm.in_memory_llm_clients_cache.flush_cache()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def release(self, client):
        """Do nothing: LiteLLM keeps its clients to itself."""

    def check_body(self, body, *, stream):
        spec.check(body, "openai", "chat.completions")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:This feature is deprecated:UserWarning")  # the SDK's own
@pytest.mark.skipif(
    find_spec("vertexai") is None, reason="google-cloud-aiplatform is not installed here: python -m nox -s legacy"
)
class TestVertexAI(ProviderSuite):
    """Vertex AI, the older SDK."""

    provider = VertexAI()
    sdk = "google.api_core"  # it raises its exceptions
    model = "gemini-1.5-pro-preview-0409"
    limit = "MAX_TOKENS"
    events = True

    def client(self, server, *, asynchronous):
        import vertexai
        from google.oauth2.credentials import Credentials
        from vertexai.generative_models import GenerativeModel

        server.longest_wait = 1.0  # the SDK, which blocks, does not hang up at a deadline
        credentials = Credentials(token=self.key)
        vertexai.init(
            project="p", location="us-central1", credentials=credentials, api_transport="rest", api_endpoint=server.origin
        )
        return polycall.from_vertexai(GenerativeModel(self.model), use_async=asynchronous)

    def release(self, client):
        model = client._connection.client
        if "_prediction_client" in vars(model):
            model._prediction_client.transport.close()

    def plain(self, body):
        """Return a body with the names of its enums: the SDK writes numbers."""
        from google.cloud.aiplatform_v1beta1.types import GenerateContentRequest
        from google.protobuf.json_format import MessageToDict

        message = GenerateContentRequest.from_json(json.dumps(body))  # fails where the service knows no such field
        return MessageToDict(GenerateContentRequest.pb(message))

    def check_body(self, body, *, stream):
        body = self.plain(body)
        body.pop("model", None)
        spec.check(body, "vertex_aiplatform_v1beta1", "generateContent")


class TestSigningVertexAI(TestVertexAI):
    """Vertex AI, the older SDK: a model whose signatures have to come back."""

    model = "gemini-3-pro"
