"""The same over gRPC, which the SDK speaks where nothing else is asked for; its clients get a channel to a server on loopback."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import BaseModel
from tests.legacy.conftest import call, said

import polycall

SERVICE = "/google.cloud.aiplatform.v1.PredictionService/"


class City(BaseModel):
    name: str
    rank: int


PARTS = [call("City", {"name": "Oslo", "rank": 1}, thoughtSignature="c2ln"), call("City", {"name": "Rome", "rank": 2})]
CITIES = [City(name="Oslo", rank=1), City(name="Rome", rank=2)]


class Service:
    """Answers with one event for each part; ``broken`` ends with an error of the server."""

    def __init__(self, types):
        self.types = types
        self.requests = []
        self.broken = False
        self.left = threading.Event()

    def whole(self, request, context):
        import grpc

        self.requests.append(request)
        if self.broken:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no quota")
        return self._event(said(*PARTS))

    def stream(self, request, context):
        import grpc

        self.requests.append(request)
        context.add_callback(self.left.set)
        yield self._event(said(PARTS[0], finish=None))
        if self.broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield self._event(said(PARTS[1]))

    def _event(self, body):
        return self.types.GenerateContentResponse.from_json(json.dumps(body))


@pytest.fixture(scope="module")
def service(vertexai):
    import grpc
    from google.cloud.aiplatform_v1 import types

    service = Service(types)
    request, response = types.GenerateContentRequest.deserialize, types.GenerateContentResponse.serialize
    handlers = {
        f"{SERVICE}GenerateContent": grpc.unary_unary_rpc_method_handler(service.whole, request, response),
        f"{SERVICE}StreamGenerateContent": grpc.unary_stream_rpc_method_handler(service.stream, request, response),
    }

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return handlers.get(details.method)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    server.stop(None).wait()


@pytest.fixture
def grpc_model(vertexai, service):
    from google.auth.credentials import AnonymousCredentials

    service.requests.clear()
    service.left.clear()
    service.broken = False
    vertexai.init(project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="grpc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vertexai.generative_models.GenerativeModel("gemini-1.5-pro")


@pytest.fixture
def blocking(grpc_model, service):
    import grpc
    from google.cloud.aiplatform_v1.services import prediction_service
    from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcTransport

    with grpc.insecure_channel(service.address) as channel:
        transport = PredictionServiceGrpcTransport(channel=channel)
        grpc_model._prediction_client = prediction_service.PredictionServiceClient(transport=transport)
        yield polycall.from_vertexai(grpc_model)


@pytest.fixture
async def asynchronous(grpc_model, service):
    import grpc
    from google.cloud.aiplatform_v1.services import prediction_service
    from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcAsyncIOTransport

    async with grpc.aio.insecure_channel(service.address) as channel:
        transport = PredictionServiceGrpcAsyncIOTransport(channel=channel)
        grpc_model._prediction_async_client = prediction_service.PredictionServiceAsyncClient(transport=transport)
        yield polycall.from_vertexai(grpc_model, use_async=True)


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]


def check(calls, service):
    assert list(calls) == CITIES
    request = service.requests[-1]
    assert request.system_instruction.parts[0].text == "Be brief."
    assert request.tools[0].function_declarations[0].parameters.required == ["name", "rank"]
    assert request.model.endswith("/models/gemini-1.5-pro")


@pytest.mark.parametrize("stream", [False, True])
def test_blocking(blocking, service, stream):
    answer = blocking.create(MESSAGES, response_model=Iterable[City], stream=stream)
    calls = answer.result() if stream else answer
    check(calls, service)
    blocking.create(calls.reply({0: "a", 1: "b"}), response_model=Iterable[City])
    turn = service.requests[-1].contents[1]
    assert [(part.function_call.name, part.thought_signature) for part in turn.parts] == [("City", b"sig"), ("City", b"")]


@pytest.mark.parametrize("stream", [False, True])
async def test_asyncio(asynchronous, service, stream):
    answer = await asynchronous.create(MESSAGES, response_model=Iterable[City], stream=stream)
    check(await answer.result() if stream else answer, service)


def test_errors(blocking, service):
    service.broken = True
    with pytest.raises(Exception, match="no quota") as failed:
        blocking.create("?", response_model=Iterable[City])
    assert type(failed.value).__name__ == "ResourceExhausted"
    client = blocking.create("?", response_model=Iterable[City], stream=True, max_retries=0, errors="return")
    calls = client.result()
    assert list(calls) == CITIES[:1]
    assert [type(error) for error in calls.errors] == [polycall.CutOffError]
    assert "UNAVAILABLE" in str(calls.errors[0])


def test_left(blocking, service):
    with blocking.stream("?", response_model=Iterable[City]) as stream:
        assert next(iter(stream)) == CITIES[0]
    assert service.left.wait(3.0)


async def test_left_under_asyncio(asynchronous, service):
    async with asynchronous.stream("?", response_model=Iterable[City]) as stream:
        assert await anext(aiter(stream)) == CITIES[0]
    assert service.left.wait(3.0)
