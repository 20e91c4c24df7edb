"""The way to get a client by the name of a provider, without an SDK."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload
from urllib.parse import urlsplit

from polycall._direct import Direct, Server, checked_headers
from polycall._http import Awaited, Library, Poster, Settings
from polycall._reach import Reached, reach
from polycall._transport import check_library, transport
from polycall._wrapping import is_of, kind_of
from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import UsageError
from polycall.provider import Connection

if TYPE_CHECKING:
    import httpx2

__all__ = ["from_provider"]

Api: TypeAlias = Literal["chat", "responses"]
Key: TypeAlias = "str | Callable[[], str | Awaitable[str]]"

_RETRIES: Final = 2
_TIMEOUT: Final = 600.0
_REACHED: Final = ("api", "base_url", "api_key", "api_version", "project", "location")
_POSTED: Final = ("headers", "http_client", "proxy", "ca_file")


# fmt: off
@overload
def from_provider(name: str, *, async_client: Literal[False] = False, base_url: str | None = None, api_key: Key | None = None, headers: Mapping[str, str] | None = None, http_client: Library | httpx2.Client | None = None, proxy: str | None = None, ca_file: str | os.PathLike[str] | None = None, api_version: str | None = None, api: Api | None = None, project: str | None = None, location: str | None = None, model_path: str | None = None, mode: Mode | None = None, **defaults: Any) -> Client: ...
@overload
def from_provider(name: str, *, async_client: Literal[True], base_url: str | None = None, api_key: Key | None = None, headers: Mapping[str, str] | None = None, http_client: Library | httpx2.AsyncClient | None = None, proxy: str | None = None, ca_file: str | os.PathLike[str] | None = None, api_version: str | None = None, api: Api | None = None, project: str | None = None, location: str | None = None, model_path: str | None = None, mode: Mode | None = None, **defaults: Any) -> AsyncClient: ...
@overload
def from_provider(name: str, *, async_client: bool, base_url: str | None = None, api_key: Key | None = None, headers: Mapping[str, str] | None = None, http_client: Library | None = None, proxy: str | None = None, ca_file: str | os.PathLike[str] | None = None, api_version: str | None = None, api: Api | None = None, project: str | None = None, location: str | None = None, model_path: str | None = None, mode: Mode | None = None, **defaults: Any) -> Client | AsyncClient: ...
# fmt: on
def from_provider(
    name: str, *, async_client: bool = False, model_path: str | None = None, mode: Mode | None = None, **options: Any
) -> Client | AsyncClient:
    """Reach a model by its provider's name, without an SDK.

    Args:
        name: The provider and its model, like ``"openai/gpt-5-mini"`` or ``"openrouter/z-ai/glm-5"``; without a model, each call
            names one. ``"local"`` is the small model embedded in the process (needs ``polycall[local]``), no key and no network.
        async_client: Whether to return an `AsyncClient`.
        base_url: The service's address, where it is another one than the provider's own.
        api_key: The key, or a function that returns it (asynchronous ones too) and is called before each request. None takes it
            from the provider's environment variable.
        headers: Sent with each request, before all others.
        http_client: The library that posts, ``"pyreqwest"`` or ``"httpx2"``, or a client of httpx2, which stays yours. None takes
            the best one there is.
        proxy: The URL of a proxy; None takes those of the environment (``HTTPS_PROXY``, ``NO_PROXY``).
        ca_file: A PEM file of certificates to trust beside the system's.
        api_version: For ``"azure"``: the version of its API, for its URLs by deployment; without it, the newer URLs are used. For
            ``"vertex"``: ``"v1beta1"``, the default, or ``"v1"``.
        api: ``"responses"`` for OpenAI's Responses API, ``"chat"`` for chat completions; None takes what the provider is known for.
        project: For ``"vertex"``: the project; None takes ``GOOGLE_CLOUD_PROJECT``.
        location: For ``"vertex"``: the location; None takes ``GOOGLE_CLOUD_LOCATION``, else ``global``.
        model_path: For ``"local"``: the path of any GGUF file to use instead of the embedded model.
        mode: Optional; only checked to fit.
        **options: Arguments for every call, polycall's or the service's. ``timeout`` is 600 seconds and ``retries`` 2 by default.

    Raises:
        UsageError: The provider is not known, or what it needs is missing: a key, a library.
    """
    kind = AsyncClient if async_client else Client
    direct = {key: options.pop(key, None) for key in (*_REACHED, *_POSTED)}
    if name == "local":
        if misplaced := [key for key, value in direct.items() if value is not None]:
            message = f"{', '.join(misplaced)}: the local model is in this process, there is nothing to connect to"
            raise UsageError(message)
        from polycall.local import connect

        return kind(connect(model_path), **{"model": "local", "mode": mode, **options})
    if model_path is not None:
        raise UsageError('model_path is for "local"; a service takes the name of a model, like "openai/gpt-5-mini"')
    if not isinstance(name, str):
        raise UsageError('from_provider takes a name, like "openai/gpt-5-mini"; an SDK\'s client goes to from_openai')
    provider, _, model = name.partition("/")
    if provider == "local":
        raise UsageError('"local" is one model: model_path= names the file of another')
    reached = reach(provider, asynchronous=async_client, **{key: direct[key] for key in _REACHED})
    connection = _connect(reached, asynchronous=async_client, **{key: direct[key] for key in _POSTED})
    defaults: dict[str, Any] = {"model": model or None, "timeout": _TIMEOUT, **options}
    return kind(connection, mode=mode, **defaults)


def _connect(
    reached: Reached,
    *,
    asynchronous: bool,
    headers: Mapping[str, str] | None,
    http_client: Any,
    proxy: str | None,
    ca_file: str | os.PathLike[str] | None,
) -> Connection:
    if not (isinstance(ca_file, str | os.PathLike | None) and isinstance(proxy, str | None)):
        raise UsageError("ca_file is the path of a PEM file, proxy a URL")
    if proxy is not None and not _is_proxy(proxy):
        raise UsageError("proxy is the URL of a proxy, like http://proxy.example.com:3128 (http, https, socks5 or socks5h)")
    settings = Settings(proxy, None if ca_file is None else os.fspath(ca_file))
    poster, close = _poster(settings, http_client, asynchronous=asynchronous)
    server = Server(reached.url, poster, reached.key, {**reached.headers, **checked_headers(headers, "headers")})
    at_once = not asynchronous and close is not None
    return Connection(Direct(reached.wire), server, blocking=False, close=close, retries=_RETRIES, at_once=at_once)


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https", "socks5", "socks5h"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _poster(settings: Settings, given: Any, *, asynchronous: bool) -> tuple[Poster, Callable[[], Awaitable[None] | None] | None]:
    """Return what posts, and what closes it; None for the latter where the user brings the client."""
    if given is None or given in ("pyreqwest", "httpx2"):  # whatever was given may have no hash
        check_library(given)
        make = partial(transport, settings, given)
        if asynchronous:
            awaited = Awaited(make)
            return awaited, awaited.close
        from polycall._portal import Portal

        portal = Portal(make)
        return portal, portal.close
    if not is_of(given, "httpx2") or hasattr(given, "__aenter__") is not asynchronous:
        wanted = "httpx2.AsyncClient" if asynchronous else "httpx2.Client"
        message = f'http_client= is "pyreqwest", "httpx2" or a {wanted}() here, not {kind_of(given)}'
        raise UsageError(message)
    if settings != Settings():
        raise UsageError("proxy= and ca_file= belong to the httpx2 client that you give")
    from polycall._http_httpx2 import BlockingHttpx2, Httpx2

    return (Awaited(lambda: Httpx2(settings, given)) if asynchronous else BlockingHttpx2(given)), None
