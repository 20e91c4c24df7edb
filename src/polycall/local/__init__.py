"""The embedded model: a small language model inside the process, no key and no network.

`polycall local install` fetches its file once; `LocalModel` answers OpenAI chat completion bodies with it, or with any GGUF file
that is trained for tool calls.
"""

from polycall.local._chat import connect
from polycall.local._install import install
from polycall.local._model import LocalModel

__all__ = ["LocalModel", "connect", "install"]
