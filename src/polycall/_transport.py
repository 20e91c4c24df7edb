"""Which library carries the direct transport out."""

from __future__ import annotations

import importlib.util
import sys
import threading
from contextlib import suppress

from polycall._http import Library, Settings, Transport
from polycall.errors import UsageError

__all__ = ["check_library", "transport"]


def check_library(library: Library | None) -> None:
    """Check that a library is installed: the one that is asked for, or any.

    Raises:
        UsageError: It is not.
    """
    wanted = ("pyreqwest", "httpx2") if library is None else (library,)
    if not any(map(_is_there, wanted)):
        message = f'{" and ".join(wanted)} cannot be found: type `python -m pip install "polycall[http]"`'
        raise UsageError(message)


def transport(settings: Settings, library: Library | None) -> Transport:
    """Return a transport on the library that is asked for, or on the best one there is.

    Raises:
        UsageError: It cannot be used in this process.
    """
    if library != "httpx2" and _is_there("pyreqwest"):
        _load_pyreqwest()
        from polycall._http_pyreqwest import Pyreqwest

        try:
            return Pyreqwest(settings)
        except RuntimeError:
            if library is not None or not _is_there("httpx2"):
                message = "pyreqwest cannot be used in a forked process whose parent has used it: start processes by spawn"
                raise UsageError(f'{message}, or type `python -m pip install "polycall[http]"`') from None
    from polycall._http_httpx2 import Httpx2

    return Httpx2(settings)


def _load_pyreqwest() -> None:
    """Load pyreqwest in a thread that never ends.

    Its memory goes with the thread that has loaded it, and the next use of it crashes the process (0.15.1).
    """
    if "pyreqwest._pyreqwest" in sys.modules or threading.current_thread() is threading.main_thread():
        return
    loaded = threading.Event()
    modules: list[object] = []

    def load() -> None:
        with suppress(ImportError):  # raised again where it is used
            from polycall import _http_pyreqwest

            modules.append(_http_pyreqwest)
        loaded.set()
        threading.Event().wait()

    threading.Thread(target=load, name="polycall-pyreqwest", daemon=True).start()
    loaded.wait()


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
