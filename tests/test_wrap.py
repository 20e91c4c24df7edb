"""The ways to wrap an SDK's client: what is taken, what is refused, and what comes of it. The SDKs themselves are met elsewhere."""

from __future__ import annotations

import openai
import pytest

import polycall
from polycall import AsyncClient, Client, UsageError


def of_litellm(name):
    """Return a function as LiteLLM has it, which cannot be installed here."""

    def completion(**_):
        raise AssertionError

    completion.__module__, completion.__name__ = "litellm.main", name
    return completion


class GenerativeModel:
    """Looks like the older SDK's, which cannot be installed here."""

    _model_name = "publishers/google/models/gemini-1.5-pro"

    def generate_content(self):
        raise AssertionError


GenerativeModel.__module__ = "vertexai.generative_models"


def test_an_api_that_there_is_not():
    with pytest.raises(UsageError, match=r"api='batch' is not understood"):
        polycall.from_openai(openai.OpenAI(api_key="k"), api="batch")
    with pytest.raises(UsageError, match=r"api='batch' is not understood"):
        polycall.from_provider("openai/m", api="batch", api_key="k")


@pytest.mark.parametrize("option", ["project", "location", "api_version"])
def test_an_option_of_another_provider(option):
    with pytest.raises(UsageError, match=f"{option}= is not for 'openai'"):
        polycall.from_provider("openai/m", api_key="k", **{option: "x"})


def test_litellm_is_a_function():
    assert type(polycall.from_litellm(of_litellm("completion"), model="m")) is Client
    assert type(polycall.from_litellm(of_litellm("acompletion"), model="m")) is AsyncClient
    for other in (None, print, openai, openai.OpenAI(api_key="k")):
        with pytest.raises(UsageError, match=r"from_litellm takes litellm\.completion or litellm\.acompletion"):
            polycall.from_litellm(other)


def test_a_generative_model_knows_its_model():
    mode = polycall.Mode.VERTEXAI_PARALLEL_TOOLS
    assert type(polycall.from_vertexai(GenerativeModel(), mode=mode)) is Client
    assert type(polycall.from_vertexai(GenerativeModel(), use_async=True)) is AsyncClient
    with pytest.raises(UsageError, match=r"from_vertexai takes no model="):
        polycall.from_vertexai(GenerativeModel(), model="m")
    with pytest.raises(UsageError, match="does not fit a client of vertexai"):
        polycall.from_vertexai(GenerativeModel(), mode=polycall.Mode.PARALLEL_TOOLS)
    with pytest.raises(UsageError, match="from_vertexai takes vertexai"):
        polycall.from_vertexai(openai.OpenAI(api_key="k"))
