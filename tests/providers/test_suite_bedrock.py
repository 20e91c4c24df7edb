"""The suite of every provider: Bedrock's Converse."""

from __future__ import annotations

import json

import boto3
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from tests.support import spec
from tests.support.recorded_native import TESTS

import polycall
from polycall.providers.botocore import Bedrock
from polycall.testing import ProviderSuite, recorded_body


def _kind(headers):
    return headers.get(":event-type") or headers[":exception-type"]


class TestBedrock(ProviderSuite):
    """boto3; it blocks, so that an `AsyncClient` calls it in threads."""

    provider = Bedrock()
    sdk = "botocore"
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    limit = "max_tokens"
    events = True
    recordings = TESTS / "wire" / "converse"

    def client(self, server, *, asynchronous):
        sdk = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=server.origin,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=self.key,
            config=Config(retries={"total_max_attempts": 1}),
        )
        return polycall.from_bedrock(sdk, async_client=asynchronous, model=self.model)

    def recorded(self, recording):
        if recording["response"]["status"] != 200:
            return []
        if not recording["stream"]:
            return [recording["response"]["body"]]
        buffer = EventStreamBuffer()
        buffer.add_data(recorded_body(recording))
        return [{_kind(message.headers): json.loads(message.payload)} for message in buffer]

    def check_body(self, body, *, stream):
        spec.check(body, "bedrock_converse", "converse-stream" if stream else "converse")
