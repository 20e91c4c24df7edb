"""The generateContent format: the Gemini API's, and Vertex AI's for Gemini models.

Sources: Gemini's API reference, "Generating content", and Vertex AI's; the guide "Function calling"; recorded in
``tests/wire/gemini``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from pydantic_core import to_json

from polycall._dialect_gemini import gemini_schema
from polycall._dialects import tell
from polycall._turn import Answer
from polycall.errors import UsageError
from polycall.formats import _gemini_messages as messages
from polycall.formats._gemini_decoder import GeminiDecoder
from polycall.formats._gemini_options import Options, read_options
from polycall.provider import Encoded, Endpoint
from polycall.types import JsonObject, Message, Request, ToolChoice, ToolSchema, is_mapping

__all__ = ["ENDPOINT", "FORMAT", "Gemini"]

_SIGNS: Final = re.compile(r"gemini-(?:[3-9]|\d\d|[\w-]*latest)")
"""The models that refuse calls without a signature, from Gemini 3 on."""


@dataclass(frozen=True, slots=True)
class Gemini:
    """The generateContent format, as one of its services speaks it.

    Attributes:
        vertex: Whether the service is Vertex AI, where models belong to publishers.
        root: What stands before the model in the path: the version of the API, and on Vertex AI the project and location.
        bearer: Whether the key is a token of OAuth instead of an API key.
    """

    vertex: bool = False
    root: str = "/v1beta"
    bearer: bool = False
    name: str = "gemini"
    half_turns: bool = True
    raw_arguments: bool = False
    json_lines: bool = False

    def encode(self, request: Request, *, stream: bool) -> Encoded:
        """Put a request into the body of ``models/...:generateContent``.

        Raises:
            UsageError: There is nothing to answer, or only one call is asked for, for which there is no switch.
        """
        if request.parallel is False:
            message = "Gemini has no switch that allows one call only: leave parallel= out, and take the first of the calls"
            raise UsageError(message)
        system, said = messages.contents(request.messages, signed=_SIGNS.search(request.model) is not None)
        options = read_options(request.options, self.own_options())
        offered, offered_json = _declared(request.tools)
        body: JsonObject = {"contents": said}
        if options.system or system:
            body["systemInstruction"] = {"parts": [*options.system, *system]}
        body["tools"] = [offered, *options.tools]
        body |= {key: value for key, value in options.top.items() if key != "toolConfig"}
        config = _tool_config(request.tool_choice, options, stream=stream)
        if config:
            body["toolConfig"] = config
        if options.generation:
            body["generationConfig"] = options.generation
        operation = "streamGenerateContent?alt=sse" if stream else "generateContent"
        path = f"{self._model(request.model)}:{operation}"
        transport = {"model": request.model, **options.transport}
        return Encoded(body, {}, b"" if options.tools else offered_json, transport, path)

    def own_options(self) -> frozenset[str]:
        """Return the names of the options that an SDK takes beside those of the body."""
        return frozenset()

    def decoder(self) -> GeminiDecoder:
        """Return the reader of one response."""
        return GeminiDecoder()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header with the key."""
        if key is None:
            return {}
        return {"authorization": f"Bearer {key}"} if self.bearer else {"x-goog-api-key": key}

    def results(self, answers: Sequence[Answer]) -> list[Message]:
        """Return the one content with the answers to all calls."""
        return messages.answers(answers)

    def _model(self, model: str) -> str:
        """Return a model's path, of its name or of the longer forms that the SDK takes.

        Raises:
            UsageError: It is none of these.
        """
        path = quote(model, safe="/", errors="replace")
        if not self.vertex and not path.startswith(("models/", "tunedModels/")):
            path = "models/" + path.replace("/", "%2F")
        if {"", ".", ".."} & set(path.split("/")):
            raise UsageError(f"the model {model!r} is not understood: give its name, or its path as the service has it")
        if not self.vertex:
            return f"{self.root}/{path}"
        if path.startswith("projects/"):
            return f"/{self.root.split('/')[1]}/{path}"
        if path.startswith(("publishers/", "endpoints/")):
            return f"{self.root}/{path}"
        publisher, _, name = path.removeprefix("models/").rpartition("/")
        return f"{self.root}/publishers/{publisher or 'google'}/models/{name}"


FORMAT: Final = Gemini()
ENDPOINT: Final = Endpoint(
    "https://generativelanguage.googleapis.com", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "GOOGLE_GEMINI_BASE_URL"
)


@lru_cache(maxsize=512)
def _declared(tools: tuple[ToolSchema, ...]) -> tuple[JsonObject, bytes]:
    """Return the entry that offers tools, and the JSON of ``tools`` with nothing else; made once, never to be changed."""
    declarations: list[JsonObject] = []
    for tool in tools:
        dialected = gemini_schema(tool.schema)
        tell(tool.name, dialected)
        declaration: JsonObject = {"name": tool.wire_name}
        if tool.description:
            declaration["description"] = tool.description
        declarations.append({**declaration, "parametersJsonSchema": dialected.schema})
    entry: JsonObject = {"functionDeclarations": declarations}
    return entry, to_json([entry])


def _tool_config(choice: ToolChoice, options: Options, *, stream: bool) -> JsonObject:
    """Return the ``toolConfig``: the user's, with the choice in it.

    Names are allowed with the modes ANY, which asks for a call, and VALIDATED, which leaves it to the model. That arguments are
    streamed in pieces is refused where nothing is streamed: https://github.com/vercel/ai/pull/14352.
    """
    given: Any = options.top.get("toolConfig")
    config: JsonObject = dict(given) if is_mapping(given) else {}
    calling: JsonObject = dict(config.get("functionCallingConfig") or {})
    if choice.mode == "none":
        calling |= {"mode": "NONE"}
    elif choice.forced:
        calling |= {"mode": "ANY"}
    elif choice.allowed is not None:
        calling |= {"mode": "VALIDATED"}
    if choice.mode != "none" and choice.allowed is not None:
        calling["allowedFunctionNames"] = list(choice.allowed)
    if not stream:
        calling.pop("streamFunctionCallArguments", None)
    rest = {key: value for key, value in config.items() if key != "functionCallingConfig"}
    return {**rest, "functionCallingConfig": calling} if calling else rest
