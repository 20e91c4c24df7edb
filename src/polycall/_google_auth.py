"""Tokens of Google Cloud for the direct path, from the user's own google-auth."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Any, Final, cast

from polycall.errors import UsageError

__all__ = ["Tokens"]

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)


class Tokens:
    """Gives a valid token whenever it is called; blocks while it gets one. Safe across threads."""

    def __init__(self) -> None:
        """Look for google-auth, without importing it.

        Raises:
            UsageError: It is missing.
        """
        self._lock = threading.Lock()
        self._credentials: Any = None
        if not (_has("google.auth") and _has("requests")):
            message = "no way to get a token for vertex: pip install 'google-auth[requests]', or give api_key="
            raise UsageError(f"{message} (a key for express mode, or a function that returns a token)")

    def __call__(self) -> str:
        """Return a token that is valid now.

        Raises:
            UsageError: There are no credentials.
        """
        with self._lock:
            if self._credentials is None:
                self._credentials = _default()
            if not self._credentials.valid:
                from google.auth.transport.requests import Request

                self._credentials.refresh(Request())
            return str(self._credentials.token)


def _default() -> Any:
    from google import auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        return cast("Any", auth).default(scopes=_SCOPES)[0]
    except DefaultCredentialsError:
        message = "no credentials of Google Cloud: run 'gcloud auth application-default login', or give api_key="
        raise UsageError(f"{message} (a key for express mode, or a function that returns a token)") from None


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
