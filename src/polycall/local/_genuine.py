"""Whether a file is the embedded model polycall knows, and the memory of having looked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

__all__ = ["FILE_NAME", "cache_folder", "is_genuine", "replace_file"]

FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SIZE = 98_362_432
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder() -> Path:
    """Return polycall's folder in the user's cache, which may not exist yet. ``XDG_CACHE_HOME`` counts on every platform."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "polycall"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "polycall" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "polycall"
    return Path.home() / ".cache" / "polycall"


def is_genuine(path: Path) -> bool:
    """Whether `path` holds the embedded model, byte for byte.

    The file is read once; a stamp in the cache folder then stands for it as long as its size and its times stay.
    """
    state = path.stat()
    if state.st_size != _SIZE:
        return False
    stamp = cache_folder() / "checked" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    expected = json.dumps([_SHA256, state.st_size, state.st_mtime_ns, state.st_ctime_ns])
    with contextlib.suppress(OSError, ValueError):
        if stamp.read_text(encoding="utf-8") == expected:
            return True
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
            return False
    # A cache that cannot be written costs a tenth of a second at every start, nothing else.
    with contextlib.suppress(OSError):
        _write(stamp, expected)
    return True


def replace_file(source: Path, target: Path) -> None:
    """Move `source` to `target` in one step: nobody ever sees half of the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        replace_file(draft, path)
