"""What belongs to a provider is there four times: its file, its test file, its `from_x`, and its extra."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import polycall

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "polycall"
TESTS = ROOT / "tests"

PROVIDERS = {
    "from_anthropic": ("anthropic", "anthropic", "providers/test_anthropic.py"),
    "from_bedrock": ("botocore", "bedrock", "providers/test_bedrock.py"),
    "from_cerebras": ("stainless", "cerebras", "providers/test_chat_sdks.py"),
    "from_cohere": ("cohere", "cohere", "providers/test_cohere.py"),
    "from_fireworks": ("stainless", "fireworks", "providers/test_chat_sdks.py"),
    "from_genai": ("google_genai", "google", "providers/test_google_genai.py"),
    "from_groq": ("stainless", "groq", "providers/test_chat_sdks.py"),
    "from_huggingface": ("huggingface_hub", "huggingface", "providers/test_chat_sdks.py"),
    "from_litellm": ("litellm", "litellm", "providers/test_litellm.py"),
    "from_mistral": ("mistralai", "mistral", "providers/test_mistralai.py"),
    "from_ollama": ("ollama", "ollama", "providers/test_ollama.py"),
    "from_openai": ("openai", "openai", "providers/test_openai.py"),
    "from_together": ("stainless", "together", "providers/test_chat_sdks.py"),
    "from_vertexai": ("vertexai", "vertexai", "legacy/test_vertexai.py"),
    "from_xai": ("xai_sdk", "xai", "providers/test_xai.py"),
}
"""By the name of the function: the file of `polycall.providers`, the extra, and the test file."""


def test_every_function_is_here():
    functions = {name for name in polycall.__all__ if name.startswith("from_")} - {"from_provider"}
    assert functions == set(PROVIDERS)
    files = {path.stem for path in (SOURCES / "providers").glob("*.py")} - {"__init__"}
    assert files == {file for file, _, _ in PROVIDERS.values()}


@pytest.mark.parametrize("function", PROVIDERS)
def test_four_belong_together(function):
    file, extra, test = PROVIDERS[function]
    wrapping = "".join((SOURCES / name).read_text(encoding="utf-8") for name in ("_wrap.py", "_wrap_chat.py"))
    assert f"def {function}(" in wrapping
    assert f"polycall.providers.{file} import" in wrapping or f"polycall.providers import {file}" in wrapping
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extra in extras
    tests = (TESTS / test).read_text(encoding="utf-8")
    assert function in tests or "from_{" in tests
    assert f"`{function}(" in (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    assert f"`{extra}`" in (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((SOURCES / "providers").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_a_provider_knows_no_other(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in imported if module.startswith("polycall.providers")]
