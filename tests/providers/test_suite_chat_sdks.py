"""The suite of every provider: the SDKs whose services speak OpenAI's chat format, or nearly so."""

from __future__ import annotations

import json
import re

from tests.support import spec
from tests.support.chat_sdks import SDKS
from tests.support.suites import OnAiohttp

import polycall
from polycall._services import service_named
from polycall.providers.huggingface_hub import HuggingFace
from polycall.providers.mistralai import Mistral
from polycall.providers.stainless import StainlessChat
from polycall.testing import ProviderSuite
from polycall.testing._chat_format import ChatFormat


class ChatSdkSuite(ProviderSuite):
    """One of them; its name says which."""

    name: str

    def client(self, server, *, asynchronous):
        raw = SDKS[self.name].raw(server.origin, asynchronous=asynchronous, key=self.key)
        return SDKS[self.name].wrap(raw, asynchronous=asynchronous, model=self.model)

    def direct(self, server, *, asynchronous):
        given = {"base_url": server.url, "api_key": self.key, "async_client": asynchronous, "retries": 0}
        return polycall.from_provider(f"{self.name}/{self.model}", **given)

    def plain(self, body):
        return {key: value for key, value in body.items() if (key, value) != ("stream", False)}  # some SDKs say that as well

    def check_body(self, body, *, stream):
        spec.check(body, "openai", "chat.completions")


class TestGroq(ChatSdkSuite):
    """Groq."""

    name = "groq"
    provider = StainlessChat(service_named("groq"), "groq")
    sdk = "groq"
    model = "openai/gpt-oss-120b"


class TestCerebras(ChatSdkSuite):
    """Cerebras."""

    name = "cerebras"
    provider = StainlessChat(service_named("cerebras"), "cerebras")
    sdk = "cerebras.cloud.sdk"
    model = "gpt-oss-120b"


class TestTogether(ChatSdkSuite):
    """Together."""

    name = "together"
    provider = StainlessChat(service_named("together"), "together")
    sdk = "together"
    model = "moonshotai/Kimi-K2"


class TestFireworks(OnAiohttp, ChatSdkSuite):
    """Fireworks."""

    name = "fireworks"
    provider = StainlessChat(service_named("fireworks"), "fireworks")
    sdk = "fireworks"
    model = "accounts/fireworks/models/kimi-k2"


class TestHuggingFace(ChatSdkSuite):
    """Hugging Face, `InferenceClient`."""

    name = "huggingface"
    provider = HuggingFace()
    sdk = "huggingface_hub"
    model = "Qwen/Qwen3-32B"


class MistralFormat(ChatFormat):
    """Mistral's service: its own fields, ids of nine letters, each call in one piece, and usage with the last event.

    Sources: its OpenAPI description; the recordings of ``mistral.chat.completions``; the errors as its service words them.
    """

    name = "mistral"

    def problem(self, sent):
        problem = super().problem(sent)
        if problem is not None:
            return problem
        try:
            spec.check(sent.body, "mistral", "chat.completions")
        except AssertionError as error:
            return self.error(422, str(error))
        told = next(self._problems(sent.body["messages"]), None)
        return None if told is None else self.error(400, told)

    @staticmethod
    def _problems(messages):
        if messages[-1]["role"] not in {"user", "tool"}:
            yield "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
        for message in messages:
            ids = [call["id"] for call in message.get("tool_calls") or ()]
            if message["role"] == "assistant" and not (ids or message.get("content")):
                yield "Assistant message must have either content or tool_calls, but not none."
            if len(set(ids)) < len(ids):
                yield "Duplicate tool call id in assistant message"
            for one in (*ids, *([message["tool_call_id"]] if message["role"] == "tool" else [])):
                if not re.fullmatch("[a-zA-Z0-9]{9}", one):
                    yield f"Tool call id was {one} but must be a-z, A-Z, 0-9, with a length of 9."

    def entries(self, saying):
        return [{**entry, "id": entry["id"].removeprefix("call_")[-9:].zfill(9)} for entry in super().entries(saying)]

    def body(self, sent, saying, entries):
        body = super().body(sent, saying, [{key: entry[key] for key in ("id", "function")} for entry in entries])
        return {**body, "choices": [self._own(choice) for choice in body["choices"]]}

    def events(self, sent, saying, entries, pieces):
        sent = type(sent)(sent.path, sent.headers, sent.raw, {**sent.body, "stream_options": {"include_usage": True}})
        *events, usage, done = super().events(sent, saying, entries, None)
        for event in events:
            event.data["choices"] = [self._own(choice) for choice in event.data["choices"]]
            del event.data["usage"]
        events[-1].data["usage"] = usage.data["usage"]
        return [*events, done]

    @staticmethod
    def _own(choice):
        return json.loads(
            json.dumps({key: value for key, value in choice.items() if key != "logprobs"}).replace(', "refusal": null', "")
        )


class TestMistral(ChatSdkSuite):
    """Mistral."""

    name = "mistral"
    provider = Mistral()
    sdk = "mistralai"
    model = "mistral-large-latest"
    formats = (MistralFormat(),)

    def release(self, client):
        sdk = client._connection.client
        asynchronous = isinstance(client, polycall.AsyncClient)
        return sdk.__aexit__(None, None, None) if asynchronous else sdk.__exit__(None, None, None)

    def check_body(self, body, *, stream):
        spec.check(body, "mistral", "chat.completions")
