"""The suite of every provider: Gemini, on both of Google's services."""

from __future__ import annotations

import json

import pytest
from google import genai
from google.auth.credentials import Credentials
from tests.support import spec
from tests.support.recorded_native import TESTS

import polycall
from polycall.providers.google_genai import GoogleGenai
from polycall.testing import ProviderSuite


class Credential(Credentials):
    """One that needs no refreshing."""

    def __init__(self):
        super().__init__()
        self.token = "t"

    def refresh(self, request):
        pass


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # of the SDK
class TestGemini(ProviderSuite):
    """The google-genai SDK, Gemini API: a model whose signatures have to come back."""

    provider = GoogleGenai()
    sdk = "google.genai"
    model = "gemini-3-flash"
    limit = "MAX_TOKENS"
    lets_go = False  # closing its asynchronous generator leaves the one inside, up to 3.4
    recordings = TESTS / "wire" / "gemini"

    def client(self, server, *, asynchronous):
        options = {"base_url": server.origin, "api_version": "v1beta"}
        client = genai.Client(api_key=self.key, http_options=options)
        return polycall.from_genai(client, use_async=asynchronous, model=self.model)

    def release(self, client):
        made = client._connection.client
        if not isinstance(client, polycall.AsyncClient):
            return made.close()
        made.whole.close()
        return made.client.aclose()

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.origin, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"google/{self.model}", **given)

    def recorded(self, recording):
        return [] if "error" in recording["response"]["body"] else super().recorded(recording)  # one with status 200

    def plain(self, body):
        written = json.loads(json.dumps(body).replace("parameters_json_schema", "parametersJsonSchema"))
        return {key: value for key, value in written.items() if value}

    def check_body(self, body, *, stream):
        body = self.plain(body)
        spec.check(body, "google_generativelanguage_v1beta", "generateContent")


class TestOlderGemini(TestGemini):
    """A model that gives no ids."""

    model = "gemini-2.5-flash"
    recordings = None


class TestVertex(TestGemini):
    """The same SDK, Vertex AI."""

    provider = GoogleGenai(vertex=True)
    recordings = None

    def client(self, server, *, asynchronous):
        given = {"project": "p", "location": "us-central1", "credentials": Credential()}
        client = genai.Client(vertexai=True, http_options={"base_url": server.origin}, **given)
        return polycall.from_genai(client, use_async=asynchronous, model=self.model)

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.origin, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"vertex/{self.model}", project="p", location="us-central1", **given)

    def check_body(self, body, *, stream):
        body = self.plain(body)
        spec.check(body, "vertex_aiplatform_v1beta1", "generateContent")
