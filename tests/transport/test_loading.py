"""pyreqwest's memory goes with the thread that has loaded it: it is loaded in one that never ends."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
import polycall
from polycall.testing import ModelServer, Said

def ask(url):
    with polycall.from_provider("openai/m", base_url=url, api_key="k", http_client="pyreqwest", timeout=20) as client:
        told.append(len(client.create("?", tools=[polycall.Tool("F")])))

told = []
with ModelServer([Said("F", {})]) as server:
    assert "pyreqwest" not in sys.modules
    for _ in range(200):
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
assert told == [1] * 400, told
"""


def test_pyreqwest_is_loaded_first_in_a_thread_that_ends():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
