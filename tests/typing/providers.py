"""The types of the ways to wrap an SDK's client, under mypy, pyright, ty and pyrefly. Nothing here runs."""

from typing import Any, assert_type

import anthropic
import cohere
import fireworks
import groq
import huggingface_hub
import ollama
import openai
import together
from anthropic.lib.bedrock import AnthropicBedrock
from anthropic.lib.vertex import AsyncAnthropicVertex
from cerebras.cloud.sdk import AsyncCerebras, Cerebras
from google import genai
from mistralai.client import Mistral

import polycall
from polycall import AsyncClient, Client


def one_class_each() -> None:
    assert_type(polycall.from_openai(openai.OpenAI(), api="responses"), Client)
    assert_type(polycall.from_openai(openai.AsyncOpenAI(), api="responses", model="m"), AsyncClient)
    assert_type(polycall.from_anthropic(anthropic.Anthropic()), Client)
    assert_type(polycall.from_anthropic(anthropic.AsyncAnthropic(), model="m"), AsyncClient)
    assert_type(polycall.from_anthropic(AnthropicBedrock()), Client)
    assert_type(polycall.from_anthropic(AsyncAnthropicVertex(), model="m"), AsyncClient)
    assert_type(polycall.from_anthropic(anthropic.Anthropic(), mode=polycall.Mode.ANTHROPIC_PARALLEL_TOOLS), Client)
    assert_type(polycall.from_cohere(cohere.ClientV2()), Client)
    assert_type(polycall.from_cohere(cohere.AsyncClientV2()), AsyncClient)
    assert_type(polycall.from_groq(groq.Groq()), Client)
    assert_type(polycall.from_groq(groq.AsyncGroq()), AsyncClient)
    assert_type(polycall.from_cerebras(Cerebras()), Client)
    assert_type(polycall.from_cerebras(AsyncCerebras()), AsyncClient)
    assert_type(polycall.from_together(together.Together()), Client)
    assert_type(polycall.from_together(together.AsyncTogether()), AsyncClient)
    assert_type(polycall.from_fireworks(fireworks.Fireworks()), Client)
    assert_type(polycall.from_fireworks(fireworks.AsyncFireworks()), AsyncClient)
    assert_type(polycall.from_huggingface(huggingface_hub.InferenceClient()), Client)
    assert_type(polycall.from_huggingface(huggingface_hub.AsyncInferenceClient()), AsyncClient)
    assert_type(polycall.from_ollama(ollama.Client()), Client)
    assert_type(polycall.from_ollama(ollama.AsyncClient()), AsyncClient)


def one_class_for_both(boto3_client: Any, generative_model: Any) -> None:
    assert_type(polycall.from_genai(genai.Client()), Client)
    assert_type(polycall.from_genai(genai.Client(), use_async=True), AsyncClient)
    assert_type(polycall.from_genai(genai.Client().aio), AsyncClient)
    assert_type(polycall.from_mistral(Mistral()), Client)
    assert_type(polycall.from_mistral(Mistral(), use_async=True), AsyncClient)
    assert_type(polycall.from_bedrock(boto3_client), Client)
    assert_type(polycall.from_bedrock(boto3_client, async_client=True), AsyncClient)
    assert_type(polycall.from_vertexai(generative_model), Client)
    assert_type(polycall.from_vertexai(generative_model, use_async=True), AsyncClient)


def without_an_sdk() -> None:
    assert_type(polycall.from_provider("anthropic/m"), Client)
    assert_type(polycall.from_provider("vertex/m", project="p", location="l", async_client=True), AsyncClient)
    assert_type(polycall.from_provider("openai/m", api="responses"), Client)
