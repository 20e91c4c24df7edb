"""What the name of a provider means, without an SDK: the format it speaks, its address, and its key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from polycall._direct import check_url, checked_key
from polycall._services import AZURE, Service, service_named, service_names
from polycall.errors import UsageError
from polycall.formats.chat import Chat
from polycall.provider import Endpoint, Format

__all__ = ["Reached", "reach"]

_NATIVE: Final = frozenset({"anthropic", "cohere", "gemini", "google", "ollama"})
"""The names of the providers whose formats are not OpenAI's."""

_OTHER_NAMES: Final = {"azureopenai": "azure"}  # as programs written for Instructor say
_VERTEX: Final = frozenset({"vertex", "vertexai"})
_BASE_URLS: Final = {"openai": "OPENAI_BASE_URL", "azure": "AZURE_OPENAI_ENDPOINT"}


@dataclass(frozen=True, slots=True)
class Reached:
    """What a name means.

    Attributes:
        wire: The format that is spoken there.
        url: The base URL.
        key: The key, a function that returns it, or None where none is needed.
        headers: What the environment adds to each request.
    """

    wire: Format
    url: str
    key: Any = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def reach(
    name: str,
    *,
    api: str | None,
    base_url: object,
    api_key: Any,
    api_version: str | None,
    project: str | None,
    location: str | None,
    asynchronous: bool,
) -> Reached:
    """Look a provider up by its name.

    Raises:
        UsageError: It is not known, or an option is not for it, or there is no address or no key.
    """
    given = {"api": api, "api_version": api_version, "project": project, "location": location}
    for option, value in given.items():
        if not isinstance(value, str | None):
            raise UsageError(f"{option} is a text, not a {type(value).__name__}")
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if plain in _VERTEX:
        _only(name, given, "api_version", "project", "location")
        from polycall._vertex import vertex

        return Reached(*vertex(base_url, api_key, api_version, project, location, asynchronous=asynchronous))
    if plain == "bedrock":
        raise UsageError('bedrock is reached through boto3: polycall.from_bedrock(boto3.client("bedrock-runtime"))')
    service = service_named(_OTHER_NAMES.get(plain, name))
    if plain in _NATIVE and (api is None or service is None):
        _only(name, given)
        wire, endpoint = _native(plain)
        key = _key(name, endpoint.keys, api_key)
        return Reached(wire, _address(name, base_url, endpoint.url, endpoint.variable, endpoint.written), key)
    if service is None:
        known = ", ".join(sorted({"vertex", *_NATIVE, *service_names()}))
        message = f"there is no provider {name!r}: there are local, {known}"
        raise UsageError(f"{message}; any other address of the format goes by openai/... and base_url=")
    _only(name, given, "api", *(["api_version"] if service.name == AZURE.name else []))
    return _service(service, api, base_url, api_key, api_version)


def _native(name: str) -> tuple[Format, Endpoint]:
    if name == "anthropic":
        from polycall.formats import anthropic

        return anthropic.FORMAT, anthropic.ENDPOINT
    if name == "cohere":
        from polycall.formats import cohere

        return cohere.FORMAT, cohere.ENDPOINT
    if name == "ollama":
        from polycall.formats import ollama

        return ollama.FORMAT, ollama.ENDPOINT
    from polycall.formats import gemini

    return gemini.FORMAT, gemini.ENDPOINT


def _service(service: Service, api: str | None, base_url: object, api_key: Any, api_version: str | None) -> Reached:
    if api not in {None, "chat", "responses"}:
        raise UsageError(f'api={api!r} is not understood: write api="chat" or api="responses"')
    url = _address(service.name, base_url, service.url, _BASE_URLS.get(service.name, ""))
    if service.name == AZURE.name:
        version = api_version or os.environ.get("OPENAI_API_VERSION")
        service, url = _azure(service, url, version, token=callable(api_key))
    key = _key(service.name, service.keys, api_key)
    headers = {header: os.environ[variable] for header, variable in service.header_keys if os.environ.get(variable)}
    if api == "responses":
        from polycall.formats.responses import Responses

        return Reached(Responses(service), url, key, headers)
    if service.name == "mistral":
        from polycall.formats.mistral import MistralChat

        return Reached(MistralChat(service), url, key, headers)
    return Reached(Chat(service), url, key, headers)


def _only(name: str, given: Mapping[str, str | None], *allowed: str) -> None:
    for option, value in given.items():
        if value is not None and option not in allowed:
            raise UsageError(f"{option}= is not for {name!r}: leave it out")


def _address(name: str, given: object, own: str | None, variable: str, written: Callable[[str], str] = str) -> str:
    set_in = os.environ.get(variable)
    address = given or (written(set_in) if set_in else own)
    if address is None:
        raise UsageError(f"no address for {name}: give base_url=, or set {variable}")
    return check_url(address)


def _key(name: str, variables: Sequence[str], given: Any) -> Any:
    """Return the key that is given, a function as it is, or that of the environment.

    Raises:
        UsageError: There is none, and the service wants one.
    """
    if callable(given):
        return given
    if given is not None:
        return checked_key(given)
    for variable in variables:
        if os.environ.get(variable):
            return checked_key(os.environ[variable])
    if variables:
        raise UsageError(f"no key for {name}: set {variables[0]}, or give api_key=")
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
    query = f"?api-version={quote(version, safe='')}"
    path, responses = f"/openai/deployments/{{model}}/chat/completions{query}", f"/openai/responses{query}"
    return replace(service, path=path, responses_path=responses), urlunsplit(parts._replace(path=root))
