"""Vertex AI without an SDK: where it is, and how it is shown who asks.

Sources: Vertex AI's reference, "generateContent", and its guide "Express mode"; google-genai reads the same variables.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final
from urllib.parse import quote

from polycall._direct import check_url, checked_key
from polycall.errors import UsageError
from polycall.formats.gemini import Gemini

__all__ = ["vertex"]

_VERSION: Final = "v1beta1"
_PLAIN: Final = re.compile(r"[\w.:-]+")
_MULTI_REGIONS: Final = frozenset({"eu", "us"})


def vertex(
    base_url: object,
    api_key: Any,
    api_version: str | None,
    project: str | None,
    location: str | None,
    *,
    asynchronous: bool,  # noqa: ARG001  # a function that gets a token runs in a thread where there is an event loop
) -> tuple[Gemini, str, Any]:
    """Return the format, the base URL and the key.

    Args:
        base_url: Another address; None takes ``GOOGLE_VERTEX_BASE_URL``, or the location's own.
        api_key: A key means express mode, a function gives OAuth tokens, and None asks google-auth for them.
        api_version: The version of the API; None takes ``v1beta1``.
        project: None takes ``GOOGLE_CLOUD_PROJECT``; express mode needs none, and then takes none from there.
        location: None takes ``GOOGLE_CLOUD_LOCATION``, else ``global``.
        asynchronous: Whether the client is asynchronous.

    Raises:
        UsageError: The project is missing, or what gets tokens.
    """
    express = api_key is not None and not callable(api_key)
    if not express:
        project = project or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if not project:
            raise UsageError("no project for vertex: give project=, or set GOOGLE_CLOUD_PROJECT")
    where = location or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    if project is None:
        where = location or "global"
    version = api_version or _VERSION
    for name, value in (("project", project), ("location", where), ("api_version", version)):
        if value is not None and not _PLAIN.fullmatch(value):
            raise UsageError(f"{name}={value!r} is not understood: it is one plain word")
    url = check_url(base_url or os.environ.get("GOOGLE_VERTEX_BASE_URL") or _host(where))
    root = f"/{version}"
    if project is not None:
        root += f"/projects/{quote(project, safe=':')}/locations/{where}"
    return Gemini(vertex=True, root=root, bearer=not express), url, checked_key(api_key) if express else _tokens(api_key)


def _host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def _tokens(given: Any) -> Any:
    if given is not None:
        return given
    from polycall._google_auth import Tokens

    return Tokens()
