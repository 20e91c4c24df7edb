from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "anthropic",
    "boto3",
    "cohere",
    "docstring_parser",
    "google.genai",
    "groq",
    "httpx",
    "httpx2",
    "jsonschema_rs",
    "mistralai",
    "ollama",
    "openai",
    "pyreqwest",
    "rich",
    "typer",
    "vertexai",
    "xai_sdk",
    "xllamacpp",
}


def test_import_loads_no_sdk_and_nothing_heavy():
    command = [sys.executable, "-I", "-c", "import sys, polycall; print(*sys.modules)"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "polycall" in loaded
    assert not HEAVY & loaded


SLOW = {
    "asyncio",
    "concurrent.futures",
    "email",
    "importlib.metadata",
    "logging",
    "pydantic.fields",
    "socket",
    "ssl",
    "urllib.request",
}


def test_import_loads_little_beyond_pydantic():
    """What costs milliseconds to import is imported where it is used; `benchmarks/import_time.py` measures the whole."""
    program = """
import sys
from pydantic import BaseModel, TypeAdapter
before = set(sys.modules)
import polycall
print(*(set(sys.modules) - before))
"""
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert not SLOW & set(run.stdout.split())


def test_direct_client_loads_no_http_library_before_its_first_request():
    program = """
import sys
import polycall
client = polycall.from_provider("openai/m", api_key="k")
print(*sys.modules)
client.close()
"""
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert not {"httpx2", "openai", "pyreqwest"} & set(run.stdout.split())
