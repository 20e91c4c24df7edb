"""The second program of the README runs as it stands there; only the SDK is told where the server is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.legacy.conftest import call, said, whole

README = Path(__file__).parents[2] / "README.md"
LED = """
import vertexai
from google.auth.credentials import AnonymousCredentials
init = vertexai.init
init(project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint={origin!r})
vertexai.init = lambda: None
"""
CALLS = (
    ("Weather", {"location": "Toronto", "units": "metric"}),
    ("Weather", {"location": "Dallas", "units": "metric"}),
    ("GoogleSearch", {"query": "super bowl winner"}),
)


def test_the_program_of_the_readme(server, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "from_vertexai" in block]
    server.answer = whole(said(*(call(name, arguments) for name, arguments in CALLS)))
    future, _, rest = program.partition("\n")
    path = tmp_path / "program.py"
    path.write_text(f"{future}\n{LED.format(origin=server.origin)}{rest}", encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "ignore", str(path)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"#> (.*)", program)
    sent = json.loads(server.requests[-1].raw)
    assert [tool["name"] for tool in sent["tools"][0]["functionDeclarations"]] == ["Weather", "GoogleSearch"]
    assert sent["systemInstruction"]["parts"] == [{"text": "You must always use tools"}]
