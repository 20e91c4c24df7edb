"""The ways to get a client: around an SDK's client, or by the name of a provider."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload
from urllib.parse import quote, urlsplit, urlunsplit

from polycall._direct import Direct, Server, check_url, checked_headers, checked_key
from polycall._http import Awaited, Library, Poster, Settings
from polycall._services import AZURE, Service, service_at, service_named, service_names
from polycall._transport import check_library, transport
from polycall.client import AsyncClient, Client
from polycall.compat import Mode
from polycall.errors import UsageError
from polycall.provider import Connection
from polycall.providers.openai import OpenAIChat

if TYPE_CHECKING:
    import httpx2
    import openai

__all__ = ["from_openai", "from_provider"]

Key: TypeAlias = "str | Callable[[], str | Awaitable[str]]"

_RETRIES: Final = 2
_TIMEOUT: Final = 600.0
_BASE_URLS: Final = {"openai": "OPENAI_BASE_URL", "azure": "AZURE_OPENAI_ENDPOINT"}
_DIRECT: Final = ("base_url", "api_key", "headers", "http_client", "proxy", "ca_file", "api_version")


@overload
def from_openai(client: openai.OpenAI, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client: ...
@overload
def from_openai(
    client: openai.AsyncOpenAI, mode: Mode | None = None, *, model: str | None = None, **defaults: Any
) -> AsyncClient: ...
def from_openai(client: Any, mode: Mode | None = None, *, model: str | None = None, **defaults: Any) -> Client | AsyncClient:
    """Wrap a client of the openai SDK: `OpenAI`, `AsyncOpenAI`, the Azure ones, their subclasses, with any ``base_url``.

    Args:
        client: The SDK's client. It stays yours: polycall never closes it, and its own retries and timeouts go on to hold.
        mode: Optional; only checked to fit.
        model: The model to ask when a call names none.
        **defaults: Arguments for every call, polycall's or the SDK's.

    Returns:
        An `AsyncClient` for an asynchronous client, else a `Client`.

    Raises:
        UsageError: ``client`` is no client of the openai SDK.
    """
    if not _is_of(client, "openai") or not hasattr(client, "chat"):
        message = f"from_openai takes a client of the openai SDK, openai.OpenAI() or openai.AsyncOpenAI(), not {_kind(client)}"
        raise UsageError(message)
    connection = Connection(OpenAIChat(service_at(str(client.base_url))), client, blocking=False)
    kind = AsyncClient if _is_async(client) else Client
    return kind(connection, model=model, mode=mode, **defaults)


# fmt: off
@overload
def from_provider(name: str, *, async_client: Literal[False] = False, base_url: str | None = None, api_key: Key | None = None, headers: Mapping[str, str] | None = None, http_client: Library | httpx2.Client | None = None, proxy: str | None = None, ca_file: str | os.PathLike[str] | None = None, api_version: str | None = None, model_path: str | None = None, mode: Mode | None = None, **defaults: Any) -> Client: ...
@overload
def from_provider(name: str, *, async_client: Literal[True], base_url: str | None = None, api_key: Key | None = None, headers: Mapping[str, str] | None = None, http_client: Library | httpx2.AsyncClient | None = None, proxy: str | None = None, ca_file: str | os.PathLike[str] | None = None, api_version: str | None = None, model_path: str | None = None, mode: Mode | None = None, **defaults: Any) -> AsyncClient: ...
@overload
def from_provider(name: str, *, async_client: bool, base_url: str | None = None, api_key: Key | None = None, headers: Mapping[str, str] | None = None, http_client: Library | None = None, proxy: str | None = None, ca_file: str | os.PathLike[str] | None = None, api_version: str | None = None, model_path: str | None = None, mode: Mode | None = None, **defaults: Any) -> Client | AsyncClient: ...
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
        api_version: For ``"azure"``: the version of its API, for its URLs by deployment; without it, the newer URLs are used.
        model_path: For ``"local"``: the path of any GGUF file to use instead of the embedded model.
        mode: Optional; only checked to fit.
        **options: Arguments for every call, polycall's or the service's. ``timeout`` is 600 seconds and ``retries`` 2 by default.

    Raises:
        UsageError: The provider is not known, or what it needs is missing: a key, a library.
    """
    kind = AsyncClient if async_client else Client
    direct = {key: options.pop(key, None) for key in _DIRECT}
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
    service = service_named(provider)
    if service is None:
        message = f"there is no provider {provider!r}: there are local, {', '.join(service_names())}"
        raise UsageError(f"{message}; any other address of the format goes by openai/... and base_url=")
    connection = _connect(service, asynchronous=async_client, **direct)
    defaults: dict[str, Any] = {"model": model or None, "timeout": _TIMEOUT, **options}
    return kind(connection, mode=mode, **defaults)


def _connect(
    service: Service,
    *,
    asynchronous: bool,
    base_url: object,
    api_key: Any,
    headers: Mapping[str, str] | None,
    http_client: Any,
    proxy: str | None,
    ca_file: str | os.PathLike[str] | None,
    api_version: str | None,
) -> Connection:
    variable = _BASE_URLS.get(service.name, "")
    address = base_url or os.environ.get(variable) or service.url
    if address is None:
        raise UsageError(f"no address for {service.name}: give base_url=, or set {variable}")
    url = check_url(address)
    if not (
        isinstance(ca_file, str | os.PathLike | None) and isinstance(proxy, str | None) and isinstance(api_version, str | None)
    ):
        raise UsageError("ca_file is the path of a PEM file, proxy a URL, api_version text")
    if service.name == AZURE.name:
        service, url = _azure(service, url, api_version or os.environ.get("OPENAI_API_VERSION"), token=callable(api_key))
    key: Any = api_key if callable(api_key) else checked_key(_key(service, api_key))
    if proxy is not None and not _is_proxy(proxy):
        raise UsageError("proxy is the URL of a proxy, like http://proxy.example.com:3128 (http, https, socks5 or socks5h)")
    settings = Settings(proxy, None if ca_file is None else os.fspath(ca_file))
    poster, close = _poster(settings, http_client, asynchronous=asynchronous)
    known = {header: os.environ[variable] for header, variable in service.header_keys if os.environ.get(variable)}
    server = Server(url, poster, key, {**known, **checked_headers(headers, "headers")})
    at_once = not asynchronous and close is not None
    return Connection(Direct(OpenAIChat(service)), server, blocking=False, close=close, retries=_RETRIES, at_once=at_once)


def _key(service: Service, given: str | None) -> str | None:
    """Return the key that is given, or that of the environment.

    Raises:
        UsageError: There is none, and the service wants one.
    """
    if given is not None:
        return given
    for variable in service.keys:
        if os.environ.get(variable):
            return os.environ[variable]
    if service.keys:
        raise UsageError(f"no key for {service.name}: set {service.keys[0]}, or give api_key=")
    return None


def _azure(service: Service, url: str, version: str | None, *, token: bool) -> tuple[Service, str]:
    """Return Azure's service and base URL: by deployment where an API version is given, else the newer form.

    A function gives tokens of Entra ID, which go where other services have their key.
    """
    parts = urlsplit(url)
    root = parts.path.removesuffix("/openai/v1").removesuffix("/openai")
    service = replace(service, key_header="authorization") if token else service
    if version is None:
        return service, urlunsplit(parts._replace(path=f"{root}/openai/v1"))
    path = f"/openai/deployments/{{model}}/chat/completions?api-version={quote(version, safe='')}"
    return replace(service, path=path), urlunsplit(parts._replace(path=root))


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
    if not _is_of(given, "httpx2") or hasattr(given, "__aenter__") is not asynchronous:
        wanted = "httpx2.AsyncClient" if asynchronous else "httpx2.Client"
        message = f'http_client= is "pyreqwest", "httpx2" or a {wanted}() here, not {_kind(given)}'
        raise UsageError(message)
    if settings != Settings():
        raise UsageError("proxy= and ca_file= belong to the httpx2 client that you give")
    from polycall._http_httpx2 import BlockingHttpx2, Httpx2

    return (Awaited(lambda: Httpx2(settings, given)) if asynchronous else BlockingHttpx2(given)), None


def _is_of(client: object, package: str) -> bool:
    return any(kind.__module__ == package or kind.__module__.startswith(f"{package}.") for kind in type(client).__mro__)


def _is_async(client: object) -> bool:
    return any(
        kind.__name__.startswith("Async") for kind in type(client).__mro__ if kind.__module__.partition(".")[0] == "openai"
    )


def _kind(client: object) -> str:
    kind = client if isinstance(client, type) else type(client)
    return f"{'the class ' if kind is client else ''}{kind.__module__}.{kind.__qualname__}"
