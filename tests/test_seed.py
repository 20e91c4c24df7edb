"""The program of Instructor's "Parallel Tools" page: verbatim but for the import, sync and async, and as `polycall as instructor`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support_seed import seed_server

SYNC = """
from __future__ import annotations

import openai
import {module}

from typing import Iterable, Literal
from pydantic import BaseModel


class Weather(BaseModel):
    location: str
    units: Literal["imperial", "metric"]


class GoogleSearch(BaseModel):
    query: str


client = {name}.from_openai(
    openai.OpenAI(), mode={name}.Mode.PARALLEL_TOOLS
)

function_calls = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[
        {{"role": "system", "content": "You must always use tools"}},
        {{
            "role": "user",
            "content": "What is the weather in toronto and dallas and who won the super bowl?",
        }},
    ],
    response_model=Iterable[Weather | GoogleSearch],
)

for fc in function_calls:
    print(fc)
"""

ASYNC = (
    SYNC.replace("import openai\n", "import asyncio\nimport openai\n")
    .replace("openai.OpenAI()", "openai.AsyncOpenAI()")
    .replace("function_calls = client.", "async def main():\n  function_calls = await client.")
    .replace(
        "\nfor fc in function_calls:\n    print(fc)\n", "\n  for fc in function_calls:\n    print(fc)\n\nasyncio.run(main())\n"
    )
)


@pytest.mark.parametrize("module", ["polycall", "polycall as instructor"])
@pytest.mark.parametrize("program", [SYNC, ASYNC], ids=["sync", "async"])
def test_seed_program(program: str, module: str, tmp_path: Path):
    path = tmp_path / "program.py"
    path.write_text(program.format(module=module, name=module.rsplit(maxsplit=1)[-1]), encoding="utf-8")
    with seed_server() as (url, asked):
        environment = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "not-a-key"}
        done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "location='Toronto' units='metric'",
        "location='Dallas' units='imperial'",
        "query='super bowl winner'",
    ]
    assert [tool["function"]["name"] for tool in asked[0]["tools"]] == ["Weather", "GoogleSearch"]
    assert asked[0]["messages"][0] == {"role": "system", "content": "You must always use tools"}
