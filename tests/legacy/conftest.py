"""The older SDK of Vertex AI over REST against a server on loopback; it cannot be installed beside google-genai 3."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec

import pytest
from tests.support.loopback import Answer, Server

MODEL = "gemini-1.5-pro-preview-0409"


@pytest.fixture(scope="session")
def vertexai():
    """Return the SDK, which takes seconds to import."""
    if find_spec("vertexai") is None:
        pytest.skip("google-cloud-aiplatform is not installed here: python -m nox -s legacy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vertexai
        import vertexai.generative_models
        import vertexai.preview.generative_models
    return vertexai


@pytest.fixture(scope="module")
def server(vertexai):
    from google.auth.credentials import AnonymousCredentials

    with Server() as server:
        given = {"project": "p", "location": "us-central1", "credentials": AnonymousCredentials()}
        vertexai.init(**given, api_transport="rest", api_endpoint=server.origin)
        yield server


@pytest.fixture
def model(vertexai, server):
    """Return what makes a model: `GenerativeModel`, which warns that it is deprecated."""
    server.requests.clear()
    server.queue.clear()

    made = []

    def model(name=MODEL, kind=vertexai.generative_models.GenerativeModel, **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.append(kind(name, **settings))
        return made[-1]

    yield model
    for one in made:
        if "_prediction_client" in one.__dict__:
            one._prediction_client.transport.close()


def whole(body, status=200):
    return Answer(json.dumps(body).encode(), status=status, content_type="application/json; charset=UTF-8")


def array(*events, **more):
    """Return a stream as the service writes it over REST: one JSON array."""
    pieces = [("," if place else "[") + json.dumps(event, indent=2) + "\r\n" for place, event in enumerate(events)]
    return Answer(["".join(pieces).encode(), b"]"], content_type="application/json; charset=UTF-8", **more)


def call(name, arguments, **part):
    return {"functionCall": {"name": name, "args": arguments}, **part}


def said(*parts, finish="STOP", **more):
    """Return one event; ``finish=None`` leaves the reason out."""
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}}
    return {"candidates": [{**candidate, **({} if finish is None else {"finishReason": finish})}], **more}
